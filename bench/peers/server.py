"""The provider on loopback that everybody asks: the wire's chunks one by one, as fast as they are taken."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bench.peers.task import DELTAS, LOOK, TIME, TOOL, WORD
from tests.providers import chat
from tests.providers.scenarios import result_of
from tests.providers.server import Answer, Asked, ProviderServer, said_last
from tests.providers.speech import Refusal, Speech, Text, Tool, Usage

WORDS = Speech(tuple(Text(WORD) for _ in range(DELTAS)), Usage(input=60, output=DELTAS))
CALL = Speech((Tool(TOOL["function"]["name"], ('{"timez', 'one": "UTC"}')),), Usage(input=40, output=12))


class Teller:
    """Says the words, or first calls the tool where it is asked to look; counts what it said."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._made: dict[tuple[Speech, bool], Answer] = {}

    def __call__(self, asked: Asked) -> Answer:
        refused = chat.problem(asked)
        if refused is not None:
            return chat.refusal(refused)
        wants_usage = bool((asked.body.get("stream_options") or {}).get("include_usage"))
        told = result_of(asked.body)
        if told and told != TIME:
            return chat.refusal(Refusal(400, "invalid_request_error", f"the tool said {told[:100]!r}"))
        is_call = said_last(asked.body) == LOOK and not told
        self.count.update(("calls",) if is_call else ("words",))
        self.count.update(("usage",) if wants_usage else ())
        speech = CALL if is_call else WORDS
        if (speech, wants_usage) not in self._made:
            self._made[speech, wants_usage] = chat.answer(speech, asked)
        return self._made[speech, wants_usage]


@asynccontextmanager
async def serve() -> AsyncIterator[tuple[str, Callable[[], Awaitable[dict[str, int]]]]]:
    """The address, and what it said since it was asked for that the last time."""
    teller = Teller()
    async with ProviderServer(teller) as server:

        async def counted() -> dict[str, int]:
            found = dict(teller.count)
            teller.count.clear()
            server.asked.clear()
            return found

        yield server.url, counted
