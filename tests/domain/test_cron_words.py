"""Schedules in words: each by a table, and all of them read back and held against what cronsim matches."""

import re
from calendar import day_name, month_name
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.cron_words import clock_change_words, cron_words, schedule_words
from domain.schedules import Cron, Every, next_after

NOW = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("5/15 * * * *", "Every 15 minutes from minute 5 of every hour"),
        ("0 * * * *", "At minute 0 of every hour"),
        # Steps that do not divide the hour begin anew with each.
        ("*/25 * * * *", "At minutes 0, 25 and 50 of every hour"),
        ("*/45 * * * *", "At minutes 0 and 45 of every hour"),
        ("*/60 * * * *", "At minute 0 of every hour"),
        # To cronsim a step after one number goes on to the end.
        ("0-0/5 * * * *", "Every 5 minutes"),
        ("0-4,30 * * * *", "At minutes 0 to 4 and 30 of every hour"),
        ("0 3 * * *", "At 03:00 every day"),
        ("0 3,9,15 * * MON", "At 03:00, 09:00 and 15:00 on Mondays"),
        ("0 */6 * * *", "At 00:00, 06:00, 12:00 and 18:00 every day"),
        ("30 1/3 * * *", "Every 3 hours from 01:30 to 22:30"),
        ("0 9-17 * * *", "Every hour from 09:00 to 17:00"),
        ("*/5 9-17 * * MON-FRI", "Every 5 minutes from 09:00 to 17:59, Monday to Friday"),
        ("*/10 1,3,5 * * *", "Every 10 minutes of hours 1, 3 and 5"),
        ("0 8,12,16,17,18,20,22 * * *", "At minute 0 of hours 8, 12, 16 to 18, 20 and 22"),
        ("0 3 * * 1-5", "At 03:00, Monday to Friday"),
        ("0 0 * * 0,6", "At 00:00 on Saturdays and Sundays"),
        ("0 0 * * 5-7", "At 00:00, Friday to Sunday"),
        ("0 0 * * 0-6", "At 00:00 every day"),
        ("0 0 1,15 * *", "At 00:00 on the 1st and 15th of the month"),
        ("0 0 1,2,3,22 * *", "At 00:00 on the 1st to 3rd and 22nd of the month"),
        ("0 0 */2 * *", "At 00:00 on every 2nd day from the 1st to the 31st of the month"),
        ("0 0 L * *", "At 00:00 on the last day of the month"),
        ("0 0 LW * *", "At 00:00 on the last working day of the month"),
        ("0 0 * * MON#2", "At 00:00 on the second Monday of the month"),
        ("0 0 * * 5L", "At 00:00 on the last Friday of the month"),
        ("0 0 * * 1,5L", "At 00:00 on Mondays and the last Friday of the month"),
        ("0 0 1 1 *", "At 00:00 on the 1st of January"),
        ("0 0 1 */3 *", "At 00:00 on the 1st of January, April, July and October"),
        ("0 0 * 6-8 *", "At 00:00 every day from June to August"),
        ("0 0 1 6-8 *", "At 00:00 on the 1st of the months June to August"),
        # Days of both kinds: either will do, unless one of the fields begins with a star.
        ("0 0 13 * FRI", "At 00:00 on the 13th of the month, and also on Fridays"),
        ("0 0 13 1 FRI", "At 00:00 on the 13th of January, and also on Fridays in January"),
        ("0 0 */2 * FRI", "At 00:00 on every 2nd day from the 1st to the 31st of the month, if that is a Friday"),
        ("0 0 1-31 * MON", "At 00:00 every day"),
        ("* * * * * *", "Every second"),
        ("*/20 * * * * *", "Every 20 seconds"),
        ("30 * * * * *", "At second 30 of every minute"),
        ("15 30 4 * * *", "At 04:30:15 every day"),
        ("*/10 * 4 * * *", "Every 10 seconds of hour 4"),
        ("0,30 0,7,9 * * * *", "Every 30 seconds of minutes 0, 7 and 9 of every hour"),
        ("0 0 * JAN sun", "At 00:00 on Sundays in January"),
    ],
)
def test_an_expression_in_words(expression: str, words: str) -> None:
    assert cron_words(expression) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "Every second"),
        (1.5, "Every 1.5 seconds"),
        (60, "Every minute"),
        (90, "Every 90 seconds"),
        (300, "Every 5 minutes"),
        (5400, "Every 90 minutes"),
        (3600, "Every hour"),
        (86_400, "Every day"),
        (604_800, "Every week"),
        (90_061, "Every 1 day, 1 hour, 1 minute and 1 second"),
        (31_622_400, "Every 366 days"),
    ],
)
def test_a_period_in_words(seconds: float, words: str) -> None:
    assert schedule_words(Every(seconds)) == words


@pytest.mark.parametrize(
    ("expression", "timezone", "says"),
    [
        ("0 3 * * *", "UTC", None),
        ("0 3 * * *", "Asia/Kolkata", None),
        ("0 3 * * *", "Europe/Berlin", "one that comes twice counts once"),
        ("*/5 * * * *", "Europe/Berlin", "it goes by what they show"),
    ],
)
def test_what_becomes_of_it_when_the_clocks_change(expression: str, timezone: str, says: str | None) -> None:
    words = clock_change_words(Cron(expression, timezone), NOW)
    assert words is None if says is None else words is not None and says in words


# The words are read back, by rules of their own, and must mean what cronsim matches.

MONTHS, WEEKDAYS = list(month_name)[1:], list(day_name)
WHICH = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": CronSim.LAST}


def items(text: str) -> list[str]:
    return re.split(r", | and | or ", text)


def numbers(text: str) -> set[int]:
    found: set[int] = set()
    for item in items(text):
        first, _, last = re.sub(r"(?<=\d)(st|nd|rd|th)", "", item).partition(" to ")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def read_times(words: str) -> set[tuple[int, int, int]]:
    """Every second of a day that they name, as hour, minute and second."""
    if re.fullmatch(r"At \d\d:\d\d.*", words):
        clocks = [[int(part) for part in item.split(":")] for item in items(words.removeprefix("At "))]
        return {(clock[0], clock[1], clock[2] if len(clock) > 2 else 0) for clock in clocks}
    hours, minutes, seconds = set(range(24)), set(range(60)), {0}
    if found := re.fullmatch(r"Every (?:(\d+) hours|hour) from (\d\d):(\d\d) to (\d\d):\d\d", words):
        return {(hour, int(found[3]), 0) for hour in range(int(found[2]), int(found[4]) + 1, int(found[1] or 1))}
    if found := re.fullmatch(r"(.*) from (\d\d):00 to (\d\d):59", words):
        words, hours = found[1], set(range(int(found[2]), int(found[3]) + 1))
    if found := re.fullmatch(r"(.*) of hours? ([\d, and to]+)", words):
        words, hours = found[1], numbers(found[2])
    words = words.removesuffix(" of every hour").removesuffix(" of every minute")
    if found := re.fullmatch(r"(.*second.*) of minutes? (.*)", words):
        words, minutes = found[1], numbers(found[2])
    unit = "second" if "second" in words else "minute"
    if found := re.fullmatch(rf"Every {unit}", words):
        field = set(range(60))
    elif found := re.fullmatch(rf"Every (\d+) {unit}s(?: from {unit} (\d+))?", words):
        field = set(range(int(found[2] or 0), 60, int(found[1])))
    else:
        found = re.fullmatch(rf"At {unit}s? (.*)", words)
        assert found, words
        field = numbers(found[1])
    if unit == "second":
        seconds = field
    else:
        minutes = field
    return {(hour, minute, second) for hour in hours for minute in minutes for second in seconds}


def read_months(text: str) -> set[int]:
    names = text.removeprefix("the months ")
    if names == "the month":
        return set(range(1, 13))
    first, _, last = names.partition(" to ")
    if last:
        return set(range(MONTHS.index(first) + 1, MONTHS.index(last) + 2))
    return {MONTHS.index(name) + 1 for name in items(names)}


def read_weekdays(text: str) -> set[int | tuple[int, int]]:
    if found := re.fullmatch(r"(?:a day from )?(\w+day) to (\w+day)", text):
        return set(range(WEEKDAYS.index(found[1]) + 1, WEEKDAYS.index(found[2]) + 2))
    days: set[int | tuple[int, int]] = set()
    for item in items(text):
        if found := re.fullmatch(r"the (\w+) (\w+) of the month", item):
            days.add((WEEKDAYS.index(found[2]) + 1, WHICH[found[1]]))
        else:
            days.add(WEEKDAYS.index(item.removeprefix("a ").removesuffix("s")) + 1)
    return days


def read_days(text: str) -> set[int]:
    days: set[int] = set()
    for suffix, day in (("the last working day", CronSim.LAST_WEEKDAY), ("the last day", CronSim.LAST)):
        if text.endswith(suffix):
            days.add(day)
            text = text.removesuffix(suffix).removesuffix(" and ").removesuffix(", ")
    if found := re.match(r"every (\d+)\w\w day from the (\d+)\w\w to the (\d+)\w\w", text):
        return days | set(range(int(found[2]), int(found[3]) + 1, int(found[1])))
    return days | (numbers(text.removeprefix("the ")) if text else set())


Matches = Callable[[datetime], bool]


def matcher(days: set[int], months: set[int]) -> Matches:
    """By a CronSim that is told the sets, so that L and # need no rules of their own here."""
    return lambda at: at.month in months and _sim(days, None).match_dom(at.date())


def weekday_matcher(weekdays: set[int | tuple[int, int]], months: set[int]) -> Matches:
    return lambda at: at.month in months and _sim(None, weekdays).match_dow(at.date())


def _sim(days: set[int] | None, weekdays: set[int | tuple[int, int]] | None) -> CronSim:
    cron = CronSim("* * * * *", NOW)
    if days is not None:
        cron.days = days
    if weekdays is not None:
        cron.weekdays = weekdays
    return cron


def read(words: str) -> tuple[set[tuple[int, int, int]], Matches]:
    """Which seconds of which days the words name."""
    found = re.fullmatch(
        r"(?P<time>.*?)"
        r"(?:(?P<every> every day)(?: (?:in|from) (?P<every_months>[A-Z].*))?"
        r"|(?: on (?P<days>(?:the \d|every \d|the last day|the last working day).*?) of "
        r"(?P<months>the months? ?[^,]*|[A-Z][^,]*(?:, [A-Z]\w+)*(?: and \w+)?)"
        r"(?:, if that is (?P<if>.*)|, and also(?: on)? (?P<also>.*))?)"
        r"|(?:(?:,| on) (?P<weekdays>(?:[A-Z]\w+day|the \w+ [A-Z]).*)))?",
        words,
    )
    assert found, words
    times = read_times(found["time"])
    if found["days"]:
        by_day = matcher(read_days(found["days"]), read_months(found["months"].strip()))
        if found["if"]:
            by_weekday = weekday_matcher(read_weekdays(found["if"]), set(range(1, 13)))
            return times, lambda at: by_day(at) and by_weekday(at)
        if found["also"]:
            by_also = _weekdays_and_months(found["also"])
            return times, lambda at: by_day(at) or by_also(at)
        return times, by_day
    if found["weekdays"]:
        return times, _weekdays_and_months(found["weekdays"])
    months = read_months(found["every_months"]) if found["every_months"] else set(range(1, 13))
    return times, lambda at: at.month in months


def _weekdays_and_months(text: str) -> Matches:
    named = re.fullmatch(rf"(.*?) (?:in|from) ((?:{'|'.join(MONTHS)}).*)", text)
    weekdays, months = (named[1], read_months(named[2])) if named else (text, set(range(1, 13)))
    return weekday_matcher(read_weekdays(weekdays), months)


def fields(least: int, most: int, *others: str) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(st.one_of(st.just("*"), span, number.map(str)), st.integers(1, 70)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    one = st.one_of(number.map(str), span, stepped, *(st.just(other) for other in others))
    return st.one_of(st.just("*"), one, st.lists(one, min_size=2, max_size=4).map(",".join))


MINUTE_FIELD = fields(0, 59)
EXPRESSIONS = st.builds(
    lambda second, *rest: " ".join(([second] if second else []) + list(rest)),
    st.one_of(st.none(), st.none(), MINUTE_FIELD),
    MINUTE_FIELD,
    fields(0, 23),
    fields(1, 31, "L", "LW"),
    st.one_of(st.just("*"), fields(1, 12)),
    fields(0, 7, "MON#1", "TUE#5", "5L", "0L", "FRI"),
)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_the_words_mean_what_is_matched(expression: str) -> None:
    """The same seconds of a day, and the same days of four years."""
    try:
        cron = CronSim(expression, NOW)
    except CronSimError:
        assume(False)
        raise
    times, is_day = read(cron_words(expression))
    assert times == {
        (hour, minute, second) for hour in cron.hours for minute in cron.minutes for second in cron.seconds
    }
    for ordinal in range(NOW.toordinal(), NOW.toordinal() + 1461, 3):
        day = datetime.fromordinal(ordinal)
        assert is_day(day) == (day.month in cron.months and cron.match_day(day.date())), (cron_words(expression), day)


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS)
def test_the_next_five_times_are_named_by_the_words(expression: str) -> None:
    moment = NOW
    try:
        schedule = Cron(expression, "UTC")
        found = [moment := next_after(schedule, moment) for _ in range(5)]
    except CronSimError:
        assume(False)
        raise
    times, is_day = read(cron_words(expression))
    for at in found:
        assert (at.hour, at.minute, at.second) in times
        assert is_day(at)
