"""A model that says what a TOML script says, and without a script explains, offline, how to connect a real one.

    calls_file = "calls.jsonl"     # optional: one line for each call, for those who count from outside

    [[reply]]                      # the first whose pattern is found in what the person said last
    match = "weather in (\\w+)"
    steps = [
        { say = "Let me see about {1}. " },
        { call = "clock", arguments = { timezone = "UTC" } },
        { say = "You said: {said}. The tool said: {tool}", pace_ms = 20 },
        { burst = 50, text = "word ", pace_ms = 2 },
        { error = "overloaded", transient = true, times = 1 },
        { finish = "length" },
        { stall = true },
    ]

A text is split into words, a list of texts is said as it stands; `pace_ms` is the pause between pieces, 0 none. Calls
that stand together end a model call, and what follows them is said by the next. Placeholders: `{said}`, `{tool}` (the
last result), `{messages}` (how many the model was shown) and `{1}`, `{2}`, ... (groups of the pattern).
"""

import asyncio
import json
import os
import re
import tomllib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from factory_contracts.envelope import Part
from hub.kernel.events import Called, Failed, Finished, ModelEvent, Said
from hub.kernel.foreign import bare
from hub.kernel.harness import CONTINUE
from hub.kernel.ports import ModelRequest, Spoken, ToolCalls, ToolResult

PROVIDER = "scripted"
OFFLINE_PACE_MS = 12
QUOTED = 200

Pace = Annotated[int, Field(ge=0, le=60_000)]


class ScriptError(ValueError):
    """A script that cannot be followed; the sentence names file, reply, step and key."""


class Say(Part):
    """Text, word by word or in the given pieces."""

    say: str | list[str]
    pace_ms: Pace = 0


class Burst(Part):
    """The same text many times, each a delta of its own."""

    burst: Annotated[int, Field(ge=1, le=1_000_000)]
    text: str = "word "
    pace_ms: Pace = 0


class Call(Part):
    """A tool is wanted; a text of arguments is given as it stands, so that it may be broken."""

    call: str
    arguments: dict[str, Any] | str = Field(default_factory=dict)


class Error(Part):
    """The call breaks off, always or only the first so many times in this process."""

    error: str
    transient: bool = False
    times: Annotated[int, Field(ge=0)] = 0


class Stall(Part):
    """Nothing more comes until the call is ended."""

    stall: Literal[True]


class Finish(Part):
    """The call ends here, for this reason."""

    finish: Literal["end", "length", "refusal"]


Step = Say | Burst | Call | Error | Stall | Finish

_STEPS: tuple[tuple[str, type[Step]], ...] = (
    ("say", Say),
    ("burst", Burst),
    ("call", Call),
    ("error", Error),
    ("stall", Stall),
    ("finish", Finish),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said to a message in which the pattern is found, one row of steps for each model call."""

    pattern: re.Pattern[str]
    calls: tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A whole script."""

    name: str
    replies: tuple[Reply, ...]
    calls_file: Path | None = None


@dataclass(slots=True)
class Tally:
    """What this process has been asked: calls in all, and errors given for each step."""

    calls: int = 0
    errors: dict[int, int] = field(default_factory=dict)


class Scripted:
    """The provider `scripted`: `scripted` follows the given script, `scripted:<path>` the one in that file.

    Relative paths are looked up in `folder`; with neither script it is the offline assistant.
    """

    def __init__(
        self, script: Script | None = None, *, folder: Path | None = None, calls_file: Path | None = None
    ) -> None:
        self._script = script
        self._folder = folder
        self._calls_file = calls_file
        self._loaded: dict[str, Script] = {}
        self._tally = Tally()

    @property
    def calls(self) -> int:
        """How many model calls this process made."""
        return self._tally.calls

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call, counted before its first word."""
        try:
            script = self._find(request.model.partition(":")[2])
        except ScriptError as error:
            return _broken(str(error))
        self._count(request, script)
        if script is None:
            return _offline(request)
        return _follow(script, request, self._tally)

    async def close(self) -> None:
        """Nothing is held."""

    def _find(self, name: str) -> Script | None:
        if not name:
            return self._script
        found = self._loaded.get(name)
        if found is None:
            path = Path(name) if self._folder is None else self._folder / name
            found = load(path if path.suffix else path.with_suffix(".toml"))
            self._loaded[name] = found
        return found

    def _count(self, request: ModelRequest, script: Script | None) -> None:
        self._tally.calls += 1
        path = self._calls_file or (script.calls_file if script is not None else None)
        if path is not None:
            line = {"process": os.getpid(), "call": self._tally.calls, "said": _said(request)[:QUOTED]}
            # One write in append mode is whole or absent, also when the process is killed right after it.
            with path.open("ab", buffering=0) as file:
                file.write(json.dumps(line).encode() + b"\n")


def load(path: Path) -> Script:
    """The script in a file; raises `ScriptError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: cannot be read: {type(error).__name__}") from None
    return parse(text, str(path), path.parent)


def parse(text: str, name: str, folder: Path) -> Script:
    """The script that a text holds; raises `ScriptError`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScriptError(f"{name}: {error}") from None
    calls_file = content.pop("calls_file", None)
    replies = content.pop("reply", [])
    if content:
        raise ScriptError(f"{name}: unknown key {next(iter(content))!r}")
    if calls_file is not None and not isinstance(calls_file, str):
        raise ScriptError(f"{name}: calls_file: must be a text")
    if not isinstance(replies, list) or not replies:
        raise ScriptError(f"{name}: reply: there must be at least one [[reply]]")
    read = tuple(_reply(reply, f"{name}: reply {number}") for number, reply in enumerate(replies, 1))
    return Script(name, read, folder / calls_file if calls_file else None)


def _reply(table: Any, place: str) -> Reply:
    if not isinstance(table, dict):
        raise ScriptError(f"{place}: must be a table")
    unknown = set(table) - {"match", "steps"}
    if unknown:
        raise ScriptError(f"{place}: unknown key {min(unknown)!r}")
    steps = table.get("steps")
    if not isinstance(steps, list):
        raise ScriptError(f"{place}: steps: must be a list")
    try:
        pattern = re.compile(table.get("match", ""), re.IGNORECASE | re.DOTALL)
    except (re.error, TypeError) as error:
        raise ScriptError(f"{place}: match: {error}") from None
    rows: list[list[Step]] = [[]]
    for number, content in enumerate(steps, 1):
        step = _step(content, f"{place}: step {number}")
        if rows[-1] and isinstance(rows[-1][-1], Call | Finish) and not isinstance(step, Call):
            rows.append([])
        rows[-1].append(step)
    return Reply(pattern, tuple(tuple(row) for row in rows))


def _step(table: Any, place: str) -> Step:
    if not isinstance(table, dict):
        raise ScriptError(f"{place}: must be a table")
    for key, kind in _STEPS:
        if key in table:
            try:
                return kind.model_validate(table)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                raise ScriptError(f"{place}: {where}: {first['msg']}") from None
    raise ScriptError(f"{place}: must have one of {', '.join(key for key, _ in _STEPS)}")


async def _broken(reason: str) -> AsyncGenerator[ModelEvent, None]:
    yield Failed(reason)


async def _follow(script: Script, request: ModelRequest, tally: Tally) -> AsyncGenerator[ModelEvent, None]:
    said = _said(request)
    for reply in script.replies:
        found = reply.pattern.search(said)
        if found is not None:
            break
    else:
        yield Failed(f"{script.name}: no reply matches what was said")
        return
    fill = _filler(request, said, found)
    past = _past_calls(request)
    pause = _Pause()
    output = 0
    for step in reply.calls[past] if past < len(reply.calls) else ():
        match step:
            case Say() | Burst():
                for piece in _pieces(step, fill):
                    if step.pace_ms:
                        await pause.wait(step.pace_ms)
                    output += 1
                    yield piece
            case Call():
                arguments = step.arguments if isinstance(step.arguments, str) else json.dumps(step.arguments)
                yield Called(f"call_{past}", fill(step.call), _fill_json(arguments, fill))
            case Error():
                given = tally.errors.get(id(step), 0)
                if not step.times or given < step.times:
                    tally.errors[id(step)] = given + 1
                    yield Failed(step.error, step.transient)
                    return
            case Stall():
                await asyncio.Event().wait()
            case Finish():
                yield Finished(step.finish, _length(request), output)
                return
    wants_tools = past < len(reply.calls) and bool(reply.calls[past]) and isinstance(reply.calls[past][-1], Call)
    yield Finished("tools" if wants_tools else "end", _length(request), output)


class _Pause:
    """Pieces at an even pace, the first at once: what one pause lasts too long, the next makes up for."""

    __slots__ = ("_due", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    async def wait(self, pace_ms: int) -> None:
        now = self._loop.time()
        if not self._due:
            self._due = now
            return
        self._due += pace_ms / 1000
        await asyncio.sleep(max(0.0, self._due - now))


def _pieces(step: Say | Burst, fill: Callable[[str], str]) -> Iterator[Said]:
    if isinstance(step, Burst):
        return repeat(Said(fill(step.text)), step.burst)
    pieces = _words(fill(step.say)) if isinstance(step.say, str) else [fill(piece) for piece in step.say]
    return map(Said, pieces)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+", text) or ([text] if text else [])


def _filler(request: ModelRequest, said: str, found: re.Match[str]) -> Callable[[str], str]:
    results = [bare(message.content) for message in request.messages if isinstance(message, ToolResult)]
    values: Mapping[str, str] = {
        "said": said,
        "tool": results[-1] if results else "",
        "messages": str(len(request.messages)),
        **{str(number): group or "" for number, group in enumerate(found.groups(), 1)},
    }

    def fill(text: str) -> str:
        if "{" not in text:
            return text
        return re.sub(r"\{(\w+)\}", lambda place: values.get(place.group(1), place.group(0)), text)

    return fill


def _fill_json(arguments: str, fill: Callable[[str], str]) -> str:
    """What a person said stands within a JSON text here, and must not break out of it."""
    return re.sub(r"\{\w+\}", lambda place: json.dumps(fill(place.group(0)))[1:-1], arguments)


def _last_user(request: ModelRequest) -> int:
    """Where the person spoke last; messages after it belong to the present turn."""
    for index in range(len(request.messages) - 1, -1, -1):
        message = request.messages[index]
        if isinstance(message, Spoken) and message.role == "user" and message.text != CONTINUE:
            return index
    return -1


def _said(request: ModelRequest) -> str:
    index = _last_user(request)
    message = request.messages[index] if index >= 0 else None
    return message.text if isinstance(message, Spoken) else ""


def _past_calls(request: ModelRequest) -> int:
    """How many calls of this reply were made before: each left a message that asked for tools, or to go on."""
    return sum(
        isinstance(message, ToolCalls) or (isinstance(message, Spoken) and message.text == CONTINUE)
        for message in request.messages[_last_user(request) + 1 :]
    )


def _length(request: ModelRequest) -> int:
    """About as many words as are shown, as a stand-in for tokens."""
    return sum(message.text.count(" ") + 1 for message in request.messages if isinstance(message, Spoken))


async def _offline(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    pause = _Pause()
    words = _words(_explain(request))
    for word in words:
        await pause.wait(OFFLINE_PACE_MS)
        yield Said(word)
    yield Finished("end", _length(request), len(words))


def _explain(request: ModelRequest) -> str:
    heard = [message.text for message in request.messages if isinstance(message, Spoken) and message.role == "user"]
    said = _quote(heard[-1]) if heard else "nothing"
    if len(heard) < 2:
        return (
            "**No model is connected.** I am the `scripted` stand-in that comes with Factory: I follow fixed rules, "
            "understand nothing and cost nothing. What works is everything around me: what you write is put on a log "
            "and comes back to me with your next message.\n\n"
            f"You said: {said}\n\n"
            "To get real answers, do one of these and start `factory chat` again:\n\n"
            "- Set `ANTHROPIC_API_KEY`, `OPENAI_API_KEY`, `OPENROUTER_API_KEY` or `GEMINI_API_KEY`, in the environment "
            "or in a file `.env` where you start.\n"
            "- Run Ollama on this machine.\n"
            '- Name a model in an agent file: `model = "provider:model"`; `factory doctor` tells what it finds.\n\n'
            "Say something else, and I will show you that I remember this."
        )
    return (
        f"Still no model connected, so I cannot answer that; but I was shown {len(heard)} of your "
        f"messages.\n\n- You said earlier: {_quote(heard[-2])}\n- You said now: {said}"
    )


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line[:QUOTED]}{'…' if len(line) > QUOTED else ''}”"
