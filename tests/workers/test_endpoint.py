"""A server that is asked may do anything: whoever asked learns within time that there is no answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from workers.endpoint import MOST_BYTES, Endpoint, NoAnswer

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(*, endless: bytes = b"", answer: bytes = b"") -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says this to everybody, once or for ever; where it is, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(answer)
        try:
            while endless:
                writer.write(endless)
                await writer.drain()
            # Who hangs says nothing until the other side has gone.
            if not answer:
                await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", asked


def said(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said(b"boom", "500 Internal Server Error"), "status 500$"),
        (said(b'{"error": {"message": "no\\n\\nway"}}', "400 Bad Request"), "status 400, no way$"),
        (said(b"<html>Sign in</html>", more="Content-Type: text/html\r\n"), "no JSON object"),
        (said(b"[" * 100_000), "no JSON object"),
        (said(b"", "204 No Content"), "status 204"),
        (b"SSH-2.0-OpenSSH\r\n", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx", "RemoteProtocolError"),
    ],
)
async def test_what_is_no_answer_is_told_as_none(answer: bytes, why: str) -> None:
    async with server(answer=answer) as (url, _):
        with pytest.raises(NoAnswer, match=why):
            await Endpoint(url).ask_object("/a", {})


async def test_who_hangs_is_left_in_time() -> None:
    async with server() as (url, _):
        with pytest.raises(NoAnswer, match=r"no answer within|Timeout"):
            await Endpoint(url, seconds=0.1).ask("/a", {})


async def test_who_says_a_little_for_ever_is_left_at_the_limit() -> None:
    async with server(answer=b"HTTP/1.1 200 OK\r\n\r\n", endless=bytes(1 << 20)) as (url, _):
        with pytest.raises(NoAnswer, match=f"more than {MOST_BYTES >> 20} MB"):
            await Endpoint(url).ask("/a", {})


async def test_nobody_is_sent_elsewhere_with_what_was_said() -> None:
    async with server(answer=said(b"secret")) as (elsewhere, asked):
        moved = said(b"", "307 Temporary Redirect", f"Location: {elsewhere}/private\r\n")
        async with server(answer=moved) as (url, _):
            with pytest.raises(NoAnswer, match="status 307"):
                await Endpoint(url, "sk-secret").ask("/a", {"input": "words"})

    assert asked == []
