"""Ours: a turn with its tape, its pace, its records and its prices, as the CliPool worker runs it, up to the bus.

In place of the bus stands somebody who reads each message as the hub does, and says of each record that it is kept.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from adapters.models.openai import OPENAI, OpenAI
from bench.peers.task import MODEL, SYSTEM, Ask, tell_time
from factory_contracts import subjects
from factory_contracts.envelope import SCHEMA_VERSION
from factory_contracts.trace import Step
from factory_contracts.work import (
    EVENTS,
    RECORD_REPLY,
    RECORD_REQUEST,
    AgentSpec,
    Ended,
    Line,
    Recorded,
    RecordReply,
    RecordRequest,
    Requested,
    Run,
    SaidText,
)
from factory_nats.connect import Identity
from hub.kernel.harness import End, Show
from hub.kernel.ports import ModelSettings
from hub.kernel.schema import equip
from workers.clipool import composition
from workers.clipool.errand import Errand
from workers.clipool.kit import Given, Kit
from workers.clipool.turn import Turn

PACKAGES = ("pydantic", "openai", "httpx2", "genai-prices")
TERMINAL_PACE_MS = 30
PLATFORM = "bench"
INSTANCE = "bench"
KEPT = RECORD_REPLY.encode(Recorded())

AGENT = AgentSpec(
    name="bench",
    hash="bench",
    model=f"openai:{MODEL}",
    namespace="bench",
    system=SYSTEM,
    tools=(tell_time.__name__,),
)


@asynccontextmanager
async def contestant(url: str, folder: Path) -> AsyncIterator[Ask]:
    """Turns at the pace of a terminal."""
    turns = count()
    async with _kit(url, folder) as kit:
        desk = Desk()
        publishing = asyncio.create_task(desk.publish())

        async def ask(words: str) -> str:
            turn = Turn(_run(words, next(turns)), INSTANCE, kit, desk)
            answer = desk.expect(turn)
            turn.task = asyncio.create_task(turn.carry_out())
            text = await answer
            await turn.task
            turn.close()
            return text

        yield ask
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing


@asynccontextmanager
async def errand(url: str, folder: Path) -> AsyncIterator[Ask]:
    """The harness alone, with every delta told as it comes, to nobody but a list."""
    turns = count()
    async with _kit(url, folder) as kit:

        async def ask(words: str) -> str:
            run, stage = _run(words, next(turns)), Listener()
            stage.errand = Errand(run, AGENT, kit, stage, "reference")
            await stage.errand.carry_out(run.lines)
            return "".join(stage.said)

        yield ask


@asynccontextmanager
async def _kit(url: str, folder: Path) -> AsyncIterator[Kit]:
    """The worker's own kit, with the provider that its entry point names."""
    variables = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{url}/v1"}
    identity = Identity(subjects.CLIPOOL, "")
    settings = composition.ClipoolSettings("", identity, folder=folder, agents=folder, variables=variables)
    model = OpenAI(OPENAI, ModelSettings(variables, str(folder)))
    composed = composition.compose(settings, extra_tools=(equip(tell_time, is_foreign=False),))
    kit = replace(composed, models=Given({"openai": model}), closers=(*composed.closers, model.close))
    try:
        yield kit
    finally:
        await kit.close()


def _run(words: str, number: int) -> Run:
    return Run(
        turn=f"turn-{number}",
        epoch=1,
        partition=0,
        attempt=1,
        scope=f"{PLATFORM}:bot:scope",
        user_id="somebody",
        agent=AGENT,
        lines=(Line(role="user", text=words),),
        pace_ms=TERMINAL_PACE_MS,
    )


class Desk:
    """What a worker is to its turns, with a reader where the bus would be."""

    def __init__(self) -> None:
        self.understood = SCHEMA_VERSION
        self._waiting: deque[Turn] = deque()
        self._woken = asyncio.Event()
        self._said: dict[str, list[str]] = {}
        self._over: dict[str, asyncio.Future[str]] = {}

    def expect(self, turn: Turn) -> asyncio.Future[str]:
        """The whole text of the turn, as its messages tell it."""
        self._said[turn.run.turn] = []
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._over[turn.run.turn] = over
        return over

    def stir(self, turn: Turn) -> None:
        """The turn has something to tell."""
        self._waiting.append(turn)
        self._woken.set()

    async def record(self, run: Run, record: Requested) -> RecordReply:
        """Asked and answered in the bytes in which the hub is asked and answers."""
        platform, bot_id, scope_id = run.scope.split(":", 2)
        request = RecordRequest(
            platform=platform,
            bot_id=bot_id,
            scope_id=scope_id,
            attempt=run.attempt,
            instance=INSTANCE,
            record=record,
        )
        RECORD_REQUEST.encode(request)
        return RECORD_REPLY.decode(KEPT)

    def drop(self, turn: Turn) -> None:
        """Nothing is dropped here."""
        raise RuntimeError(f"{turn.run.turn} was dropped")

    async def publish(self) -> None:
        """What turns have to tell, in order, from a single task."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.is_stirred:
                    for payload in turn.take():
                        self._read(payload)

    def _read(self, payload: bytes) -> None:
        told = EVENTS.decode(payload)
        said = self._said[told.turn]
        for event in told.events:
            if isinstance(event, SaidText):
                said.append(event.text)
            elif isinstance(event, Ended):
                del self._said[told.turn]
                self._over.pop(told.turn).set_result("".join(said))


class Listener:
    """The stage of an errand that is heard delta by delta."""

    def __init__(self) -> None:
        self.errand: Errand | None = None
        self.said: list[str] = []

    def stir(self) -> None:
        """Ask at once."""
        if self.errand is not None:
            self.errand.hear()

    def say(self, text: str) -> None:
        """More of the answer."""
        self.said.append(text)

    def show(self, show: Show) -> None:
        """Nobody looks."""

    def note(self, step: Step) -> None:
        """Nobody reads it."""

    def end(self, end: End) -> None:
        """All is said."""

    async def record(self, record: Requested) -> RecordReply:
        """It is kept, as far as anybody here is told."""
        return Recorded()
