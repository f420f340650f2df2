"""Hubs that share a purse: what others spend is known before more is given away, however late an answer comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from decimal import Decimal

import pytest

from factory_contracts.messages import Address, InboundMessage
from factory_contracts.records import (
    Balance,
    MoneyReserved,
    MoneySettled,
    Record,
    TurnAnswered,
    TurnReceived,
    record_id,
)
from hub.kernel.budget import Budget, SharedLedger
from hub.kernel.ports import Logged
from hub.kernel.routing import RoutingKey
from hub.money import RECKON_EVERY, SharedMoney
from tests.fakes import pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")

KEY = RoutingKey("paper", "desk", "chat")
PURSE = Budget("purse", Decimal(1), period="ever")
SPENT = Decimal("0.10")


def turn(name: str = "t") -> tuple[Record, ...]:
    """A turn that is over, and what it spent."""
    address = Address(platform="paper", bot_id="desk", scope_id="chat")
    return (
        TurnReceived(
            id=record_id(name, "received"),
            turn=name,
            at=0.0,
            message=InboundMessage(message_id="m", user_id="ann", text="hello", address=address),
            trust="public",
        ),
        MoneyReserved(
            id=record_id(name, "reserved", 1, "m1"),
            turn=name,
            at=0.0,
            attempt=1,
            call="m1",
            user_id="ann",
            agent="alice",
            model="oracle:delphi",
            amount=Decimal("0.40"),
        ),
        MoneySettled(id=record_id(name, "settled", 1, "m1"), turn=name, at=0.0, attempt=1, call="m1", amount=SPENT),
        TurnAnswered(id=record_id(name, "answered"), turn=name, at=0.0, text="Fine.", outcome="complete"),
    )


class Books:
    """A log on which another hub writes while this one waits for an answer."""

    def __init__(self, kept: int = 0) -> None:
        self.meanwhile: Callable[[], None] = lambda: None
        # The epoch of the partition whose hub keeps the balances.
        self.kept = kept
        self._records: list[Record] = []
        self._purse = 0
        self._marked = 1
        self._reckoned = 1
        self._spent: dict[int, tuple[int, tuple[Balance, ...]]] = {}
        self.is_deaf = False

    def spend(self) -> None:
        """The other hub answers a turn, and nothing is open any more."""
        self.meanwhile = lambda: None
        self._records.extend(turn(f"t{len(self._records)}"))
        self._purse = len(self._records)
        self._marked = self._purse + 1

    def begin(self) -> None:
        """The other hub has a turn that waits for its first call."""
        self._records.append(turn()[0])

    def close(self) -> None:
        """It writes the balances as well."""
        self.spend()
        self._reckoned = self._marked
        ledger = SharedLedger((PURSE,))
        for sequence, record in enumerate(self._records, 1):
            ledger.follow(sequence, KEY, record)
        self._spent = {shard: (self._marked, said) for shard, said in ledger.close(self._marked, 0.0).items()}

    def epoch(self, partition: int) -> int:
        return self.kept

    async def purse(self) -> int:
        return self._purse

    async def since(self, sequence: int, parts: Collection[int] = ()) -> AsyncIterator[tuple[RoutingKey, Logged]]:
        for at, one in enumerate(tuple(self._records), 1):
            if at >= sequence:
                yield KEY, Logged(at, one)

    async def mark(self, parts: Collection[int] = ()) -> int:
        self.meanwhile()
        return self._marked

    async def begin_reckoning(self) -> int:
        return await self.reckoned()

    async def reckoned(self) -> int:
        return self._reckoned

    async def spent(self) -> dict[int, tuple[int, tuple[Balance, ...]]]:
        found = self._spent
        self.meanwhile()
        return found

    async def reckon(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]]) -> bool:
        if self.is_deaf:
            return False
        self._reckoned = sequence
        self._spent.update({shard: (sequence, balances) for shard, balances in spent.items()})
        return True

    async def reserve(self, key: RoutingKey, record: Record, after: int) -> Logged | None:
        return None


def spent(ledger: SharedLedger) -> Decimal:
    (standing,) = ledger.standings(KEY, "ann", "alice", 0.0)
    return standing.spent


async def test_what_another_hub_spent_while_the_mark_was_asked_for_is_counted() -> None:
    books, ledger = Books(), SharedLedger((PURSE,))
    money = SharedMoney(books, ledger, lambda: 0.0)
    await money.restore()
    books.meanwhile = books.spend

    reckoning = asyncio.create_task(money.reckon())
    await pass_time(RECKON_EVERY)
    reckoning.cancel()

    assert spent(ledger) == SPENT


async def test_balances_that_another_hub_wrote_while_they_were_read_are_not_skipped() -> None:
    books, ledger = Books(), SharedLedger((PURSE,))
    books.meanwhile = books.close

    await SharedMoney(books, ledger, lambda: 0.0).restore()

    assert spent(ledger) == SPENT


async def test_whoever_keeps_the_balances_passes_no_turn_of_another_hub_for_the_sake_of_its_own() -> None:
    books, ledger = Books(kept=1), SharedLedger((PURSE,))
    money = SharedMoney(books, ledger, lambda: 0.0)
    await money.restore()
    books.begin()
    ledger.apply(7, KEY, turn()[0].model_copy(update={"turn": "own"}))

    reckoning = asyncio.create_task(money.reckon())
    await pass_time(RECKON_EVERY)
    reckoning.cancel()

    assert await books.reckoned() == 1


@pytest.mark.parametrize("is_told", [True, False])
async def test_balances_that_were_unheard_are_never_told_over_newer_ones(is_told: bool) -> None:
    books, ledger = Books(kept=1), SharedLedger((PURSE,))
    money = SharedMoney(books, ledger, lambda: 0.0)
    await money.restore()
    reckoning = asyncio.create_task(money.reckon())
    books.spend()
    books.is_deaf = True
    await pass_time(RECKON_EVERY)
    # Another hub keeps the balances for a while; it may end before it has told anything.
    books.kept = 0
    (books.close if is_told else books.spend)()
    await pass_time(RECKON_EVERY)
    books.kept, books.is_deaf = 7, False
    await pass_time(RECKON_EVERY)
    reckoning.cancel()

    following = SharedLedger((PURSE,))
    await SharedMoney(books, following, lambda: 0.0).restore()

    assert spent(following) == spent(ledger) == 2 * SPENT
