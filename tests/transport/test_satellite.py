"""A worker on the bus: each wish is done once, in time, and whoever waits learns what came of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

import pytest

from factory_nats import blobs
from factory_nats.gpu import Gpu
from factory_nats.repeats import Repeats
from factory_nats.result import Ok, Result
from factory_nats.satellite import Desk, Satellite, Trouble
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery

STORE = "store"
LIFE = "life-1"
MOOD: ContextVar[str] = ContextVar("mood", default="calm")


@dataclass(frozen=True, slots=True)
class Errand:
    """An errand whose words tell what is to happen."""

    kind: Literal["wish", "parcel", "cancel", "describe", "refused"]
    id: str = ""
    deadline: float = 60.0
    instance: str = ""
    blob: str = ""
    wants_progress: bool = False
    refusal: bytes = b"refused"
    words: str = ""
    parts: tuple[Errand, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    requests: str = "work.request"
    heartbeats: str = "work.heartbeat"
    store: str = STORE


Work = Callable[[Errand, Desk], Awaitable[bytes]]


async def echo(errand: Errand, desk: Desk) -> bytes:
    return errand.words.upper().encode()


@dataclass(slots=True)
class Worker:
    """What is served: a function of an errand's words."""

    function: Work = echo
    at_once: int = 4
    stall: float = 60.0
    seconds: float = 60.0
    is_repeatable: bool = False
    given: list[bytes | None] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def places(self, worker: str) -> Places:
        return Places()

    def understand(self, data: bytes) -> Errand:
        said = json.loads(data)
        if isinstance(said, list):
            return Errand("parcel", parts=tuple(Errand(**one) for one in said))
        return Errand(**said)

    async def work(self, errand: Errand, given: bytes | None, desk: Desk) -> bytes:
        self.given.append(given)
        self.done.append(errand.id)
        return await self.function(errand, desk)

    def gather(self, parts: Sequence[int], replies: Sequence[bytes]) -> bytes:
        return json.dumps([[part, reply.decode()] for part, reply in zip(parts, replies, strict=True)]).encode()

    def describe(self) -> bytes:
        return b"described"

    def progress(self, words: str, share: float | None) -> bytes:
        return b"progress " + words.encode()

    def refuse(self, trouble: Trouble) -> bytes:
        return trouble.encode()

    def heartbeat(
        self, worker: str, instance: str, running: int, is_draining: bool, gpu: tuple[int, int] | None
    ) -> bytes:
        return json.dumps([worker, instance, running, is_draining, gpu]).encode()


def wish(words: str = "hey", *, id: str = "a", **more: object) -> bytes:
    return json.dumps({"kind": "wish", "id": id, "words": words, **more}).encode()


def parcel(*wishes: bytes) -> bytes:
    return b"[" + b",".join(wishes) + b"]"


def cancel(id: str = "a") -> bytes:
    return json.dumps({"kind": "cancel", "id": id}).encode()


@dataclass(slots=True)
class Scene:
    """A satellite at work, and somebody who asks it."""

    satellite: Satellite[Errand]
    worker: Worker
    asker: FakeTransport

    async def ask(self, data: bytes, timeout: float = 5.0) -> bytes:
        answer = await self.asker.request("work.request", data, timeout=timeout, responder="w1")
        assert isinstance(answer, Ok), answer
        return answer.value

    async def ask_together(self, *wishes: bytes, told: list[list[list[object]]] | None = None) -> dict[object, object]:
        """What came of each, when all have come; `told` notes each message."""
        came: dict[object, object] = {}

        def take(data: bytes) -> bool:
            message = json.loads(data)
            if told is not None:
                told.append(message)
            came.update(message)
            return len(came) < len(wishes)

        answer = await self.asker.request("work.request", parcel(*wishes), timeout=5.0, responder="w1", more=take)
        assert isinstance(answer, Ok), answer
        return came


@asynccontextmanager
async def scene(worker: Worker, *, grace: float = 5.0, repeats: Repeats | None = None) -> AsyncIterator[Scene]:
    bus = FakeBus()
    asker = bus.join("asker")
    await blobs.ensure(asker, STORE)
    async with Satellite(bus.join("w1"), worker, LIFE, interval=0.01, grace=grace, repeats=repeats) as satellite:
        yield Scene(satellite, worker, asker)


class Gate:
    """Work that goes on when it is let."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.open = asyncio.Event()
        self.ended: list[str] = []

    async def __call__(self, errand: Errand, desk: Desk) -> bytes:
        self.came.set()
        try:
            await self.open.wait()
        finally:
            self.ended.append(errand.id)
        return errand.words.encode()


async def test_a_wish_is_done() -> None:
    async with scene(Worker()) as it:
        assert await it.ask(wish("hey")) == b"HEY"


async def test_what_was_done_is_told_again_and_not_done_again() -> None:
    async with scene(Worker()) as it:
        assert [await it.ask(wish("hey")) for _ in range(3)] == [b"HEY"] * 3
        assert await it.ask(wish("you", id="b")) == b"YOU"

        assert it.worker.done == ["a", "b"]


async def test_whoever_asks_for_what_is_under_way_joins_it() -> None:
    gate = Gate()
    async with scene(Worker(gate, at_once=1)) as it:
        asking = [asyncio.create_task(it.ask(wish("hey"))) for _ in range(3)]
        await gate.came.wait()
        gate.open.set()

        assert await asyncio.gather(*asking) == [b"hey"] * 3
        assert it.worker.done == ["a"]


async def test_what_came_of_it_and_is_not_kept_is_still_not_done_again() -> None:
    async with scene(Worker(), repeats=Repeats(most_bytes=2)) as it:
        assert await it.ask(wish("hey")) == b"HEY"
        assert await it.ask(wish("hey")) == b"forgotten"

        assert it.worker.done == ["a"]


async def test_what_failed_is_not_tried_again_under_the_same_id(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(errand: Errand, desk: Desk) -> bytes:
        raise RuntimeError("a secret")

    async with scene(Worker(fail)) as it:
        answers = [await it.ask(wish()) for _ in range(2)]

        assert answers == [b"failed", b"failed"]
        assert it.worker.done == ["a"]
    assert "a secret" in caplog.text


async def test_what_failed_is_tried_again_where_that_does_no_harm() -> None:
    async def fail(errand: Errand, desk: Desk) -> bytes:
        raise RuntimeError("a secret")

    async with scene(Worker(fail, is_repeatable=True)) as it:
        assert [await it.ask(wish()) for _ in range(2)] == [b"failed", b"failed"]
        assert it.worker.done == ["a", "a"]


async def test_who_asks_for_what_was_called_off_has_it_begun_anew() -> None:
    gate = Gate()
    async with scene(Worker(gate, is_repeatable=True)) as it:
        first = asyncio.create_task(it.ask(wish("hey")))
        await gate.came.wait()
        await it.asker.publish("work.request", cancel())
        second = asyncio.create_task(it.ask(wish("hey")))
        assert await first == b"cancelled"
        gate.open.set()

        assert await second == b"hey"
        assert it.worker.done == ["a", "a"]


async def test_more_than_it_can_do_at_once_is_refused_and_may_be_asked_again() -> None:
    gate = Gate()
    async with scene(Worker(gate, at_once=1)) as it:
        first = asyncio.create_task(it.ask(wish("hey")))
        await gate.came.wait()
        second = await it.ask(wish("you", id="b"))
        gate.open.set()

        assert (await first, second) == (b"hey", b"busy")
        assert await it.ask(wish("you", id="b")) == b"you"


async def test_where_no_more_can_be_remembered_no_more_is_done() -> None:
    async with scene(Worker(), repeats=Repeats(most=1)) as it:
        assert await it.ask(wish("hey")) == b"HEY"
        assert await it.ask(wish("hey", id="b")) == b"busy"
        assert await it.ask(wish("hey")) == b"HEY"


async def test_what_may_be_done_again_needs_not_be_remembered() -> None:
    async with scene(Worker(is_repeatable=True), repeats=Repeats(most=1)) as it:
        assert [await it.ask(wish("hey", id=id)) for id in "aba"] == [b"HEY"] * 3
        assert it.worker.done == ["a", "b", "a"]


async def test_what_is_meant_for_another_life_is_not_done() -> None:
    async with scene(Worker()) as it:
        assert await it.ask(wish(instance="life-0")) == b"gone"
        assert await it.ask(wish(instance=LIFE)) == b"HEY"


@pytest.mark.parametrize(
    ("worker", "deadline", "trouble"),
    [
        (Worker(), 0.01, b"late"),
        (Worker(seconds=0.01), 60.0, b"late"),
        (Worker(stall=0.01), 60.0, b"stalled"),
    ],
    ids=["nobody waits", "too long", "nothing new"],
)
async def test_work_that_takes_too_long_is_ended(worker: Worker, deadline: float, trouble: bytes) -> None:
    gate = Gate()
    worker.function = gate
    async with scene(worker) as it:
        assert await it.ask(wish(deadline=deadline)) == trouble
        assert gate.ended == ["a"]


async def test_work_that_reports_goes_on_and_whoever_wants_to_hears_of_it() -> None:
    heard: list[bytes] = []
    enough = asyncio.Event()

    def is_followed(data: bytes) -> bool:
        heard.append(data)
        if len(heard) == 3:
            enough.set()
        return data.startswith(b"progress")

    async def count(errand: Errand, desk: Desk) -> bytes:
        while not enough.is_set():
            desk.report("on and on", share=0.5)
            await asyncio.sleep(0)
        return b"done"

    async with scene(Worker(count, stall=30.0)) as it:
        answer = await it.asker.request(
            "work.request", wish(wants_progress=True), timeout=5, responder="w1", more=is_followed
        )

    assert answer == Ok(b"done")
    assert heard[:3] == [b"progress on and on"] * 3
    assert heard[-1] == b"done"


async def test_who_does_not_want_to_hear_of_progress_hears_the_answer_alone() -> None:
    async def tell(errand: Errand, desk: Desk) -> bytes:
        desk.report("half of it")
        return b"done"

    async with scene(Worker(tell)) as it:
        assert await it.ask(wish()) == b"done"


async def test_work_is_ended_when_nobody_waits_for_it_any_more() -> None:
    gate = Gate()
    async with scene(Worker(gate)) as it:
        asking = [asyncio.create_task(it.ask(wish())) for _ in range(2)]
        await gate.came.wait()
        await it.asker.publish("work.request", cancel())
        await it.asker.publish("work.request", cancel("unheard of"))
        await it.asker.barrier()
        still = list(gate.ended)
        await it.asker.publish("work.request", cancel())

        assert await asyncio.gather(*asking) == [b"cancelled"] * 2
        assert (still, gate.ended) == ([], ["a"])


async def test_a_knock_is_no_request() -> None:
    async with scene(Worker()) as it:
        await it.asker.publish("work.request", b"", reply=it.asker.inbox("w1", "door"))
        assert await it.ask(wish()) == b"HEY"
        assert it.worker.done == ["a"]


async def test_it_says_how_it_is_asked_and_refuses_what_it_does_not_understand() -> None:
    async with scene(Worker()) as it:
        assert await it.ask(json.dumps({"kind": "describe"}).encode()) == b"described"
        assert await it.ask(json.dumps({"kind": "refused"}).encode()) == b"refused"


async def test_what_is_large_comes_and_goes_through_the_store() -> None:
    async def answer(errand: Errand, desk: Desk) -> bytes:
        return (await desk.keep(bytes(2_000_000))).encode()

    async with scene(Worker(answer)) as it:
        stored = await blobs.put(it.asker, STORE, b"large")
        assert isinstance(stored, Ok)
        kept = await it.ask(wish(blob=stored.value))

        assert it.worker.given == [b"large"]
        assert await blobs.get(it.asker, STORE, kept.decode()) == Ok(bytes(2_000_000))


async def test_what_is_not_in_the_store_is_said_and_nothing_is_done() -> None:
    async with scene(Worker()) as it:
        assert await it.ask(wish(blob="nowhere")) == b"not there"
        assert it.worker.done == []


async def test_what_computes_is_done_aside_and_the_heartbeat_goes_on() -> None:
    go_on = threading.Event()

    async def compute(errand: Errand, desk: Desk) -> bytes:
        return await desk.aside(lambda: b"computed" if go_on.wait(5.0) else b"held up")

    async with scene(Worker(compute)) as it:
        asking = asyncio.create_task(it.ask(wish()))
        await _beats(it.asker, 2)
        go_on.set()

        assert await asking == b"computed"


async def test_what_cannot_be_stopped_takes_its_place_until_it_ends_by_itself() -> None:
    began, go_on, came = threading.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    stopped: list[str] = []

    async def compute(errand: Errand, desk: Desk) -> bytes:
        def count() -> bytes:
            began.set()
            loop.call_soon_threadsafe(came.set)
            go_on.wait(5.0)
            try:
                desk.report("on and on")
            except asyncio.CancelledError:
                stopped.append(errand.id)
                raise
            return b"too late"

        return await desk.aside(count)

    async with scene(Worker(compute, at_once=1)) as it:
        asking = asyncio.create_task(it.ask(wish()))
        await came.wait()
        await it.asker.publish("work.request", cancel())
        assert await asking == b"cancelled"
        busy = await it.ask(wish(id="b"))
        go_on.set()
        while it.satellite.running:
            await _beats(it.asker, 1)

        assert (busy, stopped) == (b"busy", ["a"])


async def test_its_heartbeat_says_who_it_is_and_what_it_does() -> None:
    gate = Gate()
    async with scene(Worker(gate)) as it:
        asking = asyncio.create_task(it.ask(wish()))
        await gate.came.wait()
        said = (await _beats(it.asker, 1))[-1]
        gate.open.set()
        await asking

    memory = Gpu().memory()
    assert tuple(said[:4]) == ("w1", LIFE, 1, False)
    assert (said[4] is None) == (memory is None)


async def test_who_ends_finishes_what_it_has_and_takes_nothing_new() -> None:
    gate = Gate()
    async with scene(Worker(gate)) as it:
        first = asyncio.create_task(it.ask(wish("hey")))
        await gate.came.wait()
        ending = asyncio.create_task(it.satellite.__aexit__(None, None, None))
        assert (await _beats(it.asker, 1))[-1][3] is True
        second = await it.ask(wish("you", id="b"))
        gate.open.set()

        assert (await first, second) == (b"hey", b"busy")
        await ending


async def test_who_must_end_says_so_to_whoever_waits() -> None:
    gate = Gate()
    async with scene(Worker(gate), grace=0.01) as it:
        asking = asyncio.create_task(it.ask(wish()))
        await gate.came.wait()

    assert await asking == b"failed"


async def test_nobody_is_answered_who_does_not_expect_it_of_us() -> None:
    async with scene(Worker()) as it:
        stranger = it.asker.bus.join("stranger")
        await stranger.publish("work.request", wish(), reply=stranger.inbox("w2", "x"))
        await stranger.barrier()

        assert await it.ask(wish("you", id="b")) == b"YOU"
        assert it.worker.done == ["b"]


async def _beats(asker: FakeTransport, count: int) -> list[tuple[str, str, int, bool, object]]:
    """The next heartbeats."""
    heard: list[tuple[str, str, int, bool, object]] = []
    enough = asyncio.Event()

    def hear(delivery: Delivery) -> None:
        heard.append(json.loads(delivery.data))
        if len(heard) >= count:
            enough.set()

    listening: Result[object] = await asker.subscribe("work.heartbeat", hear)
    assert isinstance(listening, Ok)
    async with asyncio.timeout(5):
        await enough.wait()
    return heard


async def test_what_travels_together_is_done_and_answered_together() -> None:
    told: list[list[list[object]]] = []
    async with scene(Worker()) as it:
        came = await it.ask_together(wish("hey", id="a"), wish("you", id="b"), wish("hey", id="a"), told=told)

        assert came == {0: "HEY", 1: "YOU", 2: "HEY"}
        assert len(told) == 1
        assert it.worker.done == ["a", "b"]


async def test_who_is_done_first_is_not_held_up_by_the_others() -> None:
    gate = Gate()
    told: list[list[list[object]]] = []

    async def work(errand: Errand, desk: Desk) -> bytes:
        return await (gate if errand.words == "slow" else echo)(errand, desk)

    async with scene(Worker(work)) as it:
        asking = asyncio.create_task(it.ask_together(wish("slow", id="a"), wish("fast", id="b"), told=told))
        while not told:
            await asyncio.sleep(0)
        gate.open.set()

        assert await asking == {0: "slow", 1: "FAST"}
        assert told == [[[1, "FAST"]], [[0, "slow"]]]


async def test_each_wish_of_a_parcel_may_be_refused_or_called_off_by_itself() -> None:
    gate = Gate()
    async with scene(Worker(gate, at_once=2)) as it:
        wishes = (wish("x", id="gone", instance="life-0"), *(wish("x", id=id) for id in "abc"))
        asking = asyncio.create_task(it.ask_together(*wishes))
        await gate.came.wait()
        await it.asker.publish("work.request", cancel("a"))
        while "a" not in gate.ended:
            await asyncio.sleep(0)
        gate.open.set()

        assert await asking == {0: "gone", 1: "cancelled", 2: "x", 3: "busy"}


async def test_a_wish_that_came_alone_and_in_a_parcel_is_done_once() -> None:
    gate = Gate()
    async with scene(Worker(gate)) as it:
        alone = asyncio.create_task(it.ask(wish("x")))
        await gate.came.wait()
        together = asyncio.create_task(it.ask_together(wish("x"), wish("y", id="b")))
        while len(it.worker.done) < 2:
            await asyncio.sleep(0)
        gate.open.set()

        assert (await alone, await together) == (b"x", {0: "x", 1: "y"})
        assert it.worker.done == ["a", "b"]


async def test_what_is_too_large_together_is_told_in_several_messages() -> None:
    told: list[list[list[object]]] = []
    wishes = [wish("x" * 90_000, id=str(number)) for number in range(5)]
    async with scene(Worker(at_once=9)) as it:
        came = await it.ask_together(*wishes, told=told)

        assert list(came.values()) == ["X" * 90_000] * 5
        assert [[part for part, _ in message] for message in told] == [[0, 1], [2, 3], [4]]


async def test_who_ends_tells_what_came_of_a_parcel_before() -> None:
    gate = Gate()
    told: list[list[list[object]]] = []
    async with scene(Worker(gate)) as it:
        asking = asyncio.create_task(it.ask_together(wish("x", id="a"), wish("y", id="b"), told=told))
        await gate.came.wait()
        gate.open.set()

    assert await asking == {0: "x", 1: "y"}


async def test_of_what_came_together_one_fails_and_the_others_are_done(caplog: pytest.LogCaptureFixture) -> None:
    async def work(errand: Errand, desk: Desk) -> bytes:
        if errand.words == "fail":
            raise OSError("no")
        return await echo(errand, desk)

    async with scene(Worker(work)) as it:
        came = await it.ask_together(wish("hey", id="a"), wish("fail", id="b"), wish("you", id="c"))

        assert came == {0: "HEY", 1: "failed", 2: "YOU"}
    assert "a wish on work.request failed" in caplog.text


async def test_what_is_called_off_before_it_was_begun_is_never_begun() -> None:
    async with scene(Worker()) as it:
        asking = asyncio.create_task(it.ask_together(wish("hey", id="a"), wish("you", id="b")))
        await asyncio.sleep(0)
        await it.asker.publish("work.request", cancel("b"))

        assert await asking == {0: "HEY", 1: "cancelled"}
        assert it.worker.done == ["a"]


async def test_what_one_wish_sets_or_was_stopped_by_is_not_for_the_next_to_see() -> None:
    seen: list[tuple[str, int]] = []
    came = asyncio.Event()

    async def work(errand: Errand, desk: Desk) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        seen.append((MOOD.get(), task.cancelling()))
        MOOD.set("loud")
        if errand.words == "stubborn":
            came.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return b"done"

    async with scene(Worker(work)) as it:
        together = await it.ask_together(*(wish("x", id=id) for id in "abc"))
        asking = asyncio.create_task(it.ask(wish("stubborn", id="d")))
        await came.wait()
        await it.asker.publish("work.request", cancel("d"))
        # The rest comes while the stubborn one is being stopped.
        rest = await it.ask_together(wish("x", id="e"), wish("x", id="f"))

        assert (together, await asking, rest) == (dict.fromkeys(range(3), "done"), b"done", {0: "done", 1: "done"})
        assert seen == [("calm", 0)] * 6
