"""What every spoke does: submit until accepted, deliver in order per reply, send receipts.

A bubble is opened by one short send, whose message id is noted at once and told to the hub; all that follows are edits
of that id, which may be repeated. So a redelivery shows nothing twice.
"""

import asyncio
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.messages import (
    FROM_SPOKE,
    OUTBOUND,
    TO_SPOKE,
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    AttachmentKind,
    Final,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Noted,
    Outcome,
    Refused,
    Said,
    ShownReceipt,
    Submit,
    ToSpoke,
    Update,
    Usage,
    Welcome,
)
from factory_nats import blobs
from factory_nats.result import Err, Ok
from factory_nats.transport import Delivery, Subscription, Transport

logger = logging.getLogger(__name__)

EVERY_SCOPE = "*"
REQUEST_TIMEOUTS = (0.5, 4.0)
PAUSES = (0.05, 0.5)
LEAVING = 1.0
HELLO_EVERY = 30.0
WATCH_EVERY = 0.5
OPENING = 60
NOTES_KEPT = 10_000
DONE_KEPT = 10_000
BROKEN_RETRY = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it stands now: what should be on the screen, whole."""

    turn: str
    address: Address
    text: str
    activity: str | None = None
    attempt: int = 1
    is_final: bool = False
    outcome: Outcome = "complete"
    usage: Usage | None = None


class Undeliverable(Exception):
    """The platform refuses this reply for good; the sentence says why."""


class Screen(Protocol):
    """A platform as a spoke writes on it."""

    async def send(self, reply: Reply) -> str:
        """Open the bubble with a few words and return its message id. Raises `Undeliverable`."""
        ...

    async def edit(self, message_id: str, reply: Reply) -> None:
        """Make the bubble show the reply as it stands now. Repeating it changes nothing. Raises `Undeliverable`."""
        ...

    async def said(self, said: Said) -> None:
        """Somebody said this in a scope; only a platform with several screens on one scope shows it."""
        ...


class Notes:
    """Which message id each unfinished reply has: a file that a spoke killed between send and receipt reads again."""

    def __init__(self, path: Path | None) -> None:
        self._ids: OrderedDict[str, str] = OrderedDict()
        self._file: int | None = None
        if path is not None:
            self._load(path)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def get(self, turn: str) -> str | None:
        """The reply's message id, if it was sent from here."""
        return self._ids.get(turn)

    def add(self, turn: str, message_id: str) -> None:
        """Note it; on return the kernel has it, and a kill cannot take it back."""
        self._ids[turn] = message_id
        if len(self._ids) > NOTES_KEPT:
            self._ids.popitem(last=False)
        if self._file is not None:
            os.write(self._file, f"{json.dumps([turn, message_id])}\n".encode())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        for line in path.read_text().splitlines():
            try:
                turn, message_id = json.loads(line)
            except (ValueError, TypeError):
                # The last line may be torn by a kill.
                continue
            self._ids[turn] = message_id
        while len(self._ids) > NOTES_KEPT:
            self._ids.popitem(last=False)
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(f"{json.dumps(pair)}\n" for pair in self._ids.items()))
        fresh.replace(path)


@dataclass(slots=True)
class _Growing:
    """A reply on its way to the screen."""

    turn: str
    address: Address
    attempt: int = 0
    events: int = -1
    text: str = ""
    activity: str | None = None
    message_id: str | None = None
    final: Final | None = None
    has_gap: bool = False
    undeliverable: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, update: Update) -> bool:
        """Apply what is new; False where it is not."""
        if self.final is not None or (update.attempt, update.events) < (self.attempt, self.events):
            return False
        if update.base == 0:
            self.text, self.has_gap = update.text, False
        elif update.attempt != self.attempt or self.has_gap or update.base > len(self.text):
            # Something before this was lost; the next snapshot or the final has it all.
            self.has_gap = True
            return False
        else:
            self.text = self.text[: update.base] + update.text
        self.attempt, self.events, self.activity = update.attempt, update.events, update.activity
        return True

    def reply(self) -> Reply:
        """What should be on the screen now."""
        final = self.final
        return Reply(
            turn=self.turn,
            address=self.address,
            text=self.text,
            activity=self.activity,
            attempt=max(1, self.attempt),
            is_final=final is not None,
            outcome=final.outcome if final is not None else "complete",
            usage=final.usage if final is not None else None,
        )

    def opening(self) -> Reply:
        """The few words that open the bubble: if their receipt is lost, they are all that stands there twice."""
        # At most half of a short answer: the whole of it, left behind, would be an answer shown twice.
        words = self.text[: min(OPENING, len(self.text) // 2)].rpartition(" ")[0]
        return Reply(turn=self.turn, address=self.address, text=words or "…", activity=self.activity)


class Spoke:
    """One bot of one platform, joined to the hub."""

    def __init__(
        self,
        transport: Transport,
        platform: str,
        bot_id: str,
        screen: Screen,
        *,
        notes: Path | None = None,
        scope: str | None = None,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._transport = transport
        self._platform = subjects.platform_token(platform)
        self._bot_id = subjects.bot_token(bot_id)
        self._screen = screen
        self._scope = scope
        self._at = at
        self._notes = Notes(notes)
        self._growing: dict[str, _Growing] = {}
        self._done: OrderedDict[str, tuple[str | None, str | None]] = OrderedDict()
        self._epochs: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._receipting: set[asyncio.Task[Any] | None] = set()
        self._subscription: Subscription | None = None

    async def start(self) -> Welcome:
        """Join: listen, say hello until the hub answers, and have what was missed sent again."""
        while True:
            subscribed = await self._transport.subscribe(
                subjects.outbound(self._platform, self._bot_id), self._on_outbound
            )
            if isinstance(subscribed, Ok):
                self._subscription = subscribed.value
                break
            logger.warning("cannot listen for answers yet: %s", subscribed.detail)
            await asyncio.sleep(PAUSES[1])
        welcome = await self.hello(self._scope or EVERY_SCOPE)
        self._spawn(self._keep_in_touch())
        return welcome

    async def submit(self, message: InboundMessage) -> Accepted | AlreadyAccepted | Refused:
        """Hand over a message and wait, however long, for the hub's word; call it one at a time for each scope."""
        asked = Submit(platform=self._platform, bot_id=self._bot_id, scope_id=message.address.scope_id, message=message)
        reply = await self._ask(asked)
        self._at("accepted-unconfirmed")
        if isinstance(reply, Accepted | AlreadyAccepted | Refused):
            return reply
        raise Malformed(f"the hub answered a message with {reply.kind!r}")

    async def keep(self, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
        """Put a file where those who answer can read it, however long the bus is away; None where it is not taken."""
        store = subjects.blobs(self._platform, self._bot_id)
        pause, longest = PAUSES
        while isinstance(kept := await blobs.put(self._transport, store, data), Err):
            if kept.reason not in ("disconnected", "timeout", "no responders"):
                logger.error("a file cannot be kept: %s", kept.detail)
                return None
            logger.info("a file waits to be kept: %s", kept.detail)
            await asyncio.sleep(pause)
            pause = min(longest, pause * 1.5)
        # A platform may hand over half a surrogate pair, which cannot cross the bus.
        name, mime = (text.encode("utf-8", "replace").decode() for text in (name, mime))
        return Attachment(kind=kind, name=name[:255], mime=mime[:127], size=len(data), blob=kept.value)

    async def hello(self, scope_id: str) -> Welcome:
        """Ask who answers in a scope and what was said last there."""
        while True:
            reply = await self._ask(Hello(platform=self._platform, bot_id=self._bot_id, scope_id=scope_id))
            if isinstance(reply, Welcome):
                return reply
            logger.error("the hub does not welcome this spoke: %s", reply)
            await asyncio.sleep(PAUSES[1])

    async def close(self) -> None:
        """Leave; what is unfinished is sent again to whoever says hello next."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        # What is on the screen should not be sent again only because its receipt was cut off.
        if self._receipting:
            await asyncio.wait([task for task in self._receipting if task is not None], timeout=LEAVING)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._notes.close()

    async def _ask(self, asked: FromSpoke) -> ToSpoke:
        """Ask until there is an answer; a hub that is away is a pause."""
        subject = subjects.inbound(self._platform, self._bot_id, subjects.partition(asked.scope_id))
        payload = FROM_SPOKE.encode(asked)
        # Every request may be repeated, so a lost one need not cost more than a moment.
        (timeout, longest), (pause, longest_pause) = REQUEST_TIMEOUTS, PAUSES
        is_told = False
        while True:
            answer = await self._transport.request(subject, payload, timeout=timeout)
            match answer:
                case Ok(value=raw):
                    try:
                        return TO_SPOKE.decode(raw)
                    except Malformed as error:
                        logger.error("the hub's answer is not readable: %s", error)
                case Err(reason="too large"):
                    return Refused(reason="too large", text="That is too long to be sent.")
                case Err(reason=reason, detail=detail) if not is_told:
                    logger.info("the hub does not answer (%s), asking on: %s", reason, detail)
                    is_told = True
                case _:
                    pass
            await asyncio.sleep(pause)
            timeout, pause = min(longest, timeout * 2), min(longest_pause, pause * 1.5)

    async def _keep_in_touch(self) -> None:
        """Say hello again after a reconnect, and now and then: what the bus dropped is then sent again."""
        loop = asyncio.get_running_loop()
        age, said_at = self._transport.connected_for(loop.time()), loop.time()
        while True:
            await asyncio.sleep(WATCH_EVERY)
            now = loop.time()
            before, age = age, self._transport.connected_for(now)
            if age and (age < before or not before or now - said_at > HELLO_EVERY):
                await self.hello(self._scope or EVERY_SCOPE)
                said_at = loop.time()

    def _on_outbound(self, delivery: Delivery) -> None:
        try:
            event = OUTBOUND.decode(delivery.data)
        except Malformed as error:
            logger.error("an event on %s is refused: %s", delivery.subject, error)
            return
        address = event.address
        if (address.platform, address.bot_id) != (self._platform, self._bot_id):
            logger.error("an event on %s is refused: it is another bot's", delivery.subject)
            return
        if self._scope is not None and address.scope_id != self._scope:
            return
        part = subjects.partition(address.scope_id)
        if event.epoch < self._epochs.get(part, 0):
            return
        self._epochs[part] = event.epoch
        if isinstance(event, Said):
            self._spawn(self._screen.said(event))
            return
        if isinstance(event, Final):
            self._close_joined(event)
        if event.turn in self._done:
            if isinstance(event, Final):
                self._spawn(self._receipt_final(address, event.turn, *self._done[event.turn]))
        else:
            self._take(event)

    def _close_joined(self, final: Final) -> None:
        """Tell the screen what else is answered by this: for those turns nothing of their own will come."""
        for turn in final.joined:
            if turn not in self._done:
                self._done[turn] = None, None
                self._spawn(
                    self._screen.said(
                        Said(turn=turn, text="", joined=final.turn, epoch=final.epoch, address=final.address)
                    )
                )

    def _take(self, event: Update | Final) -> None:
        growing = self._growing.get(event.turn)
        if growing is None:
            growing = self._growing[event.turn] = _Growing(event.turn, event.address)
            self._spawn(self._deliver(growing))
        if event.message_id is not None:
            growing.message_id = event.message_id
        if isinstance(event, Final):
            growing.final, growing.text, growing.activity = event, event.text, None
        elif not growing.take(event):
            return
        growing.changed.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, growing: _Growing) -> None:
        """See one reply to its end, whatever the platform does meanwhile."""
        while True:
            try:
                await self._show(growing)
                break
            except Undeliverable as refusal:
                logger.warning("turn %s is undeliverable: %s", growing.turn, refusal)
                growing.undeliverable = str(refusal)
            except Exception:
                # A platform can fail in ways that nobody foresaw; the answer is on the log, so it is tried again.
                logger.exception("turn %s could not be shown, trying again", growing.turn)
                await asyncio.sleep(BROKEN_RETRY)
                growing.changed.set()
        self._done[growing.turn] = growing.message_id, growing.undeliverable
        if len(self._done) > DONE_KEPT:
            self._done.popitem(last=False)
        del self._growing[growing.turn]

    async def _show(self, growing: _Growing) -> None:
        while growing.undeliverable is None:
            await growing.changed.wait()
            if growing.message_id is None:
                await self._open(growing)
            growing.changed.clear()
            reply = growing.reply()
            if growing.message_id is not None:
                await self._screen.edit(growing.message_id, reply)
            if reply.is_final:
                await self._receipt_final(growing.address, growing.turn, growing.message_id, None)
                return
        while growing.final is None:
            await growing.changed.wait()
            growing.changed.clear()
        await self._receipt_final(growing.address, growing.turn, growing.message_id, growing.undeliverable)

    async def _open(self, growing: _Growing) -> None:
        """Send the opening words, note their id, and let the hub's word say which bubble counts."""
        sent = self._notes.get(growing.turn)
        if sent is None:
            sent = await self._screen.send(growing.opening())
            self._notes.add(growing.turn, sent)
            self._at("sent-unreceipted")
        receipt = ShownReceipt(
            platform=self._platform,
            bot_id=self._bot_id,
            scope_id=growing.address.scope_id,
            turn=growing.turn,
            message_id=sent,
        )
        noted = await self._ask(receipt)
        growing.message_id = noted.message_id or sent if isinstance(noted, Noted) else sent

    async def _receipt_final(
        self, address: Address, turn: str, message_id: str | None, undeliverable: str | None
    ) -> None:
        receipt = FinalReceipt(
            platform=self._platform,
            bot_id=self._bot_id,
            scope_id=address.scope_id,
            turn=turn,
            message_id=message_id,
            undeliverable=undeliverable,
        )
        task = asyncio.current_task()
        self._receipting.add(task)
        try:
            await self._ask(receipt)
        finally:
            self._receipting.discard(task)
