"""The Telegram spoke that may die at its points: `python -m tests.chaos.telegram_process RUN BOT [NUMBER [apart]]`."""

import sys
from pathlib import Path

import uvloop

from adapters.telegram.__main__ import serve
from adapters.telegram.settings import BotSettings, TelegramSettings
from tests.chaos import fuse
from tests.chaos.surroundings import TELEGRAM, Bus, spoke
from tests.chaos.telegram import SPEED, token
from tests.telegram.stage import fast_pace


def main(run: Path, bot: str, number: str = "", *apart: str) -> int:
    """The spoke's exit status; a second one of the bot has a number, and may be as if on another machine."""
    bus = Bus.read(run)
    name = spoke(TELEGRAM, bot)
    slot = f"{name}.{number}" if number else name
    seam = fuse.begin(run, slot)
    own = number if apart else ""
    settings = TelegramSettings(
        nats_url=bus.url_of(slot),
        bots=(BotSettings(bot, token(bot), bus.identity(name), run / f"notes-{bot}{own}.jsonl"),),
        api_base=bus.platform_at,
    )
    return uvloop.run(serve(settings, new_pace=lambda: fast_pace(SPEED), at=seam.at))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
