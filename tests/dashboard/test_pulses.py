"""The pages of pulses."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from config.clock import utc_now
from domain.ids import random_id
from domain.subjects import pulse_subject
from storage.base import Sessions, transaction
from storage.pulses import Pulse
from storage.transitions import TransitionRow
from tests.api.calls import Calls
from tests.api.pulse_calls import create, recorded
from tests.support.dashboard import Screen, Site
from tests.support.waiting import until

HOSTILE = '<script>alert("x")</script>\u202egnp'
AS_SHOWN = '<script>alert("x")</script>\ufffdgnp'


def names(screen: Screen) -> list[str]:
    return [heading.get_text(strip=True) for heading in screen.main.select("ul.pulses h2")]


async def add_many(sessions: Sessions, account_id: str, count: int, **values: Any) -> list[str]:
    """Pulses that were never pinged, named by number."""
    rows = [
        {
            "id": random_id("pls_", 10),
            "account_id": account_id,
            "name": f"Robot {number:03d}",
            "slug": f"robot-{number:03d}",
            "tags": ["odd"] if number % 2 else [],
            "period_seconds": 300.0,
            "cron": None,
            "timezone": "UTC",
            "grace_seconds": 60.0,
            "alert_after": 1,
            "notify_late": False,
            **{name: [] for name in ("success_keywords", "failure_keywords", "ignore_keywords", "maintenance")},
            "depends_on": [],
            "badge_token": random_id("", 32),
            "revision": 1,
            "created_at": utc_now(),
            "updated_at": utc_now(),
            **values,
        }
        for number in range(count)
    ]
    async with transaction(sessions) as session:
        await session.execute(insert(Pulse), rows)
    return [str(row["id"]) for row in rows]


async def test_before_the_first_one_the_list_says_how_there_will_be_one(fresh: Site) -> None:
    screen = await fresh.open("/pulses")
    assert (screen.status, screen.title) == (200, "Pulses")
    assert "No pulses yet" in screen.text
    assert "/hbk/nightly-backup?create=1" in screen.text
    assert screen.links["New pulse"] == "/pulses/new"


async def test_what_is_down_comes_first(fresh: Site, fresh_calls: Calls) -> None:
    well = await create(fresh_calls, name="A that is well", tags=["prod"])
    ill = await create(fresh_calls, name="Z that is ill", cron="0 3 * * 1-5", period_seconds=None)
    await create(fresh_calls, name="M that is new")
    await fresh_calls.get(f"/hbk/{well['id']}")
    await fresh_calls.get(f"/hbk/{ill['id']}/fail")
    await recorded(fresh_calls, well["id"], "up")
    await recorded(fresh_calls, ill["id"], "down")
    screen = await fresh.open("/pulses")
    assert names(screen) == ["Z that is ill", "A that is well", "M that is new"]
    assert screen.links["Z that is ill"] == f"/pulses/{ill['id']}"
    assert "At 03:00, Monday to Friday" in screen.text
    assert "Every hour" in screen.text
    labels = [str(svg["aria-label"]) for svg in screen.main.select("svg.uptime")]
    assert len(labels) == 3
    assert labels[2] == "Nothing is known of the last 90 days."
    assert all(len(svg.select("rect > title")) == 90 for svg in screen.main.select("svg.uptime"))
    assert screen.soup.body is not None
    assert screen.soup.body["data-live"] == "pulse/"


async def test_it_is_filtered_by_name_tag_and_status(fresh: Site, fresh_calls: Calls) -> None:
    up = await create(fresh_calls, name="Backup of 100 %", tags=["prod", "db"])
    await create(fresh_calls, name="Backup of 1000", tags=["test"])
    await create(fresh_calls, name="Mailer", tags=["prod"])
    await fresh_calls.get(f"/hbk/{up['id']}")
    await recorded(fresh_calls, up["id"], "up")
    assert names(await fresh.open("/pulses?q=100+%25")) == ["Backup of 100 %"]
    assert names(await fresh.open("/pulses?tag=prod&q=")) == ["Backup of 100 %", "Mailer"]
    assert names(await fresh.open("/pulses?status=up")) == ["Backup of 100 %"]
    nothing = await fresh.open("/pulses?status=down&tag=gone")
    assert "No pulse is like that" in nothing.text
    assert [str(option["value"]) for option in nothing.main.select("option[selected]")] == ["down", "gone"]
    shown = (await fresh.open("/pulses")).main.select("#status option")
    assert [option.get_text(strip=True) for option in shown] == ["All (3)", "Up (1)", "New (2)"]
    assert (await fresh.open("/pulses?status=broken")).status == 400


async def test_the_list_pages(fresh: Site, sessions: Sessions) -> None:
    await add_many(sessions, fresh.account_id, 60)
    screen, seen = await fresh.open("/pulses"), list[str]()
    for _ in range(5):
        seen += names(screen)
        if "More" not in screen.links:
            break
        screen = await fresh.open(screen.links["More"])
    assert seen == [f"Robot {number:03d}" for number in range(60)]
    assert names(await fresh.open(screen.links["Back to the newest"]))[0] == "Robot 000"
    odd = await fresh.open("/pulses?tag=odd")
    assert names(await fresh.open(odd.links["More"])) == [
        "Robot 051",
        "Robot 053",
        "Robot 055",
        "Robot 057",
        "Robot 059",
    ]
    for cursor in ("x", "e30=", "eyJ1cmdlbmN5IjoiYSIsIm5hbWUiOiIiLCJpZCI6IiJ9"):
        assert (await fresh.open(f"/pulses?cursor={cursor}")).status == 400


async def test_months_of_changes_add_up(fresh: Site, sessions: Sessions) -> None:
    """Each was down half of the time, twelve hours in a row, for 90 days."""
    ids, now = await add_many(sessions, fresh.account_id, 25), utc_now()
    rows = [
        {"subject": pulse_subject(pulse_id), "before": before, "after": after, "at": now - timedelta(hours=hours)}
        for pulse_id in ids
        for hours in range(90 * 24, 0, -12)
        for before, after in ((("up", "down"), ("down", "up"))[hours // 12 % 2],)
    ]
    async with transaction(sessions) as session:
        await session.execute(insert(TransitionRow), rows)
    screen = await fresh.open("/pulses")
    assert len(names(screen)) == 25
    assert "50 %" in screen.text


async def test_one_pulse(site: Site, calls: Calls) -> None:
    parent = await create(calls, name="Parent")
    pulse = await create(
        calls,
        name="Nightly export",
        period_seconds=None,
        cron="30 2 * * MON-FRI",
        timezone="Europe/Berlin",
        tags=["prod"],
        depends_on=[parent["id"]],
        failure_keywords=["error"],
        alert_after=2,
        max_duration_seconds=900,
    )
    await calls.get(f"/hbk/{pulse['id']}/start", agent="runner-3")
    await calls.post(f"/hbk/{pulse['id']}", {"rows": 12})
    await recorded(calls, pulse["id"], "up")
    screen = await site.open(f"/pulses/{pulse['id']}")
    assert (screen.status, screen.title) == (200, "Nightly export")
    assert "At 02:30, Monday to Friday" in screen.text
    assert len(screen.rows("table.times")) == 5
    assert all(re.search(r", 02:30 CES?T$", row[0]) for row in screen.rows("table.times"))
    assert "2 misses or failures in a row" in screen.text
    assert "at most 15 min" in screen.text
    assert screen.links["Parent"] == f"/pulses/{parent['id']}"
    pings = screen.rows("#pings table")
    assert [row[1] for row in pings] == ["Success", "Start"]
    assert pings[1][2] == "runner-3"
    assert '"rows": 12' in pings[0][4]
    curls = [pre.get_text() for pre in screen.main.select(".copy pre")]
    for end in ("", "/start", "/fail", "/log"):
        assert any(f"{pulse['ping_url']}{end}" in curl and curl.startswith("curl ") for curl in curls)
    badge = screen.main.select_one("img")
    assert badge is not None
    picture = await site.http.get(str(badge["src"]))
    assert picture.headers["content-type"] == "image/svg+xml"
    assert "up" in picture.text
    assert "Nightly export" in (await site.open(f"/pulses/{parent['id']}")).links
    assert (await site.open(f"/pulses/{pulse['slug']}")).title == "Nightly export"


async def test_what_changes_is_in_parts_that_are_exchanged(site: Site, calls: Calls) -> None:
    pulse = await create(calls, name="Watched", period_seconds=3600.0)
    path, pictures = f"/pulses/{pulse['id']}", list[str]()
    for door, *statuses in (("", "up"), ("/fail", "up", "down")):
        await calls.get(f"/hbk/{pulse['id']}{door}")
        await recorded(calls, pulse["id"], *statuses)
        badge = (await site.open(path)).main.select_one("#badge[data-part] img")
        assert badge is not None
        pictures.append(str(badge["src"]))
        assert statuses[-1] in (await site.http.get(pictures[-1])).text
    assert pictures[0] != pictures[1], "or browsers would not fetch it again"
    paused = await site.submit(await site.open(path), f"{path}/pause")
    # There even while it is empty: only what is on both pages is exchanged.
    assert paused.main.select_one("#next-times[data-part]") is not None
    assert paused.main.select_one("table.times") is None


@pytest.mark.parametrize(
    ("cron", "styles"), [("30 2 * * *", ["moment", "relative"]), ("15 30 2 * * *", ["date", "clock", "relative"])]
)
async def test_seconds_of_the_next_times_are_shown(cron: str, styles: list[str], site: Site, calls: Calls) -> None:
    pulse = await create(calls, period_seconds=None, cron=cron)
    screen = await site.open(f"/pulses/{pulse['id']}")
    times = screen.main.select("table.times tbody tr:first-child time")
    assert [time["data-style"] for time in times] == styles
    assert ("02:30:15 UTC" in [time.get_text() for time in times]) is ("clock" in styles)


async def test_pings_and_events_page_apart_from_each_other(site: Site, calls: Calls) -> None:
    pulse = await create(calls)
    for number in range(13):
        await calls.get(f"/hbk/{pulse['id']}", rid=f"r{number}")
        await calls.get(f"/hbk/{pulse['id']}/fail", rid=f"r{number}")

    async def are_recorded() -> bool:
        return len((await calls.get(f"/api/pulses/{pulse['id']}/events"))["events"]) == 26

    await until(are_recorded)
    first = await site.open(f"/pulses/{pulse['id']}")
    assert (len(first.rows("#pings table")), len(first.main.select("#events li"))) == (20, 20)
    older = first.main.select_one("#events [rel=next]")
    assert older is not None
    second = await site.open(str(older["href"]))
    assert (len(second.rows("#pings table")), len(second.main.select("#events li"))) == (20, 6)
    older = second.main.select_one("#pings [rel=next]")
    assert older is not None
    third = await site.open(str(older["href"]))
    assert (len(third.rows("#pings table")), len(third.main.select("#events li"))) == (6, 6)


async def test_it_is_paused_resumed_and_deleted(site: Site, calls: Calls) -> None:
    pulse = await create(calls, name="To be deleted")
    path = f"/pulses/{pulse['id']}"
    paused = await site.submit(await site.open(path), f"{path}/pause")
    assert paused.said == "The pulse is paused: nothing is expected of it until it is resumed."
    assert (await calls.get(f"/api{path}"))["status"] == "paused"
    resumed = await site.submit(paused, f"{path}/resume")
    assert resumed.said.startswith("The pulse was resumed")
    assert (await calls.get(f"/api{path}"))["status"] == "new"
    gone = await site.submit(resumed, f"{path}/delete")
    assert gone.said == "The pulse was deleted. It takes no more pings."
    assert (await site.open(path)).status == 404


async def test_hostile_words_are_words(site: Site, calls: Calls) -> None:
    long = "a" * 10_000
    pulse = await create(calls, name=HOSTILE, tags=[HOSTILE], failure_keywords=[HOSTILE])
    await calls.http.post(f"/hbk/{pulse['id']}", content=f"{HOSTILE} {long}", params={"agent": HOSTILE})
    await calls.http.post(f"/hbk/{pulse['id']}/fail", json={"error": HOSTILE, "deep": {"<b>": [HOSTILE]}})
    await until(lambda: _is_down(calls, pulse["id"]))
    for path in ("/pulses", f"/pulses/{pulse['id']}", f"/pulses/{pulse['id']}/edit"):
        screen = await site.open(path)
        assert screen.status == 200
        assert not screen.main.select("script, b"), path
        assert "alert" in screen.text or "alert" in str(screen.main)
        assert "\u202e" not in screen.text or path.endswith("/edit"), path
        assert len(screen.response.text) < 400_000
    assert AS_SHOWN in (await site.open(f"/pulses/{pulse['id']}")).text
    assert long not in (await site.open(f"/pulses/{pulse['id']}")).text


async def _is_down(calls: Calls, pulse_id: str) -> bool:
    return bool((await calls.get(f"/api/pulses/{pulse_id}"))["status"] == "down")


async def test_a_viewer_looks_only(viewer: Site, calls: Calls) -> None:
    pulse = await create(calls, name="Looked at")
    path = f"/pulses/{pulse['id']}"
    screen = await viewer.open(path)
    assert screen.status == 200
    assert not screen.main.select("form[method=post]")
    assert "New pulse" not in (await viewer.open("/pulses")).links
    for page in ("/pulses/new", f"{path}/edit"):
        assert (await viewer.open(page)).status == 403
    token = next(field["value"] for field in screen.soup.select("[name=csrf_token]"))
    for action in (f"{path}/pause", f"{path}/resume", f"{path}/delete", f"{path}/edit", "/pulses/new"):
        assert (await viewer.post(action, [("csrf_token", str(token))])).status == 403
    assert (await calls.get(f"/api{path}"))["status"] == "new"


@pytest.mark.parametrize("page", ["", "/edit"])
async def test_others_do_not_see_it(page: str, fresh: Site, calls: Calls) -> None:
    pulse = await create(calls, name="Ours alone")
    screen = await fresh.open(f"/pulses/{pulse['id']}{page}")
    assert screen.status == 403
    assert "Ours alone" not in screen.response.text
    assert (await fresh.open("/pulses/nobodys")).status == 404
