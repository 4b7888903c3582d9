"""Process runs: long jobs that report a start and an end, and how long they may take.

`ProcessRunState` is what the pings of a run add up to, whatever the order they come in, and however often; `evaluate`
derives everything that is shown from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.durations import in_words
from domain.errors import Conflict
from domain.ids import random_id
from domain.instances import Outage, Stamp, due
from domain.pings import Event, PingFact
from domain.transitions import Transition

DEFAULT_GRACE_SECONDS: Final = 60.0
MAX_SECONDS: Final = 366 * 86_400.0

KEPT_OPEN_SECONDS: Final = 7 * 86_400.0
"""So long a run that is overdue is waited for: its job was probably killed. After that it stands in no other run's way;
its end, should it come, is taken all the same."""


class RunStatus(StrEnum):
    RUNNING = "running"
    OVERDUE = "overdue"
    FINISHED = "finished"
    FAILED = "failed"


ENDED: Final = frozenset({RunStatus.FINISHED, RunStatus.FAILED})
_ENDS: Final = {Event.SUCCESS: RunStatus.FINISHED, Event.FAIL: RunStatus.FAILED}


class ProcessRunning(Conflict):
    """The hook allows no overlap, and a run of it has not ended; `run_id` says which."""

    code = "process_running"
    title = "Process is running"


class NoOpenRun(Conflict):
    """An end was reported, but nothing is running."""

    code = "no_open_run"
    title = "Nothing is running"


class RunAlreadyFinished(Conflict):
    """The end of this run was reported before; `ended_at` says when."""

    code = "run_already_finished"
    title = "Run has ended already"


@dataclass(frozen=True)
class ProcessRequest:
    """What of a ping decides its way. `hook` is an id or a slug; `event` is START, SUCCESS or FAIL."""

    account_id: str
    hook: str
    event: Event
    at: datetime
    run_id: str | None = None
    agent: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class RoutedRun:
    """The run that a ping opened or ended. `status` is what it is by that, `duration_seconds` how long it took."""

    hook_id: str
    run_id: str
    subject: str
    status: RunStatus
    duration_seconds: float | None = None


@dataclass(frozen=True)
class RunEnd:
    """The ping that ended a run."""

    stamp: Stamp
    status: RunStatus
    error: str | None = None


@dataclass(frozen=True)
class ProcessRunState:
    """What is known of a run. Its deadline counts only up to `confirmed_until`: after that nobody has looked yet."""

    started_at: datetime
    expected_seconds: float
    grace_seconds: float
    end: RunEnd | None = None
    outages: tuple[Outage, ...] = ()
    confirmed_until: datetime | None = None

    @property
    def deadline(self) -> datetime:
        return due(self.started_at, self.expected_seconds + self.grace_seconds, self.outages)


@dataclass(frozen=True)
class RunView:
    """A run as it is shown. `overdue_at` is set if it was not over by its deadline, also after its end.

    `late_seconds` is then by how much it took longer than expected; `reason` is the error that it failed with.
    """

    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    overdue_at: datetime | None = None
    late_seconds: float | None = None
    reason: str | None = None

    @property
    def duration_seconds(self) -> float | None:
        return seconds_between(self.started_at, self.finished_at) if self.finished_at is not None else None


def new_hook_id() -> str:
    return random_id("phk_", 10)


def new_run_id() -> str:
    return random_id("run_", 12)


def merge(state: ProcessRunState, pings: Iterable[PingFact]) -> ProcessRunState:
    """The state with `pings` taken in: the first end counts. Neither order nor repetition of pings matters."""
    ends = [
        RunEnd(Stamp(ping.at, ping.id), _ENDS[event], ping.error)
        for ping in pings
        if (event := Event(ping.path)) in _ENDS
    ]
    if state.end is not None:
        ends.append(state.end)
    return replace(state, end=min(ends, key=lambda end: end.stamp, default=None))


def evaluate(state: ProcessRunState) -> RunView:
    """Derives the view. An end that was received by the deadline is in time, however late it comes to us."""
    deadline, end, until = state.deadline, state.end, state.confirmed_until
    passed_by = end.stamp.at > deadline if end is not None else until is not None and deadline <= until
    overdue_at = deadline if passed_by else None
    if end is None:
        return RunView(RunStatus.OVERDUE if passed_by else RunStatus.RUNNING, state.started_at, overdue_at=overdue_at)
    finished_at = max(end.stamp.at, state.started_at)
    late = late_seconds(finished_at, overdue_at, state.grace_seconds)
    return RunView(end.status, state.started_at, finished_at, overdue_at, late, end.error)


def late_seconds(finished_at: datetime | None, overdue_at: datetime | None, grace_seconds: float) -> float | None:
    """By how much a run took longer than expected; None unless it was overdue and is over."""
    if finished_at is None or overdue_at is None:
        return None
    return seconds_between(overdue_at, finished_at) + grace_seconds


def seconds_between(start: datetime, end: datetime) -> float:
    """Never negative: the clocks of two gateways may differ."""
    return max(0.0, (end - start).total_seconds())


def awaited_until(state: ProcessRunState) -> datetime | None:
    """When to look at a run again if no ping comes; None once it is over."""
    view = evaluate(state)
    if view.status in ENDED:
        return None
    return state.deadline + timedelta(seconds=KEPT_OPEN_SECONDS if view.status is RunStatus.OVERDUE else 0)


def is_given_up(started_at: datetime, expected_seconds: float, grace_seconds: float, now: datetime) -> bool:
    """Whether a run without an end is waited for no longer."""
    return now >= started_at + timedelta(seconds=expected_seconds + grace_seconds + KEPT_OPEN_SECONDS)


def transitions_between(before: RunView | None, after: RunView) -> tuple[Transition, ...]:
    """What changed. A run that was overdue and ended before anybody looked was overdue all the same."""
    steps: list[tuple[RunStatus, datetime, str | None]] = []
    if before is None:
        steps.append((RunStatus.RUNNING, after.started_at, None))
    if after.overdue_at is not None and (before is None or before.overdue_at is None):
        waited = in_words(seconds_between(after.started_at, after.overdue_at))
        steps.append((RunStatus.OVERDUE, after.overdue_at, f"No finish within {waited}"))
    if after.finished_at is not None and (before is None or before.status is not after.status):
        steps.append((after.status, after.finished_at, how_it_ended(after)))
    transitions: list[Transition] = []
    status = before.status.value if before is not None else None
    for step, at, reason in steps:
        transitions.append(Transition(None, status, step.value, at, reason))
        status = step.value
    return tuple(transitions)


def how_it_ended(view: RunView) -> str:
    """Such as "Finished 12 min late, after 42 min"."""
    took = in_words(view.duration_seconds or 0)
    if view.status is RunStatus.FAILED:
        return f"Failed after {took}" + (f": {view.reason}" if view.reason else "")
    if view.late_seconds is None:
        return f"Finished after {took}"
    return f"Finished {in_words(view.late_seconds)} late, after {took}"
