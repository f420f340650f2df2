"""The platform, which never dies: it gives messages their ids, and remembers all that it was told to show.

It keeps what people write until the bot asks for what comes after it. What it is asked it does a moment later, and its
answer may get lost: then whoever asked does not know whether it was done.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from adapters.spoke import NotNow
from tests.chaos.script import Question
from tests.sim.loop import WITHIN, Process
from tests.sim.script import Word

T = TypeVar("T")

BOT = "chalk"
PLATFORM = "slate"
PATIENCE = 1.0
AT_ONCE = 20
LATENCY = 0.02
LOST_AFTER = 1.0
# When a person answers a question: as a rule while it stands, and otherwise when it is too late.
IN_TIME, TOO_LATE = (0.0, 3.0), (8.0, 15.0)
PROMPT = 0.85
ALLOWED = 0.7
BY_BUTTON = 0.6


class Unheard(Exception):
    """The platform did not answer; nobody knows whether it did what it was asked."""


@dataclass(slots=True)
class Mood:
    """How the platform is at the moment: shares of all calls."""

    unheard: float = 0.0
    not_now: float = 0.0


@dataclass(slots=True)
class Said:
    """One message of a person."""

    at: float
    update: int
    scope: str
    message: str
    question: Question
    is_confirmed: bool = False
    refusals: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question under an answer, as a person sees it."""

    scope: str
    turn: str
    code: str
    about: str


@dataclass(slots=True)
class Press:
    """A person pressed one of the two buttons under a question, and what they were told, each time."""

    asked: Asked
    approved: bool
    told: list[str | None] = field(default_factory=list)


@dataclass(slots=True)
class Bubble:
    """One message of the bot on the screen, over time."""

    number: int
    scope: str
    message: str
    reply_to: str
    by: Process
    texts: list[str]
    is_known: bool = False


class Platform:
    """Everything a person can see, and everything the bot has not taken yet."""

    def __init__(self, dice: random.Random, note: Callable[[str], None]) -> None:
        self.said: dict[tuple[str, str], Said] = {}
        self.bubbles: dict[tuple[str, str], Bubble] = {}
        self.mood = Mood()
        self.on_confirmed: Callable[[Said], None] = lambda said: None
        self.asked: dict[str, Asked] = {}
        self.allowed: set[str] = set()
        self.presses: list[Press] = []
        self._dice = dice
        self._note = note
        self._world = copy_context()
        self._updates = count(1)
        self._messages: defaultdict[str, count[int]] = defaultdict(lambda: count(1))
        self._waiting: dict[int, Said] = {}
        self._arrived = asyncio.Event()
        self._unheard: list[Press] = []
        self._to_answer: set[str] = set()
        self._pressed = asyncio.Event()

    @property
    def untaken(self) -> int:
        """How many messages the bot has not confirmed yet, presses that it has not answered, and answers to come."""
        return len(self._waiting) + len(self._unheard) + len(self._to_answer)

    def ask(self, scope: str, question: Question) -> Said:
        """A person writes."""
        said = Said(
            asyncio.get_running_loop().time(), next(self._updates), scope, str(next(self._messages[scope])), question
        )
        self._note(f"asked {scope} {said.message} {question.text}")
        self.said[scope, said.message] = said
        self._waiting[said.update] = said
        self._arrived.set()
        return said

    async def fetch(self, offset: int) -> list[Said]:
        """What people wrote; asking with an offset confirms all that came before it."""
        await self._call(lambda: self._confirm(offset))
        if not self._waiting:
            self._arrived.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        return await self._call(lambda: [self._waiting[update] for update in sorted(self._waiting)[:AT_ONCE]])

    async def pressed(self) -> list[Press]:
        """The presses that nobody has answered yet."""
        while not self._unheard:
            self._pressed.clear()
            await self._pressed.wait()
        return await self._call(self._unheard.copy)

    async def tell(self, press: Press, words: str | None) -> None:
        """Answer a press; no words mean that it is done."""

        def hear() -> None:
            self._note(f"told who pressed {press.asked.code}: {words}")
            press.told.append(words)
            if press in self._unheard:
                self._unheard.remove(press)

        await self._call(hear)

    async def send(self, scope: str, reply_to: str, text: str, question: tuple[str, str] | None = None) -> str:
        """Open a bubble; doing it again opens another."""
        process = WITHIN.get()
        assert process is not None
        made: list[Bubble] = []

        def show() -> str:
            message = str(next(self._messages[scope]))
            bubble = self.bubbles[scope, message] = Bubble(len(self.bubbles), scope, message, reply_to, process, [text])
            made.append(bubble)
            self._note(f"sent {scope} {message} to {reply_to}: {text}")
            self._see(bubble, question)
            return message

        message = await self._call(show)
        made[0].is_known = True
        return message

    async def edit(self, scope: str, message: str, text: str, question: tuple[str, str] | None = None) -> None:
        """Let a bubble show something else; doing it again changes nothing."""

        def show() -> None:
            self._note(f"edited {scope} {message}: {text}")
            bubble = self.bubbles[scope, message]
            bubble.texts.append(text)
            self._see(bubble, question)

        await self._call(show)

    async def _call(self, do: Callable[[], T]) -> T:
        """Have this done at the platform, whatever becomes of whoever asked, and wait for the answer."""
        loop, dice, mood = asyncio.get_running_loop(), self._dice, self.mood
        if mood.not_now and dice.random() < mood.not_now:
            await asyncio.sleep(LATENCY)
            raise NotNow(2 * dice.random())
        luck = dice.random() if mood.unheard else 1.0
        done: asyncio.Future[T] = loop.create_future()
        back = copy_context()

        def arrive() -> None:
            result = do()
            loop.call_later(LATENCY * dice.random(), _settle, done, result, context=back)

        if luck < mood.unheard:
            if luck < mood.unheard / 2:
                loop.call_later(LATENCY * dice.random(), do, context=self._world)
            await asyncio.sleep(LOST_AFTER)
            raise Unheard("the platform says nothing")
        loop.call_later(LATENCY * dice.random(), arrive, context=self._world)
        return await done

    def _see(self, bubble: Bubble, question: tuple[str, str] | None) -> None:
        """A person sees a question, of a turn and under a code, and sooner or later answers it once, in one way."""
        if question is None or question[1] in self.asked:
            return
        turn, code = question
        about = self.said[bubble.scope, bubble.reply_to].question.name
        asked = self.asked[code] = Asked(bubble.scope, turn, code, about)
        dice = self._dice
        answers_in = dice.uniform(*(IN_TIME if dice.random() < PROMPT else TOO_LATE))
        by = self._press if dice.random() < BY_BUTTON else self._say
        self._to_answer.add(code)
        asyncio.get_running_loop().call_later(answers_in, by, asked, dice.random() < ALLOWED, context=self._world)

    def _press(self, asked: Asked, approved: bool) -> None:
        self._to_answer.remove(asked.code)
        self._note(f"pressed {asked.code}: {approved}")
        if approved:
            self.allowed.add(asked.about)
        press = Press(asked, approved)
        self.presses.append(press)
        self._unheard.append(press)
        self._pressed.set()

    def _say(self, asked: Asked, approved: bool) -> None:
        """Answer in words, in whichever conversation."""
        self._to_answer.remove(asked.code)
        if approved:
            self.allowed.add(asked.about)
        scope = self._dice.choice(sorted({scope for scope, _ in self.said}))
        words = Word(f"w{len(self.said)}", "short", "", command="/approve" if approved else "/deny", code=asked.code)
        self.ask(scope, words)

    def _confirm(self, offset: int) -> None:
        for update in [update for update in self._waiting if update < offset]:
            said = self._waiting.pop(update)
            said.is_confirmed = True
            self._note(f"confirmed {update}")
            self.on_confirmed(said)


def _settle(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)
