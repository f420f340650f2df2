"""`factory workers`: who serves what, and how they do."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import typer

from factory_cli import config, joining
from factory_cli.console import Failed, HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.home import Home
from factory_cli.ink import harmless, say_document
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_contracts.work import WORKER_HEARTBEAT, Opinion

# Two heartbeats of everybody, one of which may be lost.
LISTEN = 1.2
SILENT = 2.0
GIGABYTE = 1 << 30
CLEAR = "\033[H\033[2J"
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


def workers(
    home: HomeOption = None,
    is_watching: Annotated[bool, typer.Option("--watch", help="Go on, until you end it.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Who serves what: load, score, last heartbeat, circuit."""
    with told():
        import asyncio

        where, environment = surroundings(home)
        running = joining.running(where)
        if running is None and environment.nats_url is None:
            raise Failed(f"nothing runs on {where.path}; `factory chat` or `factory up` starts it")
        url = running.url if running is not None else environment.nats_url or ""
        asyncio.run(_watch(where, url, is_watching, is_json))


async def _watch(where: Home, url: str, is_watching: bool, is_json: bool) -> None:
    import asyncio

    from factory_cli import log
    from factory_nats.result import Err

    roll, loop = Roll(), asyncio.get_running_loop()
    async with log.bus(where, url) as transport:
        for subject in subjects.plane("heartbeat"):
            listening = await transport.subscribe(
                subject, lambda delivery: roll.hear(delivery.subject, delivery.data, loop.time())
            )
            if isinstance(listening, Err):
                raise Failed(f"the workers cannot be heard: {listening.detail}")
        while True:
            await asyncio.sleep(LISTEN)
            expected = ((one.capability, one.name) for one in config.load(where.configuration).workers)
            rows = roll.rows(expected, loop.time())
            _say(rows, is_watching, is_json)
            if not is_watching:
                return


def _say(rows: list[dict[str, object]], is_watching: bool, is_json: bool) -> None:
    if is_json:
        say_document(rows)
    else:
        if is_watching:
            typer.echo(CLEAR if sys.stdout.isatty() else "", nl=not sys.stdout.isatty())
        say_table(
            [
                ("CAPABILITY", "WORKER", "STATE", "LOAD", "SCORE", "HEARD", "CIRCUIT", "GPU FREE"),
                *(_cells(row) for row in rows),
            ]
        )
    sys.stdout.flush()


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    ago, score, gpu = row["heard_ago"], row["score"], row["gpu"]
    return (
        harmless(str(row["capability"])),
        harmless(str(row["worker"])),
        str(row["state"]),
        _load(row["running"], row["at_once"]),
        f"{score:.2f}" if isinstance(score, float) else "-",
        f"{ago} s ago" if isinstance(ago, float) else "-",
        str(row["circuit"] or "-"),
        f"{gpu['free'] / GIGABYTE:.1f} of {gpu['total'] / GIGABYTE:.1f} GB" if isinstance(gpu, dict) else "-",
    )


def _load(running: object, at_once: object) -> str:
    if running is None:
        return "-"
    return str(running) if at_once is None else f"{running}/{at_once}"


def _state(seen: Seen | None, now: float) -> str:
    if seen is None:
        return "not heard"
    if now - seen.at > SILENT:
        return "silent"
    return "draining" if seen.said.is_draining else "serves"
