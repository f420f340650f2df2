"""What a measurement says: figures with their spread and method, gates, and how both are told.

Nothing here measures. Resampling uses a fixed seed, so that the same samples always give the same interval.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import median

CONFIDENCE = 0.95
RESAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A median and where it lies with 95 % confidence, from `n` samples."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: what it is, its unit, how many samples it rests on, their spread, and how it was got."""

    name: str
    value: float
    unit: str
    n: int
    low: float
    high: float
    spread: str
    method: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A claim that the run has to show: the whole interval lies within the limits."""

    name: str
    value: float
    low: float
    high: float
    at_least: float | None
    at_most: float | None
    passed: bool


@dataclass(slots=True)
class Report:
    """Everything that one run found out."""

    subject: str
    setting: dict[str, object]
    figures: list[Figure] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return all(gate.passed for gate in self.gates)

    def add(self, name: str, interval: Interval, unit: str, method: str, spread: str = "") -> Interval:
        """Add a figure whose spread is a bootstrap interval."""
        spread = spread or "95 % bootstrap interval of the median"
        self.figures.append(
            Figure(name, interval.median, unit, interval.n, interval.low, interval.high, spread, method)
        )
        return interval

    def at_most(self, name: str, interval: Interval, limit: float) -> None:
        """The claim that the interval ends at or below the limit."""
        passed = interval.high <= limit
        self.gates.append(Gate(name, interval.median, interval.low, interval.high, None, limit, passed))

    def at_least(self, name: str, interval: Interval, limit: float) -> None:
        """The claim that the interval begins at or above the limit."""
        passed = interval.low >= limit
        self.gates.append(Gate(name, interval.median, interval.low, interval.high, limit, None, passed))

    def contains(self, name: str, interval: Interval, value: float) -> None:
        """The claim that the interval contains a value."""
        passed = interval.low <= value <= interval.high
        self.gates.append(Gate(name, interval.median, interval.low, interval.high, value, value, passed))

    def to_json(self) -> str:
        """The whole report as one document."""
        return json.dumps({**asdict(self), "passed": self.passed}, indent=2)

    def to_text(self) -> str:
        """The report as a person reads it."""
        lines = [f"bench {self.subject}", *(f"  {key}: {value}" for key, value in self.setting.items()), ""]
        width = max((len(figure.name) for figure in self.figures), default=0)
        for figure in self.figures:
            lines.append(
                f"  {figure.name:<{width}}  {figure.value:>10.4g} {figure.unit:<8}"
                f"  [{figure.low:.4g}, {figure.high:.4g}]  n={figure.n}"
            )
        lines += ["", *(f"  {note}" for note in self.notes), ""]
        for gate in self.gates:
            mark = "pass" if gate.passed else "FAIL"
            lines.append(f"  {mark}  {gate.name}: {gate.value:.4g} [{gate.low:.4g}, {gate.high:.4g}] {_wanted(gate)}")
        return "\n".join(line.rstrip() for line in lines)


def _wanted(gate: Gate) -> str:
    if gate.at_least is not None and gate.at_least == gate.at_most:
        return f"must contain {gate.at_least:g}"
    return f"must be at least {gate.at_least:g}" if gate.at_most is None else f"must be at most {gate.at_most:g}"


def bootstrap(samples: Sequence[float], of: Callable[[Sequence[float]], float] = median) -> Interval:
    """The statistic of the samples with its percentile bootstrap interval."""
    if not samples:
        raise ValueError("there are no samples")
    random = Random(1)
    drawn = sorted(of(random.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    low, high = drawn[int(tail * RESAMPLES)], drawn[int((1 - tail) * RESAMPLES) - 1]
    return Interval(of(samples), low, high, len(samples))


def quartiles(samples: Sequence[float]) -> Interval:
    """The median with the quartiles around it."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return Interval(median(ordered), ordered[round(0.25 * last)], ordered[round(0.75 * last)], len(ordered))


def quantile(samples: Sequence[float], share: float) -> float:
    """The sample below which this share of all samples lies."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
