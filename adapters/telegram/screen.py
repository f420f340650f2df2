"""Answers as they stand in a chat: which message shows what by now, and the one write that brings it nearer."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar
from zlib import crc32

from adapters.chat.buttons import Button, below
from adapters.chat.trouble import Barred, Rejected, Unauthorized, Unreachable
from adapters.chat.view import Slot, View
from adapters.spoke import Gone, Left, NotNow, Reply, Undeliverable
from adapters.telegram.client import FILE_SECONDS, NO_METHOD, Client, reasons
from adapters.telegram.layout import Page, in_style
from adapters.telegram.sdk import (
    BufferedInputFile,
    DeleteMessage,
    EditMessageMedia,
    EditMessageText,
    GetMe,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaAudio,
    InputMediaDocument,
    InputMediaPhoto,
    InputMediaUnion,
    InputMediaVideo,
    InputRichMessage,
    LinkPreviewOptions,
    Message,
    MessageEntity,
    ReplyParameters,
    SendMessage,
    SendMessageDraft,
    SendRichMessage,
    SendRichMessageDraft,
    SendVoice,
    TelegramMethod,
)
from adapters.telegram.settings import Stream, Style
from factory_contracts.messages import Address, Attachment, Said

logger = logging.getLogger(__name__)

VIEWS_KEPT = 10_000
UNREACHED = 1.0
# So often a file is tried that does not get through though words do.
UPLOADS = 3
DRAFT_KEPT = 20.0
EMPTY = Page("…")
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
MOST_DATA = 64
PHOTO_BYTES = 10 * 1024 * 1024

T = TypeVar("T")
Read = Callable[[Attachment], Awaitable[bytes | None]]


class _Unreached(NotNow):
    """Telegram cannot be reached; the place rests a moment."""


@dataclass(slots=True)
class _View(View[Page]):
    """An answer, what of it was shown as a draft, and how often each of its files did not get through."""

    drafted: Page | None = None
    is_draftless: bool = False
    failed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in a private chat while an answer grows, and when it was last put there."""

    turn: str
    address: Address
    method: TelegramMethod[bool]
    at: float


class Screen:
    """One bot's chats as a spoke writes on them."""

    def __init__(self, client: Client, style: Style, stream: Stream, read: Read, clock: Callable[[], float]) -> None:
        self._client = client
        self._style: Style = style
        self._stream = stream
        self._read = read
        self._clock = clock
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._drafts: dict[tuple[int, int], Draft] = {}

    async def send(self, reply: Reply) -> str:
        """Open a message with a few words; whole are only an answer whose drafts were seen, and a voice."""
        view = self._view(reply.turn)
        # Telegram takes a draft away when a message comes.
        self._end_draft(reply.turn)
        index = len(reply.parts)
        slot = view.slot(index)
        if slot.file is not None and slot.file.kind == "voice":
            voice = await self._send_voice(view, reply, slot.file)
            if voice is not None:
                view.shown[voice] = slot
                return voice
        if reply.is_final:
            view.want(reply, below(reply, MOST_DATA))
            return await self._send_whole(view, reply)
        words = reply.text if slot.file is None else f"📎 {slot.file.name}"
        try:
            return str((await self._write(_send(reply, Slot(Page(words))))).message_id)
        except Rejected as error:
            # Asked again tomorrow, Telegram would say the same.
            raise Undeliverable(str(error)) from None

    async def edit(self, message_id: str, reply: Reply) -> Left | None:
        """Write what is wanted first and not shown yet."""
        view = self._view(reply.turn)
        view.want(reply, below(reply, MOST_DATA))
        parts = (message_id, *reply.parts[1:])
        due = view.due(parts)
        if due is not None and due < len(parts):
            await self._bring(view, reply, due, parts[due])
            due = view.due(parts)
        if due is None and reply.is_final:
            self.forget(reply.turn)
        return None if due is None else "write" if due < len(parts) else "open"

    async def said(self, said: Said) -> None:
        """The platform shows by itself what people say; a turn that is answered with another needs no view."""
        if said.joined is not None:
            self.forget(said.turn)

    async def draft(self, reply: Reply) -> bool:
        """Show a growing answer as a draft: in a private chat, where that is wished and not refused."""
        view = self._view(reply.turn)
        chat, _ = place(reply.address)
        if self._stream != "draft" or chat < 0 or view.is_draftless:
            return False
        page = view.layout.pages(reply.text, reply.activity, False)[-1]
        if view.drafted != page:
            method = _draft(reply, page)
            try:
                await self._write(method)
            except Rejected as error:
                logger.warning("a draft is refused: %s", error)
                has_none = reasons(error, NO_METHOD) and not page.rich
                view.is_draftless = has_none or not view.layout.simpler()
                return await self.draft(reply)
            view.drafted = page
            self._drafts[chat, draft_id(reply.turn)] = Draft(reply.turn, reply.address, method, self._clock())
        return True

    def drafted(self, chat: int, number: int) -> Draft | None:
        """The draft of this number."""
        return self._drafts.get((chat, number))

    def fading(self) -> tuple[Draft, ...]:
        """The drafts that Telegram is about to take away, because they did not change for long."""
        return tuple(draft for draft in self._drafts.values() if self._clock() - draft.at > DRAFT_KEPT)

    async def keep(self, draft: Draft) -> None:
        """Put a draft there again, as it was, if it still stands."""
        key = place(draft.address)[0], draft_id(draft.turn)
        if self._drafts.get(key) is draft:
            await self._write(draft.method)
            self._drafts[key] = replace(draft, at=self._clock())

    def forget(self, turn: str) -> None:
        """The answer is whole on the screen, or never will be."""
        self._views.pop(turn, None)
        self._end_draft(turn)

    def _end_draft(self, turn: str) -> None:
        for key in [key for key, draft in self._drafts.items() if draft.turn == turn]:
            del self._drafts[key]

    async def _send_voice(self, view: _View, reply: Reply, file: Attachment) -> str | None:
        """The message with a voice; None where it is to be sent as a file, because not everybody takes a voice."""
        data = await self._read(file)
        if data is None:
            return None
        chat, thread = place(reply.address)
        voice = BufferedInputFile(data, file.name or "voice.ogg")
        try:
            sent = await self._upload(view, file, SendVoice(chat_id=chat, message_thread_id=thread, voice=voice))
        except Rejected as error:
            logger.info("a voice is sent as a file: %s", error)
            return None
        return str(sent.message_id)

    async def _send_whole(self, view: _View, reply: Reply) -> str:
        """The first message of an answer as it will stay; in a simpler style where Telegram refuses it."""
        while True:
            try:
                sent = await self._write(_send(reply, view.wanted[0]))
            except Rejected as error:
                if not view.layout.simpler():
                    raise Undeliverable(str(error)) from None
                view.want(reply, below(reply, MOST_DATA))
            else:
                view.shown[str(sent.message_id)] = view.wanted[0]
                return str(sent.message_id)

    async def _bring(self, view: _View, reply: Reply, index: int, message: str) -> None:
        """Have a message show what it is to show."""
        slot, chat = view.slot(index), place(reply.address)[0]
        is_surplus = index >= len(view.wanted)
        try:
            if slot.is_surplus:
                await self._write(DeleteMessage(chat_id=chat, message_id=int(message)))
            elif slot.file is None:
                await self._write(_edit(chat, int(message), slot))
            else:
                await self._attach(view, chat, int(message), slot.file)
        except Rejected as error:
            if is_surplus:
                logger.info("a message that is too many stays: %s", error)
            elif is_gone(error):
                raise Gone(index) from None
            elif slot.file is not None:
                logger.warning("a file cannot be sent: %s", error)
            elif not reasons(error, "message is not modified"):
                if not view.layout.simpler():
                    raise Undeliverable(str(error)) from None
                logger.warning("what Telegram refuses is written more simply: %s", error)
                view.shown.clear()
                view.want(reply, below(reply, MOST_DATA))
                return
        view.shown[message] = slot

    async def _attach(self, view: _View, chat: int, message: int, file: Attachment) -> None:
        """Put a file where its name stands; what Telegram does not take for what it says it is goes as a document."""
        data = await self._read(file)
        if data is None:
            return
        media = _media(file, data)
        try:
            await self._upload(view, file, EditMessageMedia(chat_id=chat, message_id=message, media=media))
        except Rejected as error:
            if isinstance(media, InputMediaDocument) or is_gone(error):
                raise
            logger.info("%s is sent as a document: %s", file.kind, error)
            document = InputMediaDocument(media=BufferedInputFile(data, file.name or "file"))
            await self._upload(view, file, EditMessageMedia(chat_id=chat, message_id=message, media=document))

    async def _upload(self, view: _View, file: Attachment, method: TelegramMethod[T]) -> T:
        """Have a file sent; one that does not get through again and again is refused."""
        if view.failed[file.blob] >= UPLOADS:
            raise Rejected("it does not get through")
        try:
            return await self._write(method, FILE_SECONDS)
        except _Unreached:
            # Where nothing gets through, it is not the file.
            await self._write(GetMe())
            view.failed[file.blob] += 1
            raise

    async def _write(self, method: TelegramMethod[T], timeout: int | None = None) -> T:
        """Have it done; where Telegram cannot be reached, the place rests a moment."""
        try:
            return await self._client.ask(method, timeout=timeout)
        except Barred as error:
            raise Undeliverable(str(error)) from None
        except (Unreachable, Unauthorized) as error:
            logger.warning("not written, trying again: %s", error)
            raise _Unreached(UNREACHED) from None

    def _view(self, turn: str) -> _View:
        view = self._views.get(turn)
        if view is None:
            view = self._views[turn] = _View(in_style(self._style), EMPTY)
            if len(self._views) > VIEWS_KEPT:
                self.forget(next(iter(self._views)))
        return view


def place(address: Address) -> tuple[int, int | None]:
    """The chat that an address lies in, and its topic."""
    return int(address.scope_id.partition("/")[0]), int(address.thread) if address.thread else None


def is_gone(error: Exception) -> bool:
    """Whether Telegram says that there is no such message to be edited."""
    return reasons(error, "message to edit not found", "message_id_invalid", "message can't be edited")


def draft_id(turn: str) -> int:
    """The number by which Telegram knows a turn's draft; the same in every process."""
    return crc32(turn.encode()) or 1


def _send(reply: Reply, slot: Slot[Page]) -> TelegramMethod[Message]:
    chat, thread = place(reply.address)
    asked = reply.address.reply_to if not reply.parts else None
    # In a group an answer hangs on what it answers, if that still stands.
    hanging = ReplyParameters(message_id=int(asked), allow_sending_without_reply=True) if asked else None
    if slot.page.rich:
        return SendRichMessage(
            chat_id=chat,
            message_thread_id=thread,
            rich_message=InputRichMessage(html=slot.page.rich),
            reply_parameters=hanging,
            reply_markup=_keyboard(slot.buttons),
        )
    return SendMessage(
        chat_id=chat,
        message_thread_id=thread,
        text=slot.page.text,
        entities=_entities(slot.page),
        reply_parameters=hanging,
        reply_markup=_keyboard(slot.buttons),
        link_preview_options=NO_PREVIEW,
    )


def _edit(chat: int, message: int, slot: Slot[Page]) -> EditMessageText:
    keyboard = _keyboard(slot.buttons)
    if slot.page.rich:
        rich = InputRichMessage(html=slot.page.rich)
        return EditMessageText(chat_id=chat, message_id=message, rich_message=rich, reply_markup=keyboard)
    return EditMessageText(
        chat_id=chat,
        message_id=message,
        text=slot.page.text,
        entities=_entities(slot.page),
        reply_markup=keyboard,
        link_preview_options=NO_PREVIEW,
    )


def _draft(reply: Reply, page: Page) -> TelegramMethod[bool]:
    chat, thread = place(reply.address)
    number = draft_id(reply.turn)
    if page.rich:
        return SendRichMessageDraft(
            chat_id=chat,
            draft_id=number,
            message_thread_id=thread,
            rich_message=InputRichMessage(html=page.rich),
            can_stop=True,
        )
    return SendMessageDraft(
        chat_id=chat,
        draft_id=number,
        message_thread_id=thread,
        text=page.text,
        entities=_entities(page),
        can_stop=True,
    )


def _media(file: Attachment, data: bytes) -> InputMediaUnion:
    content = BufferedInputFile(data, file.name or "file")
    match file.kind:
        case "image" if len(data) <= PHOTO_BYTES:
            return InputMediaPhoto(media=content)
        case "audio" | "voice":
            return InputMediaAudio(media=content)
        case "video":
            return InputMediaVideo(media=content)
        case _:
            return InputMediaDocument(media=content)


def _keyboard(buttons: tuple[Button, ...]) -> InlineKeyboardMarkup | None:
    if not buttons:
        return None
    rows = [[InlineKeyboardButton(text=text, callback_data=data)] for text, data in buttons]
    return InlineKeyboardMarkup(inline_keyboard=rows)


def _entities(page: Page) -> list[MessageEntity] | None:
    return [MessageEntity(**entity.as_dict()) for entity in page.entities] or None
