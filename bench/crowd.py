"""Many chats whose answers stream at once through one Telegram spoke: whether its loop stays free and each pace holds.

The spoke is the product's, with the real client over HTTP. The Bot API server and the hub that tells what to show are
one other process (`python -m bench.crowd`), so that the loop which is measured is the spoke's alone.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from adapters.telegram.__main__ import serve
from adapters.telegram.bot import BETWEEN, GROUP, PRIVATE
from adapters.telegram.settings import BotSettings, TelegramSettings
from bench.figures import Interval, Report, bootstrap, quantile
from bench.lag import TICK, Lag
from bench.stage import settings
from factory_contracts import subjects
from factory_contracts.messages import (
    FROM_SPOKE,
    OUTBOUND,
    TO_SPOKE,
    Accepted,
    Claim,
    Final,
    FinalReceipt,
    Hello,
    InboundMessage,
    Leased,
    Noted,
    Outbound,
    ShownReceipt,
    Submit,
    ToSpoke,
    Update,
    Welcome,
    turn_id,
)
from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, User
from factory_nats.transport import Delivery, Transport
from tests.botapi.chats import Chat
from tests.botapi.server import BotApi

PLATFORM, BOT, TOKEN = "telegram", "crowd", "42:CROWD"
SPOKE = f"{PLATFORM}-{BOT}"
MOST_IN_A_MINUTE = 20
MOST_LAG = 0.050
UPDATE_EVERY = 0.25
PIECE = "and so on "
# What a pause may lack when it is measured at the other end: no two writes take equally long to get there.
SLACK = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How many chats, how many of them groups, and how long their answers grow."""

    chats: int
    groups: int
    seconds: float


FULL = Plan(chats=500, groups=100, seconds=60.0)
QUICK = Plan(chats=500, groups=100, seconds=25.0)
SMOKE = Plan(chats=6, groups=2, seconds=2.0)


def plan(is_quick: bool, is_smoke: bool) -> Plan:
    """The plan that was asked for."""
    return SMOKE if is_smoke else QUICK if is_quick else FULL


async def run(chosen: Plan, folder: Path) -> Report:
    """Let everybody's answer grow, and see what the spoke's loop and the chats made of it."""
    report = Report("crowd", settings() | {"chats": chosen.chats, "groups": chosen.groups, "seconds": chosen.seconds})
    rights = {subjects.HUB: subjects.hub_permissions(SPOKE), SPOKE: subjects.spoke_permissions(PLATFORM, BOT)}
    seeds = {name: generate_seed() for name in rights}
    users = [User(name, public_key(seeds[name]), one.publish, one.subscribe, one.place) for name, one in rights.items()]
    server = EmbeddedServer(folder / "nats", users=tuple(users))
    if isinstance(started := await server.start(), Err):
        raise RuntimeError(started.detail)
    stage = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.crowd", server.url, seeds[subjects.HUB]),
        *(str(chosen.chats), str(chosen.groups), str(chosen.seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    if stage.stdout is None:
        raise AssertionError("a pipe was asked for")
    bot = BotSettings(BOT, TOKEN, Identity(SPOKE, seeds[SPOKE]), folder / "notes")
    told = TelegramSettings(server.url, (bot,), api_base=(await stage.stdout.readline()).decode().strip())
    serving = asyncio.create_task(serve(told))
    try:
        await stage.stdout.readline()
        used, began = time.process_time(), time.monotonic()
        lag = Lag()
        lag.begin()
        last = await stage.stdout.readline()
        lags = await lag.end()
        share = (time.process_time() - used) / (time.monotonic() - began)
        _tell(report, chosen, json.loads(last), lags, share)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await stage.wait()
        await server.stop()
    return report


def _tell(report: Report, chosen: Plan, seen: dict[str, Any], lags: list[float], share: float) -> None:
    method = f"how late a timer of {TICK * 1000:.0f} ms goes off in the spoke's loop, until all answers are whole"
    lag = report.add("loop lag, p99", bootstrap(lags, lambda one: quantile(one, 0.99)), "s", method)
    report.add("loop lag, p50", bootstrap(lags), "s", method)
    report.add("CPU of the spoke", _exactly(share), "cores", "process time over the run's time")
    report.add("writes", _exactly(seen["writes"]), "", "calls that changed a chat, counted by the server")
    for kind, rhythm in (("private", PRIVATE), ("group", GROUP)):
        shortest = min(seen["gaps"][kind], default=rhythm.gap)
        name = f"what the shortest pause between two writes in a {kind} chat lacks"
        report.at_most(name, _exactly(rhythm.gap - shortest), SLACK)
    report.at_most("writes in a group in any minute", _exactly(seen["most_in_a_minute"]), MOST_IN_A_MINUTE)
    report.at_most("loop lag, p99", lag, MOST_LAG)
    report.at_most("writes in any second", _exactly(seen["busiest"]), round(1 / BETWEEN) + 2)
    report.at_most("faults", _exactly(seen["faults"]), 0)
    report.at_most("answers that are not whole", _exactly(chosen.chats - seen["whole"]), 0)


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 1)


class Hub:
    """Accepts everything, has every answer grow at once, and knows when all are whole."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.turns: dict[str, InboundMessage] = {}
        self.finished: set[str] = set()

    async def open(self) -> None:
        """Listen."""
        listening = await self._transport.subscribe(subjects.plane("inbound")[0], self._on_asked)
        if isinstance(listening, Err):
            raise RuntimeError(listening.detail)

    async def grow(self, seconds: float) -> None:
        """Tell every chat a little more, as often as a hub does."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for events in count(1):
            for turn, message in self.turns.items():
                text = PIECE * events
                base = len(text) - len(PIECE)
                await self._publish(
                    Update(
                        turn=turn,
                        attempt=1,
                        events=events,
                        base=base,
                        text=text[base:],
                        epoch=1,
                        address=message.address,
                    )
                )
            if loop.time() - began > seconds:
                break
            await asyncio.sleep(max(0.0, began + events * UPDATE_EVERY - loop.time()))
        for turn, message in self.turns.items():
            text = PIECE * events + "to the end."
            await self._publish(Final(turn=turn, text=text, outcome="complete", epoch=1, address=message.address))

    async def _publish(self, event: Outbound) -> None:
        await self._transport.publish(subjects.outbound(PLATFORM, BOT), OUTBOUND.encode(event))

    def _on_asked(self, delivery: Delivery) -> None:
        asked = FROM_SPOKE.decode(delivery.data)
        answer: ToSpoke
        match asked:
            case Submit(message=message):
                turn = turn_id(PLATFORM, BOT, message.address.scope_id, message.message_id)
                self.turns[turn] = message
                answer = Accepted(turn=turn, epoch=1)
            case FinalReceipt(turn=turn):
                self.finished.add(turn)
                answer = Noted(epoch=1)
            case ShownReceipt(message_id=shown):
                answer = Noted(message_id=shown, epoch=1)
            case Hello():
                answer = Welcome(epoch=1)
            case Claim():
                answer = Leased(generation=1)
            case _:
                return
        asyncio.get_running_loop().create_task(self._transport.publish(delivery.reply, TO_SPOKE.encode(answer)))


async def _stage(url: str, seed: str, chats: int, groups: int, seconds: float) -> None:
    """The other end: people who all ask at once, the server that they see it on, and the hub that answers."""
    connected = await connect(url, Identity(subjects.HUB, seed))
    if not isinstance(connected, Ok):
        raise RuntimeError(connected.detail)
    hub = Hub(connected.value)
    await hub.open()
    async with BotApi() as server:
        account = server.bot(TOKEN, "crowd_bot")
        print(server.url, flush=True)
        people = [server.user(f"Person {number}") for number in range(chats)]
        rooms = [
            server.chat("supergroup" if number < groups else "private", person) for number, person in enumerate(people)
        ]
        for room, person in zip(rooms, people, strict=True):
            server.say(room, person, "@crowd_bot tell me everything")
        while len(hub.turns) < chats:
            await asyncio.sleep(0.05)
        print("all have asked", flush=True)
        await hub.grow(seconds)
        while len(hub.finished) < chats:
            await asyncio.sleep(0.05)
        print(json.dumps(_seen(server, rooms, account.id)), flush=True)
    await connected.value.close()


def _seen(server: BotApi, rooms: list[Chat], bot: int) -> dict[str, Any]:
    gaps: dict[str, list[float]] = {"private": [], "group": []}
    times: list[float] = []
    whole = most = 0
    for room in rooms:
        shown = server.screen(room).by(bot)
        written = sorted(version.at for one in shown for version in one.versions)
        times += written
        if room.is_group:
            most = max(most, *(sum(begun <= at < begun + 60 for at in written) for begun in written))
        gaps["private" if room.kind == "private" else "group"] += [
            after - before for before, after in pairwise(written)
        ]
        whole += len(shown) == 1 and shown[0].text.endswith("to the end.")
    times.sort()
    busiest = max(sum(1 for at in times[start : start + 100] if at < begun + 1) for start, begun in enumerate(times))
    return {
        "gaps": gaps,
        "writes": len(times),
        "busiest": busiest,
        "whole": whole,
        "most_in_a_minute": most,
        "faults": len(server.faults),
    }


if __name__ == "__main__":
    _, where, key, how_many, how_many_groups, how_long = sys.argv
    asyncio.run(_stage(where, key, int(how_many), int(how_many_groups), float(how_long)))
