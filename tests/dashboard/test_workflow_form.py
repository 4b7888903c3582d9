"""Texts of the form of a workflow: stages in lines, durations, and what of it is sent on."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.forms import Form
from api.dashboard.workflow_budget import Gauge, texts_of, values_of
from api.dashboard.workflow_failed import ADVICE
from api.dashboard.workflow_form import NEW, at_its_field, changed_values, new_values, read_stages, stage_lines
from domain.budgets import Action
from domain.errors import Conflict, FieldError, InvalidRequest
from domain.verdicts import REJECTIONS


def stage(order: int, name: str | None, timeout_seconds: float | None = None) -> dict[str, Any]:
    return {"order": order, "name": name, "timeout_seconds": timeout_seconds}


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("", []),
        (" \n\n", []),
        ("Collect\nTrain | 45 min\n\n  Publish|1h 30m ", [stage(1, "Collect"), stage(2, "Train", 2700.0),
                                                          stage(3, "Publish", 5400.0)]),
        ("| 90", [stage(1, None, 90.0)]),
        ("|", [stage(1, None)]),
        ("a | b |", [stage(1, "a | b")]),
        ("a | b | 5 s", [stage(1, "a | b", 5.0)]),
        ("Load, then wait: 5", [stage(1, "Load, then wait: 5")]),
    ],
)  # fmt: skip
def test_a_line_is_a_stage(text: str, stages: list[dict[str, Any]]) -> None:
    assert read_stages(text) == stages


def test_a_timeout_that_is_none_is_told_with_its_stage() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_stages("Collect\nTrain | soon")
    (field,) = refused.value.fields
    assert field.field == "stages"
    assert field.message.startswith("has a timeout at stage 2 that must be a duration such as")


NAMES = st.none() | st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=20)
TIMEOUTS = st.none() | st.integers(1, 10**7).map(float) | st.floats(0.001, 1e6)


@given(st.lists(st.tuples(NAMES, TIMEOUTS), min_size=1, max_size=5))
def test_what_is_shown_of_stages_is_read_as_the_same(stages: list[tuple[str | None, float | None]]) -> None:
    read = read_stages(stage_lines(stages))
    assert [(one["name"], one["timeout_seconds"]) for one in read] == stages


def form(**fields: str | list[str]) -> Form:
    return Form(
        (name, value) for name, given in fields.items() for value in ([given] if isinstance(given, str) else given)
    )


def test_a_new_one_is_made_of_what_was_sent() -> None:
    values = new_values(
        form(
            **{**NEW, "name": " ETL ", "kind": "static", "stages": "A\nB | 1m", "tags": "x, y,", "slug": " "},
            id=" ",
            channels=["c1", "c2"],
        )
    )
    assert values == {
        "name": "ETL",
        "kind": "static",
        "id": None,
        "slug": None,
        "validation_mode": "flexible",
        "stages": [stage(1, "A"), stage(2, "B", 60.0)],
        "stage_timeout_seconds": None,
        "instance_timeout_seconds": None,
        "idle_timeout_seconds": 86_400.0,
        "grace_period_seconds": 60.0,
        "tags": ["x", "y"],
        "channels": ["c1", "c2"],
    }


def test_every_field_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        new_values(
            form(kind="static", stages="a | x", stage_timeout_seconds="1 parsec", grace_period_seconds=" ", name="n")
        )
    assert [field.field for field in refused.value.fields] == [
        "stages",
        "stage_timeout_seconds",
        "grace_period_seconds",
    ]


def test_only_what_was_changed_is_sent_on() -> None:
    before = {**NEW, "name": "ETL", "slug": "etl", "tags": "a, b"}
    same = {name: text for name, text in before.items() if name != "validation_mode"}
    assert changed_values(form(**same, channels=["c2", "c1"]), before, ["c1", "c2"]) == {}
    changed = form(**{**same, "name": " New ", "idle_timeout_seconds": "", "tags": ""})
    assert changed_values(changed, before, ["c1"]) == {
        "name": "New", "idle_timeout_seconds": None, "tags": [], "channels": []
    }  # fmt: skip
    with pytest.raises(InvalidRequest, match="slug: is missing"):
        changed_values(form(**{**same, "slug": " "}), before, [])


OUR_WORDS = [
    (
        "stages.0.name",
        "must have at most 200 characters",
        "stages",
        "has a stage, number 1, whose name must have at most",
    ),
    (
        "stages.2.timeout_seconds",
        "Input should be greater than 0",
        "stages",
        "has a stage, number 3, whose timeout must",
    ),
    ("tags.1", "must have at most 50 characters", "tags", "has a tag, number 2, whose text must have at most 50"),
    ("slug", "String should match pattern '^x$'", "slug", "must be of a-z, 0-9, _ - and ., and begin and end with"),
    ("name", "String should have at least 1 character", "name", "must have at least 1 character"),
    ("kind", "is odd", "kind", "is odd"),
]


@pytest.mark.parametrize(("field", "message", "shown_at", "words"), OUR_WORDS)
def test_what_is_wrong_is_told_at_the_field_that_shows_it(field: str, message: str, shown_at: str, words: str) -> None:
    told = at_its_field(InvalidRequest("no", fields=(FieldError(field, message), FieldError(field, "again"))))
    (one,) = told.fields
    assert one.field == shown_at
    assert one.message.startswith(words)


def test_an_error_without_fields_stays_as_it_is() -> None:
    error = Conflict("The slug is taken.")
    assert at_its_field(error) is error


def test_every_rejection_has_an_advice() -> None:
    assert ADVICE.keys() == REJECTIONS.keys()


def test_amounts_of_a_budget_stay_texts() -> None:
    sent = form(
        budget_enabled="yes", budget_limit_usd=" $12.000000000001 ", max_pings_per_instance="40",
        max_visits_per_stage="4.5", resume_approvers="a@example.com\nb@example.com",
    )  # fmt: skip
    assert values_of(sent) == {
        "budget_enabled": True,
        "cost_anomaly_detection": False,
        "budget_limit_usd": "12.000000000001",
        "budget_alert_threshold_usd": None,
        "budget_daily_limit_usd": None,
        "cost_anomaly_multiplier": None,
        "cost_anomaly_floor_usd": None,
        "max_pings_per_instance": 40,
        "max_visits_per_stage": "4.5",
        "budget_action": Action.ALERT,
        "resume_approvers": ["a@example.com", "b@example.com"],
    }


def test_where_there_is_no_budget_saving_enables_one() -> None:
    texts = texts_of(None)
    assert (texts["budget_enabled"], texts["budget_limit_usd"], texts["cost_anomaly_multiplier"]) == (True, "", "3")


@pytest.mark.parametrize(
    ("spent", "limit", "share", "tone"),
    [(None, None, None, "good"), ("1", "4", 0.25, "good"), ("3.2", "4", 0.8, "warn"), ("4", "4", 1.0, "warn"),
     ("4.01", "4", 1.0025, "bad"), (None, "4", 0.0, "good")],
)  # fmt: skip
def test_a_gauge_is_as_full_as_the_limit_is_spent(
    spent: str | None, limit: str | None, share: float | None, tone: str
) -> None:
    gauge = Gauge(Decimal(spent) if spent else None, Decimal(limit) if limit else None)
    assert (gauge.share, gauge.tone) == (share, tone)
