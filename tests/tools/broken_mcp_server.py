"""A server of tools written by hand, with the standard library alone, which goes wrong in the way it is told to.

Run as a script by the tests: `broken_mcp_server.py WAY [FILE]`; each start adds its process id as a line to the file.
"""

import json
import os
import signal
import sys
import time
from typing import Any

WAYS = (
    "answers, dies at start, is mute, is deaf, babbles, greets, floods stderr, notifies, dies in a call, "
    "closes output, hangs in a call, stops answering, lies about tools, lies in a call, says too much, "
    "lists for ever, has odd tools, refuses the old handshake, leaves a child"
)
OPEN = {"type": "object"}
LOOSE = {"type": "object", "properties": {"a": True, "b": {"items": {"type": "integer"}}}}
ODD = [
    {"name": "häßlich!", "description": "Shows\u202e what\u200b\U000e0041 is \x00there.\nReally.", "inputSchema": OPEN},
    {"name": "h__lich_", "description": "x" * 5000, "inputSchema": OPEN},
    {"name": "h??lich?", "inputSchema": LOOSE},
    {"name": "y" * 80, "inputSchema": {"type": "object", "description": "z" * 30_000}},
    {"name": "y" * 81, "inputSchema": {"type": "object", "required": [5]}},
    {"name": "broken", "inputSchema": {"type": "object", "properties": {"a": {"enum": 5}}}},
    {"name": "", "inputSchema": OPEN},
    {"name": "broken", "description": "the same once more", "inputSchema": OPEN},
]
PLAIN = {"name": "plain", "inputSchema": OPEN}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any], result: object) -> None:
    say({"id": request["id"], "result": result})


def stay() -> None:
    """Do nothing, whoever asks to end it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def begin(way: str) -> None:
    match way:
        case "dies at start":
            sys.exit(4)
        case "is deaf":
            stay()
        case "is mute":
            for _ in sys.stdin:
                pass
            sys.exit(0)
        case "babbles":
            while True:
                print("This is not the protocol.", flush=True)
        case "greets":
            print("Welcome!\n\n{}\n[1, 2]\nnull", flush=True)
        case "floods stderr":
            sys.stderr.write("A line of no use.\n" * 200_000)
            sys.stderr.write("The last words.\n")
            sys.stderr.flush()


def greeting(way: str, request: dict[str, Any]) -> None:
    capabilities = {"tools": {"listChanged": way in ("stops answering", "notifies")}}
    if request["method"] == "server/discover":
        answer(request, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "resultType": "complete"})
    elif way == "refuses the old handshake":
        error = {"code": -32022, "message": "too old", "data": {"supported": ["2026-07-28"], "requested": "2025-11-25"}}
        say({"id": request["id"], "error": error})
    else:
        about = {"name": way, "version": "1"}
        answer(request, {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": about})


def listing(way: str, request: dict[str, Any], number: int) -> None:
    result: dict[str, Any] = {"tools": [PLAIN], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    match way:
        case "lies about tools":
            result["tools"] = "none"
        case "lists for ever":
            result |= {"tools": [], "nextCursor": str(number)}
        case "has odd tools":
            result["tools"] = ODD
        case "stops answering" if number > 1:
            return
        case "notifies":
            for _ in range(20_000):
                say({"method": "notifications/tools/list_changed"})
    answer(request, result)


def call(way: str, request: dict[str, Any]) -> None:
    match way:
        case "dies in a call":
            os._exit(5)
        case "closes output":
            os.close(1)
            stay()
        case "hangs in a call":
            stay()
        case "lies in a call":
            answer(request, {"content": "nothing"})
        case "says too much":
            answer(request, {"content": [{"type": "text", "text": "x" * 17_000_000}]})
        case "leaves a child":
            if os.fork() == 0:
                stay()
            os._exit(6)
        case _:
            text = request["params"].get("arguments", {}).get("text", way)
            answer(request, {"content": [{"type": "text", "text": text}], "resultType": "complete"})


def main(way: str, pids: str | None) -> None:
    if way not in WAYS.split(", "):
        sys.exit(f"there is no way {way!r}; there is: {WAYS}")
    if pids is not None:
        with open(pids, "a") as file:
            file.write(f"{os.getpid()} {time.monotonic()}\n")
    begin(way)
    listed = 0
    for line in sys.stdin:
        request = json.loads(line)
        match request["method"]:
            case "initialize" | "server/discover":
                greeting(way, request)
            case "tools/list":
                listed += 1
                listing(way, request, listed)
            case "tools/call":
                call(way, request)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
