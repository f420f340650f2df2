"""What each call of the API does, and when it refuses; what is not here is refused, and a fault of the client.

The body is looked at before the channel, and the channel before the message.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.discordapi import mentions
from tests.discordapi.channels import SYSTEM, Channel, Guild, Message, Snowflakes, User
from tests.discordapi.commands import BULK, register
from tests.discordapi.contents import (
    EDITED,
    EPHEMERAL,
    EXECUTED,
    IS_COMPONENTS_V2,
    LOADING,
    SENT,
    SUPPRESS_EMBEDS,
    SUPPRESS_NOTIFICATIONS,
    check_components,
    numbered,
)
from tests.discordapi.files import MOST_FILES, File, Upload
from tests.discordapi.flood import Key
from tests.discordapi.mentions import Pings
from tests.discordapi.parameters import (
    Check,
    boolean,
    fields,
    integer,
    matching,
    nothing,
    nullable,
    one_of,
    snowflake,
    string,
)
from tests.discordapi.people import (
    Bot,
    Interaction,
    People,
    Webhook,
    answer_to,
    flags_of,
    is_hidden,
    is_thinking,
    refer,
)
from tests.discordapi.refusal import Json, Refused, invalid, missing, no, wrong

MOST_REACTIONS, MOST_HISTORY = 20, 100
MESSAGE, DEFERRED, DEFERRED_UPDATE, UPDATE = 4, 5, 6, 7
# The flags under which a message may be sent, and those that an edit may change.
SENDABLE = SUPPRESS_EMBEDS | SUPPRESS_NOTIFICATIONS | IS_COMPONENTS_V2
CHANGEABLE = SUPPRESS_EMBEDS | IS_COMPONENTS_V2
# Who reacts with a name and a number uses an emoji of a guild; there are none here.
_EMOJI = re.compile(r"[^\x00-\x7f][^\x00-\x1f]{0,20}|[#*0-9]\ufe0f?\u20e3")


@dataclass(slots=True)
class Asked:
    """A call, with all that came with it as what it should be."""

    people: People
    # None where a token of the path says who may.
    caller: Bot | None
    path: dict[str, str]
    query: Json
    body: Json = field(default_factory=dict)
    commands: list[Json] = field(default_factory=list)
    uploads: dict[int, Upload] = field(default_factory=dict)
    # What is a fault although it is done.
    faults: list[str] = field(default_factory=list)

    @property
    def bot(self) -> Bot:
        """The bot that calls."""
        assert self.caller is not None
        return self.caller

    @property
    def place(self) -> int:
        """The number of the channel that it is about, if any."""
        interaction = self.people.interactions.get(self.path.get("token", ""))
        return interaction.channel.id if interaction is not None else int(self.path.get("channel", 0))

    def id(self, name: str) -> int:
        """A number of the path."""
        return int(self.path[name])


Answered = Json | list[Json] | None


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of call; `bucket` is of what kind its rate limit is."""

    name: str
    verb: str
    path: str
    do: Callable[[Asked], Answered]
    body: Check = nothing
    query: Mapping[str, Check] = field(default_factory=dict)
    bucket: str = ""
    status: int = 200
    needs_token: bool = True

    def match(self, verb: str, path: str) -> dict[str, str] | None:
        """The parts of a path that is of this kind."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path) if verb == self.verb else None
        return found.groupdict() if found else None

    def key(self, path: Mapping[str, str]) -> Key:
        """Its bucket at a place."""
        place = next((path[name] for name in ("channel", "guild", "webhook", "token") if name in path), "")
        return self.bucket or self.name, f"{place}/{path.get('token', '')}"


# The bot and its gateway


def get_me(asked: Asked) -> Json:
    """Who the bot is."""
    return {**asked.bot.user.json(), "verified": True, "mfa_enabled": False, "flags": 0, "locale": "en-US"}


def get_application(asked: Asked) -> Json:
    """What the bot's application is, and which intents it was granted."""
    bot = asked.bot
    owner = User(1, "owner", "Owner").json()
    return {
        "id": str(bot.id),
        "name": bot.user.name,
        "icon": None,
        "description": "",
        "bot_public": False,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "owner": owner,
        "team": None,
        "flags": flags_of(bot),
        "bot": bot.user.json(),
        "interactions_endpoint_url": None,
    }


def get_gateway(asked: Asked) -> Json:
    """Where the gateway is."""
    return {"url": asked.people.gateway_url}


def get_gateway_bot(asked: Asked) -> Json:
    """Where the gateway is, and how often a session may begin."""
    limit = {"total": 1000, "remaining": 999, "reset_after": 86_400_000, "max_concurrency": 1}
    return {"url": asked.people.gateway_url, "shards": 1, "session_start_limit": limit}


def get_user(asked: Asked) -> Json:
    """Who somebody is."""
    user = asked.people.users.get(asked.id("user"))
    if user is None or user.is_webhook:
        raise no(10013)
    return user.json()


def create_dm(asked: Asked) -> Json:
    """The channel between the bot and a person."""
    user = asked.people.users.get(asked.body["recipient_id"])
    if user is None or user.is_bot:
        raise no(50007) if user else no(10013)
    return asked.people.dm(user, asked.bot).json()


# Guilds


def get_my_guilds(asked: Asked) -> list[Json]:
    """The guilds that the bot is in."""
    return [guild.json() for guild in asked.people.guilds.values() if asked.bot.id in guild.members]


def get_guild(asked: Asked) -> Json:
    """All about a guild."""
    guild = _guild(asked)
    counts = {"approximate_member_count": len(guild.members), "approximate_presence_count": len(guild.members)}
    return guild.json() | (counts if asked.query.get("with_counts") else {})


def get_guild_channels(asked: Asked) -> list[Json]:
    """The channels of a guild, also those that the bot may not look into."""
    return [channel.json() for channel in _guild(asked).channels.values()]


def get_member(asked: Asked) -> Json:
    """A member of a guild."""
    guild = _guild(asked)
    user = guild.members.get(asked.id("user"))
    if user is None:
        raise no(10007)
    return guild.member(user)


def get_active_threads(asked: Asked) -> Json:
    """The threads of a guild that are not archived."""
    guild = _guild(asked)
    return _threads(asked, lambda thread: thread.guild is guild and not thread.is_archived)


def get_archived_threads(asked: Asked) -> Json:
    """The public threads of a channel that are archived."""
    channel = _channel(asked, "read_message_history")
    found = _threads(asked, lambda each: each.parent is channel and each.is_archived and each.kind == "public_thread")
    return found | {"has_more": False}


# Channels


def get_channel(asked: Asked) -> Json:
    """All about a channel."""
    return _channel(asked).json(asked.bot.id)


def edit_channel(asked: Asked) -> Json:
    """Change a thread; a channel is not changed here."""
    thread = _thread(asked)
    body = asked.body
    if thread.is_archived and body.get("archived") is not False:
        raise no(50083)
    is_keeper = thread.owner == asked.bot.id or "manage_threads" in thread.permissions(asked.bot.id)
    # Who may write may take an unlocked thread up again.
    if not is_keeper and (thread.is_locked or body != {"archived": False}):
        raise no(50013)
    if "name" in body:
        thread.name = body["name"]
    thread.archive_after = body.get("auto_archive_duration", thread.archive_after)
    if "locked" in body:
        asked.people.lock(thread, body["locked"])
    asked.people.archive(thread, body.get("archived", thread.is_archived))
    return thread.json(asked.bot.id)


def trigger_typing(asked: Asked) -> None:
    """Show that the bot writes."""
    channel = _writable(asked)
    asked.people.show_typing(channel, asked.bot.user)


def join_thread(asked: Asked) -> None:
    """Come into a thread."""
    thread = _thread(asked)
    if thread.is_archived:
        raise no(50083)
    asked.people.add_to_thread(thread, asked.bot)


def leave_thread(asked: Asked) -> None:
    """Go out of a thread."""
    _thread(asked).joined.pop(asked.bot.id, None)


def start_thread_from_message(asked: Asked) -> Json:
    """Begin a thread at a message."""
    channel = _channel(asked, "create_public_threads")
    message = _message(asked, channel)
    if channel.kind != "text" or message.type in SYSTEM:
        raise no(50024)
    if message.thread is not None:
        raise no(160004)
    after = asked.body.get("auto_archive_duration") or 1440
    thread = asked.people.begin_thread(channel, asked.bot.user, asked.body["name"], message, False, after)
    return thread.json(asked.bot.id)


def start_thread(asked: Asked) -> Json:
    """Begin a thread without a message, or a post in a forum."""
    channel = _channel(asked)
    name, after = asked.body["name"], asked.body.get("auto_archive_duration") or 1440
    if channel.kind == "forum":
        if "message" not in asked.body:
            raise missing(("message",))
        _require(asked, channel, "send_messages")
        content = _content(asked, asked.body["message"], channel, asked.bot)
        thread = asked.people.begin_post(channel, asked.bot.user, name, after)
        first = _filled(Message(thread, thread.id, asked.bot.user), content)
        asked.people.place(first)
        return {**thread.json(asked.bot.id), "message": asked.people.view(first, asked.bot)}
    if channel.kind != "text":
        raise no(50024)
    if "message" in asked.body:
        raise wrong(("message",), "only a post in a forum has a message")
    is_private = asked.body.get("type", 12) == 12
    _require(asked, channel, "create_private_threads" if is_private else "create_public_threads")
    return asked.people.begin_thread(channel, asked.bot.user, name, None, is_private, after).json(asked.bot.id)


# Messages


def create_message(asked: Asked) -> Json:
    """Send a message; the same nonce within minutes is the same message."""
    people, bot, body = asked.people, asked.bot, asked.body
    channel = _writable(asked)
    key = (bot.id, channel.id, body.get("nonce", ""))
    if body.get("enforce_nonce") and "nonce" in body:
        at, sent = people.nonces.get(key, (0.0, None))
        if sent is not None and people.clock.now() - at < people.times.nonce:
            if sent.is_deleted:
                raise no(10008)
            people.note("repeat", channel=channel.id, message=sent.id, nonce=body["nonce"])
            return people.view(sent, bot) | {"nonce": sent.nonce}
    message = Message(channel, 0, bot.user, nonce=body.get("nonce"))
    if reference := body.get("message_reference"):
        _refer(asked, message, channel, reference)
    message = _filled(message, _content(asked, body, channel, bot, replied=message.reply_to))
    message.id = next(people.ids)
    people.place(message)
    if body.get("enforce_nonce") and "nonce" in body:
        people.nonces[key] = (people.clock.now(), message)
    return people.view(message, bot) | ({"nonce": message.nonce} if message.nonce is not None else {})


def edit_message(asked: Asked) -> Json:
    """Edit one's own message."""
    channel = _channel(asked)
    message = _message(asked, channel)
    if message.author != asked.bot.user:
        raise no(50005)
    if message.type in SYSTEM:
        raise no(50021)
    if channel.is_archived:
        raise no(50083)
    return _changed(asked, message)


def delete_message(asked: Asked) -> None:
    """Delete a message."""
    channel = _channel(asked)
    message = _message(asked, channel)
    if channel.is_archived:
        raise no(50083)
    if message.author != asked.bot.user:
        if channel.guild is None:
            raise no(50003)
        _require(asked, channel, "manage_messages")
    asked.people.remove(message)


def get_message(asked: Asked) -> Json:
    """One message."""
    channel = _channel(asked, "read_message_history")
    return asked.people.view(_message(asked, channel), asked.bot)


def get_messages(asked: Asked) -> list[Json]:
    """The messages of a channel, the latest first; who may not read what was, gets none."""
    channel, query = _channel(asked), asked.query
    if len(query.keys() & {"before", "after", "around"}) > 1:
        raise wrong((), "before, after and around exclude each other")
    if "read_message_history" not in channel.permissions(asked.bot.id):
        return []
    limit = query.get("limit", 50)
    found = sorted((each for each in channel.messages.values() if each.only_for is None), key=lambda each: each.id)
    if "after" in query:
        found = [each for each in found if each.id > query["after"]][:limit]
    elif "before" in query:
        found = [each for each in found if each.id < query["before"]][-limit:]
    elif "around" in query:
        older = [each for each in found if each.id < query["around"]][-(limit // 2) :] if limit > 1 else []
        found = older + [each for each in found if each.id >= query["around"]][: limit - len(older)]
    else:
        found = found[-limit:]
    return [asked.people.view(each, asked.bot) for each in reversed(found)]


def create_reaction(asked: Asked) -> None:
    """React to a message."""
    channel = _channel(asked, "read_message_history")
    message, emoji = _message(asked, channel), asked.path["emoji"]
    if channel.is_archived:
        raise no(50083)
    if not _EMOJI.fullmatch(emoji):
        raise no(10014)
    if emoji not in message.reactions:
        _require(asked, channel, "add_reactions")
        if len(message.reactions) >= MOST_REACTIONS:
            raise no(30010)
    asked.people.show_reaction(message, asked.bot.user, emoji, is_there=True)


def delete_reaction(asked: Asked) -> None:
    """Take one's own reaction back, or another's."""
    channel = _channel(asked)
    message, who = _message(asked, channel), asked.path.get("user", "")
    user = asked.people.users.get(int(who)) if who.isdecimal() else asked.bot.user
    if user is None:
        raise no(10013)
    if user != asked.bot.user:
        _require(asked, channel, "manage_messages")
    asked.people.show_reaction(message, user, asked.path["emoji"], is_there=False)


# Commands


def put_commands(asked: Asked) -> list[Json]:
    """Register these commands, and no other, everywhere or in a guild."""
    return register(asked.people, asked.bot, _commanded(asked), asked.commands)


def get_commands(asked: Asked) -> list[Json]:
    """The commands of everywhere, or of a guild."""
    return list(asked.bot.commands.get(_commanded(asked), {}).values())


# Interactions


def answer_interaction(asked: Asked) -> Json | None:
    """The first answer to a command or press."""
    people, body = asked.people, asked.body
    interaction = people.interactions.get(asked.path["token"])
    if interaction is None or interaction.id != asked.id("interaction"):
        raise no(10062)
    if interaction.answered is not None:
        raise no(40060)
    if people.clock.now() - interaction.at > people.times.answer:
        raise no(10062)
    kind, data = body["type"], body.get("data") or {}
    if kind in (DEFERRED_UPDATE, UPDATE) and interaction.pressed is None:
        raise invalid(("type",), "INTERACTION_APPLICATION_COMMAND_INVALID_TYPE", "Only a press can update a message")
    if kind == MESSAGE:
        content = _content(asked, data, interaction.channel, interaction.bot, is_answer=True)
        _publish(people, interaction, _filled(answer_to(interaction, next(people.ids)), content))
    elif kind == DEFERRED:
        message = answer_to(interaction, next(people.ids))
        message.flags = LOADING | data.get("flags", 0) & EPHEMERAL
        _publish(people, interaction, message)
    elif interaction.pressed is not None:
        interaction.original = interaction.pressed
        if kind == UPDATE:
            _change(asked, interaction.pressed, data, interaction.bot)
    interaction.answered = kind
    people.note("response", token=interaction.token, type=kind, after=people.clock.now() - interaction.at)
    if not asked.query.get("with_response"):
        return None
    shown = interaction.original if kind in (MESSAGE, DEFERRED, UPDATE) else None
    said: Json = {"id": str(interaction.id), "type": interaction.type}
    resource: Json = {"type": kind}
    if shown is not None:
        said["response_message_id"] = str(shown.id)
        said["response_message_loading"] = is_thinking(shown)
        said["response_message_ephemeral"] = is_hidden(shown)
        resource["message"] = people.view(shown, interaction.bot)
    return {"interaction": said, "resource": resource}


def get_response(asked: Asked) -> Json:
    """An answer to a command or press, or what a webhook said."""
    message = _response(asked)
    return asked.people.view(message, _by(asked))


def edit_response(asked: Asked) -> Json:
    """Edit an answer, which may be the promised one, or what a webhook said."""
    message = _response(asked)
    if message.channel.is_archived:
        raise no(50083)
    _change(asked, message, asked.body, _by(asked))
    return asked.people.view(message, _by(asked))


def delete_response(asked: Asked) -> None:
    """Delete an answer, or what a webhook said."""
    asked.people.remove(_response(asked))


def execute_webhook(asked: Asked) -> Json | None:
    """Say something as a webhook, or answer a command or press further."""
    people, body = asked.people, asked.body
    found = _hooked(asked)
    if isinstance(found, Webhook):
        _may_speak(found.channel)
        content = _content(asked, body, found.channel, None)
        name = body.get("username", found.user.name)
        user = User(found.id, name, is_bot=True, is_webhook=True)
        message = _filled(Message(found.channel, next(people.ids), user), content)
        people.place(message)
        return people.view(message, next(iter(people.bots.values()))) if asked.query.get("wait") else None
    if found.answered is None:
        raise no(10015)
    original = found.original
    if found.answered == DEFERRED and original is not None and is_thinking(original):
        # What follows a promise keeps it.
        _change(asked, original, body, found.bot)
        return people.view(original, found.bot)
    content = _content(asked, body, found.channel, found.bot, is_answer=True)
    message = _filled(answer_to(found, next(people.ids)), content)
    _publish(people, found, message, is_first=False)
    return people.view(message, found.bot)


def create_webhook(asked: Asked) -> Json:
    """Make a webhook."""
    channel = _channel(asked, "manage_webhooks")
    return _webhook(asked.people.webhooks[asked.people.webhook(channel, asked.body["name"]).id])


def get_webhooks(asked: Asked) -> list[Json]:
    """The webhooks of a channel."""
    channel = _channel(asked, "manage_webhooks")
    return [_webhook(each) for each in asked.people.webhooks.values() if each.channel is channel]


# Where a call is about


def _guild(asked: Asked) -> Guild:
    guild = asked.people.guilds.get(asked.id("guild"))
    if guild is None:
        raise no(10004)
    if asked.bot.id not in guild.members:
        raise no(50001)
    return guild


def _channel(asked: Asked, *needed: str) -> Channel:
    """The channel, if the bot may look in and do this there."""
    channel = asked.people.channels.get(asked.id("channel"))
    if channel is None or (channel.guild is None and channel.bot != asked.bot.id):
        raise no(10003)
    if not channel.is_seen_by(asked.bot.id):
        raise no(50001)
    for name in needed:
        _require(asked, channel, name)
    return channel


def _thread(asked: Asked) -> Channel:
    channel = _channel(asked)
    if not channel.is_thread:
        raise no(50024)
    return channel


def _require(asked: Asked, channel: Channel, name: str) -> None:
    if channel.guild is not None and name not in channel.permissions(asked.bot.id):
        raise no(50013)


def _writable(asked: Asked) -> Channel:
    """The channel, if the bot may write there."""
    channel = _channel(asked)
    _require(asked, channel, "send_messages_in_threads" if channel.is_thread else "send_messages")
    _may_speak(channel, "manage_threads" in channel.permissions(asked.bot.id) and channel.guild is not None)
    return channel


def _may_speak(channel: Channel, may_unlock: bool = False) -> None:
    """Refuse where nobody may write."""
    if channel.is_closed:
        raise no(50007)
    if channel.kind == "forum":
        raise no(50008)
    if channel.is_locked and not may_unlock:
        raise Refused(403, 50083, "Thread is archived") if channel.is_archived else no(160005)


def _message(asked: Asked, channel: Channel) -> Message:
    message = channel.messages.get(asked.id("message"))
    if message is None or message.only_for is not None:
        raise no(10008)
    return message


def _threads(asked: Asked, wanted: Callable[[Channel], bool]) -> Json:
    bot = asked.bot.id
    found = [
        each for each in asked.people.channels.values() if each.is_thread and wanted(each) and each.is_seen_by(bot)
    ]
    members = [thread.membership(bot) for thread in found if bot in thread.joined]
    return {"threads": [thread.json(bot) for thread in found], "members": members}


def _commanded(asked: Asked) -> int | None:
    """Where commands are registered: a guild, or everywhere."""
    if asked.id("application") != asked.bot.id:
        raise no(50001)
    return _guild(asked).id if "guild" in asked.path else None


def _hooked(asked: Asked) -> Interaction | Webhook:
    """What the token of a path stands for."""
    people, token = asked.people, asked.path["token"]
    interaction = people.interactions.get(token)
    if interaction is not None and interaction.bot.id == asked.id("webhook"):
        if people.clock.now() - interaction.at > people.times.token:
            raise no(50027)
        return interaction
    webhook = people.webhooks.get(asked.id("webhook"))
    if webhook is None:
        raise no(10015)
    if webhook.token != token:
        raise no(50027)
    return webhook


def _response(asked: Asked) -> Message:
    """A message of an interaction or a webhook."""
    found, named = _hooked(asked), asked.path["message"]
    if isinstance(found, Webhook):
        message = asked.people.messages.get(int(named) if named.isdecimal() else 0)
        mine = [message] if message is not None and message.author.id == found.id else []
    else:
        mine = [each for each in (found.original, *found.followed) if each is not None]
        if named == "@original":
            mine = mine[:1] if found.original is not None else []
            named = str(mine[0].id) if mine else named
    message = next((each for each in mine if str(each.id) == named), None)
    if message is None or message.is_deleted:
        raise no(10008)
    return message


def _by(asked: Asked) -> Bot:
    """The bot in whose view an answer is told."""
    found = _hooked(asked)
    return found.bot if isinstance(found, Interaction) else next(iter(asked.people.bots.values()))


# What a message says


@dataclass(frozen=True, slots=True)
class _Content:
    text: str
    embeds: list[Json]
    components: list[Json]
    files: list[File]
    flags: int
    pings: Pings


def _content(
    asked: Asked,
    body: Json,
    channel: Channel,
    by: Bot | None,
    *,
    replied: Message | None = None,
    is_answer: bool = False,
) -> _Content:
    """What a new message will say, if it may: of a bot, or of a webhook if there is none."""
    flags = body.get("flags") or 0
    _check_flags(flags, SENDABLE | EPHEMERAL * is_answer)
    text, embeds = (body.get("content") or "").strip(), body.get("embeds") or []
    components = body.get("components") or []
    check_components(components, flags, rest=bool(text or embeds))
    files = _files(asked, body.get("attachments"), [])
    if not (text or embeds or components or files):
        raise no(50006)
    may = channel.permissions(by.id) if by is not None else frozenset({"mention_everyone"})
    if by is not None and not is_answer:
        for name, is_needed in (("attach_files", files), ("embed_links", embeds)):
            if is_needed and name not in may:
                raise no(50013)
    called = _pings(asked, body, channel, text, replied, "mention_everyone" in may)
    _check_links(asked, text, flags)
    return _Content(text, embeds, numbered(components), files, flags, called)


def _pings(asked: Asked, body: Json, channel: Channel, text: str, replied: Message | None, may_call_all: bool) -> Pings:
    """Whom a bot calls out, which is a fault unless the test lets it."""
    allowed = body.get("allowed_mentions")
    mentions.check(allowed or {})
    author = replied.author.id if replied is not None else None
    called = asked.people.pings(channel, text, allowed, author, may_call_all)
    if not asked.people.lets_ping:
        if allowed is None and (text or replied is not None):
            asked.faults.append("without allowed_mentions, whoever is named would be called out")
        if called.noted:
            asked.faults.append(f"calls out {', '.join(called.noted)}")
    return called


def _check_links(asked: Asked, text: str, flags: int) -> None:
    """Discord fetches what a link leads to, and so tells its words to whoever serves it."""
    if text and not (flags & SUPPRESS_EMBEDS or asked.people.lets_unfurl):
        asked.faults.append("without SUPPRESS_EMBEDS, links would unfurl")


def _check_flags(flags: int, known: int) -> None:
    if flags & ~known:
        raise wrong(("flags",), f"the flags {flags & ~known} are not known here")


def _files(asked: Asked, named: list[Json] | None, kept: Sequence[File]) -> list[File]:
    """The files that a message will have: those that came, and those that stay."""
    unused = dict(asked.uploads)
    found: list[File] = []
    if named is None:
        found = list(kept)
    for index, each in enumerate(named or ()):
        about = {key: each[key] for key in ("description", "duration_secs", "waveform") if each.get(key) is not None}
        if each["id"] in unused:
            found.append(asked.people.files.upload(next(asked.people.ids), unused.pop(each["id"]), about))
            continue
        stays = [file for file in kept if file.id == each["id"]]
        if not stays:
            path = ("attachments", index, "id")
            raise wrong(path, "names neither a file that came with the call nor one of the message")
        found += stays
    found += [asked.people.files.upload(next(asked.people.ids), upload, {}) for upload in unused.values()]
    if len(found) > MOST_FILES:
        raise invalid(("attachments",), "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_FILES} or fewer in length.")
    return found


def _filled(message: Message, content: _Content) -> Message:
    message.text, message.embeds, message.components = content.text, content.embeds, content.components
    message.files, message.flags, message.pings = content.files, content.flags, content.pings
    return message


def _refer(asked: Asked, message: Message, channel: Channel, reference: Json) -> None:
    """Make the message a reply, if what it replies to is there."""
    if "message_id" not in reference:
        raise missing(("message_reference", "message_id"))
    if reference.get("channel_id", channel.id) != channel.id:
        raise invalid(("message_reference",), "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
    replied = channel.messages.get(reference["message_id"])
    if replied is None or replied.only_for is not None:
        if reference.get("fail_if_not_exists", True):
            raise invalid(("message_reference",), "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
        return
    if replied.type in SYSTEM:
        said = "Cannot reply to a system message"
        raise invalid(("message_reference",), "REPLIES_CANNOT_REPLY_TO_SYSTEM_MESSAGE", said)
    if channel.guild is not None and "read_message_history" not in channel.permissions(asked.bot.id):
        raise no(160002)
    refer(message, replied)


def _changed(asked: Asked, message: Message) -> Json:
    _change(asked, message, asked.body, asked.bot)
    return asked.people.view(message, asked.bot)


def _change(asked: Asked, message: Message, body: Json, bot: Bot) -> None:
    """Edit a message; what is not named stays."""
    flags = body.get("flags") or 0
    # What follows a promise is said as if it were new; what is set already may be said again.
    _check_flags(flags, message.flags | (SENDABLE | EPHEMERAL if is_thinking(message) else CHANGEABLE))
    if message.flags & IS_COMPONENTS_V2:
        flags |= IS_COMPONENTS_V2
    text = (body["content"] or "").strip() if "content" in body else message.text
    embeds = body["embeds"] or [] if "embeds" in body else message.embeds
    components = body["components"] or [] if "components" in body else message.components
    check_components(components, flags, rest=bool(text or embeds))
    files = _files(asked, body["attachments"] or [] if "attachments" in body else None, message.files)
    if not (text or embeds or components or files):
        raise no(50006)
    if "content" in body:
        may = message.channel.permissions(bot.id)
        message.pings = _pings(asked, body, message.channel, text, None, "mention_everyone" in may)
    # An edit that does not speak of flags leaves them.
    suppressed = (flags if "flags" in body else message.flags) & SUPPRESS_EMBEDS
    if "content" in body:
        _check_links(asked, text, suppressed)
    kept = message.flags & ~(LOADING | SUPPRESS_EMBEDS) | suppressed | flags & IS_COMPONENTS_V2
    message.text, message.embeds, message.files, message.flags = text, embeds, files, kept
    message.components = numbered(components)
    message.edited = asked.people.clock.now()
    asked.people.change(message)


def _publish(people: People, interaction: Interaction, message: Message, is_first: bool = True) -> None:
    if is_hidden(message):
        message.only_for = interaction.user.id
    if is_first:
        interaction.original = message
    else:
        interaction.followed.append(message)
    people.place(message)


def _webhook(webhook: Webhook) -> Json:
    guild = webhook.channel.guild
    return {
        "id": str(webhook.id),
        "type": 1,
        "channel_id": str(webhook.channel.id),
        "guild_id": str(guild.id) if guild is not None else None,
        "name": webhook.user.name,
        "avatar": None,
        "application_id": None,
        "token": webhook.token,
    }


def is_old(asked: Asked) -> bool:
    """Whether the message to edit is so old that an edit costs more."""
    age = asked.people.clock.now() - Snowflakes.time(asked.id("message"))
    return age > asked.people.times.old


_name = string(100, 1)
_archive_after = one_of(60, 1440, 4320, 10080)
_seconds = nullable(integer(0, 21600))
_thread_from = fields(
    {"name": _name}, {"auto_archive_duration": nullable(_archive_after), "rate_limit_per_user": _seconds}
)
_thread_body = fields(
    {"name": _name},
    {
        "auto_archive_duration": nullable(_archive_after),
        "rate_limit_per_user": _seconds,
        "type": one_of(11, 12),
        "invitable": boolean,
        "message": SENT,
    },
)
_channel_body = fields(
    {},
    {"name": _name, "archived": boolean, "locked": boolean, "invitable": boolean, "rate_limit_per_user": _seconds}
    | {"auto_archive_duration": _archive_after},
)
_answer = fields({"type": one_of(MESSAGE, DEFERRED, DEFERRED_UPDATE, UPDATE)}, {"data": nullable(SENT)})
_yes = matching("0|1|true|false|True|False")


def _flag(value: Any, path: tuple[str | int, ...]) -> bool:
    return _yes(value, path) in ("1", "true", "True")


def _count(value: Any, path: tuple[str | int, ...]) -> int:
    if not str(value).isdecimal():
        raise wrong(path, "must be an integer")
    return int(integer(1, MOST_HISTORY)(int(value), path))


_history: Mapping[str, Check] = {"limit": _count, "before": snowflake, "after": snowflake, "around": snowflake}
_hook: Mapping[str, Check] = {"wait": _flag, "with_components": _flag, "thread_id": snowflake}
_listed: Mapping[str, Check] = {"limit": _count, "before": string(), "after": snowflake, "with_counts": _flag}

_at = "/channels/{channel}"
_in = f"{_at}/messages/{{message}}"
_hooks = "/webhooks/{webhook}/{token}"
_said = f"{_hooks}/messages/{{message}}"
_own = "/applications/{application}"
ROUTES: tuple[Route, ...] = (
    Route("get_me", "GET", "/users/@me", get_me),
    Route("get_application", "GET", "/applications/@me", get_application),
    Route("get_application", "GET", "/oauth2/applications/@me", get_application),
    Route("get_gateway", "GET", "/gateway", get_gateway, needs_token=False),
    Route("get_gateway_bot", "GET", "/gateway/bot", get_gateway_bot),
    Route("get_my_guilds", "GET", "/users/@me/guilds", get_my_guilds, query=_listed),
    Route("create_dm", "POST", "/users/@me/channels", create_dm, fields({"recipient_id": snowflake}), bucket="dm"),
    Route("get_user", "GET", "/users/{user}", get_user),
    Route("get_guild", "GET", "/guilds/{guild}", get_guild, query=_listed),
    Route("get_guild_channels", "GET", "/guilds/{guild}/channels", get_guild_channels),
    Route("get_member", "GET", "/guilds/{guild}/members/{user}", get_member),
    Route("get_active_threads", "GET", "/guilds/{guild}/threads/active", get_active_threads),
    Route("get_archived_threads", "GET", f"{_at}/threads/archived/public", get_archived_threads, query=_listed),
    Route("get_channel", "GET", _at, get_channel),
    Route("edit_channel", "PATCH", _at, edit_channel, _channel_body, bucket="thread"),
    Route("trigger_typing", "POST", f"{_at}/typing", trigger_typing, bucket="typing", status=204),
    Route("join_thread", "PUT", f"{_at}/thread-members/@me", join_thread, bucket="thread", status=204),
    Route("leave_thread", "DELETE", f"{_at}/thread-members/@me", leave_thread, bucket="thread", status=204),
    Route("start_thread_from_message", "POST", f"{_in}/threads", start_thread_from_message, _thread_from, status=201),
    Route(
        "start_thread", "POST", f"{_at}/threads", start_thread, _thread_body, {"use_nested_fields": _flag}, status=201
    ),
    Route("create_message", "POST", f"{_at}/messages", create_message, SENT, bucket="message"),
    Route("edit_message", "PATCH", _in, edit_message, EDITED, bucket="edit"),
    Route("delete_message", "DELETE", _in, delete_message, bucket="delete", status=204),
    Route("get_message", "GET", _in, get_message),
    Route("get_messages", "GET", f"{_at}/messages", get_messages, query=_history),
    Route("create_reaction", "PUT", f"{_in}/reactions/{{emoji}}/@me", create_reaction, bucket="reaction", status=204),
    Route(
        "delete_reaction", "DELETE", f"{_in}/reactions/{{emoji}}/@me", delete_reaction, bucket="reaction", status=204
    ),
    Route(
        "delete_reaction",
        "DELETE",
        f"{_in}/reactions/{{emoji}}/{{user}}",
        delete_reaction,
        bucket="reaction",
        status=204,
    ),
    Route("put_commands", "PUT", f"{_own}/commands", put_commands, BULK, bucket="commands"),
    Route("get_commands", "GET", f"{_own}/commands", get_commands, query={"with_localizations": _flag}),
    Route("put_guild_commands", "PUT", f"{_own}/guilds/{{guild}}/commands", put_commands, BULK, bucket="commands"),
    Route(
        "get_guild_commands",
        "GET",
        f"{_own}/guilds/{{guild}}/commands",
        get_commands,
        query={"with_localizations": _flag},
    ),
    Route(
        "create_webhook", "POST", f"{_at}/webhooks", create_webhook, fields({"name": string(80, 1)}), bucket="webhook"
    ),
    Route("get_webhooks", "GET", f"{_at}/webhooks", get_webhooks),
    Route(
        "answer_interaction",
        "POST",
        "/interactions/{interaction}/{token}/callback",
        answer_interaction,
        _answer,
        {"with_response": _flag},
        status=204,
        needs_token=False,
    ),
    Route("execute_webhook", "POST", _hooks, execute_webhook, EXECUTED, _hook, bucket="webhook", needs_token=False),
    Route("get_response", "GET", _said, get_response, query=_hook, bucket="webhook", needs_token=False),
    Route("edit_response", "PATCH", _said, edit_response, EDITED, _hook, bucket="webhook", needs_token=False),
    Route(
        "delete_response",
        "DELETE",
        _said,
        delete_response,
        query=_hook,
        bucket="webhook",
        status=204,
        needs_token=False,
    ),
)
