"""Addresses of the web as words in a text: which host one names, where one stands, and who said it first.

An address that a model makes up can carry words out to whoever serves it. One that stood somewhere before, word for
word, carries nothing that its author did not know.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

EVERYWHERE = "*"

# What every reader of addresses takes for the same host: no user, no backslash, no bracket, no letter beyond ASCII.
_PLAIN = re.compile(
    r"https?://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)\.?(?::[0-9]{1,5})?(?:[/?#][^\s\\<>\"\x00-\x20\x7f-\x9f]*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile("https?://", re.IGNORECASE)
_GOES_ON = re.compile(r"[\w%/~=&#@+$-]|[.,;:!?']+[\w%/~=&#@+$-]")


@dataclass(frozen=True, slots=True)
class Heard:
    """Something that was said to a model, or by the model itself."""

    text: str
    is_own: bool = False


def host_of(address: str) -> str:
    """The host that a plain address names; empty where readers might not agree on it."""
    found = _PLAIN.fullmatch(address)
    return found[1].lower() if found is not None else ""


def is_within(host: str, domains: Iterable[str]) -> bool:
    """Whether a host is one of these domains, or lies in one."""
    known = [domain.lower().strip(".").removeprefix("*.") for domain in domains]
    return EVERYWHERE in known or any(host == domain or host.endswith(f".{domain}") for domain in known if host)


def stands_in(address: str, text: str) -> bool:
    """Whether the whole address stands in the text, word for word; which of the two schemes it has is no matter."""
    core = _core(address)
    at = text.find(core) if core else -1
    while at >= 0:
        end = at + len(core)
        # An address that is a host alone is the same with a slash.
        end += "/" not in core and text.startswith("/", end)
        if _begins(text, at) and _GOES_ON.match(text, end) is None:
            return True
        at = text.find(core, at + 1)
    return False


def names(host: str, text: str) -> bool:
    """Whether a text names this very host, in an address or by itself."""
    host, text = host.removeprefix("www."), text.lower()
    at = text.find(host) if host else -1
    while at >= 0:
        end = at + len(host)
        if _begins(text, at) and not re.match(r"[\w-]|\.\w", text[end : end + 2]):
            return True
        at = text.find(host, at + 1)
    return False


def was_shown(address: str, heard: Iterable[Heard]) -> bool:
    """Whether an address stood in what a model was shown before the model itself said it.

    A tool, or another model, that repeats what it is told would else make any address one that was shown.
    """
    # Who named a page has not yet named the folder that it lies in.
    said = re.compile(f"{re.escape(_core(address))}(?!/)", re.IGNORECASE)
    for one in heard:
        if one.is_own:
            if said.search(one.text):
                return False
        elif stands_in(address, one.text):
            return True
    return False


def _core(address: str) -> str:
    """An address without what may be left out of it."""
    core = _SCHEME.sub("", address, count=1) if _SCHEME.match(address) else address
    return core[:-1] if core.find("/") == len(core) - 1 else core


def _begins(text: str, at: int) -> bool:
    """Whether a word begins here, be it behind a scheme or `www.`."""
    if at == 0 or text.endswith(("://", "www."), max(0, at - 4), at):
        return True
    return not re.match(r"[\w/.@%&=?#~+-]", text[at - 1])
