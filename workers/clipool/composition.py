"""The composition root of the CliPool worker: the one place that names its models and tools."""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from adapters.models.scripted import PROVIDER, Scripted, load
from adapters.tools import calculator, clock
from factory_nats.connect import Identity, connect
from factory_nats.result import Err
from factory_nats.transport import Transport
from hub.kernel.ports import Tool, ToolSpec
from workers.clipool.turn import Kit, Point, pass_by
from workers.clipool.worker import Worker

logger = logging.getLogger(__name__)

PATIENCE = 30.0

SPECS: Mapping[str, ToolSpec] = MappingProxyType({spec.name: spec for spec in (clock.SPEC, calculator.SPEC)})


@dataclass(frozen=True, slots=True)
class ClipoolSettings:
    """What the CliPool worker is told; on the bus it goes by its identity's name.

    `script` is what the model `scripted` follows, `scripts` where `scripted:<path>` looks for relative paths, and
    `calls_file` gets a line for each of its calls.
    """

    nats_url: str
    identity: Identity
    script: Path | None = None
    scripts: Path | None = None
    calls_file: Path | None = None
    patience: float = PATIENCE


ExtraTools = Mapping[str, tuple[ToolSpec, Tool]]


def serve(
    settings: ClipoolSettings,
    *,
    at: Callable[[Point], None] = pass_by,
    extra_tools: ExtraTools = MappingProxyType({}),
) -> int:
    """Work until SIGTERM or SIGINT; the exit code. Raises `ScriptError` for a script that cannot be followed."""
    kit = compose(settings, at=at, extra_tools=extra_tools)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_work(settings, kit))


def compose(
    settings: ClipoolSettings,
    *,
    at: Callable[[Point], None] = pass_by,
    extra_tools: ExtraTools = MappingProxyType({}),
) -> Kit:
    """The models and tools that these settings ask for."""
    script = load(settings.script) if settings.script is not None else None
    tools: dict[str, Tool] = {
        clock.SPEC.name: clock.Clock(clock.utc_now),
        calculator.SPEC.name: calculator.Calculator(),
    }
    return Kit(
        models={PROVIDER: Scripted(script, folder=settings.scripts, calls_file=settings.calls_file)},
        specs={**SPECS, **{name: spec for name, (spec, _) in extra_tools.items()}},
        tools={**tools, **{name: tool for name, (_, tool) in extra_tools.items()}},
        now=time.time,
        at=at,
    )


async def run(transport: Transport, kit: Kit, until: asyncio.Event) -> None:
    """The worker over a transport that somebody else opened and closes."""
    await Worker(transport, kit, _new_instance).serve(until)


async def _work(settings: ClipoolSettings, kit: Kit) -> int:
    until = asyncio.Event()
    closed: list[str] = []

    def note_closed(why: str) -> None:
        closed.append(why)
        until.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    connected = await connect(
        settings.nats_url, settings.identity, patience=settings.patience, until=until, on_closed=note_closed
    )
    if isinstance(connected, Err):
        if until.is_set():
            return 0
        logger.error("%s", connected.detail)
        return 1
    try:
        await run(connected.value, kit, until)
    finally:
        await connected.value.close()
    return 1 if closed else 0


def _new_instance() -> str:
    return secrets.token_hex(6)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
