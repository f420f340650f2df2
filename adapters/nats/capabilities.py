"""The workers of other capabilities as an agent's tools: each is asked in words, and answers in words and files."""

import asyncio
import logging
from functools import partial
from hashlib import sha256
from json import dumps, loads
from typing import Any

from adapters.mime import kind_of, mime_of
from adapters.nats.heartbeats import Heartbeats
from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    CapabilityDone,
    CapabilityRefused,
    CapabilityReply,
    CapabilityRequest,
    MadeFile,
)
from factory_contracts.envelope import Malformed
from factory_contracts.lifecycle import HEARTBEAT
from factory_contracts.messages import MAX_TEXT
from factory_contracts.work import AgentSpec
from factory_nats.registry import WorkerRegistry
from factory_nats.result import Err, Ok
from factory_nats.transport import Delivery, Transport
from factory_nats.worker_pool import Heartbeat, WorkerPoolClient
from hub.kernel.ports import Equipped, Media, Observation, Occasion, OutcomeUnknown, ToolFailed, ToolSpec

logger = logging.getLogger(__name__)

TIMEOUT = 120.0
# The tool's own words about a lost answer must come before those of whoever gives the tool up.
ANSWER = TIMEOUT - 2.0
SILENCE = 2.0
# Who has just begun to listen has heard nobody yet, and a bus that was lost may come back.
PATIENCE = 2.0
BUS_PATIENCE = 20.0
SIGN = 0.5
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
_LEFT_OPEN = frozenset(("failed", "late"))
# What may be otherwise in a moment.
_PASSING = frozenset(("busy", "no worker", "no responders", "circuit open", "disconnected", "timeout"))


class Capabilities:
    """A tool for each capability that an agent names, whether anybody serves it at present or not."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._workers: dict[str, _Workers] = {}

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent names capabilities."""
        return bool(agent.workers)

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tools of the capabilities that the agent names; their workers are listened for from now on."""
        asked = [self._workers_of(capability) for capability in dict.fromkeys(agent.workers)]
        for workers in asked:
            heard = await workers.listen()
            if isinstance(heard, Err):
                logger.warning("the workers for agent %s cannot be heard yet: %s", agent.name, heard.detail)
        return tuple(Equipped(workers.spec, workers) for workers in asked)

    def _workers_of(self, capability: str) -> "_Workers":
        if capability not in self._workers:
            self._workers[capability] = _Workers(self._transport, capability)
        return self._workers[capability]


class _Workers:
    """All workers of one capability, as one tool."""

    def __init__(self, transport: Transport, capability: str) -> None:
        self.spec = ToolSpec(
            name=_tool_name(capability),
            description=f"Ask a worker that is there for {capability!r}. It sees nothing but what you write here.",
            parameters=_PARAMETERS,
            effect="external",
            timeout=TIMEOUT,
        )
        self._capability = capability
        self._transport = transport
        self._registry = WorkerRegistry(silence=SILENCE)
        self._heartbeats = Heartbeats(HEARTBEAT.decode)
        self._client = WorkerPoolClient(transport, self._registry, subject=partial(subjects.request, capability))
        self._listening = asyncio.Lock()
        self._is_heard = False
        self._sign = asyncio.Event()

    async def listen(self) -> Err | None:
        """Hear the workers' heartbeats; what keeps us from it is tried again when they are asked."""
        # Two turns that ask at once must not each subscribe.
        async with self._listening:
            if self._is_heard:
                return None
            heard = await self._client.listen(subjects.heartbeats(self._capability), self._read)
            self._is_heard = isinstance(heard, Ok)
            return heard if isinstance(heard, Err) else None

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        """What a worker made of it."""
        given: dict[str, Any] = loads(arguments)
        details = dumps(given.get("arguments") or {}, ensure_ascii=False, separators=(",", ":"))
        loop = asyncio.get_running_loop()
        began, was_busy = loop.time(), False
        while True:
            self._sign.clear()
            asked = CapabilityRequest(
                turn=occasion.turn,
                call=occasion.call,
                text=_clean(given["request"]),
                arguments=_clean(details),
                deadline=began + ANSWER - loop.time(),
            )
            told = await self._ask(asked)
            if isinstance(told, CapabilityDone):
                return _shown(told)
            if isinstance(told, CapabilityRefused):
                if told.reason != "busy":
                    raise self._refusal(told)
                was_busy = True
            if told.reason not in _PASSING or self._is_out_of_patience(began, loop.time()):
                raise ToolFailed(self._nobody(told.reason, was_busy))
            # The next one may be free; whether the one that is busy has become so its heartbeat says.
            if isinstance(told, Err):
                await self._hear_more()

    async def _ask(self, request: CapabilityRequest) -> CapabilityReply | Err:
        """The reply of one worker; an `Err` says that nobody took it. Raises `OutcomeUnknown`."""
        problem = await self.listen()
        if problem is not None:
            return problem
        # What was lost with the connection may have been heard; what met none was not sent.
        was_connected = self._transport.is_connected
        answer = await self._client.request(
            CAPABILITY_REQUEST.encode(request), timeout=request.deadline, is_repeatable=False
        )
        if isinstance(answer, Err):
            if answer.reason == "timeout" or (answer.reason == "disconnected" and was_connected):
                logger.warning("call %s to %s is lost: %s", request.call, self._capability, answer.detail)
                raise OutcomeUnknown(
                    f"The worker for {self._capability} took the request and never answered. Whether it was done is "
                    "not known, and it was not asked again. Find out first, or tell the person."
                )
            return answer
        worker = answer.value.worker
        try:
            reply = CAPABILITY_REPLY.decode(answer.value.data)
        except Malformed as error:
            logger.error("the answer of worker %s to call %s is refused: %s", worker, request.call, error)
            raise OutcomeUnknown(
                f"The worker for {self._capability} answered with something that nobody can read. Whether it was done "
                "is not known, and it was not asked again. Find out first, or tell the person."
            ) from None
        if isinstance(reply, CapabilityRefused):
            logger.info("worker %s refuses call %s: %s", worker, request.call, reply.reason)
            if reply.reason == "busy":
                self._registry.mark_stale(worker)
        return reply

    def _refusal(self, refused: CapabilityRefused) -> ToolFailed:
        words = refused.words.strip() or f"The worker for {self._capability} gives no reason."
        if refused.reason in _LEFT_OPEN:
            return OutcomeUnknown(f"{words} What of it took effect before is not known.")
        return ToolFailed(words)

    def _nobody(self, reason: str, was_busy: bool) -> str:
        name = self._capability
        match reason:
            case "busy" | "no worker" | "no responders" | "circuit open" if was_busy:
                return f"All workers for {name} are busy; nothing was done. Try again later, or do without."
            case "disconnected" | "timeout":
                return f"The workers for {name} cannot be reached now; nothing was done. Try again later."
            case "forbidden":
                return f"This system may not ask workers for {name}; nothing was done. Do without, and tell the person."
            case "circuit open":
                return f"The workers for {name} failed again and again; nothing was done. Try again in a while."
            case "too large":
                return f"The request is too large for a worker for {name}; nothing was done. Make it shorter."
            case _:
                return f"No worker for {name} is there now; nothing was done. Do without, or tell the person."

    def _is_out_of_patience(self, began: float, now: float) -> bool:
        """While the bus is away nobody can be heard; that time counts for less."""
        waited = now - began
        return min(waited, self._transport.connected_for(now)) >= PATIENCE or waited >= BUS_PATIENCE

    async def _hear_more(self) -> None:
        """Wait for the next heartbeat, or for long enough to look again."""
        try:
            async with asyncio.timeout(SIGN):
                await self._sign.wait()
        except TimeoutError:
            return

    def _read(self, delivery: Delivery) -> Heartbeat | None:
        said = self._heartbeats.read(delivery)
        if said is None:
            return None
        self._sign.set()
        return Heartbeat(said.worker, said.instance, said.load)


def _tool_name(capability: str) -> str:
    """A name that every provider takes."""
    name = f"ask_{capability.replace('.', '_')}"
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - DIGEST - 1]}_{sha256(capability.encode()).hexdigest()[:DIGEST]}"


def _clean(text: str) -> str:
    """The text without halves of characters, which no message can carry."""
    return text.encode(errors="replace").decode()


def _shown(done: CapabilityDone) -> str | Observation:
    unknown = [f"[it made a file {one.name!r} ({one.mime}), which cannot be shown here]" for one in done.attachments]
    text = "\n".join((done.text, *unknown))
    return Observation(text, files=tuple(map(_file, done.files))) if done.files else text


def _file(made: MadeFile) -> Media:
    data = made.data
    mime = mime_of(made.name, data)
    return Media(kind_of(mime, data), made.name, mime, data)
