"""A whole house in one process and in virtual time: hub, standby, workers and spoke as they are, on a simulated bus.

What is simulated is what lies outside of the product: the bus, the platform, the model, the tool with an effect, the
supervisor that starts again what died, and time.
"""

import asyncio
import json
import math
import random
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache, partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from adapters.spoke import NotNow, Reply, Spoke
from factory_contracts import subjects
from factory_contracts.messages import Address, InboundMessage, Refused
from factory_contracts.messages import Said as Echo
from factory_contracts.work import Approvals
from factory_nats.connect import Identity
from factory_nats.result import Ok, Result
from factory_nats.transport import Entry, Transport
from hub.composition import SUPERSEDED, HubSettings, reign
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent, WhileRunning
from hub.kernel.budget import Budget
from hub.kernel.events import Called, Finished, ModelEvent
from hub.kernel.events import Said as ModelSaid
from hub.kernel.ports import Equipped, ModelRequest, Occasion, Spoken, ToolResult, ToolSpec
from hub.kernel.routing import Binding, Bindings
from tests.chaos import script
from tests.chaos.script import Question
from tests.sim.bus import SimBus, SimTransport
from tests.sim.loop import WITHIN, Loop, Process
from tests.sim.platform import BOT, PLATFORM, Platform, Said, Unheard
from tests.sim.script import PARAGRAPH
from tests.workers.stage import FakePrices
from workers.clipool.kit import Given, Kit
from workers.clipool.worker import Worker

MUCH = 1_000_000
POOLS = 2
# So many houses have models that cost something.
PRICED = 0.3
# In so many the hubs share the conversations, and in so many of these a purse that is not enough for all that is asked.
SHARED = 0.2
CAPPED = 0.4
# In so many of those where hubs share there are three, and so many of them were told to share while a hub that reigns
# alone still lives, or the other way round.
THIRD = 0.3
CHANGED = 0.25
LIVES_BEFORE = 2
# In so many what is said while another answer grows waits, joins it, or takes over.
MEDDLING = (0.76, 0.12, 0.12)
# In so many a person is asked before the tool is used, and has so many seconds to answer.
ASKING = 0.25
ANSWER_WITHIN = 10
PURSE, CAP = "purse", Decimal("0.15")
MOST, COST = Decimal("0.02"), Decimal("0.01")
PACE_MS = 250
EPOCH_TIME = 1_700_000_000.0
RESTART = (0.05, 1.0)
JOINING = 0.1
TOOL_TAKES = 0.1
# So long a worker that was told to stop may finish what it has begun.
DRAIN = 8.0
# So much of a message is printed.
SHOWN = 300
HUBS = ("hub-one", "hub-two", "hub-three")
WORKERS = ("clipool", "clipool-two")
SPOKE = f"{PLATFORM}-{BOT}"


class Record(NamedTuple):
    """One message of the log, read without the product; `kind` is what it says."""

    at: float
    sequence: int
    subject: str
    fence: tuple[str, int] | None
    kind: str
    body: Mapping[str, Any]
    data: bytes


@dataclass(slots=True)
class Trouble:
    """A time at which a process, or with no name any of them, could not be reached as it should."""

    begin: float
    end: float
    whose: str = ""


@dataclass(slots=True)
class Evidence:
    """What happened, noted where it happened and by nobody who could be wrong about it."""

    log: list[Record] = field(default_factory=list)
    calls: list[tuple[float, Process, str]] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    killed: list[tuple[float, Process]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)
    received: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)

    @property
    def open(self) -> set[str]:
        """What was received and has no final receipt."""
        return self.received - self.settled


@dataclass(slots=True)
class Slot:
    """One process over all its lives."""

    name: str
    work: Callable[["Slot", Process], Coroutine[None, None, int]]
    is_standby: bool = False
    lives: int = 0
    process: Process | None = None
    ended: "asyncio.Future[str] | None" = None
    transports: list[SimTransport] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class House:
    """The processes, and the hands that strike them."""

    def __init__(
        self, loop: Loop, dice: random.Random, folder: Path, *, trace: bool = False, is_compared: bool = False
    ) -> None:
        self.loop = loop
        self.dice = dice
        self.evidence = Evidence()
        self.bus = SimBus(dice)
        self.bus.tap = self._tap
        self.bus.on_stored = self._stored
        self.platform = Platform(dice, self.note)
        self.shares = dice.random() < SHARED
        self.changes = self.shares and dice.random() < CHANGED
        self.cap = CAP if self.shares and dice.random() < CAPPED else None
        self.hubs = HUBS if self.shares and dice.random() < THIRD else HUBS[:2]
        self.asks = dice.random() < ASKING
        self.while_running: WhileRunning = dice.choices(("queue", "steer", "interrupt"), MEDDLING)[0]
        if self.cap is not None:
            self.while_running = "queue"
        self.has_jumped = False
        self.is_over = False
        self.slots = {
            name: Slot(name, work)
            for name, work in (
                *((name, self._hub) for name in self.hubs),
                *((name, self._worker) for name in WORKERS),
                (SPOKE, self._spoke),
            )
        }
        self.slots[HUBS[1]].is_standby = not self.shares
        self._folder = folder
        self._digest = sha256() if is_compared else None
        self._trace = trace
        self._names = 0
        is_priced = dice.random() < PRICED or self.cap is not None
        self._prices = FakePrices(MOST, COST) if is_priced else FakePrices()
        approvals = Approvals(external="always" if self.asks else "tainted", seconds=ANSWER_WITHIN)
        self._agent = Agent(
            name="scribe",
            model="scripted",
            tools=(script.TOOL,),
            approvals=approvals,
            while_running=self.while_running,
        )
        self._settings = HubSettings(
            nats_url="",
            identity=Identity(subjects.HUB),
            bindings=Bindings({self._agent.name: self._agent}, (Binding(self._agent.name),)),
            policies=(
                BotPolicy(
                    PLATFORM,
                    BOT,
                    access="public",
                    rate_per_minute=MUCH,
                    rate_per_scope_minute=MUCH,
                    turns_at_once=MUCH,
                    everyone_owns=True,
                ),
            ),
            budgets=(Budget(PURSE, self.cap, period="ever"),) if self.cap is not None else (),
            max_pools=POOLS,
            shares=self.shares,
        )

    @property
    def digest(self) -> str:
        """What happened, in a few letters, where it is to be compared: the same seed gives the same."""
        return self._digest.hexdigest()[:16] if self._digest is not None else ""

    def note(self, words: str) -> None:
        """Something happened."""
        if self._digest is not None:
            self._digest.update(f"{self.loop.time():.6f} {words}".encode())
        self._print(words)

    def open(self, names: Sequence[str]) -> list[asyncio.Task[None]]:
        """Begin with these processes, each kept alive from now on."""
        return [asyncio.create_task(self._keep(self.slots[name]), name=f"keep {name}") for name in names]

    def kill(self, slot: Slot, why: str) -> bool:
        """End a process as SIGKILL does; false where none lives."""
        process = slot.process
        if process is None or slot.ended is None or slot.ended.done():
            return False
        self.note(f"kill {process} {why}")
        self.evidence.killed.append((self.loop.time(), process))
        self.evidence.troubles.append(Trouble(self.loop.time(), self.loop.time(), slot.name))
        self.loop.kill(process)
        slot.ended.set_result("killed")
        return True

    def freeze(self, slot: Slot) -> Process | None:
        """Let a process stand still; None where none lives."""
        process = slot.process
        if process is None or process.is_dead or process.is_frozen:
            return None
        self.note(f"freeze {process}")
        self.loop.freeze(process)
        return process

    def thaw(self, process: Process) -> None:
        """It goes on."""
        self.note(f"thaw {process}")
        self.loop.thaw(process)

    @contextmanager
    def trouble(self, whose: str = "") -> Iterator[None]:
        """For as long as this lasts somebody, or everybody, may be out of reach."""
        noted = Trouble(self.loop.time(), math.inf, whose)
        self.evidence.troubles.append(noted)
        yield
        noted.end = self.loop.time()

    def reigning(self) -> Slot:
        """The hub that has the newest epoch, or one that lives; any of those that share."""
        living = [self.slots[name] for name in self.hubs if self.slots[name].process is not None]
        if self.shares:
            return self.slots[self.dice.choice(self.hubs)]
        for record in reversed(self.evidence.log):
            if record.kind == "epoch":
                for slot in living:
                    if slot.process is not None and _hub_of(slot.process) == record.body["hub"]:
                        return slot
                break
        return living[0] if living else self.slots[HUBS[0]]

    def name(self, what: str) -> str:
        """A name that nobody else has."""
        self._names += 1
        return f"{what}-{self._names}"

    async def _keep(self, slot: Slot) -> None:
        while not self.is_over:
            slot.lives += 1
            process = slot.process = Process(f"{slot.name}.{slot.lives}", is_watched=slot.name in HUBS)
            ended = slot.ended = self.loop.create_future()
            slot.transports, slot.stop = [], asyncio.Event()
            self.note(f"start {process}")
            task = self.loop.begin(process, slot.work(slot, process))
            task.add_done_callback(partial(self._note_end, slot, ended))
            why = await ended
            slot.process = None
            self.note(f"end {process} {why}")
            # What its main task has left behind ends with it.
            self.loop.kill(process)
            for transport in slot.transports:
                self.bus.part(transport)
            await asyncio.sleep(self.dice.uniform(*RESTART))

    def _note_end(self, slot: Slot, ended: "asyncio.Future[str]", task: asyncio.Task[int]) -> None:
        if ended.done() or self.is_over:
            return
        if task.cancelled():
            why = "cancelled"
        elif (error := task.exception()) is not None:
            why = f"failed: {type(error).__name__}: {error}"
            self.evidence.defects.append(f"{slot.name} {why}")
        else:
            why = f"exit {task.result()}"
            slot.is_standby = slot.name in HUBS and task.result() == SUPERSEDED
        ended.set_result(why)

    async def _join(self, slot: Slot, identity: str) -> SimTransport:
        while not self.bus.is_up:
            await asyncio.sleep(JOINING)
        transport = self.bus.join(identity)
        slot.transports.append(transport)
        return transport

    # The processes

    async def _hub(self, slot: Slot, process: Process) -> int:
        transport = await self._join(slot, subjects.HUB)

        async def as_eraser() -> Result[Transport]:
            return Ok(await self._join(slot, subjects.ERASER))

        is_alone = not self.shares or (self.changes and slot.lives <= LIVES_BEFORE and self.dice.random() < 0.5)
        settings = replace(self._settings, standby=slot.is_standby and is_alone, shares=not is_alone)
        clock = partial(self._clock, process)
        code = await reign(settings, transport, as_eraser, _hub_of(process), slot.stop, asyncio.Event(), clock=clock)
        await transport.close()
        return code

    async def _worker(self, slot: Slot, process: Process) -> int:
        transport = await self._join(slot, slot.name)
        spec = ToolSpec(
            name=script.TOOL,
            description="Engraves the name of a question in stone.",
            parameters='{"type":"object","properties":{"question":{"type":"string"}},"required":["question"]}',
            effect="external",
            timeout=5.0,
            is_foreign=False,
        )
        kit = Kit(
            models=Given({"scripted": _Model(self, process)}),
            tools={script.TOOL: Equipped(spec, _Engraver(self))},
            prices=self._prices,
            now=partial(self._clock, process),
        )
        worker = Worker(transport, kit, lambda: self.name("life"))
        await worker.serve(slot.stop)
        await transport.close()
        return 0

    async def _spoke(self, slot: Slot, process: Process) -> int:
        transport = await self._join(slot, SPOKE)
        spoke = Spoke(transport, PLATFORM, BOT, Slate(self.platform), notes=self._folder / f"{slot.name}.jsonl")
        intake = asyncio.create_task(_serve(spoke, Intake(self.platform, spoke)))
        await slot.stop.wait()
        intake.cancel()
        await asyncio.wait([intake])
        await spoke.close()
        await transport.close()
        return 0

    def tell_to_stop(self, slot: Slot) -> None:
        """End a process as SIGTERM does."""
        self.note(f"stop {slot.process}")
        if slot.name != HUBS[0]:
            self.evidence.troubles.append(Trouble(self.loop.time(), self.loop.time() + DRAIN, slot.name))
        slot.stop.set()

    def _clock(self, process: Process) -> float:
        return EPOCH_TIME + self.loop.time() + process.jumped

    # What happens

    def _tap(self, what: str, subject: str, payload: bytes) -> None:
        if self._digest is not None:
            self._digest.update(f"{self.loop.time():.6f} {what} {subject} ".encode() + payload)
        if what == "carried" and _PROMISE.search(payload, 0, 100):
            self._check(payload)
        if self._trace:
            self._print(f"{what} {subject} {payload[:SHOWN].decode(errors='replace')}")

    def _print(self, words: str) -> None:
        if self._trace:
            print(f"{self.loop.time():10.4f} {words}")

    def _stored(self, entries: Sequence[Entry], last: int) -> None:
        for sequence, entry in enumerate(entries, last - len(entries) + 1):
            if not entry.subject.startswith(_LOG):
                continue
            body = _read(entry.payload)
            kind = str(body["kind"])
            self.evidence.log.append(
                Record(self.loop.time(), sequence, entry.subject, entry.expect, kind, body, entry.payload)
            )
            match kind:
                case "epoch":
                    self.evidence.epochs[int(entry.subject.rpartition(".")[2])] = sequence
                case "received":
                    self.evidence.received.add(body["turn"])
                case "answered" | "refused":
                    self.evidence.answered.add(body["turn"])
                case "shown" | "undeliverable" | "superseded":
                    self.evidence.settled.add(body["turn"])

    def _check(self, payload: bytes) -> None:
        """What is promised on the bus must be on the log by then."""
        evidence, said = self.evidence, from_json(payload)
        match said["kind"]:
            case "accepted":
                missing = {said["turn"]} - evidence.received
            case "final":
                missing = {said["turn"]} - evidence.answered
            case _:
                missing = set(said["turns"]) - evidence.answered - evidence.settled
                # A hub whose reign is over may say so; no worker that knows of the next one obeys.
                if said["epoch"] < evidence.epochs[said["partition"]]:
                    return
        if missing:
            evidence.defects.append(f"{said['kind']} was said of {sorted(missing)} before that was on the log")


_PROMISE = re.compile(rb'"kind":"(accepted|final|forget)"')
_LOG = subjects.plane("turns")[0].partition("*")[0].partition(">")[0]


@lru_cache(maxsize=64)
def _read(payload: bytes) -> Mapping[str, Any]:
    """A record as JSON; a hub that begins writes the same for each partition."""
    body: Mapping[str, Any] = from_json(payload)
    return body


def _hub_of(process: Process) -> str:
    """What a hub is called on the bus."""
    return process.name.replace(".", "-")


async def _serve(spoke: Spoke, intake: "Intake") -> None:
    await spoke.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(intake.run())
        group.create_task(intake.hear_presses())


class Slate:
    """The platform as a screen."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def send(self, reply: Reply) -> str:
        address = reply.address
        return await self._platform.send(address.scope_id, address.reply_to or "", reply.text, _question(reply))

    async def edit(self, message_id: str, reply: Reply) -> None:
        await self._platform.edit(reply.address.scope_id, message_id, reply.text, _question(reply))

    async def said(self, said: Echo) -> None:
        """The platform shows what people say by itself."""


class Intake:
    """What people write, handed to the hub in their order, and confirmed when all of a batch is accepted."""

    def __init__(self, platform: Platform, spoke: Spoke) -> None:
        self._platform = platform
        self._spoke = spoke

    async def run(self) -> None:
        """Fetch and submit for ever."""
        offset = 0
        while True:
            try:
                updates = await self._platform.fetch(offset)
            except Unheard:
                continue
            except NotNow as told:
                await asyncio.sleep(told.seconds)
                continue
            if not updates:
                continue
            offset = await self.take(updates)

    async def hear_presses(self) -> None:
        """Hand over for ever what people press, whatever their conversations wait for."""
        while True:
            try:
                for press in await self._platform.pressed():
                    asked = press.asked
                    told = await self._spoke.decide(
                        asked.scope, asked.turn, asked.code, asked.scope, approved=press.approved
                    )
                    await self._platform.tell(press, told.text if told is not None else None)
            except Unheard:
                continue
            except NotNow as told_off:
                await asyncio.sleep(told_off.seconds)

    async def take(self, updates: list[Said]) -> int:
        """Hand all of these over; what may be confirmed after that."""
        by_scope = groupby(sorted(updates, key=_scope), key=_scope)
        async with asyncio.TaskGroup() as group:
            for _, of_scope in by_scope:
                group.create_task(self._submit(list(of_scope)))
        return updates[-1].update + 1

    async def _submit(self, said: list[Said]) -> None:
        for one in said:
            address = Address(platform=PLATFORM, bot_id=BOT, scope_id=one.scope, reply_to=one.message, pace_ms=PACE_MS)
            told = await self._spoke.submit(
                InboundMessage(message_id=one.message, user_id=one.scope, text=one.question.text, address=address)
            )
            if isinstance(told, Refused):
                one.refusals.append(told.reason)


def _question(reply: Reply) -> tuple[str, str] | None:
    return (reply.turn, reply.question.code) if reply.question is not None else None


def _scope(said: Said) -> str:
    return said.scope


class _Model:
    """A model that says what the script says, in pieces."""

    def __init__(self, house: House, process: Process) -> None:
        self._house = house
        self._process = process

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call."""
        last = request.messages[-1]
        house = self._house
        question, *joined = self._questions(request)
        house.note(f"model call of {self._process}: {question.text} and {len(joined)} more")
        house.evidence.calls.append((house.loop.time(), self._process, question.name))
        lines = [one for one in request.messages if isinstance(one, Spoken)]
        whole = PARAGRAPH.join(script.answer(one, (len(lines) - 1) // 2) for one in (question, *joined))
        if question.kind == "tool":
            first, _, second = whole.partition("\n\n")
            whole = second if isinstance(last, ToolResult) else first
        for piece in _pieces(whole, house.dice):
            await asyncio.sleep(house.dice.random() * 0.2)
            yield ModelSaid(piece)
        if question.kind == "tool" and not isinstance(last, ToolResult):
            yield Called(f"call-{question.name}", script.TOOL, json.dumps({"question": question.name}))
            yield Finished("tools")
        else:
            yield Finished("end")

    def _questions(self, request: ModelRequest) -> list[Question]:
        """What is asked; where messages may join, all that nothing was said to yet."""
        asked: list[str] = []
        for one in reversed(request.messages):
            if isinstance(one, Spoken) and one.role == "user":
                asked.insert(0, one.text)
            if asked and (self._house.while_running != "steer" or not isinstance(one, Spoken) or one.role != "user"):
                break
        return [Question.read(text) for text in PARAGRAPH.join(asked).split(PARAGRAPH)]

    async def close(self) -> None:
        """Nothing is held."""


def _pieces(text: str, dice: random.Random) -> list[str]:
    cuts = sorted(dice.randrange(len(text) + 1) for _ in range(dice.randrange(6)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if end > start]


class _Engraver:
    """A tool with an effect that nobody can take back."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def run(self, arguments: str, occasion: Occasion) -> str:
        """Engrave the question's name."""
        house = self._house
        await asyncio.sleep(TOOL_TAKES * house.dice.random())
        name = json.loads(arguments)["question"]
        house.note(f"engraved {name} by {WITHIN.get()}")
        if house.asks and name not in house.platform.allowed:
            house.evidence.defects.append(f"{name}: was engraved, and nobody had allowed it")
        house.evidence.effects.append(name)
        await asyncio.sleep(TOOL_TAKES * house.dice.random())
        return "It stands there for ever."
