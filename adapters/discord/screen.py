"""Answers as they stand in a channel: which message shows what by now, and the one write that brings it nearer."""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from discord.http import Route

from adapters.chat.buttons import Button, below
from adapters.chat.raw import object_of, text_of
from adapters.chat.trouble import Rejected, Unauthorized, Unreachable
from adapters.chat.view import Slot, View
from adapters.discord.client import Client, Upload
from adapters.discord.commands import Commands, original
from adapters.discord.layout import in_markdown
from adapters.spoke import Gone, Left, NotNow, Reply, Undeliverable
from factory_contracts.messages import Address, Attachment

logger = logging.getLogger(__name__)

VIEWS_KEPT = 10_000
EMPTY = "…"
UNREACHED = 1.0
NOT_KNOWN = 30.0
MOST_CUSTOM_ID = 100
BUTTONS_IN_ROW = 5
FILE_BYTES = 10 * 1024 * 1024
SUPPRESS_EMBEDS = 1 << 2
SECONDARY = 2
NOBODY: dict[str, list[str]] = {"parse": []}

_MESSAGES = "/channels/{channel_id}/messages"
_MESSAGE = "/channels/{channel_id}/messages/{message_id}"

UNKNOWN_MESSAGE = 10008
ARCHIVED = 50083
NO_HISTORY = 160002
# The answer under a command cannot be written any more: its time is over, or it was deleted.
TOO_LATE = (10015, 10062, 50027)
# Asked again tomorrow, Discord would say the same: no such channel, no access, no permission, a closed direct message,
# a thread that is locked.
FOR_GOOD = (10003, 10004, 40333, 50001, 50007, 50008, 50013, 50024, 50278, 160005)

Read = Callable[[Attachment], Awaitable[bytes | None]]


@dataclass(slots=True)
class _View(View[str]):
    """An answer, and how many of its messages were deleted under our hands."""

    losses: int = 0


class Screen:
    """One bot's channels as a spoke writes on them; `room` is how many bytes a file may have in a channel."""

    def __init__(self, client: Client, commands: Commands, read: Read, room: Callable[[str], int]) -> None:
        self._client = client
        self._commands = commands
        self._read = read
        self._room = room
        self._views: OrderedDict[str, _View] = OrderedDict()

    async def send(self, reply: Reply) -> str:
        """Open a message with a few words; whole are only files. Sent again within minutes, it is the same message."""
        view = self._view(reply.turn)
        index = len(reply.parts)
        slot = view.slot(index)
        if index == 0 and (message := await self._begin_original(reply)):
            return message
        body: dict[str, Any] = {
            "nonce": nonce(reply.turn, index, view.losses),
            "enforce_nonce": True,
            "allowed_mentions": NOBODY,
            "flags": SUPPRESS_EMBEDS,
        }
        if reply.address.reply_to and index == 0:
            # In a guild an answer hangs on what it answers, if that still stands.
            body["message_reference"] = {"message_id": reply.address.reply_to, "fail_if_not_exists": False}
        route = messages_in("POST", reply.address.scope_id)
        try:
            if slot.file is None:
                sent = await self._write(route, body | {"content": reply.text})
            else:
                sent = await self._attach(reply, slot.file, route, body)
        except Rejected as error:
            raise Undeliverable(str(error)) from None
        message = _id_of(sent)
        if slot.file is not None:
            view.shown[message] = slot
        return message

    async def edit(self, message_id: str, reply: Reply) -> Left | None:
        """Write what is wanted first and not shown yet."""
        view = self._view(reply.turn)
        view.want(reply, below(reply, MOST_CUSTOM_ID))
        parts = (message_id, *reply.parts[1:])
        due = view.due(parts)
        if due is not None and due < len(parts):
            await self._bring(view, reply, due, parts[due])
            due = view.due(parts)
        if due is None and reply.is_final:
            self.forget(reply.turn)
        return None if due is None else "write" if due < len(parts) else "open"

    def forget(self, turn: str) -> None:
        """The answer is whole on the screen, or never will be."""
        self._views.pop(turn, None)

    async def _begin_original(self, reply: Reply) -> str | None:
        """The id of the message under a command, with the first words in it; None where it cannot be written."""
        command = await self._commands.original(reply.turn)
        if command is None:
            return None
        body = {"content": reply.text, "allowed_mentions": NOBODY, "flags": SUPPRESS_EMBEDS}
        try:
            return _id_of(await self._write(original("PATCH", command), body))
        except Rejected as error:
            logger.info("a command is answered beside it: %s", error)
            self._commands.end(reply.turn)
            return None

    async def _bring(self, view: _View, reply: Reply, index: int, message: str) -> None:
        """Have a message show what it is to show."""
        slot = view.slot(index)
        channel = reply.address.scope_id
        is_surplus = index >= len(view.wanted)
        try:
            if slot.is_surplus:
                await self._write(message_in("DELETE", channel, message))
            elif slot.file is not None:
                body = {"allowed_mentions": NOBODY, "flags": SUPPRESS_EMBEDS}
                await self._attach(reply, slot.file, message_in("PATCH", channel, message), body)
            else:
                await self._edit(reply.turn, index, _shown(slot), message_in("PATCH", channel, message))
        except Rejected as error:
            if is_surplus:
                logger.info("a message that is too many stays: %s", error)
            elif error.code == UNKNOWN_MESSAGE:
                view.losses += 1
                raise Gone(index) from None
            elif slot.file is not None:
                logger.warning("a file cannot be sent: %s", error)
            elif not view.layout.simpler():
                raise Undeliverable(str(error)) from None
            else:
                logger.warning("what Discord refuses is written more simply: %s", error)
                view.shown.clear()
                view.want(reply, below(reply, MOST_CUSTOM_ID))
                return
        view.shown[message] = slot

    async def _edit(self, turn: str, index: int, body: dict[str, Any], route: Route) -> None:
        """Edit a message: the answer to a command as such for as long as that can be, which needs no permission."""
        command = await self._commands.original(turn) if index == 0 else None
        if command is not None:
            try:
                await self._write(original("PATCH", command), body)
                return
            except Rejected as error:
                if error.code not in TOO_LATE:
                    raise
                logger.info("an answer goes on as a message like all: %s", error)
                self._commands.end(turn)
        await self._write(route, body)

    async def _attach(self, reply: Reply, file: Attachment, route: Route, body: dict[str, Any]) -> Any:
        """Have a message hold a file; words, where the file is not to be had, too large or refused."""
        named = file.name or "file"
        if file.size > self._room(reply.address.scope_id):
            return await self._write(route, body | _only(f"📎 {named}: too large for Discord, {file.size} bytes"))
        data = await self._read(file)
        if data is None:
            return await self._write(route, body | _only(f"📎 {named}"))
        held = _only("") | {"attachments": [{"id": 0, "filename": named}]}
        try:
            return await self._write(route, body | held, (Upload(named, data),))
        except Rejected as error:
            if error.code == UNKNOWN_MESSAGE:
                raise
            logger.warning("a file cannot be sent: %s", error)
            return await self._write(route, body | _only(f"📎 {named}: Discord does not take it."))

    async def _write(self, route: Route, body: dict[str, Any] | None = None, files: tuple[Upload, ...] = ()) -> Any:
        """Have it done; where Discord cannot be reached, the place rests a moment."""
        try:
            return await write(self._client, route, body, files)
        except Rejected as error:
            if error.code == ARCHIVED and route.channel_id is not None:
                await self._wake(str(route.channel_id))
                raise NotNow(0.0) from None
            if error.code in FOR_GOOD:
                raise Undeliverable(str(error)) from None
            raise
        except Unreachable as error:
            logger.warning("not written, trying again: %s", error)
            raise NotNow(UNREACHED) from None
        except Unauthorized as error:
            logger.error("not written, trying again: %s", error)
            raise NotNow(NOT_KNOWN) from None

    async def _wake(self, thread: str) -> None:
        """Take a thread out of the archive, where nothing can be edited."""
        try:
            await self._client.ask(Route("PATCH", "/channels/{channel_id}", channel_id=thread), {"archived": False})
        except Rejected as error:
            raise Undeliverable(str(error)) from None
        except (Unreachable, Unauthorized):
            raise NotNow(UNREACHED) from None

    def _view(self, turn: str) -> _View:
        view = self._views.get(turn)
        if view is None:
            view = self._views[turn] = _View(in_markdown(), EMPTY)
            if len(self._views) > VIEWS_KEPT:
                self.forget(next(iter(self._views)))
        return view


async def write(
    client: Client, route: Route, body: dict[str, Any] | None = None, files: tuple[Upload, ...] = ()
) -> Any:
    """Have it done; where what was said may not be read, the message hangs on nothing. Raises as `Client.ask`."""
    try:
        return await client.ask(route, body, files=files)
    except Rejected as error:
        if error.code != NO_HISTORY or body is None:
            raise
        alone = {key: value for key, value in body.items() if key != "message_reference"}
        return await client.ask(route, alone, files=files)


def messages_in(method: str, channel: str) -> Route:
    """The messages of a channel."""
    return Route(method, _MESSAGES, channel_id=channel)


def message_in(method: str, channel: str, message: str) -> Route:
    """One of them."""
    return Route(method, _MESSAGE, channel_id=channel, message_id=message)


def nonce(turn: str, part: int, losses: int = 0) -> str:
    """What Discord knows a message by before it has an id; where the message was deleted, the next is another."""
    return sha256(f"{turn} {part} {losses}".encode()).hexdigest()[:25]


def row(buttons: tuple[Button, ...], *, is_disabled: bool = False) -> list[dict[str, Any]]:
    """Buttons as Discord takes them."""
    shown = [
        {"type": 2, "style": SECONDARY, "label": text[:80], "custom_id": data, "disabled": is_disabled}
        for text, data in buttons
    ]
    return [
        {"type": 1, "components": shown[start : start + BUTTONS_IN_ROW]}
        for start in range(0, len(shown), BUTTONS_IN_ROW)
    ]


def notice(words: str, address: Address) -> dict[str, Any]:
    """A message that says something of our own."""
    body: dict[str, Any] = {"content": words, "allowed_mentions": NOBODY, "flags": SUPPRESS_EMBEDS}
    if address.reply_to:
        body["message_reference"] = {"message_id": address.reply_to, "fail_if_not_exists": False}
    return body


def _shown(slot: Slot[str]) -> dict[str, Any]:
    return {
        "content": slot.page,
        "components": row(slot.buttons),
        "allowed_mentions": NOBODY,
        "flags": SUPPRESS_EMBEDS,
    }


def _only(words: str) -> dict[str, Any]:
    """These words, and nothing else of what a message held."""
    return {"content": words, "components": [], "attachments": []}


def _id_of(sent: object) -> str:
    """The id of what was sent; sent again with its nonce, it is told again."""
    id = text_of(object_of(sent).get("id"))
    if not id:
        logger.warning("Discord did not tell which message was sent, trying again")
        raise NotNow(UNREACHED)
    return id
