"""What the person has set, from the environment, `.env` and `factory.toml`; nothing else in the project reads these.

Secrets and addresses come from the environment, everything else from the file. Each process is given its own frozen
settings, whose types stand where they are used. Heavy imports come late: the supervisor needs none of them.
"""

import os
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from factory_cli import secret
from factory_cli.document import BadConfiguration, Table, parsed, read, shown, written
from factory_cli.home import Home, write_atomically
from factory_cli.platforms import DISCORD, PLATFORMS, TELEGRAM
from factory_cli.secret import Handed
from factory_contracts import subjects
from workers.image.settings import IMAGE, OFFLINE, Painter
from workers.voice.settings import ESPEAK, STT, TTS, Ear, Local, Mouth, Program, Server, wrong_command

LOCAL_PLATFORM = "cli"
LOCAL_BOT = "main"
DOT_ENV = ".env"

Access = Literal["owners", "public"]
Per = Literal["everyone", "user", "scope", "agent", "bot"]
Period = Literal["day", "month", "ever"]

Stream = Literal["edit", "draft"]
Style = Literal["entities", "rich", "plain"]

PERS: tuple[Per, ...] = ("everyone", "user", "scope", "agent", "bot")
PERIODS: tuple[Period, ...] = ("day", "month", "ever")
CURRENCIES = ("USD",)
MOUTHS = ("espeak", "command", "openai")
EARS = ("openai", "whisper")
STREAMS: tuple[Stream, ...] = ("edit", "draft")
STYLES: tuple[Style, ...] = ("entities", "rich", "plain")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MOST_ATTEMPTS = 100
MOST_HUBS = 16
MOST_CLIPOOLS = 64

# Who is on the bus beside those whom the file names.
_OURS = (subjects.HUB, subjects.READER, subjects.ERASER, subjects.ASKER)
_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_HEADER = re.compile(r"[A-Za-z0-9_-]{1,256}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_SNOWFLAKE = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Environment:
    """What the surroundings of a process say."""

    home: Path | None = None
    nats_url: str | None = field(default=None, repr=False)
    script: Path | None = None
    is_plain: bool = False
    person: str = ""
    log_level: str = "INFO"


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
    rate_per_scope_minute: int = 60
    turns_at_once: int = 8
    answers_unaddressed: bool = False

    @property
    def identity(self) -> str:
        """The name of its spoke on the bus."""
        return f"{self.platform}-{self.bot_id}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where Telegram brings updates, and where we listen behind that address."""

    url: str
    host: str = "127.0.0.1"
    port: int = 8443


@dataclass(frozen=True, slots=True)
class Telegram:
    """How all bots of Telegram behave; what is secret stands elsewhere."""

    api_base: str = "https://api.telegram.org"
    stream: Stream = "edit"
    render: Style = "entities"
    observe: bool = False
    reactions: bool = False
    webhook: Webhook | None = None
    spokes: int = 1


@dataclass(frozen=True, slots=True)
class Discord:
    """How all bots of Discord behave; what is secret stands elsewhere."""

    api_base: str = "https://discord.com/api/v10"
    gateway: str = "wss://gateway.discord.gg"
    threads: bool = False
    dedicated: frozenset[str] = frozenset()
    observe: bool = False
    reactions: bool = False
    message_content: bool = True
    spokes: int = 1


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a platform is asked and where its events come from, and the secret of a webhook if it has one."""

    api_base: str
    gateway: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that is not ours: the name under which it may join, and the one capability that it serves."""

    name: str
    capability: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody outside who may talk to these bots in the agent protocol of others, and the sessions that they find."""

    name: str
    bots: tuple[str, ...]
    sessions: tuple[str, ...] = ("main",)

    @property
    def identity(self) -> str:
        """The name of its key."""
        return f"caller-{self.name}"


@dataclass(frozen=True, slots=True)
class Voice:
    """By what is spoken and heard, as far as it is."""

    mouth: Mouth | None = None
    ear: Ear | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """By what pictures are made; codes, cards and charts need nobody."""

    painter: Painter | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """So many dollars for each of so many, in each period."""

    name: str
    amount: Decimal
    per: Per = "everyone"
    period: Period = "day"


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """A model for a class of tasks: what an attempt costs, how often one succeeds, and how many there may be."""

    model: str
    cost: Decimal
    success: float
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class Route:
    """The models that may serve a class of tasks, and how often such a task must succeed."""

    choices: tuple[RouteChoice, ...]
    min_success: float = 0.9


# More than one stand by for the one that speaks; more than a few only cost.
MOST_SPOKES = 4
# Who configures nothing must not wake up poor.
DAILY = Budget("daily", Decimal("5.00"))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What `factory.toml` says; each part has a default.

    Prices are dollars for a million tokens by "provider:model": input and output, and where they are named, input read
    from a cache and input written to one.
    """

    bots: tuple[Bot, ...] = ()
    max_pools: int = 1000
    clipools: int = 1
    budgets: tuple[Budget, ...] = (DAILY,)
    prices: Mapping[str, tuple[Decimal, ...]] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))
    workers: tuple[Worker, ...] = ()
    voice: Voice = Voice()
    image: Image | None = None
    telegram: Telegram = Telegram()
    discord: Discord = Discord()
    callers: tuple[Caller, ...] = ()
    has_standby: bool = False
    hubs: int = 1

    def of(self, platform: str) -> tuple[Bot, ...]:
        """The bots of one platform."""
        return tuple(bot for bot in self.bots if bot.platform == platform)

    def at(self, platform: str) -> Telegram | Discord:
        """How the bots of one platform behave."""
        return self.discord if platform == DISCORD else self.telegram

    def asking(self, platform: str, api_base: str) -> "Configuration":
        """The same with another server of the platform."""
        if platform == DISCORD:
            return replace(self, discord=replace(self.discord, api_base=api_base))
        return replace(self, telegram=replace(self.telegram, api_base=api_base))


def environment(variables: Mapping[str, str] | None = None, folder: Path | None = None) -> Environment:
    """Read the environment, and beneath it the `.env` of the folder one stands in."""
    said = variables_of(os.environ if variables is None else variables, folder or Path.cwd())
    home, script, url = value_of(said, "FACTORY_HOME"), value_of(said, "FACTORY_SCRIPT"), secret.find(said, "NATS_URL")
    return Environment(
        home=Path(home).expanduser() if home else None,
        nats_url=None if url is None else url.value,
        script=Path(script).expanduser().absolute() if script else None,
        is_plain=bool(said.get("NO_COLOR")) or said.get("TERM") == "dumb",
        person=_person(),
        log_level=_log_level(said),
    )


def secrets(url: str | None = None) -> tuple[str, ...]:
    """What of the surroundings is secret, and what logs in at the bus, as far as no file must be read to know it."""
    try:
        variables: Mapping[str, str] = variables_here()
    except (BadConfiguration, OSError):
        # It is told why: of what cannot be read nothing is known that could be told with it.
        variables = os.environ
    return (*secret.values(variables), *secret.logins(url or ""))


def variables_here() -> dict[str, str]:
    """The surroundings of this process, and `.env` beneath them."""
    return variables_of(os.environ, Path.cwd())


def variables_of(variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment as the children are given it: `.env` below, the real one above."""
    file = folder / DOT_ENV
    if not file.is_file():
        return dict(variables)
    from dotenv import dotenv_values

    try:
        beneath = {name: value for name, value in dotenv_values(file).items() if value is not None}
    except UnicodeDecodeError:
        # The error itself holds what was read.
        raise BadConfiguration(DOT_ENV, None, "", "is not UTF-8") from None
    return {**beneath, **variables}


def providers_variables(
    variables: Mapping[str, str] | None = None, folder: Path | None = None, handed: Handed = secret.NOTHING
) -> dict[str, str]:
    """What providers of models and servers of tools may be told: the environment, and keys and tokens from elsewhere.

    Looked for are the keys of providers, what is announced by `NAME_FILE` or as a credential, and what agents' files
    hand to servers.
    """
    from factory_cli import models

    every = variables_of(os.environ if variables is None else variables, folder or Path.cwd())
    ours = ("FACTORY_", "NATS_", *(platform.prefix for platform in PLATFORMS.values()))
    found = {name: value for name, value in every.items() if value and not name.startswith(ours)}
    for name in {*models.KEYS, *secret.announced(every), *handed.env, *handed.bearers}:
        if not name.startswith(ours) and (one := secret.find(every, name)) is not None:
            found[name] = one.value
    return found


def platforms_variables(
    platform: str, variables: Mapping[str, str] | None = None, folder: Path | None = None
) -> dict[str, str]:
    """What the spoke of a platform may be told, and nobody else: the variables that begin with its name."""
    said = variables_of(os.environ if variables is None else variables, folder or Path.cwd())
    told = (PLATFORMS[platform].prefix, secret.CREDENTIALS, secret.KEYRING)
    return {name: value for name, value in said.items() if name.startswith(told)}


def childrens_variables(nats_url: str, platform: str | None = None) -> dict[str, str]:
    """The environment of a process that shall meet us on this bus, whatever else the surroundings say.

    Only the spoke of a platform is told what is said to that platform.
    """
    others = tuple(other.prefix for other in PLATFORMS.values() if other.name != platform)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "NATS_URL": nats_url, "NATS_URL_FILE": ""}


def value_of(variables: Mapping[str, str], name: str) -> str | None:
    """`NAME`, or what the file named by `NAME_FILE` holds; an empty value is none."""
    found = secret.told(variables, name)
    return None if found is None else found.value


def api_base(configuration: Configuration, platform: str, variables: Mapping[str, str]) -> str:
    """The server of a platform that is asked: the environment's word, else the file's."""
    name = f"{PLATFORMS[platform].prefix}API_BASE"
    return _said_address(variables, name, "http", "https") or configuration.at(platform).api_base


def reach(configuration: Configuration, platform: str, variables: Mapping[str, str]) -> Reach:
    """All that is needed to reach a platform but tokens. Raises `BadConfiguration` where it is missing or wrong."""
    base = api_base(configuration, platform, variables)
    if platform == DISCORD:
        return Reach(base, _said_address(variables, "DISCORD_GATEWAY", "ws", "wss") or configuration.discord.gateway)
    return Reach(base, secret=webhook_secret(variables) if configuration.telegram.webhook is not None else "")


def webhook_secret(variables: Mapping[str, str]) -> str:
    """The word by which Telegram's calls are known."""
    found = secret.find(variables, "TELEGRAM_WEBHOOK_SECRET")
    if found is None:
        wrong = "is not set, nor TELEGRAM_WEBHOOK_SECRET_FILE: whoever finds the webhook could speak for anybody"
    elif not _HEADER.fullmatch(found.value):
        wrong = "must be 1 to 256 of A-Z, a-z, 0-9, '_' and '-'"
    else:
        return found.value
    raise BadConfiguration("environment", None, "TELEGRAM_WEBHOOK_SECRET", wrong)


def _said_address(variables: Mapping[str, str], name: str, *schemes: str) -> str:
    """The address that a variable holds; empty where it holds none."""
    said = value_of(variables, name) or ""
    if said and (wrong := wrong_address(said, *schemes)):
        raise BadConfiguration("environment", None, name, wrong)
    return said.rstrip("/")


def wrong_address(address: str, *schemes: str) -> str:
    """What is wrong with the address of a server; empty where nothing is. The address may be secret and is not said."""
    try:
        parts = urlsplit(address)
        is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or not address.isascii() or not address.isprintable() or " " in address:
        return f"must be an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "must be an address without a user, a query and a fragment"
    return ""


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
    return understood(read(path)) if path.exists() else Configuration()


def settle(where: Home) -> Configuration:
    """Read `factory.toml` for all that runs here and goes by this until it is settled anew. Raises as `load` does."""
    path = where.configuration
    text = written(path) if path.exists() else ""
    configuration = understood(parsed(shown(path), text))
    try:
        write_atomically(where.settled, text)
    except OSError:
        # On a full disk all goes on, by the file as it stands.
        where.settled.unlink(missing_ok=True)
    return configuration


def settled(where: Home) -> Configuration:
    """What was settled for all that runs here, whatever has been written into the file since."""
    return load(where.settled if where.settled.exists() else where.configuration)


def understood(top: Table) -> Configuration:
    """What the file's top table says. Raises `BadConfiguration`."""
    hub = top.table("hub")
    max_pools = hub.integer("max_pools", Configuration().max_pools, 1, 1_000_000)
    has_standby = hub.flag("standby", Configuration().has_standby)
    hubs = hub.integer("hubs", Configuration().hubs, 1, MOST_HUBS)
    if has_standby and hubs > 1:
        raise hub.wrong("standby", "several hubs stand by for each other, so that another would have nothing to do")
    hub.done()
    clipool = top.table("clipool")
    clipools = clipool.integer("workers", Configuration().clipools, 1, MOST_CLIPOOLS)
    clipool.done()
    bots: list[Bot] = []
    for table in top.tables("bots"):
        bot = _bot(table)
        if any(other.identity == bot.identity for other in bots):
            raise table.wrong("bot_id", f"{bot.identity!r} stands here twice")
        if bot.platform == subjects.CLIPOOL:
            raise table.wrong("platform", f"{bot.identity!r} could be a worker's name on the bus")
        if bot.platform in PLATFORMS:
            _alone(table, bot, bots)
        bots.append(bot)
    voice, image = _voice(top), _image(top)
    taken = [bot.identity for bot in (Bot(LOCAL_PLATFORM, LOCAL_BOT), *bots)]
    taken += [worker.name for worker in own_workers(voice, image)]
    configuration = Configuration(
        tuple(bots),
        max_pools,
        clipools,
        _budgets(top),
        _prices(top),
        _routes(top),
        _workers(top, taken),
        voice,
        image,
        _telegram(top),
        _discord(top),
        _callers(top, bots, taken),
        has_standby,
        hubs,
    )
    top.done()
    return configuration


def clipools_of(configuration: Configuration) -> tuple[str, ...]:
    """The CliPool workers by name; the first has the name of all."""
    more = (f"{subjects.CLIPOOL}-{number}" for number in range(2, configuration.clipools + 1))
    return (subjects.CLIPOOL, *more)


def hubs_of(configuration: Configuration) -> tuple[str, ...]:
    """The processes of hubs by name; the first has the name of all."""
    last = configuration.hubs + configuration.has_standby
    return (subjects.HUB, *(f"{subjects.HUB}-{number}" for number in range(2, last + 1)))


def workers_of(configuration: Configuration) -> tuple[Worker, ...]:
    """Everybody who serves a capability: ours, and those whom the file names."""
    return (*own_workers(configuration.voice, configuration.image), *configuration.workers)


def keys(names: Iterable[str]) -> dict[str, str]:
    """The secrets of these names, each of which must be there."""
    every, found = variables_of(os.environ, Path.cwd()), dict[str, str]()
    for name in names:
        one = secret.find(every, name)
        if one is None:
            raise BadConfiguration("environment", None, name, "is not set, and a server is to be asked with it")
        found[name] = one.value
    return found


def bots_of(configuration: Configuration) -> tuple[Bot, ...]:
    """Every bot, the one at the terminal among them, whose person always may speak."""
    local = Bot(LOCAL_PLATFORM, LOCAL_BOT)
    others: list[Bot] = []
    for bot in configuration.bots:
        if bot.identity == local.identity:
            local = bot
        else:
            others.append(bot)
    return replace(local, access="public", owners=frozenset()), *others


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
    default = Bot(platform, bot_id)
    bot = Bot(
        platform=platform,
        bot_id=bot_id,
        access=access,
        owners=frozenset(table.texts("owners")),
        blocked=frozenset(table.texts("blocked")),
        max_text=table.integer("max_text", default.max_text, 1, 1_000_000),
        rate_per_minute=table.integer("rate_per_minute", default.rate_per_minute, 1, 100_000),
        rate_per_scope_minute=table.integer("rate_per_scope_minute", default.rate_per_scope_minute, 1, 100_000),
        turns_at_once=table.integer("turns_at_once", default.turns_at_once, 1, 10_000),
        answers_unaddressed=table.flag("answers_unaddressed", False),
    )
    table.done()
    return bot


def _alone(table: Table, bot: Bot, others: Sequence[Bot]) -> None:
    """Complain where a variable could be taken for the token of this bot and for something else."""
    platform = PLATFORMS[bot.platform]
    own = platform.variable_of(bot.bot_id)
    names = (platform.variable_of(other.bot_id) for other in others if other.platform == bot.platform)
    taken = {*platform.variables, *names}
    taken |= {f"{name}_FILE" for name in taken}
    for name in (own, f"{own}_FILE"):
        if name in taken:
            raise table.wrong("bot_id", f"{bot.bot_id!r} is told apart by no variable: {name} means another token")


def _telegram(top: Table) -> Telegram:
    table = top.table(TELEGRAM)
    default = Telegram()
    telegram = Telegram(
        api_base=_address(table, "api_base", default.api_base, "http", "https"),
        stream=table.one_of("stream", STREAMS, default.stream),
        render=table.one_of("render", STYLES, default.render),
        observe=table.flag("observe", default.observe),
        reactions=table.flag("reactions", default.reactions),
        webhook=_webhook(table.table("webhook")) if "webhook" in table else None,
        spokes=table.integer("spokes", default.spokes, 1, MOST_SPOKES),
    )
    if telegram.webhook is not None and telegram.spokes > 1:
        raise table.wrong("spokes", "with a webhook only one process of a machine can listen at its port")
    table.asked.add("webhook")
    table.done()
    return telegram


def _discord(top: Table) -> Discord:
    table = top.table(DISCORD)
    default = Discord()
    dedicated = table.texts("dedicated")
    for channel in dedicated:
        if not _SNOWFLAKE.fullmatch(channel):
            raise table.wrong("dedicated", f"{channel[:80]!r} is no channel's id; it is a long number, as a text")
    discord = Discord(
        api_base=_address(table, "api_base", default.api_base, "http", "https"),
        gateway=_address(table, "gateway", default.gateway, "ws", "wss"),
        threads=table.flag("threads", default.threads),
        dedicated=frozenset(dedicated),
        observe=table.flag("observe", default.observe),
        reactions=table.flag("reactions", default.reactions),
        message_content=table.flag("message_content", default.message_content),
        spokes=table.integer("spokes", default.spokes, 1, MOST_SPOKES),
    )
    table.done()
    return discord


def _webhook(table: Table) -> Webhook:
    webhook = Webhook(
        url=_address(table, "url", None, "https"),
        host=table.text("host", Webhook("").host),
        port=table.integer("port", Webhook("").port, 1, 65_535),
    )
    table.done()
    return webhook


def _address(table: Table, key: str, default: str | None, *schemes: str) -> str:
    address = table.text(key, default)
    if wrong := wrong_address(address, *schemes):
        raise table.wrong(key, wrong)
    return address.rstrip("/")


def own_workers(voice: Voice, image: Image | None) -> tuple[Worker, ...]:
    """The workers that come with the program, as far as they are switched on."""
    names = [TTS] * (voice.mouth is not None) + [STT] * (voice.ear is not None)
    if image is not None:
        names += [*OFFLINE, *([IMAGE] if image.painter is not None else [])]
    return tuple(Worker(name.replace(".", "-"), name) for name in names)


def _voice(top: Table) -> Voice:
    table = top.table("voice")
    voice = Voice(
        _mouth(table.table("tts")) if "tts" in table else None, _ear(table.table("stt")) if "stt" in table else None
    )
    table.asked |= {"tts", "stt"}
    table.done()
    return voice


def _mouth(table: Table) -> Mouth:
    engine = table.one_of("engine", MOUTHS, "espeak")
    voice = table.text("voice", "en" if engine == "espeak" else "")
    made: Mouth
    if engine == "openai":
        made = _server(table, voice or "alloy")
    else:
        made = Program(table.texts("command", may_repeat=True) if engine == "command" else ESPEAK, voice)
        if wrong := wrong_command(made.command):
            raise table.wrong("command", wrong)
    table.done()
    return made


def _ear(table: Table) -> Ear:
    engine = table.one_of("engine", EARS, None)
    ear = _server(table) if engine == "openai" else Local(table.text("model"))
    table.done()
    return ear


def _server(table: Table, voice: str = "") -> Server:
    return Server(_address(table, "base_url", None, "http", "https"), table.text("model"), _key(table), voice)


def _image(top: Table) -> Image | None:
    table = top.table("image")
    painter = None
    if "base_url" in table or "model" in table:
        painter = Painter(_address(table, "base_url", None, "http", "https"), table.text("model"), _key(table))
    table.done()
    return Image(painter) if "image" in top else None


def _key(table: Table) -> str:
    """The name of a variable; a key itself has no place in the file."""
    name = table.text("key", "")
    if name and not _VARIABLE.fullmatch(name):
        raise table.wrong("key", "must be the name of a variable that holds the key, like OPENAI_API_KEY")
    return name


def _workers(top: Table, others: Sequence[str]) -> tuple[Worker, ...]:
    found: list[Worker] = []
    for table in top.tables("workers"):
        worker = Worker(table.text("name", ""), table.text("capability", ""))
        for key, value, check in (
            ("name", worker.name, subjects.worker_token),
            ("capability", worker.capability, subjects.capability_token),
        ):
            try:
                check(value)
            except subjects.BadToken as error:
                raise table.wrong(key, str(error)) from None
        if worker.capability in (subjects.HUB, subjects.CLIPOOL):
            raise table.wrong("capability", f"{worker.capability!r} is served by this system itself")
        ours = worker.name in _OURS or worker.name.startswith(subjects.CLIPOOL)
        if ours or worker.name in (*others, *(other.name for other in found)):
            raise table.wrong("name", f"{worker.name!r} is somebody else's name on the bus")
        table.done()
        found.append(worker)
    return tuple(found)


def _callers(top: Table, bots: Sequence[Bot], others: Sequence[str]) -> tuple[Caller, ...]:
    offered = tuple(bot.bot_id for bot in bots if bot.platform == subjects.AGENTS)
    found: list[Caller] = []
    for table in top.tables("callers"):
        caller = Caller(table.text("name", ""), table.texts("bots") or offered, table.texts("sessions") or ("main",))
        for key, values, check in (
            ("name", (caller.name,), subjects.caller_token),
            ("sessions", caller.sessions, subjects.session_token),
        ):
            for value in values:
                try:
                    check(value)
                except subjects.BadToken as error:
                    raise table.wrong(key, str(error)) from None
        for bot_id in caller.bots:
            if bot_id not in offered:
                raise table.wrong("bots", f'{bot_id!r} is no bot with platform = "{subjects.AGENTS}"')
        if not caller.bots:
            raise table.wrong("bots", f'there is no bot with platform = "{subjects.AGENTS}" to talk to')
        if caller.identity in (*others, *(other.identity for other in found)):
            raise table.wrong("name", f"{caller.name!r} stands here twice, or is somebody else's name on the bus")
        table.done()
        found.append(caller)
    return tuple(found)


def _budgets(top: Table) -> tuple[Budget, ...]:
    money = top.table("money")
    is_unlimited = money.flag("unlimited", False)
    money.done()
    found: list[Budget] = []
    for table in top.tables("budgets"):
        budget = Budget(
            name=table.text("name"),
            amount=table.amount("amount"),
            per=table.one_of("per", PERS, "everyone"),
            period=table.one_of("period", PERIODS, "day"),
        )
        if not _NAME.fullmatch(budget.name):
            raise table.wrong("name", f"{budget.name!r} must be 1 to 32 of a-z, 0-9, '_' and '-'")
        if any(other.name == budget.name for other in found):
            raise table.wrong("name", f"{budget.name!r} stands here twice")
        table.one_of("currency", CURRENCIES, "USD")
        table.done()
        found.append(budget)
    if found and is_unlimited:
        raise money.wrong("unlimited", "there are budgets, so it is not; remove it, or remove them")
    if "budgets" in top and not found and not is_unlimited:
        raise top.wrong("budgets", "is empty; to have no budget at all, write: [money] unlimited = true")
    return tuple(found) or (() if is_unlimited else (DAILY,))


def _prices(top: Table) -> Mapping[str, tuple[Decimal, ...]]:
    prices = top.table("prices")
    found: dict[str, tuple[Decimal, ...]] = {}
    for name in prices.content:
        table = prices.table(name)
        provider, colon, model = name.partition(":")
        if not (_NAME.fullmatch(provider) and colon and model):
            raise prices.wrong(name, f'must be a model: [prices."provider:model"], or "{provider}:*" for all of it')
        line = [table.amount("input"), table.amount("output")]
        for key in ("cache_read", "cache_write"):
            table.asked.add(key)
        # What is read from a cache or written to one costs as much as other input unless it is said.
        if "cache_read" in table or "cache_write" in table:
            line += (table.amount(key) if key in table else line[0] for key in ("cache_read", "cache_write"))
        table.done()
        found[name] = tuple(line)
    return MappingProxyType(found)


def _routes(top: Table) -> Mapping[str, Route]:
    routes = top.table("routes")
    found: dict[str, Route] = {}
    for name in routes.content:
        table = routes.table(name)
        if not _NAME.fullmatch(name):
            raise routes.wrong(name, f"{name!r} must be 1 to 32 of a-z, 0-9, '_' and '-'")
        min_success = table.number("min_success", Route(()).min_success, 0, 1)
        choices = tuple(_route_choice(choice) for choice in table.tables("choices"))
        table.done()
        if not choices:
            raise table.wrong("choices", f"is missing; each choice is a table: [[routes.{name}.choices]]")
        found[name] = Route(choices, min_success)
    return MappingProxyType(found)


def _route_choice(table: Table) -> RouteChoice:
    choice = RouteChoice(
        model=model_name(table, "model", table.text("model")),
        cost=table.amount("cost"),
        success=table.number("success", None, 0, 1),
        attempts=table.integer("attempts", 3, 1, MOST_ATTEMPTS),
    )
    if not choice.success:
        raise table.wrong("success", "must be above 0: who never succeeds is no choice")
    table.done()
    return choice


def model_name(table: Table, key: str, name: str) -> str:
    """The name of a model as "provider:model", or of a provider that has one alone."""
    provider, colon, model = name.partition(":")
    if not _NAME.fullmatch(provider) or (colon and not model.strip()) or not name.isprintable() or len(name) > 255:
        raise table.wrong(key, f"{name[:80]!r} is no model; a model is written provider:model")
    if provider in ("auto", "route"):
        raise table.wrong(key, f"{name!r} cannot stand here; name a model: provider:model")
    return name


def _log_level(said: Mapping[str, str]) -> str:
    level = said.get("FACTORY_LOG_LEVEL", "").upper() or Environment().log_level
    if level not in LOG_LEVELS:
        raise BadConfiguration("environment", None, "FACTORY_LOG_LEVEL", f"must be one of {', '.join(LOG_LEVELS)}")
    return level


def _person() -> str:
    """Who sits here, as the system knows them; a container may know nobody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
