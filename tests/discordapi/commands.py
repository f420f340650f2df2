"""Application commands: what they may be, and how they are registered."""

from typing import Any

from tests.discordapi.parameters import (
    Check,
    boolean,
    fields,
    integer,
    items,
    matching,
    nullable,
    number,
    one_of,
    snowflake,
    string,
)
from tests.discordapi.people import Bot, People
from tests.discordapi.refusal import Json, Path, missing, no

MOST_COMMANDS, MOST_OPTIONS, MOST_CHOICES, MOST_A_DAY, DAY = 100, 25, 25, 200, 86400.0
_name = matching(r"[-_'\w]{1,32}")


def _value(value: Any, path: Path) -> Any:
    """What is kept as it is."""
    return value


_choice = fields({"name": string(100, 1), "value": _value}, {"name_localizations": nullable(_value)})


def _option(value: Any, path: Path) -> Json:
    optional: dict[str, Check] = {
        "required": boolean,
        "choices": nullable(items(_choice, MOST_CHOICES)),
        "options": items(_option, MOST_OPTIONS),
        "channel_types": items(integer()),
        "min_value": nullable(number),
        "max_value": nullable(number),
        "min_length": nullable(integer(0, 6000)),
        "max_length": nullable(integer(1, 6000)),
        "autocomplete": boolean,
        "name_localizations": nullable(_value),
        "description_localizations": nullable(_value),
        "nsfw": boolean,
    }
    required = {"type": one_of(*range(1, 12)), "name": _lower, "description": string(100, 1)}
    return dict(fields(required, optional)(value, path))


def _lower(value: Any, path: Path) -> str:
    """The name of a command or option, which has no capitals."""
    return str(matching(r"[-_'\w]{1,32}")(_name(value, path) if str(value) == str(value).lower() else "A B", path))


def _command(value: Any, path: Path) -> Json:
    optional: dict[str, Check] = {
        "id": snowflake,
        "type": one_of(1, 2, 3),
        "description": string(100),
        "options": items(_option, MOST_OPTIONS),
        "default_member_permissions": nullable(_value),
        "dm_permission": nullable(boolean),
        "nsfw": boolean,
        "contexts": nullable(items(integer(0, 2), 3)),
        "integration_types": nullable(items(integer(0, 1), 2)),
        "name_localizations": nullable(_value),
        "description_localizations": nullable(_value),
    }
    command: Json = fields({"name": string(32, 1)}, optional)(value, path)
    if command.get("type", 1) == 1:
        _lower(command["name"], (*path, "name"))
        if not command.get("description"):
            raise missing((*path, "description"))
    return command


BULK = items(_command)


def register(people: People, bot: Bot, place: int | None, commands: list[Json]) -> list[Json]:
    """Let these be all commands of a place; those of a name that is there keep their numbers."""
    if len(commands) > MOST_COMMANDS:
        raise no(30032)
    before = {(each["name"], each["type"]): each for each in bot.commands.get(place, {}).values()}
    named = {(each["name"], each.get("type", 1)): each for each in commands}
    now = people.clock.now()
    bot.created = [at for at in bot.created if now - at < DAY]
    new = named.keys() - before.keys()
    if len(bot.created) + len(new) > MOST_A_DAY:
        raise no(30034)
    bot.created += [now] * len(new)
    kept: dict[int, Json] = {}
    for key, each in named.items():
        id = int(before[key]["id"]) if key in before else next(people.ids)
        kept[id] = {
            "description": "",
            "options": [],
            "default_member_permissions": None,
            "dm_permission": True,
            "contexts": None,
            "integration_types": [0],
            "nsfw": False,
            **each,
            "id": str(id),
            "type": key[1],
            "application_id": str(bot.id),
            "version": str(next(people.ids)),
            **({"guild_id": str(place)} if place is not None else {}),
        }
    bot.commands[place] = kept
    people.note("commands", bot=bot.id, guild=place, names=[name for name, _ in named], new=len(new))
    return list(kept.values())
