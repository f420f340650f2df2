"""The workers of other capabilities as an agent's tools: asked as they want to be, they answer in words and files.

A worker that is described by its capability has parameters of its own. Whom nobody has described is asked in words.
"""

import asyncio
import logging
from dataclasses import dataclass
from hashlib import sha256
from json import dumps, loads
from typing import Any

from adapters.mime import kind_of, mime_of
from adapters.nats.fleet import Fleet, Fulfilled, Wish
from factory_contracts.capability import CapabilityDescription, CapabilityProgress, CapabilityRefused
from factory_contracts.messages import MAX_TEXT
from factory_contracts.work import AgentSpec, Opinion
from factory_nats.result import Err
from factory_nats.transport import Transport
from hub.kernel.ports import ANYWHERE, Equipped, Media, Observation, Occasion, OutcomeUnknown, ToolFailed, ToolSpec

logger = logging.getLogger(__name__)

TIMEOUT = 120.0
# The tool's own words about a lost answer must come before those of whoever gives the tool up.
MARGIN = 2.0
PROGRESS = 1.0
MAX_NAME = 64
DIGEST = 8

_PARAMETERS = dumps(
    {
        "type": "object",
        "properties": {
            "request": {
                "type": "string",
                "maxLength": MAX_TEXT,
                "description": "what is wanted, with all that the worker must know to do it",
            },
            "arguments": {"type": "object", "description": "details by name, where the worker has names for any"},
        },
        "required": ["request"],
        "additionalProperties": False,
    }
)
# Who refuses with one of these may have done a part of it.
_LEFT_OPEN = frozenset(("failed", "late", "cancelled"))


class Capabilities:
    """A tool for each capability that an agent names, whether anybody serves it at present or not."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._fleets: dict[str, Fleet] = {}

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent names capabilities."""
        return bool(agent.workers)

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tools of the capabilities that the agent names; their workers are listened for from now on."""
        fleets = [self._fleet_of(capability) for capability in dict.fromkeys(agent.workers)]
        return tuple(await asyncio.gather(*(self._tool_of(fleet, agent) for fleet in fleets)))

    def opinions(self) -> tuple[Opinion, ...]:
        """What is thought of each worker that may be asked."""
        return tuple(
            Opinion(
                capability=name,
                worker=seen.standing.said.worker,
                score=round(seen.standing.score, 3),
                circuit=seen.circuit,
            )
            for name, fleet in self._fleets.items()
            for seen in fleet.opinions()
        )

    async def close(self) -> None:
        """Watch over no worker any more."""
        for fleet in self._fleets.values():
            await fleet.close()

    async def _tool_of(self, fleet: Fleet, agent: AgentSpec) -> Equipped:
        heard = await fleet.listen()
        if isinstance(heard, Err):
            logger.warning("the workers for agent %s cannot be heard yet: %s", agent.name, heard.detail)
        return _equipped(fleet, await fleet.describe())

    def _fleet_of(self, capability: str) -> Fleet:
        if capability not in self._fleets:
            self._fleets[capability] = Fleet(self._transport, capability)
        return self._fleets[capability]


def _equipped(fleet: Fleet, description: CapabilityDescription | None) -> Equipped:
    name = _tool_name(fleet.capability)
    if description is None:
        words = f"Ask a worker that is there for {fleet.capability!r}. It sees nothing but what you write here."
        spec = ToolSpec(name, words, _PARAMETERS, effect="external", timeout=TIMEOUT)
    else:
        spec = ToolSpec(
            name,
            description.description,
            description.parameters,
            effect=description.effect,
            timeout=description.seconds + MARGIN,
            is_idempotent=description.effect == "read",
            reaches=ANYWHERE if description.effect == "read" else "",
        )
    return Equipped(spec, _Asking(fleet, spec, is_described=description is not None))


@dataclass(frozen=True, slots=True)
class _Asking:
    """All workers of one capability, as one tool."""

    fleet: Fleet
    spec: ToolSpec
    is_described: bool

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        """What a worker made of it."""
        wish = self._wish(arguments, occasion)
        came = await self.fleet.ask(wish, effect=self.spec.effect, hear=_Told(occasion).hear)
        if isinstance(came, Fulfilled):
            return _shown(came)
        if isinstance(came, CapabilityRefused):
            logger.info("call %s to %s is refused: %s", occasion.call, self.fleet.capability, came.reason)
            raise self._refusal(came)
        logger.warning("call %s to %s: %s", occasion.call, self.fleet.capability, came.detail)
        raise self._problem(came)

    def _wish(self, arguments: str, occasion: Occasion) -> Wish:
        deadline = self.spec.timeout - MARGIN
        if self.is_described:
            return Wish(occasion.turn, occasion.call, deadline, arguments=_clean(arguments))
        given: dict[str, Any] = loads(arguments)
        details = dumps(given.get("arguments") or {}, ensure_ascii=False, separators=(",", ":"))
        return Wish(occasion.turn, occasion.call, deadline, _clean(given["request"]), _clean(details))

    def _refusal(self, refused: CapabilityRefused) -> ToolFailed:
        words = refused.words.strip() or f"The worker for {self.fleet.capability} gives no reason."
        if refused.reason in _LEFT_OPEN and self.spec.effect != "read":
            return OutcomeUnknown(f"{words} What of it took effect before is not known.")
        return ToolFailed(words)

    def _problem(self, problem: Err) -> ToolFailed:
        name = self.fleet.capability
        unknown = "Whether it was done is not known, and it was not asked again. Find out first, or tell the person."
        match problem.reason:
            case "timeout" | "lost" | "malformed" if self.spec.effect == "read":
                return ToolFailed(f"The workers for {name} did not answer. Try again later, or do without.")
            case "malformed":
                return OutcomeUnknown(f"The worker for {name} answered with something that nobody can read. {unknown}")
            case "timeout" | "lost":
                return OutcomeUnknown(f"The worker for {name} took the request and never answered. {unknown}")
            case "busy":
                return ToolFailed(f"All workers for {name} are busy; nothing was done. Try again later, or do without.")
            case "disconnected":
                return ToolFailed(f"The workers for {name} cannot be reached now; nothing was done. Try again later.")
            case "forbidden":
                return ToolFailed(
                    f"This system may not ask workers for {name}; nothing was done. Do without, and tell the person."
                )
            case "circuit open":
                return ToolFailed(
                    f"The workers for {name} failed again and again; nothing was done. Try again in a while."
                )
            case "too large":
                return ToolFailed(
                    f"The request is too large for a worker for {name}; nothing was done. Make it shorter."
                )
            case _:
                return ToolFailed(
                    f"No worker for {name} is there now; nothing was done. Do without, or tell the person."
                )


class _Told:
    """What a person is told of how far it is: the latest words, and not more often than anybody reads."""

    def __init__(self, occasion: Occasion) -> None:
        self._occasion = occasion
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def hear(self, said: CapabilityProgress) -> None:
        """Tell it, if it is time."""
        now = self._loop.time()
        share = "" if said.share is None else f"{100 * said.share:.0f} %"
        words = ", ".join(part for part in (share, said.words.strip()) if part)
        if words and now >= self._due:
            self._due = now + PROGRESS
            self._occasion.report(words)


def _tool_name(capability: str) -> str:
    """A name that every provider takes."""
    name = f"ask_{capability.replace('.', '_')}"
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - DIGEST - 1]}_{sha256(capability.encode()).hexdigest()[:DIGEST]}"


def _clean(text: str) -> str:
    """The text without halves of characters, which no message can carry."""
    return text.encode(errors="replace").decode()


def _shown(came: Fulfilled) -> str | Observation:
    unknown = [f"[it made a file {one.name!r} ({one.mime}), which cannot be shown here]" for one in came.attachments]
    text = "\n".join((came.text, *unknown))
    return Observation(text, files=tuple(_file(*made) for made in came.files)) if came.files else text


def _file(name: str, data: bytes) -> Media:
    mime = mime_of(name, data)
    return Media(kind_of(mime, data), name, mime, data)
