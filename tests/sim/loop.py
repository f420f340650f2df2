"""An event loop without an outside: time jumps to the next timer, and a seed says which process goes on.

A process is what lives, stands still and dies together. Within one process callbacks run in the order in which they
were asked for, as in any event loop; between processes every order is legal, and the dice choose one.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from types import CoroutineType
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A timer comes a little late, as on a machine that has other work.
LATE = 0.002

Place = tuple[str, int]


class _Call(asyncio.Handle):
    """What is to be called; asyncio's own takes several times as long to make."""

    __slots__ = ("args", "callback", "within")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], within: Context) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.within = within

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None


class _Timer(asyncio.TimerHandle):
    """The same at a time."""

    __slots__ = ("args", "at", "callback", "within")

    def __init__(self, at: float, callback: Callable[..., object], args: tuple[Any, ...], within: Context) -> None:
        self.at = at
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.within = within

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.at


class Process:
    """Callbacks that belong together, and the clock on the wall where they run."""

    def __init__(self, name: str, *, is_watched: bool = False) -> None:
        self.name = name
        self.is_watched = is_watched
        self.is_dead = False
        self.is_frozen = False
        self.jumped = 0.0
        self.ready: deque[_Call | _Timer] = deque()

    def __repr__(self) -> str:
        return self.name


WITHIN: ContextVar[Process | None] = ContextVar("process", default=None)


class _Task(asyncio.Task[T]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, number: int, work: Coroutine[Any, Any, T], loop: "Loop", name: str | None, context: Any) -> None:
        # The loop's list of tasks asks for the hash before the task is made.
        self.number = number
        self.within = WITHIN.get() if context is None else context.get(WITHIN, None)
        super().__init__(work, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self.number


class Stuck(Exception):
    """The processes run on and on without any time passing."""


class Loop(asyncio.BaseEventLoop):
    """Runs until what it was given is done. `watch` is shown every task that has just been suspended, where it is
    wanted to be."""

    def __init__(self, dice: random.Random, most: int = 2_000_000) -> None:
        self._is_running = False
        super().__init__()
        self.world = Process("world")
        self.steps = 0
        self.watch: Callable[[Process, asyncio.Task[Any]], None] | None = None
        self._dice = dice.random
        self._most = most
        self._now = 0.0
        self._busy: list[Process] = []
        self._processes: list[Process] = []
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = count(1)
        self._is_stopping = False

    def time(self) -> float:
        """How many seconds have passed that nobody waited for."""
        return self._now

    def is_running(self) -> bool:
        return self._is_running

    def stop(self) -> None:
        self._is_stopping = True

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        within = copy_context() if context is None else context
        call = _Call(callback, args, within)
        process = within.get(WITHIN, None) or self.world
        if not process.ready and not process.is_dead and not process.is_frozen:
            self._busy.append(process)
        process.ready.append(call)
        return call

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._later(self._now + delay, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._later(when, callback, args, context)

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: Context | None = None,
        **others: Any,
    ) -> asyncio.Task[Any]:
        if others:
            raise TypeError(f"tasks here know nothing of {', '.join(others)}")
        return _Task(next(self._numbers), coro, self, None if name is None else str(name), context)

    def run_in_executor(self, executor: object, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Threads are a matter of real time: what is for one is done at once."""
        future: asyncio.Future[T] = self.create_future()
        future.set_result(func(*args))
        return future

    def begin(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have a process do this; all that comes of it belongs to the process as well."""
        within = copy_context()
        within.run(WITHIN.set, process)
        self._processes.append(process)
        return self.create_task(work, name=process.name, context=within)

    def kill(self, process: Process) -> None:
        """Nothing of it runs any more, no `finally` either."""
        process.is_dead = True
        self._rest(process)

    def freeze(self, process: Process) -> None:
        """Nothing of it runs for the time being."""
        process.is_frozen = True
        self._rest(process)

    def thaw(self, process: Process) -> None:
        """It goes on, with all that came meanwhile."""
        process.is_frozen = False
        if process.ready and not process.is_dead and process not in self._busy:
            self._busy.append(process)

    def bury(self) -> None:
        """When all is over, let even the dead end in good order, so that nothing of them is left in the memory."""
        self.watch = None
        self._most += self.steps
        for process in self._processes:
            process.is_dead = False
            self.thaw(process)
        self.run_until_complete(_end_all())
        self.close()

    def run_forever(self) -> None:
        """Run callbacks until stopped; raises `Stuck` where that would take for ever."""
        asyncio._set_running_loop(self)
        self._is_running = True
        self._is_stopping = False
        try:
            self._run()
        finally:
            self._is_running = False
            asyncio._set_running_loop(None)

    def _run(self) -> None:
        busy, timers, dice = self._busy, self._timers, self._dice
        steps, most = self.steps, self._most
        while not self._is_stopping:
            call: _Call | _Timer
            if busy:
                index = int(dice() * len(busy)) if len(busy) > 1 else 0
                process = busy[index]
                call = process.ready.popleft()
                if not process.ready:
                    busy[index] = busy[-1]
                    busy.pop()
            elif timers:
                # Nobody has anything to do before this one.
                due, _, call = heappop(timers)
                if call.callback is None:
                    continue
                self._now = due
                process = call.within.get(WITHIN, None) or self.world
                if process.is_dead or process.is_frozen:
                    process.ready.append(call)
                    continue
            else:
                break
            callback = call.callback
            if callback is None:
                continue
            steps += 1
            if steps > most:
                raise Stuck(f"{steps} steps, at {self._now:.3f} s, of {process}")
            try:
                call.within.run(callback, *call.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler({"message": f"a callback of {process} failed", "exception": error})
            if process.is_watched and not process.is_dead and self.watch is not None:
                task = getattr(callback, "__self__", None)
                if isinstance(task, _Task) and not task.done():
                    self.watch(process, task)
        self.steps = steps

    def _later(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> _Timer:
        timer = _Timer(when, callback, args, copy_context() if context is None else context)
        due = (when if when > self._now else self._now) + LATE * self._dice()
        heappush(self._timers, (due, next(self._numbers), timer))
        return timer

    def _rest(self, process: Process) -> None:
        if process in self._busy:
            self._busy.remove(process)


async def _end_all() -> None:
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)


def tasks_of(process: Process, loop: Loop) -> Iterator[asyncio.Task[Any]]:
    """What a process does at the moment."""
    return (task for task in asyncio.all_tasks(loop) if isinstance(task, _Task) and task.within is process)


def suspended_at(task: asyncio.Task[Any], folder: str) -> tuple[Place, ...]:
    """The lines under a folder at which a task waits, the innermost last."""
    places: list[Place] = []
    at: object = task.get_coro()
    while isinstance(at, CoroutineType):
        # A frame is made when it is asked for: only where it is wanted.
        path = _under(folder, at.cr_code.co_filename)
        if path and (frame := at.cr_frame) is not None:
            places.append((path, frame.f_lineno))
        at = at.cr_await
    return tuple(places)


@lru_cache(maxsize=1024)
def _under(folder: str, path: str) -> str:
    return path.removeprefix(folder) if path.startswith(folder) else ""
