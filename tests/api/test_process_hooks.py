"""Process hooks and their runs, from the first ping to the page of percentiles."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.calls import Calls, new_id
from tests.api.conftest import calls_to
from tests.api.test_errors import fields, problem
from tests.conftest import StartGateway
from tests.support.stack import Stack
from tests.support.waiting import until

HOOK = {"name": "Nightly backup", "expected_seconds": 1800}


async def define(calls: Calls, **values: Any) -> dict[str, Any]:
    return await calls.post("/api/process-hooks", {**HOOK, **values}, 201)


async def start(calls: Calls, hook: dict[str, Any], **params: Any) -> str:
    return str((await calls.get(f"/phk/{hook['id']}/start", **params))["run_id"])


async def run_of(calls: Calls, hook: dict[str, Any], run_id: str) -> dict[str, Any]:
    return dict(await calls.get(f"/api/process-hooks/{hook['id']}/runs/{run_id}"))


async def recorded(calls: Calls, hook: dict[str, Any], run_id: str, status: str) -> dict[str, Any]:
    """The run, once its workflow has recorded that status."""

    async def has_it() -> Any:
        run = await run_of(calls, hook, run_id)
        return run if [item["to_status"] for item in run["transitions"]][-1:] == [status] else None

    return dict(await until(has_it))


async def statuses(calls: Calls, hook: dict[str, Any], **params: Any) -> list[tuple[str, str]]:
    runs = (await calls.get(f"/api/process-hooks/{hook['id']}/runs", **params))["runs"]
    return [(run["run_id"], run["status"]) for run in runs]


async def test_one_as_defined(ours: Calls) -> None:
    given = {
        "name": "Größe & Co",
        "slug": new_id("slug"),
        "tags": ["prod", "nightly"],
        "expected_seconds": 1800.5,
        "grace_seconds": 0.0,
        "overlap": False,
    }
    hook = await define(ours, **given)
    assert re.fullmatch(r"phk_[a-z0-9]{10}", hook["id"])
    assert {name: hook[name] for name in given} == given
    assert hook["channels"] == []
    assert hook["ping_url"].endswith(f"/phk/{hook['id']}")
    assert await ours.get(f"/api/process-hooks/{hook['id']}") == hook
    assert await ours.get(f"/api/process-hooks/{hook['slug']}") == hook
    assert (await ours.get(f"/api/process-hooks/{hook['slug']}/runs"))["runs"] == []
    assert hook in (await ours.get("/api/process-hooks"))["process_hooks"]


async def test_what_is_left_out(ours: Calls) -> None:
    slug = new_id("nightly").replace("_", "-")
    name = slug.replace("-", " ").title()
    first, second = await define(ours, name=name), await define(ours, name=name)
    assert (first["overlap"], first["grace_seconds"], first["tags"]) == (True, 60, [])
    assert first["slug"] == slug
    assert re.fullmatch(rf"{slug}-[a-z0-9]{{6}}", second["slug"])


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"slug": "Not A Slug"}, "slug"),
        ({"expected_seconds": 0.5}, "expected_seconds"),
        ({"expected_seconds": 366 * 86_400 + 1}, "expected_seconds"),
        ({"grace_seconds": -1}, "grace_seconds"),
        ({"tags": [""]}, "tags.0"),
        ({"overlap": "perhaps"}, "overlap"),
        ({"channels": ["chn_unknown"]}, "channels"),
        ({"color": "red"}, "color"),
    ],
)
async def test_what_is_refused(ours: Calls, values: dict[str, Any], field: str) -> None:
    response = await ours.http.post("/api/process-hooks", json={**HOOK, **values})
    assert fields(problem(response, 400, "invalid_request")) == [field]


async def test_changes_and_the_channels_of_a_hook(ours: Calls) -> None:
    channel = await ours.post("/api/channels", {"kind": "email", "name": "Ops", "address": "ops@ours.example"}, 201)
    hook = await define(ours, channels=[channel["id"]])
    assert hook["channels"] == [channel["id"]]
    path = f"/api/process-hooks/{hook['id']}"
    changed = (await ours.http.patch(path, json={"expected_seconds": 60, "name": None, "tags": ["a"]})).json()
    assert changed == {**hook, "expected_seconds": 60, "tags": ["a"], "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > hook["updated_at"]
    without = (await ours.http.patch(path, json={"channels": []})).json()
    assert without["channels"] == []
    other = await define(ours, slug=new_id("slug"))
    problem(await ours.http.patch(path, json={"slug": other["slug"]}), 409, "conflict")
    problem(await ours.http.post("/api/process-hooks", json={**HOOK, "slug": other["slug"]}), 409, "conflict")
    assert await ours.get(path) == without


async def test_pages_of_hooks(theirs: Calls) -> None:
    ids = [(await define(theirs))["id"] for _ in range(3)]
    seen, cursor = list[str](), None
    while True:
        page = await theirs.get("/api/process-hooks", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [hook["id"] for hook in page["process_hooks"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen[:3] == ids[::-1]
    assert len(seen) == len(set(seen))


async def test_hooks_belong_to_one_account(ours: Calls, theirs: Calls) -> None:
    hook = await define(ours)
    run_id = await start(ours, hook)
    path = f"/api/process-hooks/{hook['id']}"
    for method, address in (
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("GET", f"{path}/runs"),
        ("GET", f"{path}/runs/{run_id}"),
        ("GET", f"/phk/{hook['id']}/start"),
    ):
        body: dict[str, Any] | None = {} if method == "PATCH" else None
        problem(await theirs.http.request(method, address, json=body), 403, "forbidden")
    problem(await theirs.http.get(f"/phk/{hook['slug']}/start"), 404, "not_found")
    for address in ("/api/process-hooks/phk_unknown", f"{path}/runs/run_unknown", "/api/process-hooks/phk_x/runs"):
        problem(await ours.http.get(address), 404, "not_found")


async def test_a_run_from_start_to_finish(ours: Calls) -> None:
    hook = await define(ours)
    body = {"agent": "ci-server", "metadata": {"job": "nightly_backup", "rows": 1}}
    answer = await ours.post(f"/phk/{hook['id']}/start", body)
    run_id = answer["run_id"]
    assert re.fullmatch(r"run_[a-z0-9]{12}", run_id)
    assert answer == {
        "status": "success",
        "process_hook_id": hook["id"],
        "run_id": run_id,
        "run_status": "running",
    }
    assert (await run_of(ours, hook, run_id))["status"] == "running"
    body = {"metadata": {"status": "success", "duration_ms": 45000, "rows": 2}, "note": "fine"}
    answer = await ours.post(f"/phk/{hook['slug']}/finish", body)
    assert (answer["run_id"], answer["run_status"]) == (run_id, "finished")
    run = await recorded(ours, hook, run_id, "finished")
    assert (run["status"], run["agent"], run["error"], run["late_seconds"]) == ("finished", "ci-server", None, None)
    assert 0 <= run["duration_seconds"] < 20
    assert run["metadata"] == {
        "job": "nightly_backup",
        "rows": 2,
        "status": "success",
        "duration_ms": 45000,
        "note": "fine",
    }
    assert [(ping["event"], ping["payload"]) for ping in run["pings"]] == [
        ("start", {"metadata": {"job": "nightly_backup", "rows": 1}}),
        ("success", body),
    ]
    assert [item["to_status"] for item in run["transitions"]] == ["running", "finished"]
    assert (run["expected_seconds"], run["grace_seconds"]) == (1800, 60)


@pytest.mark.parametrize(
    ("word", "body", "params"),
    [
        ("fail", {"error": "disk full"}, {}),
        ("finish", {"metadata": {"status": "failed", "error": "disk full"}}, {}),
        ("finish", {}, {"status": 1, "error": "disk full"}),
    ],
)
async def test_a_run_that_fails(ours: Calls, word: str, body: dict[str, Any], params: dict[str, Any]) -> None:
    hook = await define(ours)
    run_id = await start(ours, hook)
    answer = await ours.post(f"/phk/{hook['id']}/{word}", body, **params)
    assert (answer["run_id"], answer["run_status"]) == (run_id, "failed")
    run = await recorded(ours, hook, run_id, "failed")
    assert (run["status"], run["error"]) == ("failed", "disk full")


async def test_runs_that_overlap_end_by_their_ids(ours: Calls) -> None:
    hook = await define(ours)
    first, second = await start(ours, hook), await start(ours, hook)
    await ours.get(f"/phk/{hook['id']}/finish", run_id=first)
    assert await statuses(ours, hook) == [(second, "running"), (first, "finished")]
    await ours.get(f"/phk/{hook['id']}/fail")
    assert await statuses(ours, hook) == [(second, "failed"), (first, "finished")]


async def test_what_cannot_be_started_or_ended(ours: Calls) -> None:
    hook = await define(ours, overlap=False)
    path = f"/phk/{hook['id']}"
    problem(await ours.http.get(f"{path}/finish"), 409, "no_open_run")
    run_id = await start(ours, hook)
    assert problem(await ours.http.get(f"{path}/start"), 409, "process_running")["run_id"] == run_id
    problem(await ours.http.get(f"{path}/finish?run_id=run_unknown"), 404, "not_found")
    await ours.get(f"{path}/finish")
    problem(await ours.http.get(f"{path}/finish"), 409, "no_open_run")
    assert problem(await ours.http.get(f"{path}/fail?run_id={run_id}"), 409, "run_already_finished")["ended_at"]
    problem(await ours.http.get("/phk/phk_unknown/start"), 404, "not_found")
    assert await start(ours, hook) != run_id


async def test_an_idempotency_key_opens_one_run(ours: Calls) -> None:
    hook = await define(ours)
    first = await start(ours, hook, idempotency_key=new_id("key"))
    key = {"idempotency_key": new_id("key")}
    second = await start(ours, hook, **key)
    assert await start(ours, hook, **key) == second
    assert [run_id for run_id, _ in await statuses(ours, hook)] == [second, first]


async def test_a_late_finish_heals_and_tells_by_how_much(ours: Calls) -> None:
    hook = await define(ours, expected_seconds=1, grace_seconds=0)
    run_id = await start(ours, hook)
    overdue = await recorded(ours, hook, run_id, "overdue")
    assert (overdue["status"], overdue["finished_at"], overdue["late_seconds"]) == ("overdue", None, None)
    assert overdue["transitions"][-1]["reason"] == "No finish within 1 s"
    assert await statuses(ours, hook, status="overdue") == [(run_id, "overdue")]
    await ours.get(f"/phk/{hook['id']}/finish")
    run = await recorded(ours, hook, run_id, "finished")
    assert run["late_seconds"] == pytest.approx(run["duration_seconds"] - 1)
    assert re.fullmatch(r"Finished \S+ s late, after \S+ s", run["transitions"][-1]["reason"])
    assert run["overdue_at"] == overdue["overdue_at"]


async def test_the_history_of_a_hook(ours: Calls) -> None:
    hook = await define(ours)
    path = f"/api/process-hooks/{hook['id']}/runs"
    nothing = await ours.get(path)
    assert (nothing["runs"], nothing["next_cursor"]) == ([], None)
    assert nothing["statistics"] == {
        **dict.fromkeys(("count", "failed", "overdue"), 0),
        **dict.fromkeys(("p50", "p90", "p95", "p99", "min", "max", "mean")),
    }
    ids = []
    for word in ("finish", "fail", "finish"):
        ids.append(await start(ours, hook))
        await ours.get(f"/phk/{hook['id']}/{word}")
        await recorded(ours, hook, ids[-1], "failed" if word == "fail" else "finished")
    ids.append(await start(ours, hook))
    page = await ours.get(path, limit=3)
    assert [run["run_id"] for run in page["runs"]] == ids[:0:-1]
    rest = await ours.get(path, limit=3, cursor=page["next_cursor"])
    assert ([run["run_id"] for run in rest["runs"]], rest["next_cursor"]) == (ids[:1], None)
    figures = page["statistics"]
    assert (figures["count"], figures["failed"], figures["overdue"]) == (3, 1, 0)
    took = sorted(run["duration_seconds"] for run in (page["runs"] + rest["runs"]) if run["status"] == "finished")
    assert [figures["min"], figures["max"]] == pytest.approx([took[0], took[-1]])
    assert figures["mean"] == pytest.approx(figures["p50"]) == pytest.approx(sum(took) / 2)
    assert await statuses(ours, hook, status="failed,running") == [(ids[3], "running"), (ids[1], "failed")]
    problem(await ours.http.get(path, params={"status": "sleeping"}), 400, "invalid_request")
    problem(await ours.http.get(path, params={"cursor": "nonsense"}), 400, "invalid_request")


async def test_a_deleted_hook(ours: Calls) -> None:
    hook = await define(ours)
    await start(ours, hook)
    path = f"/api/process-hooks/{hook['id']}"
    assert (await ours.http.delete(path)).status_code == 204
    for address in (path, f"{path}/runs", f"/phk/{hook['slug']}/start"):
        problem(await ours.http.get(address), 404, "not_found")
    refused = problem(await ours.http.get(f"/phk/{hook['id']}/finish"), 404, "not_found")
    assert "was deleted" in refused["detail"]
    assert (await define(ours, slug=hook["slug"]))["slug"] == hook["slug"]


@pytest.fixture
async def unheard(start_gateway: StartGateway, stack: Stack) -> AsyncIterator[Calls]:
    """A gateway whose pings no workflow ever takes in."""
    url = start_gateway(temporal_task_queue="nobody")
    async with calls_to(url, stack.account_id, stack.key) as calls:
        yield calls


async def test_callers_read_their_own_writes(unheard: Calls) -> None:
    hook = await define(unheard)
    run_id = await start(unheard, hook)
    await unheard.get(f"/phk/{hook['id']}/fail", error="disk full")
    run = await run_of(unheard, hook, run_id)
    assert (run["status"], run["error"], run["transitions"]) == ("failed", "disk full", [])
    assert run["duration_seconds"] is not None
    assert await statuses(unheard, hook, status="failed") == [(run_id, "failed")]
    assert await statuses(unheard, hook, status="running") == []
