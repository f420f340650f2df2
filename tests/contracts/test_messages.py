"""What a spoke and the hub say: ids that never change, and limits that hold."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from factory_contracts.messages import (
    FROM_SPOKE,
    MAX_TEXT,
    MOST_PARTS,
    OUTBOUND,
    TO_SPOKE,
    Exchange,
    Final,
    FromSpoke,
    Hello,
    InboundMessage,
    Moved,
    Refused,
    ShownReceipt,
    Welcome,
    turn_id,
)
from factory_contracts.testing import TURN, address, message, submit, turn_of, update

IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


def test_a_turns_id_is_the_same_for_ever() -> None:
    assert turn_id("telegram", "helper", "chat-7", "m1") == "frr4aoljndgq2ofx4fvkff34"


@given(IDS, IDS, IDS, IDS)
def test_turns_differ_where_scope_or_message_differ(scope: str, said: str, other_scope: str, other_said: str) -> None:
    one, other = turn_id("p", "b", scope, said), turn_id("p", "b", other_scope, other_said)

    assert (one == other) == ((scope, said) == (other_scope, other_said))


def test_a_turns_id_can_stand_in_a_subject() -> None:
    assert TURN.isascii() and TURN.isalnum() and len(TURN) == 24
    assert turn_of(message()) == TURN


def test_a_message_stands_for_itself_and_what_it_covers_once_each() -> None:
    assert message(message_id="m2", covers=("m1", "m2", "m3")).ids == ("m2", "m1", "m3")
    assert message(message_id="m2").ids == ("m2",)


@pytest.mark.parametrize(
    "build",
    [
        lambda: message("a" * (MAX_TEXT + 1)),
        lambda: message(message_id=""),
        lambda: message(user_id=""),
        lambda: message(message_id="a" * 256),
        lambda: message(covers=tuple(str(index) for index in range(101))),
        lambda: address(platform="Telegram"),
        lambda: address(platform="a.b"),
        lambda: address(bot_id="a\n"),
        lambda: address(bot_id="a" * 33),
        lambda: address(scope_id=""),
        lambda: address(scope_id="é" * 43),
        lambda: address(pace_ms=-1),
        lambda: update(attempt=0),
        lambda: update(epoch=-1),
        lambda: update(epoch=2**63),
        lambda: Hello(platform="p", bot_id="b", scope_id="*", understands=0),
        lambda: ShownReceipt(platform="p", bot_id="b", scope_id="s", turn="t", message_id="m", part=0),
        lambda: ShownReceipt(platform="p", bot_id="b", scope_id="s", turn="t", message_id="m", part=MOST_PARTS),
        lambda: Moved(platform="p", bot_id="b", scope_id="s", old_scope=""),
        lambda: Moved(platform="p", bot_id="b", scope_id="s", old_scope="é" * 43),
        lambda: Final(
            turn="t", text="", outcome="complete", further=("m",) * (MOST_PARTS + 1), epoch=1, address=address()
        ),
    ],
)
def test_a_value_beyond_its_limits_cannot_be_made(build: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        build()


def test_trust_is_not_a_spokes_to_give() -> None:
    fields = message().model_dump() | {"trust": "owner"}

    with pytest.raises(ValidationError):
        InboundMessage.model_validate(fields)


def test_what_is_absent_is_not_written() -> None:
    assert TO_SPOKE.encode(Refused(reason="blocked")) == (
        b'{"schema_version":1,"kind":"refused","reason":"blocked","text":""}'
    )
    assert b"agent" not in TO_SPOKE.encode(Welcome(epoch=1))


@pytest.mark.parametrize(
    "said",
    [
        ShownReceipt(platform="p", bot_id="b", scope_id="s", turn="t", message_id="m"),
        submit(message()),
    ],
)
def test_what_a_spoke_says_without_newer_words_is_written_and_read_without_them(said: FromSpoke) -> None:
    written = FROM_SPOKE.encode(said)

    assert b"part" not in written and b"only_asks" not in written
    assert FROM_SPOKE.decode(written) == said


def test_an_answer_in_one_message_names_no_further_ones() -> None:
    final = Final(turn="t", text="", outcome="complete", message_id="m", epoch=1, address=address())

    for event in (final, update()):
        assert b"further" not in OUTBOUND.encode(event)
        assert OUTBOUND.decode(OUTBOUND.encode(event)) == event


def test_an_exchange_holds_a_question_with_all_that_it_quotes() -> None:
    asked = "q" * MAX_TEXT + "t" * MAX_TEXT

    assert Exchange(turn=TURN, asked=asked, answered="").asked == asked


def test_a_message_is_handed_over_under_its_own_address() -> None:
    handed = submit(message(platform="discord", bot_id="scout", scope_id="s"))

    assert (handed.platform, handed.bot_id, handed.scope_id) == ("discord", "scout", "s")
