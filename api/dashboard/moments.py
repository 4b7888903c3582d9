"""When a schedule comes next, as its own clock shows it."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from domain.schedules import Cron, Schedule, next_after


@dataclass(frozen=True)
class Moment:
    """`timezone` is that of the clock on the wall."""

    at: datetime
    timezone: str

    @property
    def on_the_wall(self) -> str:
        """Such as "Mon 30 Mar 2026, 03:00 CEST"; seconds only where there are some."""
        wall = self.at.astimezone(ZoneInfo(self.timezone))
        seconds = f":{wall:%S}" if wall.second else ""
        return f"{wall:%a} {wall.day} {wall:%b %Y, %H:%M}{seconds} {wall.tzname()}"


def moments_of(schedule: Schedule, after: datetime, count: int, timezone: str = "UTC") -> list[Moment]:
    """The next so many; of a cron expression in its own zone, else in `timezone`."""
    zone = schedule.timezone if isinstance(schedule, Cron) else timezone
    found: list[Moment] = []
    while len(found) < count:
        after = next_after(schedule, after)
        found.append(Moment(after, zone))
    return found
