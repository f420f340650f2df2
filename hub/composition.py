"""The hub's composition root: the one place that names concrete adapters and wires them to the core."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TypeVar

from adapters.nats.blobs import NatsBlobs
from adapters.nats.clipool import Keeper, NatsCliPool
from adapters.nats.eraser import Join, NatsEraser, as_eraser
from adapters.nats.hubs import NatsHubs
from adapters.nats.inbound import NatsInbound
from adapters.nats.log import JetStreamLog
from adapters.nats.outbound import NatsOutbox
from adapters.nats.peers import NatsPeers
from adapters.nats.presence import NatsPresence
from adapters.nats.readiness import BEAT, READY_EVERY, NatsReadiness
from adapters.nats.seals import Seals
from adapters.nats.stores import CapabilityStores
from adapters.nats.understood import Understood
from factory_contracts import subjects
from factory_contracts.lifecycle import HubHeartbeat
from factory_nats.connect import Identity, connect, public_key
from factory_nats.result import Err
from factory_nats.transport import Transport
from hub.delivery import Deliveries
from hub.dispatch import Hub
from hub.forgetting import Forgetting
from hub.kernel.access import BotPolicy
from hub.kernel.budget import Budget, Ledger, SharedLedger
from hub.kernel.ports import Alone, Fenced
from hub.kernel.routing import Bindings
from hub.kernel.seals import HighWater, Unnoted
from hub.leases import Leases
from hub.money import Money, SharedMoney
from hub.people import Offers, People, tell_nobody
from hub.pool import Crew, Pools, Ports
from hub.realm import Realm
from hub.recovery import EVERY, MARK_EVERY, keep_mark, recover
from hub.turn import run_turn

T = TypeVar("T")

logger = logging.getLogger(__name__)

LOST = 1
SUPERSEDED = 75
BEHIND = 65
PATIENCE = 3600.0
DRAIN = 5.0
# A server that lets everybody in asks for no secret.
NOBODY_ELSE = Identity(subjects.ERASER)
UNNOTED = Unnoted()


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What the hub is told at its start; the eraser is who it is while it takes what was said off the disk.

    `high_water` is where it notes outside of the log how far that goes.
    One that shares has other hubs beside it, which share as well; any other reigns alone or stands by.
    """

    nats_url: str
    identity: Identity
    bindings: Bindings
    policies: tuple[BotPolicy, ...]
    budgets: tuple[Budget, ...] = ()
    payer: Callable[[str], str] = lambda model: ""
    offers: Offers = lambda platform, bot_id: None
    max_pools: int = 1_000
    standby: bool = False
    shares: bool = False
    eraser: Identity = NOBODY_ELSE
    high_water: HighWater = UNNOTED


class Behind(Exception):
    """The log is not the one that was there, or lost its end: whoever reigned on would hide it."""


async def serve(
    settings: HubSettings, stop: asyncio.Event | None = None, *, at: Callable[[str], None] = lambda point: None
) -> int:
    """Reign until told to stop (0), until another hub takes over (75), or until the bus sends this one away (1).

    Where the log lacks what it held before, nothing is begun (65).
    """
    stop, lost = stop or asyncio.Event(), asyncio.Event()
    # The server tells whose connection ends by its name, and no two lives of hubs have the same.
    name = f"hub-{secrets.token_hex(4)}"
    connected = await connect(
        settings.nats_url,
        settings.identity,
        name=name,
        patience=PATIENCE,
        until=stop,
        on_closed=lambda why: lost.set(),
    )
    if isinstance(connected, Err):
        if stop.is_set():
            return 0
        logger.error("the hub cannot join the bus: %s", connected.detail)
        return LOST
    transport = connected.value
    try:
        return await reign(
            settings,
            transport,
            as_eraser(settings.nats_url, settings.eraser),
            name,
            stop,
            lost,
            at=at,
        )
    finally:
        await transport.close()


async def reign(
    settings: HubSettings,
    transport: Transport,
    join: Join,
    name: str,
    stop: asyncio.Event,
    lost: asyncio.Event,
    *,
    clock: Callable[[], float] = time.time,
    at: Callable[[str], None] = lambda point: None,
) -> int:
    """The same over a transport that somebody else opened and closes, and that sets `lost` when it ends for good."""
    fenced = asyncio.Event()
    seed = settings.identity.seed
    user = None if seed is None else public_key(seed)

    def leave() -> None:
        # Who shares loses a part of what it has, and who reigns alone everything.
        if not settings.shares:
            fenced.set()

    def lose(part: int) -> None:
        seals.lose(part)
        leave()

    readiness = NatsReadiness(transport, name, leave, user=user)
    seals = Seals(
        transport,
        settings.high_water,
        lambda: log.sequence,
        clock,
        catch_up=lambda: people.follow(),
        unread=lambda: pools.reading,
    )
    log = JetStreamLog(
        transport,
        name,
        at=at,
        witness=seals.note,
        on_lost=lambda part: (realm.lose if settings.shares else lose)(part),
    )

    def state() -> HubHeartbeat:
        parts = tuple(sorted(log.owned))
        return HubHeartbeat(hub=name, epoch=log.epoch(0), parts=parts, sequence=log.sequence, acts=people.through)

    hubs = NatsHubs(transport, name, state, user=user, hear=log.hear)
    peers = NatsPeers(transport, name, hubs)
    clipool = NatsCliPool(transport, log.epoch, log.reigns)
    understood = Understood()
    inbound = NatsInbound(transport, understood, at=at)
    files = NatsBlobs(transport)
    large = CapabilityStores(transport)
    eraser = NatsEraser(transport, join, at=at)
    deliveries = Deliveries(leave, at)
    # Where nobody has to keep to a budget, nobody need know what others spend.
    shared = SharedLedger(settings.budgets) if settings.shares and settings.budgets else None
    ledger = shared or Ledger(settings.budgets)
    # Where hubs share accounts, one of them writes what was spent, and no mark of another's passes by that.
    own = ledger if shared is None else None
    money = SharedMoney(log, shared, clock) if shared is not None else Money(ledger)
    people = People(log, settings.policies, settings.offers, hubs.agree if settings.shares else tell_nobody)
    ports = Ports(
        log=log,
        outbox=NatsOutbox(transport, log.still_reigns, leave, understood),
        clipool=clipool,
        bindings=settings.bindings,
        ledger=ledger,
        people=people,
        clock=clock,
        at=at,
        peers=peers if settings.shares else Alone(),
    )
    forgetting = Forgetting(ports, eraser)
    crew = Crew(
        run_turn=run_turn,
        deliver=deliveries.deliver,
        settle=deliveries.settle,
        fork=lambda key, view: hub.begin(key, view),
        forget=forgetting.forget,
        fenced=leave,
    )
    pools = Pools(ports, crew, settings.max_pools)
    leases = Leases(log, NatsPresence(transport), clock)
    hub = Hub(ports, pools, forgetting, money, leases, settings.payer)

    realm = Realm(name, log, hubs, pools, money, forgetting, people, clipool, inbound, seals, clock)

    async def begin() -> None:
        await readiness.listen()
        await log.create()
        for policy in settings.policies:
            await files.create(policy.platform, policy.bot_id)
        await large.open()
        is_ours, after = False, None
        while not is_ours:
            if settings.standby:
                logger.info("standing by")
                after = await log.owner(0)
                await readiness.wait_for_end(after)
            for lack in await seals.behind():
                raise Behind(lack)
            is_ours = await log.take_over(clock(), after=after)
        readiness.reign(log.epoch(0))
        pools.reading = frozenset(EVERY)
        await people.restore()
        await clipool.open()
        await clipool.start()
        inbound.serve(hub.answer)
        await inbound.open()
        readiness.announce()
        ledger.restore(await log.spent())
        await recover(log, pools, ledger, forgetting)
        pools.reading = frozenset()
        seals.open()
        clipool.serve(Keeper(hub.is_open, hub.record))
        logger.info("%s reigns, epoch %s", name, log.epoch(0))
        # From here on there is nothing to do but what others ask for; it ends when another hub has taken over.
        await keep_mark(log, pools, ledger, unwritten, clock)

    async def share() -> None:
        await log.create()
        for lack in await seals.behind():
            raise Behind(lack)
        for policy in settings.policies:
            await files.create(policy.platform, policy.bot_id)
        await large.open()
        await people.restore()
        await money.restore()
        await clipool.start()
        clipool.serve(Keeper(is_open, hub.record))
        inbound.serve(hub.answer)
        await peers.open(hub.hear)
        seals.open()
        await hubs.join()
        async with asyncio.TaskGroup() as group:
            group.create_task(realm.rule(), name="realm")
            group.create_task(_keep_marks(lambda: keep_mark(log, pools, own, unwritten, clock)), name="marks")
            group.create_task(money.reckon(), name="money")
            group.create_task(realm.count(), name="traffic")
            group.create_task(_keep_ready(readiness, log), name="ready")

    def is_open(scope: str, turn: str) -> bool:
        # What is open in a partition is known once it was read.
        return subjects.partition(scope.split(":", 2)[-1]) in pools.reading or hub.is_open(scope, turn)

    def unwritten() -> tuple[int, ...]:
        return *deliveries.unwritten(), *forgetting.unfinished(), *seals.unsealed(), *realm.unread()

    is_behind = False
    try:
        await _unless((stop, fenced, lost), share() if settings.shares else begin())
    except Fenced:
        fenced.set()
    except Behind as lack:
        logger.critical("the log is not the one that was there: %s", lack)
        is_behind = True
    await readiness.close()
    if not is_behind and not fenced.is_set() and not lost.is_set():
        await _drain(inbound, deliveries, log)
        if settings.shares:
            await hubs.leave()
    await hubs.close()
    await peers.close()
    await inbound.end()
    await deliveries.close()
    await pools.close()
    await forgetting.close()
    await seals.close(is_over=fenced.is_set() or lost.is_set())
    await clipool.close()
    await large.close()
    if is_behind:
        return BEHIND
    if lost.is_set():
        return LOST
    return SUPERSEDED if fenced.is_set() else 0


async def _drain(inbound: NatsInbound, deliveries: Deliveries, log: JetStreamLog) -> None:
    """Finish what was taken at the door; running turns go on under the next hub, from the log and the workers."""
    try:
        async with asyncio.timeout(DRAIN):
            await inbound.close()
            await deliveries.flush()
            await log.close()
    except TimeoutError:
        logger.warning("the drain took longer than %s s; the next hub does the rest", DRAIN)


async def _keep_marks(keep: Callable[[], Awaitable[None]]) -> None:
    """Go on when a partition was lost: there are others, or will be."""
    while True:
        try:
            await keep()
        except Fenced:
            await asyncio.sleep(MARK_EVERY)


async def _keep_ready(readiness: NatsReadiness, log: JetStreamLog) -> None:
    """Say where everybody may read it that hubs serve; one of them does."""
    while True:
        if log.epoch(0):
            await readiness.put(log.epoch(0))
        await asyncio.sleep(READY_EVERY if log.epoch(0) else BEAT)


async def _unless(events: Sequence[asyncio.Event], work: Coroutine[None, None, T]) -> T | None:
    """What the work comes to; None when one of the events came first, and then the work is called off."""
    task = asyncio.create_task(work)
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait([task, *waits], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for waiting in (task, *waits):
            waiting.cancel()
        await asyncio.gather(task, *waits, return_exceptions=True)
