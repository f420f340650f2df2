"""Workers die, freeze and go mad while people talk: nobody who asks for a voice sees anything of it, or waits for long.

Everything is as in the product but the screens, the model, which asks for a voice each time, and the voices themselves.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from adapters.models.prices import GenaiPrices
from adapters.models.scripted import Scripted, parse
from adapters.spoke import Reply, Spoke
from factory_contracts import subjects
from factory_contracts.lifecycle import HEARTBEAT
from factory_contracts.messages import Address, InboundMessage, Refused, Said
from factory_nats.result import Ok
from factory_nats.transport import Delivery, Transport
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings
from tests.fakes import until
from tests.fleet.yard import PATIENCE, Yard, yard
from workers.clipool.composition import joined, run
from workers.clipool.kit import Given, Kit
from workers.clipool.turn import HERE

TTS = Path(__file__).parent / "tts.py"
NAMES = ("w1", "w2", "w3")
PLATFORM, BOT = "cli", "main"
PEOPLE = 12
# Nobody is kept waiting much longer than it takes to see that somebody is frozen.
LONGEST = 10.0
# So often somebody has said that they live before they are asked again at the latest.
BEATS = 15
AT_ONCE = 0.1
SCRIPT = """
[[reply]]
steps = [{ call = "ask_voice_tts", arguments = { text = "{said}" } }, { say = "{tool}" }]
"""


@dataclass(slots=True)
class Screens:
    """What everybody sees, on a platform that never fails."""

    finals: dict[str, list[Reply]] = field(default_factory=dict)
    opened: Counter[str] = field(default_factory=Counter)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, reply: Reply) -> str:
        self.opened[reply.turn] += 1
        return f"b{len(self.opened)}"

    async def edit(self, message_id: str, reply: Reply) -> None:
        if reply.is_final:
            async with self.changed:
                self.finals.setdefault(reply.turn, []).append(reply)
                self.changed.notify_all()

    async def said(self, said: Said) -> None:
        pass

    async def final(self, turn: str) -> Reply:
        """The whole answer, once it stands there."""
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: turn in self.finals)
            return self.finals[turn][0]


@dataclass(slots=True)
class Town:
    """People who talk without end, and what each was told."""

    workers: Yard
    spoke: Spoke
    screens: Screens
    beats: Counter[str]
    said_by: Counter[str] = field(default_factory=Counter)
    aloud: int = 0
    slowest: float = 0.0
    wrong: list[Reply] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    is_over: bool = False
    _numbers: "count[int]" = field(default_factory=count)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def person(self, scope: str) -> None:
        """Ask for a voice, have the answer said aloud, and ask again."""
        while not self.is_over:
            words = f"word {next(self._numbers)}"
            name, _, said = _first_line(await self._told(scope, words)).partition(": ")
            if said == words:
                self.said_by[name] += 1
            self._news.set()
            if (await self._told(scope, "/voice")).text == HERE:
                self.aloud += 1

    async def _told(self, scope: str, text: str) -> Reply:
        began = time.monotonic()
        message = InboundMessage(
            message_id=f"m{next(self._numbers)}",
            user_id=scope,
            user_name=scope,
            text=text,
            address=Address(platform=PLATFORM, bot_id=BOT, scope_id=scope, pace_ms=10),
        )
        accepted = await self.spoke.submit(message)
        # A spoke that had to ask again, for the hub was slow, is told that it has it already.
        assert not isinstance(accepted, Refused), accepted
        reply = await self.screens.final(accepted.turn)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.turns.append(accepted.turn)
        is_right = reply.text == HERE if text == "/voice" else _first_line(reply).endswith(f": {text}")
        if not is_right or reply.outcome != "complete" or len(reply.attachments) != 1:
            self.wrong.append(reply)
        return reply

    async def hear(self, name: str, times: int = 3) -> int:
        """Until this worker has answered so many times more; how often it has said meanwhile that it lives."""
        wanted, before = self.said_by[name] + times, self.beats[name]
        async with asyncio.timeout(PATIENCE):
            while self.said_by[name] < wanted:
                self._news.clear()
                await self._news.wait()
        return self.beats[name] - before


def _first_line(reply: Reply) -> str:
    """What the voice said of itself; the model goes on with the file that it is told of."""
    return reply.text.partition("\n")[0]


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    """Everything runs, with three voices."""
    async with yard(folder, "voice.tts", *NAMES) as workers:
        stop_work, stop_reign = asyncio.Event(), asyncio.Event()
        identity = next(one for one in workers.listed if one.identity == subjects.HUB)
        policies = (BotPolicy(PLATFORM, BOT, access="public", rate_per_minute=100_000, rate_per_scope_minute=100_000),)
        bindings = Bindings({"alice": Agent("alice", "scripted", workers=("voice.tts",))}, (Binding("alice"),))
        hub = HubSettings(workers.url, identity.proves(workers.seeds.__getitem__), bindings, policies)
        reigning = asyncio.create_task(serve(hub, stop_reign))
        bus = await workers.join(subjects.CLIPOOL)
        model = Scripted(parse(SCRIPT, "asks", Path()))
        kit = joined(Kit(Given({"scripted": model}), {}, GenaiPrices({}), time.time), bus)
        thinking = asyncio.create_task(run(bus, kit, stop_work))
        screens, beats = Screens(), await _beats(bus)
        screen = await workers.join(f"{PLATFORM}-{BOT}")
        spoke = Spoke(screen, PLATFORM, BOT, screens)
        await spoke.start()
        for name in NAMES:
            await workers.start(name, TTS, SOUND="1", MOMENT="0.1")
        try:
            yield Town(workers, spoke, screens, beats)
        finally:
            stop_work.set()
            await thinking
            await kit.close()
            stop_reign.set()
            await reigning
            await spoke.close()
            for one in (screen, bus):
                await one.close()


async def _beats(bus: Transport) -> Counter[str]:
    """How often each worker has said that it lives, but what came all at once while this process stood still."""
    heard: Counter[str] = Counter()
    last: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    def hear(delivery: Delivery) -> None:
        worker, now = HEARTBEAT.decode(delivery.data).worker, loop.time()
        if now - last.get(worker, 0.0) > AT_ONCE:
            heard[worker] += 1
            last[worker] = now

    assert isinstance(await bus.subscribe(subjects.heartbeats("voice.tts"), hear), Ok)
    return heard


async def test_people_see_nothing_of_a_voice_that_is_killed_one_that_freezes_and_one_that_goes_mad(
    tmp_path: Path,
) -> None:
    async with town(tmp_path) as place:
        workers = place.workers
        async with asyncio.TaskGroup() as people:
            await until(lambda: set(place.beats) == set(NAMES), seconds=PATIENCE)
            for number in range(PEOPLE):
                people.create_task(place.person(f"person-{number}"))
            for name in NAMES:
                await place.hear(name)

            await workers.kill("w1")
            await workers.start("w1", TTS, SOUND="1", MOMENT="0.1")
            back = {"w1": await place.hear("w1")}
            workers.freeze("w2")
            (workers.folder / "w3.mad").touch()
            await place.hear("w1", times=30)
            workers.thaw("w2")
            back["w2"] = await place.hear("w2")
            (workers.folder / "w3.mad").unlink()
            back["w3"] = await place.hear("w3")
            place.is_over = True

    assert place.wrong == []
    assert place.slowest < LONGEST
    assert {name: beats for name, beats in back.items() if beats > BEATS} == {}
    assert {turn: len(place.screens.finals[turn]) for turn in place.turns} == dict.fromkeys(place.turns, 1)
    assert set(place.screens.opened.values()) == {1}
    assert place.aloud >= sum(place.said_by.values()) - PEOPLE
