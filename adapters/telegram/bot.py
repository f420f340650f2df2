"""One Telegram bot: what people do becomes messages for the hub, what the hub tells is shown."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from adapters.chat.aside import Aside
from adapters.chat.busy import Busy
from adapters.chat.buttons import chosen, press, presser
from adapters.chat.enclosed import announced, enclosed
from adapters.chat.menu import COMMANDS
from adapters.chat.overheard import Overheard
from adapters.chat.text import clip
from adapters.chat.trouble import Barred, Rejected, Unauthorized, Unreachable
from adapters.lease import Lease
from adapters.pace import Pace, Rhythm
from adapters.spoke import Left, NotNow, Reply, Spoke, Undeliverable
from adapters.telegram.client import Client, Conflict
from adapters.telegram.gather import merged
from adapters.telegram.intake import Intake, Polling, Settled
from adapters.telegram.menu import register
from adapters.telegram.normalize import PLATFORM, File, Halted, Heard, Me, Moved, Normalized, Pressed, normalize
from adapters.telegram.screen import NO_PREVIEW, Screen, place
from adapters.telegram.sdk import (
    AnswerCallbackQuery,
    EditMessageReplyMarkup,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    ReactionTypeEmoji,
    ReplyParameters,
    SendChatAction,
    SendMessage,
    SetMessageReaction,
    TelegramMethod,
)
from adapters.telegram.settings import BotSettings, TelegramSettings
from factory_contracts.messages import (
    Accepted,
    Address,
    AlreadyAccepted,
    InboundMessage,
    Refused,
    Said,
)
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

# What Telegram documents: one message a second in a chat, twenty a minute in a group, about thirty a second in all.
PRIVATE = Rhythm(gap=1.05)
GROUP = Rhythm(gap=1.05, every=3.6, saved=3)
BETWEEN = 1 / 28
# Telegram shows it for five seconds at most.
TYPING_EVERY = 4.0
WAITING = "👀"
UNWRITABLE = (NotNow, Rejected, Barred, Unreachable, Unauthorized, Conflict)


def chat_of(address: Address) -> str:
    """What Telegram counts by: a chat with all its topics."""
    return address.scope_id.partition("/")[0]


def standard_pace() -> Pace:
    """How fast one bot may write."""
    return Pace(lambda chat: GROUP if chat.startswith("-") else PRIVATE, BETWEEN)


class Bot:
    """One bot, joined to the hub: its spoke writes on it as on a screen, and its intake submits to its spoke."""

    def __init__(
        self,
        settings: TelegramSettings,
        bot: BotSettings,
        me: Me,
        client: Client,
        transport: Transport,
        *,
        pace: Pace,
        lease: Lease | None = None,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._settings = settings
        self._me = me
        self._client = client
        self._pace = pace
        self._at = at
        self._spoke = Spoke(
            transport,
            PLATFORM,
            bot.bot_id,
            self,
            notes=bot.notes,
            pace=pace,
            place=chat_of,
            drafts=self if settings.stream == "draft" else None,
            remains=self,
            lease=lease,
            at=at,
        )
        clock = asyncio.get_running_loop().time
        self._screen = Screen(client, settings.render, settings.stream, self._spoke.read, clock)
        self._busy = Busy(self._type, TYPING_EVERY)
        self._intake = Intake(self._normalize, self.on_message, self.on_action)
        self._aside = Aside(pace, UNWRITABLE)
        self._overheard = Overheard()
        self._marked: dict[str, InboundMessage] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            await self._spoke.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._busy.run(self._keep_drafts))
                group.create_task(register(self._client))
                if self._settings.webhook is None:
                    group.create_task(Polling(self._client, self._intake.feed, self._at).run())
        finally:
            await self._intake.close()
            await self._aside.close()
            await self._spoke.close()

    def feed(self, update: object) -> Settled:
        """Take an update that Telegram brought by itself; what is returned is done when it is settled."""
        self._at("fetched")
        return self._intake.feed(update)

    async def on_message(self, parts: Sequence[Heard]) -> None:
        """Hand what belongs together to the hub as one message, and see to what it says of it."""
        heard = merged(parts)
        # Whose message would not be heard, their files are not fetched.
        refused = await self._spoke.would_take(announced(heard.message, heard.files)) if heard.files else None
        match refused or await self._spoke.submit(await self._whole(heard)):
            case Accepted(turn=turn):
                self._busy.begin(turn, heard.message.address)
                self._mark(turn, heard.message)
            case AlreadyAccepted(covers=covers):
                # Parts that came when the others had long been accepted are a message of their own.
                others = [part for part in parts if part.message.message_id not in covers]
                if len(others) < len(parts) and others:
                    await self.on_message(others)
            case Refused(reason="not addressed"):
                if self._settings.observes and heard.message.in_group:
                    self._overheard.hear(heard.message.address.scope_id, heard.message.user_name, heard.message.text)
            case Refused(text=words) if words:
                self._aside.do(self._tell(heard.message, words))

    async def on_action(self, action: Pressed | Halted | Moved) -> None:
        """A button, Telegram's own stop button, or a group that became a supergroup."""
        match action:
            case Moved(old=old, new=new):
                await self._spoke.move(old, new)
            case Halted(chat_id=chat, draft_id=number, user_id=user_id):
                draft = self._screen.drafted(chat, number)
                if draft is not None:
                    await self._spoke.stop(draft.address.scope_id, draft.turn, user_id)
            case Pressed():
                words = await self._press(action)
                # Until it is answered, the button seems to be at work.
                self._aside.do(
                    self._try(AnswerCallbackQuery(callback_query_id=action.query_id, text=clip(words, 200) or None))
                )

    async def send(self, reply: Reply) -> str:
        """Open a message of an answer."""
        self._busy.begin(reply.turn, reply.address)
        with self._ending(reply):
            return await self._screen.send(reply)

    async def edit(self, message_id: str, reply: Reply) -> Left | None:
        """Bring the answer's messages nearer to what it is now."""
        if reply.question is not None:
            # It is a person who is waited for.
            self._busy.end(reply.turn)
        elif not reply.is_final:
            self._busy.begin(reply.turn, reply.address)
        with self._ending(reply):
            left = await self._screen.edit(message_id, reply)
        if left is None and reply.is_final:
            self._ended(reply.turn)
        return left

    async def draft(self, reply: Reply) -> bool:
        """Show a growing answer as a draft."""
        return await self._screen.draft(reply)

    async def said(self, said: Said) -> None:
        """What was said to another screen, or is answered with another turn."""
        await self._screen.said(said)
        if said.joined is not None:
            self._ended(said.turn)

    async def erase(self, scope_id: str, until: float) -> None:
        """What a group said beside is all that is kept."""
        self._overheard.forget(scope_id)

    def _normalize(self, update: object) -> Normalized:
        return normalize(update, self._me, commands=COMMANDS)

    async def _whole(self, heard: Heard) -> InboundMessage:
        """The message with its files, and with what the group said before it."""
        message = await enclosed(heard.message, heard.files, self._download, self._spoke.keep)
        is_question = message.in_group and message.is_addressed and not message.text.startswith("/")
        before = self._overheard.take(message.address.scope_id) if is_question else ""
        return message.model_copy(update={"quoted": "\n\n".join(filter(None, (before, message.quoted))) or None})

    async def _download(self, file: File) -> bytes:
        return await self._client.download(file.file_id)

    async def _press(self, pressed: Pressed) -> str:
        """Do what a button means; words for who pressed it."""
        if pressed.message_id is None:
            return ""
        address, in_group = pressed.address, pressed.chat_id < 0
        who = presser(str(pressed.message_id), pressed.user_id, pressed.user_name, in_group, address)
        told = await press(self._spoke, pressed.data, who)
        if not isinstance(told, Accepted):
            return told
        self._busy.begin(told.turn, address)
        made = InlineKeyboardButton(text=clip(f"✓ {chosen(pressed.data)[1]}", 64), callback_data="-")
        shown = InlineKeyboardMarkup(inline_keyboard=[[made]])
        edit = EditMessageReplyMarkup(chat_id=pressed.chat_id, message_id=pressed.message_id, reply_markup=shown)
        self._aside.do(self._paced(address, edit))
        return ""

    async def _tell(self, message: InboundMessage, words: str) -> None:
        chat, thread = place(message.address)
        hanging = None
        if message.address.reply_to:
            hanging = ReplyParameters(message_id=int(message.address.reply_to), allow_sending_without_reply=True)
        await self._paced(
            message.address,
            SendMessage(
                chat_id=chat,
                message_thread_id=thread,
                text=clip(words, 4096),
                reply_parameters=hanging,
                link_preview_options=NO_PREVIEW,
            ),
        )

    async def _type(self, address: Address) -> None:
        chat, thread = place(address)
        if self._pace.is_silent(chat_of(address)):
            return
        try:
            await self._client.ask(SendChatAction(chat_id=chat, message_thread_id=thread, action="typing"))
        except NotNow as told:
            self._pace.silence(chat_of(address), told.seconds)
        except UNWRITABLE as error:
            logger.debug("nobody sees that we type: %s", error)

    def _mark(self, turn: str, message: InboundMessage) -> None:
        """Show that a message is taken, until it is answered, where that is wished."""
        if self._settings.reactions:
            self._marked[turn] = message
            self._aside.do(self._paced(message.address, _reaction(message, WAITING)))

    @contextmanager
    def _ending(self, reply: Reply) -> Iterator[None]:
        try:
            yield
        except Undeliverable:
            self._ended(reply.turn)
            raise

    def _ended(self, turn: str) -> None:
        self._busy.end(turn)
        self._screen.forget(turn)
        marked = self._marked.pop(turn, None)
        if marked is not None:
            self._aside.do(self._paced(marked.address, _reaction(marked)))

    async def _keep_drafts(self) -> None:
        for draft in self._screen.fading():
            chat = chat_of(draft.address)
            if self._pace.is_silent(chat):
                continue
            try:
                # Where somebody writes for long, others must be seen to type meanwhile.
                async with asyncio.timeout(TYPING_EVERY), self._pace.leave(chat):
                    await self._screen.keep(draft)
            except NotNow as told:
                self._pace.silence(chat, told.seconds)
            except (*UNWRITABLE, Undeliverable, TimeoutError) as error:
                logger.debug("a draft is not kept: %s", error)

    async def _paced(self, address: Address, method: TelegramMethod[Any]) -> None:
        await self._aside.write(chat_of(address), lambda: self._client.ask(method))

    async def _try(self, method: TelegramMethod[Any]) -> None:
        with suppress(*UNWRITABLE):
            await self._client.ask(method)


def _reaction(message: InboundMessage, *emoji: str) -> SetMessageReaction:
    chat, _ = place(message.address)
    reaction = [ReactionTypeEmoji(emoji=one) for one in emoji]
    return SetMessageReaction(chat_id=chat, message_id=int(message.message_id), reaction=list(reaction))
