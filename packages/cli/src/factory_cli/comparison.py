"""Turns of the log, asked of another agent as they were asked then: what it would have said, done and cost.

Nothing comes of it but a table: no record, no message, and no tool is run that has an effect or that a person would be
asked about.
"""

import json
import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from difflib import SequenceMatcher, unified_diff

from factory_cli import log, trial
from factory_cli.history import named
from factory_contracts import subjects
from factory_contracts.messages import Outcome
from factory_contracts.records import Forgotten, MoneyReserved, TurnAnswered
from factory_contracts.trace import ModelStep, Step, ToolStep, excerpt
from factory_contracts.work import AgentSpec, ApprovalWanted, Line, NotRecorded, Recorded, RecordReply, Requested, Run
from factory_nats.transport import Transport
from hub.kernel.agent import Agent
from hub.kernel.ports import Equipped, ModelRequest, Observation, Occasion, Tool, ToolFailed, ToolSource
from hub.kernel.routing import RoutingKey
from hub.kernel.session import Session
from workers.clipool.composition import ClipoolSettings, compose
from workers.clipool.kit import Kit
from workers.clipool.limit import Limit

NOT_RUN = "This was not run: nothing is done while turns are compared, and the recorded turn made no such call."
SPENT = "What may be spent on this comparison is spent."
UNPRICED = "Nobody knows what this model costs, so it was not asked."


@dataclass(frozen=True, slots=True)
class Then:
    """A turn as it was: what the model was shown, and what came of it."""

    key: RoutingKey
    turn: str
    lines: tuple[Line, ...]
    is_tainted: bool
    user_id: str
    answer: TurnAnswered

    @property
    def shown(self) -> tuple[Line, ...]:
        """The lines without their files, which lie where only the system reads them."""
        return tuple(line.model_copy(update={"attachments": ()}) for line in self.lines)


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two said and did, and what it took."""

    text: str
    outcome: Outcome
    tools: tuple[str, ...]
    cost: Decimal
    seconds: float
    unknown: int = 0

    @classmethod
    def of(cls, text: str, outcome: Outcome, steps: Sequence[Step]) -> "Side":
        """The same, from its steps."""
        models = [step for step in steps if isinstance(step, ModelStep)]
        return cls(
            text=text,
            outcome=outcome,
            tools=tuple(step.tool for step in steps if isinstance(step, ToolStep)),
            cost=sum((step.cost for step in models if step.cost is not None), Decimal(0)),
            seconds=sum(step.seconds for step in steps),
            unknown=sum(step.cost is None for step in models),
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """One turn, then and now; the notes say what was not as it was."""

    then: Then
    before: Side
    after: Side
    notes: tuple[str, ...]

    @property
    def likeness(self) -> float:
        """How alike the words are, from 0 to 1."""
        return SequenceMatcher(None, self.before.text.split(), self.after.text.split(), autojunk=False).ratio()

    @property
    def is_same(self) -> bool:
        """Whether it said and did the same."""
        before, after = self.before, self.after
        return (before.text, before.tools, before.outcome) == (after.text, after.tools, after.outcome)

    def differences(self) -> list[str]:
        """The lines that differ, as a unified diff."""
        texts = self.before.text.splitlines(), self.after.text.splitlines()
        return list(unified_diff(*texts, "then", "now", lineterm=""))[2:]


async def recorded(transport: Transport, *, scope: str | None, since: float | None, limit: int) -> tuple[Then, ...]:
    """The newest turns that an agent answered, the oldest of them first. Raises `Failed`."""
    sessions: dict[str, Session] = {}
    found: deque[Then] = deque(maxlen=limit)
    async for subject, sequence, record in log.records(transport, subjects.plane("scopes")[0]):
        tokens = subjects.read_turns(subject)
        if tokens is None or (scope is not None and scope not in (tokens[2], named(*tokens))):
            continue
        session = sessions.setdefault(subject, Session(*tokens))
        turn = session.turns.get(record.turn)
        is_late = since is None or record.at >= since
        # What the hub says by itself names no agent, and asks none.
        if isinstance(record, TurnAnswered) and record.agent and turn is not None and not turn.is_answered and is_late:
            key = RoutingKey(*tokens)
            lines, is_tainted = session.lines(turn), session.is_tainted(turn)
            found.append(Then(key, turn.turn, lines, is_tainted, turn.message.user_id, record))
        elif isinstance(record, Forgotten):
            kept = [one for one in found if one.key != RoutingKey(*tokens)]
            found = deque(kept, maxlen=limit)
        session.apply(sequence, record)
    return tuple(found)


@dataclass(slots=True)
class Purse:
    """What may be spent on all of it, and what is."""

    most: Decimal
    held: Decimal = Decimal(0)
    refusals: list[str] = field(default_factory=list)

    def take(self, amount: Decimal | None) -> str:
        """Hold the amount; why it cannot be, where it cannot."""
        if amount is None:
            self.refusals.append(UNPRICED)
            return UNPRICED
        if self.held + amount > self.most:
            self.refusals.append(SPENT)
            return SPENT
        self.held += amount
        return ""

    def settle(self, held: Decimal, spent: Decimal) -> None:
        """Of what was held for a call, so much was spent."""
        self.held += spent - held


@dataclass(slots=True)
class Memory:
    """What the recorded turn's calls came to, each told once; and which calls of now it knows nothing of."""

    _steps: OrderedDict[str, list[ToolStep]] = field(default_factory=OrderedDict)
    not_run: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, steps: Sequence[Step]) -> "Memory":
        """What these steps tell."""
        memory = cls()
        for step in steps:
            if isinstance(step, ToolStep):
                memory._steps.setdefault(_call(step.tool, step.arguments), []).append(step)
        return memory

    def recall(self, tool: str, arguments: str) -> ToolStep | None:
        """What came of the same call; the last of several alike stays."""
        steps = self._steps.get(_call(tool, arguments))
        if not steps:
            return None
        return steps.pop(0) if len(steps) > 1 else steps[0]

    def knows(self, tool: str, arguments: str) -> bool:
        """Whether the same call was made then."""
        return _call(tool, arguments) in self._steps


class Reprise(trial.Rehearsal):
    """The stage of a comparison: what has an effect is allowed, for it is not run; a place that is new is not."""

    def __init__(self, agent: Agent, purse: Purse, memory: Memory, limit: Limit) -> None:
        super().__init__(agent, lambda words: None, None, limit)
        self._purse = purse
        self._memory = memory
        self._held: dict[str, Decimal] = {}

    def note(self, step: Step) -> None:
        """Part of the trace; what was held for a call of unknown cost counts in full."""
        super().note(step)
        if isinstance(step, ModelStep) and step.cost is not None:
            self._purse.settle(self._held.pop(step.call, Decimal(0)), step.cost)

    async def record(self, record: Requested) -> RecordReply:
        """Nothing is put on a log; money is held, and nobody is there who could allow a place that is new."""
        match record:
            case MoneyReserved(call=call, amount=amount):
                if refusal := self._purse.take(amount):
                    return NotRecorded(words=refusal)
                self._held[call] = amount or Decimal(0)
            case ApprovalWanted(tool=tool, effect="read") if not self._memory.knows(tool, record.arguments):
                self._memory.not_run.append(tool)
                return NotRecorded(words=NOT_RUN)
            case _:
                pass
        return Recorded()


class Remembered:
    """A tool that says what it said then, where it is called alike; else only what reads is run."""

    def __init__(self, name: str, equipped: Equipped, memory: Memory) -> None:
        self._name = name
        self._tool: Tool = equipped.tool
        self._reads = equipped.spec.effect == "read"
        self._memory = memory

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        """What it said then; what it says now, if it only reads; else a sentence that it was not run."""
        step = self._memory.recall(self._name, arguments)
        if step is not None and step.outcome == "ok":
            return step.content
        if step is not None:
            raise ToolFailed(step.content or f"What came of it then is {step.outcome}.")
        if self._reads:
            return await self._tool.run(arguments, occasion)
        self._memory.not_run.append(self._name)
        raise ToolFailed(NOT_RUN)


class RememberedSource:
    """Where tools come from, each as the recorded turn remembers it."""

    def __init__(self, source: ToolSource, memory: Memory) -> None:
        self._source = source
        self._memory = memory

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent names anything that comes from here."""
        return self._source.serves(agent)

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tools, none of which has an effect any more."""
        return tuple(_remembered(one, self._memory) for one in await self._source.tools(agent))


def costs_nothing(agent: Agent, settings: ClipoolSettings) -> bool:
    """Whether asking the agent, and whoever it may ask, costs nothing by nature."""
    prices = compose(settings).prices
    every = (agent.model, *agent.fallbacks)
    is_free = all(prices.most(ModelRequest(model, "", ())) == 0 for model in every)
    return is_free and all(costs_nothing(helper, settings) for helper in agent.helpers)


async def compare(
    agent: Agent, turns: Sequence[Then], settings: ClipoolSettings, most: Decimal
) -> tuple[Compared, ...]:
    """Ask the agent each of the turns, one after another, for at most so many dollars.

    Raises `ScriptError` for a script that cannot be followed.
    """
    agent = _without_own_tools(agent)
    kit, purse = compose(settings), Purse(most)
    try:
        return tuple([await _again(agent, then, kit, purse) for then in turns])
    finally:
        await kit.close()


async def _again(agent: Agent, then: Then, kit: Kit, purse: Purse) -> Compared:
    spec, memory = agent.spec(), Memory.of(then.answer.steps)
    run = Run(
        turn=f"diff-{secrets.token_hex(8)}",
        epoch=0,
        partition=then.key.partition,
        attempt=1,
        scope=then.key.to_pool_id(),
        user_id=then.user_id,
        agent=spec,
        lines=then.shown,
        tainted=then.is_tainted or None,
    )
    refused = len(purse.refusals)
    limit = Limit(spec.limits.max_seconds)
    tried = await trial.perform(run, _without_effects(kit, memory), Reprise(agent, purse, memory, limit), limit)
    after = Side.of(tried.answer, tried.outcome, tried.steps)
    notes = [f"{name} was not run" for name in dict.fromkeys(memory.not_run)]
    notes += dict.fromkeys(purse.refusals[refused:])
    if then.shown != then.lines:
        notes.append("its files were not shown")
    if tried.outcome == "failed" and tried.reason:
        notes.append(tried.reason)
    before = Side.of(then.answer.text, then.answer.outcome, then.answer.steps)
    return Compared(then, before, after, tuple(notes))


def _without_effects(kit: Kit, memory: Memory) -> Kit:
    return replace(
        kit,
        tools={name: _remembered(one, memory) for name, one in kit.tools.items()},
        sources=tuple(RememberedSource(source, memory) for source in kit.sources),
    )


def _remembered(one: Equipped, memory: Memory) -> Equipped:
    return Equipped(one.spec, Remembered(one.spec.name, one, memory))


def _without_own_tools(agent: Agent) -> Agent:
    # Those of a provider run where nobody here could hold them back.
    return replace(agent, own_tools=(), helpers=tuple(_without_own_tools(one) for one in agent.helpers))


def _call(tool: str, arguments: str) -> str:
    """A call in one spelling; what was too long for the trace stands there shortened."""
    try:
        told: object = json.loads(arguments)
    except ValueError:
        return f"{tool} {excerpt(arguments)}"
    spelled = json.dumps(told, sort_keys=True, ensure_ascii=False) if isinstance(told, Mapping) else arguments
    return f"{tool} {excerpt(spelled)}"
