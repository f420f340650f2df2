"""`factory init`: how a platform's bot and this home get to know each other, and how the bot gets its first owner."""

from typing import Annotated

import typer

from factory_cli import config
from factory_cli.console import Failed, HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.ink import say_document
from factory_cli.platforms import PLATFORMS

_ALL = ", ".join(PLATFORMS)


def init(
    platform: Annotated[
        str | None, typer.Argument(metavar="[PLATFORM]", help=f"One of {_ALL}; without one, tell which there are.")
    ] = None,
    bot: Annotated[str, typer.Option("--bot", metavar="ID", help="What to call it here.")] = config.LOCAL_BOT,
    api_base: Annotated[
        str | None, typer.Option("--api-base", metavar="URL", help="Another server that speaks as the platform does.")
    ] = None,
    is_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Set up a platform's bot, and get the code that makes you its owner."""
    with told():
        if platform is None:
            _list(is_json)
            return
        if platform not in PLATFORMS:
            raise Failed(f"no platform {platform!r} to set up in this version; there are: {_ALL}")
        from factory_cli.enrolment import enrol

        if api_base is not None and (wrong := config.wrong_address(api_base, "http", "https")):
            raise typer.BadParameter(wrong, param_hint="--api-base")
        where, _ = surroundings(home)
        where.prepare()
        enrol(where, _bot(platform, bot), api_base.rstrip("/") if api_base else None, is_json=is_json)


def _bot(platform: str, bot_id: str) -> config.Bot:
    from factory_contracts import subjects

    try:
        return config.Bot(platform, subjects.bot_token(bot_id))
    except subjects.BadToken as error:
        raise typer.BadParameter(str(error), param_hint="--bot") from None


def _list(is_json: bool) -> None:
    if is_json:
        say_document([{"platform": one.name, "serves": one.serves} for one in PLATFORMS.values()])
    else:
        say_table([("PLATFORM", "SERVES"), *((one.name, one.serves) for one in PLATFORMS.values())])
        typer.echo("factory: set a bot up with: factory init PLATFORM", err=True)
