"""Who may do what as a command sees it: the bots of the configuration, and what was done about people on the log."""

from factory_cli import config
from factory_cli.config import Configuration
from factory_cli.console import Failed
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.records import ACT, OWNERS, Act, Owners
from factory_nats.result import Err
from factory_nats.transport import Stored, Transport
from hub.kernel.access import BotPolicy

PAGE = 1_000


def policies(configuration: Configuration) -> tuple[BotPolicy, ...]:
    """Every bot's policy, as the hub is told it."""
    return tuple(
        BotPolicy(
            platform=bot.platform,
            bot_id=bot.bot_id,
            access=bot.access,
            owners=bot.owners,
            blocked=bot.blocked,
            max_text=bot.max_text,
            rate_per_minute=bot.rate_per_minute,
            rate_per_scope_minute=bot.rate_per_scope_minute,
            turns_at_once=bot.turns_at_once,
            answers_unaddressed=bot.answers_unaddressed,
            everyone_owns=bot.platform == config.LOCAL_PLATFORM,
        )
        for bot in config.bots_of(configuration)
    )


async def acts(transport: Transport) -> tuple[Act, ...]:
    """What was done, oldest first; nothing while no hub has made the log. Raises `Failed` where it cannot be read."""
    found: list[Act] = []
    start = 1
    while page := await _page(transport, subjects.plane("access")[0], start):
        try:
            found += (ACT.decode(stored.data) for stored in page)
        except Malformed as error:
            raise Failed(f"what was done about who may do what cannot be read: {error}") from None
        start = page[-1].sequence + 1
    return tuple(found)


async def owners(transport: Transport) -> tuple[Owners, ...]:
    """Who became an owner before there were acts."""
    return tuple(OWNERS.decode(stored.data) for stored in await _page(transport, subjects.plane("owners")[0], 1))


async def _page(transport: Transport, subject: str, start: int) -> tuple[Stored, ...]:
    page = await transport.read(subjects.STREAM, subject, start=start, limit=PAGE)
    if isinstance(page, Err):
        if page.reason in ("no responders", "not found"):
            return ()
        raise Failed(f"the log cannot be read: {page.detail}")
    return page.value
