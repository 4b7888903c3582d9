"""Forks over HTTP: what is copied, what goes on from there, and what they were made of."""

from typing import Any
from uuid import UUID

import pytest

from storage.base import Sessions, transaction
from tests.api.calls import Calls, new_id
from tests.api.conftest import api_key, make_key
from tests.api.test_errors import fields, problem
from tests.conftest import StartGateway
from tests.support.stack import Stack
from tests.support.waiting import until

UNREACHABLE = "127.0.0.1:1"


async def fork(calls: Calls, instance_id: str, stage: str, **modifications: Any) -> dict[str, Any]:
    """`s2={…}` modifies stage 2."""
    body: dict[str, Any] = {"fork_from_stage": stage}
    if modifications:
        body["payload_modifications"] = {name.removeprefix("s"): value for name, value in modifications.items()}
    return await calls.post(f"/api/instances/{instance_id}/fork", body, 201)


async def steps(calls: Calls, instance_id: str) -> list[dict[str, Any]]:
    return list((await calls.get(f"/api/instances/{instance_id}/timeline"))["timeline"])


async def post(calls: Calls, workflow_id: str, stage: str, body: Any, **params: Any) -> dict[str, Any]:
    return await calls.post(f"/dhk/{workflow_id}", body, stagePath=stage, **params)


async def test_a_fork_is_as_in_the_reference(ours: Calls) -> None:
    workflow_id = new_id()
    opened = await post(ours, workflow_id, "1", {"task": "analyze", "cost_usd": 0.045}, start="yes", agent="ada")
    original = opened["instance_id"]
    await post(ours, workflow_id, "2", {"input": "old", "drop": 1, "deep": {"a": 1, "b": 2}})
    await post(ours, workflow_id, "3", {}, final="yes")
    await ours.settled(original, "completed")
    before = await steps(ours, original)
    modifications = {"s1": {"retry": True}, "s2": {"input": "new value", "drop": None, "deep": {"b": None}}}
    answer = await fork(ours, original, "2", **modifications)
    forked = answer.pop("forked_instance_id")
    assert UUID(answer.pop("session_id"))
    assert answer == {"fork_from_stage": "2", "stages_copied": 2}
    assert forked[0] == "d"
    copied = await steps(ours, forked)
    assert [(step["stage_path"], step["payload"], step["inherited"]) for step in copied] == [
        ("1", {"task": "analyze", "cost_usd": 0.045, "retry": True}, True),
        ("2", {"input": "new value", "deep": {"a": 1}}, True),
    ]
    same = ("executed_at", "agent_code", "cost_usd", "status")
    assert [[step[name] for name in same] for step in copied] == [[step[name] for name in same] for step in before[:2]]
    assert await steps(ours, original) == before
    assert (await ours.instance(original))["status"] == "completed"
    shown = await ours.instance(forked)
    assert {name: shown[name] for name in ("status", "origin", "parent_id", "root_id", "fork_depth")} == {
        "status": "running",
        "origin": "fork",
        "parent_id": original,
        "root_id": original,
        "fork_depth": 1,
    }
    assert {path: stage["status"] for path, stage in shown["stage_statuses"].items()} == {
        "1": "healthy",
        "2": "healthy",
    }


@pytest.mark.parametrize("end", ["running", "completed", "failed"])
async def test_pings_that_name_a_fork_go_on_from_it(ours: Calls, end: str) -> None:
    workflow_id = await ours.define("dynamic", validation_mode="strict")
    _, original = await ours.open(workflow_id, agent="a")
    await ours.dynamic(workflow_id, "2", agent="a")
    ending: dict[str, Any] = {"running": {}, "completed": {"final": "yes"}, "failed": {"status": "failed"}}[end]
    await ours.dynamic(workflow_id, "3", agent="a", **ending)
    await ours.settled(original, end)
    before = await steps(ours, original)
    forked = (await fork(ours, original, "2"))["forked_instance_id"]
    for stage, status, code in (("2", 409, "stage_out_of_order"), ("4", 400, "stage_missed")):
        params = {"stagePath": stage, "agent": "a", "instance_id": forked}
        refused = await ours.http.get(f"/dhk/{workflow_id}", params=params)
        assert problem(refused, status, code)["expected_stage"] == "3"
    answer = await ours.dynamic(workflow_id, "3", agent="a", instance_id=forked)
    assert (answer["instance_id"], answer["workflow_status"]) == (forked, "running")
    assert (await ours.dynamic(workflow_id, "4", agent="a", instance_id=forked, final="yes"))["workflow_status"] == (
        "completed"
    )
    assert [step["inherited"] for step in await steps(ours, forked) if step["accepted"]] == [True, True, False, False]
    await ours.settled(forked, "completed")
    assert (await ours.instance(original))["status"] == end
    assert await steps(ours, original) == before


async def test_pings_that_name_nothing_go_to_the_original(ours: Calls) -> None:
    """Also by the short way, which the journal takes from the second ping on."""
    workflow_id, original = await ours.open()
    await ours.dynamic(workflow_id, "2")
    forked = (await fork(ours, original, "1"))["forked_instance_id"]
    for stage in ("3", "4", "5"):
        assert (await ours.dynamic(workflow_id, stage))["instance_id"] == original
    assert (await ours.dynamic(workflow_id, "2", instance_id=forked))["instance_id"] == forked
    assert (await ours.dynamic(workflow_id, "6"))["instance_id"] == original
    assert list(await ours.get(f"/dhk/{workflow_id}/tree")) == ["1", "2", "3", "4", "5", "6"]
    assert list(await ours.get(f"/dhk/{workflow_id}/tree", instance_id=forked)) == ["1", "2"]
    history = await ours.history(workflow_id)
    assert history["running_instance"]["id"] == original
    assert [item["id"] for item in history["recent_instances"]] == [forked]
    _, newer = await ours.open(workflow_id)
    assert (await ours.dynamic(workflow_id, "2"))["instance_id"] == newer
    assert (await ours.instance(forked))["status"] == "running"


async def test_a_stage_that_failed_can_be_made_good(ours: Calls) -> None:
    workflow_id = await ours.define(stages=3)
    original = (await ours.static(workflow_id, 1))["instance_id"]
    body = {"status": "failed", "error": "no disk"}
    await ours.post(f"/shk/{workflow_id}", body, stage=2)
    await ours.settled(original, "failed")
    as_it_was = (await fork(ours, original, "2"))["forked_instance_id"]
    assert (await ours.instance(as_it_was))["failure_reason"] == "Stage 2 failed: no disk"
    healed = (await fork(ours, original, "2", s2={"status": "success", "error": None}))["forked_instance_id"]
    assert (await ours.instance(healed))["status"] == "running"
    assert (await ours.static(workflow_id, 3, instance_id=healed))["workflow_status"] == "completed"
    await ours.static(workflow_id, 2, instance_id=as_it_was)
    assert (await ours.static(workflow_id, 3, instance_id=as_it_was))["workflow_status"] == "completed"
    await ours.settled(as_it_was, "completed")


async def test_a_lineage_is_the_tree_from_the_root(ours: Calls) -> None:
    _, root = await ours.open()
    first = await fork(ours, root, "1")
    second = await fork(ours, root, "1")
    grandchild = await fork(ours, first["forked_instance_id"], "1")
    one, other, below = (item["forked_instance_id"] for item in (first, second, grandchild))
    for instance_id in (root, below):
        document = await ours.get(f"/api/instances/{instance_id}/lineage")
        assert (document["root_id"], document["next_cursor"]) == (root, None)
        assert [(item["instance_id"], item["parent_id"], item["fork_depth"]) for item in document["instances"]] == [
            (root, None, 0),
            (one, root, 1),
            (other, root, 1),
            (below, one, 2),
        ]
    assert [item["origin"] for item in document["instances"]] == [None, "fork", "fork", "fork"]
    item = document["instances"][3]
    created_at = item.pop("created_at")
    assert created_at.endswith("Z")
    assert item == {
        "instance_id": below,
        "parent_id": one,
        "fork_depth": 2,
        "origin": "fork",
        "fork_from_stage": "1",
        "session_id": grandchild["session_id"],
        "status": "running",
    }
    page = await ours.get(f"/api/instances/{root}/lineage", limit=3)
    rest = await ours.get(f"/api/instances/{root}/lineage", limit=3, cursor=page["next_cursor"])
    assert [item["instance_id"] for item in (*page["instances"], *rest["instances"])] == [root, one, other, below]
    alone = (await ours.instance(root))["root_id"], (await ours.instance(root))["origin"]
    assert alone == (root, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "fork_from_stage"),
        ({"fork_from_stage": 2}, "fork_from_stage"),
        ({"fork_from_stage": ""}, "fork_from_stage"),
        ({"fork_from_stage": "2..1"}, "fork_from_stage"),
        ({"fork_from_stage": "9"}, "fork_from_stage"),
        ({"fork_from_stage": "4"}, "fork_from_stage"),
        ({"fork_from_stage": "3", "payload_modifications": {"3": {}}}, "fork_from_stage"),
        ({"fork_from_stage": "1", "payload_modifications": {"2": {}}}, "payload_modifications.2"),
        ({"fork_from_stage": "1", "payload_modifications": {"7": {}}}, "payload_modifications.7"),
        ({"fork_from_stage": "1", "payload_modifications": {"?": {}}}, "payload_modifications.?"),
        ({"fork_from_stage": "1", "payload_modifications": {"1": 5}}, "payload_modifications.1"),
        ({"fork_from_stage": "1", "payload_modifications": {"1": {}, " 1": {}}}, "payload_modifications. 1"),
        ({"fork_from_stage": "1", "payload_modifications": []}, "payload_modifications"),
        ({"fork_from_stage": "1", "payload_modifications": {"1": {"x": "y" * 100_000}}}, "payload_modifications.1"),
        ({"fork_from_stage": "1", "payload_modifications": {"1": {"text": "\x00"}}}, "text"),
        ({"fork_from_stage": "1", "modifications": {}}, "modifications"),
    ],
)
async def test_what_is_wrong_is_named(ours: Calls, body: dict[str, Any], field: str) -> None:
    workflow_id = await ours.define(stages=4)
    original = (await ours.static(workflow_id, 1))["instance_id"]
    await ours.static(workflow_id, 2)
    response = await ours.http.post(f"/api/instances/{original}/fork", json=body)
    assert fields(problem(response, 400, "invalid_request")) == [field]
    assert len((await ours.get(f"/api/instances/{original}/lineage"))["instances"]) == 1


async def test_a_modification_that_is_nested_too_deep(ours: Calls) -> None:
    _, original = await ours.open()
    deep: dict[str, Any] = {}
    for _ in range(70):
        deep = {"a": deep}
    body = {"fork_from_stage": "1", "payload_modifications": {"1": deep}}
    response = await ours.http.post(f"/api/instances/{original}/fork", json=body)
    assert fields(problem(response, 400, "invalid_request")) == ["payload_modifications.1"]


async def test_no_key_gets_into_a_payload(ours: Calls) -> None:
    _, original = await ours.open()
    forked = (await fork(ours, original, "1", s1={"used": ours.key}))["forked_instance_id"]
    (step,) = await steps(ours, forked)
    assert ours.key not in str(step["payload"])


async def test_who_may_fork(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    _, original = await ours.open()
    body = {"fork_from_stage": "1"}
    problem(await theirs.http.post(f"/api/instances/{original}/fork", json=body), 403, "forbidden")
    problem(await theirs.http.get(f"/api/instances/{original}/lineage"), 403, "forbidden")
    problem(await ours.http.post("/api/instances/dnothing1/fork", json=body), 404, "not_found")
    async with transaction(sessions) as session:
        key = await make_key(session, ours.account_id, "ping")
    response = await ours.http.post(f"/api/instances/{original}/fork", json=body, headers=api_key(key))
    problem(response, 403, "insufficient_scope")


async def test_of_a_deleted_workflow_nothing_is_forked(ours: Calls) -> None:
    workflow_id, original = await ours.open()
    forked = (await fork(ours, original, "1"))["forked_instance_id"]
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    response = await ours.http.post(f"/api/instances/{original}/fork", json={"fork_from_stage": "1"})
    problem(response, 404, "not_found")
    assert (await ours.instance(forked))["status"] == "terminated"


async def test_a_fork_while_temporal_is_away_is_there_all_the_same(
    stack: Stack, start_gateway: StartGateway, ours: Calls
) -> None:
    workflow_id, original = await ours.open()
    async with stack.client() as client:
        url = f"{start_gateway(temporal_address=UNREACHABLE)}/api/instances/{original}/fork"
        response = await client.post(url, json={"fork_from_stage": "1"})
    assert response.status_code == 201, response.text
    forked = response.json()["forked_instance_id"]
    assert (await ours.instance(forked))["status"] == "running"
    await ours.dynamic(workflow_id, "2", instance_id=forked, final="yes")
    await ours.settled(forked, "completed")

    async def has_all() -> bool:
        return list(await ours.get(f"/dhk/{workflow_id}/tree", instance_id=forked)) == ["1", "2"]

    await until(has_all)
