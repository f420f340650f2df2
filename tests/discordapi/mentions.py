"""Whom a text calls out, and whom it does under what its writer allows.

What stands in code is looked at as well: there the real server is milder.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.discordapi.refusal import Json, invalid

MOST = 100


@dataclass(frozen=True, slots=True)
class Pings:
    """Whom a message calls out."""

    users: tuple[int, ...] = ()
    roles: tuple[int, ...] = ()
    everyone: bool = False
    here: bool = False

    @property
    def noted(self) -> list[str]:
        """The same in words."""
        return [
            *(["everyone"] if self.everyone else []),
            *(["here"] if self.here else []),
            *(f"user:{user}" for user in self.users),
            *(f"role:{role}" for role in self.roles),
        ]


def pings(text: str, allowed: Json | None, roles: Mapping[int, bool], replied: int | None, may_call_all: bool) -> Pings:
    """Whom a text calls out: without a word about it everybody who is named, and who is replied to.

    `roles` tells which roles there are, and which of them everybody may call.
    """
    given = {"parse": ["users", "roles", "everyone"]} if allowed is None else allowed
    parse = given.get("parse", [])
    users, called = tuple(_ids(r"<@!?(\d+)>", text)), tuple(_ids(r"<@&(\d+)>", text))
    if "users" not in parse:
        users = tuple(user for user in users if user in given.get("users", ()))
    if "roles" not in parse:
        called = tuple(role for role in called if role in given.get("roles", ()))
    if replied is not None and given.get("replied_user", allowed is None) and replied not in users:
        users = (*users, replied)
    is_everyone = "everyone" in parse and may_call_all
    return Pings(
        users,
        tuple(role for role in called if role in roles and (roles[role] or may_call_all)),
        is_everyone and "@everyone" in text,
        is_everyone and "@here" in text,
    )


def check(allowed: Json) -> None:
    """Refuse what Discord would refuse of allowed_mentions."""
    for key in ("users", "roles"):
        listed = allowed.get(key, [])
        if len(listed) > MOST:
            name = "BASE_TYPE_MAX_LENGTH"
            raise invalid(("allowed_mentions", key), name, f"Must be {MOST} or fewer in length.")
        if listed and key in allowed.get("parse", ()):
            said = f'parse:["{key}"] and {key}: [ids...] are mutually exclusive.'
            raise invalid(("allowed_mentions",), "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", said)


def _ids(pattern: str, text: str) -> Iterator[int]:
    return iter(dict.fromkeys(map(int, re.findall(pattern, text))))
