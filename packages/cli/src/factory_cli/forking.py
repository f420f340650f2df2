"""A new session of the terminal that begins where an old conversation once stood."""

from adapters.cli.__main__ import fork as begin
from factory_cli import config, history, log, seat
from factory_cli.console import Failed
from factory_cli.home import Home
from factory_cli.talk import Wish
from factory_contracts.subjects import BadToken
from factory_nats.transport import Transport
from hub.kernel.routing import RoutingKey


async def fork(
    where: Home, environment: config.Environment, url: str, wanted: str, until: int | None, name: str | None
) -> str | None:
    """The new session's name; None where the hub has none of it, which was told. Raises `Failed`."""
    if name is not None:
        await history.through(where, url, lambda bus: _free(bus, name))
    past = await history.through(where, url, lambda bus: history.past(bus, wanted, until))
    settings = seat.of(where, environment, url, Wish(session=name))
    return await begin(settings, past.key.to_pool_id(), past.session.sequence)


async def _free(bus: Transport, name: str) -> None:
    """Raises `Failed` where none can have that name, or one has it: to the hub the same wish is a repetition."""
    try:
        subject = RoutingKey(config.LOCAL_PLATFORM, config.LOCAL_BOT, name).subject
    except BadToken as error:
        raise Failed(f"--as: {error}") from None
    async for _ in log.records(bus, subject):
        raise Failed(f"there is a conversation {name!r} already; choose another name with --as")
