"""An event of Discord's gateway -> what it is to this bot: a message, a press, news of where it is, or nothing at all.

Nothing is ever raised, whatever comes.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from adapters.chat.raw import Json, list_of, object_of, text_of, whole_of
from adapters.chat.speaker import SOMEONE, bracketed, clipped, file_name, speaker
from factory_contracts.messages import MAX_TEXT, Address, AttachmentKind, InboundMessage

PLATFORM = "discord"
PACE_MS = 250
MAX_QUOTED = 4_000
# What the bot said itself stands in its session already; so much of it tells which answer is meant.
MAX_QUOTED_OF_OURS = 1_000
# What is typed as `/ask` is the question itself.
ASK = "ask"

# The first instant of Discord's ids.
_EPOCH_MS = 1_420_070_400_000
_IDS = re.compile(r"[1-9][0-9]{0,19}")
_MIME = re.compile(r"[a-z0-9.+_-]{1,60}/[a-z0-9.+_-]{1,60}")
# What parts an address from what follows: "@bot, how are you", "@bot: go on".
_AFTER_MENTION = re.compile(r"[,:;\u3001\u060c\uff0c\uff1a\uff1b]*\s*")
_MENTION = re.compile(r"<@!?([0-9]{1,20})>")
_ROLE = re.compile(r"<@&([0-9]{1,20})>")
_EMOJI = re.compile(r"<a?(:\w{1,64}:)[0-9]{1,20}>")

_PLAIN, _REPLY = 0, 19
_FORWARD = 1
_VOICE = 1 << 13
_KINDS: dict[str, AttachmentKind] = {"image": "image", "audio": "audio", "video": "video"}


@dataclass(frozen=True, slots=True)
class Me:
    """Who this bot is to Discord, what our configuration calls it, and where it answers whoever speaks."""

    id: str
    bot_id: str
    dedicated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class File:
    """A file that Discord keeps for us."""

    kind: AttachmentKind
    url: str
    name: str
    mime: str
    size: int


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command that waits to be answered; the token is good for a quarter of an hour."""

    id: str
    token: str
    application: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that may be a turn, once its files are fetched."""

    channel: str
    id: str
    message: InboundMessage
    files: tuple[File, ...] = ()
    command: Command | None = None
    is_threadable: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """A message that is nothing for us; so far the channel is read. The reason names kinds and never content."""

    channel: str
    id: str
    is_private: bool
    why: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """A person pressed a button under the message `message_id`; Discord wants to hear of it within three seconds."""

    command: Command
    user_id: str
    user_name: str
    data: str
    message_id: str
    address: Address
    in_group: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A channel or thread that the bot can see; `newest` is the last message there."""

    id: str
    guild: str
    newest: int
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a guild tells of itself: places to write in, the roles that mean this bot, and how large a file may be."""

    places: tuple[Place, ...]
    roles: frozenset[str] = frozenset()
    guild: str = ""
    tier: int | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A new session begins: what was said since the last one was not told."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing for us; the reason names kinds and never content."""

    why: str


Normalized = Heard | Passed | Pressed | Seen | Begun | Ignored


def normalize(event: object, me: Me, *, roles: Collection[str] = (), ours: Collection[str] = ()) -> Normalized:
    """Read an event; `roles` mean this bot when they are mentioned, and in the threads of `ours` it is always meant."""
    body = object_of(event)
    data = object_of(body.get("d"))
    match body.get("t"):
        case "MESSAGE_CREATE":
            return _message(data, me, roles, ours)
        case "INTERACTION_CREATE":
            return _interaction(data, me)
        case "READY":
            return Begun()
        case "GUILD_CREATE":
            return _guild(data, me)
        case "THREAD_CREATE" | "THREAD_UPDATE":
            return Seen(_places([data], text_of(data.get("guild_id")), me))
        case "THREAD_LIST_SYNC":
            return Seen(_places(list_of(data.get("threads")), text_of(data.get("guild_id")), me))
        case kind:
            # An edit or a deletion among them: what was asked stands.
            return Ignored(f"no message: {speaker(text_of(kind)) or 'nothing'}")


def sent_at(id: str) -> float:
    """When something got its id, in seconds."""
    return ((int(id) >> 22) + _EPOCH_MS) / 1000


def id_at(seconds: float) -> int:
    """The least id of an instant."""
    return max(0, int(seconds * 1000) - _EPOCH_MS) << 22


def _message(data: Json, me: Me, roles: Collection[str], ours: Collection[str]) -> Heard | Passed | Ignored:
    id, channel = _id(data.get("id")), _id(data.get("channel_id"))
    if not id or not channel:
        return Ignored("malformed: no id or no channel")
    is_private = not _id(data.get("guild_id"))

    def passed(why: str) -> Passed:
        return Passed(channel, id, is_private, why)

    author = object_of(data.get("author"))
    user_id = _id(author.get("id"))
    if author.get("bot") is True or user_id == me.id:
        # Two bots that answer each other never end.
        return passed("said by a bot")
    if data.get("webhook_id") is not None:
        return passed("said by a webhook")
    if data.get("type", _PLAIN) not in (_PLAIN, _REPLY):
        return passed("told by the channel")
    if not user_id:
        return passed("malformed: no author")

    replied = object_of(data.get("referenced_message"))
    typed = text_of(data.get("content"))
    is_dedicated = channel in me.dedicated or channel in ours
    is_addressed = is_private or is_dedicated or _is_addressed(data, typed, replied, me, roles)
    files, told = _files(data), _in_words(data)
    forwarded = [object_of(object_of(one).get("message")) for one in list_of(data.get("message_snapshots"))]
    is_forward = _reference(data).get("type") == _FORWARD
    for snapshot in forwarded if is_forward else ():
        told += ("[forwarded]", *_in_words(snapshot), _plain(text_of(snapshot.get("content")), snapshot, me))
        files += _files(snapshot)
    text = "\n".join(filter(None, (*told, _said(typed, data, me, roles))))
    if not text and not files:
        return passed("nothing said")
    # "What is this?" means the picture that it answers to.
    brought = files or (_files(replied) if is_addressed else ())
    name = _name(author, object_of(data.get("member")))
    return Heard(
        channel=channel,
        id=id,
        message=InboundMessage(
            message_id=id,
            user_id=user_id,
            user_name=name,
            text=clipped(text, MAX_TEXT),
            quoted=_quotation(replied, user_id, me),
            foreign=is_forward or None,
            in_group=not is_private,
            is_addressed=is_addressed,
            address=_address(me, channel, None if is_private else id),
            sent_at=_date(data.get("timestamp")),
        ),
        files=brought,
        is_threadable=is_addressed and not is_private and channel not in ours,
    )


def _interaction(data: Json, me: Me) -> Heard | Pressed | Ignored:
    command = Command(_id(data.get("id")), text_of(data.get("token")), _id(data.get("application_id")))
    channel, guild, member = _id(data.get("channel_id")), _id(data.get("guild_id")), object_of(data.get("member"))
    user = object_of(member.get("user")) or object_of(data.get("user"))
    user_id = _id(user.get("id"))
    if not (command.id and command.token and command.application and channel and user_id):
        return Ignored("malformed: an interaction without id, token, application, channel or person")
    name, about = _name(user, member), object_of(data.get("data"))
    match data.get("type"):
        # A command, typed.
        case 2 if about.get("type", 1) == 1:
            text = _command(about)
            if not text:
                return Ignored("malformed: a command without a name")
            return Heard(
                channel=channel,
                id=command.id,
                message=InboundMessage(
                    message_id=command.id,
                    user_id=user_id,
                    user_name=name,
                    text=clipped(text, MAX_TEXT),
                    in_group=bool(guild),
                    address=_address(me, channel, None),
                    sent_at=sent_at(command.id),
                ),
                command=command,
            )
        # A press of a button.
        case 3:
            message_id, pressed = _id(object_of(data.get("message")).get("id")), text_of(about.get("custom_id"))
            if not message_id or not pressed:
                return Ignored("malformed: a button without a message or a name")
            return Pressed(
                command=command,
                user_id=user_id,
                user_name=name,
                data=pressed,
                message_id=message_id,
                address=_address(me, channel, message_id if guild else None),
                in_group=bool(guild),
            )
        case _:
            return Ignored("an interaction that we do not offer")


def _command(about: Json) -> str:
    """What a command says, as one would have typed it."""
    name = text_of(about.get("name"))
    words = [text_of(object_of(option).get("value")).strip() for option in list_of(about.get("options"))]
    said = " ".join(filter(None, words))
    return said if name == ASK else f"/{name} {said}".strip() if name else ""


def _guild(data: Json, me: Me) -> Seen:
    guild = _id(data.get("id"))
    roles = frozenset(
        _id(role.get("id"))
        for role in map(object_of, list_of(data.get("roles")))
        if _id(object_of(role.get("tags")).get("bot_id")) == me.id
    )
    places = [*list_of(data.get("channels")), *list_of(data.get("threads"))]
    return Seen(_places(places, guild, me), roles, guild, whole_of(data.get("premium_tier")))


def _places(bodies: list[object], guild: str, me: Me) -> tuple[Place, ...]:
    return tuple(
        Place(id, guild, int(_id(body.get("last_message_id")) or 0), _is_ours(body, me))
        for body in map(object_of, bodies)
        if (id := _id(body.get("id")))
    )


def _is_ours(body: Json, me: Me) -> bool:
    """Whether all that is said there is said to this bot: in a thread that it began, or of a dedicated channel."""
    is_thread = "thread_metadata" in body
    return is_thread and (_id(body.get("owner_id")) == me.id or _id(body.get("parent_id")) in me.dedicated)


def _address(me: Me, channel: str, reply_to: str | None) -> Address:
    # Where only two talk, an answer needs not say to what.
    return Address(platform=PLATFORM, bot_id=me.bot_id, scope_id=channel, reply_to=reply_to, pace_ms=PACE_MS)


def _is_addressed(data: Json, typed: str, replied: Json, me: Me, roles: Collection[str]) -> bool:
    """Whether a message in a guild is for this bot."""
    mentioned = [_id(object_of(user).get("id")) for user in list_of(data.get("mentions"))]
    if me.id in mentioned or me.id in _MENTION.findall(typed):
        return True
    named = (*map(_id, list_of(data.get("mention_roles"))), *_ROLE.findall(typed))
    return any(role in roles for role in named) or _id(object_of(replied.get("author")).get("id")) == me.id


def _said(typed: str, data: Json, me: Me, roles: Collection[str]) -> str:
    """What was typed, without our own name where it is said first."""
    text = typed.strip()
    first = _MENTION.match(text) or _ROLE.match(text)
    if first is not None and (first[1] == me.id or first[1] in roles):
        text = _AFTER_MENTION.sub("", text[first.end() :], count=1)
    return _plain(text, data, me) or _plain(typed.strip(), data, me)


def _plain(text: str, data: Json, me: Me) -> str:
    """The text with the names of people and emoji for the numbers that Discord writes."""
    people = {_id(user.get("id")): user for user in map(object_of, list_of(data.get("mentions")))}

    def named(found: re.Match[str]) -> str:
        user = people.get(found[1])
        return f"@{_name(user, object_of(user.get('member')))}" if user is not None else found[0]

    return _EMOJI.sub(r"\1", _MENTION.sub(named, text)).strip()


def _quotation(replied: Json, asker: str, me: Me) -> str | None:
    """What it is an answer to, as far as it may be told; whoever asks knows their own words."""
    author = object_of(replied.get("author"))
    files = (bracketed(file.kind) for file in _files(replied))
    typed = _plain(text_of(replied.get("content")), replied, me)
    words = "\n".join(filter(None, (*_in_words(replied), typed))) or " ".join(files)
    if not words:
        return None
    if _id(author.get("id")) == me.id:
        return clipped(words, MAX_QUOTED_OF_OURS)
    name = _name(author, object_of(replied.get("member")))
    return clipped(words if _id(author.get("id")) == asker else f"{name}: {words}", MAX_QUOTED)


def _files(message: Json) -> tuple[File, ...]:
    is_voice = bool((whole_of(message.get("flags")) or 0) & _VOICE)
    files: list[File] = []
    for body in map(object_of, list_of(message.get("attachments"))):
        url, size = text_of(body.get("url")), whole_of(body.get("size"))
        told = text_of(body.get("content_type")).lower().partition(";")[0].strip()
        mime = told if _MIME.fullmatch(told) else "application/octet-stream"
        kind = "voice" if is_voice else _KINDS.get(mime.partition("/")[0], "document")
        if url and size is not None and size >= 0:
            files.append(File(kind, url, file_name(text_of(body.get("filename"))) or kind, mime, size))
    return tuple(files)


def _in_words(message: Json) -> tuple[str, ...]:
    """What a message says beside its text and its files, a line for each."""
    told = [
        bracketed("sticker", text_of(object_of(sticker).get("name")))
        for sticker in list_of(message.get("sticker_items"))
    ]
    if "poll" in message:
        poll = object_of(message["poll"])
        answers = (object_of(object_of(one).get("poll_media")) for one in list_of(poll.get("answers")))
        options = " / ".join(text_of(answer.get("text")) for answer in answers)
        question = text_of(object_of(poll.get("question")).get("text"))
        told.append(bracketed("poll", question, f"({options})" if options else ""))
    return tuple(told)


def _name(user: Json, member: Json) -> str:
    """What people there see a person called."""
    names = (member.get("nick"), user.get("global_name"), user.get("username"))
    return next(filter(None, (speaker(text_of(name)) for name in names)), SOMEONE)


def _reference(message: Json) -> Json:
    return object_of(message.get("message_reference"))


def _date(value: object) -> float | None:
    try:
        return datetime.fromisoformat(text_of(value)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _id(value: object) -> str:
    """An id of Discord's: a number of at most 64 bits, written as text; empty where it is none."""
    text = value if isinstance(value, str) else ""
    return text if _IDS.fullmatch(text) and int(text) < 2**64 else ""
