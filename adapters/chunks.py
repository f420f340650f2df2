"""What the agent protocol of others puts on the wire, in its version 0.3: prompts, chunks and errors.

A prompt is text or a JSON object. It is answered by chunks, each a JSON object, and a message with neither body nor
headers ends them; an error is told in headers. What is not understood raises `Unreadable`, with a sentence of ours.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VERSION = "0.3"
SERVICE = "agents"
GROUP = "agents"
END = b""
# Where agents are found, where they are, and where the SDKs of others wait for answers.
FIND = "$SRV.INFO.agents"
ROOT = "agents."
INBOXES = "_INBOX.agents"
ERROR_CODE = "Nats-Service-Error-Code"
ERROR = "Nats-Service-Error"
MOST_WORDS = 200

_BLANK = b"\t\n\r "
_NAMES = {400: "bad_request", 403: "forbidden", 404: "not_found", 409: "conflict", 429: "rate_limited"}


class Unreadable(ValueError):
    """Why something is no prompt or no chunk."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it travels: a name that may hold anything, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an agent is asked, or what it is answered when it asks back."""

    text: str
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """More of an answer."""

    text: str
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """A sign of life; "ack" says that the prompt was taken."""

    word: str


@dataclass(frozen=True, slots=True)
class Query:
    """The agent asks back, and waits for one answer at this subject."""

    reply_subject: str
    text: str
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there will be no more of an answer, by a number of the protocol's table; `retry_after` in seconds."""

    code: int
    text: str
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """There is no more."""


Chunk = Said | Status | Query | Fault | Ended


def read_prompt(data: bytes) -> Prompt:
    """What is asked."""
    if not data.lstrip(_BLANK):
        raise Unreadable("the prompt is empty")
    if not data.lstrip(_BLANK).startswith(b"{"):
        try:
            return Prompt(data.decode())
        except UnicodeDecodeError:
            raise Unreadable("the prompt is neither text nor JSON") from None
    said = _object(_json(data))
    text = said.get("prompt")
    if not isinstance(text, str) or not text:
        raise Unreadable("the envelope has no prompt, which must be a text that is not empty")
    return Prompt(_sound(text), _files(said.get("attachments")))


def write_prompt(prompt: Prompt) -> bytes:
    """The same on the wire."""
    said: dict[str, Any] = {"prompt": prompt.text}
    if prompt.files:
        said["attachments"] = _written(prompt.files)
    return _bytes(said)


def read_chunk(data: bytes, headers: Mapping[str, str] | None) -> Chunk | None:
    """One piece of an answer; None for one of a kind that is not known, which is to be passed over."""
    if headers and ERROR_CODE in headers:
        return _fault(data, headers)
    if not data:
        return None if headers else Ended()
    said = _object(_json(data))
    match said.get("type"), said.get("data"):
        case "response", str() as text:
            return Said(_sound(text))
        case "response", {"text": str() as text, **rest}:
            return Said(_sound(text), _files(rest.get("attachments")))
        case "status", str() as word:
            return Status(word)
        case "query", {"reply_subject": str() as where, "prompt": str() as text, **rest}:
            return Query(where, _sound(text), _files(rest.get("attachments")))
        case "response" | "status" | "query" as kind, _:
            raise Unreadable(f"a chunk of type {kind} has no such data")
        case str(), _:
            return None
    raise Unreadable("a chunk has no type")


def said(text: str, files: Sequence[File] = ()) -> bytes:
    """More of an answer."""
    return _chunk("response", {"text": text, "attachments": _written(files)} if files else text)


def status(word: str) -> bytes:
    """A sign of life."""
    return _chunk("status", word)


def query(id: str, reply_subject: str, text: str) -> bytes:
    """A question back."""
    return _chunk("query", {"id": id, "reply_subject": reply_subject, "prompt": text})


def fault(code: int, text: str) -> tuple[bytes, dict[str, str]]:
    """An error: its body and its headers."""
    line = " ".join(text.split())[:MOST_WORDS].encode("ascii", "replace").decode()
    return _bytes({"error": _NAMES.get(code, "internal"), "message": text}), {ERROR_CODE: str(code), ERROR: line}


def _fault(data: bytes, headers: Mapping[str, str]) -> Fault:
    code = headers[ERROR_CODE].strip()
    text, wait = headers.get(ERROR, ""), 0.0
    try:
        match _json(data) if data else None:
            case {"message": str() as message}:
                text = message or text
        match _json(data) if data else None:
            case {"retry_after_s": int() | float() as seconds} if 0 < seconds < 86_400:
                wait = float(seconds)
    except Unreadable:
        pass
    return Fault(int(code) if code.isdecimal() and len(code) < 4 else 500, _sound(text), wait)


def _chunk(kind: str, data: object) -> bytes:
    return _bytes({"type": kind, "data": data})


def _bytes(said: object) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode(errors="replace")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Unreadable("this is no JSON") from None


def _object(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise Unreadable("the JSON is no object")
    return said


def _files(said: Any) -> tuple[File, ...]:
    if said is None:
        return ()
    if not isinstance(said, list):
        raise Unreadable("the attachments are no list")
    return tuple(_file(one) for one in said)


def _file(said: Any) -> File:
    match said:
        case {"filename": str() as name, "content": str() as content}:
            try:
                return File(_sound(name), b64decode(content, validate=True))
            except (NotBase64, ValueError):
                raise Unreadable("the content of an attachment is no base64") from None
    raise Unreadable("an attachment has no filename or no content")


def _written(files: Sequence[File]) -> list[dict[str, str]]:
    return [{"filename": file.name, "content": b64encode(file.data).decode()} for file in files]


def _sound(text: str) -> str:
    """The same without halves of characters, which no bytes can spell."""
    return text.encode(errors="replace").decode()
