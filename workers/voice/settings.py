"""By what the voice worker speaks and hears."""

import re
import shutil
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec

from factory_contracts import subjects

TTS = subjects.SPEAKING
STT = subjects.HEARING

OUT = "out"
PLACE = re.compile(r"\{([a-z]+)\}")
_KNOWN = frozenset((OUT, "voice"))
# It reads what stands on its standard input, and writes a WAV whose head tells how long it is.
ESPEAK = ("espeak-ng", "--stdin", "-v", "{voice}", "-w", "{out}")
# The same where it was installed as a wheel; nothing in the folder where one stands takes its place.
ESPEAK_WHEEL, _ESPEAK_HERE = "espeakng_loader", (sys.executable, "-P", "-m", "workers.voice.espeak")


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


def wrong_command(command: tuple[str, ...]) -> str:
    """What is wrong with a command; empty where nothing is."""
    if not command or not command[0].strip():
        return 'names no program; write it as a list: ["piper", "--output_file", "{out}"]'
    unknown = sorted({name for part in command for name in PLACE.findall(part)} - _KNOWN)
    return f"holds {{{unknown[0]}}}, and only {{out}} and {{voice}} mean something" if unknown else ""


def present(program: Program) -> Program | None:
    """The program as it can be started on this machine; None where it cannot."""
    if shutil.which(program.command[0]) is not None:
        return program
    if program.command == ESPEAK and find_spec(ESPEAK_WHEEL) is not None:
        return replace(program, command=(*_ESPEAK_HERE, *ESPEAK[1:]))
    return None


Mouth = Program | Server
Ear = Server | Local
