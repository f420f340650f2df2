"""The steps of an engine, carried out for a turn: agents and tools by errands, functions in threads.

An engine is run by an agent, and may do what that agent may: its tool steps call the agent's tools, its harness steps
are the agent or one that it may ask. So an engine adds no rights to anybody.
"""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from json import dumps, loads
from typing import Literal

from factory_contracts.engine import Engine, HarnessStep
from factory_contracts.records import StepDone, StepOutput, record_id
from factory_contracts.trace import MAX_EXCERPT, EngineStep, Step, excerpt
from factory_contracts.work import AgentSpec, Line, Recorded, RecordReply, Requested, Run
from hub.kernel import engine
from hub.kernel.engine import Ask, Begin, Broken, Call, Compute, Kept, Output, Pass, StepOver, spelled
from hub.kernel.events import Called
from hub.kernel.harness import End, Show
from hub.kernel.ports import Equipped, Media, Observation, Occasion, ToolSpec
from hub.kernel.schema import describe
from hub.kernel.taint import Ground
from workers.clipool.errand import Errand, Inner, Stage, Told
from workers.clipool.kit import Kit
from workers.clipool.tape import clean
from workers.engine.code import Computation
from workers.engine.drive import Drive, Labour, Over
from workers.engine.guard import guarded

logger = logging.getLogger(__name__)

# All that a turn's steps put out goes with its next attempt in one message.
MOST_INLINE = 2_000

NO_INPUT = "What the engine is to work on cannot be read here."
UNREAD = "Sorry, I could not begin this."
GONE = "What an earlier attempt at this put out is not there any more."


class Unready(Exception):
    """The engine cannot begin; the sentence is for the person."""


class Steps:
    """All steps of one run of an engine, for one turn.

    `within` is the call of the tool by which an agent runs the engine, empty for the turn itself.
    """

    def __init__(
        self,
        run: Run,
        agent: AgentSpec,
        kit: Kit,
        stage: Stage,
        reference: str,
        within: str = "",
        ground: Ground | None = None,
    ) -> None:
        self.reference = reference
        self._run = run
        self._agent = agent
        self._kit = kit
        self._stage = stage
        self._within = within
        self._ground = ground or Ground(is_tainted=bool(run.tainted))
        self._engine = engine.CHAT

    async def opening(self, found: Engine, given: str) -> Begin:
        """What the engine begins from. Raises `Unready`."""
        helpers = [helper.name for helper in self._agent.helpers]
        for one in found.steps:
            if isinstance(one, HarnessStep) and one.agent not in (None, self._agent.name, *helpers):
                raise Unready(f"The engine `{found.name}` needs `{one.agent}`, whom {self._agent.name} may not ask.")
        self._engine = found
        names = {self._name(one.name): one.name for one in found.steps}
        known = [output for output in self._run.known_steps or () if output.step in names]
        return Begin(
            engine=found,
            reference=self.reference,
            input=given,
            known=tuple([await self._known(output, names[output.step]) for output in known]),
            approvals=self._agent.approvals,
            is_tainted=self._ground.is_tainted,
            is_within=bool(self._within),
        )

    def trust(self, words: str) -> None:
        """A trusted person wrote these words, and may name in them what is to be reached."""
        self._ground = replace(self._ground, trusted=(*self._ground.trusted, words))

    # The hands of a drive

    def begin(self, work: engine.Work, over: Over) -> Labour:
        """A step, ready to be carried out."""
        if isinstance(work, Ask) and work.instruction is None:
            stage = Aside(self._stage, over, speaks=True)
            return Asked(self._errand(self._agent, stage, "", self._ground), self._run.lines)
        over = self._noted(work, over)
        ground = replace(self._ground, is_tainted=work.is_tainted)
        name = self._name(work.step.name)
        # An agent that runs an engine as a step of it would run it for ever.
        agent = self._agent.model_copy(update={"engines": None})
        match work:
            case Compute():
                return Computation(work, over, lambda text: self._kit.redactor.redact(clean(text)))
            case Call():
                stage = Aside(self._stage, over, speaks=False)
                ordered = Called(work.step.name, work.step.tool, work.arguments)
                # An address that stands in the engine was named by who wrote it.
                ground = replace(ground, trusted=(*ground.trusted, dumps(work.step.arguments, default=str)))
                return Asked(self._errand(agent, stage, name, ground, ordered), ())
            case Ask(step=step, instruction=instruction, speaks=speaks):
                helpers = {helper.name: helper for helper in agent.helpers}
                # Who only pretends must not have somebody else do it.
                asked = helpers.get(step.agent or "", agent)
                asked = asked.model_copy(update={"is_dry": asked.is_dry or agent.is_dry})
                stage = Aside(self._stage, over, speaks=speaks)
                # What is not labelled in it was written by who wrote the engine.
                line = Line(role="user", text=clean(instruction or ""), trusted=True)
                return Asked(self._errand(asked, stage, name, ground), (line,))

    def passed(self, passed: Pass) -> None:
        """The trace tells of it all the same."""
        content = spelled(passed.output.value)
        self._note(passed.step.name, passed.step.kind, "", "known", content, 0.0)

    async def keep(self, output: Output) -> Kept | Broken | None:
        """Put what a step put out on the log; None where the attempt is over."""
        name, text = self._name(output.step), dumps(output.value, ensure_ascii=False)
        large = None
        data = text.encode()
        if len(data) > MOST_INLINE:
            media = Media("document", f"{output.step}.json", "application/json", data)
            blobs = self._kit.blobs
            large = await blobs.keep(self._run.scope, media) if blobs is not None else None
            if large is None:
                return Broken(f"step {output.step}: what it put out cannot be kept here")
        reply = await self._stage.record(
            StepDone(
                id=record_id(self._run.turn, "step done", self._run.attempt, name),
                turn=self._run.turn,
                at=self._kit.now(),
                attempt=self._run.attempt,
                output=StepOutput(
                    step=name,
                    engine=self._engine.name,
                    version=output.version,
                    value="" if large is not None else text,
                    large=large,
                    attachments=output.attachments or None,
                    tainted=output.is_tainted or None,
                ),
            )
        )
        self._kit.at("step done")
        if isinstance(reply, Recorded):
            return Kept()
        return Broken(reply.words) if reply.words else None

    def say(self, text: str) -> None:
        """More of the answer."""
        self._stage.say(text)

    def show(self, show: Show) -> None:
        """How far the engine is."""
        self._stage.show(replace(show, call=self._name(show.call)))

    def end(self, end: End) -> None:
        """The engine is over."""
        self._stage.end(end)

    # What they need

    def _name(self, step: str) -> str:
        """A step's name in the whole turn."""
        return f"{self._within}.{step}" if self._within else step

    def _errand(
        self, agent: AgentSpec, stage: Stage, within: str, ground: Ground, ordered: Called | None = None
    ) -> Errand:
        run, kit = self._run, self._kit
        more = partial(engine_tools, run, kit)
        return Errand(run, agent, kit, stage, self.reference, within, ground, ordered=ordered, more=more)

    async def _known(self, output: StepOutput, step: str) -> Output:
        text = output.value
        if output.large is not None:
            blobs = self._kit.blobs
            data = await blobs.get(self._run.scope, output.large) if blobs is not None else None
            if data is None:
                raise Unready(GONE)
            text = data.decode()
        return Output(step, loads(text), output.version, bool(output.tainted), output.attachments or ())

    def _noted(self, work: engine.Work, over: Over) -> Over:
        """The same, once the trace tells of the step."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        def note(came: StepOver) -> None:
            match work:
                case Ask(instruction=instruction):
                    given = instruction or ""
                case Call(arguments=arguments):
                    given = arguments
                case Compute(arguments=values):
                    # Of what is long nobody reads more than the beginning.
                    given = spelled({name: _beginning(value) for name, value in values.items()})
            outcome: Literal["ok", "error", "stopped"]
            outcome = "ok" if came.outcome == "complete" else "stopped" if came.outcome == "stopped" else "error"
            content = spelled(came.value) if outcome == "ok" else came.reason
            self._note(work.step.name, work.step.kind, given, outcome, content, round(loop.time() - began, 3))
            over(came)

        return note

    def _note(
        self,
        step: str,
        kind: Literal["harness", "tool", "code"],
        given: str,
        outcome: Literal["ok", "error", "stopped", "known"],
        content: str,
        seconds: float,
    ) -> None:
        self._stage.note(
            EngineStep(
                call=self._name(step),
                engine=self._engine.name,
                version=self._engine.version,
                step=kind,
                arguments=excerpt(clean(given)),
                outcome=outcome,
                content=excerpt(clean(content)),
                seconds=seconds,
                within=self._within or None,
            )
        )


def _beginning(value: object) -> object:
    return value[:MAX_EXCERPT] if isinstance(value, str) else value


class Asked:
    """An errand with what it is asked."""

    def __init__(self, errand: Errand, lines: tuple[Line, ...]) -> None:
        self._errand = errand
        self._lines = lines
        self.feed, self.hear, self.close = errand.feed, errand.hear, errand.close

    async def carry_out(self) -> None:
        """From the first call to the end."""
        await self._errand.carry_out(self._lines)

    @property
    def has_heard(self) -> bool:
        """Whether something was said that nobody asked for yet."""
        return self._errand.has_heard


class Aside:
    """The stage of a step: what one that `speaks` says is heard, what another one says is what it puts out."""

    def __init__(self, stage: Stage, over: Over, *, speaks: bool) -> None:
        self._stage = stage
        self._over = over
        self._speaks = speaks
        self._said: list[str] = []

    def stir(self) -> None:
        """Somebody waits for each word of one that speaks."""
        if self._speaks:
            self._stage.stir()

    def say(self, text: str) -> None:
        """More of the answer, or of what the step puts out."""
        if self._speaks:
            self._stage.say(text)
        else:
            self._said.append(text)

    def show(self, show: Show) -> None:
        """The person sees what is done."""
        self._stage.show(show)

    def note(self, step: Step) -> None:
        """Part of the turn's trace."""
        self._stage.note(step)

    def end(self, end: End) -> None:
        """The step is over."""
        said = clean("".join(self._said))
        self._over(
            StepOver(
                end.outcome,
                end.result or said,
                said if end.outcome == "failed" else "",
                end.reason,
                end.joined,
                end.attachments,
                end.choices,
                end.is_tainted,
            )
        )

    async def record(self, record: Requested) -> RecordReply:
        """Part of the turn's records."""
        return await self._stage.record(record)


class EngineTool:
    """The tool by which an agent runs an engine."""

    def __init__(self, run: Run, kit: Kit, errand: Errand, agent: AgentSpec, found: Engine) -> None:
        self._run = run
        self._kit = kit
        self._errand = errand
        self._agent = agent
        self._engine = found
        # Whether what it puts out is foreign depends on what it has read.
        described = describe(self.ask, name=f"run_{found.name}", timeout=agent.limits.max_seconds, is_foreign=False)
        self.spec: ToolSpec = replace(described, description=f"{described.description} {found.description}")

    async def ask(self, input: str) -> str:
        """Run an engine, which takes the same steps every time.

        input: all that it is to work on
        """
        raise NotImplementedError(input)

    async def run(self, arguments: str, occasion: Occasion) -> Observation:
        """What its last step puts out, and the files that all of them bring."""
        given: str = loads(arguments)["input"]

        def begin(told: Told, ground: Ground) -> tuple[Inner, Awaitable[None]]:
            steps = Steps(self._run, self._agent, self._kit, told, self._errand.reference, occasion.call, ground)
            drive = Drive(steps)
            return drive, begun(drive, steps, self._engine, given)

        return await self._errand.within(occasion.call, self._engine.name, begin)


async def begun(drive: Drive, steps: Steps, found: Engine, given: str) -> None:
    """The whole drive of an engine that may not be ready."""
    begin = await guarded(steps.opening(found, given))
    if isinstance(begin, Begin):
        drive.feed(begin)
        await drive.carry_out()
        return
    if not isinstance(begin, Unready):
        logger.error("engine %s could not begin", found.name, exc_info=begin)
    steps.say(str(begin) if isinstance(begin, Unready) else f"{UNREAD} Reference {steps.reference}.")
    steps.end(End("failed", f"engine {found.name}: {begin}"))


async def engine_tools(run: Run, kit: Kit, errand: Errand, agent: AgentSpec) -> tuple[Equipped, ...]:
    """The tools by which an agent runs its engines; one that cannot be had is logged and missing."""
    made: list[Equipped] = []
    for name in agent.engines or ():
        found = await guarded(kit.engines.find(name)) if kit.engines is not None else None
        if not isinstance(found, Engine):
            logger.error("agent %s has no engine %s here: %s", agent.name, name, found or "there is none")
            continue
        tool = EngineTool(run, kit, errand, agent, found)
        made.append(Equipped(tool.spec, tool))
    return tuple(made)
