"""Models behind an agent command line such as `claude`: one subprocess for each call, JSON lines in and out.

`claude_cli` takes the command line's own default model, `claude_cli:<model>` the named one. The program is the one that
the variable CLAUDE_CLI_COMMAND names, else `claude` on the PATH; it runs in a folder of its own for each conversation,
or in the one that CLAUDE_CLI_FOLDER names. Its own tools are off unless the agent names them in `own_tools`: a bare
name (`Read`) makes a tool available under the permission mode, where nobody can be asked and what needs a question is
denied; a rule (`Bash(git log *)`, `WebSearch(*)`) allows it beforehand. The settings, hooks, memories and servers of
whoever is signed in are left out, and a path or a command in a person's message stays text.

A conversation that the command line knows is resumed with the new lines alone: which one it knows is looked up by a
hash of all that was said before, so that nothing can be resumed in the wrong place. The program sees of our variables
only what `Dialect.passed` names.
"""

import asyncio
import json
import logging
import os
import re
import shlex
import shutil
import signal
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp, mkstemp
from types import MappingProxyType
from typing import Any, Literal, cast

from hub.kernel.events import Did, Failed, Finished, ModelEvent, Said, Thought
from hub.kernel.ports import Media, ModelMessage, ModelRequest, ModelSettings, Spoken, ToolCalls, ToolResult

PROVIDER = "claude_cli"
COMMAND = "CLAUDE_CLI_COMMAND"
FOLDER = "CLAUDE_CLI_FOLDER"

MAX_LINE = 16 * 2**20
MAX_OUTPUT = 256 * 2**20
MAX_WAITING = 2**18
LINES_AT_ONCE = 200
MAX_ERRORS = 4_096
MAX_REASON = 500
MAX_TARGET = 80
MAX_SESSIONS = 1_000
MAX_IMAGE = 3_750_000
MAX_INLINE = 100_000
# Linux refuses a single argument of 128 KiB.
MAX_ARGUMENT = 100_000
MAX_TURNS = 50
GRACE = 2.0

PARAGRAPH = "\n\n"
NOTHING = Decimal(0)

logger = logging.getLogger(__name__)

Message = Mapping[str, Any]
Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an agent command line is called: in words, `{}` stands for the value, and what it has no words for is empty.

    `tools` takes the names of all its tools that may exist, "" for none; `rules` what is allowed beforehand. `resume`
    must leave the session that it names as it is, or a call that broke off would stand in it for ever. `variables` are
    set for each call, with the request's {max_tokens} and {thinking}; `passed` are the variables of ours that it sees,
    by name, or by the beginning of their name where that ends in `_`. It writes down what is said in a folder named
    after the one that it runs in, below the first of `transcripts` whose variable is there. `reads` names those of its
    tools that change nothing outside of it.
    """

    program: str
    install: str
    sign_in: str
    always: tuple[str, ...]
    model: tuple[str, ...]
    system: tuple[str, ...]
    system_file: tuple[str, ...]
    resume: tuple[str, ...]
    tools: tuple[str, ...]
    rules: tuple[str, ...]
    permission_mode: tuple[str, ...]
    turns: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    passed: tuple[str, ...]
    transcripts: tuple[tuple[str, str], ...] = ()
    reads: frozenset[str] = frozenset()


CLAUDE = Dialect(
    program="claude",
    install="install it with `npm install -g @anthropic-ai/claude-code`, or name its path in CLAUDE_CLI_COMMAND",
    sign_in="run `claude` as the same user and type /login, or set ANTHROPIC_API_KEY",
    always=(
        "-p",
        "--output-format",
        "stream-json",
        "--input-format",
        "stream-json",
        "--include-partial-messages",
        "--verbose",
        "--strict-mcp-config",
        "--setting-sources=",
    ),
    model=("--model", "{}"),
    system=("--system-prompt", "{}"),
    system_file=("--system-prompt-file", "{}"),
    resume=("--resume", "{}", "--fork-session"),
    tools=("--tools", "{}"),
    rules=("--allowedTools", "{}"),
    permission_mode=("--permission-mode", "{}"),
    turns=("--max-turns", "{}"),
    variables=(
        ("CLAUDE_CODE_MAX_OUTPUT_TOKENS", "{max_tokens}"),
        ("MAX_THINKING_TOKENS", "{thinking}"),
        ("CLAUDE_CODE_MAX_RETRIES", "2"),
        # Without this, "@/etc/passwd" in a message is the content of that file.
        ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
        ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1"),
        ("CLAUDE_CODE_DISABLE_CLAUDE_MDS", "1"),
        ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
    ),
    passed=(
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
        *("ANTHROPIC_", "CLAUDE_", "AWS_", "GOOGLE_"),
    ),
    transcripts=(("CLAUDE_CONFIG_DIR", "projects"), ("HOME", ".claude/projects")),
    reads=frozenset({"Glob", "Grep", "LS", "Read", "TodoWrite", "WebFetch", "WebSearch"}),
)


def provider(settings: ModelSettings) -> "CommandLine":
    """The provider, as the variables of the surroundings describe it."""
    told = settings.variables.get(FOLDER, "")
    folder = settings.folder or mkdtemp(prefix="factory-", dir=settings.variables.get("TMPDIR") or "/tmp")
    return CommandLine(
        settings.variables,
        Path(folder) / PROVIDER,
        work=Path(_in_home(told, settings.variables)).absolute() if told else None,
    )


class CommandLine:
    """The provider `claude_cli`, or another command line that speaks the same lines in its own dialect.

    `folder` keeps which sessions it knows and where they run; with `work` all of them run in that folder.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        folder: Path,
        *,
        dialect: Dialect = CLAUDE,
        work: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._variables = variables
        self._dialect = dialect
        self._folder = folder.absolute()
        self._told = work
        self._now = now
        self._transcripts = _Transcripts.of(dialect, variables)
        self._sessions = _Sessions(self._folder, self._transcripts)
        self._secrets = _secrets(variables)
        self._has_said_that_tools_stay = False

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def erase(self, scope: str, namespaces: Sequence[str], until: float) -> bool:
        """Remove the sessions of a conversation, and what the command line itself wrote down of them."""
        return await asyncio.to_thread(self._sessions.erase, scope, until)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call, in one process, or in two where the first does not know the session it is to resume."""
        if request.tools and not self._has_said_that_tools_stay:
            self._has_said_that_tools_stay = True
            logger.info("%s uses tools of its own only; the agent's are not given to it", self._dialect.program)
        try:
            command = _command(self._variables, self._dialect)
        except LookupError as error:
            yield Failed(str(error), cost=NOTHING)
            return
        earlier, lines = _parted(request.messages)
        key = _key(command, request, earlier)
        found = self._sessions.find(key, self._told) if earlier else None
        work = found.work if found else self._told
        for session in (found.session, "") if found else ("",):
            hearing = _Hearing(self._dialect, self._secrets, self._now)
            content = _content(() if session else earlier, lines)
            async with aclosing(self._call(command, request, content, work, session, hearing)) as events:
                async for event in events:
                    yield event
            if session and hearing.lacks_session:
                logger.info("%s does not know session %s any more; all is sent", self._dialect.program, session)
                self._sessions.forget(key)
                continue
            if isinstance(hearing.outcome, Finished) and hearing.outcome.reason in ("end", "length") and hearing.work:
                heard = (*request.messages, Spoken("assistant", hearing.text))
                found = _Session(hearing.session, hearing.work, _scope_of(request))
                self._sessions.remember(_key(command, request, heard), found)
            yield hearing.outcome or Failed(f"{self._dialect.program} gave no result", is_transient=True)
            return

    async def _call(
        self,
        command: tuple[str, ...],
        request: ModelRequest,
        content: Sequence[Block],
        work: Path | None,
        session: str,
        hearing: "_Hearing",
    ) -> AsyncGenerator[ModelEvent, None]:
        """What one process says; how it ended, once it is gone, is left with the hearing."""
        place = _Place(self._folder, work, _scope_of(request))
        process: _Process | None = None
        is_over = False
        try:
            try:
                place.open()
                arguments = _arguments(self._dialect, request, session, place)
                environment = _environment(self._dialect, self._variables, request)
                process = await _start((*command, *arguments), place.work, environment)
            except (OSError, ValueError) as error:
                words = f"{command[0]} cannot be started in {place.work}: {_why(error)}; {self._dialect.install}"
                hearing.break_off(words, NOTHING)
                return
            hearing.work = place.work
            process.tell(_frame(content))
            while not is_over:
                line = await process.line()
                for event in hearing.hear(line) if line is not None else ():
                    yield event
                is_over = line is None or hearing.outcome is not None
        finally:
            if process is not None:
                await _see_through(process.end(is_over=is_over and not process.is_excessive))
            if not place.close(is_kept=isinstance(hearing.outcome, Finished)):
                self._transcripts.drop_all(place.work)
        if hearing.outcome is None:
            hearing.miss(process)


class _Hearing:
    """What one call comes to: the command line's messages in, events out, and at the end the outcome."""

    def __init__(self, dialect: Dialect, secrets: tuple[str, ...], now: Callable[[], float]) -> None:
        self.outcome: Finished | Failed | None = None
        self.session = ""
        self.work: Path | None = None
        self._dialect = dialect
        self._secrets = secrets
        self._now = now
        self._said: list[str] = []
        self._streamed: list[str] = []
        self._before: list[str] = []
        self._open: list[str] = []
        self._is_streaming = False
        self._breaks = False
        self._message = ""
        self._tools: dict[str, tuple[str, str]] = {}
        self._noise = ""
        self._error = ""
        self._kind = ""
        self._until = 0.0
        self._may_be_unknown = False
        self._has_shown = False

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._said)

    @property
    def lacks_session(self) -> bool:
        """Whether it broke off, before a person saw anything, in a way in which one without a session might not."""
        return isinstance(self.outcome, Failed) and self._may_be_unknown and not self._has_shown

    def hear(self, line: bytes) -> list[ModelEvent]:
        """What a line of output means; one that is no message is kept for the reason, should there be need of one."""
        text = line.decode(errors="replace").strip()
        if not text or self.outcome is not None:
            return []
        try:
            message = _DECODER.decode(text) if text.startswith("{") else None
        except (ValueError, RecursionError):
            message = None
        if message is None:
            self._noise = _end(f"{self._noise}\n{text}", MAX_ERRORS)
            return []
        events = self._read(message)
        self._has_shown = self._has_shown or any(isinstance(event, Said | Did) for event in events)
        return events

    def break_off(self, reason: str, cost: Decimal | None = None) -> None:
        """The call failed, for good."""
        self.outcome = Failed(_short(_redacted(reason, self._secrets), MAX_REASON), cost=cost)

    def miss(self, process: "_Process") -> None:
        """The process is gone and gave no result."""
        program = self._dialect.program
        if process.is_excessive:
            self.break_off(f"{program} said more than {MAX_OUTPUT // 2**20} MB and came to no end")
            return
        status = process.status
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        said = _line(" ".join((self._noise, process.errors, self._error)))
        words = _end(_redacted(said, self._secrets), MAX_REASON - 100) or "it said nothing"
        if _UNKNOWN_OPTION.search(words):
            self.break_off(f"{program} {how}: {words}; this version of it is too old or no {program}: update it")
            return
        nature = _Nature.of(words, self._kind, 0)
        self._may_be_unknown = _NO_SESSION.search(words) is not None or (status > 0 and not nature.is_known)
        self._fail(f"{how} and gave no result: {words}", nature, Failed("", has_begun=bool(self.session)), is_lost=True)

    def _read(self, message: Message) -> list[ModelEvent]:
        kind = message.get("type")
        if isinstance(message.get("parent_tool_use_id"), str):
            # A helper of its own is at work: what it says is no part of the answer.
            return [Thought()]
        if kind == "stream_event":
            return self._delta(_mapping(message.get("event")))
        if kind == "assistant":
            return self._spoken(message)
        if kind == "user":
            return self._observed(_mapping(message.get("message")))
        if kind == "system":
            return self._noted(message)
        if kind == "tool_progress":
            return [Thought()]
        if kind == "rate_limit_event":
            limit = _mapping(message.get("rate_limit_info"))
            self._until = float(_count(limit.get("resetsAt"))) if limit.get("status") == "rejected" else 0.0
        if kind == "result":
            return self._ended(message)
        return []

    def _noted(self, message: Message) -> list[ModelEvent]:
        if message.get("subtype") != "init":
            return []
        self._know(message)
        return []

    def _know(self, message: Message) -> None:
        session = message.get("session_id")
        if isinstance(session, str) and _SESSION.fullmatch(session):
            self.session = session

    def _delta(self, event: Message) -> list[ModelEvent]:
        self._is_streaming = True
        if event.get("type") == "message_start":
            self._before, self._streamed, self._open = self._streamed, [], []
            self._breaks = bool(self._said)
        if event.get("type") != "content_block_delta":
            return []
        delta = _mapping(event.get("delta"))
        if delta.get("type") == "thinking_delta":
            return [Thought(_text(delta.get("thinking")))]
        text = _text(delta.get("text")) if delta.get("type") == "text_delta" else ""
        if not text:
            return []
        self._open.append(text)
        self._streamed.append(text)
        return [self._say(text)]

    def _spoken(self, message: Message) -> list[ModelEvent]:
        said = _mapping(message.get("message"))
        blocks = _blocks(said)
        if said.get("model") == "<synthetic>" or isinstance(message.get("error"), str):
            # Not the model but the command line speaks, of what went wrong.
            self._kind = _text(message.get("error"))
            self._error = " ".join(_text(block.get("text")) for block in blocks).strip()
            return []
        events: list[ModelEvent] = []
        for block in blocks:
            match block.get("type"):
                case "text":
                    events += self._whole(_text(block.get("text")), _text(said.get("id")))
                case "thinking" if not self._is_streaming:
                    events.append(Thought(_text(block.get("thinking"))))
                case "tool_use" | "server_tool_use" | "mcp_tool_use":
                    events += self._began(block)
                case _:
                    pass
        return events

    def _whole(self, text: str, message: str) -> list[ModelEvent]:
        """A block of text in one piece: said, but for what has been said of it in deltas."""
        begun, self._open = "".join(self._open), []
        if not text.strip() or text.strip() in "".join((*self._before, *self._streamed)):
            return []
        if begun and text.startswith(begun):
            return [self._say(text[len(begun) :])]
        self._breaks = self._breaks or (bool(self._said) and message != self._message)
        self._message = message
        return [self._say(text)]

    def _say(self, text: str) -> Said:
        if self._breaks and not self._said[-1].endswith("\n"):
            text = PARAGRAPH + text
        self._breaks = False
        self._said.append(text)
        return Said(text)

    def _began(self, block: Message) -> list[ModelEvent]:
        call = _text(block.get("id"))[:255] or f"tool-{len(self._tools) + 1}"
        if call in self._tools:
            return []
        tool = _short(_line(_text(block.get("name"))), 64) or "tool"
        line = _described(tool, _mapping(block.get("input")), self.work, self._secrets)
        self._tools[call] = (tool, line)
        self._breaks = bool(self._said)
        return [self._did(call, tool, "running", line)]

    def _observed(self, message: Message) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for block in _blocks(message):
            tool, line = self._tools.pop(_text(block.get("tool_use_id"))[:255], ("", ""))
            if tool and block.get("type") == "tool_result":
                state: Literal["ok", "error"] = "error" if block.get("is_error") is True else "ok"
                events.append(self._did(_text(block.get("tool_use_id"))[:255], tool, state, line))
        return events

    def _did(self, call: str, tool: str, state: Literal["running", "ok", "error"], line: str) -> Did:
        return Did(call, tool, state, line, "read" if tool in self._dialect.reads else "external")

    def _ended(self, message: Message) -> list[ModelEvent]:
        self._know(message)
        how, result = _text(message.get("subtype")), _text(message.get("result"))
        consumed = _consumed(_mapping(message.get("usage")))
        if how != "error_max_turns" and (message.get("is_error") is True or how.startswith("error")):
            self._refused(message, how, result, consumed)
            return []
        stop = "max_turns" if how == "error_max_turns" else _text(message.get("stop_reason"))
        cost = _cost(message.get("total_cost_usd"))
        self.outcome = replace(consumed, reason=_STOPS.get(stop, "end"), cost=cost)
        events: list[ModelEvent] = [self._did(call, tool, "error", line) for call, (tool, line) in self._tools.items()]
        if not self._said and result:
            events.append(self._say(result))
        return events

    def _refused(self, message: Message, how: str, result: str, consumed: Finished) -> None:
        errors = message.get("errors")
        said = [_text(error) for error in errors] if isinstance(errors, list) else []
        words = " ".join(part for part in (*said, result or self._error) if part) or how or "an error without words"
        status = message.get("api_error_status")
        if _TOO_LONG.search(words):
            self.outcome = replace(consumed, reason="full", cost=_cost(message.get("total_cost_usd")))
            return
        nature = _Nature.of(words, self._kind, status if isinstance(status, int) else 0)
        self._may_be_unknown = _NO_SESSION.search(words) is not None or (
            how == "error_during_execution" and not nature.is_known
        )
        failed = Failed(
            "",
            input_tokens=consumed.input_tokens,
            output_tokens=consumed.output_tokens,
            cache_read_tokens=consumed.cache_read_tokens,
            cache_write_tokens=consumed.cache_write_tokens,
            cost=_cost(message.get("total_cost_usd")),
        )
        self._fail(f"says: {_line(words)}", nature, failed)

    def _fail(self, words: str, nature: "_Nature", failed: Failed, *, is_lost: bool = False) -> None:
        program = self._dialect.program
        reason = f"{program} {_redacted(words, self._secrets)}"
        if nature.asks_to_sign_in:
            advice = f"; it is not signed in: {self._dialect.sign_in}"
            reason = _short(reason, MAX_REASON - len(advice)) + advice
        is_transient = nature.is_passing or (is_lost and not nature.is_known)
        until = (nature.until or self._until) if nature.is_passing else 0.0
        wait = max(0.0, until - self._now()) if until else 0.0
        self.outcome = replace(failed, reason=_short(reason, MAX_REASON), is_transient=is_transient, retry_after=wait)


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=str)
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_STOPS: Mapping[str, Literal["length", "refusal", "full"]] = MappingProxyType(
    {
        "max_turns": "length",
        "max_tokens": "length",
        "refusal": "refusal",
        "model_context_window_exceeded": "full",
    }
)
_NO_SESSION = re.compile(r"no (?:such )?(?:conversation|session)|(?:conversation|session)\b.{0,80}not found", re.I)
_TOO_LONG = re.compile(r"prompt is too long|exceeds? (?:the )?(?:model'?s? )?context|context (?:window|limit)", re.I)
_UNKNOWN_OPTION = re.compile(r"unknown (?:option|argument)|unrecognized (?:option|argument)|no such option", re.I)
_SIGN_IN = re.compile(
    r"invalid api key|/login\b|not (?:logged|signed) in|authentication|oauth|unauthori[sz]ed"
    r"|(?:error|status|code)\W{0,3}40[13]\b",
    re.I,
)
_UNPAID = re.compile(r"credit balance|billing", re.I)
_PASSING = re.compile(
    r"rate.?limit|usage limit|(?:hit|reached) your .{0,30}limit|overloaded|too many requests|timed? ?out|connection"
    r"|network|\becon\w+|socket|fetch failed|server error|unavailable|bad gateway|temporar"
    r"|(?:error|status|code)\W{0,3}(?:429|5\d\d)\b|\b529\b",
    re.I,
)
_UNTIL = re.compile(r"limit[^|]{0,80}\|(\d{10})(\d{3})?\b", re.I)


@dataclass(frozen=True, slots=True)
class _Nature:
    """What kind of failure words speak of, and until when, in seconds of the epoch, where they say so."""

    asks_to_sign_in: bool = False
    is_unpaid: bool = False
    is_passing: bool = False
    until: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether the words say what is wrong."""
        return self.asks_to_sign_in or self.is_unpaid or self.is_passing

    @classmethod
    def of(cls, words: str, kind: str, status: int) -> "_Nature":
        """By the provider's status and the command line's name for it where they are told, else by the words."""
        until = _UNTIL.search(words)
        passing = cls(is_passing=True, until=float(until[1]) if until else 0.0)
        if kind in ("rate_limit", "server_error", "overloaded") or status == 429 or 500 <= status < 600:
            return passing
        if kind == "authentication_failed" or status in (401, 403) or _SIGN_IN.search(words):
            return cls(asks_to_sign_in=True)
        if kind == "billing_error" or _UNPAID.search(words):
            return cls(is_unpaid=True)
        return passing if _PASSING.search(words) else cls()


class _Lines:
    """Bytes in, whole lines out; a line that is too long is passed over."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._passes = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in these bytes."""
        *ends, rest = data.split(b"\n")
        lines: list[bytes] = []
        for end in ends:
            self._hold(end)
            lines += self.rest()
        self._hold(rest)
        return lines

    def rest(self) -> list[bytes]:
        """What stands there without an end, as a line, after which a new one begins."""
        lines = [] if self._passes or not self._rest else [bytes(self._rest)]
        self._rest.clear()
        self._passes = False
        return lines

    def _hold(self, part: bytes) -> None:
        if self._passes or len(self._rest) + len(part) > MAX_LINE:
            if not self._passes:
                logger.warning("a line of more than %s MB is passed over", MAX_LINE // 2**20)
            self._rest.clear()
            self._passes = True
        else:
            self._rest += part


class _Process(asyncio.SubprocessProtocol):
    """A subprocess and its group: its lines as they come, a bounded heap of them, and an end that leaves nobody.

    The loop's own protocol, for its streams would neither take a long line nor let go of a pipe that somebody outside
    of the group holds.
    """

    def __init__(self) -> None:
        self.is_excessive = False
        self._transport: asyncio.SubprocessTransport | None = None
        self._lines = _Lines()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._heard = 0
        self._errors = b""
        self._is_paused = False
        self._is_closed = False
        self._passes = False
        self._taken = 0
        self._news = asyncio.Event()
        self._exit = asyncio.Event()
        self._gone = asyncio.Event()

    @property
    def errors(self) -> str:
        """The last of what it wrote to its standard error."""
        text = self._errors.decode(errors="replace")
        return text if len(self._errors) < MAX_ERRORS else _end(text, len(text) - 1)

    @property
    def status(self) -> int:
        """How it ended; below 0, by which signal."""
        status = self._transport.get_returncode() if self._transport else None
        return -1 if status is None else status

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It said something."""
        if fd != 1:
            self._errors = (self._errors + data)[-MAX_ERRORS:]
            return
        if self._passes:
            return
        self._heard += len(data)
        self._take(self._lines.feed(data))
        if self._heard > MAX_OUTPUT:
            self.is_excessive = self._is_closed = True
            self._news.set()
        if not self._is_paused and (self.is_excessive or self._size > MAX_WAITING):
            self._is_paused = True
            self._out().pause_reading()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It has closed a pipe."""
        if fd == 1:
            self._take(self._lines.rest())
            self._is_closed = True
            self._news.set()

    def process_exited(self) -> None:
        """It is gone."""
        self._exit.set()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and so are its pipes."""
        self._gone.set()

    def tell(self, text: bytes) -> None:
        """All that it will ever be told."""
        if self._transport is not None:
            pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
            pipe.write(text)
            pipe.write_eof()

    async def line(self) -> bytes | None:
        """Its next line; None when there are no more."""
        while not self._waiting and not self._is_closed:
            self._news.clear()
            try:
                async with asyncio.timeout(GRACE if self._exit.is_set() else None):
                    await self._news.wait()
            except TimeoutError:
                # It is gone, and somebody who left its group still holds its standard output.
                self._is_closed = True
        if not self._waiting or self.is_excessive:
            return None
        self._taken += 1
        if self._taken % LINES_AT_ONCE == 0:
            # There may be no end of lines, and others live on this loop.
            await asyncio.sleep(0)
        line = self._waiting.popleft()
        self._size -= len(line)
        if self._is_paused and self._size <= MAX_WAITING // 2:
            self._go_on()
        return line

    async def end(self, *, is_over: bool) -> None:
        """Let it go by itself where it is over, else tell it to go; then end whoever of its group is left."""
        if self._transport is None:
            return
        self._passes = True
        self._waiting.clear()
        self._go_on()
        try:
            if is_over:
                await self._leaves()
            if not self._exit.is_set():
                self._signal(signal.SIGTERM)
                await self._leaves()
            self._signal(signal.SIGKILL)
            await self._leaves()
        finally:
            self._signal(signal.SIGKILL)
            self._transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._gone.wait()

    async def _leaves(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._exit.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._transport is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._transport.get_pid(), number)

    def _take(self, lines: Sequence[bytes]) -> None:
        self._waiting.extend(lines)
        self._size += sum(len(line) for line in lines)
        if lines:
            self._news.set()

    def _out(self) -> asyncio.ReadTransport:
        assert self._transport is not None
        return cast(asyncio.ReadTransport, self._transport.get_pipe_transport(1))

    def _go_on(self) -> None:
        if self._is_paused and not self._out().is_closing():
            self._out().resume_reading()
        self._is_paused = False


async def _start(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> _Process:
    """Begin, as the leader of a new group; raises `OSError` or `ValueError` where that is impossible."""
    _, process = await asyncio.get_running_loop().subprocess_exec(
        _Process,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=str(folder),
        env=dict(variables),
        start_new_session=True,
    )
    return process


async def _see_through(work: Coroutine[None, None, None]) -> None:
    """Do it to its end, whoever cancels meanwhile: a process that nobody waits for would be a zombie."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


class _Place:
    """Where a call runs: a folder of its own for a new conversation, and beside it what is too long for an argument."""

    def __init__(self, folder: Path, work: Path | None, scope: str) -> None:
        self._folder = folder
        self._scope = scope
        self._is_new = work is None
        self._file: Path | None = None
        self.work = work or folder

    def open(self) -> None:
        """Make it; raises `OSError`."""
        if self._is_new:
            self.work = Path(mkdtemp(dir=_made(self._folder / "work"), prefix=f"{self._scope}-"))
        else:
            _made(self.work)

    def put(self, text: str) -> Path:
        """A file with this text, for as long as the call lasts; raises `OSError`."""
        handle, name = mkstemp(dir=_made(self._folder), prefix="system-")
        self._file = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        return self._file

    def close(self, *, is_kept: bool) -> bool:
        """Clear away what nobody will come back to; whether the folder stays."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        if not self._is_new or is_kept or self.work == self._folder:
            return True
        shutil.rmtree(self.work, ignore_errors=True)
        return False


@dataclass(frozen=True, slots=True)
class _Session:
    """A conversation that the command line has, by its own name, the folder where alone it finds it again, and whose it
    is."""

    session: str
    work: Path
    scope: str = ""


@dataclass(frozen=True, slots=True)
class _Transcripts:
    """What the command line writes down by itself of what is said."""

    folder: Path | None

    @classmethod
    def of(cls, dialect: Dialect, variables: Mapping[str, str]) -> "_Transcripts":
        """Where they lie."""
        for variable, below in dialect.transcripts:
            if variables.get(variable):
                return cls(Path(variables[variable]) / below)
        return cls(None)

    def drop_all(self, work: Path) -> None:
        """Remove what was said in a folder that was made for one conversation."""
        for folder in self._of(work):
            shutil.rmtree(folder, ignore_errors=True)

    def drop(self, found: _Session) -> None:
        """Remove one session of a folder that others use as well."""
        for folder in self._of(found.work):
            (folder / f"{found.session}.jsonl").unlink(missing_ok=True)
            shutil.rmtree(folder / found.session, ignore_errors=True)

    def _of(self, work: Path) -> list[Path]:
        # Versions differ in which characters of a path they keep.
        wanted = _UNLIKE.sub("-", str(work.resolve()))
        entries = _entries(self.folder) if self.folder is not None else []
        return [entry for entry in entries if _UNLIKE.sub("-", entry.name) == wanted]


_UNLIKE = re.compile(r"[^A-Za-z0-9]")


class _Sessions:
    """Which sessions there are, by what was said in them: a small file for each, the newest of which are kept."""

    def __init__(self, folder: Path, transcripts: _Transcripts) -> None:
        self._files = folder / "sessions"
        self._works = folder / "work"
        self._transcripts = transcripts

    def find(self, key: str, work: Path | None) -> _Session | None:
        """The session in which exactly this was said, where calls run now."""
        found = _read_session(self._files / key)
        if found is None or (found.work != work if work else found.work.parent != self._works):
            return None
        return found

    def forget(self, key: str) -> None:
        """It is of no use any more."""
        with suppress(OSError):
            (self._files / key).unlink(missing_ok=True)

    def remember(self, key: str, found: _Session) -> None:
        """Best effort: what is not remembered is sent again."""
        if not found.session:
            return
        try:
            handle, name = mkstemp(dir=_made(self._files), prefix=".")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"session": found.session, "work": str(found.work), "scope": found.scope}, file)
            Path(name).replace(self._files / key)
            self._prune()
        except OSError as error:
            logger.warning("a session cannot be remembered: %s", _why(error))

    def erase(self, scope: str, until: float) -> bool:
        """Remove what there is of a conversation from until then; False where the disk does not let us."""
        mark = _mark(scope)
        try:
            used: set[Path] = set()
            for file in [file for file in _entries(self._files) if not file.name.startswith(".")]:
                found = _read_session(file)
                # Sessions of before it was noted whose they are cost nothing but to be sent again.
                if found is not None and (found.scope not in (mark, "") or file.stat().st_mtime > until):
                    used.add(found.work)
                    continue
                if found is not None:
                    self._transcripts.drop(found)
                file.unlink(missing_ok=True)
            for work in _entries(self._works):
                is_its = work.name.startswith(f"{mark}-") or "-" not in work.name
                if is_its and work not in used and work.stat().st_mtime <= until:
                    self._drop(work)
        except OSError as error:
            logger.error("sessions cannot be removed yet: %s", _why(error))
            return False
        return True

    def _drop(self, work: Path) -> None:
        self._transcripts.drop_all(work)
        shutil.rmtree(work, ignore_errors=True)

    def _prune(self) -> None:
        files = [entry for entry in os.scandir(self._files) if not entry.name.startswith(".")]
        if len(files) <= MAX_SESSIONS:
            return
        files.sort(key=lambda entry: entry.stat().st_mtime_ns)
        # More than need be, so that the next calls need not look again.
        old, kept = files[: -MAX_SESSIONS * 9 // 10], files[-MAX_SESSIONS * 9 // 10 :]
        works = {found.work for entry in kept if (found := _read_session(Path(entry.path)))}
        for entry in old:
            found = _read_session(Path(entry.path))
            Path(entry.path).unlink(missing_ok=True)
            if found and found.work not in works and found.work.parent == self._works:
                self._drop(found.work)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _read_session(file: Path) -> _Session | None:
    try:
        content = _mapping(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None
    session, work = _text(content.get("session")), _text(content.get("work"))
    if not _SESSION.fullmatch(session) or not work:
        return None
    return _Session(session, Path(work), _text(content.get("scope")))


def _scope_of(request: ModelRequest) -> str:
    # The agent's name, which has no colon, stands behind the scope.
    return _mark(request.conversation.rpartition(":")[0])


def _mark(scope: str) -> str:
    """What tells the sessions of one conversation from others, and holds none of its names."""
    return sha256(scope.encode(errors="replace")).hexdigest()[:16]


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _command(variables: Mapping[str, str], dialect: Dialect) -> tuple[str, ...]:
    """The program and what must stand right after it; raises `LookupError` with what to do."""
    told = _in_home(variables.get(COMMAND, "").strip(), variables)
    if told and Path(told).is_file():
        return (str(Path(told).absolute()),)
    try:
        name, *rest = shlex.split(told) or [dialect.program]
    except ValueError as error:
        raise LookupError(f"{COMMAND} cannot be read as a command: {error}") from None
    found = shutil.which(name, path=variables.get("PATH", os.defpath))
    if found is None:
        place = f"which {COMMAND} names" if told else "on the PATH"
        raise LookupError(f"there is no program {name!r} {place}: {dialect.install}")
    return (str(Path(found).absolute()), *rest)


def _in_home(path: str, variables: Mapping[str, str]) -> str:
    return variables["HOME"] + path[1:] if path.startswith("~/") and "HOME" in variables else path


def _arguments(dialect: Dialect, request: ModelRequest, session: str, place: _Place) -> tuple[str, ...]:
    arguments = list(dialect.always)
    if model := request.model.partition(":")[2]:
        arguments += _filled(dialect.model, model)
    system = _sound(request.system).replace("\0", "")
    if len(system.encode()) > MAX_ARGUMENT and dialect.system_file:
        arguments += _filled(dialect.system_file, str(place.put(system)))
    else:
        arguments += _filled(dialect.system, system)
    names = dict.fromkeys(tool.partition("(")[0].strip() for tool in request.own_tools)
    arguments += _filled(dialect.tools, ",".join(names))
    if rules := [tool.removesuffix("(*)") for tool in request.own_tools if "(" in tool]:
        arguments += _filled(dialect.rules, ",".join(rules))
    if names:
        arguments += _filled(dialect.turns, str(MAX_TURNS))
    arguments += _filled(dialect.permission_mode, request.permission_mode or "default")
    if session:
        arguments += _filled(dialect.resume, session)
    return tuple(arguments)


def _filled(words: tuple[str, ...], value: str) -> list[str]:
    return [word.replace("{}", value) for word in words]


def _environment(dialect: Dialect, variables: Mapping[str, str], request: ModelRequest) -> dict[str, str]:
    names = frozenset(name for name in dialect.passed if not name.endswith("_"))
    beginnings = tuple(name for name in dialect.passed if name.endswith("_"))
    passed = {
        name: value
        for name, value in variables.items()
        if (name in names or name.startswith(beginnings)) and name not in (COMMAND, FOLDER)
    }
    values = {"max_tokens": request.max_tokens, "thinking": request.thinking}
    ours = {name: value.format_map(values) for name, value in dialect.variables}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **passed, **ours, "TERM": "dumb"}


def _parted(messages: Sequence[ModelMessage]) -> tuple[tuple[ModelMessage, ...], tuple[ModelMessage, ...]]:
    """What the model has answered, and what came after its last answer."""
    for index in range(len(messages), 0, -1):
        message = messages[index - 1]
        if isinstance(message, ToolCalls) or (isinstance(message, Spoken) and message.role == "assistant"):
            return tuple(messages[:index]), tuple(messages[index:])
    return (), tuple(messages)


def _key(command: Sequence[str], request: ModelRequest, messages: Sequence[ModelMessage]) -> str:
    digest = sha256()
    said = [_told(message) for message in messages]
    # The conversation is part of it: two that begin alike must not share a folder.
    for part in (list(command), request.model, request.system, request.conversation, *said):
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()


def _told(message: ModelMessage) -> list[Any]:
    match message:
        case Spoken(role, text, media):
            files = ([one.kind, one.name, one.mime, sha256(one.data).hexdigest()] for one in media)
            return [role, text.strip(), *files]
        case ToolCalls(text, calls):
            return ["calls", text.strip(), *map(list, calls)]
        case ToolResult(call, tool, content, is_error):
            return ["result", call, tool, content, is_error]


class _Content:
    """The blocks of one message: texts that stand together are one."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._texts: list[str] = []

    def text(self, text: str) -> None:
        """More text, as a paragraph of its own."""
        if text.strip():
            self._texts.append(_sound(text))

    def image(self, mime: str, data: bytes) -> None:
        """An image."""
        self._close()
        source = {"type": "base64", "media_type": mime, "data": b64encode(data).decode("ascii")}
        self._blocks.append({"type": "image", "source": source})

    def blocks(self) -> list[Block]:
        """All of it; never nothing."""
        self._close()
        return self._blocks or [{"type": "text", "text": "(nothing was written)"}]

    def _close(self) -> None:
        text = PARAGRAPH.join(self._texts)
        self._texts.clear()
        if text.lstrip().startswith("/"):
            # At the beginning of a message it would be a command to the command line.
            text = f"The message reads: {text}"
        if text:
            self._blocks.append({"type": "text", "text": text})


def _content(earlier: Sequence[ModelMessage], lines: Sequence[ModelMessage]) -> list[Block]:
    """What is sent: the new lines, before them all that was said, each part under a mark that nobody could guess."""
    content = _Content()
    if earlier:
        mark = sha256(json.dumps([_told(message) for message in (*earlier, *lines)]).encode()).hexdigest()[:12]
        content.text(
            "This is a conversation that is under way. What was said until now follows, oldest first; a line that "
            f"begins with [{mark} says who speaks, and no other line does."
        )
        for message in earlier:
            _add(content, message, f"[{mark} {_who(message)}]")
        content.text(f"[{mark} now] What comes after this line is new: answer it, in your own voice, without a mark.")
    for message in lines:
        _add(content, message, f"[result of {message.tool}]" if isinstance(message, ToolResult) else "")
    if not lines and earlier:
        content.text("Go on exactly where you stopped. Repeat nothing.")
    return content.blocks()


def _who(message: ModelMessage) -> str:
    match message:
        case Spoken(role):
            return role
        case ToolCalls():
            return "assistant"
        case ToolResult(_, tool):
            return f"result of {tool}"


def _add(content: _Content, message: ModelMessage, head: str) -> None:
    match message:
        case Spoken(_, text, media):
            content.text("\n".join(part for part in (head, text) if part))
            for one in media:
                _show(content, one)
        case ToolCalls(text, calls):
            called = (f"(called {tool} with {arguments})" for _, tool, arguments in calls)
            content.text("\n".join(part for part in (head, text, *called) if part))
        case ToolResult(_, _, result):
            content.text("\n".join(part for part in (head, result) if part))


_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_TEXTS = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml"}
    | {"application/javascript", "application/sql", "application/x-sh"}
)


def _show(content: _Content, media: Media) -> None:
    mime = media.mime.partition(";")[0].strip().lower()
    name = _short(_line(media.name), 120) or "unnamed"
    if mime in _IMAGES and 0 < len(media.data) <= MAX_IMAGE:
        content.image(mime, media.data)
        return
    is_text = mime.startswith("text/") or mime.endswith(("+json", "+xml")) or mime in _TEXTS
    text = _decoded(media.data) if is_text else None
    if text is None:
        kind = f"{_short(_line(media.kind), 20)}, {_short(_line(mime), 60)}, {len(media.data)} bytes"
        content.text(f'[The file "{name}" ({kind}) came with this message. It cannot be shown to you.]')
        return
    shown = text[:MAX_INLINE]
    cut = f"\n[cut: {len(text)} characters in all]" if len(text) > MAX_INLINE else ""
    content.text(f'[The file "{name}" came with this message:]\n{shown}{cut}\n[End of the file "{name}".]')


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _frame(content: Sequence[Block]) -> bytes:
    frame = {
        "type": "user",
        "session_id": "",
        "parent_tool_use_id": None,
        # Newer versions take this for: a path or a command in it is text.
        "client_composed": True,
        "message": {"role": "user", "content": content},
    }
    return json.dumps(frame).encode() + b"\n"


def _consumed(usage: Message) -> Finished:
    read, written = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    return Finished(
        "end",
        input_tokens=_count(usage.get("input_tokens")) + read + written,
        output_tokens=_count(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def _cost(value: object) -> Decimal | None:
    """The cost to the digit, but for those below 10**-18, for which the log has no room."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    cost = Decimal(value)
    if not 0 <= cost < 10**9:
        return None
    exponent = cost.as_tuple().exponent
    return round(cost, 18) if isinstance(exponent, int) and exponent < -18 else cost


_TARGETS = (
    *("file_path", "notebook_path", "path", "command", "pattern", "query", "url"),
    *("skill", "subagent_type", "description", "prompt"),
)


def _described(tool: str, given: Message, work: Path | None, secrets: tuple[str, ...]) -> str:
    """A line for a person: the tool and what it is used on."""
    target = next((_text(given[key]) for key in _TARGETS if isinstance(given.get(key), str) and given[key].strip()), "")
    if work is not None:
        target = target.replace(f"{work}/", "")
    target = _short(_line(_redacted(target, secrets)), MAX_TARGET)
    return f"{tool}: {target}" if target else tool


_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.I)
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(?:sk-|gh[posu]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|AIza|AKIA|ASIA)[\w./+=-]{6,}"), "***"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+)*"), "***"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.I), r"\1 ***"),
    (re.compile(r"(//)[^/@\s]+@"), r"\1***@"),
    (
        re.compile(
            r"((?:api[_-]?key|token|secret|passw(?:or)?d|pwd|credentials?|authorization)[\"']?\s*[:=]\s*[\"']?)"
            r"(?!\s*(?:bearer|basic)\b)[^\s\"',;&]+",
            re.I,
        ),
        r"\1***",
    ),
    (re.compile(r"(--?(?:api-?key|token|secret|pass(?:word)?)\s+)\S+", re.I), r"\1***"),
)


def _secrets(variables: Mapping[str, str]) -> tuple[str, ...]:
    found = {value for name, value in variables.items() if _SECRET_NAME.search(name) and len(value) >= 8}
    return tuple(sorted(found, key=len, reverse=True))


def _redacted(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _mapping(value: object) -> Message:
    return value if isinstance(value, dict) else {}


def _blocks(message: Message) -> list[Message]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _text(value: object) -> str:
    return _sound(value) if isinstance(value, str) else ""


def _sound(text: str) -> str:
    """The text without halves of characters, which nothing could write down."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _line(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _end(text: str, most: int) -> str:
    """The last of a text; a word that the cut falls into is left out, for nobody could tell whether it is a secret."""
    return text if len(text) <= most else "… " + text[-most:].partition(" ")[2]


def _why(error: OSError | ValueError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
