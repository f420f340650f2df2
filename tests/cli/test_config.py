"""What a person may set, and what is refused by name."""

from decimal import Decimal
from pathlib import Path

import pytest

from factory_cli import config, keys
from factory_cli.config import Budget, Route, RouteChoice
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.membership import members, users

BOT = '[[bots]]\nplatform = "carrier"\nbot_id = "main"\n'
BUDGET = '[[budgets]]\nname = "daily"\n'
CHOICE = "[[routes.essay.choices]]\nmodel = 'scripted'\n"


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
        ("[[budgets]]\nname = 'My budget'\namount = '1'\n", "2: budgets.name: 'My budget' must be 1 to 32 of"),
        ("budgets = []\n", "1: budgets: is empty; to have no budget at all, write: [money] unlimited = true"),
        ("[money]\nunlimited = true\n" + BUDGET + "amount = '1'\n", "2: money.unlimited: there are budgets"),
        ("[money]\nunlimited = 1\n", "2: money.unlimited: must be true or false"),
        ("[prices.claude]\ninput = '1'\noutput = '1'\n", "1: prices.claude: must be a model"),
        ("[prices.'a:b']\ninput = '1'\n", "1: prices.a:b.output: is missing"),
        ("[prices.'a:b']\ninput = 1\noutput = '1'\n", "2: prices.a:b.input: must be quoted"),
        ("[prices.'a:b']\ninput = '1'\noutput = '1'\ncached = '1'\n", "4: prices.a:b.cached: unknown key"),
        ("prices = 1\n", "1: prices: must be a table"),
        ("[routes.essay]\n", "1: routes.essay.choices: is missing; each choice is a table: [[routes.essay.choices]]"),
        ("[routes.'My essay']\n", "1: routes.My essay: 'My essay' must be 1 to 32 of"),
        (CHOICE, "1: routes.essay.choices.cost: is missing"),
        (CHOICE + "cost = '1'\n", "1: routes.essay.choices.success: is missing"),
        (CHOICE + "cost = '1'\nsuccess = 1.5\n", "4: routes.essay.choices.success: must be 0 to 1, not 1.5"),
        (CHOICE + "cost = '1'\nsuccess = 0\n", "4: routes.essay.choices.success: must be above 0"),
        (CHOICE + "cost = '1'\nsuccess = 1\nattempts = 0\n", "5: routes.essay.choices.attempts: must be 1 to 100"),
        ("[routes.essay]\nmin_success = nan\n", "2: routes.essay.min_success: must be 0 to 1, not nan"),
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


def test_every_bot_is_a_member_of_its_own(tmp_path: Path) -> None:
    found = {member.identity: member.permissions for member in members(configuration(tmp_path, BOT))}

    assert set(found) == {"hub", "clipool", "cli-main", "carrier-main"}
    assert not set(found["carrier-main"].publish) & set(found["cli-main"].publish)


def test_keys_are_made_once_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = users(home, config.Configuration())

    second = users(home, config.Configuration())

    files = sorted(home.keys.iterdir())
    assert first == second
    assert [file.name for file in files] == ["cli-main.nk", "clipool.nk", "hub.nk"]
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
