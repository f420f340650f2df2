"""The facts on a log: a closed list whose ids are the same whoever writes them."""

import typing
from collections.abc import Callable
from decimal import Decimal

import pytest
from pydantic import ValidationError

from factory_contracts.envelope import Malformed
from factory_contracts.records import RECORD, MoneySettled, Record, record_id
from factory_contracts.testing import NOW, SAMPLES, TURN, answered, received, start

CLOSED = {
    *("received", "started", "opened", "tool started", "tool done", "reserved", "settled", "answered", "shown"),
    *("undeliverable", "refused", "superseded", "session", "bound", "compacted", "head", "asked", "decided"),
    *("forgotten", "step done"),
}


def settled(amount: Decimal) -> MoneySettled:
    return MoneySettled(id="r", turn=TURN, at=NOW, attempt=1, call="c", amount=amount)


def test_the_list_of_records_is_closed() -> None:
    union = typing.get_args(Record)[0]

    kinds = [typing.get_args(cls.model_fields["kind"].annotation)[0] for cls in typing.get_args(union)]

    assert sorted(kinds) == sorted(CLOSED)
    with pytest.raises(Malformed, match="union_tag_invalid"):
        RECORD.decode(b'{"schema_version":1,"kind":"gossip","id":"r","turn":"t","at":1.0}')


def test_a_records_id_is_the_same_whoever_writes_it() -> None:
    assert record_id("t1", "received") == "t1.received"
    assert record_id("t1", "tool started", 2, "c1") == "t1.tool-started.2.c1"
    assert received().id == received(at=NOW + 60, begins=start(worker="another")).id
    assert answered("one").id == answered("other").id


def test_the_longest_record_id_fits() -> None:
    longest = record_id("t" * 255, "tool started", 2**31 - 1, "c" * 255)

    assert answered().model_validate(answered().model_dump() | {"id": longest}).id == longest


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("record.")])
def test_every_record_names_the_compaction_before_it(name: str) -> None:
    assert b'"compacted":3' in SAMPLES[name].write()


@pytest.mark.parametrize("amount", ["0", "0.1", "12345678901.123456789", "0.000000000000000001"])
def test_money_is_exact(amount: str) -> None:
    record = settled(Decimal(amount))

    assert RECORD.decode(RECORD.encode(record)) == record
    assert f'"amount":"{Decimal(amount)}"'.encode() in RECORD.encode(record)


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-1", "1E+400", "1E-30"])
def test_money_is_a_finite_sum(amount: str) -> None:
    with pytest.raises(ValidationError):
        settled(Decimal(amount))


@pytest.mark.parametrize(
    "build", [lambda: received(at=float("nan")), lambda: answered(at=float("inf")), lambda: start(attempt=0)]
)
def test_a_record_beyond_its_limits_cannot_be_made(build: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        build()
