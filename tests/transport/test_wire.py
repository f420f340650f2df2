"""The protocol's bytes: what is complete is read, however it arrives, and what is no protocol ends it at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_nats import wire
from factory_nats.wire import Broken, Complaint, Info, Message, Operation, Parser, Ping, Pong

WORD = st.text('abcXYZ019.-_$*>"\\ü', min_size=1, max_size=20)
MESSAGE = st.builds(
    Message,
    sid=st.integers(1, 10**9).map(str),
    subject=WORD,
    reply=st.just("") | WORD,
    header=st.just(b"") | st.binary(min_size=1, max_size=60),
    data=st.binary(max_size=200),
)
COMPLAINT = st.builds(Complaint, st.text('abc XYZ"', max_size=20).map(str.strip))
OPERATION: st.SearchStrategy[Operation] = MESSAGE | COMPLAINT | st.just(Ping()) | st.just(Pong())


def spoken(operation: Operation) -> bytes:
    """What a server would write."""
    match operation:
        case Message(sid, subject, reply, header, data):
            words = [subject, sid, *([reply] if reply else []), *([str(len(header))] if header else [])]
            kind = "HMSG" if header else "MSG"
            return f"{kind} {' '.join(words)} {len(header) + len(data)}\r\n".encode() + header + data + b"\r\n"
        case Complaint(text):
            return f"-ERR '{text}'\r\n".encode()
        case Ping():
            return b"PING\r\n"
        case Pong():
            return b"PONG\r\n"
    raise AssertionError(operation)


@given(st.lists(OPERATION, max_size=12), st.data())
def test_operations_are_read_alike_wherever_their_bytes_are_cut(
    operations: list[Operation], data: st.DataObject
) -> None:
    raw = b"".join(spoken(operation) for operation in operations)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    parser = Parser()

    found = [
        one for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) for one in parser.feed(raw[start:end])
    ]

    assert found == operations


@given(st.lists(OPERATION, max_size=5))
def test_operations_are_read_alike_byte_by_byte(operations: list[Operation]) -> None:
    raw = b"".join(spoken(operation) for operation in operations)
    parser = Parser()

    found = [one for place in range(len(raw)) for one in parser.feed(raw[place : place + 1])]

    assert found == operations


HOSTILE = st.lists(
    st.binary(max_size=30)
    | st.sampled_from([b"MSG ", b"HMSG ", b"INFO ", b"-ERR ", b"PING", b"+OK", b"\r\n", b" ", b"a", b"7", b"-1", b"{}"])
).map(b"".join)


@given(st.lists(HOSTILE, max_size=8))
def test_whatever_comes_nothing_is_raised_and_nothing_follows_what_is_broken(pieces: list[bytes]) -> None:
    parser = Parser()

    found = [one for piece in pieces for one in parser.feed(piece)]

    assert not any(isinstance(one, Broken) for one in found[:-1])
    if found and isinstance(found[-1], Broken):
        assert parser.feed(b"PING\r\n") == []


@pytest.mark.parametrize(
    "raw",
    [
        b"MSG a 1 -1\r\n",
        b"MSG a 1 99999999999\r\n",
        b"MSG a 1 " + b"9" * 5000 + b"\r\n",
        b"MSG a 1 x\r\n",
        b"MSG a 1 \r\n",
        b"MSG a 1\r\n",
        b"MSG\r\n",
        b"MSG a 1 r 0 0\r\n\r\n",
        b"MSGS a 1 0\r\n\r\n",
        b"msg a 1 0\r\n\r\n",
        b"MSG a 1 2\r\nabc\r\n",
        b"MSG a 1 2\r\nabcdef",
        b"HMSG a 1 5 4\r\nNATS\r\n",
        b"HMSG a 1 -5 4\r\nNATS\r\n",
        b"HMSG a 1 4\r\nNATS\r\n",
        b"INFO {\r\n",
        b"INFO []\r\n",
        b"INFO \xff\r\n",
        b"INFO " + b"[" * 20000 + b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"PINGPONG\r\n",
        b"x" * wire.LONGEST_LINE,
        b"INFO " + b"x" * wire.LONGEST_LINE + b"\r\n",
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_is_no_protocol_is_broken_at_once(raw: bytes) -> None:
    whole, in_pieces = Parser(), Parser()

    at_once = whole.feed(b"PING\r\n" + raw)
    bit_by_bit = [one for place in range(0, len(raw), 7) for one in in_pieces.feed(raw[place : place + 7])]

    assert at_once[0] == Ping()
    assert [type(one) for one in at_once[1:]] == [Broken]
    assert [type(one) for one in bit_by_bit] == [Broken]


def test_why_something_is_broken_does_not_repeat_it() -> None:
    (broken,) = Parser().feed(b"MSG a 1 secret\r\n")

    assert isinstance(broken, Broken) and "secret" not in broken.why


def test_a_message_may_be_as_large_as_the_server_says() -> None:
    parser = Parser()
    large = Message("1", "a", "", b"", b"x" * (2 << 20))

    parser.allow(4 << 20)

    assert parser.feed(spoken(large)) == [large]
    assert [type(one) for one in Parser().feed(spoken(large))] == [Broken]


def test_a_smaller_limit_does_not_lock_out_what_was_stored_before() -> None:
    parser = Parser()
    stored = Message("1", "a", "", b"", b"x" * (1 << 20))

    parser.allow(1024)

    assert parser.feed(spoken(stored)) == [stored]


@pytest.mark.parametrize(
    ("said", "info"),
    [
        ({}, Info()),
        (
            {
                "max_payload": 2048,
                "nonce": "n",
                "headers": True,
                "auth_required": True,
                "tls_required": True,
                "tls_available": True,
                "ldm": True,
                "connect_urls": ["a:1", "[::1]:2"],
            },
            Info(2048, "n", True, True, True, True, True, ("a:1", "[::1]:2")),
        ),
        ({"max_payload": -1, "nonce": 7, "headers": "yes", "connect_urls": {"a": 1}}, Info()),
        ({"max_payload": "much", "connect_urls": ["a:1", 5, None]}, Info(others=("a:1",))),
    ],
)
def test_of_what_a_server_says_about_itself_only_what_makes_sense_is_taken(said: dict[str, object], info: Info) -> None:
    assert Parser().feed(b"INFO %b\r\n" % json.dumps(said).encode()) == [info]


def test_what_is_of_no_interest_is_passed_over() -> None:
    assert Parser().feed(b"+OK\r\nPONG\r\n-ERR 'Stale Connection'\r\n") == [Pong(), Complaint("Stale Connection")]


@pytest.mark.parametrize(
    ("said", "raw"),
    [
        (wire.publish("a.b", "", b"", b"data"), b"PUB a.b 4\r\ndata\r\n"),
        (wire.publish("a.b", "r", b"", b""), b"PUB a.b r 0\r\n\r\n"),
        (wire.publish("a", "", b"NATS/1.0\r\n\r\n", b"x"), b"HPUB a 12 13\r\nNATS/1.0\r\n\r\nx\r\n"),
        (wire.publish("a", "r", b"NATS/1.0\r\n\r\n", b""), b"HPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
        (wire.subscribe("a.>", "7"), b"SUB a.> 7\r\n"),
        (wire.unsubscribe("7"), b"UNSUB 7\r\n"),
        (wire.introduce({"name": "x"}), b'CONNECT {"name": "x"}\r\n'),
        (wire.encode_headers({"A": "1", "B-C": "x y"}), b"NATS/1.0\r\nA: 1\r\nB-C: x y\r\n\r\n"),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_what_we_say_is_spelled_as_a_server_reads_it(said: bytes, raw: bytes) -> None:
    assert said == raw


@pytest.mark.parametrize("value", ["a\r\nPUB b 0", "a\nb", "a\rb"])
def test_a_header_cannot_become_two(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        wire.encode_headers({"A": value})


@pytest.mark.parametrize(
    ("block", "status", "headers"),
    [
        (b"", "", {}),
        (b"NATS/1.0\r\n\r\n", "", {}),
        (b"NATS/1.0 503\r\n\r\n", "503", {"Status": "503"}),
        (b"NATS/1.0 404 Not Found\r\n\r\n", "404", {"Status": "404", "Description": "Not Found"}),
        (b"NATS/1.0 100 Idle\r\nA: b\r\n\r\n", "100", {"A": "b", "Status": "100", "Description": "Idle"}),
        (b"NATS/1.0\r\nA:b\r\nC:  d: e \r\n\r\n", "", {"A": "b", "C": "d: e"}),
        (b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n", "", {"A": "2"}),
        (b"NATS/1.0\r\nno colon\r\n: no name\r\na b: two\r\n\xc3\xbc: x\r\nB: \xff\r\n", "", {"B": "\ufffd"}),
        (b"NATS/1.0 \xff\xff\xff\r\n\r\n", "", {}),
        (b"NATS/2.0 503\r\n\r\n", "", {}),
        (b"NATS/1.0 503\r\nStatus: 200\r\n\r\n", "503", {"Status": "503"}),
    ],
)
def test_headers_are_read_and_what_is_none_is_left_out(block: bytes, status: str, headers: dict[str, str]) -> None:
    assert wire.status(block) == status
    assert wire.parse_headers(block) == headers


@given(st.binary(max_size=200), st.booleans())
def test_no_header_block_raises(block: bytes, begins_well: bool) -> None:
    block = b"NATS/1.0" + block if begins_well else block

    assert all(isinstance(value, str) for value in wire.parse_headers(block).values())
    assert wire.status(block).isdigit() or wire.status(block) == ""


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True), st.from_regex(r"[!-~]{1,20}", fullmatch=True))
)
def test_headers_come_back_as_they_were_sent(headers: dict[str, str]) -> None:
    assert wire.parse_headers(wire.encode_headers(headers)) == headers
