"""Who talks, where, and what was said, as the server keeps it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.botapi.refusal import Json

Kind = Literal["private", "group", "supergroup", "channel"]
# The private chats of different bots with one person have the same number: the second number is the bot's, or 0.
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class User:
    """A person, or a bot."""

    id: int
    first_name: str
    last_name: str = ""
    username: str = ""
    language_code: str = ""
    is_bot: bool = False

    def json(self) -> Json:
        """As others see it."""
        said = {"id": self.id, "is_bot": self.is_bot, "first_name": self.first_name}
        more = {"last_name": self.last_name, "username": self.username, "language_code": self.language_code}
        return said | {key: value for key, value in more.items() if value}


# Whom the server names where no person is to be seen.
ANONYMOUS_ADMIN = User(1087968824, "Group", username="GroupAnonymousBot", is_bot=True)
CHANNEL_BOT = User(136817688, "Channel", username="Channel_Bot", is_bot=True)
TELEGRAM = User(777000, "Telegram")


@dataclass(slots=True)
class Topic:
    """A topic of a forum, whose number is that of the message which began it."""

    id: int
    name: str
    is_closed: bool = False
    is_deleted: bool = False


@dataclass(slots=True, eq=False)
class Chat:
    """A place of conversation; a test may set its switches at any time."""

    id: int
    kind: Kind
    numbers: Iterator[int]
    title: str = ""
    username: str = ""
    person: User | None = None
    has_topics: bool = False
    # How each bot stands to it: member, administrator, left or kicked.
    bots: dict[int, str] = field(default_factory=dict)
    members: dict[int, User] = field(default_factory=dict)
    topics: dict[int, Topic] = field(default_factory=dict)
    messages: dict[int, "Message"] = field(default_factory=dict)
    linked: "Chat | None" = None
    migrated_to: "Chat | None" = None
    # Whether bots that are no administrators may write here, and send voice messages.
    lets_bots_write: bool = True
    takes_voice: bool = True
    # In a private chat: whether the person ever wrote, has blocked the bot, has left Telegram.
    is_started: bool = True
    is_blocked: bool = False
    is_deactivated: bool = False

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return self.id, next(iter(self.bots)) if self.kind == "private" else 0

    @property
    def is_group(self) -> bool:
        """Whether many may write here."""
        return self.kind in ("group", "supergroup")

    def json(self) -> Json:
        """As it stands in a message."""
        said: Json = {"id": self.id, "type": self.kind}
        if self.person is not None:
            person = self.person.json()
            return said | {key: person[key] for key in ("first_name", "last_name", "username") if key in person}
        said["title"] = self.title
        if self.kind == "group":
            said["all_members_are_administrators"] = False
        if self.username:
            said["username"] = self.username
        if self.has_topics:
            said["is_forum"] = True
        return said


@dataclass(slots=True, eq=False)
class Message:
    """A message: who sent it (`head` holds what else is told of that), and its `body`, which an edit replaces."""

    chat: Chat
    id: int
    date: int
    body: Json
    sender: User | None = None
    sender_chat: Chat | None = None
    thread: int | None = None
    reply_to: "Message | None" = None
    head: Json = field(default_factory=dict)
    markup: Json | None = None
    edited: int | None = None
    is_deleted: bool = False
    is_service: bool = False

    @property
    def text(self) -> str:
        """What is to be read of it."""
        return readable(self.body)

    @property
    def entities(self) -> list[Json]:
        """How that is marked."""
        return [*self.body.get("entities", ()), *self.body.get("caption_entities", ())]

    def json(self, with_reply: bool = True) -> Json:
        """As it stands in an update or an answer."""
        said: Json = {"message_id": self.id}
        if self.sender is not None:
            said["from"] = self.sender.json()
        if self.sender_chat is not None:
            said["sender_chat"] = self.sender_chat.json()
        said |= {"chat": self.chat.json(), "date": self.date}
        if self.edited is not None:
            said["edit_date"] = self.edited
        if self.thread is not None:
            said["message_thread_id"] = self.thread
            # A reply in a group without topics has the number of its thread too.
            if self.chat.has_topics:
                said["is_topic_message"] = True
        said |= self.head
        if with_reply and self.reply_to is not None and not self.reply_to.is_deleted:
            said["reply_to_message"] = self.reply_to.json(with_reply=False)
        said |= self.body
        if self.markup is not None and "inline_keyboard" in self.markup:
            said["reply_markup"] = self.markup
        return said


def readable(body: Json) -> str:
    """A text or caption; of a rich message what it was written as, or its blocks in JSON."""
    if "rich_message" not in body:
        return str(body.get("text", body.get("caption", "")))
    texts = (block.get("text") for block in body["rich_message"]["blocks"])
    return "\n".join(text if isinstance(text, str) else json.dumps(text) for text in texts if text is not None)
