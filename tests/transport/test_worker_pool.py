"""Asking workers in turn."""

from __future__ import annotations

import asyncio
import json

from factory_nats.circuit import CircuitBreaker
from factory_nats.registry import WorkerRegistry
from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery
from factory_nats.worker_pool import Answered, Heartbeat, WorkerPoolClient


def subject(worker: str) -> str:
    return f"work.{worker}"


def read(delivery: Delivery) -> Heartbeat | None:
    try:
        found = json.loads(delivery.data)
    except ValueError:
        return None
    return Heartbeat(found["worker"], found["instance"], found["load"])


def beat(worker: str, load: float = 0.0) -> bytes:
    return json.dumps({"worker": worker, "instance": "i", "load": load}).encode()


class Pool:
    """A client whose workers say who they are, or say nothing."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.transport = self.bus.join("hub")
        self.worker = self.bus.join("worker")
        self.client = WorkerPoolClient(
            self.transport, WorkerRegistry(), subject=subject, circuit=lambda: CircuitBreaker(failures=2, pause=60)
        )
        self.asked: list[str] = []
        self._tasks: list[asyncio.Task[object]] = []

    async def listen(self) -> None:
        assert isinstance(await self.client.listen("beats", read), Ok)

    async def add(self, name: str, load: float = 0.0, *, answers: bool = True) -> None:
        def take(delivery: Delivery) -> None:
            self.asked.append(name)
            if answers:
                reply = self.worker.publish(delivery.reply, name.encode())
                self._tasks.append(asyncio.get_running_loop().create_task(reply))

        await self.worker.subscribe(subject(name), take)
        await self.beat(name, load)

    async def beat(self, name: str, load: float = 0.0) -> None:
        await self.worker.publish("beats", beat(name, load))
        await self.worker.barrier()


async def make_pool() -> Pool:
    pool = Pool()
    await pool.listen()
    return pool


async def test_the_best_worker_answers() -> None:
    pool = await make_pool()
    await pool.add("busy", 2.0)
    await pool.add("idle", 0.0)

    answer = await pool.client.request(b"", timeout=5)

    assert answer == Ok(Answered("idle", b"idle"))
    assert pool.asked == ["idle"]


async def test_without_a_living_worker_there_is_no_worker() -> None:
    pool = await make_pool()

    answer = await pool.client.request(b"", timeout=5)

    assert isinstance(answer, Err) and answer.reason == "no worker"


async def test_a_worker_that_is_gone_is_left_for_the_next_at_once() -> None:
    pool = await make_pool()
    await pool.beat("gone")
    await pool.add("there", 1.0)

    first = await pool.client.request(b"", timeout=5)
    second = await pool.client.request(b"", timeout=5)

    assert first == second == Ok(Answered("there", b"there"))
    assert pool.asked == ["there", "there"]


async def test_a_worker_that_does_not_answer_is_left_when_patience_ends() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, answers=False)
    await pool.add("there", 1.0)

    answer = await pool.client.request(b"", timeout=5, patience=0.01)

    assert answer == Ok(Answered("there", b"there"))
    assert pool.asked == ["mute", "there"]


async def test_a_worker_that_was_left_is_asked_again_after_its_heartbeat() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, answers=False)
    await pool.client.request(b"", timeout=0.01)

    unheard = await pool.client.request(b"", timeout=0.01)
    await pool.beat("mute")
    heard = await pool.client.request(b"", timeout=0.01)

    assert isinstance(unheard, Err) and unheard.reason == "no worker"
    assert isinstance(heard, Err) and heard.reason == "timeout"
    assert pool.asked == ["mute", "mute"]


async def test_a_worker_that_keeps_failing_is_not_asked_although_it_beats() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, answers=False)
    for _ in range(2):
        await pool.client.request(b"", timeout=0.01)
        await pool.beat("mute")

    answer = await pool.client.request(b"", timeout=5)

    assert isinstance(answer, Err) and answer.reason == "circuit open"
    assert pool.asked == ["mute", "mute"]


async def test_the_time_is_spent_only_once() -> None:
    pool = await make_pool()
    for number in range(5):
        await pool.add(f"mute{number}", float(number), answers=False)

    answer = await pool.client.request(b"", timeout=0.02)

    assert isinstance(answer, Err) and answer.reason == "timeout"
    assert pool.asked == ["mute0"]


async def test_our_own_trouble_is_held_against_no_worker() -> None:
    pool = await make_pool()
    await pool.add("there")
    pool.transport.drop()

    lost = await pool.client.request(b"", timeout=5)
    pool.transport.restore()
    back = await pool.client.request(b"", timeout=5)

    assert isinstance(lost, Err) and lost.reason == "disconnected"
    assert back == Ok(Answered("there", b"there"))


async def test_a_broken_heartbeat_is_dropped_and_the_next_is_heard() -> None:
    pool = await make_pool()
    stranger: FakeTransport = pool.bus.join("stranger")
    await stranger.publish("beats", b"no JSON")

    await pool.add("there")

    assert await pool.client.request(b"", timeout=5) == Ok(Answered("there", b"there"))


async def test_what_must_not_be_repeated_is_given_to_nobody_else_after_a_timeout() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, answers=False)
    await pool.add("there", 1.0)

    answer = await pool.client.request(b"", timeout=5, patience=0.01, is_repeatable=False)

    assert isinstance(answer, Err) and answer.reason == "timeout"
    assert pool.asked == ["mute"]


async def test_what_must_not_be_repeated_is_given_to_the_next_when_nobody_took_it() -> None:
    pool = await make_pool()
    await pool.beat("gone")
    await pool.add("there", 1.0)

    answer = await pool.client.request(b"", timeout=5, is_repeatable=False)

    assert answer == Ok(Answered("there", b"there"))


async def test_who_begins_a_new_life_is_not_waited_for() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, answers=False)
    asking = asyncio.create_task(pool.client.request(b"", timeout=60, is_repeatable=False))
    while not pool.asked:
        await asyncio.sleep(0)

    await pool.worker.publish("beats", json.dumps({"worker": "mute", "instance": "new", "load": 0}).encode())
    async with asyncio.timeout(5):
        answer = await asking

    assert isinstance(answer, Err) and "new life" in answer.detail
