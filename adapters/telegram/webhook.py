"""Where Telegram brings updates by itself: answered with "done" only when each was accepted or refused."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from hmac import compare_digest

from aiohttp import web

from adapters.telegram.intake import Settled
from adapters.telegram.settings import Webhook

logger = logging.getLogger(__name__)

SECRET = "X-Telegram-Bot-Api-Secret-Token"
MOST_BYTES = 4 * 1024 * 1024
MOST_AT_ONCE = 200
# Telegram itself waits a minute, and brings it again.
PATIENCE = 55.0
LEAVING = 1.0


@asynccontextmanager
async def listening(webhook: Webhook, feeds: Mapping[str, Callable[[object], Settled]]) -> AsyncIterator[int]:
    """Listen for the updates of these bots, each under its own name; the port that was taken."""
    at_work: set[Settled] = set()

    async def take(request: web.Request) -> web.Response:
        # Who does not know the word learns nothing, not even which bots there are.
        if not compare_digest(request.headers.get(SECRET, "").encode(), webhook.secret.encode()):
            logger.warning("somebody without the secret called the webhook")
            return web.Response(status=401)
        feed = feeds.get(request.match_info["bot"])
        if feed is None or len(at_work) >= MOST_AT_ONCE:
            return web.Response(status=503)
        try:
            update = json.loads(await request.read())
        except (ValueError, RecursionError):
            return web.Response(status=400)
        settled = feed(update)
        at_work.add(settled)
        settled.add_done_callback(at_work.discard)
        done, _ = await asyncio.wait((settled,), timeout=PATIENCE)
        return web.Response(status=200 if done and not settled.cancelled() else 503)

    application = web.Application(client_max_size=MOST_BYTES)
    application.router.add_post("/{bot}", take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=LEAVING)
    await runner.setup()
    try:
        await web.TCPSite(runner, webhook.host, webhook.port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
