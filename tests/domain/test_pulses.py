"""What a pulse may be defined as, and how it reads its pings."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from domain.errors import InvalidRequest
from domain.instances import Outage
from domain.maintenance import MaintenanceWindow
from domain.pings import Event
from domain.pulses import PulseDefinition, PulseState, PulseStatus, first_state, interpret, validate
from domain.schedules import Cron, Every
from tests.domain.builders import at
from tests.domain.pulse_builders import pulse

FILTERS = {"failure_keywords": ("Error",), "success_keywords": ("DONE",), "ignore_keywords": ("debug",)}


@pytest.mark.parametrize(
    ("keywords", "body", "event"),
    [
        ({}, None, Event.SUCCESS),
        ({}, "error", Event.SUCCESS),
        (FILTERS, None, Event.SUCCESS),
        (FILTERS, "", Event.SUCCESS),
        (FILTERS, "an ERROR, but done", Event.FAIL),
        (FILTERS, "debug: all done", Event.SUCCESS),
        (FILTERS, "debug", Event.LOG),
        (FILTERS, "something else", Event.LOG),
        ({"ignore_keywords": ("debug",)}, "Debugging", Event.LOG),
        ({"ignore_keywords": ("debug",)}, "something else", Event.SUCCESS),
        ({"failure_keywords": ("error",)}, "something else", Event.SUCCESS),
        ({"failure_keywords": ("STRASSE",)}, "straße", Event.FAIL),
    ],
)
def test_keywords_say_what_a_plain_ping_means(keywords: dict[str, Any], body: str | None, event: Event) -> None:
    assert interpret(pulse(**keywords), body) is event


def test_a_schedule_is_a_period_or_a_cron_expression() -> None:
    assert pulse(period_seconds=60.0).schedule == Every(60)
    assert pulse(cron="0 3 * * *", timezone="Asia/Kolkata").schedule == Cron("0 3 * * *", "Asia/Kolkata")


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ({"period_seconds": None}, ["period_seconds"]),
        ({"period_seconds": 60.0, "cron": "* * * * *"}, ["cron"]),
        ({"period_seconds": 0.5}, ["period_seconds"]),
        ({"period_seconds": float("nan")}, ["period_seconds"]),
        ({"period_seconds": 367 * 86_400.0}, ["period_seconds"]),
        ({"cron": ""}, ["cron"]),
        ({"cron": "0 0 31 4 *"}, ["cron"]),
        ({"timezone": "Mars"}, ["timezone"]),
        ({"grace_seconds": -1.0}, ["grace_seconds"]),
        ({"start_grace_seconds": -1.0}, ["start_grace_seconds"]),
        ({"min_duration_seconds": 10.0, "max_duration_seconds": 5.0}, ["min_duration_seconds"]),
        ({"alert_after": 0}, ["alert_after"]),
        ({"alert_after": 101}, ["alert_after"]),
        ({"reminder_seconds": 59.0}, ["reminder_seconds"]),
        ({"name": ""}, ["name"]),
        ({"name": "x" * 201, "slug": ""}, ["name", "slug"]),
        ({"tags": ("x",) * 21}, ["tags"]),
        ({"failure_keywords": ("",)}, ["failure_keywords"]),
        ({"success_keywords": ("x" * 201,)}, ["success_keywords"]),
        ({"depends_on": ("p1",)}, ["depends_on"]),
        ({"depends_on": tuple(map(str, range(21)))}, ["depends_on"]),
        ({"maintenance": (MaintenanceWindow(at(0), at(1)), MaintenanceWindow())}, ["maintenance.1.starts_at"]),
        ({"maintenance": (MaintenanceWindow(at(0), at(1)),) * 21}, ["maintenance"]),
        ({"grace_seconds": -1.0, "alert_after": 0}, ["grace_seconds", "alert_after"]),
    ],
)
def test_every_field_that_is_wrong_is_named(rules: dict[str, Any], wrong: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validate(pulse(**rules))
    assert [item.field for item in refused.value.fields] == wrong


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"period_seconds": 1.0, "grace_seconds": 0.0},
        {"cron": "0 3 29 2 *", "timezone": "Europe/Berlin"},
        {"min_duration_seconds": 5.0, "max_duration_seconds": 5.0, "reminder_seconds": 60.0, "alert_after": 100},
        {"depends_on": ("p2",), "tags": ("x",), "maintenance": (MaintenanceWindow(at(0), at(1)),), **FILTERS},
    ],
)
def test_what_can_be_meant_is_accepted(rules: dict[str, Any]) -> None:
    validate(pulse(**rules))


def test_a_definition_and_a_state_travel_as_json() -> None:
    window = MaintenanceWindow(cron="0 2 * * *", duration_seconds=60.0)
    definition = pulse(tags=("db",), maintenance=(window,), paused_at=at(5), awaited_since=at(1), **FILTERS)
    state = PulseState(PulseStatus.DOWN, at(1), runs={"": at(2), "a": at(3)}, outages=(Outage(at(4), at(5)),))
    definitions, states = TypeAdapter(PulseDefinition), TypeAdapter(PulseState)
    assert definitions.validate_json(definitions.dump_json(definition)) == definition
    assert states.validate_json(states.dump_json(state)) == state


def test_a_pulse_begins_new_or_paused() -> None:
    assert first_state(pulse()) == PulseState()
    assert first_state(pulse(paused_at=at(5))) == PulseState(PulseStatus.PAUSED, since=at(5))
    assert first_state(pulse(awaited_since=at(1))) == PulseState(base=at(1))
    assert first_state(pulse(awaited_since=at(1), paused_at=at(5))) == PulseState(PulseStatus.PAUSED, since=at(5))
