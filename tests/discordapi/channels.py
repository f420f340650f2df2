"""Guilds, channels, users and messages as they are, and what Discord tells of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from tests.botapi.clock import Clock
from tests.discordapi.files import File
from tests.discordapi.mentions import Pings
from tests.discordapi.refusal import Json

# The first second of 2015, from which numbers count, in milliseconds since 1970.
EPOCH = 1_420_070_400_000
Kind = Literal["text", "dm", "public_thread", "private_thread", "forum"]
TYPES: Mapping[Kind, int] = {"text": 0, "dm": 1, "public_thread": 11, "private_thread": 12, "forum": 15}
PERMISSIONS: Mapping[str, int] = {
    name: 1 << bit
    for name, bit in {
        "administrator": 3,
        "manage_channels": 4,
        "add_reactions": 6,
        "view_channel": 10,
        "send_messages": 11,
        "manage_messages": 13,
        "embed_links": 14,
        "attach_files": 15,
        "read_message_history": 16,
        "mention_everyone": 17,
        "manage_webhooks": 29,
        "use_application_commands": 31,
        "manage_threads": 34,
        "create_public_threads": 35,
        "create_private_threads": 36,
        "send_messages_in_threads": 38,
    }.items()
}
# What everybody in a guild may do, and a bot where nothing is taken from it.
USUAL = frozenset(PERMISSIONS) - {
    "administrator",
    "manage_channels",
    "manage_messages",
    "manage_webhooks",
    "manage_threads",
}
# Types of messages.
DEFAULT, REPLY, COMMAND, THREAD_CREATED, THREAD_STARTER = 0, 19, 20, 18, 21
SYSTEM = frozenset({THREAD_CREATED, THREAD_STARTER})


class Snowflakes:
    """Numbers that tell when they were made, each greater than the last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def __next__(self) -> int:
        self._last = max(self.at(self._clock.now()), self._last + 1)
        return self._last

    @staticmethod
    def at(moment: float) -> int:
        """The least number of a moment."""
        return (int(moment * 1000) - EPOCH) << 22

    @staticmethod
    def time(id: int) -> float:
        """When a number was made."""
        return ((id >> 22) + EPOCH) / 1000


def told(moment: float) -> str:
    """A moment as Discord writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True)
class User:
    """A person, a bot, or the name under which a webhook posts."""

    id: int
    name: str
    display: str = ""
    is_bot: bool = False
    is_webhook: bool = False

    @property
    def mention(self) -> str:
        """How a text calls it out."""
        return f"<@{self.id}>"

    def json(self) -> Json:
        """What everybody is told of it."""
        return {
            "id": str(self.id),
            "username": self.name,
            "discriminator": "0000" if self.is_bot else "0",
            "global_name": self.display or None,
            "avatar": None,
            "public_flags": 0,
            **({"bot": True} if self.is_bot else {}),
        }


@dataclass(frozen=True, slots=True)
class Role:
    """A role; everybody may call it if it is mentionable."""

    id: int
    name: str
    is_mentionable: bool = False

    def json(self, permissions: int, position: int) -> Json:
        """What is told of it."""
        return {
            "id": str(self.id),
            "name": self.name,
            "permissions": str(permissions),
            "position": position,
            "color": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "managed": False,
            "mentionable": self.is_mentionable,
            "flags": 0,
            "icon": None,
            "unicode_emoji": None,
        }


@dataclass(eq=False, slots=True)
class Guild:
    """A guild and who is in it, bots included."""

    id: int
    name: str
    owner: User
    members: dict[int, User] = field(default_factory=dict)
    roles: dict[int, Role] = field(default_factory=dict)
    held: dict[int, set[int]] = field(default_factory=dict)
    channels: dict[int, "Channel"] = field(default_factory=dict)

    def member(self, user: User) -> Json:
        """What is told of a member."""
        return {
            "user": user.json(),
            "roles": [str(role) for role in sorted(self.held.get(user.id, ()))],
            "nick": None,
            "avatar": None,
            "joined_at": told(Snowflakes.time(self.id)),
            "premium_since": None,
            "communication_disabled_until": None,
            "deaf": False,
            "mute": False,
            "pending": False,
            "flags": 0,
        }

    def json(self) -> Json:
        """What is told of it."""
        usual = sum(PERMISSIONS[name] for name in USUAL)
        everyone = Role(self.id, "@everyone")
        return {
            "id": str(self.id),
            "name": self.name,
            "owner_id": str(self.owner.id),
            "icon": None,
            "splash": None,
            "banner": None,
            "description": None,
            "features": [],
            "emojis": [],
            "stickers": [],
            "roles": [role.json(usual, place) for place, role in enumerate((everyone, *self.roles.values()))],
            "afk_channel_id": None,
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "premium_tier": 0,
            "preferred_locale": "en-US",
            "system_channel_id": None,
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "public_updates_channel_id": None,
            "vanity_url_code": None,
            "max_members": 500_000,
            "premium_progress_bar_enabled": False,
        }


@dataclass(eq=False, slots=True)
class Channel:
    """A channel of a guild, a thread in one, or what one person and one bot have between them."""

    id: int
    kind: Kind
    name: str = ""
    guild: Guild | None = None
    parent: "Channel | None" = None
    person: User | None = None
    bot: int = 0
    owner: int = 0
    # The person takes no more messages.
    is_closed: bool = False
    is_archived: bool = False
    is_locked: bool = False
    archive_after: int = 1440
    changed: float = 0.0
    # Those who joined a thread.
    joined: dict[int, float] = field(default_factory=dict)
    # What is taken from whom.
    denied: dict[int, set[str]] = field(default_factory=dict)
    messages: dict[int, "Message"] = field(default_factory=dict)
    # How many were said in a thread, without the one that began it.
    said: int = 0
    is_deleted: bool = False

    @property
    def is_thread(self) -> bool:
        """Whether it is a thread, which a forum's posts are as well."""
        return self.parent is not None

    @property
    def last(self) -> int | None:
        """The number of its last message."""
        return next(reversed(self.messages), None)

    def permissions(self, user: int) -> frozenset[str]:
        """What somebody may do here; a thread is as its channel."""
        if self.guild is None:
            return USUAL
        if self.guild.owner.id == user:
            return frozenset(PERMISSIONS)
        denied = (self.parent or self).denied.get(user, set())
        return frozenset() if user not in self.guild.members or "view_channel" in denied else USUAL - denied

    def is_seen_by(self, user: int) -> bool:
        """Whether somebody may look in."""
        if self.guild is None:
            return self.person is not None and user in (self.person.id, self.bot)
        may = self.permissions(user)
        if self.kind == "private_thread" and user not in self.joined and "manage_threads" not in may:
            return False
        return "view_channel" in may

    def json(self, viewer: int = 0) -> Json:
        """What is told of it."""
        said: Json = {
            "id": str(self.id),
            "type": TYPES[self.kind],
            "last_message_id": str(self.last) if self.last else None,
            "flags": 0,
        }
        if self.person is not None:
            return said | {"recipients": [self.person.json()]}
        assert self.guild is not None
        said |= {"guild_id": str(self.guild.id), "name": self.name, "rate_limit_per_user": 0}
        if self.parent is not None:
            return said | {"parent_id": str(self.parent.id), **self._thread(viewer)}
        said |= {
            "parent_id": None,
            "position": list(self.guild.channels).index(self.id) if self.id in self.guild.channels else 0,
            "topic": None,
            "nsfw": False,
            "permission_overwrites": [
                {"id": str(user), "type": 1, "allow": "0", "deny": str(sum(PERMISSIONS[name] for name in names))}
                for user, names in self.denied.items()
            ],
        }
        if self.kind == "forum":
            said |= {"available_tags": [], "default_reaction_emoji": None, "default_sort_order": None}
            said |= {"default_forum_layout": 0}
        return said

    def _thread(self, viewer: int) -> Json:
        said: Json = {
            "owner_id": str(self.owner),
            "message_count": self.said,
            "member_count": len(self.joined),
            "total_message_sent": self.said,
            "applied_tags": [],
            "thread_metadata": {
                "archived": self.is_archived,
                "archive_timestamp": told(self.changed),
                "auto_archive_duration": self.archive_after,
                "locked": self.is_locked,
                "create_timestamp": told(Snowflakes.time(self.id)),
                **({"invitable": True} if self.kind == "private_thread" else {}),
            },
        }
        if viewer in self.joined:
            said["member"] = self.membership(viewer)
        return said

    def membership(self, user: int) -> Json:
        """What is told of somebody who joined the thread."""
        return {"id": str(self.id), "user_id": str(user), "join_timestamp": told(self.joined[user]), "flags": 0}


@dataclass(eq=False, slots=True)
class Message:
    """A message."""

    channel: Channel
    id: int
    author: User
    text: str = ""
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    flags: int = 0
    type: int = DEFAULT
    pings: Pings = field(default_factory=Pings)
    nonce: str | None = None
    # What it replies to: the message, which may be gone, and its numbers.
    reply_to: "Message | None" = None
    reference: Json | None = None
    edited: float | None = None
    is_deleted: bool = False
    # Emoji, and who reacted so.
    reactions: dict[str, list[int]] = field(default_factory=dict)
    thread: Channel | None = None
    # The interaction that it answers, in the words for it, and who alone sees it.
    interaction: Json | None = None
    only_for: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be seen of it."""
        return not (self.text or self.embeds or self.files or self.components)

    def concerns(self, bot: int) -> bool:
        """Whether a bot may read it without asking for the content of messages."""
        return self.channel.guild is None or self.author.id == bot or bot in self.pings.users

    def json(
        self,
        viewer: int,
        reads_all: bool,
        files: Callable[[File, int], Json],
        users: Mapping[int, User],
        with_reply: bool = True,
    ) -> Json:
        """What a bot is told of it, with or without the content of what is not for the bot."""
        is_read = reads_all or self.concerns(viewer)
        said: Json = {
            "id": str(self.id),
            "channel_id": str(self.channel.id),
            "type": self.type,
            "author": self.author.json(),
            "content": self.text if is_read else "",
            "embeds": self.embeds if is_read else [],
            "components": self.components if is_read else [],
            "attachments": [files(file, self.channel.id) for file in self.files] if is_read else [],
            "timestamp": told(Snowflakes.time(self.id)),
            "edited_timestamp": told(self.edited) if self.edited is not None else None,
            "mentions": [users[user].json() for user in self.pings.users if user in users],
            "mention_roles": [str(role) for role in self.pings.roles],
            "mention_everyone": self.pings.everyone or self.pings.here,
            "pinned": False,
            "tts": False,
            "flags": self.flags,
        }
        if self.author.is_webhook:
            said["webhook_id"] = str(self.author.id)
        if self.reactions:
            said["reactions"] = [_reaction(emoji, by, viewer) for emoji, by in self.reactions.items()]
        if self.interaction is not None:
            said |= {"interaction_metadata": self.interaction, "webhook_id": said["author"]["id"]}
            said["application_id"] = said["author"]["id"]
        if self.thread is not None:
            said["thread"] = self.thread.json(viewer)
        if self.reference is not None:
            said["message_reference"] = self.reference
        if self.type in (REPLY, THREAD_STARTER) and with_reply:
            is_there = self.reply_to is not None and not self.reply_to.is_deleted
            replied = self.reply_to if is_there else None
            said["referenced_message"] = (
                replied.json(viewer, reads_all, files, users, with_reply=False) if replied is not None else None
            )
        return said


def _reaction(emoji: str, by: list[int], viewer: int) -> Json:
    return {
        "emoji": {"id": None, "name": emoji},
        "count": len(by),
        "count_details": {"normal": len(by), "burst": 0},
        "me": viewer in by,
        "me_burst": False,
        "burst_colors": [],
    }


def noted(message: Message) -> Json:
    """What the ledger tells of how a message stands."""
    return {
        "text": message.text,
        "embeds": message.embeds,
        "components": message.components,
        "attachments": [file.noted for file in message.files],
        "flags": message.flags,
        "pings": message.pings.noted,
    }
