"""A whole spoke for carrier pigeons: a letter is a line on standard input, an answer a line on standard output.

python tests/examples/carrier.py nats://127.0.0.1:4222 keys/pigeon-loft.nk
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from adapters.spoke import Reply, Spoke
from factory_contracts.messages import Address, InboundMessage, Refused, Said
from factory_nats.connect import Identity, connect
from factory_nats.result import Err


class Loft:
    """What a pigeon can do: be sent, be sent after with a correction, and bring nothing that others said."""

    def __init__(self) -> None:
        self._numbers = count(1)

    async def send(self, reply: Reply) -> str:
        return f"pigeon {next(self._numbers)}"

    async def edit(self, message_id: str, reply: Reply) -> None:
        if reply.is_final:
            print(f"{message_id} to {reply.address.scope_id}: {reply.text}", flush=True)

    async def said(self, said: Said) -> None:
        return


async def main(url: str, key: Path) -> int:
    """Carry letters until there are none; each line is `<tower> <letter number> <words>`."""
    connected = await connect(url, Identity("pigeon-loft", key.read_text().strip() if key.exists() else None))
    if isinstance(connected, Err):
        print(connected.detail, file=sys.stderr)
        return 1
    spoke = Spoke(connected.value, "pigeon", "loft", Loft())
    await spoke.start()
    while line := await asyncio.to_thread(sys.stdin.readline):
        tower, number, words = line.rstrip("\n").split(" ", 2)
        address = Address(platform="pigeon", bot_id="loft", scope_id=tower)
        told = await spoke.submit(InboundMessage(message_id=number, user_id=tower, text=words, address=address))
        if isinstance(told, Refused):
            print(f"refused: {told.text}", flush=True)
    await spoke.close()
    await connected.value.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]))))
