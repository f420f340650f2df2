"""The workers of one capability, asked as one: who dies, falls silent or speaks nonsense is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel, ConfigDict

from adapters.nats.fleet import BUS_PATIENCE, BUSY_PATIENCE, MOST_FAILURES, PATIENCE, Fleet, Fulfilled, Hear, Wish
from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    MOST_FILE_BYTES,
    CapabilityAsked,
    CapabilityDone,
    CapabilityParcel,
    CapabilityProgress,
    CapabilityRefused,
    CapabilityRequest,
)
from factory_contracts.envelope import SCHEMA_VERSION
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_contracts.messages import MAX_TEXT
from factory_contracts.records import Effect
from factory_contracts.worker import Declaration, File, Made, Report, Unable, capability
from factory_nats import blobs
from factory_nats.result import Err
from factory_nats.satellite import Satellite
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery
from factory_nats.worker_pool import NOWHERE, SILENT, SILENT_ALONE, YOUNG
from tests.fakes import idle, pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")

NAME = "voice.tts"
DEADLINE = 60.0


class Words(BaseModel):
    """What is to be said."""

    model_config = ConfigDict(extra="allow")

    text: str = ""


Say = Callable[[Words], Awaitable[object]]


def speaking(say: Say, *, effect: Effect = "read", at_once: int = 4) -> Declaration[[Words], Awaitable[object]]:
    @capability(NAME, effect=effect, at_once=at_once)
    async def speak(words: Words) -> object:
        """Says it."""
        return await say(words)

    return speak


class Speaker:
    """Work that notes what is to be said, and says it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, words: Words) -> object:
        self.asked.append(words.text)
        return words.text.upper()


class Sleeper(Speaker):
    """Work that does not come to an end by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    async def __call__(self, words: Words) -> object:
        self.asked.append(words.text)
        try:
            return await asyncio.Event().wait()
        finally:
            self.ended += 1


def asker(bus: FakeBus) -> FakeTransport:
    may = subjects.clipool_permissions(subjects.CLIPOOL, *((NAME, name) for name in ("w1", "w2", "w3", "old")))
    kept = subjects.store_permissions(subjects.store(NAME))
    return bus.join(subjects.CLIPOOL, publish=(*may.publish, *kept.publish), subscribe=may.subscribe)


def member(bus: FakeBus, name: str) -> FakeTransport:
    may = subjects.worker_permissions(NAME, name)
    kept = subjects.store_permissions(subjects.store(NAME))
    return bus.join(name, publish=(*may.publish, *kept.publish), subscribe=may.subscribe)


@asynccontextmanager
async def worker(
    bus: FakeBus, name: str, say: Say, *, effect: Effect = "read", at_once: int = 4, instance: str = "i1"
) -> AsyncIterator[FakeTransport]:
    transport = member(bus, name)
    async with Satellite(transport, speaking(say, effect=effect, at_once=at_once), instance, grace=0.0):
        await idle()
        yield transport


@asynccontextmanager
async def fleet(bus: FakeBus) -> AsyncIterator[Fleet]:
    """Somebody who asks, on a connection that is not young any more."""
    made = Fleet(asker(bus), NAME)
    assert await made.listen() is None
    await pass_time(YOUNG)
    yield made
    await made.close()


def wish(text: str = "hey", *, call: str = "c", deadline: float = DEADLINE, arguments: str = "{}") -> Wish:
    return Wish("t", call, deadline, text, arguments)


async def ask(
    fleet: Fleet, wish: Wish, effect: Effect = "read", hear: Hear | None = None
) -> Fulfilled | CapabilityRefused | Err:
    return await fleet.ask(wish, effect=effect, hear=hear)


async def said(asking: Awaitable[Fulfilled | CapabilityRefused | Err]) -> str:
    answer = await asking
    assert isinstance(answer, Fulfilled), answer
    return answer.text


async def beat(bus: FakeBus, name: str, *, instance: str = "i1", running: int | None = None) -> None:
    sign = Heartbeat(worker=name, instance=instance, running=running, at_once=None if running is None else 4)
    await member(bus, name).publish(subjects.heartbeat(NAME, name), HEARTBEAT.encode(sign))
    await idle()


async def test_a_wish_is_fulfilled() -> None:
    bus = FakeBus()
    async with fleet(bus) as asked, worker(bus, "w1", Speaker()):
        assert await ask(asked, wish()) == Fulfilled("HEY")


async def test_a_worker_is_told_for_whom_it_works_and_for_how_long() -> None:
    bus = FakeBus()
    heard: list[bytes] = []
    async with fleet(bus) as asked, worker(bus, "w1", Speaker()):
        await bus.join("witness").subscribe(subjects.request(NAME, "w1"), lambda one: heard.append(one.data))
        await ask(asked, wish("hey", arguments='{"times":2}'))

    request = CAPABILITY_REQUEST.decode(heard[0])
    assert isinstance(request, CapabilityRequest)
    assert (request.turn, request.call, request.text, request.details) == ("t", "c", "hey", {"times": 2})
    assert (request.deadline, request.instance) == (DEADLINE, "i1")
    assert (request.schema_version, request.understands, request.wants_progress) == (1, SCHEMA_VERSION, None)


async def test_the_same_wish_is_done_once_however_often_it_is_asked() -> None:
    bus, one, other = FakeBus(), Speaker(), Speaker()
    async with fleet(bus) as asked, worker(bus, "w1", one), worker(bus, "w2", other):
        calls = [f"c{number % 10}" for number in range(100)]
        answers = await asyncio.gather(*(said(ask(asked, wish(call, call=call))) for call in calls))

    assert answers == [call.upper() for call in calls]
    assert sorted(one.asked + other.asked) == sorted(set(calls))


async def test_the_least_busy_worker_is_asked() -> None:
    bus, busy, idler = FakeBus(), Speaker(), Speaker()
    async with fleet(bus) as asked, worker(bus, "w1", busy), worker(bus, "w2", idler):
        await beat(bus, "w1", running=3)
        await ask(asked, wish())

    assert (busy.asked, idler.asked) == ([], ["hey"])


async def test_who_dies_while_it_is_waited_for_is_noticed_and_the_next_is_asked_at_once() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    loop = asyncio.get_running_loop()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper) as dying, worker(bus, "w2", Speaker()):
        await beat(bus, "w2", running=3)
        asking = asyncio.create_task(said(ask(asked, wish())))
        await pass_time(0.1)
        died = loop.time()
        await dying.close()

        assert await asking == "HEY"
        assert loop.time() - died < 0.1


async def freeze(bus: FakeBus, transport: FakeTransport) -> None:
    """It is connected and says nothing any more."""
    transport.drop()
    await bus.join("socket").subscribe(subjects.request(NAME, transport.identity), lambda delivery: None)


async def test_who_falls_silent_is_given_up_and_the_next_is_asked() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    loop = asyncio.get_running_loop()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper) as frozen, worker(bus, "w2", Speaker()):
        await beat(bus, "w2", running=3)
        asking = asyncio.create_task(said(ask(asked, wish())))
        await pass_time(0.1)
        fell_silent = loop.time()
        await freeze(bus, frozen)

        assert await asking == "HEY"
        assert loop.time() - fell_silent < SILENT + 0.5
        assert await said(ask(asked, wish(call="d"))) == "HEY"


async def test_who_answers_with_garbage_is_left_for_the_next_and_is_asked_again_later() -> None:
    bus, is_mad = FakeBus(), True
    mad = member(bus, "w1")
    answers: list[asyncio.Task[object]] = []
    asked_mad: list[str] = []

    def take(delivery: Delivery) -> None:
        if delivery.data:
            asked_mad.append("w1")
            answer = b"garbage" if is_mad else CAPABILITY_REPLY.encode(CapabilityDone(text="sane"))
            answers.append(asyncio.get_running_loop().create_task(mad.publish(delivery.reply, answer)))

    await mad.subscribe(subjects.request(NAME, "w1"), take)
    async with fleet(bus) as asked, worker(bus, "w2", Speaker()):
        await beat(bus, "w1", running=0)
        await beat(bus, "w2", running=3)
        first = await said(ask(asked, wish(call="a")))
        is_mad = False
        await beat(bus, "w1", running=0)
        await beat(bus, "w2", running=3)
        second = [await said(ask(asked, wish(call=f"b{number}"))) for number in range(3)]

    assert first == "HEY"
    assert "sane" in second
    assert len(asked_mad) > 1


async def test_where_all_speak_nonsense_that_is_said_after_some_time() -> None:
    bus, times = FakeBus(), list[str]()
    mad = member(bus, "w1")
    answers: list[asyncio.Task[object]] = []

    def take(delivery: Delivery) -> None:
        if delivery.data:
            times.append("w1")
            answers.append(asyncio.get_running_loop().create_task(mad.publish(delivery.reply, b"garbage")))

    async def beat_on() -> None:
        while True:
            await beat(bus, "w1", running=0)
            await asyncio.sleep(0.5)

    await mad.subscribe(subjects.request(NAME, "w1"), take)
    async with fleet(bus) as asked:
        beating = asyncio.create_task(beat_on())
        answer = await ask(asked, wish())
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

    assert isinstance(answer, Err)
    assert answer.reason == "malformed"
    assert len(times) == MOST_FAILURES


async def test_who_is_busy_did_nothing_and_the_next_is_asked() -> None:
    bus, sleeper, speaker = FakeBus(), Sleeper(), Speaker()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper, at_once=1), worker(bus, "w2", speaker):
        await beat(bus, "w2", running=3)
        first = asyncio.create_task(ask(asked, wish(call="a")))
        await pass_time(0.1)
        # Somebody else's heartbeat that says otherwise: it was sent before the wish came.
        await beat(bus, "w1", running=0)
        second = await said(ask(asked, wish(call="b"), effect="external"))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    assert second == "HEY"
    assert (len(sleeper.asked), len(speaker.asked)) == (1, 1)


async def test_when_all_are_busy_nothing_is_done_and_that_is_said_after_a_while() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    loop = asyncio.get_running_loop()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper, at_once=1):
        first = asyncio.create_task(ask(asked, wish(call="a")))
        await pass_time(0.1)
        began = loop.time()
        second = await ask(asked, wish(call="b"))
        lasted = loop.time() - began
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    assert isinstance(second, Err)
    assert second.reason == "busy"
    assert BUSY_PATIENCE <= lasted < BUSY_PATIENCE + 1
    assert sleeper.asked == ["hey"]


async def test_who_becomes_free_is_asked_at_once() -> None:
    bus, free = FakeBus(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def wait(words: Words) -> object:
        await free.wait()
        return "said"

    async with fleet(bus) as asked, worker(bus, "w1", wait, at_once=1):
        asking = [asyncio.create_task(said(ask(asked, wish(call=call)))) for call in "abc"]
        await pass_time(0.6)
        began = loop.time()
        free.set()

        assert await asyncio.gather(*asking) == ["said"] * 3
        assert loop.time() - began < 0.01


@pytest.mark.parametrize("effect", ["write", "external"])
async def test_what_has_an_effect_is_not_done_again_when_its_worker_is_dead(effect: Effect) -> None:
    bus, sleeper, speaker = FakeBus(), Sleeper(), Speaker()
    loop = asyncio.get_running_loop()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper) as dying, worker(bus, "w2", speaker):
        await beat(bus, "w2", running=3)
        asking = asyncio.create_task(ask(asked, wish(), effect=effect))
        await pass_time(0.1)
        died = loop.time()
        await dying.close()
        answer = await asking
        lasted = loop.time() - died
        again = await ask(asked, wish(), effect=effect)

    assert isinstance(answer, Err) and isinstance(again, Err)
    assert (answer.reason, again.reason) == ("lost", "lost")
    assert lasted < NOWHERE + 0.5
    assert speaker.asked == []


async def test_what_has_an_effect_is_waited_for_while_its_worker_is_silent() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    loop = asyncio.get_running_loop()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper) as frozen:
        asking = asyncio.create_task(ask(asked, wish(), effect="external"))
        await pass_time(0.1)
        fell_silent = loop.time()
        await freeze(bus, frozen)
        answer = await asking

    assert isinstance(answer, Err)
    assert answer.reason == "lost"
    assert abs(loop.time() - fell_silent - SILENT_ALONE) < 1


async def test_what_has_an_effect_is_done_once_although_its_worker_loses_the_connection() -> None:
    bus, go_on, asked_for = FakeBus(), asyncio.Event(), list[str]()

    async def write(words: Words) -> object:
        asked_for.append(words.text)
        await go_on.wait()
        return "written"

    async with fleet(bus) as asked, worker(bus, "w1", write) as away:
        asking = asyncio.create_task(said(ask(asked, wish(), effect="write")))
        await pass_time(0.1)
        away.drop()
        go_on.set()
        await pass_time(0.3)
        away.restore()

        assert await asking == "written"
    assert asked_for == ["hey"]


async def test_what_has_an_effect_is_done_once_although_we_lose_the_connection() -> None:
    bus, go_on, asked_for = FakeBus(), asyncio.Event(), list[str]()

    async def write(words: Words) -> object:
        asked_for.append(words.text)
        await go_on.wait()
        return "written"

    async with fleet(bus) as asked, worker(bus, "w1", write):
        asking = asyncio.create_task(said(ask(asked, wish(), effect="write")))
        await pass_time(0.1)
        bus.stop()
        go_on.set()
        await pass_time(1.0)
        bus.start()

        assert await asking == "written"
    assert asked_for == ["hey"]


async def test_what_was_given_to_a_life_that_is_over_is_not_done_by_the_next() -> None:
    bus, sleeper, speaker = FakeBus(), Sleeper(), Speaker()
    async with fleet(bus) as asked:
        async with worker(bus, "w1", sleeper) as dying:
            asking = asyncio.create_task(ask(asked, wish(), effect="write"))
            await pass_time(0.1)
            await dying.close()
        async with worker(bus, "w1", speaker, instance="i2"):
            answer = await asking

    assert isinstance(answer, Err)
    assert answer.reason == "lost"
    assert speaker.asked == []


async def test_a_worker_stops_when_nobody_waits_any_more() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper):
        asking = asyncio.create_task(ask(asked, wish()))
        await pass_time(0.1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await idle()

        assert sleeper.ended == 1


async def test_how_far_it_is_is_heard_before_it_is_done() -> None:
    @capability(NAME, effect="read")
    async def count(words: Words, report: Report) -> str:
        """Counts."""
        for number in (1, 2):
            report(f"word {number}", share=number / 2)
            await asyncio.sleep(1)
        return "2"

    bus, heard = FakeBus(), list[CapabilityProgress]()
    async with fleet(bus) as asked, Satellite(member(bus, "w1"), count, "i1"):
        assert await said(ask(asked, wish(), hear=heard.append)) == "2"

    assert [(one.words, one.share) for one in heard] == [("word 1", 0.5), ("word 2", 1.0)]


async def test_what_is_large_crosses_in_both_directions() -> None:
    async def copy(words: Words) -> object:
        return Made(words.text, (File("a.bin", bytes(MOST_FILE_BYTES + 1)), File("b.txt", b"b")))

    bus, text = FakeBus(), "é" * (5 * MAX_TEXT)
    await blobs.ensure(bus.join(subjects.HUB), subjects.store(NAME))
    async with fleet(bus) as asked, worker(bus, "w1", copy):
        answer = await ask(asked, wish("", arguments=f'{{"text":"{text}"}}'))

    assert answer == Fulfilled(text, (("a.bin", bytes(MOST_FILE_BYTES + 1)), ("b.txt", b"b")))


async def test_a_refusal_is_the_workers_word() -> None:
    async def refuse(words: Words) -> object:
        return Unable("My throat hurts.")

    bus = FakeBus()
    async with fleet(bus) as asked, worker(bus, "w1", refuse), worker(bus, "w2", Speaker()):
        await beat(bus, "w2", running=3)
        answer = await ask(asked, wish())

    assert answer == CapabilityRefused(reason="unable", words="My throat hurts.")


@pytest.mark.parametrize(("effect", "answer"), [("read", "HEY"), ("write", None)])
async def test_what_one_fails_at_another_tries_where_it_may(effect: Effect, answer: str | None) -> None:
    async def fail(words: Words) -> object:
        raise RuntimeError("a secret")

    bus, speaker = FakeBus(), Speaker()
    async with fleet(bus) as asked, worker(bus, "w1", fail), worker(bus, "w2", speaker):
        await beat(bus, "w2", running=3)
        came = await ask(asked, wish(), effect=effect)

    assert (came.text if isinstance(came, Fulfilled) else None) == answer
    assert isinstance(came, Fulfilled) or (isinstance(came, CapabilityRefused) and "secret" not in came.words)
    assert len(speaker.asked) == (1 if answer else 0)


async def test_nobody_there_is_said_after_a_moment() -> None:
    loop = asyncio.get_running_loop()
    async with fleet(FakeBus()) as asked:
        began = loop.time()
        answer = await ask(asked, wish())

    assert isinstance(answer, Err)
    assert answer.reason == "no worker"
    assert PATIENCE <= loop.time() - began < PATIENCE + 1


async def test_who_comes_in_time_is_asked() -> None:
    bus = FakeBus()
    async with fleet(bus) as asked:
        asking = asyncio.create_task(said(ask(asked, wish())))
        await pass_time(PATIENCE / 2)
        async with worker(bus, "w1", Speaker()):
            assert await asking == "HEY"


async def test_a_bus_that_is_away_is_waited_for() -> None:
    bus = FakeBus()
    async with fleet(bus) as asked:
        bus.stop()
        asking = asyncio.create_task(said(ask(asked, wish())))
        await pass_time(BUS_PATIENCE / 2)
        bus.start()
        async with worker(bus, "w1", Speaker()):
            assert await asking == "HEY"


async def test_they_are_asked_once_how_they_are_asked() -> None:
    bus, heard = FakeBus(), list[bytes]()
    async with fleet(bus) as asked, worker(bus, "w1", Speaker()), worker(bus, "w2", Speaker()):
        for name in ("w1", "w2"):
            await bus.join("witness").subscribe(subjects.request(NAME, name), lambda one: heard.append(one.data))
        descriptions = [await asked.describe() for _ in range(2)]

    assert [one.description for one in descriptions if one is not None] == ["Says it."] * 2
    assert len(heard) == 1


async def test_of_two_kinds_of_workers_most_say_how_they_are_asked_and_the_worst_what_it_does() -> None:
    bus = FakeBus()
    async with (
        fleet(bus) as asked,
        worker(bus, "w1", Speaker()),
        worker(bus, "w2", Speaker()),
        worker(bus, "w3", Speaker(), effect="write"),
    ):
        description = await asked.describe()

    assert description is not None
    assert description.effect == "write"


async def test_whom_nobody_serves_nobody_describes() -> None:
    bus = FakeBus()
    async with fleet(bus) as asked:
        await beat(bus, "old")
        assert await asked.describe() is None


async def test_what_is_thought_of_each_worker_can_be_seen() -> None:
    bus = FakeBus()
    async with fleet(bus) as asked, worker(bus, "w1", Speaker()):
        await ask(asked, wish())
        (opinion,) = asked.opinions()

    assert (opinion.standing.said.worker, opinion.circuit, opinion.standing.is_alive) == ("w1", "closed", True)


async def test_agents_that_ask_at_once_share_one_subscription(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus()
    asked = Fleet(asker(bus), NAME)
    await asyncio.gather(*(asked.listen() for _ in range(3)))

    await member(bus, "w1").publish(subjects.heartbeat(NAME, "w1"), b"no heartbeat")
    await idle()

    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", ["a.b", ">", "*", "W1", "x" * 65, "w2"])
async def test_a_heartbeat_that_names_another_than_who_sends_it_changes_nothing(name: str) -> None:
    bus = FakeBus()
    async with fleet(bus) as asked:
        sign = HEARTBEAT.encode(Heartbeat(worker=name, instance="i1"))
        await member(bus, "w1").publish(subjects.heartbeat(NAME, "w1"), sign)
        await idle()

        assert asked.opinions() == ()


async def overheard(bus: FakeBus, *names: str) -> list[tuple[str, CapabilityAsked]]:
    """What workers are asked from now on, but for knocks."""
    heard: list[tuple[str, CapabilityAsked]] = []

    def note(delivery: Delivery) -> None:
        if delivery.data:
            heard.append((delivery.subject.rpartition(".")[2], CAPABILITY_REQUEST.decode(delivery.data)))

    witness = bus.join("witness")
    for name in names:
        await witness.subscribe(subjects.request(NAME, name), note)
    return heard


def together(
    fleet: Fleet, count: int, *, effect: Effect = "read", deadline: float = DEADLINE
) -> asyncio.Future[list[Fulfilled | CapabilityRefused | Err]]:
    wishes = (wish(f"w{number}", call=str(number), deadline=deadline) for number in range(count))
    return asyncio.gather(*(ask(fleet, one, effect) for one in wishes))


async def test_what_one_worker_is_asked_at_once_travels_together() -> None:
    bus, speaker = FakeBus(), Speaker()
    async with fleet(bus) as asked, worker(bus, "w1", speaker, at_once=200):
        heard = await overheard(bus, "w1")
        answers = await together(asked, 100)

    assert answers == [Fulfilled(f"W{number}") for number in range(100)]
    assert [len(said.wishes) if isinstance(said, CapabilityParcel) else 1 for _, said in heard] == [1, 64, 35]


async def test_a_thousand_wishes_with_repeated_ids_are_each_done_once() -> None:
    bus, one, other = FakeBus(), Speaker(), Speaker()
    async with fleet(bus) as asked, worker(bus, "w1", one, at_once=64), worker(bus, "w2", other, at_once=64):
        calls = [f"c{number % 100}" for number in range(1000)]
        answers = await asyncio.gather(*(said(ask(asked, wish(call, call=call), "write")) for call in calls))

    assert answers == [call.upper() for call in calls]
    assert sorted(one.asked + other.asked) == sorted(set(calls))


async def test_an_older_worker_beside_a_new_one_gets_no_parcels() -> None:
    bus, speaker = FakeBus(), Speaker()
    old = member(bus, "old")

    async def answer(delivery: Delivery) -> None:
        await old.publish(delivery.reply, CAPABILITY_REPLY.encode(CapabilityDone(text="old")))

    answering: list[asyncio.Task[None]] = []
    await old.subscribe(
        subjects.request(NAME, "old"),
        lambda one: answering.append(asyncio.ensure_future(answer(one))) if one.data else None,
    )
    async with fleet(bus) as asked, worker(bus, "w1", speaker, at_once=20):
        await old.publish(
            subjects.heartbeat(NAME, "old"),
            HEARTBEAT.encode(Heartbeat(worker="old", instance="i", at_once=20, running=0)),
        )
        await idle()
        heard = await overheard(bus, "w1", "old")
        answers = await together(asked, 20)

    texts = [answer.text for answer in answers if isinstance(answer, Fulfilled)]
    assert len(texts) == 20 and {"old", "W1"} <= set(texts)
    assert {name for name, said in heard if isinstance(said, CapabilityParcel)} == {"w1"}


async def test_what_wants_to_hear_how_far_it_is_or_is_large_travels_alone() -> None:
    bus = FakeBus()
    async with fleet(bus) as asked, worker(bus, "w1", Speaker(), at_once=20):
        heard = await overheard(bus, "w1")
        long = wish("x" * 9_000, call="long")
        await asyncio.gather(
            ask(asked, wish(call="first")),
            ask(asked, wish(call="heard"), hear=lambda progress: None),
            ask(asked, long),
            ask(asked, wish(call="a")),
            ask(asked, wish(call="b")),
        )

    assert [one.call for _, one in heard if isinstance(one, CapabilityRequest)] == ["first", "heard", "long"]
    assert [[one.call for one in said.wishes] for _, said in heard if isinstance(said, CapabilityParcel)] == [
        ["a", "b"]
    ]


async def test_who_is_called_off_leaves_the_others_of_its_parcel() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper, at_once=9):
        asking = [asyncio.create_task(ask(asked, wish(str(number), call=str(number)))) for number in range(4)]
        await idle()
        asking[2].cancel()
        await idle()

        assert asking[2].cancelled()
        assert (len(sleeper.asked), sleeper.ended) == (4, 1)
        assert not any(one.done() for one in (asking[0], asking[1], asking[3]))
        for one in asking:
            one.cancel()
        await idle()
        assert sleeper.ended == 4


async def test_who_is_called_off_before_its_parcel_left_is_not_asked_for() -> None:
    bus, speaker = FakeBus(), Speaker()
    async with fleet(bus) as asked, worker(bus, "w1", speaker, at_once=9):
        asking = [asyncio.create_task(ask(asked, wish(str(number), call=str(number)))) for number in range(3)]
        asyncio.get_running_loop().call_soon(asking[1].cancel)
        await idle()

        assert sorted(speaker.asked) == ["0", "2"]


async def test_each_wish_of_a_parcel_has_its_own_time() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    async with fleet(bus) as asked, worker(bus, "w1", sleeper, at_once=9):
        await overheard(bus, "w1")
        asking = [
            asyncio.create_task(ask(asked, wish(call=str(number), deadline=deadline), "write"))
            for number, deadline in enumerate((60.0, 1.0, 60.0))
        ]
        await idle()
        await pass_time(1.5)

        assert [one.done() for one in asking] == [False, True, False]
        late = asking[1].result()
        assert isinstance(late, CapabilityRefused | Err) and late.reason in ("late", "timeout")
        for one in asking:
            one.cancel()
        await idle()


@pytest.mark.parametrize("effect", ["read", "write"])
async def test_a_worker_that_begins_a_new_life_with_a_parcel_half_answered_leaves_open_the_rest(effect: Effect) -> None:
    bus, other = FakeBus(), Speaker()

    async def half(words: Words) -> object:
        return await Sleeper()(words) if int(words.text.removeprefix("w")) % 2 else words.text.upper()

    async with fleet(bus) as asked, worker(bus, "w1", half, effect=effect, at_once=9):
        asking = together(asked, 6, effect=effect)
        await idle()
        async with worker(bus, "w2", other, effect=effect, at_once=9):
            await beat(bus, "w1", instance="i2")
            answers = await asking

    assert answers[::2] == [Fulfilled("W0"), Fulfilled("W2"), Fulfilled("W4")]
    if effect == "read":
        assert answers[1::2] == [Fulfilled("W1"), Fulfilled("W3"), Fulfilled("W5")]
    else:
        assert [one.reason for one in answers[1::2] if isinstance(one, Err)] == ["lost"] * 3
        assert other.asked == []


DONE = b'{"schema_version":1,"kind":"done","text":"x","attachments":[]}'


def answers_of(parts: str, count: int) -> bytes:
    return b'{"schema_version":2,"kind":"answers","parts":[%b],"replies":[%b]}' % (
        parts.encode(),
        b",".join([DONE] * count),
    )


@pytest.mark.parametrize(
    ("told", "reasons"),
    [
        ([b"\xff garbage"], ["malformed"] * 3),
        ([answers_of("0,1,7", 3)], ["malformed"] * 3),
        ([answers_of("0,1", 1)], ["malformed"] * 3),
        ([answers_of("1", 1), b"{}"], ["malformed", "", "malformed"]),
        ([answers_of("2,2,2", 3), answers_of("2,0", 2), answers_of("1", 1)], ["", "", ""]),
        ([answers_of("0,1", 2)], ["", "", "timeout"]),
        ([CAPABILITY_REPLY.encode(CapabilityRefused(reason="malformed", words="no"))], ["malformed"] * 3),
    ],
)
async def test_a_worker_that_answers_a_parcel_in_disorder_is_believed_where_it_makes_sense(
    told: list[bytes], reasons: list[str]
) -> None:
    bus = FakeBus()
    mad = member(bus, "w1")
    sending: list[asyncio.Task[object]] = []

    def take(delivery: Delivery) -> None:
        if delivery.data and isinstance(CAPABILITY_REQUEST.decode(delivery.data), CapabilityParcel):
            for one in told:
                sending.append(asyncio.ensure_future(mad.publish(delivery.reply, one)))

    await mad.subscribe(subjects.request(NAME, "w1"), take)
    async with fleet(bus) as asked:
        sign = Heartbeat(worker="w1", instance="i1", running=0, at_once=20, understands=SCHEMA_VERSION)
        await mad.publish(subjects.heartbeat(NAME, "w1"), HEARTBEAT.encode(sign))
        await idle()
        first = asyncio.create_task(ask(asked, wish(call="first", deadline=1.0), "write"))
        asking = together(asked, 3, effect="write", deadline=1.0)
        await idle()
        await pass_time(1.1)
        answers = await asking
        await first

    assert [one.reason if isinstance(one, Err | CapabilityRefused) else "" for one in answers] == reasons


async def test_a_parcel_that_was_lost_with_the_connection_is_asked_for_again_and_done_once() -> None:
    bus, speaker = FakeBus(), Speaker()
    gate = asyncio.Event()

    async def wait(words: Words) -> object:
        await gate.wait()
        return await speaker(words)

    async with fleet(bus) as asked, worker(bus, "w1", wait, effect="write", at_once=9) as transport:
        asking = together(asked, 6, effect="write")
        await idle()
        transport.drop()
        gate.set()
        await pass_time(0.2)
        transport.restore()
        await beat(bus, "w1")
        await pass_time(2.0)
        answers = await asking

    assert answers == [Fulfilled(f"W{number}") for number in range(6)]
    assert sorted(speaker.asked) == [f"w{number}" for number in range(6)]
