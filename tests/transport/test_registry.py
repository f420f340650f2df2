"""Which workers live and who is asked first, told the time."""

from __future__ import annotations

import pytest

from factory_nats.registry import FORGET, FORGIVEN, Sign, WorkerRegistry


def hear(registry: WorkerRegistry, worker: str, now: float = 0.0, *, load: float = 0.0, slots: float = 0.0) -> None:
    registry.heard(Sign(worker, "i", load, slots), now)


def test_the_least_busy_worker_comes_first() -> None:
    registry = WorkerRegistry()
    hear(registry, "busy", load=3.0)
    hear(registry, "idle")

    assert registry.candidates(0.0) == ("idle", "busy")


def test_who_does_more_side_by_side_is_less_busy_with_the_same_work() -> None:
    registry = WorkerRegistry()
    hear(registry, "small", load=1.0, slots=2.0)
    hear(registry, "large", load=2.0, slots=16.0)

    assert registry.candidates(0.0) == ("large", "small")


def test_work_that_was_given_counts_until_the_next_heartbeat() -> None:
    registry = WorkerRegistry()
    hear(registry, "a")
    hear(registry, "b", load=1.5)

    registry.gave("a", 0.0)
    registry.gave("a", 0.0)
    assert registry.candidates(0.1) == ("b", "a")

    hear(registry, "a", 0.5, load=1.0)
    assert registry.candidates(0.5) == ("a", "b")


def test_who_has_no_room_is_not_asked_until_some_work_is_done() -> None:
    registry = WorkerRegistry()
    hear(registry, "a", load=1.0, slots=2.0)

    registry.gave("a", 0.0)
    full = registry.candidates(0.1)
    registry.took("a", 0.2, 0.2)

    assert full == ()
    assert registry.candidates(0.2) == ("a",)


@pytest.mark.parametrize("slots", [0.0, 2.0])
def test_who_says_that_it_is_busy_is_not_asked_until_its_next_heartbeat(slots: float) -> None:
    registry = WorkerRegistry()
    hear(registry, "a", slots=slots)

    registry.gave("a", 0.0)
    registry.gave_back("a", is_full=True)
    full = registry.candidates(0.1)
    hear(registry, "a", 0.5, slots=slots)

    assert full == ()
    assert registry.candidates(0.5) == ("a",)


def test_of_two_alike_the_one_that_waited_longer_is_asked() -> None:
    registry = WorkerRegistry()
    for worker in ("a", "b"):
        hear(registry, worker)
    registry.gave("a", 0.1)
    hear(registry, "a", 0.2)

    assert registry.candidates(0.2) == ("b", "a")


def test_the_quicker_of_two_is_asked_and_a_long_time_ago_does_not_count() -> None:
    registry = WorkerRegistry()
    for worker, seconds in (("slow", 3.0), ("quick", 0.1)):
        hear(registry, worker)
        registry.gave(worker, 0.0)
        registry.took(worker, seconds, 0.0)
    for worker in ("slow", "quick"):
        hear(registry, worker, 100.0)

    assert registry.candidates(1.0) == ("quick", "slow")
    assert {round(one.score, 6) for one in registry.standings(100.0)} == {1.0}


def test_who_failed_comes_last_for_a_while() -> None:
    registry = WorkerRegistry()
    hear(registry, "good", load=1.0)
    hear(registry, "bad")

    for now in (0.0, 0.5):
        registry.failed("bad", now)
        hear(registry, "bad", now + 0.5)

    assert registry.candidates(1.0) == ("good", "bad")
    for worker, load in (("good", 1.0), ("bad", 0.0)):
        hear(registry, worker, 9 * FORGIVEN, load=load)
    assert registry.candidates(9 * FORGIVEN) == ("bad", "good")


def test_many_who_wait_for_one_that_fails_see_one_failure() -> None:
    registry = WorkerRegistry()
    hear(registry, "a")

    assert [registry.failed("a", 0.0), registry.failed("a", 0.0)] == [True, False]


def test_who_is_draining_lives_and_is_not_asked() -> None:
    registry = WorkerRegistry()
    registry.heard(Sign("a", "i", is_draining=True), 0.0)

    assert registry.candidates(0.0) == ()
    assert registry.is_alive("a", 0.0)


def test_those_of_the_wanted_shape_come_before_all_others() -> None:
    registry = WorkerRegistry()
    registry.heard(Sign("old", "i", shape="s1"), 0.0)
    registry.heard(Sign("new", "i", load=3.0, shape="s2"), 0.0)

    assert registry.candidates(0.0) == ("old", "new")
    assert registry.candidates(0.0, shape="s2") == ("new", "old")


def test_a_silent_worker_is_stale_until_it_is_heard_again() -> None:
    registry = WorkerRegistry(silence=2.0)
    hear(registry, "a")

    assert registry.candidates(2.0) == ("a",)
    assert registry.candidates(2.1) == ()
    assert registry.heard(Sign("a", "i"), 3.0) == "returned"
    assert registry.candidates(3.0) == ("a",)


def test_a_worker_that_did_not_answer_is_left_out_until_its_next_heartbeat() -> None:
    registry = WorkerRegistry()
    hear(registry, "a")

    registry.mark_stale("a")
    assert registry.candidates(0.1) == ()
    assert not registry.is_alive("a", 0.1)

    assert registry.heard(Sign("a", "i"), 0.5) == "returned"
    assert registry.candidates(0.5) == ("a",)


def test_a_new_instance_is_told_apart_from_a_returning_one() -> None:
    registry = WorkerRegistry()

    assert registry.heard(Sign("a", "first"), 0.0) == "joined"
    assert registry.heard(Sign("a", "first"), 0.5) == "known"
    assert registry.heard(Sign("a", "second"), 1.0) == "new instance"
    assert registry.instance("a") == "second"


def test_nobody_knows_a_worker_that_was_never_heard() -> None:
    registry = WorkerRegistry()

    registry.mark_stale("ghost")
    registry.gave("ghost", 0.0)
    registry.took("ghost", 1.0, 0.0)
    registry.gave_back("ghost", is_full=True)

    assert not registry.failed("ghost", 0.0)
    assert registry.candidates(0.0) == ()
    assert registry.instance("ghost") is None
    assert not registry.is_alive("ghost", 0.0)


def test_everybody_is_listed_with_how_they_stand() -> None:
    registry = WorkerRegistry()
    hear(registry, "b", load=1.0, slots=4.0)
    hear(registry, "a")

    (first, second) = registry.standings(2.5)

    assert (first.said.worker, second.said.worker) == ("a", "b")
    assert (second.score, second.heard, second.is_alive) == (0.5, 0.0, False)


def test_names_that_stay_silent_are_forgotten() -> None:
    registry = WorkerRegistry()
    hear(registry, "old")

    hear(registry, "new", FORGET + 1)

    assert registry.instance("old") is None
