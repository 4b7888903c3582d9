"""Pages of workflows as a browser without scripts uses them: the list, one of them, making, changing, deleting."""

import shlex
from typing import Any

from domain.durations import as_text
from storage.base import Sessions
from tests.api.calls import Calls, new_id
from tests.support.dashboard import Site, save_from_two_tabs, site_of

HOSTILE = '<script>alert(1)</script>"\u202e' + "x" * 50


async def test_who_has_no_workflow_reads_how_to_get_one(fresh: Site) -> None:
    screen = await fresh.open("/workflows")
    assert (screen.title, "No workflows yet" in screen.text) == ("Workflows", True)
    assert screen.links["New workflow"] == "/workflows/new"
    assert "/dhk/my-first-workflow" in screen.text


async def test_the_list_shows_how_each_of_them_goes(fresh: Site, fresh_calls: Calls) -> None:
    good = await fresh_calls.define(name="Good", stages=1, tags=["data"])
    bad = await fresh_calls.define("dynamic", name="Bad")
    await fresh_calls.define("run", name="Silent")
    done = str((await fresh_calls.post(f"/shk/{good}", {"stage": 1, "cost_usd": "0.5"}))["instance_id"])
    failed = (await fresh_calls.open(bad, status="failed"))[1]
    running = (await fresh_calls.open(bad))[1]
    await fresh_calls.settled(done, "completed")
    await fresh_calls.settled(failed, "failed")
    screen = await fresh.open("/workflows")
    rows = {row[0].split()[0]: row[1:] for row in screen.rows("table.workflows")}
    assert rows["Silent"][1:] == ["–", "–", "–", "0", "Never run"]
    assert (rows["Good"][1], rows["Good"][3:5], rows["Good"][5][:9]) == ("100 %", ["$0.50", "0"], "Completed")
    assert (rows["Bad"][1], rows["Bad"][4], rows["Bad"][5][:7]) == ("0 %", "1", "Running")
    pictures = {str(link["href"]): link.get_text() for link in screen.main.select("svg.strip a")}
    assert pictures.keys() == {f"/instances/{one}" for one in (done, failed, running)}
    assert pictures[f"/instances/{failed}"].startswith("Failed after")
    assert screen.main.select_one("svg.strip[role=img]") is not None

    async def names(query: str) -> list[str]:
        found = await fresh.open(f"/workflows?{query}")
        return [row[0].split()[0] for row in found.rows("table.workflows")] if found.main.select("table") else []

    assert await names("q=goo") == ["Good"]
    assert await names("kind=run") == ["Silent"]
    assert await names("tag=data") == ["Good"]
    assert await names("last=failed") == []
    assert await names("last=never") == ["Silent"]
    assert await names("kind=odd&last=odd") == ["Silent", "Bad", "Good"]
    nothing = await fresh.open("/workflows?q=nowhere")
    assert "No workflow is like that" in nothing.text
    assert nothing.main.select_one("input[name=q]")["value"] == "nowhere"  # type: ignore[index]


async def test_the_list_pages_and_keeps_its_filters(fresh: Site, fresh_calls: Calls) -> None:
    for number in range(27):
        await fresh_calls.define("dynamic", name=f"Number {number}", tags=["many"])
    first = await fresh.open("/workflows?tag=many")
    assert [row[0].split()[1] for row in first.rows()] == [str(number) for number in range(26, 1, -1)]
    second = await fresh.open(first.links["Older"])
    assert [row[0].split()[1] for row in second.rows()] == ["1", "0"]
    assert second.links["Back to the newest"] == "/workflows?tag=many"
    assert (await fresh.open("/workflows?cursor=nonsense")).status == 400


async def test_a_workflow_has_its_runs_rules_and_a_line_that_pings_it(
    site: Site, calls: Calls, quick_gateway: str
) -> None:
    workflow_id = await calls.define(
        validation_mode="strict", stages=[{"order": 1, "name": "Get"}, {"order": 2, "timeout_seconds": 90}]
    )
    line = (await site.open(f"/workflows/{workflow_id}")).main.select_one("pre").get_text()  # type: ignore[union-attr]
    curl, option, key, address = shlex.split(line)
    assert (curl, option, key) == ("curl", "-H", "X-API-Key: YOUR_API_KEY")
    path = "/" + address.split("/", 3)[3]
    answer = await calls.http.get(path)
    assert answer.status_code == 200, answer.text
    instance_id = answer.json()["instance_id"]
    await calls.static(workflow_id, 1, expected=409, agent="me", instance_id=instance_id)
    screen = await site.open(f"/workflows/{workflow_id}")
    assert screen.text.count("Strict") >= 1
    assert "within 1 min 30 s" in screen.text
    (row,) = screen.rows("table.runs")
    assert (row[0], row[1]) == (instance_id, "Running")
    assert screen.links["Failed queue (1)"] == f"/workflows/{workflow_id}/failed"
    assert "refused a ping" in screen.main.select_one("#troubles").get_text()  # type: ignore[union-attr]
    assert screen.soup.body["data-live"] == f"instance/{workflow_id}/"  # type: ignore[index]


async def test_runs_are_filtered_and_paged(site: Site, calls: Calls) -> None:
    workflow_id = new_id()
    ids = [(await calls.open(workflow_id))[1] for _ in range(26)]
    body = {"stagePath": "1", "start": "yes", "status": "failed", "error": "no <b>disk</b>", "cost_usd": "0.25"}
    failed = str((await calls.post(f"/dhk/{workflow_id}", body))["instance_id"])
    await calls.settled(failed, "failed")
    first = await site.open(f"/workflows/{workflow_id}?status=running")
    assert [row[0] for row in first.rows("table.runs")] == ids[:0:-1]
    second = await site.open(first.links["Older"])
    assert [row[0] for row in second.rows("table.runs")] == ids[:1]
    (row,) = (await site.open(f"/workflows/{workflow_id}?status=failed")).rows("table.runs")
    assert "no <b>disk</b>" in row[1]
    assert row[4] == "$0.25"
    assert "No run is like that" in (await site.open(f"/workflows/{workflow_id}?until=2020-01-01")).text
    assert len((await site.open(f"/workflows/{workflow_id}?since=2020-01-01&until=nonsense")).rows("table.runs")) == 25


async def test_a_run_workflow_says_when_the_next_report_is_awaited(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define("run", expected_interval_seconds=3600, expected_grace_seconds=120)
    screen = await site.open(f"/workflows/{workflow_id}")
    assert "Next report" in screen.text
    assert "and 2 min of grace" in screen.text
    line = screen.main.select_one("pre").get_text()  # type: ignore[union-attr]
    assert f"-d workflow_id={workflow_id}" in line
    fields = {"workflow_id": workflow_id, "ended_at": "2026-01-15T09:00:04Z", "external_execution_id": "n8n-7"}
    answer = await calls.http.post("/api/v1/ingest/run-success", data=fields)
    assert answer.status_code == 202, answer.text
    await calls.settled(answer.json()["instance_id"], "completed")
    screen = await site.open(f"/workflows/{workflow_id}")
    (row,) = screen.rows("table.runs")
    assert "n8n-7" in row[0]
    assert row[3] == "–"


async def test_a_static_workflow_is_made_with_all_that_the_form_takes(site: Site, calls: Calls) -> None:
    channel = await calls.post("/api/channels", {"kind": "email", "name": "Mail", "address": "a@example.com"}, 201)
    form = await site.open("/workflows/new")
    workflow_id = new_id("form")
    made = await site.submit(
        form,
        "/workflows/new",
        name="From the form",
        kind="static",
        id=workflow_id,
        slug=workflow_id.replace("_", "-"),
        tags="night, etl",
        stages="Extract\r\nTransform | 1h 30m\r\n| 90",
        validation_mode="strict",
        stage_timeout_seconds="5 min",
        instance_timeout_seconds="2 days",
        idle_timeout_seconds="",
        grace_period_seconds="0",
        channels=[str(channel["id"])],
    )
    assert (made.path, made.title) == (f"/workflows/{workflow_id}?done=created", "From the form")
    assert made.said.startswith("The workflow was created.")
    view = await calls.get(f"/api/workflows/{workflow_id}")
    assert [(one["name"], one["timeout_seconds"]) for one in view["stages"]] == [
        ("Extract", None), ("Transform", 5400.0), (None, 90.0),
    ]  # fmt: skip
    expected = {
        "validation_mode": "strict", "tags": ["night", "etl"], "channels": [channel["id"]],
        "stage_timeout_seconds": 300.0, "instance_timeout_seconds": 172_800.0, "idle_timeout_seconds": None,
        "grace_period_seconds": 0.0, "slug": workflow_id.replace("_", "-"),
    }  # fmt: skip
    assert {name: view[name] for name in expected} == expected


async def test_what_was_typed_stays_when_something_is_wrong(site: Site) -> None:
    form = await site.open("/workflows/new")
    refused = await site.submit(
        form,
        "/workflows/new",
        name="  ",
        kind="dynamic",
        id="not an id",
        stages="One | soon",
        stage_timeout_seconds="five minutes",
        tags="a" * 60,
    )
    assert refused.status == 400
    assert refused.main.select_one("[name=stage_timeout_seconds]")["value"] == "five minutes"  # type: ignore[index]
    assert refused.main.select_one("[name=stages]").get_text() == "\nOne | soon"  # type: ignore[union-attr]
    assert refused.main.select_one("[name=kind][checked]")["value"] == "dynamic"  # type: ignore[index]
    assert problems_of(refused) == {"stages", "stage_timeout_seconds"}
    again = await site.submit(refused, "/workflows/new", stages="One", stage_timeout_seconds="5 min")
    assert problems_of(again) == {"name", "id", "tags"}
    again = await site.submit(again, "/workflows/new", name="N", id="", tags="")
    assert problems_of(again) == {"stages"}
    assert "takes no stages: they appear as pinged" in again.text
    made = await site.submit(again, "/workflows/new", stages="")
    assert made.said.startswith("The workflow was created.")


def problems_of(screen: Any) -> set[str]:
    assert screen.status == 400, screen.text
    return {item["id"].removeprefix("f-").removesuffix("-wrong") for item in screen.main.select(".problem")}


async def test_a_taken_slug_is_told(site: Site, calls: Calls) -> None:
    await calls.define("dynamic", slug="taken-already")
    form = await site.open("/workflows/new")
    refused = await site.submit(form, "/workflows/new", name="N", kind="dynamic", slug="taken-already")
    assert (refused.status, refused.said) == (409, "The slug taken-already is taken; choose another.")


async def test_an_interval_is_for_reported_runs_and_may_be_taken_back(site: Site, calls: Calls) -> None:
    form = await site.open("/workflows/new")
    refused = await site.submit(form, "/workflows/new", name="R", kind="dynamic", expected_interval_seconds="1 h")
    assert problems_of(refused) == {"expected_interval_seconds"}
    made = await site.submit(refused, "/workflows/new", kind="run")
    workflow_id = made.path.split("/")[2].partition("?")[0]
    assert (await calls.get(f"/api/workflows/{workflow_id}"))["expected_interval_seconds"] == 3600
    edit = await site.open(f"/workflows/{workflow_id}/edit")
    assert edit.main.select("[name=stages], [name=validation_mode]") == []
    await site.submit(edit, f"/workflows/{workflow_id}/edit", expected_interval_seconds="")
    assert (await calls.get(f"/api/workflows/{workflow_id}"))["expected_interval_seconds"] is None


async def test_an_edit_changes_what_was_changed_and_nothing_else(site: Site, calls: Calls) -> None:
    odd: dict[str, Any] = {
        "stage_timeout_seconds": 0.1 + 0.2,
        "stages": [{"order": 1, "name": "two\nlines"}, {"order": 2}],
    }
    workflow_id = await calls.define(tags=["with, comma"], instance_timeout_seconds=61, **odd)
    before = await calls.get(f"/api/workflows/{workflow_id}")
    edit = await site.open(f"/workflows/{workflow_id}/edit")
    assert edit.main.select_one("[name=stage_timeout_seconds]")["value"] == as_text(0.1 + 0.2)  # type: ignore[index]
    changed = await site.submit(edit, f"/workflows/{workflow_id}/edit", name="Another name")
    assert changed.said.startswith("The workflow was changed.")
    after = await calls.get(f"/api/workflows/{workflow_id}")
    assert after | {"updated_at": None} == before | {"name": "Another name", "updated_at": None}
    edit = await site.open(f"/workflows/{workflow_id}/edit")
    refused = await site.submit(edit, f"/workflows/{workflow_id}/edit", name="", slug="Not A Slug")
    assert problems_of(refused) == {"name", "slug"}


async def test_deleting_asks_and_says_what_happens(site: Site, calls: Calls) -> None:
    workflow_id, instance_id = await calls.open()
    page = await site.open(f"/workflows/{workflow_id}")
    asked = await site.open(page.links["Delete …"])
    assert "1 run that is open now ends at once, as terminated." in asked.text
    gone = await site.submit(asked, f"/workflows/{workflow_id}/delete")
    assert gone.path == "/workflows?done=deleted"
    assert gone.said == "The workflow was deleted. The history of its runs stays."
    assert (await calls.instance(instance_id))["status"] == "terminated"
    for path in ("", "/edit", "/failed", "/budget", "/delete"):
        assert (await site.open(f"/workflows/{workflow_id}{path}")).status == 404


async def test_a_viewer_sees_all_of_it_and_changes_nothing(viewer: Site, calls: Calls) -> None:
    workflow_id = await calls.define(name="To look at")
    for path in ("", "/edit", "/failed", "/budget", "/delete"):
        screen = await viewer.open(f"/workflows/{workflow_id}{path}")
        assert screen.status == 200
        assert screen.main.select("form[method=post]") == []
    assert "New workflow" not in (await viewer.open("/workflows")).links
    assert (await viewer.open("/workflows/new")).status == 403
    token = (await viewer.open("/workflows")).soup.select_one("[name=csrf_token]")["value"]  # type: ignore[index]
    for path in ("new", f"{workflow_id}/edit", f"{workflow_id}/delete", f"{workflow_id}/budget",
                 f"{workflow_id}/budget/remove"):  # fmt: skip
        answer = await viewer.post(f"/workflows/{path}", [("csrf_token", str(token)), ("name", "x")])
        assert answer.status == 403, path
    assert (await calls.get(f"/api/workflows/{workflow_id}"))["name"] == "To look at"


async def test_nobody_sees_workflows_of_others(quick_gateway: str, sessions: Sessions, calls: Calls) -> None:
    workflow_id = await calls.define(name="A secret plan")
    async with site_of(quick_gateway, sessions) as stranger:
        assert "A secret plan" not in (await stranger.open("/workflows")).text
        for path in ("", "/edit", "/failed", "/budget", "/delete"):
            screen = await stranger.open(f"/workflows/{workflow_id}{path}")
            assert (screen.status, "A secret plan" in screen.response.text) == (403, False)
        empty = await stranger.open("/workflows/new")
        token = str(empty.form("/workflows/new").select_one("[name=csrf_token]")["value"])  # type: ignore[index]
        for path in ("edit", "delete", "budget", "budget/remove"):
            sent = [("csrf_token", token), ("name", "mine"), ("slug", "s")]
            assert (await stranger.post(f"/workflows/{workflow_id}/{path}", sent)).status == 403, path
    assert (await calls.get(f"/api/workflows/{workflow_id}"))["name"] == "A secret plan"


async def test_hostile_texts_stay_texts(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define(
        name=HOSTILE, tags=["<img src=x>"], stages=[{"order": 1, "name": HOSTILE}, {"order": 2, "name": "</textarea>"}]
    )
    await calls.static(workflow_id, 1, agent=HOSTILE, status="failed", error=HOSTILE * 20)
    await calls.static(workflow_id, 9, expected=404, agent=HOSTILE, instance_id="none")
    for path in ("/workflows", *(f"/workflows/{workflow_id}{page}" for page in ("", "/edit", "/failed", "/budget"))):
        screen = await site.open(path)
        assert screen.status == 200
        assert screen.main.select("script, img") == []
        if path.endswith("/edit"):
            area = screen.main.select_one("[name=stages]")
            assert area is not None
            assert area.get_text().endswith("</textarea>")
        else:
            assert "\u202e" not in screen.response.text


async def test_what_was_changed_in_another_tab_is_not_overwritten_unknowingly(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define(name="Before")
    edit = f"/workflows/{workflow_id}/edit"
    _, saved = await save_from_two_tabs(site, edit, ("name", "Renamed"), ("tags", "mine"))
    assert saved.said.startswith("The workflow was changed.")
    after = await calls.get(f"/api/workflows/{workflow_id}")
    assert (after["name"], after["tags"]) == ("Before", ["mine"])
