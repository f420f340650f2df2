"""What was sent in pieces, and the message that it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from adapters.telegram.gather import MAX_PARTS, NEARLY_SPLIT, SPLIT, WAIT, Gathering, merged
from adapters.telegram.normalize import File, Heard
from factory_contracts.messages import FROM_SPOKE, MAX_TEXT, Address, InboundMessage, Submit

ADDRESS = Address(platform="telegram", bot_id="desk", scope_id="-100")


def heard(number: int = 1, text: str = "hello", *, user: str = "ada", date: int = 100, **more: Any) -> Heard:
    said = InboundMessage(
        message_id=str(number),
        user_id=user,
        text=text,
        in_group=True,
        is_addressed=False,
        address=ADDRESS.model_copy(update={"reply_to": str(number)}),
        sent_at=float(date),
    )
    return replace(
        Heard(
            update_id=1_000 + number,
            message=said,
            files=(),
            group=None,
            date=date,
            length=len(text.encode("utf-16-le")) // 2,
            is_plain=True,
            chat_id=-100,
        ),
        **more,
    )


def photo(number: int = 1, text: str = "", *, group: str | None = "g", **more: Any) -> Heard:
    file = File("image", f"f{number}", "photo.jpg", "image/jpeg", None)
    return heard(number, text, **more, group=group, files=(file,), is_plain=False)


def saying(part: Heard, **more: Any) -> Heard:
    return replace(part, message=part.message.model_copy(update=more))


LONG = "x" * NEARLY_SPLIT


def test_a_short_message_is_complete_at_once() -> None:
    gathering = Gathering()

    assert gathering.add(heard(), 0.0) == ((heard(),),)
    assert gathering.deadline is None
    assert gathering.due(1e9) == ()


@pytest.mark.parametrize("part", [heard(text=LONG), photo()])
def test_what_may_grow_waits_until_its_time_is_over(part: Heard) -> None:
    gathering = Gathering()

    assert gathering.add(part, 5.0) == ()
    assert gathering.deadline == 5.0 + WAIT
    assert gathering.due(5.0 + WAIT - 0.01) == ()
    assert gathering.due(5.0 + WAIT) == (part,)
    assert gathering.deadline is None
    assert gathering.due(1e9) == ()


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(heard(text="x" * (NEARLY_SPLIT - 1)), id="too short for a split"),
        pytest.param(heard(text=LONG, is_plain=False), id="long but not plain"),
        pytest.param(photo(group=None), id="a photo of its own"),
    ],
)
def test_what_cannot_grow_is_not_waited_for(part: Heard) -> None:
    assert Gathering().add(part, 0.0) == ((part,),)


def test_each_part_of_an_album_is_waited_for_anew() -> None:
    gathering = Gathering()
    parts = tuple(map(photo, range(1, 4)))

    for number, part in enumerate(parts):
        assert gathering.add(part, number * 0.7) == ()

    assert gathering.deadline == pytest.approx(1.4 + WAIT)
    assert gathering.due(9.0) == parts


def test_a_paste_is_complete_with_its_short_end() -> None:
    gathering = Gathering()
    parts = heard(1, LONG), heard(2, LONG, date=102), heard(3, "end", date=104)

    assert gathering.add(parts[0], 0.0) == ()
    assert gathering.add(parts[1], 0.1) == ()
    assert gathering.add(parts[2], 0.2) == (parts,)
    assert gathering.deadline is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(heard(1, LONG), heard(2, user="bob"), id="another speaker"),
        pytest.param(heard(1, LONG), heard(2, chat_id=-7), id="another chat"),
        pytest.param(heard(1, LONG), heard(2, date=103), id="later"),
        pytest.param(heard(1, LONG), heard(2, date=99), id="before"),
        pytest.param(heard(1, LONG), heard(2, "/stop", is_plain=False), id="a word to the hub"),
        pytest.param(heard(1, LONG), photo(2, group=None), id="a photo behind a paste"),
        pytest.param(photo(1), heard(2), id="a text behind an album"),
    ],
)
def test_what_does_not_belong_to_it_completes_what_is_open(first: Heard, second: Heard) -> None:
    gathering = Gathering()
    gathering.add(first, 0.0)

    assert gathering.add(second, 0.1) == ((first,), (second,))
    assert gathering.deadline is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (heard(1, LONG), photo(2)),
        (photo(1), photo(2, group="h")),
        (photo(1), photo(2, user="bob")),
        (photo(1), heard(2, LONG)),
    ],
)
def test_what_may_grow_itself_waits_behind_what_it_completes(first: Heard, second: Heard) -> None:
    gathering = Gathering()
    gathering.add(first, 0.0)

    assert gathering.add(second, 0.5) == ((first,),)
    assert gathering.deadline == 0.5 + WAIT
    assert gathering.due(9.0) == (second,)


def test_a_late_part_joins_what_still_waits_however_late_the_clock_was() -> None:
    gathering = Gathering()
    gathering.add(photo(1), 0.0)

    assert gathering.add(photo(2), 60.0) == ()
    assert gathering.due(99.0) == (photo(1), photo(2))


def test_a_part_that_comes_twice_is_taken_once() -> None:
    gathering = Gathering()
    gathering.add(photo(1), 0.0)

    assert gathering.add(photo(1), 0.5) == ()
    assert gathering.deadline == WAIT
    assert gathering.due(9.0) == (photo(1),)


def test_a_message_never_has_more_parts_than_the_contract_takes() -> None:
    gathering = Gathering()
    parts = tuple(map(photo, range(1, MAX_PARTS + 2)))

    complete = [group for part in parts for group in gathering.add(part, 0.0)]

    assert complete == [parts[:-1]]
    assert gathering.due(9.0) == parts[-1:]


def test_a_paste_never_grows_beyond_the_text_that_the_contract_takes() -> None:
    gathering = Gathering()
    parts = [heard(number, "x" * SPLIT) for number in range(1, 30)]

    complete = [*(group for part in parts for group in gathering.add(part, 0.0)), gathering.due(9.0)]

    assert [part for group in complete for part in group] == parts
    assert len(complete) == 2
    assert all(len(merged(group).message.text) == SPLIT * len(group) <= MAX_TEXT for group in complete)


def test_one_part_is_itself() -> None:
    assert merged((photo(),)) == photo()


def test_an_album_is_one_message_in_the_place_of_its_first_photo() -> None:
    parts = [photo(1, "the roof"), photo(2), saying(photo(3, "the door"), is_addressed=True, quoted="Bob: where?")]

    album = merged(parts)

    assert [file.file_id for file in album.files] == ["f1", "f2", "f3"]
    assert (album.update_id, album.group, album.length, album.is_plain) == (1_003, "g", 16, False)
    assert album.message == parts[0].message.model_copy(
        update={
            "covers": ("1", "2", "3"),
            "text": "the roof\n\nthe door",
            "is_addressed": True,
            "quoted": "Bob: where?",
        }
    )
    assert album.message.address.reply_to == "1"


def test_an_album_says_once_from_whom_it_was_passed_on() -> None:
    note = "[forwarded from Bob]"

    assert merged([photo(1, f"{note}\nthe roof"), photo(2, note), photo(3, note)]).message.text == f"{note}\nthe roof"
    assert merged([photo(1, note), photo(2, note)]).message.text == note


@pytest.mark.parametrize(
    ("first", "gap"),
    [
        pytest.param("x" * SPLIT, "", id="split at the limit"),
        pytest.param("\U0001f600" * (SPLIT // 2), "", id="split at the limit, counted in units"),
        pytest.param("x" * (SPLIT - 1), "\n", id="split at a space"),
    ],
)
def test_a_paste_is_joined_as_it_was_split(first: str, gap: str) -> None:
    paste = merged([heard(1, first), heard(2, "end")])

    assert paste.message.text == f"{first}{gap}end"
    assert (paste.message.ids, paste.length, paste.is_plain) == (("1", "2"), heard(1, first).length + 3, True)


def test_what_holds_a_part_that_somebody_else_wrote_is_not_all_the_senders_own() -> None:
    assert merged([photo(1), saying(photo(2), foreign=True)]).message.foreign
    assert merged([photo(1), photo(2)]).message.foreign is None


def test_the_first_quotation_counts() -> None:
    parts = [heard(1, LONG), saying(heard(2, LONG), quoted="one"), saying(heard(3), quoted="two")]

    assert merged(parts).message.quoted == "one"


kinds = some.sampled_from(
    [
        heard(text=LONG),
        heard(text="x" * SPLIT),
        heard(),
        heard(user="bob"),
        photo(),
        photo(group="h"),
        photo(text="see"),
    ]
)


@settings(max_examples=100, deadline=None)
@given(said=some.lists(some.tuples(kinds, some.floats(0, 2), some.booleans())))
def test_all_that_was_said_comes_out_once_and_in_order(said: list[tuple[Heard, float, bool]]) -> None:
    gathering, now = Gathering(), 0.0
    parts: list[Heard] = []
    complete: list[tuple[Heard, ...]] = []
    for number, (kind, pause, is_looked_at) in enumerate(said):
        now += pause
        if is_looked_at:
            complete.append(gathering.due(now))
        part = saying(kind, message_id=str(number))
        parts.append(part)
        complete += gathering.add(part, now)
        assert gathering.deadline is None or gathering.deadline == now + WAIT
    complete.append(gathering.due(now + WAIT))

    assert [part for group in complete for part in group] == parts
    for group in filter(None, complete):
        found = merged(group).message
        sent = Submit(platform="telegram", bot_id="desk", scope_id="-100", message=found)
        assert FROM_SPOKE.decode(FROM_SPOKE.encode(sent)) == sent
        assert found.ids == tuple(part.message.message_id for part in group)
