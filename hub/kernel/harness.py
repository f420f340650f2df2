"""One agentic turn as a state machine: what a model and its tools did comes in, what to do next comes out.

A model is asked at most `max_calls` times, and every call of a tool gets exactly one result, also when the turn is
stopped. A call's id derives from what is called and with which arguments, so that an attempt on another worker gives
the same call the same id, and a call whose outcome nobody knows is told to the model instead of run again.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from json import dumps, loads
from typing import Literal

from factory_contracts.messages import Outcome, Usage
from hub.kernel.events import Called, Failed, Finished, ModelEvent, Said
from hub.kernel.ports import ModelMessage, ModelRequest, Spoken, ToolCalls, ToolResult, ToolSpec

MAX_ANSWER = 1_000_000
MAX_ARGUMENTS = 100_000
MAX_OBSERVATION = 100_000
MAX_SIDE_BY_SIDE = 16
MAX_TOOL_NAME = 64
RETRY_DELAYS = (0.25, 1.0)

CONTINUE = "Go on exactly where you stopped. Repeat nothing."
CUT_OFF = "\n\n[cut: the answer was longer than the model may say at once]"
NO_ANSWER = "The model gave no answer."
REFUSAL = "I cannot help with that."
PARAGRAPH = "\n\n"
BROKEN_OFF = Finished("end")


@dataclass(frozen=True, slots=True)
class Begin:
    """All that a turn starts from; the reference is what a person is given instead of a reason."""

    model: str
    system: str
    messages: tuple[ModelMessage, ...]
    reference: str
    tools: tuple[ToolSpec, ...] = ()
    max_calls: int = 20
    unknown_calls: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool came back, or broke; either way the content is what the model reads."""

    call: str
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The person has heard enough; what was said stays."""


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The turn took longer than its agent may take."""


@dataclass(frozen=True, slots=True)
class Steer:
    """The person adds something before the turn is over."""

    text: str


Event = Begin | ModelEvent | ToolFinished | Stop | TimeUp | Steer


@dataclass(frozen=True, slots=True)
class AskModel:
    """Make one model call, after a pause where the last one failed."""

    request: ModelRequest
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class UseTool:
    """Run a tool; one with a write or external effect only once its start is on the log."""

    call: str
    tool: ToolSpec
    arguments: str
    digest: str


@dataclass(frozen=True, slots=True)
class Say:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """The one line that a person may see of a tool."""

    call: str
    tool: str
    state: Literal["running", "ok", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The turn is over: whatever still runs is cancelled, and nothing follows. The reason is for the operator."""

    outcome: Outcome
    usage: Usage
    reason: str = ""


Command = AskModel | UseTool | Say | Show | End
Commands = tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call as the harness sees it: ready to be run, or the observation to make instead."""

    call: str
    name: str
    arguments: str
    digest: str
    plan: ToolSpec | str

    @property
    def has_effect(self) -> bool:
        """Whether it may change anything."""
        return isinstance(self.plan, ToolSpec) and self.plan.effect != "read"


@dataclass(frozen=True, slots=True)
class Course:
    """What a turn has come to so far, whatever it is doing."""

    given: Begin
    messages: tuple[ModelMessage, ...]
    calls: int = 0
    said: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    steers: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    has_continued: bool = False

    @property
    def may_ask(self) -> bool:
        """Whether another model call is within the limit."""
        return self.calls < self.given.max_calls


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing has begun."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A model call is under way and has said this much."""

    course: Course
    text: str = ""
    called: tuple[Called, ...] = ()
    retries: int = 0
    is_continuing: bool = False


@dataclass(frozen=True, slots=True)
class Using:
    """Tools are at work: `waiting` ones begin when those before them are done."""

    course: Course
    wanted: tuple[Wanted, ...]
    waiting: tuple[Wanted, ...]
    running: tuple[Wanted, ...] = ()
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Over:
    """The turn is over, and this is the whole conversation it had with the model."""

    messages: tuple[ModelMessage, ...]


State = Idle | Asking | Using | Over
Step = tuple[State, Commands]


def step(state: State, event: Event) -> Step:
    """What the turn is after this event, and what is to be done now; an event out of place changes nothing."""
    match state:
        case Idle():
            return _ask(Course(event, event.messages)) if isinstance(event, Begin) else (state, ())
        case Asking():
            return _hear(state, event)
        case Using():
            return _observe(state, event)
        case Over():
            return state, ()


def _ask(course: Course, *, retries: int = 0, is_continuing: bool = False) -> Step:
    given = course.given
    if course.steers:
        spoken = tuple(Spoken("user", text) for text in course.steers)
        course = replace(course, messages=course.messages + spoken, steers=())
    course = replace(course, calls=course.calls + 1)
    request = ModelRequest(given.model, given.system, course.messages, given.tools)
    delay = RETRY_DELAYS[retries - 1] if retries else 0.0
    return Asking(course, retries=retries, is_continuing=is_continuing), (AskModel(request, delay),)


def _hear(state: Asking, event: Event) -> Step:
    match event:
        case Said():
            return _say(state, event.text)
        case Called():
            return replace(state, called=(*state.called, event)), ()
        case Finished():
            return _finish(state, event)
        case Failed():
            return _retry(state, event)
        case Steer():
            return replace(state, course=_steer(state.course, event)), ()
        case Stop():
            return _end(_abandon(state, "The turn was stopped before this ran."), "stopped")
        case TimeUp():
            return _overrun(_abandon(state, "The turn ran out of time before this ran."))
        case Begin() | ToolFinished():
            return state, ()


def _say(state: Asking, text: str) -> Step:
    if not text:
        return state, ()
    course = state.course
    begins_anew = bool(course.said) and not state.text and not state.is_continuing
    said = PARAGRAPH + text if begins_anew else text
    state = Asking(course, state.text + text, state.called, state.retries, state.is_continuing)
    if course.said + len(state.text) <= MAX_ANSWER:
        return state, (Say(said),)
    ended, commands = _end(_abandon(state, "The answer was too long already."), "complete", CUT_OFF)
    return ended, (Say(said), *commands)


def _retry(state: Asking, event: Failed) -> Step:
    course = state.course
    was_silent = not state.text and not state.called
    if event.is_transient and was_silent and state.retries < len(RETRY_DELAYS) and course.may_ask:
        return _ask(course, retries=state.retries + 1, is_continuing=state.is_continuing)
    return _fail(_abandon(state, "The model's answer broke off before this ran."), event.reason)


def _finish(state: Asking, event: Finished) -> Step:
    if event.reason == "refusal":
        course = _abandon(state, "The model refused to go on before this ran.", event)
        return _end(course, "complete", "" if course.said else REFUSAL)
    if state.called:
        course, wanted = _plan(state, event)
        return _advance(Using(course, wanted, waiting=wanted))
    course = _answered(state, event)
    if event.reason == "length" and state.text and not course.has_continued and course.may_ask:
        course = replace(course, messages=(*course.messages, Spoken("user", CONTINUE)), has_continued=True)
        return _ask(course, is_continuing=True)
    if course.steers and course.may_ask:
        return _ask(course)
    if not course.said:
        return _end(course, "complete", NO_ANSWER)
    return _end(course, "complete", CUT_OFF if event.reason == "length" else "")


def _advance(state: Using) -> Step:
    """Begin what may begin now: what only reads runs side by side, what has an effect runs by itself, in its turn."""
    commands: list[Command] = []
    waiting, running, results = list(state.waiting), list(state.running), list(state.results)
    while waiting:
        wanted = waiting[0]
        if isinstance(wanted.plan, str):
            results.append(ToolResult(wanted.call, wanted.name, wanted.plan, is_error=True))
            commands.append(_line(wanted, "error"))
        elif (
            (running and wanted.has_effect)
            or any(other.has_effect for other in running)
            or len(running) == MAX_SIDE_BY_SIDE
        ):
            break
        else:
            running.append(wanted)
            commands += (_line(wanted, "running"), UseTool(wanted.call, wanted.plan, wanted.arguments, wanted.digest))
        del waiting[0]
    state = replace(state, waiting=tuple(waiting), running=tuple(running), results=tuple(results))
    if running:
        return state, tuple(commands)
    course = _resulted(state)
    if course.may_ask:
        after, more = _ask(course)
    else:
        words = f"Sorry, I could not finish this in {course.given.max_calls} steps."
        after, more = _fail(course, f"the limit of {course.given.max_calls} model calls", words)
    return after, (*commands, *more)


def _must_wait(wanted: Wanted, running: list[Wanted]) -> bool:
    if len(running) == MAX_SIDE_BY_SIDE:
        return True
    return any(wanted.has_effect or other.has_effect for other in running)


def _observe(state: Using, event: Event) -> Step:
    match event:
        case ToolFinished():
            return _note(state, event)
        case Steer():
            return replace(state, course=_steer(state.course, event)), ()
        case Stop():
            course, lines = _interrupt(state, "The turn was stopped; whether this had an effect is not known.")
            ended, commands = _end(course, "stopped")
        case TimeUp():
            course, lines = _interrupt(state, "The turn ran out of time; whether this had an effect is not known.")
            ended, commands = _overrun(course)
        case Failed():
            course, lines = _interrupt(state, "The turn broke off; whether this had an effect is not known.")
            ended, commands = _fail(course, event.reason)
        case Begin() | Said() | Called() | Finished():
            return state, ()
    return ended, (*lines, *commands)


def _note(state: Using, event: ToolFinished) -> Step:
    for wanted in state.running:
        if wanted.call == event.call:
            break
    else:
        return state, ()
    result = ToolResult(wanted.call, wanted.name, event.content[:MAX_OBSERVATION], event.is_error)
    running = tuple(other for other in state.running if other is not wanted)
    after, commands = _advance(replace(state, running=running, results=(*state.results, result)))
    return after, (_line(wanted, "error" if event.is_error else "ok"), *commands)


def _plan(state: Asking, end: Finished) -> tuple[Course, tuple[Wanted, ...]]:
    """The calls of an answer, each with its id, and the course with the message that made them."""
    course = state.course
    digests = list(course.digests)
    specs = {spec.name: spec for spec in course.given.tools}
    planned: list[Wanted] = []
    for called in state.called:
        name = called.tool[:MAX_TOOL_NAME] or "unnamed"
        arguments, problem = _read(called.arguments)
        digest = sha256(f"{name}\0{arguments}".encode(errors="surrogatepass")).hexdigest()[:12]
        digests.append(digest)
        call = f"{digest}-{digests.count(digest)}"
        spec = specs.get(called.tool)
        plan: ToolSpec | str
        if spec is None:
            plan = f"There is no tool {name!r}. There is: {', '.join(specs) or 'none'}."
        elif problem:
            plan = problem
        elif spec.effect != "read" and call in course.given.unknown_calls:
            plan = (
                "This was begun in an earlier attempt at the same answer, and whether it took effect is not known. "
                "It was not run again. Find out first, or tell the person."
            )
        else:
            plan = spec
        planned.append(Wanted(call, name, arguments, digest, plan))
    message = ToolCalls(state.text, tuple((wanted.call, wanted.name, wanted.arguments) for wanted in planned))
    return replace(_after(state, end, message), digests=tuple(digests)), tuple(planned)


def _read(arguments: str) -> tuple[str, str]:
    """The arguments in one spelling, and what is wrong with them."""
    if len(arguments) > MAX_ARGUMENTS:
        return "{}", f"The arguments are longer than {MAX_ARGUMENTS} characters."
    try:
        value = loads(arguments or "{}")
        if not isinstance(value, dict):
            return "{}", "The arguments are no JSON object."
        return dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False), ""
    except (ValueError, RecursionError):
        return "{}", "The arguments are no valid JSON."


def _abandon(state: Asking, why: str, end: Finished = BROKEN_OFF) -> Course:
    """The course with what was said and, for each call that never ran, the reason."""
    if not state.called:
        return _answered(state, end)
    course, wanted = _plan(state, end)
    results = tuple(ToolResult(one.call, one.name, why, is_error=True) for one in wanted)
    return replace(course, messages=course.messages + results)


def _answered(state: Asking, end: Finished) -> Course:
    """The course after an answer that called no tool."""
    return _after(state, end, Spoken("assistant", state.text) if state.text else None)


def _after(state: Asking, end: Finished, message: ModelMessage | None) -> Course:
    course = state.course
    return replace(
        course,
        messages=course.messages if message is None else (*course.messages, message),
        said=course.said + len(state.text),
        input_tokens=course.input_tokens + end.input_tokens,
        output_tokens=course.output_tokens + end.output_tokens,
    )


def _interrupt(state: Using, why: str) -> tuple[Course, Commands]:
    """The course with a result for every call, and the last line of each that ran."""
    missing = tuple(ToolResult(one.call, one.name, why, is_error=True) for one in state.running + state.waiting)
    lines = tuple(_line(one, "error") for one in state.running)
    return _resulted(replace(state, results=state.results + missing)), lines


def _resulted(state: Using) -> Course:
    """The course with every result, in the order of the calls."""
    found = {result.call: result for result in state.results}
    results = tuple(found[wanted.call] for wanted in state.wanted)
    return replace(state.course, messages=state.course.messages + results)


def _steer(course: Course, event: Steer) -> Course:
    return replace(course, steers=(*course.steers, event.text))


def _overrun(course: Course) -> Step:
    return _fail(course, "the time limit of the agent", "Sorry, this took too long.")


def _fail(course: Course, reason: str, words: str = "Sorry, I could not finish this.") -> Step:
    joint = PARAGRAPH if course.said else ""
    return _end(course, "failed", f"{joint}{words} Reference {course.given.reference}.", reason)


def _end(course: Course, outcome: Outcome, words: str = "", reason: str = "") -> Step:
    usage = Usage(calls=course.calls, input_tokens=course.input_tokens, output_tokens=course.output_tokens)
    end = End(outcome, usage, reason)
    return Over(course.messages), (Say(words), end) if words else (end,)


def _line(wanted: Wanted, state: Literal["running", "ok", "error"]) -> Show:
    words = {"running": f"Using {wanted.name}", "ok": f"Used {wanted.name}", "error": f"{wanted.name} did not work"}
    return Show(wanted.call, wanted.name, state, words[state])
