"""Defining pulses in a form, and changing them."""

from typing import Any

import pytest

from tests.api.calls import Calls, new_id
from tests.api.pulse_calls import create, read
from tests.support.dashboard import Screen, Site, save_from_two_tabs

NEW = "/pulses/new"


def value_of(screen: Screen, name: str) -> str:
    field = screen.main.select_one(f"[name='{name}']")
    assert field is not None, name
    return field.get_text().removeprefix("\n") if field.name == "textarea" else str(field.get("value", ""))


def problem_of(screen: Screen, name: str) -> str:
    problem = screen.main.select_one(f"#f-{name.replace('.', '-')}-wrong")
    assert problem is not None, screen.said
    return problem.get_text(strip=True)


async def pulse_at(screen: Screen, calls: Calls) -> dict[str, Any]:
    return await read(calls, screen.path.partition("?")[0].rsplit("/", 1)[1])


async def test_one_with_a_period(site: Site, calls: Calls) -> None:
    form = await site.open(NEW)
    assert (value_of(form, "period_seconds"), value_of(form, "grace_seconds")) == ("1 h", "5 min")
    made = await site.submit(form, NEW, name="Robot", period_seconds="90s", tags="prod, factory ,", alert_after="3")
    assert made.said == "The pulse was created. It is watched from its first ping on."
    pulse = await pulse_at(made, calls)
    assert (pulse["name"], pulse["period_seconds"], pulse["cron"], pulse["grace_seconds"]) == ("Robot", 90, None, 300)
    assert (pulse["tags"], pulse["alert_after"], pulse["timezone"]) == (["prod", "factory"], 3, "UTC")


async def test_one_with_everything(site: Site, calls: Calls) -> None:
    parent, slug = await create(calls, name="Parent"), new_id("slug")
    channel = await calls.post("/api/channels", {"kind": "email", "name": "Ops", "address": "ops@example.com"}, 201)
    values: dict[str, str | list[str]] = {
        "name": "All of it",
        "slug": slug,
        "schedule": "cron",
        "cron": " 30 2 * * MON-FRI ",
        "timezone": "Europe/Berlin",
        "grace_seconds": "1 h 30 min",
        "start_grace_seconds": "10 min",
        "min_duration_seconds": "5",
        "max_duration_seconds": "2h",
        "reminder_seconds": "1 day",
        "notify_late": "yes",
        "success_keywords": "all good\nsent, and received",
        "failure_keywords": "error",
        "depends_on": parent["slug"],
        "channels": [channel["id"]],
        "maintenance__0__cron": "0 2 * * 0",
        "maintenance__0__duration_seconds": "2 h",
        "maintenance__0__timezone": "Europe/Berlin",
    }
    made = await site.submit(await site.open(NEW), NEW, **values)
    pulse = await pulse_at(made, calls)
    assert (pulse["slug"], pulse["cron"], pulse["period_seconds"]) == (slug, "30 2 * * MON-FRI", None)
    assert [
        pulse[f"{name}_seconds"] for name in ("grace", "start_grace", "min_duration", "max_duration", "reminder")
    ] == [
        5400,
        600,
        5,
        7200,
        86_400,
    ]
    assert pulse["notify_late"] is True
    assert pulse["success_keywords"] == ["all good", "sent, and received"]
    assert (pulse["depends_on"], pulse["channels"]) == ([parent["id"]], [channel["id"]])
    assert [(window["cron"], window["duration_seconds"]) for window in pulse["maintenance"]] == [("0 2 * * 0", 7200)]

    # The form shows it all, and sent as it is it changes nothing.
    edit = f"/pulses/{pulse['id']}/edit"
    shown = await site.open(edit)
    assert (value_of(shown, "grace_seconds"), value_of(shown, "reminder_seconds")) == ("90 min", "1 d")
    saved = await site.submit(shown, edit)
    assert saved.said == "The changes were saved."
    after = await pulse_at(saved, calls)
    assert {**after, "updated_at": None} == {**pulse, "updated_at": None}

    # What is emptied is cleared, the other kind of schedule too.
    cleared = await site.submit(
        shown,
        edit,
        schedule="period",
        period_seconds="5 min",
        reminder_seconds="",
        min_duration_seconds="",
        channels=None,
        notify_late=None,
        depends_on="",
        success_keywords="",
        maintenance__0__cron="",
        maintenance__0__duration_seconds="",
    )
    after = await pulse_at(cleared, calls)
    assert (after["cron"], after["period_seconds"], after["reminder_seconds"]) == (None, 300, None)
    assert [after[name] for name in ("channels", "depends_on", "success_keywords", "maintenance")] == [[], [], [], []]
    assert (after["min_duration_seconds"], after["notify_late"], after["name"]) == (None, False, "All of it")


async def test_maintenance_is_given_by_the_clock_of_its_time_zone(site: Site, calls: Calls) -> None:
    made = await site.submit(
        await site.open(NEW),
        NEW,
        name="Maintained",
        maintenance__0__starts_at="2030-07-01T22:00",
        maintenance__0__ends_at="2030-07-02T02:00:30",
        maintenance__0__timezone="Europe/Berlin",
    )
    pulse = await pulse_at(made, calls)
    [window] = pulse["maintenance"]
    assert (window["starts_at"], window["ends_at"]) == ("2030-07-01T20:00:00Z", "2030-07-02T00:00:30Z")
    shown = await site.open(f"/pulses/{pulse['id']}/edit")
    assert value_of(shown, "maintenance.0.starts_at") == "2030-07-01T22:00"
    assert value_of(shown, "maintenance.0.ends_at") == "2030-07-02T02:00:30"
    assert value_of(shown, "maintenance.1.starts_at") == ""


async def test_what_a_field_cannot_hold_stays_unless_it_is_changed(site: Site, calls: Calls) -> None:
    odd = {"tags": ["a, b"], "success_keywords": ["two\nlines"], "grace_seconds": 0.123456789}
    pulse = await create(calls, **odd)
    edit = f"/pulses/{pulse['id']}/edit"
    await site.submit(await site.open(edit), edit, name="Renamed")
    after = await read(calls, pulse["id"])
    assert (after["name"], {name: after[name] for name in odd}) == ("Renamed", odd)


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"name": " "}, "name", "must have at least 1 character"),
        ({"period_seconds": ""}, "period_seconds", "is missing; write a duration"),
        ({"period_seconds": "often"}, "period_seconds", "must be a duration such as"),
        ({"period_seconds": "0.5"}, "period_seconds", "greater than or equal to 1"),
        ({"schedule": "cron", "cron": ""}, "cron", "must have at least 1 character"),
        ({"schedule": "cron", "cron": "61 * * * *"}, "cron", 'has a wrong minute, "61"'),
        ({"schedule": "cron", "cron": "0 3 * *"}, "cron", "has a wrong number of fields, 4"),
        ({"schedule": "cron", "cron": "0 3 * * FRY"}, "cron", 'has a wrong day of week, "FRY"'),
        ({"timezone": "Mars/Olympus", "schedule": "cron", "cron": "0 3 * * *"}, "timezone", "is not known"),
        ({"grace_seconds": "-5"}, "grace_seconds", "must be a duration such as"),
        ({"alert_after": "0"}, "alert_after", "greater than or equal to 1"),
        ({"slug": "Not A Slug"}, "slug", "pattern"),
        ({"tags": "x" * 51}, "tags", "at most 50 characters"),
        ({"depends_on": "no-such-pulse"}, "depends_on", "There is no pulse no-such-pulse"),
        ({"channels": "chn_nothing"}, "channels", "There is no channel chn_nothing"),
        ({"maintenance__0__ends_at": "2030-01-01T00:00"}, "maintenance.0.starts_at", "Give starts_at and ends_at"),
        ({"maintenance__0__starts_at": "soon"}, "maintenance.0.starts_at", "must be a date and a time"),
        ({"maintenance__0__starts_at": "9999-12-31T23:59"}, "maintenance.0.starts_at", "Give starts_at and ends_at"),
    ],
)
async def test_what_is_refused_is_told_beside_its_field(
    site: Site, calls: Calls, values: dict[str, str], field: str, says: str
) -> None:
    # Without a channel there is no field for it; what is wrong is told above then.
    await calls.post("/api/channels", {"kind": "email", "name": "Any", "address": "any@example.com"}, 201)
    screen = await site.submit(await site.open(NEW), NEW, **{"name": "Kept as typed", **values})
    assert screen.status == 400
    assert screen.said.startswith("Nothing was changed")
    assert says in problem_of(screen, field)
    for name, typed in values.items():
        if name not in ("schedule", "channels"):
            assert value_of(screen, name.replace("__", ".")) == typed
    if "name" not in values:
        assert value_of(screen, "name") == "Kept as typed"


async def test_a_slug_that_is_taken_is_refused(site: Site, calls: Calls) -> None:
    slug = (await create(calls, slug=new_id("slug")))["slug"]
    screen = await site.submit(await site.open(NEW), NEW, name="Another", slug=slug)
    assert screen.status == 409
    assert screen.said == f"The slug {slug} is taken; choose another."
    assert value_of(screen, "name") == "Another"


async def test_a_circle_is_refused(site: Site, calls: Calls) -> None:
    first = await create(calls, name="First")
    second = await create(calls, name="Second", depends_on=[first["id"]])
    edit = f"/pulses/{first['id']}/edit"
    screen = await site.submit(await site.open(edit), edit, depends_on=second["slug"])
    assert "would close a circle" in problem_of(screen, "depends_on")


async def test_an_expression_is_explained_as_it_is_typed(site: Site) -> None:
    answer = await site.http.get("/pulses/explain", params={"cron": "0 9 * * 1-5", "timezone": "America/New_York"})
    assert answer.status_code == 200
    assert "At 09:00, Monday to Friday" in answer.text
    assert answer.text.count("<tr><td") == 5
    assert "one that comes twice counts once" in answer.text
    assert "<html" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("cron", "timezone", "says"),
    [
        ("", "UTC", ""),
        ("0 25 * * *", "UTC", "The expression has a wrong hour, &#34;25&#34;"),
        ("0 0 31 2 *", "UTC", "The expression means never"),
        ("0 0 * * *", "Nowhere", "The time zone &#34;Nowhere&#34; is not known"),
        ("<script>alert(1)</script>", "UTC", "wrong number of fields"),
        ("0 0 * * <b>", "UTC", "&lt;b&gt;"),
        ("9" * 900, "UTC", "longer than"),
    ],
)
async def test_what_is_wrong_with_an_expression_is_explained_too(
    site: Site, cron: str, timezone: str, says: str
) -> None:
    answer = await site.http.get("/pulses/explain", params={"cron": cron, "timezone": timezone})
    assert answer.status_code == 200
    assert says in answer.text
    assert "<script" not in answer.text
    assert "<b>" not in answer.text


async def test_without_scripts_a_button_explains(site: Site, calls: Calls) -> None:
    form = await site.open(NEW)
    values = {"name": "Not yet", "schedule": "cron", "cron": "*/45 * * * *", "timezone": "Asia/Kolkata", "check": "yes"}
    screen = await site.submit(form, NEW, **values)
    assert (screen.status, screen.path) == (200, NEW)
    assert "At minutes 0 and 45 of every hour" in screen.text
    assert all(row[0].endswith(" IST") for row in screen.rows("table.times"))
    assert (value_of(screen, "name"), value_of(screen, "cron")) == ("Not yet", "*/45 * * * *")
    assert (await calls.get("/api/pulses", q="Not yet"))["pulses"] == []


async def test_it_needs_a_login_and_the_page_itself(site: Site) -> None:
    assert (await site.post(NEW, [("name", "No token")])).status == 403


async def test_what_was_changed_in_another_tab_is_not_overwritten_unknowingly(site: Site, calls: Calls) -> None:
    pulse = await create(calls, name="Before")
    edit = f"/pulses/{pulse['id']}/edit"
    _, saved = await save_from_two_tabs(site, edit, ("name", "Renamed"), ("tags", "mine"))
    assert saved.said == "The changes were saved."
    after = await read(calls, pulse["id"])
    assert (after["name"], after["tags"]) == ("Before", ["mine"])


async def test_checking_an_expression_does_not_hide_that_it_was_changed(site: Site, calls: Calls) -> None:
    pulse = await create(calls, name="Before")
    edit = f"/pulses/{pulse['id']}/edit"
    stale = await site.open(edit)
    await site.submit(await site.open(edit), edit, name="Renamed")
    checked = await site.submit(stale, edit, schedule="cron", cron="0 3 * * *", check="yes")
    assert (await site.submit(checked, edit)).status == 409
    assert (await read(calls, pulse["id"]))["name"] == "Renamed"
