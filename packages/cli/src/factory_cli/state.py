"""What a running supervisor tells whoever wants to join it or asks how it does."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from factory_cli.home import write_atomically


@dataclass(frozen=True, slots=True)
class ChildState:
    """One child as it is now: no pid while it is being started again."""

    pid: int | None
    starts: int
    is_standby: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """A running supervisor; or why it gave up, which stays to be read when it is gone."""

    pid: int
    url: str
    is_embedded: bool
    agents: str
    children: Mapping[str, ChildState] = field(default_factory=dict)
    failure: str = ""


def write(path: Path, state: State) -> None:
    """Replace the state; a reader sees the old one or the new one."""
    write_atomically(path, json.dumps(asdict(state), indent=1) + "\n")


def read(path: Path) -> State | None:
    """The state as last written, by whomever; None where there is none that can be understood."""
    try:
        match json.loads(path.read_text(encoding="utf-8")):
            case {
                "pid": int(pid),
                "url": str(url),
                "is_embedded": bool(is_embedded),
                "agents": str(agents),
                "children": dict(children),
                "failure": str(failure),
            }:
                told = {str(name): ChildState(**child) for name, child in children.items()}
                return State(pid, url, is_embedded, agents, told, failure)
    except (OSError, ValueError, TypeError):
        return None
    return None
