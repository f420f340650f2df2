"""What a turn may do without asking, once its model was shown what strangers, files or tools brought from elsewhere.

Nobody can tell whether a model obeys such words. So from then on it is asked about what has an effect, and about every
address that is new: an address carries words out to whoever serves it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from json import loads

from factory_contracts.work import Approvals
from hub.kernel.addresses import Heard, host_of, is_within, names, stands_in, was_shown
from hub.kernel.ports import ANYWHERE, ModelMessage, Spoken, ToolCalls, ToolResult, ToolSpec

ALWAYS = "This agent asks before every such call."
TAINTED = "The agent has read what others wrote, and they may want this."
NEW_PLACE = "The agent has read what others wrote, and would tell this address to a place that is new: {}"
NO_PLACE = "The agent has read what others wrote, and nobody can say for sure where this address leads."

# Whoever is asked needs no more of them to say no.
MAX_PLACES = 10
# How an argument begins that is an address; not every reader of one needs the slashes.
_ADDRESS = re.compile(r"[\x00-\x20\s]*(?:https?:|[a-z][a-z0-9+.-]+:[/\\]{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a turn stands on: whether that is tainted, what its trusted person wrote, and the hosts that it reached.

    An agent that another one asks begins on that one's ground; `before` is all that was said there.
    """

    is_tainted: bool = False
    trusted: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()
    before: tuple[Heard, ...] | None = None

    def after(self, tool: ToolSpec | None, arguments: str) -> "Ground":
        """The ground once a tool brought something from elsewhere."""
        told = _addresses(tool, arguments) if tool is not None else ()
        hosts = [host for address in told if (host := host_of(address.strip()))]
        return replace(self, is_tainted=True, reached=tuple(dict.fromkeys((*self.reached, *hosts))))


def reasons(
    tool: ToolSpec, arguments: str, ground: Ground, approvals: Approvals, heard: Iterable[Heard]
) -> tuple[str, ...]:
    """Why a person is to be asked before this call is made; nothing where nobody is."""
    found: list[str] = []
    if tool.effect != "read":
        when = approvals.external if tool.effect == "external" else approvals.write
        if when == "always":
            found.append(ALWAYS)
        if ground.is_tainted and when != "never":
            found.append(TAINTED)
    addresses = _addresses(tool, arguments) if ground.is_tainted else ()
    said = tuple(heard) if addresses else ()
    new = (why for address in addresses for why in _new_place(address, ground, approvals, said))
    found += islice(new, MAX_PLACES)
    return tuple(dict.fromkeys(found))


def may_name(address: str, approvals: Approvals, heard: Iterable[Heard]) -> bool:
    """Whether an address may stand in the answer of a tainted turn."""
    host = host_of(address if "://" in address else f"https://{address}")
    return is_within(host, approvals.domains) or was_shown(address, heard)


def said_in(messages: Iterable[ModelMessage], given: int, *, is_helper: bool) -> Iterator[Heard]:
    """What was said to a model and by it, in order; the first `given` messages stood there before it began.

    To a helper they were written by the model that asks it.
    """
    for place, message in enumerate(messages):
        is_given = place < given
        match message:
            case Spoken(role=role, text=text, media=media):
                yield Heard(text, is_helper if is_given else role == "assistant")
                for file in media:
                    if file.is_text:
                        yield Heard(file.data.decode(errors="replace"))
            case ToolResult(content=content):
                yield Heard(content)
            case ToolCalls(text=text, calls=calls, kept=kept):
                yield Heard(text, is_own=True)
                yield from provided(kept)
                for _, tool, arguments in calls:
                    yield Heard(f"{tool} {arguments}", is_own=True)


def provided(kept: Iterable[str]) -> Iterator[Heard]:
    """What a provider's own tools brought, and what the model told them."""
    for content in kept:
        yield Heard(content, is_own=not _is_result(content))


def _new_place(address: str, ground: Ground, approvals: Approvals, heard: Iterable[Heard]) -> tuple[str, ...]:
    address = address.strip()
    if any(stands_in(address.lower(), text.lower()) for text in ground.trusted):
        return ()
    host = host_of(address)
    if not host:
        return (NO_PLACE,)
    is_known = host in ground.reached or any(names(host, text) for text in ground.trusted)
    if is_within(host, approvals.domains) or (is_known and was_shown(address, heard)):
        return ()
    return (NEW_PLACE.format(host),)


def _addresses(tool: ToolSpec, arguments: str) -> tuple[str, ...]:
    """What the call tells to whoever serves it; empty where there is to be an address and is none."""
    if not tool.reaches:
        return ()
    given = loads(arguments)
    if tool.reaches == ANYWHERE:
        return tuple(text for text in _texts(given) if _ADDRESS.match(text))
    address = given.get(tool.reaches)
    return (address if isinstance(address, str) else "",)


def _texts(value: object) -> Iterator[str]:
    """Every text within the value."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)


def _is_result(content: str) -> bool:
    try:
        block = loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(block, dict) and str(block.get("type", "")).endswith("result")
