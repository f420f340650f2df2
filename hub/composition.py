"""The hub's composition root: the one place that names concrete adapters and wires them to the core."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TypeVar

from adapters.nats.blobs import NatsBlobs
from adapters.nats.clipool import Keeper, NatsCliPool
from adapters.nats.eraser import Join, NatsEraser, as_eraser
from adapters.nats.inbound import NatsInbound
from adapters.nats.log import JetStreamLog
from adapters.nats.outbound import NatsOutbox
from adapters.nats.presence import NatsPresence
from adapters.nats.readiness import NatsReadiness
from adapters.nats.seals import Seals
from adapters.nats.stores import CapabilityStores
from adapters.nats.understood import Understood
from factory_contracts import subjects
from factory_nats.connect import Identity, connect
from factory_nats.result import Err
from factory_nats.transport import Transport
from hub.delivery import Deliveries
from hub.dispatch import Hub
from hub.forgetting import Forgetting
from hub.kernel.access import BotPolicy
from hub.kernel.budget import Budget, Ledger
from hub.kernel.ports import Fenced
from hub.kernel.routing import Bindings
from hub.kernel.seals import HighWater, Unnoted
from hub.leases import Leases
from hub.people import Offers, People
from hub.pool import Crew, Pools, Ports
from hub.recovery import keep_mark, recover
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
    connected = await connect(
        settings.nats_url, settings.identity, patience=PATIENCE, until=stop, on_closed=lambda why: lost.set()
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
            f"hub-{secrets.token_hex(4)}",
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
    readiness = NatsReadiness(transport, name, fenced.set)
    seals = Seals(transport, settings.high_water, lambda: log.sequence, clock)
    log = JetStreamLog(transport, name, at=at, witness=seals.note)
    clipool = NatsCliPool(transport, log.epoch, log.reigns)
    understood = Understood()
    inbound = NatsInbound(transport, understood, at=at)
    files = NatsBlobs(transport)
    large = CapabilityStores(transport)
    eraser = NatsEraser(transport, join, at=at)
    deliveries = Deliveries(fenced.set, at)
    ledger = Ledger(settings.budgets)
    people = People(log, settings.policies, settings.offers)
    ports = Ports(
        log=log,
        outbox=NatsOutbox(transport, log.still_reigns, fenced.set, understood),
        clipool=clipool,
        bindings=settings.bindings,
        ledger=ledger,
        people=people,
        clock=clock,
        at=at,
    )
    forgetting = Forgetting(ports, eraser, deliveries.flush)
    crew = Crew(
        run_turn=run_turn,
        deliver=deliveries.deliver,
        settle=deliveries.settle,
        fork=lambda key, view: pools.fork(key, view),
        forget=forgetting.forget,
        fenced=fenced.set,
    )
    pools = Pools(ports, crew, settings.max_pools, deliveries.flush)
    leases = Leases(log, NatsPresence(transport), time.time)
    hub = Hub(ports, pools, forgetting, leases, settings.payer)

    async def begin() -> None:
        await readiness.listen()
        if settings.standby:
            logger.info("standing by")
            await readiness.wait_for_silence()
        await log.create()
        for lack in await seals.behind():
            raise Behind(lack)
        for policy in settings.policies:
            await files.create(policy.platform, policy.bot_id)
        await large.open()
        await log.take_over(clock())
        await people.restore()
        await clipool.start()
        await inbound.open(hub.answer, fenced.set)
        await readiness.announce(log.epoch(0))
        await recover(log, pools, ledger, forgetting)
        seals.open()
        clipool.serve(Keeper(hub.is_open, hub.record))
        logger.info("%s reigns, epoch %s", name, log.epoch(0))
        # From here on there is nothing to do but what others ask for; it ends when another hub has taken over.
        await keep_mark(log, pools, ledger, unwritten, clock)

    def unwritten() -> tuple[int, ...]:
        return *deliveries.unwritten(), *forgetting.unfinished(), *seals.unsealed()

    is_behind = False
    try:
        await _unless((stop, fenced, lost), begin())
    except Fenced:
        fenced.set()
    except Behind as lack:
        logger.critical("the log is not the one that was there: %s", lack)
        is_behind = True
    await readiness.close()
    if not is_behind and not fenced.is_set() and not lost.is_set():
        await _drain(inbound, deliveries, log)
    await inbound.leave()
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
