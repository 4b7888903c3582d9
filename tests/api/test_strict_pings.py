"""Strict workflows: their answers are verdicts, and what they reject is in the failed queue."""

import pytest

from tests.api.calls import Calls, expected_stages
from tests.api.test_errors import problem


async def test_in_order(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    answers = [await ours.static(workflow_id, stage, agent="a") for stage in (1, 2, 3)]
    assert [answer["workflow_status"] for answer in answers] == ["running", "running", "completed"]
    assert await ours.failed_pings(workflow_id) == []
    assert (await ours.get(f"/shk/{workflow_id}/tree"))["3"] == {"status": "healthy", "agent_code": "a"}


async def test_rejections_name_the_stage_that_was_expected_and_are_kept(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    await ours.static(workflow_id, 1, agent="a")

    async def rejected(stage: str, status: int, code: str, expected: str, **params: str) -> None:
        response = await ours.http.get(f"/shk/{workflow_id}", params={"stage": stage, **params})
        document = problem(response, status, code)
        assert document["expected_stage"] == expected
        assert stage in document["detail"]

    await rejected("3", 400, "stage_missed", "2", agent="a")
    await rejected("2", 400, "agent_required", "2")
    await rejected("4", 400, "stage_unknown", "2", agent="a")
    await ours.static(workflow_id, 2, agent="a")
    await rejected("2", 409, "stage_out_of_order", "3", agent="a")
    assert expected_stages(await ours.failed_pings(workflow_id)) == [
        ("3", "stage_missed", "2"),
        ("2", "agent_required", "2"),
        ("4", "stage_unknown", "2"),
        ("2", "stage_out_of_order", "3"),
    ]
    assert [stage["status"] for stage in (await ours.get(f"/shk/{workflow_id}/tree")).values()] == [
        "healthy",
        "healthy",
        "pending",
    ]


async def test_the_failed_queue_tells_all_of_a_ping(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    body = {"stage": 2, "agent": "etl", "key": ours.key, "rows": 5}
    response = await ours.http.post(f"/shk/{workflow_id}", json=body)
    document = problem(response, 404, "no_open_instance")
    (failed,) = await ours.failed_pings(workflow_id)
    assert failed.pop("received_at").endswith("Z")
    assert failed.pop("id").isdecimal()
    assert failed == {
        "stage_path": "2",
        "stage_name": None,
        "agent_code": "etl",
        "instance_id": None,
        "code": "no_open_instance",
        "detail": document["detail"],
        "expected_stage": "1",
        "payload": {"rows": 5},
    }


@pytest.mark.parametrize(("kind", "opener"), [("static", "stage=1"), ("dynamic", "start=yes")])
async def test_without_an_open_instance(ours: Calls, kind: str, opener: str) -> None:
    workflow_id = await ours.define(kind, validation_mode="strict")
    endpoint = "shk" if kind == "static" else "dhk"
    response = await ours.http.get(f"/{endpoint}/{workflow_id}", params={"stage": 2, "agent": "a"})
    document = problem(response, 404, "no_open_instance")
    assert (opener in document["detail"], document["expected_stage"]) == (True, "1")
    assert expected_stages(await ours.failed_pings(workflow_id)) == [("2", "no_open_instance", "1")]


async def test_a_start_is_judged_too(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic", validation_mode="strict")
    params = {"start": "yes", "stagePath": "1"}
    problem(await ours.http.get(f"/dhk/{workflow_id}", params=params), 400, "agent_required")
    missed = await ours.http.get(f"/dhk/{workflow_id}", params={**params, "stagePath": "2", "agent": "a"})
    assert problem(missed, 400, "stage_missed")["expected_stage"] == "1"
    assert len(await ours.failed_pings(workflow_id)) == 2
    assert (await ours.history(workflow_id)) == {
        "running_instance": None,
        "recent_instances": [],
        "next_cursor": None,
    }


async def test_dynamic_order(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic", validation_mode="strict")
    await ours.open(workflow_id, agent="a")
    for stage in ("2.1", "2.2", "note", "3"):
        assert (await ours.dynamic(workflow_id, stage, agent="a"))["workflow_status"] == "running"
    for stage, status, code in (("2", 409, "stage_out_of_order"), ("5", 400, "stage_missed")):
        response = await ours.http.get(f"/dhk/{workflow_id}", params={"stagePath": stage, "agent": "a"})
        assert problem(response, status, code)["expected_stage"] == "4"
    assert (await ours.dynamic(workflow_id, "4", agent="a", final="yes"))["workflow_status"] == "completed"


async def test_a_failed_stage_may_be_tried_again(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict", stages=2)
    first = await ours.static(workflow_id, 1, agent="a")
    assert (await ours.static(workflow_id, 2, agent="a", status="error"))["workflow_status"] == "failed"
    healed = await ours.static(workflow_id, 2, agent="a")
    assert (healed["instance_id"], healed["workflow_status"]) == (first["instance_id"], "completed")


async def test_a_closed_instance_takes_nothing(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict", stages=1, grace_period_seconds=0.2)
    first = await ours.static(workflow_id, 1, agent="a")
    await ours.closed(first["instance_id"])
    params = {"stage": 1, "agent": "a", "instance_id": first["instance_id"]}
    problem(await ours.http.get(f"/shk/{workflow_id}", params=params), 409, "instance_closed")
    assert (await ours.static(workflow_id, 1, agent="a"))["instance_id"] != first["instance_id"]


async def test_a_new_start_while_one_runs_opens_another(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    first = await ours.static(workflow_id, 1, agent="a")
    second = await ours.static(workflow_id, 1, agent="a")
    assert first["instance_id"] != second["instance_id"]
    assert (await ours.static(workflow_id, 2, agent="a"))["instance_id"] == second["instance_id"]
    older = await ours.static(workflow_id, 2, agent="a", instance_id=first["instance_id"])
    assert older["instance_id"] == first["instance_id"]
