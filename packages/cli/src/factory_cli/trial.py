"""One agent tried once, in this process: without bus, hub and budgets, with the models and tools that a worker has."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from factory_cli import config, secret
from factory_cli.expenses import Total
from factory_cli.home import Home
from factory_contracts.messages import Outcome
from factory_contracts.records import MoneyReserved, ToolStarted
from factory_contracts.trace import ModelStep, Step
from factory_contracts.work import ApprovalWanted, Line, NotRecorded, Recorded, RecordReply, Requested, Run
from factory_nats.identity import Identity
from hub.kernel import harness
from hub.kernel.agent import Agent
from hub.kernel.approval import read, worded
from hub.kernel.harness import End, Show
from hub.kernel.routing import RoutingKey
from hub.kernel.secrecy import Redactor
from workers.clipool.composition import ClipoolSettings, compose
from workers.clipool.errand import Errand, More
from workers.clipool.kit import Kit
from workers.clipool.limit import Limit
from workers.clipool.steps import engine_tools

Warn = Callable[[str], None]
Ask = Callable[[str], Awaitable[bool]]

NOBODY = "Nobody is there who could allow this, so it was not done."
DENIED = "The person did not allow this."


@dataclass(slots=True)
class Tried:
    """What came of it; the reason says why it failed, and is empty where it did not."""

    said: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    outcome: Outcome = "failed"
    reason: str = "it never ended"

    @property
    def answer(self) -> str:
        """All that was said."""
        return "".join(self.said)

    @property
    def total(self) -> Total:
        """What was consumed."""
        total = Total()
        for step in self.steps:
            if isinstance(step, ModelStep):
                total.add(
                    Total(
                        calls=1,
                        input_tokens=step.input_tokens,
                        cache_read_tokens=step.cache_read_tokens,
                        cache_write_tokens=step.cache_write_tokens,
                        output_tokens=step.output_tokens,
                        cost=step.cost or Total().cost,
                        unknown=int(step.cost is None),
                    )
                )
        return total


class Rehearsal:
    """The stage of a trial: everything is heard, and whoever watches is asked or warned before something is changed."""

    def __init__(self, agent: Agent, warn: Warn, ask: Ask | None, limit: Limit) -> None:
        self.tried = Tried()
        self.task: asyncio.Task[None] | None = None
        self._agent = agent
        self._warn = warn
        self._ask = ask
        self._limit = limit
        # Two that work side by side must not ask in one breath.
        self._asking = asyncio.Lock()

    def stir(self) -> None:
        """Nobody waits for each word."""

    def say(self, text: str) -> None:
        """More of the answer."""
        self.tried.said.append(text)

    def show(self, show: Show) -> None:
        """The trace tells of it."""

    def note(self, step: Step) -> None:
        """Part of the trace."""
        self.tried.steps.append(step)

    def end(self, end: End) -> None:
        """The errand is over; an end that comes from outside finds a model or tools at work."""
        self.tried.outcome, self.tried.reason = end.outcome, end.reason
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def record(self, record: Requested) -> RecordReply:
        """Nothing is put on a log; in a dry run nothing may be changed."""
        match record:
            case ApprovalWanted():
                return await self._allow(record)
            case ToolStarted() if self._agent.is_dry:
                return NotRecorded()
            case ToolStarted(tool=tool, effect=effect):
                does = "changes what is kept here" if effect == "write" else "may change anything"
                self._warn(f"{tool} {does}, and runs for real; --dry-run only tells what it would do")
            case MoneyReserved():
                # Budgets are the hub's: what is spent here is shown, and nothing holds it.
                pass
            case _:
                pass
        return Recorded()

    async def _allow(self, wanted: ApprovalWanted) -> RecordReply:
        if self._ask is None:
            self._warn(f"{wanted.tool} asks first, and nobody is there to answer: it is denied")
            return NotRecorded(words=NOBODY)
        until = time.time() + wanted.seconds
        question = worded(wanted.tool, wanted.effect, read(wanted.arguments) or {}, wanted.reasons, until)
        with self._limit.held():
            async with self._asking:
                return Recorded() if await self._ask(question) else NotRecorded(words=DENIED)


def prepared(agent: Agent, *, model: str | None, is_dry: bool) -> Agent:
    """The agent and all whom it may ask, with another model and without effects where that is wanted.

    In a dry run a provider's own tools are off: nobody here could hold them back.
    """
    helpers = tuple(prepared(helper, model=model, is_dry=is_dry) for helper in agent.helpers)
    agent = replace(agent.on(model), helpers=helpers)
    return replace(agent, is_dry=True, own_tools=()) if is_dry else agent


def equipment(
    where: Home, environment: config.Environment, folder: Path, prices: Mapping[str, Sequence[Decimal]]
) -> tuple[ClipoolSettings, Mapping[str, str]]:
    """What a worker on this home would be told, and the variables that models are found by."""
    handed = secret.handed(folder)
    variables = config.providers_variables(handed=handed)
    settings = ClipoolSettings(
        nats_url="",
        identity=Identity("trial", None),
        script=environment.script,
        folder=where.work,
        agents=folder,
        engines=where.engines,
        variables=variables,
        prices=prices,
        redactor=Redactor.of(secret.values(variables, handed)),
    )
    return settings, variables


def try_out(
    agent: Agent, prompt: str, person: str, settings: ClipoolSettings, warn: Warn, ask: Ask | None = None
) -> Tried:
    """Ask the agent once and hear it to its end; without `ask` whatever must be allowed is denied.

    Raises `ScriptError` for a script that cannot be followed.
    """
    return asyncio.run(_try_out(agent, prompt, person, settings, warn, ask))


async def _try_out(
    agent: Agent, prompt: str, person: str, settings: ClipoolSettings, warn: Warn, ask: Ask | None
) -> Tried:
    spec = agent.spec()
    key = RoutingKey(config.LOCAL_PLATFORM, config.LOCAL_BOT, f"trial-{agent.name}")
    line = Line(role="user", text=prompt, trusted=True)
    run = Run(
        turn=f"trial-{secrets.token_hex(8)}",
        epoch=0,
        partition=key.partition,
        attempt=1,
        scope=key.to_pool_id(),
        user_id=person or "-",
        agent=spec,
        lines=(line,),
    )
    kit = compose(settings)
    limit = Limit(spec.limits.max_seconds)
    try:
        return await perform(run, kit, Rehearsal(agent, warn, ask, limit), limit, partial(engine_tools, run, kit))
    finally:
        await kit.close()


async def perform(run: Run, kit: Kit, stage: Rehearsal, limit: Limit, more: More | None = None) -> Tried:
    """Have a run carried out on a stage, within its time; without `more` the agent has no engines."""
    errand = Errand(run, run.agent, kit, stage, run.turn[-8:], more=more)
    task = stage.task = asyncio.create_task(errand.carry_out(run.lines))
    try:
        await limit.within(asyncio.wait((task,)))
    except TimeoutError:
        errand.feed(harness.TimeUp())
        await asyncio.wait((task,))
    finally:
        errand.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return stage.tried


def hush() -> None:
    """What a worker would log becomes a line on stderr; the trace says the rest."""

    def shorten(record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return True

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("factory: %(message)s"))
    handler.setLevel(logging.WARNING)
    handler.addFilter(shorten)
    logging.getLogger().addHandler(handler)
