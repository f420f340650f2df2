"""The workers that come with the program beside the one that runs turns: `voice` and `image`, each a process."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from factory_cli import config, secret
from factory_cli.config import Configuration
from workers.image.settings import IMAGE, OFFLINE, Painter
from workers.voice.settings import ESPEAK, STT, TTS, Local, Program, Server, present

VOICE = "voice"


@dataclass(frozen=True, slots=True)
class Service:
    """A process: what it serves, what switches it on, and what is to be installed for it."""

    name: str
    capabilities: tuple[str, ...]
    tables: str


SERVICES = {
    VOICE: Service(VOICE, (TTS, STT), "[voice.tts] or [voice.stt]"),
    IMAGE: Service(IMAGE, (IMAGE, *OFFLINE), "[image]"),
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


def missing(configuration: Configuration, service: Service) -> Iterator[str]:
    """What this machine lacks for it, and how to come by it."""
    every = config.variables_of(os.environ, Path.cwd())
    for name in keys(configuration, service):
        if secret.find(every, name) is None:
            yield f"{name} is not set, and a server is to be asked with it"
    if service.name == IMAGE:
        yield from _uninstalled("image", "segno", "PIL")
        return
    mouth, ear = configuration.voice.mouth, configuration.voice.ear
    if isinstance(mouth, Program) and present(mouth) is None:
        others = "; install it (apt install espeak-ng, brew install espeak-ng), or type: " + _to_type("espeak")
        yield f"there is no program {mouth.command[0]!r}{others if mouth.command == ESPEAK else ''}"
    if isinstance(ear, Local):
        yield from _uninstalled("whisper", "faster_whisper")
        if not (Path(ear.model) / "model.bin").is_file():
            yield f"[voice.stt] model: no model is in the folder {ear.model!r}; nothing is fetched, so put one there"


def advised(configuration: Configuration, service: Service) -> Iterator[str]:
    """What it does without, and would be better with."""
    if service.name == VOICE and configuration.voice.mouth is not None and find_spec("soundfile") is None:
        yield f"what is said goes out as a file and not as a voice message; type: {_to_type('voice')}"


def _uninstalled(extra: str, *packages: str) -> Iterator[str]:
    for package in packages:
        if find_spec(package) is None:
            yield f"{package} is not installed; type: {_to_type(extra)}"


def _to_type(extra: str) -> str:
    return f"pip install 'factory-chat[{extra}]'"
