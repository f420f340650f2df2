"""One Discord bot: what people do becomes messages for the hub, what the hub tells is shown."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from discord.http import Route

from adapters.chat.aside import Aside
from adapters.chat.busy import Busy
from adapters.chat.buttons import chosen, press, presser
from adapters.chat.enclosed import announced, enclosed
from adapters.chat.overheard import Overheard
from adapters.chat.speaker import one_line
from adapters.chat.text import clip
from adapters.chat.trouble import Rejected, Unauthorized, Unreachable
from adapters.discord.client import Account, Client
from adapters.discord.commands import DEFERRED_UPDATE, Commands, defer, followup, original
from adapters.discord.intake import Intake
from adapters.discord.layout import MOST_UNITS
from adapters.discord.memory import Memory
from adapters.discord.menu import register
from adapters.discord.normalize import PLATFORM, File, Heard, Me, Normalized, Pressed, Seen, id_at, normalize
from adapters.discord.screen import (
    FILE_BYTES,
    NOBODY,
    SUPPRESS_EMBEDS,
    Screen,
    message_in,
    messages_in,
    notice,
    row,
    write,
)
from adapters.discord.settings import BotSettings, DiscordSettings
from adapters.lease import Lease
from adapters.pace import Pace, Rhythm
from adapters.spoke import Left, NotNow, Reply, Spoke, Undeliverable
from factory_contracts.messages import (
    Accepted,
    Address,
    AlreadyAccepted,
    InboundMessage,
    Refused,
    Said,
    turn_id,
)
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

# What was seen to go well: five writes in five seconds in a channel; and what is documented: fifty a second in all.
PAUSE = 1.2
BETWEEN = 1 / 45
# Discord shows it for ten seconds.
TYPING_EVERY = 8.0
TRY_AGAIN = 1.0
# So long a message may have been in the hands of another process that died with it.
UNSETTLED = 10.0
WAITING = "👀"
EPHEMERAL = 1 << 6
# By the level that a guild was boosted to.
ROOMS = {2: 50 * 1024 * 1024, 3: 100 * 1024 * 1024}
HAS_THREAD = 160004
MOST_TITLE = 100
MINUTES_TO_ARCHIVE = 1440
UNWRITABLE = (NotNow, Rejected, Unreachable, Unauthorized)


def standard_pace() -> Pace:
    """How fast one bot may write."""
    return Pace(lambda channel: Rhythm(gap=PAUSE), BETWEEN)


class Bot:
    """One bot, joined to the hub: its spoke writes on it as on a screen, and its intake submits to its spoke."""

    def __init__(
        self,
        settings: DiscordSettings,
        bot: BotSettings,
        account: Account,
        client: Client,
        transport: Transport,
        *,
        pace: Pace,
        lease: Lease | None = None,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._settings = settings
        self._account = account
        self._me = Me(account.id, bot.bot_id, settings.dedicated)
        self._client = client
        self._pace = pace
        self._memory = Memory(bot.cursors)
        if lease is not None and lease.generation is not None:
            if lease.stood_by is None:
                self._memory.speak(lease.generation)
            else:
                generation, until = lease.stood_by
                self._memory.follow(generation, lease.generation, id_at(until - UNSETTLED))
        self._spoke = Spoke(
            transport, PLATFORM, bot.bot_id, self, notes=bot.notes, pace=pace, remains=self, lease=lease, at=at
        )
        self._commands = Commands(client, self._memory)
        self._screen = Screen(client, self._commands, self._spoke.read, self._room)
        self._busy = Busy(self._type, TYPING_EVERY)
        self._intake = Intake(client, self._memory, self._normalize, self.on_message, self.on_press, at=at)
        self._aside = Aside(pace, UNWRITABLE)
        self._overheard = Overheard()
        self._roles: set[str] = set()
        self._ours: set[str] = set()
        self._guilds: dict[str, str] = {}
        self._rooms: dict[str, int] = {}
        self._marked: dict[str, InboundMessage] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            for event in self._memory.commands():
                # Nobody will tell us of them again.
                self.feed(event)
            async with asyncio.TaskGroup() as group:
                # Discord waits three seconds for a word on a command, also while the hub is away.
                group.create_task(self._client.listen(self.feed))
                group.create_task(self._spoke.start())
                group.create_task(self._busy.run())
                group.create_task(register(self._client, self._memory, self._account.application))
        finally:
            await self._intake.close()
            await self._aside.close()
            await self._spoke.close()
            self._memory.close()

    def feed(self, event: object) -> None:
        """Take an event of the gateway."""
        read = self._intake.feed(event)
        match read:
            case Seen():
                self._look_around(read)
            case Heard(command=command) if command is not None:
                self._commands.begin(self._turn(read), command, event)
                self._aside.do(self._commands.defer(self._turn(read)), is_needed=True)
            case _:
                pass

    async def on_message(self, heard: Heard) -> None:
        """Hand a message to the hub, and see to what it says of it."""
        is_to_move = self._settings.threads and heard.is_threadable
        # Whose message would not be heard, their files are not fetched, and no thread is begun for them.
        asks_first = heard.files or is_to_move
        refused = await self._spoke.would_take(announced(heard.message, heard.files)) if asks_first else None
        if is_to_move and refused is None:
            heard = await self._threaded(heard)
        match refused or await self._spoke.submit(await self._whole(heard)):
            case Accepted(turn=turn):
                self._busy.begin(turn, heard.message.address)
                if heard.command is None:
                    self._mark(turn, heard.message)
            case AlreadyAccepted():
                pass
            case Refused(reason="not addressed"):
                if self._settings.observes and heard.message.in_group:
                    self._overheard.hear(heard.channel, heard.message.user_name, heard.message.text)
            case Refused(text=words):
                self._aside.do(self._tell(heard, words), is_needed=heard.command is not None)

    async def on_press(self, pressed: Pressed) -> None:
        """A button."""
        await defer(self._client, pressed.command, DEFERRED_UPDATE)
        address, who = pressed.address, (pressed.user_id, pressed.user_name)
        told = await press(self._spoke, pressed.data, presser(pressed.message_id, *who, pressed.in_group, address))
        if isinstance(told, Accepted):
            self._busy.begin(told.turn, address)
            made = row(((f"✓ {chosen(pressed.data)[1]}", "-"),), is_disabled=True)
            shown = {"components": made, "allowed_mentions": NOBODY}
            self._aside.do(self._paced(address, message_in("PATCH", address.scope_id, pressed.message_id), shown))
        elif told:
            flags = EPHEMERAL | SUPPRESS_EMBEDS
            body = {"content": clip(told, MOST_UNITS), "flags": flags, "allowed_mentions": NOBODY}
            await self._try(followup(pressed.command), body)

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

    async def said(self, said: Said) -> None:
        """What was said to another screen, or is answered with another turn."""
        if said.joined is not None:
            await self._unanswered(said.turn)
            self._ended(said.turn)

    async def erase(self, scope_id: str, until: float) -> None:
        """What a channel said beside is kept, and commands in a file, also those that are over."""
        self._overheard.forget(scope_id)
        self._memory.tidy()

    def _normalize(self, event: object) -> Normalized:
        return normalize(event, self._me, roles=self._roles, ours=self._ours)

    def _turn(self, heard: Heard) -> str:
        return turn_id(PLATFORM, self._me.bot_id, heard.message.address.scope_id, heard.message.message_id)

    def _look_around(self, seen: Seen) -> None:
        """Keep in mind where we are: whose threads are ours, what means us, and how large a file may be where."""
        self._roles |= seen.roles
        if seen.tier is not None:
            self._rooms[seen.guild] = ROOMS.get(seen.tier, FILE_BYTES)
        for place in seen.places:
            self._guilds[place.id] = place.guild
            if place.is_ours:
                self._ours.add(place.id)

    def _room(self, channel: str) -> int:
        return self._rooms.get(self._guilds.get(channel, ""), FILE_BYTES)

    async def _threaded(self, heard: Heard) -> Heard:
        """The message with a thread of its own to be answered in; as it is, where there can be none."""
        title = clip(one_line(heard.message.text), MOST_TITLE) or "…"
        path = "/channels/{channel_id}/messages/{message_id}/threads"
        route = Route("POST", path, channel_id=heard.channel, message_id=heard.id)
        while True:
            try:
                await self._client.ask(route, {"name": title, "auto_archive_duration": MINUTES_TO_ARCHIVE})
            except Rejected as error:
                if error.code != HAS_THREAD:
                    logger.info("no thread is begun: %s", error)
                    return heard
            except NotNow as told:
                await asyncio.sleep(told.seconds)
                continue
            except (Unreachable, Unauthorized) as error:
                logger.info("a thread is not begun yet: %s", error)
                await asyncio.sleep(TRY_AGAIN)
                continue
            break
        # The thread of a message has its id.
        self._ours.add(heard.id)
        self._guilds[heard.id] = self._guilds.get(heard.channel, "")
        address = heard.message.address.model_copy(update={"scope_id": heard.id, "thread": heard.id, "reply_to": None})
        return Heard(heard.channel, heard.id, heard.message.model_copy(update={"address": address}), heard.files)

    async def _whole(self, heard: Heard) -> InboundMessage:
        """The message with its files, and with what the channel said before it."""
        message = await enclosed(heard.message, heard.files, self._download, self._spoke.keep)
        is_question = message.in_group and message.is_addressed and not message.text.startswith("/")
        before = self._overheard.take(heard.channel) if is_question else ""
        return message.model_copy(update={"quoted": "\n\n".join(filter(None, (before, message.quoted))) or None})

    async def _download(self, file: File) -> bytes:
        return await self._client.download(file.url)

    async def _tell(self, heard: Heard, words: str) -> None:
        """Say why a message is no turn, where it was said; nothing, where silence is the answer."""
        address = heard.message.address
        command = await self._commands.original(self._turn(heard)) if heard.command is not None else None
        if command is not None:
            if words:
                body = {"content": clip(words, MOST_UNITS), "allowed_mentions": NOBODY, "flags": SUPPRESS_EMBEDS}
                await self._paced(address, original("PATCH", command), body)
                self._commands.end(self._turn(heard))
            else:
                await self._unanswered(self._turn(heard))
        elif words:
            await self._paced(address, messages_in("POST", address.scope_id), notice(clip(words, MOST_UNITS), address))

    async def _unanswered(self, turn: str) -> None:
        """Take away what says that a command is worked on, which nobody does."""
        command = await self._commands.original(turn)
        if command is not None:
            await self._try(original("DELETE", command))
            self._commands.end(turn)

    async def _type(self, address: Address) -> None:
        if self._pace.is_silent(address.scope_id):
            return
        await self._try(Route("POST", "/channels/{channel_id}/typing", channel_id=address.scope_id))

    def _mark(self, turn: str, message: InboundMessage) -> None:
        """Show that a message is taken, until it is answered, where that is wished."""
        if self._settings.reactions:
            self._marked[turn] = message
            self._aside.do(self._paced(message.address, _reaction("PUT", message)))

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
        self._commands.end(turn)
        marked = self._marked.pop(turn, None)
        if marked is not None:
            self._aside.do(self._paced(marked.address, _reaction("DELETE", marked)))

    async def _paced(self, address: Address, route: Route, body: dict[str, Any] | None = None) -> None:
        await self._aside.write(address.scope_id, lambda: write(self._client, route, body))

    async def _try(self, route: Route, body: dict[str, Any] | None = None) -> None:
        with suppress(*UNWRITABLE):
            await self._client.ask(route, body)


def _reaction(method: str, message: InboundMessage) -> Route:
    path = "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me"
    channel = message.address.scope_id
    return Route(method, path, channel_id=channel, message_id=message.message_id, emoji=WAITING)
