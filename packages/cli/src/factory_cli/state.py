"""What a running supervisor tells whoever wants to join it or asks how it does."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from factory_cli.home import Home, write_atomically
from factory_cli.secret import without_login


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
    url: str = field(repr=False)
    is_embedded: bool
    agents: str
    children: Mapping[str, ChildState] = field(default_factory=dict)
    failure: str = ""


def write(home: Home, state: State) -> None:
    """Replace the state; a reader sees the old one or the new one. What logs in at the bus is kept with the keys."""
    place = without_login(state.url)
    if place != state.url:
        write_atomically(home.bus, state.url + "\n")
    write_atomically(home.state, json.dumps(asdict(replace(state, url=place)), indent=1) + "\n")


def clear(home: Home) -> None:
    """There is nothing to join any more."""
    home.state.unlink(missing_ok=True)
    home.bus.unlink(missing_ok=True)


def read(home: Home) -> State | None:
    """The state as last written, by whomever; None where there is none that can be understood."""
    try:
        match json.loads(home.state.read_text(encoding="utf-8")):
            case {
                "pid": int(pid),
                "url": str(url),
                "is_embedded": bool(is_embedded),
                "agents": str(agents),
                "children": dict(children),
                "failure": str(failure),
            }:
                told = {str(name): ChildState(**child) for name, child in children.items()}
                return State(pid, _with_login(home, url), is_embedded, agents, told, failure)
    except (OSError, ValueError, TypeError):
        return None
    return None


def _with_login(home: Home, place: str) -> str:
    """The address by which one gets in there."""
    if not home.bus.exists():
        return place
    url = home.bus.read_text(encoding="utf-8").strip()
    return url if without_login(url) == place else place
