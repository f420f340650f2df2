"""The guilds, channels and people in them, and all that people do; of what bots may see, events tell.

Messages are named by their numbers. A ValueError says that no client of Discord would let a person do this.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.botapi.clock import Clock
from tests.discordapi.channels import (
    COMMAND,
    DEFAULT,
    PERMISSIONS,
    REPLY,
    SYSTEM,
    THREAD_CREATED,
    THREAD_STARTER,
    Channel,
    Guild,
    Kind,
    Message,
    Role,
    Snowflakes,
    User,
    noted,
)
from tests.discordapi.contents import EPHEMERAL, HAS_THREAD, LOADING, MOST_TEXT, walked
from tests.discordapi.files import UPLOAD, File, Files
from tests.discordapi.flood import Budgets, Flood
from tests.discordapi.gateway import CONTENT, GUILD_MEMBERS, GUILD_PRESENCES, Gateway, Session
from tests.discordapi.ledger import Ledger, Screen
from tests.discordapi.mentions import Pings, pings
from tests.discordapi.refusal import Json

# The flags that tell which intents an application was granted.
GRANTS: Mapping[int, int] = {GUILD_PRESENCES: 1 << 13, GUILD_MEMBERS: 1 << 15, CONTENT: 1 << 19}
# Types of interactions and of options of commands.
SLASH, PRESS = 2, 3
STRING, INTEGER, BOOLEAN, USER, CHANNEL, NUMBER = 3, 4, 5, 6, 7, 10
TYPED: Mapping[int, tuple[type, ...]] = {
    STRING: (str,),
    INTEGER: (int,),
    BOOLEAN: (bool,),
    NUMBER: (int, float),
    USER: (User,),
    CHANNEL: (Channel,),
}
MOST_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Times:
    """How long things last, in server seconds: what Discord says, but for the nonce, of which it says minutes."""

    heartbeat: float = 41.25
    # A session that lost its socket may be resumed.
    resume: float = 90.0
    # An interaction waits for its first answer, and may be answered further.
    answer: float = 3.0
    token: float = 900.0
    nonce: float = 300.0
    typing: float = 10.0
    link: float = 86400.0
    # From this age on an edit costs more.
    old: float = 3600.0


@dataclass(eq=False, slots=True)
class Bot:
    """A bot as the server knows it; its application has the same number."""

    token: str
    user: User
    granted: int
    flood: Flood
    # The commands of everywhere, or of a guild, by their numbers.
    commands: dict[int | None, dict[int, Json]] = field(default_factory=dict)
    # When each of them was created, for the limit of a day.
    created: list[float] = field(default_factory=list)

    @property
    def id(self) -> int:
        """Its number as a user."""
        return self.user.id

    @property
    def reads_content(self) -> bool:
        """Whether it was granted the content of messages that are not for it."""
        return bool(self.granted & CONTENT)


@dataclass(eq=False, slots=True)
class Interaction:
    """A command or a press, and how it was answered."""

    id: int
    token: str
    type: int
    bot: Bot
    user: User
    channel: Channel
    at: float
    # What the answer tells of it.
    said: Json
    pressed: Message | None = None
    # The type of the first answer.
    answered: int | None = None
    original: Message | None = None
    followed: list[Message] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Webhook:
    """A webhook of a channel."""

    id: int
    token: str
    channel: Channel
    user: User


class People:
    """Everything that is, and what people do to it."""

    def __init__(self, clock: Clock, ledger: Ledger, budgets: Budgets, times: Times) -> None:
        self.clock = clock
        self.ledger = ledger
        self.budgets = budgets
        self.times = times
        self.ids = Snowflakes(clock)
        self.files = Files(times.link)
        self.gateway = Gateway(clock, times.heartbeat, times.resume, self)
        self.bots: dict[str, Bot] = {}
        self.users: dict[int, User] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.messages: dict[int, Message] = {}
        self.interactions: dict[str, Interaction] = {}
        self.webhooks: dict[int, Webhook] = {}
        # What a bot sent to a channel under a nonce, and when.
        self.nonces: dict[tuple[int, int, str], tuple[float, Message]] = {}
        # Whether a bot may call people out.
        self.lets_ping = False
        # Whether a link in what it says may show what is behind it.
        self.lets_unfurl = False
        # Where the gateway is, for who resumes.
        self.gateway_url = ""

    # Who and where

    def bot(
        self,
        token: str,
        name: str = "factory",
        *,
        reads_content: bool = True,
        sees_members: bool = False,
        sees_presences: bool = False,
        id: int | None = None,
    ) -> Bot:
        """A bot; of the intents that must be granted, that of content is unless said otherwise."""
        user = self._known(User(next(self.ids) if id is None else id, name, is_bot=True))
        granted = CONTENT * reads_content | GUILD_MEMBERS * sees_members | GUILD_PRESENCES * sees_presences
        self.bots[token] = Bot(token, user, granted, Flood(self.clock, self.budgets))
        return self.bots[token]

    def user(self, name: str = "Ann", *, is_bot: bool = False, id: int | None = None) -> User:
        """A person, or a bot of somebody else."""
        return self._known(User(next(self.ids) if id is None else id, name.lower(), name, is_bot))

    def guild(self, *members: User, name: str = "The guild", bots: Iterable[Bot] | None = None) -> Guild:
        """A guild of these people with all bots, or some; its owner is somebody else."""
        guild = Guild(next(self.ids), name, self.user("Owner"))
        self.guilds[guild.id] = guild
        for user in (guild.owner, *members):
            guild.members[user.id] = user
        for bot in self.bots.values() if bots is None else bots:
            self.join(guild, bot.user)
        return guild

    def channel(self, guild: Guild, name: str = "general", kind: Kind = "text") -> Channel:
        """A channel of a guild, or a forum."""
        channel = self._placed(Channel(next(self.ids), kind, name, guild))
        guild.channels[channel.id] = channel
        self.tell("CHANNEL_CREATE", channel, channel.json)
        return channel

    def thread(
        self,
        channel: Channel,
        user: User,
        name: str = "A thread",
        *,
        message: int | None = None,
        is_private: bool = False,
    ) -> Channel:
        """Begin a thread, from a message or without one."""
        begun = self.messages[message] if message is not None else None
        if channel.kind != "text" or (begun is not None and (begun.thread is not None or is_private)):
            raise ValueError("no thread can begin here")
        return self.begin_thread(channel, user, name, begun, is_private)

    def post(self, forum: Channel, user: User, name: str, text: str, **how: Any) -> Channel:
        """Post in a forum, which is a thread whose first message has its number; `how` is that of `say`."""
        thread = self.begin_post(forum, user, name)
        self.say(thread, user, text, id=thread.id, **how)
        return thread

    def dm(self, user: User, bot: Bot | None = None) -> Channel:
        """What a person and a bot, or the only one, have between them."""
        bot = bot or next(iter(self.bots.values()))
        for channel in self.channels.values():
            if channel.person == user and channel.bot == bot.id:
                return channel
        return self._placed(Channel(next(self.ids), "dm", person=user, bot=bot.id))

    def role(self, guild: Guild, name: str, *users: User, is_mentionable: bool = False) -> Role:
        """A role and who has it."""
        role = Role(next(self.ids), name, is_mentionable)
        guild.roles[role.id] = role
        for user in users:
            guild.held.setdefault(user.id, set()).add(role.id)
        return role

    def webhook(self, channel: Channel, name: str = "News") -> User:
        """A webhook, which speaks by `say` as people do."""
        user = self._known(User(next(self.ids), name, is_bot=True, is_webhook=True))
        self.webhooks[user.id] = Webhook(user.id, f"hook-{user.id:x}", channel, user)
        return user

    def file(
        self, name: str = "file.txt", content: bytes = b"content", mime: str = "", size: int | None = None, **about: Any
    ) -> File:
        """A file to send; `size` may say more than there is, `about` is what more is told of it."""
        return self.files.add(next(self.ids), content, name, mime, size, about)

    def screen(self, channel: Channel) -> Screen:
        """What the channel shows."""
        return self.ledger.screens[channel.id]

    # What people say

    def say(
        self,
        channel: Channel,
        user: User,
        text: str = "",
        *,
        reply_to: int | None = None,
        pings_author: bool = True,
        attachments: Sequence[File] = (),
        embeds: Sequence[Json] = (),
        flags: int = 0,
        id: int | None = None,
    ) -> int:
        """Say something; who is named in it is called out, and with a reply its author unless `pings_author` is off.

        A voice message is an attachment with `duration_secs` and `waveform` under the flag 8192. `id` names the number.
        """
        text = text.strip()
        if len(text) > MOST_TEXT or not (text or attachments or embeds):
            raise ValueError("nobody can send that much, or so little, in one message")
        if any(len(file.content) > UPLOAD for file in attachments):
            raise ValueError("nobody can send so large a file")
        may = channel.permissions(user.id)
        is_member = channel.guild is None or user.is_webhook or user.id in channel.guild.members
        if channel.is_closed or channel.kind == "forum" or not is_member or channel.is_deleted:
            raise ValueError("nobody can write here")
        if channel.is_locked and "manage_threads" not in may:
            raise ValueError("this thread is locked")
        replied = self.messages[reply_to] if reply_to is not None else None
        message = Message(channel, next(self.ids) if id is None else id, user, text, list(embeds), flags=flags)
        message.files = list(attachments)
        if replied is not None:
            refer(message, replied)
        author = replied.author.id if replied is not None and pings_author else None
        message.pings = self.pings(channel, text, None, author, may_call_all="mention_everyone" in may)
        self.place(message)
        return message.id

    def edit(self, message: int, text: str) -> None:
        """Edit one's own message."""
        edited = self.messages[message]
        edited.text, edited.edited = text, self.clock.now()
        edited.pings = self.pings(edited.channel, text, None, None, may_call_all=False)
        self.change(edited)

    def delete(self, *messages: int) -> None:
        """Delete messages."""
        for message in messages:
            self.remove(self.messages[message])

    def react(self, message: int, user: User, emoji: str) -> None:
        """React to a message."""
        self.show_reaction(self.messages[message], user, emoji, is_there=True)

    def unreact(self, message: int, user: User, emoji: str) -> None:
        """Take a reaction back."""
        self.show_reaction(self.messages[message], user, emoji, is_there=False)

    def type(self, channel: Channel, user: User) -> None:
        """Begin to write."""
        self.show_typing(channel, user)

    # What people ask of bots

    def slash(self, user: User, channel: Channel, name: str, **options: Any) -> str:
        """Give a command, as the bot has registered it; gives the token under which it is answered.

        Options are by name: text, numbers, truths, a User or a Channel. `name` may be "group sub".
        """
        first, *rest = name.split()
        bot, command = self._command(channel, first)
        inner: Json = command
        path = []
        for part in rest:
            inner = next((each for each in inner.get("options", ()) if each["name"] == part), {})
            path.append(inner)
        if not inner or (inner.get("options") and inner["options"][0]["type"] in (1, 2)):
            raise ValueError(f"there is no command /{name}")
        resolved: Json = {}
        given = list(self._options(inner.get("options", ()), options, channel, resolved))
        for each in reversed(path):
            given = [{"name": each["name"], "type": each["type"], "options": given}]
        data: Json = {"id": command["id"], "name": first, "type": 1, "options": given}
        if resolved:
            data["resolved"] = resolved
        said = {"type": SLASH, "name": name}
        return self._interact(SLASH, bot, user, channel, data, said, None)

    def press(self, message: int, user: User, custom_id: str, *values: str) -> str:
        """Press the button of this custom id, or choose values; gives the token under which it is answered."""
        pressed = self.messages[message]
        parts = [part for part in walked(pressed.components) if part.get("custom_id") == custom_id]
        if pressed.is_deleted or not parts or parts[0].get("disabled") or pressed.only_for not in (None, user.id):
            raise ValueError(f"there is no button {custom_id!r} to press")
        if not pressed.channel.is_seen_by(user.id) or pressed.channel.is_locked:
            raise ValueError("nobody can press here")
        bot = next(each for each in self.bots.values() if pressed.author == each.user)
        data: Json = {"custom_id": custom_id, "component_type": parts[0]["type"], "id": parts[0].get("id")}
        if values:
            data["values"] = list(values)
        said = {"type": PRESS, "interacted_message_id": str(message)}
        return self._interact(PRESS, bot, user, pressed.channel, data, said, pressed)

    def answered(self, token: str) -> int | None:
        """The type of the first answer to a command or press, if there was one."""
        return self.interactions[token].answered

    # What happens to guilds and channels

    def archive(self, thread: Channel, is_archived: bool = True) -> None:
        """Archive a thread, or take it up again."""
        thread.is_archived, thread.changed = is_archived, self.clock.now()
        self.note("thread", channel=thread.id, archived=is_archived)
        self.tell("THREAD_UPDATE", thread, thread.json)

    def lock(self, thread: Channel, is_locked: bool = True) -> None:
        """Lock a thread, or unlock it."""
        thread.is_locked, thread.changed = is_locked, self.clock.now()
        self.note("thread", channel=thread.id, locked=is_locked)
        self.tell("THREAD_UPDATE", thread, thread.json)

    def remove_permission(self, channel: Channel, who: User | Bot, *names: str) -> None:
        """Take something from somebody: "send_messages", "view_channel", "read_message_history", ..."""
        self._permit(channel, who, lambda denied: denied | set(names), names)

    def restore_permission(self, channel: Channel, who: User | Bot, *names: str) -> None:
        """Give it back."""
        self._permit(channel, who, lambda denied: denied - set(names), names)

    def kick(self, guild: Guild, who: User | Bot) -> None:
        """Throw somebody out."""
        user = who.user if isinstance(who, Bot) else who
        guild.members.pop(user.id)
        for session in self.gateway.of(user.id):
            self._tell(session, "GUILD_DELETE", {"id": str(guild.id)}, is_guild=True)
        self._tell_guild("GUILD_MEMBER_REMOVE", guild, {"guild_id": str(guild.id), "user": user.json()})

    def join(self, guild: Guild, who: User | Bot) -> None:
        """Let somebody in."""
        user = who.user if isinstance(who, Bot) else who
        guild.members[user.id] = user
        self._tell_guild("GUILD_MEMBER_ADD", guild, {"guild_id": str(guild.id), **guild.member(user)}, but=user.id)
        for session in self.gateway.of(user.id):
            self._tell(session, "GUILD_CREATE", self._whole(guild, session), is_guild=True)

    def add_to_thread(self, thread: Channel, who: User | Bot) -> None:
        """Let somebody into a thread."""
        user = who.user if isinstance(who, Bot) else who
        if user.id in thread.joined:
            return
        thread.joined[user.id] = self.clock.now()
        told = {
            "id": str(thread.id),
            "guild_id": str(thread.guild.id if thread.guild else 0),
            "member_count": len(thread.joined),
            "added_members": [thread.membership(user.id)],
        }
        for session in self.gateway.of(user.id):
            if user.is_bot and thread.kind == "private_thread":
                self._tell(session, "THREAD_CREATE", thread.json(user.id), is_guild=True)
        self.tell("THREAD_MEMBERS_UPDATE", thread, lambda bot: told)

    def delete_channel(self, channel: Channel) -> None:
        """Delete a channel or thread and all in it."""
        kind = "THREAD_DELETE" if channel.is_thread else "CHANNEL_DELETE"
        self.tell(kind, channel, channel.json)
        for gone in [*self.channels.values()]:
            if gone is channel or gone.parent is channel:
                gone.is_deleted = True
                del self.channels[gone.id]
        if channel.guild is not None:
            channel.guild.channels.pop(channel.id, None)

    def raw(self, event: str, data: Json, bot: Bot | None = None) -> None:
        """An event of whatever kind and shape, to one bot or all."""
        for session in self.gateway.of(bot.id if bot else None):
            session.tell(event, data)

    # What bots do to messages as well

    def place(self, message: Message) -> None:
        """Put a message into a channel and on the screen."""
        channel = message.channel
        if channel.is_archived:
            self.archive(channel, is_archived=False)
        if channel.is_thread and not message.author.is_webhook and message.type not in SYSTEM:
            self.add_to_thread(channel, message.author)
        if channel.is_thread and message.id != channel.id and message.type not in SYSTEM:
            channel.said += 1
        self.messages[message.id] = channel.messages[message.id] = message
        self.note(
            "message",
            channel=channel.id,
            message=message.id,
            by=message.author.id,
            type=message.type,
            nonce=message.nonce,
            only_for=message.only_for,
            reply_to=int(message.reference["message_id"]) if message.type == REPLY and message.reference else None,
            **noted(message),
        )
        if message.only_for is None:
            self._tell_message("MESSAGE_CREATE", message)

    def change(self, message: Message) -> None:
        """Show how a message stands now."""
        self.note("edit", channel=message.channel.id, message=message.id, **noted(message))
        if message.only_for is None:
            self._tell_message("MESSAGE_UPDATE", message)

    def remove(self, message: Message) -> None:
        """Delete a message."""
        message.is_deleted = True
        message.channel.messages.pop(message.id, None)
        self.note("delete", channel=message.channel.id, message=message.id)
        told = {"id": str(message.id), "channel_id": str(message.channel.id), **_guild_of(message.channel)}
        if message.only_for is None:
            self.tell("MESSAGE_DELETE", message.channel, lambda bot: told)

    def show_reaction(self, message: Message, user: User, emoji: str, is_there: bool) -> None:
        """Show that somebody reacts, or no longer."""
        by = message.reactions.setdefault(emoji, [])
        if (user.id in by) == is_there:
            return
        (by.append if is_there else by.remove)(user.id)
        if not by:
            del message.reactions[emoji]
        self.note("reaction", channel=message.channel.id, message=message.id, reactions=message.reactions)
        channel = message.channel
        told: Json = {
            "user_id": str(user.id),
            "channel_id": str(channel.id),
            "message_id": str(message.id),
            "emoji": {"id": None, "name": emoji},
            "burst": False,
            "type": 0,
            **_guild_of(channel),
        }
        if is_there and channel.guild is not None:
            told["member"] = channel.guild.member(user)
        if is_there:
            told["message_author_id"] = str(message.author.id)
        self.tell("MESSAGE_REACTION_ADD" if is_there else "MESSAGE_REACTION_REMOVE", channel, lambda bot: told)

    def show_typing(self, channel: Channel, user: User) -> None:
        """Show that somebody writes."""
        now = self.clock.now()
        self.note("typing", channel=channel.id, by=user.id, until=now + self.times.typing)
        told: Json = {"channel_id": str(channel.id), "user_id": str(user.id), "timestamp": int(now)}
        told |= _guild_of(channel)
        if channel.guild is not None:
            told["member"] = channel.guild.member(user)
        self.tell("TYPING_START", channel, lambda bot: told, but=user.id)

    def begin_thread(
        self, channel: Channel, user: User, name: str, begun: Message | None, is_private: bool, after: int = 1440
    ) -> Channel:
        """Begin a thread: its first message, or one beside it, tells of the other."""
        kind: Kind = "private_thread" if is_private else "public_thread"
        thread = self._begun(channel, user, name, begun.id if begun else next(self.ids), kind, after)
        now = self.clock.now()
        if begun is not None:
            begun.thread, begun.flags = thread, begun.flags | HAS_THREAD
            self.change(begun)
            starter = Message(thread, next(self.ids), begun.author, type=THREAD_STARTER)
            refer(starter, begun, THREAD_STARTER)
            self.place(starter)
        elif not is_private:
            told = Message(channel, next(self.ids), user, name, type=THREAD_CREATED, edited=None)
            told.reference = {"type": 0, "channel_id": str(thread.id), **_guild_of(channel)}
            self.place(told)
        thread.joined.setdefault(user.id, now)
        return thread

    def begin_post(self, forum: Channel, user: User, name: str, after: int = 1440) -> Channel:
        """Begin a post in a forum, before its first message."""
        if forum.kind != "forum":
            raise ValueError("posts are in forums")
        return self._begun(forum, user, name, next(self.ids), "public_thread", after)

    def pings(
        self, channel: Channel, text: str, allowed: Json | None, replied: int | None, may_call_all: bool
    ) -> Pings:
        """Whom a text calls out here."""
        roles = {role.id: role.is_mentionable for role in channel.guild.roles.values()} if channel.guild else {}
        called = pings(text, allowed, roles, replied, may_call_all and channel.guild is not None)
        return replace(called, users=tuple(user for user in called.users if user in self.users))

    def view(self, message: Message, bot: Bot, reads_all: bool | None = None) -> Json:
        """A message as a bot is told of it."""
        reads_all = bot.reads_content if reads_all is None else reads_all
        return message.json(bot.id, reads_all, self._link, self.users)

    def tell(self, event: str, channel: Channel, data: Callable[[int], Json], but: int = 0) -> None:
        """Tell all bots that look into a channel, each in its view."""
        for session in self.gateway.of(None):
            if session.bot != but and channel.is_seen_by(session.bot):
                self._tell(session, event, data(session.bot), channel.guild is not None)

    def note(self, kind: str, **fields: Any) -> None:
        """Enter something into the ledger."""
        self.ledger.note(kind, self.clock.now(), **fields)

    # What the gateway asks

    def bot_of(self, token: str) -> int | None:
        """The bot of a token, if there is one."""
        return self.bots[token].id if token in self.bots else None

    def may_ask_for(self, bot: int, intents: int) -> bool:
        """Whether a bot was granted the intents that must be."""
        return not intents & sum(GRANTS) & ~self._bot(bot).granted

    def greet(self, session: Session) -> Iterator[tuple[str, Any]]:
        """The events with which a session begins."""
        bot = self._bot(session.bot)
        guilds = [guild for guild in self.guilds.values() if bot.id in guild.members]
        yield (
            "READY",
            {
                "v": 10,
                "user": {**bot.user.json(), "verified": True, "mfa_enabled": False, "flags": 0, "email": None},
                "guilds": [{"id": str(guild.id), "unavailable": True} for guild in guilds],
                "session_id": session.id,
                "session_type": "normal",
                "resume_gateway_url": self.gateway_url,
                "shard": [0, 1],
                "application": {"id": str(bot.id), "flags": flags_of(bot)},
                "private_channels": [],
                "relationships": [],
                "user_settings": {},
                "_trace": ["[]"],
            },
        )
        for guild in guilds:
            if session.wants("GUILD_CREATE", is_guild=True):
                yield "GUILD_CREATE", {**self._whole(guild, session), "unavailable": False}

    def members(self, session: Session, asked: Json) -> Iterator[Json]:
        """The members that a bot asks for, in chunks."""
        guild = self.guilds[asked["guild_id"]]
        found = list(guild.members.values())
        missed = []
        if "user_ids" in asked:
            found = [user for user in found if user.id in asked["user_ids"]]
            missed = [str(user) for user in asked["user_ids"] if user not in guild.members]
        elif asked.get("query"):
            found = [user for user in found if user.name.startswith(asked["query"].lower())]
        found = found[: asked["limit"] or None]
        chunks = [found[begin : begin + MOST_CHUNK] for begin in range(0, len(found), MOST_CHUNK)] or [[]]
        for index, chunk in enumerate(chunks):
            said: Json = {
                "guild_id": str(guild.id),
                "members": [guild.member(user) for user in chunk],
                "chunk_index": index,
                "chunk_count": len(chunks),
                "not_found": missed,
            }
            yield said | ({"nonce": asked["nonce"]} if "nonce" in asked else {})

    def note_gateway(self, kind: str, **fields: Any) -> None:
        """Enter something into the ledger."""
        self.note(kind, **fields)

    def blame_gateway(self, bot: int, what: str) -> None:
        """Enter a fault into the ledger."""
        self.note("fault", bot=bot, method="gateway", what=what, body={})

    # Within

    def _bot(self, id: int) -> Bot:
        return next(bot for bot in self.bots.values() if bot.id == id)

    def _known(self, user: User) -> User:
        self.users[user.id] = user
        return user

    def _placed(self, channel: Channel) -> Channel:
        self.channels[channel.id] = channel
        return channel

    def _begun(self, channel: Channel, user: User, name: str, id: int, kind: Kind, after: int) -> Channel:
        now = self.clock.now()
        thread = Channel(id, kind, name, channel.guild, channel, owner=user.id, archive_after=after, changed=now)
        thread.joined[user.id] = now
        self._placed(thread)
        self.note("thread", channel=thread.id, parent=channel.id, by=user.id, name=name)
        self.tell("THREAD_CREATE", thread, lambda bot: {**thread.json(bot), "newly_created": True})
        return thread

    def _link(self, file: File, channel: int) -> Json:
        return self.files.json(file, channel, self.clock.now())

    def _whole(self, guild: Guild, session: Session) -> Json:
        """A guild with its channels and those of its members that a bot is told of at once."""
        threads = [each for each in self.channels.values() if each.guild is guild and each.is_thread]
        has_all = session.intents & GUILD_PRESENCES
        members = guild.members.values() if has_all else (self.users[session.bot],)
        return guild.json() | {
            "joined_at": guild.member(self.users[session.bot])["joined_at"],
            "large": False,
            "member_count": len(guild.members),
            "members": [guild.member(user) for user in members],
            # Also those that it may not look into.
            "channels": [channel.json(session.bot) for channel in guild.channels.values()],
            "threads": [
                thread.json(session.bot)
                for thread in threads
                if thread.is_seen_by(session.bot) and not thread.is_archived
            ],
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }

    def _tell(self, session: Session, event: str, data: Json, is_guild: bool) -> None:
        if session.wants(event, is_guild):
            session.tell(event, data)
            self.note("event", bot=session.bot, session=session.id, event=event, number=len(session.told))

    def _tell_guild(self, event: str, guild: Guild, data: Json, but: int = 0) -> None:
        for session in self.gateway.of(None):
            if session.bot in guild.members and session.bot != but:
                self._tell(session, event, data, is_guild=True)

    def _tell_message(self, event: str, message: Message) -> None:
        channel = message.channel
        for session in self.gateway.of(None):
            if not channel.is_seen_by(session.bot):
                continue
            bot = self._bot(session.bot)
            said = self.view(message, bot, bool(session.intents & CONTENT))
            said |= _guild_of(channel)
            if channel.guild is not None and not message.author.is_webhook:
                told = channel.guild.member(message.author)
                said["member"] = {key: value for key, value in told.items() if key != "user"}
            if message.nonce is not None and message.author == bot.user:
                said["nonce"] = message.nonce
            self._tell(session, event, said, channel.guild is not None)

    def _permit(
        self, channel: Channel, who: User | Bot, change: Callable[[set[str]], set[str]], names: Iterable[str]
    ) -> None:
        if unknown := set(names) - PERMISSIONS.keys():
            raise ValueError(f"there is no permission {', '.join(sorted(unknown))}")
        place = channel.parent or channel
        was_seen = [bot for bot in self.bots.values() if place.is_seen_by(bot.id)]
        place.denied[who.id] = change(place.denied.get(who.id, set()))
        for bot in was_seen:
            # To a bot that sees a channel no more, it is gone.
            event = "CHANNEL_UPDATE" if place.is_seen_by(bot.id) else "CHANNEL_DELETE"
            for session in self.gateway.of(bot.id):
                self._tell(session, event, place.json(bot.id), is_guild=True)

    def _command(self, channel: Channel, name: str) -> tuple[Bot, Json]:
        """The command of this name, which a bot here has registered."""
        guild = channel.guild.id if channel.guild is not None else None
        for bot in self.bots.values():
            if not channel.is_seen_by(bot.id):
                continue
            for place in (guild, None):
                for command in bot.commands.get(place, {}).values():
                    if command["name"] == name and command["type"] == 1:
                        return bot, command
        raise ValueError(f"there is no command /{name}")

    def _options(
        self, known: Sequence[Json], given: Mapping[str, Any], channel: Channel, resolved: Json
    ) -> Iterator[Json]:
        """The options as they are told, if they are such as were registered."""
        if unknown := given.keys() - {each["name"] for each in known}:
            raise ValueError(f"there is no option {', '.join(sorted(unknown))}")
        for each in known:
            name, kind = each["name"], each["type"]
            if name not in given:
                if each.get("required"):
                    raise ValueError(f"the option {name} must be given")
                continue
            value = given[name]
            if not isinstance(value, TYPED[kind]) or (kind != BOOLEAN and isinstance(value, bool)):
                raise ValueError(f"the option {name} cannot be {value!r}")
            choices = [choice["value"] for choice in each.get("choices") or ()]
            if choices and value not in choices:
                raise ValueError(f"the option {name} is one of {choices}")
            if isinstance(value, str) and not each.get("min_length", 0) <= len(value) <= each.get("max_length", 6000):
                raise ValueError(f"the option {name} is too long or too short")
            if isinstance(value, User):
                resolved.setdefault("users", {})[str(value.id)] = value.json()
                if channel.guild is not None:
                    resolved.setdefault("members", {})[str(value.id)] = channel.guild.member(value)
                value = str(value.id)
            elif isinstance(value, Channel):
                resolved.setdefault("channels", {})[str(value.id)] = {**value.json(), "permissions": "0"}
                value = str(value.id)
            yield {"name": name, "type": kind, "value": value}

    def _interact(
        self, kind: int, bot: Bot, user: User, channel: Channel, data: Json, said: Json, pressed: Message | None
    ) -> str:
        """Tell a bot of a command or a press, which is answered under a token."""
        if not channel.is_seen_by(user.id) or channel.is_locked:
            raise ValueError("nobody can do that here")
        id = next(self.ids)
        token = f"interaction-{id:x}"
        about = {"id": str(id), "user": user.json(), "authorizing_integration_owners": {}, **said}
        interaction = Interaction(id, token, kind, bot, user, channel, self.clock.now(), about, pressed)
        self.interactions[token] = interaction
        told: Json = {
            "id": str(id),
            "application_id": str(bot.id),
            "type": kind,
            "token": token,
            "version": 1,
            "data": data,
            "channel_id": str(channel.id),
            "channel": channel.json(bot.id),
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {},
            "context": 0 if channel.guild is not None else 1,
            "attachment_size_limit": UPLOAD,
            "app_permissions": str(sum(PERMISSIONS[name] for name in channel.permissions(bot.id))),
        }
        if channel.guild is not None:
            may = sum(PERMISSIONS[name] for name in channel.permissions(user.id))
            told |= _guild_of(channel)
            told["member"] = {**channel.guild.member(user), "permissions": str(may)}
            told["guild"] = {"id": str(channel.guild.id), "locale": "en-US", "features": []}
            told["guild_locale"] = "en-US"
        else:
            told["user"] = user.json()
        if pressed is not None:
            told["message"] = self.view(pressed, bot, reads_all=True)
        self.note("slash" if kind == SLASH else "press", channel=channel.id, by=user.id, token=token, data=data)
        for session in self.gateway.of(bot.id):
            self._tell(session, "INTERACTION_CREATE", told, channel.guild is not None)
        return token


def refer(message: Message, replied: Message, type: int = REPLY) -> None:
    """Make a message a reply to another."""
    message.type, message.reply_to = type, replied
    message.reference = {
        "type": 0,
        "message_id": str(replied.id),
        "channel_id": str(replied.channel.id),
        **_guild_of(replied.channel),
    }


def answer_to(interaction: Interaction, id: int) -> Message:
    """A message of the bot that answers a command or press, still to be filled."""
    type = COMMAND if interaction.type == SLASH else DEFAULT
    message = Message(interaction.channel, id, interaction.bot.user, type=type)
    message.interaction = interaction.said
    if interaction.pressed is not None:
        refer(message, interaction.pressed)
    return message


def flags_of(bot: Bot) -> int:
    """The flags of a bot's application."""
    return sum(flag for intent, flag in GRANTS.items() if bot.granted & intent)


def is_hidden(message: Message) -> bool:
    """Whether a message is only for one person."""
    return bool(message.flags & EPHEMERAL)


def is_thinking(message: Message) -> bool:
    """Whether an answer was promised and is still to come."""
    return bool(message.flags & LOADING)


def _guild_of(channel: Channel) -> Json:
    return {"guild_id": str(channel.guild.id)} if channel.guild is not None else {}
