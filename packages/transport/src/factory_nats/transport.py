"""How bytes cross: requests, publishing, logs and small values over one NATS connection.

Nothing here knows a subject name or the type of what is sent, and no exception leaves a public method. The promise
comes first, the implementation over a `Link` after it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from factory_nats import jetstream, wire
from factory_nats.jetstream import Entry, Stored, StreamConfig
from factory_nats.link import Link, Server
from factory_nats.result import Err, Ok, Result
from factory_nats.subject import SERVER, answers_prefix, inbox_prefix, is_filter, is_literal, is_name
from factory_nats.wire import Message

__all__ = [
    "Delivery",
    "Entry",
    "Handler",
    "More",
    "NatsTransport",
    "Stored",
    "StreamConfig",
    "Subscription",
    "Transport",
    "inbox_prefix",
]

logger = logging.getLogger(__name__)

BARRIER_TIMEOUT: Final = 5.0
ROOM_TIMEOUT: Final = 5.0
CLOSE_TIMEOUT: Final = 3.0
API_TIMEOUT: Final = 5.0
# A timer may come a little early.
TIMER_PRECISION: Final = 0.001
# The server counts headers too and closes the connection for good when a message is too large.
PAYLOAD_MARGIN: Final = 4096

_DONE: Final[Ok[None]] = Ok(None)
_GONE: Final = Err("disconnected", "there is no connection to the server")


class Delivery(NamedTuple):
    """A message as a subscription receives it; `status` is "503" when nobody answers what was asked."""

    subject: str
    data: bytes
    reply: str
    headers: Mapping[str, str] | None = None
    status: str = ""


Handler: TypeAlias = Callable[[Delivery], None]
"""Takes a message without waiting: it queues it or notes it. What it raises is logged, and the next message comes."""


More: TypeAlias = Callable[[bytes], bool]
"""Whether what came is followed by more; it must not raise."""


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

    def inbox(self, responder: str, name: str) -> str:
        """A subject of this connection's own, where nobody else may listen and only the responder may send.

        With `*` for the responder it is all of them, to be listened to.
        """
        ...

    def owns_inbox(self, reply: str, identity: str) -> bool:
        """True when answering to `reply` can reach nobody but `identity`, who expects it of us."""
        ...

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> Result[None]:
        """Send without an answer; "disconnected" at once when there is no connection, nothing is kept for later, and
        "timeout" when the server has read too little of what was sent before: then this was not sent.

        Raises `ValueError` for a header that is not one line.
        """
        ...

    async def request(
        self, subject: str, payload: bytes, *, timeout: float, responder: str = SERVER, more: More | None = None
    ) -> Result[bytes]:
        """Send and wait for the answer, which nobody but the responder is heard with.

        What comes is shown to `more` first, where there is one: true says that it was not the answer yet. After
        "timeout" or "disconnected" the other side may have acted or not.
        """
        ...

    async def subscribe(self, subject: str, handler: Handler, *, group: str = "") -> Result[Subscription]:
        """Listen until unsubscribed, across reconnects. Once this returns, the server knows of it.

        Of those who listen in one `group`, each message comes to one.
        """
        ...

    async def barrier(self) -> Result[None]:
        """Return when everything that was sent before has reached the server."""
        ...

    async def ensure_stream(self, config: StreamConfig) -> Result[None]:
        """Make the log exist as configured; "refused" when it exists and cannot be changed into that.

        One that denies deletes keeps denying them.
        """
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

    async def newest(self, stream: str, subject: str) -> Result[tuple[Stored, ...]]:
        """The newest message of each subject that matches, of at most 1000 of them, oldest first."""
        ...

    async def subjects(self, stream: str, filter: str) -> Result[Mapping[str, int]]:
        """The subjects that hold messages, and how many."""
        ...

    async def erase(self, stream: str, sequence: int) -> Result[None]:
        """Overwrite a message on the disk; no other way leaves nothing of it. "refused" where the log denies that, and
        sometimes where there is no such message any more; "not found" where there is none."""
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


class _Asked(NamedTuple):
    """A request that waits for its answer."""

    answer: asyncio.Future[Message | Err]
    subject: str
    timeout: float
    deadline: float
    more: More | None


class _Handlers:
    """Runs the handlers of all subscriptions in the order of arrival, outside of the reading.

    The event loop logs what a handler raises and goes on; the remaining messages are handed over in the next round.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[_Subscription, Message]] = deque()

    def add(self, subscription: _Subscription, message: Message) -> None:
        if not self._arrived:
            self._loop.call_soon(self._run)
        self._arrived.append((subscription, message))

    async def idle(self) -> None:
        while self._arrived:
            await asyncio.sleep(0)

    def _run(self) -> None:
        arrived = self._arrived
        try:
            while arrived:
                subscription, message = arrived.popleft()
                if not subscription.has_ended:
                    subscription.handler(_delivery(message))
        finally:
            if arrived:
                self._loop.call_soon(self._run)


def _block(headers: Mapping[str, str] | None) -> bytes:
    return b"" if headers is None else wire.encode_headers(headers)


def _delivery(message: Message) -> Delivery:
    header, data = message.header, message.data
    if not header:
        return Delivery(message.subject, data, message.reply)
    status = "" if data else wire.status(header)
    return Delivery(message.subject, data, message.reply, wire.parse_headers(header), status)


class _Subscription:
    def __init__(self, subject: str, handler: Handler, handlers: _Handlers, link: Link, group: str) -> None:
        self.handler = handler
        self.has_ended = False
        self._handlers = handlers
        self._link = link
        self._sid = link.listen(subject, self._take, group)

    async def unsubscribe(self) -> Result[None]:
        self.has_ended = True
        self._link.forget(self._sid)
        return _DONE

    def _take(self, message: Message) -> None:
        self._handlers.add(self, message)


class NatsTransport:
    """The transport over a real connection. `connect` makes it; it stays itself across reconnects."""

    def __init__(
        self,
        identity: str,
        servers: tuple[Server, ...],
        seed: str | None,
        *,
        name: str = "",
        ticket: str | None = None,
        inboxes: str = "",
        on_disconnect: Callable[[], None] | None = None,
        on_reconnect: Callable[[], None] | None = None,
        on_closed: Callable[[str], None] | None = None,
    ) -> None:
        self._identity = identity
        self._inboxes = inboxes or inbox_prefix(identity)
        self._loop = asyncio.get_running_loop()
        self._on_disconnect = on_disconnect
        self._on_reconnect = on_reconnect
        self._on_closed = on_closed
        self._is_closing = False
        self._connection = secrets.token_hex(5)
        self._answers: dict[str, str] = {}
        self._asked = 0
        self._waiting: dict[str, _Asked] = {}
        self._watch: asyncio.Handle | None = None
        self._watched = math.inf
        self._pages: dict[str, asyncio.Queue[Message | Err]] = {}
        self._forbidden: set[tuple[str, str]] = set()
        self._handlers = _Handlers(self._loop)
        self._link = Link(
            servers,
            name or identity,
            seed,
            ticket,
            on_lost=self._note_lost,
            on_back=self._note_back,
            on_end=self._note_end,
            on_violation=self._note_violation,
        )
        self._link.listen(self.inbox("*", "_.*.*"), self._take_answer)

    # What a connection is

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def is_connected(self) -> bool:
        return self._link.is_connected

    def connected_for(self, now: float) -> float:
        since = self._link.since
        return 0.0 if since is None else max(0.0, now - since)

    def inbox(self, responder: str, name: str) -> str:
        return f"{self._inboxes}.{responder}.{self._connection}.{name}"

    def owns_inbox(self, reply: str, identity: str) -> bool:
        return reply.startswith(f"{answers_prefix(identity, self._identity)}.") and is_literal(reply)

    async def open(self, timeout: float) -> Result[None]:
        """Try each server once, for `timeout` seconds; may be repeated until it succeeds."""
        return await self._link.open(timeout)

    async def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        drained: Result[None] = _GONE
        try:
            self._link.mute()
            drained = await self._link.barrier(CLOSE_TIMEOUT)
            await self._handlers.idle()
        finally:
            await self._link.close(CLOSE_TIMEOUT if isinstance(drained, Ok) else 0.0)
            self._fail_waiting("the connection was closed here")
            if self._watch is not None:
                self._watch.cancel()
        if isinstance(drained, Err) and drained.reason == "timeout":
            logger.info("the bus was not drained: %s", drained.detail)

    # Sending

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> Result[None]:
        header = _block(headers)
        refusal = self._refusal(subject, payload, reply, header)
        if refusal is not None:
            return refusal
        if not self._link.has_room:
            return await self._send(subject, payload, reply, header)
        self._link.write(wire.publish(subject, reply, header, payload))
        return _DONE

    async def request(
        self, subject: str, payload: bytes, *, timeout: float, responder: str = SERVER, more: More | None = None
    ) -> Result[bytes]:
        if responder != SERVER and not is_name(responder):
            return Err("malformed", f"no name of somebody who answers: {responder[:100]!r}")
        answer = await self._ask(subject, payload, b"", timeout, responder, more)
        return answer if isinstance(answer, Err) else Ok(answer.data)

    async def barrier(self) -> Result[None]:
        return await self._link.barrier(BARRIER_TIMEOUT)

    def _refusal(self, subject: str, payload: bytes, reply: str = "", header: bytes = b"") -> Err | None:
        if not is_literal(subject) or (reply and not is_literal(reply)):
            return Err("malformed", f"no subject to send to: {subject[:100]!r} {reply[:100]!r}")
        size = len(header) + len(payload)
        if size > self._link.max_payload - PAYLOAD_MARGIN:
            return Err("too large", f"{size} bytes for {subject}, {self._link.max_payload} is the server's limit")
        if not self._link.is_connected:
            return _GONE
        if self._forbidden and ("publish", subject) in self._forbidden:
            return Err("forbidden", f"{self._identity} may not send to {subject}")
        return None

    async def _send(
        self, subject: str, payload: bytes, reply: str, header: bytes = b"", patience: float = ROOM_TIMEOUT
    ) -> Result[None]:
        if not self._link.has_room:
            # Whoever sends more than the server reads waits here, and so does not fill the memory.
            room = await self._link.room(min(patience, ROOM_TIMEOUT))
            if isinstance(room, Err):
                return room
        self._link.write(wire.publish(subject, reply, header, payload))
        return _DONE

    def _new_reply(self, responder: str) -> str:
        """Where the next answer of a responder is awaited."""
        answers = self._answers.get(responder)
        if answers is None:
            # A secret for each: who is asked sees where its own answers go, and shall not guess where others' do.
            answers = self._answers[responder] = self.inbox(responder, f"_.{secrets.token_hex(5)}.")
        self._asked += 1
        return f"{answers}{self._asked}"

    async def _ask(
        self,
        subject: str,
        payload: bytes,
        header: bytes,
        timeout: float,
        responder: str = SERVER,
        more: More | None = None,
    ) -> Message | Err:
        refusal = self._refusal(subject, payload, "", header)
        if refusal is not None:
            return refusal
        reply = self._new_reply(responder)
        future: asyncio.Future[Message | Err] = self._loop.create_future()
        self._waiting[reply] = asked = _Asked(future, subject, timeout, self._loop.time() + timeout, more)
        self._watch_until(asked.deadline)
        try:
            sent = await self._send(subject, payload, reply, header, timeout)
            if isinstance(sent, Err):
                return sent
            answer = await future
        finally:
            self._waiting.pop(reply, None)
        if isinstance(answer, Message) and answer.header and not answer.data and wire.status(answer.header) == "503":
            return Err("no responders", f"nobody answers {subject}")
        return answer

    def _watch_until(self, deadline: float) -> None:
        # One timer for all, as nearly everything is answered in time. It is not asked when it is due: of what is due at
        # once, uvloop cannot tell.
        if deadline < self._watched:
            if self._watch is not None:
                self._watch.cancel()
            self._watch, self._watched = self._loop.call_at(deadline, self._give_up), deadline

    def _give_up(self) -> None:
        """Answer those whose time is over, and come again when the next one's is."""
        self._watch, self._watched = None, math.inf
        now = self._loop.time() + TIMER_PRECISION
        for reply, asked in tuple(self._waiting.items()):
            if asked.deadline > now:
                self._watch_until(asked.deadline)
                continue
            del self._waiting[reply]
            if not asked.answer.done():
                asked.answer.set_result(Err("timeout", f"no answer from {asked.subject} in {asked.timeout} s"))

    def _take_answer(self, message: Message) -> None:
        # The subject names the responder: an answer that comes from somebody else is waited for by nobody.
        asked = self._waiting.get(message.subject)
        if asked is not None:
            # What the server says by itself has no data, and is an answer.
            if asked.more is not None and message.data and asked.more(message.data):
                return
            del self._waiting[message.subject]
            if not asked.answer.done():
                asked.answer.set_result(message)
            return
        page = self._pages.get(message.subject)
        if page is not None:
            page.put_nowait(message)

    def _fail_waiting(self, why: str) -> None:
        lost = Err("disconnected", why)
        waiting, self._waiting = self._waiting, {}
        for asked in waiting.values():
            if not asked.answer.done():
                asked.answer.set_result(lost)
        for page in self._pages.values():
            page.put_nowait(lost)

    # Listening

    async def subscribe(self, subject: str, handler: Handler, *, group: str = "") -> Result[Subscription]:
        if not is_filter(subject) or (group and not is_name(group)):
            return Err("malformed", f"no subject to listen to: {subject[:100]!r} {group[:100]!r}")
        if not self._link.is_connected:
            return _GONE
        # What was forbidden may have been allowed since.
        self._forbidden.discard(("subscription", subject))
        subscription = _Subscription(subject, handler, self._handlers, self._link, group)
        known = await self.barrier()
        if isinstance(known, Ok) and ("subscription", subject) in self._forbidden:
            known = Err("forbidden", f"{self._identity} may not listen to {subject}")
        if isinstance(known, Err):
            await subscription.unsubscribe()
            return known
        return Ok(subscription)

    # Logs

    async def _api(self, name: str, request: Mapping[str, Any]) -> Result[dict[str, Any]]:
        answer = await self._ask(f"$JS.API.{name}", json.dumps(request).encode(), b"", API_TIMEOUT)
        return answer if isinstance(answer, Err) else jetstream.parse_json(answer.data)

    async def ensure_stream(self, config: StreamConfig) -> Result[None]:
        wanted = jetstream.stream_request(config)
        made = await self._api(f"STREAM.CREATE.{config.name}", wanted)
        if isinstance(made, Err) and made.reason == "exists":
            logger.info("stream %s is configured anew", config.name)
            made = await self._api(f"STREAM.UPDATE.{config.name}", wanted)
            if isinstance(made, Err) and made.reason == "refused" and not config.deny_delete:
                made = await self._api(f"STREAM.UPDATE.{config.name}", {**wanted, "deny_delete": True})
        return made if isinstance(made, Err) else _DONE

    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        for entry in entries:
            if entry.expect is not None and not is_literal(entry.expect[0]):
                return Err("malformed", f"no subject to expect something of: {entry.expect[0][:100]!r}")
        if len(entries) == 1:
            entry = entries[0]
            answer = await self._ask(entry.subject, entry.payload, _block(jetstream.headers(entry)), timeout)
            return answer if isinstance(answer, Err) else jetstream.parse_ack(answer.data)
        if not 0 < len(entries) <= jetstream.MOST_IN_A_BATCH:
            return Err("refused", f"{len(entries)} entries cannot be appended at once")
        return await self._append_batch(entries, timeout)

    async def _append_batch(self, entries: Sequence[Entry], timeout: float) -> Result[int]:
        self._asked += 1
        batch = f"{self._connection}-{self._asked}"
        headed = [
            (entry, _block(jetstream.batch_headers(entry, batch, number, number == len(entries))))
            for number, entry in enumerate(entries, 1)
        ]
        for entry, header in headed:
            refusal = self._refusal(entry.subject, entry.payload, "", header)
            if refusal is not None:
                return refusal
        for entry, header in headed[:-1]:
            sent = await self._send(entry.subject, entry.payload, "", header)
            if isinstance(sent, Err):
                return sent
        entry, header = headed[-1]
        answer = await self._ask(entry.subject, entry.payload, header, timeout)
        return answer if isinstance(answer, Err) else jetstream.parse_ack(answer.data)

    async def last(self, stream: str, subject: str) -> Result[Stored | None]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")
        if is_literal(subject):
            # The subject stands in the request's subject, so that permissions can tell one reader from another.
            answer = await self._ask(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", b"", API_TIMEOUT)
        else:
            wanted = json.dumps({"last_by_subj": subject}).encode()
            answer = await self._ask(f"$JS.API.DIRECT.GET.{stream}", wanted, b"", API_TIMEOUT)
        if isinstance(answer, Err):
            return answer
        headers = wire.parse_headers(answer.header)
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

    async def newest(self, stream: str, subject: str) -> Result[tuple[Stored, ...]]:
        if not is_filter(subject):
            return Err("malformed", f"no subject to read: {subject[:100]!r}")
        page = await self._ask_page(stream, {"multi_last": [subject], "batch": jetstream.MOST_IN_A_BATCH})
        return page if isinstance(page, Err) else Ok(tuple(page.value[0]))

    async def _read_page(self, stream: str, subject: str, start: int, count: int) -> Result[tuple[list[Stored], bool]]:
        request = {"batch": count, "max_bytes": jetstream.PAGE_BYTES, "seq": start, "next_by_subj": subject}
        return await self._ask_page(stream, request)

    async def _ask_page(self, stream: str, request: Mapping[str, Any]) -> Result[tuple[list[Stored], bool]]:
        reply = self._new_reply(SERVER)
        page: asyncio.Queue[Message | Err] = asyncio.Queue()
        self._pages[reply] = page
        target = f"$JS.API.DIRECT.GET.{stream}"
        payload = json.dumps(request).encode()
        try:
            sent = self._refusal(target, payload) or await self._send(target, payload, reply)
            if isinstance(sent, Err):
                return sent
            # Before Python 3.12 `wait_for` could swallow a cancellation.
            async with asyncio.timeout(API_TIMEOUT):
                return await self._gather_page(page, target)
        except TimeoutError:
            return Err("timeout", f"{stream} was not read in {API_TIMEOUT} s")
        finally:
            del self._pages[reply]

    async def _gather_page(self, page: asyncio.Queue[Message | Err], target: str) -> Result[tuple[list[Stored], bool]]:
        stored: list[Stored] = []
        while True:
            message = await page.get()
            if isinstance(message, Err):
                return message
            headers = wire.parse_headers(message.header)
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

    async def erase(self, stream: str, sequence: int) -> Result[None]:
        erased = await self._api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence})
        return erased if isinstance(erased, Err) else _DONE

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

    # What the link tells

    def _note_violation(self, action: str, subject: str) -> None:
        logger.error("%s has no right to %s: %s", self._identity, action, subject)
        self._forbidden.add((action, subject))
        for asked in self._waiting.values():
            if action == "publish" and asked.subject == subject and not asked.answer.done():
                asked.answer.set_result(Err("forbidden", f"{self._identity} may not send to {subject}"))

    def _note_lost(self) -> None:
        self._forbidden.clear()
        self._fail_waiting("the connection to the server was lost")
        if not self._is_closing:
            logger.warning("the connection to the server was lost")
            if self._on_disconnect is not None:
                self._loop.call_soon(self._on_disconnect)

    def _note_back(self) -> None:
        if self._on_reconnect is not None:
            self._loop.call_soon(self._on_reconnect)

    def _note_end(self, why: str) -> None:
        logger.error("the connection is closed for good: %s", why)
        if self._on_closed is not None and not self._is_closing:
            self._loop.call_soon(self._on_closed, why)
