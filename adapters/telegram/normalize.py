"""A raw update of Telegram -> what it is to this bot: a message, a press, a halt, a move, or nothing at all.

Nothing is ever raised, whatever comes: an update that cannot be read is `Ignored`, for otherwise Telegram would bring
it again and again, and nothing behind it.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from adapters.chat.raw import Json, list_of, object_of, text_of, whole_of
from adapters.chat.speaker import SOMEONE, bracketed, clipped, file_name, speaker
from factory_contracts.messages import MAX_TEXT, Address, AttachmentKind, InboundMessage

PLATFORM = "telegram"
PACE_MS = 250
MAX_QUOTED = 4_000
# What the bot said itself stands in its session already; so much of it tells which answer is meant.
MAX_QUOTED_OF_OURS = 1_000


@dataclass(frozen=True, slots=True)
class Me:
    """Who this bot is to Telegram, and what our configuration calls it."""

    id: int
    username: str
    bot_id: str


@dataclass(frozen=True, slots=True)
class File:
    """A file that Telegram keeps for us; a size that it does not tell is None."""

    kind: AttachmentKind
    file_id: str
    name: str
    mime: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that may be a turn, once its files are fetched.

    `length` is that of what was typed, in UTF-16 units. A plain message is typed text and nothing else: no file, no
    forward and no word to the hub.
    """

    update_id: int
    message: InboundMessage
    files: tuple[File, ...]
    group: str | None
    date: int
    length: int
    is_plain: bool
    chat_id: int


@dataclass(frozen=True, slots=True)
class Pressed:
    """A person pressed a button of the bubble `message_id`; the query wants an answer."""

    update_id: int
    query_id: str
    user_id: str
    user_name: str
    data: str
    chat_id: int
    message_id: int | None
    address: Address


@dataclass(frozen=True, slots=True)
class Halted:
    """A person pressed Telegram's own stop button at a draft."""

    update_id: int
    chat_id: int
    draft_id: int
    thread: str | None
    user_id: str
    address: Address


@dataclass(frozen=True, slots=True)
class Moved:
    """A group became a supergroup; it is told in both chats, and both tell the same."""

    update_id: int = field(compare=False)
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing for us; the reason names kinds and never content."""

    why: str
    update_id: int | None = None


Normalized = Heard | Pressed | Halted | Moved | Ignored

# One message brings at most one file. An animation comes as a document too, and is looked for first.
_FILES: Mapping[str, tuple[AttachmentKind, str, str]] = MappingProxyType(
    {
        "animation": ("video", "animation.mp4", "video/mp4"),
        "photo": ("image", "photo.jpg", "image/jpeg"),
        "voice": ("voice", "voice.ogg", "audio/ogg"),
        "audio": ("audio", "audio.mp3", "audio/mpeg"),
        "video_note": ("video", "video_note.mp4", "video/mp4"),
        "video": ("video", "video.mp4", "video/mp4"),
        "document": ("document", "document", "application/octet-stream"),
        "sticker": ("image", "sticker.webp", "image/webp"),
    }
)
_KIND_OF_DOCUMENT: Mapping[str, AttachmentKind] = MappingProxyType(
    {"image": "image", "audio": "audio", "video": "video"}
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What tells of a message and is not its content; the first key beyond these names a kind that is unheard of.
_ABOUT = _words(
    """
    message_id message_thread_id direct_messages_topic from sender_chat sender_boost_count sender_business_bot
    sender_tag guest_query_id business_connection_id date chat forward_origin forward_date forward_from
    forward_from_chat forward_from_message_id forward_sender_name forward_signature is_topic_message
    is_automatic_forward reply_to_message external_reply quote reply_to_story reply_to_checklist_task_id
    reply_to_poll_option_id via_bot guest_bot_caller_user guest_bot_caller_chat edit_date has_protected_content
    is_from_offline is_paid_post media_group_id author_signature paid_star_count text entities link_preview_options
    suggested_post_info effect_id caption caption_entities show_caption_above_media has_media_spoiler reply_markup
    receiver_user ephemeral_message_id origin
    """
)
# What a chat tells of itself.
_SERVICE = _words(
    """
    new_chat_members left_chat_member chat_owner_left chat_owner_changed new_chat_title new_chat_photo
    delete_chat_photo group_chat_created supergroup_chat_created channel_chat_created
    message_auto_delete_timer_changed pinned_message successful_payment refunded_payment user_shared users_shared
    chat_shared gift unique_gift gift_upgrade_sent connected_website write_access_allowed passport_data
    proximity_alert_triggered boost_added chat_background_set checklist_tasks_done checklist_tasks_added
    direct_message_price_changed forum_topic_created forum_topic_edited forum_topic_closed forum_topic_reopened
    general_forum_topic_hidden general_forum_topic_unhidden giveaway_created giveaway_completed managed_bot_created
    paid_message_price_changed poll_option_added poll_option_deleted suggested_post_approved
    suggested_post_approval_failed suggested_post_declined suggested_post_paid suggested_post_refunded
    video_chat_scheduled video_chat_started video_chat_ended video_chat_participants_invited web_app_data
    community_chat_added community_chat_removed community_chat_joined
    """
)

# What was passed on, taken from another bot's offers or from a list: its words are somebody else's.
_WRITTEN_BY_OTHERS = _words("forward_origin via_bot contact venue poll")

# In the name of these accounts Telegram passes on what an anonymous administrator, a channel or a linked channel says.
_STAND_INS = frozenset((1087968824, 136817688, 777000))

_COMMAND = re.compile(r"(/[A-Za-z0-9_]{1,64})(?:@([A-Za-z0-9_]+))?(?![A-Za-z0-9_@])")
# What parts an address from what follows: "@bot, how are you", "@bot: go on".
_AFTER_MENTION = re.compile(r"[,:;\u3001\u060c\uff0c\uff1a\uff1b]*\s*")
_MIME = re.compile(r"[a-z0-9.+_-]{1,60}/[a-z0-9.+_-]{1,60}")

# No name and no command is longer; of longer marks the beginning is enough.
_MAX_MARK = 128


@dataclass(frozen=True, slots=True)
class _Person:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class _Place:
    chat_id: int
    is_private: bool
    thread: str | None

    def address(self, me: Me, pace_ms: int, message_id: int | None = None) -> Address:
        return Address(
            platform=PLATFORM,
            bot_id=me.bot_id,
            scope_id=f"{self.chat_id}/{self.thread}" if self.thread else str(self.chat_id),
            # Where only two talk, an answer needs not say to what.
            reply_to=None if self.is_private or message_id is None else str(message_id),
            thread=self.thread,
            pace_ms=pace_ms,
        )


@dataclass(frozen=True, slots=True)
class _Mark:
    """A stretch of typed text that Telegram understood; it is measured in UTF-16 units."""

    kind: str
    start: int
    end: int
    text: str
    user_id: int | None

    def names(self, me: Me) -> bool:
        return (self.kind == "mention" and self.text.casefold() == f"@{me.username}".casefold()) or (
            self.kind == "text_mention" and self.user_id == me.id
        )


@dataclass(frozen=True, slots=True)
class _Typed:
    text: str
    marks: tuple[_Mark, ...] = ()

    @property
    def length(self) -> int:
        return len(self.text.encode("utf-16-le")) // 2

    def after(self, mark: _Mark) -> str:
        return self.text.encode("utf-16-le")[2 * mark.end :].decode("utf-16-le")

    @property
    def command(self) -> str:
        """The command that it begins with, with the name of the bot that it is for."""
        return next((mark.text for mark in self.marks if mark.kind == "bot_command" and mark.start == 0), "")


def normalize(update: object, me: Me, *, commands: Collection[str], pace_ms: int = PACE_MS) -> Normalized:
    """What an update is to this bot; `commands` are the words to the hub as they are typed: `/new`."""
    body = object_of(update)
    update_id = whole_of(body.get("update_id"))
    if update_id is None:
        return Ignored("malformed: no update_id")
    for kind in ("message", "channel_post"):
        if kind in body:
            return _message(object_of(body[kind]), update_id, me, commands, pace_ms)
    if "callback_query" in body:
        return _pressed(object_of(body["callback_query"]), update_id, me, pace_ms)
    if "stopped_message_generation" in body:
        return _halted(object_of(body["stopped_message_generation"]), update_id, me, pace_ms)
    # An edit among them: what was asked stands.
    kind = next((key for key in body if key != "update_id"), "nothing")
    return Ignored(f"no message: {speaker(text_of(kind))}", update_id)


def _message(message: Json, update_id: int, me: Me, commands: Collection[str], pace_ms: int) -> Heard | Moved | Ignored:
    place = _place(message, is_topic=message.get("is_topic_message") is True)
    date = whole_of(message.get("date"))
    if place is None or date is None:
        return Ignored("malformed: no chat or no date", update_id)
    moved = _moved(message, place, update_id)
    if moved is not None:
        return moved
    message_id = _positive(message.get("message_id"))
    sender = _sender(message)
    why = _unheard(message, message_id, sender)
    if message_id is None or sender is None or why:
        return Ignored(why, update_id)

    typed, file, told = _typed(message), _file(message), _in_words(message)
    is_addressed = place.is_private or _is_addressed(message, typed, me, commands)
    if file is None and not told and (not typed.text or "caption" in message):
        stranger = _stranger(message)
        if stranger and not is_addressed:
            return Ignored(f"cannot be read: {stranger}", update_id)
        told = f"[a kind of message that I cannot read: {stranger}]" if stranger else ""
    if not typed.text and not told and file is None:
        return Ignored("nothing said", update_id)

    text, is_command = _said(typed, me, commands)
    is_forward = "forward_origin" in message
    forwarded = f"[forwarded from {_origin(message['forward_origin']).name}]" if is_forward else ""
    quoted, author = _answered(message)
    # "What is this?" means the photo that it answers to.
    brought = file or (_file(quoted) if is_addressed else None)
    return Heard(
        update_id=update_id,
        message=InboundMessage(
            message_id=str(message_id),
            user_id=sender.id,
            user_name=sender.name,
            text=clipped("\n".join(filter(None, (forwarded, told, text))), MAX_TEXT),
            quoted=_quotation(message, quoted, author, sender, me),
            foreign=not _WRITTEN_BY_OTHERS.isdisjoint(message) or None,
            in_group=not place.is_private,
            is_addressed=is_addressed,
            address=place.address(me, pace_ms, message_id),
            sent_at=float(date),
        ),
        files=() if brought is None else (brought,),
        group=text_of(message.get("media_group_id")) or None,
        date=date,
        length=typed.length,
        is_plain="text" in message and bool(typed.text) and not (file or told or is_forward or is_command),
        chat_id=place.chat_id,
    )


def _moved(message: Json, place: _Place, update_id: int) -> Moved | None:
    new = whole_of(message.get("migrate_to_chat_id"))
    if new is not None:
        return Moved(update_id, str(place.chat_id), str(new))
    old = whole_of(message.get("migrate_from_chat_id"))
    return None if old is None else Moved(update_id, str(old), str(place.chat_id))


def _unheard(message: Json, message_id: int | None, sender: _Person | None) -> str:
    """Why a message is none for us, by who sent it and what it is for; empty where it may be one."""
    service = next((key for key in message if key in _SERVICE), None)
    if service is not None:
        return f"told by the chat: {service}"
    if "ephemeral_message_id" in message:
        return "a message that does not stay"
    # All who write to a channel share this chat, and must not read each other's answers.
    if "direct_messages_topic" in message:
        return "written to a channel"
    if message_id is None or sender is None:
        return "malformed: no message_id or no sender"
    user = object_of(message.get("from"))
    if user.get("is_bot") is True and not (whole_of(user.get("id")) in _STAND_INS and "sender_chat" in message):
        # Two bots that answer each other never end.
        return "said by a bot"
    return ""


def _pressed(query: Json, update_id: int, me: Me, pace_ms: int) -> Pressed | Ignored:
    user = object_of(query.get("from"))
    message = object_of(query.get("message"))
    person, place = _person(user), _place(message, is_topic=message.get("is_topic_message") is True)
    query_id, data = text_of(query.get("id")), text_of(query.get("data"))
    if user.get("is_bot") is True:
        return Ignored("pressed by a bot", update_id)
    if not data:
        return Ignored("a button without data", update_id)
    if not query_id or person is None or place is None:
        return Ignored("malformed: a button without query, person or chat", update_id)
    message_id = _positive(message.get("message_id"))
    return Pressed(
        update_id=update_id,
        query_id=query_id,
        user_id=person.id,
        user_name=person.name,
        data=data,
        chat_id=place.chat_id,
        message_id=message_id,
        address=place.address(me, pace_ms, message_id),
    )


def _halted(body: Json, update_id: int, me: Me, pace_ms: int) -> Halted | Ignored:
    # The manual says integer, and the server writes it as a string.
    place, draft_id = _place(body, is_topic=True), _number(body.get("draft_id"))
    if place is None or draft_id is None:
        return Ignored("malformed: a halt without chat or draft", update_id)
    return Halted(
        update_id=update_id,
        chat_id=place.chat_id,
        draft_id=draft_id,
        thread=place.thread,
        # Drafts are shown in private chats alone, where the chat is the person.
        user_id=str(place.chat_id),
        address=place.address(me, pace_ms),
    )


def _place(body: Json, *, is_topic: bool) -> _Place | None:
    chat = object_of(body.get("chat"))
    chat_id, kind = whole_of(chat.get("id")), chat.get("type")
    if not chat_id or not isinstance(kind, str):
        return None
    # An answer in a supergroup without topics has a thread's id as well, which is no place to answer in.
    thread = _positive(body.get("message_thread_id")) if is_topic else None
    return _Place(chat_id, kind == "private", None if thread is None else str(thread))


def _sender(message: Json) -> _Person | None:
    """Who answers for a message: the chat in whose name it was sent, or the person."""
    return _person(object_of(message.get("sender_chat"))) or _person(object_of(message.get("from")))


def _person(body: Json) -> _Person | None:
    number = whole_of(body.get("id"))
    if not number:
        return None
    full = f"{text_of(body.get('first_name'))} {text_of(body.get('last_name'))}"
    names = (speaker(name) for name in (full, text_of(body.get("title")), text_of(body.get("username"))))
    return _Person(str(number), next(filter(None, names), SOMEONE))


def _origin(origin: object) -> _Person:
    """Who said first what was passed on."""
    body = object_of(origin)
    for key in ("sender_user", "sender_chat", "chat"):
        person = _person(object_of(body.get(key)))
        if person is not None:
            return person
    return _Person("", speaker(text_of(body.get("sender_user_name"))) or SOMEONE)


def _is_addressed(message: Json, typed: _Typed, me: Me, commands: Collection[str]) -> bool:
    """Whether a message in a group is for this bot."""
    word, at, suffix = typed.command.partition("@")
    if suffix.casefold() == me.username.casefold() if at else word.lower() in commands:
        return True
    if any(mark.names(me) for mark in typed.marks):
        return True
    replied = object_of(_replied(message).get("from"))
    return not at and whole_of(replied.get("id")) == me.id


def _replied(message: Json) -> Json:
    """The message that it is an answer to; empty where a topic alone says so."""
    replied = object_of(message.get("reply_to_message"))
    # In a topic all that answers to nothing answers to the topic's beginning.
    is_beginning = message.get("is_topic_message") is True and (
        replied.get("message_id") == message.get("message_thread_id") or "forum_topic_created" in replied
    )
    return {} if is_beginning else replied


def _answered(message: Json) -> tuple[Json, _Person]:
    """The message that it is an answer to, here or in another chat, and who said it."""
    replied = _replied(message)
    if not replied:
        elsewhere = object_of(message.get("external_reply"))
        return elsewhere, _origin(elsewhere.get("origin"))
    if "forward_origin" in replied:
        return replied, _origin(replied["forward_origin"])
    return replied, _sender(replied) or _Person("", SOMEONE)


def _quotation(message: Json, quoted: Json, author: _Person, asker: _Person, me: Me) -> str | None:
    """What it is an answer to, as far as it may be told; whoever asks knows their own words."""
    if not quoted:
        return None
    marked = text_of(object_of(message.get("quote")).get("text"))
    words = marked or _typed(quoted).text or _in_words(quoted) or _file_in_words(quoted)
    if not words:
        return None
    if author.id == str(me.id):
        return clipped(words, MAX_QUOTED_OF_OURS)
    return clipped(words if author.id == asker.id else f"{author.name}: {words}", MAX_QUOTED)


def _file_in_words(message: Json) -> str:
    kind = next((key for key in _FILES if key in message), None) or _stranger(message)
    return f"[{kind.replace('_', ' ')}]" if kind else ""


def _typed(message: Json) -> _Typed:
    for words, marks in (("text", "entities"), ("caption", "caption_entities")):
        text = text_of(message.get(words))
        if text.strip():
            return _Typed(text, tuple(_marks(text, message.get(marks))))
    return _Typed(_rich_text(message.get("rich_message")))


def _marks(text: str, entities: object) -> Iterator[_Mark]:
    units = text.encode("utf-16-le")
    for entity in map(object_of, list_of(entities)):
        start, length = whole_of(entity.get("offset")), whole_of(entity.get("length"))
        if start is None or length is None or not _is_stretch(units, start, start + length):
            continue
        end = start + length
        marked = units[2 * start : 2 * min(end, start + _MAX_MARK)].decode("utf-16-le", "replace")
        user_id = whole_of(object_of(entity.get("user")).get("id"))
        yield _Mark(text_of(entity.get("type")), start, end, marked, user_id)


def _is_stretch(units: bytes, start: int, end: int) -> bool:
    """Whether it lies in the text, and no end of it within a character."""
    if not 0 <= start < end <= len(units) // 2:
        return False
    return not any(0xDC <= byte <= 0xDF for byte in (units[2 * start + 1], *units[2 * end + 1 : 2 * end + 2]))


def _said(typed: _Typed, me: Me, commands: Collection[str]) -> tuple[str, bool]:
    """What was typed, without our own name where it is said first, and whether it is a word to the hub."""
    named = next((mark for mark in typed.marks if mark.start == 0 and mark.names(me)), None)
    text = typed.text if named is None else _AFTER_MENTION.sub("", typed.after(named), count=1) or typed.text
    found = _COMMAND.match(text)
    if found is None:
        return text, False
    word, suffix = found.groups()
    if suffix is not None and suffix.casefold() != me.username.casefold():
        return text, False
    rest = text[found.end() :]
    if word.lower() in commands and (not rest or rest[0].isspace()):
        return f"{word.lower()} {rest.strip()}".rstrip(), True
    return word + rest, False


def _file(message: Json) -> File | None:
    key = next((key for key in _FILES if key in message), None)
    if key is None:
        return None
    kind, name, mime = _FILES[key]
    body = _largest(message[key]) if key == "photo" else object_of(message[key])
    file_id = text_of(body.get("file_id"))
    moves = body.get("is_animated") is True or body.get("is_video") is True
    if not file_id or (key == "sticker" and moves):
        return None
    told = text_of(body.get("mime_type")).lower()
    mime = told if _MIME.fullmatch(told) else mime
    if key == "document":
        kind = _KIND_OF_DOCUMENT.get(mime.partition("/")[0], kind)
    size = whole_of(body.get("file_size"))
    return File(
        kind=kind,
        file_id=file_id,
        name=file_name(text_of(body.get("file_name"))) or name,
        mime=mime,
        size=None if size is None or size < 0 else size,
    )


def _largest(sizes: object) -> Json:
    return max(
        map(object_of, list_of(sizes)),
        key=lambda size: (whole_of(size.get("width")) or 0) * (whole_of(size.get("height")) or 0),
        default={},
    )


def _in_words(message: Json) -> str:
    """What a message without words says, where it can be told in a line."""
    sticker, dice = object_of(message.get("sticker")), object_of(message.get("dice"))
    venue, contact = object_of(message.get("venue")), object_of(message.get("contact"))
    where = _coordinates(object_of(message.get("location")))
    if sticker:
        return bracketed("sticker", text_of(sticker.get("emoji")))
    if venue:
        # A venue comes as a location too.
        name = ", ".join(filter(None, (text_of(venue.get("title")), text_of(venue.get("address")))))
        return bracketed("venue", name, f"({where})" if where else "")
    if where:
        return bracketed("location", where)
    if contact:
        name = speaker(f"{text_of(contact.get('first_name'))} {text_of(contact.get('last_name'))}")
        return bracketed("contact", ", ".join(filter(None, (name, text_of(contact.get("phone_number"))))))
    if "poll" in message:
        poll = object_of(message["poll"])
        options = " / ".join(text_of(object_of(option).get("text")) for option in list_of(poll.get("options")))
        return bracketed("poll", text_of(poll.get("question")), f"({options})" if options else "")
    if dice:
        value = whole_of(dice.get("value"))
        return bracketed("dice", text_of(dice.get("emoji")), "" if value is None else str(value))
    return ""


def _coordinates(location: Json) -> str:
    degrees = (location.get("latitude"), location.get("longitude"))
    told = [
        f"{value:.6f}".rstrip("0").rstrip(".")
        for value in degrees
        if isinstance(value, int | float) and -180 <= value <= 180
    ]
    return ", ".join(told) if len(told) == 2 else ""


def _stranger(message: Json) -> str:
    """The name of a kind of message that nobody told us of."""
    return speaker(text_of(next((key for key in message if key not in _ABOUT), "")))


def _rich_text(rich: object) -> str:
    """The words of a rich message, a line for each block; walked without recursion, for nobody says how deep it is."""
    words: list[str] = []
    waiting = [rich]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, dict):
            waiting.extend(reversed(list(_inside(part))))
    return "\n".join(line.rstrip() for line in text_of("".join(words)).splitlines() if line.strip())


def _inside(part: Json) -> Iterator[object]:
    for key, gap in (("label", " "), ("summary", "\n"), ("text", ""), ("expression", ""), ("alternative_text", "")):
        if key in part:
            yield from (part[key], gap)
    for row in list_of(part.get("cells")):
        for cell in list_of(row):
            yield from (cell, " ")
        yield "\n"
    for key in ("blocks", "items"):
        for block in list_of(part.get(key)):
            yield from (block, "\n")
    yield part.get("caption")


def _number(value: object) -> int | None:
    is_spelled = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20
    return int(str(value)) if is_spelled else whole_of(value)


def _positive(value: object) -> int | None:
    number = whole_of(value)
    return number if number is not None and number > 0 else None
