"""What the person has set, from the environment, `.env` and `factory.toml`; nothing else in the project reads these.

Secrets and addresses come from the environment, everything else from the file. Each process is given its own frozen
settings, whose types stand where they are used. Heavy imports come late: the supervisor needs none of them.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from factory_cli.document import BadConfiguration, Table, read, shown
from factory_cli.home import Home
from factory_contracts import subjects

LOCAL_PLATFORM = "cli"
LOCAL_BOT = "main"
DOT_ENV = ".env"

Access = Literal["owners", "public"]


@dataclass(frozen=True, slots=True)
class Environment:
    """What the surroundings of a process say."""

    home: Path | None = None
    nats_url: str | None = None
    script: Path | None = None
    is_plain: bool = False
    person: str = ""


@dataclass(frozen=True, slots=True)
class Bot:
    """One bot of one platform, and who may speak with it."""

    platform: str
    bot_id: str
    access: Access = "owners"
    owners: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    max_text: int = 20_000
    rate_per_minute: int = 20
    answers_unaddressed: bool = False

    @property
    def identity(self) -> str:
        """The name of its spoke on the bus."""
        return f"{self.platform}-{self.bot_id}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What `factory.toml` says; each part has a default."""

    bots: tuple[Bot, ...] = ()
    max_pools: int = 1000


def environment(variables: Mapping[str, str] | None = None, folder: Path | None = None) -> Environment:
    """Read the environment, and beneath it the `.env` of the folder one stands in."""
    said = variables_of(os.environ if variables is None else variables, folder or Path.cwd())
    home, script = _value(said, "FACTORY_HOME"), _value(said, "FACTORY_SCRIPT")
    return Environment(
        home=Path(home).expanduser() if home else None,
        nats_url=_value(said, "NATS_URL"),
        script=Path(script).expanduser().absolute() if script else None,
        is_plain=bool(said.get("NO_COLOR")) or said.get("TERM") == "dumb",
        person=_person(),
    )


def variables_of(variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment as the children are given it: `.env` below, the real one above."""
    file = folder / DOT_ENV
    if not file.is_file():
        return dict(variables)
    from dotenv import dotenv_values

    beneath = {name: value for name, value in dotenv_values(file).items() if value is not None}
    return {**beneath, **variables}


def childrens_variables(nats_url: str) -> dict[str, str]:
    """The environment of a process that shall meet us on this bus, whatever else the surroundings say."""
    return {**os.environ, "NATS_URL": nats_url, "NATS_URL_FILE": ""}


def home(chosen: Path | None, surroundings: Environment) -> Home:
    """The home: as told, else `FACTORY_HOME`, else where the system keeps a person's data."""
    path = chosen or surroundings.home
    if path is None:
        from platformdirs import user_data_path

        path = user_data_path("factory", appauthor=False)
    return Home(path.expanduser().absolute())


def agents_folder(chosen: Path | None, where: Home) -> Path:
    """Where the agent seeds are: as told, else the home's own, else the program's."""
    if chosen is not None:
        if not chosen.is_dir():
            raise BadConfiguration(shown(chosen), None, "", "is no folder of agents")
        return chosen.absolute()
    return where.agents if where.agents.is_dir() else programs_own()


def programs_own() -> Path:
    """The seeds that came with the program: in a checkout, which an editable install is too, the ones at its root."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[3]
    is_checkout = package == checkout / "packages" / "cli" / "src" / package.name
    return checkout / "agents" if is_checkout else package / "agents"


def load(path: Path) -> Configuration:
    """Read `factory.toml`; where there is none, everything is as by default. Raises `BadConfiguration`."""
    if not path.exists():
        return Configuration()
    top = read(path)
    hub = top.table("hub")
    max_pools = hub.integer("max_pools", Configuration().max_pools, 1, 1_000_000)
    hub.done()
    bots: list[Bot] = []
    for table in top.tables("bots"):
        bot = _bot(table)
        if any(other.identity == bot.identity for other in bots):
            raise table.wrong("bot_id", f"{bot.identity!r} stands here twice")
        bots.append(bot)
    top.done()
    return Configuration(tuple(bots), max_pools)


def bots_of(configuration: Configuration) -> tuple[Bot, ...]:
    """Every bot, the one at the terminal among them, whose person always may speak."""
    local = Bot(LOCAL_PLATFORM, LOCAL_BOT)
    others: list[Bot] = []
    for bot in configuration.bots:
        if bot.identity == local.identity:
            local = bot
        else:
            others.append(bot)
    return (
        Bot(
            local.platform,
            local.bot_id,
            access="public",
            blocked=local.blocked,
            max_text=local.max_text,
            rate_per_minute=local.rate_per_minute,
            answers_unaddressed=local.answers_unaddressed,
        ),
        *others,
    )


def _bot(table: Table) -> Bot:
    platform, bot_id = table.text("platform", ""), table.text("bot_id", "")
    for key, value, check in (
        ("platform", platform, subjects.platform_token),
        ("bot_id", bot_id, subjects.bot_token),
    ):
        try:
            check(value)
        except subjects.BadToken as error:
            raise table.wrong(key, str(error)) from None
    said = table.text("access", "owners")
    if said not in ("owners", "public"):
        raise table.wrong("access", f"must be 'owners' or 'public', not {said!r}")
    access: Access = "public" if said == "public" else "owners"
    bot = Bot(
        platform=platform,
        bot_id=bot_id,
        access=access,
        owners=frozenset(table.texts("owners")),
        blocked=frozenset(table.texts("blocked")),
        max_text=table.integer("max_text", 20_000, 1, 1_000_000),
        rate_per_minute=table.integer("rate_per_minute", 20, 1, 100_000),
        answers_unaddressed=table.flag("answers_unaddressed", False),
    )
    table.done()
    return bot


def _person() -> str:
    """Who sits here, as the system knows them; a container may know nobody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _value(variables: Mapping[str, str], name: str) -> str | None:
    """`NAME`, or what the file named by `NAME_FILE` holds; an empty value is none."""
    direct, file = variables.get(name, ""), variables.get(f"{name}_FILE", "")
    if direct and file:
        raise BadConfiguration("environment", None, name, f"is set, and so is {name}_FILE; set one of them")
    if not file:
        return direct or None
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip() or None
    except OSError as error:
        raise BadConfiguration("environment", None, f"{name}_FILE", f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration("environment", None, f"{name}_FILE", f"{file}: is not UTF-8") from error
