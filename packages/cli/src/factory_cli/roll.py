"""Who was heard on the bus: every worker by its heartbeats, and what is thought of it by those who ask it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_contracts.work import WORKER_HEARTBEAT, Opinion

SILENT = 2.0
_WORST = ("closed", "half-open", "open")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a worker said last, and when."""

    capability: str
    said: Heartbeat
    at: float


@dataclass(slots=True)
class Roll:
    """Everybody who was heard, and what is thought of them."""

    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)
    opinions: dict[tuple[str, str], dict[str, Opinion]] = field(default_factory=dict)

    def hear(self, subject: str, data: bytes, now: float) -> None:
        """Take a heartbeat; what is none is left out."""
        try:
            capability, name = subjects.read_capability(subject), subjects.read_worker(subject)
            if capability == subjects.HUB:
                return
            if capability == subjects.CLIPOOL:
                told = WORKER_HEARTBEAT.decode(data)
                for opinion in told.opinions or ():
                    self.opinions.setdefault((opinion.capability, opinion.worker), {})[name] = opinion
                said = Heartbeat(worker=told.worker, instance=told.instance, understands=told.understands)
                said = said.model_copy(update={"running": len(told.turns)})
            else:
                said = HEARTBEAT.decode(data)
        except (Malformed, subjects.BadToken):
            return
        if said.worker == name:
            self.seen[capability, name] = Seen(capability, said, now)

    def rows(self, expected: Iterator[tuple[str, str]], now: float) -> list[dict[str, object]]:
        """Each worker, those among them that were expected and not heard."""
        everybody = sorted({*self.seen, *expected})
        return [self._row(*key, now) for key in everybody]

    def _row(self, capability: str, worker: str, now: float) -> dict[str, object]:
        seen = self.seen.get((capability, worker))
        opinions = tuple(self.opinions.get((capability, worker), {}).values())
        said = None if seen is None else seen.said
        return {
            "capability": capability,
            "worker": worker,
            "state": _state(seen, now),
            "running": None if said is None else said.running,
            "at_once": None if said is None else said.at_once,
            "score": max((one.score for one in opinions), default=None),
            "heard_ago": None if seen is None else round(now - seen.at, 1),
            "circuit": max((one.circuit for one in opinions), default=None, key=_WORST.index),
            "understands": None if said is None else said.understands,
            "gpu": None if said is None or said.gpu is None else {"free": said.gpu.free, "total": said.gpu.total},
            "instance": None if said is None else said.instance,
        }


def _state(seen: Seen | None, now: float) -> str:
    if seen is None:
        return "not heard"
    if now - seen.at > SILENT:
        return "silent"
    return "draining" if seen.said.is_draining else "serves"
