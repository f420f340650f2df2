"""A hub with a great many conversations on the log: how long it takes to start, what it weighs, and how long an old
conversation waits for its first word.

Two logs stand side by side, one long and one short, each under a server of its own; hubs are killed and started on them
by turns A B B A, so that whatever drifts on the machine falls on both alike.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from adapters.spoke import Spoke
from bench.figures import Interval, Report, bootstrap, quantile
from bench.product import CountingScreen
from bench.stage import BOT, PLATFORM, SPOKE, Child, Given, Stage, join, rss_bytes, settings, stage
from factory_contracts import subjects
from factory_contracts.messages import FROM_SPOKE, Address, InboundMessage, Refused, Submit
from factory_nats.result import Ok

MOST_LONGER = 1.5
MOST_HEAVIER = 1.25
PATIENCE = 60.0
ASKED_WITHIN = 0.2
LOOK_EVERY = 0.01
# By then what was said is sealed, and the mark is moved.
MARKED = 8.0
WORDS = "50 deltas"

Work = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many conversations are on either log, how often hubs start, and in how many old ones something is said."""

    few: int
    many: int
    rounds: int
    said: int
    warms: int = 1
    marked: float = MARKED


FULL = Plan(few=1_000, many=100_000, rounds=3, said=200)
QUICK = Plan(few=1_000, many=20_000, rounds=1, said=50, marked=2.0)
SMOKE = Plan(few=10, many=40, rounds=1, said=2, warms=0, marked=0.0)


def plan(is_quick: bool, is_smoke: bool) -> Plan:
    """The plan that was asked for."""
    return SMOKE if is_smoke else QUICK if is_quick else FULL


@dataclass(frozen=True, slots=True)
class Start:
    """A hub that began: seconds until it answered, its memory then, and how long old conversations waited.

    `alive` is how long its process took to take its place, before it asked anything of the log.
    """

    seconds: float
    alive: float
    rss: int
    firsts: Sequence[float]
    rss_after: int


@dataclass(slots=True)
class Side:
    """A log, and whoever asks about it."""

    made: Stage
    scopes: int
    asker: Child

    async def begin(self, chosen: Plan) -> Start:
        """A hub is started, asked, and killed."""
        began = time.perf_counter()
        starting = asyncio.create_task(self._start(began))
        await self.asker.ask(do="work", work={"do": "await", "scopes": self.scopes})
        seconds = time.perf_counter() - began
        hub, alive = await starting
        rss = rss_bytes(hub.pid)
        work = {"do": "say", "scopes": self.scopes, "times": chosen.said}
        firsts = await self.asker.ask(do="work", work=work)
        rss_after = rss_bytes(hub.pid)
        await asyncio.sleep(chosen.marked)
        hub.process.send_signal(signal.SIGKILL)
        await hub.process.wait()
        del self.made.children["hub"]
        return Start(seconds, alive, rss, firsts, rss_after)

    async def _start(self, began: float) -> tuple[Child, float]:
        return await self.made.put("hub", subjects.HUB), time.perf_counter() - began


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement."""
    report = Report("scale", settings())
    report.setting["a scope on the log"] = "one answered and shown turn: 4 records"
    async with AsyncExitStack() as stack:
        few = await _side(stack, report, folder, chosen.few)
        many = await _side(stack, report, folder, chosen.many)
        for side in (few, many) * chosen.warms:
            await side.begin(chosen)
        rounds = [[await side.begin(chosen) for side in (few, many, many, few)] for _ in range(chosen.rounds)]
        _tell(report, few, [one[at] for one in rounds for at in (0, 3)])
        _tell(report, many, [one[at] for one in rounds for at in (1, 2)])
        _compare(report, few, many, rounds)
    return report


async def _side(stack: AsyncExitStack, report: Report, folder: Path, scopes: int) -> Side:
    place = folder / str(scopes)
    place.mkdir()
    made = await stack.enter_async_context(stage(place))
    writer = await made.put("pools-writer", subjects.HUB)
    written = await writer.ask(do="work", work={"scopes": scopes, "turns": 0, "mark": True})
    await writer.stop()
    del made.children["pools-writer"]
    size = sum(file.stat().st_size for file in made.log_folder.rglob("*") if file.is_file())
    server = rss_bytes(made.server.pid or 0)
    report.notes.append(f"{scopes} scopes: {written['records']} records written in {written['seconds']:.1f} s")
    report.add(f"log, {scopes} scopes", _exactly(size / 1e6), "MB", "bytes of all files of the server's store")
    report.add(f"nats-server's memory, {scopes} scopes", _exactly(server / 1e6), "MB", "resident, when all is written")
    await made.put("worker", subjects.CLIPOOL)
    return Side(made, scopes, await made.put("old-friend", SPOKE))


def _tell(report: Report, side: Side, starts: Sequence[Start]) -> None:
    name = f"{side.scopes} scopes"
    method = "from the start of its process until it answers a question about an old conversation; killed before"
    report.add(f"hub's start, {name}", bootstrap([one.seconds for one in starts]), "s", method)
    beyond = bootstrap([max(0.0, one.seconds - one.alive) for one in starts])
    method = "the same from where the process has taken its place and turns to the bus"
    report.add(f"hub's start, without that of its process, {name}", beyond, "s", method)
    report.add(f"hub's memory, {name}", bootstrap([one.rss / 1e6 for one in starts]), "MB", "resident, when it answers")
    after = bootstrap([one.rss_after / 1e6 for one in starts])
    report.add(f"hub's memory once old ones spoke, {name}", after, "MB", "resident, when each had its answer")
    spans = [1000 * span for one in starts for span in one.firsts]
    method = "from the submission in a conversation that is not in memory until the first word is on the screen"
    report.add(f"first word in an old conversation, p50, {name}", bootstrap(spans), "ms", method)
    tail = bootstrap(spans, lambda samples: quantile(samples, 0.99))
    report.add(f"first word in an old conversation, p99, {name}", tail, "ms", method, "95 % interval of the p99")


def _compare(report: Report, few: Side, many: Side, rounds: Sequence[Sequence[Start]]) -> None:
    name = f"{many.scopes} scopes / {few.scopes}"
    method = "four starts A B B A give one ratio; median of the ratios"
    for what, most, of in (
        ("hub's start", MOST_LONGER, lambda one: one.seconds),
        ("hub's memory", MOST_HEAVIER, lambda one: one.rss),
        ("first word in an old conversation", MOST_LONGER, lambda one: quantile(one.firsts, 0.5)),
    ):
        ratios = [(of(one[1]) + of(one[2])) / (of(one[0]) + of(one[3])) for one in rounds]
        report.at_most(f"{what}, {name}", report.add(f"{what}, {name}", bootstrap(ratios), "x", method), most)


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 1)


@asynccontextmanager
async def friend(given: Given) -> AsyncIterator[Work]:
    """A spoke in whose conversations something was said long ago."""
    transport = await join(given)
    screen = CountingScreen()
    spoke = Spoke(transport, PLATFORM, BOT, screen, notes=Path(given.folder) / "notes")
    random, number, is_there = Random(1), 0, False

    def message(scope: str) -> InboundMessage:
        nonlocal number
        number += 1
        address = Address(platform=PLATFORM, bot_id=BOT, scope_id=scope, pace_ms=30)
        user = f"user {scope}"
        return InboundMessage(
            message_id=f"again {number}", user_id=user, user_name="Bench", text=WORDS, address=address
        )

    async def answers(scope: str) -> bool:
        # Only asked, it becomes no turn.
        asked = Submit(platform=PLATFORM, bot_id=BOT, scope_id=scope, message=message(scope), only_asks=True)
        subject = subjects.inbound(PLATFORM, BOT, subjects.partition(scope))
        answer = await transport.request(
            subject, FROM_SPOKE.encode(asked), timeout=ASKED_WITHIN, responder=subjects.HUB
        )
        return isinstance(answer, Ok)

    async def say(scope: str) -> float:
        over = screen.expect(scope)
        began = time.perf_counter()
        accepted = await spoke.submit(message(scope))
        if isinstance(accepted, Refused):
            raise RuntimeError(f"a message was refused: {accepted.reason} {accepted.text}")
        await over
        return screen.first(scope) - began

    async def work(what: Any) -> Any:
        nonlocal is_there
        if what["do"] == "await":
            async with asyncio.timeout(PATIENCE):
                while not await answers(str(random.randrange(what["scopes"]))):
                    await asyncio.sleep(LOOK_EVERY)
            return None
        if not is_there:
            # A spoke is there once a hub has greeted it.
            await spoke.start()
            is_there = True
        return [await say(str(scope)) for scope in random.sample(range(what["scopes"]), what["times"])]

    try:
        yield work
    finally:
        await spoke.close()
        await transport.close()
