"""What a ping's tokens cost: by the caller's own word, by the account's own prices, or by the table of genai-prices."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, Literal

from domain.errors import InvalidRequest
from domain.usage import MAX_MODEL_TEXT, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider
    from genai_prices.types import Usage as TableUsage

MAX_PRICE_PER_MILLION: Final = Decimal(1_000_000)
MAX_PRICE_DECIMALS: Final = 9

_MILLION: Final = Decimal(1_000_000)
_KNOWN_NAMES: Final = 4096

_PREFIX: Final = re.compile(r"([^/:]+)[/:](.+)")
_GATEWAYS: Final = frozenset({"litellm", "litellm_proxy"})
_OTHER_NAMES: Final = {
    "azure_ai": "azure",
    "azure_openai": "azure",
    "azure-openai": "azure",
    "fireworks_ai": "fireworks",
    "fireworks-ai": "fireworks",
    "grok": "x-ai",
}
"""Prefixes of LiteLLM, LangChain and Pydantic AI that the table does not know its providers by."""
_VERTEX: Final = re.compile(r"(?:models|publishers|projects)/")
_BEDROCK: Final = re.compile(r"arn:aws[a-z-]*:bedrock:|(?:[a-z-]+\.)?[a-z0-9]+\.[a-z]")
_OPENAI: Final = re.compile(r"ft:|text-embedding-|chatgpt-|codex-|computer-use")
"""Names that no provider of the table claims."""

Source = Literal["caller", "own", "table", "unpriced"]


@dataclass(frozen=True)
class OwnPrice:
    """An account's price for a model, in US dollars for a million tokens.

    `model` is the name as pings send it, in any case of letters; a star at its end stands for any ending. Without
    `cached_per_million`, tokens from a cache cost what others do. It holds from `valid_from` on, None is from ever.
    Raises InvalidRequest naming the field that makes no sense.
    """

    model: str
    input_per_million: Decimal
    output_per_million: Decimal
    cached_per_million: Decimal | None = None
    valid_from: datetime | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.model) <= MAX_MODEL_TEXT or "*" in self.model[:-1]:
            raise InvalidRequest.of_field(
                "model", 'must be the name of a model, or its beginning and a star: "gpt-4o*"'
            )
        for field in ("input_per_million", "output_per_million", "cached_per_million"):
            if (rate := getattr(self, field)) is not None:
                _check_rate(field, rate)
        if self.cached_per_million is not None and self.cached_per_million > self.input_per_million:
            raise InvalidRequest.of_field("cached_per_million", "must not be above input_per_million")
        if self.valid_from is not None and self.valid_from.tzinfo is None:
            raise InvalidRequest.of_field("valid_from", "must have an offset, such as 2025-01-01T00:00:00Z")

    @property
    def version(self) -> str:
        """The price itself in words: whatever becomes of the setting, a ping's cost can still be checked by it."""
        rates = [self.input_per_million, self.output_per_million]
        if self.cached_per_million is not None:
            rates.append(self.cached_per_million)
        text = f"{self.model} {'/'.join(format(rate.normalize(), 'f') for rate in rates)}"
        return text if self.valid_from is None else f"{text} from {self.valid_from.astimezone(UTC).isoformat()}"

    def covers(self, model_id: str, at: datetime) -> bool:
        if self.valid_from is not None and at < self.valid_from:
            return False
        name, pattern = model_id.lower(), self.model.lower()
        return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


@dataclass(frozen=True)
class Priced:
    """`cost_usd` is None if, and only if, `source` is unpriced: an unknown price is never 0.

    `version` is that of the table, or the own price that was applied.
    """

    cost_usd: Decimal | None
    source: Source
    version: str | None = None


UNPRICED: Final = Priced(None, "unpriced")


def price(
    model_id: str | None,
    usage: Usage,
    at: datetime,
    *,
    stated: Decimal | None = None,
    own: Sequence[OwnPrice] = (),
) -> Priced:
    """What a ping of the moment `at` costs. What the caller states goes first, then the account's own prices.

    Own prices that both cover it: a full name goes before a beginning, a longer beginning before a shorter one, then
    the later `valid_from`. No tokens, or none but zeros, are unpriced: frameworks send zeros when they did not count.
    The first call that comes to the table loads it; see `load_table`.
    """
    if stated is not None:
        return Priced(stated, "caller")
    counts = _counts(usage)
    if not model_id or not (counts["input_tokens"] or counts["output_tokens"]):
        return UNPRICED
    covering = [candidate for candidate in own if candidate.covers(model_id, at)]
    if covering:
        best = max(covering, key=_precedence)
        return Priced(_own_cost(best, counts), "own", best.version)
    cost = _table_cost(model_id, counts, at)
    return UNPRICED if cost is None else Priced(cost, "table", _table().version)


def load_table() -> None:
    """Reads the table of prices into memory, some 70 MB, which takes a quarter of a second or more: do it where
    nobody waits."""
    _table()


def _check_rate(field: str, rate: Decimal) -> None:
    exponent = rate.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 <= rate <= MAX_PRICE_PER_MILLION or -exponent > MAX_PRICE_DECIMALS:
        raise InvalidRequest.of_field(
            field, f"must be US dollars for a million tokens, 0 or more, with at most {MAX_PRICE_DECIMALS} decimals"
        )


def _precedence(own: OwnPrice) -> tuple[bool, int, datetime]:
    return not own.model.endswith("*"), len(own.model), own.valid_from or datetime.min.replace(tzinfo=UTC)


def _own_cost(own: OwnPrice, counts: dict[str, int]) -> Decimal:
    cached_rate = own.input_per_million if own.cached_per_million is None else own.cached_per_million
    # Enough digits for every number of tokens and every rate: nothing is rounded.
    with localcontext(prec=50):
        cost = (counts["input_tokens"] - counts["cache_read_tokens"]) * own.input_per_million
        cost += counts["cache_read_tokens"] * cached_rate + counts["output_tokens"] * own.output_per_million
        return cost / _MILLION


def _counts(usage: Usage) -> dict[str, int]:
    """The tokens by the names of genai-prices, which refuses a whole that is smaller than its parts."""
    cached, written, reasoning = usage.cached_tokens or 0, usage.cache_write_tokens or 0, usage.reasoning_tokens or 0
    return {
        "input_tokens": max(usage.input_tokens or 0, cached + written),
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": max(usage.output_tokens or 0, reasoning),
        "output_reasoning_tokens": reasoning,
    }


def _table_cost(model_id: str, counts: dict[str, int], at: datetime) -> Decimal | None:
    """None if the table does not know the model, or not what such tokens cost."""
    model = _find(model_id)
    if model is None:
        return None
    rates = model.get_prices(at)
    # The library counts what has no rate as 0: models that are free somewhere, speech by the hour, embeddings.
    if (counts["input_tokens"] and rates.input_mtok is None) or (counts["output_tokens"] and rates.output_mtok is None):
        return None
    return rates.calc_price(_table().usage(**counts))["total_price"]


@dataclass(frozen=True)
class _Table:
    providers: "list[Provider]"
    usage: "type[TableUsage]"
    version: str

    def provider(self, name: str) -> "Provider | None":
        name = _OTHER_NAMES.get(name, name)
        for provider in self.providers:
            if provider.id == name:
                return provider
        matching = (each for each in self.providers if each.provider_match and each.provider_match.is_match(name))
        return next(matching, None)


@cache
def _table() -> _Table:
    """The table that came with the installed package; it is never fetched. Imported late: see `load_table`."""
    import genai_prices
    from genai_prices.data import providers

    return _Table(providers, genai_prices.Usage, f"genai-prices {genai_prices.__version__}")


# The library's own search keeps every name it was ever asked for, and knows few that say the provider.
@lru_cache(_KNOWN_NAMES)
def _find(model_id: str) -> "ModelInfo | None":
    table = _table()
    for provider, name in _readings(table, model_id.strip().lower()):
        if model := provider.find_model(name, all_providers=table.providers):
            return model
    return None


def _readings(table: _Table, name: str) -> Iterator[tuple["Provider", str]]:
    """What a name can mean, the likeliest first.

    A prefix that is no provider's, such as ollama/ or that of an organisation on Hugging Face, is left on: the same
    model on somebody's own machine has no list price.
    """
    if prefixed := _PREFIX.fullmatch(name):
        prefix, rest = prefixed.groups()
        if prefix in _GATEWAYS:
            yield from _readings(table, rest)
        elif provider := table.provider(prefix):
            yield provider, rest
            if "/" in rest:
                # bedrock/us-east-1/anthropic.claude-…
                yield provider, rest.rpartition("/")[2]
    for provider in table.providers:
        if provider.model_match is not None and provider.model_match.is_match(name):
            yield provider, name
    last = name.rpartition("/")[2]
    for pattern, id_ in ((_VERTEX, "google"), (_BEDROCK, "aws"), (_OPENAI, "openai")):
        if pattern.match(name) and (provider := table.provider(id_)):
            yield provider, last
