"""What a person may set, and what is refused by name."""

from pathlib import Path

import pytest

from factory_cli import config, keys
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.membership import members, users

BOT = '[[bots]]\nplatform = "carrier"\nbot_id = "main"\n'


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
