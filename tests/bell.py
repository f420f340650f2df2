"""A server of tools by hand: whoever rings is noted before and after, and who is held is let go by a file.

Run as a script by a test: `bell.py NOTES GATE`.
"""

import json
import select
import sys
from pathlib import Path
from typing import Any

RING = {
    "name": "ring",
    "inputSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
}


def answer(request: dict[str, Any], result: object) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


def ring(name: str, notes: Path, gate: Path) -> None:
    note(notes, f"begun {name}")
    while name.startswith("held") and not gate.exists():
        select.select([], [], [], 0.01)
    note(notes, f"rung {name}")


def note(notes: Path, line: str) -> None:
    with notes.open("a") as file:
        file.write(f"{line}\n")


def main(notes: Path, gate: Path) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        match request["method"]:
            case "initialize":
                about = {"name": "bell", "version": "1"}
                answer(request, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": about})
            case "server/discover":
                answer(
                    request,
                    {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"},
                )
            case "tools/list":
                answer(request, {"tools": [RING], "resultType": "complete", "ttlMs": 60_000, "cacheScope": "private"})
            case "tools/call":
                ring(request["params"]["arguments"]["name"], notes, gate)
                answer(request, {"content": [{"type": "text", "text": "rung"}], "resultType": "complete"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
