"""What may be sent to and what may be listened to.

NATS accepts `a..b`, `.a` and a literal `*` in silence and loses the message, and a line break in a subject is a
command to the server: so a subject is checked before it leaves. Tokens are printable ASCII.
"""

from __future__ import annotations

import re
from functools import lru_cache

# The server's control line is 4096 bytes and carries a subject, a reply and two numbers.
LONGEST = 1024
# Who answers where no process does. It stands where a responder's name stands in an inbox, and can be no name itself.
SERVER = "$"
# How the server calls the place of an answer that leaves an account.
_LEADS_OUT = "_R_."

_TOKEN = r"[!-)+,\-/-=?-~]+"
_LITERAL = re.compile(rf"{_TOKEN}(?:\.{_TOKEN})*")
_FILTER = re.compile(rf"(?:>|(?:\*|{_TOKEN})(?:\.(?:\*|{_TOKEN}))*(?:\.>)?)")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_literal(subject: str) -> bool:
    """True for a subject that names one place and may be published to."""
    # Answers come to places that differ in a number at the end, so that what stands before it is looked at once.
    head, _, last = subject.rpartition(".")
    if head and last.isascii() and last.isalnum():
        return len(subject) <= LONGEST and _is_literal(head)
    return _is_literal(subject)


@lru_cache(maxsize=8192)
def _is_literal(subject: str) -> bool:
    return len(subject) <= LONGEST and _LITERAL.fullmatch(subject) is not None


@lru_cache(maxsize=1024)
def is_filter(subject: str) -> bool:
    """True for a subject that may be subscribed to, wildcards allowed."""
    return len(subject) <= LONGEST and _FILTER.fullmatch(subject) is not None


def is_name(token: str) -> bool:
    """True for one token that is safe in a subject, a file name and a configuration alike."""
    return _NAME.fullmatch(token) is not None


def matches(pattern: str, subject: str) -> bool:
    """True when a subscription to `pattern` receives what is sent to `subject`."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(w in ("*", g) for w, g in zip(wanted, given, strict=True))


def overlap(one: str, other: str) -> bool:
    """True when some subject falls under both patterns."""
    left, right = one.split("."), other.split(".")
    for mine, theirs in zip(left, right, strict=False):
        if ">" in (mine, theirs):
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
    return len(left) == len(right)


def covers(pattern: str, other: str) -> bool:
    """True when whoever may use `pattern` may use all of `other`, wildcards and all."""
    if pattern.endswith(">"):
        return matches(pattern, other)
    return not other.endswith(">") and matches(pattern, other)


def leads_outside(reply: str) -> bool:
    """True when an answer to `reply` can reach nobody but who asked from another account, wherever they wanted it."""
    return reply.startswith(_LEADS_OUT) and is_literal(reply)


def inbox_prefix(identity: str) -> str:
    """Where an identity's answers arrive; permissions are made from the same words."""
    return f"_INBOX_{identity}"


def answers_prefix(asker: str, responder: str) -> str:
    """Where an identity's answers from one other identity arrive, and nobody else may send."""
    return f"{inbox_prefix(asker)}.{responder}"
