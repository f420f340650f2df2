"""`voice.tts`: words become a voice."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Protocol

from pydantic import BaseModel, Field

from factory_contracts.worker import Declaration, File, Unable, capability
from workers.endpoint import MOST_BYTES, Endpoint
from workers.voice.opus import NAME, NoSound, is_opus
from workers.voice.program import spoken
from workers.voice.settings import TTS, Program, Server

MOST_CHARACTERS = 10_000
SECONDS = 120.0
AT_ONCE = 2

_VOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.-]{0,63}")
_ENDINGS = (
    *((b"RIFF", "wav"), (b"fLaC", "flac"), (b"OggS", "ogg")),
    *((start, "mp3") for start in (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")),
)

Encode = Callable[[bytes], bytes]


class Words(BaseModel):
    """What is to be said."""

    text: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS, description="what is said, as plain text")]
    voice: Annotated[str, Field(description="a voice that the engine knows; empty for the usual one")] = ""


class Engine(Protocol):
    """What can speak."""

    async def speak(self, text: str, voice: str) -> bytes:
        """The words as sound. May raise anything, which is logged."""
        ...


class Spoken:
    """Speaks by a program of this machine."""

    def __init__(
        self, program: Program, variables: Mapping[str, str] = MappingProxyType({}), seconds: float = SECONDS
    ) -> None:
        self._program = program
        self._variables = variables
        self._seconds = seconds

    async def speak(self, text: str, voice: str) -> bytes:
        """The words as sound."""
        values = {"voice": voice or self._program.voice}
        return await spoken(self._program.command, text, values, self._variables, seconds=self._seconds)


class Asked:
    """Speaks by a server."""

    def __init__(self, server: Server, endpoint: Endpoint) -> None:
        self._server = server
        self._endpoint = endpoint

    async def speak(self, text: str, voice: str) -> bytes:
        """The words as sound."""
        asked = {
            "model": self._server.model,
            "input": text,
            "voice": voice or self._server.voice,
            "response_format": "opus",
        }
        return await self._endpoint.ask("/audio/speech", asked)


def mouth(engine: Engine, encode: Encode | None) -> Declaration[[Words], Awaitable[File | Unable]]:
    """The capability, by one engine; without `encode` the sound goes out as it was made."""

    @capability(TTS, effect="read", at_once=AT_ONCE, seconds=SECONDS)
    async def speak(words: Words) -> File | Unable:
        """Say something aloud: the person hears it as a voice message."""
        if not words.text.strip():
            return Unable("There is nothing to say.")
        if words.voice and not _VOICE.fullmatch(words.voice):
            return Unable("That is no name of a voice.")
        sound = await engine.speak(words.text, words.voice)
        if encode is not None and not is_opus(sound):
            sound = await asyncio.to_thread(encode, sound)
        if len(sound) > MOST_BYTES:
            return Unable("That is too long to be sent; say less.")
        return File(_name(sound), sound)

    return speak


def _name(sound: bytes) -> str:
    """What the file is called. Raises `NoSound` for what is none."""
    if is_opus(sound):
        return NAME
    for begins, ending in _ENDINGS:
        if sound.startswith(begins):
            return f"voice.{ending}"
    raise NoSound(f"{len(sound)} bytes that are no sound")
