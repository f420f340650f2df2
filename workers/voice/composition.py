"""The composition root of the voice worker: the one place that names its engines."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

from factory_contracts.worker import Errand
from factory_nats import process
from factory_nats.identity import Identity
from factory_nats.satellite import Served
from workers.endpoint import Endpoint
from workers.posts import Post, serve
from workers.voice import ear, mouth
from workers.voice.opus import Encoder
from workers.voice.settings import STT, TTS, Ear, Local, Mouth, Program, Server, present

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """What the voice worker is told; it serves what it has an identity for.

    The `variables` are the surroundings, and the keys of servers, wherever these were found.
    """

    nats_url: str
    mouth: Mouth | None = None
    ear: Ear | None = None
    identities: Mapping[str, Identity] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: float = 30.0


def run(settings: VoiceSettings) -> int:
    """Work until SIGTERM or SIGINT; the exit code. Raises `ImportError` for an engine that is not installed."""
    served = compose(settings)
    posts = [Post(settings.identities[name], one) for name, one in served.items()]
    return process.run(serve(settings.nats_url, posts, patience=settings.patience))


def compose(settings: VoiceSettings) -> Mapping[str, Served[Errand]]:
    """What these settings ask for, by capability. Raises `ImportError` for an engine that is not installed."""
    found: dict[str, Served[Errand]] = {}
    if settings.mouth is not None:
        found[TTS] = mouth.mouth(_mouth(settings.mouth, settings.variables), _encode())
    if settings.ear is not None:
        found[STT] = ear.ear(_ear(settings.ear, settings.variables))
    return found


def _mouth(chosen: Mouth, variables: Mapping[str, str]) -> mouth.Engine:
    match chosen:
        case Program():
            return mouth.Spoken(present(chosen) or chosen, variables)
        case Server():
            return mouth.Asked(chosen, _endpoint(chosen, variables))


def _ear(chosen: Ear, variables: Mapping[str, str]) -> ear.Engine:
    match chosen:
        case Server():
            return ear.Asked(chosen, _endpoint(chosen, variables))
        case Local(model=folder):
            # Loading it takes a second, and the model itself many: the first by now, the second when somebody speaks.
            whisper = import_module("faster_whisper").WhisperModel
            return ear.Whisper(lambda: whisper(folder, local_files_only=True))


def _endpoint(server: Server, variables: Mapping[str, str]) -> Endpoint:
    return Endpoint(server.base_url, variables.get(server.key, ""))


def _encode() -> mouth.Encode | None:
    try:
        return Encoder().encode
    except ImportError:
        logger.warning("soundfile is not installed: what is said goes out as a file and not as a voice message")
        return None
