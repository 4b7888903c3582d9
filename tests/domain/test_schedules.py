"""When the next ping is expected."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from domain.errors import InvalidRequest
from domain.schedules import Cron, Every, check_cron, next_after

BERLIN, NEW_YORK, KOLKATA, LORD_HOWE = "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_period_counts_in_seconds_of_real_time() -> None:
    base = datetime(2025, 3, 29, 12, tzinfo=ZoneInfo(BERLIN))
    expected = next_after(Every(86_400), base)
    assert expected == utc("2025-03-30T11:00")
    assert expected.tzinfo is UTC


@pytest.mark.parametrize(
    ("expression", "timezone", "base", "expected"),
    [
        # The clocks go forward: what has a fixed time runs after the gap, what has a star does not run in it.
        ("30 2 * * *", BERLIN, "2025-03-29T12:00", ["2025-03-30T01:00", "2025-03-31T00:30"]),
        ("30 2,3 * * *", BERLIN, "2025-03-29T12:00", ["2025-03-30T01:00", "2025-03-30T01:30", "2025-03-31T00:30"]),
        ("*/30 2 * * *", BERLIN, "2025-03-29T12:00", ["2025-03-31T00:00", "2025-03-31T00:30"]),
        ("*/30 * * * *", BERLIN, "2025-03-30T00:20", ["2025-03-30T00:30", "2025-03-30T01:00", "2025-03-30T01:30"]),
        ("30 2 * * *", NEW_YORK, "2025-03-08T12:00", ["2025-03-09T07:00", "2025-03-10T06:30"]),
        ("0 9 * * *", NEW_YORK, "2025-03-08T00:00", ["2025-03-08T14:00", "2025-03-09T13:00"]),
        # They go back: a fixed time runs the first time only, a star both times.
        ("30 2 * * *", BERLIN, "2025-10-25T12:00", ["2025-10-26T00:30", "2025-10-27T01:30"]),
        ("30 2 * * *", BERLIN, "2025-10-26T01:10", ["2025-10-27T01:30"]),
        ("30 2 * * *", BERLIN, "2025-10-26T00:45", ["2025-10-27T01:30"]),
        ("*/30 2 * * *", BERLIN, "2025-10-25T12:00", ["2025-10-26T00:00", "2025-10-26T00:30", "2025-10-26T01:00"]),
        ("0 * * * *", BERLIN, "2025-10-25T23:30", ["2025-10-26T00:00", "2025-10-26T01:00", "2025-10-26T02:00"]),
        ("30 1 * * *", NEW_YORK, "2025-11-01T12:00", ["2025-11-02T05:30", "2025-11-03T06:30"]),
        ("0 9 * * *", NEW_YORK, "2025-11-01T00:00", ["2025-11-01T13:00", "2025-11-02T14:00"]),
        # Zones that are off by half an hour or a quarter.
        ("0 9 * * *", KOLKATA, "2025-01-01T00:00", ["2025-01-01T03:30", "2025-01-02T03:30"]),
        ("0 * * * *", KOLKATA, "2025-01-01T00:00", ["2025-01-01T00:30", "2025-01-01T01:30"]),
        ("0 9 * * *", "Asia/Kathmandu", "2025-01-01T00:00", ["2025-01-01T03:15"]),
        # Clocks that change by half an hour.
        ("15 2 * * *", LORD_HOWE, "2025-10-03T16:00", ["2025-10-04T15:30", "2025-10-05T15:15"]),
        ("30 1 * * *", LORD_HOWE, "2025-04-05T12:00", ["2025-04-05T14:30", "2025-04-06T15:00"]),
        ("*/15 2 * * *", LORD_HOWE, "2025-04-05T12:00", ["2025-04-05T15:30", "2025-04-05T15:45"]),
        ("*/30 3 * * *", LORD_HOWE, "2025-10-04T12:00", ["2025-10-04T16:00", "2025-10-04T16:30"]),
        ("0 */6 * * *", LORD_HOWE, "2025-10-04T14:00", ["2025-10-04T19:00", "2025-10-05T01:00"]),
        ("0 * * * *", LORD_HOWE, "2025-04-05T13:30", ["2025-04-05T14:00", "2025-04-05T15:30"]),
        # A day that has no midnight.
        ("*/30 0 * * *", "America/Havana", "2025-03-08T12:00", ["2025-03-10T04:00", "2025-03-10T04:30"]),
        ("0 0 * * *", "America/Havana", "2025-03-08T12:00", ["2025-03-09T05:00", "2025-03-10T04:00"]),
        # Leap days.
        ("0 0 29 2 *", "UTC", "2025-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 12 29 2 *", KOLKATA, "2024-02-29T06:30", ["2028-02-29T06:30"]),
        ("0 0 * 2 SUN#5", "UTC", "2025-01-01T00:00", ["2032-02-29T00:00"]),
        ("* * 29 2 *", BERLIN, "2025-01-01T00:00", ["2028-02-28T23:00", "2028-02-28T23:01"]),
        # Seconds, ends of months, either day.
        ("*/20 * * * * *", "UTC", "2025-01-01T00:00:10", ["2025-01-01T00:00:20", "2025-01-01T00:00:40"]),
        ("0 0 L * *", "UTC", "2025-02-01T00:00", ["2025-02-28T00:00", "2025-03-31T00:00"]),
        ("0 0 13 * FRI", "UTC", "2025-02-01T00:00", ["2025-02-07T00:00", "2025-02-13T00:00"]),
    ],
)
def test_cron_follows_the_clock_on_the_wall(expression: str, timezone: str, base: str, expected: list[str]) -> None:
    moment, found = utc(base), []
    for _ in expected:
        moment = next_after(Cron(expression, timezone), moment)
        found.append(moment)
    assert found == [utc(text) for text in expected]
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("fraction", [timedelta(microseconds=1), timedelta(milliseconds=999)])
def test_an_expected_moment_is_always_later_than_the_base(fraction: timedelta) -> None:
    daily = Cron("0 3 * * *", "UTC")
    assert next_after(daily, utc("2025-01-01T03:00")) == utc("2025-01-02T03:00")
    assert next_after(daily, utc("2025-01-01T03:00") + fraction) == utc("2025-01-02T03:00")
    assert next_after(daily, utc("2025-01-01T03:00") - fraction) == utc("2025-01-01T03:00")


@pytest.mark.parametrize(
    ("timezone", "change"),
    [
        (BERLIN, "2025-03-30T01:00"),
        (BERLIN, "2025-10-26T01:00"),
        (NEW_YORK, "2025-11-02T06:00"),
        (LORD_HOWE, "2025-04-05T15:00"),
        (LORD_HOWE, "2025-10-04T15:30"),
        ("Africa/Cairo", "2025-04-24T22:00"),
        ("Asia/Beirut", "2025-03-29T22:00"),
        ("Pacific/Apia", "2011-12-30T10:00"),
    ],
)
@pytest.mark.parametrize(
    "expression", ["* * * * *", "*/15 2 * * *", "*/20 0 * * *", "0 */6 * * *", "45 * * * 0", "* 0-4 * * *"]
)
def test_with_a_star_every_minute_that_the_wall_shows_counts(timezone: str, change: str, expression: str) -> None:
    """Around a change of the clocks, against looking at each minute."""
    zone, shown = ZoneInfo(timezone), CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    start, end = utc(change) - timedelta(hours=9), utc(change) + timedelta(hours=9)
    minutes = [start + timedelta(minutes=minute) for minute in range(1, 18 * 60)]
    walls = {moment: moment.astimezone(zone) for moment in minutes}
    matching = [
        moment
        for moment, wall in walls.items()
        if wall.minute in shown.minutes and wall.hour in shown.hours and shown.match_day(wall.date())
    ]
    found, moment = [], start
    while (moment := next_after(Cron(expression, timezone), moment)) < end:
        found.append(moment)
    assert found == matching


@pytest.mark.parametrize(
    ("expression", "timezone", "field", "says"),
    [
        ("0 3 * * *", "Europe/Bärlin", "timezone", "is not known"),
        ("0 3 * * *", "", "timezone", "is not known"),
        ("0 3 * * *", "Europe", "timezone", "is not known"),
        ("0 3 * * *", "../../etc/passwd", "timezone", "is not known"),
        ("0 3 * * *", "x" * 5000, "timezone", "is not known"),
        ("", "UTC", "cron", "number of fields"),
        ("@daily", "UTC", "cron", "number of fields"),
        ("60 * * * *", "UTC", "cron", 'has a wrong minute, "60"'),
        ("0 0 * * * * *", "UTC", "cron", "number of fields"),
        ("0 0 30 2 *", "UTC", "cron", "no day ever matches"),
        ("0 0 32 2 *", "UTC", "cron", 'has a wrong day of month, "32"'),
        ("0 0 9 * * FRY", "UTC", "cron", 'has a wrong day of week, "FRY"'),
        ("0 0 */30 2 MON#5", "UTC", "cron", "no day ever matches"),
        ("* 0 */30 2 MON#5", BERLIN, "cron", "no day ever matches"),
        ("0 " * 200, "UTC", "cron", "longer than"),
    ],
)
def test_what_is_not_understood_or_never_occurs_is_refused(
    expression: str, timezone: str, field: str, says: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_cron(expression, timezone)
    assert [item.field for item in refused.value.fields] == [field]
    assert says in refused.value.message


@pytest.mark.parametrize("expression", ["0 3 * * *", "0 0 29 2 *", "*/5 * * * * *", "0 0 LW * MON-FRI"])
def test_what_is_understood_is_accepted(expression: str) -> None:
    check_cron(expression, BERLIN)
