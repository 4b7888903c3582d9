"""The public status page, and how it is set up."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api import status_views
from api.dashboard import status
from api.status_views import StatusView
from tests.api.calls import Calls
from tests.support.dashboard import PAGE, Screen, Site
from tests.support.waiting import until

HOSTILE = "<script>alert(1)</script>\u202e"


async def pulse(calls: Calls, name: str) -> str:
    made = await calls.http.post("/api/pulses", json={"name": name, "period_seconds": 3600, "grace_seconds": 60})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_views, "FRESH_SECONDS", 0)


@pytest.fixture
async def nobody(quick_gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=quick_gateway, headers=PAGE) as nobody:
        yield nobody


async def test_it_is_set_up_published_and_taken_back(
    fresh: Site, fresh_calls: Calls, nobody: httpx.AsyncClient
) -> None:
    api, backup = await pulse(fresh_calls, "secret internal name"), await pulse(fresh_calls, "Backup")
    (await fresh_calls.http.post(f"/hbk/{api}")).raise_for_status()
    (await fresh_calls.http.post(f"/hbk/{backup}/fail", json={"error": "password is hunter2"})).raise_for_status()
    slug = fresh.account_id[4:].lower()
    screen = await fresh.open("/settings/status")
    assert "Not public" not in screen.text
    values = {"title": "Acme status", "slug": slug, "note": "Hello\nthere"}
    screen = await fresh.submit(
        screen,
        "/settings/status",
        **values,
        component=[f"pulse/{api}", f"pulse/{backup}"],
        **{f"shown pulse/{api}": "API", f"position pulse/{api}": "2", f"position pulse/{backup}": "1"},
    )
    assert screen.said == "The status page was saved."
    assert "Not public" in screen.text
    # Not before it is public; those who are logged in see it.
    assert (await nobody.get(f"/status/{slug}")).status_code == 404
    assert (await nobody.get("/settings/status/preview")).status_code == 303
    assert "A preview" in (await fresh.open("/settings/status/preview")).text
    screen = await fresh.submit(screen, "/settings/status", public="yes")
    assert f"/status/{slug}" in screen.links.values()

    async def is_down() -> bool:
        return "1 of 2 is down" in (await nobody.get(f"/status/{slug}")).text

    await until(is_down, every=0.5)
    answer = await nobody.get(f"/status/{slug}")
    shown = Screen(answer)
    assert [item.get_text() for item in shown.main.select("h2")] == ["Backup", "API"]
    assert [item.get_text(strip=True) for item in shown.main.select(".line .state")] == ["Down", "Up"]
    assert "Hello\nthere" in answer.text
    assert len(shown.main.select("svg.uptime rect")) == 180
    for secret in (api, backup, "secret internal name", "hunter2", fresh.account_id, fresh.email):
        assert secret not in answer.text
    assert answer.headers["cache-control"] == "public, max-age=30"
    assert "set-cookie" not in answer.headers
    data = await nobody.get(f"/status/{slug}.json")
    view = StatusView.model_validate(data.json())
    assert (view.status, view.summary, [one.name for one in view.components]) == (
        "down", "1 of 2 is down", ["Backup", "API"]
    )  # fmt: skip
    assert len(view.components[0].days) == 90
    assert api not in data.text
    await fresh.submit(await fresh.open("/settings/status"), "/settings/status", public=None)
    assert (await nobody.get(f"/status/{slug}")).status_code == 404
    assert (await nobody.get(f"/status/{slug}.json")).status_code == 404


async def test_jobs_show_how_their_runs_ended(fresh: Site, fresh_calls: Calls, nobody: httpx.AsyncClient) -> None:
    hook = (await fresh_calls.http.post("/api/process-hooks", json={"name": "Import", "expected_seconds": 60})).json()
    for end in ("finish", "fail", "finish"):
        (await fresh_calls.http.post(f"/phk/{hook['id']}/start")).raise_for_status()
        (await fresh_calls.http.post(f"/phk/{hook['id']}/{end}")).raise_for_status()
    workflow_id, instance_id = await fresh_calls.open()
    await fresh_calls.dynamic(workflow_id, "dag_complete", instance_id=instance_id, final="yes")
    slug = "jobs-" + fresh.account_id[4:].lower()
    components = [
        {"kind": "process_hook", "id": hook["id"], "name": HOSTILE},
        {"kind": "workflow", "id": workflow_id, "name": "Reports"},
    ]
    body = {"slug": slug, "title": HOSTILE, "note": HOSTILE, "public": True, "components": components}
    assert (await fresh_calls.http.put("/api/account/status-page", json=body)).status_code == 200

    async def is_told() -> bool:
        text = Screen(await nobody.get(f"/status/{slug}")).text
        return "66.7 % of runs succeeded" in text and "100 % of runs succeeded" in text

    await until(is_told, every=0.5)
    answer = await nobody.get(f"/status/{slug}")
    assert "<script>alert" not in answer.text
    assert "Everything works" in answer.text
    await fresh_calls.http.delete(f"/api/workflows/{workflow_id}")
    assert "Reports" not in (await nobody.get(f"/status/{slug}")).text


async def test_nobody_comes_too_often(fresh: Site, fresh_calls: Calls, nobody: httpx.AsyncClient) -> None:
    slug = "often-" + fresh.account_id[4:].lower()
    await fresh_calls.http.put("/api/account/status-page", json={"slug": slug, "title": "x", "public": True})
    answers = [await nobody.get(f"/status/{slug}") for _ in range(61)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_what_cannot_be_is_marked(fresh: Site, fresh_calls: Calls, calls: Calls) -> None:
    theirs = await pulse(calls, "theirs")
    screen = await fresh.open("/settings/status")
    refused = await fresh.submit(screen, "/settings/status", slug="No Slug.", title="")
    assert refused.status == 400
    assert [item["id"] for item in refused.main.select(".problem")] == ["f-title-wrong", "f-slug-wrong"]
    refused = await fresh.submit(
        screen,
        "/settings/status",
        slug="fine",
        title="x",
        component=f"pulse/{theirs}",
        **{f"shown pulse/{theirs}": "x"},
    )
    assert refused.status == 400
    assert "is no pulse of this account" in refused.text


async def test_things_are_found_by_name(fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MAX_LISTED", 2)
    names = [f"pulse {number}" for number in range(4)]
    ids = [await pulse(fresh_calls, name) for name in names]
    screen = await fresh.open("/settings/status")
    assert "There is more than fits here" in screen.text
    found = await fresh.open("/settings/status?q=pulse+3")
    assert [str(box["value"]) for box in found.main.select("[name=component]")] == [f"pulse/{ids[3]}"]
    chosen = await fresh.submit(
        found, "/settings/status", component=f"pulse/{ids[3]}", slug="find-" + ids[3][4:].lower()
    )
    assert chosen.status == 200
    boxes = chosen.main.select("[name=component]")
    assert (str(boxes[0]["value"]), boxes[0].has_attr("checked")) == (f"pulse/{ids[3]}", True)
