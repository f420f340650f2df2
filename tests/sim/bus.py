"""A bus whose messages take their time: everything crosses a network that a seed makes late, lossy and worse.

What is stored is the business of the bus in memory that passed the same conformance suite; here is how it is reached.
Each connection is two lines, to the server and back, on which nothing overtakes as long as the weather is fair.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from operator import attrgetter
from typing import TypeVar

from factory_nats import jetstream, wire
from factory_nats.jetstream import Entry, Stored, StreamConfig
from factory_nats.result import Err, Ok, Result
from factory_nats.subject import SERVER, answers_prefix, covers, is_filter, is_literal, is_name, matches
from factory_nats.testing import FakeBus
from factory_nats.transport import PAYLOAD_MARGIN, Delivery, Handler, More, Subscription, inbox_prefix

T = TypeVar("T")
Work = Callable[[], None]

API_TIMEOUT = 5.0
USUAL = 0.002
MAX_PAYLOAD = 1 << 20

_GONE = Err("disconnected", "there is no connection to the server")
_DONE = Ok(None)


@dataclass(slots=True)
class Weather:
    """How network and disk are at the moment: seconds at most, and shares of all messages."""

    late: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    jumbled: float = 0.0
    disk: float = 0.0
    full: float = 0.0


class _Line:
    """One direction of a connection."""

    def __init__(self, bus: SimBus, context: Context) -> None:
        self._bus = bus
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Work] = deque()

    def carry(self, work: Work, *, is_sure: bool = False) -> None:
        """Have this done at the other end, unless it is lost; what is sure gets lost with the connection alone."""
        weather, dice = self._bus.weather, self._bus.dice
        if is_sure:
            self._send(work)
            return
        if weather.lost and dice.random() < weather.lost:
            self._bus.note("lost")
            return
        if weather.jumbled and self._waiting and dice.random() < weather.jumbled:
            self._bus.note("jumbled")
            self._waiting.insert(dice.randrange(len(self._waiting)), self._waiting.pop())
        self._send(work)
        if weather.doubled and dice.random() < weather.doubled:
            self._bus.note("doubled")
            self._send(work)

    def _send(self, work: Work) -> None:
        self._waiting.append(work)
        seconds = (USUAL + self._bus.weather.late) * self._bus.dice.random()
        self._loop.call_later(seconds, self._hand_over, context=self._context)

    def cut(self) -> None:
        """What is on the way is lost."""
        self._waiting.clear()

    def _hand_over(self) -> None:
        # Whichever timer comes first takes what has waited longest, so that nothing overtakes.
        if self._waiting:
            self._waiting.popleft()()


class _Branch:
    """Who listens to what, by the tokens of subjects: those who listen here, and those who listen below."""

    def __init__(self) -> None:
        self.here: list[_SimSubscription] = []
        self.below: dict[str, _Branch] = {}

    def at(self, subject: str) -> list[_SimSubscription]:
        """Those who listen to just this."""
        branch = self
        for token in subject.split("."):
            branch = branch.below.setdefault(token, _Branch())
        return branch.here

    def heard(self, tokens: Sequence[str], at: int = 0) -> list[_SimSubscription]:
        """Those to whom this goes, wildcards and all."""
        if at == len(tokens):
            return self.here
        found: list[_SimSubscription] = []
        for token in (tokens[at], "*"):
            if token in self.below:
                found += self.below[token].heard(tokens, at + 1)
        if ">" in self.below:
            found += self.below[">"].here
        return found


class SimBus:
    """The server: who listens to what, what is stored, and how the weather is. `tap` sees all that is carried."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.weather = Weather()
        self.is_up = True
        self.is_over = False
        self.tap: Callable[[str, str, bytes], None] = lambda what, subject, payload: None
        self.on_stored: Callable[[Sequence[Entry], int], None] = lambda entries, last: None
        self.context = copy_context()
        self._storage = FakeBus(max_payload=MAX_PAYLOAD)
        self._transports: list[SimTransport] = []
        self._connections = count(1)
        self._listened = count(1)
        self._subscribed = _Branch()
        self._routes: dict[str, tuple[_SimSubscription, ...]] = {}
        self.waiting: dict[str, SimTransport] = {}
        self._writing: deque[Work] = deque()
        self._written_at = 0.0
        self.turned_away: list[Sequence[Entry]] = []
        self._torn: Work | None = None

    def join(
        self,
        identity: str,
        *,
        publish: Sequence[str] | None = None,
        subscribe: Sequence[str] | None = None,
        on_disconnect: Work | None = None,
        on_reconnect: Work | None = None,
    ) -> SimTransport:
        """A connection of whoever asks; permissions as a server's user has them."""
        transport = SimTransport(
            self,
            identity,
            next(self._connections),
            publish,
            None if subscribe is None else (*subscribe, f"{inbox_prefix(identity)}.>"),
            on_disconnect,
            on_reconnect,
        )
        self._transports.append(transport)
        return transport

    def stop(self) -> None:
        """The server dies: what it was writing is there or not, and everybody is disconnected."""
        self.is_up = False
        for _ in range(self.dice.randrange(len(self._writing) + 1)):
            # What is torn has nothing come after it.
            self._write_next()
        self._writing.clear()
        for transport in self._transports:
            transport.drop()

    def start(self) -> None:
        """The server is back, and everybody finds it."""
        self.is_up = True
        for transport in self._transports:
            transport.restore()

    def part(self, transport: SimTransport) -> None:
        """A connection is over, for its process is."""
        if transport in self._transports:
            self._transports.remove(transport)
            for one in transport.subscriptions:
                self.forget(one)

    def fill(self, is_full: bool) -> None:
        """There is no room on the disk any more, or again."""
        self._storage.is_full = is_full

    def note(self, what: str) -> None:
        """Something happened that has no subject."""
        self.tap(what, "", b"")

    def is_crowded(self) -> bool:
        """Whether who sends must wait for room, which is nearly never."""
        return self.weather.full > 0 and self.dice.random() < self.weather.full

    def stored(self, name: str, pattern: str, start: int = 1) -> list[Stored]:
        """What lies in a stream under a subject or several, from a sequence on."""
        found = self._storage.stream(name)
        if found is None:
            return []
        later = found.messages[bisect_left(found.messages, start, key=_SEQUENCE) :]
        if is_literal(pattern):
            return [one for one in later if one.subject == pattern]
        # There are far fewer subjects than messages.
        wanted = {subject for subject in found.last if _covers(pattern, subject)}
        return [one for one in later if one.subject in wanted]

    def expire(self, name: str) -> bool:
        """Whether the stream is there, once what is too old is gone."""
        return self._storage.stream(name) is not None

    def configure(self, config: StreamConfig) -> Result[None]:
        """Make or change a stream."""
        return self._storage.configure(config)

    def erase(self, stream: str, sequence: int) -> Result[None]:
        """Take a message out of a stream."""
        found = self._storage.stream(stream)
        if found is None:
            return Err("not found", "stream not found (10059)")
        if found.config.deny_delete:
            return Err("refused", "message delete not permitted (10057)")
        left = [one for one in found.messages if one.sequence != sequence]
        if len(left) == len(found.messages):
            return Err("not found", f"sequence {sequence} not found (10043)")
        found.messages = left
        found.last = {one.subject: one.sequence for one in left}
        return Ok(None)

    def tear(self, torn: Work | None) -> None:
        """Of the next batch no more than the beginning is to be stored, and then this is to happen."""
        self._torn = torn

    def write(self, entries: Sequence[Entry], then: Callable[[Result[int]], None]) -> None:
        """Store all or none, when the disk has come to it."""
        seconds = self.weather.disk * self.dice.random()
        if not seconds and not self._writing:
            self._write(entries, then)
            return
        loop = asyncio.get_running_loop()
        self._written_at = max(self._written_at, loop.time()) + seconds
        self._writing.append(partial(self._write, entries, then))
        loop.call_at(self._written_at, self._write_next, context=self.context)

    def _write_next(self) -> None:
        if self._writing:
            self._writing.popleft()()

    def _write(self, entries: Sequence[Entry], then: Callable[[Result[int]], None]) -> None:
        # All of a batch is judged before any of it is stored.
        if self._torn is not None and len(entries) > 1 and not isinstance(self._storage.taker(entries), Err):
            torn, self._torn = self._torn, None
            entries = entries[: self.dice.randrange(1, len(entries))]
            self._writing.clear()

            def then(_: Result[int]) -> None:
                torn()

        # What comes twice comes one behind the other: there is no room for the second either, whenever that is said.
        is_late_double = any(one is entries for one in self.turned_away)
        stored = Err("no space", "it came before") if is_late_double else self._storage.store(entries)
        if isinstance(stored, Err) and stored.reason == "no space":
            self.turned_away.append(entries)
        if isinstance(stored, Ok):
            self.on_stored(entries, stored.value)
            for entry in entries:
                self.tap("stored", entry.subject, entry.payload)
                self.route(Delivery(entry.subject, entry.payload, ""))
        else:
            self.tap(stored.reason, entries[0].subject, entries[0].payload)
        then(stored)

    def carry(self, delivery: Delivery) -> None:
        """Take what has arrived to all who listen."""
        self.tap("carried", delivery.subject, delivery.data)
        if not self.route(delivery) and delivery.reply:
            self.route(Delivery(delivery.reply, b"", "", {"Status": "503"}, "503"))

    def route(self, delivery: Delivery) -> bool:
        """Hand it to all who listen; true when there was somebody."""
        asker = self.waiting.get(delivery.subject)
        if asker is not None:
            return asker.take(delivery)
        is_heard = False
        served: set[tuple[str, str]] = set()
        for one in self._listeners(delivery.subject):
            if one.group and (one.subject, one.group) in served:
                continue
            if one.of.give(one, delivery):
                is_heard = True
                served.add((one.subject, one.group))
        return is_heard

    def listen(self, one: _SimSubscription) -> None:
        """Somebody listens from now on, unless their connection is over."""
        if one.of in self._transports:
            one.place = one.of.number, next(self._listened)
            self._subscribed.at(one.subject).append(one)
            self._routes.clear()

    def forget(self, one: _SimSubscription) -> None:
        """Somebody listens no more."""
        same = self._subscribed.at(one.subject)
        if one in same:
            same.remove(one)
            self._routes.clear()

    def _listeners(self, subject: str) -> tuple[_SimSubscription, ...]:
        found = self._routes.get(subject)
        if found is None:
            heard = self._subscribed.heard(subject.split("."))
            found = self._routes[subject] = tuple(sorted(heard, key=_PLACE))
        return found


class _SimSubscription:
    def __init__(self, subject: str, handler: Handler, of: SimTransport, group: str) -> None:
        self.subject = subject
        self.group = group
        self.handler = handler
        self.of = of
        self.place = of.number, 0

    async def unsubscribe(self) -> Result[None]:
        self.of.end(self)
        return _DONE


class SimTransport:
    """A connection to a `SimBus`; what belongs to a process that is dead goes nowhere."""

    def __init__(
        self,
        bus: SimBus,
        identity: str,
        number: int,
        may_publish: Sequence[str] | None,
        may_subscribe: Sequence[str] | None,
        on_disconnect: Work | None,
        on_reconnect: Work | None,
    ) -> None:
        self._bus = bus
        self._identity = identity
        self.number = number
        self._connection = f"c{number}"
        self._may_publish = may_publish
        self._may_subscribe = may_subscribe
        self._on_disconnect = on_disconnect
        self._on_reconnect = on_reconnect
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._up = _Line(bus, bus.context)
        self._down = _Line(bus, self._context)
        self.subscriptions: list[_SimSubscription] = []
        self._waiting: dict[str, tuple[asyncio.Future[Result[bytes]], More | None]] = {}
        self._asking: dict[Callable[[Err], None], None] = {}
        self._found_forbidden: set[str] = set()
        self._asked = 0
        self._is_closed = False
        self._since: float | None = self._loop.time() if bus.is_up else None

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def is_connected(self) -> bool:
        return self._since is not None

    def connected_for(self, now: float) -> float:
        return 0.0 if self._since is None else max(0.0, now - self._since)

    def inbox(self, responder: str, name: str) -> str:
        return f"{answers_prefix(self._identity, responder)}.{self._connection}.{name}"

    def owns_inbox(self, reply: str, identity: str) -> bool:
        return reply.startswith(f"{answers_prefix(identity, self._identity)}.") and is_literal(reply)

    def drop(self) -> None:
        """This connection is lost, with all that is on its way."""
        self._up.cut()
        self._down.cut()
        if self._since is None:
            return
        self._since = None
        waiting, self._waiting = self._waiting, {}
        asking, self._asking = self._asking, {}
        lost = Err("disconnected", "the connection to the server was lost")
        for future, _ in waiting.values():
            _settle(future, lost)
        for fail in asking:
            fail(lost)
        self._tell(self._on_disconnect)

    def restore(self) -> None:
        """This connection is back, with all that was subscribed."""
        if self._since is None and not self._is_closed:
            self._since = self._loop.time()
            self._tell(self._on_reconnect)

    def take(self, delivery: Delivery) -> bool:
        """At the server: send what is waited for on its way to here."""
        if self._since is None:
            return False
        self._down.carry(partial(self._answer, delivery))
        return True

    def give(self, subscription: _SimSubscription, delivery: Delivery) -> bool:
        """At the server: send it on its way to one who listens."""
        if self._since is None:
            return False
        self._down.carry(partial(self._hand, subscription, delivery))
        return True

    def end(self, subscription: _SimSubscription) -> None:
        """Nobody listens there any more."""
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
            self._bus.forget(subscription)

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> Result[None]:
        if headers is not None:
            wire.encode_headers(headers)
        refusal = self._refusal(subject, payload, reply)
        if refusal is not None:
            if refusal.reason == "forbidden" and subject not in self._found_forbidden:
                # The real one hears of a missing right only later: the first message is lost in silence.
                self._found_forbidden.add(subject)
                return _DONE
            return refusal
        if self._bus.is_crowded():
            await asyncio.sleep(0)
        self._up.carry(partial(self._bus.carry, Delivery(subject, payload, reply, headers)))
        if self._bus.is_crowded():
            await asyncio.sleep(0)
        return _DONE

    async def request(
        self, subject: str, payload: bytes, *, timeout: float, responder: str = SERVER, more: More | None = None
    ) -> Result[bytes]:
        if responder != SERVER and not is_name(responder):
            return Err("malformed", f"no name of somebody who answers: {responder[:100]!r}")
        refusal = self._refusal(subject, payload, "")
        if refusal is not None:
            return refusal
        self._asked += 1
        reply = self.inbox(responder, f"_.{self._asked}")
        future: asyncio.Future[Result[bytes]] = self._loop.create_future()
        self._waiting[reply] = future, more
        self._bus.waiting[reply] = self

        def fail() -> None:
            _settle(future, Err("timeout", f"no answer from {subject} in {timeout} s"))

        timer = self._loop.call_later(timeout, fail)
        try:
            self._up.carry(partial(self._bus.carry, Delivery(subject, payload, reply)))
            answer = await future
        finally:
            timer.cancel()
            self._waiting.pop(reply, None)
            self._bus.waiting.pop(reply, None)
        if isinstance(answer, Err) and answer.reason == "no responders":
            return Err("no responders", f"nobody answers {subject}")
        return answer

    async def subscribe(self, subject: str, handler: Handler, *, group: str = "") -> Result[Subscription]:
        if not is_filter(subject) or (group and not is_name(group)):
            return Err("malformed", f"no subject to listen to: {subject[:100]!r} {group[:100]!r}")
        if self._since is None:
            return _GONE
        if self._may_subscribe is not None and not any(covers(allowed, subject) for allowed in self._may_subscribe):
            return Err("forbidden", f"{self._identity} may not listen to {subject}")
        subscription = _SimSubscription(subject, handler, self, group)
        known = await self._ask(partial(self._listen, subscription), API_TIMEOUT, is_sure=True)
        if isinstance(known, Err):
            await subscription.unsubscribe()
            return known
        return Ok(subscription)

    async def barrier(self) -> Result[None]:
        return await self._ask(lambda: _DONE, API_TIMEOUT, is_sure=True)

    async def ensure_stream(self, config: StreamConfig) -> Result[None]:
        refusal = self._refusal(f"$JS.API.STREAM.CREATE.{config.name}", b"", "")
        return refusal or await self._ask(lambda: self._bus.configure(config), API_TIMEOUT)

    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        if not 0 < len(entries) <= jetstream.MOST_IN_A_BATCH:
            return Err("refused", f"{len(entries)} entries cannot be appended at once")
        for entry in entries:
            if entry.expect is not None and not is_literal(entry.expect[0]):
                return Err("malformed", f"no subject to expect something of: {entry.expect[0][:100]!r}")
            refusal = self._refusal(entry.subject, entry.payload, "")
            if refusal is not None:
                return refusal
        entries = tuple(entries)
        future: asyncio.Future[Result[int]] = self._loop.create_future()

        def note(result: Result[int]) -> None:
            self._down.carry(partial(_settle, future, result))

        return await self._await(
            future, lambda: self._bus.write(entries, note), f"no answer from {entries[-1].subject}", timeout
        )

    async def last(self, stream: str, subject: str) -> Result[Stored | None]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")
        target = f"$JS.API.DIRECT.GET.{stream}" + (f".{subject}" if is_literal(subject) else "")

        def read() -> Result[Stored | None]:
            found = self._bus.stored(stream, subject)
            return Ok(found[-1] if found else None)

        return await self._read(stream, target, read)

    async def read(self, stream: str, subject: str, *, start: int = 1, limit: int = 1000) -> Result[tuple[Stored, ...]]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")

        def read() -> Result[tuple[Stored, ...]]:
            found = self._bus.stored(stream, subject, start)
            return Ok(tuple(found[: max(0, limit)]))

        return await self._read(stream, f"$JS.API.DIRECT.GET.{stream}", read)

    async def newest(self, stream: str, subject: str) -> Result[tuple[Stored, ...]]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")

        def read() -> Result[tuple[Stored, ...]]:
            newest = {one.subject: one for one in self._bus.stored(stream, subject)}
            return Ok(tuple(sorted(newest.values(), key=_SEQUENCE)))

        return await self._read(stream, f"$JS.API.DIRECT.GET.{stream}", read)

    async def subjects(self, stream: str, filter: str) -> Result[Mapping[str, int]]:
        def read() -> Result[Mapping[str, int]]:
            counts: dict[str, int] = {}
            for one in self._bus.stored(stream, filter):
                counts[one.subject] = counts.get(one.subject, 0) + 1
            return Ok(counts)

        found = await self._read(stream, f"$JS.API.STREAM.INFO.{stream}", read)
        if isinstance(found, Err) and found.reason == "no responders":
            return Err("not found", "stream not found (10059)")
        return found

    async def erase(self, stream: str, sequence: int) -> Result[None]:
        refusal = self._refusal(f"$JS.API.STREAM.MSG.DELETE.{stream}", b"", "")
        return refusal or await self._ask(lambda: self._bus.erase(stream, sequence), API_TIMEOUT)

    async def ensure_bucket(self, name: str, *, ttl: float | None) -> Result[None]:
        if not is_name(name):
            return Err("malformed", f"no name for a bucket: {name[:100]!r}")
        return await self.ensure_stream(jetstream.bucket(name, ttl))

    async def put(self, bucket: str, key: str, value: bytes) -> Result[int]:
        return await self.append([Entry(f"$KV.{bucket}.{key}", value)])

    async def get(self, bucket: str, key: str) -> Result[bytes | None]:
        found = await self.last(f"KV_{bucket}", f"$KV.{bucket}.{key}")
        if isinstance(found, Err):
            return found
        return Ok(None if found.value is None else found.value.data)

    async def close(self) -> None:
        await self.barrier()
        self._on_disconnect = None
        self.drop()
        self._is_closed = True
        self._bus.part(self)
        self.subscriptions.clear()

    async def _read(self, stream: str, target: str, read: Callable[[], Result[T]]) -> Result[T]:
        refusal = self._refusal(target, b"", "")
        if refusal is not None:
            return refusal

        def serve() -> Result[T]:
            return read() if self._bus.expire(stream) else Err("no responders", f"nobody answers {target}")

        return await self._ask(serve, API_TIMEOUT)

    async def _ask(self, work: Callable[[], Result[T]], timeout: float, *, is_sure: bool = False) -> Result[T]:
        """Have the server do this, and hear what came of it."""
        if self._since is None:
            return _GONE
        future: asyncio.Future[Result[T]] = self._loop.create_future()

        def serve() -> None:
            self._down.carry(partial(_settle, future, work()), is_sure=is_sure)

        return await self._await(future, serve, "the server says nothing", timeout, is_sure=is_sure)

    async def _await(
        self, future: asyncio.Future[Result[T]], work: Work, words: str, timeout: float, *, is_sure: bool = False
    ) -> Result[T]:
        fail: Callable[[Err], None] = partial(_settle, future)
        timer = self._loop.call_later(timeout, lambda: fail(Err("timeout", f"{words} in {timeout} s")))
        self._asking[fail] = None
        try:
            self._up.carry(work, is_sure=is_sure)
            return await future
        finally:
            timer.cancel()
            self._asking.pop(fail, None)

    def _listen(self, subscription: _SimSubscription) -> Result[None]:
        self.subscriptions.append(subscription)
        self._bus.listen(subscription)
        return _DONE

    def _hand(self, subscription: _SimSubscription, delivery: Delivery) -> None:
        if subscription in self.subscriptions:
            subscription.handler(delivery)

    def _answer(self, delivery: Delivery) -> None:
        asked = self._waiting.get(delivery.subject)
        if asked is None:
            return
        future, more = asked
        if more is not None and delivery.data and more(delivery.data):
            return
        answer: Result[bytes] = Ok(delivery.data)
        if delivery.status == "503":
            answer = Err("no responders", "nobody answers")
        _settle(future, answer)

    def _tell(self, whom: Work | None) -> None:
        if whom is not None:
            self._loop.call_soon(whom, context=self._context)

    def _refusal(self, subject: str, payload: bytes, reply: str) -> Err | None:
        if not is_literal(subject) or (reply and not is_literal(reply)):
            return Err("malformed", f"no subject to send to: {subject[:100]!r} {reply[:100]!r}")
        if len(payload) > MAX_PAYLOAD - PAYLOAD_MARGIN:
            return Err("too large", f"{len(payload)} bytes for {subject}")
        if self._since is None or self._bus.is_over:
            return _GONE
        if self._may_publish is not None and not any(matches(allowed, subject) for allowed in self._may_publish):
            return Err("forbidden", f"{self._identity} may not send to {subject}")
        return None


def _settle(future: asyncio.Future[Result[T]], result: Result[T]) -> None:
    if not future.done():
        future.set_result(result)


_PLACE = attrgetter("place")
_SEQUENCE = attrgetter("sequence")


@lru_cache(maxsize=65_536)
def _covers(pattern: str, subject: str) -> bool:
    return pattern == subject or (not is_literal(pattern) and matches(pattern, subject))
