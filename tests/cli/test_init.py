"""The set-up of a bot: what is asked, checked, written and told, and that a token is never shown."""

import asyncio
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory_cli import inquiry, pairing
from factory_cli.question import Unanswered
from factory_contracts.messages import Address, InboundMessage
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from hub.kernel.guards import claim_in, digest_of
from tests.cli import discord_api
from tests.cli.installation import PATIENCE, Factory, until
from tests.cli.telegram_api import BOT, OTHER_TOKEN, TOKEN, Api, telegram

SECRETS = (TOKEN, OTHER_TOKEN, discord_api.TOKEN, discord_api.OTHER_TOKEN)
# View channels, send messages (also in threads), read message history, attach files, add reactions.
LEAST = 274878008384
CREATE_THREADS = 1 << 35


@pytest.fixture
def api(factory: Factory) -> Iterator[Api]:
    """A Bot API that the environment names."""
    with telegram() as server:
        factory.variables["TELEGRAM_API_BASE"] = server.url
        yield server


@pytest.fixture
def discords(factory: Factory) -> Iterator[discord_api.Api]:
    """An API of Discord that the environment names."""
    with discord_api.discord() as server:
        factory.variables["DISCORD_API_BASE"] = server.url
        yield server


def init(
    factory: Factory, *more: str, platform: str = "telegram", **variables: str
) -> "subprocess.CompletedProcess[str]":
    given = {"TELEGRAM_BOT_TOKEN": TOKEN} if platform == "telegram" else {"DISCORD_TOKEN": discord_api.TOKEN}
    done = factory.run("init", platform, *more, **{**given, **variables})
    assert not any(token in done.stdout + done.stderr for token in SECRETS)
    assert "Traceback" not in done.stderr
    return done


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def told(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said


def test_without_a_platform_it_tells_which_there_are(factory: Factory) -> None:
    table, document = factory.run("init"), factory.run("init", "--json")

    assert table.returncode == 0
    assert "telegram" in table.stdout
    assert [one["platform"] for one in json.loads(document.stdout)] == ["telegram", "discord"]


def test_a_platform_that_cannot_be_set_up_is_said_in_a_sentence(factory: Factory) -> None:
    done = factory.run("init", "pigeon")

    assert done.returncode == 1
    assert done.stderr.startswith(
        "factory: no platform 'pigeon' to set up in this version; there are: telegram, discord"
    )


def test_a_program_without_a_token_is_told_how_to_give_one(factory: Factory) -> None:
    done = factory.run("init", "telegram", "--bot", "helper")

    assert (done.returncode, done.stdout) == (2, "")
    for name in ("TELEGRAM_BOT_TOKEN", "TELEGRAM_BOT_TOKEN_FILE", "TELEGRAM_BOT_TOKEN_HELPER"):
        assert name in done.stderr
    assert not (factory.home / "factory.toml").exists()


def test_a_bot_is_set_up_and_a_link_makes_its_owner(factory: Factory, api: Api) -> None:
    done = init(factory)

    assert done.returncode == 0
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert rows["bot"] == "Zoë's Helper (@zoe_helper_bot)"
    assert rows["link"] == f"https://t.me/zoe_helper_bot?start={rows['code']}"
    assert "factory up" in done.stderr
    assert (factory.home / "factory.toml").read_text() == '[[bots]]\nplatform = "telegram"\nbot_id = "main"\n'
    offered = pairing.offered(factory.home / "keys", "telegram", "main")
    assert offered is not None
    assert offered.digest == digest_of(rows["code"])
    assert time.time() + 3500 < offered.expires_at < time.time() + 3600
    message = InboundMessage(
        message_id="1",
        user_id="7",
        text=f"/start {rows['code']}",
        address=Address(platform="telegram", bot_id="main", scope_id="7"),
    )
    claimed = claim_in(message)
    assert claimed is not None
    assert (claimed.word, claimed.digest) == ("/start", digest_of(rows["code"]))


def test_what_it_writes_is_closed_to_others_and_the_code_stands_nowhere(factory: Factory, api: Api) -> None:
    code = told(init(factory, "--json"))["code"]

    written = [path for path in factory.home.rglob("*") if path.is_file()]
    assert {path.name for path in written} == {"factory.toml", "telegram-main.token", "pairing-telegram-main.json"}
    assert {mode(path) for path in written} == {0o600}
    assert {mode(path) for path in factory.home.rglob("*") if path.is_dir()} == {0o700}
    assert [path.name for path in written if TOKEN in path.read_text()] == ["telegram-main.token"]
    assert not [path for path in written if code in path.read_text()]


def test_the_server_that_runs_lets_a_new_bot_in_at_once(factory: Factory, api: Api) -> None:
    factory.up()

    done = init(factory)

    assert "what runs here does not know the bot yet: end it, start it again (factory up)" in done.stderr
    until(lambda: asyncio.run(is_let_in(factory, "telegram-main")), "a new bot that is let in")
    assert factory.run("turns", "ls").returncode == 0
    assert factory.run("policy", "explain", "--bot", "telegram:main", "--user", "7").returncode == 0


async def is_let_in(factory: Factory, name: str) -> bool:
    key = factory.home / "keys" / f"{name}.nk"
    if not key.exists():
        return False
    joined = await connect(factory.state()["url"], Identity(name, key.read_text().strip()))
    if isinstance(joined, Ok):
        await joined.value.close()
    return isinstance(joined, Ok)


def test_a_document_tells_a_program_everything(factory: Factory, api: Api) -> None:
    said = told(init(factory, "--json"))

    assert said | {"code": "", "link": "", "expires_at": 0} == {
        "platform": "telegram",
        "bot": "main",
        "id": 123456789,
        "name": "Zoë's Helper",
        "username": "zoe_helper_bot",
        "reads_all_group_messages": False,
        "webhook": None,
        "link": "",
        "code": "",
        "expires_at": 0,
    }


def test_to_do_it_again_is_harmless_and_gives_a_fresh_code(factory: Factory, api: Api) -> None:
    first = told(init(factory, "--json"))
    before = (factory.home / "factory.toml").read_bytes()

    again = told(init(factory, "--json", TELEGRAM_BOT_TOKEN=""))

    assert (factory.home / "factory.toml").read_bytes() == before
    assert again["code"] != first["code"]
    offered = pairing.offered(factory.home / "keys", "telegram", "main")
    assert offered is not None
    assert offered.digest == digest_of(again["code"])


def test_what_stands_in_the_file_stays_with_its_comments(factory: Factory, api: Api) -> None:
    factory.home.mkdir(mode=0o700)
    stood = '# mine\n[hub]\nmax_pools = 5 # few\n\n[telegram]   # and this\nstream = "draft"\n\n[[bots]]\n'
    stood += 'platform = "carrier"\nbot_id = "main"\nowners = ["a"] # no line break after this'
    (factory.home / "factory.toml").write_text(stood)

    told(init(factory, "--json", "--bot", "helper", "--api-base", f"{api.url}/"))

    expected = stood.replace("# and this\n", f'# and this\napi_base = "{api.url}"\n')
    expected += '\n\n[[bots]]\nplatform = "telegram"\nbot_id = "helper"\n'
    assert (factory.home / "factory.toml").read_text() == expected


def test_an_address_takes_the_place_of_the_one_before(factory: Factory, api: Api) -> None:
    told(init(factory, "--json", "--api-base", api.url))
    file = factory.home / "factory.toml"
    file.write_text(file.read_text().replace(api.url, "http://elsewhere:1"))

    told(init(factory, "--json", "--api-base", api.url))

    lines = [line for line in file.read_text().splitlines() if "api_base" in line]
    assert lines == [f'api_base = "{api.url}"']


@pytest.mark.parametrize("stood", ["bots = []\n", 'telegram = { stream = "edit" }\n'])
def test_a_file_that_cannot_be_added_to_is_left_alone_and_the_person_told_what_to_write(
    factory: Factory, api: Api, stood: str
) -> None:
    factory.home.mkdir(mode=0o700)
    (factory.home / "factory.toml").write_text(stood)

    done = init(factory, "--api-base", api.url)

    assert done.returncode == 1
    assert '[[bots]]\nplatform = "telegram"\nbot_id = "main"' in done.stderr
    assert (factory.home / "factory.toml").read_text() == stood


def test_a_file_that_is_a_link_stays_one(factory: Factory, api: Api) -> None:
    factory.home.mkdir(mode=0o700)
    elsewhere = factory.folder / "mine.toml"
    elsewhere.write_text("# mine\n")
    (factory.home / "factory.toml").symlink_to(elsewhere)

    told(init(factory, "--json"))

    assert (factory.home / "factory.toml").is_symlink()
    assert elsewhere.read_text().startswith("# mine\n\n[[bots]]\n")


def test_a_second_bot_has_a_token_of_its_own(factory: Factory, api: Api) -> None:
    api.tokens.add(OTHER_TOKEN)
    told(init(factory, "--json"))

    same = init(factory, "--bot", "second", TELEGRAM_BOT_TOKEN_SECOND=TOKEN)
    own = told(init(factory, "--json", "--bot", "second", TELEGRAM_BOT_TOKEN_SECOND=OTHER_TOKEN))

    assert same.returncode == 1
    assert "that is the token of telegram-main already" in same.stderr
    assert own["bot"] == "second"
    assert (factory.home / "keys" / "telegram-second.token").read_text().strip() == OTHER_TOKEN


@pytest.mark.parametrize(
    ("reads_all", "said"), [(True, "privacy mode is off"), (False, "send /setprivacy to @BotFather, then remove")]
)
def test_it_tells_what_the_bot_sees_of_groups(factory: Factory, api: Api, reads_all: bool, said: str) -> None:
    api.answers["getMe"] = {**BOT, "can_read_all_group_messages": reads_all}

    assert said in init(factory).stdout


def test_a_webhook_is_told_by_its_host_alone_for_the_rest_may_be_secret(factory: Factory, api: Api) -> None:
    api.answers["getWebhookInfo"] = {"url": "https://hooks.example.org/very/secret?word=1"}

    done = init(factory)

    assert "set to hooks.example.org," in done.stdout
    assert "secret" not in done.stdout


@pytest.mark.parametrize("token", ["hello", "123456789:with spaces", "55555555", "123/../x:y", "1:a\nX-Header: b"])
def test_what_is_no_token_is_said_without_repeating_it(factory: Factory, api: Api, token: str) -> None:
    done = factory.run("init", "telegram", TELEGRAM_BOT_TOKEN=token)

    assert done.returncode == 1
    assert done.stderr.startswith("factory: TELEGRAM_BOT_TOKEN: holds no token; one looks like 123456789:AAF...")
    assert token not in done.stdout + done.stderr
    assert api.asked == []


PLACE = r"factory: telegram-main: 127\.0\.0\.1:\d+ "


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ((200, b"<html>Welcome</html>"), "answers with status 200 and not as a Bot API does"),
        ((302, b""), "answers with status 302 and not as a Bot API does"),
        ((200, b"[" * 50_000), "answers with status 200 and not as a Bot API does"),
        ((200, b'{"ok":true,"result":{"id":"many"}}'), "tells of no bot: it is no Bot API"),
        ((404, b'{"ok":false,"error_code":404,"description":"Not Found"}'), "knows no bot by this token"),
        ((429, b'{"ok":false,"error_code":429}'), "refuses to tell, with error 429; try again later"),
    ],
    ids=["page", "redirect", "deep", "shape", "404", "429"],
)
def test_a_server_that_does_not_tell_of_the_bot_is_told_in_words(
    factory: Factory, api: Api, raw: tuple[int, bytes], said: str
) -> None:
    api.raw = raw

    done = init(factory)

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(f"^{PLACE}{re.escape(said)}", done.stderr, re.MULTILINE), done.stderr
    assert not (factory.home / "factory.toml").exists()
    assert list((factory.home / "keys").iterdir()) == []


def test_a_token_that_telegram_does_not_know_is_told_with_where_it_comes_from(factory: Factory, api: Api) -> None:
    api.tokens = set()

    done = init(factory)

    assert done.returncode == 1
    assert "knows no bot by this token: it is mistyped, or was revoked at @BotFather" in done.stderr
    assert "it comes from TELEGRAM_BOT_TOKEN" in done.stderr


def test_where_nobody_answers_that_is_told(factory: Factory) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = init(factory, TELEGRAM_API_BASE=f"http://127.0.0.1:{free.getsockname()[1]}")

    assert done.returncode == 1
    assert "cannot be reached: Connection refused" in done.stderr


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(Unanswered, match=r"^no-such-name\.invalid (has no address|does not answer)"):
        inquiry.look("telegram", "https://no-such-name.invalid", TOKEN, 1.0)


def test_a_server_that_says_nothing_is_not_waited_for(api: Api) -> None:
    api.may_answer.clear()
    begun = time.monotonic()

    with pytest.raises(Unanswered, match=r"does not answer within 0\.1 s"):
        inquiry.look("telegram", api.url, TOKEN, 0.1)

    assert time.monotonic() - begun < 2


def test_a_server_without_tls_is_not_trusted(api: Api) -> None:
    with pytest.raises(Unanswered, match="cannot be trusted to be what it says"):
        inquiry.look("telegram", api.url.replace("http:", "https:"), TOKEN, 5.0)


@pytest.mark.parametrize(
    "address", ["api.telegram.org", "ftp://host", "http://", "http://host:0x", "http://user@host", "http://host/?q"]
)
def test_an_address_that_is_none_is_a_usage_error(factory: Factory, address: str) -> None:
    done = init(factory, "--api-base", address)

    assert done.returncode == 2
    assert "must be an address" in done.stderr


def test_a_name_that_cannot_stand_in_a_subject_is_a_usage_error(factory: Factory) -> None:
    done = init(factory, "--bot", "my.bot")

    assert done.returncode == 2
    assert "bot id 'my.bot'" in done.stderr


@pytest.mark.parametrize(
    ("platform", "other", "token", "leads_to"),
    [
        ("telegram", OTHER_TOKEN, TOKEN, "https://t.me/zoe_helper_bot?start="),
        ("discord", discord_api.OTHER_TOKEN, discord_api.TOKEN, "https://discord.com/oauth2/authorize?client_id="),
    ],
)
def test_a_person_is_asked_and_what_is_typed_is_not_shown(
    factory: Factory, api: Api, discords: discord_api.Api, platform: str, other: str, token: str, leads_to: str
) -> None:
    process = factory.start_in_terminal("init", platform)
    terminal = factory.terminals[-1]
    shown = _shown(terminal, "Token (not shown)")
    os.write(terminal, b"rubbish\r")
    shown += _shown(terminal, "one looks like", "Token (not shown)")
    os.write(terminal, f"{other}\r".encode())
    shown += _shown(terminal, "knows no bot by this token", "Token (not shown)")

    os.write(terminal, f"{token}\r".encode())
    shown += _shown(terminal, leads_to, "factory up")

    assert process.wait(PATIENCE) == 0
    assert not any(typed in shown for typed in ("rubbish", other, token))
    assert (factory.home / "keys" / f"{platform}-main.token").read_text().strip() == token


def test_who_leaves_the_prompt_with_ctrl_c_is_interrupted(factory: Factory) -> None:
    process = factory.start_in_terminal("init", "telegram")
    _shown(factory.terminals[-1], "Token (not shown)")

    process.send_signal(signal.SIGINT)

    assert process.wait(PATIENCE) == 130


def test_a_program_may_pipe_the_token_in(factory: Factory, api: Api) -> None:
    done = factory.run("init", "telegram", text=f"{TOKEN}\n")
    wrong = factory.run("init", "telegram", "--bot", "other", text="rubbish\n")

    assert (done.returncode, wrong.returncode) == (0, 1)
    assert (factory.home / "keys" / "telegram-main.token").read_text().strip() == TOKEN
    assert wrong.stderr.startswith("factory: what is piped in ")
    assert "rubbish" not in wrong.stderr


def _shown(terminal: int, *texts: str) -> str:
    """What appears on the terminal until these texts have, in their order."""
    shown = ""

    def has_all() -> bool:
        nonlocal shown
        if select.select([terminal], [], [], 0.01)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
        at = 0
        for text in texts:
            at = shown.find(text, at) + 1
            if not at:
                return False
        return True

    until(has_all, f"{texts} on the terminal")
    return shown


def test_a_bot_of_discord_is_invited_by_a_link_and_gets_its_owner_by_a_message(
    factory: Factory, discords: discord_api.Api
) -> None:
    done = init(factory, platform="discord")

    assert done.returncode == 0, done.stderr
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert rows["bot"] == "Zoë's Helper#1234"
    assert rows["invite"] == (
        "https://discord.com/oauth2/authorize?client_id=777234567890123450"
        f"&scope=bot+applications.commands&permissions={LEAST}"
    )
    assert rows["asks to"] == (
        "view channels, send messages, send messages in threads, read message history, attach files, add reactions"
    )
    assert "in a direct message, as plain text" in done.stderr
    assert (factory.home / "factory.toml").read_text() == '[[bots]]\nplatform = "discord"\nbot_id = "main"\n'
    offered = pairing.offered(factory.home / "keys", "discord", "main")
    assert offered is not None
    assert offered.digest == digest_of(rows["code"])
    address = Address(platform="discord", bot_id="main", scope_id="7")
    message = InboundMessage(message_id="1", user_id="7", text=rows["send it"], address=address)
    claimed = claim_in(message)
    assert claimed is not None
    assert (claimed.word, claimed.digest) == ("/start", digest_of(rows["code"]))


def test_a_document_tells_a_program_everything_of_discord(factory: Factory, discords: discord_api.Api) -> None:
    said = told(init(factory, "--json", platform="discord"))

    assert re.fullmatch(r"https://discord\.com/oauth2/authorize\?client_id=777234567890123450&.*", said["invite"])
    assert said | {"code": "", "invite": "", "expires_at": 0} == {
        "platform": "discord",
        "bot": "main",
        "id": "1081234567890123450",
        "username": "Zoë's Helper#1234",
        "application": "777234567890123450",
        "message_content": True,
        "invite": "",
        "permissions": [
            "view channels",
            "send messages",
            "send messages in threads",
            "read message history",
            "attach files",
            "add reactions",
        ],
        "code": "",
        "expires_at": 0,
    }


def test_what_is_written_for_discord_is_closed_to_others(factory: Factory, discords: discord_api.Api) -> None:
    code = told(init(factory, "--json", platform="discord"))["code"]

    written = [path for path in factory.home.rglob("*") if path.is_file()]
    assert {path.name for path in written} == {"factory.toml", "discord-main.token", "pairing-discord-main.json"}
    assert {mode(path) for path in written} == {0o600}
    assert [path.name for path in written if discord_api.TOKEN in path.read_text()] == ["discord-main.token"]
    assert not [path for path in written if code in path.read_text()]


def test_to_do_it_again_on_discord_is_harmless(factory: Factory, discords: discord_api.Api) -> None:
    first = told(init(factory, "--json", platform="discord"))
    before = (factory.home / "factory.toml").read_bytes()

    again = told(init(factory, "--json", platform="discord", DISCORD_TOKEN=""))

    assert (factory.home / "factory.toml").read_bytes() == before
    assert again["invite"] == first["invite"]
    assert again["code"] != first["code"]


def test_only_who_wants_threads_asks_to_create_them(factory: Factory, discords: discord_api.Api) -> None:
    factory.home.mkdir(mode=0o700)
    (factory.home / "factory.toml").write_text("[discord]\nthreads = true\n")

    said = told(init(factory, "--json", platform="discord"))

    assert said["invite"].endswith(f"&permissions={LEAST + CREATE_THREADS}")
    assert said["permissions"][-1] == "create public threads"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (1 << 18, "(the message content intent is on)"),
        (1 << 19, "(the message content intent is on)"),
        (1 << 17, "is told only what mentions it, direct messages and commands (the message content intent is off)"),
        (0, "at https://discord.com/developers/applications/777234567890123450/bot"),
        (None, "switch on Message Content Intent"),
    ],
)
def test_it_tells_what_the_bot_may_read_and_where_that_is_changed(
    factory: Factory, discords: discord_api.Api, flags: int | None, said: str
) -> None:
    discords.answers["applications/@me"] = {**discord_api.APPLICATION, "flags": flags}

    assert said in init(factory, platform="discord").stdout


def test_a_bot_without_a_number_is_told_by_its_name_alone(factory: Factory, discords: discord_api.Api) -> None:
    discords.answers["users/@me"] = {**discord_api.BOT, "discriminator": "0"}

    assert told(init(factory, "--json", platform="discord"))["username"] == "Zoë's Helper"


def test_an_address_of_discord_stands_in_its_own_table(factory: Factory, discords: discord_api.Api) -> None:
    factory.home.mkdir(mode=0o700)
    stood = '[telegram]\napi_base = "http://elsewhere:1"\n'
    (factory.home / "factory.toml").write_text(stood)

    told(init(factory, "--json", "--api-base", f"{discords.url}/", platform="discord"))

    expected = f'{stood}\n[[bots]]\nplatform = "discord"\nbot_id = "main"\n\n'
    expected += f'[discord]\napi_base = "{discords.url}"\n'
    assert (factory.home / "factory.toml").read_text() == expected


@pytest.mark.parametrize("token", ["hello", TOKEN, "a.b", "a.b.c.d", "a.b.with spaces", "a.b.c\nX-Header: d", "a.b.é"])
def test_what_is_no_token_of_discord_is_said_without_repeating_it(
    factory: Factory, discords: discord_api.Api, token: str
) -> None:
    done = factory.run("init", "discord", DISCORD_BOT_TOKEN=token)

    assert done.returncode == 1
    assert done.stderr.startswith("factory: DISCORD_BOT_TOKEN: holds no token; one looks like MTA4")
    assert token not in done.stdout + done.stderr
    assert discords.asked == []


THERE = r"factory: discord-main: 127\.0\.0\.1:\d+ "


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ((200, b"<html>Welcome</html>"), "answers with status 200 and not as Discord does; is the address right?"),
        ((302, b""), "answers with status 302 and not as Discord does"),
        ((200, b"[" * 50_000), "answers with status 200 and not as Discord does"),
        ((200, b'{"ok":true,"result":{}}'), "tells of no bot: it is no API of Discord"),
        ((200, b'{"id":"1","username":"person"}'), "tells of no bot: it is no API of Discord"),
        ((401, b"<html>Log in</html>"), "answers with status 401 and not as Discord does"),
        (
            (401, b'{"message":"401: Unauthorized","code":0}'),
            "knows no bot by this token: it is mistyped, or was reset",
        ),
        ((404, b'{"message":"404: Not Found","code":0}'), "answers with status 404 and not as Discord does"),
        ((429, b"error code: 1015"), "refuses to tell, with status 429; try again later"),
        ((503, b"upstream connect error"), "refuses to tell, with status 503; try again later"),
    ],
    ids=["page", "redirect", "deep", "shape", "person", "login", "401", "404", "429", "503"],
)
def test_a_server_that_does_not_tell_of_the_bot_of_discord_is_told_in_words(
    factory: Factory, discords: discord_api.Api, raw: tuple[int, bytes], said: str
) -> None:
    discords.raw = raw

    done = init(factory, platform="discord")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(f"^{THERE}{re.escape(said)}", done.stderr, re.MULTILINE), done.stderr
    assert not (factory.home / "factory.toml").exists()
    assert list((factory.home / "keys").iterdir()) == []


def test_an_application_that_is_none_is_told(factory: Factory, discords: discord_api.Api) -> None:
    discords.answers["applications/@me"] = {"id": "my application"}

    assert "tells of no application: it is no API of Discord" in init(factory, platform="discord").stderr


def test_where_no_discord_answers_that_is_told(factory: Factory) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = init(factory, platform="discord", DISCORD_API_BASE=f"http://127.0.0.1:{free.getsockname()[1]}/api/v10")

    assert done.returncode == 1
    assert "cannot be reached: Connection refused" in done.stderr


@pytest.mark.parametrize("content", ["", "rubbish", "[]", '{"digest": 1, "expires_at": 2.0}', '{"digest": "é"}'])
def test_a_code_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "pairing-telegram-main.json").write_text(content)

    assert pairing.offered(tmp_path, "telegram", "main") is None


def test_a_fresh_code_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    codes = [pairing.offer(tmp_path, "telegram-main", 1000.0)[0] for _ in range(2)]

    offered = pairing.offered(tmp_path, "telegram", "main")

    assert codes[0] != codes[1]
    assert offered is not None
    assert (offered.digest, offered.expires_at) == (digest_of(codes[1]), 4600.0)
