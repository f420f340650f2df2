"""A canary in every slot that holds a secret, everything at DEBUG, everything made to fail: none is seen anywhere."""

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from hub.kernel.secrecy import WORD
from tests.botapi.ledger import Screen as TelegramScreen
from tests.cli.conftest import factory as factory_fixture
from tests.cli.installation import PATIENCE, Factory
from tests.discordapi.ledger import Screen as DiscordScreen
from tests.secrets.stage import HERON, TELL, Stage, seen, spellings, staged

factory = factory_fixture

# What the provider makes of it is told in tests/providers/scenarios.py.
TROUBLE = ("401", "500 then ok", "garbage", "broken arguments")


@pytest.mark.timeout(180)
async def test_no_secret_is_seen_anywhere_whatever_fails(factory: Factory, tmp_path: Path) -> None:
    async with staged(factory, tmp_path) as stage:
        leak, web, key, _ = await asyncio.gather(
            asked(stage, "tool weather_where {}", "WEATHER_LOGIN"),
            asked(stage, 'tool web_add {"a": 1, "b": 2}', "sum"),
            stage.chat(TELL),
            stage.chat(HERON),
        )
        await asyncio.gather(
            *(stage.chat(words) for words in TROUBLE),
            *(stage.chat("401", "--agent", agent) for agent in ("unreached", "refused", "fragile")),
            on_telegram(stage),
            on_discord(stage),
        )
        await look(stage)

    # What was asked for happened: a search that finds nothing would else prove nothing.
    assert f'"WEATHER_LOGIN": "{WORD}"' in leak
    assert '"sum": 3' in web
    assert key.strip() == f"It is Bearer {WORD}"
    contents = {path: path.read_bytes() for path in stage.files()}
    logs = {path.name: content.decode() for path, content in contents.items() if path.parent.name == "log"}
    assert {"clipool.log", "discord.log", "hub.log", "telegram.log"} <= logs.keys()
    for broken in ("Exception in Thread", f"RuntimeError: broken with {WORD}", f"UserWarning: warned with {WORD}"):
        assert broken in logs["clipool.log"]
    assert all(" DEBUG " in logs[name] for name in ("clipool.log", "discord.log"))
    assert any(HERON.encode() in content for path, content in contents.items() if stage.store in path.parents)
    assert any("mcp_server" in line for line in stage.commands)
    shown = list(seen(stage))
    assert len([words for words in shown if WORD in words]) >= 4

    places = {
        **{str(path): content for path, content in contents.items()},
        **{f"output: {words[:40]}": words.encode() for words in stage.heard},
        **{f"process: {line[:40]}": line.encode() for line in stage.commands},
        **{f"chat: {words[:40]}": words.encode() for words in shown},
    }
    spelled = {spelling: secret for secret in stage.secrets() for spelling in spellings(secret)}
    found = {(spelled[one][:14], place) for one in spelled for place, content in places.items() if one in content}
    assert found == set()


async def asked(stage: Stage, words: str, sign: str) -> str:
    """What is answered; servers of tools may be slow to start where much runs, and are asked until they are there."""
    async with asyncio.timeout(PATIENCE):
        while sign not in (answer := await stage.chat(words)):
            pass
    return answer


# What people say on a platform, and what they are told at last.
PEOPLE = (("tool weather_where {}", WORD), (TELL, WORD), ("401", "Reference"))


async def on_telegram(stage: Stage) -> None:
    """Somebody becomes an owner, and then asks."""
    telegram, ann = stage.telegram, stage.telegram.user("Ann")
    private = telegram.chat("private", ann)
    for words, last in ((f"/start {stage.code}", "You are an owner"), *PEOPLE):
        telegram.say(private, ann, words)
        await telegram.until(partial(shows, telegram.screen(private), last), PATIENCE)


async def on_discord(stage: Stage) -> None:
    """Somebody asks a bot that answers everybody."""
    discord, bob = stage.discord, stage.discord.user("Bob")
    direct = discord.dm(bob)
    for words, last in PEOPLE:
        discord.say(direct, bob, words)
        await discord.until(partial(shows, discord.screen(direct), last), PATIENCE)


def shows(screen: TelegramScreen | DiscordScreen, last: str) -> bool:
    """Whether the last message there says this."""
    return bool(screen.messages) and last in screen.messages[-1].text


async def look(stage: Stage) -> None:
    """What somebody asks who wants to know what happened."""
    turns = json.loads((await stage.run("turns", "ls", "--json", "-n", "100")).stdout)
    leaks = [turn["turn"] for turn in turns if turn["asked"].startswith("tool")]
    failures = [turn["turn"] for turn in turns if turn["asked"] == "401"]
    shows = [("turns", "show", turn, "--json") for turn in (leaks[0], failures[0])]
    others = [("status", "--json"), ("doctor", "--json")]
    await asyncio.gather(*(stage.run(*command) for command in (*shows, *others)))
