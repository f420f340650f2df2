"""Where secrets come from, in which order, and what ends a start instead of being passed over."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest

from factory_cli import config, secret, state, tokens
from factory_cli.document import BadConfiguration
from factory_cli.home import Home, is_open_above
from factory_cli.secret import Handed
from tests.cli import telegram_api

NAME = "OPENAI_API_KEY"
CANARY = "canary-0451-sings-no-more"


def put(path: Path, content: str | bytes = CANARY, mode: int = 0o600) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody on this machine may enter."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if not is_open_above(folder / "file"):
            pytest.skip("nothing is open to everybody here")
        yield folder


Keyring = Callable[[dict[str, str]], list[str]]


class KeyringError(Exception):
    """As the library's own."""


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """A desktop's keyring that holds something under some names, and tells which it was asked for."""

    def install(held: dict[str, str]) -> list[str]:
        asked: list[str] = []

        def get_password(service: str, name: str) -> str | None:
            asked.append(f"{service}: {name}")
            if held.get(name) == "locked":
                raise KeyringError(CANARY)
            return held.get(name)

        module, errors = ModuleType("keyring"), ModuleType("keyring.errors")
        vars(module)["get_password"] = get_password
        vars(errors)["KeyringError"] = KeyringError
        monkeypatch.setitem(sys.modules, "keyring", module)
        monkeypatch.setitem(sys.modules, "keyring.errors", errors)
        return asked

    return install


def wrong(variables: dict[str, str], name: str = NAME) -> str:
    with pytest.raises(BadConfiguration) as raised:
        secret.find(variables, name)
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None
    return str(raised.value)


def test_each_source_is_asked_only_where_those_before_it_have_nothing(tmp_path: Path, keyring: Keyring) -> None:
    asked = keyring({NAME: "from the keyring"})
    small = put(tmp_path / NAME.lower(), "from small letters\n")
    exact = put(tmp_path / NAME, "from a credential\n")
    variables = {
        NAME: "itself",
        f"{NAME}_FILE": str(put(tmp_path / "key", "from a file\n")),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "FACTORY_KEYRING": "1",
    }

    found = [secret.find({**variables, f"{NAME}_FILE": ""}, NAME)]
    variables[NAME] = ""
    found.append(secret.find(variables, NAME))
    variables[f"{NAME}_FILE"] = ""
    for path in (exact, small):
        found.append(secret.find(variables, NAME))
        path.unlink()
    assert asked == []
    found.append(secret.find(variables, NAME))

    assert [(one.value, one.source) for one in found if one is not None] == [
        ("itself", NAME),
        ("from a file", f"{NAME}_FILE"),
        ("from a credential", f"the credential {NAME}"),
        ("from small letters", f"the credential {NAME.lower()}"),
        ("from the keyring", "the keyring"),
    ]
    assert asked == [f"factory: {NAME}"]


def test_what_is_found_is_not_shown_where_it_is_printed() -> None:
    assert CANARY not in repr(secret.find({NAME: CANARY}, NAME))


def test_two_sources_of_one_name_are_an_error(tmp_path: Path) -> None:
    said = wrong({NAME: CANARY, f"{NAME}_FILE": str(put(tmp_path / "key"))})

    assert said == f"environment: {NAME}: is set, and so is {NAME}_FILE; set one of them"


def test_an_empty_variable_is_as_good_as_none(tmp_path: Path) -> None:
    assert secret.find({NAME: "", f"{NAME}_FILE": ""}, NAME) is None
    assert secret.find({NAME: "", f"{NAME}_FILE": str(put(tmp_path / "key"))}, NAME) is not None


def test_what_holds_nothing_is_an_error_and_not_nothing(tmp_path: Path, keyring: Keyring) -> None:
    keyring({NAME: " "})
    blank = put(tmp_path / NAME.lower(), " \n")

    assert wrong({NAME: "  "}) == f"environment: {NAME}: is set to nothing but spaces; unset it, or set it"
    assert wrong({f"{NAME}_FILE": str(blank)}) == (
        f"environment: {NAME}_FILE: {blank}: is empty; put the secret there, or do without it"
    )
    assert wrong({"CREDENTIALS_DIRECTORY": str(tmp_path)}).startswith(
        f"environment: CREDENTIALS_DIRECTORY: {blank}: is empty"
    )
    assert "the keyring holds nothing under" in wrong({"FACTORY_KEYRING": "1"})


@pytest.mark.parametrize(
    ("content", "said"),
    [(CANARY.encode() + b"\xff", "is not UTF-8"), (CANARY.encode() * 10_000, "is longer than 100000 bytes")],
)
def test_what_cannot_be_a_secret_is_named_and_its_content_is_not(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in wrong({f"{NAME}_FILE": str(put(tmp_path / "key", content))})


def test_a_file_that_is_missing_or_a_folder_is_named() -> None:
    assert wrong({f"{NAME}_FILE": "/nowhere/key"}).endswith("/nowhere/key: No such file or directory")
    assert wrong({f"{NAME}_FILE": "/"}).endswith("/: Is a directory")


@pytest.mark.parametrize("way", ["file", "credential"])
def test_a_secret_that_everybody_can_read_is_refused(open_folder: Path, way: str) -> None:
    path = put(open_folder / NAME, mode=0o644)
    variables = {f"{NAME}_FILE": str(path)} if way == "file" else {"CREDENTIALS_DIRECTORY": str(open_folder)}

    assert wrong(variables).endswith(f"{path}: can be read by everybody on this machine; run: chmod 600 {path}")

    path.chmod(0o640)
    assert secret.find(variables, NAME) is not None
    path.chmod(0o644)
    open_folder.chmod(0o700)
    assert secret.find(variables, NAME) is not None


def test_what_an_orchestrator_mounts_is_private_whatever_its_mode_says() -> None:
    assert secret.is_private(Path("/run/secrets/telegram_bot_token"))
    assert secret.is_private(Path("/run/credentials/factory.service/nats_url"))
    assert not secret.is_private(Path("/run/secrets/../user"))


def test_the_keyring_is_asked_only_by_who_wants_it(keyring: Keyring) -> None:
    asked = keyring({NAME: CANARY})

    for wanted in ({}, {"FACTORY_KEYRING": ""}, {"FACTORY_KEYRING": "0"}):
        assert secret.find(wanted, NAME) is None
    assert asked == []
    assert wrong({"FACTORY_KEYRING": "yes"}) == "environment: FACTORY_KEYRING: must be 1 or 0"


def test_a_keyring_that_cannot_be_had_is_an_error(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring({NAME: "locked"})
    assert wrong({"FACTORY_KEYRING": "1"}).endswith(f"the keyring was asked for {NAME} and failed: KeyringError")

    monkeypatch.setitem(sys.modules, "keyring", None)
    assert wrong({"FACTORY_KEYRING": "1"}).endswith("run: pip install 'factory-chat[keyring]'")


def test_every_use_of_a_secret_knows_every_source(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, url = config.Bot("telegram", "main"), "nats://ann:pa55word@bus"
    held = {"TELEGRAM_BOT_TOKEN": telegram_api.TOKEN, "TELEGRAM_WEBHOOK_SECRET": "s3cret", "NATS_URL": url}
    held |= {"ANTHROPIC_API_KEY": CANARY, "WEATHER": "handed on"}
    keyring(held)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, value in held.items():
        put(credentials / name.lower(), value)

    for source in ({"FACTORY_KEYRING": "1"}, {"CREDENTIALS_DIRECTORY": str(credentials)}):
        variables = config.platforms_variables("telegram", source, tmp_path)
        token = tokens.find(bot, [bot], variables, tmp_path / "keys")
        told = config.providers_variables(source, tmp_path, Handed(env=frozenset({"WEATHER", "TELEGRAM_BOT_TOKEN"})))

        assert token is not None
        assert token.value == telegram_api.TOKEN
        assert config.webhook_secret(variables) == "s3cret"
        assert config.environment(source, tmp_path).nats_url == url
        assert {name: told.get(name) for name in held} == {
            "ANTHROPIC_API_KEY": CANARY,
            "WEATHER": "handed on",
            # Whatever an agent's file says, no worker is told what a spoke or the bus is told.
            "TELEGRAM_BOT_TOKEN": None,
            "TELEGRAM_WEBHOOK_SECRET": None,
            "NATS_URL": None,
        }


def test_keys_and_tokens_that_lie_in_files_are_found_though_nobody_knows_their_names(tmp_path: Path) -> None:
    for name in ("mistral_api_key", "GITHUB_TOKEN", "tls.pem", "notes"):
        put(tmp_path / name, name)
    variables = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "X_API_KEY_FILE": str(tmp_path / "notes"),
        "Y_FILE": "/nowhere",
    }

    told = config.providers_variables(variables, tmp_path)

    assert {name for name in told if name not in variables} == {"MISTRAL_API_KEY", "GITHUB_TOKEN", "X_API_KEY"}


def test_credentials_that_cannot_be_listed_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="environment: CREDENTIALS_DIRECTORY: /nowhere: No such file"):
        config.providers_variables({"CREDENTIALS_DIRECTORY": "/nowhere"}, tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "is_known"),
    [
        ("ANTHROPIC_API_KEY", CANARY, True),
        ("TELEGRAM_BOT_TOKEN_HELPER", CANARY, True),
        ("TELEGRAM_WEBHOOK_SECRET", CANARY, True),
        ("PGPASSWORD", CANARY, True),
        ("SMTP_PASS", CANARY, True),
        ("GITHUB_PAT", CANARY, True),
        ("SLACK_WEBHOOK_URL", f"https://example.org/{CANARY}", True),
        ("GIT_AUTHOR_NAME", CANARY, False),
        ("TOKENIZERS_PARALLELISM", CANARY, False),
        ("SSH_AUTH_SOCK", f"/tmp/{CANARY}", False),
        ("OPENAI_API_KEY_FILE", CANARY, False),
        ("EDITOR", CANARY, False),
        ("KEYBOARD", CANARY, False),
        ("HANDED", CANARY, True),
        ("HANDED", "eu-central-1", False),
        ("HANDED", "/srv/data/of-2024-01-15", False),
        ("HANDED", "https://example.org/2024", False),
        ("BEARS", "plain-words", True),
    ],
)
def test_what_is_secret_is_told_by_its_name_or_by_what_becomes_of_it(name: str, value: str, is_known: bool) -> None:
    handed = Handed(frozenset({"HANDED"}), frozenset({"BEARS"}))

    assert (value in secret.values({name: value}, handed)) == is_known


@pytest.mark.parametrize(
    ("name", "address", "logins"),
    [
        ("NATS_URL", "nats://ann:pa%2F55word@a:4222,tls://t0ken@b", {"pa%2F55word", "pa/55word", "t0ken"}),
        ("HTTPS_PROXY", "http://ann:pa55word@proxy:3128", {"pa55word"}),
        ("REMOTE", "ssh://git@example.org/a", set()),
        ("MAIL", "ann@example.org", set()),
    ],
)
def test_what_logs_in_at_an_address_is_secret(name: str, address: str, logins: set[str]) -> None:
    assert set(secret.values({name: address})) == logins
    assert not [login for login in logins if login in secret.without_login(address)]


def test_what_agents_hand_to_servers_is_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "scout.toml").write_text('[[mcp]]\nname = "a"\ncommand = ["a"]\nenv = ["A_KEY", "REGION"]\n')
    (tmp_path / "plugins" / "web.toml").write_text('[[mcp]]\nname = "b"\nurl = "https://b"\nbearer = "B"\n')
    (tmp_path / "broken.toml").write_text("[[mcp")
    (tmp_path / "odd.toml").write_text("mcp = 3\n")
    (tmp_path / "odder.toml").write_text("[[mcp]]\nenv = [3]\nbearer = 4\n")

    assert secret.handed(tmp_path) == Handed(frozenset({"A_KEY", "REGION"}), frozenset({"B"}))
    assert secret.handed(tmp_path / "nowhere") == secret.NOTHING


def test_who_joins_is_told_how_to_log_in_and_nobody_who_only_looks(tmp_path: Path) -> None:
    home, url = Home(tmp_path), "nats://ann:pa55word@bus:4222"
    home.prepare()

    state.write(home, state.State(1, url, False, "agents"))
    joining = state.read(home)

    assert joining is not None
    assert joining.url == url
    assert "pa55word" not in home.state.read_text() + repr(joining)
    assert home.bus.stat().st_mode & 0o077 == 0
    state.write(home, state.State(1, "nats://127.0.0.1:1", True, "agents"))
    after = state.read(home)
    assert after is not None
    assert after.url == "nats://127.0.0.1:1"
    state.clear(home)
    assert not home.bus.exists()
    assert state.read(home) is None
