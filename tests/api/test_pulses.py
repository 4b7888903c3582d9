"""Pulses: definitions, how they stand, and their history."""

import asyncio
import json
import re
from typing import Any

import httpx
import pytest

from tests.api.calls import Calls, new_id
from tests.api.conftest import Team, api_key, log_in
from tests.api.pulse_calls import HOURLY, create, patch, read, recorded
from tests.api.test_errors import fields, problem

JSON = {"Content-Type": "application/json"}


async def test_one_as_defined(ours: Calls) -> None:
    other = await create(ours)
    given = {
        "name": "Größe & Co",
        "slug": new_id("slug"),
        "tags": ["db", "nightly"],
        "period_seconds": None,
        "cron": "30 2 * * 1-5",
        "timezone": "Asia/Kolkata",
        "grace_seconds": 0.0,
        "start_grace_seconds": 30.5,
        "min_duration_seconds": 1.0,
        "max_duration_seconds": 600.0,
        "alert_after": 3,
        "reminder_seconds": 3600.0,
        "notify_late": True,
        "success_keywords": ["done"],
        "failure_keywords": ["error", "panic"],
        "ignore_keywords": ["debug"],
        "depends_on": [other["id"]],
        "channels": [],
    }
    windows: list[dict[str, Any]] = [
        {"starts_at": "2027-01-31T22:00:00+02:00", "ends_at": "2027-02-01T02:00:00Z"},
        {"cron": "0 4 * * 0", "timezone": "Europe/Berlin", "duration_seconds": 7200.0},
    ]
    pulse = await ours.post("/api/pulses", {**given, "maintenance": windows}, 201)
    assert re.fullmatch(r"pls_[a-z0-9]{10}", pulse["id"])
    assert {name: pulse[name] for name in given} == given
    assert pulse["maintenance"] == [
        {
            "starts_at": "2027-01-31T20:00:00Z",
            "ends_at": "2027-02-01T02:00:00Z",
            "cron": None,
            "timezone": "UTC",
            "duration_seconds": None,
        },
        {"starts_at": None, "ends_at": None, **windows[1]},
    ]
    assert (pulse["status"], pulse["status_since"], pulse["reason"]) == ("new", pulse["created_at"], None)
    assert (pulse["last_ping_at"], pulse["next_due_at"], pulse["running"]) == (None, None, [])
    assert pulse["ping_url"].endswith(f"/hbk/{pulse['id']}")
    assert re.search(r"/badge/[a-z0-9]{32}\.svg$", pulse["badge_url"])
    assert await read(ours, pulse["id"]) == await read(ours, pulse["slug"]) == pulse
    assert pulse in (await ours.get("/api/pulses"))["pulses"]


async def test_what_is_left_out(ours: Calls) -> None:
    pulse = await create(ours, name="x", slug=None, tags=None)
    assert (pulse["timezone"], pulse["grace_seconds"], pulse["alert_after"], pulse["tags"]) == ("UTC", 300, 1, [])
    assert (pulse["reminder_seconds"], pulse["notify_late"], pulse["maintenance"]) == (None, False, [])


async def test_slugs(ours: Calls, theirs: Calls) -> None:
    name = f"Nightly Backup! {new_id()}"
    slug = name.lower().replace("! ", "-").replace(" ", "-").replace("_", "-")
    first, second = [await create(ours, name=name) for _ in range(2)]
    assert first["slug"] == slug
    assert re.fullmatch(re.escape(slug) + "-[a-z0-9]{6}", second["slug"])
    taken = await ours.http.post("/api/pulses", json={**HOURLY, "slug": slug})
    assert slug in problem(taken, 409, "conflict")["detail"]
    problem(await ours.http.patch(f"/api/pulses/{second['id']}", json={"slug": slug}), 409, "conflict")
    assert (await patch(ours, slug, slug=slug))["id"] == first["id"]
    await create(theirs, slug=slug)
    assert (await ours.http.delete(f"/api/pulses/{slug}")).status_code == 204
    assert (await patch(ours, second["id"], slug=slug))["slug"] == slug
    nameless = await create(ours, name="日本")
    assert nameless["slug"] == nameless["id"]


async def test_the_same_slug_at_the_same_time(ours: Calls, ours_elsewhere: Calls) -> None:
    slug = new_id("slug")
    posts = [calls.http.post("/api/pulses", json={**HOURLY, "slug": slug}) for calls in (ours, ours_elsewhere) * 4]
    assert sorted(response.status_code for response in await asyncio.gather(*posts)) == [201] + [409] * 7
    ids, slug = [(await create(ours))["id"] for _ in range(4)], new_id("slug")
    patches = [ours.http.patch(f"/api/pulses/{pulse_id}", json={"slug": slug}) for pulse_id in ids]
    assert sorted(response.status_code for response in await asyncio.gather(*patches)) == [200] + [409] * 3


async def test_changes(ours: Calls) -> None:
    before = await create(ours, min_duration_seconds=5, reminder_seconds=60)
    changes: dict[str, Any] = {
        "name": "New",
        "grace_seconds": 7.0,
        "tags": ["a"],
        "reminder_seconds": None,
        "notify_late": True,
    }
    after = await patch(ours, before["id"], **changes)
    assert {name: after[name] for name in changes} == changes
    assert {name for name in after if after[name] != before[name]} == {*changes, "updated_at"}
    nothing = await patch(ours, before["id"], name=None, slug=None, grace_seconds=None, tags=None, depends_on=None)
    assert {name for name in after if after[name] != nothing[name]} == {"updated_at"}


async def test_a_period_gives_way_to_cron_and_back(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    changed = await patch(ours, pulse_id, cron="0 3 * * *", timezone="Europe/Berlin")
    assert (changed["period_seconds"], changed["cron"], changed["timezone"]) == (None, "0 3 * * *", "Europe/Berlin")
    changed = await patch(ours, pulse_id, period_seconds=60)
    assert (changed["period_seconds"], changed["cron"]) == (60, None)
    for both in ({"period_seconds": 60, "cron": "0 3 * * *"}, {"period_seconds": None}, {"timezone": "Mars/Olympus"}):
        response = await ours.http.patch(f"/api/pulses/{pulse_id}", json=both)
        assert set(fields(problem(response, 400, "invalid_request"))) & {"cron", "period_seconds", "timezone"}
    assert (await patch(ours, pulse_id, period_seconds=None, cron="0 4 * * *"))["cron"] == "0 4 * * *"


NO_SECONDS: list[Any] = [-1, 1e12, "soon", [], float("nan"), float("inf"), 10**400]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": "a\x00"}, "name"),
    ({"slug": "A"}, "slug"),
    ({"slug": "a\n"}, "slug"),
    ({"slug": "x" * 129}, "slug"),
    ({"tags": [""]}, "tags.0"),
    ({"tags": ["x"] * 21}, "tags"),
    ({"period_seconds": 0.5}, "period_seconds"),
    ({"cron": "0 3 * * *", "period_seconds": 60}, "cron"),
    ({"cron": "0 25 * * *"}, "cron"),
    ({"cron": "0 0 31 2 *"}, "cron"),
    ({"cron": "\x00"}, "cron"),
    ({"timezone": "../../etc/passwd"}, "timezone"),
    ({"timezone": "a\x00"}, "timezone"),
    ({"alert_after": 0}, "alert_after"),
    ({"alert_after": 1.5}, "alert_after"),
    ({"reminder_seconds": 59}, "reminder_seconds"),
    ({"min_duration_seconds": 10, "max_duration_seconds": 5}, "min_duration_seconds"),
    ({"success_keywords": [""]}, "success_keywords.0"),
    ({"failure_keywords": ["x" * 201]}, "failure_keywords.0"),
    ({"ignore_keywords": ["a\x00"]}, "ignore_keywords.0"),
    ({"maintenance": [{}]}, "maintenance.0.starts_at"),
    (
        {"maintenance": [{"starts_at": "2027-01-01T00:00:00", "ends_at": "2027-01-02T00:00:00"}]},
        "maintenance.0.starts_at",
    ),
    (
        {"maintenance": [{"starts_at": "2027-01-02T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z"}]},
        "maintenance.0.ends_at",
    ),
    (
        {"maintenance": [{"starts_at": "2027-01-02T00:00:00Z", "ends_at": "9999-12-31T23:59:59Z"}]},
        "maintenance.0.ends_at",
    ),
    ({"maintenance": [{"cron": "0 3 * * *"}]}, "maintenance.0.duration_seconds"),
    ({"maintenance": [{"cron": "0 3 * * *", "duration_seconds": 0}]}, "maintenance.0.duration_seconds"),
    ({"maintenance": [{"cron": "no", "duration_seconds": 60}]}, "maintenance.0.cron"),
    ({"maintenance": [{"weekly": True}]}, "maintenance.0.weekly"),
    ({"depends_on": ["nothing"]}, "depends_on"),
    ({"depends_on": ["a\x00"]}, "depends_on.0"),
    ({"channels": ["nothing"]}, "channels"),
    ({"status": "up"}, "status"),
    ({"id": "pls_1"}, "id"),
    *(
        ({name: value}, name)
        for name in ("period_seconds", "grace_seconds", "start_grace_seconds", "max_duration_seconds")
        for value in NO_SECONDS
    ),
]


@pytest.mark.parametrize(("body", "field"), BAD)
async def test_bad_definitions(ours: Calls, body: dict[str, Any], field: str) -> None:
    pulse = await create(ours)
    for method, path, content in (
        ("POST", "/api/pulses", {**HOURLY, **body}),
        ("PATCH", f"/api/pulses/{pulse['id']}", body if "cron" not in body else {"period_seconds": None, **body}),
    ):
        response = await ours.http.request(method, path, content=json.dumps(content), headers=JSON)
        if method == "POST" and field == "cron":
            assert set(fields(problem(response, 400, "invalid_request"))) <= {"cron"}
        else:
            assert field in fields(problem(response, 400, "invalid_request"))
    assert (await ours.get("/api/pulses", limit=1))["pulses"] == [pulse]


async def test_a_name_and_a_schedule_are_needed(ours: Calls) -> None:
    response = await ours.http.post("/api/pulses", json={"period_seconds": 60})
    assert fields(problem(response, 400, "invalid_request")) == ["name"]
    response = await ours.http.post("/api/pulses", json={"name": "x"})
    assert fields(problem(response, 400, "invalid_request")) == ["period_seconds"]


async def test_what_one_depends_on(ours: Calls, theirs: Calls) -> None:
    router, switch, host = [await create(ours, slug=new_id("dep")) for _ in range(3)]
    foreign = await create(theirs)
    changed = await patch(ours, switch["id"], depends_on=[router["slug"], router["id"]])
    assert changed["depends_on"] == [router["id"]]
    assert (await patch(ours, host["id"], depends_on=[switch["id"]]))["depends_on"] == [switch["id"]]
    for parent, child in ((router, router), (router, switch), (router, host), (host, foreign)):
        response = await ours.http.patch(f"/api/pulses/{parent['id']}", json={"depends_on": [child["id"]]})
        assert fields(problem(response, 400, "invalid_request")) == ["depends_on"]
    await ours.http.delete(f"/api/pulses/{switch['id']}")
    assert (await read(ours, host["id"]))["depends_on"] == []
    assert (await patch(ours, router["id"], depends_on=[host["id"]]))["depends_on"] == [host["id"]]


async def test_no_circle_is_closed_by_two_at_the_same_time(ours: Calls, ours_elsewhere: Calls) -> None:
    for _ in range(3):
        first, second = [(await create(ours))["id"] for _ in range(2)]
        responses = await asyncio.gather(
            ours.http.patch(f"/api/pulses/{first}", json={"depends_on": [second]}),
            ours_elsewhere.http.patch(f"/api/pulses/{second}", json={"depends_on": [first]}),
        )
        assert sorted(response.status_code for response in responses) == [200, 400]


async def test_newest_first_page_by_page_and_filtered(theirs: Calls) -> None:
    tag = new_id("tag")
    made = [await create(theirs, name=f"100%_{i} {tag}", tags=[tag, f"t{i}"]) for i in range(5)][::-1]
    seen: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await theirs.get("/api/pulses", limit=2, cursor=cursor, tag=tag)
        seen += page["pulses"]
        cursor = page["next_cursor"]
    assert seen == made

    async def found(**filters: Any) -> list[str]:
        return [pulse["id"] for pulse in (await theirs.get("/api/pulses", tag=tag, **filters))["pulses"]]

    ids = [pulse["id"] for pulse in made]
    assert await found(q="%_3") == ids[1:2]
    assert await found(q="_", limit=2) == ids[:2]
    assert await found(q=made[0]["slug"].upper()) == ids[:1]
    assert await found(q="1000") == []
    assert [p["id"] for p in (await theirs.get("/api/pulses", tag="t2", q=tag))["pulses"]] == [ids[2]]
    await theirs.get(f"/hbk/{ids[0]}")
    await theirs.get(f"/hbk/{ids[1]}/fail")
    await theirs.post(f"/api/pulses/{ids[2]}/pause", {})
    for _ in range(2):
        assert await found(status="up") == ids[:1]
        assert await found(status=["down", "paused"]) == await found(status="down,paused") == ids[1:3]
        assert await found(status="new") == ids[3:]
        await recorded(theirs, ids[0], "up")
        await recorded(theirs, ids[1], "down")
    problem(await theirs.http.get("/api/pulses", params={"status": "broken"}), 400, "invalid_request")


async def test_what_is_someone_elses(ours: Calls, theirs: Calls) -> None:
    pulse_id = (await create(ours, slug=new_id("slug")))["id"]
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("GET", "/pings"),
        ("GET", "/events"),
        ("GET", "/uptime"),
    ):
        body = {"name": "Mine"} if method == "PATCH" else None
        problem(await theirs.http.request(method, f"/api/pulses/{pulse_id}{path}", json=body), 403, "forbidden")
        problem(await ours.http.request(method, f"/api/pulses/nothing{path}", json=body), 404, "not_found")
    assert pulse_id not in str(await theirs.get("/api/pulses", limit=100))
    assert (await read(ours, pulse_id))["name"] == HOURLY["name"]
    mine = await create(theirs, slug=pulse_id.replace("_", "-"))
    assert (await read(theirs, mine["slug"]))["id"] == mine["id"]
    problem(await ours.http.get("/api/pulses/a%00"), 400, "invalid_request")


async def test_viewers_may_look_and_keys_for_pings_may_not(quick_gateway: str, team: Team) -> None:
    async with httpx.AsyncClient(base_url=quick_gateway) as viewer:
        headers = await log_in(viewer, team.viewer)
        assert (await viewer.get("/api/pulses")).status_code == 200
        problem(await viewer.post("/api/pulses", json=HOURLY, headers=headers), 403, "forbidden")
        pulse = (await viewer.post("/api/pulses", json=HOURLY, headers=api_key(team.full_key))).json()
        path = f"/api/pulses/{pulse['id']}"
        assert (await viewer.get(f"{path}/pings")).status_code == 200
        for method, way in (("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")):
            problem(await viewer.request(method, path + way, json={}, headers=headers), 403, "forbidden")
        problem(await viewer.get(path, headers=api_key(team.ping_key)), 403, "insufficient_scope")


async def test_channels(ours: Calls) -> None:
    channel = await ours.post("/api/channels", {"kind": "webhook", "name": "x", "url": "https://example.org/"}, 201)
    pulse = await create(ours, channels=[channel["id"]])
    assert pulse["channels"] == [channel["id"]]
    assert (await patch(ours, pulse["id"], name="y"))["channels"] == [channel["id"]]
    assert (await patch(ours, pulse["id"], channels=[]))["channels"] == []


async def test_bad_cursors(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    for path in ("/api/pulses", f"/api/pulses/{pulse_id}/pings", f"/api/pulses/{pulse_id}/events"):
        response = await ours.http.get(path, params={"cursor": "nonsense"})
        assert fields(problem(response, 400, "invalid_request")) == ["cursor"]
