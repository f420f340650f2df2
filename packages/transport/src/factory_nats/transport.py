"""How bytes cross: requests, publishing, logs and small values over one NATS connection.

Nothing here knows a subject name or the type of what is sent, and no exception leaves a public method. The promise
comes first, the implementation over nats-py after it; what it has to work around is said where it does so.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from factory_nats import jetstream
from factory_nats.jetstream import Entry, Stored, StreamConfig
from factory_nats.result import Err, Ok, Result
from factory_nats.subject import inbox_prefix, is_filter, is_literal, is_name

__all__ = [
    "Delivery",
    "Entry",
    "Handler",
    "NatsTransport",
    "Stored",
    "StreamConfig",
    "Subscription",
    "Transport",
    "inbox_prefix",
]

logger = logging.getLogger(__name__)

PING_INTERVAL: Final = 2
PINGS_MISSED: Final = 2
RECONNECT_WAIT: Final = 0.25
HANDSHAKE: Final = 2.0
WATCH_INTERVAL: Final = 1.0
WATCH_TIMEOUT: Final = 2.0
BARRIER_TIMEOUT: Final = 5.0
CLOSE_TIMEOUT: Final = 3.0
API_TIMEOUT: Final = 5.0
# The server counts headers too and closes the connection for good when a message is too large.
PAYLOAD_MARGIN: Final = 4096
# How much may be sent before the server has shown that it reads.
UNCONFIRMED_BYTES: Final = 4 << 20
# nats-py ends its read loop when a pong finds its future cancelled, so a ping is waited for elsewhere, never cancelled.
PING_NEVER_ENDS: Final = 24 * 3600

_VIOLATION: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')
_DONE: Final[Ok[None]] = Ok(None)
_GONE: Final = Err("disconnected", "there is no connection to the server")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as a subscription receives it; `status` is "503" when nobody answers what was asked."""

    subject: str
    data: bytes
    reply: str
    headers: Mapping[str, str] | None = None
    status: str = ""


Handler: TypeAlias = Callable[[Delivery], None]
"""Takes a message without waiting: it queues it or notes it. What it raises is logged, and the next message comes."""


class Subscription(Protocol):
    """What one subscribe() began."""

    async def unsubscribe(self) -> Result[None]:
        """End it; nothing more is handed over afterwards."""
        ...


class Transport(Protocol):
    """One identity's connection to the bus. Every failure is an `Err`; only cancellation is raised."""

    @property
    def identity(self) -> str:
        """The name under which this process is known."""
        ...

    @property
    def is_connected(self) -> bool:
        """True while what is sent has somewhere to go."""
        ...

    def connected_for(self, now: float) -> float:
        """How many seconds the present connection has lasted, on the event loop's clock; 0 without one."""
        ...

    def inbox(self, name: str) -> str:
        """A subject of this connection's own, where nobody else may listen."""
        ...

    def owns_inbox(self, reply: str, identity: str) -> bool:
        """True when answering to `reply` can reach nobody but `identity`."""
        ...

    async def publish(self, subject: str, payload: bytes, *, reply: str = "") -> Result[None]:
        """Send without an answer; "disconnected" at once when there is no connection, nothing is kept for later."""
        ...

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> Result[bytes]:
        """Send and wait for one answer. After "timeout" or "disconnected" the other side may have acted or not."""
        ...

    async def subscribe(self, subject: str, handler: Handler) -> Result[Subscription]:
        """Listen until unsubscribed, across reconnects. Once this returns, the server knows of it."""
        ...

    async def barrier(self) -> Result[None]:
        """Return when everything that was sent before has reached the server."""
        ...

    async def ensure_stream(self, config: StreamConfig) -> Result[None]:
        """Make the log exist as configured; "refused" when it exists and cannot be changed into that."""
        ...

    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        """Store all entries or none and return the last one's sequence; a batch's sequences are contiguous.

        "fenced" when an expected sequence is not the last one. After "timeout" or "disconnected" the entries may be
        stored or not: whoever asks must look. Any other reason means that they are not.
        """
        ...

    async def last(self, stream: str, subject: str) -> Result[Stored | None]:
        """The newest message of a subject; "no responders" while the log does not exist."""
        ...

    async def read(self, stream: str, subject: str, *, start: int = 1, limit: int = 1000) -> Result[tuple[Stored, ...]]:
        """At most `limit` messages from the sequence `start` on, oldest first; wildcards allowed."""
        ...

    async def subjects(self, stream: str, filter: str) -> Result[Mapping[str, int]]:
        """The subjects that hold messages, and how many."""
        ...

    async def ensure_bucket(self, name: str, *, ttl: float | None) -> Result[None]:
        """Make a bucket of small values exist; with a ttl in seconds, values vanish that long after they were put."""
        ...

    async def put(self, bucket: str, key: str, value: bytes) -> Result[int]:
        """Set a value and return its sequence; "no responders" while the bucket does not exist."""
        ...

    async def get(self, bucket: str, key: str) -> Result[bytes | None]:
        """The value, or None when there is none; "no responders" while the bucket does not exist."""
        ...

    async def close(self) -> None:
        """Hand over what has arrived, send what is waiting, and end the connection, all within seconds."""
        ...


class _Sink(asyncio.Future[Msg]):
    """A subscription without a queue and a task of its own.

    nats-py resolves the future of a subscription inside its read loop, once for each message. This one never resolves:
    it hands the message on. That saves half of what a message costs with a callback, but what it calls must not raise,
    or the read loop ends in silence.
    """

    def __init__(self, take: Callable[[Msg], None]) -> None:
        super().__init__()
        self._take = take

    def set_result(self, result: Msg) -> None:
        self._take(result)


class _Client(Client):
    """nats-py looks at every character of every header's name by itself, which makes half of what a read costs."""

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in raw.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            name = name.strip()
            if colon and name.isascii() and len(name.split()) < 2:
                found[name.decode()] = value.strip().decode("utf-8", "replace")
        return found


class _Handlers:
    """Runs the handlers of all subscriptions in the order of arrival, outside of the read loop.

    The event loop logs what a handler raises and goes on; the remaining messages are handed over in the next round.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[_NatsSubscription, Delivery]] = deque()

    def add(self, subscription: _NatsSubscription, delivery: Delivery) -> None:
        if not self._arrived:
            self._loop.call_soon(self._run)
        self._arrived.append((subscription, delivery))

    def _run(self) -> None:
        arrived = self._arrived
        try:
            while arrived:
                subscription, delivery = arrived.popleft()
                if not subscription.ended:
                    subscription.handler(delivery)
        finally:
            if arrived:
                self._loop.call_soon(self._run)


class _NatsSubscription:
    def __init__(self, subject: str, handler: Handler, handlers: _Handlers) -> None:
        self.subject = subject
        self.handler = handler
        self.ended = False
        self.client: ClientSubscription | None = None
        self.forget: Callable[[_NatsSubscription], None] | None = None
        self._handlers = handlers

    def take(self, message: Msg) -> None:
        headers = message.headers
        status = "" if headers is None or message.data else headers.get("Status", "")
        self._handlers.add(self, Delivery(message.subject, message.data, message.reply, headers, status))

    async def unsubscribe(self) -> Result[None]:
        if self.ended:
            return _DONE
        self.ended = True
        if self.forget is not None:
            self.forget(self)
        if self.client is not None:
            try:
                await self.client.unsubscribe()
            except (nats.errors.Error, OSError) as error:
                return Err("disconnected", f"unsubscribing met {type(error).__name__}")
        return _DONE


class NatsTransport:
    """The transport over a real connection. `connect` makes it; it stays itself across reconnects."""

    def __init__(
        self,
        identity: str,
        *,
        on_disconnect: Callable[[], None] | None = None,
        on_reconnect: Callable[[], None] | None = None,
        on_closed: Callable[[str], None] | None = None,
    ) -> None:
        self._identity = identity
        self._loop = asyncio.get_running_loop()
        self._client = _Client()
        self._on_disconnect = on_disconnect
        self._on_reconnect = on_reconnect
        self._on_closed = on_closed
        self._since: float | None = None
        self._is_open = False
        self._is_closing = False
        self._prefix = f"{inbox_prefix(identity)}.{secrets.token_hex(5)}"
        self._answers = f"{self._prefix}._."
        self._asked = 0
        self._waiting: dict[str, tuple[asyncio.Future[Msg | Err], str]] = {}
        self._pages: dict[str, asyncio.Queue[Msg | Err]] = {}
        self._handlers = _Handlers(self._loop)
        self._subscriptions: set[_NatsSubscription] = set()
        self._pings: set[asyncio.Task[float]] = set()
        self._forbidden: set[tuple[str, str]] = set()
        self._watchdog: asyncio.Task[None] | None = None
        self._last_error = ""
        self._unconfirmed = 0
        self._confirming: asyncio.Task[Result[None]] | None = None

    # What a connection is

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def is_connected(self) -> bool:
        return self._since is not None and self._client.is_connected

    def connected_for(self, now: float) -> float:
        since = self._since
        return max(0.0, now - since) if since is not None and self._client.is_connected else 0.0

    def inbox(self, name: str) -> str:
        return f"{self._prefix}.{name}"

    def owns_inbox(self, reply: str, identity: str) -> bool:
        return reply.startswith(f"{inbox_prefix(identity)}.") and is_literal(reply)

    async def open(self, url: str, seed: str | None, name: str, timeout: float) -> Result[None]:
        """Make the lasting connection; `connect` has found out before that the server is there and lets us in."""
        options: dict[str, Any] = {
            "name": name,
            "nkeys_seed_str": seed,
            "inbox_prefix": inbox_prefix(self._identity),
            "error_cb": self._note_error,
            "disconnected_cb": self._note_disconnect,
            "reconnected_cb": self._note_reconnect,
            "closed_cb": self._note_closed,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_WAIT,
            "connect_timeout": HANDSHAKE,
            "ping_interval": PING_INTERVAL,
            "max_outstanding_pings": PINGS_MISSED,
            "pending_size": 0,
        }
        try:
            await asyncio.wait_for(self._client.connect(url.split(","), **options), timeout)
            await self._client.subscribe(f"{self._answers}*", future=_Sink(self._take_answer))
        except TimeoutError:
            await self._end_client()
            return Err("timeout", f"the server did not finish its handshake in {timeout} s")
        except (nats.errors.Error, OSError) as error:
            await self._end_client()
            return Err("disconnected", f"the server was lost during the handshake ({type(error).__name__})")
        self._is_open = True
        self._since = self._loop.time()
        self._watchdog = asyncio.create_task(self._watch(), name="watchdog of the bus")
        return await self.barrier()

    async def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        if self.is_connected:
            try:
                for subscription in self._subscriptions:
                    if subscription.client is not None:
                        await subscription.client.unsubscribe()
                await self._ping(CLOSE_TIMEOUT)
            except (nats.errors.Error, OSError) as error:
                logger.info("the bus was not drained: %s", type(error).__name__)
            await asyncio.sleep(0)
        await self._end_client()
        self._fail_waiting("the connection was closed here")

    # Sending

    async def publish(self, subject: str, payload: bytes, *, reply: str = "") -> Result[None]:
        refusal = self._refusal(subject, payload, reply, None)
        return await self._send(subject, payload, reply, None) if refusal is None else refusal

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> Result[bytes]:
        answer = await self._ask(subject, payload, None, timeout)
        return answer if isinstance(answer, Err) else Ok(answer.data)

    async def barrier(self) -> Result[None]:
        # nats-py writes a ping ahead of what waits to be written, so its flush() says nothing about that. First the
        # waiting bytes must be gone to the socket; then a ping follows them.
        loop = self._loop
        deadline = loop.time() + BARRIER_TIMEOUT
        pause = 0.0
        while self.is_connected and self._client.pending_data_size:
            if loop.time() >= deadline:
                return Err("timeout", "the server does not take what is sent to it")
            await asyncio.sleep(pause)
            pause = min(0.02, pause + 0.0005)
        return await self._ping(max(0.001, deadline - loop.time()))

    def _refusal(self, subject: str, payload: bytes, reply: str, headers: Mapping[str, str] | None) -> Err | None:
        if not is_literal(subject) or (reply and not is_literal(reply)):
            return Err("malformed", f"no subject to send to: {subject[:100]!r} {reply[:100]!r}")
        size = len(payload)
        if headers is not None:
            size += sum(len(key) + len(value) + 4 for key, value in headers.items())
        if size > self._client.max_payload - PAYLOAD_MARGIN:
            return Err("too large", f"{size} bytes for {subject}, {self._client.max_payload} is the server's limit")
        if not self.is_connected:
            return _GONE
        if self._forbidden and ("publish", subject.lower()) in self._forbidden:
            return Err("forbidden", f"{self._identity} may not send to {subject}")
        return None

    async def _send(self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> Result[None]:
        if self._unconfirmed > UNCONFIRMED_BYTES:
            confirmed = await self._confirm()
            if isinstance(confirmed, Err):
                return confirmed
        try:
            await self._client.publish(subject, payload, reply, headers)
        except (nats.errors.Error, OSError) as error:
            return Err("disconnected", f"sending to {subject} met {type(error).__name__}")
        self._unconfirmed += len(payload)
        return _DONE

    async def _confirm(self) -> Result[None]:
        # Nothing else bounds what waits to be written: nats-py has no limit without a reconnect buffer, and some
        # versions of Python never hold a writer back. All senders wait for one and the same barrier.
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.create_task(self._confirm_what_was_sent())
        return await asyncio.shield(self._confirming)

    async def _confirm_what_was_sent(self) -> Result[None]:
        sent = self._unconfirmed
        confirmed = await self.barrier()
        if isinstance(confirmed, Ok):
            self._unconfirmed = max(0, self._unconfirmed - sent)
        return confirmed

    async def _ask(self, subject: str, payload: bytes, headers: dict[str, str] | None, timeout: float) -> Msg | Err:
        refusal = self._refusal(subject, payload, "", headers)
        if refusal is not None:
            return refusal
        self._asked += 1
        token = str(self._asked)
        future: asyncio.Future[Msg | Err] = self._loop.create_future()
        self._waiting[token] = (future, subject)
        timer = self._loop.call_later(timeout, self._give_up, token, timeout)
        try:
            sent = await self._send(subject, payload, self._answers + token, headers)
            if isinstance(sent, Err):
                return sent
            answer = await future
        finally:
            timer.cancel()
            self._waiting.pop(token, None)
        if isinstance(answer, Err):
            return answer
        if answer.headers is not None and answer.headers.get("Status") == "503" and not answer.data:
            return Err("no responders", f"nobody answers {subject}")
        return answer

    def _give_up(self, token: str, timeout: float) -> None:
        found = self._waiting.pop(token, None)
        if found is not None and not found[0].done():
            found[0].set_result(Err("timeout", f"no answer from {found[1]} in {timeout} s"))

    def _take_answer(self, message: Msg) -> None:
        token = message.subject[len(self._answers) :]
        found = self._waiting.pop(token, None)
        if found is not None:
            if not found[0].done():
                found[0].set_result(message)
            return
        page = self._pages.get(token)
        if page is not None:
            page.put_nowait(message)

    def _fail_waiting(self, why: str) -> None:
        lost = Err("disconnected", why)
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_result(lost)
        for page in self._pages.values():
            page.put_nowait(lost)
        for ping in self._pings:
            ping.cancel()

    async def _ping(self, timeout: float) -> Result[None]:
        if not self.is_connected:
            return _GONE
        ping = asyncio.create_task(self._client.rtt(PING_NEVER_ENDS))
        self._pings.add(ping)
        ping.add_done_callback(self._end_ping)
        await asyncio.wait({ping}, timeout=timeout)
        if not ping.done():
            # A process that was stopped for a while finds its timers due before it has read what is there.
            await asyncio.wait({ping}, timeout=0.05)
        if not ping.done():
            return Err("timeout", f"no sign of life from the server in {timeout:.1f} s")
        if ping.cancelled() or ping.exception() is not None:
            return _GONE
        return _DONE

    def _end_ping(self, ping: asyncio.Task[float]) -> None:
        self._pings.discard(ping)
        if not ping.cancelled() and ping.exception() is not None:
            logger.debug("a ping failed: %r", ping.exception())

    # Listening

    async def subscribe(self, subject: str, handler: Handler) -> Result[Subscription]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to listen to: {subject[:100]!r}")
        if not self.is_connected:
            return _GONE
        subscription = _NatsSubscription(subject, handler, self._handlers)
        try:
            subscription.client = await self._client.subscribe(subject, future=_Sink(subscription.take))
        except (nats.errors.Error, OSError) as error:
            return Err("disconnected", f"listening to {subject} met {type(error).__name__}")
        subscription.forget = self._subscriptions.discard
        self._subscriptions.add(subscription)
        known = await self.barrier()
        if isinstance(known, Err):
            await subscription.unsubscribe()
            return known
        if ("subscription", subject.lower()) in self._forbidden:
            await subscription.unsubscribe()
            return Err("forbidden", f"{self._identity} may not listen to {subject}")
        return Ok(subscription)

    # Logs

    async def _api(self, name: str, request: Mapping[str, Any]) -> Result[dict[str, Any]]:
        answer = await self._ask(f"$JS.API.{name}", json.dumps(request).encode(), None, API_TIMEOUT)
        return answer if isinstance(answer, Err) else jetstream.parse_json(answer.data)

    async def ensure_stream(self, config: StreamConfig) -> Result[None]:
        wanted = jetstream.stream_request(config)
        made = await self._api(f"STREAM.CREATE.{config.name}", wanted)
        if isinstance(made, Err) and made.reason == "exists":
            logger.info("stream %s is configured anew", config.name)
            made = await self._api(f"STREAM.UPDATE.{config.name}", wanted)
        return made if isinstance(made, Err) else _DONE

    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        if len(entries) == 1:
            entry = entries[0]
            answer = await self._ask(entry.subject, entry.payload, jetstream.headers(entry), timeout)
            return answer if isinstance(answer, Err) else jetstream.parse_ack(answer.data)
        if not 0 < len(entries) <= jetstream.MOST_IN_A_BATCH:
            return Err("refused", f"{len(entries)} entries cannot be appended at once")
        return await self._append_batch(entries, timeout)

    async def _append_batch(self, entries: Sequence[Entry], timeout: float) -> Result[int]:
        self._asked += 1
        batch = f"{self._prefix[-10:]}-{self._asked}"
        headed = [
            (entry, jetstream.batch_headers(entry, batch, number, number == len(entries)))
            for number, entry in enumerate(entries, 1)
        ]
        for entry, headers in headed:
            refusal = self._refusal(entry.subject, entry.payload, "", headers)
            if refusal is not None:
                return refusal
        for entry, headers in headed[:-1]:
            sent = await self._send(entry.subject, entry.payload, "", headers)
            if isinstance(sent, Err):
                return sent
        entry, headers = headed[-1]
        answer = await self._ask(entry.subject, entry.payload, headers, timeout)
        return answer if isinstance(answer, Err) else jetstream.parse_ack(answer.data)

    async def last(self, stream: str, subject: str) -> Result[Stored | None]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")
        if is_literal(subject):
            # The subject stands in the request's subject, so that permissions can tell one reader from another.
            answer = await self._ask(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", None, API_TIMEOUT)
        else:
            wanted = json.dumps({"last_by_subj": subject}).encode()
            answer = await self._ask(f"$JS.API.DIRECT.GET.{stream}", wanted, None, API_TIMEOUT)
        if isinstance(answer, Err):
            return answer
        headers = answer.headers or {}
        status = headers.get("Status", "")
        if status == "404":
            return Ok(None)
        if status:
            return Err("refused", f"{stream}: {headers.get('Description', status)}")
        return jetstream.parse_stored(answer.data, headers)

    async def read(self, stream: str, subject: str, *, start: int = 1, limit: int = 1000) -> Result[tuple[Stored, ...]]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")
        found: list[Stored] = []
        start = max(1, start)
        while len(found) < limit:
            page = await self._read_page(stream, subject, start, min(limit - len(found), jetstream.PAGE))
            if isinstance(page, Err):
                return page
            stored, is_more = page.value
            found.extend(stored)
            if not is_more or not stored:
                break
            start = stored[-1].sequence + 1
        return Ok(tuple(found))

    async def _read_page(self, stream: str, subject: str, start: int, count: int) -> Result[tuple[list[Stored], bool]]:
        request = {"batch": count, "max_bytes": jetstream.PAGE_BYTES, "seq": start, "next_by_subj": subject}
        self._asked += 1
        token = str(self._asked)
        page: asyncio.Queue[Msg | Err] = asyncio.Queue()
        self._pages[token] = page
        target = f"$JS.API.DIRECT.GET.{stream}"
        payload = json.dumps(request).encode()
        try:
            sent = self._refusal(target, payload, "", None) or await self._send(
                target, payload, self._answers + token, None
            )
            if isinstance(sent, Err):
                return sent
            return await asyncio.wait_for(self._gather_page(page, target), API_TIMEOUT)
        except TimeoutError:
            return Err("timeout", f"{stream} was not read in {API_TIMEOUT} s")
        finally:
            del self._pages[token]

    async def _gather_page(self, page: asyncio.Queue[Msg | Err], target: str) -> Result[tuple[list[Stored], bool]]:
        stored: list[Stored] = []
        while True:
            message = await page.get()
            if isinstance(message, Err):
                return message
            headers = message.headers or {}
            status = headers.get("Status", "")
            if status == "204":
                return Ok((stored, headers.get("Nats-Num-Pending", "0") != "0"))
            if status == "404":
                return Ok((stored, False))
            if status == "503":
                return Err("no responders", f"nobody answers {target}")
            if status:
                return Err("refused", f"{target}: {headers.get('Description', status)}")
            one = jetstream.parse_stored(message.data, headers)
            if isinstance(one, Err):
                return one
            stored.append(one.value)

    async def subjects(self, stream: str, filter: str) -> Result[Mapping[str, int]]:
        found: dict[str, int] = {}
        while True:
            page = await self._api(f"STREAM.INFO.{stream}", {"subjects_filter": filter, "offset": len(found)})
            if isinstance(page, Err):
                return page
            state = page.value.get("state", {}).get("subjects") or {}
            found.update(state)
            if not state or len(found) >= page.value.get("total", 0):
                return Ok(found)

    # Small values

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
        stored = found.value
        if stored is None or "KV-Operation" in stored.headers:
            return Ok(None)
        return Ok(stored.data)

    # What nats-py tells us. It ends its read loop or its reconnecting when one of these raises.

    async def _note_error(self, error: Exception) -> None:
        text = str(error)
        violation = _VIOLATION.search(text)
        if violation is not None:
            self._note_violation(violation.group(1), violation.group(2))
        elif self.is_connected:
            logger.warning("the bus reports %s: %s", type(error).__name__, text)
        elif text != self._last_error:
            logger.info("the server is not back: %s %s", type(error).__name__, text)
        self._last_error = text

    def _note_violation(self, action: str, subject: str) -> None:
        # The client lower-cases what the server says, so two subjects that differ in case alone are one here.
        logger.error("%s has no right to %s: %s", self._identity, action, subject)
        self._forbidden.add((action, subject))
        for future, asked in self._waiting.values():
            if action == "publish" and asked.lower() == subject and not future.done():
                future.set_result(Err("forbidden", f"{self._identity} may not send to {asked}"))

    async def _note_disconnect(self) -> None:
        was_connected, self._since = self._since is not None, None
        self._unconfirmed = 0
        self._forbidden.clear()
        self._fail_waiting("the connection to the server was lost")
        if was_connected and self._is_open and not self._is_closing:
            logger.warning("the connection to the server was lost")
            if self._on_disconnect is not None:
                self._loop.call_soon(self._on_disconnect)

    async def _note_reconnect(self) -> None:
        self._since = self._loop.time()
        self._last_error = ""
        logger.info("connected to the server again")
        if self._on_reconnect is not None:
            self._loop.call_soon(self._on_reconnect)

    async def _note_closed(self) -> None:
        if self._is_open and not self._is_closing:
            why = str(self._client.last_error or "the client gave up")
            logger.error("the connection is closed for good: %s", why)
            if self._on_closed is not None:
                self._loop.call_soon(self._on_closed, why)

    async def _watch(self) -> None:
        # nats-py's read loop can end while it says that it is connected; only an answer proves that it lives.
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            if not self.is_connected:
                continue
            alive = await self._ping(WATCH_TIMEOUT)
            if isinstance(alive, Err) and alive.reason == "timeout":
                logger.warning("the connection is deaf, making a new one")
                await self._client.force_reconnect()

    async def _end_client(self) -> None:
        # With a server that stopped reading, nats-py's close() raises whatever its stream raises, and sometimes a
        # cancellation that nobody asked for. In a task of its own it can do so without harm.
        ending = asyncio.create_task(self._client.close())
        await asyncio.wait({ending}, timeout=CLOSE_TIMEOUT)
        if not ending.done():
            ending.cancel()
            logger.info("the connection was left before all was sent")
        elif ending.cancelled() or ending.exception() is not None:
            logger.info("the connection ended out of order")
