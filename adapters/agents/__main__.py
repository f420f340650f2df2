"""Composition of the front door for others: all bots of one process, from their settings to an exit status."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

from adapters.agents.door import Door
from adapters.agents.settings import AgentsSettings
from factory_nats.connect import connect
from factory_nats.result import Err

logger = logging.getLogger(__name__)

# Processes may start in any order: one that comes first waits for the bus.
PATIENCE = 3600.0


async def serve(settings: AgentsSettings, *, at: Callable[[str], None] = lambda point: None) -> int:
    """Serve all bots until told to end; the exit status."""
    stop = asyncio.Event()
    lost: list[str] = []

    def end(why: str) -> None:
        lost.append(why)
        stop.set()

    loop = asyncio.get_running_loop()
    doors: dict[str, Door] = {}
    async with AsyncExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
            stack.callback(loop.remove_signal_handler, number)
        for bot in settings.bots:

            def note_lost(bot_id: str = bot.bot_id) -> None:
                if bot_id in doors:
                    doors[bot_id].note_lost()

            connected = await connect(
                settings.nats_url, bot.identity, patience=PATIENCE, until=stop, on_disconnect=note_lost, on_closed=end
            )
            if isinstance(connected, Err):
                logger.error("the bus does not let %s in: %s", bot.identity.name, connected.detail)
                return 0 if stop.is_set() else 1
            stack.push_async_callback(connected.value.close)
            doors[bot.bot_id] = Door(settings, bot, connected.value, at=at)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(door.run(), name=bot_id) for bot_id, door in doors.items()]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            for why in lost:
                logger.error("the bus is lost for good: %s", why)
    return 1 if lost else 0
