"""What could let a secret out, or a stranger in: files, permissions, addresses and defaults, looked at one by one."""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, islice
from pathlib import Path
from urllib.parse import urlsplit

from factory_cli import secret
from factory_cli.config import DOT_ENV, LOCAL_PLATFORM, Configuration
from factory_cli.finding import Finding
from factory_cli.home import Home, is_open_above
from factory_cli.platforms import PLATFORMS
from hub.kernel.agent import Agent
from hub.kernel.secrecy import Redactor

MOST_FILES = 20_000
MOST_NAMED = 3

_HOST = re.compile(r'^host: "([^"]*)"$', re.MULTILINE)
_CORE = re.compile(r"^Max core file size +0 +0 ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Survey:
    """All that is looked at: a home, its surroundings, what is configured as far as that can be read, and what runs."""

    home: Home
    folder: Path
    variables: Mapping[str, str]
    url: str | None
    configuration: Configuration
    seeds: Path
    agents: tuple[Agent, ...]
    running: Mapping[str, int]


def audit(survey: Survey) -> Iterator[Finding]:
    """Everything that was found, and for each matter that is in order one word of that."""
    for subject, in_order, looks in _MATTERS:
        found = tuple(chain.from_iterable(look(survey) for look in looks))
        yield from (Finding(subject, is_good, said, is_advice=is_good) for is_good, said in found)
        if not found:
            yield Finding(subject, True, in_order)


# Whether it may be wanted as it is; and what it is, why that is bad, and what to do.
Trouble = tuple[bool, str]


def _open_files(survey: Survey) -> Iterator[Trouble]:
    """What others could read below the home. What a person writes there by hand need not be closed."""
    home, theirs = survey.home, {survey.home.agents, survey.home.engines, survey.home.configuration, survey.home.keys}
    exposed = [path for path in _below(home.path, theirs) if path.lstat().st_mode & 0o077]
    if exposed:
        is_closed = not home.path.stat().st_mode & 0o077
        why = "closed by their folder alone, and open in any copy of it" if is_closed else "open to others"
        yield is_closed, f"{why}: {_named(exposed)}; run: chmod -R go= {home.path}"


def _strangers_files(survey: Survey) -> Iterator[Trouble]:
    home = survey.home.path
    paths = (home, *_below(home, set())) if home.exists() else ()
    foreign = [path for path in paths if path.lstat().st_uid != os.geteuid()]
    if foreign:
        why = "another user's, who can read and replace them"
        yield False, f"{why}: {_named(foreign)}; run as root: chown -R {os.geteuid()} {home}"


def _linked_keys(survey: Survey) -> Iterator[Trouble]:
    for path in sorted(survey.home.keys.glob("*")):
        if path.is_symlink():
            yield False, f"{path} is a link: what it leads to is not closed by this home; put the file itself there"


def _written_down(survey: Survey) -> Iterator[Trouble]:
    """Secrets in files that are copied, shared and committed; the same eyes as a log's, so nothing of them is said."""
    redactor = Redactor.of(secret.values(survey.variables))
    for path in (survey.home.configuration, *sorted(survey.seeds.rglob("*.toml"))):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for number, line in enumerate(lines, 1):
            if redactor.redact(line) != line:
                why = "such files are copied and shared; name a variable instead, and have the secret changed"
                yield False, f"{path}:{number} holds a secret: {why}"


def _open_sources(survey: Survey) -> Iterator[Trouble]:
    """Files that surroundings lie in: a secret that everybody can read ends the start, but for those of `.env`."""
    dot_env = survey.folder / DOT_ENV
    if dot_env.is_file() and dot_env.stat().st_mode & stat.S_IROTH and is_open_above(dot_env):
        yield False, f"{dot_env} can be read by everybody on this machine; run: chmod 600 {dot_env}"
    for name, file in survey.variables.items():
        path = Path(file).expanduser()
        is_source = name.endswith("_FILE") and secret.is_secret(name.removesuffix("_FILE")) and path.is_file()
        if is_source and path.stat().st_mode & stat.S_IRGRP and not secret.is_private(path):
            yield True, f"{path}, which {name} names, can be read by its group; run: chmod 600 {path}"


def _listeners(survey: Survey) -> Iterator[Trouble]:
    written = survey.home.nats / "nats-server.conf"
    hosts = _HOST.findall(written.read_text(encoding="utf-8")) if written.is_file() else []
    for host in hosts:
        if not _is_here(host):
            yield True, f"nats-server listens at {host}: let only a network of its own reach it, or use 127.0.0.1"
    webhook = survey.configuration.telegram.webhook
    if webhook is not None and not _is_here(webhook.host):
        why = "without TLS, so that whoever is on the way reads along"
        yield True, f"telegram.webhook.host: listens at {webhook.host} {why}; use 127.0.0.1, with the proxy beside it"


def _in_the_clear(survey: Survey) -> Iterator[Trouble]:
    """Addresses to which a secret is sent so that the network can read it."""
    for address in (survey.url or "").split(","):
        scheme, host = _parted(address)
        if scheme == "nats" and not _is_here(host):
            has_login = secret.without_login(address) != address
            what = "its password" if has_login else "what people say"
            yield not has_login or _is_near(host), f"NATS_URL: {what} goes to {host} in the clear; begin it with tls://"
    for name, address in _told_secrets(survey):
        scheme, host = _parted(address)
        if scheme == "http" and not _is_here(host):
            yield _is_near(host), f"{name}: a secret goes to {host} in the clear; begin the address with https://"


def _told_secrets(survey: Survey) -> Iterator[tuple[str, str]]:
    """Each address that is told a secret, and who says so."""
    for name, value in survey.variables.items():
        if name.endswith("_BASE_URL") and survey.variables.get(f"{name.removesuffix('_BASE_URL')}_API_KEY"):
            yield name, value
    configuration = survey.configuration
    for platform in PLATFORMS.values():
        if configuration.of(platform.name):
            name = f"{platform.prefix}API_BASE"
            said = survey.variables.get(name, "")
            yield (name, said) if said else (f"{platform.name}.api_base", configuration.at(platform.name).api_base)
    for agent in survey.agents:
        yield from ((f"{agent.name}: mcp: {one.name}: url", one.url) for one in agent.mcp if one.bearer)


def _strangers_money(survey: Survey) -> Iterator[Trouble]:
    configuration = survey.configuration
    public = [one.identity for one in configuration.bots if one.access == "public" and one.platform != LOCAL_PLATFORM]
    if not public:
        return
    named = ", ".join(public)
    if not configuration.budgets:
        yield False, f"{named}: anybody may spend without end, for [money] unlimited is true; write [[budgets]] instead"
    elif all(budget.per in ("user", "scope") for budget in configuration.budgets):
        why = "each stranger has a budget of their own, and there are many"
        yield False, f'{named}: {why}; add one in [[budgets]] with per = "everyone" or "bot"'


def _wide_folders(survey: Survey) -> Iterator[Trouble]:
    """Folders of agents that hold what no agent needs: everything, all that a person has, or our own keys."""
    person = Path(survey.variables.get("HOME") or "/")
    named = {f"{agent.name}: files.root": agent.files.root for agent in survey.agents if agent.files is not None}
    named["CLAUDE_CLI_FOLDER"] = survey.variables.get("CLAUDE_CLI_FOLDER", "")
    for name, folder in named.items():
        root = Path(folder).expanduser().resolve() if folder else None
        if root is None:
            continue
        held = [
            word for word, inner in (("your home", person), ("this system", survey.home.keys)) if _holds(root, inner)
        ]
        if held or _holds(survey.home.keys, root):
            what = "the keys of this system" if not held else " and ".join(held)
            yield False, f"{name}: {root} holds {what}; name a folder that is for the agent alone"


def _free_hands(survey: Survey) -> Iterator[Trouble]:
    for agent in survey.agents:
        if "bypass" in (agent.permission_mode or "").lower():
            why = "whoever persuades the model does what this user may do"
            yield False, f"{agent.name}: permission_mode is {agent.permission_mode}: {why}; take it out"


def _root(survey: Survey) -> Iterator[Trouble]:
    if os.geteuid() == 0:
        yield True, "this is root: whoever takes over a process of ours owns the machine; run it as a user of its own"


def _cores(survey: Survey) -> Iterator[Trouble]:
    """A crash must not write the memory of a process, and with it every secret, into a file."""
    for name, pid in survey.running.items() if sys.platform == "linux" else ():
        try:
            limits = Path(f"/proc/{pid}/limits").read_text()
        except OSError:
            continue
        if not _CORE.search(limits):
            yield False, f"{name} would leave its memory in a file when it crashes; end what runs, and start it again"


_MATTERS: tuple[tuple[str, str, tuple[Callable[[Survey], Iterator[Trouble]], ...]], ...] = (
    ("files", "all below the home is yours, and closed to others", (_open_files, _strangers_files, _linked_keys)),
    ("secrets", "none is written down where others could see it", (_written_down, _open_sources)),
    ("network", "nobody can listen in, or knock", (_listeners, _in_the_clear)),
    ("money", "no stranger can spend without end on models; no budget counts voices and pictures", (_strangers_money,)),
    ("reach", "no agent has more of this machine than it needs", (_wide_folders, _free_hands)),
    ("process", "runs as an ordinary user, and leaves no memory behind", (_root, _cores)),
)


def _below(folder: Path, without: set[Path]) -> Iterator[Path]:
    """Files and folders below this one, so many at most; links are not followed."""

    def walk() -> Iterator[Path]:
        for place, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if Path(place, name) not in without]
            yield from (Path(place, name) for name in (*folders, *files))

    listed = (path for path in walk() if path not in without and not path.is_symlink())
    return (path for path in islice(listed, MOST_FILES) if path.exists())


def _named(paths: list[Path]) -> str:
    more = len(paths) - MOST_NAMED
    return ", ".join(map(str, paths[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "")


def _holds(folder: Path, inner: Path) -> bool:
    return inner.resolve().is_relative_to(folder.resolve())


def _parted(address: str) -> tuple[str, str]:
    """The scheme and the host of an address; nothing where it is none."""
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname or ""
    except ValueError:
        return "", ""


def _is_near(host: str) -> bool:
    """Whether it may be in a network of one's own: a private address, or a name that is a single word."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")
