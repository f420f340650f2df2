"""The chats and the people in them, and all that people do; from what bots may see, updates arise."""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from tests.botapi import entities as marks
from tests.botapi.chats import ANONYMOUS_ADMIN, CHANNEL_BOT, TELEGRAM, Chat, Kind, Message, Topic, User
from tests.botapi.clock import Clock
from tests.botapi.files import Files, described
from tests.botapi.flood import Budgets, Flood
from tests.botapi.ledger import Ledger, Screen
from tests.botapi.mailbox import Mailbox
from tests.botapi.refusal import Json

# Beyond 32 bits, as new accounts and chats are.
FIRST_PERSON, FIRST_CHAT = 5_000_000_001, 3_000_000_001
FILES = frozenset({"photo", "voice", "document", "sticker", "video", "audio", "video_note", "animation"})
THINGS: dict[str, Json] = {
    "location": {"latitude": 52.37, "longitude": 4.89},
    "contact": {"phone_number": "+31201234567", "first_name": "Eve"},
    "venue": {"location": {"latitude": 52.37, "longitude": 4.89}, "title": "Dam", "address": "Amsterdam"},
    "dice": {"emoji": "🎲", "value": 4},
    "poll": {
        "id": "5000000000000000001",
        "question": "Which?",
        "options": [
            {"persistent_id": "0", "text": "This", "voter_count": 0},
            {"persistent_id": "1", "text": "That", "voter_count": 0},
        ],
        "total_voter_count": 0,
        "is_closed": False,
        "is_anonymous": True,
        "type": "regular",
        "allows_multiple_answers": False,
        "allows_revoting": True,
        "members_only": False,
    },
}
MOST_TEXT, MOST_CAPTION = 4096, 1024
# What a button is known by to the one who presses it.
LABELS = ("callback_data", "text")


class Bot:
    """A bot as the server knows it."""

    def __init__(self, token: str, user: User, reads_all: bool, has_topics: bool, mail: Mailbox, flood: Flood) -> None:
        self.token = token
        self.user = user
        self.reads_all = reads_all
        self.has_topics = has_topics
        self.mail = mail
        self.flood = flood
        self.commands: dict[tuple[str, str], list[Json]] = {}

    @property
    def id(self) -> int:
        """Its number as a user."""
        return self.user.id


class People:
    """Everything that is, and what people do to it; messages are named by their numbers.

    A ValueError says that no client of Telegram would let a person do this.
    """

    def __init__(self, clock: Clock, ledger: Ledger, budgets: Budgets) -> None:
        self.clock = clock
        self.ledger = ledger
        self.budgets = budgets
        self.files = Files()
        self.bots: dict[str, Bot] = {}
        self.chats: list[Chat] = []
        # Queries of buttons: when, of which bot, and the answer.
        self.queries: dict[str, tuple[float, int, Json | None]] = {}
        # Private chats and groups number their messages together, as they do for each account.
        self._numbers = count(1)
        self._people = count(FIRST_PERSON)
        self._places = count(FIRST_CHAT)
        self._ids = count(4_000_000_000_000_000_001)

    # Who and where

    def bot(
        self, token: str, username: str = "factory_bot", *, reads_all: bool = False, has_topics: bool = False
    ) -> Bot:
        """A bot; with `reads_all` its privacy mode is off, with `has_topics` its private chats can have topics."""
        id = int(token.partition(":")[0])
        user = User(id, username.title(), username=username, is_bot=True)
        mail = Mailbox(id % 1_000_000 + 100_000_000, self.clock, lambda kind, fields: self._note_mail(id, kind, fields))
        self.bots[token] = Bot(token, user, reads_all, has_topics, mail, Flood(self.clock, self.budgets))
        return self.bots[token]

    def user(self, first_name: str = "Ann", *, username: str = "", language: str = "en", id: int | None = None) -> User:
        """A person."""
        return User(next(self._people) if id is None else id, first_name, "", username, language)

    def chat(
        self,
        kind: Kind,
        *members: User,
        title: str = "",
        username: str = "",
        is_forum: bool = False,
        bots: Iterable[Bot] | None = None,
        status: str = "member",
        id: int | None = None,
    ) -> Chat:
        """A chat of these people with all bots, or some; a private one is of one person and one bot."""
        here = tuple(self.bots.values() if bots is None else bots)
        if kind == "private" and (len(members), len(here)) != (1, 1):
            raise ValueError("a private chat is of one person and one bot")
        if kind == "private":
            number = members[0].id
        elif id is not None:
            number = id
        else:
            number = -next(self._places) - (10**12 if kind in ("supergroup", "channel") else 0)
        # The first message told of the beginning; as a topic, its number is that of the general one.
        numbers = count(2) if kind in ("supergroup", "channel") else self._numbers
        chat = Chat(number, kind, numbers, title or f"The {kind}", username, has_topics=is_forum)
        chat.person = members[0] if kind == "private" else None
        chat.members = {member.id: member for member in members}
        chat.bots = {bot.id: "administrator" if kind == "channel" else status for bot in here}
        self.chats.append(chat)
        return chat

    def chat_of(self, bot: Bot, id: int | str) -> Chat | None:
        """The chat that a bot calls so."""
        for chat in self.chats:
            is_named = chat.kind in ("supergroup", "channel") and chat.username and id == f"@{chat.username}"
            if (chat.id == id or is_named) and (chat.kind != "private" or bot.id in chat.bots):
                return chat
        return None

    def screen(self, chat: Chat) -> Screen:
        """What the chat shows."""
        return self.ledger.screens[chat.key]

    # What people say

    def say(self, chat: Chat, user: User, text: str, *, entities: Sequence[Json] | None = None, **how: Any) -> int:
        """Say a text; what Telegram marks by itself is marked unless `entities` says otherwise.

        How: `reply_to` (a number), `quote` (a part of what is replied to), `reply_in` (the chat of `reply_to`, if
        another), `thread` (a topic), `forward_from` (a User, a Chat, or the name of somebody who hides), `media_group`,
        `as_chat` (the group itself for an anonymous administrator, or a channel to speak for), `markup`, `via` (a bot).
        """
        if not text.strip() or marks.units(text) > MOST_TEXT:
            raise ValueError("nobody can send that much, or so little, in one message")
        return self._post(chat, user, _written(text, entities, "text", "entities"), **how)

    def send(
        self,
        chat: Chat,
        user: User,
        kind: str,
        content: bytes = b"content",
        *,
        name: str = "",
        mime: str = "",
        size: int | None = None,
        caption: str = "",
        caption_entities: Sequence[Json] | None = None,
        about: Json | None = None,
        **how: Any,
    ) -> int:
        """Send a photo, voice, document, sticker, location, contact, venue, poll, dice, video, audio, video_note or
        animation; `size` may say more than there is, `about` changes what is told of it, `how` is that of `say`."""
        if marks.units(caption) > MOST_CAPTION:
            raise ValueError("nobody can send so long a caption")
        if kind in FILES:
            body = described(self.files.add(kind, content, name, mime, size), **(about or {}))
        else:
            body = {kind: THINGS[kind] | (about or {})}
        if kind == "venue":
            body["location"] = body["venue"]["location"]
        if caption:
            body |= _written(caption, caption_entities, "caption", "caption_entities")
        return self._post(chat, user, body, **how)

    def post(self, channel: Chat, text: str, *, signature: str = "", **how: Any) -> int:
        """Post in a channel; if a group is linked to it, Telegram forwards the post there."""
        head = {"author_signature": signature} if signature else {}
        body = _written(text, None, "text", "entities")
        number = self._post(channel, None, body, head=head, **how)
        if channel.linked is not None:
            self.forward(channel.messages[number], channel.linked)
        return number

    def forward(self, post: Message, group: Chat) -> int:
        """What Telegram does with a post for the group that is linked to its channel."""
        origin = {"type": "channel", "chat": post.chat.json(), "message_id": post.id, "date": post.date}
        head = {"forward_origin": origin, "is_automatic_forward": True}
        message = self.place(group, TELEGRAM, dict(post.body), sender_chat=post.chat, head=head)
        self._tell("message", message)
        return message.id

    def edit(self, chat: Chat, message: int, text: str, entities: Sequence[Json] | None = None) -> None:
        """Edit one's own text or caption."""
        edited = chat.messages[message]
        keys = ("text", "entities") if "text" in edited.body else ("caption", "caption_entities")
        kept = {key: value for key, value in edited.body.items() if key not in keys}
        self.change(edited, kept | _written(text, entities, *keys), edited.markup)
        self._tell("edited_channel_post" if chat.kind == "channel" else "edited_message", edited)

    def delete(self, chat: Chat, *messages: int) -> None:
        """Delete messages for everyone; no bot is told."""
        for message in messages:
            self.remove(chat.messages[message])

    def react(self, chat: Chat, message: int, user: User, *emoji: str) -> None:
        """React to a message; only a bot that asked for it is told, and in a group only an administrator."""
        old = self.screen(chat).all[message].reactions.get(user.id, ())
        self.show_reaction(chat, message, user.id, emoji)
        told = {
            "chat": chat.json(),
            "message_id": message,
            "user": user.json(),
            "date": self._date(),
            "old_reaction": [{"type": "emoji", "emoji": each} for each in old],
            "new_reaction": [{"type": "emoji", "emoji": each} for each in emoji],
        }
        for bot in self._bots_in(chat):
            if chat.kind == "private" or chat.bots[bot.id] == "administrator":
                bot.mail.add("message_reaction", told, chat.key)

    # What people press

    def press(self, chat: Chat, message: int, user: User, button: str) -> str:
        """Press the button of this label or data; gives the number of the query."""
        pressed = chat.messages[message]
        rows = (pressed.markup or {}).get("inline_keyboard", ())
        labels: dict[str, Json] = {each[key]: each for row in rows for each in row for key in LABELS if key in each}
        found = labels.get(button, {})
        if pressed.is_deleted or "callback_data" not in found or "disabled" in found:
            raise ValueError(f"there is no button {button!r} to press")
        bot = next(each for each in self.bots.values() if pressed.sender == each.user)
        id = str(next(self._ids))
        self.queries[id] = (self.clock.now(), bot.id, None)
        query = {
            "id": id,
            "from": user.json(),
            "message": pressed.json(),
            "chat_instance": str(chat.id * 7919),
            "data": found["callback_data"],
        }
        # Queries are posted past the messages of their chat.
        bot.mail.add("callback_query", query, ("query", user.id))
        return id

    def answered(self, query: str) -> Json | None:
        """What the bot answered to a query, if it did."""
        return self.queries[query][2]

    def stop_draft(self, chat: Chat, thread: int | None = None) -> None:
        """Press the button that stops the draft to be seen."""
        draft = self.screen(chat).draft(self.clock.now(), thread)
        if draft is None or not draft.can_stop:
            raise ValueError("there is no draft to stop")
        self._note("stop", chat, thread=thread, draft=draft.id)
        # The manual says integer, the server writes the number as a string.
        told: Json = {"chat": chat.json(), "draft_id": str(draft.id)}
        if thread is not None:
            told["message_thread_id"] = thread
        for bot in self._bots_in(chat):
            bot.mail.add("stopped_message_generation", told, chat.key)

    # What happens to chats

    def join(self, chat: Chat, *users: User) -> int:
        """People come in."""
        chat.members |= {user.id: user for user in users}
        return self._happen(chat, users[0], {"new_chat_members": [user.json() for user in users]})

    def leave(self, chat: Chat, user: User) -> int:
        """Somebody goes."""
        del chat.members[user.id]
        return self._happen(chat, user, {"left_chat_member": user.json()})

    def pin(self, chat: Chat, message: int, user: User) -> int:
        """Pin a message."""
        pinned = chat.messages[message].json(with_reply=False)
        return self._happen(chat, user, {"pinned_message": pinned})

    def rename(self, chat: Chat, user: User, title: str) -> int:
        """Give a chat another title."""
        chat.title = title
        return self._happen(chat, user, {"new_chat_title": title})

    def topic(self, chat: Chat, user: User, name: str) -> int:
        """Begin a topic; its number is the thread's."""
        if not (chat.has_topics or chat.kind == "private"):
            raise ValueError("this chat has no topics")
        chat.has_topics = True
        created = {"forum_topic_created": {"name": name, "icon_color": 7322096}}
        message = self.place(chat, user, created, is_service=True, begins_topic=True)
        chat.topics[message.id] = Topic(message.id, name)
        self._tell("message", message)
        return message.id

    def close_topic(self, chat: Chat, user: User, thread: int) -> int:
        """Close a topic."""
        chat.topics[thread].is_closed = True
        return self._happen(chat, user, {"forum_topic_closed": {}}, thread)

    def delete_topic(self, chat: Chat, thread: int) -> None:
        """Delete a topic and all that was said in it."""
        chat.topics[thread].is_deleted = True
        self.delete(chat, *(each.id for each in chat.messages.values() if each.thread == thread))

    def migrate(self, chat: Chat, user: User) -> Chat:
        """Make a supergroup of a group: each of the two is told of the other."""
        if chat.kind != "group":
            raise ValueError("only a group can become a supergroup")
        new = self.chat("supergroup", *chat.members.values(), title=chat.title)
        new.bots = dict(chat.bots)
        chat.migrated_to = new
        self._happen(chat, user, {"migrate_to_chat_id": new.id})
        came = self.place(new, ANONYMOUS_ADMIN, {"migrate_from_chat_id": chat.id}, sender_chat=new, is_service=True)
        self._tell("message", came)
        return new

    def set_status(self, chat: Chat, bot: Bot, status: str, by: User | None = None) -> None:
        """Add, promote or kick a bot; in a private chat, `kicked` is blocked and `member` is unblocked."""
        old, chat.bots[bot.id] = chat.bots.get(bot.id, "left"), status
        if chat.kind == "private":
            chat.is_blocked = status == "kicked"
        actor = by or chat.person or next(iter(chat.members.values()), TELEGRAM)
        told = {
            "chat": chat.json(),
            "from": actor.json(),
            "date": self._date(),
            "old_chat_member": _membership(bot.user, old),
            "new_chat_member": _membership(bot.user, status),
        }
        bot.mail.add("my_chat_member", told, ("member", *chat.key))

    def raw(self, bot: Bot, update: Json) -> int:
        """An update of whatever kind and shape; gives its number."""
        return bot.mail.add_raw(update, "raw")

    # What bots do to messages as well

    def place(
        self,
        chat: Chat,
        sender: User | None,
        body: Json,
        *,
        sender_chat: Chat | None = None,
        thread: int | None = None,
        reply_to: Message | None = None,
        head: Json | None = None,
        markup: Json | None = None,
        is_service: bool = False,
        begins_topic: bool = False,
    ) -> Message:
        """Put a message into a chat and on the screen."""
        number = next(chat.numbers)
        thread = number if begins_topic else thread
        root = chat.messages.get(thread) if thread is not None else None
        if reply_to is not None and thread is None:
            # A reply goes to the topic of what it replies to, or in a supergroup without topics to its thread.
            is_thread = chat.kind == "supergroup" and not chat.has_topics
            thread = reply_to.thread or (reply_to.id if is_thread else None)
        message = Message(chat, number, self._date(), body, sender, sender_chat, thread)
        # What is said in a topic without replying is told as a reply to the message that began the topic.
        message.reply_to = reply_to or (root if chat.is_group else None)
        message.head, message.markup, message.is_service = dict(head or {}), markup, is_service
        chat.messages[message.id] = message
        by = sender_chat.id if sender is None and sender_chat is not None else sender.id if sender is not None else 0
        self._note(
            "message",
            chat,
            message=message.id,
            thread=thread,
            by=by,
            bot=any(by == bot.id for bot in self.bots.values()),
            reply_to=reply_to.id if reply_to is not None and reply_to.chat is chat else None,
            **_seen(message),
        )
        return message

    def change(self, message: Message, body: Json, markup: Json | None) -> None:
        """Edit a message."""
        message.body, message.markup, message.edited = body, markup, self._date()
        self._note("edit", message.chat, message=message.id, **_seen(message))

    def remove(self, message: Message) -> None:
        """Delete a message."""
        message.is_deleted = True
        self._note("delete", message.chat, message=message.id)

    def show_reaction(self, chat: Chat, message: int, by: int, emoji: Sequence[str]) -> None:
        """Show how somebody reacts."""
        self._note("reaction", chat, message=message, by=by, reactions=list(emoji))

    def note_effect(self, kind: str, chat: Chat, **fields: Any) -> None:
        """Enter into the ledger what is to be seen in a chat."""
        self._note(kind, chat, **fields)

    # Within

    def _post(
        self,
        chat: Chat,
        user: User | None,
        body: Json,
        *,
        reply_to: int | None = None,
        reply_in: Chat | None = None,
        quote: str = "",
        thread: int | None = None,
        forward_from: User | Chat | str | None = None,
        media_group: str = "",
        as_chat: Chat | None = None,
        markup: Json | None = None,
        via: Bot | None = None,
        head: Json | None = None,
    ) -> int:
        """Place what somebody says and tell the bots."""
        if chat.is_blocked or chat.migrated_to is not None:
            raise ValueError("nobody can write here")
        if thread is not None and (thread not in chat.topics or chat.topics[thread].is_closed):
            raise ValueError("there is no such topic to write in")
        replied = (reply_in or chat).messages[reply_to] if reply_to is not None else None
        head = dict(head or {})
        if forward_from is not None:
            head |= _forwarded(forward_from, self._date())
        if media_group:
            head["media_group_id"] = media_group
        if via is not None:
            head["via_bot"] = via.user.json()
        if quote and replied is not None:
            before = replied.text.index(quote)
            head["quote"] = {"text": quote, "position": marks.units(replied.text[:before]), "is_manual": True}
        if reply_in is not None and replied is not None:
            head["external_reply"] = external(replied)
            head.setdefault("quote", {"text": replied.text[:MOST_CAPTION], "position": 0})
            replied = None
        sender = user
        if as_chat is not None:
            sender = ANONYMOUS_ADMIN if as_chat is chat else CHANNEL_BOT
        elif chat.kind == "channel":
            sender, as_chat = None, chat
        chat.is_started = True
        placed = self.place(
            chat, sender, body, sender_chat=as_chat, thread=thread, reply_to=replied, head=head, markup=markup
        )
        self._tell("channel_post" if chat.kind == "channel" else "message", placed)
        return placed.id

    def _happen(self, chat: Chat, user: User, body: Json, thread: int | None = None) -> int:
        message = self.place(chat, user, body, thread=thread, is_service=True)
        self._tell("message", message)
        return message.id

    def _tell(self, kind: str, message: Message) -> None:
        for bot in self._bots_in(message.chat):
            if _may_see(bot, message):
                bot.mail.add(kind, message.json(), message.chat.key)

    def _bots_in(self, chat: Chat) -> list[Bot]:
        return [bot for bot in self.bots.values() if chat.bots.get(bot.id) in ("member", "administrator")]

    def _date(self) -> int:
        return int(self.clock.now())

    def _note(self, kind: str, chat: Chat, **fields: Any) -> None:
        self.ledger.note(kind, self.clock.now(), chat=chat.id, private=chat.key[1], **fields)

    def _note_mail(self, bot: int, kind: str, fields: Json) -> None:
        self.ledger.note(kind, self.clock.now(), bot=bot, **fields)


def external(message: Message) -> Json:
    """A message of another chat, as a reply to it tells of it."""
    origin: Json = {"type": "hidden_user", "date": message.date, "sender_user_name": "Somebody"}
    if message.sender_chat is not None:
        kind = "channel" if message.sender_chat.kind == "channel" else "chat"
        name = "chat" if kind == "channel" else "sender_chat"
        origin = {"type": kind, "date": message.date, name: message.sender_chat.json()}
        origin |= {"message_id": message.id} if kind == "channel" else {}
    elif message.sender is not None:
        origin = {"type": "user", "date": message.date, "sender_user": message.sender.json()}
    told: Json = {"origin": origin}
    if message.chat.kind in ("supergroup", "channel"):
        told |= {"chat": message.chat.json(), "message_id": message.id}
    words = ("text", "entities", "caption", "caption_entities")
    return told | {key: value for key, value in message.body.items() if key not in words}


def _written(text: str, entities: Sequence[Json] | None, words: str, marked: str) -> Json:
    found = marks.find(text) if entities is None else list(entities)
    return {words: text, **({marked: found} if found else {})}


def _forwarded(origin: User | Chat | str, date: int) -> Json:
    """Where a message came from, told also in the words of before."""
    match origin:
        case User():
            source: Json = {"type": "user", "sender_user": origin.json()}
            old: Json = {"forward_from": origin.json()}
        case Chat():
            source = {"type": "channel", "chat": origin.json(), "message_id": 1}
            old = {"forward_from_chat": origin.json(), "forward_from_message_id": 1}
        case name:
            source = {"type": "hidden_user", "sender_user_name": name}
            old = {"forward_sender_name": name}
    return {"forward_origin": {**source, "date": date}, **old, "forward_date": date}


def _seen(message: Message) -> Json:
    """What the ledger tells of how a message stands."""
    words = {"text", "entities", "caption", "caption_entities", "link_preview_options"}
    media = {key: value for key, value in message.body.items() if key not in words}
    return {
        "text": message.text,
        "entities": message.entities,
        "markup": message.markup,
        "media": media or None,
    }


def _may_see(bot: Bot, message: Message) -> bool:
    """Privacy mode: of what is said in a group, a bot gets what is for it; bots do not get each other's."""
    chat = message.chat
    if message.sender == bot.user:
        return False
    if not chat.is_group or bot.reads_all or chat.bots[bot.id] == "administrator" or message.is_service:
        return True
    if message.reply_to is not None and message.reply_to.sender == bot.user and not message.reply_to.is_service:
        return True
    if message.head.get("via_bot", {}).get("id") == bot.id:
        return True
    name = f"@{bot.user.username}".lower()
    for entity in message.entities:
        said = marks.part(message.text, entity["offset"], entity["length"]).lower()
        match entity["type"]:
            case "bot_command" if "@" not in said or said.endswith(name):
                return True
            case "mention" if said == name:
                return True
            case "text_mention" if entity["user"]["id"] == bot.id:
                return True
    return False


def _membership(user: User, status: str) -> Json:
    said: Json = {"user": user.json(), "status": status}
    if status == "kicked":
        said["until_date"] = 0
    if status == "administrator":
        said |= {"can_be_edited": False, "is_anonymous": False}
        said |= dict.fromkeys(
            (
                "can_manage_chat",
                "can_delete_messages",
                "can_manage_video_chats",
                "can_restrict_members",
                "can_promote_members",
                "can_change_info",
                "can_invite_users",
                "can_post_stories",
                "can_edit_stories",
                "can_delete_stories",
                "can_send_welcome_messages",
            ),
            True,
        )
    return said
