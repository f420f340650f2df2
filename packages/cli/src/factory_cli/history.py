"""What commands look up on the log: the newest turns, and one turn whole. Read page by page, and nothing is changed."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from factory_cli import log
from factory_cli.amounts import plain
from factory_cli.config import LOCAL_BOT, LOCAL_PLATFORM
from factory_cli.console import Failed
from factory_cli.expenses import Expense, Expenses, Total
from factory_cli.home import Home
from factory_cli.replay import Past
from factory_cli.trace import clock
from factory_contracts import subjects
from factory_contracts.records import Forgotten, Record, TurnAnswered, TurnReceived, TurnRefused, TurnSuperseded
from factory_nats.transport import Transport
from hub.kernel.routing import RoutingKey

T = TypeVar("T")

NAMED = 5


@dataclass(slots=True)
class Listed:
    """One turn of many."""

    turn: str
    at: str
    scope: str
    asked: str
    state: str
    total: Total

    def as_json(self) -> dict[str, object]:
        """The same for programs; the cost is a string, and without the calls of unknown cost."""
        return {
            "turn": self.turn,
            "at": self.at,
            "scope": self.scope,
            "state": self.state,
            "asked": self.asked,
            "cost": plain(self.total.cost),
            "unknown": self.total.unknown,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """One turn and every record of it, each with its sequence."""

    turn: str
    key: RoutingKey
    records: tuple[tuple[int, Record], ...]


async def through(where: Home, url: str, look: Callable[[Transport], Awaitable[T]]) -> T:
    """Look at the log over a connection that is there for that alone. Raises `Failed`."""
    async with log.bus(where, url) as transport:
        return await look(transport)


def named(platform: str, bot_id: str, scope_id: str) -> str:
    """How a person at the terminal names a conversation: their own by the session, others by where they are."""
    is_own = (platform, bot_id) == (LOCAL_PLATFORM, LOCAL_BOT)
    return scope_id if is_own else f"{platform}:{bot_id}:{scope_id}"


async def newest(transport: Transport, scope: str | None, limit: int) -> tuple[Listed, ...]:
    """The newest turns of all scopes or of one, the oldest of them first."""
    found: OrderedDict[str, Listed] = OrderedDict()
    expenses = Expenses()

    def add(one: Expense) -> None:
        if one.turn in found:
            found[one.turn].total.add(one)

    async for subject, _, record in log.records(transport, subjects.plane("scopes")[0]):
        tokens = subjects.read_turns(subject)
        if tokens is None or (scope is not None and scope not in (tokens[2], named(*tokens))):
            continue
        over = expenses.apply(RoutingKey(*tokens), record)
        match record:
            case TurnReceived() if record.turn not in found:
                text = record.message.text
                found[record.turn] = Listed(record.turn, clock(record.at), named(*tokens), text, "open", Total())
                if len(found) > limit:
                    found.popitem(last=False)
            case Forgotten():
                # All that was said before it is gone, or is about to be.
                name = named(*tokens)
                for turn in [turn for turn, one in found.items() if one.scope == name]:
                    del found[turn]
                found[record.turn] = Listed(record.turn, clock(record.at), name, "", "forgotten", Total())
                if len(found) > limit:
                    found.popitem(last=False)
            case TurnAnswered() | TurnRefused() | TurnSuperseded() if record.turn in found:
                outcome = f" ({record.outcome})" if isinstance(record, TurnAnswered) else ""
                found[record.turn].state = f"{record.kind}{outcome}"
            case _:
                pass
        for expense in over:
            add(expense)
    for expense in expenses.rest():
        add(expense)
    return tuple(found.values())


async def one(transport: Transport, wanted: str) -> Found:
    """The turn that is meant: by its id, how that begins, or the reference a person was given. Raises `Failed`."""
    name, subject = await _meant(transport, wanted)
    records = [
        (sequence, record) async for _, sequence, record in log.records(transport, subject) if record.turn == name
    ]
    tokens = subjects.read_turns(subject)
    if tokens is None:
        raise Failed(f"turn {name} lies on no scope's log")
    return Found(name, RoutingKey(*tokens), tuple(records))


async def past(transport: Transport, wanted: str, until: int | None = None) -> Past:
    """A conversation up to a sequence, or to the end of a turn, where it is a turn that is meant. Raises `Failed`."""
    subject, turn = await _place(transport, wanted)
    tokens = subjects.read_turns(subject)
    if tokens is None:
        raise Failed(f"{wanted} lies on no conversation's log")
    records = [(sequence, record) async for _, sequence, record in log.records(transport, subject)]
    last = records[-1][0] if records else 0
    if until is None:
        # Receipts are written late, when the next turn may be over as well.
        of_turn = [(sequence, record) for sequence, record in records if record.turn == turn]
        ends = [at for at, record in of_turn if isinstance(record, TurnAnswered | TurnRefused | TurnSuperseded)]
        until = last if turn is None else ends[0] if ends else of_turn[-1][0]
    return Past(RoutingKey(*tokens), tuple(one for one in records if one[0] <= until), last)


async def _place(transport: Transport, wanted: str) -> tuple[str, str | None]:
    """The subject of the conversation that is meant, and the turn, if one is."""
    scopes: dict[str, set[str]] = {}
    async for stored in log.messages(transport, subjects.STREAM, subjects.plane("scopes")[0]):
        tokens = subjects.read_turns(stored.subject)
        if tokens is not None and wanted in (tokens[2], named(*tokens), RoutingKey(*tokens).to_pool_id()):
            scopes.setdefault(wanted, set()).add(stored.subject)
    found = sorted(scopes.get(wanted, ()))
    if len(found) > 1:
        raise Failed(f"{wanted!r} is the name of {len(found)} conversations; say PLATFORM:BOT:SCOPE")
    if found:
        return found[0], None
    name, subject = await _meant(transport, wanted)
    return subject, name


async def _meant(transport: Transport, wanted: str) -> tuple[str, str]:
    """The turn's id, and the subject that it is on."""
    if not wanted:
        raise Failed("an id is missing: name a turn, or how its id begins; `factory turns ls` names them")
    begins: dict[str, str] = {}
    refers: dict[str, str] = {}
    async for subject, _, record in log.records(transport, subjects.plane("scopes")[0]):
        if isinstance(record, TurnReceived | Forgotten) and record.turn.startswith(wanted):
            begins[record.turn] = subject
        elif isinstance(record, TurnAnswered) and record.reference == wanted:
            refers[record.turn] = subject
    if wanted in begins:
        return wanted, begins[wanted]
    found = begins | refers
    if not found:
        raise Failed(f"no turn begins with {wanted!r} and none has that reference; `factory turns ls` names them")
    if len(found) > 1:
        more = ", …" if len(found) > NAMED else ""
        raise Failed(f"{len(found)} turns are meant by {wanted!r}: {', '.join(sorted(found)[:NAMED])}{more}")
    ((name, subject),) = found.items()
    return name, subject
