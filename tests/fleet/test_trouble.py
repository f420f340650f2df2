"""Workers die, freeze and go mad under load: every request ends in time with one result, and nothing is done twice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from adapters.nats.fleet import Fleet, Fulfilled, Wish
from factory_contracts.capability import CapabilityRefused
from factory_nats.result import Err
from tests.fleet.yard import PATIENCE, Yard, asking, yard

TTS = Path(__file__).parent / "tts.py"
LEDGER = Path(__file__).parent / "ledger.py"
NAMES = ("w1", "w2", "w3")
LANES = 12
DEADLINE = 20.0
# Longer than it takes to see that somebody is dead, and shorter than one who stands still is waited for.
SHORT = 5.0


@dataclass(slots=True)
class Load:
    """Lanes that ask without end, and note what they are told."""

    fleet: Fleet
    answers: list[Fulfilled | CapabilityRefused | Err] = field(default_factory=list)
    slowest: float = 0.0
    said_by: Counter[str] = field(default_factory=Counter)
    wrong: list[object] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped: bool = False

    async def lane(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopped:
            words = f"word {next(self._numbers)}"
            began = loop.time()
            came = await self.fleet.ask(Wish("turn", words, DEADLINE, words), effect="read")
            self.slowest = max(self.slowest, loop.time() - began)
            name, _, said = came.text.partition(": ") if isinstance(came, Fulfilled) else ("", "", "")
            if said != words:
                self.wrong.append(came)
            self.said_by[name] += 1
            self._news.set()

    async def hear(self, name: str, times: int = 5) -> None:
        """Until this worker has answered so many times more."""
        wanted = self.said_by[name] + times
        async with asyncio.timeout(PATIENCE):
            while self.said_by[name] < wanted:
                self._news.clear()
                await self._news.wait()

    def stop(self) -> None:
        self._stopped = True


@pytest.fixture
async def voices(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(tmp_path, "voice.tts", *NAMES) as made:
        for name in NAMES:
            await made.start(name, TTS)
        yield made


async def test_one_is_killed_one_frozen_one_mad_and_nobody_who_asks_sees_anything_of_it(voices: Yard) -> None:
    async with asking(voices) as fleet:
        await voices.all_are_there(fleet, 3)
        load = Load(fleet)
        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(load.lane())
            for name in NAMES:
                await load.hear(name)

            await voices.kill("w1")
            await load.hear("w2")
            await voices.start("w1", TTS)
            await load.hear("w1")
            voices.freeze("w2")
            (voices.folder / "w3.mad").touch()
            await load.hear("w1", times=200)
            voices.thaw("w2")
            (voices.folder / "w3.mad").unlink()
            for name in NAMES:
                await load.hear(name)
            load.stop()

    assert load.wrong == []
    assert load.slowest < DEADLINE / 2


async def test_each_of_a_thousand_requests_whose_ids_are_repeated_is_done_once(tmp_path: Path) -> None:
    dice = random.Random(7)
    ids = [f"id-{number}" for number in range(300)]
    wanted = [*ids, *dice.choices(ids, k=700)]
    dice.shuffle(wanted)
    async with yard(tmp_path, "ledger", *NAMES) as made:
        for name in NAMES:
            await made.start(name, LEDGER, BOOK=str(tmp_path / f"{name}.book"))
        async with asking(made) as fleet:
            await made.all_are_there(fleet, 3)
            answers = await _in_lanes(fleet, wanted)

    assert [came.text for came in answers if isinstance(came, Fulfilled)] == [f"written: {id}" for id in wanted]
    assert sorted(_books(tmp_path)) == sorted(ids)


async def test_what_a_dead_worker_was_given_is_told_to_be_unknown_and_done_by_no_other(tmp_path: Path) -> None:
    dice = random.Random(8)
    ids = [f"id-{number}" for number in range(200)]
    wanted = dice.choices(ids, k=600)
    async with yard(tmp_path, "ledger", *NAMES) as made:
        for name in NAMES:
            await made.start(name, LEDGER, BOOK=str(tmp_path / f"{name}.book"))
        async with asking(made) as fleet:
            await made.all_are_there(fleet, 3)
            is_under_way = asyncio.Event()
            first = asyncio.create_task(_in_lanes(fleet, wanted[:300], is_under_way))
            await is_under_way.wait()
            await made.kill("w1")
            lost_to = set((tmp_path / "w1.book").read_text().splitlines())
            answers = [*await first, *await _in_lanes(fleet, wanted[300:])]

    done = Counter(_books(tmp_path))
    unknown = {id for id, came in zip(wanted, answers, strict=True) if isinstance(came, Err)}
    assert set(done.values()) == {1}
    assert {came.reason for came in answers if isinstance(came, Err)} <= {"lost"}
    assert not any(isinstance(came, CapabilityRefused) for came in answers)
    assert unknown <= lost_to | (set(wanted) - set(done))
    assert unknown


@pytest.mark.parametrize("is_killed", [True, False])
async def test_a_parcel_that_its_worker_answered_by_half_is_unknown_in_the_other_half(
    tmp_path: Path, is_killed: bool
) -> None:
    quick, ever = [f"quick {number}" for number in range(10)], [f"ever {number}" for number in range(10)]
    async with yard(tmp_path, "ledger", "w1", "w2") as made, asking(made) as fleet:
        await made.start("w1", LEDGER, BOOK=str(tmp_path / "w1.book"))
        await made.all_are_there(fleet, 1)

        def ask(id: str) -> asyncio.Task[Fulfilled | CapabilityRefused | Err]:
            return asyncio.create_task(fleet.ask(Wish("turn", "call", SHORT, id, id=id), effect="write"))

        asked = {id: ask(id) for pair in zip(ever, quick, strict=True) for id in pair}
        came = await asyncio.gather(*(asked[id] for id in quick))
        if is_killed:
            await made.kill("w1")
        else:
            made.freeze("w1")
        await made.start("w2", LEDGER, BOOK=str(tmp_path / "w2.book"))
        lost = await asyncio.gather(*(asked[id] for id in ever))

    assert came == [Fulfilled(f"written: {id}") for id in quick]
    assert {one.reason for one in lost if isinstance(one, Err)} == {"lost" if is_killed else "timeout"}
    assert not any(isinstance(one, Fulfilled | CapabilityRefused) for one in lost)
    assert sorted(_books(tmp_path)) == sorted([*quick, *ever])


async def _in_lanes(
    fleet: Fleet, ids: list[str], is_under_way: asyncio.Event | None = None
) -> list[Fulfilled | CapabilityRefused | Err]:
    """The answers to all, some asked at the same time, in their order."""
    room, answered = asyncio.Semaphore(48), count(1)

    async def one(id: str) -> Fulfilled | CapabilityRefused | Err:
        async with room:
            came = await fleet.ask(Wish("turn", "call", DEADLINE, id, id=id), effect="write")
            if is_under_way is not None and next(answered) > 60:
                is_under_way.set()
            return came

    return list(await asyncio.gather(*(one(id) for id in ids)))


def _books(folder: Path) -> list[str]:
    """All that was ever written."""
    return [line for book in folder.glob("*.book") for line in book.read_text().splitlines()]
