"""What came of what was done is told again, and nothing is done twice."""

from __future__ import annotations

from factory_nats.repeats import Came, Repeats


def test_what_came_of_it_is_told_until_its_time_is_over() -> None:
    repeats = Repeats()
    repeats.keep("a", b"done", until=10.0)

    assert repeats.find("a", 9.9) == Came(b"done")
    assert repeats.find("b", 9.9) is None
    assert repeats.find("a", 10.0) is None


def test_where_there_is_too_much_the_oldest_is_known_to_have_been_done_and_no_more() -> None:
    repeats = Repeats(most_bytes=10)
    for name in "abc":
        repeats.keep(name, b"12345", until=10.0)

    assert [repeats.find(name, 0.0) for name in "abc"] == [Came(None), Came(b"12345"), Came(b"12345")]


def test_more_than_can_be_known_must_not_be_begun() -> None:
    repeats = Repeats(most=2)
    repeats.keep("a", b"", until=10.0)
    before = repeats.is_full(0.0)
    repeats.keep("b", b"", until=20.0)

    assert (before, repeats.is_full(0.0), repeats.is_full(10.0)) == (False, True, False)


def test_room_is_made_by_forgetting_the_oldest() -> None:
    repeats = Repeats(most=2)
    for name in "ab":
        repeats.keep(name, name.encode(), until=10.0)

    repeats.make_room()

    assert not repeats.is_full(0.0)
    assert [repeats.find(name, 0.0) for name in "ab"] == [None, Came(b"b")]


def test_what_is_over_gives_its_room_back() -> None:
    repeats = Repeats(most_bytes=10)
    repeats.keep("a", b"1234567890", until=1.0)
    assert repeats.find("a", 1.0) is None

    repeats.keep("b", b"1234567890", until=2.0)

    assert repeats.find("b", 1.0) == Came(b"1234567890")
