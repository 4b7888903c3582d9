"""Which alerts a channel wants, and when it wants none."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alerts import Severity
from domain.channels import QuietHours, Routing
from domain.errors import InvalidRequest
from tests.domain.builders import at, properties

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]


def clock(text: str) -> time:
    return time.fromisoformat(text)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("least", "tags", "severity", "of_alert", "wanted"),
    [
        ("info", (), "info", (), True),
        ("warning", (), "info", (), False),
        ("warning", (), "warning", (), True),
        ("warning", (), "critical", ("db",), True),
        ("info", ("db",), "critical", (), False),
        ("info", ("db",), "critical", ("web",), False),
        ("info", ("db", "web"), "info", ("web", "eu"), True),
        ("error", ("db",), "warning", ("db",), False),
    ],
)
def test_a_channel_wants_what_is_grave_enough_and_has_one_of_its_tags(
    least: str, tags: tuple[str, ...], severity: str, of_alert: tuple[str, ...], wanted: bool
) -> None:
    assert Routing(Severity(least), frozenset(tags)).wants(Severity(severity), of_alert) is wanted


@pytest.mark.parametrize(
    ("start", "end", "zone", "now", "until"),
    [
        # By day.
        ("12:00", "14:00", "UTC", "2025-01-15T11:59:59", None),
        ("12:00", "14:00", "UTC", "2025-01-15T12:00", "2025-01-15T14:00"),
        ("12:00", "14:00", "UTC", "2025-01-15T13:59:59", "2025-01-15T14:00"),
        ("12:00", "14:00", "UTC", "2025-01-15T14:00", None),
        # Over midnight, on another clock.
        ("22:00", "07:00", "Europe/Berlin", "2025-01-15T20:59", None),
        ("22:00", "07:00", "Europe/Berlin", "2025-01-15T21:00", "2025-01-16T06:00"),
        ("22:00", "07:00", "Europe/Berlin", "2025-01-16T05:59", "2025-01-16T06:00"),
        ("22:00", "07:00", "Europe/Berlin", "2025-01-16T06:00", None),
        ("22:00", "00:00", "UTC", "2025-01-15T23:30", "2025-01-16T00:00"),
        ("22:00", "07:00", "Asia/Kolkata", "2025-01-15T16:30", "2025-01-16T01:30"),
        # The night in which the clock is set forward is an hour shorter, the other an hour longer.
        ("22:00", "07:00", "Europe/Berlin", "2025-03-29T22:00", "2025-03-30T05:00"),
        ("22:00", "07:00", "Europe/Berlin", "2025-10-25T21:00", "2025-10-26T06:00"),
        # They end at a time that the clock jumps over, or that it shows twice.
        ("22:00", "02:30", "Europe/Berlin", "2025-03-30T00:59", "2025-03-30T01:30"),
        ("22:00", "02:30", "Europe/Berlin", "2025-10-26T00:45", "2025-10-26T01:30"),
        ("22:00", "02:30", "Europe/Berlin", "2025-10-26T01:30", None),
        # They begin at one.
        ("02:30", "06:00", "Europe/Berlin", "2025-03-30T01:29", None),
        ("02:30", "06:00", "Europe/Berlin", "2025-03-30T01:30", "2025-03-30T04:00"),
        ("02:30", "06:00", "Europe/Berlin", "2025-10-26T00:30", "2025-10-26T05:00"),
        # The day that Samoa left out.
        ("22:00", "07:00", "Pacific/Apia", "2011-12-30T09:00", "2011-12-30T17:00"),
    ],
)
def test_quiet_hours(start: str, end: str, zone: str, now: str, until: str | None) -> None:
    quiet = QuietHours(clock(start), clock(end), zone)
    assert quiet.until(utc(now)) == (utc(until) if until else None)


@properties
@given(
    st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59])),
    st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59])),
    st.sampled_from(ZONES),
    st.floats(0, 10 * 365 * 86_400).map(at),
)
def test_quiet_hours_end_within_a_day_and_hold_until_then(start: time, end: time, zone: str, now: datetime) -> None:
    if start == end:
        return
    quiet = QuietHours(start, end, zone)
    until = quiet.until(now)
    if until is None:
        return
    assert timedelta(0) < until - now <= timedelta(hours=26)
    assert quiet.until(until - timedelta(seconds=1)) == until
    # Where the clock jumps over the end, it is as much later as it jumps.
    jumped = datetime.combine(until.date(), end) + timedelta(hours=1)
    assert until.astimezone(ZoneInfo(zone)).time() in (end, jumped.time(), (jumped - timedelta(minutes=30)).time())


@pytest.mark.parametrize(
    ("start", "end", "zone", "says"),
    [
        ("22:00", "22:00", "UTC", "the same"),
        ("22:00+01:00", "07:00", "UTC", "without an offset"),
        ("22:00", "07:00", "Mars/Olympus", "no time zone"),
        ("22:00", "07:00", "", "no time zone"),
        ("22:00", "07:00", "Europe", "no time zone"),
        ("22:00", "07:00", "../etc/passwd", "no time zone"),
        ("22:00", "07:00", "UTC\0", "no time zone"),
    ],
)
def test_quiet_hours_that_make_no_sense_are_refused(start: str, end: str, zone: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        QuietHours(clock(start), clock(end), zone)
