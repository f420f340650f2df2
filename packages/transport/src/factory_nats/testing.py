"""A bus in memory, for tests that need no server: it passes the same conformance suite as the real one.

What a test tells it stands on `FakeBus`: the server goes and comes back, disk runs out, answers get lost. Nothing is
handed over before the event loop has had its turn, as with the real one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from factory_nats import jetstream, wire
from factory_nats.jetstream import Entry, Stored, StreamConfig
from factory_nats.result import Err, Ok, Result
from factory_nats.subject import SERVER, answers_prefix, covers, is_filter, is_literal, is_name, matches, overlap
from factory_nats.transport import PAYLOAD_MARGIN, ROOM_TIMEOUT, Delivery, Handler, More, Subscription, inbox_prefix

_GONE = Err("disconnected", "there is no connection to the server")


@dataclass(slots=True)
class _Stream:
    config: StreamConfig
    sequence: int = 0
    messages: list[Stored] = field(default_factory=list)
    stored_at: dict[int, float] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)


class FakeBus:
    """The server's part: who listens to what, and what is stored. Several transports share one."""

    def __init__(self, *, max_payload: int = 1 << 20) -> None:
        self.max_payload = max_payload
        self.is_up = True
        self.is_full = False
        self._transports: list[FakeTransport] = []
        self._streams: dict[str, _Stream] = {}
        self._takers: dict[str, _Stream] = {}
        self._lost_answers = 0
        self._names = 0

    def join(
        self,
        identity: str,
        *,
        publish: Sequence[str] | None = None,
        subscribe: Sequence[str] | None = None,
        on_disconnect: Callable[[], None] | None = None,
        on_reconnect: Callable[[], None] | None = None,
        on_closed: Callable[[str], None] | None = None,
    ) -> FakeTransport:
        """A transport of this bus; permissions as a server's user has them."""
        self._names += 1
        transport = FakeTransport(
            self,
            identity,
            f"c{self._names}",
            None if publish is None else tuple(publish),
            None if subscribe is None else (*subscribe, f"{inbox_prefix(identity)}.>"),
            on_disconnect,
            on_reconnect,
            on_closed,
        )
        self._transports.append(transport)
        return transport

    def stop(self) -> None:
        """The server dies: everybody is disconnected, what was stored stays."""
        self.is_up = False
        for transport in self._transports:
            transport.drop()

    def start(self) -> None:
        """The server is back, and everybody finds it at once."""
        self.is_up = True
        for transport in self._transports:
            transport.restore()

    def lose_answers(self, count: int = 1) -> None:
        """The next `count` things that are stored are stored, but whoever asked hears nothing: a timeout."""
        self._lost_answers += count

    def loses_answer(self) -> bool:
        """True once for each answer that is to be lost."""
        if self._lost_answers == 0:
            return False
        self._lost_answers -= 1
        return True

    def stream(self, name: str) -> _Stream | None:
        """What is stored under a name, after what has expired is gone."""
        found = self._streams.get(name)
        if found is not None and found.config.max_age:
            oldest = asyncio.get_running_loop().time() - found.config.max_age
            found.messages = [one for one in found.messages if found.stored_at[one.sequence] > oldest]
        return found

    def configure(self, config: StreamConfig) -> Result[None]:
        """Create a log, or change it."""
        for name, other in self._streams.items():
            if name != config.name and any(
                overlap(mine, theirs) for mine in config.subjects for theirs in other.config.subjects
            ):
                return Err("refused", "subjects overlap with an existing stream (10065)")
        self._takers.clear()
        found = self._streams.get(config.name)
        if found is None:
            self._streams[config.name] = _Stream(config)
        else:
            found.config = replace(config, deny_delete=config.deny_delete or found.config.deny_delete)
        return Ok(None)

    def store(self, entries: Sequence[Entry]) -> Result[int]:
        """Append all or none."""
        found = self.taker(entries)
        if isinstance(found, Err):
            return found
        now = asyncio.get_running_loop().time()
        for entry in entries:
            self._keep(found, entry, now)
        return Ok(found.sequence)

    def taker(self, entries: Sequence[Entry]) -> _Stream | Err:
        """The log that takes all of these now, or why none does."""
        found = self._stream_for(entries[-1].subject)
        if found is None:
            return Err("no responders", f"nobody answers {entries[-1].subject}")
        written: set[str] = set()
        for entry in entries:
            if self._stream_for(entry.subject) is not found:
                return Err("refused", "atomic publish batch is incomplete (10176)")
            limit = found.config.max_message_bytes
            if 0 <= limit < len(entry.payload):
                return Err("too large", "message size exceeds maximum allowed (10054)")
            if entry.expect is not None:
                subject, sequence = entry.expect
                if subject in written or found.last.get(subject, 0) != sequence:
                    return Err("fenced", "wrong last sequence (10071)")
            written.add(entry.subject)
        if self.is_full or self._exceeds(found, entries):
            return Err("no space", "insufficient resources (10023)")
        return found

    def _stream_for(self, subject: str) -> _Stream | None:
        found = self._takers.get(subject)
        if found is None:
            for stream in self._streams.values():
                if any(matches(pattern, subject) for pattern in stream.config.subjects):
                    found = self._takers[subject] = stream
                    break
        return found

    def _exceeds(self, stream: _Stream, entries: Sequence[Entry]) -> bool:
        limit = stream.config.max_bytes
        if limit < 0:
            return False
        held = sum(len(one.data) for one in stream.messages)
        return limit < held + sum(len(entry.payload) for entry in entries)

    def _keep(self, stream: _Stream, entry: Entry, now: float) -> None:
        stream.sequence += 1
        found = {
            **(jetstream.headers(entry) or {}),
            "Nats-Stream": stream.config.name,
            "Nats-Subject": entry.subject,
            "Nats-Sequence": str(stream.sequence),
        }
        kept = 1 if entry.rollup else stream.config.max_per_subject
        stream.messages.append(Stored(entry.subject, stream.sequence, entry.payload, found))
        stream.stored_at[stream.sequence] = now
        stream.last[entry.subject] = stream.sequence
        if kept > 0:
            mine = [one for one in stream.messages if one.subject == entry.subject]
            gone = {one.sequence for one in mine[:-kept]}
            stream.messages = [one for one in stream.messages if one.sequence not in gone]

    def tell(self, delivery: Delivery) -> bool:
        """Hand a message to all who listen; True when there was somebody."""
        served: set[tuple[str, str]] = set()
        heard = [transport.hear(delivery, served) for transport in self._transports]
        return any(heard)

    def carry(
        self,
        sender: FakeTransport,
        subject: str,
        payload: bytes,
        reply: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Hand a message to all who listen, and to a log that takes its subject."""
        heard = self.tell(Delivery(subject, payload, reply, headers))
        stream = self._stream_for(subject)
        if stream is not None:
            stored = self.store([Entry(subject, payload)])
            if reply:
                self.carry(sender, reply, _acknowledge(stream.config.name, stored), "")
        elif reply and not heard:
            sender.hear(Delivery(reply, b"", "", {"Status": "503"}, "503"), set())


class FakeTransport:
    """A transport whose server is a `FakeBus`."""

    def __init__(
        self,
        bus: FakeBus,
        identity: str,
        connection: str,
        may_publish: tuple[str, ...] | None,
        may_subscribe: tuple[str, ...] | None,
        on_disconnect: Callable[[], None] | None,
        on_reconnect: Callable[[], None] | None,
        on_closed: Callable[[str], None] | None,
    ) -> None:
        self.bus = bus
        self._identity = identity
        self._connection = connection
        self._may_publish = may_publish
        self._may_subscribe = may_subscribe
        self._on_disconnect = on_disconnect
        self._on_reconnect = on_reconnect
        self._on_closed = on_closed
        self._subscriptions: list[_FakeSubscription] = []
        self._waiting: dict[str, tuple[asyncio.Future[Result[bytes]], More | None]] = {}
        self._asked = 0
        self._is_closed = False
        self._found_forbidden: set[str] = set()
        # A test has it that the server does not read what this one sends.
        self.has_room = True
        self._since: float | None = asyncio.get_running_loop().time() if bus.is_up else None

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
        """This connection is lost; what was asked is answered with "disconnected"."""
        if self._since is None:
            return
        self._since = None
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_result(Err("disconnected", "the connection to the server was lost"))
        if self._on_disconnect is not None:
            asyncio.get_running_loop().call_soon(self._on_disconnect)

    def restore(self) -> None:
        """This connection is back, with all that was subscribed."""
        if self._since is not None or self._is_closed:
            return
        self._since = asyncio.get_running_loop().time()
        if self._on_reconnect is not None:
            asyncio.get_running_loop().call_soon(self._on_reconnect)

    def end(self, why: str) -> None:
        """The server sends this connection away for good."""
        self.drop()
        self._is_closed = True
        if self._on_closed is not None:
            asyncio.get_running_loop().call_soon(self._on_closed, why)

    def hear(self, delivery: Delivery, served: set[tuple[str, str]]) -> bool:
        """Take what the bus carries; True when somebody here listens to it. Of a group that is served nobody does."""
        if self._since is None:
            return False
        asked = self._waiting.get(delivery.subject)
        if asked is not None:
            future, more = asked
            if more is not None and delivery.data and more(delivery.data):
                return True
            del self._waiting[delivery.subject]
            answer: Result[bytes] = Ok(delivery.data)
            if delivery.status == "503":
                answer = Err("no responders", "nobody answers")
            if not future.done():
                future.set_result(answer)
            return True
        listening = [one for one in self._subscriptions if matches(one.subject, delivery.subject)]
        for one in listening:
            if one.group:
                if (one.subject, one.group) in served:
                    continue
                served.add((one.subject, one.group))
            asyncio.get_running_loop().call_soon(one.take, delivery)
        return bool(listening)

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
                return Ok(None)
            return refusal
        if not self.has_room:
            await asyncio.sleep(ROOM_TIMEOUT)
            return Err("timeout", "the server does not take what is sent to it")
        self.bus.carry(self, subject, payload, reply, headers)
        return Ok(None)

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
        future: asyncio.Future[Result[bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = (future, more)
        try:
            self.bus.carry(self, subject, payload, reply)
            async with asyncio.timeout(timeout):
                answer = await future
        except TimeoutError:
            return Err("timeout", f"no answer from {subject} in {timeout} s")
        finally:
            self._waiting.pop(reply, None)
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
        subscription = _FakeSubscription(subject, handler, self._subscriptions, group)
        self._subscriptions.append(subscription)
        await asyncio.sleep(0)
        return Ok(subscription)

    async def barrier(self) -> Result[None]:
        if self._since is None:
            return _GONE
        await asyncio.sleep(0)
        return Ok(None)

    async def ensure_stream(self, config: StreamConfig) -> Result[None]:
        refusal = self._refusal(f"$JS.API.STREAM.CREATE.{config.name}", b"", "")
        await asyncio.sleep(0)
        return self.bus.configure(config) if refusal is None else refusal

    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        if not 0 < len(entries) <= jetstream.MOST_IN_A_BATCH:
            return Err("refused", f"{len(entries)} entries cannot be appended at once")
        for entry in entries:
            if entry.expect is not None and not is_literal(entry.expect[0]):
                return Err("malformed", f"no subject to expect something of: {entry.expect[0][:100]!r}")
            refusal = self._refusal(entry.subject, entry.payload, "")
            if refusal is not None:
                return refusal
        stored = self.bus.store(entries)
        await asyncio.sleep(0)
        if isinstance(stored, Ok):
            for entry in entries:
                self.bus.tell(Delivery(entry.subject, entry.payload, ""))
            if self.bus.loses_answer():
                return Err("timeout", f"no answer from {entries[-1].subject} in {timeout} s")
        return _GONE if self._since is None else stored

    async def last(self, stream: str, subject: str) -> Result[Stored | None]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")
        target = f"$JS.API.DIRECT.GET.{stream}" + (f".{subject}" if is_literal(subject) else "")
        found = await self._stream(stream, target)
        if isinstance(found, Err):
            return found
        return Ok(next((one for one in reversed(found.value.messages) if matches(subject, one.subject)), None))

    async def read(self, stream: str, subject: str, *, start: int = 1, limit: int = 1000) -> Result[tuple[Stored, ...]]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")
        found = await self._stream(stream, f"$JS.API.DIRECT.GET.{stream}")
        if isinstance(found, Err):
            return found
        wanted = [one for one in found.value.messages if one.sequence >= start and matches(subject, one.subject)]
        return Ok(tuple(wanted[: max(0, limit)]))

    async def newest(self, stream: str, subject: str) -> Result[tuple[Stored, ...]]:
        found = await self.read(stream, subject, limit=1 << 30)
        if isinstance(found, Err):
            return found
        newest = {one.subject: one for one in found.value}
        return Ok(tuple(sorted(newest.values(), key=lambda one: one.sequence)))

    async def subjects(self, stream: str, filter: str) -> Result[Mapping[str, int]]:
        found = await self._stream(stream, f"$JS.API.STREAM.INFO.{stream}")
        if isinstance(found, Err):
            return Err("not found", "stream not found (10059)") if found.reason == "no responders" else found
        counts: dict[str, int] = {}
        for one in found.value.messages:
            if matches(filter, one.subject):
                counts[one.subject] = counts.get(one.subject, 0) + 1
        return Ok(counts)

    async def erase(self, stream: str, sequence: int) -> Result[None]:
        found = await self._stream(stream, f"$JS.API.STREAM.MSG.DELETE.{stream}")
        if isinstance(found, Err):
            return Err("not found", "stream not found (10059)") if found.reason == "no responders" else found
        if found.value.config.deny_delete:
            return Err("refused", "message delete not permitted (10057)")
        left = [one for one in found.value.messages if one.sequence != sequence]
        if len(left) == len(found.value.messages):
            return Err("not found", f"sequence {sequence} not found (10043)")
        found.value.messages = left
        found.value.last = {one.subject: one.sequence for one in left}
        return Ok(None)

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
        await asyncio.sleep(0)
        self._on_disconnect = None
        self.drop()
        self._is_closed = True
        self._subscriptions.clear()

    def _refusal(self, subject: str, payload: bytes, reply: str) -> Err | None:
        if not is_literal(subject) or (reply and not is_literal(reply)):
            return Err("malformed", f"no subject to send to: {subject[:100]!r} {reply[:100]!r}")
        if len(payload) > self.bus.max_payload - PAYLOAD_MARGIN:
            return Err("too large", f"{len(payload)} bytes for {subject}")
        if self._since is None:
            return _GONE
        if self._may_publish is not None and not any(matches(allowed, subject) for allowed in self._may_publish):
            return Err("forbidden", f"{self._identity} may not send to {subject}")
        return None

    async def _stream(self, name: str, target: str) -> Result[_Stream]:
        refusal = self._refusal(target, b"", "")
        if refusal is not None:
            return refusal
        await asyncio.sleep(0)
        found = self.bus.stream(name)
        return Err("no responders", f"nobody answers {target}") if found is None else Ok(found)


class _FakeSubscription:
    def __init__(self, subject: str, handler: Handler, among: list[_FakeSubscription], group: str) -> None:
        self.subject = subject
        self.group = group
        self._handler = handler
        self._among = among

    def take(self, delivery: Delivery) -> None:
        if self in self._among:
            self._handler(delivery)

    async def unsubscribe(self) -> Result[None]:
        if self in self._among:
            self._among.remove(self)
        return Ok(None)


def _acknowledge(stream: str, stored: Result[int]) -> bytes:
    if isinstance(stored, Ok):
        return json.dumps({"stream": stream, "seq": stored.value}).encode()
    return json.dumps({"error": {"code": 503, "err_code": 10023, "description": stored.detail}}).encode()
