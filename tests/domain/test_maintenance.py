"""Maintenance windows, and time around them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import InvalidRequest
from domain.maintenance import MaintenanceWindow, end_of_window, moved_out, time_after, validate
from tests.domain.builders import at


def once(start: float, end: float) -> MaintenanceWindow:
    return MaintenanceWindow(at(start), at(end))


def nightly(cron: str = "0 2 * * *", hours: float = 2, timezone: str = "UTC") -> MaintenanceWindow:
    return MaintenanceWindow(cron=cron, timezone=timezone, duration_seconds=hours * 3600)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "seconds", "ends"),
    [
        ([], 10, None),
        ([once(10, 20)], 9, None),
        ([once(10, 20)], 10, 20),
        ([once(10, 20)], 19.999, 20),
        ([once(10, 20)], 20, None),
        ([once(10, 20), once(20, 30)], 15, 30),
        ([once(20, 30), once(10, 25)], 15, 30),
        ([once(10, 20), once(21, 30)], 15, 20),
        ([once(10, 40), once(15, 20)], 16, 40),
    ],
)
def test_windows_that_touch_are_one(windows: list[MaintenanceWindow], seconds: float, ends: float | None) -> None:
    assert end_of_window(windows, at(seconds)) == (None if ends is None else at(ends))
    assert moved_out(windows, at(seconds)) == at(seconds if ends is None else ends)


@pytest.mark.parametrize(
    ("window", "moment", "ends"),
    [
        (nightly(), "2025-01-01T01:59", None),
        (nightly(), "2025-01-01T02:00", "2025-01-01T04:00"),
        (nightly(), "2025-01-01T03:59", "2025-01-01T04:00"),
        (nightly(), "2025-01-01T04:00", None),
        # 22:00 to 4:00 in Berlin, where one night lasts an hour longer: the window lasts as long as it says.
        (nightly("0 22 * * *", 6, "Europe/Berlin"), "2025-10-26T01:30", "2025-10-26T02:00"),
        (nightly("0 22 * * *", 6, "Europe/Berlin"), "2025-10-26T02:30", None),
        # Two windows that overlap are one.
        (nightly("0 2,3 * * *", 2), "2025-01-01T02:30", "2025-01-01T05:00"),
    ],
)
def test_a_recurring_window_begins_when_its_cron_says(window: MaintenanceWindow, moment: str, ends: str | None) -> None:
    assert end_of_window([window], utc(moment)) == (None if ends is None else utc(ends))


@pytest.mark.parametrize(
    ("windows", "start", "seconds", "expected"),
    [
        ([], 5, 10, 15),
        ([once(10, 20)], 0, 5, 5),
        ([once(10, 20)], 5, 10, 25),
        ([once(10, 20)], 0, 10, 20),  # never at the beginning of a window, which is in it
        ([once(10, 20)], 12, 10, 30),
        ([once(10, 20), once(25, 30)], 5, 10, 30),
        ([once(10, 20), once(25, 30)], 5, 11, 31),
        ([once(0, 100)], 50, 0, 100),
        ([once(10, 30), once(20, 40)], 5, 10, 45),
    ],
)
def test_time_is_counted_outside_of_windows_only(
    windows: list[MaintenanceWindow], start: float, seconds: float, expected: float
) -> None:
    assert time_after(windows, at(start), seconds) == at(expected)


def test_time_is_counted_around_recurring_windows_too() -> None:
    start = datetime(2025, 1, 1, 1, tzinfo=UTC)
    assert time_after([nightly()], start, 3600) == datetime(2025, 1, 1, 4, tzinfo=UTC)
    assert time_after([nightly()], start, 24 * 3600) == datetime(2025, 1, 2, 5, tzinfo=UTC)


def test_counting_ends_even_if_the_windows_do_not() -> None:
    """Each is accepted, but together they leave no time: the count must not go on for ever."""
    windows = [MaintenanceWindow(cron=f"{minute} * * * *", duration_seconds=1800) for minute in (0, 30)]
    for window in windows:
        validate(window)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    assert time_after(windows, start, 60) > start


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "starts_at"),
        ({"starts_at": at(0)}, "starts_at"),
        ({"starts_at": at(0), "ends_at": at(0)}, "ends_at"),
        ({"starts_at": at(-1).replace(tzinfo=None), "ends_at": at(0)}, "starts_at"),
        ({"starts_at": at(0), "ends_at": at(1), "duration_seconds": 5.0}, "duration_seconds"),
        ({"starts_at": at(0), "ends_at": at(1), "cron": "0 2 * * *"}, "cron"),
        ({"cron": "0 2 * * *"}, "duration_seconds"),
        ({"cron": "0 2 * * *", "duration_seconds": 0.0}, "duration_seconds"),
        ({"cron": "0 2 * * *", "duration_seconds": 32 * 86_400.0}, "duration_seconds"),
        ({"cron": "0 2 * *", "duration_seconds": 60.0}, "cron"),
        ({"cron": "0 2 * * *", "timezone": "Mars", "duration_seconds": 60.0}, "timezone"),
        ({"cron": "0 * * * *", "duration_seconds": 3600.0}, "duration_seconds"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validate(MaintenanceWindow(**fields))
    assert [item.field for item in refused.value.fields] == [wrong]


@pytest.mark.parametrize("window", [once(0, 1), nightly(), nightly("0 2 * * 0", 24)])
def test_a_window_that_can_be_meant_is_accepted(window: MaintenanceWindow) -> None:
    validate(window)
