"""What tokens cost, by whose word."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.types import TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.prices import MAX_PRICE_PER_MILLION, UNPRICED, OwnPrice, Priced, price
from domain.usage import MAX_TOKENS, Usage
from tests.domain.builders import properties

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOME = Usage(input_tokens=1000, output_tokens=100)
OWN = OwnPrice("house-*", Decimal("2.5"), Decimal(10), Decimal("0.25"))

tokens = st.integers(0, 10**9)
few_tokens = st.integers(0, 1000)
rates = st.decimals(0, MAX_PRICE_PER_MILLION, places=6)
names = st.sampled_from(sorted({model.id for provider in providers for model in provider.models}))
moments = st.integers(-50_000, 10_000).map(lambda hours: AT + timedelta(hours=hours))


@st.composite
def usages(draw: st.DrawFn, counts: st.SearchStrategy[int] = tokens) -> Usage:
    cached, written, reasoning = draw(counts), draw(counts), draw(counts)
    return Usage(cached + written + draw(counts), reasoning + draw(counts), cached, written, reasoning)


@st.composite
def own_prices(draw: st.DrawFn) -> OwnPrice:
    dear, other = draw(rates), draw(rates)
    return OwnPrice("m", dear, other, draw(st.none() | st.decimals(0, dear, places=6)))


def more(usage: Usage, fresh: int, output: int) -> Usage:
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    return replace(usage, input_tokens=usage.input_tokens + fresh, output_tokens=usage.output_tokens + output)


def cost(model: str | None, usage: Usage = SOME, at: datetime = AT, **rest: Any) -> Decimal:
    found = price(model, usage, at, **rest).cost_usd
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "usage", "expected"),
    [
        # 2.50 for input, 1.25 from the cache, 10 for output
        ("gpt-4o", Usage(1000, 100), "0.0035"),
        ("gpt-4o", Usage(1000, 100, 800), "0.0025"),
        ("gpt-4o", Usage(1000, 100, 800, None, 60), "0.0025"),
        ("gpt-4o", Usage(None, 100), "0.001"),
        ("gpt-4o", Usage(1000), "0.0025"),
        ("text-embedding-3-small", Usage(1_000_000, 0), "0.02"),
        # 3 for input, 0.30 from the cache, 3.75 into it, 15 for output
        ("claude-3-5-sonnet-20241022", Usage(100_298, 503, 100_000, 248), "0.038625"),
        # twice the price of the input, for all of it, above 200,000 tokens
        ("gemini-2.5-pro", Usage(200_000, 0), "0.25"),
        ("gemini-2.5-pro", Usage(200_001, 0), "0.5000025"),
    ],
)
def test_the_table_s_prices(model: str, usage: Usage, expected: str) -> None:
    priced = price(model, usage, AT)
    assert (priced.cost_usd, priced.source) == (Decimal(expected), "table")
    assert (priced.version or "").startswith("genai-prices ")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), "0.014"),
        (datetime(2025, 6, 9, 23, 59, tzinfo=UTC), "0.014"),
        (datetime(2025, 6, 10, tzinfo=UTC), "0.0028"),
        (datetime(2025, 6, 10, 1, tzinfo=UTC).astimezone(tz=None), "0.0028"),
    ],
)
def test_the_price_is_that_of_the_ping_s_date(at: datetime, expected: str) -> None:
    assert cost("o3", at=at) == Decimal(expected)


@pytest.mark.parametrize(
    ("known", "names"),
    [
        (
            "gpt-4o",
            ["GPT-4o", " gpt-4o ", "openai/gpt-4o", "openai:gpt-4o", "azure/gpt-4o", "azure_openai:gpt-4o"]
            + ["openrouter/openai/gpt-4o", "litellm_proxy/openai/gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-20240806"],
        ),
        ("ft:gpt-4o-2024-08-06:acme::1", ["openai/ft:gpt-4o-2024-08-06:acme::1"]),
        (
            "claude-3-5-sonnet-20240620",
            ["anthropic/claude-3-5-sonnet-20240620", "anthropic:claude-3-5-sonnet-20240620", "claude-3-5-sonnet-latest"]
            + ["anthropic.claude-3-5-sonnet-20240620-v1:0", "us.anthropic.claude-3-5-sonnet-20240620-v1:0"]
            + ["bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0", "vertex_ai/claude-3-5-sonnet@20240620"]
            + ["bedrock/eu-west-1/anthropic.claude-3-5-sonnet-20240620-v1:0"]
            + ["arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0"],
        ),
        (
            "gemini-2.5-flash",
            ["models/gemini-2.5-flash", "gemini/gemini-2.5-flash", "google-gla:gemini-2.5-flash"]
            + ["vertex_ai/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"]
            + ["projects/p/locations/global/publishers/google/models/gemini-2.5-flash"],
        ),
        ("grok-3", ["xai/grok-3", "x-ai/grok-3", "grok:grok-3"]),
        ("groq/llama-3.3-70b-versatile", ["groq:llama-3.3-70b-versatile"]),
        ("together/meta-llama/llama-3.3-70b-instruct-turbo", ["together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo"]),
        ("amazon.nova-pro-v1:0", ["bedrock:amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"]),
    ],
)
def test_a_model_is_known_by_all_its_names(known: str, names: list[str]) -> None:
    assert {name: price(name, SOME, AT) for name in names} == dict.fromkeys(names, price(known, SOME, AT))
    assert price(known, SOME, AT) != UNPRICED


@pytest.mark.parametrize(
    "model",
    [
        None,
        "",
        " ",
        "my-own-model",
        "gpt",
        "gpt-99-turbo",
        "claude",
        "openai/",
        "/gpt-4o",
        ":",
        "models/",
        "*",
        "\n",
        "ü",
    ]
    # on somebody's own machine
    + ["ollama/gpt-oss:20b", "hosted_vllm/deepseek-chat", "meta-llama/Llama-3.3-70B-Instruct", "lm_studio/gpt-4o"]
    # in the table, but by the hour, or with no price
    + ["groq/whisper-large-v3", "whisper-1-large", "gemma-3", "github-copilot/gpt-4o"]
    + ["litellm/" * 32, "a/" * 128, "x" * 256],
)
def test_an_unknown_price_is_never_nothing(model: str | None) -> None:
    assert price(model, SOME, AT) == Priced(None, "unpriced")


@pytest.mark.parametrize("own", [(), (OwnPrice("*", Decimal(1), Decimal(1)),)])
@pytest.mark.parametrize("usage", [Usage(), Usage(0, 0), Usage(None, 0, 0, 0, 0)])
def test_no_tokens_are_unpriced(usage: Usage, own: tuple[OwnPrice, ...]) -> None:
    assert price("gpt-4o", usage, AT, own=own) == UNPRICED


def test_what_has_no_rate_leaves_the_whole_ping_unpriced() -> None:
    assert price("text-embedding-3-small", Usage(10, 10), AT) == UNPRICED


@pytest.mark.parametrize("stated", [Decimal(0), Decimal("0.045")])
@pytest.mark.parametrize("model", [None, "gpt-4o", "house-1"])
def test_the_caller_s_word_goes_first(model: str | None, stated: Decimal) -> None:
    assert price(model, SOME, AT, stated=stated, own=[OWN]) == Priced(stated, "caller")
    assert price(model, Usage(), AT, stated=stated) == Priced(stated, "caller")


def test_own_prices_go_before_the_table() -> None:
    own = OwnPrice("gpt-4o", Decimal(1), Decimal(2))
    assert price("gpt-4o", SOME, AT, own=[own]) == Priced(Decimal("0.0012"), "own", "gpt-4o 1/2")
    assert price("gpt-4o-mini", SOME, AT, own=[own]).source == "table"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(1_000_000, 0), "2.5"),
        (Usage(1_000_000, 0, 1_000_000), "0.25"),
        (Usage(1_000_000, 0, 400_000, 600_000), "1.6"),
        (Usage(0, 1_000_000, None, None, 1_000_000), "10"),
        (Usage(1, None), "0.0000025"),
        # A whole that is smaller than its parts is at least these.
        (Usage(0, 0, 1_000_000), "0.25"),
        (Usage(None, None, None, None, 1_000_000), "10"),
    ],
)
def test_own_prices_by_kind_of_token(usage: Usage, expected: str) -> None:
    assert cost("house-1", usage, own=[OWN]) == Decimal(expected)


@pytest.mark.parametrize(
    ("model", "at", "winner"),
    [
        ("gpt-4o", AT, "gpt-4o"),
        ("GPT-4O", AT, "gpt-4o"),
        ("gpt-4o-mini", AT, "gpt-4o*"),
        ("gpt-5", AT, "gpt*"),
        ("o3", AT, "*"),
        ("gpt-4o", AT - timedelta(days=2), "gpt-4o*"),
        ("house", AT - timedelta(days=2), "*"),
        ("house", AT, "house 2026-03-01"),
        ("house", AT + timedelta(days=1), "house 2026-03-02"),
    ],
)
def test_which_own_price_counts(model: str, at: datetime, winner: str) -> None:
    prices = {
        "*": OwnPrice("*", Decimal(1), Decimal(0)),
        "gpt*": OwnPrice("gpt*", Decimal(2), Decimal(0)),
        "gpt-4o*": OwnPrice("gpt-4o*", Decimal(3), Decimal(0)),
        "gpt-4o": OwnPrice("GPT-4o", Decimal(4), Decimal(0), valid_from=AT - timedelta(days=1)),
        "house 2026-03-01": OwnPrice("house", Decimal(5), Decimal(0), valid_from=AT),
        "house 2026-03-02": OwnPrice("house", Decimal(6), Decimal(0), valid_from=AT + timedelta(days=1)),
    }
    for own in (list(prices.values()), list(prices.values())[::-1]):
        assert price(model, SOME, at, own=own).version == prices[winner].version


def test_an_own_price_s_version_is_the_price() -> None:
    since = datetime(2026, 1, 1, 2, tzinfo=UTC)
    assert OWN.version == "house-* 2.5/10/0.25"
    assert replace(OWN, valid_from=since).version == "house-* 2.5/10/0.25 from 2026-01-01T02:00:00+00:00"
    assert replace(OWN, output_per_million=Decimal("10.00")).version == OWN.version
    assert replace(OWN, output_per_million=Decimal(1000)).version == "house-* 2.5/1000/0.25"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"model": "a*b"}, "model"),
        ({"model": "**"}, "model"),
        ({"input_per_million": Decimal(-1)}, "input_per_million"),
        ({"input_per_million": Decimal("NaN")}, "input_per_million"),
        ({"output_per_million": Decimal("Infinity")}, "output_per_million"),
        ({"output_per_million": MAX_PRICE_PER_MILLION + 1}, "output_per_million"),
        ({"output_per_million": Decimal("1e-10")}, "output_per_million"),
        ({"cached_per_million": Decimal("2.6")}, "cached_per_million"),
        ({"valid_from": datetime(2026, 1, 1)}, "valid_from"),  # noqa: DTZ001
    ],
)
def test_an_own_price_that_makes_no_sense_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(OWN, **change)
    assert [item.field for item in refused.value.fields] == [field]


@properties
@given(names, usages(), moments, tokens, tokens)
def test_more_tokens_never_cost_less_by_the_table(
    model: str, usage: Usage, at: datetime, fresh: int, output: int
) -> None:
    less, dear = price(model, usage, at).cost_usd, price(model, more(usage, fresh, output), at).cost_usd
    if less is not None and dear is not None:
        assert less <= dear


@properties
@given(own_prices(), usages(), tokens, tokens)
def test_more_tokens_never_cost_less_by_own_prices(own: OwnPrice, usage: Usage, fresh: int, output: int) -> None:
    dear = price("m", more(usage, fresh, output), AT, own=[own]).cost_usd or Decimal(0)
    assert (price("m", usage, AT, own=[own]).cost_usd or 0) <= dear


@properties
@given(own_prices(), usages(), st.integers(1, 1000))
def test_own_prices_are_linear(own: OwnPrice, usage: Usage, times: int) -> None:
    once, often = price("m", usage, AT, own=[own]), price("m", multiplied(usage, times), AT, own=[own])
    assert often.cost_usd == (None if once.cost_usd is None else once.cost_usd * times)


@properties
@given(
    st.sampled_from(["gpt-4o", "o3", "claude-3-5-sonnet", "deepseek-chat", "mistral-large-latest", "grok-3"]),
    usages(few_tokens),
    moments,
    st.integers(1, 1000),
)
def test_the_table_is_linear_where_it_has_no_tiers(model: str, usage: Usage, at: datetime, times: int) -> None:
    once, often = price(model, usage, at), price(model, multiplied(usage, times), at)
    assert often.cost_usd == (None if once.cost_usd is None else once.cost_usd * times)


@properties
@given(own_prices(), usages())
def test_the_cache_never_makes_own_prices_dearer(own: OwnPrice, usage: Usage) -> None:
    uncached = price("m", replace(usage, cached_tokens=0), AT, own=[own]).cost_usd
    assert (price("m", usage, AT, own=[own]).cost_usd or 0) <= (uncached or 0)


@properties
@given(names | st.text(max_size=20), usages(), moments, st.lists(own_prices(), max_size=1), st.none() | rates)
def test_costs_are_decimals_or_unknown(
    model: str, usage: Usage, at: datetime, own: list[OwnPrice], stated: Decimal | None
) -> None:
    priced = price(model, usage, at, stated=stated, own=own)
    assert type(priced.cost_usd) is (type(None) if priced.source == "unpriced" else Decimal)
    assert (priced.version is None) is (priced.source in ("caller", "unpriced"))


def test_every_model_of_the_table_can_be_priced_or_is_unpriced() -> None:
    """Whatever its kinds of prices: none raises, and none makes of tokens nothing."""
    most = Usage(MAX_TOKENS, MAX_TOKENS, 1, 1, 1)
    for provider in providers:
        for model in provider.models:
            for usage in (SOME, most, Usage(1), Usage(None, 1)):
                priced = price(f"{provider.id}/{model.id}", usage, AT)
                assert priced == UNPRICED or cost(f"{provider.id}/{model.id}", usage) > 0


def test_tiers_only_ever_rise() -> None:
    """What makes more tokens dearer: a tier's price holds for all tokens, not for those above it alone."""
    for provider in providers:
        for model in provider.models:
            for rate in vars(model.get_prices(AT)).values():
                if isinstance(rate, TieredPrices):
                    steps = [rate.base, *(tier.price for tier in rate.tiers)]
                    assert steps == sorted(steps)


def test_the_table_is_not_loaded_before_it_is_asked() -> None:
    """Commands and workers never price anything; the table takes 70 MB."""
    code = """
import sys, threading
from datetime import datetime, timezone
from decimal import Decimal
from domain.prices import OwnPrice, load_table, price
from domain.usage import Usage

at, own = datetime(2026, 1, 1, tzinfo=timezone.utc), [OwnPrice("m", Decimal(1), Decimal(1))]
price("m", Usage(1, 1), at, own=own), price("gpt-4o", Usage(), at), price("o3", Usage(1), at, stated=Decimal(1))
assert "genai_prices" not in sys.modules
load_table()
assert "genai_prices.data" in sys.modules
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def multiplied(usage: Usage, times: int) -> Usage:
    return Usage(**{name: None if count is None else count * times for name, count in vars(usage).items()})
