"""Reports and everything else: other kinds of workflows, other pings, time travel."""

import json
from typing import Any

import pytest

from tests.api.calls import JSON, Calls
from tests.api.ingest_calls import ENDED, FAILURE, fail, new_execution, runs, steps, succeed, told, wrong


@pytest.mark.parametrize("prefix", ["shk", "dhk"])
async def test_stage_pings_to_a_run_workflow_are_told_where_to_go(ours: Calls, prefix: str) -> None:
    workflow_id = await runs(ours)
    problem = await ours.get(f"/{prefix}/{workflow_id}", 400, stage="1", start="yes")
    assert "/api/v1/ingest/run-success" in wrong(problem)["workflow_id"]


async def test_the_tree_of_a_run_workflow_is_that_of_its_newest_run(ours: Calls) -> None:
    workflow_id = await runs(ours)
    await ours.get(f"/dhk/{workflow_id}/tree", 404)
    answer = await fail(ours, workflow_id)
    await ours.settled(answer["instance_id"], "failed")
    tree = await ours.get(f"/dhk/{workflow_id}/tree")
    assert tree == {"run": {"status": "failed", "error": "429 from the CRM"}}


async def test_a_dynamic_workflow_whose_runs_are_reported_too(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    execution = new_execution()
    reported = await succeed(ours, workflow_id, external_execution_id=execution)
    assert reported["instance_id"] not in (instance_id, None)
    assert reported["instance_id"][0] == "d"
    await ours.settled(reported["instance_id"], "completed")
    # Whoever pings stages goes on as before.
    assert (await ours.dynamic(workflow_id, "2"))["instance_id"] == instance_id
    failed = await fail(ours, workflow_id)
    run = await ours.settled(failed["instance_id"], "failed")
    assert run["failure_reason"] == "Stage run failed: 429 from the CRM"
    assert (await ours.dynamic(workflow_id, "3", final="yes"))["instance_id"] == instance_id
    await ours.settled(instance_id, "completed")
    # The grace period of a reported run is not for pings that do not name it.
    assert (await ours.dynamic(workflow_id, "4"))["instance_id"] == instance_id
    assert await succeed(ours, workflow_id, external_execution_id=execution) == reported


async def test_a_report_does_not_adopt_pings_that_came_early(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic")
    await ours.dynamic(workflow_id, "2")
    await succeed(ours, workflow_id)
    _, instance_id = await ours.open(workflow_id)
    assert [step["stage_path"] for step in await steps(ours, instance_id)] == ["2", "1"]


async def test_a_static_workflow_whose_run_is_reported_as_a_whole(ours: Calls) -> None:
    stages: list[dict[str, Any]] = [{"order": 1, "name": "run"}, {"order": 2}]
    workflow_id = await ours.define(stages=stages, grace_period_seconds=0)
    pinged = (await ours.static(workflow_id, 1))["instance_id"]
    good = await succeed(ours, workflow_id)
    run = await ours.settled(good["instance_id"], "completed")
    assert run["id"][0] == "s"
    assert {path: stage["status"] for path, stage in run["stage_statuses"].items()} == {
        "1": "pending",
        "2": "pending",
        "run": "healthy",
    }
    bad = await fail(ours, workflow_id)
    await ours.settled(bad["instance_id"], "failed")
    assert (await ours.static(workflow_id, 2))["instance_id"] == pinged
    await ours.settled(pinged, "completed")


@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_a_strict_workflow_wants_its_stages(ours: Calls, kind: str) -> None:
    workflow_id = await ours.define(kind, validation_mode="strict")
    problem = await succeed(ours, workflow_id, 400)
    assert "is strict" in wrong(problem)["workflow_id"]


async def test_two_runs_side_by_side(ours: Calls) -> None:
    workflow_id = await runs(ours)
    times = [("2026-01-15T09:00:00Z", 1000, 3), ("2026-01-15T10:00:00Z", 9000, 4)]
    one, other = [
        await succeed(ours, workflow_id, ended_at=at, duration_ms=took, metadata={"rows": rows})
        for at, took, rows in times
    ]
    body = {"instance_a": one["instance_id"], "instance_b": other["instance_id"]}
    answer = await ours.post("/api/instances/compare", body)
    (step,) = answer["comparison"]["steps"]
    assert step["kind"] == "payload"
    assert "timing" in step["kinds"]
    assert {"/metadata/rows"} <= {item["path"] for item in step["payload_diff"]}


async def test_a_run_as_a_file(ours: Calls, theirs: Calls) -> None:
    workflow_id = await runs(ours)
    execution = new_execution()
    answer = await succeed(
        ours, workflow_id, external_execution_id=execution, correlation_id="o-1", duration_ms=1500, metadata={"a": 1}
    )
    original = await ours.settled(answer["instance_id"], "completed")
    file = (await ours.http.get(f"/api/instances/{answer['instance_id']}/export")).content
    exported = json.loads(file)["instance"]
    assert (exported["external_id"], exported["correlation_id"]) == (execution, "o-1")
    for calls in (ours, theirs):
        response = await calls.http.post("/api/instances/import", content=file)
        assert response.status_code == 201, response.text
        copy = await calls.instance(response.json()["instance_id"])
        assert copy["run"] == original["run"]
        names = ("started_at", "completed_at", "external_id", "correlation_id", "status")
        assert {name: copy[name] for name in names} == {name: original[name] for name in names}
    # The copy is not the run: what comes of it still goes to the original.
    assert await succeed(ours, workflow_id, external_execution_id=execution) == answer


async def test_a_rerun_of_a_run(ours: Calls) -> None:
    workflow_id = await runs(ours)
    failed = await fail(ours, workflow_id, metadata={"lead": 7})
    await told(ours, workflow_id, "instance_failed")
    modified = {"run": {"metadata": {"lead": 8}}}
    rerun = await ours.post(f"/api/instances/{failed['instance_id']}/rerun", {"payload_modifications": modified}, 201)
    new = rerun["new_instance_id"]
    inputs = await ours.get(f"/api/instances/{new}/inputs")
    assert inputs["inputs"]["run"]["payload"]["metadata"] == {"lead": 8}
    answer = await succeed(ours, workflow_id, instance_id=new, external_execution_id=new_execution())
    assert answer["instance_id"] == new
    run = await ours.settled(new, "completed")
    assert (run["parent_id"], run["completed_at"]) == (failed["instance_id"], "2026-01-15T09:00:04.500000Z")
    await told(ours, workflow_id, "instance_failed", "instance_rerun_requested", "instance_recovered")
    await succeed(ours, workflow_id, 404, instance_id="rnobody00")


async def test_a_fork_of_a_run_is_one_of_its_own(ours: Calls) -> None:
    workflow_id, execution = await runs(ours), new_execution()
    answer = await fail(ours, workflow_id, external_execution_id=execution)
    await ours.settled(answer["instance_id"], "failed")
    fork = await ours.post(f"/api/instances/{answer['instance_id']}/fork", {"fork_from_stage": "run"}, 201)
    forked = fork["forked_instance_id"]
    assert "external_id" not in await ours.instance(forked)
    healed = await succeed(ours, workflow_id, external_execution_id=execution)
    assert healed["instance_id"] == answer["instance_id"]
    assert (await succeed(ours, workflow_id, instance_id=forked))["instance_id"] == forked
    await ours.settled(forked, "completed")


async def test_lineage_says_that_its_caller_named_it(ours: Calls) -> None:
    answer = await succeed(ours, await runs(ours))
    run: dict[str, Any] = await ours.instance(answer["instance_id"])
    assert (run["origin"], run["parent_id"], run["root_id"]) == ("external", None, answer["instance_id"])
    lineage = await ours.get(f"/api/instances/{answer['instance_id']}/lineage")
    assert [item["origin"] for item in lineage["instances"]] == ["external"]


async def test_a_report_that_cannot_be_kept(ours: Calls) -> None:
    workflow_id = await runs(ours)
    await succeed(ours, workflow_id, 413, metadata={"log": "x" * 100_000})
    deep: Any = {}
    for _ in range(70):
        deep = {"a": deep}
    assert set(wrong(await succeed(ours, workflow_id, 400, metadata=deep))) == {"metadata"}
    assert set(wrong(await succeed(ours, workflow_id, 400, metadata={"a": "\x00"}))) == {"a"}
    assert set(wrong(await succeed(ours, workflow_id, 400, correlation_id="\x00"))) == {"correlation_id"}
    assert set(wrong(await succeed(ours, "no\x00body", 400))) == {"workflow_id"}
    lone = json.dumps({"workflow_id": workflow_id, "ended_at": ENDED, "error_message": "\ud800"})
    response = await ours.http.post(FAILURE, content=lone, headers=JSON)
    assert response.status_code == 400
    assert set(wrong(response)) == {"error_message"}
