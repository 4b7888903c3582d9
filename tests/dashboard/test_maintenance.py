"""Maintenance: planning windows for pulses and ending them."""

from datetime import UTC, datetime, timedelta

import pytest

from api.dashboard.maintenance import ended, key_of, shown_windows
from config.clock import utc_now
from domain.maintenance import MaintenanceWindow
from storage.base import Sessions
from storage.maintenance import PlannedWindow
from tests.api.calls import Calls
from tests.support.dashboard import Site, site_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)  # a Sunday
HOUR = timedelta(hours=1)
ON_SUNDAYS = MaintenanceWindow(cron="0 11 * * 0", duration_seconds=7200.0)


@pytest.mark.parametrize(
    ("window", "left"),
    [
        (MaintenanceWindow(NOW - HOUR, NOW + HOUR), MaintenanceWindow(NOW - HOUR, NOW)),
        (MaintenanceWindow(NOW + HOUR, NOW + 2 * HOUR), None),
        (MaintenanceWindow(NOW - 2 * HOUR, NOW - HOUR), MaintenanceWindow(NOW - 2 * HOUR, NOW - HOUR)),
        (ON_SUNDAYS, MaintenanceWindow(NOW - HOUR, NOW)),
        (MaintenanceWindow(cron="0 3 * * *", duration_seconds=60.0), None),
    ],
)
def test_what_is_left_of_a_window_that_is_ended(window: MaintenanceWindow, left: MaintenanceWindow | None) -> None:
    assert ended(window, NOW) == left


def test_windows_are_shown_by_what_they_mean_now() -> None:
    windows = [
        MaintenanceWindow(NOW - 2 * HOUR, NOW - HOUR),
        MaintenanceWindow(cron="0 3 * * *", duration_seconds=60.0),
        MaintenanceWindow(NOW + 2 * HOUR, NOW + 3 * HOUR),
        MaintenanceWindow(NOW + HOUR, NOW + 3 * HOUR),
        ON_SUNDAYS,
    ]
    shown = shown_windows([PlannedWindow(window, (("p", "P"),)) for window in windows], NOW)
    assert [one.state for one in shown] == ["now", "ahead", "ahead", "repeats", "over"]
    assert [one.planned.window for one in shown] == [windows[index] for index in (4, 3, 2, 1, 0)]
    assert len({one.key for one in shown}) == 5
    assert all(one.key == key_of(one.planned.window) for one in shown)


async def pulse(calls: Calls, name: str) -> str:
    return str((await calls.post("/api/pulses", {"name": name, "period_seconds": 3600}, 201))["id"])


async def windows_of(calls: Calls, pulse_id: str) -> list[dict[str, object]]:
    return list((await calls.get(f"/api/pulses/{pulse_id}"))["maintenance"])


def local(at: datetime) -> str:
    """As browsers send it."""
    return at.strftime("%Y-%m-%dT%H:%M")


async def test_without_pulses_it_says_what_to_do_first(fresh: Site) -> None:
    screen = await fresh.open("/maintenance")
    assert "No maintenance is planned" in screen.text
    assert screen.links["Create one"] == "/pulses/new"


async def test_a_window_is_planned_for_several_and_ended_for_all(fresh: Site, fresh_calls: Calls) -> None:
    ids = [await pulse(fresh_calls, name) for name in ("Backup", "Robot", "Other")]
    now = utc_now()
    planned = await fresh.submit(
        await fresh.open("/maintenance"),
        "/maintenance",
        starts_at=local(now - HOUR),
        ends_at=local(now + HOUR),
        pulses=ids[:2],
    )
    assert "The window was planned" in planned.said
    assert "Now" in planned.text
    assert [len(await windows_of(fresh_calls, id_)) for id_ in ids] == [1, 1, 0]
    done = await fresh.submit(planned, "/maintenance/end")
    assert "The window was ended" in done.said
    assert "Over" in done.text
    assert len(await windows_of(fresh_calls, ids[0])) == 1
    assert [form["action"] for form in done.main.select("form")] == ["/maintenance"]


async def test_one_that_repeats_for_all_pulses(fresh: Site, fresh_calls: Calls) -> None:
    ids = [await pulse(fresh_calls, name) for name in ("Backup", "Robot")]
    values = {"repeats": "yes", "cron": "0 2 * * 0", "duration_seconds": "90 min", "timezone": "Europe/Berlin"}
    planned = await fresh.submit(await fresh.open("/maintenance"), "/maintenance", all="yes", **values)
    assert "1 h 30 min, Europe/Berlin" in planned.text
    for pulse_id in ids:
        (window,) = await windows_of(fresh_calls, pulse_id)
        assert (window["cron"], window["duration_seconds"]) == ("0 2 * * 0", 5400)
    await fresh.submit(planned, "/maintenance/end")
    left = [window for pulse_id in ids for window in await windows_of(fresh_calls, pulse_id)]
    assert [window["cron"] for window in left if window["cron"]] == []


async def test_times_are_on_the_clock_of_the_account(fresh: Site, fresh_calls: Calls) -> None:
    pulse_id = await pulse(fresh_calls, "Backup")
    changed = await fresh_calls.http.patch("/api/account", json={"time_zone": "Asia/Tokyo"})
    assert changed.is_success, changed.text
    values = {"starts_at": "2031-01-01T09:00", "ends_at": "2031-01-01T10:00"}
    await fresh.submit(await fresh.open("/maintenance"), "/maintenance", pulses=[pulse_id], **values)
    (window,) = await windows_of(fresh_calls, pulse_id)
    assert datetime.fromisoformat(str(window["starts_at"])) == datetime(2031, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "must be a date and a time"),
        ({"starts_at": "2031-01-01T10:00", "ends_at": "2031-01-01T09:00"}, "must be after starts_at"),
        ({"starts_at": "2031-01-01T09:00", "ends_at": "2031-01-01T10:00", "pulses": None}, "choose one pulse"),
        ({"repeats": "yes"}, "say when it begins"),
        ({"repeats": "yes", "cron": "0 25 * * *", "duration_seconds": "1 h"}, "Cron"),
        ({"repeats": "yes", "cron": "0 2 * * *", "duration_seconds": "soon"}, "must be a duration"),
        ({"repeats": "yes", "cron": "0 2 * * *"}, "must be between 1 s and 31 days"),
        ({"starts_at": "0001-01-01T00:00", "ends_at": "9999-12-31T23:59"}, "must be in the years"),
    ],
)
async def test_what_is_refused_says_why(
    site: Site, calls: Calls, values: dict[str, str | list[str] | None], words: str
) -> None:
    pulse_id = await pulse(calls, "Backup")
    screen = await site.submit(await site.open("/maintenance"), "/maintenance", **{"pulses": [pulse_id], **values})
    assert screen.status == 400
    assert words in screen.said
    assert await windows_of(calls, pulse_id) == []


async def test_a_window_that_is_gone_is_not_ended(site: Site) -> None:
    csrf = ("csrf_token", site.http.cookies["csrf_token"])
    screen = await site.post("/maintenance/end", [csrf, ("window", "x")])
    assert (screen.status, "not there any more" in screen.said) == (409, True)


async def test_strangers_and_viewers(
    site: Site, calls: Calls, viewer: Site, quick_gateway: str, sessions: Sessions
) -> None:
    pulse_id = await pulse(calls, "<script>alert(1)</script>")
    fields = [("starts_at", "2031-01-01T09:00"), ("ends_at", "2031-01-01T10:00"), ("pulses", pulse_id)]
    async with site_of(quick_gateway, sessions) as stranger:
        csrf = ("csrf_token", stranger.http.cookies["csrf_token"])
        assert (await stranger.post("/maintenance", [csrf, *fields])).status == 403
    csrf = ("csrf_token", viewer.http.cookies["csrf_token"])
    assert (await viewer.post("/maintenance", [csrf, *fields])).status == 403
    assert not (await viewer.open("/maintenance")).main.select("form")
    assert await windows_of(calls, pulse_id) == []
    assert "<script>alert" not in (await site.open("/maintenance")).response.text
