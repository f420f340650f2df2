"""Words to the hub instead of the agent: `/new`, `/undo`, `/usage` and the like, and what each puts on the log."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from factory_contracts.messages import Outcome
from factory_contracts.records import Bound, HeadMoved, Record, SessionOpened, TurnAnswered, record_id
from factory_contracts.subjects import BadToken, scope_token
from factory_contracts.work import Line
from hub.kernel.access import NOT_ALLOWED, Action, Decision, speaker
from hub.kernel.agent import BY_HAND, Agent
from hub.kernel.budget import dollars, extent, renewal
from hub.kernel.guards import LINK, START
from hub.kernel.routing import RoutingKey
from hub.kernel.session import COMPACT, EXPAND, FORGET, FORGET_ALL, USE, VOICE, OpenTurn, Used
from hub.pool import QUEUE, Pool
from hub.powers import POWERS, Word

STOPPED = "Stopped."
NOTHING_RUNS = "Nothing is running."
WELCOME_OWNER = "You are an owner of this bot."
WELCOME_TRUSTED = "An owner of this bot trusts you."
HOW_TO = "Just write to me. `/new` begins a new conversation, `/stop` ends an answer, `/help` tells the other commands."
HELP_HEAD = "Whatever you write is for the agent, but for these:"
FORK = "/fork"
RUN = "/run"
ENGINE = re.compile(r"[a-z][a-z0-9_]{0,31}")
APPROVALS, APPROVE, DENY = "/approvals", "/approve", "/deny"
NOT_TOLD = f"I was interrupted before I could tell you what came of this. `{APPROVALS}` tells what still waits for you."
NEW_SESSION = "A new conversation begins: I no longer see what was said before."
WHAT_IS_FORGOTTEN = (
    f"`{FORGET_ALL}` removes what was said in this conversation, within a minute and for good: the log of it, files "
    "that came with it, what was noted from it in a memory, and what is kept of it beside that. What runs is stopped, "
    "and what waits is not answered. What stands on your screen stays there until you delete it. So do copies of this "
    "conversation, files in an agent's folder, and backups. Shall I?"
)
FORGETTING = (
    "Everything that was said here is being removed; in a minute it is gone. What stands on your screen stays there "
    "until you delete it."
)
NOT_ANSWERED = "This is not answered: everything that was said here is being removed."
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

    Where there is something to be said `aloud`, no model is asked. An `engine` is run by the agent, and given the line.
    """

    records: tuple[Record, ...] = ()
    agent: Agent | None = None
    lines: tuple[Line, ...] = ()
    aloud: str | None = None
    engine: str | None = None


Obeyed = tuple[Record, ...] | GoOn
Command = Callable[[Pool, OpenTurn, str], Awaitable[Obeyed]]


async def obey(pool: Pool, turn: OpenTurn) -> Obeyed:
    """The records that answer a word to the hub; `GoOn` where an agent is to answer."""
    word, _, rest = turn.message.text.strip().partition(" ")
    command = COMMANDS.get(word)
    if command is None:
        return GoOn()
    # What somebody might do when they said it they may not do any more once it was taken from them.
    decision = _judged(pool, turn, word, rest.strip())
    if not decision.allowed:
        return _no(pool, turn, decision.words or NOT_ALLOWED)
    return await command(pool, turn, rest.strip())


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
    greetings = {"owner": f"Hello! {WELCOME_OWNER}", "trusted": f"Hello! {WELCOME_TRUSTED}"}
    lines = [greetings.get(turn.trust, "Hello!")]
    if agent is not None:
        lines.append(f"**{agent.name}** answers here. {agent.description}".rstrip())
    return (said_by_hub(pool, turn, "\n".join([*lines, HOW_TO])),)


async def _help(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    lines = [
        f"- `{word}` {says}"
        for word, says in HELP.items()
        if word != FORK or turn.message.address.names_scopes
        if _judged(pool, turn, word).allowed
    ]
    return (said_by_hub(pool, turn, "\n".join([HELP_HEAD, *lines])),)


async def _new(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    opened = SessionOpened(
        id=record_id(turn.turn, "session"), turn=turn.turn, at=pool.ports.clock(), compacted=pool.session.compacted
    )
    return opened, said_by_hub(pool, turn, NEW_SESSION)


async def _stop(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    return (said_by_hub(pool, turn, NOTHING_RUNS),)


async def _leave(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    # It is obeyed before it is accepted, together with its answer. Without one it is here when the power went between.
    return (said_by_hub(pool, turn, NOT_TOLD, outcome="failed", choices=(APPROVALS,)),)


async def _forget(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    return (said_by_hub(pool, turn, WHAT_IS_FORGOTTEN, choices=(FORGET_ALL,)),)


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
        offered = (f"/agent {other}" for other in agents if pool.decide(turn, "agent").allowed)
        return (said_by_hub(pool, turn, text, choices=offered),)
    if name not in agents:
        known = ", ".join(sorted(agents)) or "none"
        return _no(pool, turn, f"There is no agent `{name}`. There are: {known}.")
    return _bound(pool, turn, name, None), said_by_hub(pool, turn, f"From now on **{name}** answers here.")


async def _model(pool: Pool, turn: OpenTurn, name: str) -> Obeyed:
    agent = pool.ports.bindings.agent_for(pool.key, pool.session.agent)
    if agent is None:
        return _no(pool, turn, "No agent answers here, so there is no model to choose.")
    own, decision = (agent.model, *agent.fallbacks), pool.decide(turn, "model")
    if not name:
        here = pool.agent or agent
        words = [f"**{agent.name}** answers here with `{here.model}`."]
        words += [f"Its file names: {', '.join(f'`{one}`' for one in own)}. `/model NAME` chooses, `/model -` resets."]
        offered = (f"/model {one}" for one in own if decision.allowed)
        return (said_by_hub(pool, turn, "\n".join(words), choices=offered),)
    if name == "-":
        return _bound(pool, turn, agent.name, None), said_by_hub(pool, turn, f"`{agent.model}` answers here again.")
    if name not in own and decision.level != "owner":
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
    history = pool.session.history
    if turn.again is None and not history:
        return _no(pool, turn, "There is nothing to try again.")
    passage = turn.again or history[-1]
    head = () if turn.again is not None else (_head(pool, turn, len(history) - 1, again=True),)
    word, name, *words = *passage.asked.split(maxsplit=2), "", ""
    if word != RUN or pool.agent is None:
        return GoOn(head)
    text, trusted = "".join(words), passage.is_trusted or None
    given = Line(role="user", text=text, attachments=() if text else passage.attachments, trusted=trusted)
    obeyed = _engine(pool, turn, pool.agent, name, given)
    return replace(obeyed, records=head) if isinstance(obeyed, GoOn) else obeyed


async def _usage(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    lines = (f"This conversation: {spell(pool.session.used)}.", *_budgets(pool, turn))
    return (said_by_hub(pool, turn, "\n".join(lines)),)


async def _limits(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    ports, who, place = pool.ports, speaker(turn.message), pool.key.to_pool_id()
    policy = ports.people.policy(pool.key)
    if policy is None:
        return _no(pool, turn, "This bot is not set up yet, so nothing is said of its limits.")
    now, access = ports.clock(), ports.people.access
    yours = ports.traffic.people.left(access.name(who), policy.rate_per_minute, now)
    everybodys = ports.traffic.scopes.left(place, policy.rate_per_scope_minute, now)
    lines = [
        "What holds here, and what is left of it:",
        f"- {policy.rate_per_minute} messages a minute from one person, {int(yours)} left",
        f"- {policy.rate_per_scope_minute} messages a minute in one conversation, {int(everybodys)} left",
        f"- {policy.max_text:,} characters in one message",
        f"- {QUEUE} messages that wait in one conversation, {QUEUE - pool.session.queued} left",
        f"- answers in {policy.turns_at_once} conversations at once for one person, "
        f"you wait in {ports.traffic.waits.beside(access.person(who), place)} others",
        *_budgets(pool, turn),
    ]
    if pool.agent is not None:
        limits = pool.agent.limits
        lines.append(
            f"- for an answer **{pool.agent.name}** makes at most {limits.max_calls} model calls, of at most "
            f"{limits.max_tokens:,} tokens each, in {limits.max_seconds} s; a model that falls silent for "
            f"{limits.stall_seconds} s is given up"
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
    except BadToken:
        return _no(pool, turn, "`/fork NAME` needs a short name for the copy, such as `/fork second-try`.")
    key = RoutingKey(pool.key.platform, pool.key.bot_id, name)
    if not await pool.crew.fork(key, pool.session.copy(f"fork.{turn.turn}", pool.ports.clock())):
        return _no(pool, turn, f"There is a conversation `{name}` already.")
    return (said_by_hub(pool, turn, f"`{name}` begins with all that was said here. `/resume {name}` goes there."),)


async def _voice(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    last = next((passage.answered for passage in reversed(pool.session.history) if passage.answered), "")
    return GoOn(aloud=last) if last else _no(pool, turn, "There is no answer to say aloud.")


async def _use(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    agent = pool.agent
    known = () if agent is None else (*agent.tools, *agent.workers)
    name, _, words = rest.partition(" ")
    if agent is None or name not in known:
        there = f"There is: {', '.join(f'`{one}`' for one in known)}." if known else "Here there is none."
        return _no(pool, turn, f"`/use TOOL WORDS` uses a tool of the agent here, and asks no model. {there}")
    # It is used as the agent would use it, with whatever leave that needs.
    hand = replace(
        _without_tools(agent),
        model=BY_HAND,
        fallbacks=(),
        system="",
        tools=(name,) if name in agent.tools else (),
        workers=() if name in agent.tools else (name,),
    )
    return GoOn(agent=hand, lines=(turn.line.model_copy(update={"text": words.strip(), "attachments": ()}),))


async def _run(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    agent = pool.agent
    if agent is None:
        return GoOn()
    if not rest:
        offered = [f"{RUN} {engine}" for engine in agent.engines]
        text = f"`{RUN} NAME` runs an engine on the words or the file that follow. {_runs(agent)}"
        return (said_by_hub(pool, turn, text, choices=offered),)
    name, *words = rest.split(maxsplit=1)
    return _engine(pool, turn, agent, name, turn.given("".join(words)))


def _engine(pool: Pool, turn: OpenTurn, agent: Agent, name: str, given: Line) -> Obeyed:
    # What an agent runs for whoever may speak to it, they may have run themselves; an owner may have run whatever is.
    is_owner = pool.decide(turn, "look").level == "owner"
    if name not in agent.engines and not (is_owner and ENGINE.fullmatch(name)):
        return _no(pool, turn, f"There is no engine `{_short(name)}` for this. {_runs(agent)}")
    return GoOn(engine=name, lines=(given,))


def _runs(agent: Agent) -> str:
    if not agent.engines:
        return f"**{agent.name}** is allowed to run no engine: its file names none under `engines`."
    return f"**{agent.name}** runs: {', '.join(f'`{engine}`' for engine in agent.engines)}."


async def _compact(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    agent = pool.agent
    if agent is None or not pool.session.history:
        return _no(pool, turn, "There is nothing to put in short.")
    # What is said meanwhile belongs to the conversation and not to its summary.
    writer = replace(_without_tools(agent), system=SUMMARISE)
    *before, _ = pool.session.lines(turn)
    return GoOn(agent=writer, lines=(*before, Line(role="user", text=SUMMARISE)))


async def _expand(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
    words = "I see again what was said, as far back as I look, instead of its summary."
    return (said_by_hub(pool, turn, words if pool.session.summary else "There is no summary to take back."),)


def _telling(word: Word) -> Command:
    async def command(pool: Pool, turn: OpenTurn, rest: str) -> Obeyed:
        told = await word(pool, turn, rest)
        return (said_by_hub(pool, turn, told.words, told.outcome, told.choices),)

    return command


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        START: _start,
        "/help": _help,
        "/new": _new,
        "/stop": _stop,
        FORGET: _forget,
        "/agent": _agent,
        "/model": _model,
        "/undo": _undo,
        "/retry": _retry,
        "/usage": _usage,
        "/why": _why,
        FORK: _fork,
        VOICE: _voice,
        USE: _use,
        RUN: _run,
        COMPACT: _compact,
        EXPAND: _expand,
        "/limits": _limits,
        **{word: _telling(told) for word, told in POWERS.items()},
        **dict.fromkeys((APPROVALS, APPROVE, DENY), _leave),
    }
)

# What a word does to a bot; a word that is not here only looks.
_ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "/new": "new",
        "/undo": "undo",
        "/retry": "retry",
        USE: "speak",
        FORK: "fork",
        COMPACT: "compact",
        EXPAND: "expand",
        FORGET: "forget",
        "/invite": "invite",
        "/people": "people",
        "/grant": "grant",
        "/revoke": "revoke",
        "/block": "block",
        "/unblock": "unblock",
        LINK: "link",
        "/unlink": "link",
        "/whoami": "link",
        APPROVALS: "approve",
        APPROVE: "approve",
        DENY: "approve",
    }
)
# What these do when something is chosen.
_CHOICES: Mapping[str, Action] = MappingProxyType({"/agent": "agent", "/model": "model"})


HELP: Mapping[str, str] = MappingProxyType(
    {
        START: "says who answers here",
        "/help": "tells these commands",
        "/new": "begins a new conversation; what was said before is no longer seen",
        "/stop": "ends the answer that is being written",
        FORGET: "tells how to have everything removed that was said here",
        "/agent": "tells who can answer, and with a name chooses",
        "/model": "tells which model answers, and with a name chooses",
        "/undo": "takes back the last exchange, or with a number so many",
        "/retry": "asks the last question again",
        "/usage": "tells what this conversation used and what is left of the budgets",
        "/why": "tells how the last answer came about",
        FORK: "with a name copies this conversation",
        VOICE: "says the last answer aloud",
        USE: "with a tool of the agent here and some words uses it, and asks no model",
        RUN: "with a name runs an engine on the words or the file that follow",
        COMPACT: "puts what was said into a summary, to make room",
        EXPAND: "takes the summary back",
        "/limits": "tells what holds here for messages, answers and money, and what is left",
        "/invite": "makes a code that lets somebody in, as `trusted` or as `owner`",
        "/people": "tells who was let in here, by whom, and who is blocked",
        "/grant": "with an account and `trusted` or `owner` lets somebody in without a code",
        "/revoke": "with an account takes back what they were granted",
        "/block": "with an account shuts somebody out",
        "/unblock": "with an account hears somebody again",
        LINK: "makes a code by which your account on another platform is you as well",
        "/unlink": "makes an account a person of its own again",
        "/whoami": "tells what you are here, and why",
        APPROVALS: "tells what waits for your leave, wherever it is asked",
        APPROVE: "with the code of a question allows what it asks",
        DENY: "with the code of a question does not allow it",
    }
)


def spell(used: Used) -> str:
    """What was consumed, in words."""
    cached = f" ({used.cache_read_tokens:,} from a cache)" if used.cache_read_tokens else ""
    calls = f"{used.calls} model call{'' if used.calls == 1 else 's'}"
    unpriced = f"{used.unpriced} call{'' if used.unpriced == 1 else 's'}"
    unknown = f", and {unpriced} of unknown price" if used.unpriced else ""
    return (
        f"{calls}, {used.input_tokens:,} tokens in{cached}, {used.output_tokens:,} out, {dollars(used.cost)}{unknown}"
    )


def _judged(pool: Pool, turn: OpenTurn, word: str, rest: str = "") -> Decision:
    """Whether who says a word may have it obeyed."""
    action = _ACTIONS.get(word, "look")
    return pool.decide(turn, _CHOICES.get(word, action) if rest else action)


def _budgets(pool: Pool, turn: OpenTurn) -> Iterator[str]:
    """How each budget stands for who asks here."""
    name = pool.agent.name if pool.agent is not None else "-"
    person = pool.ports.people.other_name(speaker(turn.message))
    for standing in pool.ports.ledger.standings(
        pool.key, turn.message.user_id, name, pool.ports.clock(), person=person
    ):
        budget = standing.budget
        held = f", {dollars(standing.held)} held for what runs" if standing.held else ""
        yield (
            f"- Budget “{budget.name}” ({extent(budget)}): {dollars(standing.spent)} spent{held}, "
            f"{dollars(standing.left)} left. {renewal(standing.renews)}"
        )


def _without_tools(agent: Agent) -> Agent:
    """The agent with nothing but what it says, and nobody who interrupts it."""
    return replace(
        agent,
        tools=(),
        skills=(),
        mcp=(),
        helpers=(),
        workers=(),
        engines=(),
        files=None,
        own_tools=(),
        while_running="queue",
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
