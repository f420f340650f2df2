"""A whole worker: it shouts what an agent asks it to, after as long a breath as the agent wants.

python tests/examples/shout.py nats://127.0.0.1:4222 keys/shouter.nk
"""

import asyncio
import sys
from pathlib import Path

from factory_contracts.capability import CapabilityDone, CapabilityRefused, CapabilityReply, CapabilityRequest
from factory_nats.connect import Identity
from workers.serve import for_agents, serve


async def shout(request: CapabilityRequest) -> CapabilityReply:
    """The same in capitals."""
    print("asked", flush=True)
    breath = request.details.get("breath", 0)
    if breath not in range(100):
        return CapabilityRefused(reason="unable", words="A breath is 0 to 99 seconds long.")
    await asyncio.sleep(breath)
    return CapabilityDone(text=f"{request.text.upper()}!")


if __name__ == "__main__":
    url, key = sys.argv[1], Path(sys.argv[2])
    sys.exit(asyncio.run(serve(url, Identity(key.stem, key.read_text().strip()), for_agents("shout", shout))))
