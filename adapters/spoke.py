"""What every spoke does: submit until accepted, deliver in order per reply, send receipts.

A bubble is opened by one short send, whose message id is noted at once and told to the hub; all that follows are edits
of that id, which may be repeated. So a redelivery shows nothing twice.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from adapters.journal import Journal
from adapters.lease import Lease
from adapters.pace import Pace
from factory_contracts import subjects
from factory_contracts.envelope import FIRST_VERSION, SCHEMA_VERSION, Malformed
from factory_contracts.messages import (
    FROM_SPOKE,
    OUTBOUND,
    TO_SPOKE,
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    AttachmentKind,
    Decision,
    Erase,
    Erased,
    Final,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Moved,
    Noted,
    Outcome,
    Question,
    Refused,
    Said,
    ShownReceipt,
    StandBy,
    StopPressed,
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

REQUEST_TIMEOUTS = (0.5, 4.0)
PAUSES = (0.05, 0.5)
LEAVING = 1.0
HELLO_EVERY = 30.0
WATCH_EVERY = 0.5
OPENING = 60
NOTES_KEPT = 10_000
DONE_KEPT = 10_000
BROKEN_RETRY = 1.0
# Whoever deletes an answer more often than this does not want it.
MOST_LOSSES = 10
UNREMOVED = "what is kept of a conversation could not be removed"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it stands now: what should be on the screen, whole."""

    turn: str
    address: Address
    text: str
    activity: str | None = None
    question: Question | None = None
    attempt: int = 1
    is_final: bool = False
    outcome: Outcome = "complete"
    usage: Usage | None = None
    attachments: tuple[Attachment, ...] = ()
    choices: tuple[str, ...] = ()
    asker: str = ""
    parts: tuple[str, ...] = ()


class Undeliverable(Exception):
    """The platform refuses this reply for good; the sentence says why."""


class NotNow(Exception):
    """The platform takes nothing in this place for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"wait {seconds:.1f} s")
        self.seconds = seconds


class Gone(Exception):
    """A message that was to be edited is not there any more: somebody deleted it. It was this part of the reply."""

    def __init__(self, part: int) -> None:
        super().__init__(f"part {part} is gone")
        self.part = part


# What is left to do after one write: write again, or open one more message, in which the reply goes on.
Left = Literal["write", "open"]


class Screen(Protocol):
    """A platform as a spoke writes on it: each call is one write."""

    async def send(self, reply: Reply) -> str:
        """Open the bubble, or a further message of a long reply, with a few words; answers with the message's id.

        `reply.parts` are the messages that it has already. Raises `Undeliverable`, `NotNow`.
        """
        ...

    async def edit(self, message_id: str, reply: Reply) -> Left | None:
        """Bring the bubble, and `reply.parts` beside it, nearer to the reply as it stands now; what is left to do.

        Repeating it changes nothing. Raises `Undeliverable`, `NotNow`, `Gone`.
        """
        ...

    async def said(self, said: Said) -> None:
        """Somebody said this in a scope; only a platform with several screens on one scope shows it."""
        ...


class Drafts(Protocol):
    """A platform that shows an answer while it grows without a message for it."""

    async def draft(self, reply: Reply) -> bool:
        """Show the reply as it stands now; False where this conversation has no drafts. Raises `NotNow`."""
        ...


class Remains(Protocol):
    """A spoke that keeps something of its conversations beside the screen."""

    async def erase(self, scope_id: str, until: float) -> None:
        """Remove what was kept of a scope until then. Repeating it changes nothing."""
        ...


class Notes:
    """Which messages each unfinished reply has: a file that a spoke killed between send and receipt reads again."""

    def __init__(self, path: Path | None) -> None:
        self._ids: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._journal = Journal(path)
        for noted in self._journal.read():
            match noted:
                case [str(turn), str(message_id)]:
                    self._ids[turn, 0] = message_id
                case [str(turn), str(message_id), int(part)]:
                    self._ids[turn, part] = message_id
        while len(self._ids) > NOTES_KEPT:
            self._ids.popitem(last=False)
        self._begin(self._ids)

    def get(self, turn: str, part: int = 0) -> str | None:
        """The message id of a part of the reply, if it was sent from here."""
        return self._ids.get((turn, part))

    def add(self, turn: str, message_id: str, part: int = 0) -> None:
        """Note it; on return the kernel has it, and a kill cannot take it back."""
        self._ids[turn, part] = message_id
        if len(self._ids) > NOTES_KEPT:
            self._ids.popitem(last=False)
        self._journal.add(_noted(turn, part, message_id))

    def tidy(self) -> None:
        """Drop what is known no more from the file, once that is much of it, and there is room for another."""
        if self._journal.added > NOTES_KEPT:
            try:
                self._begin(self._ids)
            except OSError as error:
                logger.error("the notes cannot be shortened yet: %s", error)

    def forget(self, turns: Collection[str]) -> None:
        """Keep nothing of these turns, in the file neither. Raises `OSError` on a full disk, which keeps all."""
        kept = OrderedDict((noted, sent) for noted, sent in self._ids.items() if noted[0] not in turns)
        if len(kept) < len(self._ids):
            self._begin(kept)
            self._ids = kept

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    def _begin(self, ids: Mapping[tuple[str, int], str]) -> None:
        self._journal.begin(_noted(turn, part, message_id) for (turn, part), message_id in ids.items())


def _noted(turn: str, part: int, message_id: str) -> list[object]:
    return [turn, message_id, part] if part else [turn, message_id]


@dataclass(slots=True)
class _Growing:
    """A reply on its way to the screen."""

    turn: str
    address: Address
    attempt: int = 0
    events: int = -1
    text: str = ""
    activity: str | None = None
    question: Question | None = None
    parts: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    losses: int = 0
    final: Final | None = None
    has_gap: bool = False
    is_drafted: bool = False
    undeliverable: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def message_id(self) -> str | None:
        """The message that the reply begins in, once there is one."""
        return self.parts[0] if self.parts else None

    @property
    def must_stand(self) -> bool:
        """Whether this is to stand in messages at once: the whole answer, or a question with its buttons."""
        return self.final is not None or self.question is not None

    def know(self, parts: tuple[str, ...]) -> None:
        """Take the messages that the log holds for this reply, but for those that somebody deleted."""
        if parts and not self.gone.intersection(parts):
            self.parts = (*parts, *self.parts[len(parts) :])

    def lose(self, part: int) -> None:
        """A message of the reply is gone, and those after it, which would stand above a new one, count no more."""
        self.gone |= frozenset(self.parts[part:])
        self.parts = self.parts[:part]
        self.losses += 1
        if self.losses > MOST_LOSSES:
            self.undeliverable = "its messages are deleted again and again"

    def take(self, event: Update | Final) -> bool:
        """Apply what is new; False where it is not."""
        if self.final is not None:
            return False
        if isinstance(event, Final):
            self.final, self.text, self.activity, self.question = event, event.text, None, None
            return True
        if (event.attempt, event.events) < (self.attempt, self.events):
            return False
        if event.base == 0:
            self.text, self.has_gap = event.text, False
        elif event.attempt != self.attempt or self.has_gap or event.base > len(self.text):
            # Something before this was lost; the next snapshot or the final has it all.
            self.has_gap = True
            # A question does not wait for words that were lost after some that this process showed.
            is_news = event.attempt == self.attempt and event.question != self.question
            self.question = event.question if is_news else self.question
            return is_news
        else:
            self.text = self.text[: event.base] + event.text
        self.attempt, self.events = event.attempt, event.events
        self.activity, self.question = event.activity, event.question
        return True

    def reply(self) -> Reply:
        """What should be on the screen now."""
        return self._reply(self.text, self.final)

    def _reply(self, text: str, final: Final | None) -> Reply:
        return Reply(
            turn=self.turn,
            address=self.address,
            text=text,
            activity=self.activity,
            question=self.question,
            attempt=max(1, self.attempt),
            is_final=final is not None,
            outcome=final.outcome if final is not None else "complete",
            usage=final.usage if final is not None else None,
            attachments=(final.attachments or ()) if final is not None else (),
            choices=(final.choices or ()) if final is not None else (),
            asker=(final.asker or "") if final is not None else "",
            parts=self.parts,
        )

    def opening(self) -> Reply:
        """The few words that open a message: if their receipt is lost, they are all that stands there twice."""
        # What was drafted has no opening: the draft vanishes when the first message comes, and that must be the answer.
        if self.is_drafted and self.final is not None and not self.parts:
            return self.reply()
        # At most half of a short answer: the whole of it, left behind, would be an answer shown twice.
        words = self.text[: min(OPENING, len(self.text) // 2)].rpartition(" ")[0] if not self.parts else ""
        # No platform sends what nobody sees.
        return self._reply(words if any(map(str.isalnum, words)) else "…", None)


async def survived(work: Awaitable[None], otherwise: str) -> bool:
    """Whether it was done; what went wrong in a way that nobody foresaw is logged under these words."""
    try:
        await work
    except Exception:
        # A platform can fail in ways that nobody foresaw, and one message must not take all others with it.
        logger.exception("%s", otherwise)
        return False
    return True


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
        pace: Pace | None = None,
        place: Callable[[Address], str] = lambda address: address.scope_id,
        drafts: Drafts | None = None,
        remains: Remains | None = None,
        lease: Lease | None = None,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._transport = transport
        self._platform = subjects.platform_token(platform)
        self._bot_id = subjects.bot_token(bot_id)
        self._screen = screen
        self._scope = scope
        self._pace = pace
        self._place = place
        self._drafts = drafts
        self._remains = remains
        self._lease = lease
        self._at = at
        self._understood = FIRST_VERSION
        self._notes = Notes(notes)
        self._growing: dict[str, _Growing] = {}
        self._done: OrderedDict[str, tuple[str | None, str | None]] = OrderedDict()
        self._epochs: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._uncut: set[asyncio.Task[Any] | None] = set()
        self._subscription: Subscription | None = None
        self._is_leaving = False

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
        welcome = await self.hello(self._scope or subjects.EVERY_SCOPE)
        if self._scope is not None and self._remains is not None and welcome.erased_at is not None:
            # Nobody may have been here when it was asked for.
            await survived(self._remains.erase(self._scope, welcome.erased_at), UNREMOVED)
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

    async def would_take(self, message: InboundMessage) -> Refused | None:
        """Ask whether a message would be heard, before its files are fetched; None where it would."""
        asked = Submit(
            platform=self._platform,
            bot_id=self._bot_id,
            scope_id=message.address.scope_id,
            message=message,
            only_asks=True,
        )
        reply = await self._ask(asked)
        return reply if isinstance(reply, Refused) else None

    async def stop(self, scope_id: str, turn: str, user_id: str) -> Refused | None:
        """A person pressed the button that stops this turn; None where that was theirs to do and it ran."""
        reply = await self._ask(
            StopPressed(platform=self._platform, bot_id=self._bot_id, scope_id=scope_id, turn=turn, user_id=user_id)
        )
        return reply if isinstance(reply, Refused) else None

    async def decide(self, scope_id: str, turn: str, code: str, user_id: str, *, approved: bool) -> Refused | None:
        """A person answered the question of this code; None where that was theirs to do."""
        reply = await self._ask(
            Decision(
                platform=self._platform,
                bot_id=self._bot_id,
                scope_id=scope_id,
                turn=turn,
                code=code,
                user_id=user_id,
                approved=approved,
            )
        )
        return reply if isinstance(reply, Refused) else None

    async def move(self, old_scope: str, new_scope: str) -> None:
        """The platform gave a conversation a new scope; when this returns, it goes on there."""
        await self._ask(Moved(platform=self._platform, bot_id=self._bot_id, scope_id=new_scope, old_scope=old_scope))

    async def read(self, attachment: Attachment) -> bytes | None:
        """The bytes of a file that an answer brings; None where it is not there any more."""
        store = subjects.blobs(self._platform, self._bot_id)
        pause, longest = PAUSES
        while isinstance(got := await blobs.get(self._transport, store, attachment.blob), Err):
            if got.reason not in ("disconnected", "timeout", "no responders"):
                logger.error("a file cannot be read: %s", got.detail)
                return None
            await asyncio.sleep(pause)
            pause = min(longest, pause * 1.5)
        return got.value

    async def keep(self, scope_id: str, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
        """Put a file where those who answer there can read it, however long the bus is away; None where it is not
        taken."""
        store, folder = subjects.blobs(self._platform, self._bot_id), subjects.folder(scope_id)
        pause, longest = PAUSES
        while isinstance(kept := await blobs.put(self._transport, store, data, folder=folder), Err):
            if kept.reason not in ("disconnected", "timeout", "no responders"):
                logger.error("a file cannot be kept: %s", kept.detail)
                return None
            logger.info("a file waits to be kept: %s", kept.detail)
            await asyncio.sleep(pause)
            pause = min(longest, pause * 1.5)
        # A platform may hand over half a surrogate pair, which cannot cross the bus.
        name, mime = (text.encode("utf-8", "replace").decode() for text in (name, mime))
        return Attachment(kind=kind, name=name[:255], mime=mime[:127], size=len(data), blob=kept.value)

    async def begin(self, scope_id: str, of: str, until: int | None = None) -> Refused | None:
        """Begin a scope with all that was said in another conversation, or what was up to a record of its log; words
        where that cannot be."""
        wish = Hello(
            platform=self._platform,
            bot_id=self._bot_id,
            scope_id=scope_id,
            understands=SCHEMA_VERSION,
            of=of,
            until=until,
        )
        reply = await self._ask(wish)
        return reply if isinstance(reply, Refused) else None

    async def hello(self, scope_id: str) -> Welcome:
        """Ask who answers in a scope and what was said last there."""
        while True:
            reply = await self._ask(
                Hello(platform=self._platform, bot_id=self._bot_id, scope_id=scope_id, understands=SCHEMA_VERSION)
            )
            if isinstance(reply, Welcome):
                self._understood = reply.understands
                return reply
            logger.error("the hub does not welcome this spoke: %s", reply)
            await asyncio.sleep(PAUSES[1])

    async def close(self) -> None:
        """Leave; what is unfinished is sent again to whoever says hello next."""
        self._is_leaving = True
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        # What is on the screen should not be sent again only because its note or its receipt was cut off.
        if self._uncut:
            await asyncio.wait([task for task in self._uncut if task is not None], timeout=LEAVING)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._notes.close()

    async def _ask(self, asked: FromSpoke) -> ToSpoke:
        """Ask until there is an answer; a hub that is away is a pause."""
        subject = subjects.inbound(self._platform, self._bot_id, subjects.partition(asked.scope_id))
        # Every request may be repeated, so a lost one need not cost more than a moment.
        (timeout, longest), (pause, longest_pause) = REQUEST_TIMEOUTS, PAUSES
        is_told = False
        while True:
            if self._lease is not None:
                await self._lease.held()
                asked = asked.model_copy(update={"generation": self._lease.generation})
            payload = FROM_SPOKE.encode(asked, self._understood)
            answer = await self._transport.request(subject, payload, timeout=timeout, responder=subjects.HUB)
            match answer:
                case Ok(value=raw):
                    try:
                        told = TO_SPOKE.decode(raw)
                    except Malformed as error:
                        logger.error("the hub's answer is not readable: %s", error)
                    else:
                        match told:
                            case Refused(reason="newer version") if self._understood > FIRST_VERSION:
                                # Another hub reigns, which is older.
                                self._understood = FIRST_VERSION
                            case StandBy() if self._lease is not None:
                                self._lease.lose()
                            case _:
                                return told
                case Err(reason="too large"):
                    return Refused(reason="too large", text="That is too long to be sent. Send it as a file.")
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
                await self.hello(self._scope or subjects.EVERY_SCOPE)
                said_at = loop.time()
                # Who may not speak any more may not write the file either: it is another's.
                await self._held()
                self._notes.tidy()

    def _on_outbound(self, delivery: Delivery) -> None:
        # Who leaves while it is joining has nothing yet by which it could end what it began to hear.
        if self._is_leaving:
            return
        try:
            event = OUTBOUND.decode(delivery.data)
        except Malformed as error:
            logger.error("an event on %s is refused: %s", delivery.subject, error)
            return
        address = event.address
        if (address.platform, address.bot_id) != (self._platform, self._bot_id):
            logger.error("an event on %s is refused: it is another bot's", delivery.subject)
            return
        # What is removed may lie where any spoke of the bot can reach it.
        if self._scope not in (None, address.scope_id) and not isinstance(event, Erase):
            return
        part = subjects.partition(address.scope_id)
        if event.epoch < self._epochs.get(part, 0):
            return
        self._epochs[part] = event.epoch
        if isinstance(event, Said):
            self._spawn(self._screen.said(event))
            return
        if isinstance(event, Erase):
            self._spawn(self._erase(event))
            return
        if isinstance(event, Final):
            self._close_joined(event)
        if event.turn in self._done:
            if isinstance(event, Final):
                self._spawn(self._receipt_final(address, event.turn, *self._done[event.turn]))
        else:
            self._take(event)

    async def _erase(self, event: Erase) -> None:
        """Remove what is kept of a scope, and say so; what went wrong is asked for again."""
        # The file may be another's by now.
        await self._held()
        self._notes.forget(event.turns)
        scope_id = event.address.scope_id
        if self._remains is not None and not await survived(self._remains.erase(scope_id, event.until), UNREMOVED):
            return
        erased = Erased(platform=self._platform, bot_id=self._bot_id, scope_id=scope_id, turn=event.turn)
        await self._receipt(erased)

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
        parts = growing.parts
        if event.message_id is not None:
            growing.know((event.message_id, *(event.further or ())))
        # While something is missing, what is held may be less than what an earlier process showed.
        if growing.take(event) or (growing.parts != parts and not growing.has_gap):
            growing.changed.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, growing: _Growing) -> None:
        """See one reply to its end, whatever the platform does meanwhile."""
        # The answer is on the log, so what went wrong in a way that nobody foresaw is tried again.
        while not await survived(self._show(growing), f"turn {growing.turn} could not be shown, trying again"):
            await asyncio.sleep(BROKEN_RETRY)
            growing.changed.set()
        self._done[growing.turn] = growing.message_id, growing.undeliverable
        while len(self._done) > DONE_KEPT:
            self._done.popitem(last=False)
        del self._growing[growing.turn]

    async def _show(self, growing: _Growing) -> None:
        left: Left | None = None
        while growing.undeliverable is None:
            await growing.changed.wait()
            part = len(growing.parts)
            try:
                if part and left != "open":
                    left = await self._write(growing)
                elif left == "open" or not await self._draft(growing):
                    await self._open(growing, part)
                    left = "write"
            except NotNow as told:
                # What is to be done stays the same; what is to be written may be another by then.
                if self._pace is None:
                    await asyncio.sleep(told.seconds)
                else:
                    self._pace.silence(self._place(growing.address), told.seconds)
                growing.changed.set()
                continue
            except Gone as told:
                growing.lose(told.part)
                left = "open"
            except Undeliverable as refusal:
                logger.warning("turn %s is undeliverable: %s", growing.turn, refusal)
                growing.undeliverable = str(refusal)
                continue
            if left is not None:
                growing.changed.set()
            elif growing.final is not None and growing.parts and not growing.changed.is_set():
                await self._receipt_final(growing.address, growing.turn, growing.message_id, None)
                return
        while growing.final is None:
            await growing.changed.wait()
            growing.changed.clear()
        await self._receipt_final(growing.address, growing.turn, growing.message_id, growing.undeliverable)

    async def _held(self) -> None:
        """Return once nobody else can be writing for this bot."""
        if self._lease is not None:
            await self._lease.held()

    @asynccontextmanager
    async def _leave(self, growing: _Growing) -> AsyncIterator[None]:
        """The leave to write; answers that are whole, questions and bubbles that open go before what grows."""
        is_urgent = growing.must_stand or not (growing.parts or growing.is_drafted)
        pace = self._pace and self._pace.leave(self._place(growing.address), is_urgent=is_urgent)
        async with pace or nullcontext():
            await self._held()
            yield

    async def _write(self, growing: _Growing) -> Left | None:
        """One step towards what the reply is by the time there is leave to write."""
        async with self._leave(growing):
            growing.changed.clear()
            reply = growing.reply()
            left = await self._screen.edit(reply.parts[0], reply)
        # The log may have named the message that is to be opened while this was written.
        return "write" if left == "open" and len(growing.parts) > len(reply.parts) else left

    async def _draft(self, growing: _Growing) -> bool:
        """Show an answer that grows where there is no message of it yet, if the platform can."""
        if self._drafts is None or growing.must_stand:
            return False
        async with self._leave(growing):
            growing.changed.clear()
            # While this waited there may have come what needs a message at once, or the log named a message.
            is_wanted = not growing.must_stand and not growing.parts
            is_drafted = is_wanted and await self._drafts.draft(growing.reply())
        growing.is_drafted |= is_drafted
        return is_drafted

    async def _open(self, growing: _Growing, part: int) -> None:
        """Send the opening words, note their id, and let the hub's word say which message counts."""
        sent = self._notes.get(growing.turn, part)
        if sent is None or sent in growing.gone:
            async with self._leave(growing):
                # The log may have named the message while this waited.
                if len(growing.parts) > part:
                    return
                sending = asyncio.create_task(self._send(growing, part))
                self._uncut.add(sending)
                sending.add_done_callback(self._uncut.discard)
                sent = await sending
            self._at("sent-unreceipted")
        receipt = ShownReceipt(
            platform=self._platform,
            bot_id=self._bot_id,
            scope_id=growing.address.scope_id,
            turn=growing.turn,
            message_id=sent,
            part=part or None,
        )
        noted = await self._ask(receipt)
        known = noted.message_id if isinstance(noted, Noted) else None
        message_id = sent if known is None or known in growing.gone else known
        # The hub's own events may have named it before its answer came.
        growing.parts = (*growing.parts[:part], message_id, *growing.parts[part + 1 :])

    async def _send(self, growing: _Growing, part: int) -> str:
        sent = await self._screen.send(growing.opening())
        self._at("sent-unnoted")
        self._notes.add(growing.turn, sent, part)
        return sent

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
        await self._receipt(receipt)

    async def _receipt(self, receipt: FinalReceipt | Erased) -> None:
        task = asyncio.current_task()
        self._uncut.add(task)
        try:
            await self._ask(receipt)
        finally:
            self._uncut.discard(task)
