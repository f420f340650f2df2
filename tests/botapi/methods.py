"""What each method of the Bot API does, and when it refuses.

The order of the checks is that of the real server as far as its source tells: the text first, then the chat, then what
is replied to, then the topic.
"""

import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

from tests.botapi import entities as marks
from tests.botapi.chats import Chat, Message, readable
from tests.botapi.files import File, described
from tests.botapi.parameters import Upload
from tests.botapi.people import MOST_CAPTION, MOST_TEXT, Bot, People, external
from tests.botapi.refusal import Json, Refused, bad, wrong

# In server seconds: what the manual promises of drafts, actions, queries and deleting.
DRAFT, ACTION, QUERY, DELETABLE = 30.0, 5.0, 15 * 60.0, 48 * 3600.0
MOST_DATA, MOST_LABELS, MOST_ANSWER, MOST_COMMANDS, MOST_DESCRIPTION = 64, 100, 200, 100, 256
MOST_BYTES = 1 << 15
MOST_RICH, MOST_BLOCKS = 32768, 500
LONGEST_POLL = 50
_ACTIONS = (
    "typing upload_photo record_video upload_video record_voice upload_voice record_audio upload_audio upload_document "
    "choose_sticker find_location record_video_note upload_video_note cancel"
)
_REACTIONS = (
    "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 "
    "🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 "
    "🤷‍♂ 🤷 🤷‍♀ 😡"
)
ACTIONS, REACTIONS = frozenset(_ACTIONS.split()), frozenset(_REACTIONS.split())
VOID = frozenset({"br", "hr", "img", "input"})

Method = Callable[[People, Bot, Json], Any]


def get_me(people: People, bot: Bot, given: Json) -> Json:
    """Who the bot is."""
    return bot.user.json() | {
        "can_join_groups": True,
        "can_read_all_group_messages": bot.reads_all,
        "supports_guest_queries": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
        "has_topics_enabled": bot.has_topics,
        "allows_users_to_create_topics": bot.has_topics,
        "can_manage_bots": False,
        "supports_join_request_queries": False,
    }


async def get_updates(people: People, bot: Bot, given: Json) -> list[Json]:
    """What is pending; the time of a poll is the client's."""
    limit, timeout = given.get("limit", 100), given.get("timeout", 0)
    if not 1 <= limit <= 100 or timeout < 0:
        raise wrong("limit must be 1-100 and timeout positive")
    bot.mail.allow(given.get("allowed_updates"))
    return await bot.mail.get(given.get("offset", 0), limit, min(timeout, LONGEST_POLL))


def get_webhook_info(people: People, bot: Bot, given: Json) -> Json:
    """How the webhook stands."""
    hook = bot.mail.webhook
    said: Json = {"url": "", "has_custom_certificate": False, "pending_update_count": len(bot.mail.queue)}
    if hook is not None:
        said |= {"url": hook.url, "max_connections": hook.connections, "ip_address": "127.0.0.1"}
        if hook.error is not None:
            said["last_error_date"], said["last_error_message"] = hook.error
    if bot.mail.allowed is not None:
        said["allowed_updates"] = bot.mail.allowed
    return said


async def set_webhook(people: People, bot: Bot, given: Json) -> bool:
    """Post updates from now on; only a webhook on loopback may be without TLS."""
    url, secret = given.get("url", ""), given.get("secret_token", "")
    if url and not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", url):
        raise wrong("bad webhook: An HTTPS URL must be provided for webhook")
    if len(secret) > 256:
        raise wrong("secret token is too long")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
        raise wrong("secret token contains unallowed characters")
    connections = given.get("max_connections", 40)
    if not 1 <= connections <= 100:
        raise wrong("max_connections must be 1-100")
    await bot.mail.drop_webhook()
    bot.mail.allow(given.get("allowed_updates"))
    if given.get("drop_pending_updates"):
        bot.mail.forget_all()

    if url:
        bot.mail.set_webhook(url, secret, connections)
    return True


async def delete_webhook(people: People, bot: Bot, given: Json) -> bool:
    """Post no more."""
    await bot.mail.drop_webhook()
    if given.get("drop_pending_updates"):
        bot.mail.forget_all()
    return True


def send_message(people: People, bot: Bot, given: Json) -> Json:
    """Send a text."""
    return _sent(people, bot, given, _text_body(given))


def send_rich_message(people: People, bot: Bot, given: Json) -> Json:
    """Send a rich message."""
    return _sent(people, bot, given, _rich_body(given["rich_message"]))


def send_file(kind: str) -> Method:
    """Send a file of one kind."""

    def send(people: People, bot: Bot, given: Json) -> Json:
        caption = _caption(given)
        body = described(_file(people, kind, given[kind]), **given) | caption
        return _sent(people, bot, given, body)

    return send


def edit_message_text(people: People, bot: Bot, given: Json) -> Json:
    """Edit a text."""
    if ("rich_message" in given) == ("text" in given):
        raise bad("message text is empty") if "rich_message" not in given else wrong("text and rich_message")
    body = _rich_body(given["rich_message"]) if "rich_message" in given else _text_body(given)
    message = _own(people, bot, given)
    if "text" not in message.body and "rich_message" not in message.body:
        raise bad("there is no text in the message to edit")
    return _edited(people, message, given, body)


def edit_message_reply_markup(people: People, bot: Bot, given: Json) -> Json:
    """Edit the buttons alone."""
    message = _own(people, bot, given)
    return _edited(people, message, given, message.body)


def edit_message_media(people: People, bot: Bot, given: Json) -> Json:
    """Replace what a message is by a file, also where it was a text."""
    media = given["media"]
    caption = _caption(media)
    message = _own(people, bot, given)
    if "voice" in message.body or "sticker" in message.body:
        raise bad("message media can't be edited")
    file = _file(people, media["type"], media["media"])
    return _edited(people, message, given, described(file, **media) | caption)


def delete_message(people: People, bot: Bot, given: Json) -> bool:
    """Delete a message."""
    chat = _writable(people, bot, given["chat_id"])
    message = chat.messages.get(given["message_id"])
    if message is None or message.is_deleted:
        raise bad("message to delete not found")
    is_admin = chat.bots[bot.id] == "administrator"
    is_old = people.clock.now() - message.date > DELETABLE
    if (is_old and not is_admin) or not (chat.kind == "private" or is_admin or _is_by(message, bot)):
        raise bad("message can't be deleted for everyone")
    people.remove(message)
    return True


def send_message_draft(people: People, bot: Bot, given: Json) -> bool:
    """Show a text in the making; an empty one shows that the bot thinks."""
    text, entities = marks.shown(given.get("text", ""), given.get("entities", []), MOST_TEXT, "message is too long")
    return _drafted(people, bot, given, {"text": text, "entities": entities, "media": None})


def send_rich_message_draft(people: People, bot: Bot, given: Json) -> bool:
    """Show a rich message in the making."""
    media = _rich_body(given["rich_message"], is_draft=True)
    return _drafted(people, bot, given, {"text": readable(media), "entities": [], "media": media})


def send_chat_action(people: People, bot: Bot, given: Json) -> bool:
    """Show that the bot types, or the like."""
    action = given["action"].lower()
    if action not in ACTIONS:
        raise bad("wrong parameter action in request")
    chat = _writable(people, bot, given["chat_id"], spends=False)
    thread = _thread(chat, given.get("message_thread_id"))
    until = people.clock.now() + (0 if action == "cancel" else ACTION)
    people.note_effect("action", chat, by=bot.id, thread=thread, action=action, until=until)
    return True


def set_message_reaction(people: People, bot: Bot, given: Json) -> bool:
    """React to a message."""
    chat = _writable(people, bot, given["chat_id"])
    message = chat.messages.get(given["message_id"])
    if message is None or message.is_deleted:
        raise bad("message to react not found")
    reactions = given.get("reaction", [])
    if len(reactions) > 1:
        raise bad("REACTIONS_TOO_MANY")
    emoji = [reaction.get("emoji", "").replace("\ufe0f", "") for reaction in reactions]
    if not REACTIONS.issuperset(emoji):
        raise bad("REACTION_INVALID")
    people.show_reaction(chat, message.id, bot.id, emoji)
    return True


def get_file(people: People, bot: Bot, given: Json) -> Json:
    """Where a file is to be had."""
    return people.files.link(given["file_id"], people.clock.now())


def answer_callback_query(people: People, bot: Bot, given: Json) -> bool:
    """Answer the press of a button."""
    id = given["callback_query_id"]
    asked, by, _ = people.queries.get(id, (0.0, 0, None))
    if by != bot.id or people.clock.now() - asked > QUERY:
        raise bad("query is too old and response timeout expired or query ID is invalid")
    if marks.units(given.get("text", "")) > MOST_ANSWER:
        raise bad("MESSAGE_TOO_LONG")
    if "url" in given:
        raise bad("URL_INVALID")
    people.queries[id] = (asked, by, {key: value for key, value in given.items() if key != "callback_query_id"})
    return True


def set_my_commands(people: People, bot: Bot, given: Json) -> bool:
    """Tell the commands of a scope in a language."""
    commands = given["commands"]
    if len(commands) > MOST_COMMANDS:
        raise bad("BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not re.fullmatch(r"[a-z0-9_]{1,32}", command["command"]):
            raise bad("BOT_COMMAND_INVALID")
        if not command["description"].strip():
            raise bad("command description must be non-empty")
        if marks.units(command["description"]) > MOST_DESCRIPTION:
            raise bad(f"command description length must not exceed {MOST_DESCRIPTION}")
    bot.commands[_scope(people, bot, given)] = commands
    return True


def get_my_commands(people: People, bot: Bot, given: Json) -> list[Json]:
    """The commands of a scope in a language."""
    return bot.commands.get(_scope(people, bot, given), [])


def delete_my_commands(people: People, bot: Bot, given: Json) -> bool:
    """Forget the commands of a scope in a language."""
    bot.commands.pop(_scope(people, bot, given), None)
    return True


def get_chat(people: People, bot: Bot, given: Json) -> Json:
    """All about a chat."""
    chat = _chat(people, bot, given["chat_id"])
    gifts = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")
    said = chat.json() | {
        "accent_color_id": 0,
        "max_reaction_count": 11,
        "accepted_gift_types": dict.fromkeys(gifts, True),
    }
    if chat.linked is not None:
        said["linked_chat_id"] = chat.linked.id
    if chat.is_group:
        what = "messages audios documents photos videos video_notes voice_notes polls other_messages"
        said["permissions"] = {f"can_send_{each}": chat.lets_bots_write for each in what.split()}
    return said


def leave_chat(people: People, bot: Bot, given: Json) -> bool:
    """Go out of a group or channel."""
    chat = _chat(people, bot, given["chat_id"])
    if chat.kind == "private":
        raise bad("chat member status can't be changed in private chats")
    people.set_status(chat, bot, "left", by=bot.user)
    return True


METHODS: Mapping[str, Method] = {
    "getMe": get_me,
    "getUpdates": get_updates,
    "setWebhook": set_webhook,
    "deleteWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
    "sendMessage": send_message,
    "sendRichMessage": send_rich_message,
    "sendMessageDraft": send_message_draft,
    "sendRichMessageDraft": send_rich_message_draft,
    "sendDocument": send_file("document"),
    "sendPhoto": send_file("photo"),
    "sendVoice": send_file("voice"),
    "sendAudio": send_file("audio"),
    "sendVideo": send_file("video"),
    "editMessageText": edit_message_text,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "editMessageMedia": edit_message_media,
    "deleteMessage": delete_message,
    "sendChatAction": send_chat_action,
    "setMessageReaction": set_message_reaction,
    "getFile": get_file,
    "answerCallbackQuery": answer_callback_query,
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    "getChat": get_chat,
    "leaveChat": leave_chat,
}


# Chats and topics


def _chat(people: People, bot: Bot, id: int | str) -> Chat:
    """The chat, if the bot may read it."""
    chat = people.chat_of(bot, id)
    if chat is None or bot.id not in chat.bots:
        raise bad("chat not found")
    status = chat.bots[bot.id]
    if chat.migrated_to is None and chat.kind != "private" and status in ("kicked", "left"):
        what = "was kicked from" if status == "kicked" else "is not a member of"
        raise Refused(403, f"bot {what} the {chat.kind} chat")
    return chat


def _writable(people: People, bot: Bot, id: int | str, spends: bool = True) -> Chat:
    """The chat, if the bot may do something there, and not too often."""
    chat = _chat(people, bot, id)
    if chat.migrated_to is not None:
        why = "group chat was upgraded to a supergroup chat"
        raise Refused(400, why, migrate_to_chat_id=chat.migrated_to.id)
    if chat.is_deactivated:
        raise Refused(403, "user is deactivated")
    if not chat.is_started:
        raise Refused(403, "bot can't initiate conversation with a user")
    if chat.is_blocked:
        raise Refused(403, "bot was blocked by the user")
    if spends:
        bot.flood.spend(chat)
    return chat


def _with_rights(chat: Chat, bot: Bot, what: str) -> None:
    """Refuse if bots may not write here, or not this one."""
    is_admin = chat.bots[bot.id] == "administrator"
    if chat.kind == "channel" and not is_admin:
        raise bad("need administrator rights in the channel chat")
    is_unwanted = what == "voice notes" and not chat.takes_voice
    if chat.is_group and (is_unwanted or not chat.lets_bots_write) and not is_admin:
        raise bad(f"not enough rights to send {what} to the chat")
    if chat.kind == "private" and is_unwanted:
        raise bad("VOICE_MESSAGES_FORBIDDEN")


def _thread(chat: Chat, thread: int | None) -> int | None:
    """The topic, if it is there and open; what is said without one goes to the general topic, which has no number."""
    if thread is None:
        return None
    topic = chat.topics.get(thread) if chat.has_topics else None
    if topic is None or topic.is_deleted:
        raise bad("message thread not found")
    if topic.is_closed and chat.is_group:
        raise bad("TOPIC_CLOSED")
    return thread


# Texts, files and buttons


def _text_body(given: Json) -> Json:
    text = given.get("text", "")
    if not text:
        raise bad("message text is empty")
    if len(text.encode()) > MOST_BYTES:
        raise bad("text is too long")
    text, entities = marks.shown(text, given.get("entities", []), MOST_TEXT, "message is too long")
    if not text:
        raise bad("text must be non-empty")
    body: Json = {"text": text}
    if entities:
        body["entities"] = entities
    if preview := given.get("link_preview_options"):
        body["link_preview_options"] = preview
    return body


def _caption(given: Json) -> Json:
    caption, entities = marks.shown(
        given.get("caption", ""), given.get("caption_entities", []), MOST_CAPTION, "message caption is too long"
    )
    return {"caption": caption, **({"caption_entities": entities} if entities else {})} if caption else {}


def _file(people: People, kind: str, given: Upload | str) -> File:
    if isinstance(given, Upload):
        return people.files.upload(kind, given.content, given.name, given.mime)
    if "://" in given:
        raise wrong("files are not sent by URL here")
    return people.files.again(kind, given)


def _rich_body(rich: Json, is_draft: bool = False) -> Json:
    """A rich message; what is written in a language is kept as it was written, in one paragraph."""
    if len(rich.keys() & {"html", "markdown", "blocks"}) != 1:
        raise wrong("rich message must have exactly one of html, markdown and blocks")
    source = rich.get("html", rich.get("markdown"))
    if source is not None:
        if not source.strip():
            raise bad("rich message must be non-empty")
        if marks.units(source) > MOST_RICH:
            raise bad("RICH_MESSAGE_TOO_LONG")
        if "html" in rich:
            _Tags(is_draft).read(source)
        return {"rich_message": {"blocks": [{"type": "paragraph", "text": source}]}}
    blocks = rich["blocks"]
    if not 1 <= len(blocks) <= MOST_BLOCKS:
        raise bad("rich message must have 1-500 blocks")
    if not all(isinstance(block.get("type"), str) for block in blocks):
        raise wrong("a block of a rich message must have a type")
    if not is_draft and any(block["type"] == "thinking" for block in blocks):
        raise wrong("only a draft may think")
    return {"rich_message": {"blocks": blocks}}


class _Tags(HTMLParser):
    """Refuses HTML whose tags are not closed in order."""

    def __init__(self, is_draft: bool) -> None:
        super().__init__()
        self._open: list[str] = []
        self._is_draft = is_draft

    def read(self, source: str) -> None:
        """Look at all of it."""
        self.feed(source)
        self.close()
        if self._open:
            raise bad(f"can't parse entities: can't find end tag corresponding to start tag \"{self._open[-1]}\"")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag begins."""
        if tag == "tg-thinking" and not self._is_draft:
            raise wrong("only a draft may think")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that is whole."""

    def handle_endtag(self, tag: str) -> None:
        """A tag ends."""
        if tag not in VOID and (not self._open or self._open.pop() != tag):
            raise bad(f'can\'t parse entities: unexpected end tag "{tag}"')


def _keyboard(given: Json) -> Json | None:
    """The buttons, if each is whole."""
    markup: Json | None = given.get("reply_markup")
    if markup is None:
        return None
    rows = markup.get("inline_keyboard", ())
    buttons = [button for row in rows for button in row]
    for button in buttons:
        kinds = button.keys() - {"text", "style"}
        if not button["text"].strip():
            raise bad("can't parse inline keyboard button: text must be non-empty")
        if len(kinds) != 1:
            raise bad("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
        if "callback_data" in button and not 1 <= len(button["callback_data"].encode()) <= MOST_DATA:
            raise bad("BUTTON_DATA_INVALID")
        if "url" in button and not marks.is_link(button["url"]):
            raise bad(f"inline keyboard button URL '{button['url']}' is invalid: Wrong HTTP URL")
    if len(buttons) > MOST_LABELS:
        raise bad("REPLY_MARKUP_TOO_LONG")
    # A keyboard without a button is none.
    return markup if buttons or "inline_keyboard" not in markup else None


# Sending and editing


def _sent(people: People, bot: Bot, given: Json, body: Json) -> Json:
    markup = _keyboard(given)
    chat = _writable(people, bot, given["chat_id"])
    _with_rights(chat, bot, _named(body))
    reply_to, head = _reply(people, bot, chat, given.get("reply_parameters"))
    # What replies without naming a topic goes to that of what it replies to.
    replied = reply_to.thread if reply_to is not None and chat.has_topics else None
    thread = _thread(chat, given.get("message_thread_id", replied))
    is_channel = chat.kind == "channel"
    if given.get("protect_content"):
        head["has_protected_content"] = True
    message = people.place(
        chat,
        None if is_channel else bot.user,
        body,
        sender_chat=chat if is_channel else None,
        thread=thread,
        reply_to=reply_to,
        head=head,
        markup=markup,
    )
    return message.json()


def _named(body: Json) -> str:
    """What the rights call a thing."""
    names = {"document": "documents", "photo": "photos", "voice": "voice notes", "audio": "music", "video": "videos"}
    return next((name for kind, name in names.items() if kind in body), "text messages")


def _reply(people: People, bot: Bot, chat: Chat, asked: Json | None) -> tuple[Message | None, Json]:
    """What a message replies to: a message of the chat, or what is told of one elsewhere."""
    if asked is None:
        return None, {}
    where = _chat(people, bot, asked["chat_id"]) if "chat_id" in asked else chat
    message = where.messages.get(asked["message_id"])
    if message is None or message.is_deleted:
        if asked.get("allow_sending_without_reply"):
            return None, {}
        raise bad("message to be replied not found")
    head: Json = {}
    if quote := asked.get("quote"):
        if quote not in message.text or marks.units(quote) > MOST_CAPTION:
            raise bad("QUOTE_TEXT_INVALID")
        position = marks.units(message.text[: message.text.index(quote)])
        head["quote"] = {"text": quote, "position": position, "is_manual": True}
    if where is chat:
        return message, head
    return None, head | {"external_reply": external(message)}


def _own(people: People, bot: Bot, given: Json) -> Message:
    """The message to edit, if it is the bot's own and of a kind that can be edited."""
    _keyboard(given)
    chat = _writable(people, bot, given["chat_id"])
    message = chat.messages.get(given["message_id"])
    if message is None or message.is_deleted:
        raise bad("message to edit not found")
    is_plain = message.markup is None or "inline_keyboard" in message.markup
    if not _is_by(message, bot) or message.is_service or "forward_origin" in message.head or not is_plain:
        raise bad("message can't be edited")
    return message


def _edited(people: People, message: Message, given: Json, body: Json) -> Json:
    """Edit a message; an edit without buttons takes the buttons away."""
    markup = _keyboard(given)
    if message.body == body and message.markup == markup:
        raise bad(
            "message is not modified: specified new message content and reply markup are exactly the same as a "
            "current content and reply markup of the message"
        )
    people.change(message, body, markup)
    return message.json()


def _is_by(message: Message, bot: Bot) -> bool:
    is_post = message.chat.kind == "channel" and message.chat.bots.get(bot.id) == "administrator"
    return message.sender == bot.user or is_post


def _drafted(people: People, bot: Bot, given: Json, shown: Json) -> bool:
    chat = _writable(people, bot, given["chat_id"])
    if chat.kind != "private":
        raise bad("TEXTDRAFT_PEER_INVALID")
    if given["draft_id"] == 0:
        raise bad("RANDOM_ID_INVALID")
    people.note_effect(
        "draft",
        chat,
        by=bot.id,
        thread=_thread(chat, given.get("message_thread_id")),
        draft=given["draft_id"],
        can_stop=given.get("can_stop", False),
        keep_on_stop=given.get("keep_on_stop", False),
        until=people.clock.now() + DRAFT,
        markup=None,
        **shown,
    )
    return True


def _scope(people: People, bot: Bot, given: Json) -> tuple[str, str]:
    """For whom commands are: a scope and a language."""
    scope, language = given.get("scope", {"type": "default"}), given.get("language_code", "")
    if not re.fullmatch(r"([a-z]{2})?", language):
        raise bad("LANG_CODE_INVALID")
    if "chat_id" in scope:
        scope = scope | {"chat_id": _chat(people, bot, scope["chat_id"]).id}
    return json.dumps(scope, sort_keys=True), language
