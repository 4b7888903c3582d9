"""How many tokens a ping reports, in the words of whichever provider or framework counted them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from domain.errors import InvalidRequest

MAX_TOKENS: Final = 2**53
MAX_MODEL_TEXT: Final = 256


@dataclass(frozen=True)
class Usage:
    """Tokens; None is what nothing is said about.

    `input_tokens` is the whole input: `cached_tokens`, read from the provider's cache, and `cache_write_tokens`,
    written to it, are parts of it. `output_tokens` is the whole output, `reasoning_tokens` a part of it.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


_NOTHING_SAID: Final = Usage()

# Of several names the first that is there counts. A dot leads into a member that is an object.
_INPUT: Final = ("input_tokens", "prompt_tokens", "promptTokenCount", "prompt_token_count", "inputTokens")
_OUTPUT: Final = (
    "output_tokens",
    "completion_tokens",
    "candidatesTokenCount",
    "candidates_token_count",
    "outputTokens",
)
_TOTAL: Final = ("total_tokens", "totalTokenCount", "total_token_count", "totalTokens")
_CACHED: Final = (
    # OpenAI: chat completions and responses
    *("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens"),
    # OpenTelemetry, Google, LangChain; then the plain names
    *("cache_read.input_tokens", "cachedContentTokenCount", "cached_content_token_count"),
    *("input_token_details.cache_read", "cached_tokens", "cache_read_tokens"),
)
_WRITTEN: Final = (
    *("prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens"),
    *("cache_creation.input_tokens", "cache_write.input_tokens"),
    *("input_token_details.cache_creation", "cache_write_tokens"),
)
_REASONING: Final = (
    *("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
    *("output_tokens_details.thinking_tokens", "reasoning.output_tokens"),
    *("output_token_details.reasoning", "reasoning_tokens"),
)
# Anthropic and Bedrock count these beside the input, Google these beside the prompt and the candidates.
_CACHED_BESIDE: Final = ("cache_read_input_tokens", "cacheReadInputTokens")
_WRITTEN_BESIDE: Final = ("cache_creation_input_tokens", "cacheWriteInputTokens")
_INPUT_BESIDE: Final = ("toolUsePromptTokenCount", "tool_use_prompt_token_count")
_REASONING_BESIDE: Final = ("thoughtsTokenCount", "thoughts_token_count")

_OTEL: Final = "gen_ai"
_OTEL_USAGE: Final = "gen_ai.usage"
_OTEL_DEPTH: Final = 4


def understand_usage(payload: Mapping[str, Any]) -> Usage:
    """What a payload says in `usage`, in Google's `usageMetadata` or in OpenTelemetry's `gen_ai.usage.…`: the first of
    them that counts anything.

    Raises InvalidRequest naming a count that is none.
    """
    for account in _accounts(payload):
        usage = _read(account)
        if usage != _NOTHING_SAID:
            return usage
    return _NOTHING_SAID


def understand_model(payload: Mapping[str, Any]) -> str | None:
    """The model's name as it was sent; of OpenTelemetry's two the one that answered. Raises InvalidRequest if it is too
    long."""
    for field in ("model_id", "model"):
        if name := _model(field, payload.get(field)):
            return name
    attributes = _otel_attributes(payload)
    for field in ("gen_ai.response.model", "gen_ai.request.model"):
        if name := _model(field, attributes.get(field)):
            return name
    return None


def mentions_gen_ai(payload: Mapping[str, Any]) -> bool:
    """Whether any member may be one of OpenTelemetry's attributes, which are not known by their first name alone."""
    return any(name.startswith(_OTEL) for name in payload)


@dataclass(frozen=True)
class _Account:
    """An object that counts tokens; `name` is where it was found."""

    name: str
    members: Mapping[str, Any]

    def find(self, names: tuple[str, ...]) -> tuple[str | None, int | None]:
        for name in names:
            value = self.members.get(name)
            if value is None and "." in name:
                outer, _, inner = name.partition(".")
                details = self.members.get(outer)
                value = details.get(inner) if isinstance(details, Mapping) else None
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS:
                raise InvalidRequest.of_field(f"{self.name}.{name}", "must be a whole number of tokens, 0 or more")
            return name, int(value)
        return None, None

    def count(self, names: tuple[str, ...]) -> int | None:
        return self.find(names)[1]


def _accounts(payload: Mapping[str, Any]) -> Iterator[_Account]:
    usage = payload.get("usage")
    if usage is not None and not isinstance(usage, Mapping):
        raise InvalidRequest.of_field("usage", 'must be an object such as {"input_tokens": 1500}')
    if usage:
        yield _Account("usage", usage)
    for name in ("usageMetadata", "usage_metadata"):
        if isinstance(metadata := payload.get(name), Mapping):
            yield _Account(name, metadata)
    prefix = f"{_OTEL_USAGE}."
    attributes = _otel_attributes(payload).items()
    if counted := {name.removeprefix(prefix): value for name, value in attributes if name.startswith(prefix)}:
        yield _Account(_OTEL_USAGE, counted)


def _read(account: _Account) -> Usage:
    input_name, stated_input = account.find(_INPUT)
    stated_output, total = account.count(_OUTPUT), account.count(_TOTAL)
    cached, cached_beside = account.count(_CACHED), account.count(_CACHED_BESIDE)
    written, written_beside = account.count(_WRITTEN), account.count(_WRITTEN_BESIDE)
    reasoning, reasoning_beside = account.count(_REASONING), account.count(_REASONING_BESIDE)

    # With the name prompt_tokens, as gateways that speak OpenAI's dialect send it, Anthropic's names are parts too;
    # OpenTelemetry wants all parts included.
    beside = account.name != _OTEL_USAGE and input_name in (None, "input_tokens", "inputTokens")
    inside, outside = 0, account.count(_INPUT_BESIDE) or 0
    for part, other in ((cached, cached_beside), (written, written_beside)):
        if part is None and beside:
            outside += other or 0
        else:
            inside += (part if part is not None else other) or 0
    whole_input = _whole(stated_input, inside, outside)

    inside, outside = reasoning or 0, 0 if reasoning is not None else reasoning_beside or 0
    # xAI reports the reasoning as if it were part of the completion, and only the total tells that it is not.
    if reasoning and total == (whole_input or 0) + (stated_output or 0) + reasoning:
        inside, outside = 0, reasoning
    whole_output = _whole(stated_output, inside, outside)

    # A total alone cannot be split, and input and output have different prices: it stays in the payload, and the ping
    # has no tokens. With one of the two it says the other.
    if total is not None and whole_input is None and whole_output is not None and total >= whole_output:
        whole_input = max(total - whole_output, (cached or 0) + (written or 0))
    elif total is not None and whole_output is None and whole_input is not None and total >= whole_input:
        whole_output = max(total - whole_input, reasoning or 0)
    return Usage(
        input_tokens=whole_input,
        output_tokens=whole_output,
        cached_tokens=cached if cached is not None else cached_beside,
        cache_write_tokens=written if written is not None else written_beside,
        reasoning_tokens=reasoning if reasoning is not None else reasoning_beside,
    )


def _whole(stated: int | None, inside: int, outside: int) -> int | None:
    """`stated` and what was counted `outside` of it. No whole is smaller than its parts: whoever sends such a one
    counted the parts apart, under a name that says otherwise."""
    if stated is None:
        return inside + outside if outside else None
    return stated + outside + (inside if inside > stated else 0)


def _model(field: str, value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    if len(value) > MAX_MODEL_TEXT:
        raise InvalidRequest.of_field(field, f"is longer than {MAX_MODEL_TEXT} characters")
    return value


def _otel_attributes(payload: Mapping[str, Any]) -> dict[str, Any]:
    """OpenTelemetry's attributes by their dotted names, whether they were sent so or nested."""
    found: dict[str, Any] = {}
    rest = [(name, payload[name]) for name in payload if name.startswith(_OTEL)]
    while rest:
        name, value = rest.pop()
        if not isinstance(value, Mapping):
            found[name] = value
        elif name.count(".") < _OTEL_DEPTH:
            rest += [(f"{name}.{inner}", item) for inner, item in value.items()]
    return found
