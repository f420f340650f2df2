"""Composition of the Telegram spoke: all bots of one process, from their settings to an exit status."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from adapters.chat.patience import until_done
from adapters.chat.trouble import Barred, Rejected, Unauthorized
from adapters.lease import Lease
from adapters.pace import Pace
from adapters.telegram.bot import Bot, standard_pace
from adapters.telegram.client import ASKED_FOR, Client, Conflict
from adapters.telegram.intake import Settled
from adapters.telegram.normalize import PLATFORM, Me
from adapters.telegram.sdk import DeleteWebhook, SetWebhook, TelegramMethod
from adapters.telegram.settings import BotSettings, TelegramSettings
from adapters.telegram.webhook import listening
from factory_nats.connect import connect
from factory_nats.result import Err
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

# Processes may start in any order: one that comes first waits for the bus.
PATIENCE = 3600.0
REFUSALS = (Unauthorized, Rejected, Barred, Conflict)

Feeds = dict[str, Callable[[object], Settled]]


async def serve(
    settings: TelegramSettings,
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
        feeds: Feeds = {}
        if settings.webhook is not None:
            port = await stack.enter_async_context(listening(settings.webhook, feeds))
            logger.info("waiting for Telegram at %s:%s", settings.webhook.host, port)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_serve_bot(settings, bot, transport, feeds, new_pace, at), name=bot.bot_id)
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
    settings: TelegramSettings,
    bot: BotSettings,
    transport: Transport,
    feeds: Feeds,
    new_pace: Callable[[], Pace],
    at: Callable[[str], None],
) -> None:
    """Be ready, wait until the bot is ours to speak for, and speak until it is not; then anew, with nothing in hand."""
    while True:
        try:
            client = Client(bot.token, settings.api_base)
        except Unauthorized as error:
            # The other bots of this process can serve without it.
            logger.error("%s cannot serve: %s", bot.bot_id, error)
            return
        try:
            user = await until_done(bot.bot_id, "Telegram", client.me, REFUSALS)
            me = Me(user.id, user.username or "", bot.bot_id)
            logger.info("%s is @%s", bot.bot_id, me.username)
            if not user.can_read_all_group_messages:
                logger.info("@%s hears commands, mentions and replies in groups (privacy mode is on)", me.username)
            lease = Lease(transport, PLATFORM, bot.bot_id)
            await lease.win()
            client.heed(lease.held)
            await lease.during(partial(_speak, settings, bot, me, client, transport, feeds, new_pace(), lease, at))
        finally:
            await client.close()


async def _speak(
    settings: TelegramSettings,
    bot: BotSettings,
    me: Me,
    client: Client,
    transport: Transport,
    feeds: Feeds,
    pace: Pace,
    lease: Lease,
    at: Callable[[str], None],
) -> None:
    serving = Bot(settings, bot, me, client, transport, pace=pace, lease=lease, at=at)
    feeds[bot.bot_id] = serving.feed
    try:
        await until_done(bot.bot_id, "Telegram", lambda: client.ask(_arrival(settings, bot)), REFUSALS)
        await serving.run()
    finally:
        # Telegram brings it again, to whoever speaks then.
        del feeds[bot.bot_id]


def _arrival(settings: TelegramSettings, bot: BotSettings) -> TelegramMethod[bool]:
    """How updates are to arrive: brought by Telegram, or fetched, which a webhook would forbid."""
    webhook = settings.webhook
    if webhook is None:
        return DeleteWebhook(drop_pending_updates=False)
    url = f"{webhook.url.rstrip('/')}/{bot.bot_id}"
    return SetWebhook(url=url, secret_token=webhook.secret, allowed_updates=list(ASKED_FOR))
