"""/dhk: workflows that come into being as they are pinged."""

import re
from datetime import datetime

import pytest

from tests.api.calls import Calls, expected_stages, new_id
from tests.api.test_errors import problem
from tests.support.waiting import until


async def test_answers_are_as_in_the_reference(ours: Calls) -> None:
    workflow_id = new_id()
    first = await ours.dynamic(workflow_id, "1", start="yes")
    instance_id = first["instance_id"]
    assert re.fullmatch(r"d[a-z0-9]{8}", instance_id)
    assert first == {
        "status": "success",
        "workflow_id": workflow_id,
        "instance_id": instance_id,
        "stage_order": 1,
        "stage_path": "1",
        "workflow_status": "running",
    }
    second = await ours.dynamic(workflow_id, "2.1", stagename="Train GPU")
    assert (second["stage_order"], second["stage_path"], second["instance_id"]) == (2, "2.1", instance_id)
    named = await ours.dynamic(workflow_id, "dag_complete", final="yes")
    assert (named["stage_order"], named["stage_path"]) == (None, "dag_complete")
    assert named["workflow_status"] == "completed"


async def test_the_first_start_defines_the_workflow(ours: Calls) -> None:
    workflow_id = new_id("My.Pipeline-")
    await ours.open(workflow_id)
    workflow = await ours.get(f"/api/workflows/{workflow_id}")
    assert (workflow["kind"], workflow["validation_mode"], workflow["name"]) == ("dynamic", "flexible", workflow_id)
    assert workflow["slug"] == workflow_id.lower()
    assert workflow["ping_url"].endswith(f"/dhk/{workflow_id}")


async def test_a_slug_that_is_taken_does_not_stop_a_start(ours: Calls) -> None:
    workflow_id = new_id()
    await ours.open(workflow_id)
    await ours.open(workflow_id.upper())
    assert (await ours.get(f"/api/workflows/{workflow_id.upper()}"))["slug"].startswith(f"{workflow_id}-")


@pytest.mark.parametrize("workflow_id", ["a", "A.b_c-9", "x" * 128])
async def test_ids_that_callers_may_choose(ours: Calls, theirs: Calls, workflow_id: str) -> None:
    await theirs.open(workflow_id)
    problem(await ours.http.get(f"/dhk/{workflow_id}", params={"stage": 1, "start": "yes"}), 403, "forbidden")


@pytest.mark.parametrize("workflow_id", ["x" * 129, "a b", "é", "a%00", "%FF", "a:b"])
async def test_ids_that_they_may_not(ours: Calls, workflow_id: str) -> None:
    response = await ours.http.get(f"/dhk/{workflow_id}", params={"stage": 1, "start": "yes"})
    assert problem(response, 400, "invalid_request")["errors"][0]["field"] == "workflow_id"


@pytest.mark.parametrize("yes", ["yes", "true", "1", "YES", "True"])
async def test_words_for_yes(ours: Calls, yes: str) -> None:
    workflow_id = new_id()
    assert (await ours.dynamic(workflow_id, "1", start=yes))["instance_id"]
    assert (await ours.dynamic(workflow_id, "2", final=yes))["workflow_status"] == "completed"


@pytest.mark.parametrize("yes", [True, 1, "yes"])
async def test_yes_in_a_body(ours: Calls, yes: object) -> None:
    assert (await ours.post(f"/dhk/{new_id()}", {"stage": 1, "start": yes}))["instance_id"]


async def test_an_unknown_workflow_is_told_what_to_send(ours: Calls) -> None:
    workflow_id = new_id()
    for params in ({}, {"start": "no"}, {"final": "yes"}):
        response = await ours.http.get(f"/dhk/{workflow_id}", params={"stagePath": "1", **params})
        assert "start=yes" in problem(response, 404, "not_found")["detail"]


async def test_pings_go_to_the_newest_open_instance(ours: Calls) -> None:
    workflow_id, first = await ours.open()
    _, second = await ours.open(workflow_id)
    assert first != second
    assert (await ours.dynamic(workflow_id, "2"))["instance_id"] == second
    assert (await ours.dynamic(workflow_id, "2", instance_id=first))["instance_id"] == first
    await ours.dynamic(workflow_id, "3", final="yes")
    await ours.settled(second, "completed")
    assert (await ours.dynamic(workflow_id, "3"))["instance_id"] == first


async def test_an_instance_of_another_workflow_is_not_found(ours: Calls) -> None:
    workflow_id, _ = await ours.open()
    _, other = await ours.open()
    for instance_id in (other, "dnothing1"):
        response = await ours.http.get(f"/dhk/{workflow_id}", params={"stagePath": "2", "instance_id": instance_id})
        assert instance_id in problem(response, 404, "not_found")["detail"]
    unknown = await ours.http.get(f"/dhk/{new_id()}", params={"stage": "1", "start": "yes", "instance_id": other})
    problem(unknown, 404, "not_found")


async def test_early_pings_are_adopted_by_the_next_start(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic")
    early = await ours.dynamic(workflow_id, "2", stagename="Early", agent="bird")
    assert (early["status"], early["instance_id"], early["workflow_status"]) == ("success", None, "pending")
    await ours.dynamic(workflow_id, "3")
    _, instance_id = await ours.open(workflow_id)
    tree = await ours.get(f"/dhk/{workflow_id}/tree")
    assert tree["2"] == {"status": "healthy", "stage_name": "Early", "agent_code": "bird"}
    assert list(tree) == ["1", "2", "3"]
    assert await ours.failed_pings(workflow_id) == []
    assert list((await ours.instance(instance_id))["stage_statuses"]) == ["1", "2", "3"]


async def test_early_pings_that_nothing_adopts_fail(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic", grace_period_seconds=0.2)
    await ours.dynamic(workflow_id, "2")
    failed = await until(lambda: ours.failed_pings(workflow_id), every=0.2)
    assert expected_stages(failed) == [("2", "no_open_instance", "1")]
    await ours.open(workflow_id)
    assert list(await ours.get(f"/dhk/{workflow_id}/tree")) == ["1"]


async def test_a_finished_instance_takes_pings_in_its_grace_period(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    await ours.dynamic(workflow_id, "3", final="yes")
    await ours.settled(instance_id, "completed")
    straggler = await ours.dynamic(workflow_id, "2")
    assert (straggler["instance_id"], straggler["workflow_status"]) == (instance_id, "completed")
    assert list(await ours.get(f"/dhk/{workflow_id}/tree")) == ["1", "2", "3"]


async def test_and_none_after_it(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic", grace_period_seconds=0.2)
    _, instance_id = await ours.open(workflow_id)
    await ours.dynamic(workflow_id, "2", final="yes")
    await ours.closed(instance_id)
    closed = await ours.http.get(f"/dhk/{workflow_id}", params={"stage": "3", "instance_id": instance_id})
    document = problem(closed, 409, "instance_closed")
    assert instance_id in document["detail"]
    assert (await ours.dynamic(workflow_id, "3"))["instance_id"] is None
    tree = await ours.http.get(f"/dhk/{workflow_id}/tree")
    assert tree.headers["x-pingpulse-source"] == "read-model"
    assert list(tree.json()) == ["1", "2"]


async def test_a_failed_stage_fails_the_instance_and_heals_in_grace(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    failed = await ours.post(f"/dhk/{workflow_id}", {"stagePath": "2", "status": "failed", "error": "disk full"})
    assert failed["workflow_status"] == "failed"
    instance = await ours.settled(instance_id, "failed")
    assert instance["failure_reason"] == "Stage 2 failed: disk full"
    assert instance["stage_statuses"]["2"] == {"status": "failed", "error": "disk full"}
    assert (await ours.dynamic(workflow_id, "2"))["workflow_status"] == "running"
    healed = await ours.settled(instance_id, "running")
    assert (healed["status"], healed["stage_statuses"]["2"]) == ("running", {"status": "healthy"})
    steps = [(item["from_status"], item["to_status"]) for item in healed["transitions"] if item["stage_path"] is None]
    assert steps == [(None, "running"), ("running", "failed"), ("failed", "running")]


@pytest.mark.parametrize("status", ["0", "ok", "success", "healthy"])
async def test_statuses_that_are_healthy(ours: Calls, status: str) -> None:
    workflow_id, _ = await ours.open(status=status)
    assert (await ours.get(f"/dhk/{workflow_id}/tree"))["1"]["status"] == "healthy"


@pytest.mark.parametrize("status", ["1", "-1", "fail", "failed", "error"])
async def test_statuses_that_are_not(ours: Calls, status: str) -> None:
    """As cron sends them: `status=$?`."""
    workflow_id, _ = await ours.open(status=status)
    assert (await ours.get(f"/dhk/{workflow_id}/tree"))["1"]["status"] == "failed"


async def test_a_deleted_workflow_takes_no_pings_and_comes_back_with_a_start(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    problem(await ours.http.get(f"/dhk/{workflow_id}", params={"stage": 2}), 404, "not_found")
    problem(
        await ours.http.get(f"/dhk/{workflow_id}", params={"stage": 2, "instance_id": instance_id}), 404, "not_found"
    )
    problem(await ours.http.get(f"/dhk/{workflow_id}/tree"), 404, "not_found")
    problem(await ours.http.get(f"/api/workflows/{workflow_id}/instances"), 404, "not_found")
    ended = await ours.instance(instance_id)
    assert (ended["status"], ended["workflow_id"]) == ("terminated", workflow_id)
    _, revived = await ours.open(workflow_id)
    assert revived != instance_id
    assert (await ours.history(workflow_id))["running_instance"]["id"] == revived


async def test_a_start_may_also_be_the_end(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open(final="yes")
    instance = await ours.settled(instance_id, "completed")
    assert datetime.fromisoformat(instance["completed_at"]) == datetime.fromisoformat(instance["started_at"])
