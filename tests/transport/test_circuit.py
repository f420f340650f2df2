"""A circuit breaker, told the time."""

from __future__ import annotations

from factory_nats.circuit import CircuitBreaker


def broken(pause: float = 5.0) -> CircuitBreaker:
    circuit = CircuitBreaker(failures=3, pause=pause)
    for _ in range(3):
        circuit.failed(0.0)
    return circuit


def test_a_few_failures_leave_it_closed() -> None:
    circuit = CircuitBreaker(failures=3)

    circuit.failed(0.0)
    circuit.failed(0.0)

    assert circuit.state(0.0) == "closed"
    assert circuit.admit(0.0)


def test_a_success_in_between_begins_the_count_anew() -> None:
    circuit = CircuitBreaker(failures=2)

    circuit.failed(0.0)
    circuit.succeeded()
    circuit.failed(0.0)

    assert circuit.state(0.0) == "closed"


def test_enough_failures_open_it_for_the_pause() -> None:
    circuit = broken(pause=5.0)

    assert circuit.state(4.9) == "open"
    assert not circuit.admit(4.9)


def test_after_the_pause_one_may_try() -> None:
    circuit = broken(pause=5.0)

    assert circuit.state(5.0) == "half-open"
    assert circuit.admit(5.0)
    assert not circuit.admit(5.0)


def test_the_trial_decides() -> None:
    good, bad = broken(), broken()
    assert good.admit(6.0) and bad.admit(6.0)

    good.succeeded()
    bad.failed(7.0)

    assert good.state(7.0) == "closed"
    assert bad.state(11.9) == "open"
    assert bad.state(12.0) == "half-open"


def test_a_trial_whose_outcome_is_never_told_does_not_hold_the_place_for_ever() -> None:
    circuit = broken(pause=5.0)

    assert circuit.admit(6.0)

    assert not circuit.admit(10.9)
    assert circuit.admit(11.0)
