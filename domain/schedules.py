"""When something is expected: every so many seconds, or by the clock on a wall."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from domain.errors import InvalidRequest

MIN_PERIOD_SECONDS: Final = 1.0
MAX_PERIOD_SECONDS: Final = 366 * 86_400.0
MAX_CRON_TEXT: Final = 200

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_ANY_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)
_FIELDS: Final = (
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31, L or LW"),
    ("month", "1 to 12 or JAN to DEC"),
    ("day of week", "0 to 7 or SUN to SAT"),
)
_HOW: Final = 'use five fields such as "0 3 * * 1-5": minute, hour, day of month, month, day of week'


@dataclass(frozen=True)
class Every:
    seconds: float


@dataclass(frozen=True)
class Cron:
    """`expression` has five fields, or six with the seconds in front; `timezone` is a name such as Europe/Berlin.

    Through the changes of the clocks it means what Debian's cron does: a job with a fixed hour and minute runs once
    a day, after the gap if its time is skipped, the first time if it comes twice; one with a star there runs whenever
    the clock on the wall shows a time that matches.
    """

    expression: str
    timezone: str


Schedule = Every | Cron


def next_after(schedule: Schedule, base: datetime) -> datetime:
    """The first moment after `base` at which something is expected, in UTC."""
    if isinstance(schedule, Every):
        return base.astimezone(UTC) + timedelta(seconds=schedule.seconds)
    zone = ZoneInfo(schedule.timezone)
    if is_fixed(schedule.expression):
        return _next_fixed(schedule.expression, zone, base)
    return _next_on_the_wall(schedule.expression, zone, base.astimezone(UTC).replace(microsecond=0))


def is_fixed(expression: str) -> bool:
    """Whether it names hours and minutes, and so is kept through the changes of the clocks."""
    fields = expression.split()
    return len(fields) == 5 and not any(field.startswith("*") for field in fields[:2])


def check_cron(expression: str, timezone: str) -> None:
    """Raises InvalidRequest naming `timezone` or `cron` if they cannot be understood, or mean never."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest.of_field(
            "timezone", f'"{timezone[:60]}" is not known; use a name such as "UTC" or "Europe/Berlin"'
        ) from None
    if len(expression) > MAX_CRON_TEXT:
        raise InvalidRequest.of_field("cron", f"is longer than {MAX_CRON_TEXT} characters")
    try:
        next_after(Cron(expression, timezone), _ANY_DAY)
    except CronSimError:
        raise InvalidRequest.of_field("cron", _what_is_wrong(expression)) from None


def _what_is_wrong(expression: str) -> str:
    fields = expression.split()
    if len(fields) not in (5, 6):
        return f"has a wrong number of fields, {len(fields)}; {_HOW}"
    for place, (field, (name, values)) in enumerate(zip(fields, _FIELDS[-len(fields) :], strict=True)):
        try:
            CronSim(" ".join(field if other == place else "*" for other in range(len(fields))), _ANY_DAY)
        except CronSimError:
            return f'has a wrong {name}, "{field[:40]}"; that is {values}, or several of them; {_HOW}'
    return "means never: no day ever matches"


def _next_fixed(expression: str, zone: ZoneInfo, base: datetime) -> datetime:
    for moment in CronSim(expression, base.astimezone(zone)):
        # In an hour that comes twice, the first ones may be past already.
        if moment.astimezone(UTC) > base:
            return moment.astimezone(UTC)
    raise CronSimError("No day ever matches")


def _next_on_the_wall(expression: str, zone: ZoneInfo, base: datetime) -> datetime:
    """Goes from one change of the clocks to the next, because cronsim loses minutes at those that are not by an hour.

    Between two changes the wall's time is UTC plus an offset, which it needs no zone for.
    """
    offset = _offset(zone, base)
    wall = base + offset
    while True:
        found = next(CronSim(expression, wall), None)
        if found is None:
            raise CronSimError("No day ever matches")
        change = _next_change(zone, base, found - offset)
        if change is None:
            return found - offset
        base, offset = change, _offset(zone, change)
        wall = change + offset - _SECOND


def _next_change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first change of the clocks after `start` and not after `end`, to the second."""
    offset = _offset(zone, start)
    while start < end:
        later = min(start + _DAY, end)
        if _offset(zone, later) != offset:
            while later - start > _SECOND:
                middle = (start + (later - start) / 2).replace(microsecond=0)
                start, later = (middle, later) if _offset(zone, middle) == offset else (start, middle)
            return later
        start = later
    return None


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)
