"""The workers of one capability, asked as one: whoever is best does it, and the next one where that is right."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from adapters.nats.blobs import patiently
from adapters.nats.heartbeats import Heartbeats
from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    PARCELS,
    CapabilityAnswers,
    CapabilityCancel,
    CapabilityDescription,
    CapabilityDone,
    CapabilityInquiry,
    CapabilityOutcome,
    CapabilityProgress,
    CapabilityRefused,
    CapabilityRequest,
    Kept,
    KeptFile,
    WishFields,
    written_parcel,
    written_request,
    written_wish,
)
from factory_contracts.envelope import SCHEMA_VERSION, Malformed
from factory_contracts.lifecycle import HEARTBEAT
from factory_contracts.messages import MAX_TEXT, Attachment
from factory_contracts.records import Effect
from factory_nats import blobs
from factory_nats.registry import Sign, WorkerRegistry
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Delivery, Transport
from factory_nats.worker_pool import Opinion, Request, WorkerPoolClient

logger = logging.getLogger(__name__)

SILENCE = 2.0
DESCRIBING = 1.0
# How long nobody to be found, or nobody with room, is waited for: a worker beats twice a second, and what it is at now
# may be done soon.
PATIENCE = 2.0
BUSY_PATIENCE = 10.0
BUS_PATIENCE = 20.0
# So often all who live are asked in vain.
MOST_FAILURES = 5
SIGN = 0.5
# A little longer than from one heartbeat to the next.
FIRST = 0.75
# Nobody can be asked to be done in no time.
MOMENT = 0.001

# The less there is of it, the less may be done twice.
_STRICTEST: tuple[Effect, ...] = ("external", "write", "read")
# What may be otherwise in a moment; nothing was done.
_PASSING = frozenset(("busy", "gone", "no worker", "no responders", "circuit open", "disconnected"))
_PASSING_IN_STORES = frozenset(("timeout", "disconnected", "no responders"))
# Whoever was asked may have done it.
_OPEN = frozenset(("timeout", "lost", "malformed"))

Hear = Callable[[CapabilityProgress], None]


class Wish(NamedTuple):
    """What is wanted of whoever serves a capability, within `deadline` seconds; the same turn and call are the same."""

    turn: str
    call: str
    deadline: float
    text: str = ""
    arguments: str = "{}"
    id: str | None = None


class Fulfilled(NamedTuple):
    """What came of a wish: words, files with their bytes, and files that lie elsewhere."""

    text: str
    files: tuple[tuple[str, bytes], ...] = ()
    attachments: tuple[Attachment, ...] = ()


class Fleet:
    """All workers of one capability."""

    def __init__(self, transport: Transport, capability: str) -> None:
        self.capability = capability
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._registry = WorkerRegistry(silence=SILENCE)
        self._pool: WorkerPoolClient[CapabilityOutcome] = WorkerPoolClient(
            transport, self._registry, subject=partial(subjects.request, capability), parcels=_Parcels()
        )
        self._heartbeats = Heartbeats(HEARTBEAT.decode)
        self._descriptions: dict[str, CapabilityDescription] = {}
        self._shape = ""
        self._described: CapabilityDescription | None = None
        self._listening = asyncio.Lock()
        self._is_heard = False

    async def listen(self) -> Err | None:
        """Hear the workers' heartbeats; what keeps us from it is tried again when they are asked."""
        # Two that ask at once must not each subscribe.
        async with self._listening:
            if self._is_heard:
                return None
            heard = await self._pool.listen(subjects.heartbeats(self.capability), self._read)
            if isinstance(heard, Err):
                return heard
            self._is_heard = True
            # Whoever lives is heard within a heartbeat, and who asks first shall not find nobody.
            await self._pool.change(FIRST)
            return None

    async def close(self) -> None:
        """Watch over nobody any more."""
        await self._pool.close()

    async def change(self, seconds: float) -> None:
        """Until somebody was heard or has room again, or so long."""
        await self._pool.change(seconds)

    def opinions(self) -> tuple[Opinion, ...]:
        """What we think of each worker."""
        return self._pool.opinions()

    async def describe(self) -> CapabilityDescription | None:
        """How most of those who live are asked, with the worst effect of any; None where nobody ever said it."""
        living = self._registry.living(self._now())
        for said in living:
            if said.shape and said.shape not in self._descriptions:
                await self._inquire(said)
        shapes = Counter(said.shape for said in living if said.shape in self._descriptions)
        if shapes:
            effects = {self._descriptions[shape].effect for shape in shapes}
            self._shape = max(shapes, key=lambda shape: (shapes[shape], shape))
            self._described = self._descriptions[self._shape].model_copy(
                update={"effect": min(effects, key=_STRICTEST.index)}
            )
        return self._described

    async def ask(
        self, wish: Wish, *, effect: Effect = "external", hear: Hear | None = None
    ) -> Fulfilled | CapabilityRefused | Err:
        """What came of it, the refusal of a worker, or why there is neither.

        "timeout", "lost" and "malformed" leave open whether it was done, any other reason says that it was not. What
        only reads is asked of the next worker when one fails.
        """
        idle_since = self._now()
        until = idle_since + wish.deadline
        kept: Kept | None = None
        if len(wish.arguments) > MAX_TEXT:
            stored = await patiently(partial(self._put, wish.arguments.encode()), _PASSING_IN_STORES)
            if isinstance(stored, Err):
                return Err("too large", f"the arguments cannot be kept: {stored.detail}")
            kept = Kept(blob=stored.value, size=len(wish.arguments))
        exchange = _Exchange(wish, kept, until, effect, hear, self._now, self._shape)
        passing = _PASSING | _OPEN if effect == "read" else _PASSING
        failures = 0
        while True:
            problem = None if self._is_heard else await self.listen()
            if problem is None:
                answer = await self._pool.request(exchange)
                if isinstance(answer, Ok):
                    reply = answer.value.answer
                    if isinstance(reply, CapabilityRefused):
                        return reply
                    if reply.large is None and reply.files is None and reply.kept_files is None:
                        return Fulfilled(reply.text, (), reply.attachments)
                    return await self._gathered(reply)
                problem = answer
            now = self._now()
            if problem.reason in _OPEN:
                # Somebody was there, and took their time.
                idle_since, failures = now, failures + 1
            if failures == MOST_FAILURES:
                return problem
            if problem.reason not in passing or now >= until or self._is_out_of_patience(problem, now - idle_since):
                return problem
            # The next one may be free, or come; whether a busy one has become free its heartbeat says.
            await self._pool.change(SIGN)

    async def _gathered(self, done: CapabilityDone) -> Fulfilled | Err:
        """With what was too large for the message."""
        text = done.text
        files = [(file.name, file.data) for file in done.files or ()]
        for kept in (done.large, *(done.kept_files or ())):
            if kept is None:
                continue
            found = await patiently(partial(self._get, kept))
            if isinstance(found, Err) or found.value is None:
                return Err("lost", "what was made is not in the store")
            if isinstance(kept, KeptFile):
                files.append((kept.name, found.value))
            else:
                text = found.value.decode(errors="replace")
        return Fulfilled(text, tuple(files), done.attachments)

    async def _inquire(self, said: Sign) -> None:
        subject = subjects.request(self.capability, said.worker)
        asked = CAPABILITY_REQUEST.encode(CapabilityInquiry())
        answer = await self._transport.request(subject, asked, timeout=DESCRIBING, responder=said.worker)
        if isinstance(answer, Err):
            logger.warning("worker %s does not say how it is asked: %s", said.worker, answer.detail)
            return
        with suppress(Malformed):
            reply = CAPABILITY_REPLY.decode(answer.value)
            if isinstance(reply, CapabilityDescription):
                self._descriptions[said.shape] = reply
                return
        logger.error("worker %s says nothing that could be understood of how it is asked", said.worker)

    def _read(self, delivery: Delivery) -> Sign | None:
        said = self._heartbeats.read(delivery)
        if said is None:
            return None
        return Sign(
            said.worker,
            said.instance,
            load=float(said.running or 0),
            slots=float(said.at_once or 0),
            is_draining=said.is_draining is True,
            understands=said.understands,
            shape=said.shape or "",
        )

    def _is_out_of_patience(self, problem: Err, waited: float) -> bool:
        """While the bus is away nobody can be heard; that time counts for less."""
        patience = BUSY_PATIENCE if problem.reason == "busy" else PATIENCE
        return min(waited, self._transport.connected_for(self._now())) >= patience or waited >= BUS_PATIENCE

    @property
    def _store(self) -> str:
        return subjects.store(self.capability)

    async def _put(self, data: bytes) -> Result[str]:
        return await blobs.put(self._transport, self._store, data)

    async def _get(self, kept: Kept) -> Result[bytes | None]:
        return await blobs.get(self._transport, self._store, kept.blob)

    def _now(self) -> float:
        return self._loop.time()


class _Exchange(Request[CapabilityOutcome]):
    """One wish on its way to whoever fulfils it."""

    def __init__(
        self,
        wish: Wish,
        kept: Kept | None,
        until: float,
        effect: Effect,
        hear: Hear | None,
        now: Callable[[], float],
        shape: str,
    ) -> None:
        super().__init__(
            until,
            id=wish.id or f"{wish.turn}/{wish.call}",
            is_repeatable=effect == "read",
            more=None if hear is None else self._is_followed,
            shape=shape,
        )
        self._wish = wish
        self._kept = kept
        self._hear = hear
        self._now = now

    def write(self, instance: str) -> bytes:
        """The wish as one life of a worker is told it."""
        if self._kept is None and self._hear is None:
            return written_request(instance, SCHEMA_VERSION, self._written())
        wish = self._wish
        asked = CapabilityRequest(
            turn=wish.turn,
            call=wish.call,
            text=wish.text,
            arguments=wish.arguments if self._kept is None else "{}",
            deadline=max(MOMENT, self.until - self._now()),
            id=wish.id,
            large=self._kept,
            instance=instance,
            understands=SCHEMA_VERSION,
            wants_progress=None if self._hear is None else True,
        )
        return CAPABILITY_REQUEST.encode(asked)

    def part(self) -> bytes:
        """The wish among others; what goes into the store, and what is to be heard of on the way, travels alone."""
        if self._kept is not None or self._hear is not None:
            return b""
        return self._written()

    def _written(self) -> bytes:
        wish = self._wish
        said = WishFields(
            turn=wish.turn,
            call=wish.call,
            text=wish.text,
            arguments=wish.arguments,
            deadline=max(MOMENT, self.until - self._now()),
        )
        if wish.id is not None:
            said["id"] = wish.id
        return written_wish(said)

    def cancel(self) -> bytes:
        """That nobody waits for it any more."""
        return CAPABILITY_REQUEST.encode(CapabilityCancel(id=self.id))

    def read(self, data: bytes) -> CapabilityOutcome | Err:
        """What came of it, as a worker says."""
        try:
            said = CAPABILITY_REPLY.decode(data)
        except Malformed as error:
            return Err("malformed", str(error))
        if isinstance(said, CapabilityDone | CapabilityRefused):
            return said
        return Err("malformed", "the worker speaks of something else")

    def judge(self, answer: CapabilityOutcome) -> Err | None:
        """What is wrong with it, if anything is."""
        # What nearly always comes.
        if type(answer) is CapabilityDone:
            return None
        match answer:
            case CapabilityRefused(reason="busy" | "newer version" | "gone" as reason):
                return Err(reason, "the worker does not take it")
            case CapabilityRefused(reason="cancelled") if self.is_repeatable:
                return Err("gone", "the worker was told that nobody waits")
            case CapabilityRefused(reason="failed" | "late" | "cancelled"):
                return Err("refused", "the worker failed at it")
            case _:
                return None

    def _is_followed(self, data: bytes) -> bool:
        with suppress(Malformed):
            said = CAPABILITY_REPLY.decode(data)
            if isinstance(said, CapabilityProgress) and self._hear is not None:
                self._hear(said)
                return True
        return False


class _Parcels:
    """Several wishes in one message, and what came of them."""

    understands = PARCELS

    def write(self, parts: Sequence[bytes], instance: str) -> bytes:
        """The wishes as one life of a worker is told them."""
        return written_parcel(instance, SCHEMA_VERSION, parts)

    def read(self, data: bytes, parts: int) -> Iterable[tuple[int, CapabilityOutcome]] | Err:
        """What came of some of them; who refuses the whole parcel refuses each."""
        try:
            said = CAPABILITY_REPLY.decode(data)
        except Malformed as error:
            return Err("malformed", str(error))
        if isinstance(said, CapabilityAnswers) and max(said.parts) < parts:
            return zip(said.parts, said.replies, strict=True)
        if isinstance(said, CapabilityRefused):
            return [(number, said) for number in range(parts)]
        return Err("malformed", "the worker speaks of something else")
