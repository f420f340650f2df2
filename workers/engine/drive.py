"""An engine at work: asks the kernel what is next, has it done, and tells the kernel what came of it.

Every turn is a drive, also a plain chat turn: that is the drive of the engine of one harness step.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from hub.kernel import engine, harness
from hub.kernel.engine import Keep, Output, Pass, StepOver, Work
from hub.kernel.harness import End, Say, Show
from workers.engine.guard import guarded

logger = logging.getLogger(__name__)

Over = Callable[[StepOver], None]


class Labour(Protocol):
    """A step at work."""

    async def carry_out(self) -> None:
        """From its beginning to its end."""
        ...

    def feed(self, event: harness.Stop | harness.TimeUp | harness.Steer) -> None:
        """Somebody has something to say about it; what takes no time is done at once."""
        ...

    def hear(self) -> None:
        """Tell what was said since the last time."""
        ...

    @property
    def has_heard(self) -> bool:
        """Whether something was said that nobody asked for yet."""
        ...

    def close(self) -> None:
        """Leave off: nothing more is done or told."""
        ...


class Hands(Protocol):
    """Who does what an engine wants done."""

    def begin(self, work: Work, over: Over) -> Labour:
        """A step, ready to be carried out; `over` is told once what it came to."""
        ...

    def passed(self, passed: Pass) -> None:
        """A step is left out, for an earlier attempt has it behind it."""
        ...

    async def keep(self, output: Output) -> engine.Kept | engine.Broken | None:
        """Put what a step put out on the log; None where the attempt is over. Waits while nobody answers."""
        ...

    def say(self, text: str) -> None:
        """More of the answer."""
        ...

    def show(self, show: Show) -> None:
        """The one line that a person may see of a step."""
        ...

    def end(self, end: End) -> None:
        """The engine is over."""
        ...


class Drive:
    """One run of an engine, from its beginning to its end."""

    __slots__ = ("_hands", "_labour", "_state", "_todo")

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._state: engine.State = engine.Idle()
        self._labour: Labour | None = None
        self._todo: Labour | Keep | None = None

    async def carry_out(self) -> None:
        """Do what is to be done until nothing is."""
        while (todo := self._todo) is not None:
            self._todo = None
            error = await guarded(self._do(todo))
            if error is not None:
                logger.error("an engine met a fault of ours", exc_info=error)
                self.feed(engine.Broken(type(error).__name__))

    def feed(self, event: engine.Event) -> None:
        """Tell the kernel, and do at once what takes no time."""
        if isinstance(event, harness.Stop | harness.TimeUp) and self._labour is not None:
            # Who is at work knows best what to say about its end, and that ends the engine.
            self._labour.feed(event)
        elif isinstance(event, StepOver):
            self._labour = None
        self._state, commands = engine.step(self._state, event)
        for command in commands:
            match command:
                case Say(text):
                    self._hands.say(text)
                case Show():
                    self._hands.show(command)
                case Pass():
                    self._hands.passed(command)
                case Keep():
                    self._todo = command
                case End():
                    self._todo = None
                    self._hands.end(command)
                case _:
                    self._todo = self._labour = self._hands.begin(command, self.feed)

    def steer(self, steer: harness.Steer) -> None:
        """The person adds something, which only a conversation can take up."""
        if self._labour is not None and engine.takes_steers(self._state):
            self._labour.feed(steer)

    def hear(self) -> None:
        """Tell what was said since the last time."""
        if self._labour is not None:
            self._labour.hear()

    @property
    def has_heard(self) -> bool:
        """Whether something was said that nobody asked for yet."""
        return self._labour is not None and self._labour.has_heard

    def close(self) -> None:
        """Leave off: nothing more is done or told."""
        self._state = engine.Over()
        self._todo = None
        if self._labour is not None:
            self._labour.close()

    async def _do(self, todo: Labour | Keep) -> None:
        if not isinstance(todo, Keep):
            await todo.carry_out()
        elif (kept := await self._hands.keep(todo.output)) is not None:
            self.feed(kept)
