"""A server of tools made with the real library, over its standard streams or, with a port of its own, over HTTP.

Run as a script by the tests: `mcp_server.py [--http] [--old] [--token T] [--tools N] [--pids FILE]`.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
from mcp import stdio_server, types
from mcp.server.lowlevel import NotificationOptions, Server

PAGE = 50
PNG = b"\x89PNG\r\n\x1a\n\0"
OPUS = b"OggS" + bytes(24) + b"OpusHead"
PDF = b"%PDF-1.7\n"
OBJECT: dict[str, Any] = {"type": "object"}
SUM: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
CHILD = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Tools:
    """What the server can do, and what it saw."""

    def __init__(self, number: int) -> None:
        self.names = ["add", "echo", "fail", "wait", "seen", "meet", "where", "breed", "grow", "die", "show", "forget"]
        self.names.append("gallery")
        self.names += [f"extra_{index}" for index in range(number)]
        self.begun = 0
        self.cancelled = 0
        self.meeting: list[asyncio.Event] = []
        self.sessions: set[str] = set()
        self.forgotten: set[str] = set()

    async def list(self, context: object, page: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        start = int(page.cursor) if page is not None and page.cursor else 0
        names = self.names[start : start + PAGE]
        end = start + len(names)
        # It says that all of them only read, which is not for it to say.
        hints = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True)
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=name,
                    description=f"The tool {name}.",
                    input_schema=SUM if name == "add" else OBJECT,
                    annotations=hints,
                )
                for name in names
            ],
            next_cursor=str(end) if end < len(self.names) else None,
        )

    async def call(self, context: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        given = asked.arguments or {}
        match asked.name:
            case "add":
                total = given["a"] + given["b"]
                return types.CallToolResult(content=[], structured_content={"sum": total})
            case "echo":
                return said(given.get("text", ""))
            case "fail":
                return types.CallToolResult(content=said("It cannot be done.").content, is_error=True)
            case "wait":
                return await self._wait()
            case "seen":
                return said(json.dumps({"begun": self.begun, "cancelled": self.cancelled}))
            case "meet":
                return await self._meet(given["people"])
            case "where":
                return said(json.dumps({"pid": os.getpid(), "environment": dict(os.environ)}))
            case "breed":
                child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
                assert child.stdout is not None
                child.stdout.readline()
                return said(str(child.pid))
            case "grow":
                self.names.append("grown")
                return said("grown")
            case "die":
                os._exit(3)
            case "show":
                return shown()
            case "gallery":
                picture = types.ImageContent(type="image", data=encoded(PNG), mime_type="image/png")
                content: list[types.ContentBlock] = [picture] * given["pictures"]
                return types.CallToolResult(content=content, is_error=given.get("fails", False))
            case "forget":
                self.forgotten |= self.sessions
        return said(asked.name)

    async def _wait(self) -> types.CallToolResult:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return said("never")

    async def _meet(self, people: int) -> types.CallToolResult:
        """Nobody leaves before all are there."""
        here = asyncio.Event()
        self.meeting.append(here)
        if len(self.meeting) == people:
            for each in self.meeting:
                each.set()
        await here.wait()
        return said("met")


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


def said(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def shown() -> types.CallToolResult:
    """One of each kind of content."""
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text="Look:"),
            types.ImageContent(type="image", data=encoded(PNG), mime_type="image/png"),
            types.AudioContent(type="audio", data=encoded(OPUS), mime_type="audio/ogg; codecs=opus"),
            types.ResourceLink(type="resource_link", name="notes", uri="file:///notes.txt"),
            types.EmbeddedResource(
                type="resource",
                resource=types.TextResourceContents(uri="file:///a.txt", mime_type="text/plain", text="a"),
            ),
            types.EmbeddedResource(
                type="resource",
                resource=types.BlobResourceContents(uri="file:///out/may%20sum.pdf?v=1", blob=encoded(PDF)),
            ),
            types.ImageContent(type="image", data="no base64", mime_type="image/png"),
            types.ImageContent(
                type="image",
                data=encoded(PNG),
                mime_type="image/png",
                annotations=types.Annotations(audience=["assistant"]),
            ),
        ],
        structured_content={"not": "shown"},
    )


def door(app: App, tools: Tools, *, token: str, is_old: bool) -> App:
    """Let in who knows the token and is remembered; an old one has never heard of the present protocol."""

    async def enter(scope: Message, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope.get("headers", ())}
        status = 0
        if scope["type"] == "http" and token and headers.get("authorization") != f"Bearer {token}":
            status = 401
        if scope["type"] == "http" and is_old and headers.get("mcp-protocol-version", "").startswith("2026"):
            status = 400
        if session := headers.get("mcp-session-id"):
            tools.sessions.add(session)
            status = 404 if session in tools.forgotten else status
        if not status:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return enter


async def over_streams(server: Server[Any]) -> None:
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, options)


def over_http(server: Server[Any], tools: Tools, token: str, is_old: bool) -> None:
    app = door(server.streamable_http_app(), tools, token=token, is_old=is_old)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none")).run(sockets=[listening])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--old", action="store_true")
    parser.add_argument("--token", default="")
    parser.add_argument("--tools", type=int, default=0)
    parser.add_argument("--pids", type=Path)
    options = parser.parse_args()
    if options.pids is not None:
        with options.pids.open("a") as file:
            file.write(f"{os.getpid()}\n")
    tools = Tools(options.tools)
    server: Server[Any] = Server("for tests", on_list_tools=tools.list, on_call_tool=tools.call)
    if options.http:
        over_http(server, tools, options.token, options.old)
    else:
        asyncio.run(over_streams(server))


if __name__ == "__main__":
    main()
