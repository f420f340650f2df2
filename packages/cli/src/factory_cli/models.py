"""Which model answers where an agent leaves that open, why, and who pays for it.

An agent file that says `model = "auto"` gets the model of the first provider whose key is there, else one that Ollama
serves, else the offline stand-in. What bills by a sign-in rather than a key is offered and never taken.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from json import loads
from os import defpath
from socket import SHUT_RDWR
from threading import Timer
from types import MappingProxyType
from typing import Any

AUTO = "auto"
SCRIPTED = "scripted"
OLLAMA = "ollama"
CLAUDE_CLI = "claude_cli"
AGENTS = "agents"
AGENTS_URL = "AGENTS_URL"
OLLAMA_HOST = "OLLAMA_HOST"
CLAUDE_COMMAND = "CLAUDE_CLI_COMMAND"

PATIENCE = 0.3
MAX_BODY = 1_000_000
MAX_NAME = 200

FREE = "costs nothing to call"
STAND_IN = "an offline stand-in, free"


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, why it is that one, who pays for it, what else there would be, and what keeps it from answering."""

    model: str
    why: str
    payer: str
    offers: tuple[str, ...] = ()
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class Paid:
    """A provider that bills by a key, and its model for those who named none: a good one that has a price."""

    name: str
    key: str
    model: str


PAID = (
    Paid("anthropic", "ANTHROPIC_API_KEY", "claude-sonnet-5-5"),
    Paid("openai", "OPENAI_API_KEY", "gpt-6.1-sol"),
    Paid("openrouter", "OPENROUTER_API_KEY", "anthropic/claude-sonnet-5.5"),
    Paid("gemini", "GEMINI_API_KEY", "gemini-3.8-flash"),
)
# Servers of one's own, by the variable that holds their address, and the port where they are found without it.
SERVERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        OLLAMA: (OLLAMA_HOST, "11434"),
        "vllm": ("VLLM_BASE_URL", "8000"),
        "lmstudio": ("LMSTUDIO_BASE_URL", "1234"),
        "openai_like": ("OPENAI_LIKE_BASE_URL", ""),
    }
)
# Whose key is found in more places than the environment.
KEYS = (*(paid.key for paid in PAID), *(f"{name.upper()}_API_KEY" for name in SERVERS))

# What only measures or reads texts cannot answer; Ollama's own lists do not always say which these are.
_NO_CHAT = re.compile(r"embed|minilm|rerank|whisper|(?:^|[/_-])(?:bge|gte|e5|clip|paraphrase)(?:[-_:]|$)", re.I)
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|\[?::1\]?", re.I)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    host: str
    port: int
    is_secure: bool = False
    path: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it is this machine's."""
        return _LOOPBACK.fullmatch(self.host) is not None


def choose(variables: Mapping[str, str], *, ollama: Sequence[str], claude: str | None) -> Choice:
    """The model that answers for `auto`, of what there is: keys, what Ollama serves, and where `claude` was found."""
    return replace(_first(variables, ollama), offers=() if claude is None else (_offer(claude),))


def look(variables: Mapping[str, str]) -> Choice:
    """The model that answers for `auto` here; Ollama is only asked where no key decides."""
    has_key = any(variables.get(paid.key, "").strip() for paid in PAID)
    return choose(variables, ollama=() if has_key else find_ollama(variables), claude=find_claude(variables))


def describe(model: str, variables: Mapping[str, str]) -> Choice:
    """Who pays for a model that an agent names, and what keeps it from answering, as far as the variables tell."""
    provider, _, name = model.partition(":")
    why = "the agent names it"
    if provider == SCRIPTED:
        return Choice(model, why, STAND_IN)
    if provider == CLAUDE_CLI:
        return _claude(model, why, variables)
    if provider == AGENTS:
        is_set = bool(variables.get(AGENTS_URL, "").strip())
        complaint = "" if is_set else f"{AGENTS_URL} is not set: put the address of the bus there on which it is"
        return Choice(model, why, "paid for by whoever runs that agent", complaint=complaint)
    if provider in SERVERS:
        complaint = "" if name else f"{model!r} names no model: say which, as {provider}:NAME"
        variable, port = SERVERS[provider]
        if not port and not variables.get(variable, "").strip():
            complaint = f"{variable} is not set: put the address of the server there, or choose another model"
        return Choice(model, why, _host_pays(_address(variables.get(variable, ""), port or "80")), complaint=complaint)
    for paid in PAID:
        if provider == paid.name:
            if variables.get(paid.key, "").strip():
                complaint = "" if name else f"{model!r} names no model: say which, such as {paid.name}:{paid.model}"
                return Choice(model, why, f"paid by {paid.key}", complaint=complaint)
            words = f"{paid.key} is not set: put a key there, or choose another model"
            return Choice(model, why, "nobody pays for it yet", complaint=words)
    return Choice(model, why, f"paid for as {provider} bills it")


def find_claude(variables: Mapping[str, str]) -> str | None:
    """Where the `claude` command line is, or None."""
    told = variables.get(CLAUDE_COMMAND, "").strip()
    if told.startswith("~/") and "HOME" in variables:
        told = variables["HOME"] + told[1:]
    return shutil.which(told or "claude", path=variables.get("PATH", defpath))


def find_ollama(variables: Mapping[str, str], *, patience: float = PATIENCE) -> tuple[str, ...]:
    """The models that can chat which an Ollama serves, the last changed first; none where nobody answers in time."""
    address = _address(variables.get(OLLAMA_HOST, ""), "11434")
    if address is None:
        return ()
    # Most who have a key or a model of their own never need it, and it takes a while to load.
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    kind = HTTPSConnection if address.is_secure else HTTPConnection
    connection = kind(address.host.strip("[]"), address.port, timeout=patience)
    timer: Timer | None = None
    try:
        connection.connect()
        # The connection's own patience is for each byte, and there may be many.
        timer = Timer(patience, _hang_up, [connection.sock])
        timer.start()
        connection.request("GET", f"{address.path}/api/tags", headers={"Accept": "application/json"})
        with connection.getresponse() as response:
            body = response.read(MAX_BODY + 1) if response.status == 200 else b""
        return _chat_models(loads(body)) if len(body) <= MAX_BODY else ()
    except (OSError, HTTPException, ValueError, RecursionError):
        return ()
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()
        connection.close()


def _first(variables: Mapping[str, str], ollama: Sequence[str]) -> Choice:
    for paid in PAID:
        if variables.get(paid.key, "").strip():
            return Choice(f"{paid.name}:{paid.model}", f"{paid.key} is set", f"paid by {paid.key}")
    for name in ollama:
        if not _NO_CHAT.search(name):
            payer = _host_pays(_address(variables.get(OLLAMA_HOST, ""), "11434"))
            return Choice(f"{OLLAMA}:{name}", f"no key is set, and Ollama serves {name}", payer)
    keys = ", ".join(paid.key for paid in PAID)
    return Choice(SCRIPTED, f"none of {keys} is set, and no Ollama serves a model", STAND_IN)


def _offer(claude: str) -> str:
    return f'{claude} is there: `model = "{CLAUDE_CLI}"` in the agent file lets it answer, paid for as it is signed in'


def _claude(model: str, why: str, variables: Mapping[str, str]) -> Choice:
    key = PAID[0].key
    payer = f"paid by {key}" if variables.get(key, "").strip() else "paid for as claude is signed in"
    told = variables.get(CLAUDE_COMMAND, "").strip()
    # A command of several words is looked up when it is used.
    if find_claude(variables) is not None or " " in told:
        return Choice(model, why, payer)
    where = f"what {CLAUDE_COMMAND} names is not there" if told else "there is no claude on the PATH"
    words = f"{where}: install Claude Code, name its path in {CLAUDE_COMMAND}, or choose another model"
    return Choice(model, why, payer, complaint=words)


def _host_pays(address: Address | None) -> str:
    if address is None or address.is_here:
        return f"runs on this machine, {FREE}"
    return f"runs on {address.host}, {FREE}"


def _address(said: str, port: str) -> Address | None:
    """An address as people write it: nothing, a host, a host and a port, or all of it; None where it is none."""
    scheme, separator, rest = said.strip().partition("://")
    if not separator:
        scheme, rest = "http", said.strip()
    place, slash, path = rest.partition("/")
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]*)(?::(\d{1,5}))?", place, re.ASCII)
    if found is None or scheme not in ("http", "https") or not re.fullmatch(r"[!-~]*", path):
        return None
    # Where it listens everywhere, it is to be asked here.
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(found[1], found[1])
    number = int(found[2] or (port if not separator else {"http": "80", "https": "443"}[scheme]))
    path = f"{slash}{path}".rstrip("/").removesuffix("/v1")
    return Address(host, number, scheme == "https", path) if 0 < number < 65_536 else None


def _hang_up(sock: Any) -> None:
    try:
        sock.shutdown(SHUT_RDWR)
    except OSError:
        return


def _chat_models(answer: Any) -> tuple[str, ...]:
    listed = answer.get("models") if isinstance(answer, dict) else None
    models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
    models.sort(key=_changed, reverse=True)
    named = dict.fromkeys(name for model in models if (name := _name(model)))
    return tuple(named)


def _name(model: Mapping[str, Any]) -> str:
    """The model's name where it is one that can chat."""
    name = model.get("name") or model.get("model")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable() or " " in name:
        return ""
    able = model.get("capabilities")
    details = model.get("details")
    family = details.get("family") if isinstance(details, dict) else None
    if (isinstance(able, list) and able and "completion" not in able) or (isinstance(family, str) and "bert" in family):
        return ""
    return "" if _NO_CHAT.search(name) else name


def _changed(model: Mapping[str, Any]) -> float:
    said = model.get("modified_at")
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) else None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() if moment else 0.0
    except (ValueError, OverflowError):
        return 0.0
