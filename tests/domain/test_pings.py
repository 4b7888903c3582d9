"""How the many words of callers are understood."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.pings import MAX_ERROR_TEXT, PingStatus, Report, understand, understand_status
from tests.domain.builders import FAILED, HEALTHY, PENDING, properties


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["success", "ok", "healthy", "OK", "done", "completed", "", "anything else", "✓"], HEALTHY),
        (["failed", "fail", "error", "Failed", " ERROR ", "timed-out", "timed out", "upstream_failed"], FAILED),
        (["ko", "NOK", "unhealthy", "panic", "exit 1", "Exit code 2", "not ok"], FAILED),
        (["exit 0", "exit code 0"], HEALTHY),
        # What Airflow calls its states, and its provider.
        (["dag_failed", "upstream_failed"], FAILED),
        (["dag_success", "skipped", "removed"], HEALTHY),
        (["scheduled", "deferred", "restarting", "up_for_retry", "up_for_reschedule"], PENDING),
        (["pending", "running", "in progress", "In-Progress", "queued"], PENDING),
        ([0, 0.0, "0", "00", "-0", True, None, [], {}], HEALTHY),
        ([1, -1, 137, 0.5, "1", "-9", "+2", "010", False, "false"], FAILED),
    ],
)
def test_status_words_and_exit_codes(words: list[object], status: PingStatus) -> None:
    assert {str(word): understand_status(word) for word in words} == {str(word): status for word in words}


@properties
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists))
def test_any_status_is_understood_somehow(value: object) -> None:
    assert understand_status(value) in PingStatus


@pytest.mark.parametrize(
    ("payload", "report"),
    [
        ({}, Report()),
        ({"rows": 5}, Report()),
        ({"status": "failed", "error": "boom"}, Report(FAILED, "boom")),
        ({"exit_code": 2}, Report(FAILED)),
        ({"status": "ok", "exit_code": 2}, Report(HEALTHY)),
        ({"error": {"code": 5}}, Report(error='{"code": 5}')),
        ({"error": ""}, Report()),
        ({"duration": 1.5}, Report(duration_ms=1500)),
        ({"duration_ms": 20, "duration": 7}, Report(duration_ms=20)),
        ({"duration": "12 minutes"}, Report()),
        ({"handoff_reason": "too hard", "model": "m1"}, Report(handoff_reason="too hard", model_id="m1")),
        ({"model_id": "m2", "model": "m1"}, Report(model_id="m2")),
        (
            {"usage": {"input_tokens": 10, "completion_tokens": 4}},
            Report(usage={"input_tokens": 10, "completion_tokens": 4}, input_tokens=10, output_tokens=4),
        ),
        ({"cost_usd": 0.1}, Report(cost_usd=Decimal("0.1"))),
        ({"cost_usd": "12.50"}, Report(cost_usd=Decimal("12.50"))),
        ({"tool_calls": [{"name": "search"}]}, Report(tool_calls=[{"name": "search"}])),
    ],
)
def test_payloads_are_understood(payload: dict[str, Any], report: Report) -> None:
    assert understand(payload) == report


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"usage": 5}, "usage"),
        ({"usage": {"input_tokens": -1}}, "usage.input_tokens"),
        ({"usage": {"output_tokens": "many"}}, "usage.output_tokens"),
        ({"usage": {"prompt_tokens": True}}, "usage.prompt_tokens"),
        ({"usage": {"input_tokens": float("nan")}}, "usage.input_tokens"),
        ({"tool_calls": {}}, "tool_calls"),
        ({"duration": -1}, "duration"),
        ({"duration_ms": 1e300}, "duration_ms"),
        ({"duration": float("nan")}, "duration"),
        ({"cost_usd": -0.01}, "cost_usd"),
        ({"cost_usd": "a lot"}, "cost_usd"),
        ({"cost_usd": True}, "cost_usd"),
        ({"cost_usd": "NaN"}, "cost_usd"),
        ({"cost_usd": "1e400"}, "cost_usd"),
        ({"model_id": "m" * 257}, "model_id"),
        ({"handoff_reason": "r" * 257}, "handoff_reason"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_the_field_named(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        understand(payload)
    assert [item.field for item in refused.value.fields] == [field]


def test_a_long_error_keeps_its_beginning() -> None:
    error = understand({"error": "x" * 1000}).error
    assert error == "x" * (MAX_ERROR_TEXT - 1) + "…"
