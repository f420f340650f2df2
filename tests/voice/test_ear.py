"""A recording becomes words, whoever hears it."""

import asyncio
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from threading import Semaphore

import pytest
from aiohttp.web import json_response

from factory_contracts.worker import Unable
from tests.fakes import DEADLINE, idle
from tests.providers.formants import WORDS, Recogniser, note
from tests.providers.media import KEY, MediaServer
from workers.endpoint import Endpoint, NoAnswer
from workers.voice.ear import Asked, Recording, Whisper, ear
from workers.voice.settings import Server


def recording(sound: bytes, name: str = "voice-message.oga", language: str = "") -> Recording:
    return Recording(audio=b64encode(sound), name=name, language=language)


def asking(server: MediaServer) -> Asked:
    return Asked(Server(server.url, "whisper-1"), Endpoint(server.url, KEY))


async def test_a_recogniser_behind_a_server_writes_down_what_a_voice_note_says() -> None:
    async with MediaServer(hear=Recogniser().hear) as server:
        hear = ear(asking(server))
        notes = {word: note(word) for word in WORDS}
        heard = {word: await hear(recording(sound)) for word, sound in notes.items()}

        assert heard == {word: word for word in WORDS}
        path, form = server.asked[0]
        assert (path, form["model"]) == ("/v1/audio/transcriptions", "whisper-1")
        assert form["file"] == ("voice.ogg", notes["yes"])


async def test_the_language_is_told_where_it_is_known() -> None:
    async with MediaServer(hear=lambda sound: " Oui. ") as server:
        heard = await ear(asking(server))(recording(b"RIFF", "a.wav", "fr"))

        assert heard == "Oui."
        assert server.asked[0][1]["language"] == "fr"


async def test_an_answer_without_words_is_a_failure_and_an_empty_recording_is_none() -> None:
    async with MediaServer(trouble=json_response({"text": 5})) as server:
        with pytest.raises(NoAnswer, match="no text"):
            await ear(asking(server))(recording(b"RIFF", "a.wav"))

        assert isinstance(await ear(asking(server))(recording(b"")), Unable)
        assert len(server.asked) == 1


@dataclass(slots=True)
class Segment:
    text: str


@dataclass(slots=True)
class Model:
    heard: list[tuple[bytes, str | None]] = field(default_factory=list)

    def transcribe(self, audio: BytesIO, *, language: str | None) -> tuple[Iterable[Segment], object]:
        self.heard.append((audio.read(), language))
        return (Segment(text) for text in (" Good", " morning.")), None


async def test_a_local_model_is_loaded_once_and_only_when_somebody_speaks() -> None:
    models: list[Model] = []

    def load() -> Model:
        models.append(Model())
        return models[-1]

    hear = ear(Whisper(load))
    assert models == []

    heard = [await hear(recording(b"one")), await hear(recording(b"two", language="en"))]

    assert heard == ["Good morning."] * 2
    assert [model.heard for model in models] == [[(b"one", None), (b"two", "en")]]


@dataclass(slots=True)
class SlowModel:
    """Hears three pieces of each recording, and each only when it is let."""

    events: list[str] = field(default_factory=list)
    begun: Semaphore = field(default_factory=lambda: Semaphore(0))
    let: Semaphore = field(default_factory=lambda: Semaphore(0))

    def transcribe(self, audio: BytesIO, *, language: str | None) -> tuple[Iterable[Segment], object]:
        return self._pieces(audio.read().decode()), None

    def _pieces(self, name: str) -> Iterator[Segment]:
        for number in range(3):
            self.events.append(f"{name} {number} begins")
            self.begun.release()
            assert self.let.acquire(timeout=DEADLINE)
            self.events.append(f"{name} {number} ends")
            yield Segment(name)

    async def begins(self) -> None:
        """Return once one more piece is being heard."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=DEADLINE)


async def test_what_nobody_waits_for_any_more_is_heard_no_further_and_nothing_beside_it() -> None:
    model = SlowModel()
    hear = ear(Whisper(lambda: model))
    given_up = [asyncio.ensure_future(hear(recording(name))) for name in (b"late", b"later")]
    await model.begins()

    for one in given_up:
        one.cancel()
    await asyncio.wait(given_up)
    wanted = asyncio.ensure_future(hear(recording(b"wanted")))
    await idle()
    for _ in range(4):
        model.let.release()

    assert await wanted == "wanted wanted wanted"
    assert all(one.cancelled() for one in given_up)
    heard = ("late 0", "wanted 0", "wanted 1", "wanted 2")
    assert model.events == [f"{piece} {what}" for piece in heard for what in ("begins", "ends")]
