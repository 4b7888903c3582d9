"""Schedules in words. They are made of what an expression matches, not of how it is written: "*/45" is not every 45
minutes, and "1-31 * MON" is every day."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from domain.schedules import Cron, Every, Schedule, is_fixed

MAX_TIMES: Final = 6
"""Times of a day that are told one by one."""

_ANY_TIME: Final = datetime(2024, 1, 1, tzinfo=UTC)
_WEEKS_OF_A_YEAR: Final = 53
_MONTHS: Final = (
    *("", "January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS: Final = ("", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WHICH: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", CronSim.LAST: "last"}
_UNITS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def schedule_words(schedule: Schedule) -> str:
    """Such as "Every 5 minutes" or "At 03:00, Monday to Friday". Raises CronSimError for what is no expression."""
    return _every(schedule.seconds) if isinstance(schedule, Every) else cron_words(schedule.expression)


def cron_words(expression: str) -> str:
    """By the clock on the wall, whose time zone is not said. Raises CronSimError for what is no expression."""
    cron = CronSim(expression, _ANY_TIME)
    time, day = _time_words(cron.seconds, cron.minutes, cron.hours), _day_words(cron)
    if not day and time.startswith("At ") and ":" in time:
        return f"{time} every day"
    return time + day


def clock_change_words(schedule: Schedule, now: datetime) -> str | None:
    """What becomes of a cron expression when the clocks of its zone change; None if they do not in the next year."""
    if not isinstance(schedule, Cron):
        return None
    zone = ZoneInfo(schedule.timezone)
    weeks = (now + timedelta(weeks=week) for week in range(_WEEKS_OF_A_YEAR))
    if len({week.astimezone(zone).utcoffset() for week in weeks}) == 1:
        return None
    if is_fixed(schedule.expression):
        return "When the clocks change, a time that is skipped counts right after, one that comes twice counts once."
    return "When the clocks change, it goes by what they show: times that are skipped do not count, others count twice."


def _every(seconds: float) -> str:
    for unit, size in _UNITS:
        if seconds % size == 0 and (seconds < 1000 * size or size == 604_800):
            return f"Every {unit}" if seconds == size else f"Every {_count(seconds / size, unit)}"
    parts, rest = [], seconds
    for unit, size in _UNITS[1:-1]:
        count, rest = divmod(rest, size)
        if count:
            parts.append(_count(count, unit))
    return f"Every {_and([*parts, *([_count(rest, 'second')] if rest else [])])}"


def _count(number: float, unit: str) -> str:
    return f"{round(number, 6):g} {unit}{'s' if number != 1 else ''}"


def _time_words(seconds: Collection[int], minutes: Collection[int], hours: Collection[int]) -> str:
    """Each field repeats within the next one; those that are full at the end are not told."""
    if len(seconds) * len(minutes) * len(hours) <= MAX_TIMES:
        return "At " + _and(_clock_times(seconds, minutes, hours))
    by_second, by_minute, by_hour = sorted(seconds), sorted(minutes), sorted(hours)
    is_all_day, is_in_one_go = len(by_hour) == 24, by_hour[-1] - by_hour[0] == len(by_hour) - 1
    hour_words = "every hour" if is_all_day else _named("hour", by_hour)
    if by_second != [0]:
        if len(by_minute) == 60:
            return _repeated("second", by_second, "every minute") + ("" if is_all_day else f" of {hour_words}")
        return _repeated("second", by_second, f"{_named('minute', by_minute)} of {hour_words}", is_told=True)
    if is_all_day:
        words = _repeated("minute", by_minute, "every hour")
    elif len(by_minute) == 1 and (is_in_one_go or _even_step(by_hour, 24)):
        step = _even_step(by_hour, 24)
        first, last = (f"{hour:02d}:{by_minute[0]:02d}" for hour in (by_hour[0], by_hour[-1]))
        words = f"Every {_count(step, 'hour') if step else 'hour'} from {first} to {last}"
    elif is_in_one_go:
        words = f"{_repeated('minute', by_minute, 'every hour')} from {by_hour[0]:02d}:00 to {by_hour[-1]:02d}:59"
    else:
        words = _repeated("minute", by_minute, hour_words, is_told=True)
    return words


def _clock_times(seconds: Collection[int], minutes: Collection[int], hours: Collection[int]) -> list[str]:
    has_seconds = set(seconds) != {0}
    return [
        f"{hour:02d}:{minute:02d}" + (f":{second:02d}" if has_seconds else "")
        for hour in sorted(hours)
        for minute in sorted(minutes)
        for second in sorted(seconds)
    ]


def _repeated(unit: str, values: Sequence[int], within: str, *, is_told: bool = False) -> str:
    """A field of sixty `within` the next one: "Every 5 minutes", "At minutes 0, 7 and 14 of every hour". `is_told`:
    say within what, although it is said how often."""
    if len(values) == 60:
        return f"Every {unit}" + (f" of {within}" if is_told else "")
    if step := _even_step(values, 60):
        start = f" from {unit} {values[0]}" if values[0] else ""
        return f"Every {step} {unit}s{start}" + (f" of {within}" if start or is_told else "")
    return f"At {_named(unit, values)} of {within}"


def _named(unit: str, values: Sequence[int]) -> str:
    """Such as "minute 5", "minutes 0 to 10 and 30"."""
    if len(values) == 1:
        return f"{unit} {values[0]}"
    return f"{unit}s {_and([_range_words(str(first), str(last)) for first, last in _runs(values)])}"


def _even_step(values: Sequence[int], size: int) -> int | None:
    """If they come at even distances, also from the last one to the first of the next round: that distance."""
    step = values[1] - values[0] if len(values) > 1 else 0
    is_even = step > 1 and size % step == 0 and values[0] < step and list(values) == list(range(values[0], size, step))
    return step if is_even else None


def _day_words(cron: CronSim) -> str:
    """With the blank, or the comma, in front. Empty for every day."""
    weekdays = {(item or 7) if isinstance(item, int) else (item[0] or 7, item[1]) for item in cron.weekdays}
    months, days = sorted(cron.months), cron.days
    is_any_day, is_any_weekday = days >= set(range(1, 32)), weekdays >= set(range(1, 8))
    if is_any_day and is_any_weekday or (is_any_day or is_any_weekday) and not cron.day_and:
        return "" if len(months) == 12 else f" every day {_in_months(months)}"
    if is_any_day:
        return _on_weekdays(weekdays, months)
    if is_any_weekday:
        return _on_days(days, months)
    if cron.day_and:
        return f"{_on_days(days, months)}, if that is {_joined(_weekday_names(weekdays, 'a {}'), 'or')}"
    return f"{_on_days(days, months)}, and also{_on_weekdays(weekdays, months).removeprefix(',')}"


def _on_days(days: Collection[int], months: Sequence[int]) -> str:
    plain = sorted(day for day in days if day > 0)
    step = plain[1] - plain[0] if len(plain) > 3 else 0
    named = []
    if step > 1 and plain == list(range(plain[0], plain[-1] + 1, step)):
        named.append(f"every {_ordinal(step)} day from the {_ordinal(plain[0])} to the {_ordinal(plain[-1])}")
    elif plain:
        named.append("the " + _and([_range_words(_ordinal(first), _ordinal(last)) for first, last in _runs(plain)]))
    if CronSim.LAST in days:
        named.append("the last day")
    if CronSim.LAST_WEEKDAY in days:
        named.append("the last working day")
    return f" on {_and(named)} of {_months(months)}"


def _on_weekdays(weekdays: Collection[int | tuple[int, int]], months: Sequence[int]) -> str:
    names = _weekday_names(weekdays, "{}s")
    words = f", {names[0]}" if " to " in names[0] and len(names) == 1 else f" on {_and(names)}"
    return words if len(months) == 12 else f"{words} {_in_months(months)}"


def _weekday_names(weekdays: Collection[int | tuple[int, int]], pattern: str) -> list[str]:
    plain = sorted(item for item in weekdays if isinstance(item, int))
    which = sorted(item for item in weekdays if not isinstance(item, int) and item[0] not in plain)
    if not which and len(plain) > 2 and plain[-1] - plain[0] == len(plain) - 1:
        days = f"{_WEEKDAYS[plain[0]]} to {_WEEKDAYS[plain[-1]]}"
        return [f"a day from {days}" if pattern.startswith("a ") else days]
    named = [pattern.format(_WEEKDAYS[day]) for day in plain]
    return named + [f"the {_WHICH[number]} {_WEEKDAYS[day]} of the month" for day, number in which]


def _months(months: Sequence[int]) -> str:
    """What a day is of."""
    if len(months) == 12:
        return "the month"
    is_range = len(months) > 2 and months[-1] - months[0] == len(months) - 1
    return f"the months {_month_names(months)}" if is_range else _month_names(months)


def _in_months(months: Sequence[int]) -> str:
    names = _month_names(months)
    return f"from {names}" if " to " in names else f"in {names}"


def _month_names(months: Sequence[int]) -> str:
    if len(months) > 2 and months[-1] - months[0] == len(months) - 1:
        return f"{_MONTHS[months[0]]} to {_MONTHS[months[-1]]}"
    return _and([_MONTHS[month] for month in months])


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last of three or more that follow each other; others stand alone."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return [
        pair for run in runs for pair in ([(run[0], run[-1])] if len(run) > 2 else [(value, value) for value in run])
    ]


def _range_words(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _and(words: Sequence[str]) -> str:
    return _joined(words, "and")


def _joined(words: Sequence[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
