"""What model calls cost, before and after."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as some
from pydantic import TypeAdapter

from adapters.models.prices import GenaiPrices
from factory_contracts.trace import Money
from hub.kernel.events import Failed, Finished
from hub.kernel.ports import Media, ModelRequest, Spoken, ToolCalls, ToolResult, ToolSpec

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PRICES = GenaiPrices(now=lambda: NOW)
MONEY: TypeAdapter[Decimal] = TypeAdapter(Money)
SONNET = "anthropic:claude-sonnet-5"
THREE_PAGES = b"/Type /Page " * 3 + b"/Type /Pages" + b"x" * 90_000
OWN = {"vllm:*": (Decimal(1), Decimal(2)), "openai:gpt-5": (Decimal(3), Decimal(4), Decimal("0.5"), Decimal("3.75"))}


def request(model: str = SONNET, said: str = "Hello", **more: Any) -> ModelRequest:
    return ModelRequest(model, "Be brief.", (Spoken("user", said),), **more)


def most(asked: ModelRequest, prices: GenaiPrices = PRICES) -> Decimal:
    found = prices.most(asked)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "ended", "dollars"),
    [
        (SONNET, Finished("end", 1_000, 100), "0.003"),
        (SONNET, Finished("end", 1_000, 100, 600, 300), "0.00207"),
        (SONNET, Failed("gone", input_tokens=1_000, output_tokens=100), "0.003"),
        ("anthropic:claude-sonnet-5-0", Finished("tools", 1, 0), "0.000002"),
        ("anthropic:claude-haiku-5-5", Finished("end", 100_000, 1), "0.0100005"),
        ("anthropic:claude-haiku-5-5", Finished("end", 100_001, 1), "0.050003"),
        ("openai:gpt-4o-mini", Finished("end", 1, 1, 1), "0.000000675"),
        ("openrouter:anthropic/claude-sonnet-4.5", Finished("end", 1_000, 100), "0.0045"),
    ],
)
def test_a_call_costs_what_the_table_says_to_the_last_place(model: str, ended: Finished | Failed, dollars: str) -> None:
    assert PRICES.cost(model, ended) == Decimal(dollars)


@given(some.tuples(*[some.integers(0, 300_000)] * 4))
def test_the_cost_is_the_one_that_the_tables_own_reckoning_finds(tokens: tuple[int, int, int, int]) -> None:
    plain, read, written, said = tokens
    for model, table in (
        ("anthropic:claude-opus-5-5", "anthropic"),
        ("anthropic:claude-haiku-5-5", "anthropic"),
        ("openai:gpt-5.6", "openai"),
        ("gemini:gemini-3-pro-preview", "google"),
    ):
        whole = plain + read + written
        usage = Usage(input_tokens=whole, output_tokens=said, cache_read_tokens=read, cache_write_tokens=written)
        name = model.partition(":")[2]
        expected = calc_price(usage, name, provider_id=table, genai_request_timestamp=NOW).total_price

        found = PRICES.cost(model, Finished("end", whole, said, read, written))

        assert found == (expected if whole or said else None)


@pytest.mark.parametrize(
    "model",
    [
        "anthropic:claude-unheard-of",
        "openai:gpt-99",
        "ollama:llama3",
        "vllm:anything",
        "lmstudio:x",
        "openai_like:gpt-5",
        "claude_cli:opus",
        "anthropic:",
        "anthropic",
        "",
        ":",
        "nobody:x",
    ],
)
def test_what_no_table_knows_has_no_price(model: str) -> None:
    assert PRICES.most(request(model)) is None
    assert PRICES.cost(model, Finished("end", 1_000, 100)) is None
    assert PRICES.cost(model, Failed("gone", input_tokens=7)) is None


@pytest.mark.parametrize("model", ["scripted", "scripted:/path/to/script.toml"])
def test_what_is_scripted_costs_nothing(model: str) -> None:
    assert PRICES.most(request(model, own_tools=("any",))) == Decimal(0)
    assert PRICES.cost(model, Finished("end", 1_000, 100)) == Decimal(0)


@pytest.mark.parametrize("model", [SONNET, "vllm:anything"])
def test_what_the_provider_says_of_the_cost_comes_first(model: str) -> None:
    assert PRICES.cost(model, Finished("end", 1_000, 100, cost=Decimal("0.0123"))) == Decimal("0.0123")
    assert PRICES.cost(model, Failed("gone", cost=Decimal("1e-20"))) == Decimal(0)
    assert PRICES.cost(model, Finished("end", cost=Decimal(0))) == Decimal(0)


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-1"])
def test_a_cost_that_is_none_is_not_believed(cost: str) -> None:
    assert PRICES.cost(SONNET, Finished("end", 1_000, 100, cost=Decimal(cost))) == Decimal("0.003")


def test_a_call_whose_consumption_nobody_told_has_no_price_unless_it_was_turned_away_unread() -> None:
    assert PRICES.cost(SONNET, Finished("end")) is None
    assert PRICES.cost(SONNET, Failed("gone")) is None
    assert PRICES.cost(SONNET, Finished("full")) == Decimal(0)


@pytest.mark.parametrize(
    "ended",
    [
        Finished("end", 10, 0, 1_000),
        Finished("end", 10, 0, 8, 8),
        Finished("end", -5, -5, -5, -5),
        Finished("end", 0, 0, 1_000),
        Finished("end", 2**53, 2**53, 2**53, 2**53),
        Failed("x", input_tokens=-1, output_tokens=10),
    ],
)
def test_counts_that_contradict_each_other_break_nothing(ended: Finished | Failed) -> None:
    cost = PRICES.cost(SONNET, ended)

    assert cost is None or MONEY.validate_python(cost) >= 0


@pytest.mark.parametrize("place", ["plain", "read", "written"])
@pytest.mark.parametrize(
    "model",
    [
        SONNET,
        "anthropic:claude-haiku-5-5",
        "anthropic:claude-sonnet-4-5",
        "openai:gpt-5.6",
        "openai:gpt-4o-mini",
        "gemini:gemini-3-pro-preview",
        "openrouter:deepseek/deepseek-chat",
    ],
)
@pytest.mark.parametrize("size", [0, 30_000, 250_000])
def test_a_call_never_costs_more_than_the_most_it_can_cost(model: str, place: str, size: int) -> None:
    asked = request(model, "é" * size, max_tokens=4_000, thinking=2_000, tools=(ToolSpec("t", "d", "{}"),))
    tokens = size * 2 + 500
    read, written = (tokens if place == "read" else 0), (tokens if place == "written" else 0)

    cost = PRICES.cost(model, Finished("end", tokens, 6_000, read, written))

    assert cost is not None
    assert cost <= most(asked)


@pytest.mark.parametrize("hour", range(24))
def test_a_price_that_changes_with_the_hour_is_within_the_most(hour: int) -> None:
    model, ended = "openrouter:deepseek/deepseek-chat", Finished("end", 1_000, 1_000)

    cost = GenaiPrices(now=lambda: datetime(2026, 11, 21, hour, tzinfo=UTC)).cost(model, ended)

    assert cost is not None
    assert cost <= most(request(model))


def test_all_that_is_shown_counts() -> None:
    plain = most(request())
    shown = (
        request(said="Hello" + "x" * 10_000),
        ModelRequest(SONNET, "x" * 10_000, (Spoken("user", "Hello"),)),
        request(tools=(ToolSpec("t", "x" * 10_000, "{}"),)),
        request(tools=(ToolSpec("t", "", '{"description": "' + "x" * 10_000 + '"}'),)),
        ModelRequest(SONNET, "", (Spoken("assistant", "x" * 10_000),)),
        ModelRequest(SONNET, "", (ToolCalls("x" * 10_000, ()),)),
        ModelRequest(SONNET, "", (ToolCalls("", (("c", "t", "x" * 10_000),)),)),
        ModelRequest(SONNET, "", (ToolCalls("", (), ("x" * 10_000,)),)),
        ModelRequest(SONNET, "", (ToolResult("c", "t", "x" * 10_000),)),
        request(max_tokens=18_192),
        request(thinking=10_000),
    )

    # A token that is read costs 2.5 millionths of a dollar here, where it may be written to a cache.
    assert all(most(one) > plain + Decimal("0.02") for one in shown)


@pytest.mark.parametrize(
    ("media", "at_least", "at_most"),
    [
        (Media("image", "a.png", "image/png", b"\x89PNG" + b"x" * 500_000), 1_600, 60_000),
        (Media("document", "a.bin", "application/octet-stream", b"\xff\xd8\xff"), 1_600, 60_000),
        (Media("document", "a.txt", "text/plain", b"x" * 5_000), 5_000, 7_000),
        (Media("document", "a.txt", "text/plain", b"\xff" * 5_000), 15_000, 17_000),
        (Media("document", "a.json", "application/json", b"x" * 5_000), 5_000, 7_000),
        (Media("document", "a.pdf", "application/pdf", THREE_PAGES), 9_000, 30_000),
        (Media("document", "a.pdf", "application/pdf", b"/ObjStm" + b"x" * 90_000), 90_000, 500_000),
        (Media("document", "a.pdf", "application/pdf", b"x" * 20_000_000), 900_000, 1_000_000),
        (Media("voice", "a.ogg", "audio/ogg", b"x" * 500_000), 50, 2_000),
    ],
    ids=range(9),
)
def test_media_count_as_much_as_they_can_come_to(media: Media, at_least: int, at_most: int) -> None:
    with_it = most(ModelRequest(SONNET, "", (Spoken("user", "Look", (media,)),)))
    without = most(ModelRequest(SONNET, "", (Spoken("user", "Look"),)))

    # Each token that is read costs 2.5 millionths of a dollar at most.
    assert at_least <= (with_it - without) / Decimal("0.0000025") <= at_most


def test_the_providers_own_tools_read_what_nobody_can_foresee() -> None:
    assert PRICES.most(request(own_tools=("web_search",))) is None


def test_the_operators_own_lines_come_before_the_table() -> None:
    prices = GenaiPrices(OWN, now=lambda: NOW)

    assert prices.cost("vllm:qwen", Finished("end", 1_000, 100, 500, 100)) == Decimal("0.0012")
    assert prices.cost("openai:gpt-5", Finished("end", 1_000, 100, 500, 100)) == Decimal("0.002225")
    assert prices.cost("openai:gpt-5-mini", Finished("end", 1_000)) == PRICES.cost(
        "openai:gpt-5-mini", Finished("end", 1_000)
    )
    assert prices.cost("scripted", Finished("end", 1_000)) == Decimal(0)
    assert most(request("vllm:qwen", max_tokens=1_000), prices) >= Decimal("0.002")


@pytest.mark.parametrize(
    "line", [(), (Decimal(1),), (Decimal(1),) * 5, (Decimal(1), Decimal(-1)), (Decimal("NaN"), Decimal(1))]
)
def test_a_line_that_cannot_be_read_is_named(line: tuple[Decimal, ...]) -> None:
    with pytest.raises(ValueError, match="prices: vllm:qwen: "):
        GenaiPrices({"vllm:qwen": line})


@given(
    some.sampled_from([SONNET, "anthropic:claude-haiku-5-5", "openai:gpt-5.6", "own:x", "big:x"]),
    some.tuples(*[some.integers(0, 2**53)] * 4),
    some.text(max_size=200),
)
def test_every_amount_fits_what_is_put_on_the_log(model: str, tokens: tuple[int, int, int, int], said: str) -> None:
    odd = (Decimal("0.1234567890123456789"), Decimal("1e-30"))
    prices = GenaiPrices({"own:x": odd, "big:x": (Decimal("1e30"), Decimal("1e30"))}, now=lambda: NOW)

    amounts = (prices.cost(model, Finished("end", *tokens)), prices.most(request(model, said)))

    for amount in amounts:
        assert amount is None or MONEY.validate_python(amount) == amount


def test_a_fraction_is_rounded_up_before_the_call_and_to_even_after_it() -> None:
    prices = GenaiPrices({"own:x": (Decimal(0), Decimal("0.0000000000005"))}, now=lambda: NOW)

    assert prices.cost("own:x", Finished("end", 1, 1)) == Decimal(0)
    assert prices.cost("own:x", Finished("end", 1, 3)) == Decimal("0.000000000000000002")
    assert most(request("own:x", max_tokens=1), prices) == Decimal("0.000000000000000001")
