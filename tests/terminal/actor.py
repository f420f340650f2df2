"""The terminal spoke as a process of its own, with a hub that says what a test tells it through a socket.

Run as `python -m tests.terminal.play SOCKET SETTINGS`.
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapters.cli.bot import Bot, Terminal
from adapters.cli.conversation import Conversation
from adapters.cli.files import read_all
from adapters.cli.normalize import PLATFORM, Speaker
from adapters.cli.once import Events, Once, Painted, Plain, Question, Writer
from adapters.cli.paint import painter
from adapters.spoke import Reply, Screen
from factory_contracts import messages
from factory_contracts.messages import (
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    AttachmentKind,
    Exchange,
    InboundMessage,
    Refused,
    Said,
    Usage,
    Welcome,
)

SPEAKER = Speaker("main", "someone", "Someone")


@dataclass
class Settings:
    """What a test wants of the process."""

    folder: str
    scope: str = "here"
    agent: str | None = None
    prompt: str | None = None
    is_json: bool = False
    allows: bool = False
    use_color: bool = True
    files: list[str] = field(default_factory=list)
    piped: str = ""


class Prompter:
    """The hub as a test plays it: orders come in by lines, what the terminal does goes out by lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._welcomes: asyncio.Queue[Welcome] = asyncio.Queue()
        self._words: asyncio.Queue[Accepted | Refused] = asyncio.Queue()
        self._screen: Screen | None = None
        self._shows: set[asyncio.Task[None]] = set()
        self._is_full = False

    def join(self, scope: str, screen: Screen) -> Conversation:
        """A conversation in which the test speaks for the hub."""
        self._screen = screen
        self._tell("joined", scope=scope)
        return self

    async def start(self) -> Welcome:
        """What the test says."""
        return await self._welcomes.get()

    async def hello(self, scope_id: str) -> Welcome:
        """What the test says."""
        return await self._welcomes.get()

    async def submit(self, message: InboundMessage) -> Accepted | AlreadyAccepted | Refused:
        """Tell the test, and wait for its word."""
        names = [attachment.name for attachment in message.attachments]
        self._tell("submitted", id=message.message_id, text=message.text, files=names, quoted=message.quoted)
        return await self._words.get()

    async def decide(self, scope_id: str, turn: str, code: str, user_id: str, *, approved: bool) -> Refused | None:
        """Tell the test, and wait for its word."""
        self._tell("decided", scope=scope_id, turn=turn, code=code, user=user_id, approved=approved)
        word = await self._words.get()
        return word if isinstance(word, Refused) else None

    async def keep(self, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
        """Tell the test; it is taken, unless the test has said that there is no room."""
        self._tell("kept", kind=kind, name=name, mime=mime, text=data[:100].decode(errors="replace"))
        if self._is_full:
            return None
        return Attachment(kind=kind, name=name, mime=mime, size=len(data), blob="b")

    async def read(self, attachment: Attachment) -> bytes | None:
        """As many bytes as the file is said to have; none of one that is gone."""
        self._tell("read", name=attachment.name)
        return b"x" * attachment.size if attachment.blob != "gone" else None

    async def close(self) -> None:
        """Nothing more is shown."""
        for show in self._shows:
            show.cancel()
        self._tell("closed")

    async def obey(self) -> None:
        """Carry out the test's orders, each in a task of its own, as a spoke's replies are."""
        while line := await self._reader.readline():
            order = json.loads(line)
            match order.pop("order"):
                case "welcome":
                    history = tuple(
                        Exchange.model_validate_json(json.dumps(exchange)) for exchange in order.pop("history", ())
                    )
                    self._welcomes.put_nowait(Welcome(epoch=1, history=history, **order))
                case "accept":
                    self._words.put_nowait(Accepted(turn="t", epoch=1))
                case "refuse":
                    self._words.put_nowait(Refused(**order))
                case "fill":
                    self._is_full = True
                case "show":
                    show = asyncio.create_task(self._show(order))
                    self._shows.add(show)
                    show.add_done_callback(self._shows.discard)
                case "said":
                    address = Address(platform=PLATFORM, bot_id="main", scope_id="here")
                    assert self._screen is not None
                    await self._screen.said(Said(epoch=1, address=address, **order))

    async def _show(self, order: dict[str, Any]) -> None:
        address = Address(platform=PLATFORM, bot_id="main", scope_id="here")
        usage = Usage(**order.pop("usage")) if "usage" in order else None
        attachments = tuple(Attachment(kind="document", **each) for each in order.pop("attachments", ()))
        choices = tuple(order.pop("choices", ()))
        question = messages.Question(**order.pop("question")) if order.get("question") else None
        reply = Reply(
            address=address, usage=usage, attachments=attachments, choices=choices, **(order | {"question": question})
        )
        assert self._screen is not None
        message_id = await self._screen.send(replace(reply, text="…", is_final=False))
        await self._screen.edit(message_id, reply)
        self._tell("shown", turn=reply.turn, is_final=reply.is_final)

    def _tell(self, event: str, **more: object) -> None:
        self._writer.write(json.dumps({"event": event, **more}).encode() + b"\n")


async def act(socket: str, settings: Settings) -> int:
    """Be the terminal until it ends."""
    reader, writer = await asyncio.open_unix_connection(socket)
    prompter = Prompter(reader, writer)
    obeying = asyncio.create_task(prompter.obey())
    folder = Path(settings.folder)
    try:
        if settings.prompt is None:
            terminal = Terminal(
                scope=settings.scope,
                speaker=SPEAKER,
                agent=settings.agent,
                history_file=folder / "history",
                sessions_file=folder / "sessions",
                files_folder=folder / "files",
                use_color=settings.use_color,
            )
            return await Bot(
                terminal, join=prompter.join, load_paint=lambda: painter(settings.use_color), stdout=sys.stdout
            ).run()
        files = read_all(settings.files)
        question = Question(
            settings.prompt, settings.scope, SPEAKER, folder / "files", settings.agent, files, settings.piped
        )
        return await Once(
            question,
            join=prompter.join,
            writer=_writer(settings),
            stdin=sys.stdin,
            stdout=sys.stdout,
            stderr=sys.stderr,
            use_color=settings.use_color,
            allows=settings.allows,
        ).run()
    finally:
        obeying.cancel()
        writer.close()


def _writer(settings: Settings) -> Writer:
    if settings.is_json:
        return Events(sys.stdout)
    if settings.use_color and sys.stdout.isatty():
        return Painted(sys.stdout, _tell, painter(True))
    return Plain(sys.stdout, _tell)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
