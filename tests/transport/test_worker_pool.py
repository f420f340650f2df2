"""Asking workers in turn."""

from __future__ import annotations

import asyncio
import json

import pytest

from factory_nats.circuit import CircuitBreaker
from factory_nats.registry import WorkerRegistry
from factory_nats.result import Err, Ok, Reason
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery
from factory_nats.worker_pool import Answered, Request, Sign, WorkerPoolClient

CANCEL = b"never mind"


def subject(worker: str) -> str:
    return f"work.{worker}"


def read(delivery: Delivery) -> Sign | None:
    try:
        found = json.loads(delivery.data)
    except ValueError:
        return None
    return Sign(**found)


VERDICTS: dict[bytes, Reason] = {
    b"busy": "busy",
    b"too new": "newer version",
    b"another life": "gone",
    b"in vain": "refused",
    b"garbage": "malformed",
}


class Asked(Request[bytes]):
    """A request whose verdicts stand in the answers."""

    def write(self, instance: str) -> bytes:
        return instance.encode()

    def cancel(self) -> bytes:
        return CANCEL

    def read(self, data: bytes) -> bytes:
        return data

    def judge(self, answer: bytes) -> Err | None:
        reason = VERDICTS.get(answer)
        return None if reason is None else Err(reason, "as it says")


def asked(
    timeout: float = 5.0, *, id: str = "", patience: float = 5.0, is_repeatable: bool = True, understands: int = 1
) -> Request[bytes]:
    until = asyncio.get_running_loop().time() + timeout
    return Asked(until, id=id, patience=patience, is_repeatable=is_repeatable, understands=understands)


class Pool:
    """A client whose workers say who they are, or what they are told to say; None is nothing."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.transport = self.bus.join("hub")
        self.client: WorkerPoolClient[bytes] = WorkerPoolClient(
            self.transport, WorkerRegistry(), subject=subject, circuit=lambda: CircuitBreaker(failures=2, pause=60)
        )
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.was_asked = asyncio.Event()
        self._tasks: list[asyncio.Task[object]] = []
        self._workers: dict[str, FakeTransport] = {}

    def worker(self, name: str) -> FakeTransport:
        return self._workers.setdefault(name, self.bus.join(name))

    async def listen(self) -> None:
        assert isinstance(await self.client.listen("beats", read), Ok)

    async def add(self, name: str, load: float = 0.0, *, says: bytes | None = b"", **more: int) -> None:
        def take(delivery: Delivery) -> None:
            if delivery.data in (b"", CANCEL):
                self.cancelled += [name] if delivery.data else []
                return
            self.asked.append(name)
            self.was_asked.set()
            if says is not None:
                reply = worker.publish(delivery.reply, says or name.encode())
                self._tasks.append(asyncio.get_running_loop().create_task(reply))

        worker = self.worker(name)
        await worker.subscribe(subject(name), take)
        await self.beat(name, load, instance="i", **more)

    async def beat(self, name: str, load: float = 0.0, *, instance: str = "i", **more: int) -> None:
        said = {"worker": name, "instance": instance, "load": load, **more}
        await self.worker(name).publish("beats", json.dumps(said).encode())
        await self.worker(name).barrier()


async def make_pool() -> Pool:
    pool = Pool()
    await pool.listen()
    return pool


async def test_the_best_worker_answers() -> None:
    pool = await make_pool()
    await pool.add("busy", 2.0)
    await pool.add("idle", 0.0)

    answer = await pool.client.request(asked(5))

    assert answer == Ok(Answered("idle", b"idle"))
    assert pool.asked == ["idle"]


async def test_without_a_living_worker_there_is_no_worker() -> None:
    pool = await make_pool()

    answer = await pool.client.request(asked(5))

    assert isinstance(answer, Err) and answer.reason == "no worker"


async def test_a_worker_that_is_gone_is_left_for_the_next_at_once() -> None:
    pool = await make_pool()
    await pool.beat("gone")
    await pool.add("there", 1.0)

    first = await pool.client.request(asked(5))
    second = await pool.client.request(asked(5))

    assert first == second == Ok(Answered("there", b"there"))
    assert pool.asked == ["there", "there"]


async def test_a_worker_that_does_not_answer_is_left_when_patience_ends() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, says=None)
    await pool.add("there", 1.0)

    answer = await pool.client.request(asked(5, patience=0.01))

    assert answer == Ok(Answered("there", b"there"))
    assert pool.asked == ["mute", "there"]


async def test_a_worker_that_was_left_is_asked_again_after_its_heartbeat() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, says=None)
    await pool.client.request(asked(0.01))

    unheard = await pool.client.request(asked(0.01))
    await pool.beat("mute")
    heard = await pool.client.request(asked(0.01))

    assert isinstance(unheard, Err) and unheard.reason == "no worker"
    assert isinstance(heard, Err) and heard.reason == "timeout"
    assert pool.asked == ["mute", "mute"]


async def test_a_worker_that_keeps_failing_is_not_asked_although_it_beats() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, says=None)
    for _ in range(2):
        await pool.client.request(asked(0.01))
        await pool.beat("mute")

    answer = await pool.client.request(asked(5))

    assert isinstance(answer, Err) and answer.reason == "circuit open"
    assert pool.asked == ["mute", "mute"]


async def test_the_time_is_spent_only_once() -> None:
    pool = await make_pool()
    for number in range(5):
        await pool.add(f"mute{number}", float(number), says=None)

    answer = await pool.client.request(asked(0.02))

    assert isinstance(answer, Err) and answer.reason == "timeout"
    assert pool.asked == ["mute0"]


async def test_our_own_trouble_is_held_against_no_worker() -> None:
    pool = await make_pool()
    await pool.add("there")
    pool.transport.drop()

    lost = await pool.client.request(asked(5))
    pool.transport.restore()
    back = await pool.client.request(asked(5))

    assert isinstance(lost, Err) and lost.reason == "disconnected"
    assert back == Ok(Answered("there", b"there"))


async def test_a_broken_heartbeat_is_dropped_and_the_next_is_heard() -> None:
    pool = await make_pool()
    stranger: FakeTransport = pool.bus.join("stranger")
    await stranger.publish("beats", b"no JSON")

    await pool.add("there")

    assert await pool.client.request(asked(5)) == Ok(Answered("there", b"there"))


async def test_what_must_not_be_repeated_is_given_to_nobody_else_after_a_timeout() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, says=None)
    await pool.add("there", 1.0)

    answer = await pool.client.request(asked(5, patience=0.01, is_repeatable=False))

    assert isinstance(answer, Err) and answer.reason == "timeout"
    assert pool.asked == ["mute"]


async def test_what_must_not_be_repeated_is_given_to_the_next_when_nobody_took_it() -> None:
    pool = await make_pool()
    await pool.beat("gone")
    await pool.add("there", 1.0)

    answer = await pool.client.request(asked(5, is_repeatable=False))

    assert answer == Ok(Answered("there", b"there"))


async def test_who_begins_a_new_life_is_not_waited_for() -> None:
    pool = await make_pool()
    await pool.add("mute", 0.0, says=None)
    asking = asyncio.create_task(pool.client.request(asked(60, is_repeatable=False)))
    while not pool.asked:
        await asyncio.sleep(0)

    await pool.beat("mute", instance="new")
    async with asyncio.timeout(5):
        answer = await asking

    assert isinstance(answer, Err) and "new life" in answer.detail


async def test_a_knock_reaches_nobody_who_would_take_it_for_a_request() -> None:
    pool = await make_pool()
    knocks: list[bytes] = []
    await pool.worker("old").subscribe(subject("old"), lambda delivery: knocks.append(delivery.data))
    await pool.beat("old")

    await pool.client.request(asked(0.2))

    assert b"" not in knocks


@pytest.mark.parametrize("says", [b"busy", b"too new", b"another life"])
async def test_who_did_nothing_is_left_for_the_next_whatever_is_asked(says: bytes) -> None:
    pool = await make_pool()
    await pool.add("unwilling", says=says, slots=4)
    await pool.add("there", 3.0, slots=4)

    answer = await pool.client.request(asked(is_repeatable=False))

    assert answer == Ok(Answered("there", b"there"))


async def test_who_is_at_fault_is_left_for_the_next_and_asked_again_after_its_heartbeat() -> None:
    pool = await make_pool()
    await pool.add("mad", says=b"garbage", slots=4)
    await pool.add("there", 3.0, slots=4)

    answers = [await pool.client.request(asked()) for _ in range(2)]
    await pool.beat("there", 3.0, slots=4)
    await pool.beat("mad", slots=4)
    alone = await pool.client.request(asked(is_repeatable=False))

    assert answers == [Ok(Answered("there", b"there"))] * 2
    assert isinstance(alone, Err) and alone.reason == "malformed"
    assert pool.asked == ["mad", "there", "there", "mad"]


async def test_what_one_tried_in_vain_another_tries_once_more() -> None:
    pool = await make_pool()
    for number in range(3):
        await pool.add(f"w{number}", float(number), says=b"in vain", slots=4)

    read = await pool.client.request(asked())
    written = await pool.client.request(asked(is_repeatable=False))

    assert read == Ok(Answered("w1", b"in vain"))
    assert isinstance(written, Ok)
    assert len(pool.asked) == 3


async def test_when_nobody_has_room_nobody_is_asked() -> None:
    pool = await make_pool()
    await pool.add("full", 2.0, slots=2)

    answer = await pool.client.request(asked())

    assert isinstance(answer, Err) and answer.reason == "busy"
    assert pool.asked == []


async def test_who_does_not_understand_the_request_is_not_asked() -> None:
    pool = await make_pool()
    await pool.add("old", slots=4)
    alone = await pool.client.request(asked(understands=2))
    await pool.add("new", 3.0, slots=4, understands=2)

    assert isinstance(alone, Err) and alone.reason == "newer version"
    assert await pool.client.request(asked(understands=2)) == Ok(Answered("new", b"new"))
    assert pool.asked == ["new"]


async def test_what_was_given_to_a_worker_is_asked_of_it_again() -> None:
    pool = await make_pool()
    await pool.add("first", slots=9)
    await pool.client.request(asked(id="a"))
    await pool.beat("first", 8.0, slots=9)
    await pool.add("second", slots=9)

    await pool.client.request(asked(id="a"))
    await pool.client.request(asked(id="b"))

    assert pool.asked == ["first", "first", "second"]


@pytest.mark.parametrize(("is_repeatable", "names"), [(True, ["first", "second"]), (False, ["first"])])
async def test_what_was_given_to_a_life_that_is_over_is_not_done_again_unless_it_may_be(
    is_repeatable: bool, names: list[str]
) -> None:
    pool = await make_pool()
    await pool.add("first", slots=9)
    await pool.client.request(asked(id="a", is_repeatable=is_repeatable))
    await pool.beat("first", 8.0, slots=9, instance="new")
    await pool.add("second", slots=9)

    again = await pool.client.request(asked(id="a", is_repeatable=is_repeatable))

    assert isinstance(again, Ok) == is_repeatable
    assert is_repeatable or (isinstance(again, Err) and again.reason == "lost")
    assert pool.asked == names


async def test_after_the_connection_was_lost_the_same_worker_is_asked_for_the_same_again() -> None:
    pool = await make_pool()
    await pool.add("first", says=None, slots=9)
    await pool.add("second", 8.0, slots=9)
    asking = asyncio.create_task(pool.client.request(asked(id="a", is_repeatable=False)))
    await pool.was_asked.wait()

    pool.was_asked.clear()
    pool.transport.drop()
    pool.transport.restore()
    await pool.was_asked.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    assert pool.asked == ["first", "first"]


async def test_what_met_no_connection_was_asked_of_nobody() -> None:
    pool = await make_pool()
    await pool.add("first", slots=9)
    pool.transport.drop()
    lost = await pool.client.request(asked(id="a", is_repeatable=False))
    pool.transport.restore()

    back = await pool.client.request(asked(id="a", is_repeatable=False))

    assert isinstance(lost, Err) and lost.reason == "disconnected"
    assert back == Ok(Answered("first", b"first"))


async def test_a_worker_is_told_when_nobody_waits_any_more() -> None:
    pool = await make_pool()
    await pool.add("mute", says=None, slots=4)
    asking = asyncio.create_task(pool.client.request(asked(id="a")))
    await pool.was_asked.wait()

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await pool.worker("mute").barrier()

    assert pool.cancelled == ["mute"]


async def test_everybody_is_known_with_what_is_thought_of_them() -> None:
    pool = await make_pool()
    await pool.add("mad", says=b"garbage", slots=4)
    for _ in range(2):
        await pool.client.request(asked())
        await pool.beat("mad", slots=4)

    (opinion,) = pool.client.opinions()

    assert (opinion.standing.said.worker, opinion.standing.is_alive, opinion.circuit) == ("mad", True, "open")
