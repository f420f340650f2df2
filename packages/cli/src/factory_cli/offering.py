"""The tools that agents may name, as somebody outside has them who is served them."""

import time
from collections.abc import Sequence

from adapters.tools import calculator, clock
from adapters.tools.fetch import Fetch
from adapters.tools.files import Folders
from adapters.tools.memory import Memory
from factory_cli.console import Failed
from factory_cli.home import Home
from factory_contracts.work import AgentSpec, Files
from hub.kernel.ports import Equipped, Occasion

# Who is served is no agent of ours: a folder and a memory of its own, the same for whoever asks. What it has read
# before, nobody here knows.
NAME = "served"
AGENT = AgentSpec(name=NAME, hash=NAME, model=NAME, namespace=NAME, files=Files(), memory="agent")
OCCASION = Occasion(turn=NAME, call="", scope=NAME, user_id=NAME, agent=AGENT, is_tainted=True)


async def offered(where: Home) -> tuple[Equipped, ...]:
    """Every tool, by name in this order."""
    return (
        Equipped(clock.SPEC, clock.Clock(clock.utc_now)),
        Equipped(calculator.SPEC, calculator.Calculator()),
        *Fetch().tools(),
        *Memory(where.work / "memory.db", time.time).tools(),
        *await Folders(where.work / "files").tools(AGENT),
    )


def chosen(tools: Sequence[Equipped], names: Sequence[str]) -> tuple[Equipped, ...]:
    """Those of these names, each once. Raises `Failed` for a name that none has."""
    by_name = {tool.spec.name: tool for tool in tools}
    for name in names:
        if name not in by_name:
            raise Failed(f"no tool {name!r}; there is: {', '.join(by_name)}")
    return tuple(by_name[name] for name in dict.fromkeys(names))
