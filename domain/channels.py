"""Where people are told: channels, and which of them an alert goes to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from domain.alerts import Severity
from domain.errors import InvalidRequest

DEFAULT_MESSAGES_PER_MINUTE: Final = 10

DAY: Final = timedelta(days=1)


class ChannelKind(StrEnum):
    EMAIL = "email"
    SLACK = "slack"
    DISCORD = "discord"
    PAGERDUTY = "pagerduty"
    WEBHOOK = "webhook"
    APPRISE = "apprise"
    """Any other service that apprise knows by its URL."""


@dataclass(frozen=True)
class QuietHours:
    """From `start` until `end`, on the clock of `timezone`, less than `severity` waits. May go over midnight.

    Raises InvalidRequest if they make no sense.
    """

    start: time
    end: time
    timezone: str
    severity: Severity = Severity.CRITICAL

    def __post_init__(self) -> None:
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise InvalidRequest.of_field("quiet_hours", "give start and end without an offset, such as 22:00.")
        if self.start == self.end:
            raise InvalidRequest.of_field("quiet_hours", "start and end are the same; leave quiet hours out instead.")
        try:
            ZoneInfo(self.timezone)
        # A directory of the database, or a name with a null or a dot in it, raises something of its own.
        except (KeyError, ValueError, OSError):
            raise InvalidRequest.of_field(
                "quiet_hours", f"{self.timezone!r} is no time zone; give a name such as Europe/Berlin."
            ) from None

    def until(self, now: datetime) -> datetime | None:
        """The end of the quiet hours, in UTC, if `now` is in them; None if it is not."""
        zone = ZoneInfo(self.timezone)
        today = now.astimezone(zone).date()
        # Those over midnight began yesterday.
        for day in (today - DAY, today):
            start = _moment(day, self.start, zone)
            end = _last_moment(day if self.start < self.end else day + DAY, self.end, zone)
            if start <= now < end:
                return end
        return None


@dataclass(frozen=True)
class Routing:
    """Which alerts a channel wants: of at least that severity and, if it names tags, with one of them at least."""

    severity: Severity = Severity.INFO
    tags: frozenset[str] = frozenset()

    def wants(self, severity: Severity, tags: Iterable[str]) -> bool:
        return severity.rank >= self.severity.rank and (not self.tags or not self.tags.isdisjoint(tags))


def _moment(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """When the clock shows it first; where the clock jumps over it, as much later as it jumps."""
    return datetime.combine(day, clock.replace(fold=0), zone).astimezone(UTC)


def _last_moment(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """When the clock shows it last: a night in which the clock is set back stays one night."""
    return max(_moment(day, clock, zone), datetime.combine(day, clock.replace(fold=1), zone).astimezone(UTC))
