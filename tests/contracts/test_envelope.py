"""Nothing but a contract's own value comes through `decode`, whatever the bytes."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from factory_contracts.envelope import (
    FIRST_VERSION,
    MAX_BYTES,
    MAX_DEPTH,
    SCHEMA_VERSION,
    Envelope,
    Malformed,
    Newer,
    Part,
    Since,
    Wire,
    version_of,
)
from factory_contracts.lifecycle import HEARTBEAT
from factory_contracts.messages import FROM_SPOKE, MAX_MESSAGE_BYTES, OUTBOUND, InboundMessage, Submit, Welcome
from factory_contracts.records import RECORD, TurnReceived
from factory_contracts.testing import SAMPLES, answered, message, received, submit
from factory_contracts.work import WORKER_HEARTBEAT


class Inner(Part):
    number: float = 0.0
    text: str = ""


class Outer(Envelope):
    """A contract with everything in it that a contract may have."""

    text: str = ""
    number: float | None = None
    inner: Inner = Inner(number=1.0, text="x")
    inners: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)


class Loose(Envelope):
    """A contract of somebody who lets anything in."""

    anything: Any = None


class Grown(Envelope):
    """A contract that said less in the versions before."""

    text: str = ""
    louder: Annotated[int | None, Since(SCHEMA_VERSION + 1)] = None
    loudest: Annotated[int | None, Since(SCHEMA_VERSION + 2)] = None
    merrier: Annotated[int | None, Since(SCHEMA_VERSION + 1, may_be_missed=True)] = None


OUTER: Wire[Outer] = Wire(Outer)
GROWN: Wire[Grown] = Wire(Grown)
LOOSE: Wire[Loose] = Wire(Loose)

SPLINTERS = (b"", b'"', b":", b"{", b"[", b"\\", b"\xff", b"\x00", b"1e9")

BROKEN = [
    b"",
    b" ",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b"\xff\xfe",
    b'\xef\xbb\xbf{"schema_version":1}',
    '{"schema_version":1}'.encode("utf-16"),
    b'{"schema_version":1,"text":"\xff"}',
    b'{"schema_version":1,"text":"\xed\xa0\x80"}',
    b'{"schema_version":1,"text":"\\ud800"}',
    b'{"schema_version":1,"text":"a\nb"}',
    b'{"schema_version":1,"text":7}',
    b'{"schema_version":1,"text":null}',
    b'{"schema_version":true}',
    b'{"schema_version":1.0}',
    b'{"schema_version":"1"}',
    b'{"schema_version":0}',
    b'{"schema_version":%d}' % (SCHEMA_VERSION + 1),
    b'{"schema_version":' + b"9" * 5000 + b"}",
    b'{"text":"no version"}',
    b'{"schema_version":1,"stranger":1}',
    b'{"schema_version":1,"number":NaN}',
    b'{"schema_version":1,"number":Infinity}',
    b'{"schema_version":1,"number":1e999}',
    b'{"schema_version":1,"number":' + b"9" * 5000 + b"}",
    b'{"schema_version":1,"text":"a","text":"b"}',
    b'{"schema_version":1,"schema_version":1}',
    b'{"schema_version":1,"text" : "a","te\\u0078t"\n:"b"}',
    b'{"schema_version":1,"text":":","text":"b"}',
    b'{"schema_version":1,"inner":{"number":1,"number":2}}',
    b'{"schema_version":1,"inners":[{"text":"a"},{"text":"a","text":"b"}]}',
    b'{"schema_version":1,"named":{"a":{},"a":{}}}',
    b'{"schema_version":1,"named":{"a":{"text":"x","text":"y"}}}',
    b'{"schema_version":1} {}',
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"schema_version":1,"text":' + b"[" * 100_000,
    b'{"schema_version":1,"text":"' + b"a" * MAX_BYTES + b'"}',
]


def strict(raw: bytes) -> object:
    """The rules said slowly: the JSON value, or `ValueError`."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def never(_: str) -> None:
        raise ValueError("no number")

    value: object = json.loads(raw.decode(), object_pairs_hook=once, parse_constant=never)
    if depth(value) > MAX_DEPTH:
        raise ValueError("deep")
    return value


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def accepts(judge: Callable[[bytes], object], raw: bytes) -> bool:
    try:
        judge(raw)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
def test_broken_bytes_are_malformed_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(Malformed):
        OUTER.decode(raw)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_contract_refuses_a_stranger_a_double_a_missing_version_and_a_newer_one(name: str) -> None:
    raw = SAMPLES[name].write()
    version = b'"schema_version":%d' % SAMPLES[name].value.schema_version
    assert raw.startswith(b"{" + version)

    for broken in (
        raw.replace(version, version + b',"stranger":1', 1),
        raw.replace(version, version + b"," + version, 1),
        raw.replace(version + b",", b"", 1) if len(raw) > 20 else b"{}",
        raw.replace(version, b'"schema_version":%d' % (SCHEMA_VERSION + 1), 1),
        raw.replace(version, b'"schema_version":true', 1),
    ):
        with pytest.raises(Malformed):
            SAMPLES[name].read(broken)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_malformed(raw: bytes) -> None:
    for wire in (OUTER, LOOSE, HEARTBEAT, FROM_SPOKE, RECORD):
        with suppress(Malformed):
            wire.decode(raw)


@given(st.sampled_from(sorted(SAMPLES)), st.randoms(use_true_random=False))
def test_bent_samples_are_read_or_malformed(name: str, chance: random.Random) -> None:
    raw = bytearray(SAMPLES[name].write())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(raw))
        raw[at : at + chance.randint(0, 2)] = chance.choice(SPLINTERS)

    try:
        value = SAMPLES[name].read(bytes(raw))
    except Malformed:
        return
    strict(bytes(raw))
    assert isinstance(value, Envelope)


NUMBERS = st.sampled_from(["0", "1.5", "-2", "1e3", "NaN", "Infinity", "-Infinity", "1e999", "12345678901234567890"])
WORDS = st.sampled_from(["", ":", " :", '":', '"', "a", "NaN", "{", "[", '" :', "\t:", "é", "🙂"]).map(json.dumps)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t"])
KEYS = st.sampled_from(['"text"', '"number"', '"te\\u0078t"', '"inner"', '"inners"', '"named"', '"anything"'])


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(SPACE, KEYS, SPACE, SPACE, values, SPACE).map(lambda p: f"{p[0]}{p[1]}{p[2]}:{p[3]}{p[4]}{p[5]}")
    return st.lists(pair, max_size=4).map(lambda pairs: "{" + ",".join(pairs) + "}")


TREES = st.recursive(
    NUMBERS | WORDS,
    lambda inner: _objects(inner) | st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
    max_leaves=12,
)


@given(_objects(TREES | _objects(TREES)))
def test_the_quick_look_decides_as_the_slow_one(document: str) -> None:
    raw = ('{"schema_version":1' + ("," if document != "{}" else "") + document[1:]).encode()

    for wire, contract in ((OUTER, Outer), (LOOSE, Loose)):
        expected = accepts(strict, raw) and accepts(contract.model_validate_json, raw)
        assert accepts(wire.decode, raw) == expected


@pytest.mark.parametrize("levels", [MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
def test_sixteen_levels_are_read_and_seventeen_are_not(levels: int) -> None:
    raw = b'{"schema_version":1,"anything":' + b"[" * levels + b"]" * levels + b"}"

    assert accepts(LOOSE.decode, raw) == (levels + 1 <= MAX_DEPTH)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    turns = {f"t{index}": {"scope": "p:b:s", "attempt": 1, "events": index} for index in range(500)}
    raw = json.dumps({"schema_version": 1, "worker": "w", "instance": "i", "turns": turns}).encode()

    assert len(WORKER_HEARTBEAT.decode(raw).turns) == 500


def test_a_refusal_quotes_nothing_of_the_payload() -> None:
    secret = b'"hunter2"'

    for raw in (
        b'{"schema_version":1,' + secret + b":1}",
        b'{"schema_version":1,"text":1,"named":{"a":' + secret + b"}}",
        b'{"schema_version":' + secret + b"}",
        b'{"schema_version":1,"inner":' + secret + b"}",
    ):
        with pytest.raises(Malformed) as refusal:
            OUTER.decode(raw)
        assert "hunter2" not in str(refusal.value)


def test_a_newer_version_is_named_as_such_whatever_else_is_new() -> None:
    newer = f'"schema_version":{SCHEMA_VERSION + 1},"news":[],"'
    raw = submit().model_dump_json().replace('"schema_version":1,"', newer, 1)

    with pytest.raises(Malformed, match=f"a newer version than {SCHEMA_VERSION}"):
        FROM_SPOKE.decode(raw.replace('"kind":"message"', '"kind":"novelty"').encode())


def test_half_a_character_is_refused_where_it_is_said() -> None:
    half = "\ud800"

    for build in (
        lambda: message(half),
        lambda: message(user_id=half),
        lambda: message(scope_id=half),
        lambda: answered(half),
        lambda: Welcome(epoch=1, agent=half),
    ):
        with pytest.raises(ValidationError):
            build()


def test_only_a_public_message_comes_from_a_spoke() -> None:
    raw = FROM_SPOKE.encode(submit()).replace(b'"trust":"public"', b'"trust":"owner"')

    with pytest.raises(Malformed, match="trust"):
        FROM_SPOKE.decode(raw)


def test_the_largest_message_fits_into_its_record() -> None:
    said = message("🙂" * 100_000, covers=tuple(f"{index:0>255}" for index in range(100)))
    said = said.model_copy(update={"quoted": "🙂" * 90_000})
    largest = submit(InboundMessage.model_validate(said.model_dump()))

    raw = FROM_SPOKE.encode(largest)
    assert MAX_MESSAGE_BYTES - 70_000 < len(raw) <= MAX_MESSAGE_BYTES

    read = FROM_SPOKE.decode(raw)
    assert isinstance(read, Submit)
    record = RECORD.encode(received(read.message))
    assert len(record) <= MAX_BYTES
    assert isinstance(RECORD.decode(record), TurnReceived)


@pytest.mark.parametrize("field", ["text", "trust", "address"])
def test_a_value_cannot_be_changed(field: str) -> None:
    said = message()

    with pytest.raises(ValidationError, match="frozen"):
        setattr(said, field, getattr(said, field))


def test_what_was_read_is_written_again() -> None:
    for name in ("outbound.update", "outbound.final"):
        raw = SAMPLES[name].write()
        value = OUTBOUND.decode(raw)
        assert OUTBOUND.encode(value) == raw


@pytest.mark.parametrize(
    ("value", "version"),
    [
        (Grown(text="x"), FIRST_VERSION),
        (Grown(louder=0), SCHEMA_VERSION + 1),
        (Grown(louder=1, loudest=2), SCHEMA_VERSION + 2),
    ],
)
def test_a_value_is_written_in_the_lowest_version_in_which_it_can_be_read(value: Grown, version: int) -> None:
    assert version_of(value) == version
    assert json.loads(GROWN.encode(value))["schema_version"] == version


def test_what_says_nothing_new_is_read_by_those_who_know_nothing_new() -> None:
    assert OUTER.decode(GROWN.encode(Grown(text="x"))) == Outer(text="x")


def test_what_says_something_new_is_told_from_what_is_broken() -> None:
    with pytest.raises(Newer):
        OUTER.decode(GROWN.encode(Grown(louder=1)))
    with pytest.raises(Malformed) as raised:
        OUTER.decode(b'{"schema_version":1,"louder":1}')
    assert not isinstance(raised.value, Newer)


def test_what_may_be_missed_is_not_said_to_who_does_not_understand_it_and_everything_else_is() -> None:
    wire: Wire[Grown] = Wire(Grown)
    old, new = SCHEMA_VERSION, SCHEMA_VERSION + 1

    assert json.loads(wire.encode(Grown(text="hi", merrier=1), old)) == {"schema_version": FIRST_VERSION, "text": "hi"}
    assert json.loads(wire.encode(Grown(text="hi", merrier=1), new)) == {
        "schema_version": new,
        "text": "hi",
        "merrier": 1,
    }
    assert json.loads(wire.encode(Grown(louder=1, merrier=1), old)) == {"schema_version": new, "text": "", "louder": 1}
