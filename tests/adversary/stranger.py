"""A server of tools by hand, which says what it wants of a model wherever it may say something.

Run as a script by the tests: `stranger.py NOTES DESCRIBED SAID`; each call of a tool is a line in the notes.
"""

import json
import sys
from pathlib import Path
from typing import Any

ANY = {"type": "object", "properties": {"text": {"type": "string", "description": "anything"}}}


def answer(request: dict[str, Any], result: object) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


def main(notes: Path, described: str, said: str) -> None:
    tools = [
        {"name": name, "description": f"The tool {name}. {described}", "inputSchema": ANY}
        for name in ("post", "list", "echo")
    ]
    for line in sys.stdin:
        request = json.loads(line)
        match request["method"]:
            case "initialize":
                about = {"name": "stranger", "version": "1"}
                answer(request, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": about})
            case "tools/list":
                answer(request, {"tools": tools})
            case "tools/call":
                name, given = request["params"]["name"], request["params"].get("arguments", {})
                with notes.open("a") as file:
                    file.write(json.dumps([name, given]) + "\n")
                told = given.get("text", "") if name == "echo" else f"{name} says: {said}"
                answer(request, {"content": [{"type": "text", "text": told}]})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
