"""How much of the time a pulse was up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from domain.pulses import PulseStatus
from domain.transitions import Transition

_COUNTS_AS_UP: Final = frozenset({PulseStatus.UP, PulseStatus.LATE})


@dataclass(frozen=True)
class Downtime:
    """`end` is None if it still lasts. `start` lies before the time asked for if it was down then already, and its
    reason is not known any more."""

    start: datetime
    end: datetime | None
    reason: str | None = None


@dataclass(frozen=True)
class Uptime:
    """`share` is that of the time in which it was either up or down; None if there was none."""

    share: float | None
    up_seconds: float
    down_seconds: float
    downtimes: tuple[Downtime, ...] = ()


def uptime(
    transitions: Sequence[Transition], since: datetime, until: datetime, status_at_since: str | None = None
) -> Uptime:
    """Of the time from `since` to `until`. Transitions are in order; `status_at_since` is what it was before them.

    New, paused and unknown count neither as up nor as down.
    """
    up, down = 0.0, 0.0
    downtimes: list[Downtime] = []
    begins = Transition(None, None, status_at_since or PulseStatus.NEW, since)
    inside = [begins, *(item for item in transitions if since < item.at < until)]
    for index, item in enumerate(inside):
        end = inside[index + 1].at if index + 1 < len(inside) else None
        seconds = ((end or until) - item.at).total_seconds()
        if item.after in _COUNTS_AS_UP:
            up += seconds
        elif item.after == PulseStatus.DOWN:
            down += seconds
            downtimes.append(Downtime(item.at, end, item.reason))
    counted = up + down
    return Uptime(up / counted if counted else None, up, down, tuple(downtimes))


@dataclass(frozen=True)
class DayUptime:
    """Of one day on the calendar of a time zone."""

    day: date
    up_seconds: float = 0.0
    down_seconds: float = 0.0

    @property
    def share(self) -> float | None:
        """As that of `Uptime`."""
        return share_of((self,))


def share_of(days: Iterable[DayUptime]) -> float | None:
    """Of the time in which it was either up or down; None if there was none."""
    up, down = 0.0, 0.0
    for day in days:
        up, down = up + day.up_seconds, down + day.down_seconds
    return up / (up + down) if up + down else None


def latest_days(until: datetime, timezone: str, count: int) -> tuple[list[date], list[datetime]]:
    """The latest days by the calendar of `timezone`, that of `until` the last; and where each begins, and `until`."""
    zone = ZoneInfo(timezone)
    today = until.astimezone(zone).date()
    days = [today - timedelta(days=ago) for ago in reversed(range(count))]
    midnights = [datetime.combine(day, time(), zone).astimezone(UTC) for day in days]
    return days, [*midnights, until]
