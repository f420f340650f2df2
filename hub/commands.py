"""Words to the hub instead of the agent: `/new`, `/undo`, `/usage` and the like, and what each puts on the log."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from factory_contracts.messages import Outcome
from factory_contracts.records import Bound, HeadMoved, Record, SessionOpened, TurnAnswered, record_id
from factory_contracts.subjects import BadToken, scope_token
from factory_contracts.work import Line
from hub.kernel.agent import Agent
from hub.kernel.budget import dollars, renewal
from hub.kernel.guards import START
from hub.kernel.routing import RoutingKey
from hub.kernel.session import COMPACT, EXPAND, VOICE, OpenTurn, Used
from hub.pool import Pool

STOPPED = "Stopped."
NOTHING_RUNS = "Nothing is running."
NOT_YOURS = "Only who asked can stop this."
WELCOME_OWNER = "You are an owner of this bot."
HOW_TO = "Just write to me. `/new` begins a new conversation, `/stop` ends an answer, `/help` tells the other commands."
HELP_HEAD = "Whatever you write is for the agent, but for these:"
FORK = "/fork"
APPROVALS, APPROVE, DENY = "/approvals", "/approve", "/deny"
NEW_SESSION = "A new conversation begins: I no longer see what was said before."
SUMMARISE = (
    "Write down, for yourself and in the language of the conversation, what was said so far and matters for going on: "
    "who the person is and wants what, what was found out, decided and done, names, numbers and open questions. "
    "No preamble, no comment, at most 400 words."
)
MOST_UNDONE = 50
MOST_OFFERED = 40
MOST_CHOICES = 8
MAX_MODEL_NAME = 255


@dataclass(frozen=True, slots=True)
class GoOn:
    """The message is for the agent after all, once these records stand: asked as the agent here, or as told.

    Where there is something to be said `aloud`, no model is asked.
    """

    records: tuple[Record, ...] = ()
    agent: Agent | None = None
    lines: tuple[Line, ...] = ()
    aloud: str | None = None


Obeyed = tuple[Record, ...] | GoOn
Command = Callable[[Pool, OpenTurn, str], Awaitable[Obeyed]]


async def obey(pool: Pool, turn: OpenTurn) -> Obeyed:
    """The records that answer a word to the hub; `GoOn` where an agent is to answer."""
    word, _, rest = turn.message.text.strip().partition(" ")
    command = COMMANDS.get(word)
    return GoOn() if command is None else await command(pool, turn, rest.strip())


def said_by_hub(
    pool: Pool, turn: OpenTurn, text: str, outcome: Outcome = "complete", choices: Iterable[str] = ()
) -> TurnAnswered:
    """An answer that no agent gave, and that no model will be shown; of the choices as many as can be offered."""
    offered = tuple(choice for choice in choices if len(choice) <= MOST_OFFERED)[:MOST_CHOICES]
    return TurnAnswered(
        id=record_id(turn.turn, "answered"),
        turn=turn.turn,
        at=pool.ports.clock(),
        compacted=pool.session.compacted,
        text=text,
        outcome=outcome,
        choices=offered or None,
    )


async def _start(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    agent = pool.agent
    lines = [f"Hello! {WELCOME_OWNER}" if turn.trust == "owner" else "Hello!"]
    if agent is not None:
        lines.append(f"**{agent.name}** answers here. {agent.description}".rstrip())
    return (said_by_hub(pool, turn, "\n".join([*lines, HOW_TO])),)


async def _help(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    lines = [f"- `{word}` {says}" for word, says in HELP.items() if word != FORK or turn.message.address.names_scopes]
    return (said_by_hub(pool, turn, "\n".join([HELP_HEAD, *lines])),)


async def _new(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    opened = SessionOpened(
        id=record_id(turn.turn, "session"), turn=turn.turn, at=pool.ports.clock(), compacted=pool.session.compacted
    )
    return opened, said_by_hub(pool, turn, NEW_SESSION)


async def _stop(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    return (said_by_hub(pool, turn, NOTHING_RUNS),)


async def _agent(pool: Pool, turn: OpenTurn, name: str) -> Obeyed:
    agents = pool.ports.bindings.agents
    if not name:
        present = pool.agent
        lines = [
            f"- **{agent.name}**{' (here)' if present is not None and agent.name == present.name else ''}"
            f"{': ' + agent.description if agent.description else ''}"
            for agent in agents.values()
        ]
        text = "\n".join(["These agents can answer; `/agent NAME` chooses:", *lines])
        return (said_by_hub(pool, turn, text, choices=(f"/agent {other}" for other in agents)),)
    if name not in agents:
        known = ", ".join(sorted(agents)) or "none"
        return _no(pool, turn, f"There is no agent `{name}`. There are: {known}.")
    return _bound(pool, turn, name, None), said_by_hub(pool, turn, f"From now on **{name}** answers here.")


async def _model(pool: Pool, turn: OpenTurn, name: str) -> Obeyed:
    agent = pool.ports.bindings.agent_for(pool.key, pool.session.agent)
    if agent is None:
        return _no(pool, turn, "No agent answers here, so there is no model to choose.")
    own = (agent.model, *agent.fallbacks)
    if not name:
        here = pool.agent or agent
        words = [f"**{agent.name}** answers here with `{here.model}`."]
        words += [f"Its file names: {', '.join(f'`{one}`' for one in own)}. `/model NAME` chooses, `/model -` resets."]
        return (said_by_hub(pool, turn, "\n".join(words), choices=(f"/model {one}" for one in own)),)
    if name == "-":
        return _bound(pool, turn, agent.name, None), said_by_hub(pool, turn, f"`{agent.model}` answers here again.")
    if name not in own and turn.trust != "owner":
        return _no(pool, turn, f"Here you can choose among: {', '.join(f'`{one}`' for one in own)}.")
    if len(name) > MAX_MODEL_NAME:
        return _no(pool, turn, f"No model's name is longer than {MAX_MODEL_NAME} characters.")
    provider = name.partition(":")[0]
    there = pool.ports.clipool.providers()
    if there and provider not in there:
        return _no(pool, turn, f"No worker knows the provider `{provider}`. There are: {', '.join(sorted(there))}.")
    return _bound(pool, turn, agent.name, name), said_by_hub(pool, turn, f"From now on `{name}` answers here.")


async def _undo(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    is_number = rest.isascii() and rest.isdigit() and len(rest) <= len(str(MOST_UNDONE))
    count = int(rest) if is_number else 0 if rest else 1
    if not 1 <= count <= MOST_UNDONE:
        return _no(pool, turn, f"`/undo` takes a number from 1 to {MOST_UNDONE}, and means 1 without one.")
    history = pool.session.history
    # A hub that died in the middle of this has moved the head already.
    if not history and record_id(turn.turn, "head") not in pool.session.changes:
        return _no(pool, turn, "There is nothing to undo.")
    undone = history[-count:]
    words = "\n".join(f"- {_short(passage.asked)}" for passage in undone)
    text = f"Taken back; I no longer see:\n{words}" if undone else "Taken back."
    return _head(pool, turn, len(history) - len(undone), again=False), said_by_hub(pool, turn, text)


async def _retry(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    if turn.again is not None:
        return GoOn()
    history = pool.session.history
    if not history:
        return _no(pool, turn, "There is nothing to try again.")
    return GoOn((_head(pool, turn, len(history) - 1, again=True),))


async def _usage(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    lines = [f"This conversation: {spell(pool.session.used)}."]
    agent = pool.agent
    now = pool.ports.clock()
    name = agent.name if agent is not None else "-"
    for standing in pool.ports.ledger.standings(pool.key, turn.message.user_id, name, now):
        budget = standing.budget
        held = f", {dollars(standing.held)} held for what runs" if standing.held else ""
        lines.append(
            f"- Budget “{budget.name}” (per {budget.per}, {budget.period}): {dollars(standing.spent)} spent{held}, "
            f"{dollars(standing.left)} of {dollars(budget.amount)} left. {renewal(standing.renews)}"
        )
    return (said_by_hub(pool, turn, "\n".join(lines)),)


async def _why(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    latest = pool.session.latest
    if latest is None:
        return _no(pool, turn, "No agent has answered here lately. `factory turns show` tells of older turns.")
    again = "" if latest.attempts < 2 else f" in {latest.attempts} attempts"
    lines = [
        f"The last answer came from **{latest.agent}** with `{latest.model}`, at worker `{latest.worker}`{again}.",
        f"It is {latest.outcome}, took {latest.seconds:.1f} s and used {spell(latest.used)}.",
        f"All of it: `factory turns show {latest.turn}`",
    ]
    if latest.reference is not None:
        lines.append(f"Its reference is {latest.reference}.")
    return (said_by_hub(pool, turn, "\n".join(lines)),)


async def _fork(pool: Pool, turn: OpenTurn, name: str) -> Obeyed:
    address = turn.message.address
    if not address.names_scopes:
        return _no(pool, turn, "Conversations have no names here. Where they have, `/fork NAME` makes a copy of one.")
    try:
        scope_token(name)
    except BadToken as error:
        return _no(pool, turn, f"`/fork NAME` needs a name for the copy: {error}.")
    key = RoutingKey(pool.key.platform, pool.key.bot_id, name)
    if not await pool.crew.fork(key, pool.session.copy(f"fork.{turn.turn}", pool.ports.clock())):
        return _no(pool, turn, f"There is a conversation `{name}` already.")
    return (said_by_hub(pool, turn, f"`{name}` begins with all that was said here. `/resume {name}` goes there."),)


async def _voice(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    last = next((passage.answered for passage in reversed(pool.session.history) if passage.answered), "")
    return GoOn(aloud=last) if last else _no(pool, turn, "There is no answer to say aloud.")


async def _compact(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    agent = pool.agent
    if agent is None or not pool.session.history:
        return _no(pool, turn, "There is nothing to put in short.")
    # What is said meanwhile belongs to the conversation and not to its summary.
    writer = replace(
        agent,
        system=SUMMARISE,
        tools=(),
        skills=(),
        mcp=(),
        helpers=(),
        files=None,
        own_tools=(),
        while_running="queue",
    )
    *before, _ = pool.session.lines(turn)
    return GoOn(agent=writer, lines=(*before, Line(role="user", text=SUMMARISE)))


async def _expand(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    words = "I see again what was said, as far back as I look, instead of its summary."
    return (said_by_hub(pool, turn, words if pool.session.summary else "There is no summary to take back."),)


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        START: _start,
        "/help": _help,
        "/new": _new,
        "/stop": _stop,
        "/agent": _agent,
        "/model": _model,
        "/undo": _undo,
        "/retry": _retry,
        "/usage": _usage,
        "/why": _why,
        FORK: _fork,
        VOICE: _voice,
        COMPACT: _compact,
        EXPAND: _expand,
    }
)


HELP: Mapping[str, str] = MappingProxyType(
    {
        START: "says who answers here",
        "/help": "tells these commands",
        "/new": "begins a new conversation; what was said before is no longer seen",
        "/stop": "ends the answer that is being written",
        "/agent": "tells who can answer, and with a name chooses",
        "/model": "tells which model answers, and with a name chooses",
        "/undo": "takes back the last exchange, or with a number so many",
        "/retry": "asks the last question again",
        "/usage": "tells what this conversation used and what is left of the budgets",
        "/why": "tells how the last answer came about",
        FORK: "with a name copies this conversation",
        VOICE: "says the last answer aloud",
        COMPACT: "puts what was said into a summary, to make room",
        EXPAND: "takes the summary back",
        APPROVALS: "tells what waits for your leave, wherever it is asked",
        APPROVE: "with the code of a question allows what it asks",
        DENY: "with the code of a question does not allow it",
    }
)


def spell(used: Used) -> str:
    """What was consumed, in words."""
    cached = f" ({used.cache_read_tokens:,} from a cache)" if used.cache_read_tokens else ""
    unknown = f", and {used.unpriced} calls of unknown price" if used.unpriced else ""
    return (
        f"{used.calls} model calls, {used.input_tokens:,} tokens in{cached}, {used.output_tokens:,} out, "
        f"{dollars(used.cost)}{unknown}"
    )


def _no(pool: Pool, turn: OpenTurn, words: str) -> tuple[Record, ...]:
    return (said_by_hub(pool, turn, words, outcome="failed"),)


def _bound(pool: Pool, turn: OpenTurn, agent: str, model: str | None) -> Bound:
    return Bound(
        id=record_id(turn.turn, "bound"),
        turn=turn.turn,
        at=pool.ports.clock(),
        compacted=pool.session.compacted,
        agent=agent,
        model=model,
    )


def _head(pool: Pool, turn: OpenTurn, kept: int, *, again: bool) -> HeadMoved:
    history = pool.session.history
    return HeadMoved(
        id=record_id(turn.turn, "head"),
        turn=turn.turn,
        at=pool.ports.clock(),
        compacted=pool.session.compacted,
        after=history[kept - 1].turn if kept else None,
        again=again,
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 80 else f"{words[:79]}…"
