"""An agent command line to run in place of `claude`: as strict in what it takes, and saying what a plot tells it to.

A program of its own, run as a subprocess. In `$HOME/.claude` stand `plot-<n>.json` for its n-th run, or `plot.json` for
any run, as a list of steps; without one it repeats what it was told, with what it remembers. There it keeps its
sessions too, one file for each, where they are found again only from the same folder, and `runs.jsonl`, a line for each
run with all that it was given.
"""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

FLAGS = {
    *("-p", "--print", "--verbose", "--include-partial-messages", "--strict-mcp-config", "--fork-session"),
    *("--continue", "--dangerously-skip-permissions"),
}
VALUES = {
    *("--output-format", "--input-format", "--model", "--system-prompt", "--system-prompt-file", "--session-id"),
    *("--append-system-prompt", "--permission-mode", "--max-turns", "--setting-sources", "--resume"),
}
LISTS = {"--tools", "--allowedTools", "--disallowedTools", "--mcp-config"}
MODES = {"default", "acceptEdits", "plan", "bypassPermissions", "dontAsk"}
TOOLS = ["Bash", "Edit", "Glob", "Grep", "Read", "WebFetch", "WebSearch", "Write"]
IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp"}

KEPT = Path(os.environ["HOME"]) / ".claude"


class Refused(Exception):
    """The provider would not take this."""


def die(words: str, status: int = 1) -> NoReturn:
    """Refuse to begin."""
    print(words, file=sys.stderr)
    sys.exit(status)


def emit(message: dict[str, Any]) -> None:
    """One line of output."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def options(arguments: list[str]) -> dict[str, list[str]]:
    """What the arguments say, or an end with what is wrong with them."""
    said: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        name, has_value, value = rest.pop(0).partition("=")
        if not name.startswith("-"):
            die(f"error: too many arguments, {name!r} was not expected")
        if name in FLAGS and not has_value:
            said[name] = []
        elif name in VALUES | LISTS and has_value:
            said[name] = [value]
        elif name in VALUES:
            if not rest:
                die(f"error: option '{name} <value>' argument missing")
            said[name] = [rest.pop(0)]
        elif name in LISTS:
            said[name] = []
            while rest and not rest[0].startswith("-"):
                said[name].append(rest.pop(0))
            if not said[name]:
                die(f"error: option '{name} <values...>' argument missing")
        else:
            die(f"error: unknown option '{name}'")
    check(said)
    return said


def check(said: dict[str, list[str]]) -> None:
    """What does not go together."""
    if "-p" not in said and "--print" not in said:
        die("Error: Input must be a terminal")
    if said.get("--output-format") != ["stream-json"] or said.get("--input-format") != ["stream-json"]:
        die("Error: --input-format=stream-json requires --output-format=stream-json")
    if "--verbose" not in said:
        die("Error: When using --print, --output-format=stream-json requires --verbose")
    if said.get("--permission-mode", ["default"])[0] not in MODES:
        die("error: option '--permission-mode <mode>' argument is invalid")
    if not said.get("--max-turns", ["1"])[0].isdigit():
        die("error: option '--max-turns <turns>' argument is invalid")
    for source in filter(None, ",".join(said.get("--setting-sources", [])).split(",")):
        if source not in ("user", "project", "local"):
            die(f"Error processing --setting-sources: Invalid setting source: {source}")
    for tool in filter(None, ",".join(said.get("--tools", [])).split(",")):
        if tool not in TOOLS:
            die(f"Error: there is no tool {tool}")


class Run:
    """One run, from its arguments to its result."""

    def __init__(self) -> None:
        self.said = options(sys.argv[1:])
        self.is_partial = "--include-partial-messages" in self.said
        self.folder = KEPT / "projects" / os.getcwd().replace("/", "-")
        self.session = str(uuid4())
        self.log: list[str] = []
        self.answer: list[str] = []
        self.count = self.number()
        self.plot = self.read_plot()

    def number(self) -> int:
        """Which run this is."""
        runs = KEPT / "runs.jsonl"
        return len(runs.read_text().splitlines()) + 1 if runs.exists() else 1

    def read_plot(self) -> list[dict[str, Any]]:
        """What to do."""
        for name in (f"plot-{self.count}.json", "plot.json"):
            if (KEPT / name).exists():
                steps: list[dict[str, Any]] = json.loads((KEPT / name).read_text())
                return steps
        return [{"repeat": True}]

    def note(self, frames: list[Any]) -> None:
        """Tell whoever looks afterwards."""
        run = {
            "arguments": sys.argv[1:],
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "files": sorted(os.listdir()),
            "frames": frames,
            "pid": os.getpid(),
            "group": os.getpgrp(),
        }
        if file := self.said.get("--system-prompt-file"):
            run["system"] = Path(file[0]).read_text()
        with (KEPT / "runs.jsonl").open("a") as runs:
            runs.write(json.dumps(run) + "\n")

    def resume(self) -> None:
        """The session that is named, or an end."""
        named = self.said.get("--resume")
        if not named:
            return
        file = self.folder / f"{named[0]}.jsonl"
        if not file.exists():
            words = f"No conversation found with session ID: {named[0]}"
            print(words, file=sys.stderr)
            self.result(subtype="error_during_execution", is_error=True, errors=[words], num_turns=0)
            sys.exit(1)
        self.log = file.read_text().splitlines()
        if "--fork-session" not in self.said:
            self.session = named[0]

    def keep(self) -> None:
        """The session as it is now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{self.session}.jsonl").write_text("".join(line + "\n" for line in self.log))

    def play(self) -> None:
        """All of it."""
        frames = [json.loads(line) for line in sys.stdin.buffer.read().splitlines()]
        self.note(frames)
        self.resume()
        tools = [tool for tool in ",".join(self.said.get("--tools", TOOLS)).split(",") if tool]
        emit({"type": "system", "subtype": "init", "session_id": self.session, "cwd": os.getcwd(), "tools": tools})
        try:
            text = "\n".join(self.take(frame) for frame in frames)
        except Refused as error:
            self.result(is_error=True, result=f"API Error: 400 {error}")
            sys.exit(1)
        self.log.append(json.dumps({"user": text}))
        for step in self.plot:
            self.do(step, text)
        self.log.append(json.dumps({"assistant": "".join(self.answer)}))
        self.keep()

    def take(self, frame: dict[str, Any]) -> str:
        """What the provider is sent for a frame."""
        if frame["type"] != "user" or frame["message"]["role"] != "user":
            raise Refused("a message of the user was expected")
        blocks = frame["message"]["content"]
        if not blocks:
            raise Refused("messages: at least one block is required")
        parts: list[str] = []
        for block in blocks:
            if block["type"] == "text":
                if not block["text"].strip():
                    raise Refused("text content blocks must contain non-whitespace text")
                parts.append(block["text"])
            elif block["type"] == "image":
                source = block["source"]
                if source["type"] != "base64" or source["media_type"] not in IMAGES:
                    raise Refused("the image is of no known type")
                parts.append(f"<{source['media_type']} of {len(b64decode(source['data'], validate=True))} bytes>")
            else:
                raise Refused(f"no block is of type {block['type']}")
        is_old = any("old" in step for step in self.plot)
        if blocks[-1].get("text", "").startswith("/") and (is_old or not frame.get("client_composed")):
            raise Refused("a command was run")
        if not os.environ.get("CLAUDE_CODE_DISABLE_ATTACHMENTS") and (is_old or not frame.get("client_composed")):
            for word in " ".join(parts).split():
                if word.startswith("@/") and Path(word[1:]).is_file():
                    parts.append(Path(word[1:]).read_text())
        return "\n".join(parts)

    def do(self, step: dict[str, Any], text: str) -> None:
        """One step of a plot."""
        match step:
            case {"repeat": _}:
                before = sum("user" in json.loads(line) for line in self.log) - 1
                self.say(f"({before} before) {text}")
                self.result()
            case {"say": said}:
                self.say(said, is_partial=step.get("partial", self.is_partial))
            case {"emit": message}:
                emit({"session_id": self.session, **message})
            case {"line": line}:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            case {"bytes": octets}:
                sys.stdout.buffer.write(bytes.fromhex(octets))
                sys.stdout.buffer.flush()
            case {"error": words}:
                sys.stderr.write(words)
                sys.stderr.flush()
            case {"flood": size}:
                piece = b"x" * 65_536
                for _ in range(size // len(piece)):
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.write(b"\n")
                sys.stdout.buffer.flush()
            case {"for_ever": line}:
                while True:
                    sys.stdout.write(line)
            case {"child": _}:
                child = subprocess.Popen([sys.executable, "-ISc", "import time; time.sleep(600)"])
                (KEPT / "child").write_text(str(child.pid))
            case {"stranger": _}:
                child = subprocess.Popen(
                    [sys.executable, "-ISc", "import time; time.sleep(30)"], start_new_session=True
                )
                (KEPT / "stranger").write_text(str(child.pid))
            case {"deaf": _}:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case {"hang": _}:
                time.sleep(600)
            case {"write": name}:
                Path(name).write_text("written")
            case {"result": fields}:
                self.result(**fields)
            case {"exit": status}:
                sys.exit(status)
            case {"die": number}:
                os.kill(os.getpid(), number)

    def say(self, text: str, *, is_partial: bool = True, **more: Any) -> None:
        """An answer of the model's, in pieces and as a whole."""
        self.answer.append(text)
        identity = f"msg_{len(self.answer)}"
        if is_partial and self.is_partial:
            self.stream({"type": "message_start", "message": {"id": identity, "role": "assistant", "content": []}})
            size = max(8, len(text) // 200)
            for piece in (text[at : at + size] for at in range(0, len(text), size)):
                delta = {"type": "text_delta", "text": piece}
                self.stream({"type": "content_block_delta", "index": 0, "delta": delta})
        message = {"id": identity, "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}]}
        emit({"type": "assistant", "message": message, "session_id": self.session, "parent_tool_use_id": None, **more})
        if is_partial and self.is_partial:
            self.stream({"type": "content_block_stop", "index": 0})
            self.stream({"type": "message_stop"})

    def stream(self, event: dict[str, Any]) -> None:
        """One event of the provider's."""
        emit({"type": "stream_event", "event": event, "session_id": self.session, "parent_tool_use_id": None})

    def result(self, **fields: Any) -> None:
        """The end of it."""
        result = {
            "type": "result",
            "subtype": "success",
            "is_error": False,
            "num_turns": 1,
            "result": "".join(self.answer),
            "session_id": self.session,
            "total_cost_usd": 0.0123,
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 200,
                "cache_read_input_tokens": 3000,
                "output_tokens": 7,
            },
        }
        emit({**result, **fields})


if __name__ == "__main__":
    Run().play()
