"""What a person wishes to have compared, made ready, and what came of it in rows and lines."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from factory_cli import comparison, config, history, trial
from factory_cli.amounts import dollars, plain
from factory_cli.comparison import Compared, Then
from factory_cli.console import Failed
from factory_cli.home import Home
from factory_cli.ink import Ink, Line, Style, block, harmless
from factory_cli.seeds import by_surroundings, examine
from hub.kernel.agent import Agent
from workers.clipool.composition import ClipoolSettings

HEAD = ("TURN", "SCOPE", "WORDS", "TOOLS", "COST", "SECONDS", "OUTCOME")
INDENT = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """Which turns, and whom to ask them."""

    agent: str
    scope: str | None
    since: datetime | None
    limit: int
    budget: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything that a comparison needs but the turns."""

    where: Home
    wish: Wish
    agent: Agent
    settings: ClipoolSettings
    most: Decimal
    is_free: bool

    async def read(self, url: str) -> tuple[Then, ...]:
        """The turns, from the log of what runs there."""
        wish = self.wish
        since = None if wish.since is None else wish.since.replace(tzinfo=UTC).timestamp()
        return await history.through(
            self.where,
            url,
            lambda bus: comparison.recorded(bus, scope=wish.scope, since=since, limit=wish.limit),
        )


def prepare(where: Home, environment: config.Environment, agents: Path | None, wish: Wish) -> Ready:
    """Find the agent, its models and what may be spent. Raises `Failed` and `BadConfiguration`."""
    configuration = config.load(where.configuration)
    file = Path(wish.agent)
    is_file = file.suffix == ".toml"
    if is_file and not file.is_file():
        raise Failed(f"there is no file {file}")
    folder = file.parent if is_file else config.agents_folder(agents, where)
    settings, variables = trial.equipment(where, environment, folder, configuration.prices)
    examined = examine(folder, by_surroundings(variables, environment.script), configuration.routes)
    agent = examined.bindings.agents.get(file.stem if is_file else wish.agent)
    if agent is None:
        for fault in examined.faults:
            raise fault
        raise Failed(f"no agent {wish.agent!r} in {folder}; `factory agent list` names them")
    try:
        most = Decimal(wish.budget)
    except InvalidOperation:
        most = Decimal("NaN")
    if not most.is_finite() or most < 0:
        raise Failed(f"{wish.budget!r} is no sum of dollars")
    return Ready(where, wish, agent, settings, most, comparison.costs_nothing(agent, settings))


def run(ready: Ready, turns: Sequence[Then]) -> tuple[Compared, ...]:
    """Ask them all. Raises `ScriptError`."""
    return asyncio.run(comparison.compare(ready.agent, turns, ready.settings, ready.most))


def row(one: Compared) -> tuple[str, ...]:
    """The two beside each other."""
    before, after = one.before, one.after
    words = "same" if before.text == after.text else f"{one.likeness:.0%} alike"
    tools = ", ".join(before.tools) or "none"
    if before.tools != after.tools:
        tools += f" -> {', '.join(after.tools) or 'none'}"
    outcome = after.outcome if before.outcome == after.outcome else f"{before.outcome} -> {after.outcome}"
    cost = f"{dollars(before.cost)} -> {dollars(after.cost)}" + (" and more" if after.unknown else "")
    took = f"{before.seconds:.1f} -> {after.seconds:.1f}"
    where = harmless(history.named(one.then.key.platform, one.then.key.bot_id, one.then.key.scope_id))
    return one.then.turn[:12], where, words, harmless(tools), cost, took, outcome


def lines(one: Compared, width: int | None) -> Iterator[Line]:
    """What differs in the words, and what was not as it was."""
    if one.is_same and not one.notes:
        return
    yield (Ink(""),)
    yield (Ink(one.then.turn, "strong"),)
    for note in one.notes:
        yield (Ink("  "), Ink(harmless(note), "faint"))
    for said in one.differences():
        if not said.startswith("@@"):
            style: Style = "good" if said.startswith("+") else "bad" if said.startswith("-") else "plain"
            yield from block(said, INDENT, width, style)


def as_json(one: Compared) -> dict[str, object]:
    """All of it for programs; money is a string."""
    return {
        "turn": one.then.turn,
        "scope": one.then.key.to_pool_id(),
        "asked": one.then.lines[-1].text,
        "agent": one.then.answer.agent,
        "agent_hash": one.then.answer.agent_hash,
        "is_same": one.is_same,
        "likeness": round(one.likeness, 4),
        "notes": list(one.notes),
        **{
            name: {
                "text": side.text,
                "outcome": side.outcome,
                "tools": list(side.tools),
                "cost": plain(side.cost),
                "seconds": side.seconds,
                "unknown": side.unknown,
            }
            for name, side in (("then", one.before), ("now", one.after))
        },
    }
