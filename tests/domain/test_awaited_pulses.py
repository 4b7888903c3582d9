"""Pulses that are expected to ping from the moment on at which they are set up."""

from typing import Any

import pytest

from domain.instances import Outage
from domain.maintenance import MaintenanceWindow
from domain.pings import Event, PingFact
from domain.pulse_rules import Advanced, advance, expectation, next_deadline, outages_matter_since, redefine
from domain.pulses import PulseDefinition, PulseState, first_state
from tests.domain.builders import at
from tests.domain.pulse_builders import ok, pulse, said, story


def awaited(**rules: Any) -> PulseDefinition:
    """Since noon; due every 100 s, with a grace of 10 s."""
    return pulse(awaited_since=at(0), **rules)


def after(definition: PulseDefinition, *pings: PingFact, until: float) -> Advanced:
    return advance(definition, first_state(definition), pings, at(until))


@pytest.mark.parametrize(
    ("rules", "pings", "until", "expected"),
    [
        # It never pings.
        ({}, [], 99.9, []),
        ({}, [], 100, [(100, "late")]),
        ({}, [], 1e6, [(100, "late"), (110, "down")]),
        ({"grace_seconds": 0.0}, [], 1e6, [(100, "late"), (100, "down")]),
        ({"alert_after": 3}, [], 1e6, [(100, "late"), (310, "down")]),
        ({"cron": "5 12 * * *", "period_seconds": None}, [], 1e6, [(300, "late"), (310, "down")]),
        # Its first ping, in time, in its grace, too late.
        ({}, [ok(100)], 150, [(100, "up")]),
        ({}, [ok(40)], 1e6, [(40, "up"), (140, "late"), (150, "down")]),
        ({}, [ok(105)], 150, [(100, "late"), (105, "up")]),
        ({}, [ok(500)], 550, [(100, "late"), (110, "down"), (500, "up")]),
        # A failure is told as such, a start is a sign of life, a log is none.
        ({}, [said(Event.FAIL, 50)], 1e6, [(50, "down")]),
        ({"max_duration_seconds": 500.0}, [said(Event.START, 50)], 120, [(50, "up")]),
        ({}, [said(Event.LOG, 50)], 1e6, [(100, "late"), (110, "down")]),
        # Maintenance.
        ({"maintenance": (MaintenanceWindow(at(90), at(200)),)}, [], 1e6, [(200, "late"), (210, "down")]),
        (
            {"maintenance": (MaintenanceWindow(at(40), at(60)),)},
            [said(Event.FAIL, 50)],
            1e6,
            [(150, "late"), (160, "down")],
        ),
    ],
)
def test_the_first_ping_is_awaited_as_any_other(
    rules: dict[str, Any], pings: list[PingFact], until: float, expected: list[tuple[float, str]]
) -> None:
    assert story(after(awaited(**rules), *pings, until=until).transitions) == expected


def test_its_silence_its_reminders_and_its_first_ping_are_told() -> None:
    told = after(awaited(notify_late=True, reminder_seconds=60.0), ok(175), until=175).alerts
    reason = "no ping since it was set up at 12:00 UTC, expected at 12:01:40 UTC"
    assert [alert.title for alert in told] == [
        f"nightly is late: {reason}",
        f"nightly is down: {reason}",
        f"nightly is still down, for 1 min now: {reason}",
        "nightly is up again after 1 min 5 s",
    ]
    assert len({alert.trouble for alert in told[1:]}) == 1
    assert told[1].data["last_ping_at"] is None


def test_after_its_first_ping_its_silence_is_that_of_any_pulse() -> None:
    (told,) = after(awaited(), ok(60), until=1e6).alerts
    assert told.reason == "no ping since 12:01 UTC, expected at 12:02:40 UTC"


@pytest.mark.parametrize("second", [50, 105, 200])
def test_resumed_before_its_first_ping_it_is_awaited_from_then_on(second: float) -> None:
    before = after(awaited(), until=second)
    paused = redefine(awaited(paused_at=at(second)), before.state, at(second))
    assert [alert.kind.name for alert in paused.alerts] == (["pulse_paused"] if second == 200 else [])
    still = advance(awaited(paused_at=at(second)), paused.state, [], at(10_000))
    assert still.transitions == ()
    resumed = redefine(awaited(), still.state, at(10_000))
    later = advance(awaited(), resumed.state, [], at(1e6))
    assert story(resumed.transitions + later.transitions) == [(10_000, "new"), (10_100, "late"), (10_110, "down")]
    assert (later.alerts[0].reason or "").startswith("no ping since it was set up at")


def test_one_that_was_made_paused_is_awaited_once_it_is_resumed() -> None:
    paused = awaited(paused_at=at(0))
    assert next_deadline(paused, first_state(paused)) is None
    resumed = redefine(awaited(), first_state(paused), at(50))
    later = advance(awaited(), resumed.state, [], at(1e6))
    assert story(resumed.transitions + later.transitions) == [(50, "new"), (150, "late"), (160, "down")]


@pytest.mark.parametrize(
    ("rules", "now", "expected"),
    [
        ({"period_seconds": 300.0}, 50, [(300, "late"), (310, "down")]),
        ({"period_seconds": 300.0}, 105, [(105, "new"), (300, "late"), (310, "down")]),
        ({"period_seconds": 300.0}, 150, []),
        ({"period_seconds": 20.0}, 50, [(50, "late"), (50, "down")]),
    ],
)
def test_another_interval_counts_from_when_it_was_set_up(
    rules: dict[str, Any], now: float, expected: list[tuple[float, str]]
) -> None:
    changed = redefine(awaited(**rules), after(awaited(), until=now).state, at(now))
    later = advance(awaited(**rules), changed.state, [], at(1e6))
    assert story(changed.transitions + later.transitions) == expected


@pytest.mark.parametrize(
    ("outage", "expected"),
    [
        ((104, 204), [(100, "late"), (110, "unknown"), (210, "down")]),
        ((50, 200), [(110, "unknown"), (210, "down")]),
        ((111, 500), [(100, "late"), (110, "down")]),
    ],
)
def test_an_outage_of_ours_is_not_its_silence(outage: tuple[float, float], expected: list[tuple[float, str]]) -> None:
    state = PulseState(base=at(0), outages=(Outage(at(outage[0]), at(outage[1])),))
    assert outages_matter_since(state) == at(0)
    assert story(advance(awaited(), state, [], at(1e6)).transitions) == expected


def test_what_is_expected_of_it_is_known_before_its_first_ping() -> None:
    expected = expectation(awaited(), first_state(awaited()))
    assert expected is not None
    assert (expected.due_at, expected.missed_at) == (at(100), at(110))
    # Of any other nothing is, also after a pause.
    assert expectation(pulse(), PulseState(base=at(0))) is None
