"""How fast a spoke may write: in one place, in several, and after the platform wanted silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from adapters.pace import PLACES_KEPT, YIELDS, Pace, Rhythm
from tests.fakes import idle, pass_time, until

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Writers:
    """Those who write at a pace: what was written where and when, and how many were at it at once."""

    def __init__(self, pace: Pace, takes: float = 0.0) -> None:
        self.pace = pace
        self.takes = takes
        self.written: list[tuple[float, str]] = []
        self.most_at_once: dict[str, int] = {}
        self._at_once: dict[str, int] = {}

    async def write(self, name: str, place: str = "chat", *, is_urgent: bool = False) -> None:
        async with self.pace.leave(place, is_urgent=is_urgent):
            self._at_once[place] = self._at_once.get(place, 0) + 1
            self.most_at_once[place] = max(self.most_at_once.get(place, 0), self._at_once[place])
            self.written.append((now(), name))
            try:
                await asyncio.sleep(self.takes)
            finally:
                self._at_once[place] -= 1

    def begin(self, name: str, place: str = "chat", *, is_urgent: bool = False) -> asyncio.Task[None]:
        return asyncio.create_task(self.write(name, place, is_urgent=is_urgent))

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.written]

    @property
    def times(self) -> list[float]:
        return [round(at, 6) for at, _ in self.written]


def now() -> float:
    return asyncio.get_running_loop().time()


def every(seconds: float) -> Callable[[str], Rhythm]:
    return lambda place: Rhythm(seconds)


def visit_very_many(pace: Pace) -> None:
    """More places than are kept."""
    for number in range(PLACES_KEPT + 100):
        pace.silence(f"place {number}", 0.0)


async def test_one_write_is_in_flight_in_a_place_and_a_pause_follows_its_end() -> None:
    writers = Writers(Pace(every(1.0)), takes=0.5)

    await asyncio.gather(*(writers.write(f"{number}") for number in range(4)))

    assert writers.most_at_once == {"chat": 1}
    assert writers.written == [(0.0, "0"), (1.5, "1"), (3.0, "2"), (4.5, "3")]


async def test_each_place_has_a_pause_of_its_own_and_waits_for_no_other() -> None:
    writers = Writers(Pace(lambda place: Rhythm(3.0 if place == "group" else 1.0)), takes=0.5)

    await asyncio.gather(*(writers.write(place, place) for place in ("chat", "group") for _ in range(3)))

    assert [at for at, name in writers.written if name == "chat"] == [0.0, 1.5, 3.0]
    assert [at for at, name in writers.written if name == "group"] == [0.0, 3.5, 7.0]


async def test_a_write_that_fails_is_followed_by_the_pause_as_well() -> None:
    writers = Writers(Pace(every(1.0)))

    with pytest.raises(OSError):
        async with writers.pace.leave("chat"):
            raise OSError("no route")
    await writers.write("next")

    assert writers.written == [(1.0, "next")]


async def test_in_silence_nothing_is_written_there_also_by_whoever_waits_already() -> None:
    writers = Writers(Pace(every(1.0)))
    await writers.write("first")
    waiting = writers.begin("waits")
    await pass_time(0.5)

    writers.pace.silence("chat", 10.0)
    late, elsewhere = writers.begin("late"), writers.begin("elsewhere", "other")
    await asyncio.gather(waiting, late, elsewhere)

    assert writers.written == [(0.0, "first"), (0.5, "elsewhere"), (10.5, "waits"), (11.5, "late")]


async def test_a_silence_that_is_shorter_than_the_one_that_holds_changes_nothing() -> None:
    writers = Writers(Pace(every(0.0)))

    writers.pace.silence("chat", 10.0)
    writers.pace.silence("chat", 1.0)
    await pass_time(5)
    was_silent = writers.pace.is_silent("chat")
    await writers.write("late")

    assert was_silent
    assert not writers.pace.is_silent("chat")
    assert not writers.pace.is_silent("elsewhere")
    assert writers.times == [10.0]


async def test_between_any_two_writes_there_is_a_while_wherever_they_are() -> None:
    writers = Writers(Pace(every(1.0), between=0.25))

    await asyncio.gather(*(writers.write(f"{number}", f"chat {number}") for number in range(5)))
    await pass_time(10)
    await asyncio.gather(*(writers.write(f"{number}", f"chat {number}") for number in range(5, 7)))

    assert writers.times == [0.0, 0.25, 0.5, 0.75, 1.0, 11.0, 11.25]
    assert writers.names == ["0", "1", "2", "3", "4", "5", "6"]


async def test_what_is_urgent_goes_first_and_equals_in_the_order_in_which_they_came() -> None:
    writers = Writers(Pace(every(0.0), between=0.25))
    names = ["first", "a", "b", "A!", "c", "B!"]

    await asyncio.gather(*(writers.write(name, f"chat {name}", is_urgent=name[-1] == "!") for name in names))

    assert writers.names == ["first", "A!", "B!", "a", "b", "c"]


async def test_nobody_waits_for_ever_however_much_is_urgent() -> None:
    writers = Writers(Pace(every(0.0), between=0.25))
    numbers = count()
    keeps_on = True

    async def crowd() -> None:
        while keeps_on:
            await writers.write("urgent", f"chat {next(numbers)}", is_urgent=True)

    crowds = [asyncio.create_task(crowd()) for _ in range(8)]
    await idle()
    async with asyncio.timeout(100):
        await writers.write("patient")
    waited = now()
    keeps_on = False
    await asyncio.gather(*crowds)

    # Those who were urgent before its time was come are still before it.
    assert YIELDS <= waited <= YIELDS + 9 * 0.25


async def test_a_place_that_falls_silent_while_it_stands_in_the_line_lets_the_others_pass() -> None:
    writers = Writers(Pace(every(0.0), between=1.0))
    waiting = [writers.begin(name, name) for name in ("first", "silent", "other")]
    await pass_time(0.5)

    writers.pace.silence("silent", 20.0)
    await asyncio.gather(*waiting)

    assert writers.names == ["first", "other", "silent"]
    assert writers.times[-1] >= 20.5


async def test_whoever_gives_up_keeps_nobody_waiting() -> None:
    writers = Writers(Pace(every(1.0), between=0.25))
    places = ["line 1", "line 2", "line 3", "line 1", "line 2"]
    tasks = [writers.begin(f"{number}", place) for number, place in enumerate(places)]
    await pass_time(0.1)

    # One holds its place and stands in the line of all, one waits for its place.
    for given_up in (tasks[1], tasks[3]):
        given_up.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert [(at, name) for at, name in writers.written] == [(0.0, "0"), (0.25, "2"), (0.5, "4")]


async def test_when_all_have_given_up_the_next_is_served_as_if_nobody_had_waited() -> None:
    writers = Writers(Pace(every(0.0), between=1.0))
    tasks = [writers.begin(f"{number}", f"chat {number}") for number in range(4)]
    await pass_time(0.5)
    for task in tasks[1:]:
        task.cancel()
    await pass_time(0.1)

    await asyncio.gather(writers.write("next"), writers.write("and next", "other"))

    assert writers.written == [(0.0, "0"), (1.0, "next"), (2.0, "and next")]


async def test_whoever_gives_up_while_writing_lets_the_next_in() -> None:
    writers = Writers(Pace(every(1.0)), takes=100.0)
    writing = writers.begin("hangs")
    await pass_time(5)
    following = writers.begin("next")

    writing.cancel()
    await pass_time(3)

    assert writers.written == [(0.0, "hangs"), (6.0, "next")]
    following.cancel()


async def test_a_silence_and_a_pause_outlast_the_forgetting_of_places() -> None:
    writers = Writers(Pace(lambda place: Rhythm(5.0 if place == "slow" else 0.0)))
    writers.pace.silence("silent", 10.0)
    await writers.write("first", "slow")

    visit_very_many(writers.pace)
    await asyncio.gather(writers.write("second", "slow"), writers.write("at last", "silent"))

    assert writers.written[-2:] == [(5.0, "second"), (10.0, "at last")]


async def test_a_place_in_which_somebody_writes_is_not_forgotten() -> None:
    writers = Writers(Pace(every(0.0)), takes=1.0)
    writing = writers.begin("first")
    await idle()

    visit_very_many(writers.pace)
    await asyncio.gather(writing, writers.write("second"))

    assert writers.written == [(0.0, "first"), (1.0, "second")]


async def test_everybody_is_served_whatever_happens_to_the_others() -> None:
    writers = Writers(Pace(every(0.5), between=0.125), takes=0.25)
    tasks = [writers.begin(f"{n}", f"chat {n % 5}", is_urgent=n % 3 == 0) for n in range(60)]
    for number in range(0, 60, 7):
        await pass_time(0.3)
        tasks[number].cancel()
        writers.pace.silence(f"chat {number % 5}", 2.0)

    await until(lambda: all(task.done() for task in tasks), seconds=200)

    served = {name for name, task in zip(map(str, range(60)), tasks, strict=True) if not task.cancelled()}
    assert served <= set(writers.names)
    assert len(writers.names) == len(set(writers.names))
    assert set(writers.most_at_once.values()) == {1}
    gaps = [later - earlier for earlier, later in zip(writers.times, writers.times[1:], strict=False)]
    assert min(gaps) >= 0.125


async def test_a_place_that_was_silent_is_written_to_a_few_times_at_once_and_then_in_its_rhythm() -> None:
    pace = Pace(lambda place: Rhythm(gap=1.0, every=4.0, saved=3))
    writers = Writers(pace)

    await asyncio.gather(*(writers.write("group") for _ in range(6)))

    begun = writers.times[0]
    assert [at - begun for at in writers.times] == [0.0, 1.0, 2.0, 4.0, 8.0, 12.0]


async def test_what_was_saved_is_saved_again_in_time_and_no_more_of_it() -> None:
    pace = Pace(lambda place: Rhythm(gap=1.0, every=4.0, saved=2))
    writers = Writers(pace)
    await asyncio.gather(*(writers.write("group") for _ in range(3)))

    await asyncio.sleep(100.0)
    await asyncio.gather(*(writers.write("group") for _ in range(3)))

    first, *later = writers.times[3:]
    assert [at - first for at in later] == [1.0, 4.0]
