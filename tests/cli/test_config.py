"""What a person may set, and what is refused by name."""

from decimal import Decimal
from pathlib import Path

import pytest

from factory_cli import config, keys, services, spokes, tokens
from factory_cli.config import Budget, Route, RouteChoice
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.membership import members, users
from workers.voice.settings import ESPEAK, Program, Server

BOT = '[[bots]]\nplatform = "carrier"\nbot_id = "main"\n'
BUDGET = '[[budgets]]\nname = "daily"\n'
TELEGRAM = "[telegram]\n"
DISCORD = "[discord]\n"
DOOR = "[[bots]]\nplatform = 'agents'\nbot_id = 'scout'\n"
CALLER = "[[callers]]\nname = 'ci'\n"
WEBHOOK = "[telegram.webhook]\nurl = 'https://bot.example.org'\n"
SERVER = "[voice.stt]\nengine = 'openai'\nbase_url = 'http://h'\nmodel = 'm'\n"
CHOICE = "[[routes.essay.choices]]\nmodel = 'scripted'\n"


SECRET = "123456789:AAF-a_secret_that_nobody_may_ever_see"
OTHER_SECRET = "987654321:BBF-another_secret"
DISCORDS_SECRET = "MTA4MTIzNDU2Nzg5MDEyMzQ1.Gx1y2z.a_secret_that_nobody_may_ever_see-00000"
SECRETS = {"telegram": SECRET, "discord": DISCORDS_SECRET}


def bots(*names: str, platform: str = "telegram") -> str:
    return "".join(f'[[bots]]\nplatform = "{platform}"\nbot_id = "{name}"\n' for name in names)


def discords(*names: str) -> str:
    return bots(*names, platform="discord")


def configuration(folder: Path, text: str) -> config.Configuration:
    file = folder / "factory.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file)


@pytest.mark.parametrize("bot_id", ["a.b", "*", ">", "my bot", "", "Main", "x" * 33])
def test_a_bot_id_that_cannot_stand_in_a_subject_is_named(tmp_path: Path, bot_id: str) -> None:
    with pytest.raises(BadConfiguration) as raised:
        configuration(tmp_path, f'\n[[bots]]\nplatform = "carrier"\nbot_id = "{bot_id}"\n')

    assert str(raised.value).endswith(
        f"factory.toml:4: bots.bot_id: bot id {bot_id!r}: must be 1 to 32 of a-z, 0-9, '_' and '-'"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hub]\nmax_pool = 2\n", "2: hub.max_pool: unknown key (did you mean 'max_pools'?)"),
        ("[hub]\nmax_pools = 0\n", "2: hub.max_pools: must be 1 to 1000000, not 0"),
        ("[hubs]\n", "1: hubs: unknown key"),
        ("[[bots]]\nbot_id = 'main'\n", "1: bots.platform: platform ''"),
        (BOT + "access = 'everybody'\n", "4: bots.access: must be 'owners' or 'public'"),
        (BOT + "owners = [1]\n", "4: bots.owners: must be a list of strings"),
        (BOT + "turns_at_once = 0\n", "4: bots.turns_at_once: must be 1 to 10000, not 0"),
        (BOT + "token = 'x'\n", "4: bots.token: unknown key"),
        (BOT + BOT, "6: bots.bot_id: 'carrier-main' stands here twice"),
        (BUDGET, "1: budgets.amount: is missing"),
        (BUDGET + "amount = 5.00\n", '3: budgets.amount: must be quoted, so that no digit is lost: amount = "5.0"'),
        (BUDGET + "amount = 5\n", '3: budgets.amount: must be quoted, so that no digit is lost: amount = "5"'),
        (BUDGET + "amount = true\n", "3: budgets.amount: must be an amount"),
        (BUDGET + "amount = '-1'\n", '3: budgets.amount: must be an amount of dollars like "5.00"'),
        (BUDGET + "amount = '5,00'\n", '3: budgets.amount: must be an amount of dollars like "5.00"'),
        (BUDGET + "amount = '1e3'\n", "3: budgets.amount: must be an amount of dollars"),
        (BUDGET + "amount = 'NaN'\n", "3: budgets.amount: must be an amount of dollars"),
        (BUDGET + "amount = '0.0000000000000000001'\n", "3: budgets.amount: must be an amount of dollars"),
        (BUDGET + "amount = '1'\nper = 'usr'\n", "4: budgets.per: must be one of everyone, user, scope, agent, bot"),
        (BUDGET + "amount = '1'\nperiod = 'week'\n", "4: budgets.period: must be one of day, month, ever, not 'week'"),
        (BUDGET + "amount = '1'\ncurrency = 'EUR'\n", "4: budgets.currency: must be one of USD, not 'EUR'"),
        (BUDGET + "amount = '1'\n" + BUDGET + "amount = '1'\n", "5: budgets.name: 'daily' stands here twice"),
        (CALLER, '1: callers.bots: there is no bot with platform = "agents" to talk to'),
        (CALLER + "bots = ['scout']\n", "3: callers.bots: 'scout' is no bot with platform = \"agents\""),
        (DOOR + "[[callers]]\nname = 'C.I'\n", "5: callers.name: caller 'C.I': must be 1 to 32 of"),
        (DOOR + CALLER + "sessions = ['a b']\n", "6: callers.sessions: session 'a b': must be 1 to 63 of"),
        (DOOR + CALLER + CALLER, "7: callers.name: 'ci' stands here twice"),
        (DOOR + CALLER + "key = 'x'\n", "6: callers.key: unknown key"),
        ("[[budgets]]\nname = 'My budget'\namount = '1'\n", "2: budgets.name: 'My budget' must be 1 to 32 of"),
        ("budgets = []\n", "1: budgets: is empty; to have no budget at all, write: [money] unlimited = true"),
        ("[money]\nunlimited = true\n" + BUDGET + "amount = '1'\n", "2: money.unlimited: there are budgets"),
        ("[money]\nunlimited = 1\n", "2: money.unlimited: must be true or false"),
        ("[prices.claude]\ninput = '1'\noutput = '1'\n", "1: prices.claude: must be a model"),
        ("[prices.'a:b']\ninput = '1'\n", "1: prices.a:b.output: is missing"),
        ("[prices.'a:b']\ninput = 1\noutput = '1'\n", "2: prices.a:b.input: must be quoted"),
        ("[prices.'a:b']\ninput = '1'\noutput = '1'\ncached = '1'\n", "4: prices.a:b.cached: unknown key"),
        ("prices = 1\n", "1: prices: must be a table"),
        (TELEGRAM + "api_bse = 'x'\n", "2: telegram.api_bse: unknown key (did you mean 'api_base'?)"),
        (TELEGRAM + "token = 'x'\n", "2: telegram.token: unknown key"),
        (TELEGRAM + "api_base = 'telegram.org'\n", "2: telegram.api_base: must be an address that begins with http://"),
        (TELEGRAM + "api_base = 'https://u:p@h'\n", "2: telegram.api_base: must be an address without a user"),
        (TELEGRAM + "api_base = 'http://[x'\n", "2: telegram.api_base: must be an address"),
        (
            TELEGRAM + "stream = 'drafts'\n",
            "2: telegram.stream: must be one of edit, draft, not 'drafts' (did you mean",
        ),
        (TELEGRAM + "render = 'html'\n", "2: telegram.render: must be one of entities, rich, plain, not 'html'"),
        (TELEGRAM + "observe = 1\n", "2: telegram.observe: must be true or false"),
        (TELEGRAM + "reactions = 'yes'\n", "2: telegram.reactions: must be true or false"),
        (TELEGRAM + "webhook = true\n", "2: telegram.webhook: must be a table"),
        ("[telegram.webhook]\n", "1: telegram.webhook.url: is missing"),
        (
            "[telegram.webhook]\nurl = 'http://h'\n",
            "2: telegram.webhook.url: must be an address that begins with https",
        ),
        (
            "[telegram]\nspokes = 2\n" + WEBHOOK,
            "2: telegram.spokes: with a webhook only one process of a machine can listen at its port",
        ),
        ("[discord]\nspokes = 5\n", "2: discord.spokes: must be 1 to 4, not 5"),
        (WEBHOOK + "port = 0\n", "3: telegram.webhook.port: must be 1 to 65535, not 0"),
        (WEBHOOK + "secret = 'x'\n", "3: telegram.webhook.secret: unknown key"),
        (bots("a-b", "a_b"), "6: bots.bot_id: 'a_b' is told apart by no variable: TELEGRAM_BOT_TOKEN_A_B means"),
        (bots("file"), "3: bots.bot_id: 'file' is told apart by no variable: TELEGRAM_BOT_TOKEN_FILE means"),
        (bots("x-file", "x"), "6: bots.bot_id: 'x' is told apart by no variable: TELEGRAM_BOT_TOKEN_X_FILE means"),
        (bots("x", "x-file"), "6: bots.bot_id: 'x-file' is told apart by no variable: TELEGRAM_BOT_TOKEN_X_FILE"),
        (discords("a-b", "a_b"), "6: bots.bot_id: 'a_b' is told apart by no variable: DISCORD_TOKEN_A_B means"),
        (discords("file"), "3: bots.bot_id: 'file' is told apart by no variable: DISCORD_TOKEN_FILE means"),
        (DISCORD + "stream = 'edit'\n", "2: discord.stream: unknown key"),
        (DISCORD + "token = 'x'\n", "2: discord.token: unknown key"),
        (DISCORD + "api_base = 'discord.com'\n", "2: discord.api_base: must be an address that begins with http://"),
        (DISCORD + "gateway = 'https://h'\n", "2: discord.gateway: must be an address that begins with ws:// or wss"),
        (DISCORD + "gateway = ''\n", "2: discord.gateway: must be an address that begins with ws://"),
        (DISCORD + "threads = 1\n", "2: discord.threads: must be true or false"),
        (DISCORD + "dedicated = [1]\n", "2: discord.dedicated: must be a list of strings"),
        (DISCORD + "dedicated = ['#help']\n", "2: discord.dedicated: '#help' is no channel's id"),
        (DISCORD + "message_content = 'no'\n", "2: discord.message_content: must be true or false"),
        ("[routes.essay]\n", "1: routes.essay.choices: is missing; each choice is a table: [[routes.essay.choices]]"),
        ("[routes.'My essay']\n", "1: routes.My essay: 'My essay' must be 1 to 32 of"),
        (CHOICE, "1: routes.essay.choices.cost: is missing"),
        (CHOICE + "cost = '1'\n", "1: routes.essay.choices.success: is missing"),
        (CHOICE + "cost = '1'\nsuccess = 1.5\n", "4: routes.essay.choices.success: must be 0 to 1, not 1.5"),
        (CHOICE + "cost = '1'\nsuccess = 0\n", "4: routes.essay.choices.success: must be above 0"),
        (CHOICE + "cost = '1'\nsuccess = 1\nattempts = 0\n", "5: routes.essay.choices.attempts: must be 1 to 100"),
        ("[routes.essay]\nmin_success = nan\n", "2: routes.essay.min_success: must be 0 to 1, not nan"),
        ("[voice.tts]\nengine = 'say'\n", "2: voice.tts.engine: must be one of espeak, command, openai, not 'say'"),
        ("[voice.tts]\nengine = 'command'\n", "1: voice.tts.command: names no program"),
        (
            "[voice.tts]\nengine = 'command'\ncommand = ['a', '{text}']\n",
            "3: voice.tts.command: holds {text}, and only {out} and {voice} mean something",
        ),
        ("[voice.tts]\nbase_url = 'http://h'\n", "2: voice.tts.base_url: unknown key"),
        ("[voice.stt]\n", "1: voice.stt.engine: is missing"),
        ("[voice.stt]\nengine = 'openai'\nbase_url = 'h'\n", "3: voice.stt.base_url: must be an address"),
        (SERVER + "key = 'sk-123'\n", "5: voice.stt.key: must be the name of a variable that holds the key"),
        ("[voice]\nhear = true\n", "2: voice.hear: unknown key"),
        ("[image]\nbase_url = 'http://h/v1'\n", "1: image.model: is missing"),
        ("[image]\n[[workers]]\nname = 'image-qr'\ncapability = 'x'\n", "3: workers.name: 'image-qr' is somebody"),
        (CHOICE.replace("scripted", "auto"), "2: routes.essay.choices.model: 'auto' cannot stand here"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadConfiguration) as raised:
        configuration(tmp_path, text)

    assert str(raised.value).startswith(f"{tmp_path}/factory.toml:{said}")


def test_without_a_file_there_is_the_terminal_and_its_person_may_speak(tmp_path: Path) -> None:
    (bot,) = config.bots_of(config.load(tmp_path / "factory.toml"))

    assert (bot.platform, bot.bot_id, bot.access) == ("cli", "main", "public")


def test_the_person_at_the_terminal_cannot_be_shut_out(tmp_path: Path) -> None:
    text = '[[bots]]\nplatform = "cli"\nbot_id = "main"\naccess = "owners"\nmax_text = 10\n'

    (bot,) = config.bots_of(configuration(tmp_path, text))

    assert (bot.access, bot.max_text) == ("public", 10)


def test_what_a_bot_takes_from_people_is_bounded_by_default_and_can_be_said(tmp_path: Path) -> None:
    said = "rate_per_scope_minute = 5\nturns_at_once = 1\nmax_text = 10\nrate_per_minute = 2\n"
    text = BOT + '[[bots]]\nplatform = "carrier"\nbot_id = "other"\n' + said

    found = config.bots_of(configuration(tmp_path, text))[1:]

    limits = [(bot.max_text, bot.rate_per_minute, bot.rate_per_scope_minute, bot.turns_at_once) for bot in found]
    assert limits == [(20_000, 20, 60, 8), (10, 2, 5, 1)]


def test_every_bot_is_a_member_of_its_own(tmp_path: Path) -> None:
    found = {member.identity: member.permissions for member in members(configuration(tmp_path, BOT))}

    assert set(found) == {"hub", "eraser", "reader", "clipool", "cli-main", "carrier-main"}
    assert not set(found["carrier-main"].publish) & set(found["cli-main"].publish)


def test_keys_are_made_once_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = users(home, config.Configuration())

    second = users(home, config.Configuration())

    files = sorted(home.keys.iterdir())
    assert first == second
    assert [file.name for file in files] == [
        *("cli-main.nk", "cli-main.store.nk", "clipool.nk", "clipool.store.nk"),
        *("eraser.nk", "hub.nk", "hub.store.nk", "reader.nk"),
    ]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert home.keys.stat().st_mode & 0o777 == 0o700


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "hub.nk").write_text("rubbish\n")
    (tmp_path / "cli-main.nk").write_text("")

    with pytest.raises(BadConfiguration, match=r"hub\.nk: this is no nkey seed"):
        keys.public_key_of(tmp_path, "hub")
    with pytest.raises(BadConfiguration, match=r"cli-main\.nk: holds no key"):
        keys.seed_of(tmp_path, "cli-main")


def test_the_environment_stands_above_the_file_beside_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NATS_URL=nats://beneath\nFACTORY_HOME=/beneath\n")

    found = config.environment({"NATS_URL": "nats://above"}, tmp_path)

    assert (found.nats_url, found.home) == ("nats://above", Path("/beneath"))


def test_a_value_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("nats://secret\n")

    assert config.environment({"NATS_URL_FILE": str(secret)}, tmp_path).nats_url == "nats://secret"
    with pytest.raises(BadConfiguration, match="environment: NATS_URL: is set, and so is NATS_URL_FILE"):
        config.environment({"NATS_URL_FILE": str(secret), "NATS_URL": "nats://other"}, tmp_path)
    with pytest.raises(BadConfiguration, match="environment: NATS_URL_FILE: missing: No such file"):
        config.environment({"NATS_URL_FILE": "missing"}, tmp_path)


def test_the_home_is_as_told_else_as_set_else_the_systems_own(tmp_path: Path) -> None:
    surroundings = config.Environment(home=Path("/set"))

    assert config.home(tmp_path, surroundings).path == tmp_path
    assert config.home(None, surroundings).path == Path("/set")
    assert config.home(None, config.Environment()).path.name == "factory"


def test_who_says_nothing_of_money_has_five_dollars_a_day(tmp_path: Path) -> None:
    assert configuration(tmp_path, "").budgets == (Budget("daily", Decimal("5.00"), "everyone", "day"),)
    assert config.load(tmp_path / "missing.toml").budgets == configuration(tmp_path, "").budgets


@pytest.mark.parametrize("now", ["[hub]\nmax_pools = 8\n", "[hub", None])
def test_what_was_settled_holds_whatever_the_file_says_later(tmp_path: Path, now: str | None) -> None:
    where = Home(tmp_path)
    where.prepare()
    where.configuration.write_text("[hub]\nmax_pools = 7\n")
    config.settle(where)

    if now is None:
        where.configuration.unlink()
    else:
        where.configuration.write_text(now)

    assert config.settled(where).max_pools == 7


def test_a_file_that_says_nothing_is_settled_too(tmp_path: Path) -> None:
    where = Home(tmp_path)
    where.prepare()

    config.settle(where)
    where.configuration.write_text("[hub]\nmax_pools = 8\n")

    assert config.settled(where) == config.Configuration()


def test_where_nothing_can_be_written_the_file_holds_as_it_stands(tmp_path: Path) -> None:
    where = Home(tmp_path)
    where.configuration.write_text("[hub]\nmax_pools = 7\n")

    config.settle(where)
    where.configuration.write_text("[hub]\nmax_pools = 8\n")

    assert config.settled(where).max_pools == 8


def test_to_have_no_budget_takes_a_word(tmp_path: Path) -> None:
    assert configuration(tmp_path, "[money]\nunlimited = true\n").budgets == ()


def test_a_budget_keeps_every_digit(tmp_path: Path) -> None:
    text = """
[[budgets]]
name = "each"
amount = "0.000000000000000001"
per = "user"
period = "month"
currency = "USD"

[[budgets]]
name = "nothing-at-all"
amount = "0"
period = "ever"
"""

    assert configuration(tmp_path, text).budgets == (
        Budget("each", Decimal("0.000000000000000001"), "user", "month"),
        Budget("nothing-at-all", Decimal(0), "everyone", "ever"),
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ("2", "8")),
        ("cache_read = '0.2'", ("2", "8", "0.2", "2")),
        ("cache_write = '2.5'", ("2", "8", "2", "2.5")),
        ("cache_write = '2.5'\ncache_read = '0.2'", ("2", "8", "0.2", "2.5")),
    ],
)
def test_a_price_is_what_a_million_tokens_cost(tmp_path: Path, text: str, line: tuple[str, ...]) -> None:
    found = configuration(tmp_path, f"[prices.'vllm:*']\ninput = '2'\noutput = '8'\n{text}\n").prices

    assert found == {"vllm:*": tuple(map(Decimal, line))}


def test_a_route_names_what_each_model_costs_and_how_often_it_succeeds(tmp_path: Path) -> None:
    text = """
[routes.essay]
min_success = 0.95
[[routes.essay.choices]]
model = "anthropic:haiku"
cost = "0.005"
success = 0.85
attempts = 4
[[routes.essay.choices]]
model = "anthropic:opus"
cost = "0.21"
success = 1
"""

    assert configuration(tmp_path, text).routes == {
        "essay": Route(
            (
                RouteChoice("anthropic:haiku", Decimal("0.005"), 0.85, 4),
                RouteChoice("anthropic:opus", Decimal("0.21"), 1.0, 3),
            ),
            0.95,
        )
    }


def test_who_says_nothing_of_telegram_has_what_is_usual(tmp_path: Path) -> None:
    assert configuration(tmp_path, bots("main")).telegram == config.Telegram(
        api_base="https://api.telegram.org",
        stream="edit",
        render="entities",
        observe=False,
        reactions=False,
        webhook=None,
    )


def test_voices_and_pictures_are_as_the_file_says(tmp_path: Path) -> None:
    text = """
[voice.tts]
engine = "command"
command = ["piper", "--model", "{voice}", "--output_file", "{out}"]
voice = "anna"

[voice.stt]
engine = "openai"
base_url = "http://127.0.0.1:8000/v1/"
model = "whisper-1"
key = "OPENAI_API_KEY"

[image]
"""

    found = configuration(tmp_path, text)

    mouth = Program(("piper", "--model", "{voice}", "--output_file", "{out}"), "anna")
    assert found.voice == config.Voice(mouth, Server("http://127.0.0.1:8000/v1", "whisper-1", "OPENAI_API_KEY"))
    assert found.image == config.Image()
    assert {one.identity for one in members(found)} >= {"voice-tts", "voice-stt", "image-qr", "image-card"}


def test_voices_and_pictures_are_off_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    bare, spoken = configuration(tmp_path, ""), configuration(tmp_path, "[voice.tts]\n")

    assert (bare.voice, bare.image) == (config.Voice(), None)
    assert spoken.voice == config.Voice(Program(ESPEAK, "en"))
    assert services.wanted(bare) == []
    assert [one.name for one in services.wanted(spoken)] == ["voice"]


def test_telegram_is_as_the_file_says(tmp_path: Path) -> None:
    text = """
[telegram]
api_base = "http://localhost:8081/"
stream = "draft"
render = "rich"
observe = true
reactions = true

[telegram.webhook]
url = "https://bot.example.org/telegram/"
host = "0.0.0.0"
port = 80
"""

    assert configuration(tmp_path, text).telegram == config.Telegram(
        api_base="http://localhost:8081",
        stream="draft",
        render="rich",
        observe=True,
        reactions=True,
        webhook=config.Webhook("https://bot.example.org/telegram", "0.0.0.0", 80),
    )


def test_the_environments_address_stands_above_the_files() -> None:
    file = config.Configuration(telegram=config.Telegram("http://file"), discord=config.Discord("http://other"))

    assert config.api_base(file, "telegram", {}) == "http://file"
    assert config.api_base(file, "discord", {"TELEGRAM_API_BASE": "http://above/"}) == "http://other"
    assert config.api_base(file, "telegram", {"TELEGRAM_API_BASE": "http://above/"}) == "http://above"
    assert config.api_base(file, "discord", {"DISCORD_API_BASE": "http://above/"}) == "http://above"
    with pytest.raises(BadConfiguration, match="environment: TELEGRAM_API_BASE: must be an address"):
        config.api_base(file, "telegram", {"TELEGRAM_API_BASE": "above"})


def test_who_says_nothing_of_discord_has_what_is_usual(tmp_path: Path) -> None:
    assert configuration(tmp_path, discords("main")).discord == config.Discord(
        api_base="https://discord.com/api/v10",
        gateway="wss://gateway.discord.gg",
        threads=False,
        dedicated=frozenset(),
        observe=False,
        reactions=False,
        message_content=True,
    )


def test_discord_is_as_the_file_says(tmp_path: Path) -> None:
    text = """
[discord]
api_base = "http://localhost:8081/api/v10/"
gateway = "ws://localhost:8082/"
threads = true
dedicated = ["1081234567890123450", "777234567890123450"]
observe = true
reactions = true
message_content = false
"""

    assert configuration(tmp_path, text).discord == config.Discord(
        api_base="http://localhost:8081/api/v10",
        gateway="ws://localhost:8082",
        threads=True,
        dedicated=frozenset({"1081234567890123450", "777234567890123450"}),
        observe=True,
        reactions=True,
        message_content=False,
    )


def test_the_environments_gateway_stands_above_the_files() -> None:
    file = config.Configuration(discord=config.Discord(gateway="ws://file"))

    assert config.reach(file, "discord", {}).gateway == "ws://file"
    assert config.reach(file, "discord", {"DISCORD_GATEWAY": "wss://above/"}).gateway == "wss://above"
    with pytest.raises(BadConfiguration, match="environment: DISCORD_GATEWAY: must be an address that begins with ws"):
        config.reach(file, "discord", {"DISCORD_GATEWAY": "http://above"})


@pytest.mark.parametrize("secret", ["", "a b", "é", "x" * 257, "a\nb"])
def test_a_webhook_has_a_secret_and_it_may_stand_in_a_header(tmp_path: Path, secret: str) -> None:
    file = tmp_path / "secret"
    file.write_text("A-good_1\n")

    assert config.webhook_secret({"TELEGRAM_WEBHOOK_SECRET_FILE": str(file)}) == "A-good_1"
    with pytest.raises(BadConfiguration, match=r"^environment: TELEGRAM_WEBHOOK_SECRET: ") as raised:
        config.webhook_secret({"TELEGRAM_WEBHOOK_SECRET": secret})

    assert not secret or secret not in str(raised.value)


@pytest.mark.parametrize(
    ("names", "which", "variables", "source"),
    [
        (("main",), 0, ("TELEGRAM_BOT_TOKEN",), "TELEGRAM_BOT_TOKEN"),
        (("helper",), 0, ("TELEGRAM_BOT_TOKEN",), "TELEGRAM_BOT_TOKEN"),
        (("main", "helper"), 0, ("TELEGRAM_BOT_TOKEN",), "TELEGRAM_BOT_TOKEN"),
        (("main", "helper"), 1, ("TELEGRAM_BOT_TOKEN",), None),
        (("main", "my-helper"), 1, ("TELEGRAM_BOT_TOKEN_MY_HELPER",), "TELEGRAM_BOT_TOKEN_MY_HELPER"),
        (("main",), 0, ("TELEGRAM_BOT_TOKEN", "TELEGRAM_BOT_TOKEN_MAIN"), "TELEGRAM_BOT_TOKEN_MAIN"),
        (("main",), 0, (), None),
        (("main",), 0, ("DISCORD_TOKEN",), "DISCORD_TOKEN"),
        (("helper",), 0, ("DISCORD_BOT_TOKEN",), "DISCORD_BOT_TOKEN"),
        (("main",), 0, ("DISCORD_BOT_TOKEN", "DISCORD_TOKEN"), "DISCORD_TOKEN"),
        (("main", "helper"), 0, ("DISCORD_BOT_TOKEN",), "DISCORD_BOT_TOKEN"),
        (("main", "helper"), 1, ("DISCORD_TOKEN", "DISCORD_BOT_TOKEN"), None),
        (("main", "my-helper"), 1, ("DISCORD_TOKEN", "DISCORD_TOKEN_MY_HELPER"), "DISCORD_TOKEN_MY_HELPER"),
    ],
)
def test_a_bots_token_comes_from_the_variable_that_means_it(
    tmp_path: Path, names: tuple[str, ...], which: int, variables: tuple[str, ...], source: str | None
) -> None:
    platform = "discord" if "DISCORD" in "".join(variables) else "telegram"
    every = [config.Bot(platform, name) for name in names]

    found = tokens.find(every[which], every, dict.fromkeys(variables, SECRETS[platform]), tmp_path)

    assert (found.source if found is not None else None) == source
    assert found is None or found.value == SECRETS[platform]


def test_a_bots_token_may_stand_in_a_file_that_is_named_or_in_the_home(tmp_path: Path) -> None:
    bot = config.Bot("telegram", "main")
    named = tmp_path / "named"
    named.write_text(f"{SECRET}\n")

    kept = tokens.keep(tmp_path, bot, tokens.Token(OTHER_SECRET, "typed"))
    in_home = tokens.find(bot, [bot], {}, tmp_path)
    in_file = tokens.find(bot, [bot], {"TELEGRAM_BOT_TOKEN_FILE": str(named)}, tmp_path)

    assert kept.name == "telegram-main.token"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert in_home is not None and in_file is not None
    assert (in_home.value, in_home.source) == (OTHER_SECRET, str(kept))
    assert (in_file.value, in_file.source) == (SECRET, "TELEGRAM_BOT_TOKEN_FILE")


def test_a_bot_without_token_is_named_with_every_way_to_give_it_one(tmp_path: Path) -> None:
    every = [config.Bot("telegram", "main"), config.Bot("telegram", "helper")]

    with pytest.raises(BadConfiguration) as raised:
        tokens.of_all(every, every, {"TELEGRAM_BOT_TOKEN": SECRET}, tmp_path)

    assert str(raised.value) == (
        "environment: the bot telegram-helper has no token: set TELEGRAM_BOT_TOKEN_HELPER "
        "(or TELEGRAM_BOT_TOKEN_HELPER_FILE), or run: factory init telegram --bot helper"
    )


def test_a_bot_of_discord_without_token_is_named_with_every_way_to_give_it_one(tmp_path: Path) -> None:
    every = [config.Bot("discord", "main")]

    with pytest.raises(BadConfiguration) as raised:
        tokens.of_all(every, every, {}, tmp_path)

    assert str(raised.value) == (
        "environment: the bot discord-main has no token: set DISCORD_TOKEN (or DISCORD_TOKEN_FILE) or "
        "DISCORD_BOT_TOKEN (or DISCORD_BOT_TOKEN_FILE) or DISCORD_TOKEN_MAIN (or DISCORD_TOKEN_MAIN_FILE), "
        "or run: factory init discord"
    )


def test_two_bots_cannot_have_one_account(tmp_path: Path) -> None:
    every = [config.Bot("discord", "main"), config.Bot("discord", "helper")]
    before_its_reset = DISCORDS_SECRET.replace("a_secret", "old-word")
    variables = {"DISCORD_TOKEN": DISCORDS_SECRET, "DISCORD_TOKEN_HELPER": before_its_reset}

    with pytest.raises(BadConfiguration, match="DISCORD_TOKEN_HELPER: is the token of the bot 'main' as well"):
        tokens.of_all(every, every, variables, tmp_path)


def test_two_bots_cannot_have_one_token(tmp_path: Path) -> None:
    every = [config.Bot("telegram", "main"), config.Bot("telegram", "helper")]
    variables = {"TELEGRAM_BOT_TOKEN": SECRET, "TELEGRAM_BOT_TOKEN_HELPER": SECRET}

    with pytest.raises(BadConfiguration, match="TELEGRAM_BOT_TOKEN_HELPER: is the token of the bot 'main' as well"):
        tokens.of_all(every, every, variables, tmp_path)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff\xfe", b"1:a b"])
def test_a_file_without_a_token_is_named_and_its_content_is_not(tmp_path: Path, content: bytes) -> None:
    bot = config.Bot("telegram", "main")
    (tmp_path / "telegram-main.token").write_bytes(content)

    with pytest.raises(BadConfiguration, match=r"telegram-main\.token: holds no token") as raised:
        tokens.find(bot, [bot], {}, tmp_path)

    assert "rubbish" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_token_is_not_shown_where_it_is_printed() -> None:
    assert SECRET not in repr(tokens.Token(SECRET, "somewhere"))


def test_no_worker_is_told_a_platforms_secrets(tmp_path: Path) -> None:
    said = {"GITHUB_TOKEN": "mine", "DISCORD_BOT_TOKEN": SECRET, "OPENAI_API_KEY": "key", "TELEGRAM_API_BASE": "x"}
    # Not even looked at: a file that only the spoke may read must not end a worker.
    said |= {"TELEGRAM_BOT_TOKEN_FILE": str(tmp_path / "missing"), "TELEGRAM_WEBHOOK_SECRET": SECRET}

    assert config.providers_variables(said, tmp_path) == {"GITHUB_TOKEN": "mine", "OPENAI_API_KEY": "key"}


def test_only_its_own_spoke_is_told_a_platforms_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", SECRET)
    monkeypatch.setenv("DISCORD_BOT_TOKEN", SECRET)

    hub, spoke = config.childrens_variables("nats://here"), config.childrens_variables("nats://here", "telegram")

    assert not {"TELEGRAM_BOT_TOKEN", "DISCORD_BOT_TOKEN"} & hub.keys()
    assert {"TELEGRAM_BOT_TOKEN", "DISCORD_BOT_TOKEN"} & spoke.keys() == {"TELEGRAM_BOT_TOKEN"}
    assert hub["NATS_URL"] == spoke["NATS_URL"] == "nats://here"


def test_who_is_outside_may_talk_to_every_bot_that_is_there_for_them_unless_some_are_named(tmp_path: Path) -> None:
    text = DOOR + DOOR.replace("scout", "clerk") + CALLER + CALLER.replace("ci", "eve") + "bots = ['clerk']\n"

    found = configuration(tmp_path, text)

    assert found.callers == (config.Caller("ci", ("scout", "clerk"), ("main",)), config.Caller("eve", ("clerk",)))
    assert [one.identity for one in found.callers] == ["caller-ci", "caller-eve"]
    assert [(one.name, one.command) for one in spokes.processes(found)] == [
        ("agents-scout", ("adapter", "agents", "--bot", "scout")),
        ("agents-clerk", ("adapter", "agents", "--bot", "clerk")),
    ]


def test_all_bots_of_a_platform_of_ours_are_one_process_and_others_one_each(tmp_path: Path) -> None:
    text = bots("main", "helper") + BOT + discords("main", "helper") + '[[bots]]\nplatform = "cli"\nbot_id = "main"\n'

    found = spokes.processes(configuration(tmp_path, text))

    assert [(one.name, one.command) for one in found] == [
        ("telegram", ("adapter", "telegram")),
        ("discord", ("adapter", "discord")),
    ]


def test_those_that_stand_by_are_processes_like_the_first(tmp_path: Path) -> None:
    text = bots("main") + discords("main") + "[telegram]\nspokes = 2\n"

    found = spokes.processes(configuration(tmp_path, text))

    assert [(one.name, one.command) for one in found] == [
        ("telegram", ("adapter", "telegram")),
        ("telegram-2", ("adapter", "telegram")),
        ("discord", ("adapter", "discord")),
    ]


def test_each_platform_that_cannot_run_is_named_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", SECRET)
    monkeypatch.setenv("DISCORD_TOKEN", "")
    monkeypatch.setenv("DISCORD_BOT_TOKEN", SECRET)

    found = spokes.trouble(tmp_path, configuration(tmp_path, bots("main") + discords("main")))

    assert set(found) == {"discord"}
    assert str(found["discord"]).startswith("DISCORD_BOT_TOKEN: holds no token; one looks like MTA4")
