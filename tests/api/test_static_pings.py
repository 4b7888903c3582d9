"""/shk: workflows whose stages are known ahead."""

import re

from tests.api.calls import Calls
from tests.api.test_errors import problem


async def test_answers_are_as_in_the_reference(ours: Calls) -> None:
    workflow_id = await ours.define(stages=2)
    assert re.fullmatch(r"swf[a-z0-9_]+", workflow_id)
    first = await ours.static(workflow_id, 1)
    assert re.fullmatch(r"s[a-z0-9]{8}", first["instance_id"])
    assert first == {
        "status": "success",
        "workflow_id": workflow_id,
        "instance_id": first["instance_id"],
        "stage_order": 1,
        "workflow_status": "running",
    }


async def test_an_unknown_workflow_is_told_how_to_make_one(ours: Calls) -> None:
    document = problem(await ours.http.get("/shk/swf_unknown", params={"stage": 1}), 404, "not_found")
    assert "POST /api/workflows" in document["detail"]


async def test_the_other_endpoint_is_named(ours: Calls) -> None:
    static = await ours.define()
    dynamic, _ = await ours.open()
    for path, right in ((f"/dhk/{static}", f"/shk/{static}"), (f"/shk/{dynamic}", f"/dhk/{dynamic}")):
        document = problem(await ours.http.get(path, params={"stage": 1, "start": "yes"}), 400, "invalid_request")
        assert right in document["detail"]
        assert document["errors"][0]["field"] == "workflow_id"


async def test_the_last_missing_stage_completes_it(ours: Calls) -> None:
    workflow_id = await ours.define()
    answers = [await ours.static(workflow_id, stage) for stage in (1, 2, 3)]
    assert len({answer["instance_id"] for answer in answers}) == 1
    assert [answer["workflow_status"] for answer in answers] == ["running", "running", "completed"]
    await ours.settled(answers[0]["instance_id"], "completed")


async def test_whichever_stage_that_is(ours: Calls) -> None:
    workflow_id = await ours.define()
    assert [(await ours.static(workflow_id, stage))["workflow_status"] for stage in (3, 1, 2)] == [
        "running",
        "running",
        "completed",
    ]


async def test_a_single_stage_completes_at_once(ours: Calls) -> None:
    workflow_id = await ours.define(stages=1)
    answer = await ours.static(workflow_id, 1)
    assert answer["workflow_status"] == "completed"
    await ours.settled(answer["instance_id"], "completed")


async def test_a_failed_stage_that_heals_completes_it(ours: Calls) -> None:
    workflow_id = await ours.define(stages=2)
    first = await ours.static(workflow_id, 1)
    assert (await ours.static(workflow_id, 2, status="failed"))["workflow_status"] == "failed"
    await ours.settled(first["instance_id"], "failed")
    assert (await ours.static(workflow_id, 2))["workflow_status"] == "completed"
    await ours.settled(first["instance_id"], "completed")


async def test_below_a_stage_counts_as_the_stage(ours: Calls) -> None:
    workflow_id = await ours.define(stages=2)
    below = await ours.static(workflow_id, "1.2")
    assert (below["stage_order"], below["stage_path"]) == (1, "1.2")
    assert (await ours.static(workflow_id, 2))["workflow_status"] == "completed"


async def test_any_stage_opens_and_a_late_first_stage_joins(ours: Calls) -> None:
    workflow_id = await ours.define()
    opened = await ours.static(workflow_id, 2)
    late = await ours.static(workflow_id, 1)
    assert late["instance_id"] == opened["instance_id"]
    next_run = await ours.static(workflow_id, 1)
    assert next_run["instance_id"] != opened["instance_id"]
    assert (await ours.static(workflow_id, 3))["instance_id"] == next_run["instance_id"]


async def test_names_and_pending_stages_show_in_the_tree(ours: Calls) -> None:
    workflow_id = await ours.define(
        stages=[{"order": 2, "name": "Load"}, {"order": 1, "name": "Extract"}, {"order": 3}]
    )
    problem(await ours.http.get(f"/shk/{workflow_id}/tree"), 404, "not_found")
    await ours.static(workflow_id, 1, agent="cron")
    assert await ours.get(f"/shk/{workflow_id}/tree") == {
        "1": {"status": "healthy", "stage_name": "Extract", "agent_code": "cron"},
        "2": {"status": "pending", "stage_name": "Load"},
        "3": {"status": "pending"},
    }


async def test_a_missed_stage_fails_after_the_grace_period(ours: Calls) -> None:
    workflow_id = await ours.define(grace_period_seconds=0.3)
    await ours.static(workflow_id, 1)
    answer = await ours.static(workflow_id, 3)
    assert answer["workflow_status"] == "running"
    instance = await ours.settled(answer["instance_id"], "failed")
    assert instance["failure_reason"] == "Stage 2 missed"
    assert instance["stage_statuses"]["2"]["status"] == "missed"


async def test_a_late_stage_fails_by_its_timeout(ours: Calls) -> None:
    workflow_id = await ours.define(stages=[{"order": 1}, {"order": 2, "timeout_seconds": 0.3}])
    answer = await ours.static(workflow_id, 1)
    instance = await ours.settled(answer["instance_id"], "failed")
    assert instance["failure_reason"] == "Stage 2 timeout"
    assert instance["stage_statuses"]["2"]["status"] == "timeout"
    late = await ours.static(workflow_id, 2)
    assert (late["instance_id"], late["workflow_status"]) == (answer["instance_id"], "completed")


async def test_a_closed_run_is_followed_by_the_next(ours: Calls) -> None:
    workflow_id = await ours.define(stages=2, grace_period_seconds=0.2)
    first = await ours.static(workflow_id, 1)
    await ours.static(workflow_id, 2)
    await ours.closed(first["instance_id"])
    again = await ours.static(workflow_id, 2)
    assert again["instance_id"] not in (None, first["instance_id"])


async def test_an_open_instance_keeps_the_definition_it_was_opened_with(ours: Calls) -> None:
    workflow_id = await ours.define(stages=2)
    await ours.static(workflow_id, 1)
    changed = await ours.http.patch(
        f"/api/workflows/{workflow_id}", json={"stages": [{"order": order} for order in (3, 1, 2)]}
    )
    assert [stage["order"] for stage in changed.json()["stages"]] == [1, 2, 3]
    assert (await ours.static(workflow_id, 2))["workflow_status"] == "completed"
    await ours.static(workflow_id, 1)
    assert list(await ours.get(f"/shk/{workflow_id}/tree")) == ["1", "2", "3"]


async def test_a_deleted_one_is_gone(ours: Calls) -> None:
    workflow_id = await ours.define()
    await ours.static(workflow_id, 1)
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    problem(await ours.http.get(f"/shk/{workflow_id}", params={"stage": 2}), 404, "not_found")
    problem(await ours.http.delete(f"/api/workflows/{workflow_id}"), 404, "not_found")


async def test_the_name_of_a_stage_is_not_its_path(ours: Calls) -> None:
    workflow_id = await ours.define(stages=[{"order": 1}, {"order": 2, "name": "transform"}])
    await ours.static(workflow_id, 1)
    refused = problem(await ours.http.get(f"/shk/{workflow_id}", params={"stage": "transform"}), 400, "invalid_request")
    assert "stage=2" in refused["detail"]
    assert set(await ours.get(f"/shk/{workflow_id}/tree")) == {"1", "2"}
