"""What is expected of a pulse next, and what becomes of it if that does not come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain import maintenance
from domain.instances import Outage
from domain.maintenance import MaintenanceWindow
from domain.pulses import PulseDefinition, PulseState, PulseStatus
from domain.schedules import next_after

WATCHED: Final = frozenset({PulseStatus.NEW, PulseStatus.UP, PulseStatus.LATE, PulseStatus.UNKNOWN})
"""In these a ping is expected; of a new pulse only if that is awaited."""


@dataclass(frozen=True)
class Expectation:
    """When the next ping is due, and when it counts as missed. `unsure_at` is when it would have counted as missed,
    had we always been able to take pings; None if that is the same."""

    due_at: datetime
    missed_at: datetime
    unsure_at: datetime | None = None


class DeadlineKind(StrEnum):
    """In the order in which those of the same moment come to pass."""

    DUE = "due"
    UNSURE = "unsure"
    MISSED = "down"
    RUN = "run"
    REMINDER = "reminder"


@dataclass(frozen=True)
class Deadline:
    """What happens at `at` if no ping comes before; `run` is the rid of the run that is to end."""

    at: datetime
    kind: DeadlineKind
    run: str | None = None

    @property
    def reason(self) -> str:
        """For people who look at the timers: "due", "run nightly-1". Short, as Temporal wants it."""
        return f"{self.kind} {self.run[:50]}" if self.run else self.kind.value


def expectation(definition: PulseDefinition, state: PulseState) -> Expectation | None:
    """The ping that is expected next; None while none is."""
    if state.status not in WATCHED or state.base is None:
        return None
    if state.status is PulseStatus.NEW and definition.awaited_since is None:
        return None
    counted_from = max(state.base, state.missed or state.base)
    occurs_at = next_after(definition.schedule, counted_from)
    grace = definition.grace_seconds if definition.start_grace_seconds is None else definition.start_grace_seconds

    def around(windows: tuple[MaintenanceWindow, ...]) -> Expectation:
        due_at = maintenance.moved_out(windows, occurs_at)
        return Expectation(due_at, maintenance.time_after(windows, due_at, grace))

    expected = around(definition.maintenance)
    if not state.outages:
        return expected
    moved = around(definition.maintenance + _as_windows(state.outages))
    return replace(moved, unsure_at=expected.missed_at if expected.missed_at < moved.missed_at else None)


def next_deadline(definition: PulseDefinition, state: PulseState) -> Deadline | None:
    """What happens next if no ping comes; None if nothing ever does. It may be past already."""
    return min(_deadlines(definition, state), key=lambda deadline: deadline.at, default=None)


def outages_matter_since(state: PulseState) -> datetime | None:
    """An outage that ended before moves no deadline any more."""
    from_base = state.base if state.status in WATCHED else state.reminded_at or state.since
    return min(filter(None, (from_base, state.clock, *state.runs.values())), default=None)


def run_limit(definition: PulseDefinition) -> float:
    return definition.grace_seconds if definition.max_duration_seconds is None else definition.max_duration_seconds


def _deadlines(definition: PulseDefinition, state: PulseState) -> Iterator[Deadline]:
    if expected := expectation(definition, state):
        if state.status in (PulseStatus.NEW, PulseStatus.UP):
            yield Deadline(expected.due_at, DeadlineKind.DUE)
        if expected.unsure_at is not None and state.status is not PulseStatus.UNKNOWN:
            yield Deadline(expected.unsure_at, DeadlineKind.UNSURE)
        yield Deadline(expected.missed_at, DeadlineKind.MISSED)
    outages = _as_windows(state.outages)
    for rid, started_at in sorted(state.runs.items()):
        yield Deadline(maintenance.time_after(outages, started_at, run_limit(definition)), DeadlineKind.RUN, rid)
    if state.status is PulseStatus.DOWN and state.since is not None and definition.reminder_seconds is not None:
        remind_at = (state.reminded_at or state.since) + timedelta(seconds=definition.reminder_seconds)
        yield Deadline(maintenance.moved_out(definition.maintenance + outages, remind_at), DeadlineKind.REMINDER)


def _as_windows(outages: Sequence[Outage]) -> tuple[MaintenanceWindow, ...]:
    """Time is counted around an outage of ours as it is around maintenance."""
    return tuple(MaintenanceWindow(outage.start, outage.end) for outage in outages)
