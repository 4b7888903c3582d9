"""The pages of process hooks and their runs."""

from datetime import timedelta
from typing import Any

import pytest

from config.clock import utc_now
from domain.ids import random_id
from storage.base import Sessions, transaction
from storage.processes import ProcessRun
from tests.api.calls import Calls, new_id
from tests.support.dashboard import Screen, Site, save_from_two_tabs
from tests.support.waiting import until

NEW = "/process-hooks/new"
HOSTILE = '<script>alert("x")</script>\u202egnp'
AS_SHOWN = '<script>alert("x")</script>\ufffdgnp'


async def define(calls: Calls, **values: Any) -> dict[str, Any]:
    return await calls.post("/api/process-hooks", {"name": "Nightly ETL", "expected_seconds": 1800, **values}, 201)


async def add_runs(
    sessions: Sessions, hook: dict[str, Any], account_id: str, *took: float, status: str = "finished"
) -> None:
    """Runs an hour apart, the latest an hour ago, that took so many seconds."""
    async with transaction(sessions) as session:
        for index, seconds in enumerate(took):
            started_at = utc_now() - timedelta(hours=len(took) - index)
            ended_at = started_at + timedelta(seconds=seconds)
            limit = hook["expected_seconds"] + hook["grace_seconds"]
            session.add(
                ProcessRun(
                    id=random_id("run_", 12),
                    hook_id=hook["id"],
                    account_id=account_id,
                    expected_seconds=hook["expected_seconds"],
                    grace_seconds=hook["grace_seconds"],
                    started_at=started_at,
                    ended_at=ended_at,
                    agent="runner-3",
                    status=status,
                    finished_at=ended_at,
                    overdue_at=started_at + timedelta(seconds=limit) if seconds > limit else None,
                    reason="Out of memory" if status == "failed" else None,
                    version=1,
                )
            )


def lines(screen: Screen) -> list[str]:
    return [" ".join(line.get_text(" ").split()) for line in screen.main.select("ul.hooks > li")]


async def test_before_the_first_one_the_list_says_what_would_be_there(fresh: Site) -> None:
    screen = await fresh.open("/process-hooks")
    assert (screen.status, screen.title) == (200, "Process hooks")
    assert "No process hooks yet" in screen.text
    assert screen.links["New process hook"] == NEW


async def test_the_list_tells_how_each_went(fresh: Site, fresh_calls: Calls, sessions: Sessions) -> None:
    first = await define(fresh_calls, name="Often run", tags=["prod"])
    await define(fresh_calls, name="Never run")
    await add_runs(sessions, first, fresh.account_id, 60, 120, 1900, 180, 240)
    await fresh_calls.get(f"/phk/{first['id']}/start")
    screen = await fresh.open("/process-hooks")
    never, often = lines(screen)
    assert never.startswith("No runs Never run Waits for its first run")
    assert often.startswith("Running Often run Last run")
    assert "Typical 3 min Expected 30 min" in often
    strips = screen.main.select("svg.strip")
    assert [len(strip.select("g")) for strip in strips] == [0, 6]
    assert str(strips[1]["aria-label"]).startswith("6 runs of Often run; the last one: ")


async def test_the_list_pages(fresh: Site, fresh_calls: Calls) -> None:
    for number in range(27):
        await define(fresh_calls, name=f"Hook {number}")
    first = await fresh.open("/process-hooks")
    assert len(lines(first)) == 25
    assert len(lines(await fresh.open(first.links["Older"]))) == 2


async def test_one_hook_with_its_runs_as_a_plot(site: Site, calls: Calls, sessions: Sessions) -> None:
    hook = await define(calls, name="Plotted", grace_seconds=600)
    await add_runs(sessions, hook, site.account_id, *[1200.0] * 28, 2500.0)
    await add_runs(sessions, hook, site.account_id, 30.0, status="failed")
    run_id = (await calls.get(f"/phk/{hook['id']}/start", agent="runner-9"))["run_id"]
    await calls.get(f"/phk/{hook['id']}/finish", run_id=run_id)
    path = f"/process-hooks/{hook['id']}"
    screen = await site.open(path)
    assert (screen.status, screen.title) == (200, "Plotted")
    plot = screen.main.select_one("svg.durations")
    assert plot is not None
    assert str(plot["aria-label"]).startswith("How long the last 31 runs took: 29 finished, 1 finished late, 1 failed.")
    assert len(plot.select("svg > title")) == 31
    keys = [" ".join(key.get_text().split()) for key in screen.main.select(".key")]
    assert keys == ["Finished", "Finished late", "Failed"]
    assert len(screen.rows("#numbers table")) == 31
    assert screen.rows("#numbers table")[0][1] == "Finished"
    runs = screen.rows("#runs table")
    assert len(runs) == 25
    assert (runs[0][1], runs[0][3]) == ("Finished", "runner-9")
    assert len((await site.open(screen.links["Older"])).rows("#runs table")) == 6
    failed = await site.open(f"{path}?status=failed")
    assert [row[4] for row in failed.rows("#runs table")] == ["Out of memory"]
    assert "No run is like that." in (await site.open(f"{path}?status=running")).text
    assert (await site.open(f"{path}?status=odd")).status == 400
    curls = [pre.get_text() for pre in screen.main.select(".copy pre")]
    assert [
        f"{hook['ping_url']}/{word}" in curl for word, curl in zip(("start", "finish", "fail"), curls, strict=True)
    ] == [True] * 3
    assert screen.soup.body is not None
    assert screen.soup.body["data-live"] == f"process/{hook['id']}"


async def test_one_run(site: Site, calls: Calls) -> None:
    hook = await define(calls)
    run_id = (await calls.post(f"/phk/{hook['id']}/start", {"commit": "a1b2", "rows": [1]}, agent="runner-3"))["run_id"]
    path = f"/process-hooks/{hook['id']}/runs/{run_id}"
    running = await site.open(path)
    assert (running.status, running.title) == (200, f"Run {run_id} of Nightly ETL")
    assert "Going on for" in running.text
    long = "z" * 50_000
    await calls.post(
        f"/phk/{hook['id']}/fail", {"error": HOSTILE, "deep": {"<b>": [HOSTILE]}, "long": long}, run_id=run_id
    )

    async def is_told() -> Screen | None:
        screen = await site.open(path)
        return screen if screen.main.select("#alerts a") else None

    ended: Screen = await until(is_told)
    assert [badge.get_text(strip=True) for badge in ended.main.select("#transitions .state")] == ["Running", "Failed"]
    assert AS_SHOWN in ended.text
    assert '"commit": "a1b2"' in ended.text
    assert not ended.main.select("script, b")
    assert "\u202e" not in ended.response.text
    assert "z" * 10_000 in ended.text
    assert long not in ended.text
    assert (await site.open(f"{path}x")).status == 404


async def test_one_is_defined_changed_and_deleted(site: Site, calls: Calls) -> None:
    slug = new_id("slug")
    made = await site.submit(
        await site.open(NEW), NEW, name="Training", slug=slug, expected_seconds="1 h 30 min", tags="gpu, prod"
    )
    assert made.said == "The process hook was created. Its runs are shown here as soon as they begin."
    hook_id = made.path.partition("?")[0].rsplit("/", 1)[1]
    hook = await calls.get(f"/api/process-hooks/{hook_id}")
    given = ("name", "slug", "expected_seconds", "grace_seconds", "overlap", "tags")
    assert [hook[name] for name in given] == ["Training", slug, 5400, 60, True, ["gpu", "prod"]]
    edit = f"/process-hooks/{hook_id}/edit"
    channel = await calls.post("/api/channels", {"kind": "email", "name": "Ops", "address": "ops@example.com"}, 201)
    saved = await site.submit(
        await site.open(edit), edit, grace_seconds="5 min", overlap=None, channels=channel["id"], tags=""
    )
    assert saved.said.startswith("The changes were saved.")
    hook = await calls.get(f"/api/process-hooks/{hook_id}")
    assert [hook[name] for name in given] == ["Training", slug, 5400, 300, False, []]
    assert hook["channels"] == [channel["id"]]
    assert "Ops" in saved.links
    gone = await site.submit(saved, f"/process-hooks/{hook_id}/delete")
    assert gone.said == "The process hook was deleted. It takes no more pings."
    assert (await site.open(f"/process-hooks/{hook_id}")).status == 404


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"name": ""}, "name", "at least 1 character"),
        ({"expected_seconds": ""}, "expected_seconds", "missing"),
        ({"expected_seconds": "long"}, "expected_seconds", "must be a duration such as"),
        ({"expected_seconds": "0.1"}, "expected_seconds", "greater than or equal to 1"),
        ({"slug": "A B"}, "slug", "pattern"),
        ({"tags": ",".join("abcdefghijklmnopqrstuvwxyz")}, "tags", "at most 20"),
    ],
)
async def test_what_is_refused_is_told_beside_its_field(
    site: Site, values: dict[str, str], field: str, says: str
) -> None:
    screen = await site.submit(await site.open(NEW), NEW, **{"name": "Kept as typed", **values})
    assert screen.status == 400
    problem = screen.main.select_one(f"#f-{field}-wrong")
    assert problem is not None, screen.said
    assert says in problem.get_text()
    shown = {str(one["name"]): str(one.get("value", "")) for one in screen.main.select("input[name]")}
    assert {name: shown[name] for name in values} == values


async def test_a_slug_that_is_taken_is_refused(site: Site, calls: Calls) -> None:
    taken, other = await define(calls, slug=new_id("slug")), await define(calls)
    edit = f"/process-hooks/{other['id']}/edit"
    screen = await site.submit(await site.open(edit), edit, slug=taken["slug"])
    assert (screen.status, screen.said) == (409, f"The slug {taken['slug']} is taken; choose another.")


async def test_a_viewer_looks_only(viewer: Site, calls: Calls) -> None:
    hook = await define(calls)
    path = f"/process-hooks/{hook['id']}"
    screen = await viewer.open(path)
    assert screen.status == 200
    assert not screen.main.select("form[method=post]")
    for page in (NEW, f"{path}/edit"):
        assert (await viewer.open(page)).status == 403
    token = str(screen.soup.select("[name=csrf_token]")[0]["value"])
    for action in (f"{path}/delete", f"{path}/edit", NEW):
        assert (await viewer.post(action, [("csrf_token", token)])).status == 403
    assert (await viewer.open(path)).status == 200


async def test_others_do_not_see_it(fresh: Site, calls: Calls) -> None:
    hook = await define(calls, name=HOSTILE)
    run_id = (await calls.get(f"/phk/{hook['id']}/start"))["run_id"]
    for page in ("", "/edit", f"/runs/{run_id}"):
        screen = await fresh.open(f"/process-hooks/{hook['id']}{page}")
        assert screen.status == 403
        assert "alert(" not in screen.response.text


async def test_a_hostile_name_is_a_name(site: Site, calls: Calls) -> None:
    hook = await define(calls, name=HOSTILE, tags=[HOSTILE[:50]])
    await calls.get(f"/phk/{hook['id']}/start", agent=HOSTILE)
    for path in ("/process-hooks", f"/process-hooks/{hook['id']}", f"/process-hooks/{hook['id']}/edit"):
        screen = await site.open(path)
        assert screen.status == 200
        assert not screen.main.select("script"), path
        assert AS_SHOWN in screen.text or path.endswith("edit")


async def test_what_was_changed_in_another_tab_is_not_overwritten_unknowingly(site: Site, calls: Calls) -> None:
    hook = await define(calls, name="Before")
    path = f"/process-hooks/{hook['id']}"
    _, saved = await save_from_two_tabs(site, f"{path}/edit", ("name", "Renamed"), ("tags", "mine"))
    assert saved.said.startswith("The changes were saved.")
    after = await calls.get(f"/api{path}")
    assert (after["name"], after["tags"]) == ("Before", ["mine"])
