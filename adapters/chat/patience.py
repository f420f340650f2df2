"""What must be done before a bot can serve, tried for as long as it takes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from adapters.chat.trouble import Unreachable
from adapters.spoke import NotNow

logger = logging.getLogger(__name__)

TRY_AGAIN = (1.0, 30.0)

T = TypeVar("T")


async def until_done(
    bot_id: str, platform: str, work: Callable[[], Awaitable[T]], refusals: tuple[type[Exception], ...]
) -> T:
    """Do it, however long the platform is away or refuses this bot; the other bots can serve without this one."""
    pause, longest = TRY_AGAIN
    while True:
        try:
            return await work()
        except NotNow as told:
            pause = told.seconds
        except refusals as error:
            logger.error("%s cannot serve: %s", bot_id, error)
            pause = longest
        except Unreachable as error:
            logger.warning("%s does not reach %s, trying again in %.0f s: %s", bot_id, platform, pause, error)
        await asyncio.sleep(pause)
        pause = min(longest, pause * 2)
