"""A server on loopback that speaks, hears and paints by OpenAI's protocol, and takes nothing that is not of it."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import BodyPartReader, web

KEY = "sk-test"
FORMATS = frozenset(("mp3", "opus", "aac", "flac", "wav", "pcm"))

Heard = tuple[bytes, Mapping[str, str]]


class Wrong(Exception):
    """The request is not as the protocol says."""


class MediaServer:
    """Says, hears and paints what it is told to; a test may look at all that it was asked."""

    def __init__(
        self,
        *,
        speak: Callable[[str], bytes] = str.encode,
        hear: Callable[[bytes], str] = lambda sound: f"{len(sound)} bytes",
        paint: Callable[[str], bytes] = lambda scene: b"\x89PNG\r\n\x1a\n" + scene.encode(),
        trouble: web.Response | None = None,
    ) -> None:
        self.url = ""
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self._trouble = trouble
        self._speak, self._hear, self._paint = speak, hear, paint
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=30 << 20)
        app.router.add_post("/v1/audio/speech", self._on_speech)
        app.router.add_post("/v1/audio/transcriptions", self._on_transcription)
        app.router.add_post("/v1/images/generations", self._on_generation)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _on_speech(self, request: web.Request) -> web.Response:
        def answer(body: Mapping[str, Any]) -> web.Response:
            _is(body, {"model", "input", "voice"}, {"response_format", "speed", "instructions"})
            if body.get("response_format", "mp3") not in FORMATS or not 0 < len(body["input"]) <= 4096:
                raise Wrong("response_format or input")
            return web.Response(body=self._speak(body["input"]), content_type="audio/ogg")

        return await self._answer(request, _document, answer)

    async def _on_transcription(self, request: web.Request) -> web.Response:
        def answer(form: Mapping[str, Any]) -> web.Response:
            _is(form, {"file", "model"}, {"response_format", "language", "prompt", "temperature"})
            # The ending is all that the real one goes by.
            if not form["file"][0].endswith((".ogg", ".wav", ".mp3", ".m4a", ".webm", ".flac")):
                raise Wrong("file: unknown format")
            return web.json_response({"text": self._hear(form["file"][1])})

        return await self._answer(request, _form, answer)

    async def _on_generation(self, request: web.Request) -> web.Response:
        def answer(body: Mapping[str, Any]) -> web.Response:
            _is(body, {"prompt"}, {"model", "n", "size", "quality", "background", "output_format"})
            return web.json_response({"data": [{"b64_json": b64encode(self._paint(body["prompt"])).decode()}]})

        return await self._answer(request, _document, answer)

    async def _answer(
        self,
        request: web.Request,
        read: Callable[[web.Request], Any],
        answer: Callable[[Mapping[str, Any]], web.Response],
    ) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, "Incorrect API key provided")
        try:
            body = await read(request)
            self.asked.append((request.path, body))
            if self._trouble is not None:
                return self._trouble
            return await asyncio.to_thread(answer, body)
        except Wrong as error:
            return _error(400, str(error))


def _error(status: int, words: str) -> web.Response:
    return web.json_response({"error": {"message": words, "type": "invalid_request_error"}}, status=status)


def _is(body: Mapping[str, Any], needed: set[str], known: set[str]) -> None:
    if missing := needed - body.keys():
        raise Wrong(f"Missing required parameter: {sorted(missing)[0]}")
    if unknown := body.keys() - needed - known:
        raise Wrong(f"Unrecognized request argument supplied: {sorted(unknown)[0]}")
    if "model" in body and not body["model"]:
        raise Wrong("you must provide a model parameter")


async def _document(request: web.Request) -> Mapping[str, Any]:
    if request.content_type != "application/json":
        raise Wrong("no JSON")
    body: object = json.loads(await request.read())
    if not isinstance(body, dict):
        raise Wrong("no object")
    return body


async def _form(request: web.Request) -> Mapping[str, Any]:
    if request.content_type != "multipart/form-data":
        raise Wrong("no form")
    found: dict[str, Any] = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        data = bytes(await part.read())
        found[part.name or ""] = (part.filename, data) if part.filename else data.decode()
    return found
