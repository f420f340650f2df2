"""The front door in a process of its own, which tests kill: `python -m tests.agents.door_process`, told on stdin."""

import asyncio
import json
import sys
from pathlib import Path

from adapters.agents.__main__ import serve
from adapters.agents.settings import AgentsSettings, BotSettings, Visitor
from factory_nats.connect import Identity

if __name__ == "__main__":
    told = json.load(sys.stdin)
    identity = Identity("agents-scout", told["seed"], store=Identity("agents-scout", told["store"]))
    bot = BotSettings("scout", identity, (Visitor("ci", ("main",)),), Path(told["folder"]) / "scout.notes")
    sys.exit(asyncio.run(serve(AgentsSettings(told["url"], (bot,), alive_s=0.2, beat_s=1))))
