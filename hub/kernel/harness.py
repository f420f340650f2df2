"""One agentic turn as a state machine: what a model and its tools did comes in, what to do next comes out.

A model is asked at most `max_calls` times, and every call of a tool gets exactly one result, also when the turn is
stopped. A call's id derives from what is called and with which arguments, so that an attempt on another worker gives
the same call the same id: what an earlier attempt did is told to the model instead of done again.

A model that fails is asked again, then the next one of the agent is; what was said stays, and the next goes on there.
Where the provider's own tools may have acted in the call that failed, nobody is asked again.

What tools bring for the person, files and things to say next, goes with an answer that is complete, and with no other.

What tools bring from elsewhere reaches the model labelled, and taints the turn from then on; so does an answer that was
itself written elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from json import loads
from typing import Literal

from factory_contracts.messages import Attachment, Outcome
from factory_contracts.work import Approvals, KnownCall
from hub.kernel.addresses import Heard
from hub.kernel.approval import digest
from hub.kernel.events import Called, Did, Failed, Finished, Kept, ModelEvent, Relayed, Said, Thought
from hub.kernel.foreign import bare, labelled, named
from hub.kernel.ports import ModelMessage, ModelRequest, Spoken, ToolCalls, ToolResult, ToolSpec
from hub.kernel.schema import complaint, read
from hub.kernel.taint import Ground, may_name, provided, reasons, said_in

MAX_ANSWER = 1_000_000
MAX_OBSERVATION = 250_000
MAX_FILES = 10
MAX_FILE = 20 * 1024 * 1024
MAX_SIDE_BY_SIDE = 16
MAX_TOOL_NAME = 64
CALL_DIGEST = 12
RETRY_DELAYS = (0.5, 2.0, 6.0)
# Whoever is told to come back later than this asks somebody else.
LONGEST_WAIT = 30.0

ACTED = "Sorry, this broke off after something had been done, so it was not tried again."
CONTINUE = "Go on exactly where you stopped. Repeat nothing."
CUT_OFF = "\n\n[cut: the answer was longer than the model may say at once]"
CUT_CALL = (
    "The answer was longer than you may say at once and was cut off in this call, which was not run. "
    "Make it again, after fewer words."
)
HERE_IT_IS = "Here it is."
NO_ANSWER = "The model gave no answer."
NO_ROOM = f"{MAX_FILES} files go with an answer, and it has as many"
REFUSAL = "I cannot help with that."
# How a model is told of a file that a tool made.
FILE, SENT = "[the file", "goes to the person with your answer"
TOO_LONG = "This conversation has become longer than the model can read. /compact shortens it, /new begins another."
PARAGRAPH = "\n\n"
THINKING = "thinking"
MAX_RECALLED, MOST_RECALLED = 500, 20
_OUTCOMES = {
    "ok": "done, and it said: ",
    "error": "failed, and it said: ",
    "unknown": "whether it took effect is unknown",
}


@dataclass(frozen=True, slots=True)
class Begin:
    """All that a turn starts from: its first model call, and whom to ask where that fails.

    The reference is what a person is given instead of a reason. In a dry run nothing is done that has an effect or
    that a person would be asked about. Where one call is `ordered`, that is all that is done, by the same rules, and no
    model is asked.
    """

    request: ModelRequest
    reference: str
    fallbacks: tuple[str, ...] = ()
    max_calls: int = 20
    known_calls: tuple[KnownCall, ...] = ()
    is_dry: bool = False
    approvals: Approvals = field(default_factory=Approvals)
    ground: Ground = field(default_factory=Ground)
    ordered: Called | None = None


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool came back, or broke; either way the content is what the model reads. The rest is for the person.

    What is foreign came from elsewhere, and not from this system.
    """

    call: str
    content: str
    is_error: bool = False
    attachments: tuple[Attachment, ...] = ()
    choices: tuple[str, ...] = ()
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The person has heard enough; what was said stays."""


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The turn took longer than its agent may take."""


@dataclass(frozen=True, slots=True)
class Steer:
    """The person adds something before the turn is over: what another turn would have asked."""

    joining: str
    line: Spoken
    is_tainted: bool = False
    trusted: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """The call may not be paid for; the words are for the person."""

    words: str


Event = Begin | ModelEvent | ToolFinished | Stop | TimeUp | Steer | Denied


@dataclass(frozen=True, slots=True)
class AskModel:
    """Make one model call, after a pause where the last one failed."""

    request: ModelRequest
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class UseTool:
    """Run a tool; one with a write or external effect only once its start is on the log.

    Where it `asks`, a person must have allowed this very call before: for these reasons.
    """

    call: str
    tool: ToolSpec
    arguments: str
    digest: str
    asks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skip:
    """A call is not run: this is what the model is told instead."""

    result: ToolResult
    arguments: str


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
    """The turn is over: whatever still runs is cancelled, and nothing follows. The reason is for the operator.

    `joined` names the turns that were heard in this one; `result` is what came of a call that was ordered.
    """

    outcome: Outcome
    reason: str = ""
    joined: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    choices: tuple[str, ...] = ()
    is_tainted: bool = False
    result: str = ""


Command = AskModel | UseTool | Skip | Say | Show | End
Commands = tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call as the harness sees it: ready to be run, or the observation to make instead, and what that brings."""

    call: str
    name: str
    arguments: str
    digest: str
    plan: ToolSpec | ToolResult
    attachments: tuple[Attachment, ...] = ()

    @property
    def has_effect(self) -> bool:
        """Whether it may change anything."""
        return isinstance(self.plan, ToolSpec) and self.plan.effect != "read"


@dataclass(frozen=True, slots=True)
class Course:
    """What a turn has come to so far, whatever it is doing."""

    given: Begin
    messages: tuple[ModelMessage, ...]
    models: tuple[str, ...]
    ground: Ground
    said: int = 0
    calls: int = 0
    steers: tuple[Steer, ...] = ()
    joined: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    choices: tuple[str, ...] = ()
    has_continued: bool = False
    has_recalled: bool = False

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
    kept: tuple[str, ...] = ()
    retries: int = 0
    is_continuing: bool = False
    is_thinking: bool = False
    has_acted: bool = False


@dataclass(frozen=True, slots=True)
class Using:
    """Tools are at work: `waiting` ones begin when those before them are done."""

    course: Course
    wanted: tuple[Wanted, ...]
    waiting: tuple[Wanted, ...]
    running: tuple[Wanted, ...] = ()
    results: tuple[ToolResult, ...] = ()
    brought: tuple[ToolFinished, ...] = ()


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
            return _begin(event) if isinstance(event, Begin) else (state, ())
        case Asking():
            return _hear(state, event)
        case Using():
            return _observe(state, event)
        case Over():
            return state, ()


def room(state: State) -> int:
    """How many more files may go with the answer."""
    match state:
        case Asking():
            return MAX_FILES - len(state.course.attachments)
        case Using():
            return MAX_FILES - len(state.course.attachments) - sum(len(one.attachments) for one in state.brought)
        case Idle() | Over():
            return 0


def ground(state: State) -> Ground:
    """What the turn stands on by now, for another agent that it asks."""
    match state:
        case Asking() | Using():
            return replace(state.course.ground, before=tuple(_heard(state)))
        case Idle() | Over():
            return Ground()


def is_tainted(state: State) -> bool:
    """Whether the model was shown what came from elsewhere."""
    return isinstance(state, Asking | Using) and state.course.ground.is_tainted


def may_show(state: State, address: str) -> bool:
    """Whether an address may stand in an answer that is tainted."""
    if not isinstance(state, Asking | Using):
        return False
    return may_name(address, state.course.given.approvals, _heard(state))


def _heard(state: Asking | Using) -> Iterator[Heard]:
    """All that was said to the model and by it, in order."""
    given, before = state.course.given, state.course.ground.before
    yield Heard(given.request.system)
    yield from before or ()
    yield from said_in(state.course.messages, len(given.request.messages), is_helper=before is not None)
    if isinstance(state, Asking):
        yield from provided(state.kept)


def _begin(given: Begin) -> Step:
    ground = given.ground
    if not ground.is_tainted and any(tool.is_strange for tool in given.request.tools):
        ground = replace(ground, is_tainted=True)
    course = Course(given, given.request.messages, (given.request.model, *given.fallbacks), ground)
    if given.ordered is None:
        return _ask(course)
    course, wanted = _plan(Asking(course, called=(given.ordered,)))
    return _advance(Using(course, wanted, waiting=wanted))


def _ask(course: Course, *, retries: int = 0, delay: float = 0.0, is_continuing: bool = False) -> Step:
    if course.steers:
        course = replace(
            course,
            messages=course.messages + tuple(steer.line for steer in course.steers),
            joined=course.joined + tuple(steer.joining for steer in course.steers),
            ground=_steered(course),
            steers=(),
        )
    request = course.given.request
    # The first call is as it was given.
    if course.calls:
        request = replace(request, model=course.models[0], messages=course.messages)
    course = replace(course, calls=course.calls + 1)
    return Asking(course, retries=retries, is_continuing=is_continuing), (AskModel(request, delay),)


def _steered(course: Course) -> Ground:
    """The ground with what joins the turn now."""
    ground = course.ground
    for steer in course.steers:
        is_tainted = ground.is_tainted or steer.is_tainted
        ground = replace(ground, is_tainted=is_tainted, trusted=(*ground.trusted, steer.trusted))
    return ground


def _hear(state: Asking, event: Event) -> Step:
    match event:
        case Said():
            return _said(state, event.text)
        case Relayed():
            return replace(state, course=replace(state.course, ground=state.course.ground.after(None, ""))), ()
        case Thought():
            return _think(state)
        case Called():
            return replace(state, called=(*state.called, event)), ()
        case Kept():
            return replace(state, kept=(*state.kept, event.content)), ()
        case Did():
            # What the provider's own tools brought, only the model has seen.
            course = replace(state.course, ground=state.course.ground.after(None, ""))
            state = replace(state, course=course, has_acted=state.has_acted or event.effect != "read")
            return state, (Show(event.call, event.tool, event.state, event.text),)
        case Steer():
            return replace(state, course=_steer(state.course, event)), ()
        case Begin() | ToolFinished():
            return state, ()
        case Finished():
            after, commands = _finish(state, event)
        case Failed():
            after, commands = _recover(state, event)
        case Denied():
            after, commands = _end(_answered(state), "failed", _paragraph(state.course) + event.words)
        case Stop():
            after, commands = _end(_abandon(state, "The turn was stopped before this ran."), "stopped")
        case TimeUp():
            after, commands = _overrun(_abandon(state, "The turn ran out of time before this ran."))
    return after, (*_think_no_more(state), *commands)


def _think(state: Asking) -> Step:
    if state.is_thinking or state.text:
        return state, ()
    return replace(state, is_thinking=True), (Show(THINKING, THINKING, "running", "Thinking"),)


def _think_no_more(state: Asking) -> Commands:
    return (Show(THINKING, THINKING, "ok", "Thought"),) if state.is_thinking else ()


def _said(state: Asking, text: str) -> Step:
    if not text:
        return state, ()
    course = state.course
    begins_anew = not state.text and not state.is_continuing
    said = _paragraph(course) + text if begins_anew else text
    thought = _think_no_more(state)
    state = replace(state, text=state.text + text, is_thinking=False)
    if course.said + len(state.text) <= MAX_ANSWER:
        return state, (*thought, Say(said))
    ended, commands = _end(_abandon(state, "The answer was too long already."), "complete", CUT_OFF)
    return ended, (*thought, Say(said), *commands)


def _recover(state: Asking, event: Failed) -> Step:
    """Ask again where that may help, then the agent's next model; what was said stays, and is gone on from."""
    # What was called in an answer that broke off was never run: the model is to say it again.
    course = _answered(replace(state, called=()))
    # Nobody can tell what the provider's side has done, and whoever is asked again would do it again.
    if state.has_acted:
        return _fail(course, event.reason, ACTED)
    is_continuing = state.is_continuing or bool(state.text)
    if state.text:
        course = replace(course, messages=(*course.messages, Spoken("user", CONTINUE)))
    if not course.may_ask:
        return _fail(course, event.reason)
    if event.is_transient and state.retries < len(RETRY_DELAYS) and event.retry_after <= LONGEST_WAIT:
        delay = max(RETRY_DELAYS[state.retries], event.retry_after)
        return _ask(course, retries=state.retries + 1, delay=delay, is_continuing=is_continuing)
    if len(course.models) > 1:
        # What one provider paused at, another can only go on from when it is asked to.
        if isinstance(course.messages[-1], ToolCalls):
            course = replace(course, messages=(*course.messages, Spoken("user", CONTINUE)))
        return _ask(replace(course, models=course.models[1:]), is_continuing=is_continuing)
    return _fail(course, event.reason)


def _finish(state: Asking, event: Finished) -> Step:
    if event.reason == "refusal":
        course = _abandon(state, "The model refused to go on before this ran.")
        return _end(course, "complete", "" if course.said else REFUSAL)
    if event.reason == "full":
        course = _abandon(state, "The model could read no more before this ran.")
        return _end(course, "complete", CUT_OFF) if course.said else _end(course, "failed", TOO_LONG)
    if state.called:
        course, wanted = _plan(state, is_cut=event.reason == "length")
        return _advance(Using(course, wanted, waiting=wanted))
    if event.reason == "pause":
        paused = _after(state, ToolCalls(state.text, (), state.kept, state.course.models[0]))
        return _ask(paused, is_continuing=True) if paused.may_ask else _exhausted(paused)
    course = _answered(state)
    if event.reason == "length" and state.text and not course.has_continued and course.may_ask:
        course = replace(course, messages=(*course.messages, Spoken("user", CONTINUE)), has_continued=True)
        return _ask(course, is_continuing=True)
    if course.steers and course.may_ask:
        return _ask(course)
    if not course.said:
        return _end(course, "complete", HERE_IT_IS if course.attachments else NO_ANSWER)
    return _end(course, "complete", CUT_OFF if event.reason == "length" else "")


def _advance(state: Using) -> Step:
    """Begin what may begin now: what only reads runs side by side, what has an effect runs by itself, in its turn."""
    commands: list[Command] = []
    waiting, running, results = list(state.waiting), list(state.running), list(state.results)
    brought = list(state.brought)
    while waiting:
        wanted = _rehearsed(state, waiting[0])
        if isinstance(wanted.plan, ToolResult):
            results.append(wanted.plan)
            if wanted.attachments:
                brought.append(ToolFinished(wanted.call, "", attachments=wanted.attachments))
            commands += (_line(wanted, "error" if wanted.plan.is_error else "ok"), Skip(wanted.plan, wanted.arguments))
        elif _must_wait(wanted, running):
            break
        else:
            running.append(wanted)
            commands += (_line(wanted, "running"), _use(state, wanted, wanted.plan))
        del waiting[0]
    state = replace(
        state, waiting=tuple(waiting), running=tuple(running), results=tuple(results), brought=tuple(brought)
    )
    if running:
        return state, tuple(commands)
    course = _resulted(state)
    if course.given.ordered is not None:
        after, more = _deliver(course)
    else:
        after, more = _ask(course) if course.may_ask else _exhausted(course)
    return after, (*commands, *more)


def _rehearsed(state: Using, wanted: Wanted) -> Wanted:
    """The call; in a dry run, in which nobody is asked, one that would be asked about is told instead of made."""
    plan = wanted.plan
    if isinstance(plan, ToolResult) or not state.course.given.is_dry or not _asks(state, wanted, plan):
        return wanted
    return replace(wanted, plan=_told_instead(wanted.call, plan, wanted.arguments))


def _use(state: Using, wanted: Wanted, tool: ToolSpec) -> UseTool:
    return UseTool(wanted.call, tool, wanted.arguments, wanted.digest, _asks(state, wanted, tool))


def _asks(state: Using, wanted: Wanted, tool: ToolSpec) -> tuple[str, ...]:
    course = state.course
    return reasons(tool, wanted.arguments, course.ground, course.given.approvals, _heard(state))


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
        case _:
            return state, ()
    return ended, (*lines, *commands)


def _note(state: Using, event: ToolFinished) -> Step:
    for wanted in state.running:
        if wanted.call == event.call:
            break
    else:
        return state, ()
    content = bounded(event.content)
    if event.is_foreign and content:
        content = labelled(wanted.name, content)
    result = ToolResult(wanted.call, wanted.name, content, event.is_error, event.is_foreign)
    running = tuple(other for other in state.running if other is not wanted)
    brought = (*state.brought, event) if event.attachments or event.choices else state.brought
    state = replace(state, running=running, results=(*state.results, result), brought=brought)
    after, commands = _advance(state)
    return after, (_line(wanted, "error" if event.is_error else "ok"), *commands)


def _deliver(course: Course) -> Step:
    """The end of a call that was ordered."""
    result = course.messages[-1]
    if not isinstance(result, ToolResult):
        raise AssertionError("a call has a result")
    content = bare(result.content)
    over, (*before, end) = _end(course, "failed", reason=content) if result.is_error else _end(course, "complete")
    return over, (*before, replace(end, result=content) if isinstance(end, End) else end)


def bounded(content: str) -> str:
    """What a model is shown of something that may be long."""
    if len(content) <= MAX_OBSERVATION:
        return content
    return f"{content[:MAX_OBSERVATION]}\n[cut: {len(content)} characters in all]"


def _plan(state: Asking, *, is_cut: bool = False) -> tuple[Course, tuple[Wanted, ...]]:
    """The calls of an answer, each with its id, and the course with the message that made them."""
    course = state.course
    read_calls = [(called, *read(called.arguments)) for called in state.called]
    spelled = [digest(called.tool, arguments) for called, arguments, _ in read_calls]
    digests = (*course.digests, *(known_by[:CALL_DIGEST] for known_by in spelled))
    names = _names(digests)
    recalled = "" if course.has_recalled else _recalled(course.given, names)
    planned: list[Wanted] = []
    calls = zip(read_calls, spelled, names[len(course.digests) :], strict=True)
    for (called, arguments, problem), known_by, call in calls:
        name = called.tool[:MAX_TOOL_NAME] or "unnamed"
        if is_cut and (problem or not called.arguments):
            problem = CUT_CALL
        spec = next((spec for spec in course.given.request.tools if spec.name == called.tool), None)
        known = next((known for known in course.given.known_calls if known.call == call), None)
        plan: ToolSpec | ToolResult
        if spec is None:
            there = ", ".join(spec.name for spec in course.given.request.tools) or "none"
            plan = ToolResult(call, name, f"There is no tool {name!r}. There is: {there}.", is_error=True)
        elif problem:
            plan = ToolResult(call, name, problem, is_error=True)
        else:
            plan = _permit(course.given, spec, known, call, arguments, recalled)
        attachments = known.attachments if known is not None and isinstance(plan, ToolResult) else None
        planned.append(Wanted(call, name, arguments, known_by, plan, attachments or ()))
    message = ToolCalls(
        state.text,
        tuple((wanted.call, wanted.name, wanted.arguments) for wanted in planned),
        state.kept,
        course.models[0],
    )
    is_told = any(isinstance(one.plan, ToolResult) and one.plan.content == recalled for one in planned)
    course = replace(_after(state, message), digests=digests, has_recalled=course.has_recalled or is_told)
    return course, tuple(planned)


def _names(digests: Sequence[str]) -> list[str]:
    """The names of calls: of those that are alike each has its number."""
    return [f"{known_by}-{digests[: place + 1].count(known_by)}" for place, known_by in enumerate(digests)]


def _recalled(given: Begin, calls: Sequence[str]) -> str:
    """What a model that was never told is to know before it acts: it may have chosen other words for the same."""
    # Where a name has several parts, a helper made the call.
    left = [known for known in given.known_calls if known.call not in calls and "." not in known.call]
    if not left:
        return ""
    done = "".join(f"\n- {_OUTCOMES[known.outcome]}{_quoted(given, known)}" for known in left[-MOST_RECALLED:])
    return (
        "This was not run. An earlier attempt at the same answer, which was cut off, has made other calls already:"
        f"{done}\nWhere this is one of them in other words, go on without it. Else make the call once more."
    )


def _quoted(given: Begin, known: KnownCall) -> str:
    """What an earlier call said, shortened; which tool it was is not known any more."""
    said = known.content[:MAX_RECALLED]
    return labelled("a tool", said) if said and _may_be_foreign(given) else said


def _may_be_foreign(given: Begin) -> bool:
    return any(tool.is_foreign and tool.effect != "read" for tool in given.request.tools)


def _permit(
    given: Begin, spec: ToolSpec, known: KnownCall | None, call: str, arguments: str, recalled: str
) -> ToolSpec | ToolResult:
    """The tool where the call may be made, else what the model is told instead."""
    try:
        problem = complaint(loads(spec.parameters), loads(arguments))
    except RecursionError:
        problem = "nobody can read the tool's own schema, which is nested too deep."
    if problem:
        return ToolResult(call, spec.name, f"The arguments do not fit: {problem}", is_error=True)
    if spec.effect == "read":
        return spec
    if known is not None and known.outcome != "unknown":
        said = labelled(spec.name, known.content) if spec.is_foreign else known.content
        content = f"This was done in an earlier attempt at the same answer, and said: {said}"
        return ToolResult(call, spec.name, content, known.outcome == "error", spec.is_foreign)
    if known is not None and not spec.is_idempotent:
        content = (
            "This was begun in an earlier attempt at the same answer, and whether it took effect is not known. "
            "It was not run again. Find out first, or tell the person."
        )
        return ToolResult(call, spec.name, content, is_error=True)
    if given.is_dry:
        return _told_instead(call, spec, arguments)
    if recalled and known is None and not spec.is_idempotent:
        return ToolResult(call, spec.name, recalled, is_error=True, is_foreign=_may_be_foreign(given))
    return spec


def _told_instead(call: str, spec: ToolSpec, arguments: str) -> ToolResult:
    return ToolResult(call, spec.name, f"Dry run: {spec.name} would have been called with {arguments}.")


def _abandon(state: Asking, why: str) -> Course:
    """The course with what was said and, for each call that never ran, the reason."""
    if not state.called:
        return _answered(state)
    course, wanted = _plan(state)
    results = tuple(ToolResult(one.call, one.name, why, is_error=True) for one in wanted)
    return replace(course, messages=course.messages + results)


def _answered(state: Asking) -> Course:
    """The course after an answer that called no tool."""
    return _after(state, Spoken("assistant", state.text) if state.text else None)


def _after(state: Asking, message: ModelMessage | None) -> Course:
    course = state.course
    return replace(
        course,
        messages=course.messages if message is None else (*course.messages, message),
        said=course.said + len(state.text),
    )


def _interrupt(state: Using, why: str) -> tuple[Course, Commands]:
    """The course with a result for every call, and the last line of each that ran."""
    missing = tuple(ToolResult(one.call, one.name, why, is_error=True) for one in state.running + state.waiting)
    lines = tuple(_line(one, "error") for one in state.running)
    return _resulted(replace(state, results=state.results + missing)), lines


def _resulted(state: Using) -> Course:
    """The course with every result and what it brought, in the order of the calls."""
    found = {result.call: result for result in state.results}
    brought = {event.call: event for event in state.brought}
    course, results, ground = state.course, [], state.course.ground
    for wanted in state.wanted:
        result = found[wanted.call]
        if result.is_foreign:
            ground = ground.after(wanted.plan if isinstance(wanted.plan, ToolSpec) else None, wanted.arguments)
        if wanted.call in brought:
            course, result = _load(course, brought[wanted.call], result)
        results.append(result)
    return replace(course, messages=(*course.messages, *results), ground=ground)


def _load(course: Course, brought: ToolFinished, result: ToolResult) -> tuple[Course, ToolResult]:
    """The course with what a tool brought for the person, and the result with what the model is told of each file."""
    held, words = list(course.attachments), [result.content] if result.content else []
    for file in brought.attachments:
        is_there = any((one.blob, one.name) == (file.blob, file.name) for one in held)
        if not is_there and len(held) >= MAX_FILES:
            words.append(unsent(file.name, NO_ROOM))
            continue
        if not is_there:
            held.append(file)
        about = f"{named(file.name)!r} ({file.mime}, {file.size:,} bytes)"
        words.append(f"{FILE} {about} {SENT}]")
    course = replace(course, attachments=tuple(held), choices=brought.choices or course.choices)
    return course, replace(result, content="\n".join(words))


def unsent(name: str, why: str) -> str:
    """What a model is told of a file that does not go to the person."""
    return f"[the file {named(name)!r} does not go to the person: {why}]"


def _steer(course: Course, event: Steer) -> Course:
    joining = (*course.joined, *(steer.joining for steer in course.steers))
    # On the way one may be lost; what was said after it waits with it.
    if event.joining in joining or (event.after and event.after not in joining):
        return course
    return replace(course, steers=(*course.steers, event))


def _overrun(course: Course) -> Step:
    return _fail(course, "the time limit of the agent", "Sorry, this took too long.")


def _exhausted(course: Course) -> Step:
    words = f"Sorry, I could not finish this in {course.given.max_calls} steps."
    return _fail(course, f"the limit of {course.given.max_calls} model calls", words)


def _fail(course: Course, reason: str, words: str = "Sorry, I could not finish this.") -> Step:
    return _end(course, "failed", f"{_paragraph(course)}{words} Reference {course.given.reference}.", reason)


def _end(course: Course, outcome: Outcome, words: str = "", reason: str = "") -> Step:
    brought = (course.attachments, course.choices) if outcome == "complete" else ((), ())
    end = End(outcome, reason, course.joined, *brought, is_tainted=course.ground.is_tainted)
    return Over(course.messages), (Say(words), end) if words else (end,)


def _paragraph(course: Course) -> str:
    return PARAGRAPH if course.said else ""


def _line(wanted: Wanted, state: Literal["running", "ok", "error"]) -> Show:
    words = {"running": f"Using {wanted.name}", "ok": f"Used {wanted.name}", "error": f"{wanted.name} did not work"}
    return Show(wanted.call, wanted.name, state, words[state])
