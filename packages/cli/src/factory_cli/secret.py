"""Where secrets come from, and what of the surroundings is secret.

A secret is looked for in one order, whatever it is for: the variable NAME; the file that NAME_FILE names; a credential
of systemd called NAME, or so in small letters; and, only where FACTORY_KEYRING is 1, the keyring of the person's
desktop, which may ask them. The first that is there counts. One that is there and holds nothing ends the start, for who
put it there believes that it works; so does a file that everybody on the machine can read.
"""

import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

from factory_cli.document import BadConfiguration
from factory_cli.home import is_open_above

CREDENTIALS = "CREDENTIALS_DIRECTORY"
KEYRING = "FACTORY_KEYRING"
SERVICE = "factory"
MOST_BYTES = 100_000
# What an orchestrator puts there is seen by this container or unit alone, whatever its mode says.
PRIVATE = (Path("/run/secrets"), Path("/run/credentials"))
# Only of these is a file read that nobody asked for by name.
ENDINGS = ("_API_KEY", "_TOKEN")

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_SECRET = re.compile(
    r"KEYS?(_|$)|TOKEN(?!IZ)|SECRET|(^|_)PASS|PASSW|PASSPHRASE|CREDENTIAL|BEARER|PRIVATE|COOKIE|AUTH(?!OR)|WEBHOOK"
    r"|_(PAT|PWD|DSN)$"
)
# What was drawn and not chosen; a region, a name or a path is none.
_DRAWN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])(?!/|~|\w+://)[!-~]{16,}")
_LOGIN = re.compile(r"([^\s/,@]+)@")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, and where it was found, which alone is ever shown."""

    value: str = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Handed:
    """The variables that agents' files hand to servers of tools: to processes, and as what proves us at an address."""

    env: frozenset[str] = frozenset()
    bearers: frozenset[str] = frozenset()


NOTHING = Handed()


def find(variables: Mapping[str, str], name: str) -> Secret | None:
    """The secret of this name, if there is one. Raises `BadConfiguration`, whose words hold no part of it."""
    return told(variables, name) or _from_keyring(variables, name)


def told(variables: Mapping[str, str], name: str) -> Secret | None:
    """The same without the keyring, for what is no secret."""
    direct, file = variables.get(name, ""), variables.get(f"{name}_FILE", "")
    if direct and file:
        raise BadConfiguration("environment", None, name, f"is set, and so is {name}_FILE; set one of them")
    # A variable without a letter is how one is unset where it would be inherited.
    if direct and not direct.strip():
        raise BadConfiguration("environment", None, name, "is set to nothing but spaces; unset it, or set it")
    if direct:
        return Secret(direct, name)
    if file:
        return Secret(_read(Path(file).expanduser(), f"{name}_FILE"), f"{name}_FILE")
    folder = variables.get(CREDENTIALS, "")
    for path in (Path(folder, name), Path(folder, name.lower())) if folder else ():
        if path.exists():
            return Secret(_read(path, CREDENTIALS), f"the credential {path.name}")
    return None


def announced(variables: Mapping[str, str]) -> frozenset[str]:
    """The names of keys and tokens that lie in files: those that variables name, and credentials of systemd."""
    named = (name.removesuffix("_FILE") for name, file in variables.items() if file and name.endswith("_FILE"))
    folder = variables.get(CREDENTIALS, "")
    try:
        lying = [path.name.upper() for path in Path(folder).iterdir()] if folder else []
    except OSError as error:
        raise BadConfiguration("environment", None, CREDENTIALS, f"{folder}: {error.strerror}") from None
    return frozenset(name for name in (*named, *lying) if name.endswith(ENDINGS) and _VARIABLE.fullmatch(name))


def handed(folder: Path) -> Handed:
    """What the files of agents below a folder hand on; what cannot be read there is for others to complain about."""
    env: set[str] = set()
    bearers: set[str] = set()
    for path in folder.rglob("*.toml"):
        try:
            servers = tomllib.loads(path.read_text(encoding="utf-8")).get("mcp")
        except (OSError, ValueError):
            continue
        for server in servers if isinstance(servers, list) else ():
            match server:
                case {"env": list(names)}:
                    env |= {name for name in names if isinstance(name, str)}
                case {"bearer": str(name)}:
                    bearers.add(name)
    return Handed(frozenset(env), frozenset(bearers))


def values(variables: Mapping[str, str], handed: Handed = NOTHING) -> Iterator[str]:
    """What of the surroundings is secret: by a variable's name, by what becomes of it, and what logs in somewhere."""
    for name, value in variables.items():
        is_place = value.startswith(("/", "~/")) or name.endswith("_FILE")
        is_named = name in handed.bearers or (not is_place and is_secret(name))
        if is_named or (name in handed.env and _DRAWN.fullmatch(value)):
            yield value
        if "://" in value:
            yield from logins(value, may_be_token=name.startswith("NATS_"))


def logins(address: str, *, may_be_token: bool = True) -> Iterator[str]:
    """What logs in at the addresses: passwords, and tokens that stand where a user would."""
    for login in _LOGIN.findall(address):
        user, colon, password = login.partition(":")
        if colon or may_be_token:
            yield from {password or user, unquote(password or user)}


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return _SECRET.search(name) is not None


def is_private(path: Path) -> bool:
    """Whether an orchestrator keeps it from others, whatever its mode says."""
    return any(path.resolve().is_relative_to(folder) for folder in PRIVATE)


def without_login(address: str) -> str:
    """The addresses without who logs in there."""
    return _LOGIN.sub("", address)


def _read(path: Path, key: str) -> str:
    """What the file holds. Raises `BadConfiguration`."""
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            data = file.read(MOST_BYTES + 1)
        if stat.S_ISREG(mode) and mode & stat.S_IROTH and is_open_above(path) and not is_private(path):
            wrong = f"can be read by everybody on this machine; run: chmod 600 {path}"
        elif len(data) > MOST_BYTES:
            wrong = f"is longer than {MOST_BYTES} bytes: no secret is"
        elif value := data.decode().strip():
            return value
        else:
            wrong = "is empty; put the secret there, or do without it"
    except OSError as error:
        wrong = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        # The error itself holds what was read.
        wrong = "is not UTF-8"
    raise BadConfiguration("environment", None, key, f"{path}: {wrong}")


def _from_keyring(variables: Mapping[str, str], name: str) -> Secret | None:
    wanted = variables.get(KEYRING, "")
    if wanted in ("", "0"):
        return None
    if wanted != "1":
        raise BadConfiguration("environment", None, KEYRING, "must be 1 or 0")
    try:
        # It loads what talks with the desktop: only for those who want it.
        keyring, errors = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        wrong = "is 1, and keyring is not installed; run: pip install 'factory-chat[keyring]'"
        raise BadConfiguration("environment", None, KEYRING, wrong) from None
    try:
        value: str | None = keyring.get_password(SERVICE, name)
    except errors.KeyringError as error:
        wrong = f"the keyring was asked for {name} and failed: {type(error).__name__}"
        raise BadConfiguration("environment", None, KEYRING, wrong) from None
    if value is not None and not value.strip():
        raise BadConfiguration("environment", None, KEYRING, f"the keyring holds nothing under {name}; delete it there")
    return None if value is None else Secret(value.strip(), "the keyring")
