"""An engine as a state machine: what its steps came to comes in, what to do next comes out.

Steps are done one after the other. What a step put out is kept on the log before the next one begins, so that an
attempt on another worker goes on behind it. The last step of a turn is told to the person: its record is the answer.
A plain chat turn is the engine `CHAT` of one harness step, which is given the conversation.

What strangers, files or tools brought taints the engine from then on, as it taints a turn.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from json import dumps
from typing import Literal

from factory_contracts.engine import INPUT, CodeStep, Engine, HarnessStep, Missing, Step, ToolStep, filled, written
from factory_contracts.messages import Attachment, Outcome
from factory_contracts.work import Approvals
from hub.kernel.addresses import Heard
from hub.kernel.foreign import labelled
from hub.kernel.harness import End, Say, Show, Stop, TimeUp, bounded
from hub.kernel.links import without_links
from hub.kernel.taint import may_name

CHAT = Engine("chat", "Answers what a person says.", (HarnessStep("answer"),))
MAX_OUTPUT = 600_000
CUT = "\n[cut: {} characters in all]"


@dataclass(frozen=True, slots=True)
class Output:
    """What a step put out: a value that can be written as JSON, and files for the person."""

    step: str
    value: object
    version: str
    is_tainted: bool = False
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Begin:
    """What an engine starts from. Without an input it is given the conversation itself.

    `known` are the steps that an earlier attempt has behind it. An engine that works `within` an agent's turn is a tool
    there: all that it puts out is kept, for its turn goes on, and what it is given was written by a model.
    """

    engine: Engine
    reference: str
    input: str | None = None
    known: tuple[Output, ...] = ()
    approvals: Approvals = field(default_factory=Approvals)
    is_tainted: bool = False
    is_within: bool = False


@dataclass(frozen=True, slots=True)
class StepOver:
    """The step that was begun came to this; what it `said` is for the person where it did not work."""

    outcome: Outcome
    value: object = ""
    said: str = ""
    reason: str = ""
    joined: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    choices: tuple[str, ...] = ()
    is_tainted: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What the step put out is on the log."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Something of ours failed; the reason is for the operator."""

    reason: str


Event = Begin | StepOver | Kept | Broken | Stop | TimeUp


@dataclass(frozen=True, slots=True)
class Ask:
    """Have an agent carry out an instruction; without one it is asked the conversation. One that `speaks` is heard."""

    step: HarnessStep
    instruction: str | None
    is_tainted: bool
    speaks: bool


@dataclass(frozen=True, slots=True)
class Call:
    """Have a tool called with these arguments, in JSON, by the rules that hold for an agent's own calls."""

    step: ToolStep
    arguments: str
    is_tainted: bool


@dataclass(frozen=True, slots=True)
class Compute:
    """Run a function of the engine's own with these arguments."""

    step: CodeStep
    arguments: Mapping[str, object]
    is_tainted: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave a step out: an earlier attempt has it behind it."""

    step: Step
    output: Output


@dataclass(frozen=True, slots=True)
class Keep:
    """Put this on the log before anything else is done."""

    output: Output


Work = Ask | Call | Compute
Command = Work | Pass | Keep | Say | Show | End
Commands = tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """What the engine has come to so far: the steps behind it, and what they brought for the person."""

    given: Begin
    done: tuple[Output, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of its steps."""
        return self.given.engine.steps

    @property
    def is_tainted(self) -> bool:
        """Whether anything that it was given or that came of it was written elsewhere."""
        return self.given.is_tainted or any(output.is_tainted for output in self.done)

    @property
    def values(self) -> dict[str, object]:
        """What a step may read."""
        return {INPUT: self.given.input or "", **{output.step: output.value for output in self.done}}

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """All files for the person, each once."""
        return tuple(dict.fromkeys(file for output in self.done for file in output.attachments))

    @property
    def is_chat(self) -> bool:
        """Whether it is given the conversation itself."""
        return self.given.input is None


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing has begun."""


@dataclass(frozen=True, slots=True)
class Working:
    """A step is under way."""

    course: Course
    step: Step


@dataclass(frozen=True, slots=True)
class Keeping:
    """A step is over, and what it put out is on its way to the log."""

    course: Course


@dataclass(frozen=True, slots=True)
class Over:
    """It is over."""


State = Idle | Working | Keeping | Over
Stepped = tuple[State, Commands]


def step(state: State, event: Event) -> Stepped:
    """What the engine is after this event, and what is to be done now; an event out of place changes nothing."""
    match state, event:
        case Idle(), Begin():
            return _begin(event)
        case Idle(), Stop() | TimeUp():
            return Over(), (End("stopped"),)
        case Working(), StepOver():
            return _over(state, event)
        case Keeping(course), Kept():
            return _next(course)
        case ((Working(course) | Keeping(course)), Stop()):
            return Over(), (End("stopped", is_tainted=course.is_tainted),)
        case ((Working(course) | Keeping(course)), TimeUp()):
            return _fail(course, "the time limit of the agent", "Sorry, this took too long.")
        case ((Working(course) | Keeping(course)), Broken(reason)):
            return _fail(course, reason)
    return state, ()


def takes_steers(state: State) -> bool:
    """Whether what a person says meanwhile can join it: only a conversation goes on."""
    return isinstance(state, Working) and state.course.is_chat


def spelled(value: object) -> str:
    """A value as a text: words as they stand, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)


def _begin(given: Begin) -> Stepped:
    course, known = Course(given), {output.step: output for output in given.known}
    passed: list[Command] = []
    for one in course.steps:
        output = known.get(one.name)
        if output is None:
            break
        if output.version != given.engine.version:
            return _fail(course, f"engine {given.engine.name} is another one than the one that began this")
        course = replace(course, done=(*course.done, output))
        passed.append(Pass(one, output))
    after, commands = _next(course)
    return after, (*passed, *commands)


def _next(course: Course) -> Stepped:
    """Begin the next step, or tell what the last one put out."""
    number = len(course.done)
    if number == len(course.steps):
        return _finish(course)
    one = course.steps[number]
    try:
        work = _work(course, one)
    except Missing as error:
        return _fail(course, f"step {one.name}: {error}")
    line = () if course.is_chat else (_line(course, one, "running"),)
    return Working(course, one), (*line, work)


def _work(course: Course, one: Step) -> Work:
    values, is_tainted = course.values, course.is_tainted
    match one:
        case HarnessStep():
            instruction = None if course.is_chat else written(one.instruction, values, _as_material)
            return Ask(one, instruction, is_tainted, speaks=_speaks(course, one))
        case ToolStep():
            arguments = filled(dict(one.arguments), values, lambda _, value: spelled(value))
            return Call(one, dumps(arguments, ensure_ascii=False), is_tainted)
        case CodeStep():
            return Compute(one, {name: values[name] for name in one.needs}, is_tainted)


def _as_material(path: str, value: object) -> str:
    """Whatever was not written by who wrote the engine reaches a model as material."""
    return labelled(path, bounded(spelled(value)))


def _over(state: Working, event: StepOver) -> Stepped:
    course, one = state.course, state.step
    if course.is_chat:
        return Over(), (_end(course, event),)
    speaks = _speaks(course, one)
    if event.outcome != "complete":
        lines = (_line(course, one, "error"),)
        words = () if speaks or not event.said else (_say(course, event.said),)
        if event.outcome == "stopped" or speaks or words:
            return Over(), (*lines, *words, _end(course, event))
        over, commands = _fail(course, f"step {one.name}: {event.reason}", is_tainted=event.is_tainted)
        return over, (*lines, *commands)
    output = Output(one.name, event.value, course.given.engine.version, event.is_tainted, event.attachments)
    course = replace(course, done=(*course.done, output), choices=event.choices)
    line = _line(course, one, "ok")
    if len(course.done) < len(course.steps) or course.given.is_within:
        return Keeping(course), (line, Keep(output))
    if speaks:
        return Over(), (line, _end(course, event))
    over, commands = _finish(course)
    return over, (line, *commands)


def _speaks(course: Course, one: Step) -> bool:
    """Whether the person hears what the step says while it says it."""
    return isinstance(one, HarnessStep) and one is course.steps[-1] and not course.given.is_within


def _finish(course: Course) -> Stepped:
    text = spelled(course.done[-1].value)
    if len(text) > MAX_OUTPUT:
        text = text[:MAX_OUTPUT] + CUT.format(len(text))
    end = End("complete", attachments=course.attachments, choices=course.choices, is_tainted=course.is_tainted)
    return Over(), (_say(course, text), end)


def _say(course: Course, text: str) -> Say:
    """Words for the person; in what is tainted no link stands that nobody but a model has named."""
    if not course.is_tainted:
        return Say(text)
    return Say(without_links(text, lambda address: may_name(address, course.given.approvals, _heard(course))))


def _heard(course: Course) -> Iterator[Heard]:
    """What was given and what steps put out, in order; of what a function made of it, it is not known whose it is."""
    yield Heard(course.given.input or "", is_own=course.given.is_within)
    for one, output in zip(course.steps, course.done, strict=False):
        if not isinstance(one, CodeStep):
            yield Heard(spelled(output.value), is_own=isinstance(one, HarnessStep))


def _end(course: Course, event: StepOver) -> End:
    """The end that a step brings about."""
    return End(
        event.outcome,
        event.reason,
        event.joined,
        tuple(dict.fromkeys((*course.attachments, *event.attachments))) if event.outcome == "complete" else (),
        event.choices,
        is_tainted=course.is_tainted or event.is_tainted,
    )


def _fail(
    course: Course, reason: str, words: str = "Sorry, I could not finish this.", *, is_tainted: bool = False
) -> Stepped:
    said = Say(f"{words} Reference {course.given.reference}.")
    return Over(), (said, End("failed", reason, is_tainted=course.is_tainted or is_tainted))


def _line(course: Course, one: Step, state: Literal["running", "ok", "error"]) -> Show:
    number = course.steps.index(one) + 1
    return Show(one.name, one.name, state, f"{course.given.engine.name}: {one.name} ({number} of {len(course.steps)})")
