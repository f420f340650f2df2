"""What every transport does: the real one, the fake, and the simulated one. A test enters here after it passed on the
real one."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, User
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery, Entry, StreamConfig, Transport
from tests.sim.bus import SimBus

NARROW_PUBLISH = ("allowed.>",)
NARROW_SUBSCRIBE = ("heard.*",)


class Bus(Protocol):
    """A server whose end and return a test can order."""

    async def join(
        self,
        identity: str = "one",
        *,
        on_disconnect: Callable[[], None] | None = None,
        on_reconnect: Callable[[], None] | None = None,
    ) -> Transport: ...

    async def kill(self) -> None: ...

    async def revive(self) -> None: ...

    async def close(self) -> None: ...


class RealBus:
    def __init__(self, directory: Path) -> None:
        self._seeds = {name: generate_seed() for name in ("one", "two", "narrow")}
        keys = {name: public_key(seed) for name, seed in self._seeds.items()}
        self.server = EmbeddedServer(
            directory,
            users=(
                User("one", keys["one"]),
                User("two", keys["two"]),
                User("narrow", keys["narrow"], NARROW_PUBLISH, NARROW_SUBSCRIBE),
            ),
        )
        self._joined: list[Transport] = []

    async def join(
        self,
        identity: str = "one",
        *,
        on_disconnect: Callable[[], None] | None = None,
        on_reconnect: Callable[[], None] | None = None,
    ) -> Transport:
        joined = await connect(
            self.server.url,
            Identity(identity, self._seeds[identity]),
            on_disconnect=on_disconnect,
            on_reconnect=on_reconnect,
        )
        assert isinstance(joined, Ok)
        self._joined.append(joined.value)
        return joined.value

    async def kill(self) -> None:
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await self.server.wait()

    async def revive(self) -> None:
        assert await self.server.start() == Ok(None)

    async def close(self) -> None:
        for transport in self._joined:
            await transport.close()
        await self.server.stop()


class MemoryBus:
    def __init__(self, bus: FakeBus | SimBus) -> None:
        self._bus = bus
        self._joined: list[Transport] = []

    async def join(
        self,
        identity: str = "one",
        *,
        on_disconnect: Callable[[], None] | None = None,
        on_reconnect: Callable[[], None] | None = None,
    ) -> Transport:
        narrow = identity == "narrow"
        joined = self._bus.join(
            identity,
            publish=NARROW_PUBLISH if narrow else None,
            subscribe=NARROW_SUBSCRIBE if narrow else None,
            on_disconnect=on_disconnect,
            on_reconnect=on_reconnect,
        )
        self._joined.append(joined)
        return joined

    async def kill(self) -> None:
        self._bus.stop()

    async def revive(self) -> None:
        self._bus.start()

    async def close(self) -> None:
        for transport in self._joined:
            await transport.close()


class Heard:
    """A handler that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._changed = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._changed.set()

    async def wait(self, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            while len(self.deliveries) < count:
                self._changed.clear()
                await self._changed.wait()
        return [delivery.data for delivery in self.deliveries]


class Answer:
    """A handler that answers every request the same way."""

    def __init__(self, transport: Transport, data: bytes) -> None:
        self._transport = transport
        self._data = data
        self.tasks: list[asyncio.Task[object]] = []

    def __call__(self, delivery: Delivery) -> None:
        answer = self._transport.publish(delivery.reply, self._data)
        self.tasks.append(asyncio.get_running_loop().create_task(answer))


@pytest.fixture(params=["fake", "simulated", "real"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    made: Bus
    if request.param == "real":
        real = RealBus(tmp_path / "nats")
        await real.revive()
        made = real
    else:
        made = MemoryBus(FakeBus() if request.param == "fake" else SimBus(random.Random(1)))
    yield made
    await made.close()


async def test_a_request_is_answered_by_whoever_listens(bus: Bus) -> None:
    asker, answerer = await bus.join("one"), await bus.join("two")
    await answerer.subscribe("greet.*", Answer(answerer, b"hello"))

    answer = await asker.request("greet.ada", b"", timeout=5)

    assert answer == Ok(b"hello")


async def test_an_answer_of_another_than_the_one_who_is_asked_is_not_heard(bus: Bus) -> None:
    asker, answerer = await bus.join("one"), await bus.join("two")
    asked: asyncio.Queue[Delivery] = asyncio.Queue()
    await answerer.subscribe("greet", asked.put_nowait)
    asking = asyncio.create_task(asker.request("greet", b"", timeout=5, responder="two"))
    reply = (await asked.get()).reply

    await answerer.publish(reply.replace(".two.", ".narrow."), b"forged")
    await answerer.publish(reply, b"hello")

    assert answerer.owns_inbox(reply, "one")
    assert await asking == Ok(b"hello")


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "a b"])
async def test_nobody_of_an_impossible_name_can_be_asked(bus: Bus, name: str) -> None:
    outcome = await (await bus.join()).request("greet", b"", timeout=5, responder=name)

    assert isinstance(outcome, Err) and outcome.reason == "malformed"


async def test_many_requests_at_once_get_each_its_own_answer(bus: Bus) -> None:
    asker, answerer = await bus.join("one"), await bus.join("two")

    def echo(delivery: Delivery) -> None:
        tasks.append(asyncio.get_running_loop().create_task(answerer.publish(delivery.reply, delivery.data)))

    tasks: list[asyncio.Task[object]] = []
    await answerer.subscribe("echo", echo)

    answers = await asyncio.gather(*(asker.request("echo", b"%d" % n, timeout=5) for n in range(200)))

    assert answers == [Ok(b"%d" % n) for n in range(200)]


async def test_a_request_that_nobody_hears_fails_at_once(bus: Bus) -> None:
    transport = await bus.join()

    answer = await transport.request("nobody.there", b"", timeout=60)

    assert isinstance(answer, Err) and answer.reason == "no responders"


async def test_a_request_that_is_heard_and_not_answered_times_out(bus: Bus) -> None:
    transport = await bus.join()
    await transport.subscribe("silent", Heard())

    answer = await transport.request("silent", b"", timeout=0.05)

    assert isinstance(answer, Err) and answer.reason == "timeout"


async def test_what_is_not_the_answer_yet_is_shown_as_it_comes(bus: Bus) -> None:
    asker, worker = await bus.join(), await bus.join("two")
    shown: list[bytes] = []

    def is_followed(data: bytes) -> bool:
        shown.append(data)
        return data.startswith(b"half")

    async def work(delivery: Delivery) -> None:
        for said in (b"half of it", b"half again", b"all"):
            assert await worker.publish(delivery.reply, said) == Ok(None)

    working: list[asyncio.Task[None]] = []
    await worker.subscribe("work", lambda delivery: working.append(asyncio.create_task(work(delivery))))

    answer = await asker.request("work", b"", timeout=5, more=is_followed)

    assert answer == Ok(b"all")
    assert shown == [b"half of it", b"half again", b"all"]
    await asyncio.gather(*working)


async def test_that_nobody_answers_is_shown_to_nobody(bus: Bus) -> None:
    asker = await bus.join()
    shown: list[bytes] = []

    def is_followed(data: bytes) -> bool:
        shown.append(data)
        return True

    answer = await asker.request("nobody", b"", timeout=5, more=is_followed)

    assert isinstance(answer, Err) and answer.reason == "no responders"
    assert shown == []


async def test_messages_arrive_in_the_order_in_which_they_were_sent(bus: Bus) -> None:
    sender, listener = await bus.join("one"), await bus.join("two")
    heard = Heard()
    await listener.subscribe("order.>", heard)

    for number in range(300):
        await sender.publish(f"order.{number % 3}.x", b"%d" % number)

    assert await heard.wait(300) == [b"%d" % number for number in range(300)]


async def test_a_message_carries_its_subject_and_reply(bus: Bus) -> None:
    transport = await bus.join()
    heard = Heard()
    await transport.subscribe("post.*", heard)

    await transport.publish("post.a", b"text", reply="elsewhere.b")
    await heard.wait(1)

    assert heard.deliveries == [Delivery("post.a", b"text", "elsewhere.b")]


async def test_of_those_who_listen_in_a_group_one_hears_and_who_listens_alone_hears_too(bus: Bus) -> None:
    sender, other = await bus.join("one"), await bus.join("two")
    together, alone, last = Heard(), Heard(), Heard()
    for listener in (sender, other):
        assert isinstance(await listener.subscribe("grouped", together, group="all"), Ok)
    assert isinstance(await other.subscribe("grouped", alone), Ok)
    assert isinstance(await sender.subscribe("after", last), Ok)

    for number in range(20):
        await sender.publish("grouped", str(number).encode())
    heard = await alone.wait(20)
    grouped = await together.wait(20)
    for transport in (sender, other):
        await transport.publish("after", b"")
    await last.wait(2)

    assert sorted(grouped) == sorted(heard)
    assert len(together.deliveries) == 20


async def test_who_listens_in_a_group_without_a_name_is_refused(bus: Bus) -> None:
    subscribed = await (await bus.join()).subscribe("grouped", Heard(), group="a b")

    assert isinstance(subscribed, Err)
    assert subscribed.reason == "malformed"


async def test_headers_arrive_as_they_were_sent(bus: Bus) -> None:
    sender, other = await bus.join("one"), await bus.join("two")
    heard = Heard()
    await other.subscribe("headed", heard)

    assert await sender.publish("headed", b"", headers={"Code": "500", "Why": "so: it is"}) == Ok(None)
    await heard.wait(1)

    (one,) = heard.deliveries
    assert (one.data, one.headers, one.status) == (b"", {"Code": "500", "Why": "so: it is"}, "")


async def test_a_header_of_two_lines_is_a_fault_of_whoever_sends_it(bus: Bus) -> None:
    with pytest.raises(ValueError, match="line break"):
        await (await bus.join()).publish("headed", b"", headers={"Code": "500\r\nOther: 1"})


async def test_after_unsubscribing_nothing_is_handed_over(bus: Bus) -> None:
    transport = await bus.join()
    ended, kept = Heard(), Heard()
    subscribed = await transport.subscribe("news", ended)
    await transport.subscribe("news", kept)
    assert isinstance(subscribed, Ok)

    await subscribed.value.unsubscribe()
    await transport.publish("news", b"late")
    await kept.wait(1)

    assert ended.deliveries == []


async def test_a_handler_that_raises_is_logged_and_hears_the_next_message(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    transport = await bus.join()
    heard, other = Heard(), Heard()

    def fails_once(delivery: Delivery) -> None:
        heard(delivery)
        if delivery.data == b"bad":
            raise KeyError("a fault of the handler's")

    await transport.subscribe("fault", fails_once)
    await transport.subscribe("fault", other)
    for data in (b"bad", b"good", b"better"):
        await transport.publish("fault", data)

    assert await heard.wait(3) == [b"bad", b"good", b"better"]
    assert await other.wait(3) == [b"bad", b"good", b"better"]
    assert "a fault of the handler's" in caplog.text


async def test_what_was_sent_before_a_barrier_is_at_the_server_after_it(bus: Bus) -> None:
    sender, listener = await bus.join("one"), await bus.join("two")
    heard = Heard()
    await listener.subscribe("early", heard)

    for _ in range(1000):
        await sender.publish("early", b"x" * 100)
    assert await sender.barrier() == Ok(None)
    assert await listener.barrier() == Ok(None)

    assert len(heard.deliveries) == 1000


async def test_whoever_has_subscribed_hears_what_another_sends_next(bus: Bus) -> None:
    sender, listener = await bus.join("one"), await bus.join("two")

    for number in range(20):
        heard = Heard()
        await listener.subscribe(f"ready.{number}", heard)
        await sender.publish(f"ready.{number}", b"now")
        assert await heard.wait(1) == [b"now"]


async def test_an_inbox_hears_that_nobody_answers(bus: Bus) -> None:
    transport = await bus.join()
    inbox = transport.inbox("one", "stream")
    heard = Heard()
    await transport.subscribe(inbox, heard)

    await transport.publish("nobody.there", b"", reply=inbox)
    await heard.wait(1)

    assert [(one.subject, one.data, one.status) for one in heard.deliveries] == [(inbox, b"", "503")]


@pytest.mark.parametrize("subject", ["", ".a", "a.", "a..b", "a b", "a\r\nPUB b 0", "a.*", "a.>", "ü", "a\x0bb"])
async def test_a_subject_that_would_be_lost_in_silence_is_refused(bus: Bus, subject: str) -> None:
    transport = await bus.join()

    outcomes = [
        await transport.publish(subject, b""),
        await transport.request(subject, b"", timeout=1),
        await transport.append([Entry(subject, b"")]),
        await transport.append([Entry("fine", b"", expect=(subject, 0))]),
    ]

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["malformed"] * 4


@pytest.mark.parametrize("subject", ["", ".a", "a.>.b", "a*", "a b", ">a", "a..b"])
async def test_a_wrong_subject_cannot_be_listened_to(bus: Bus, subject: str) -> None:
    transport = await bus.join()

    outcome = await transport.subscribe(subject, Heard())

    assert isinstance(outcome, Err) and outcome.reason == "malformed"


async def test_what_is_too_large_is_refused_here_and_the_connection_stays(bus: Bus) -> None:
    transport = await bus.join()
    heard = Heard()
    await transport.subscribe("big", heard)

    refused = await transport.publish("big", b"x" * (1 << 20))
    taken = await transport.publish("big", b"x" * ((1 << 20) - 4096))
    await heard.wait(1)

    assert isinstance(refused, Err) and refused.reason == "too large"
    assert taken == Ok(None)
    assert await transport.barrier() == Ok(None)


async def test_an_inbox_belongs_to_its_identity_alone(bus: Bus) -> None:
    one, again, two = await bus.join("one"), await bus.join("one"), await bus.join("two")

    inbox = one.inbox("two", "x")

    assert inbox != again.inbox("two", "x")
    assert two.owns_inbox(inbox, "one")
    assert not two.owns_inbox(inbox, "two")
    assert not two.owns_inbox(one.inbox("three", "x"), "one")
    assert not two.owns_inbox("$JS.API.STREAM.DELETE.T", "one")
    assert not two.owns_inbox("", "one")
    assert not two.owns_inbox(f"{inbox.rsplit('.', 2)[0]}.*", "one")
    assert not two.owns_inbox(inbox.replace("one", "one_more"), "one")


async def test_what_the_permissions_leave_out_is_forbidden(bus: Bus) -> None:
    narrow = await bus.join("narrow")

    asked = await narrow.request("elsewhere.x", b"", timeout=5)
    heard = await narrow.subscribe("elsewhere.*", Heard())

    assert [one.reason for one in (asked, heard) if isinstance(one, Err)] == ["forbidden"] * 2
    assert isinstance(await narrow.subscribe("heard.*", Heard()), Ok)
    assert isinstance(await narrow.subscribe(narrow.inbox("one", "x"), Heard()), Ok)
    assert await narrow.publish("allowed.a.b", b"") == Ok(None)


async def test_a_forbidden_publish_is_known_after_a_barrier_and_reaches_nobody(bus: Bus) -> None:
    narrow, other = await bus.join("narrow"), await bus.join("one")
    heard = Heard()
    await other.subscribe("elsewhere.>", heard)

    await narrow.publish("elsewhere.x", b"")
    await narrow.barrier()
    again = await narrow.publish("elsewhere.x", b"")
    await other.barrier()

    assert isinstance(again, Err) and again.reason == "forbidden"
    assert heard.deliveries == []


async def test_what_is_appended_is_read_back_in_order(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))

    sequences = [await transport.append([Entry(f"log.{name}", name.encode())]) for name in "abcab"]
    everything = await transport.read("LOG", "log.>")
    some = await transport.read("LOG", "log.a")
    later = await transport.read("LOG", "log.*", start=3, limit=2)

    assert sequences == [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5)]
    assert isinstance(everything, Ok) and isinstance(some, Ok) and isinstance(later, Ok)
    assert [(one.sequence, one.subject, one.data) for one in everything.value] == [
        (1, "log.a", b"a"),
        (2, "log.b", b"b"),
        (3, "log.c", b"c"),
        (4, "log.a", b"a"),
        (5, "log.b", b"b"),
    ]
    assert [one.sequence for one in some.value] == [1, 4]
    assert [one.sequence for one in later.value] == [3, 4]


async def test_a_long_log_is_read_whole(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LONG", ("long.>",)))
    for start in range(0, 1300, 100):
        await transport.append([Entry("long.a", b"%d" % number) for number in range(start, start + 100)])
    await transport.append([Entry("long.b", b"other")])

    whole = await transport.read("LONG", "long.a", limit=5000)
    most = await transport.read("LONG", "long.a", limit=1000)

    assert isinstance(whole, Ok) and isinstance(most, Ok)
    assert [one.data for one in whole.value] == [b"%d" % number for number in range(1300)]
    assert len(most.value) == 1000


async def test_a_batch_is_stored_whole_and_in_one_piece(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    await transport.append([Entry("log.a", b"before")])

    last = await transport.append([Entry("log.a", b"1"), Entry("log.b", b"2"), Entry("log.a", b"3")])
    stored = await transport.read("LOG", "log.>", start=2)

    assert last == Ok(4)
    assert isinstance(stored, Ok)
    assert [(one.sequence, one.data) for one in stored.value] == [(2, b"1"), (3, b"2"), (4, b"3")]


async def test_the_last_message_of_a_subject_is_found(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    for name in ("a", "b", "a"):
        await transport.append([Entry(f"log.{name}", name.encode())])

    last = await transport.last("LOG", "log.a")
    of_all = await transport.last("LOG", "log.*")

    assert isinstance(last, Ok) and last.value is not None and isinstance(of_all, Ok) and of_all.value is not None
    assert (last.value.sequence, last.value.subject, last.value.data) == (3, "log.a", b"a")
    assert of_all.value.sequence == 3
    assert await transport.last("LOG", "log.none") == Ok(None)
    assert await transport.read("LOG", "log.none") == Ok(())


async def test_an_entry_is_refused_when_the_subject_has_moved_on(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))

    first = await transport.append([Entry("log.epoch", b"", expect=("log.epoch", 0))])
    second = await transport.append([Entry("log.epoch", b"", expect=("log.epoch", 0))])

    assert first == Ok(1)
    assert isinstance(second, Err) and second.reason == "fenced"


async def test_an_entry_may_be_fenced_by_another_subject(bus: Bus) -> None:
    old, new = await bus.join("one"), await bus.join("two")
    await old.ensure_stream(StreamConfig("LOG", ("log.>",)))
    await old.append([Entry("log.epoch", b"old")])
    assert await old.append([Entry("log.a", b"", expect=("log.epoch", 1))]) == Ok(2)

    assert await new.append([Entry("log.epoch", b"new", expect=("log.epoch", 1))]) == Ok(3)
    stale = await old.append([Entry("log.untouched", b"", expect=("log.epoch", 1))])

    assert isinstance(stale, Err) and stale.reason == "fenced"
    assert await new.append([Entry("log.a", b"", expect=("log.epoch", 3))]) == Ok(4)


@pytest.mark.parametrize("fenced", [{0}, {1}, {2}, {0, 1, 2}])
async def test_one_stale_fence_refuses_the_whole_batch_wherever_it_stands(bus: Bus, fenced: set[int]) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    await transport.append([Entry("log.epoch", b"")])

    def batch(epoch: int) -> list[Entry]:
        return [Entry("log.a", b"", expect=("log.epoch", epoch) if n in fenced else None) for n in range(3)]

    stale = await transport.append(batch(9))
    good = await transport.append(batch(1))

    assert isinstance(stale, Err) and stale.reason == "fenced"
    assert good == Ok(4)


async def test_a_fence_cannot_name_a_subject_that_the_batch_has_written_before(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    await transport.append([Entry("log.epoch", b"")])

    after = await transport.append([Entry("log.epoch", b""), Entry("log.a", b"", expect=("log.epoch", 1))])
    before = await transport.append([Entry("log.a", b"", expect=("log.epoch", 1)), Entry("log.epoch", b"")])

    assert isinstance(after, Err) and after.reason == "fenced"
    assert before == Ok(3)


async def test_a_rollup_replaces_what_the_subject_held(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    for name in ("a", "b", "a"):
        await transport.append([Entry(f"log.{name}", b"old")])

    await transport.append([Entry("log.a", b"new", rollup=True)])
    stored = await transport.read("LOG", "log.>")

    assert isinstance(stored, Ok)
    assert [(one.sequence, one.data) for one in stored.value] == [(2, b"old"), (4, b"new")]


async def test_an_append_without_a_log_is_stored_nowhere_and_says_so(bus: Bus) -> None:
    transport = await bus.join()

    outcomes = [
        await transport.append([Entry("nowhere.a", b"")]),
        await transport.append([Entry("nowhere.a", b""), Entry("nowhere.a", b"")]),
        await transport.last("NOWHERE", "nowhere.a"),
        await transport.read("NOWHERE", "nowhere.a"),
        await transport.get("nowhere", "key"),
        await transport.put("nowhere", "key", b""),
    ]
    subjects = await transport.subjects("NOWHERE", ">")

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["no responders"] * 6
    assert isinstance(subjects, Err) and subjects.reason == "not found"


async def test_nothing_and_too_much_cannot_be_appended(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))

    nothing = await transport.append([])
    most = await transport.append([Entry("log.a", b"")] * 1000)
    more = await transport.append([Entry("log.a", b"")] * 1001)

    assert isinstance(nothing, Err) and nothing.reason == "refused"
    assert most == Ok(1000)
    assert isinstance(more, Err) and more.reason == "refused"


async def test_a_full_log_refuses_and_keeps_what_it_has(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",), max_bytes=3000, max_message_bytes=2000))

    large = await transport.append([Entry("log.a", b"x" * 2500)])
    first = await transport.append([Entry("log.a", b"x" * 1500)])
    second = await transport.append([Entry("log.a", b"x" * 1600)])
    stored = await transport.read("LOG", "log.a")

    assert isinstance(large, Err) and large.reason == "too large"
    assert first == Ok(1)
    assert isinstance(second, Err) and second.reason == "no space"
    assert isinstance(stored, Ok) and len(stored.value) == 1


async def test_a_log_is_made_once_and_changed_in_place(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    await transport.append([Entry("log.a", b"kept")])

    again = await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    wider = await transport.ensure_stream(StreamConfig("LOG", ("log.>", "more.>")))
    overlapping = await transport.ensure_stream(StreamConfig("OTHER", ("*.a",)))

    assert again == wider == Ok(None)
    assert await transport.append([Entry("more.a", b"")]) == Ok(2)
    assert isinstance(overlapping, Err) and overlapping.reason == "refused"


async def test_an_erased_message_is_there_no_more_and_the_others_keep_their_places(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",), deny_delete=False))
    for name in ("a", "b", "a", "a"):
        await transport.append([Entry(f"log.{name}", b"x")])

    erased = [await transport.erase("LOG", sequence) for sequence in (2, 4)]
    again = [await transport.erase("LOG", sequence) for sequence in (2, 9)]
    nowhere = await transport.erase("NOWHERE", 1)

    assert erased == [Ok(None)] * 2
    assert all(isinstance(one, Err) for one in (*again, nowhere))
    left = await transport.read("LOG", "log.>")
    assert isinstance(left, Ok)
    assert [one.sequence for one in left.value] == [1, 3]
    assert await transport.last("LOG", "log.b") == Ok(None)
    assert await transport.append([Entry("log.b", b"y", expect=("log.a", 3))]) == Ok(5)


async def test_a_log_that_denies_it_lets_nothing_be_erased_however_it_is_configured_later(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",), deny_delete=True))
    await transport.append([Entry("log.a", b"x")])

    changed = await transport.ensure_stream(StreamConfig("LOG", ("log.>",), deny_delete=False))
    refused = await transport.erase("LOG", 1)

    assert changed == Ok(None)
    assert isinstance(refused, Err) and refused.reason == "refused"
    assert isinstance(await transport.last("LOG", "log.a"), Ok)


async def test_the_subjects_of_a_log_are_counted(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    for name in ("a", "b", "a", "c.d"):
        await transport.append([Entry(f"log.{name}", b"")])

    assert await transport.subjects("LOG", "log.*") == Ok({"log.a": 2, "log.b": 1})
    assert await transport.subjects("LOG", ">") == Ok({"log.a": 2, "log.b": 1, "log.c.d": 1})
    assert await transport.subjects("LOG", "log.none") == Ok({})


async def test_whoever_listens_hears_what_is_appended(bus: Bus) -> None:
    transport = await bus.join()
    heard = Heard()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    await transport.subscribe("log.>", heard)

    await transport.append([Entry("log.a", b"text")])

    assert await heard.wait(1) == [b"text"]


async def test_a_bucket_keeps_the_newest_value_of_a_key(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_bucket("ready", ttl=None)

    await transport.put("ready", "hub", b"1")
    await transport.put("ready", "hub", b"2")

    assert await transport.get("ready", "hub") == Ok(b"2")
    assert await transport.get("ready", "other") == Ok(None)


async def test_a_value_vanishes_when_its_time_is_over(bus: Bus) -> None:
    transport = await bus.join()
    await transport.ensure_bucket("short", ttl=0.2)
    await transport.put("short", "hub", b"1")

    async with asyncio.timeout(5):
        while await transport.get("short", "hub") != Ok(None):
            await transport.barrier()


async def test_without_a_server_everything_fails_at_once(bus: Bus) -> None:
    lost = asyncio.Event()
    transport = await bus.join(on_disconnect=lost.set)

    await bus.kill()
    await lost.wait()
    outcomes = [
        await transport.publish("a", b""),
        await transport.request("a", b"", timeout=60),
        await transport.subscribe("a", Heard()),
        await transport.barrier(),
        await transport.append([Entry("a", b"")]),
        await transport.append([Entry("a", b""), Entry("a", b"")]),
        await transport.last("LOG", "a"),
        await transport.read("LOG", "a"),
        await transport.subjects("LOG", "a"),
        await transport.ensure_stream(StreamConfig("LOG", ("log.>",))),
        await transport.get("ready", "hub"),
        await transport.put("ready", "hub", b""),
    ]

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["disconnected"] * len(outcomes)
    assert not transport.is_connected
    assert transport.connected_for(asyncio.get_running_loop().time()) == 0


async def test_a_request_fails_when_the_server_dies_under_it(bus: Bus) -> None:
    transport = await bus.join()
    heard = Heard()
    await transport.subscribe("silent", heard)
    asked = asyncio.create_task(transport.request("silent", b"", timeout=60))
    await heard.wait(1)

    await bus.kill()
    async with asyncio.timeout(5):
        answer = await asked

    assert isinstance(answer, Err) and answer.reason == "disconnected"


async def test_after_the_server_returns_all_is_as_before(bus: Bus) -> None:
    lost, back = asyncio.Event(), asyncio.Event()
    transport = await bus.join(on_disconnect=lost.set, on_reconnect=back.set)
    heard = Heard()
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    await transport.append([Entry("log.a", b"kept")])
    await transport.subscribe("still", heard)

    await bus.kill()
    await lost.wait()
    before = asyncio.get_running_loop().time()
    await bus.revive()
    async with asyncio.timeout(10):
        await back.wait()
    now = asyncio.get_running_loop().time()
    await transport.publish("still", b"here")

    assert await heard.wait(1) == [b"here"]
    assert await transport.append([Entry("log.a", b"more", expect=("log.a", 1))]) == Ok(2)
    assert transport.is_connected
    assert 0 <= transport.connected_for(now) <= now - before


async def test_a_closed_transport_is_silent_and_harms_no_other(bus: Bus) -> None:
    closed, other = await bus.join("one"), await bus.join("two")
    heard = Heard()
    await closed.subscribe("news", heard)
    await other.publish("news", b"last words")
    await other.barrier()

    await closed.close()
    await closed.close()
    await other.publish("news", b"too late")
    outcome = await closed.publish("news", b"")

    assert [one.data for one in heard.deliveries] == [b"last words"]
    assert isinstance(outcome, Err) and outcome.reason == "disconnected"
    assert await other.barrier() == Ok(None)
