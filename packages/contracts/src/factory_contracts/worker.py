"""Writing a worker: a function with a typed input, declared as a capability.

    class Words(BaseModel):
        text: str

    @capability("shout", effect="read")
    async def shout(words: Words) -> str:
        \"\"\"Says it in capitals.\"\"\"
        return words.text.upper()

`factory worker ./shout.py` serves it, and so does `python -m factory_nats ./shout.py` where nothing else is installed.
A second parameter of type `Report` tells whoever waits how far it is. A function that computes is best written without
`async`: it then runs in a thread, and the worker goes on saying that it lives.
"""

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, Generic, Literal, NamedTuple, ParamSpec, Protocol, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    MOST_FILE_BYTES,
    CapabilityCancel,
    CapabilityDescription,
    CapabilityDone,
    CapabilityInquiry,
    CapabilityParcel,
    CapabilityProgress,
    CapabilityRefused,
    CapabilityReply,
    CapabilityWish,
    Kept,
    KeptFile,
    MadeFile,
    RefusalReason,
    written_answers,
    written_done,
)
from factory_contracts.envelope import FIRST_VERSION, SCHEMA_VERSION, Malformed, Newer, version_of
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat, Memory
from factory_contracts.messages import MAX_TEXT
from factory_contracts.records import Effect

__all__ = ["Declaration", "File", "Made", "Report", "Unable", "capability"]

AT_ONCE = 4
STALL = 30.0
SECONDS = 120.0
LONGEST_WORDS = 1_000
# The server takes a megabyte, and base64 makes four of three.
MOST_MESSAGE_BYTES = 800_000

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Trouble = Literal["busy", "failed", "late", "stalled", "cancelled", "gone", "forgotten", "not there"]

_TROUBLES: Mapping[Trouble, tuple[RefusalReason, str]] = {
    "busy": ("busy", "The worker has its hands full; nothing was done."),
    "failed": ("failed", "The worker failed at it."),
    "late": ("late", "It was not done in time."),
    "stalled": ("late", "The worker came no further with it."),
    "cancelled": ("cancelled", "It was called off."),
    "gone": ("gone", "The worker that was asked has been started anew since."),
    "forgotten": ("failed", "It was done before, and what came of it is not kept any more."),
    "not there": ("unable", "What goes with the request was not found; nothing was done."),
}


class Report(Protocol):
    """How a worker's function says how far it is: in words, as a share from 0 to 1, or both."""

    def __call__(self, words: str = "", *, share: float | None = None) -> None:
        """Tell whoever waits. Not to be heard of for longer than the capability's `stall` ends the work."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """A file that was made, for the person whose agent asked."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Made:
    """Words for the agent, and files for the person."""

    text: str = ""
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Unable:
    """It cannot be done, and nothing was; the words are for whoever asked."""

    words: str


class Desk(Protocol):
    """What whoever serves a worker does for it while it works."""

    def report(self, words: str = "", *, share: float | None = None) -> None:
        """Tell whoever waits how far it is."""
        ...

    async def keep(self, data: bytes) -> str:
        """Put what is too large for a message where whoever asked can get it; the name under which it lies there."""
        ...

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what would hold everything else up, where it does not."""
        ...


@dataclass(frozen=True, slots=True)
class Places:
    """Where one worker is asked, says that it lives, and keeps what is large."""

    requests: str
    heartbeats: str
    store: str


class Errand(NamedTuple):
    """What a worker is asked, as far as whoever serves it must know it; `refusal` answers what cannot be understood."""

    kind: Literal["wish", "parcel", "cancel", "describe", "refused"]
    id: str = ""
    deadline: float = 0.0
    instance: str = ""
    blob: str = ""
    wants_progress: bool = False
    request: CapabilityWish | None = None
    understands: int = FIRST_VERSION
    refusal: bytes = b""
    parts: tuple["Errand", ...] = ()


class Declaration(Generic[P, R_co]):
    """A function that a worker serves, and all that is to be known of it. Calling it calls the function."""

    def __init__(
        self, function: Callable[P, R_co], name: str, effect: Effect, at_once: int, stall: float, seconds: float
    ) -> None:
        self.name = subjects.capability_token(name)
        self.effect = effect
        self.is_repeatable = effect == "read"
        self.at_once = at_once
        self.seconds = seconds
        self.description = inspect.getdoc(function) or ""
        if not self.description:
            raise TypeError(f"{function.__name__}: say in a docstring what it does; whoever may ask for it is told so")
        if name in (subjects.HUB, subjects.CLIPOOL):
            raise TypeError(f"{function.__name__}: {name!r} is served by the system itself")
        parameters = list(inspect.signature(function).parameters)
        hints = get_type_hints(function)
        if not 1 <= len(parameters) <= 2 or any(each not in hints for each in parameters):
            raise TypeError(f"{function.__name__}: takes what is wanted and perhaps a Report, both with their types")
        self._function = function
        # What it takes and returns was looked at by the checker where it is called, and is looked at here as it runs.
        self._call: Callable[..., Any] = function
        self._reports = len(parameters) == 2
        self.stall = stall if self._reports else math.inf
        self._waits = inspect.iscoroutinefunction(function)
        self._input: TypeAdapter[object] = TypeAdapter(hints[parameters[0]])
        self._read = self._input.validator.validate_json
        self._output_type = hints.get("return", object)
        self._schema = self._input.json_schema()
        if self._schema.get("type") != "object":
            raise TypeError(f"{function.__name__}: what is wanted must have fields, so make it a pydantic model")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """What the function returns."""
        return self._function(*args, **kwargs)

    @cached_property
    def parameters(self) -> str:
        """The arguments that it knows, as a JSON schema."""
        return json.dumps(self._schema, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def shape(self) -> str:
        """What changes with anything that is said of how it is asked."""
        return sha256(self.describe()).hexdigest()[:16]

    # What whoever serves it needs

    def places(self, worker: str) -> Places:
        """Where a worker of that name is found."""
        return Places(
            subjects.request(self.name, worker), subjects.heartbeat(self.name, worker), subjects.store(self.name)
        )

    def understand(self, data: bytes) -> Errand:
        """What is asked, or the refusal of what is no request."""
        try:
            asked = CAPABILITY_REQUEST.decode(data)
        except Newer:
            words = f"The worker understands version {SCHEMA_VERSION} and nothing newer; nothing was done."
            return Errand("refused", refusal=_written(CapabilityRefused(reason="newer version", words=words)))
        except Malformed:
            words = "The worker does not understand such a request; nothing was done."
            return Errand("refused", refusal=_written(CapabilityRefused(reason="malformed", words=words)))
        if isinstance(asked, CapabilityParcel):
            instance, understands = asked.instance, asked.understands
            wishes = (
                Errand("wish", wish.key, wish.deadline, instance, "", False, wish, understands) for wish in asked.wishes
            )
            return Errand("parcel", parts=tuple(wishes))
        if isinstance(asked, CapabilityCancel):
            return Errand("cancel", asked.id)
        if isinstance(asked, CapabilityInquiry):
            return Errand("describe")
        return Errand(
            "wish",
            asked.key,
            asked.deadline,
            asked.instance or "",
            "" if asked.large is None else asked.large.blob,
            asked.wants_progress is True,
            asked,
            asked.understands or FIRST_VERSION,
        )

    async def work(self, errand: Errand, given: bytes | None, desk: Desk) -> bytes:
        """The reply to a wish, whose large arguments are `given`. What the function raises is raised."""
        request = errand.request
        assert request is not None
        try:
            asked = self._read(_arguments(request, self._schema) if given is None else given)
        except ValidationError as error:
            return _written(CapabilityRefused(reason="malformed", words=_complaint(error)))
        given_to = (asked, desk.report) if self._reports else (asked,)
        if self._waits:
            made = await self._call(*given_to)
        else:
            made = await desk.aside(partial(self._call, *given_to))
        if isinstance(made, str) and len(made) <= MAX_TEXT:
            # What nearly always comes.
            return written_done(_whole(made))
        reply = await self._reply(made, desk)
        if version_of(reply) > errand.understands:
            words = f"It was done, but what came of it cannot be said in version {errand.understands}."
            reply = CapabilityRefused(reason="failed", words=words)
        return _written(reply)

    def gather(self, parts: Sequence[int], replies: Sequence[bytes]) -> bytes:
        """Replies to these parts of a parcel, in one message."""
        return written_answers(parts, replies)

    def describe(self) -> bytes:
        """How it is asked."""
        return _written(
            CapabilityDescription(
                name=self.name,
                description=self.description[:MAX_TEXT],
                parameters=self.parameters,
                effect=self.effect,
                seconds=self.seconds,
            )
        )

    def progress(self, words: str, share: float | None) -> bytes:
        """How far it is."""
        kept = None if share is None else min(1.0, max(0.0, share))
        return _written(CapabilityProgress(share=kept, words=_whole(words)[:LONGEST_WORDS]))

    def refuse(self, trouble: Trouble) -> bytes:
        """The refusal of what is not done, or not to its end."""
        reason, words = _TROUBLES[trouble]
        return _written(CapabilityRefused(reason=reason, words=words))

    def heartbeat(
        self, worker: str, instance: str, running: int, is_draining: bool, gpu: tuple[int, int] | None
    ) -> bytes:
        """That a worker lives, and how it does; `gpu` is its graphics processors' memory, free and in all."""
        return HEARTBEAT.encode(
            Heartbeat(
                worker=worker,
                instance=instance,
                understands=SCHEMA_VERSION,
                load=min(1.0, running / max(1, self.at_once)),
                at_once=self.at_once,
                running=running,
                shape=self.shape,
                is_draining=is_draining or None,
                gpu=None if gpu is None else Memory(free=gpu[0], total=gpu[1]),
            )
        )

    @cached_property
    def _output(self) -> TypeAdapter[object]:
        return TypeAdapter(self._output_type)

    async def _reply(self, made: object, desk: Desk) -> CapabilityDone | CapabilityRefused:
        match made:
            case Unable(words):
                return CapabilityRefused(reason="unable", words=_whole(words)[:MAX_TEXT])
            case Made():
                return await _done(made, desk)
            case str():
                return await _done(Made(made), desk)
            case File():
                return await _done(Made(files=(made,)), desk)
            case _:
                return await _done(Made(self._output.dump_json(made).decode()), desk)


def capability(
    name: str, *, effect: Effect = "external", at_once: int = AT_ONCE, stall: float = STALL, seconds: float = SECONDS
) -> Callable[[Callable[P, R_co]], Declaration[P, R_co]]:
    """Declare a function to be what a worker does.

    `effect` says what asking does to the world: what only reads may be asked of another worker when one falls silent,
    anything else is never done twice. `at_once` wishes are worked at side by side, more are refused as busy; who does
    not come to an end in `seconds`, or reports nothing for `stall` seconds, is stopped. Raises `TypeError` or
    `BadToken` that says what is wrong with the function or the name.
    """

    def declare(function: Callable[P, R_co]) -> Declaration[P, R_co]:
        return Declaration(function, name, effect, at_once, stall, seconds)

    return declare


async def _done(made: Made, desk: Desk) -> CapabilityDone:
    text = _whole(made.text)
    inline = sum(len(file.data) for file in made.files)
    is_long = len(text) > MAX_TEXT
    is_large = inline > MOST_FILE_BYTES or (
        inline > 0 and not is_long and len(json.dumps(text)) + inline * 4 // 3 > MOST_MESSAGE_BYTES
    )
    large = await _kept(text.encode(), desk) if is_long else None
    files: list[MadeFile] = []
    kept: list[KeptFile] = []
    for file in made.files:
        if is_large:
            kept.append(KeptFile(name=file.name, blob=await desk.keep(file.data), size=len(file.data)))
        else:
            files.append(MadeFile.of(file.name, file.data))
    return CapabilityDone(
        text="" if is_long else text, files=tuple(files) or None, large=large, kept_files=tuple(kept) or None
    )


async def _kept(data: bytes, desk: Desk) -> Kept:
    return Kept(blob=await desk.keep(data), size=len(data))


def _arguments(request: CapabilityWish, schema: Mapping[str, Any]) -> str:
    """The arguments; whoever asks in words alone means the `text`, where there is one."""
    if not request.text or "text" not in schema.get("properties", {}):
        return request.arguments
    return json.dumps({"text": request.text, **request.details})


def _complaint(error: ValidationError) -> str:
    """What is wrong with the arguments, without what stood there and without the words of anybody's own checks."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"]) or "the arguments"
    is_ours = first["type"] in ("value_error", "assertion_error")
    return f"{where}: {'that is not possible' if is_ours else first['msg']}; nothing was done."


def _whole(text: str) -> str:
    """The text without halves of characters, which no message can carry."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _written(reply: CapabilityReply) -> bytes:
    return CAPABILITY_REPLY.encode(reply)
