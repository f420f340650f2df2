"""Which parameters each method has, and of which type: what is not here is refused, and a fault of the client."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.botapi.refusal import Json, Refused, wrong

_UPDATES = (
    "message edited_message channel_post edited_channel_post business_connection business_message "
    "edited_business_message deleted_business_messages guest_message message_reaction message_reaction_count "
    "inline_query chosen_inline_result callback_query shipping_query pre_checkout_query purchased_paid_media poll "
    "poll_answer my_chat_member chat_member chat_join_request chat_boost removed_chat_boost managed_bot subscription "
    "stopped_message_generation"
)
UPDATES = tuple(_UPDATES.split())
# These come only to a bot that asks for them.
ASKED_FOR = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a call."""

    name: str
    mime: str
    content: bytes = field(repr=False)


# Takes a value from the wire and gives it as what it should be, or raises a ValueError that says what was expected.
Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method."""

    check: Check
    is_required: bool = False
    is_file: bool = False


def integer(value: Any) -> int:
    """An integer, which a form writes in digits."""
    if type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    raise ValueError("an integer")


def string(value: Any) -> str:
    """A string that is well-formed Unicode."""
    if not isinstance(value, str):
        raise ValueError("a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("a string without halves of surrogate pairs") from None
    return value


def boolean(value: Any) -> bool:
    """True or false, in whichever words the libraries say it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "0", "1"):
        return value.lower() in ("true", "1")
    raise ValueError("a boolean")


def chat_id(value: Any) -> int | str:
    """A chat by its number or its @name."""
    if isinstance(value, str) and re.fullmatch(r"@\w{3,32}", value):
        return value
    try:
        return integer(value)
    except ValueError:
        raise ValueError("an integer or a @name") from None


def one_of(*words: str) -> Check:
    """One of some words."""

    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return check


def items(check: Check) -> Check:
    """A JSON array of something."""

    def checked(value: Any) -> list[Any]:
        value = _decoded(value)
        if not isinstance(value, list):
            raise ValueError("an array")
        return [check(item) for item in value]

    return checked


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A JSON object with these fields and no other."""
    known = {**required, **(optional or {})}

    def checked(value: Any) -> Json:
        value = _object(value)
        if missing := required.keys() - value.keys():
            raise ValueError(f"an object with {', '.join(sorted(missing))}")
        if unknown := value.keys() - known.keys():
            raise ValueError(f"an object without {', '.join(sorted(unknown))}")
        return {key: _inside(key, known[key], item) for key, item in value.items()}

    return checked


def anything(value: Any) -> Any:
    """Any JSON; what it must hold is looked at elsewhere."""
    return _decoded(value)


def _object(value: Any) -> Json:
    value = _decoded(value)
    if not isinstance(value, dict):
        raise ValueError("an object")
    return value


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        raise ValueError("JSON") from None


def _inside(key: str, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"an object whose {key} is {error}") from None


def _markup(value: Any) -> Json:
    value = _object(value)
    for key, check in MARKUPS.items():
        if key in value:
            return dict(check(value))
    raise ValueError("a keyboard")


def _reaction(value: Any) -> Json:
    value = _object(value)
    kind = value.get("type")
    if kind == "emoji":
        return dict(fields({"type": string, "emoji": string})(value))
    if kind == "custom_emoji":
        return dict(fields({"type": string, "custom_emoji_id": string})(value))
    raise ValueError("a reaction")


def _scope(value: Any) -> Json:
    value = _object(value)
    more: dict[str, dict[str, Check]] = {
        "default": {},
        "all_private_chats": {},
        "all_group_chats": {},
        "all_chat_administrators": {},
        "chat": {"chat_id": chat_id},
        "chat_administrators": {"chat_id": chat_id},
        "chat_member": {"chat_id": chat_id, "user_id": integer},
    }
    kind = value.get("type")
    if kind not in more:
        raise ValueError("a scope of commands")
    return dict(fields({"type": string, **more[kind]})(value))


def _media(value: Any) -> Json:
    value = _object(value)
    captioned: dict[str, Check] = {"caption": string, "caption_entities": ENTITIES}
    seen: dict[str, Check] = {"show_caption_above_media": boolean, "has_spoiler": boolean}
    sized: dict[str, Check] = {"width": integer, "height": integer, "duration": integer}
    more: dict[str, dict[str, Check]] = {
        "photo": seen,
        "document": {"thumbnail": string, "disable_content_type_detection": boolean},
        "audio": {"thumbnail": string, "duration": integer, "performer": string, "title": string},
        "video": {"thumbnail": string, "supports_streaming": boolean, **seen, **sized},
        "animation": {"thumbnail": string, **seen, **sized},
    }
    kind = value.get("type")
    if kind not in more:
        raise ValueError("media of a type that can be edited in")
    return dict(fields({"type": string, "media": string}, captioned | more[kind])(value))


ENTITIES = items(_object)
BUTTON = fields(
    {"text": string},
    {
        "url": string,
        "callback_data": string,
        "style": one_of("danger", "success", "primary"),
        "copy_text": fields({"text": string}),
        "disabled": fields({}),
        "switch_inline_query": string,
        "switch_inline_query_current_chat": string,
    },
)
INLINE = fields({"inline_keyboard": items(items(BUTTON))})
_WISH: Mapping[str, Check] = {"selective": boolean, "input_field_placeholder": string}
MARKUPS: Mapping[str, Check] = {
    "inline_keyboard": INLINE,
    "keyboard": fields(
        {"keyboard": items(items(fields({"text": string}, {"style": one_of("danger", "success", "primary")})))},
        {**_WISH, "is_persistent": boolean, "resize_keyboard": boolean, "one_time_keyboard": boolean},
    ),
    "remove_keyboard": fields({"remove_keyboard": boolean}, {"selective": boolean}),
    "force_reply": fields({"force_reply": boolean}, _WISH),
}
PREVIEW = fields(
    {},
    {
        "is_disabled": boolean,
        "url": string,
        "prefer_small_media": boolean,
        "prefer_large_media": boolean,
        "show_above_text": boolean,
    },
)
REPLY = fields(
    {"message_id": integer},
    {
        "chat_id": chat_id,
        "allow_sending_without_reply": boolean,
        "quote": string,
        "quote_entities": ENTITIES,
        "quote_position": integer,
    },
)
RICH = fields(
    {},
    {
        "html": string,
        "markdown": string,
        "blocks": items(_object),
        "is_rtl": boolean,
        "skip_entity_detection": boolean,
    },
)

_need = Parameter(chat_id, is_required=True)
_text = Parameter(string)
_number = Parameter(integer)
_yes = Parameter(boolean)
_entities = Parameter(ENTITIES)
_inline = Parameter(INLINE)
_updates = Parameter(items(one_of(*UPDATES)))
_upload = Parameter(string, is_file=True)
_file = replace(_upload, is_required=True)


def _needed(parameter: Parameter) -> Parameter:
    return replace(parameter, is_required=True)


_SENT: Mapping[str, Parameter] = {
    "chat_id": _need,
    "message_thread_id": _number,
    "disable_notification": _yes,
    "protect_content": _yes,
    "reply_parameters": Parameter(REPLY),
    "reply_markup": Parameter(_markup),
}
_CAPTION: Mapping[str, Parameter] = {"caption": _text, "caption_entities": _entities}
_ABOVE: Mapping[str, Parameter] = {"show_caption_above_media": _yes, "has_spoiler": _yes}
_EDITED: Mapping[str, Parameter] = {"chat_id": _need, "message_id": _needed(_number), "reply_markup": _inline}
_DRAFT: Mapping[str, Parameter] = {
    "chat_id": _needed(_number),
    "draft_id": _needed(_number),
    "message_thread_id": _number,
    "can_stop": _yes,
    "keep_on_stop": _yes,
}
_SCOPED: Mapping[str, Parameter] = {"scope": Parameter(_scope), "language_code": _text}
_TEXT: Mapping[str, Parameter] = {"text": _text, "entities": _entities, "link_preview_options": Parameter(PREVIEW)}

METHODS: Mapping[str, Mapping[str, Parameter]] = {
    "getMe": {},
    "getUpdates": {"offset": _number, "limit": _number, "timeout": _number, "allowed_updates": _updates},
    "setWebhook": {
        "url": _text,
        "max_connections": _number,
        "allowed_updates": _updates,
        "drop_pending_updates": _yes,
        "secret_token": _text,
    },
    "deleteWebhook": {"drop_pending_updates": _yes},
    "getWebhookInfo": {},
    "sendMessage": {**_SENT, **_TEXT},
    "sendRichMessage": {**_SENT, "rich_message": _needed(Parameter(RICH))},
    "sendMessageDraft": {**_DRAFT, "text": _text, "entities": _entities},
    "sendRichMessageDraft": {**_DRAFT, "rich_message": _needed(Parameter(RICH))},
    "sendDocument": {
        **_SENT,
        **_CAPTION,
        "document": _file,
        "thumbnail": _upload,
        "disable_content_type_detection": _yes,
    },
    "sendPhoto": {**_SENT, **_CAPTION, **_ABOVE, "photo": _file},
    "sendVoice": {**_SENT, **_CAPTION, "voice": _file, "duration": _number},
    "sendAudio": {
        **_SENT,
        **_CAPTION,
        "audio": _file,
        "thumbnail": _upload,
        "duration": _number,
        "performer": _text,
        "title": _text,
    },
    "sendVideo": {
        **_SENT,
        **_CAPTION,
        **_ABOVE,
        "video": _file,
        "thumbnail": _upload,
        "duration": _number,
        "width": _number,
        "height": _number,
        "supports_streaming": _yes,
    },
    "editMessageText": {**_EDITED, **_TEXT, "rich_message": Parameter(RICH)},
    "editMessageReplyMarkup": _EDITED,
    "editMessageMedia": {**_EDITED, "media": _needed(Parameter(_media))},
    "deleteMessage": {"chat_id": _need, "message_id": _needed(_number)},
    "sendChatAction": {"chat_id": _need, "action": _needed(_text), "message_thread_id": _number},
    "setMessageReaction": {
        "chat_id": _need,
        "message_id": _needed(_number),
        "reaction": Parameter(items(_reaction)),
        "is_big": _yes,
    },
    "getFile": {"file_id": _needed(_text)},
    "answerCallbackQuery": {
        "callback_query_id": _needed(_text),
        "text": _text,
        "show_alert": _yes,
        "url": _text,
        "cache_time": _number,
    },
    "setMyCommands": {
        "commands": _needed(Parameter(items(fields({"command": string, "description": string})))),
        **_SCOPED,
    },
    "getMyCommands": _SCOPED,
    "deleteMyCommands": _SCOPED,
    "getChat": {"chat_id": _need},
    "leaveChat": {"chat_id": _need},
}
NAMES: Mapping[str, str] = {name.lower(): name for name in METHODS}


def method_called(name: str) -> str:
    """The method of this name, in whatever case it is written."""
    if name.lower() not in NAMES:
        raise Refused(404, fault=f"there is no method {name} here")
    return NAMES[name.lower()]


def arguments(method: str, given: Mapping[str, Any], uploads: Mapping[str, Upload]) -> Json:
    """The parameters of a call as what they should be; files as they came or as the id they are known by."""
    known = METHODS[method]
    found: Json = {}
    for name, value in given.items():
        if name == "parse_mode":
            raise wrong("can't parse entities: parse_mode is not to be used here")
        if name not in known:
            raise wrong(f"{method} has no parameter {name}")
        try:
            found[name] = known[name].check(value)
        except ValueError as error:
            raise wrong(f"{name} of {method} must be {error}") from None
    used: set[str] = set()
    for name, parameter in known.items():
        if parameter.is_file and (name in uploads or str(found.get(name)).startswith("attach://")):
            part = name if name in uploads else found[name].removeprefix("attach://")
            if part not in uploads:
                raise wrong(f"{name} of {method} names no file that came with it")
            found[name] = uploads[part]
            used.add(part)
    if method == "editMessageMedia" and "media" in found:
        used |= _attached(found["media"], uploads)
    if unused := uploads.keys() - used:
        raise wrong(f"{method} takes no file {', '.join(sorted(unused))}")
    for name, parameter in known.items():
        if parameter.is_required and found.get(name) in (None, ""):
            raise wrong(_MISSING.get(name, f"{method} needs {name}"))
    return found


def legible(method: str, given: Mapping[str, Any], uploads: Mapping[str, Upload]) -> Json:
    """The parameters of a call for the ledger: each as what it should be, if it can be, and files by name and size."""
    files = {name: {"name": each.name, "size": len(each.content)} for name, each in uploads.items()}
    known = METHODS.get(method, {})
    told: Json = {}
    for name, value in given.items():
        part = value.removeprefix("attach://") if isinstance(value, str) else ""
        if part != value and part in files:
            told[name] = files.pop(part)
            continue
        try:
            told[name] = known[name].check(value) if name in known else value
        except ValueError:
            told[name] = value
    return told | files


def _attached(media: Json, uploads: Mapping[str, Upload]) -> set[str]:
    """Put the files that came into the media that name them."""
    used: set[str] = set()
    for key in ("media", "thumbnail"):
        named = media.get(key, "")
        if isinstance(named, str) and named.startswith("attach://"):
            part = named.removeprefix("attach://")
            if part not in uploads:
                raise wrong(f"media names no file {part} that came with it")
            media[key] = uploads[part]
            used.add(part)
    return used


# Where Telegram has a sentence of its own for what is missing.
_MISSING: Mapping[str, str] = {
    "chat_id": "chat_id is empty",
    "draft_id": "RANDOM_ID_INVALID",
    **{name: f"there is no {name} in the request" for name in ("document", "photo", "voice", "audio", "video")},
}
