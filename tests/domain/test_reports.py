"""What a report of a run says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.pings import MAX_DURATION_MS, PingStatus
from domain.reports import LastReport, RunReport, is_repetition, read_report

ENDED = "2026-01-15T09:00:04Z"
AT = datetime(2026, 1, 15, 9, 0, 4, tzinfo=UTC)
GOOD: dict[str, Any] = {"workflow_id": "w", "ended_at": ENDED}
HEALTHY, FAILED = PingStatus.HEALTHY, PingStatus.FAILED


def said(*, failed: bool = False, **members: Any) -> RunReport:
    return read_report({**GOOD, **members}, failed=failed)


def wrong(*, failed: bool = False, **members: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        said(failed=failed, **members)
    return {error.field: error.message for error in caught.value.fields}


def test_the_least_of_a_report() -> None:
    assert said() == RunReport(HEALTHY, AT, workflow_id="w")
    assert said().document() == {"ended_at": ENDED}


def test_all_of_a_report() -> None:
    members = {
        "workflow_slug": "lead-enrichment",
        "started_at": "2026-01-15T10:00:00+01:00",
        "external_execution_id": 1234,
        "source_platform": "n8n",
        "source_workflow_id": "7",
        "correlation_id": "order-1",
        "metadata": '{"rows": 3}',
        "error_message": {"message": "boom"},
        "error_type": "RateLimitError",
        "instance_id": "rabc45678",
        "extra": [1, None],
        "key": "ppk_x",
    }
    report = said(failed=True, **members)
    assert report.duration_ms == 4000
    assert report.instance_id == "rabc45678"
    assert report.document() == {
        "started_at": "2026-01-15T09:00:00Z",
        "ended_at": ENDED,
        "duration_ms": 4000,
        "external_execution_id": "1234",
        "source_platform": "n8n",
        "source_workflow_id": "7",
        "correlation_id": "order-1",
        "metadata": {"rows": 3},
        "error_message": "boom",
        "error_type": "RateLimitError",
        "extra": [1, None],
    }


@pytest.mark.parametrize("nothing", [None, "", " ", "null", "undefined"])
def test_nothing_in_an_optional_field_is_as_if_it_were_left_out(nothing: Any) -> None:
    optional = (
        "started_at duration_ms external_execution_id source_platform source_workflow_id correlation_id metadata "
        "error_message error_type instance_id workflow_name"
    )
    assert said(**dict.fromkeys(optional.split(), nothing)) == said()


@pytest.mark.parametrize(
    ("members", "failed", "fields"),
    [
        ({"ended_at": None}, False, {"ended_at"}),
        ({"ended_at": "soon"}, False, {"ended_at"}),
        ({"workflow_id": ""}, False, {"workflow_id"}),
        ({"workflow_id": {"__rl": True}}, False, {"workflow_id"}),
        ({}, True, {"error_message"}),
        ({"error_message": " "}, True, {"error_message"}),
        ({"error_message": {}}, True, {"error_message"}),
        ({"error_message": []}, True, {"error_message"}),
        ({"error_message": False}, True, {"error_message"}),
        ({"ended_at": "22 Nov 2026 20:00 CET"}, False, {"ended_at"}),
        ({"started_at": "2026-01-15T09:00:00[Europe/Berlin]"}, False, {"started_at"}),
        ({"started_at": "2026-01-15T09:00:05Z"}, False, {"ended_at"}),
        ({"started_at": "2024-01-15T09:00:05Z"}, False, {"started_at"}),
        ({"duration_ms": -1}, False, {"duration_ms"}),
        ({"duration_ms": MAX_DURATION_MS + 1}, False, {"duration_ms"}),
        ({"metadata": [1]}, False, {"metadata"}),
        ({"metadata": "text"}, False, {"metadata"}),
        ({"correlation_id": ["a"]}, False, {"correlation_id"}),
        ({"error_type": "x" * 257}, False, {"error_type"}),
        ({"source_platform": True, "started_at": "x", "ended_at": ""}, True,
         {"source_platform", "started_at", "ended_at", "error_message"}),
    ],
)  # fmt: skip
def test_every_field_that_is_missing_or_wrong_is_named(members: dict[str, Any], failed: bool, fields: set[str]) -> None:
    assert set(wrong(failed=failed, **members)) == fields


@pytest.mark.parametrize(
    ("members", "duration_ms", "started_at"),
    [
        ({"started_at": "2026-01-15T09:00:00Z"}, 4000, "2026-01-15T09:00:00Z"),
        ({"started_at": "2026-01-15T09:00:00Z", "duration_ms": "12.5"}, 12, "2026-01-15T09:00:00Z"),
        ({"duration_ms": 1500}, 1500, "2026-01-15T09:00:02.500000Z"),
        ({"started_at": ENDED}, 0, ENDED),
        ({}, None, None),
    ],
)
def test_duration_and_start_follow_from_each_other(
    members: dict[str, Any], duration_ms: int | None, started_at: str | None
) -> None:
    document = said(**members).document()
    assert (document.get("duration_ms"), document.get("started_at")) == (duration_ms, started_at)


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just([1])
fields = st.sampled_from(
    ["workflow_id", "workflow_slug", "ended_at", "started_at", "duration_ms", "metadata", "correlation_id", "other"]
)
times = st.datetimes(AT.replace(tzinfo=None), timezones=st.just(UTC)).map(datetime.isoformat)


@given(st.dictionaries(fields, values | times), st.booleans())
def test_whatever_is_sent_is_understood_or_refused_by_name(members: dict[str, Any], failed: bool) -> None:
    try:
        report = read_report(members, failed=failed)
    except InvalidRequest as refused:
        named = {item.field for item in refused.fields}
        assert named
        assert named <= {*members, "workflow_id", "ended_at", "error_message"}
        return
    assert report.started_at is None or report.started_at <= report.ended_at
    assert report.duration_ms is None or 0 <= report.duration_ms <= MAX_DURATION_MS
    assert read_report({**report.document(), "workflow_id": "w"}, failed=failed).document() == report.document()


LATER = AT + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("known", "status", "ended_at", "repeats"),
    [
        (LastReport(HEALTHY, AT), HEALTHY, AT, True),
        (LastReport(HEALTHY, AT), HEALTHY, LATER, True),
        (LastReport(HEALTHY, AT), FAILED, AT, True),
        (LastReport(HEALTHY, LATER), FAILED, AT, True),
        (LastReport(HEALTHY, AT), FAILED, LATER, False),
        (LastReport(FAILED, AT), HEALTHY, AT, False),
        (LastReport(FAILED, LATER), HEALTHY, AT, False),
        (LastReport(FAILED, AT), FAILED, AT, True),
        (LastReport(FAILED, AT), FAILED, LATER, False),
        (LastReport(HEALTHY, None), HEALTHY, None, True),
        (LastReport(HEALTHY, None), FAILED, AT, False),
        (LastReport(FAILED, AT), FAILED, None, False),
    ],
)
def test_which_reports_say_nothing_new(
    known: LastReport, status: PingStatus, ended_at: datetime | None, repeats: bool
) -> None:
    assert is_repetition(known, status, ended_at) is repeats


@given(st.lists(st.tuples(st.sampled_from([HEALTHY, FAILED]), st.integers(0, 3)), min_size=1, max_size=6))
def test_what_was_said_once_is_not_said_again(reports: list[tuple[PingStatus, int]]) -> None:
    """Sent again at once, every report is a repetition; and a run that has succeeded fails only by a later end."""
    known: LastReport | None = None
    for status, second in reports:
        at = AT + timedelta(seconds=second)
        if known is None or not is_repetition(known, status, at):
            if known is not None and known.status is HEALTHY:
                assert known.ended_at is not None
                assert at > known.ended_at
            known = LastReport(status, at)
            assert is_repetition(known, status, at)
