"""Reruns over HTTP: made, told of, and done by whoever does the work."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from tests.api.calls import Calls, new_id
from tests.api.test_errors import fields, problem
from tests.support.receivers import HttpReceiver, http_receiver
from tests.support.stack import Stack
from tests.support.waiting import until


async def rerun(calls: Calls, instance_id: str, **modifications: Any) -> dict[str, Any]:
    """`s2={…}` modifies stage 2."""
    changes = {name.removeprefix("s"): value for name, value in modifications.items()}
    return await calls.post(f"/api/instances/{instance_id}/rerun", {"payload_modifications": changes}, 201)


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    async with http_receiver() as receiver:
        yield receiver


async def test_a_rerun_is_as_in_the_reference(ours: Calls) -> None:
    workflow_id = new_id()
    opened = await ours.post(f"/dhk/{workflow_id}", {"task": "a", "n": 1}, stagePath="1", start="yes", agent="ada")
    original = opened["instance_id"]
    await ours.post(f"/dhk/{workflow_id}", {"prompt": "x"}, stagePath="2", stagename="Write")
    await ours.dynamic(workflow_id, "3", final="yes")
    answer = await rerun(ours, original, s1={"retry_attempt": 2, "n": None})
    new = answer.pop("new_instance_id")
    session_id = answer.pop("session_id")
    assert UUID(session_id)
    assert answer == {"message": "Instance created and ready for re-execution"}
    document = await ours.get(f"/api/instances/{new}/inputs")
    assert document == {
        "instance_id": new,
        "parent_id": original,
        "session_id": session_id,
        "total_stages": 3,
        "inputs": {
            "1": {
                "stage_name": None,
                "agent_code": "ada",
                "payload": {"task": "a", "retry_attempt": 2},
                "is_modified": True,
            },
            "2": {"stage_name": "Write", "agent_code": None, "payload": {"prompt": "x"}, "is_modified": False},
            "3": {"stage_name": None, "agent_code": None, "payload": None, "is_modified": False},
        },
        "next_from": None,
    }
    page = await ours.get(f"/api/instances/{new}/inputs", limit=2)
    assert (list(page["inputs"]), page["next_from"]) == (["1", "2"], 2)
    rest = await ours.get(f"/api/instances/{new}/inputs", **{"from": 2})
    assert (list(rest["inputs"]), rest["next_from"]) == (["3"], None)
    shown = await ours.instance(new)
    assert {name: shown[name] for name in ("status", "origin", "parent_id", "root_id", "fork_depth")} == {
        "status": "pending",
        "origin": "rerun",
        "parent_id": original,
        "root_id": original,
        "fork_depth": 1,
    }
    lineage = (await ours.get(f"/api/instances/{original}/lineage"))["instances"]
    assert [(item["instance_id"], item["origin"], item["status"]) for item in lineage] == [
        (original, None, "completed"),
        (new, "rerun", "pending"),
    ]


@pytest.mark.parametrize("mode", ["flexible", "strict"])
async def test_it_runs_from_its_first_ping_to_its_end(ours: Calls, mode: str) -> None:
    workflow_id = await ours.define(stages=2, validation_mode=mode)
    original = (await ours.static(workflow_id, 1, agent="a"))["instance_id"]
    new = (await rerun(ours, original))["new_instance_id"]
    tree = await ours.get(f"/shk/{workflow_id}/tree", instance_id=new)
    assert {path: stage["status"] for path, stage in tree.items()} == {"1": "pending", "2": "pending"}
    if mode == "strict":
        params = {"stage": 2, "agent": "a", "instance_id": new}
        problem(await ours.http.get(f"/shk/{workflow_id}", params=params), 400, "stage_missed")
        assert (await ours.instance(new))["status"] == "pending"
    assert (await ours.static(workflow_id, 2, agent="a"))["instance_id"] == original
    first = await ours.static(workflow_id, 1, agent="a", instance_id=new)
    assert (first["instance_id"], first["workflow_status"]) == (new, "running")
    assert (await ours.static(workflow_id, 2, agent="a", instance_id=new))["workflow_status"] == "completed"
    shown = await ours.settled(new, "completed")
    assert [item["to_status"] for item in shown["transitions"] if item["stage_path"] is None][0] == "pending"


async def test_webhooks_are_told_where_the_inputs_are(ours: Calls, receiver: HttpReceiver, stack: Stack) -> None:
    body = {"kind": "webhook", "name": "The pipeline", "url": receiver.url()}
    channel = await ours.post("/api/channels", body, 201)
    workflow_id = await ours.define("dynamic", channels=[channel["id"]])
    _, original = await ours.open(workflow_id)
    new = await rerun(ours, original, s1={"again": True})
    await until(lambda: receiver.received, timeout=40)
    received = receiver.received[0]
    event: Any = Webhook(channel["signing_secret"]).verify(received.body, dict(received.headers))
    assert event["type"] == "instance.rerun_requested"
    (alert,) = event["data"]["alerts"]
    assert (alert["kind"], alert["severity"], alert["source"]) == (
        "instance_rerun_requested",
        "info",
        f"workflow/{workflow_id}",
    )
    new_id_ = new["new_instance_id"]
    assert alert["data"] == {
        "workflow_id": workflow_id,
        "instance_id": new_id_,
        "parent_id": original,
        "session_id": new["session_id"],
        "inputs_url": f"{stack.settings.base_url}/api/instances/{new_id_}/inputs",
        "modified_stages": ["1"],
    }


async def test_what_is_wrong_is_named(ours: Calls, theirs: Calls) -> None:
    _, original = await ours.open()
    path = f"/api/instances/{original}/rerun"
    for body, field in (
        ({"payload_modifications": {"2": {}}}, "payload_modifications.2"),
        ({"payload_modifications": {"1": []}}, "payload_modifications.1"),
        ({"fork_from_stage": "1"}, "fork_from_stage"),
    ):
        assert fields(problem(await ours.http.post(path, json=body), 400, "invalid_request")) == [field]
    problem(await theirs.http.post(path, json={}), 403, "forbidden")
    problem(await ours.http.post("/api/instances/dnothing1/rerun", json={}), 404, "not_found")
    problem(await ours.http.get(f"/api/instances/{original}/inputs"), 404, "not_found")
    bare = await ours.http.post(path)
    assert bare.status_code == 201
    new = bare.json()["new_instance_id"]
    problem(await theirs.http.get(f"/api/instances/{new}/inputs"), 403, "forbidden")
    body = {"fork_from_stage": "1"}
    problem(await ours.http.post(f"/api/instances/{new}/fork", json=body), 400, "invalid_request")
