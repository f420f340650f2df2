"""A new session of the terminal that begins where an old conversation once stood."""

from adapters.cli.__main__ import fork as begin
from factory_cli import config, history, seat
from factory_cli.home import Home
from factory_cli.talk import Wish


async def fork(
    where: Home, environment: config.Environment, url: str, wanted: str, until: int | None, name: str | None
) -> str | None:
    """The new session's name; None where the hub has none of it, which was told. Raises `Failed`."""
    past = await history.through(where, url, lambda bus: history.past(bus, wanted, until))
    settings = seat.of(where, environment, url, Wish(session=name))
    return await begin(settings, past.key.to_pool_id(), past.session.sequence)
