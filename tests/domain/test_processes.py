"""What the pings of a process run add up to, what is told of it, and in which words."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.durations import in_words
from domain.instances import Outage
from domain.pings import Event, PingFact, PingStatus
from domain.process_alerts import PROCESS_FAILED, PROCESS_OVERDUE, PROCESS_RECOVERED, RunIdentity, alerts_of
from domain.processes import (
    ENDED,
    KEPT_OPEN_SECONDS,
    ProcessRunState,
    RunStatus,
    RunView,
    awaited_until,
    evaluate,
    is_given_up,
    merge,
    transitions_between,
)
from tests.domain.builders import NOON, at, properties, shuffled

MINUTE = 60.0
BACKUP = ProcessRunState(NOON, expected_seconds=30 * MINUTE, grace_seconds=5 * MINUTE)
RUN = RunIdentity("account", "phk_1", "run_1", "Nightly backup", ("prod",))


def told(event: Event, minutes: float, *, id_: int = 0, error: str | None = None) -> PingFact:
    moment = at(minutes * MINUTE)
    return PingFact(id_ or round(minutes * 1000) + 1, 1, event.value, PingStatus.HEALTHY, moment, error=error)


START, FINISH, FAIL = told(Event.START, 0), told(Event.SUCCESS, 20), told(Event.FAIL, 20, error="disk full")


def seen(*pings: PingFact, until: float | None = None, state: ProcessRunState = BACKUP) -> RunView:
    """The run after `pings`, its deadline checked up to minute `until`."""
    confirmed = at(until * MINUTE) if until is not None else None
    return evaluate(merge(replace(state, confirmed_until=confirmed), pings))


@pytest.mark.parametrize(
    ("pings", "until", "status", "finished", "overdue", "late"),
    [
        ([], None, "running", None, None, None),
        ([START], 34.9, "running", None, None, None),
        ([START], 35, "overdue", None, 35, None),
        ([START, FINISH], None, "finished", 20, None, None),
        ([START, FINISH], 100, "finished", 20, None, None),
        ([START, FAIL], 100, "failed", 20, None, None),
        ([START, told(Event.LOG, 3)], 10, "running", None, None, None),
        ([START, told(Event.SUCCESS, 35)], 100, "finished", 35, None, None),
        ([START, told(Event.SUCCESS, 42)], None, "finished", 42, 35, 12),
        ([START, told(Event.SUCCESS, 42)], 41, "finished", 42, 35, 12),
        ([START, told(Event.FAIL, 42)], 41, "failed", 42, 35, 12),
        ([FINISH, told(Event.FAIL, 21)], 100, "finished", 20, None, None),
        ([told(Event.SUCCESS, 20, id_=8), told(Event.FAIL, 20, id_=7)], 100, "failed", 20, None, None),
        ([told(Event.SUCCESS, -1)], 100, "finished", 0, None, None),
    ],
)
def test_what_pings_add_up_to(
    pings: list[PingFact],
    until: float | None,
    status: str,
    finished: float | None,
    overdue: float | None,
    late: float | None,
) -> None:
    view = seen(*pings, until=until)
    assert view.status == status
    assert view.finished_at == (at(finished * MINUTE) if finished is not None else None)
    assert view.overdue_at == (at(overdue * MINUTE) if overdue is not None else None)
    assert view.late_seconds == (late * MINUTE if late is not None else None)
    assert view.duration_seconds == (finished * MINUTE if finished is not None else None)


def test_the_error_of_a_failure_is_kept() -> None:
    assert seen(START, FAIL).reason == "disk full"


def test_an_outage_of_ours_moves_the_deadline_and_counts_for_nobodys_delay() -> None:
    away = Outage(at(10 * MINUTE), at(20 * MINUTE))
    moved = replace(BACKUP, outages=(away,))
    assert seen(START, until=44, state=moved).status is RunStatus.RUNNING
    assert seen(START, until=45, state=moved).overdue_at == at(45 * MINUTE)
    assert seen(START, told(Event.SUCCESS, 45), state=moved).late_seconds is None
    assert seen(START, told(Event.SUCCESS, 52), state=moved).late_seconds == 12 * MINUTE


def test_until_when_it_is_awaited() -> None:
    deadline = at(35 * MINUTE)
    assert awaited_until(BACKUP) == deadline
    overdue = replace(BACKUP, confirmed_until=deadline)
    assert awaited_until(overdue) == deadline + timedelta(seconds=KEPT_OPEN_SECONDS)
    assert awaited_until(merge(overdue, [told(Event.SUCCESS, 60)])) is None
    for seconds, expected in ((KEPT_OPEN_SECONDS - 1, False), (KEPT_OPEN_SECONDS, True)):
        now = deadline + timedelta(seconds=seconds)
        assert is_given_up(NOON, BACKUP.expected_seconds, BACKUP.grace_seconds, now) is expected


def steps(before: RunView | None, after: RunView) -> list[tuple[str | None, str, float, str | None]]:
    """The transitions, their times in minutes."""
    return [
        (item.before, item.after, (item.at - NOON).total_seconds() / MINUTE, item.reason)
        for item in transitions_between(before, after)
    ]


def test_every_change_of_status_is_told() -> None:
    running, overdue = seen(START), seen(START, until=35)
    in_time, late = seen(START, FINISH), seen(START, told(Event.SUCCESS, 42))
    failed, failed_late = seen(START, FAIL), seen(START, told(Event.FAIL, 42))
    assert steps(None, running) == [(None, "running", 0, None)]
    assert steps(running, overdue) == [("running", "overdue", 35, "No finish within 35 min")]
    assert steps(running, in_time) == [("running", "finished", 20, "Finished after 20 min")]
    assert steps(running, failed) == [("running", "failed", 20, "Failed after 20 min: disk full")]
    assert steps(overdue, late) == [("overdue", "finished", 42, "Finished 12 min late, after 42 min")]
    assert steps(overdue, failed_late) == [("overdue", "failed", 42, "Failed after 42 min")]
    assert steps(late, late) == []


def test_a_finish_in_time_that_comes_to_us_late_heals() -> None:
    view = seen(START, FINISH, until=60)
    assert (view.overdue_at, view.late_seconds) == (None, None)
    assert steps(seen(START, until=35), view) == [("overdue", "finished", 20, "Finished after 20 min")]


def test_what_was_overdue_before_anybody_looked_was_overdue_all_the_same() -> None:
    late = seen(START, told(Event.SUCCESS, 42))
    assert [step[1] for step in steps(None, late)] == ["running", "overdue", "finished"]
    assert steps(None, late) == steps(None, seen(START)) + steps(seen(START), seen(START, until=35)) + steps(
        seen(START, until=35), late
    )


def test_what_is_worth_telling() -> None:
    running, overdue, late = seen(START), seen(START, until=35), seen(START, told(Event.SUCCESS, 42))
    assert alerts_of(RUN, running, transitions_between(None, running)) == ()
    assert alerts_of(RUN, seen(START, FINISH), transitions_between(running, seen(START, FINISH))) == ()
    (alert,) = alerts_of(RUN, overdue, transitions_between(running, overdue))
    assert alert.kind is PROCESS_OVERDUE
    assert alert.title == "Nightly backup is overdue: no finish within 35 min"
    assert (alert.source, alert.subject, alert.trouble) == (
        "process/phk_1",
        "process/phk_1/run_1",
        "process/phk_1/run_1",
    )
    assert alert.dedupe_key == "process/phk_1/run_1/process_overdue/2025-03-01T12:35:00+00:00"
    assert (alert.account_id, alert.name, alert.tags, alert.at) == ("account", "Nightly backup", ("prod",), at(2100))
    (recovery,) = alerts_of(RUN, late, transitions_between(overdue, late))
    assert recovery.kind is PROCESS_RECOVERED
    assert recovery.kind.resolves
    assert recovery.title == "Nightly backup finished 12 min late, after 42 min"
    assert recovery.trouble == alert.trouble
    assert recovery.data == {
        "process_hook_id": "phk_1",
        "run_id": "run_1",
        "started_at": "2025-03-01T12:00:00+00:00",
        "duration_seconds": 2520.0,
        "late_seconds": 720.0,
    }
    failed = seen(START, FAIL)
    (failure,) = alerts_of(RUN, failed, transitions_between(running, failed))
    assert failure.kind is PROCESS_FAILED
    assert (failure.title, failure.reason) == ("Nightly backup failed after 20 min: disk full", "disk full")


def test_a_recovery_in_time_says_nothing_of_being_late() -> None:
    view = seen(START, FINISH)
    (recovery,) = alerts_of(RUN, view, transitions_between(seen(START, until=35), view))
    assert recovery.title == "Nightly backup finished after 20 min"
    assert recovery.data["late_seconds"] == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.34, "0.3 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (2520, "42 min"),
        (3600, "1 h"),
        (3605, "1 h"),
        (7500, "2 h 5 min"),
        (86_400 + 3600 * 5 + 59, "1 d 5 h"),
    ],
)
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


events = st.sampled_from(list(Event))
facts = st.builds(
    lambda event, minute, id_: told(event, minute, id_=id_), events, st.integers(-2, 60), st.integers(1, 40)
)
histories = st.lists(facts, max_size=8, unique_by=lambda fact: fact.id)


@properties
@given(st.data(), histories, st.integers(0, 90))
def test_neither_order_nor_repetition_of_deliveries_matters(
    data: st.DataObject, history: Sequence[PingFact], until: int
) -> None:
    other = data.draw(shuffled([*history, *history]))
    cut = data.draw(st.integers(0, len(other)))
    at_once = seen(*history, until=until)
    state = merge(merge(replace(BACKUP, confirmed_until=at(until * MINUTE)), other[:cut]), other[cut:])
    assert evaluate(state) == at_once


@properties
@given(histories, st.integers(0, 90))
def test_a_run_that_is_looked_at_now_and_then_has_the_same_history(history: Sequence[PingFact], until: int) -> None:
    """However often it is looked at, provided that its pings come in the order of their times."""
    end = seen(*history, until=until)
    view: RunView | None = None
    path: list[tuple[str | None, str, float, str | None]] = []
    for minute in range(until + 1):
        arrived = [ping for ping in history if ping.at <= at(minute * MINUTE)]
        now = seen(*arrived, until=minute)
        path += steps(view, now)
        view = now
    assert view is not None
    if all(ping.at <= at(until * MINUTE) for ping in history):
        assert view == end
        assert path == steps(None, end)
    assert [before for before, *_ in path[1:]] == [after for _, after, *_ in path[:-1]]
    assert all(RunStatus(before) not in ENDED for before, *_ in path if before is not None)
