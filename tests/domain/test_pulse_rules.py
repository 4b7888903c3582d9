"""Every edge of the state machine of a pulse."""

from collections.abc import Callable, Hashable
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.alerts import Alert
from domain.instances import Outage
from domain.maintenance import MaintenanceWindow
from domain.pings import Event, PingFact
from domain.pulse_rules import advance, expectation, next_deadline, outages_matter_since, redefine
from domain.pulses import MAX_OPEN_RUNS, PulseState, PulseStatus
from tests.domain.builders import at
from tests.domain.pulse_builders import after, heard, ok, pulse, said, story

START, FAIL, LOG = Event.START, Event.FAIL, Event.LOG
WINDOW = {"maintenance": (MaintenanceWindow(at(90), at(200)),)}


@pytest.mark.parametrize(
    ("rules", "pings", "until", "expected"),
    [
        # Silence.
        ({}, [], 1e6, []),
        ({}, [ok(0)], 99.9, [(0, "up")]),
        ({}, [ok(0)], 100, [(0, "up"), (100, "late")]),
        ({}, [ok(0)], 1e6, [(0, "up"), (100, "late"), (110, "down")]),
        ({"grace_seconds": 0.0}, [ok(0)], 100, [(0, "up"), (100, "late"), (100, "down")]),
        ({"start_grace_seconds": 30.0}, [ok(0)], 1e6, [(0, "up"), (100, "late"), (130, "down")]),
        # Pings in time, late, at the very moment, and after.
        ({}, [ok(0), ok(99), ok(180)], 200, [(0, "up")]),
        ({}, [ok(0), ok(100)], 150, [(0, "up")]),
        ({}, [ok(0), ok(105)], 150, [(0, "up"), (100, "late"), (105, "up")]),
        ({}, [ok(0), ok(110)], 150, [(0, "up"), (100, "late"), (110, "up")]),
        ({}, [ok(0), ok(111)], 150, [(0, "up"), (100, "late"), (110, "down"), (111, "up")]),
        # Failures.
        ({}, [said(FAIL, 0)], 1e6, [(0, "down")]),
        ({}, [ok(0), said(FAIL, 5)], 1e6, [(0, "up"), (5, "down")]),
        ({}, [ok(0), said(FAIL, 105), said(FAIL, 106)], 1e6, [(0, "up"), (100, "late"), (105, "down")]),
        ({}, [said(FAIL, 0), said(FAIL, 1), ok(2)], 3, [(0, "down"), (2, "up")]),
        ({"alert_after": 2}, [said(FAIL, 0)], 50, [(0, "up")]),
        ({"alert_after": 2}, [said(FAIL, 0), said(FAIL, 1)], 50, [(0, "up"), (1, "down")]),
        ({"alert_after": 2}, [said(FAIL, 0), ok(1), said(FAIL, 2)], 50, [(0, "up")]),
        ({"alert_after": 2}, [ok(0), said(FAIL, 105)], 120, [(0, "up"), (100, "late"), (105, "up")]),
        # Several misses in a row: the second is expected a period after the first was.
        ({"alert_after": 2}, [ok(0)], 1e6, [(0, "up"), (100, "late"), (210, "down")]),
        ({"alert_after": 3}, [ok(0)], 1e6, [(0, "up"), (100, "late"), (310, "down")]),
        ({"alert_after": 2}, [ok(0), ok(150)], 260, [(0, "up"), (100, "late"), (150, "up"), (250, "late")]),
        ({"alert_after": 2}, [ok(0), said(FAIL, 150)], 160, [(0, "up"), (100, "late"), (150, "down")]),
        # Logs are kept, and nothing else.
        ({}, [said(LOG, 0)], 1e6, []),
        ({}, [ok(0), said(LOG, 50), said(LOG, 105)], 1e6, [(0, "up"), (100, "late"), (110, "down")]),
        ({}, [said(FAIL, 0), said(LOG, 5)], 10, [(0, "down")]),
        # Starts are a sign of life, and need an end.
        ({}, [said(START, 0)], 9, [(0, "up")]),
        ({}, [said(START, 0)], 1e6, [(0, "up"), (10, "down")]),
        ({}, [said(START, 0), ok(10)], 100, [(0, "up")]),
        ({}, [ok(0), said(START, 105), ok(107)], 150, [(0, "up"), (100, "late"), (105, "up")]),
        ({}, [said(FAIL, 0), said(START, 5), ok(7)], 50, [(0, "down"), (7, "up")]),
        ({"max_duration_seconds": 60.0}, [said(START, 0)], 1e6, [(0, "up"), (60, "down")]),
        ({"max_duration_seconds": 60.0}, [said(START, 0), said(START, 50)], 1e6, [(0, "up"), (110, "down")]),
        # A run that hangs is told while others go well.
        ({}, [said(START, 0, "a"), said(START, 5, "b"), ok(8, "b")], 50, [(0, "up"), (10, "down")]),
        ({}, [said(START, 0, "a"), ok(5, "b")], 50, [(0, "up"), (10, "down")]),
        ({}, [said(START, 0, "a"), ok(5)], 50, [(0, "up"), (10, "down")]),
        ({}, [said(START, 0, "a"), ok(20, "b")], 50, [(0, "up"), (10, "down"), (20, "up")]),
        ({}, [said(START, 0, "a"), said(FAIL, 5, "a"), ok(6)], 50, [(0, "up"), (5, "down"), (6, "up")]),
        ({"alert_after": 2}, [said(START, 0, "a"), said(START, 1, "b")], 50, [(0, "up"), (11, "down")]),
        # The schedule counts from the start while a run is open, and a hung one does not move it.
        ({"max_duration_seconds": 500.0}, [said(START, 0)], 1e6, [(0, "up"), (100, "late"), (110, "down")]),
        ({"alert_after": 2}, [said(START, 0)], 1e6, [(0, "up"), (100, "late"), (110, "down")]),
        # Bounds of the duration.
        ({"min_duration_seconds": 3.0}, [said(START, 0), ok(2)], 50, [(0, "up"), (2, "down")]),
        ({"min_duration_seconds": 3.0}, [said(START, 0), ok(3)], 50, [(0, "up")]),
        ({"min_duration_seconds": 3.0}, [ok(0)], 50, [(0, "up")]),
        ({"min_duration_seconds": 3.0}, [ok(0, duration_ms=2999)], 50, [(0, "down")]),
        ({"max_duration_seconds": 3.0}, [ok(0, duration_ms=3001)], 50, [(0, "down")]),
        ({"max_duration_seconds": 3.0}, [ok(0, duration_ms=3000)], 50, [(0, "up")]),
        ({"max_duration_seconds": 9.0}, [said(START, 0), ok(9, duration_ms=99_000)], 50, [(0, "up")]),
        # Maintenance, from 90 to 200.
        (WINDOW, [ok(0)], 1e6, [(0, "up"), (200, "late"), (210, "down")]),
        (WINDOW, [ok(0), ok(195)], 250, [(0, "up")]),
        (WINDOW, [ok(-15)], 1e6, [(-15, "up"), (85, "late"), (205, "down")]),
        (WINDOW, [ok(0), said(FAIL, 95)], 190, [(0, "up")]),
        (WINDOW, [ok(0), said(FAIL, 95)], 1e6, [(0, "up"), (200, "late"), (210, "down")]),
        (WINDOW, [said(FAIL, 95)], 1e6, []),
        (WINDOW, [ok(0), said(START, 85)], 199, [(0, "up")]),
        ({"min_duration_seconds": 9.0, **WINDOW}, [said(START, 91), ok(93)], 190, [(91, "up")]),
        ({"alert_after": 2, **WINDOW}, [ok(0)], 1e6, [(0, "up"), (200, "late"), (310, "down")]),
    ],
)
def test_the_state_machine(
    rules: dict[str, Any], pings: list[PingFact], until: float, expected: list[tuple[float, str]]
) -> None:
    assert story(after(pulse(**rules), *pings, until=until).transitions) == expected


@pytest.mark.parametrize(
    ("rules", "pings", "titles"),
    [
        ({}, [ok(0)], ["nightly is down: no ping since 12:00 UTC, expected at 12:01:40 UTC"]),
        (
            {"period_seconds": 86_400.0},
            [ok(0)],
            ["nightly is down: no ping since 2025-03-01 12:00 UTC, expected at 12:00 UTC"],
        ),
        ({}, [said(FAIL, 0)], ["nightly is down: reported a failure"]),
        ({}, [said(FAIL, 0, error="exit code 3")], ["nightly is down: exit code 3"]),
        ({}, [said(FAIL, 0), ok(125)], ["nightly is down: reported a failure", "nightly is up again after 2 min 5 s"]),
        (
            {},
            [said(START, 0, "a7")],
            ["nightly is down: run a7 started at 12:00 UTC and did not finish within 10 s"],
        ),
        ({}, [said(START, 0)], ["nightly is down: a run started at 12:00 UTC and did not finish within 10 s"]),
        (
            {"min_duration_seconds": 10.0},
            [said(START, 0), ok(2)],
            ["nightly is down: ran 2 s, shorter than 10 s"],
        ),
        ({"max_duration_seconds": 5.0}, [ok(0, duration_ms=5500)], ["nightly is down: ran 5.5 s, longer than 5 s"]),
        (
            {"notify_late": True},
            [ok(0), ok(101)],
            ["nightly is late: no ping since 12:00 UTC, expected at 12:01:40 UTC"],
        ),
    ],
)
def test_alerts_say_what_happened(rules: dict[str, Any], pings: list[PingFact], titles: list[str]) -> None:
    definition = pulse(**rules)
    until = pings[-1].at + timedelta(seconds=60 if len(pings) > 1 else 86_800)
    told = advance(definition, PulseState(), pings, until).alerts
    assert [alert.title for alert in told] == titles


def test_all_alerts_of_a_downtime_share_their_trouble_and_each_has_a_key_of_its_own() -> None:
    definition = pulse(reminder_seconds=3600.0, notify_late=True, tags=("db",), depends_on=("p9",))
    told = list[Alert]()
    state = PulseState()
    for pings, until in (([ok(0)], 3710), ([], 7310), ([ok(7311)], 7350)):
        step = advance(definition, state, pings, at(until))
        state = step.state
        told += step.alerts
    assert [(alert.kind.name, alert.kind.severity) for alert in told] == [
        ("pulse_late", "info"),
        ("pulse_down", "critical"),
        ("pulse_reminder", "error"),
        ("pulse_reminder", "error"),
        ("pulse_recovered", "info"),
    ]
    assert told[2].title.startswith("nightly is still down, for 1 h now: no ping since")
    assert [alert.at for alert in told] == [at(100), at(110), at(3710), at(7310), at(7311)]
    assert {alert.trouble for alert in told[1:]} == {f"pulse/p1/{at(110).isoformat()}"}
    assert len({alert.dedupe_key for alert in told}) == len(told)
    assert told[1].dedupe_key == f"pulse/p1/pulse_down/{at(110).isoformat()}"
    assert {(alert.source, alert.subject, alert.account_id) for alert in told} == {("pulse/p1", "pulse/p1", "account")}
    assert {(alert.tags, alert.depends_on) for alert in told} == {(("db",), ("p9",))}
    assert told[1].data["due_at"] == at(100).isoformat()
    assert told[-1].data["downtime_seconds"] == 7201
    assert told[-1].kind.resolves


def test_a_hung_run_is_named_in_its_alert() -> None:
    (told,) = after(pulse(), said(START, 0, "a7"), until=50).alerts
    assert (told.data["run_id"], told.data["started_at"]) == ("a7", at(0).isoformat())


def test_reminders_wait_for_the_end_of_maintenance() -> None:
    window = MaintenanceWindow(at(50), at(500))
    definition = pulse(reminder_seconds=60.0, maintenance=(window,))
    down = after(definition, said(FAIL, 0))
    waiting = advance(definition, down.state, [], at(499))
    assert waiting.alerts == ()
    assert [alert.at for alert in advance(definition, waiting.state, [], at(559)).alerts] == [at(500)]


@pytest.mark.parametrize(("until", "expected"), [(59, []), (60, [60]), (119, [60]), (130, [120]), (1e7, [9999960])])
def test_of_reminders_that_are_due_in_one_go_the_latest_is_told(until: float, expected: list[float]) -> None:
    """Nobody wants to read, after an absence of ours, a reminder for each hour of it."""
    definition = pulse(reminder_seconds=60.0)
    down = after(definition, said(FAIL, 0))
    assert [alert.at for alert in advance(definition, down.state, [], at(until)).alerts] == list(map(at, expected))


def test_what_is_known_of_the_last_pings_is_kept() -> None:
    state = after(pulse(), said(START, 0), ok(4), said(FAIL, 6), said(LOG, 8), until=9).state
    assert (state.last_ping_at, state.last_success_at, state.last_duration_ms) == (at(6), at(4), 4000)
    assert (state.clock, state.base, state.failures, state.reason) == (at(9), at(6), 1, "reported a failure")


def test_of_too_many_open_runs_the_oldest_is_forgotten() -> None:
    starts = [said(START, index / 100, f"r{index}") for index in range(MAX_OPEN_RUNS + 1)]
    runs = after(pulse(), *starts).state.runs
    assert len(runs) == MAX_OPEN_RUNS
    assert "r0" not in runs


def test_a_ping_that_comes_after_its_deadline_was_called_counts_as_coming_now() -> None:
    definition = pulse()
    down = after(definition, ok(0), until=200).state
    late = advance(definition, down, [ok(105)])
    assert story(late.transitions) == [(200, "up")]
    assert late.state.base == at(200)


@pytest.mark.parametrize(
    ("pings", "reasons"),
    [
        ([], []),
        ([ok(0)], ["due", "down"]),
        ([said(START, 0), ok(1)], ["due", "down"]),
        ([said(START, 0, "nightly-1")], ["run nightly-1", "reminder", "reminder"]),
        ([said(START, 0)], ["run", "reminder", "reminder"]),
    ],
)
def test_the_next_deadline_is_what_comes_next(pings: list[PingFact], reasons: list[str]) -> None:
    definition = pulse(reminder_seconds=60.0)
    state = after(definition, *pings).state
    for reason in reasons:
        deadline = next_deadline(definition, state)
        assert deadline is not None
        assert deadline.reason == reason
        assert not advance(definition, state, [], deadline.at - timedelta(microseconds=1)).transitions
        state = advance(definition, state, [], deadline.at).state
    if not reasons:
        assert next_deadline(definition, state) is None


def test_what_is_expected_is_known_ahead() -> None:
    definition = pulse()
    expected = expectation(definition, after(definition, ok(0)).state)
    assert expected is not None
    assert (expected.due_at, expected.missed_at) == (at(100), at(110))
    assert expectation(definition, PulseState()) is None


# -- a changed definition


def test_a_paused_pulse_expects_nothing_and_notes_its_pings() -> None:
    paused = redefine(pulse(paused_at=at(50)), after(pulse(), ok(0), said(START, 45)).state, at(50))
    assert story(paused.transitions) == [(50, "paused")]
    assert next_deadline(pulse(paused_at=at(50)), paused.state) is None
    later = advance(pulse(paused_at=at(50)), paused.state, [said(START, 60), said(FAIL, 70), said(LOG, 80)], at(10_000))
    assert (later.transitions, later.alerts, later.state.last_ping_at) == ((), (), at(70))
    resumed = redefine(pulse(), later.state, at(10_000))
    assert story(resumed.transitions) == [(10_000, "up")]
    ended = advance(pulse(), resumed.state, [], at(1e6))
    assert story(ended.transitions) == [(10_100, "late"), (10_110, "down")]


def test_a_pulse_that_was_never_pinged_is_new_again_after_a_pause() -> None:
    paused = redefine(pulse(paused_at=at(0)), PulseState(), at(0))
    resumed = redefine(pulse(), paused.state, at(50))
    assert story(paused.transitions + resumed.transitions) == [(0, "paused"), (50, "new")]
    assert not advance(pulse(), resumed.state, [], at(1e6)).transitions


def test_a_pause_forgets_the_failures_before_it() -> None:
    rules = {"alert_after": 2}
    paused = redefine(pulse(paused_at=at(1), **rules), after(pulse(**rules), said(FAIL, 0)).state, at(1))
    resumed = redefine(pulse(**rules), paused.state, at(2))
    assert advance(pulse(**rules), resumed.state, [said(FAIL, 3)]).state.status is PulseStatus.UP


def test_pausing_ends_the_trouble_of_a_pulse_that_is_down() -> None:
    down = after(pulse(), said(FAIL, 0))
    paused = redefine(pulse(paused_at=at(60)), down.state, at(60))
    (told,) = paused.alerts
    assert (told.kind.name, told.kind.resolves, told.trouble) == ("pulse_paused", True, down.alerts[0].trouble)
    assert told.title == "nightly was paused after it was down for 1 min"
    assert not redefine(pulse(paused_at=at(60)), paused.state, at(70)).transitions
    up = advance(pulse(), redefine(pulse(), paused.state, at(80)).state, [ok(90)])
    assert (up.transitions, up.alerts) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "now", "expected"),
    [
        ({}, {"period_seconds": 300.0}, 50, [(300, "late"), (310, "down")]),
        ({}, {"period_seconds": 20.0}, 50, [(50, "late"), (50, "down")]),
        ({}, {"grace_seconds": 60.0}, 105, [(160, "down")]),
        ({"grace_seconds": 60.0}, {"grace_seconds": 2.0}, 105, [(105, "down")]),
        ({}, {"period_seconds": 300.0}, 105, [(105, "up"), (300, "late"), (310, "down")]),
        ({}, {"period_seconds": 300.0}, 150, []),
        ({}, {"cron": "5 12 * * *", "period_seconds": None}, 50, [(300, "late"), (310, "down")]),
        ({"alert_after": 2}, {"alert_after": 2, "name": "other"}, 150, [(210, "down")]),
        ({"alert_after": 2}, {"alert_after": 2, "period_seconds": 500.0}, 150, [(610, "down")]),
        ({}, {"maintenance": (MaintenanceWindow(at(95), at(300)),)}, 50, [(300, "late"), (310, "down")]),
    ],
)
def test_a_changed_definition_takes_effect_on_what_is_expected(
    old: dict[str, Any], new: dict[str, Any], now: float, expected: list[tuple[float, str]]
) -> None:
    state = after(pulse(**old), ok(0), until=now).state
    changed = redefine(pulse(**new), state, at(now))
    later = advance(pulse(**new), changed.state, [], at(1e6))
    assert story(changed.transitions + later.transitions) == expected


# -- outages of ours


@pytest.mark.parametrize(
    ("rules", "outages", "pings", "until", "expected"),
    [
        # It ended before anything was due, or began when all was over.
        ({}, [(10, 50)], [ok(0)], 1e6, [(0, "up"), (100, "late"), (110, "down")]),
        ({}, [(111, 500)], [ok(0)], 1e6, [(0, "up"), (100, "late"), (110, "down")]),
        # Within the grace, around the due moment, around both.
        ({}, [(104, 204)], [ok(0)], 1e6, [(0, "up"), (100, "late"), (110, "unknown"), (210, "down")]),
        ({}, [(90, 105)], [ok(0)], 1e6, [(0, "up"), (105, "late"), (110, "unknown"), (115, "down")]),
        ({}, [(50, 200)], [ok(0)], 1e6, [(0, "up"), (110, "unknown"), (210, "down")]),
        ({}, [(50, 200)], [ok(0), ok(205)], 250, [(0, "up"), (110, "unknown"), (205, "up")]),
        ({}, [(50, 200)], [ok(0), said(FAIL, 205)], 250, [(0, "up"), (110, "unknown"), (205, "down")]),
        ({}, [(50, 104), (106, 200)], [ok(0)], 1e6, [(0, "up"), (104, "late"), (110, "unknown"), (208, "down")]),
        # Of two misses only the second takes it down.
        (
            {"alert_after": 2},
            [(50, 200)],
            [ok(0)],
            1e6,
            [(0, "up"), (110, "unknown"), (210, "late"), (310, "down")],
        ),
        # A run has as much longer, and reminders wait.
        ({}, [(5, 65)], [said(START, 0)], 99, [(0, "up"), (70, "down")]),
        ({}, [(5, 65)], [said(START, 0), ok(66)], 99, [(0, "up")]),
        ({"max_duration_seconds": 9.0}, [(5, 65)], [said(START, 0), ok(66)], 99, [(0, "up")]),
        # With maintenance besides: one after the other, from 50 to 250.
        (
            {"maintenance": (MaintenanceWindow(at(200), at(250)),)},
            [(50, 200)],
            [ok(0)],
            1e6,
            [(0, "up"), (110, "unknown"), (260, "down")],
        ),
    ],
)
def test_deadlines_move_by_the_time_in_which_we_could_not_take_pings(
    rules: dict[str, Any],
    outages: list[tuple[float, float]],
    pings: list[PingFact],
    until: float,
    expected: list[tuple[float, str]],
) -> None:
    state = PulseState(outages=tuple(Outage(at(start), at(end)) for start, end in outages))
    assert story(advance(pulse(**rules), state, pings, at(until)).transitions) == expected


def test_an_outage_is_kept_as_long_as_it_may_move_a_deadline() -> None:
    definition = pulse(max_duration_seconds=1000.0)
    outages = (Outage(at(10), at(20)), Outage(at(30), at(40)))
    state = advance(definition, PulseState(outages=outages), [said(START, 15, "a"), ok(50)]).state
    assert (state.outages, outages_matter_since(state)) == (outages, at(15))
    state = advance(definition, state, [ok(60, "a")]).state
    assert (state.outages, outages_matter_since(state)) == ((), at(60))


# -- a year of a cron job


def run_times(timezone: str, runs: Callable[[datetime], Hashable | None]) -> list[datetime]:
    """When a cron daemon would run a job in 2025, that looks at the wall every quarter of an hour.

    `runs` tells of the time on the wall which run it asks for, if any; each is done once.
    """
    quarters = (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * number) for number in range(4 * 24 * 365))
    done: dict[Hashable, datetime] = {}
    for quarter in quarters:
        if (run := runs(quarter.astimezone(ZoneInfo(timezone)))) is not None:
            done.setdefault(run, quarter)
    return list(done.values())[1:]


JOBS: dict[str, Callable[[datetime], Hashable | None]] = {
    # Once on every date, as soon as it is half past two or later.
    "30 2 * * *": lambda wall: wall.date() if wall.time() >= time(2, 30) else None,
    # Whenever the wall shows it, also a second time.
    "0 * * * *": lambda wall: wall.astimezone(UTC) if wall.minute == 0 else None,
    "15 */6 * * *": lambda wall: wall.astimezone(UTC) if wall.minute == 15 and wall.hour % 6 == 0 else None,
}


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
@pytest.mark.parametrize("expression", JOBS)
def test_in_a_year_of_cron_pings_nothing_is_a_false_alarm_and_no_omission_is_overlooked(
    expression: str, timezone: str
) -> None:
    """Each ping comes 40 s after its time; every 17th does not come at all."""
    definition = pulse(cron=expression, timezone=timezone, grace_seconds=60.0)
    times = run_times(timezone, JOBS[expression])
    omitted = times[16:-1:17]
    kept = sorted(set(times) - set(omitted))
    pings = [heard(Event.SUCCESS, moment + timedelta(seconds=40), id=index) for index, moment in enumerate(kept)]
    year = advance(definition, PulseState(), pings)
    down = [alert.at for alert in year.alerts if alert.kind.name == "pulse_down"]
    assert down == [moment + timedelta(seconds=60) for moment in omitted]
    assert len(year.alerts) == 2 * len(omitted)
    # Each is late for 40 s, but for the first, and for those before which it was down.
    late = [item.at for item in year.transitions if item.after == PulseStatus.LATE]
    assert late == [moment for before, moment in pairwise(times) if before not in omitted]
