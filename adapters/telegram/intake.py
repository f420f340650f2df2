"""What people send, in the order of each conversation, fetched from Telegram so that a death loses nothing of it.

An update is settled when its message was accepted or refused. Telegram is asked from the oldest that is not settled on,
and so keeps for us whatever is only in our hands.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from adapters.chat.trouble import Rejected, Unauthorized, Unreachable
from adapters.spoke import NotNow, survived
from adapters.telegram.client import MOST_UPDATES, POLL_SECONDS, Client, Conflict
from adapters.telegram.gather import Gathering
from adapters.telegram.normalize import Halted, Heard, Ignored, Moved, Normalized, Pressed

logger = logging.getLogger(__name__)

# While something is in hand, Telegram is asked only for what may belong to it, less and less often.
LOOKS = (0.1, 2.0)
BACK_OFF = (0.5, 30.0)
WRONG_TOKEN_PAUSE = 30.0

Settled = asyncio.Future[None]
Take = Callable[[Sequence[Heard]], Awaitable[None]]
Act = Callable[[Pressed | Halted | Moved], Awaitable[None]]


@dataclass(slots=True)
class _Lane:
    """What came in one conversation and is not settled, oldest first."""

    waiting: deque[tuple[Heard | Pressed | Halted | Moved, Settled]] = field(default_factory=deque)
    came: asyncio.Event = field(default_factory=asyncio.Event)


class Intake:
    """Hands what comes to those who take it: one thing at a time in a conversation, conversations side by side."""

    def __init__(self, read: Callable[[object], Normalized], take: Take, act: Act) -> None:
        self._read = read
        self._take = take
        self._act = act
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def feed(self, update: object) -> Settled:
        """Take an update in; what is returned is done when it is settled."""
        settled: Settled = asyncio.get_running_loop().create_future()
        read = self._read(update)
        match read:
            case Ignored(why=why):
                logger.debug("an update is nothing for us: %s", why)
                settled.set_result(None)
            case Pressed():
                # A press answers at once, whatever the conversation waits for.
                self._spawn(self._do(read, settled))
            case Halted():
                self._spawn(self._do(read, settled))
            case Heard(message=message):
                self._queue(message.address.scope_id, read, settled)
            case Moved(new=new):
                self._queue(new, read, settled)
        return settled

    async def close(self) -> None:
        """Drop what is in hand; unsettled, it comes again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _queue(self, scope: str, read: Heard | Moved, settled: Settled) -> None:
        lane = self._lanes.get(scope)
        if lane is None:
            lane = self._lanes[scope] = _Lane()
            self._spawn(self._serve(scope, lane))
        lane.waiting.append((read, settled))
        lane.came.set()

    async def _serve(self, scope: str, lane: _Lane) -> None:
        """Settle what comes in one conversation, for as long as something does."""
        loop = asyncio.get_running_loop()
        gathering, gathered = Gathering(), dict[str, Settled]()
        while lane.waiting or gathering.deadline is not None:
            if not lane.waiting:
                lane.came.clear()
                try:
                    async with asyncio.timeout_at(gathering.deadline):
                        await lane.came.wait()
                except TimeoutError:
                    await self._give((gathering.due(loop.time()),), gathered)
                continue
            read, settled = lane.waiting.popleft()
            if isinstance(read, Heard):
                # What came twice is settled with its first.
                gathered.setdefault(read.message.message_id, settled).add_done_callback(_settles(settled))
                await self._give(gathering.add(read, loop.time()), gathered)
            else:
                await self._give((gathering.due(float("inf")),), gathered)
                await self._do(read, settled)
        del self._lanes[scope]

    async def _give(self, groups: Sequence[Sequence[Heard]], gathered: dict[str, Settled]) -> None:
        for group in filter(None, groups):
            await survived(self._take(group), "a message met a fault of ours and is passed over")
            for heard in group:
                _settle(gathered.pop(heard.message.message_id))

    async def _do(self, read: Pressed | Halted | Moved, settled: Settled) -> None:
        await survived(self._act(read), "a press met a fault of ours and is passed over")
        _settle(settled)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Polling:
    """Asks Telegram for updates, and confirms one only when it and all before it are settled."""

    def __init__(self, client: Client, feed: Callable[[object], Settled], at: Callable[[str], None]) -> None:
        self._client = client
        self._feed = feed
        self._at = at
        self._in_hand: dict[int, Settled] = {}
        # Telegram may begin to count anew after a quiet week, so no number is old because it is low.
        self._settled: set[int] = set()
        self._next: int | None = None

    async def run(self) -> None:
        """Fetch and hand over until cancelled."""
        pause, longest = BACK_OFF
        look = LOOKS[0]
        while True:
            try:
                came = await self._client.updates(self._offset(), 0 if self._in_hand else POLL_SECONDS)
            except Conflict as error:
                logger.error("another process takes this bot's messages; end it, or this one: %s", error)
                await asyncio.sleep(pause)
                pause = min(longest, pause * 2)
            except Unauthorized as error:
                logger.error("%s; give it the right one and start it again", error)
                await asyncio.sleep(WRONG_TOKEN_PAUSE)
            except NotNow as told:
                await asyncio.sleep(told.seconds)
            except (Unreachable, Rejected) as error:
                logger.warning("Telegram brings nothing, trying again in %.1f s: %s", pause, error)
                await asyncio.sleep(pause)
                pause = min(longest, pause * 2)
            else:
                pause = BACK_OFF[0]
                look = LOOKS[0] if self._hand_over(came) else min(LOOKS[1], look * 1.5)
                await self._settle(look)

    def _offset(self) -> int | None:
        """The oldest update that is not settled, else the first that is not known."""
        return min(self._in_hand, default=self._next)

    def _hand_over(self, came: Sequence[object]) -> bool:
        """Feed what is new; whether anything was."""
        fresh = {number: update for update in came if (number := _number(update)) is not None}
        fresh = {number: update for number, update in fresh.items() if number not in self._settled | set(self._in_hand)}
        if fresh:
            self._at("fetched")
        for number, update in sorted(fresh.items()):
            self._in_hand[number] = self._feed(update)
            self._next = number + 1
        return bool(fresh)

    async def _settle(self, look: float) -> None:
        """Wait until all is settled or it is time to look for more; with both hands full, until one is free."""
        if len(self._in_hand) >= MOST_UPDATES:
            await asyncio.wait(self._in_hand.values(), return_when=asyncio.FIRST_COMPLETED)
        if self._in_hand:
            await asyncio.wait(self._in_hand.values(), timeout=look)
        for number in [number for number, settled in self._in_hand.items() if settled.done()]:
            del self._in_hand[number]
            self._settled.add(number)
        if not self._in_hand:
            # The next request confirms them all.
            self._settled.clear()


def _number(update: object) -> int | None:
    number = update.get("update_id") if isinstance(update, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _settle(settled: Settled) -> None:
    if not settled.done():
        settled.set_result(None)


def _settles(other: Settled) -> Callable[[Settled], None]:
    return lambda settled: _settle(other)
