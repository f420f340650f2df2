"""What model calls cost: the table of genai-prices as it was installed, and before it what the operator says.

Nothing is fetched. A model that no table knows has no price, which is not the price 0.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from types import MappingProxyType

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from hub.kernel.events import Failed, Finished
from hub.kernel.ports import Media, ModelRequest, Spoken, ToolCalls, ToolResult

SCRIPTED = "scripted"
PLACES = Decimal(1).scaleb(-18)
MOST_MONEY = Decimal(10**12 - 1)
# A price may change while a call is prepared or under way: at a time of the day, or with a new day.
HOURS_AHEAD = 24

# Around each message, tool and conversation the provider puts words of its own, which are read as well.
TOKENS_AROUND_A_CALL = 2_000
TOKENS_AROUND_A_MESSAGE = 64
# What an image comes to at most. Claude scales it down to 1,600, or 5,000 for its newest; Gemini counts 258 for each of
# the tiles that a photograph is cut into; OpenAI counts up to 11,000, but for gpt-4o-mini, whose tokens cost little,
# 48,200.
IMAGE_TOKENS: Mapping[str, int] = MappingProxyType({"anthropic": 5_000, "google": 20_000})
MOST_IMAGE_TOKENS = 50_000
# A page is read as text and as an image. Where pages are packed so that they cannot be counted, their size tells.
TOKENS_A_PAGE = 8_000
BYTES_A_PAGE = 2_000
MAX_PAGES = 1_000
# A file that is not read is told of in a line.
TOKENS_OF_A_LINE = 1_500
# Whatever it is sent, no model reads more at once than this or its own window.
MOST_TOKENS_READ = 1_000_000
MIN_THINKING = 1_024

_TABLES: Mapping[str, str] = MappingProxyType(
    {"anthropic": "anthropic", "openai": "openai", "gemini": "google", "openrouter": "openrouter"}
)
_READS_PDF = frozenset({"anthropic", "openai"})
_NAMES = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "requests_kcount")
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_EXACT = Context(prec=100)


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars for a million tokens, and for each call."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    call: Decimal = Decimal(0)

    def cost(self, *, plain: int = 0, read: int = 0, written: int = 0, said: int = 0) -> Decimal:
        """The price of so many tokens, exact."""
        total = Decimal(0)
        for count, rate in (
            (plain, self.input),
            (read, self.cache_read),
            (written, self.cache_write),
            (said, self.output),
        ):
            total = _EXACT.fma(Decimal(count), rate, total)
        return _EXACT.add(_EXACT.scaleb(total, -6), self.call)


NOTHING = Rates(Decimal(0), Decimal(0), Decimal(0), Decimal(0))


class GenaiPrices:
    """The `Prices` of the table, and of the operator's own lines for "provider:model" or "provider:*".

    A line holds dollars for a million tokens: input and output, then those read from a cache and those written to one,
    which cost as much as other input where they are left out.
    """

    def __init__(
        self,
        overrides: Mapping[str, Sequence[Decimal]] = MappingProxyType({}),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises `ValueError` with the name of a line that cannot be read."""
        self._overrides = MappingProxyType({name: _override(name, line) for name, line in overrides.items()})
        self._now = now

    def most(self, request: ModelRequest) -> Decimal | None:
        """More than the call can cost; None as well where the provider's own tools read what nobody can foresee."""
        provider, _, _ = request.model.partition(":")
        found = self._find(request.model)
        if found is None or (request.own_tools and found is not NOTHING):
            return None
        shown = _tokens_shown(request, _TABLES.get(provider, ""))
        if isinstance(found, ModelInfo) and found.context_window is not None:
            shown = min(shown, max(found.context_window, MOST_TOKENS_READ))
        said = max(1, request.max_tokens) + (max(MIN_THINKING, request.thinking) if request.thinking > 0 else 0)
        costs = [
            cost
            for rates in self._possible(found, shown)
            for cost in (
                rates.cost(plain=shown, said=said),
                rates.cost(written=shown, said=said),
                rates.cost(read=shown, said=said),
            )
        ]
        return _fitting(max(costs), ROUND_CEILING) if costs else None

    def cost(self, model: str, ended: Finished | Failed) -> Decimal | None:
        """What the call did cost; what the provider itself says of it comes first."""
        found = self._find(model)
        if ended.cost is not None and ended.cost.is_finite() and ended.cost >= 0:
            return _fitting(ended.cost, ROUND_HALF_EVEN)
        if found is None or found is NOTHING:
            return None if found is None else Decimal(0)
        read, written = max(0, ended.cache_read_tokens), max(0, ended.cache_write_tokens)
        plain, said = max(0, ended.input_tokens - read - written), max(0, ended.output_tokens)
        if not (plain or read or written or said):
            # A conversation that is too long is turned away unread; all else was read by somebody who does not count.
            return Decimal(0) if isinstance(ended, Finished) and ended.reason == "full" else None
        rates = found if isinstance(found, Rates) else _rates(found.get_prices(self._now()), plain + read + written)
        if rates is None:
            return None
        return _fitting(rates.cost(plain=plain, read=read, written=written, said=said), ROUND_HALF_EVEN)

    def _find(self, model: str) -> Rates | ModelInfo | None:
        provider, _, name = model.partition(":")
        for key in (model, f"{provider}:*"):
            if key in self._overrides:
                return self._overrides[key]
        if provider == SCRIPTED:
            return NOTHING
        table = _TABLES.get(provider)
        for spelled in (name, name.removesuffix("-0")) if table and name else ():
            try:
                _, info = get_snapshot().find_provider_model(spelled, None, table, None)
            except LookupError:
                continue
            return info
        return None

    def _possible(self, found: Rates | ModelInfo, shown: int) -> Iterator[Rates]:
        """The rates that may be charged until the call is made, for an input up to this one."""
        if isinstance(found, Rates):
            yield found
            return
        sizes = {0, shown, *(start + 1 for start in _steps(found) if start < shown)}
        now = self._now()
        hourly = [found.get_prices(now + timedelta(hours=hour)) for hour in range(HOURS_AHEAD + 1)]
        for price in {id(price): price for price in hourly}.values():
            for size in sizes:
                if (rates := _rates(price, size)) is not None:
                    yield rates


def _override(name: str, line: Sequence[Decimal]) -> Rates:
    if not 2 <= len(line) <= 4 or not all(rate.is_finite() and rate >= 0 for rate in line):
        raise ValueError(
            f"prices: {name}: it takes two to four amounts of dollars for a million tokens, none below 0: "
            "input, output, read from a cache, written to a cache"
        )
    read = line[2] if len(line) > 2 else line[0]
    written = line[3] if len(line) > 3 else line[0]
    return Rates(line[0], line[1], read, written)


def _rates(price: ModelPrice, read: int) -> Rates | None:
    """The rates for an input of this size; None for what is not sold by the token."""
    rates = {name: _rate(vars(price).get(name), read) for name in _NAMES}
    plain, said = rates["input_mtok"], rates["output_mtok"]
    if plain is None or said is None:
        return None
    cache_read, cache_write, calls = rates["cache_read_mtok"], rates["cache_write_mtok"], rates["requests_kcount"]
    return Rates(
        plain,
        said,
        plain if cache_read is None else cache_read,
        plain if cache_write is None else cache_write,
        Decimal(0) if calls is None else _EXACT.scaleb(calls, -3),
    )


def _rate(price: object, read: int) -> Decimal | None:
    """The rate of the highest step that the input is beyond: it holds for all of it."""
    if not isinstance(price, TieredPrices):
        return price if isinstance(price, Decimal) else None
    reached = [tier.price for tier in price.tiers if read > tier.start]
    return reached[-1] if reached else price.base


def _steps(info: ModelInfo) -> Iterator[int]:
    """Every size of an input from which on another rate may hold."""
    prices = [info.prices] if isinstance(info.prices, ModelPrice) else [found.prices for found in info.prices]
    for price in prices:
        for value in vars(price).values():
            if isinstance(value, TieredPrices):
                yield from (tier.start for tier in value.tiers)


def _fitting(amount: Decimal, rounding: str) -> Decimal:
    """The amount in as many places as are kept of money."""
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -18:
        amount = amount.quantize(PLACES, rounding=rounding, context=_EXACT)
    return min(amount, MOST_MONEY)


def _tokens_shown(request: ModelRequest, table: str) -> int:
    """At least as many tokens as the model is shown: no token is less than a byte, and no media more than its bound."""
    total = TOKENS_AROUND_A_CALL + _size(request.system)
    for spec in request.tools:
        total += TOKENS_AROUND_A_MESSAGE + _size(spec.name) + _size(spec.description) + _size(spec.parameters)
    for message in request.messages:
        total += TOKENS_AROUND_A_MESSAGE
        match message:
            case Spoken():
                total += _size(message.text) + sum(_tokens_of(media, table) for media in message.media)
            case ToolCalls():
                total += _size(message.text) + sum(_size(content) for content in message.kept)
                for call, name, arguments in message.calls:
                    total += TOKENS_AROUND_A_MESSAGE + _size(call) + _size(name) + _size(arguments)
            case ToolResult():
                total += _size(message.call) + _size(message.tool) + _size(message.content)
    return total


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _tokens_of(media: Media, table: str) -> int:
    mime = media.type
    if media.is_text:
        shown = _size(media.data.decode(errors="replace")) + TOKENS_OF_A_LINE
    elif mime == "application/pdf" and table in _READS_PDF:
        shown = _pages(media.data) * TOKENS_A_PAGE
    else:
        shown = TOKENS_OF_A_LINE
    # What begins like an image is shown as one, whatever it is called.
    return max(shown, IMAGE_TOKENS.get(table, MOST_IMAGE_TOKENS)) if _may_be_image(mime, media.data) else shown


def _may_be_image(mime: str, data: bytes) -> bool:
    return mime.startswith("image/") or data.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF"))


def _pages(data: bytes) -> int:
    counted = len(_PAGE.findall(data))
    if b"/ObjStm" in data or not counted:
        counted = max(counted, len(data) // BYTES_A_PAGE + 1)
    return min(counted, MAX_PAGES)
