"""What a log is found to lack: a table of what may be done to one behind its back."""

from collections.abc import Callable, Iterable

import pytest

from factory_contracts import subjects
from factory_contracts.records import RECORD, SEAL, Forgotten, Record, Seal, SealedRecords, Tally, record_id
from hub.kernel.routing import RoutingKey
from hub.kernel.seals import Head, Heads, Inspection, imprint
from tests.cli.facts import KEY, answered, received

# Of the same partition as the other one, so that they share a chain.
HERE = KEY
THERE = next(
    RoutingKey("cli", "main", f"other{number}")
    for number in range(10_000)
    if subjects.partition(f"other{number}") == KEY.partition
)

Message = tuple[str, int, bytes]


class Store:
    """A log as its hub writes it, and the heads as the hub notes them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.head = Head()
        self._loose: list[Message] = []

    @property
    def heads(self) -> Heads:
        return {HERE.partition: self.head}

    def put(self, *records: Record, key: RoutingKey = HERE, is_told: bool = True) -> None:
        """Store records, of which the next seal tells."""
        for record in records:
            message = key.subject, len(self.messages) + 1, RECORD.encode(record)
            self.messages.append(message)
            if is_told:
                self._loose.append(message)

    def seal(self, *also: Message) -> None:
        """Seal what is not sealed yet."""
        told = [*self._loose, *also]
        self._loose.clear()
        of = {
            subject: [(at, imprint(subject, data)) for on, at, data in told if on == subject] for subject, _, _ in told
        }
        sequence = len(self.messages) + 1
        seal = Seal(
            number=self.head.number + 1,
            before=self.head.digest,
            through=sequence - 1,
            at=0.0,
            sealed=tuple(SealedRecords(subject=subject, records=tuple(records)) for subject, records in of.items()),
        )
        payload = SEAL.encode(seal)
        self.messages.append((subjects.seal(HERE.partition), sequence, payload))
        self.head = self.head.after(sequence, seal, payload)


def stored() -> Store:
    """Three turns in two conversations, each with a seal."""
    store = Store()
    store.put(received("t1"), answered("t1"))
    store.seal()
    store.put(received("t2"), answered("t2"), key=THERE)
    store.seal()
    store.put(received("t3"), answered("t3"))
    store.seal()
    return store


def inspected(messages: Iterable[Message], noted: Heads | None = None) -> Inspection:
    inspection = Inspection(noted)
    for message in messages:
        inspection.take(*message)
    return inspection


def found(messages: Iterable[Message], noted: Heads | None = None) -> set[tuple[str, str]]:
    return {(one.kind, one.subject) for one in inspected(messages, noted).faults()}


def without(*sequences: int) -> Callable[[list[Message]], list[Message]]:
    return lambda messages: [one for one in messages if one[1] not in sequences]


def altered(sequence: int) -> Callable[[list[Message]], list[Message]]:
    def alter(messages: list[Message]) -> list[Message]:
        return [
            (subject, at, data.replace(b"hello", b"hullo") if at == sequence else data)
            for subject, at, data in messages
        ]

    return alter


def test_what_one_seal_left_out_and_the_next_tells_of_was_neither_added_nor_is_it_missing() -> None:
    store = stored()
    store.put(received("t4"), is_told=False)
    late = store.messages[-1]
    store.put(answered("t4"))
    store.seal()

    store.seal(late)

    assert inspected(store.messages, store.heads).faults() == ()


def test_a_log_as_it_was_stored_is_whole() -> None:
    store = stored()
    store.put(received("t4"))

    inspection = inspected(store.messages, store.heads)

    assert inspection.faults() == ()
    assert (inspection.records, inspection.sealed, inspection.unsealed) == (7, 6, 1)
    assert inspection.heads == store.heads


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        pytest.param(without(2), {("missing", HERE.subject)}, id="a record in the middle"),
        pytest.param(without(1, 2), {("missing", HERE.subject)}, id="two records"),
        pytest.param(altered(4), {("altered", THERE.subject)}, id="another word in a record"),
        pytest.param(without(6), {("unsealed", HERE.subject), ("unsealed", THERE.subject)}, id="a seal in the middle"),
        pytest.param(without(4, 5, 6), {("unsealed", HERE.subject)}, id="a seal and all that it told of"),
        pytest.param(without(8, 9), {("behind", HERE.subject)}, id="the end"),
        pytest.param(
            without(4, 5, 6, 7, 8, 9), {("behind", HERE.subject), ("behind", THERE.subject)}, id="an older copy"
        ),
        pytest.param(lambda messages: [], {("behind", HERE.subject), ("behind", THERE.subject)}, id="everything"),
    ],
)
def test_what_was_done_behind_the_back_of_the_hub_is_found(
    change: Callable[[list[Message]], list[Message]], faults: set[tuple[str, str]]
) -> None:
    store = stored()

    assert found(change(store.messages), store.heads) == faults


def test_an_older_copy_that_went_on_is_not_taken_for_what_was_there() -> None:
    store, older = stored(), stored()
    store.put(answered("t4"))
    store.seal()
    for turn in ("t5", "t6"):
        older.put(answered(turn))
        older.seal()

    (fault,) = inspected(older.messages, store.heads).faults()
    said = f"seal 4 of partition {HERE.partition} is not the one that was there"
    assert (fault.kind, fault.said) == ("behind", said)


def test_what_nobody_of_ours_stored_is_found() -> None:
    store = stored()
    store.put(answered("t4"), is_told=False)
    store.put(answered("t5"))
    store.seal()

    assert found(store.messages) == {("added", HERE.subject)}


def test_a_late_copy_of_a_record_is_no_fault() -> None:
    store = stored()
    store.put(answered("t3"), is_told=False)
    store.put(answered("t4"))
    store.seal()

    assert found(store.messages, store.heads) == set()


def test_a_seal_that_was_written_again_is_no_fault() -> None:
    store = stored()
    store.seal(*store.messages[6:8])

    assert found(store.messages, store.heads) == set()


def test_what_was_stored_before_there_were_seals_is_no_fault() -> None:
    store = Store()
    store.put(received("t1"), answered("t1"), is_told=False)
    store.put(received("t2"))
    store.seal()

    inspection = inspected(store.messages, store.heads)

    assert inspection.faults() == ()
    assert inspection.unsealed == 2


def forgotten(turn: str) -> Record:
    return Forgotten(
        id=record_id(turn, "forgotten"), turn=turn, at=0.0, by="ada", files=0, seen=(), tally=Tally(received=1)
    )


def test_what_is_erased_because_it_was_forgotten_is_not_missing() -> None:
    store = stored()
    store.put(forgotten("t3"))
    store.seal()

    inspection = inspected(without(1, 2, 7, 8)(store.messages), store.heads)

    assert inspection.faults() == ()
    assert inspection.erased == 4


def test_forgetting_one_conversation_excuses_no_other() -> None:
    store = stored()
    store.put(forgotten("t3"))
    store.seal()

    assert found(without(1, 2, 4)(store.messages), store.heads) == {("missing", THERE.subject)}


def test_what_somebody_says_of_forgetting_forgets_nothing() -> None:
    store = stored()
    store.put(received("t4", text='{"kind":"forgotten"}'))
    store.seal()

    assert found(without(1)(store.messages), store.heads) == {("missing", HERE.subject)}
