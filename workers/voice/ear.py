"""`voice.stt`: a recording becomes words."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import takewhile
from threading import Event
from typing import Annotated, Protocol

from pydantic import Base64Bytes, BaseModel, Field

from factory_contracts.worker import Declaration, Unable, capability
from workers.endpoint import Endpoint, NoAnswer, Upload
from workers.voice.opus import MIME, NAME, is_opus
from workers.voice.settings import STT, Server

SECONDS = 120.0
AT_ONCE = 2
MOST_NAME = 255


class Recording(BaseModel):
    """What is to be heard."""

    audio: Annotated[Base64Bytes, Field(description="the sound file, in base64")]
    name: Annotated[str, Field(max_length=MOST_NAME, description="its name, whose ending tells its format")] = NAME
    language: Annotated[str, Field(pattern=r"^([a-z]{2,3})?$", description="such as en, where it is known")] = ""


class Engine(Protocol):
    """What can hear."""

    async def hear(self, recording: Recording) -> str:
        """The words. May raise anything, which is logged."""
        ...


class Asked:
    """Hears by a server."""

    def __init__(self, server: Server, endpoint: Endpoint) -> None:
        self._server = server
        self._endpoint = endpoint

    async def hear(self, recording: Recording) -> str:
        """The words."""
        # Whoever reads it goes by the name, and messengers give names that say nothing.
        name, mime = (NAME, MIME) if is_opus(recording.audio) else (recording.name, "application/octet-stream")
        asked = {"model": self._server.model, "response_format": "json"}
        if recording.language:
            asked["language"] = recording.language
        answer = await self._endpoint.ask_object(
            "/audio/transcriptions", asked, Upload("file", name, mime, recording.audio)
        )
        words = answer.get("text")
        if not isinstance(words, str):
            raise NoAnswer("/audio/transcriptions: the answer holds no text")
        return words


class Segment(Protocol):
    """A piece of what was heard."""

    @property
    def text(self) -> str:
        """Its words."""
        ...


class Listens(Protocol):
    """What is used of a model of faster-whisper."""

    def transcribe(self, audio: BytesIO, *, language: str | None) -> tuple[Iterable[Segment], object]:
        """The pieces, each heard when it is asked for, and what is known of them."""
        ...


class Whisper:
    """Hears by a model in this process, which is loaded when the first asks."""

    def __init__(self, load: Callable[[], Listens]) -> None:
        self._load = load
        self._model: Listens | None = None
        # Two who come first must not each load it, and it has all processors at work for one recording.
        self._thread = ThreadPoolExecutor(1, "ear")

    async def hear(self, recording: Recording) -> str:
        """The words; where nobody waits for them any more, no further piece is heard."""
        is_over = Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._heard, recording, is_over)
        finally:
            is_over.set()

    def _heard(self, recording: Recording, is_over: Event) -> str:
        if self._model is None:
            self._model = self._load()
        segments, _ = self._model.transcribe(BytesIO(recording.audio), language=recording.language or None)
        return " ".join(segment.text.strip() for segment in takewhile(lambda _: not is_over.is_set(), segments))


def ear(engine: Engine) -> Declaration[[Recording], Awaitable[str | Unable]]:
    """The capability, by one engine."""

    @capability(STT, effect="read", at_once=AT_ONCE, seconds=SECONDS)
    async def hear(recording: Recording) -> str | Unable:
        """Write down what is said in a recording."""
        if not recording.audio:
            return Unable("The recording is empty.")
        return (await engine.hear(recording)).strip()

    return hear
