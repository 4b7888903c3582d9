"""Time travel over HTTP: the steps of an instance, what happened between them, and the tree after any of them."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from api.timeline_views import Timeline, TimelineMoment
from storage.base import Sessions, transaction
from tests.api.calls import Calls, new_id
from tests.api.conftest import api_key, make_key
from tests.api.test_errors import problem
from tests.support.waiting import until


async def timeline(calls: Calls, instance_id: str, **params: Any) -> dict[str, Any]:
    """As the schema says that it is, and with money as it was written."""
    response = await calls.http.get(f"/api/instances/{instance_id}/timeline", params=params)
    assert response.status_code == 200, response.text
    (TimelineMoment if "at_step" in params else Timeline).model_validate(response.json())
    return dict(json.loads(response.text, parse_float=Decimal))


async def post(calls: Calls, workflow_id: str, stage: str, body: Any, **params: Any) -> dict[str, Any]:
    return await calls.post(f"/dhk/{workflow_id}", body, stagePath=stage, **params)


async def test_a_timeline_is_as_in_the_reference(ours: Calls) -> None:
    workflow_id = new_id()
    body = {
        "task": "analyze data",
        "model_id": "claude-3-opus",
        "usage": {"input_tokens": 1500, "output_tokens": 500},
        "cost_usd": 0.045,
        "duration_ms": 150,
        "handoff_reason": "task_complete",
        "tool_calls": [{"name": "search"}],
    }
    opened = await post(ours, workflow_id, "1", body, start="yes", agent="claude-1", stagename="Analyze")
    instance_id = opened["instance_id"]
    await ours.dynamic(workflow_id, "2", status="failed", error="no disk")
    await post(ours, workflow_id, "2", {"cost_usd": "0.105", "deep": {"list": [1, 2.5, None]}})
    await ours.dynamic(workflow_id, "3", status="pending")
    await ours.dynamic(workflow_id, "3", final="yes")
    await ours.settled(instance_id, "completed")
    document = await timeline(ours, instance_id)
    steps = document.pop("timeline")
    document.pop("events")
    assert document == {
        "instance_id": instance_id,
        "workflow_id": workflow_id,
        "status": "completed",
        "total_steps": 5,
        "next_from": None,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", steps[0].pop("executed_at"))
    assert steps[0].pop("context_size_bytes") >= len(json.dumps(body, separators=(",", ":")))
    assert steps[0] == {
        "step": 0,
        "stage_path": "1",
        "name": "Analyze",
        "status": "success",
        "response_time_ms": 150,
        "agent_code": "claude-1",
        "model_id": "claude-3-opus",
        "input_tokens": 1500,
        "output_tokens": 500,
        "cost_usd": Decimal("0.045"),
        "cumulative_cost_usd": Decimal("0.045"),
        "handoff_reason": "task_complete",
        "error": None,
        "usage": body["usage"],
        "tool_calls": body["tool_calls"],
        "payload": {**body, "cost_usd": Decimal("0.045")},
        "accepted": True,
        "inherited": False,
    }
    assert [(step["step"], step["stage_path"], step["status"]) for step in steps] == [
        (0, "1", "success"),
        (1, "2", "failed"),
        (2, "2", "success"),
        (3, "3", "pending"),
        (4, "3", "success"),
    ]
    assert (steps[1]["error"], steps[1]["cost_usd"], steps[1]["payload"]) == ("no disk", None, None)
    assert [step["cumulative_cost_usd"] for step in steps[1:]] == [
        Decimal("0.045"),
        Decimal("0.15"),
        Decimal("0.15"),
        Decimal("0.15"),
    ]
    assert steps[2]["payload"] == {"cost_usd": "0.105", "deep": {"list": [1, Decimal("2.5"), None]}}


async def test_money_and_numbers_are_what_was_sent(ours: Calls) -> None:
    big = "123456789012345678901234567890"
    workflow_id, instance_id = await ours.open()
    for cost in ("0.1", "0.2", "0.000000000000000003", "1e2"):
        body = f'{{"cost_usd": "{cost}", "big": {big}}}'
        response = await ours.http.post(
            f"/dhk/{workflow_id}?stagePath=2", content=body, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 200, response.text
    text = (await ours.http.get(f"/api/instances/{instance_id}/timeline")).text
    assert re.findall(r'"cost_usd":([^,"]+),', text) == ["null", "0.1", "0.2", "0.000000000000000003", "100"]
    assert re.findall(r'"cumulative_cost_usd":([^,]+),', text) == [
        *("null", "0.1", "0.3", "0.300000000000000003", "100.300000000000000003")
    ]
    assert text.count(f'"big":{big}') == 4


async def test_rejected_pings_are_steps_that_say_why(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    opened = await ours.static(workflow_id, 1, agent="a")
    refused = problem(
        await ours.http.get(f"/shk/{workflow_id}", params={"stage": "3", "agent": "a"}), 400, "stage_missed"
    )
    await ours.static(workflow_id, 2, agent="a")
    document = await timeline(ours, opened["instance_id"])
    assert [(step["stage_path"], step["accepted"]) for step in document["timeline"]] == [
        ("1", True),
        ("3", False),
        ("2", True),
    ]
    assert document["total_steps"] == 3
    rejected = document["timeline"][1]
    assert (rejected["reason_code"], rejected["expected_stage"]) == ("stage_missed", "2")
    assert rejected["reason"] == refused["detail"]
    assert "reason" not in document["timeline"][0]
    (alert,) = [event for event in document["events"] if event["type"] == "alert"]
    assert (alert["after_step"], alert["kind"], alert["reason"]) == (1, "strict_violation", refused["detail"])
    after_it = await timeline(ours, opened["instance_id"], at_step=1)
    assert [stage["status"] for stage in after_it["tree"].values()] == ["healthy", "pending", "pending"]


async def test_early_pings_are_steps_of_the_instance_that_adopted_them(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic")
    await ours.dynamic(workflow_id, "2")
    _, instance_id = await ours.open(workflow_id)
    document = await timeline(ours, instance_id)
    assert [(step["stage_path"], step["accepted"]) for step in document["timeline"]] == [("2", True), ("1", True)]
    assert list((await timeline(ours, instance_id, at_step=0))["tree"]) == ["2"]


async def test_what_happened_between_the_steps(ours: Calls) -> None:
    workflow_id = await ours.define(stages=3, stage_timeout_seconds=0.5, grace_period_seconds=60)
    instance_id = (await ours.static(workflow_id, 1))["instance_id"]
    asked = await ours.post(
        "/api/approvals",
        {"context": "Go on?", "instance_id": instance_id, "approvers": ["ada@example.com"], "title": "Go on"},
        201,
    )
    await ours.settled(instance_id, "failed")
    await ours.post(f"/api/approvals/{asked['approval_id']}/cancel", {})
    for stage in (2, 3):
        await ours.static(workflow_id, stage)
    await ours.settled(instance_id, "completed")

    async def is_told() -> bool:
        events = (await timeline(ours, instance_id))["events"]
        return any(event.get("kind") == "instance_recovered" for event in events)

    await until(is_told)
    document = await timeline(ours, instance_id)
    times = [step["executed_at"] for step in document["timeline"]]
    events = [(event["after_step"], event["type"], described(event)) for event in document["events"]]
    assert [event for event in events if event[1] == "transition"] == [
        (0, "transition", "None None>running"),
        (0, "transition", "2 pending>timeout"),
        (0, "transition", "None running>failed"),
        (1, "transition", "2 timeout>healthy"),
        (1, "transition", "None failed>running"),
        (2, "transition", "None running>completed"),
    ]
    assert [event for event in events if event[1] == "approval"] == [
        (0, "approval", "Go on requested"),
        (0, "approval", "Go on cancelled"),
    ]
    assert {(0, "alert", "stage_timed_out"), (0, "alert", "instance_failed")} <= set(events)
    assert [event["at"] for event in document["events"]] == sorted(event["at"] for event in document["events"])
    assert all(event["at"] >= times[event["after_step"]] for event in document["events"])
    pages = [await timeline(ours, instance_id, **{"from": number, "limit": 1}) for number in range(3)]
    assert [event for page in pages for event in page["events"]] == document["events"]


def described(event: dict[str, Any]) -> str:
    if event["type"] == "transition":
        return f"{event['stage_path']} {event['from_status']}>{event['to_status']}"
    return str(event["kind"]) if event["type"] == "alert" else f"{event['name']} {event['event']}"


async def test_page_by_page(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    for number in range(2, 8):
        await ours.dynamic(workflow_id, number)
    pages = []
    start: int | None = 0
    while start is not None:
        pages.append(await timeline(ours, instance_id, limit=3, **{"from": start}))
        start = pages[-1]["next_from"]
    assert [[step["step"] for step in page["timeline"]] for page in pages] == [[0, 1, 2], [3, 4, 5], [6]]
    assert {page["total_steps"] for page in pages} == {7}
    whole = await timeline(ours, instance_id)
    assert [step for page in pages for step in page["timeline"]] == whole["timeline"]
    beyond = await timeline(ours, instance_id, **{"from": 7})
    assert (beyond["timeline"], beyond["events"], beyond["next_from"]) == ([], [], None)


async def test_the_tree_as_it_stood_after_each_step(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open(stagename="Ingest", agent="ada")
    await ours.dynamic(workflow_id, "2", status="failed", error="no disk")
    await ours.dynamic(workflow_id, "2", agent="bob")
    await ours.dynamic(workflow_id, "3", final="yes")
    first = {"status": "healthy", "stage_name": "Ingest", "agent_code": "ada"}
    moments = [await timeline(ours, instance_id, at_step=step) for step in range(4)]
    assert [moment["tree"] for moment in moments] == [
        {"1": first},
        {"1": first, "2": {"status": "failed", "error": "no disk"}},
        {"1": first, "2": {"status": "healthy", "agent_code": "bob"}},
        await ours.get(f"/dhk/{workflow_id}/tree"),
    ]
    assert [moment["status"] for moment in moments] == ["running", "failed", "running", "completed"]
    assert [moment["failure_reason"] for moment in moments] == [None, "Stage 2 failed: no disk", None, None]
    assert [moment["completed_at"] is not None for moment in moments] == [False, True, False, True]
    steps = (await timeline(ours, instance_id))["timeline"]
    for number, moment in enumerate(moments):
        assert (moment["at_step"], moment["total_steps"], moment["at"]) == (number, 4, steps[number]["executed_at"])
        assert (moment["instance_id"], moment["workflow_id"]) == (instance_id, workflow_id)


async def test_an_instance_that_was_ended_was_not_before(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    assert (await timeline(ours, instance_id))["status"] == "terminated"
    assert (await timeline(ours, instance_id, at_step=0))["status"] == "running"


@pytest.mark.parametrize(
    ("field", "value"),
    [("limit", "0"), ("limit", "1001"), ("from", "-1"), ("from", "x"), ("from", str(2**70))]
    + [("at_step", value) for value in ("-1", "x", str(2**70))],
)
async def test_questions_that_make_no_sense(ours: Calls, field: str, value: str) -> None:
    _, instance_id = await ours.open()
    response = await ours.http.get(f"/api/instances/{instance_id}/timeline", params={field: value})
    assert problem(response, 400, "invalid_request")["errors"][0]["field"] == field


async def test_a_step_that_is_not_there_is_told_which_are(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    await ours.dynamic(workflow_id, "2")
    response = await ours.http.get(f"/api/instances/{instance_id}/timeline", params={"at_step": 2})
    assert "0 to 1" in problem(response, 400, "invalid_request")["detail"]


async def test_whose_it_is(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    _, instance_id = await ours.open()
    url = f"/api/instances/{instance_id}/timeline"
    problem(await theirs.http.get(url), 403, "forbidden")
    problem(await ours.http.get("/api/instances/dnothing1/timeline"), 404, "not_found")
    problem(await ours.http.get("/api/instances/dnothing1/timeline", params={"at_step": 0}), 404, "not_found")
    async with transaction(sessions) as session:
        ping_key = await make_key(session, ours.account_id, "ping")
    problem(await ours.http.get(url, headers=api_key(ping_key)), 403, "insufficient_scope")
