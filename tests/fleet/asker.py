"""Asks workers of other versions, in a version of its own: `asker.py URL KEYS NAMES ROUNDS` prints what came of it.

Half of what it asks says something that came with its version. It stands in for whoever asks, in a tree of contracts
that has that version.
"""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from factory_contracts import subjects
from factory_contracts.capability import CAPABILITY_REPLY, CAPABILITY_REQUEST, CapabilityRequest
from factory_contracts.envelope import SCHEMA_VERSION, version_of
from factory_contracts.lifecycle import HEARTBEAT
from factory_nats.connect import Identity, connect
from factory_nats.registry import Sign, WorkerRegistry
from factory_nats.result import Err, Ok
from factory_nats.transport import Delivery, Transport
from factory_nats.worker_pool import Request, WorkerPoolClient

CAPABILITY = "voice.tts"
DEADLINE = 20.0
# As many as one worker alone can take, for half of it only one understands.
AT_ONCE = 8


def request(number: int, *, is_new: bool) -> CapabilityRequest:
    """What is wanted; what is new in this version stands beside it."""
    said: dict[str, Any] = {"turn": "t", "call": str(number), "text": f"{'sing' if is_new else 'say'} {number}"}
    if is_new:
        said["accent"] = "welsh"
    return CapabilityRequest.model_validate({**said, "deadline": DEADLINE, "understands": SCHEMA_VERSION})


class Asking(Request[str]):
    """A request, and what is to be made of an answer."""

    def __init__(self, wanted: CapabilityRequest) -> None:
        until = asyncio.get_running_loop().time() + DEADLINE
        super().__init__(until, id=wanted.key, understands=version_of(wanted))
        self._wanted = wanted

    def write(self, instance: str) -> bytes:
        """The request for one life of a worker."""
        return CAPABILITY_REQUEST.encode(self._wanted.model_copy(update={"instance": instance}))

    def read(self, data: bytes) -> str | Err:
        """What was said; a refusal is a reason to ask another."""
        reply = json.loads(CAPABILITY_REPLY.encode(CAPABILITY_REPLY.decode(data)))
        return str(reply["text"]) if reply["kind"] == "done" else Err("busy", reply.get("words", ""))


def read(delivery: Delivery) -> Sign:
    """What a heartbeat says."""
    said = HEARTBEAT.decode(delivery.data)
    return Sign(said.worker, said.instance, said.running or 0, said.at_once or 0, understands=said.understands)


async def ask(pool: WorkerPoolClient[str], room: asyncio.Semaphore, wanted: CapabilityRequest) -> list[str]:
    """The worker and what it said, or why nobody did."""
    async with room:
        answer = await pool.request(Asking(wanted))
    if isinstance(answer, Err):
        return ["", answer.reason]
    return [answer.value.worker, answer.value.answer]


async def ask_one(transport: Transport, worker: str, wanted: CapabilityRequest) -> list[str]:
    """What this very worker says to it."""
    subject = subjects.request(CAPABILITY, worker)
    answer = await transport.request(subject, CAPABILITY_REQUEST.encode(wanted), timeout=DEADLINE, responder=worker)
    assert isinstance(answer, Ok)
    reply = json.loads(answer.value)
    return [reply["kind"], reply.get("reason", "")]


async def main(url: str, keys: Path, names: list[str], rounds: int) -> None:
    """Ask, and print everything."""
    joined = await connect(url, Identity("clipool", (keys / "clipool.nk").read_text()))
    assert isinstance(joined, Ok)
    pool: WorkerPoolClient[str] = WorkerPoolClient(
        joined.value, WorkerRegistry(), subject=partial(subjects.request, CAPABILITY)
    )
    await pool.listen(subjects.heartbeats(CAPABILITY), read)
    while len(pool.opinions()) < len(names):
        await pool.change(DEADLINE)
    wanted = [request(number, is_new=number % 2 == 1) for number in range(rounds)]
    room = asyncio.Semaphore(AT_ONCE)
    answers = await asyncio.gather(*(ask(pool, room, one) for one in wanted))
    alone = {name: await ask_one(joined.value, name, request(rounds, is_new=True)) for name in names}
    print(json.dumps({"version": SCHEMA_VERSION, "answers": answers, "alone": alone}))
    await pool.close()
    await joined.value.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4])))
