"""A code step at work: a function in a thread of its own, which holds up nobody."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from json import dumps, loads

from factory_contracts.engine import Unfit
from hub.kernel import harness
from hub.kernel.engine import Compute, StepOver
from workers.engine.guard import guarded

logger = logging.getLogger(__name__)

MAX_VALUE = 20 * 1024 * 1024
MAX_WORDS = 1_000


class Computation:
    """One call of a function. Python cannot end a thread, so one that is not waited for any more goes on by itself."""

    def __init__(self, compute: Compute, over: Callable[[StepOver], None], redact: Callable[[str], str]) -> None:
        self._compute = compute
        self._over = over
        self._redact = redact
        self._is_closed = False

    async def carry_out(self) -> None:
        """Call it, and tell what it put out."""
        step, arguments = self._compute.step, self._compute.arguments
        came = await guarded(_aside(lambda: _value(step.function, arguments, self._redact)))
        if self._is_closed:
            return
        is_tainted = self._compute.is_tainted
        match came:
            case Unfit():
                said = self._redact(str(came))[:MAX_WORDS]
                self._over(StepOver("failed", said=said, reason=said, is_tainted=is_tainted))
            case Exception():
                logger.error("step %s broke", step.name, exc_info=came)
                self._over(StepOver("failed", reason=f"its function raised {type(came).__name__}"))
            case value:
                self._over(StepOver("complete", value, is_tainted=is_tainted))

    def feed(self, event: harness.Stop | harness.TimeUp | harness.Steer) -> None:
        """Nobody can talk to a function."""

    def hear(self) -> None:
        """It says nothing."""

    @property
    def has_heard(self) -> bool:
        """It says nothing."""
        return False

    def close(self) -> None:
        """Its end is of no interest any more."""
        self._is_closed = True


def _value(function: Callable[..., object], arguments: Mapping[str, object], redact: Callable[[str], str]) -> object:
    """What the function puts out, as it stands on the log."""
    written = redact(dumps(function(**arguments), ensure_ascii=False, allow_nan=False))
    if len(written) > MAX_VALUE:
        raise ValueError(f"it put out more than {MAX_VALUE >> 20} MB")
    value: object = loads(written)
    return value


async def _aside(work: Callable[[], object]) -> object:
    """What the work comes to, in a thread of its own: one that never ends takes nobody else's place."""
    executor = ThreadPoolExecutor(1, "engine")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)
