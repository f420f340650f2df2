"""One agent at work: asks the harness what to do, does it, and tells the harness what came of it.

A turn is an errand. An agent that another one asks for help is an errand within it: what it does is told, logged and
paid for as part of the turn.
"""

import asyncio
import logging
from asyncio import TaskGroup
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from json import loads
from typing import Literal, Protocol

from factory_contracts.messages import MAX_TEXT, Attachment
from factory_contracts.records import MoneyReserved, ToolDone, ToolStarted, record_id
from factory_contracts.trace import ModelStep, Step, ToolStep, excerpt
from factory_contracts.work import (
    AgentSpec,
    ApprovalWanted,
    Line,
    NotRecorded,
    Recorded,
    RecordReply,
    Requested,
    Run,
)
from hub.kernel import harness
from hub.kernel.events import Called, Failed, Finished, Said
from hub.kernel.foreign import unlabelled
from hub.kernel.harness import AskModel, End, Say, Show, Skip, ToolFinished, UseTool
from hub.kernel.links import Links, without_links
from hub.kernel.ports import (
    Emissary,
    Equipped,
    Media,
    Model,
    ModelRequest,
    Observation,
    Occasion,
    OutcomeUnknown,
    ToolFailed,
    ToolSpec,
)
from hub.kernel.schema import describe
from hub.kernel.taint import Ground
from workers.clipool.hearing import heard
from workers.clipool.kit import Kit
from workers.clipool.limit import Limit
from workers.clipool.media import spoken
from workers.clipool.tape import clean
from workers.engine.guard import guarded

logger = logging.getLogger(__name__)

# A model that never waits would hold the event loop: after so many of its events the others have their turn.
EVENTS_AT_ONCE = 64
NOTHING = Decimal(0)
NOT_KEPT = "it cannot be kept here now"
MAX_CHOICE = 64
MAX_NAME = 255
UNASKED = f"A person is not asked about arguments longer than {MAX_TEXT} characters, so this was not done."
UNANSWERED = "The turn was over before anybody allowed this, so it was not done."

ToolOutcome = Literal["ok", "error", "unknown", "dry run"]


class Stage(Protocol):
    """Where an errand is heard and seen, and who keeps its records."""

    def stir(self) -> None:
        """There is something to hear; it is asked for with `hear`."""
        ...

    def say(self, text: str) -> None:
        """More of the answer."""
        ...

    def show(self, show: Show) -> None:
        """The one line that a person may see of a tool."""
        ...

    def note(self, step: Step) -> None:
        """A model call or a tool call is over."""
        ...

    def end(self, end: End) -> None:
        """The errand is over."""
        ...

    async def record(self, record: Requested) -> RecordReply:
        """Whether the record is on the log, or the call allowed. Waits while nobody answers."""
        ...


class Inner(Protocol):
    """What is done within an errand by somebody else."""

    def feed(self, event: harness.Stop | harness.TimeUp) -> None:
        """It is to end."""
        ...

    def close(self) -> None:
        """Leave off: nothing more is done or told."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A model call that is under way."""

    name: str
    request: ModelRequest
    began: float
    signs: int


class Errand:
    """What one agent was asked, from its first model call to its end.

    `within` is the call of the tool by which another agent asked, or the step of an engine, empty for the turn itself,
    and `ground` what that one stands on. What is said once it is tainted is shown without the links that nobody but the
    model has named. Where one call is `ordered`, that is all; `more` gives an agent the engines that it may run.
    """

    __slots__ = (
        "_agent",
        "_asking",
        "_calls",
        "_early",
        "_ground",
        "_heard",
        "_helpers",
        "_kit",
        "_limits",
        "_links",
        "_live",
        "_more",
        "_open",
        "_ordered",
        "_run",
        "_signs",
        "_stage",
        "_state",
        "_todo",
        "_tools",
        "_within",
        "reference",
    )

    def __init__(
        self,
        run: Run,
        agent: AgentSpec,
        kit: Kit,
        stage: Stage,
        reference: str,
        within: str = "",
        ground: Ground | None = None,
        *,
        ordered: Called | None = None,
        more: "More | None" = None,
    ) -> None:
        self.reference = reference
        self._run = run
        self._agent = agent
        self._kit = kit
        self._stage = stage
        self._within = within
        self._ground = ground or Ground(is_tainted=bool(run.tainted))
        self._ordered = ordered
        self._more = more
        self._links: Links | None = None
        self._state: harness.State = harness.Idle()
        self._live: harness.State = self._state
        self._early: list[harness.Event] = []
        self._todo: list[AskModel | UseTool] = []
        self._heard: list[str] = []
        self._tools: dict[str, Equipped] = {}
        self._helpers: set[Inner] = set()
        self._limits: dict[str, Limit] = {}
        self._asking: set[str] = set()
        self._open: Call | None = None
        self._calls = 0
        self._signs = 0

    async def carry_out(self, lines: Sequence[Line]) -> None:
        """From the first model call to the end; whatever breaks on the way ends the errand and not the worker."""
        begun = await guarded(self._begin(lines))
        if isinstance(begun, Exception):
            logger.error("turn %s could not begin", self._run.turn, exc_info=begun)
            self._step(self._nothing())
            self.feed(Failed(type(begun).__name__))
            return
        self._step(begun)
        for event in self._early:
            self._step(event)
        while self._todo:
            todo, self._todo = self._todo, []
            error = await guarded(self._do(todo))
            if error is not None:
                logger.error("turn %s met a fault of ours", self._run.turn, exc_info=error)
                self.feed(Failed(type(error).__name__))
        # These refer to the errand, which would be found only by a search through everything.
        self._links, self._tools = None, {}

    def feed(self, event: harness.Event) -> None:
        """Tell the harness, and do at once what takes no time."""
        is_end = isinstance(event, harness.Stop | harness.TimeUp)
        if isinstance(event, harness.Stop | harness.TimeUp):
            for helper in tuple(self._helpers):
                helper.feed(event)
        self.hear()
        if isinstance(self._state, harness.Idle) and is_end:
            # Nobody waits for tools and files that will not be used.
            self._step(self._nothing())
        # What else comes before the beginning is told right after it.
        if isinstance(self._state, harness.Idle):
            self._early.append(event)
        else:
            self._step(event)

    def hear(self) -> None:
        """Tell the harness what the model said since the last time."""
        if self._heard:
            text = "".join(self._heard)
            self._heard.clear()
            self._step(Said(text))

    @property
    def has_heard(self) -> bool:
        """Whether something was said that nobody asked for yet."""
        return bool(self._heard)

    def close(self) -> None:
        """Leave off: nothing more is done or told."""
        self._state = harness.Over(())
        self._todo.clear()
        self._heard.clear()
        self._open = None
        for helper in self._helpers:
            helper.close()

    def _nothing(self) -> harness.Begin:
        """The beginning of what ends before it could begin."""
        return harness.Begin(ModelRequest(self._agent.model, "", ()), self.reference, ground=self._ground)

    async def _begin(self, lines: Sequence[Line]) -> harness.Begin:
        run, agent = self._run, self._agent
        self._tools = await self._kit.equip(agent)
        for helper in agent.helpers:
            asking = Helper(self, helper)
            self._tools.setdefault(asking.spec.name, Equipped(asking.spec, asking))
        for engine in await self._more(self, agent) if self._more is not None else ():
            self._tools.setdefault(engine.spec.name, engine)
        request = ModelRequest(
            model=agent.model,
            system=agent.system,
            messages=await spoken(self._kit.blobs, run.scope, await self._in_words(lines)),
            tools=tuple(tool.spec for tool in self._tools.values()),
            max_tokens=agent.limits.max_tokens,
            temperature=agent.temperature,
            thinking=agent.thinking,
            conversation=f"{run.scope}:{agent.name}",
            # What the provider does by itself cannot be told instead of done.
            own_tools=() if agent.is_dry else agent.own_tools,
            permission_mode=agent.permission_mode or "",
        )
        ground, trusted = self._ground, tuple(unlabelled(line.text) for line in lines if line.trusted)
        prefix = f"{self._within}." if self._within else ""
        return harness.Begin(
            request=request,
            reference=self.reference,
            fallbacks=agent.fallbacks,
            max_calls=agent.limits.max_calls,
            known_calls=tuple(
                known.model_copy(update={"call": known.call.removeprefix(prefix)})
                for known in run.known_calls
                if known.call.startswith(prefix)
            ),
            is_dry=agent.is_dry,
            approvals=agent.approvals,
            ground=replace(ground, trusted=ground.trusted + trusted) if trusted else ground,
            ordered=self._ordered,
        )

    async def _in_words(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """The lines, the last of which may have been said aloud."""
        if not lines:
            return ()
        *before, last = lines
        said = await heard(self._kit.voice, self._kit.blobs, self._run.turn, self._run.scope, last)
        for step in said.steps:
            self._stage.note(step)
        if said.notice:
            self._stage.say(said.notice)
        return (*before, said.line)

    async def _do(self, todo: list[AskModel | UseTool]) -> None:
        match todo:
            case [AskModel() as ask]:
                await self._ask(ask)
            case _:
                async with TaskGroup() as group:
                    for command in todo:
                        if isinstance(command, UseTool):
                            group.create_task(self._use(command))

    # Models

    async def _ask(self, ask: AskModel) -> None:
        if ask.delay:
            await asyncio.sleep(ask.delay)
        request = ask.request
        provider = request.model.partition(":")[0]
        model = await guarded(self._kit.models.find(provider))
        if isinstance(model, Exception):
            logger.error("the model provider %s cannot be had", provider, exc_info=model)
            self.feed(Failed(f"the model provider {provider!r} cannot be had: {type(model).__name__}", cost=NOTHING))
            return
        if model is None:
            self.feed(Failed(f"there is no model provider {provider!r} here", cost=NOTHING))
            return
        loop = asyncio.get_running_loop()
        circuit = self._kit.circuits.of(provider)
        if not circuit.admit(loop.time()):
            reason = f"{provider} failed again and again, and is left alone for a while"
            self.feed(Failed(reason, is_transient=True, retry_after=harness.LONGEST_WAIT + 1, cost=NOTHING))
            return
        self._calls += 1
        call = self._name(f"m{self._calls}")
        if not await self._may_spend(call, request):
            return
        self._open = Call(call, request, loop.time(), self._signs)
        ended = await self._listen(model, request)
        # What it said may have ended the turn, and the call with it.
        if self._open is None:
            return
        if isinstance(ended, Failed) and ended.is_transient:
            circuit.failed(loop.time())
        else:
            circuit.succeeded()
        self.hear()
        if self._open is None:
            return
        self._note_call(ended, self._cost(self._open, ended))
        self.feed(ended)

    def _break_off(self) -> None:
        """A call that is ended from here has cost nobody knows what, unless it is one that costs nothing."""
        if self._open is not None:
            is_free = self._kit.prices.most(self._open.request) == NOTHING
            self._note_call(Failed("ended before it was over"), NOTHING if is_free else None)

    async def _may_spend(self, call: str, request: ModelRequest) -> bool:
        """Have the most that the call may cost reserved; what costs nothing by nature needs no leave."""
        most = self._kit.prices.most(request)
        if most == NOTHING:
            return True
        run = self._run
        reserved = MoneyReserved(
            id=record_id(run.turn, "reserved", run.attempt, call),
            turn=run.turn,
            at=self._kit.now(),
            attempt=run.attempt,
            call=call,
            user_id=run.user_id,
            agent=self._agent.name,
            model=request.model,
            amount=most,
        )
        match await self._stage.record(reserved):
            case Recorded():
                return True
            case NotRecorded(words=words) if words:
                self.feed(harness.Denied(words))
        return False

    async def _listen(self, model: Model, request: ModelRequest) -> Finished | Failed:
        """Everything up to the end of the call; a call that falls silent for too long is given up."""
        try:
            async with asyncio.timeout(None) as limit:
                watch = _Watch(self, limit, self._agent.limits.stall_seconds)
                try:
                    heard = await guarded(self._follow(model, request))
                finally:
                    watch.end()
        except TimeoutError:
            reason = f"{request.model} said nothing for {self._agent.limits.stall_seconds} s"
            return Failed(reason, is_transient=not (isinstance(model, Emissary) and model.asks_once))
        if isinstance(heard, Exception):
            logger.error("the model %s broke in turn %s", request.model, self._run.turn, exc_info=heard)
            return Failed(f"the adapter of {request.model} broke: {type(heard).__name__}")
        return heard

    async def _follow(self, model: Model, request: ModelRequest) -> Finished | Failed:
        heard = self._heard
        async with aclosing(model.stream(request)) as stream:
            async for event in stream:
                self._signs += 1
                # What it says is gathered here and reaches the harness once for each time that it is told on.
                if isinstance(event, Said):
                    heard.append(event.text)
                    # What stands before it has stirred already.
                    if len(heard) == 1:
                        self._stage.stir()
                elif isinstance(event, Finished | Failed):
                    return event
                else:
                    self.feed(event)
                # What was told may have ended the turn: then nobody pays for more.
                if self._open is None:
                    break
                if self._signs % EVENTS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return Failed("the model's stream broke off", is_transient=True)

    @property
    def signs(self) -> int:
        """How often the model gave a sign of life."""
        return self._signs

    def _cost(self, call: Call, ended: Finished | Failed) -> Decimal | None:
        if isinstance(ended, Finished) or ended.cost is not None:
            return self._kit.prices.cost(call.request.model, ended)
        # What was counted until a call broke off is not all that it cost.
        has_begun = ended.has_begun or ended.input_tokens or ended.output_tokens
        # Whose first word is that it failed has not begun to work; who falls silent or breaks off may have.
        is_unheard = self._signs == call.signs + 1 and not has_begun
        return NOTHING if is_unheard or self._kit.prices.most(call.request) == NOTHING else None

    def _note_call(self, ended: Finished | Failed, cost: Decimal | None) -> None:
        call, self._open = self._open, None
        if call is None:
            return
        state = self._state
        self._stage.note(
            ModelStep(
                call=call.name,
                model=call.request.model,
                messages=len(call.request.messages),
                text=excerpt(clean(state.text)) if isinstance(state, harness.Asking) else "",
                reason=ended.reason if isinstance(ended, Finished) else "failed",
                error=excerpt(clean(ended.reason)) if isinstance(ended, Failed) else "",
                input_tokens=ended.input_tokens,
                output_tokens=ended.output_tokens,
                cache_read_tokens=ended.cache_read_tokens,
                cache_write_tokens=ended.cache_write_tokens,
                cost=cost,
                seconds=round(asyncio.get_running_loop().time() - call.began, 3),
                within=self._within or None,
            )
        )

    # Tools

    async def _use(self, use: UseTool) -> None:
        run, has_effect = self._run, use.tool.effect != "read"
        call = self._name(use.call)
        if use.asks and not await self._is_allowed(use, call):
            return
        if has_effect:
            started = ToolStarted(
                id=record_id(run.turn, "tool started", run.attempt, call),
                turn=run.turn,
                at=self._kit.now(),
                attempt=run.attempt,
                call=call,
                tool=use.tool.name,
                effect=use.tool.effect,
                arguments=use.digest,
            )
            if not self._is_recorded(await self._stage.record(started), use):
                return
            # What was awaited may have swallowed a cancellation, and an effect cannot be taken back.
            if isinstance(self._state, harness.Over):
                return
            self._kit.at("tool started")
        began = asyncio.get_running_loop().time()
        finished, is_known = await self._run_tool(use, call)
        # Who ended the turn meanwhile has told what is known of the call.
        if isinstance(self._state, harness.Over):
            return
        outcome: ToolOutcome = "unknown" if not is_known else "error" if finished.is_error else "ok"
        seconds = round(asyncio.get_running_loop().time() - began, 3)
        self._note_tool(use.call, use.tool.name, use.arguments, outcome, finished.content, seconds)
        if has_effect:
            self._kit.at("tool done")
            done = ToolDone(
                id=record_id(run.turn, "tool done", run.attempt, call),
                turn=run.turn,
                at=self._kit.now(),
                attempt=run.attempt,
                call=call,
                outcome="error" if finished.is_error else "ok",
                content=excerpt(clean(finished.content)),
                attachments=finished.attachments or None,
            )
            # Of what may have taken effect and may not, nothing is known to be done.
            if is_known and not self._is_recorded(await self._stage.record(done), use):
                return
        self.feed(finished)

    async def _is_allowed(self, use: UseTool, call: str) -> bool:
        """Whether a person allows the call; where not, the model is told why, and the turn goes on."""
        if len(use.arguments) > MAX_TEXT:
            reply: RecordReply = NotRecorded(words=UNASKED)
        else:
            self._asking.add(use.call)
            reply = await self._stage.record(
                ApprovalWanted(
                    turn=self._run.turn,
                    call=call,
                    tool=use.tool.name,
                    effect=use.tool.effect,
                    arguments=use.arguments,
                    reasons=use.asks,
                    seconds=self._agent.approvals.seconds,
                )
            )
            self._asking.discard(use.call)
        # What was awaited may have swallowed a cancellation, and the end has told what became of the call.
        if isinstance(self._state, harness.Over):
            return False
        if isinstance(reply, NotRecorded) and reply.words:
            self._note_tool(use.call, use.tool.name, use.arguments, "error", reply.words)
        return self._is_recorded(reply, use)

    def _is_recorded(self, reply: RecordReply, use: UseTool) -> bool:
        """Whether to go on; where words say why not, they are what the model is told of the call."""
        if isinstance(reply, NotRecorded) and reply.words:
            self.feed(ToolFinished(use.call, reply.words, is_error=True))
        return isinstance(reply, Recorded)

    async def _run_tool(self, use: UseTool, call: str) -> tuple[ToolFinished, bool]:
        """What came of it, and whether that is certain."""
        run, is_foreign = self._run, use.tool.is_foreign
        is_tainted = harness.is_tainted(self._state)
        report = partial(self._report, use)
        occasion = Occasion(run.turn, call, run.scope, run.user_id, self._agent, is_tainted, run.person, report)
        tool = self._tools[use.tool.name].tool
        limit = self._limits[call] = Limit(use.tool.timeout)
        result = await guarded(limit.within(tool.run(use.arguments, occasion)))
        del self._limits[call]
        match result:
            case str():
                return ToolFinished(use.call, result, is_foreign=is_foreign), True
            case Observation():
                finished = await self._bring(use.call, result)
                return replace(finished, is_foreign=is_foreign or result.is_foreign), True
            case ToolFailed():
                is_known = use.tool.effect == "read" or not isinstance(result, OutcomeUnknown)
                return ToolFinished(use.call, str(result), is_error=True, is_foreign=is_foreign), is_known
            case TimeoutError():
                words = f"No answer within {use.tool.timeout:g} s; whether it took effect is not known."
                return ToolFinished(use.call, words, is_error=True), use.tool.effect == "read"
            case Exception():
                logger.error("tool %s broke in turn %s", use.tool.name, self._run.turn, exc_info=result)
                return ToolFinished(use.call, "The tool itself broke.", is_error=True), use.tool.effect == "read"

    def _report(self, use: UseTool, words: str) -> None:
        """How far a tool is, for the person to see; a tool's words lead nowhere."""
        if not isinstance(self._state, harness.Over):
            line = without_links(f"Using {use.tool.name}: {words}", self._may_show)
            self._stage.show(Show(self._name(use.call), use.tool.name, "running", line))

    async def _bring(self, call: str, observed: Observation) -> ToolFinished:
        """What a tool made for the person, once its files are where the person's screen can read them."""
        words, attachments = [observed.content] if observed.content else [], list(observed.attachments)
        for file in observed.files:
            has_room = len(attachments) < harness.room(self._state)
            attachment = await self._keep(file) if has_room else None
            if attachment is not None:
                attachments.append(attachment)
            else:
                words.append(harness.unsent(file.name, NOT_KEPT if has_room else harness.NO_ROOM))
        # What was to bring a file and nothing else, and brings none, did not work.
        is_error = observed.is_error or (not observed.content and bool(words) and not attachments)
        return ToolFinished(call, "\n".join(words), is_error, tuple(attachments), observed.choices)

    async def _keep(self, file: Media) -> Attachment | None:
        blobs = self._kit.blobs
        return await blobs.keep(self._run.scope, file) if blobs is not None else None

    async def ask(self, helper: AgentSpec, question: str, call: str) -> Observation:
        """Have another agent do an errand within this one, on the same ground."""
        # Who only pretends must not have somebody else do it.
        helper = helper.model_copy(update={"is_dry": helper.is_dry or self._agent.is_dry})

        def begin(told: Told, ground: Ground) -> tuple[Inner, Awaitable[None]]:
            errand = Errand(
                self._run, helper, self._kit, told, self.reference, within=call, ground=ground, more=self._more
            )
            return errand, errand.carry_out((Line(role="user", text=question),))

        return await self.within(call, helper.name, begin)

    async def within(
        self, call: str, name: str, begin: "Callable[[Told, Ground], tuple[Inner, Awaitable[None]]]"
    ) -> Observation:
        """Have somebody else do something within this errand, on the same ground; what came of it, and its files."""
        told = Told(self._stage, self._limits[call])
        inner, work = begin(told, harness.ground(self._state))
        self._helpers.add(inner)
        try:
            await work
        except asyncio.CancelledError:
            # Its time is up, or the turn is over: what it was doing is part of the turn's trace all the same.
            inner.feed(harness.TimeUp())
            raise
        finally:
            self._helpers.discard(inner)
            inner.close()
        answer, ended = "".join(told.said), told.ended
        is_tainted = ended is not None and ended.is_tainted
        if ended is None or ended.outcome != "complete":
            return Observation(answer or f"{name} gave no answer.", is_foreign=is_tainted, is_error=True)
        # What the helper offers to say next, it offers to who asked it.
        return Observation(answer, attachments=ended.attachments, is_foreign=is_tainted)

    # The harness

    def _name(self, call: str) -> str:
        """A call's name in the whole turn."""
        return f"{self._within}.{call}" if self._within else call

    def _step(self, event: harness.Event) -> None:
        before = self._state
        after, commands = harness.step(before, event)
        if isinstance(after, harness.Over):
            self._break_off()
            for wanted in before.running if isinstance(before, harness.Using) else ():
                # What came back is known, though nothing came after it.
                if isinstance(event, ToolFinished) and event.call == wanted.call:
                    continue
                if wanted.call in self._asking:
                    self._note_tool(wanted.call, wanted.name, wanted.arguments, "error", UNANSWERED)
                else:
                    self._note_tool(wanted.call, wanted.name, wanted.arguments, "unknown")
        self._state = after
        self._live = before if isinstance(after, harness.Over) else after
        if self._links is None and harness.is_tainted(self._live):
            self._links = Links(self._may_show)
        for command in commands:
            match command:
                case Say():
                    self._stage.say(command.text if self._links is None else self._links.feed(command.text))
                case Show():
                    text = self._without_links(command.text)
                    self._stage.show(replace(command, call=self._name(command.call), text=text))
                case AskModel():
                    self._todo.append(command)
                case UseTool():
                    self._say_rest()
                    self._todo.append(command)
                case Skip(result=told):
                    outcome: ToolOutcome = "error" if told.is_error else "dry run" if self._agent.is_dry else "ok"
                    self._note_tool(told.call, told.tool, command.arguments, outcome, told.content)
                case End():
                    self._todo.clear()
                    self._say_rest()
                    self._stage.end(self._shown(command))

    def _say_rest(self) -> None:
        """Say the word that was held back: what follows begins anew."""
        rest = self._links.end() if self._links is not None else ""
        if rest:
            self._stage.say(rest)

    def _shown(self, end: End) -> End:
        """The end with nothing but what may be shown of what goes with the answer."""
        if self._links is None or not (end.choices or end.attachments):
            return end
        choices = tuple(self._without_links(choice)[:MAX_CHOICE] for choice in end.choices)
        files = tuple(
            file.model_copy(update={"name": self._without_links(file.name)[:MAX_NAME]}) for file in end.attachments
        )
        return replace(end, choices=choices, attachments=files)

    def _without_links(self, text: str) -> str:
        return text if self._links is None else without_links(text, self._may_show)

    def _may_show(self, address: str) -> bool:
        return harness.may_show(self._live, address)

    def _note_tool(
        self, call: str, tool: str, arguments: str, outcome: ToolOutcome, content: str = "", seconds: float = 0.0
    ) -> None:
        self._stage.note(
            ToolStep(
                call=self._name(call),
                tool=clean(tool),
                effect=self._tools[tool].spec.effect if tool in self._tools else "read",
                arguments=excerpt(clean(arguments)),
                outcome=outcome,
                content=excerpt(clean(content)),
                seconds=seconds,
                within=self._within or None,
            )
        )


class _Watch:
    """Ends a call that gives no sign of life, at a cost that does not grow with the number of signs."""

    def __init__(self, errand: Errand, limit: asyncio.Timeout, seconds: float) -> None:
        self._errand = errand
        self._limit = limit
        self._pause = seconds / 2
        self._silent = 0
        self._seen = -1
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)

    def _look(self) -> None:
        signs = self._errand.signs
        self._silent = self._silent + 1 if signs == self._seen else 0
        self._seen = signs
        loop = asyncio.get_running_loop()
        if self._silent > 1:
            self._limit.reschedule(loop.time())
        else:
            self._timer = loop.call_later(self._pause, self._look)

    def end(self) -> None:
        """Watch no more."""
        self._timer.cancel()


class Told:
    """The stage of an agent that works for another: what it says is gathered, what it does is part of the turn.

    While a person is asked, the time of the call by which it was asked stands still.
    """

    def __init__(self, stage: Stage, limit: Limit) -> None:
        self.said: list[str] = []
        self.ended: End | None = None
        self._stage = stage
        self._limit = limit

    def stir(self) -> None:
        """Nobody waits for each word."""

    def say(self, text: str) -> None:
        """More of the answer."""
        self.said.append(text)

    def show(self, show: Show) -> None:
        """The person sees what the helper does."""
        self._stage.show(show)

    def note(self, step: Step) -> None:
        """Part of the turn's trace."""
        self._stage.note(step)

    def end(self, end: End) -> None:
        """The helper has answered."""
        self.ended = end

    async def record(self, record: Requested) -> RecordReply:
        """Part of the turn's records."""
        with self._limit.held() if isinstance(record, ApprovalWanted) else nullcontext():
            return await self._stage.record(record)


class Helper:
    """The tool by which an agent asks another one."""

    def __init__(self, errand: Errand, agent: AgentSpec) -> None:
        self._errand = errand
        self._agent = agent
        # Whether its answer is foreign depends on what it has read, and on whose agent it is.
        seconds = agent.limits.max_seconds
        described = describe(self.ask, name=f"ask_{agent.name}", timeout=seconds, is_foreign=False)
        about = f"{described.description} It is there for: {agent.description or agent.name}"
        self.spec: ToolSpec = replace(described, description=about)

    async def ask(self, question: str) -> str:
        """Ask another agent, which sees nothing but your question, and wait for its answer.

        question: all that it must know to answer
        """
        raise NotImplementedError(question)

    async def run(self, arguments: str, occasion: Occasion) -> Observation:
        """Its answer, and the files that it sends."""
        return await self._errand.ask(self._agent, loads(arguments)["question"], occasion.call)


More = Callable[[Errand, AgentSpec], Awaitable[Sequence[Equipped]]]
