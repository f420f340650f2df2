"""A recording becomes words, whoever hears it."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO

import pytest
from aiohttp.web import json_response

from factory_contracts.worker import Unable
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
