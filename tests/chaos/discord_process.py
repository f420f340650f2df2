"""The Discord spoke that may die at its points: `python -m tests.chaos.discord_process RUN BOT [NUMBER [apart]]`."""

import sys
from pathlib import Path

import uvloop

from adapters.discord.__main__ import serve
from adapters.discord.settings import BotSettings, DiscordSettings
from tests.chaos import fuse
from tests.chaos.discord import SPEED, token
from tests.chaos.surroundings import DISCORD, Bus, spoke
from tests.discord.stage import fast_pace


def main(run: Path, bot: str, number: str = "", *apart: str) -> int:
    """The spoke's exit status; a second one of the bot has a number, and may be as if on another machine."""
    bus = Bus.read(run)
    name = spoke(DISCORD, bot)
    slot = f"{name}.{number}" if number else name
    seam = fuse.begin(run, slot)
    own = number if apart else ""
    api, gateway = bus.platform_at.split()
    settings = DiscordSettings(
        nats_url=bus.url_of(slot),
        bots=(
            BotSettings(
                bot, token(bot), bus.identity(name), run / f"notes-{bot}{own}.jsonl", run / f"cursors-{bot}{own}.jsonl"
            ),
        ),
        api_base=api,
        gateway=gateway,
    )
    return uvloop.run(serve(settings, new_pace=lambda: fast_pace(SPEED), at=seam.at))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
