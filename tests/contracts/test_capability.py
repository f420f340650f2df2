"""What an agent may ask a worker, and what it may answer."""

from typing import cast

import pytest

from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    MOST_FILE_BYTES,
    CapabilityDone,
    CapabilityParcel,
    CapabilityRequest,
    CapabilityWish,
    MadeFile,
    WishFields,
    written_done,
    written_parcel,
    written_request,
    written_wish,
)
from factory_contracts.envelope import Malformed
from factory_contracts.messages import MAX_TEXT
from factory_contracts.work import AgentSpec


def wish(**changed: object) -> CapabilityRequest:
    said = {"turn": "t", "call": "c", "text": "hey", "deadline": 5.0, **changed}
    return CapabilityRequest.model_validate(said)


def test_details_are_a_json_object_by_name() -> None:
    assert wish().details == {}
    assert wish(arguments='{"times": 2, "mood": {"loud": true}}').details == {"times": 2, "mood": {"loud": True}}


@pytest.mark.parametrize(
    "arguments",
    ["", "null", "[]", '"x"', "7", "{", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1} x', '{"a":' * 100_000, "é"],
)
def test_what_is_no_object_is_no_details(arguments: str) -> None:
    with pytest.raises(ValueError, match="arguments"):
        wish(arguments=arguments)


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), 86_401])
def test_a_deadline_is_some_time_from_now_and_not_for_ever(deadline: float) -> None:
    with pytest.raises(ValueError, match="deadline"):
        wish(deadline=deadline)


def test_the_longest_request_crosses() -> None:
    request = wish(text="\0" * MAX_TEXT, arguments='{"a":"' + "é" * (MAX_TEXT - 8) + '"}')

    assert CAPABILITY_REQUEST.decode(CAPABILITY_REQUEST.encode(request)) == request


def test_the_largest_files_cross_beside_a_long_text() -> None:
    half = MOST_FILE_BYTES // 2
    files = (MadeFile.of("a.png", b"\xff" * half), MadeFile.of("b.png", bytes(half)))
    done = CapabilityDone(text="日" * MAX_TEXT, files=files)

    read = CAPABILITY_REPLY.decode(CAPABILITY_REPLY.encode(done))

    assert read == done
    assert [file.data for file in files] == [b"\xff" * half, bytes(half)]


def test_files_that_are_too_large_together_are_refused_where_they_are_made() -> None:
    files = (MadeFile.of("a.png", bytes(MOST_FILE_BYTES)), MadeFile.of("b.png", b"x"))

    with pytest.raises(ValueError, match="400001 bytes together"):
        CapabilityDone(text="", files=files)


@pytest.mark.parametrize("content", ["é", "abc", "YQ==YQ==", "a b="])
def test_what_is_no_base64_is_no_file(content: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        MadeFile(name="a", base64=content)


@pytest.mark.parametrize(
    "said",
    [
        '{"schema_version":1,"kind":"done"}',
        '{"schema_version":1,"kind":"refused"}',
        '{"schema_version":1,"kind":"refused","reason":"tired"}',
        '{"schema_version":1,"kind":"ok","text":"x"}',
        '{"schema_version":9,"kind":"done","text":"x"}',
        '{"schema_version":1,"kind":"answers","parts":[0],"replies":[{"schema_version":1,"kind":"done","text":"x"}]}',
        '{"schema_version":2,"kind":"answers","parts":[0,1],"replies":[{"schema_version":1,"kind":"done","text":"x"}]}',
        '{"schema_version":2,"kind":"answers","parts":[],"replies":[]}',
        '{"kind":"done","text":"x"}',
    ],
)
def test_a_reply_is_one_of_few_kinds(said: str) -> None:
    with pytest.raises(Malformed):
        CAPABILITY_REPLY.decode(said.encode())


@pytest.mark.parametrize(
    "said", ['{"schema_version":1}', '{"schema_version":1,"kind":"cancel"}', '{"schema_version":1,"kind":"sing"}']
)
def test_what_is_asked_is_one_of_few_kinds(said: str) -> None:
    with pytest.raises(Malformed):
        CAPABILITY_REQUEST.decode(said.encode())


def test_the_same_turn_and_call_or_the_same_id_are_the_same_wish() -> None:
    assert wish().key == wish(deadline=9.0).key == "t/c"
    assert wish(id="mine").key == wish(id="mine", call="d").key == "mine"


@pytest.mark.parametrize("bad", ["", "a b", "A", "a.b.c", "outbound", "voice.request", "hub", "clipool"])
def test_an_agent_names_capabilities_and_nothing_else(bad: str) -> None:
    with pytest.raises(ValueError, match="capability"):
        AgentSpec(name="a", hash="h", model="scripted", namespace="a", workers=(bad,))


@pytest.mark.parametrize("id", [None, "own"])
def test_what_is_joined_of_pieces_is_what_would_be_written_in_one(id: str | None) -> None:
    text = 'say "é"\n\x00\x7f\u2028'
    fields = WishFields(turn="t", call="c", text=text, arguments='{"a": 1}', deadline=59.9999)
    if id is not None:
        fields["id"] = id
    written = written_wish(fields)

    request = CapabilityRequest(**fields, instance="é", understands=2)
    parcel = CapabilityParcel(instance="é", understands=2, wishes=(CapabilityWish(**fields),) * 2)
    assert written_request("é", 2, written) == CAPABILITY_REQUEST.encode(request)
    assert written_parcel("é", 2, [written, written]) == CAPABILITY_REQUEST.encode(parcel)
    assert written_done(text) == CAPABILITY_REPLY.encode(CapabilityDone(text=text))


@pytest.mark.parametrize(
    "wrong", [{"turn": ""}, {"call": "c" * 256}, {"text": "x" * (MAX_TEXT + 1)}, {"arguments": "[]"}, {"deadline": 0.0}]
)
def test_a_wish_that_is_none_is_not_written(wrong: dict[str, str | float]) -> None:
    fields = {"turn": "t", "call": "c", "text": "", "arguments": "{}", "deadline": 1.0}
    assert CapabilityWish.model_validate(fields)

    with pytest.raises(ValueError, match=next(iter(wrong))):
        written_wish(cast(WishFields, fields | wrong))
