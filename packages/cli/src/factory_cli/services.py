"""The workers that come with the program beside the one that runs turns: `voice` and `image`, each a process."""

from collections.abc import Sequence
from dataclasses import dataclass

from factory_cli import config
from factory_cli.config import Configuration
from workers.image.settings import IMAGE, OFFLINE, Painter
from workers.voice.settings import STT, TTS, Server

VOICE = "voice"


@dataclass(frozen=True, slots=True)
class Service:
    """A process: what it serves, what switches it on, and what is to be installed for it."""

    name: str
    capabilities: tuple[str, ...]
    tables: str
    extra: str


SERVICES = {
    VOICE: Service(VOICE, (TTS, STT), "[voice.tts] or [voice.stt]", "whisper"),
    IMAGE: Service(IMAGE, (IMAGE, *OFFLINE), "[image]", "image"),
}


def wanted(configuration: Configuration) -> Sequence[Service]:
    """Those that are switched on."""
    served = {worker.capability for worker in config.own_workers(configuration.voice, configuration.image)}
    return [one for one in SERVICES.values() if any(name in served for name in one.capabilities)]


def keys(configuration: Configuration, service: Service) -> list[str]:
    """The names of the secrets that the servers want by which it works."""
    voice, image = configuration.voice, configuration.image
    asked = (voice.mouth, voice.ear) if service.name == VOICE else (None if image is None else image.painter,)
    return [one.key for one in asked if isinstance(one, Server | Painter) and one.key]
