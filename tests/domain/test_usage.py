"""How many tokens were used, in everybody's words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.pings import understand
from domain.usage import MAX_MODEL_TEXT, MAX_TOKENS, Usage, mentions_gen_ai, understand_model, understand_usage
from tests.domain.builders import properties

OPENAI_CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "usage": {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 64,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
}
OPENAI_RESPONSE = {
    "model": "o3-2025-04-16",
    "usage": {
        "input_tokens": 328,
        "input_tokens_details": {"cached_tokens": 128},
        "output_tokens": 1052,
        "output_tokens_details": {"reasoning_tokens": 832},
        "total_tokens": 1380,
    },
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "model": "claude-sonnet-4-5-20250929",
    "usage": {
        "input_tokens": 50,
        "cache_creation_input_tokens": 248,
        "cache_read_input_tokens": 100_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
        "output_tokens": 503,
        "service_tier": "standard",
    },
}
GOOGLE = {
    "candidates": [],
    "usageMetadata": {
        "promptTokenCount": 1200,
        "cachedContentTokenCount": 1000,
        "candidatesTokenCount": 80,
        "thoughtsTokenCount": 420,
        "toolUsePromptTokenCount": 30,
        "totalTokenCount": 1730,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1200}],
    },
    "modelVersion": "gemini-2.5-flash",
}
OTEL_FLAT = {
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-5",
    "gen_ai.response.model": "claude-sonnet-4-5-20250929",
    "gen_ai.usage.input_tokens": 900,
    "gen_ai.usage.output_tokens": 180,
    "gen_ai.usage.cache_read.input_tokens": 500,
    "gen_ai.usage.cache_creation.input_tokens": 25,
    "gen_ai.usage.reasoning.output_tokens": 50,
}
OTEL_NESTED = {
    "gen_ai": {
        "request": {"model": "claude-sonnet-4-5"},
        "response": {"model": "claude-sonnet-4-5-20250929"},
        "usage": {
            "input_tokens": 900,
            "output_tokens": 180,
            "cache_read": {"input_tokens": 500},
            "cache_creation.input_tokens": 25,
            "reasoning": {"output_tokens": 50},
        },
    }
}
OTEL_HALF = {
    "gen_ai.usage": {"input_tokens": 7, "cache_read": {"input_tokens": 3}},
    "gen_ai": {"usage.output_tokens": 2},
}
BEDROCK = {"usage": {"inputTokens": 30, "outputTokens": 628, "totalTokens": 1658, "cacheReadInputTokens": 1000}}
LITELLM = {
    "usage": {
        "prompt_tokens": 1018,
        "completion_tokens": 20,
        "total_tokens": 1038,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 8,
    }
}
LANGCHAIN = {
    "usage_metadata": {
        "input_tokens": 350,
        "output_tokens": 240,
        "total_tokens": 590,
        "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
        "output_token_details": {"audio": 10, "reasoning": 200},
    }
}
XAI = {
    "usage": {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": 135,
        "completion_tokens_details": {"reasoning_tokens": 94},
    }
}

counts = st.none() | st.integers(0, MAX_TOKENS)


@pytest.mark.parametrize(
    ("payload", "usage"),
    [
        ({"usage": {"input_tokens": 1500, "output_tokens": 500, "total_tokens": 2000}}, Usage(1500, 500)),
        (OPENAI_CHAT, Usage(2006, 300, 1920, None, 64)),
        (OPENAI_RESPONSE, Usage(328, 1052, 128, None, 832)),
        (ANTHROPIC, Usage(100_298, 503, 100_000, 248)),
        (GOOGLE, Usage(1230, 500, 1000, None, 420)),
        ({"usage": GOOGLE["usageMetadata"]}, Usage(1230, 500, 1000, None, 420)),
        ({"usage_metadata": {"prompt_token_count": 5, "candidates_token_count": 6}}, Usage(5, 6)),
        (OTEL_FLAT, Usage(900, 180, 500, 25, 50)),
        (OTEL_NESTED, Usage(900, 180, 500, 25, 50)),
        (OTEL_HALF, Usage(7, 2, 3)),
        (BEDROCK, Usage(1030, 628, 1000)),
        (LITELLM, Usage(1018, 20, 1000, 8)),
        (LANGCHAIN, Usage(350, 240, 100, 200, 200)),
        (XAI, Usage(32, 103, None, None, 94)),
        ({"usage": {"input_tokens": 9, "output_tokens": 8, "cached_tokens": 7}}, Usage(9, 8, 7)),
        ({"usage": {"output_tokens": 9, "reasoning_tokens": 8}}, Usage(None, 9, None, None, 8)),
    ],
)
def test_every_provider_s_words_mean_the_same(payload: dict[str, Any], usage: Usage) -> None:
    assert understand_usage(payload) == usage


@pytest.mark.parametrize(
    ("payload", "usage"),
    [
        ({}, Usage()),
        ({"usage": None}, Usage()),
        ({"usage": {}}, Usage()),
        ({"usage": {"cpu": "half"}}, Usage()),
        ({"usage": {"input_tokens": None, "prompt_tokens": 4}}, Usage(4)),
        ({"usage": {"input_tokens": 3, "prompt_tokens": 4}}, Usage(3)),
        ({"usage": {"input_tokens": 0, "output_tokens": 0}}, Usage(0, 0)),
        ({"usage": {"input_tokens": 1e3}}, Usage(1000)),
        ({"usage": {"prompt_tokens": 4, "prompt_tokens_details": None}}, Usage(4)),
        ({"usage": {"prompt_tokens": 4, "prompt_tokens_details": [1]}}, Usage(4)),
        ({"usage": {"cpu": 1}, **OTEL_FLAT}, Usage(900, 180, 500, 25, 50)),
        ({"usage": {"input_tokens": 1}, **OTEL_FLAT}, Usage(1)),
        ({"usageMetadata": "none", "gen_ai": 5, "gen_ai.usage": "x"}, Usage()),
        ({"gen_airy.usage.input_tokens": 5}, Usage()),
        ({"usage": {"cache_read_input_tokens": 50}}, Usage(50, None, 50)),
    ],
)
def test_what_is_not_there_is_not_guessed(payload: dict[str, Any], usage: Usage) -> None:
    assert understand_usage(payload) == usage


@pytest.mark.parametrize(
    ("usage", "understood"),
    [
        ({"total_tokens": 2000}, Usage()),
        ({"input_tokens": 1500, "total_tokens": 2000}, Usage(1500, 500)),
        ({"completion_tokens": 500, "total_tokens": 2000}, Usage(1500, 500)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0)),
        ({"input_tokens": 1500, "total_tokens": 3}, Usage(1500)),
        ({"input_tokens": 10, "output_tokens": 10, "total_tokens": 99}, Usage(10, 10)),
    ],
)
def test_a_total_tells_what_one_side_leaves_open_and_is_never_split(usage: dict[str, int], understood: Usage) -> None:
    assert understand_usage({"usage": usage}) == understood


@pytest.mark.parametrize(
    ("usage", "understood"),
    [
        ({"prompt_tokens": 50, "cached_tokens": 4000}, Usage(4050, None, 4000)),
        ({"prompt_tokens": 50, "cached_tokens": 40, "cache_write_tokens": 30}, Usage(120, None, 40, 30)),
        ({"completion_tokens": 5, "reasoning_tokens": 40}, Usage(None, 45, None, None, 40)),
    ],
)
def test_parts_that_are_more_than_the_whole_were_counted_beside_it(usage: dict[str, int], understood: Usage) -> None:
    assert understand_usage({"usage": usage}) == understood


@properties
@given(
    st.dictionaries(
        st.sampled_from(
            ["input_tokens", "prompt_tokens", "output_tokens", "completion_tokens", "total_tokens", "cached_tokens"]
            + ["cache_read_input_tokens", "cache_creation_input_tokens", "cache_write_tokens", "reasoning_tokens"]
            + ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount"]
        ),
        counts,
    )
)
def test_no_whole_is_smaller_than_its_parts(members: dict[str, int | None]) -> None:
    usage = understand_usage({"usage": members})
    if usage.input_tokens is not None:
        assert usage.input_tokens >= (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0)
    if usage.output_tokens is not None:
        assert usage.output_tokens >= (usage.reasoning_tokens or 0)


@properties
@given(st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.lists(st.integers()), max_size=3))
def test_objects_that_count_no_tokens_say_nothing(members: dict[str, Any]) -> None:
    assert understand_usage({"usage": members, "gen_ai": members, "usageMetadata": members}) == Usage()


@pytest.mark.parametrize("value", [-1, "12", "many", True, False, 1e300, MAX_TOKENS + 1, float("nan"), [1], {"n": 1}])
@pytest.mark.parametrize(
    ("field", "wrap"),
    [
        ("usage.input_tokens", lambda value: {"usage": {"input_tokens": value}}),
        ("usage.total_tokens", lambda value: {"usage": {"input_tokens": 1, "total_tokens": value}}),
        ("usage.cache_read_input_tokens", lambda value: {"usage": {"cache_read_input_tokens": value}}),
        (
            "usage.prompt_tokens_details.cached_tokens",
            lambda value: {"usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": value}}},
        ),
        ("usageMetadata.thoughtsTokenCount", lambda value: {"usageMetadata": {"thoughtsTokenCount": value}}),
    ],
)
def test_a_count_that_is_none_is_refused_with_its_name(value: object, field: str, wrap: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        understand_usage(wrap(value))
    assert [item.field for item in refused.value.fields] == [field]


@pytest.mark.parametrize(
    "payload", [{"gen_ai.usage.output_tokens": "92"}, {"gen_ai": {"usage": {"output_tokens": -1}}}]
)
def test_an_attribute_is_named_as_opentelemetry_does(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        understand_usage(payload)
    assert [item.field for item in refused.value.fields] == ["gen_ai.usage.output_tokens"]


def test_usage_must_be_an_object() -> None:
    with pytest.raises(InvalidRequest, match="usage: must be an object"):
        understand_usage({"usage": [5]})


@pytest.mark.parametrize(
    ("payload", "model"),
    [
        ({}, None),
        ({"model_id": "m2", "model": "m1"}, "m2"),
        ({"model": "OpenAI/GPT-4o "}, "OpenAI/GPT-4o "),
        ({"model": "", **OTEL_FLAT}, "claude-sonnet-4-5-20250929"),
        ({"model": {"name": "m"}}, None),
        (OTEL_NESTED, "claude-sonnet-4-5-20250929"),
        ({"gen_ai.request.model": "o3"}, "o3"),
        ({"gen_ai": {"request": {"model": "o3"}}}, "o3"),
    ],
)
def test_the_model_is_kept_as_it_was_sent(payload: dict[str, Any], model: str | None) -> None:
    assert understand_model(payload) == model


@pytest.mark.parametrize("field", ["model_id", "model", "gen_ai.response.model", "gen_ai.request.model"])
def test_a_model_s_name_has_a_limit(field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        understand_model({field: "m" * (MAX_MODEL_TEXT + 1)})
    assert [item.field for item in refused.value.fields] == [field]


def test_attributes_are_sought_no_deeper_than_any_of_them_lies() -> None:
    deep: dict[str, Any] = {"input_tokens": 5}
    for _ in range(900):
        deep = {"usage": deep}
    assert understand_usage({"gen_ai": deep}) == Usage()


@pytest.mark.parametrize("payload", [ANTHROPIC, OTEL_FLAT, OTEL_NESTED])
def test_a_report_carries_the_usage(payload: dict[str, Any]) -> None:
    report = understand(payload)
    assert report.model_id == "claude-sonnet-4-5-20250929"
    assert report.usage == payload.get("usage")
    assert understand_usage(payload) == Usage(
        report.input_tokens,
        report.output_tokens,
        report.cached_tokens,
        report.cache_write_tokens,
        report.reasoning_tokens,
    )


def test_google_s_own_document_is_reported() -> None:
    report = understand(GOOGLE)
    assert (report.input_tokens, report.output_tokens, report.usage) == (1230, 500, None)


@pytest.mark.parametrize(
    ("payload", "mentioned"), [({}, False), ({"usage": {}}, False), ({"gen_ai.usage.input_tokens": 1}, True)]
)
def test_attributes_are_noticed(payload: dict[str, Any], mentioned: bool) -> None:
    assert mentions_gen_ai(payload) is mentioned
