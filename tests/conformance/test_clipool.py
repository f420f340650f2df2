"""What every pool of workers does for the hub: the fake, and the real one with the real worker on a real bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from adapters.nats.clipool import NatsCliPool
from factory_contracts.work import AgentSpec, Ended, Line, SaidText
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Transport
from hub.kernel.events import Finished, ModelEvent, Said
from hub.kernel.ports import Assignment, Chosen, CliPool, Lost, ModelRequest, Run
from hub.kernel.routing import RoutingKey
from tests.fakes import FakeCliPool, FakeWorkers, until
from tests.workers.stage import FakePrices
from workers.clipool.composition import run
from workers.clipool.kit import Given, Kit

KEY = RoutingKey("paper", "desk", "chat")
JOINING = "and this?"


async def reigns(part: int) -> bool:
    """No other hub is about."""
    return True


class Stage(Protocol):
    """Workers whose models a test speaks for, and one hub after another."""

    async def hub(self) -> CliPool: ...

    def say(self, turn: str, text: str) -> None: ...

    def end(self, turn: str) -> None: ...

    def begun(self, turn: str) -> int: ...

    async def kill(self) -> None: ...

    async def close(self) -> None: ...


class FakeStage:
    def __init__(self) -> None:
        self.workers = FakeWorkers("w1")
        self.workers.providers = frozenset({"fed"})

    async def hub(self) -> CliPool:
        return FakeCliPool(self.workers)

    def say(self, turn: str, text: str) -> None:
        self.workers.say(turn, text)

    def end(self, turn: str) -> None:
        self.workers.end(turn, joined=tuple(self.workers.kept[turn].steers))

    def begun(self, turn: str) -> int:
        return self.workers.runs_of(turn)

    async def kill(self) -> None:
        self.workers.kill("w1")
        self.workers.join("w1")

    async def close(self) -> None:
        pass


class Fed:
    """A model that says what a test feeds it, to whoever's message names the turn."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._fed: dict[str, asyncio.Queue[ModelEvent]] = {}

    def feed(self, turn: str, event: ModelEvent) -> None:
        self._fed[turn].put_nowait(event)

    async def close(self) -> None:
        pass

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        turn = getattr(request.messages[-1], "text", "")
        if turn == JOINING:
            yield Finished("end")
            return
        queue = self._fed[turn] = asyncio.Queue()
        self.calls.append(turn)
        while True:
            event = await queue.get()
            yield event
            if isinstance(event, Finished):
                return


class RealStage:
    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedServer(folder)
        self.model = Fed()
        self._epoch = 0
        self._hubs: list[tuple[NatsCliPool, Transport]] = []
        self._worker: asyncio.Task[None] | None = None
        self._transport: Transport | None = None

    async def open(self) -> None:
        assert await self.server.start() == Ok(None)
        await self._work()

    async def _work(self) -> None:
        joined = await connect(self.server.url, Identity("w1"))
        assert isinstance(joined, Ok)
        self._transport = joined.value
        kit = Kit(models=Given({"fed": self.model}), tools={}, prices=FakePrices(), now=lambda: 0.0)
        self._worker = asyncio.create_task(run(joined.value, kit, asyncio.Event()))

    async def hub(self) -> CliPool:
        joined = await connect(self.server.url, Identity("hub"))
        assert isinstance(joined, Ok)
        self._epoch += 100
        epoch = self._epoch
        pool = NatsCliPool(joined.value, lambda part: epoch + part, reigns)
        self._hubs.append((pool, joined.value))
        await pool.open()
        await pool.start()
        await until(lambda: pool.pick() is not None)
        return pool

    def say(self, turn: str, text: str) -> None:
        self.model.feed(turn, Said(text))

    def end(self, turn: str) -> None:
        self.model.feed(turn, Finished("end"))

    def begun(self, turn: str) -> int:
        return self.model.calls.count(turn)

    async def kill(self) -> None:
        await self._end_worker()
        await self._work()

    async def _end_worker(self) -> None:
        assert self._worker is not None
        assert self._transport is not None
        # Cut off first, so that nothing is said in farewell.
        await self._transport.close()
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def close(self) -> None:
        for pool, transport in self._hubs:
            await pool.close()
            await transport.close()
        await self._end_worker()
        await self.server.stop()


@pytest.fixture(params=["fake", "real"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    stage: Stage
    if request.param == "fake":
        stage = FakeStage()
    else:
        real = RealStage(tmp_path)
        await real.open()
        stage = real
    yield stage
    await stage.close()


def picked(pool: CliPool) -> Chosen:
    chosen = pool.pick()
    assert chosen is not None
    return chosen


def assignment(chosen: Chosen, turn: str = "t", attempt: int = 1) -> Assignment:
    return Assignment(
        key=KEY,
        turn=turn,
        attempt=attempt,
        chosen=chosen,
        agent=AgentSpec(name="alice", hash="h", model="fed", namespace="alice"),
        user_id="ann",
        lines=(Line(role="user", text=turn),),
        pace_ms=0,
    )


async def heard(run: Run) -> tuple[str, Ended | None]:
    """The next report's text, and the end if it came."""
    report = await asyncio.wait_for(run.next(), 10)
    assert not isinstance(report, Lost), report
    ends = [event for event in report.events if isinstance(event, Ended)]
    return "".join(event.text for event in report.events if isinstance(event, SaidText)), ends[0] if ends else None


async def to_the_end(run: Run) -> tuple[str, Ended]:
    """All that is said until the end."""
    said = ""
    while True:
        text, end = await heard(run)
        said += text
        if end is not None:
            return said, end


async def test_a_turn_is_run_and_heard_to_its_end(stage: Stage) -> None:
    pool = await stage.hub()
    run = await pool.run(assignment(picked(pool)))
    await until(lambda: stage.begun("t") == 1)
    stage.say("t", "One ")
    assert (await heard(run))[0] == "One "
    stage.say("t", "two.")
    stage.end("t")

    text, end = await to_the_end(run)

    assert (text, end.outcome) == ("two.", "complete")
    await run.close(forget=True)


async def test_a_known_attempt_is_not_begun_again(stage: Stage) -> None:
    pool = await stage.hub()
    chosen = picked(pool)
    first = await pool.run(assignment(chosen))
    await until(lambda: stage.begun("t") == 1)
    stage.say("t", "One ")
    await heard(first)
    await first.close(forget=False)

    again = await pool.resume(assignment(chosen))
    stage.end("t")

    assert (await to_the_end(again))[0] == "One "
    assert stage.begun("t") == 1


async def test_another_hub_hears_the_events_from_the_first(stage: Stage) -> None:
    first = await stage.hub()
    chosen = picked(first)
    run = await first.run(assignment(chosen))
    await until(lambda: stage.begun("t") == 1)
    stage.say("t", "One ")
    await heard(run)

    resumed = await (await stage.hub()).resume(assignment(chosen))
    stage.say("t", "two.")
    stage.end("t")

    assert (await to_the_end(resumed))[0] == "One two."
    assert stage.begun("t") == 1


async def test_an_attempt_that_no_worker_knows_is_lost(stage: Stage) -> None:
    pool = await stage.hub()
    run = await pool.resume(assignment(picked(pool)))

    assert isinstance(await asyncio.wait_for(run.next(), 10), Lost)


async def test_a_stop_ends_the_turn_and_keeps_what_was_said(stage: Stage) -> None:
    pool = await stage.hub()
    run = await pool.run(assignment(picked(pool)))
    await until(lambda: stage.begun("t") == 1)
    stage.say("t", "One ")
    await heard(run)

    await run.stop()

    assert (await to_the_end(run))[1].outcome == "stopped"


async def test_a_greater_attempt_begins_anew(stage: Stage) -> None:
    pool = await stage.hub()
    chosen = picked(pool)
    first = await pool.run(assignment(chosen))
    await until(lambda: stage.begun("t") == 1)
    stage.say("t", "Half ")
    await heard(first)
    await first.close(forget=False)

    second = await pool.run(assignment(chosen, attempt=2))
    await until(lambda: stage.begun("t") == 2)
    stage.say("t", "A whole.")
    stage.end("t")

    assert (await to_the_end(second))[0] == "A whole."


async def test_a_turn_that_is_forgotten_is_known_no_more(stage: Stage) -> None:
    pool = await stage.hub()
    chosen = picked(pool)
    run = await pool.run(assignment(chosen))
    await until(lambda: stage.begun("t") == 1)
    stage.end("t")
    await to_the_end(run)
    await run.close(forget=True)

    # The worker is told a little later, with others; until then it may still say all of it.
    async with asyncio.timeout(10):
        while not isinstance(await (again := await pool.resume(assignment(chosen))).next(), Lost):
            await again.close(forget=False)


async def test_a_worker_that_is_started_anew_has_lost_its_turns_and_takes_others(stage: Stage) -> None:
    pool = await stage.hub()
    chosen = picked(pool)
    run = await pool.run(assignment(chosen))
    await until(lambda: stage.begun("t") == 1)

    await stage.kill()

    assert isinstance(await asyncio.wait_for(run.next(), 10), Lost)
    await run.close(forget=False)
    await until(lambda: pool.pick() not in (None, chosen))
    other = await pool.run(assignment(picked(pool), "u"))
    await until(lambda: stage.begun("u") == 1)
    stage.end("u")
    await to_the_end(other)


async def running(stage: Stage) -> tuple[CliPool, Assignment, Run]:
    """A turn that has said something already."""
    pool = await stage.hub()
    run_of = assignment(picked(pool))
    run = await pool.run(run_of)
    await until(lambda: stage.begun("t") == 1)
    stage.say("t", "One ")
    await heard(run)
    return pool, run_of, run


async def test_a_message_that_is_heard_in_a_running_turn_is_named_at_its_end(stage: Stage) -> None:
    pool, run_of, run = await running(stage)
    for _ in range(2):
        await run.steer("u", Line(role="user", text=JOINING))
    # A worker hears its commands in order: once it has answered this one, it knows what joins.
    again = await pool.resume(run_of)
    await again.next()
    stage.end("t")

    assert (await to_the_end(again))[1].joined == ("u",)


async def test_a_message_joins_only_behind_the_one_before_it(stage: Stage) -> None:
    pool, run_of, run = await running(stage)
    for joining, after in (("w", "v"), ("u", None), ("x", "w"), ("v", "u")):
        await run.steer(joining, Line(role="user", text=JOINING), after=after)
    again = await pool.resume(run_of)
    await again.next()
    stage.end("t")

    assert (await to_the_end(again))[1].joined == ("u", "v")


async def test_a_message_that_comes_after_the_end_joins_nothing(stage: Stage) -> None:
    pool = await stage.hub()
    run_of = assignment(picked(pool))
    run = await pool.run(run_of)
    await until(lambda: stage.begun("t") == 1)
    stage.end("t")
    end = (await to_the_end(run))[1]

    await run.steer("u", Line(role="user", text=JOINING))
    again = await pool.resume(run_of)

    assert (await to_the_end(again))[1] == end


async def test_the_providers_of_those_who_live_are_known(stage: Stage) -> None:
    pool = await stage.hub()

    await until(lambda: pool.providers() == {"fed"})


async def test_turns_run_side_by_side(stage: Stage) -> None:
    pool = await stage.hub()
    runs = {turn: await pool.run(assignment(picked(pool), turn)) for turn in ("a", "b", "c")}
    for turn in runs:
        await until(partial(lambda name: stage.begun(name) == 1, turn))
        stage.say(turn, f"I am {turn}.")
        stage.end(turn)

    said = {turn: (await to_the_end(run))[0] for turn, run in runs.items()}

    assert said == {"a": "I am a.", "b": "I am b.", "c": "I am c."}
