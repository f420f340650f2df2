"""`factory workers`: who serves what, and how they do."""

import sys
from typing import Annotated

import typer

from factory_cli import config, joining
from factory_cli.console import Failed, HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.home import Home
from factory_cli.ink import harmless, say_document
from factory_contracts import subjects

# Two heartbeats of everybody, one of which may be lost.
LISTEN = 1.2
GIGABYTE = 1 << 30
CLEAR = "\033[H\033[2J"


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

    from factory_cli import keeping, log
    from factory_cli.roll import Roll
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
            expected = ((one.capability, one.name) for one in config.workers_of(keeping.known(where)))
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
