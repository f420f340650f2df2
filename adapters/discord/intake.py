"""What people write, in the order of each channel, and what was written while we were away, in the same order.

How far a channel is read moves only when what was read is accepted, refused or nothing for us. A new session of the
gateway tells nothing of what came before, which is then read from the history, in front of what comes meanwhile.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from discord.http import Route

from adapters.chat.raw import object_of
from adapters.chat.trouble import Rejected, Unauthorized, Unreachable
from adapters.discord.client import Client
from adapters.discord.memory import ANYWHERE, Memory
from adapters.discord.normalize import Begun, Heard, Ignored, Normalized, Passed, Pressed, Seen, id_at
from adapters.pace import Pace, Rhythm
from adapters.spoke import NotNow, survived

logger = logging.getLogger(__name__)

# So much of what was written in a channel while we were away is read, and nothing that is older.
MOST_MISSED = 500
OLDEST_MISSED = 24 * 3600.0
PAGE = 100
READ_AT_ONCE = 5
# What was settled lately comes again from the history, or when a session is resumed.
SETTLED_KEPT = 10_000
BACK_OFF = (0.5, 30.0)
# Who is refused ten thousand times in ten minutes is shut out by Discord. Of the channels that are hidden from us so
# many are asked for at once, and then one now and then: a tenth of that.
REFUSALS = Rhythm(every=1.2, saved=500)

Take = Callable[[Heard], Awaitable[None]]
Act = Callable[[Pressed], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Missed:
    """What may have been written in a channel after a message; `newest` is the last that the guild told of."""

    channel: str
    guild: str
    after: int
    newest: int = 0


class Intake:
    """Hands what comes to those who take it: one thing at a time in a channel, channels side by side."""

    def __init__(
        self,
        client: Client,
        memory: Memory,
        read: Callable[[object], Normalized],
        take: Take,
        act: Act,
        *,
        at: Callable[[str], None] = lambda point: None,
        clock: Callable[[], float] = time.time,
        refusals: Rhythm = REFUSALS,
    ) -> None:
        self._client = client
        self._memory = memory
        self._read = read
        self._take = take
        self._act = act
        self._at = at
        self._clock = clock
        # After a new login thousands of channels may have to be read, and Discord counts all that a bot asks.
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._refused = Pace(lambda place: refusals)
        self._lanes: dict[str, deque[Heard | Passed | _Missed]] = {}
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def feed(self, event: object) -> Normalized:
        """Take an event in; what it was."""
        read = self._read(event)
        match read:
            case Begun():
                self._begin()
            case Seen(guild=guild) if guild:
                self._look_for_missed(read)
            case Heard() | Passed():
                if isinstance(read, Heard):
                    self._at("fetched")
                if _is_private(read) and not _is_command(read) and self._memory.read(read.channel) is None:
                    # No session tells of private channels, so that it is noted at once that there is one. A guild's is
                    # told of, and what was missed there may be unread as yet.
                    self._memory.move(read.channel, int(read.id) - 1, is_private=True)
                self._queue(read.channel, read)
            case Pressed():
                # A press answers at once, whatever the channel waits for.
                self._spawn(self._press(read))
            case Seen():
                pass
            case Ignored(why=why):
                logger.debug("an event is nothing for us: %s", why)
        return read

    async def close(self) -> None:
        """Drop what is in hand; unsettled, it is read again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        if self._memory.read(ANYWHERE) is None:
            # Of what was written before the first session nothing was ever meant for us.
            self._memory.move(ANYWHERE, self._memory.newest or id_at(self._clock()) - 1, is_private=False)
        for channel in self._memory.private():
            self._queue(channel, _Missed(channel, "", self._memory.read(channel) or 0))

    def _look_for_missed(self, seen: Seen) -> None:
        for place in seen.places:
            # A channel that was never heard of is read from where all of them began. What was read elsewhere says
            # nothing of it: whoever read that may have died before they came to this one.
            after = self._memory.read(place.id) or self._memory.read(ANYWHERE) or 0
            if place.newest > after:
                self._queue(place.id, _Missed(place.id, seen.guild, after, place.newest))

    def _queue(self, channel: str, item: Heard | Passed | _Missed) -> None:
        lane = self._lanes.get(channel)
        if lane is None:
            lane = self._lanes[channel] = deque()
            self._spawn(self._serve(channel, lane))
        lane.append(item)

    async def _serve(self, channel: str, lane: deque[Heard | Passed | _Missed]) -> None:
        """Settle what comes in one channel, for as long as something does."""
        while lane:
            item = lane.popleft()
            work = self._catch_up(item) if isinstance(item, _Missed) else self._settle(item)
            await survived(work, "what came in a channel met a fault of ours and is passed over")
        del self._lanes[channel]

    async def _settle(self, item: Heard | Passed) -> None:
        if item.id in self._settled:
            return
        if isinstance(item, Heard):
            await survived(self._take(item), "a message met a fault of ours and is passed over")
        self._settled[item.id] = None
        if len(self._settled) > SETTLED_KEPT:
            self._settled.popitem(last=False)
        if not _is_command(item):
            self._memory.move(item.channel, int(item.id), is_private=_is_private(item))

    async def _catch_up(self, missed: _Missed) -> None:
        """Read what was written in a channel while we were away, oldest first, as if it came now."""
        after = max(missed.after, id_at(self._clock() - OLDEST_MISSED))
        for _ in range(MOST_MISSED // PAGE):
            came = await self._history(missed.channel, after)
            for message in came:
                after = int(str(message["id"]))
                body = {**message, "guild_id": missed.guild} if missed.guild else message
                read = self._read({"t": "MESSAGE_CREATE", "d": body})
                if isinstance(read, Heard | Passed):
                    await self._settle(read)
            if len(came) < PAGE:
                break
        else:
            logger.warning("channel %s: more was written than is read afterwards, it is passed over", missed.channel)
        # What the bot may not read, it need not ask for again and again.
        self._memory.move(missed.channel, missed.newest, is_private=not missed.guild)

    async def _history(self, channel: str, after: int) -> list[Mapping[str, Any]]:
        """The messages after one, oldest first; none where the bot may not read them."""
        pause, longest = BACK_OFF
        route = Route("GET", "/channels/{channel_id}/messages", channel_id=channel)
        while True:
            try:
                async with self._reading:
                    told = await self._asked(route, after)
            except NotNow as error:
                await asyncio.sleep(error.seconds)
            except (Unreachable, Unauthorized) as error:
                logger.warning("the history of channel %s is not read yet: %s", channel, error)
                await asyncio.sleep(pause)
                pause = min(longest, pause * 2)
            else:
                found = [object_of(message) for message in told]
                return sorted(found, key=lambda message: int(str(message["id"])))

    async def _asked(self, route: Route, after: int) -> Any:
        """What Discord tells; nothing where it refuses to, and after many refusals only when there may be one more."""
        try:
            return await self._client.ask(route, query={"after": after, "limit": PAGE})
        except Rejected as error:
            logger.info("the history of channel %s is not to be had: %s", route.channel_id, error)
            async with self._refused.leave(""):
                return []

    async def _press(self, pressed: Pressed) -> None:
        await survived(self._act(pressed), "a press met a fault of ours and is passed over")

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_command(item: Heard | Passed) -> bool:
    """Whether it stands in no channel's history."""
    return isinstance(item, Heard) and item.command is not None


def _is_private(item: Heard | Passed) -> bool:
    return item.is_private if isinstance(item, Passed) else not item.message.in_group
