"""Times in which nobody is to be told, and how to count time around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.errors import InvalidRequest
from domain.schedules import Cron, check_cron, next_after

MAX_WINDOW_SECONDS: Final = 31 * 86_400.0

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2200
"""Beyond, adding a grace or a change of the time zone would leave what a datetime can hold."""

MAX_SKIPPED: Final = 100
"""Windows that are looked at in a row. A window that never ends is refused, and a grace that is longer than a hundred
windows counts what comes then as it is: computing must end in time for Temporal."""


@dataclass(frozen=True)
class MaintenanceWindow:
    """From `starts_at` until just before `ends_at`; or, each time that `cron` says so, for `duration_seconds`."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    cron: str | None = None
    timezone: str = "UTC"
    duration_seconds: float | None = None

    def end_around(self, at: datetime) -> datetime | None:
        """When the window that `at` falls in ends; None if it falls in none."""
        if self.cron is None or self.duration_seconds is None:
            is_inside = self.starts_at is not None and self.ends_at is not None and self.starts_at <= at < self.ends_at
            return self.ends_at if is_inside else None
        length = timedelta(seconds=self.duration_seconds)
        start = next_after(Cron(self.cron, self.timezone), at - length)
        return start + length if start <= at else None

    def next_start(self, at: datetime) -> datetime | None:
        """When it next begins after `at`."""
        if self.cron is not None:
            return next_after(Cron(self.cron, self.timezone), at)
        return self.starts_at if self.starts_at is not None and self.starts_at > at else None


def validate(window: MaintenanceWindow) -> None:
    """Raises InvalidRequest naming the field that is wrong."""
    if window.cron is None:
        if window.starts_at is None or window.ends_at is None:
            raise InvalidRequest.of_field("starts_at", "give starts_at and ends_at, or cron and duration_seconds")
        if window.duration_seconds is not None:
            raise InvalidRequest.of_field("duration_seconds", "goes with cron; for a single window give ends_at")
        if window.starts_at.tzinfo is None or window.ends_at.tzinfo is None:
            raise InvalidRequest.of_field("starts_at", 'needs its offset from UTC, as in "2026-01-31T22:00:00Z"')
        for name, moment in (("starts_at", window.starts_at), ("ends_at", window.ends_at)):
            if not FIRST_YEAR <= moment.year <= LAST_YEAR:
                raise InvalidRequest.of_field(name, f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
        if window.ends_at <= window.starts_at:
            raise InvalidRequest.of_field("ends_at", "must be after starts_at")
        return
    if window.starts_at is not None or window.ends_at is not None:
        raise InvalidRequest.of_field("cron", "goes with duration_seconds, not with starts_at or ends_at")
    if window.duration_seconds is None or not 1 <= window.duration_seconds <= MAX_WINDOW_SECONDS:
        raise InvalidRequest.of_field("duration_seconds", "must be between 1 s and 31 days")
    check_cron(window.cron, window.timezone)
    start = next_after(Cron(window.cron, window.timezone), datetime(2024, 1, 1, tzinfo=UTC))
    if len(_chain([window], start)) == MAX_SKIPPED:
        raise InvalidRequest.of_field("duration_seconds", "is so long that the window never ends")


def end_of_window(windows: Sequence[MaintenanceWindow], at: datetime) -> datetime | None:
    """When the window that `at` falls in, and those that follow it without a gap, are over; None outside."""
    chain = _chain(windows, at)
    return chain[-1] if chain else None


def moved_out(windows: Sequence[MaintenanceWindow], at: datetime) -> datetime:
    """`at`, or the end of the windows that it falls in."""
    return end_of_window(windows, at) or at


def time_after(windows: Sequence[MaintenanceWindow], start: datetime, seconds: float) -> datetime:
    """`seconds` after `start`, counting only the time outside `windows`; never inside of one."""
    moment = moved_out(windows, start)
    left = timedelta(seconds=seconds)
    for _ in range(MAX_SKIPPED):
        begins = min(filter(None, (window.next_start(moment) for window in windows)), default=None)
        if begins is None or begins > moment + left:
            break
        left -= begins - moment
        moment = moved_out(windows, begins)
    return moment + left


def _chain(windows: Sequence[MaintenanceWindow], at: datetime) -> list[datetime]:
    """The ends of the windows that lead from one to the next, beginning around `at`."""
    ends: list[datetime] = []
    while len(ends) < MAX_SKIPPED:
        later = max(filter(None, (window.end_around(ends[-1] if ends else at) for window in windows)), default=None)
        if later is None:
            break
        ends.append(later)
    return ends
