"""`factory init`: how a platform's bot and this home get to know each other, and how the bot gets its first owner."""

from typing import Annotated

import typer

from factory_cli import config
from factory_cli.console import Failed, HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.ink import say_document

PLATFORMS = {config.TELEGRAM: "bots that are made with @BotFather"}


def init(
    platform: Annotated[
        str | None, typer.Argument(metavar="[PLATFORM]", help="telegram; without one, tell which there are.")
    ] = None,
    bot: Annotated[str, typer.Option("--bot", metavar="ID", help="What to call it here.")] = config.LOCAL_BOT,
    api_base: Annotated[
        str | None, typer.Option("--api-base", metavar="URL", help="Another server of the Bot API.")
    ] = None,
    is_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Set up a platform's bot, and get a link that makes you its owner."""
    with told():
        match platform:
            case None:
                _list(is_json)
            case config.TELEGRAM:
                from factory_cli.telegram import introduce

                if api_base is not None and (wrong := config.wrong_address(api_base, "http", "https")):
                    raise typer.BadParameter(wrong, param_hint="--api-base")
                where, _ = surroundings(home)
                where.prepare()
                introduce(where, _bot(platform, bot), api_base.rstrip("/") if api_base else None, is_json=is_json)
            case _:
                raise Failed(f"no platform {platform!r} to set up in this version; there is: {', '.join(PLATFORMS)}")


def _bot(platform: str, bot_id: str) -> config.Bot:
    from factory_contracts import subjects

    try:
        return config.Bot(platform, subjects.bot_token(bot_id))
    except subjects.BadToken as error:
        raise typer.BadParameter(str(error), param_hint="--bot") from None


def _list(is_json: bool) -> None:
    if is_json:
        say_document([{"platform": name, "serves": what} for name, what in PLATFORMS.items()])
    else:
        say_table([("PLATFORM", "SERVES"), *PLATFORMS.items()])
        typer.echo("factory: set a bot up with: factory init PLATFORM", err=True)
