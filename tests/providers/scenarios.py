"""What the server says when nobody tells it: what the person said last names the scenario.

    burst 50            fifty deltas; "burst 50 20" at a pace of 20 ms
    tool clock          a call of the tool; then what it returned is told. "tool clock {...}" with these arguments
    tools clock dice    calls of several tools at once
    broken arguments    a call whose arguments end in the middle
    think               thinking, then text
    search              the provider's own search of the web, then text; "pause" stops between the two
    cache               an answer read from a cache for the most part
    refuse, length, full, empty, big
    429 then ok         a status, once; "429" alone is said every time. Any status will do; "quota" is OpenAI's own
    error then ok       an error in the middle of the stream, once; "error" every time
    cut then ok         the connection is gone in the middle of a chunk; "cut" every time
    stall 3             nothing after three deltas; "stall 3 then ok" once
    garbage, proxy, slow 2 (seconds until the headers)

Anything else is repeated.
"""

import re
from collections import Counter
from dataclasses import replace
from json import dumps
from typing import Any

from tests.providers import chat, claude
from tests.providers.server import Answer, Asked, Cut, Reply, Stall, Step, Wait, page, said_last
from tests.providers.speech import Broken, Refusal, Search, Speech, Text, Thinking, Tool, Usage

MESSAGES = "/v1/messages"
COMPLETIONS = "/chat/completions"
STREAM = (("content-type", "text/event-stream"),)
GARBAGE = b"\x00\xff\xfe\x80 no stream\n\n\xc3\x28"
BIG = 200_000
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}

Told = Speech | Refusal | Answer


def said(told: Told) -> Reply:
    """A reply that says this to a request that the provider would take, whichever provider it is."""

    def reply(asked: Asked) -> Answer:
        if asked.path == MESSAGES:
            found = claude.problem(asked) or told
            return found if isinstance(found, Answer) else _as_claude(found)
        if asked.path.endswith(COMPLETIONS):
            found = chat.problem(asked) or told
            return found if isinstance(found, Answer) else _as_chat(found, asked)
        return Answer((b"not found",), 404, (("content-type", "text/plain"),))

    return reply


class Scenarios:
    """A reply for `ProviderServer` that keeps count of what it was asked."""

    def __init__(self) -> None:
        self._heard: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Answer:
        words = said_last(asked.body).strip()
        self._heard[words] += 1
        name, is_once, _ = words.partition(" then ok")
        is_ok = bool(is_once) and self._heard[words] > 1
        answer = said(Speech((Text("ok"),)) if is_ok else _scenario(name, asked))(asked)
        found = re.fullmatch(r"slow (\d+)", name)
        return replace(answer, wait=float(found.group(1))) if found and not is_ok else answer


def result_of(body: Any) -> str:
    """What the last tool returned, when that is what came last."""
    message = (body.get("messages") or [{}])[-1]
    content = message.get("content")
    if message.get("role") == "tool":
        return str(content)
    results = [block for block in content or [] if isinstance(block, dict) and block.get("type") == "tool_result"]
    return str(results[-1].get("content", "")) if results else ""


def _as_claude(told: Speech | Refusal) -> Answer:
    return claude.answer(told) if isinstance(told, Speech) else claude.refusal(told)


def _as_chat(told: Speech | Refusal, asked: Asked) -> Answer:
    return chat.answer(told, asked) if isinstance(told, Speech) else chat.refusal(told)


def _scenario(words: str, asked: Asked) -> Told:
    name, *given = words.split() or ["nothing"]
    number = int(given[0]) if given and given[0].isdigit() else 0
    result = result_of(asked.body)
    if re.fullmatch(r"[345]\d\d", name):
        status = int(name)
        headers = (("retry-after", "0.05"),) if status == 429 else ()
        return Refusal(status, KINDS.get(status, "api_error"), "told to", headers)
    match name:
        case "tool" | "tools" | "broken" if result:
            return Speech((Text(f"The tool said: {result}"),))
        case "tool" if given:
            arguments = words.split(None, 2)[2] if len(given) > 1 else "{}"
            half = len(arguments) // 2
            return Speech((Text("One moment. "), Tool(given[0], (arguments[:half], arguments[half:]))))
        case "tools" if given:
            return Speech(tuple(Tool(tool, ("{}",), f"call_{index}") for index, tool in enumerate(given)))
        case "broken":
            tools = asked.body.get("tools") or [{}]
            tool = tools[0].get("name") or (tools[0].get("function") or {}).get("name") or "clock"
            return Speech((Tool(tool, ('{"timezone": "Eu',)),))
        case "burst":
            pace = int(given[1]) / 1000 if len(given) > 1 else 0.0
            steps = [step for _ in range(number) for step in (Text("word "), Wait(pace))]
            kept = [step for step in steps if isinstance(step, Text) or step.seconds]
            return Speech(tuple(kept), Usage(output=number))
        case "stall":
            return Speech((*[Text("word ")] * number, Stall()))
        case _:
            return _simple(name) or Speech(tuple(Text(piece) for piece in re.findall(r"\s*\S+", words)))


def _simple(name: str) -> Told | None:
    table: dict[str, Told] = {
        "think": Speech((Thinking(("Let me ", "see.")), Text("I thought about it."))),
        "search": Speech((Text("I look. "), Search("factory"), Text("I found it."))),
        "pause": Speech((Text("I look. "), Search("factory")), stop="pause"),
        "cache": Speech((Text("cached"),), Usage(input=5_000, output=7, read=4_000, written=900)),
        "refuse": Speech((), stop="refusal"),
        "length": Speech((Text("cut off in the mid"),), stop="length"),
        "full": Refusal(400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
        "empty": Speech((), Usage(output=0)),
        "big": Speech(tuple(Text("x" * 1_000) for _ in range(BIG // 1_000)), Usage(output=BIG)),
        "quota": Refusal(429, "insufficient_quota", "You exceeded your current quota"),
        "error": Speech((*[Text("word ")] * 3, Broken())),
        "cut": Speech((*[Text("word ")] * 3, Cut())),
        "garbage": Answer((GARBAGE,), 200, STREAM),
        "proxy": page(502),
        "slow": Speech((Text("at last"),)),
    }
    return table.get(name)


def raw(*steps: Step) -> Answer:
    """A stream of just these bytes."""
    return Answer(steps, 200, STREAM)


def as_json(value: object, status: int = 200) -> Answer:
    """An answer that is no stream."""
    return Answer((dumps(value).encode(),), status, (("content-type", "application/json"),))
