"""Composition of the terminal spoke: one `chat`, from its settings to an exit code.

Imports come late here: a person waits for the prompt, and how Markdown is drawn can be learnt behind it.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from secrets import token_hex

from adapters.cli import sessions
from adapters.cli.conversation import Conversation, Screen
from adapters.cli.files import File, Unattachable, read_all
from adapters.cli.normalize import PLATFORM, Speaker, Unsendable, piped, sendable
from adapters.cli.render import Paint
from adapters.spoke import Reply, Spoke
from factory_contracts import subjects
from factory_contracts.messages import Said
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.transport import Transport

_FAILED = 1
_USAGE = 2
_RETRY = 2.0


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What a terminal is told: where the bus is, who sits here, and what is wanted.

    `session` names a scope, None a new one; `resume` an old one, by its name, the beginning of it or (empty) the last,
    or a conversation of another platform ("platform:bot:scope"), with all of which a new one begins. `allows` is said
    beforehand to whatever an agent that is asked once wants to do.
    """

    nats_url: str
    identity: Identity
    user_id: str
    user_name: str
    history_file: Path
    sessions_file: Path
    files_folder: Path
    bot_id: str = "main"
    session: str | None = None
    resume: str | None = None
    agent: str | None = None
    prompt: str | None = None
    piped: str = ""
    files: tuple[str, ...] = ()
    is_json: bool = False
    allows: bool = False
    tells_progress: bool = False
    is_interactive: bool = False
    use_color: bool = False
    log_file: Path | None = None


async def chat(settings: ChatSettings) -> int:
    """Converse, or ask once; the exit code."""
    _log_into(settings.log_file)
    try:
        other = settings.resume if settings.resume is not None and ":" in settings.resume else None
        scope = _scope(settings)
        subjects.scope_token(scope)
    except (sessions.UnknownSession, subjects.BadToken) as error:
        _tell(str(error))
        return _USAGE
    try:
        prompt, settings = _prompt(settings)
        files = await asyncio.to_thread(read_all, settings.files)
    except (Unsendable, Unattachable) as error:
        _tell(str(error))
        return _USAGE
    sent_away: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    transport = await _join_bus(settings, sent_away)
    if transport is None:
        return _FAILED
    try:
        return await _unless(sent_away, _talk(settings, transport, scope, other, prompt, files))
    finally:
        await transport.close()


async def fork(settings: ChatSettings, of: str, until: int) -> str | None:
    """Begin a session with what another conversation ("platform:bot:scope") said up to a record; its name.

    None where that cannot be, and then the reason was told.
    """
    scope = _scope(settings)
    try:
        subjects.scope_token(scope)
    except subjects.BadToken as error:
        _tell(str(error))
        return None
    sent_away: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    transport = await _join_bus(settings, sent_away)
    if transport is None:
        return None
    try:
        return scope if await _begin(settings, transport, scope, of, until) else None
    finally:
        await transport.close()


async def _begin(settings: ChatSettings, transport: Transport, scope: str, of: str, until: int | None = None) -> bool:
    spoke = Spoke(transport, PLATFORM, settings.bot_id, _Nobody(), scope=scope)
    refused = await spoke.begin(scope, of, until)
    if refused is not None:
        _tell(refused.text)
        return False
    sessions.add(settings.sessions_file, sessions.note(scope, f"from {of}", datetime.now()))
    return True


async def _talk(
    settings: ChatSettings,
    transport: Transport,
    scope: str,
    other: str | None,
    prompt: str | None,
    files: tuple[File, ...],
) -> int:
    if other is not None and not await _begin(settings, transport, scope, other):
        return _USAGE
    if prompt is not None:
        return await _ask(settings, transport, scope, prompt, files)
    return await _converse(settings, transport, scope)


async def _unless(sent_away: "asyncio.Future[str]", talking: Coroutine[None, None, int]) -> int:
    """What the conversation comes to; without a bus it can come to nothing any more."""
    task = asyncio.create_task(talking)
    try:
        await asyncio.wait((task, sent_away), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    if task.cancelled() and sent_away.done():
        _tell(f"the bus has sent this terminal away: {sent_away.result()}")
        return _FAILED
    return task.result()


async def _converse(settings: ChatSettings, transport: Transport, scope: str) -> int:
    from adapters.cli.bot import Bot, Terminal

    terminal = Terminal(
        scope=scope,
        speaker=_speaker(settings),
        agent=settings.agent,
        history_file=settings.history_file,
        sessions_file=settings.sessions_file,
        files_folder=settings.files_folder,
        use_color=settings.use_color,
    )

    def load_paint() -> Paint:
        from adapters.cli.paint import painter

        return painter(settings.use_color)

    return await Bot(terminal, join=_spokes(settings, transport), load_paint=load_paint, stdout=sys.stdout).run()


async def _ask(settings: ChatSettings, transport: Transport, scope: str, prompt: str, files: tuple[File, ...]) -> int:
    from adapters.cli.once import Events, Once, Painted, Plain, Question, Writer

    writer: Writer
    if settings.is_json:
        writer = Events(sys.stdout)
    elif settings.use_color and sys.stdout.isatty():
        from adapters.cli.paint import painter

        writer = Painted(sys.stdout, _tell, painter(True))
    else:
        writer = Plain(sys.stdout, _tell, tells_progress=settings.tells_progress)
    sessions.add(settings.sessions_file, sessions.note(scope, prompt, datetime.now()))
    question = Question(prompt, scope, _speaker(settings), settings.files_folder, settings.agent, files, settings.piped)
    join = _spokes(settings, transport)
    return await Once(
        question,
        join=join,
        writer=writer,
        stdin=sys.stdin,
        stdout=sys.stdout,
        stderr=sys.stderr,
        use_color=settings.use_color,
        allows=settings.allows,
    ).run()


async def _join_bus(settings: ChatSettings, sent_away: "asyncio.Future[str]") -> Transport | None:
    """The bus, however long it stays away; None where it does not want us."""

    def note(why: str) -> None:
        if not sent_away.done():
            sent_away.set_result(why)

    join = partial(connect, settings.nats_url, settings.identity, name=f"{PLATFORM} terminal", on_closed=note)
    joined = await join()
    if not isinstance(joined, Ok) and joined.reason in ("disconnected", "timeout"):
        _tell(f"waiting for the bus: {joined.detail}; start it, or end this with Ctrl-C")
        while not isinstance(joined, Ok) and joined.reason in ("disconnected", "timeout"):
            joined = await join(patience=_RETRY)
    if isinstance(joined, Ok):
        return joined.value
    _tell(f"the bus does not let this terminal in: {joined.detail}")
    return None


def _prompt(settings: ChatSettings) -> tuple[str | None, ChatSettings]:
    """What is asked, None where somebody types it, and the settings with what goes with it.

    Raises `Unsendable` where nothing is asked, or what cannot be.
    """
    prompt, quoted = settings.prompt, settings.piped
    is_piped = prompt is None and (settings.is_json or not settings.is_interactive)
    if is_piped:
        prompt = piped(sys.stdin)
    if prompt is None:
        return None, settings
    if not prompt.strip():
        prompt, quoted, is_piped = quoted, "", True
    if not prompt.strip():
        raise Unsendable("nothing was asked")
    asked = _sendable("what is piped in" if is_piped else "the prompt", prompt)
    return asked, replace(settings, piped=_sendable("what is piped in", quoted))


def _sendable(what: str, text: str) -> str:
    try:
        return sendable(text)
    except Unsendable as error:
        raise Unsendable(f"{what} is {error}; --file PATH sends a file as it is") from None


class _Nobody:
    """A screen before there is one."""

    async def send(self, reply: Reply) -> str:
        return reply.turn

    async def edit(self, message_id: str, reply: Reply) -> None:
        return

    async def said(self, said: Said) -> None:
        return


def _scope(settings: ChatSettings) -> str:
    if settings.resume is not None and ":" not in settings.resume:
        noted = sessions.load(settings.sessions_file)
        return sessions.find(noted, settings.resume, "`factory turns ls` tells in which something was said").name
    if settings.session is not None:
        return settings.session
    return sessions.name_for(datetime.now(), token_hex(2))


def _speaker(settings: ChatSettings) -> Speaker:
    return Speaker(settings.bot_id, settings.user_id, settings.user_name)


def _spokes(settings: ChatSettings, transport: Transport) -> Callable[[str, Screen], Conversation]:
    from adapters.cli.remains import Remains

    def join(scope: str, screen: Screen) -> Conversation:
        remains = Remains(settings.history_file, settings.sessions_file, settings.files_folder, screen.went)
        return Spoke(transport, PLATFORM, settings.bot_id, screen, scope=scope, remains=remains)

    return join


def _log_into(file: Path | None) -> None:
    """A log line on stderr would be written into the middle of an answer."""
    root = logging.getLogger()
    if root.handlers:
        return
    if file is None:
        root.addHandler(logging.NullHandler())
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root.addHandler(handler)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
