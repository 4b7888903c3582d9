"""Definitions."""

import asyncio
import json
import re
from typing import Any

import pytest

from tests.api.calls import Calls, in_order, new_id
from tests.api.test_errors import fields, problem

STATIC = {"kind": "static", "name": "Nightly ETL", "stages": in_order(2)}
DYNAMIC = {"kind": "dynamic", "name": "Nightly ETL"}


async def test_one_as_defined(ours: Calls) -> None:
    given = {
        "kind": "static",
        "name": "Größe & Co",
        "slug": new_id("slug"),
        "validation_mode": "strict",
        "stages": [
            {"order": 1, "name": "Extract", "timeout_seconds": 30.5},
            {"order": 2, "name": None, "timeout_seconds": None},
        ],
        "stage_timeout_seconds": 60.0,
        "instance_timeout_seconds": 3600.0,
        "idle_timeout_seconds": None,
        "grace_period_seconds": 0.0,
    }
    response = await ours.http.post("/api/workflows", json=given)
    assert response.status_code == 201
    workflow = response.json()
    assert re.fullmatch(r"swf_[a-z0-9]{10}", workflow["id"])
    assert {name: workflow[name] for name in given} == given
    assert workflow["ping_url"].endswith(f"/shk/{workflow['id']}")
    assert await ours.get(f"/api/workflows/{workflow['id']}") == workflow
    assert workflow in (await ours.get("/api/workflows"))["workflows"]


async def test_what_is_left_out(ours: Calls) -> None:
    workflow = await ours.get(f"/api/workflows/{await ours.define('dynamic')}")
    assert re.fullmatch(r"dwf_[a-z0-9]{10}", workflow["id"])
    assert (workflow["validation_mode"], workflow["stages"], workflow["grace_period_seconds"]) == ("flexible", [], 60)
    assert (workflow["stage_timeout_seconds"], workflow["idle_timeout_seconds"]) == (None, 86400)


async def test_an_id_of_ones_own(ours: Calls, theirs: Calls) -> None:
    workflow_id = new_id("My.own-")
    assert await ours.define("dynamic", id=workflow_id) == workflow_id
    again = {**DYNAMIC, "id": workflow_id}
    problem(await ours.http.post("/api/workflows", json=again), 409, "conflict")
    problem(await theirs.http.post("/api/workflows", json=again), 403, "forbidden")
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    problem(await theirs.http.post("/api/workflows", json=again), 403, "forbidden")
    back = await ours.http.post("/api/workflows", json={**STATIC, "id": workflow_id})
    assert (back.status_code, back.json()["kind"]) == (201, "static")
    assert (await ours.static(workflow_id, 1))["workflow_status"] == "running"


async def test_slugs(ours: Calls, theirs: Calls) -> None:
    name = f"Nightly ETL! {new_id()}"
    slug = name.lower().replace("! ", "-").replace(" ", "-").replace("_", "-")
    first, second = [await ours.get(f"/api/workflows/{await ours.define(name=name)}") for _ in range(2)]
    assert first["slug"] == slug
    assert re.fullmatch(re.escape(slug) + "-[a-z0-9]{6}", second["slug"])
    taken = await ours.http.post("/api/workflows", json={**DYNAMIC, "slug": slug})
    assert slug in problem(taken, 409, "conflict")["detail"]
    problem(await ours.http.patch(f"/api/workflows/{second['id']}", json={"slug": slug}), 409, "conflict")
    assert (await ours.http.patch(f"/api/workflows/{first['id']}", json={"slug": slug})).status_code == 200
    await theirs.define(slug=slug)
    await ours.http.delete(f"/api/workflows/{first['id']}")
    assert (await ours.http.patch(f"/api/workflows/{second['id']}", json={"slug": slug})).json()["slug"] == slug
    nameless = await ours.get(f"/api/workflows/{await ours.define('dynamic', name='日本')}")
    assert nameless["slug"] == nameless["id"]


async def test_the_same_at_the_same_time(ours: Calls, ours_elsewhere: Calls) -> None:
    for body in ({"id": new_id()}, {"slug": new_id("slug")}):
        posts = [
            gateway.http.post("/api/workflows", json={**DYNAMIC, **body}) for gateway in (ours, ours_elsewhere) * 4
        ]
        statuses = sorted(response.status_code for response in await asyncio.gather(*posts))
        assert statuses == [201] + [409] * 7
    ids, slug = [await ours.define() for _ in range(4)], new_id("slug")
    patches = [ours.http.patch(f"/api/workflows/{workflow_id}", json={"slug": slug}) for workflow_id in ids]
    assert sorted(response.status_code for response in await asyncio.gather(*patches)) == [200] + [409] * 3


async def test_changes(ours: Calls) -> None:
    workflow_id = await ours.define(stage_timeout_seconds=5)
    before = await ours.get(f"/api/workflows/{workflow_id}")
    changes = {"name": "New", "validation_mode": "strict", "stages": in_order(2), "stage_timeout_seconds": None}
    after = (await ours.http.patch(f"/api/workflows/{workflow_id}", json=changes)).json()
    assert after["stages"] == [{"order": order, "name": None, "timeout_seconds": None} for order in (1, 2)]
    assert (after["name"], after["validation_mode"], after["stage_timeout_seconds"]) == ("New", "strict", None)
    assert {name for name in after if after[name] != before[name]} == {*changes, "updated_at"}
    nothing = (await ours.http.patch(f"/api/workflows/{workflow_id}", json={"name": None, "slug": None})).json()
    assert {name for name in after if after[name] != nothing[name]} == {"updated_at"}
    await ours.static(workflow_id, 1, 400)


async def test_newest_first_and_page_by_page(theirs: Calls) -> None:
    ids = [await theirs.define() for _ in range(5)][::-1]
    seen: list[str] = []
    cursor = ""
    while len(seen) < 5:
        page = await theirs.get("/api/workflows", limit=2, cursor=cursor)
        seen += [workflow["id"] for workflow in page["workflows"]]
        cursor = page["next_cursor"]
    assert seen[:5] == ids


NO_SECONDS: list[Any] = [0, -1, 1e12, "soon", [], float("nan"), float("inf"), 10**400]
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "kind"),
    ({"kind": "weekly"}, "kind"),
    ({"kind": "run"}, "stages"),
    ({"kind": "run", "stages": [], "validation_mode": "strict"}, "validation_mode"),
    ({"kind": "run", "stages": [], "expected_interval_seconds": 0.5}, "expected_interval_seconds"),
    ({"kind": "run", "stages": [], "expected_interval_minutes": 0.001}, "expected_interval_minutes"),
    (
        {"kind": "run", "stages": [], "expected_interval_minutes": 1, "expected_interval_seconds": 61},
        "expected_interval_minutes",
    ),
    ({"kind": "run", "stages": [], "expected_grace_seconds": 5}, "expected_grace_seconds"),
    ({"expected_interval_seconds": 60}, "expected_interval_seconds"),
    ({"kind": 1}, "kind"),
    ({"name": ""}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": "a\x00"}, "name"),
    ({"name": "\ud800"}, "name"),
    ({"name": ["a"]}, "name"),
    ({"id": "a b"}, "id"),
    ({"id": "x" * 129}, "id"),
    ({"id": ""}, "id"),
    ({"id": 5}, "id"),
    ({"slug": "A"}, "slug"),
    ({"slug": "a\n"}, "slug"),
    ({"slug": "-a"}, "slug"),
    ({"slug": "x" * 129}, "slug"),
    ({"validation_mode": "loose"}, "validation_mode"),
    ({"validation_mode": None}, "validation_mode"),
    ({"stages": in_order(1), "kind": "dynamic"}, "stages"),
    ({"stages": []}, "stages"),
    ({"stages": None}, "stages"),
    ({"stages": "1"}, "stages"),
    ({"stages": [{"order": 2}]}, "stages"),
    ({"stages": in_order(2) + in_order(1)}, "stages"),
    ({"stages": in_order(2001)}, "stages"),
    ({"stages": [{"order": 0}]}, "stages.0.order"),
    ({"stages": [{"order": 1.5}]}, "stages.0.order"),
    ({"stages": [{"order": 10**400}]}, "stages.0.order"),
    ({"stages": [{"order": 1, "name": "\x00"}]}, "stages.0.name"),
    ({"stages": [{"order": 1, "timeout_seconds": 0}]}, "stages.0.timeout_seconds"),
    ({"stages": [{"order": 1, "extra": 1}]}, "stages.0.extra"),
    ({"unknown": 1}, "unknown"),
    *(
        ({name: value}, name)
        for name in ("stage_timeout_seconds", "instance_timeout_seconds", "idle_timeout_seconds")
        for value in NO_SECONDS
    ),
    ({"grace_period_seconds": -1}, "grace_period_seconds"),
    ({"grace_period_seconds": None}, "grace_period_seconds"),
    ({"grace_period_seconds": float("nan")}, "grace_period_seconds"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
async def test_bad_definitions(ours: Calls, body: dict[str, Any], field: str) -> None:
    before = (await ours.get("/api/workflows", limit=1))["workflows"]
    content = json.dumps({**STATIC, **body} if body else {"name": "x"})
    response = await ours.http.post("/api/workflows", content=content, headers={"Content-Type": "application/json"})
    assert field in fields(problem(response, 400, "invalid_request"))
    if "kind" not in body and "id" not in body and body:
        workflow_id = await ours.define()
        content = json.dumps(body)
        response = await ours.http.patch(
            f"/api/workflows/{workflow_id}", content=content, headers={"Content-Type": "application/json"}
        )
        assert field in fields(problem(response, 400, "invalid_request"))
        await ours.http.delete(f"/api/workflows/{workflow_id}")
    assert (await ours.get("/api/workflows", limit=1))["workflows"] == before


async def test_stages_are_not_for_dynamic_ones(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic")
    response = await ours.http.patch(f"/api/workflows/{workflow_id}", json={"stages": in_order(1)})
    assert fields(problem(response, 400, "invalid_request")) == ["stages"]
    for body in ({"kind": "static"}, {"id": "other"}):
        response = await ours.http.patch(f"/api/workflows/{workflow_id}", json=body)
        assert fields(problem(response, 400, "invalid_request")) == list(body)


async def test_what_is_someone_elses(ours: Calls, theirs: Calls) -> None:
    static, (dynamic, instance_id) = await ours.define(), await ours.open()
    await ours.static(static, 1)
    requests = [
        ("GET", f"/api/workflows/{dynamic}"),
        ("PATCH", f"/api/workflows/{dynamic}"),
        ("DELETE", f"/api/workflows/{dynamic}"),
        ("GET", f"/api/workflows/{dynamic}/instances"),
        ("GET", f"/api/workflows/{dynamic}/failed-pings"),
        ("GET", f"/api/instances/{instance_id}"),
        ("GET", f"/dhk/{dynamic}/tree"),
        ("GET", f"/dhk/{dynamic}?stage=2"),
        ("POST", f"/dhk/{dynamic}?stage=1&start=yes"),
        ("GET", f"/dhk/{dynamic}?stage=1&instance_id={instance_id}"),
        ("GET", f"/shk/{static}?stage=2"),
        ("GET", f"/shk/{static}/tree"),
    ]
    for method, url in requests:
        body = {"name": "Mine"} if method == "PATCH" else None
        problem(await theirs.http.request(method, url, json=body), 403, "forbidden")
    own, _ = await theirs.open()
    foreign = await theirs.http.get(f"/dhk/{own}", params={"stage": 2, "instance_id": instance_id})
    problem(foreign, 404, "not_found")
    assert list(await ours.get(f"/dhk/{dynamic}/tree")) == ["1"]
    assert not await ours.failed_pings(dynamic)
    assert dynamic not in str(await theirs.get("/api/workflows", limit=100))


async def test_what_nobody_has(ours: Calls) -> None:
    for path in ("/api/workflows/nothing", "/api/workflows/nothing/instances", "/api/workflows/nothing/failed-pings"):
        problem(await ours.http.get(path), 404, "not_found")
    problem(await ours.http.get("/dhk/nothing/tree"), 404, "not_found")
    problem(await ours.http.patch("/api/workflows/nothing", json={}), 404, "not_found")
    problem(await ours.http.get("/api/workflows/a%00"), 400, "invalid_request")
