"""Where a person sits: what the terminal's spoke is told of the home, of them and of what they wish."""

import sys

from adapters.cli.__main__ import ChatSettings
from factory_cli import config, membership
from factory_cli.console import is_piped
from factory_cli.home import Home
from factory_cli.talk import Wish


def of(where: Home, environment: config.Environment, url: str, wish: Wish) -> ChatSettings:
    """The settings of one chat."""
    name = config.Bot(config.LOCAL_PLATFORM, config.LOCAL_BOT).identity
    return ChatSettings(
        nats_url=url,
        identity=membership.identity(where, config.load(where.configuration), name),
        user_id=environment.person,
        user_name=environment.person,
        history_file=where.path / "history",
        sessions_file=where.path / "sessions.jsonl",
        files_folder=where.path / "files",
        bot_id=config.LOCAL_BOT,
        session=wish.session,
        resume=wish.resume,
        agent=wish.agent,
        prompt=wish.prompt,
        piped=wish.piped,
        files=wish.files,
        is_json=wish.is_json,
        allows=wish.allows,
        tells_progress=wish.tells_progress,
        is_interactive=not is_piped() and sys.stdout.isatty(),
        use_color=sys.stdout.isatty() and not environment.is_plain,
    )
