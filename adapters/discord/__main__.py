"""Composition of the Discord spoke: all bots of one process, from their settings to an exit status."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from adapters.chat.patience import until_done
from adapters.chat.trouble import Rejected, Unauthorized
from adapters.discord.bot import Bot, standard_pace
from adapters.discord.client import Account, Client, point_at
from adapters.discord.normalize import PLATFORM
from adapters.discord.settings import BotSettings, DiscordSettings
from adapters.lease import Lease
from adapters.pace import Pace
from factory_nats.connect import connect
from factory_nats.result import Err
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

# Processes may start in any order: one that comes first waits for the bus.
PATIENCE = 3600.0


async def serve(
    settings: DiscordSettings,
    *,
    new_pace: Callable[[], Pace] = standard_pace,
    at: Callable[[str], None] = lambda point: None,
) -> int:
    """Serve all bots until told to end; the exit status."""
    stop = asyncio.Event()
    lost: list[str] = []

    def end(why: str) -> None:
        lost.append(why)
        stop.set()

    loop = asyncio.get_running_loop()
    point_at(settings.api_base, settings.gateway)
    async with AsyncExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
            stack.callback(loop.remove_signal_handler, number)
        transports: list[Transport] = []
        for bot in settings.bots:
            connected = await connect(settings.nats_url, bot.identity, patience=PATIENCE, until=stop, on_closed=end)
            if isinstance(connected, Err):
                logger.error("the bus does not let %s in: %s", bot.identity.name, connected.detail)
                return 0 if stop.is_set() else 1
            stack.push_async_callback(connected.value.close)
            transports.append(connected.value)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_serve_bot(settings, bot, transport, new_pace, at), name=bot.bot_id)
                    for bot, transport in zip(settings.bots, transports, strict=True)
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            for why in lost:
                logger.error("the bus is lost for good: %s", why)
    return 1 if lost else 0


async def _serve_bot(
    settings: DiscordSettings,
    bot: BotSettings,
    transport: Transport,
    new_pace: Callable[[], Pace],
    at: Callable[[str], None],
) -> None:
    """Be ready, wait until the bot is ours to speak for, and speak until it is not; then anew, with nothing in hand."""
    while True:
        client = Client(bot.token, message_content=settings.message_content)
        try:
            account = await until_done(bot.bot_id, "Discord", client.login, (Unauthorized, Rejected))
            logger.info("%s is @%s", bot.bot_id, account.name)
            if not settings.message_content:
                words = "@%s hears commands, mentions and direct messages only (message_content is off)"
                logger.info(words, account.name)
            lease = Lease(transport, PLATFORM, bot.bot_id)
            await lease.win()
            client.heed(lease.held)
            await lease.during(partial(_speak, settings, bot, account, client, transport, new_pace(), lease, at))
        finally:
            await client.close()


async def _speak(
    settings: DiscordSettings,
    bot: BotSettings,
    account: Account,
    client: Client,
    transport: Transport,
    pace: Pace,
    lease: Lease,
    at: Callable[[str], None],
) -> None:
    await Bot(settings, bot, account, client, transport, pace=pace, lease=lease, at=at).run()
