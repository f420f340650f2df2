"""Which workers live and who is asked first, told the time."""

from __future__ import annotations

from factory_nats.registry import FORGET, WorkerRegistry


def test_the_least_busy_worker_comes_first() -> None:
    registry = WorkerRegistry()
    registry.heard("busy", "i", 3.0, 0.0)
    registry.heard("idle", "i", 0.0, 0.0)

    assert registry.candidates(0.0) == ("idle", "busy")


def test_work_that_was_given_counts_until_the_next_heartbeat() -> None:
    registry = WorkerRegistry()
    registry.heard("a", "i", 0.0, 0.0)
    registry.heard("b", "i", 1.5, 0.0)

    registry.gave("a", 0.0)
    registry.gave("a", 0.0)
    assert registry.candidates(0.1) == ("b", "a")

    registry.heard("a", "i", 1.0, 0.5)
    assert registry.candidates(0.5) == ("a", "b")


def test_of_two_alike_the_one_that_waited_longer_is_asked() -> None:
    registry = WorkerRegistry()
    for worker in ("a", "b"):
        registry.heard(worker, "i", 0.0, 0.0)
    registry.gave("a", 0.1)
    registry.heard("a", "i", 0.0, 0.2)

    assert registry.candidates(0.2) == ("b", "a")


def test_a_silent_worker_is_stale_until_it_is_heard_again() -> None:
    registry = WorkerRegistry(silence=2.0)
    registry.heard("a", "i", 0.0, 0.0)

    assert registry.candidates(2.0) == ("a",)
    assert registry.candidates(2.1) == ()
    assert registry.heard("a", "i", 0.0, 3.0) == "returned"
    assert registry.candidates(3.0) == ("a",)


def test_a_worker_that_did_not_answer_is_left_out_until_its_next_heartbeat() -> None:
    registry = WorkerRegistry()
    registry.heard("a", "i", 0.0, 0.0)

    registry.mark_stale("a")
    assert registry.candidates(0.1) == ()
    assert not registry.is_alive("a", 0.1)

    assert registry.heard("a", "i", 0.0, 0.5) == "returned"
    assert registry.candidates(0.5) == ("a",)


def test_a_new_instance_is_told_apart_from_a_returning_one() -> None:
    registry = WorkerRegistry()

    assert registry.heard("a", "first", 0.0, 0.0) == "joined"
    assert registry.heard("a", "first", 0.0, 0.5) == "known"
    assert registry.heard("a", "second", 0.0, 1.0) == "new instance"
    assert registry.instance("a") == "second"


def test_nobody_knows_a_worker_that_was_never_heard() -> None:
    registry = WorkerRegistry()

    registry.mark_stale("ghost")
    registry.gave("ghost", 0.0)

    assert registry.candidates(0.0) == ()
    assert registry.instance("ghost") is None
    assert not registry.is_alive("ghost", 0.0)


def test_names_that_stay_silent_are_forgotten() -> None:
    registry = WorkerRegistry()
    registry.heard("old", "i", 0.0, 0.0)

    registry.heard("new", "i", 0.0, FORGET + 1)

    assert registry.instance("old") is None
