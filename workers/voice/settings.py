"""By what the voice worker speaks and hears."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from factory_nats.identity import Identity

TTS = "voice.tts"
STT = "voice.stt"

# It reads what stands on its standard input, and writes a WAV whose head tells how long it is.
ESPEAK = ("espeak-ng", "--stdin", "-v", "{voice}", "-w", "{out}")


@dataclass(frozen=True, slots=True)
class Program:
    """A command that speaks the words on its standard input: into the file `{out}`, else to its standard output.

    `{voice}` stands for a voice wherever it is named. No shell reads any of it.
    """

    command: tuple[str, ...]
    voice: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that speaks OpenAI's protocol, the model it is asked for, and the variable that holds its key."""

    base_url: str
    model: str
    key: str = ""
    voice: str = ""


@dataclass(frozen=True, slots=True)
class Local:
    """A model of faster-whisper in a folder of this machine."""

    model: str


Mouth = Program | Server
Ear = Server | Local


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """What the voice worker is told; it serves what it has an identity for."""

    nats_url: str
    mouth: Mouth | None = None
    ear: Ear | None = None
    identities: Mapping[str, Identity] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: float = 30.0
