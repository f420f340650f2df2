"""What a message may hold: its fields, its embeds, its buttons, and how much of each."""

from collections.abc import Mapping
from typing import Any

from tests.discordapi.parameters import (
    Check,
    boolean,
    fields,
    integer,
    items,
    link,
    nullable,
    number,
    one_of,
    snowflake,
    string,
)
from tests.discordapi.refusal import Json, Path, invalid, missing, wrong

MOST_TEXT, MOST_EMBEDS, MOST_EMBEDDED, MOST_NONCE = 2000, 10, 6000, 25
MOST_ROWS, MOST_BUTTONS, MOST_OPTIONS, MOST_CUSTOM_ID, MOST_DISPLAYED, MOST_PARTS = 5, 5, 25, 100, 4000, 40
# Flags of messages.
SUPPRESS_EMBEDS, HAS_THREAD, EPHEMERAL, LOADING = 1 << 2, 1 << 5, 1 << 6, 1 << 7
SUPPRESS_NOTIFICATIONS, IS_VOICE, IS_COMPONENTS_V2 = 1 << 12, 1 << 13, 1 << 15
ROW, BUTTON, SELECT, SECTION, TEXT, SEPARATOR, CONTAINER = 1, 2, 3, 9, 10, 14, 17

_media = fields({"url": link}, {"proxy_url": string(), "height": integer(), "width": integer(), "flags": integer()})
_embed = fields(
    {},
    {
        "title": string(256),
        "type": one_of("rich", "image", "video", "gifv", "article", "link"),
        "description": string(4096),
        "url": link,
        "timestamp": string(),
        "color": nullable(integer(0, 0xFFFFFF)),
        "flags": integer(),
        "footer": fields({"text": string(2048)}, {"icon_url": link}),
        "image": _media,
        "thumbnail": _media,
        "author": fields({"name": string(256)}, {"url": link, "icon_url": link}),
        "fields": items(fields({"name": string(256, 1), "value": string(1024, 1)}, {"inline": boolean}), 25),
    },
)
_emoji = fields({"name": nullable(string())}, {"id": nullable(snowflake), "animated": boolean})
_id: Mapping[str, Check] = {"id": integer(0, 2**31 - 1)}
_custom_id = string(MOST_CUSTOM_ID, 1)


def _embeds(value: Any, path: Path) -> list[Json]:
    embeds: list[Json] = items(_embed, MOST_EMBEDS)(value, path)
    for index, embed in enumerate(embeds):
        if not embed.keys() - {"type", "color", "timestamp", "flags"}:
            raise invalid((*path, index, "description"), "BASE_TYPE_REQUIRED", "This field is required")
    if sum(map(_length, embeds)) > MOST_EMBEDDED:
        raise invalid(path, "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {MOST_EMBEDDED}")
    return embeds


def _length(embed: Json) -> int:
    """All characters of an embed that are counted together."""
    texts = [embed.get("title", ""), embed.get("description", "")]
    texts += [embed.get("footer", {}).get("text", ""), embed.get("author", {}).get("name", "")]
    texts += [text for each in embed.get("fields", ()) for text in (each["name"], each["value"])]
    return sum(map(len, texts))


def _button(value: Any, path: Path) -> Json:
    optional = {"label": string(80), "emoji": _emoji, "disabled": boolean, "custom_id": _custom_id, "url": string(512)}
    button: Json = fields({"type": one_of(BUTTON), "style": integer(1, 5)}, {**optional, **_id})(value, path)
    needed, other = ("url", "custom_id") if button["style"] == 5 else ("custom_id", "url")
    if needed not in button:
        raise missing((*path, needed))
    if other in button:
        raise invalid(path, "BUTTON_COMPONENT_CUSTOM_ID_URL_EXCLUSIVE", "A custom id and url cannot both be specified")
    if not button.get("label") and "emoji" not in button:
        raise invalid(path, "BUTTON_COMPONENT_INVALID_EMPTY", "A button must have a label or an emoji")
    return button


def _select(value: Any, path: Path) -> Json:
    option = fields(
        {"label": string(100, 1), "value": string(100, 1)},
        {"description": string(100), "emoji": _emoji, "default": boolean},
    )
    optional = {
        "placeholder": string(150),
        "min_values": integer(0, 25),
        "max_values": integer(1, 25),
        "disabled": boolean,
        "required": boolean,
    }
    required = {"type": one_of(SELECT), "custom_id": _custom_id, "options": items(option, MOST_OPTIONS)}
    select: Json = fields(required, {**optional, **_id})(value, path)
    if not select["options"]:
        raise invalid((*path, "options"), "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MOST_OPTIONS} in length.")
    return select


def _row(value: Any, path: Path) -> Json:
    row: Json = fields({"type": one_of(ROW), "components": items(_in_row)}, _id)(value, path)
    inside, path = row["components"], (*path, "components")
    if not 1 <= len(inside) <= MOST_BUTTONS:
        raise invalid(path, "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MOST_BUTTONS} in length.")
    if len(inside) > 1 and any(each["type"] == SELECT for each in inside):
        raise invalid(path, "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "Component width was exceeded")
    return row


def _in_row(value: Any, path: Path) -> Json:
    return dict(_any(value, path, {BUTTON: _button, SELECT: _select}))


def _text(value: Any, path: Path) -> Json:
    return dict(fields({"type": one_of(TEXT), "content": string(MOST_DISPLAYED, 1)}, _id)(value, path))


def _separator(value: Any, path: Path) -> Json:
    optional = {"divider": boolean, "spacing": integer(1, 2)}
    return dict(fields({"type": one_of(SEPARATOR)}, {**optional, **_id})(value, path))


def _section(value: Any, path: Path) -> Json:
    required = {"type": one_of(SECTION), "components": items(_text, 3), "accessory": _button}
    return dict(fields(required, _id)(value, path))


def _container(value: Any, path: Path) -> Json:
    def inside(value: Any, path: Path) -> Json:
        return _any(value, path, {ROW: _row, TEXT: _text, SEPARATOR: _separator, SECTION: _section})

    optional = {"accent_color": nullable(integer(0, 0xFFFFFF)), "spoiler": boolean}
    return dict(fields({"type": one_of(CONTAINER), "components": items(inside)}, {**optional, **_id})(value, path))


def _any(value: Any, path: Path, kinds: Mapping[int, Check]) -> Json:
    kind = value.get("type") if isinstance(value, dict) else None
    if type(kind) is not int or kind not in kinds:
        raise wrong((*path, "type"), f"must be one of {', '.join(map(str, kinds))}")
    return dict(kinds[kind](value, path))


def _component(value: Any, path: Path) -> Json:
    kinds: Mapping[int, Check] = {
        ROW: _row,
        TEXT: _text,
        SEPARATOR: _separator,
        SECTION: _section,
        CONTAINER: _container,
    }
    return _any(value, path, kinds)


def _nonce(value: Any, path: Path) -> str:
    return str(value) if type(value) is int else str(string(MOST_NONCE)(value, path))


def _attachment(value: Any, path: Path) -> Json:
    """A file that came, by its number in the call, or one that stays, with whatever was told of it before."""
    told: Mapping[str, Check] = {
        "filename": string(260),
        "description": nullable(string(1024)),
        "title": nullable(string()),
        "proxy_url": string(),
        "url": string(),
        "size": integer(),
        "spoiler": boolean,
        "height": nullable(integer()),
        "width": nullable(integer()),
        "content_type": string(),
        "duration_secs": number,
        "waveform": string(),
        "flags": integer(),
        "ephemeral": boolean,
    }
    return dict(fields({"id": snowflake}, told)(value, path))


_allowed_mentions = fields(
    {},
    {
        "parse": items(one_of("users", "roles", "everyone")),
        "users": items(snowflake),
        "roles": items(snowflake),
        "replied_user": boolean,
    },
)
_reference = fields(
    {},
    {
        "type": one_of(0),
        "message_id": snowflake,
        "channel_id": snowflake,
        "guild_id": snowflake,
        "fail_if_not_exists": boolean,
    },
)
_held: Mapping[str, Check] = {
    "content": nullable(string(MOST_TEXT)),
    "tts": boolean,
    "embeds": nullable(_embeds),
    "allowed_mentions": nullable(_allowed_mentions),
    "components": nullable(items(_component)),
    "attachments": nullable(items(_attachment, 10)),
    "flags": nullable(integer()),
}
SENT = fields(
    {},
    {**_held, "nonce": _nonce, "enforce_nonce": boolean, "message_reference": _reference},
)
EDITED = fields({}, _held)
EXECUTED = fields({}, {**_held, "username": string(80, 1), "avatar_url": link, "thread_name": string(100, 1)})


def check_components(components: list[Json], flags: int, rest: bool) -> None:
    """Refuse buttons that cannot stand together; `rest` is whether there is anything but components."""
    path: Path = ("components",)
    if flags & IS_COMPONENTS_V2:
        if rest:
            said = "The 'content' and 'embeds' fields cannot be used when using MessageFlags.IS_COMPONENTS_V2"
            raise invalid(("content",), "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", said)
        if not components:
            raise invalid(path, "BASE_TYPE_REQUIRED", "This field is required")
    else:
        if any(each["type"] != ROW for each in components):
            said = "Components of this type need the flag IS_COMPONENTS_V2"
            raise invalid(path, "UNION_TYPE_CHOICES", said)
        if len(components) > MOST_ROWS:
            raise invalid(path, "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MOST_ROWS} in length.")
    parts = walked(components)
    if len(parts) > MOST_PARTS:
        raise invalid(path, "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", f"There may be {MOST_PARTS} in all")
    if sum(len(part["content"]) for part in parts if part["type"] == TEXT) > MOST_DISPLAYED:
        raise invalid(path, "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", f"Must be {MOST_DISPLAYED} or fewer in length.")
    ids = [part["custom_id"] for part in parts if "custom_id" in part]
    if len(ids) != len(set(ids)):
        raise invalid(path, "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")


def walked(components: list[Json]) -> list[Json]:
    """All components, with those inside of others."""
    found: list[Json] = []
    for each in components:
        found.append(each)
        found += walked(each.get("components", []))
        if "accessory" in each:
            found.append(each["accessory"])
    return found


def numbered(components: list[Json]) -> list[Json]:
    """The components with the numbers that Discord gives to those that have none."""
    taken = {part["id"] for part in walked(components) if part.get("id")}
    free = (number for number in range(1, 1000) if number not in taken)

    def given(part: Json) -> Json:
        part = {**part, "id": part.get("id") or next(free)}
        if "components" in part:
            part["components"] = [given(each) for each in part["components"]]
        if "accessory" in part:
            part["accessory"] = given(part["accessory"])
        return part

    return [given(each) for each in components]
