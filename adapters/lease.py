"""Who of several spokes of one bot speaks: each asks the hub, and whoever is not given the lease stands by.

A lease is good for a moment after it was last asked for, on the connection on which it was. A process that stood still
longer, or was cut off, does nothing more for the bot until the hub has said that the lease is still its own.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

from factory_contracts import subjects
from factory_contracts.envelope import FIRST_VERSION, Malformed
from factory_contracts.messages import FROM_SPOKE, TO_SPOKE, Claim, Leased, Refused, StandBy, ToSpoke
from factory_nats.result import Err
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

RENEW_EVERY = 0.5
LOOK_EVERY = 0.1
# The hub waits a second longer than this before it gives the lease of a silent spoke to another.
GOOD_FOR = 2.0
PATIENCE = 1.0
LEAVING = 0.3


class Superseded(Exception):
    """Another spoke speaks for the bot now."""


class Lease:
    """This process's claim to speak for a bot."""

    def __init__(
        self,
        transport: Transport,
        platform: str,
        bot_id: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._platform = subjects.platform_token(platform)
        self._bot_id = subjects.bot_token(bot_id)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # Who reads the hub's log is told which process it is.
        self._instance = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._asked_at = float("-inf")
        self._renewed = asyncio.Event()
        self._lost = asyncio.Event()
        self.generation: int | None = None
        # Under which generation another spoke when this one last stood by, and when that was.
        self.stood_by: tuple[int, float] | None = None

    @property
    def is_good(self) -> bool:
        """Whether this process may act for the bot at this very instant."""
        now = self._loop.time()
        since = now - self._asked_at
        # What was asked on an earlier connection says nothing of what was decided while there was none.
        is_same = self._transport.is_connected and self._transport.connected_for(now) >= since
        return is_same and since < GOOD_FOR and not self._lost.is_set()

    async def win(self) -> None:
        """Stand by until the bot is this process's to speak for."""
        while True:
            match await self._claim():
                case Leased():
                    return
                case StandBy(generation=generation):
                    if self.stood_by is None:
                        logger.info("another process speaks for %s/%s, standing by", self._platform, self._bot_id)
                    self.stood_by = generation, self._clock()
                case Refused(reason="malformed"):
                    # A hub of a version before leases tells one spoke from another as little as it ever did.
                    return
                case _:
                    pass
            await asyncio.sleep(LOOK_EVERY)

    async def during(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do this for as long as the lease is held, and then let whoever stands by take over at once."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep())
                await work()
        except* Superseded:
            pass
        finally:
            self._lost.set()
            await self._ask(LEAVING, leaves=True)

    async def held(self) -> None:
        """Return as soon as this process may act for the bot."""
        while not self.is_good:
            self._renewed.clear()
            await self._renewed.wait()

    def lose(self) -> None:
        """The hub said that another process speaks."""
        if not self._lost.is_set():
            logger.warning("another process speaks for %s/%s now", self._platform, self._bot_id)
            self._lost.set()

    async def _keep(self) -> None:
        """Say again and again that this process lives."""
        while not self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_EVERY):
                    await self._lost.wait()
            if isinstance(await self._claim(), StandBy):
                self.lose()
        raise Superseded

    async def _claim(self) -> ToSpoke | None:
        asked_at = self._loop.time()
        told = await self._ask(PATIENCE)
        if isinstance(told, Leased) or (isinstance(told, Refused) and told.reason == "malformed"):
            self.generation = told.generation if isinstance(told, Leased) else None
            self._asked_at = asked_at
            self._renewed.set()
        return told

    async def _ask(self, timeout: float, *, leaves: bool | None = None) -> ToSpoke | None:
        """What the hub says, or None."""
        claim = Claim(
            platform=self._platform,
            bot_id=self._bot_id,
            scope_id=subjects.EVERY_SCOPE,
            instance=self._instance,
            leaves=leaves,
        )
        subject = subjects.inbound(self._platform, self._bot_id, subjects.partition(subjects.EVERY_SCOPE))
        answer = await self._transport.request(
            subject, FROM_SPOKE.encode(claim, FIRST_VERSION), timeout=timeout, responder=subjects.HUB
        )
        if isinstance(answer, Err):
            return None
        try:
            return TO_SPOKE.decode(answer.value)
        except Malformed as error:
            logger.error("the hub's answer is not readable: %s", error)
            return None
