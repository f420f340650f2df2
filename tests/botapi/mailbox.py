"""The updates of one bot: kept until confirmed, and given to whoever polls or posted to its webhook."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from tests.botapi.clock import Clock
from tests.botapi.parameters import ASKED_FOR, UPDATES
from tests.botapi.refusal import Json, Refused

# An offset further ahead than this is answered as if there were none.
AHEAD = 10
# Server seconds between two tries of a webhook: the first, and the longest.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# What is posted to a webhook must be answered within so many of the client's seconds.
ANSWER_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Update:
    """An update; those of one lane are posted one after another."""

    id: int
    kind: str
    json: Json
    lane: Hashable


class Mailbox:
    """The queue, its one poller and its webhook. Only one of the two can be."""

    def __init__(self, first: int, clock: Clock, tell: Callable[[str, Json], object]) -> None:
        self.queue: deque[Update] = deque()
        self.allowed: list[str] | None = None
        self.webhook: Webhook | None = None
        self._next = first
        self._clock = clock
        self._tell = tell
        self._poll: asyncio.Future[None] | None = None

    def wants(self, kind: str) -> bool:
        """Whether the bot gets updates of this kind; what it does not want now is not kept either."""
        return kind in self.allowed if self.allowed else kind in UPDATES and kind not in ASKED_FOR

    def allow(self, kinds: list[str] | None) -> None:
        """Remember what the bot wants; None leaves it, and none at all is the default."""
        if kinds is not None:
            self.allowed = kinds or None

    def add(self, kind: str, content: object, lane: Hashable) -> None:
        """Keep an update of a kind, if it is wanted."""
        if self.wants(kind):
            self.add_raw({kind: content}, lane)

    def add_raw(self, fields: Json, lane: Hashable = None) -> int:
        """Keep an update, whatever it says."""
        kind = next((key for key in fields if key != "update_id"), "")
        update = Update(self._next, kind, {"update_id": self._next, **fields}, lane)
        self._next += 1
        self.queue.append(update)
        self._tell("update", {"update": update.json})
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
        if self.webhook is not None:
            self.webhook.post(update)
        return update.id

    def forget_all(self) -> None:
        """Drop what is pending."""
        self.confirm(self._next)

    def confirm(self, offset: int) -> None:
        """Forget the updates before an offset; a negative one keeps so many of the last."""
        if offset < 0:
            offset = self.queue[offset].id if -offset <= len(self.queue) else 0
        if offset > self._next + AHEAD:
            return
        confirmed = []
        while self.queue and self.queue[0].id < offset:
            confirmed.append(self.queue.popleft().id)
        if confirmed:
            self._tell("confirm", {"updates": confirmed})

    async def get(self, offset: int, limit: int, timeout: float) -> list[Json]:
        """What getUpdates answers."""
        if self.webhook is not None:
            why = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            raise Refused(409, why)
        self.confirm(offset)
        if not self.queue and timeout > 0:
            self.end_poll("terminated by other getUpdates request; make sure that only one bot instance is running")
            self._poll = poll = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await poll
        return [update.json for _, update in zip(range(limit), self.queue, strict=False)]

    def end_poll(self, why: str) -> None:
        """Let the waiting poll fail."""
        if self._poll is not None and not self._poll.done():
            self._poll.set_exception(Refused(409, why))

    def set_webhook(self, url: str, secret: str, connections: int) -> None:
        """Post from now on, beginning with what is pending."""
        self.end_poll("terminated by setWebhook request")
        self.webhook = Webhook(url, secret, connections, self._clock, self._posted, self._answered)
        for update in self.queue:
            self.webhook.post(update)

    async def drop_webhook(self) -> None:
        """Post no more."""
        if self.webhook is not None:
            webhook, self.webhook = self.webhook, None
            await webhook.close()

    def _answered(self, content: bytes) -> None:
        if b'"method"' in content:
            what = "a webhook that answers with a call is not known here"
            self._tell("fault", {"method": "webhook", "what": what, "parameters": {}})

    def _posted(self, update: Update) -> None:
        self.queue.remove(update)
        self._tell("confirm", {"updates": [update.id]})


class Webhook:
    """Posts updates: one at a time of each lane, several lanes side by side, again until it is answered with 2xx."""

    def __init__(
        self,
        url: str,
        secret: str,
        connections: int,
        clock: Clock,
        posted: Callable[[Update], None],
        answered: Callable[[bytes], None],
    ) -> None:
        self.url = url
        self.connections = connections
        self.error: tuple[int, str] | None = None
        self._headers = {"X-Telegram-Bot-Api-Secret-Token": secret} if secret else {}
        self._clock = clock
        self._posted = posted
        self._answered = answered
        self._lanes: defaultdict[Hashable, deque[Update]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(connections)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN))

    def post(self, update: Update) -> None:
        """Post after all before it in its lane."""
        lane = self._lanes[update.lane]
        lane.append(update)
        if len(lane) == 1:
            task = asyncio.create_task(self._empty(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all posting."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def _empty(self, lane: deque[Update]) -> None:
        wait = FIRST_WAIT
        while lane:
            if await self._try(lane[0]):
                self._posted(lane.popleft())
                wait = FIRST_WAIT
            else:
                await asyncio.sleep(wait / self._clock.speed)
                wait = min(wait * 2, LONGEST_WAIT)

    async def _try(self, update: Update) -> bool:
        try:
            async with (
                self._slots,
                self._session.post(self.url, json=update.json, headers=self._headers) as response,
            ):
                if 200 <= response.status < 300:
                    self._answered(await response.read())
                    return True
                why = f"Wrong response from the webhook: {response.status} {response.reason}"
        except aiohttp.ClientConnectorError:
            why = "Connection refused"
        except (aiohttp.ClientError, TimeoutError):
            why = "Read timeout expired"
        self.error = (int(self._clock.now()), why)
        return False
