"""Stages and pulses, as agents report them."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.calls import Calls, new_id
from tests.mcp_server.agents import over_stdio
from tests.mcp_server.conftest import Agents
from tests.support.stack import Stack


async def timeline(calls: Calls, instance_id: str) -> list[dict[str, Any]]:
    return list((await calls.get(f"/api/instances/{instance_id}/timeline"))["timeline"])


async def test_a_run_of_a_dynamic_workflow_from_start_to_end(agents: Agents, mine: Calls) -> None:
    workflow_id = new_id()
    async with agents() as agent:
        begun = await agent.call("ping_stage", workflow_id=workflow_id, stage=1, start=True, agent="writer")
        run = {"workflow_id": workflow_id, "instance_id": begun["instance_id"]}
        draft = {"draft": {"title": "Q4"}, "notes": ["short"]}
        told = await agent.call(
            "ping_stage",
            **run,
            stage="2.1",
            stage_name="Draft",
            agent="writer",
            payload=draft,
            model_id="claude-3-opus",
            usage={"input_tokens": 1500, "output_tokens": 500},
            cost_usd=0.045,
            duration_ms=1200,
            tool_calls=[{"tool_name": "web_search", "latency_ms": 250, "success": True}],
            handoff_reason="to be reviewed",
        )
        failed = await agent.call("ping_stage", **run, stage="2.2", status="failed", error='{"code": "disk full"}')
        ended = await agent.call("ping_stage", **run, stage="3", final=True)
    assert [answer["workflow_status"] for answer in (begun, told, failed, ended)][:2] == ["running", "running"]
    assert told["stage"] == "2.1"
    steps = await timeline(mine, begun["instance_id"])
    assert [(step["stage_path"], step["status"]) for step in steps] == [
        ("1", "success"),
        ("2.1", "success"),
        ("2.2", "failed"),
        ("3", "success"),
    ]
    second = steps[1]
    assert {name: second["payload"][name] for name in draft} == draft
    assert (second["name"], second["agent_code"], second["response_time_ms"]) == ("Draft", "writer", 1200)
    assert (second["model_id"], second["input_tokens"], second["cost_usd"]) == ("claude-3-opus", 1500, 0.045)
    assert second["tool_calls"][0]["tool_name"] == "web_search"
    assert second["handoff_reason"] == "to be reviewed"
    assert steps[2]["error"] == '{"code": "disk full"}'


async def test_a_static_workflow_is_pinged_by_its_own_endpoint(agents: Agents, mine: Calls) -> None:
    workflow_id = await mine.define(stages=2)
    async with agents() as agent:
        one = await agent.call("ping_stage", workflow_id=workflow_id, stage="1")
        two = await agent.call("ping_stage", workflow_id=workflow_id, stage=2, instance_id=one["instance_id"])
    assert two["instance_id"] == one["instance_id"]
    assert [step["stage_path"] for step in await timeline(mine, one["instance_id"])] == ["1", "2"]


async def test_a_workflow_that_has_become_dynamic_is_pinged_as_such(agents: Agents, mine: Calls) -> None:
    workflow_id = await mine.define(stages=1)
    async with agents() as agent:
        await agent.call("ping_stage", workflow_id=workflow_id, stage=1)
        await mine.http.delete(f"/api/workflows/{workflow_id}")
        await mine.define("dynamic", id=workflow_id)
        answer = await agent.call("ping_stage", workflow_id=workflow_id, stage=1, start=True)
    assert answer["instance_id"].startswith("d")


async def test_a_key_of_the_scope_ping_is_enough_to_report(
    tmp_path: Path, stack: Stack, mine: Calls, ping_key: str
) -> None:
    workflow_id = await mine.define(stages=1)
    async with over_stdio(tmp_path, stack.url, ping_key) as agent:
        await agent.call("ping_stage", workflow_id=workflow_id, stage=1)
        tree = await agent.call("get_tree", workflow_id=workflow_id)
        refused = await agent.fail("list_workflows")
    assert tree["by_status"] == {"healthy": 1}
    assert "scope `full`" in refused
    assert "insufficient_scope" in refused


async def test_the_same_idempotency_key_pings_once(agents: Agents, mine: Calls) -> None:
    workflow_id = new_id()
    async with agents() as agent:
        arguments = {"workflow_id": workflow_id, "stage": 1, "start": True}
        first = await agent.call("ping_stage", **arguments, idempotency_key="once")
        again = await agent.call("ping_stage", **arguments, idempotency_key="once")
        other = await agent.call("ping_stage", **arguments)
    assert first == again
    assert first["idempotency_key"] == "once"
    assert other["instance_id"] != first["instance_id"]
    assert len(await timeline(mine, first["instance_id"])) == 1


async def test_a_ping_before_any_run_says_that_it_waits_for_one(agents: Agents, mine: Calls) -> None:
    workflow_id = await mine.define("dynamic")
    async with agents() as agent:
        answer = await agent.call("ping_stage", workflow_id=workflow_id, stage=2)
    assert answer["instance_id"] is None
    assert "start=true" in answer["hint"]


async def test_a_strict_workflow_tells_which_stage_should_have_come(agents: Agents, mine: Calls) -> None:
    workflow_id = await mine.define(stages=3, validation_mode="strict")
    async with agents() as agent:
        await agent.call("ping_stage", workflow_id=workflow_id, stage=1, agent="a")
        missed = await agent.fail("ping_stage", workflow_id=workflow_id, stage=3, agent="a")
        nobody = await agent.fail("ping_stage", workflow_id=workflow_id, stage=2)
    assert "stage_missed" in missed
    assert "Stage 2 should have come." in missed
    assert "agent_required" in nobody


async def test_the_ping_that_crosses_a_budget_tells_to_stop_and_so_do_those_after_it(
    agents: Agents, mine: Calls
) -> None:
    workflow_id, instance_id = await mine.open()
    budget = {"budget_limit_usd": 1, "budget_alert_threshold_usd": 0.5, "budget_action": "pause"}
    response = await mine.http.put(f"/api/workflows/{workflow_id}/budget", json=budget)
    assert response.status_code == 200, response.text
    async with agents() as agent:
        run = {"workflow_id": workflow_id, "instance_id": instance_id}
        below = await agent.call("ping_stage", **run, stage=2, cost_usd=0.25)
        alerted = await agent.call("ping_stage", **run, stage=3, cost_usd=0.5)
        crossing = await agent.call("ping_stage", **run, stage=4, cost_usd=0.5)
        refused = await agent.fail("ping_stage", **run, stage=5)
        paused = await agent.call("list_instances", workflow_id=workflow_id)
    assert (below["budget"]["instance_cost_usd"], below["budget"]["limit_usd"], below["hint"]) == (0.25, 1.0, None)
    assert alerted["budget"]["action_taken"] == "alert"
    assert "Tell the person you work for" in alerted["hint"]
    assert (crossing["workflow_status"], crossing["budget"]["action_taken"]) == ("paused", "pause")
    assert crossing["hint"].startswith("Instance cost $1.25 exceeds budget limit $1.00.")
    assert "Stop here" in crossing["hint"]
    assert "instance_paused" in refused
    assert "Instance cost $1.25 exceeds budget limit $1.00" in refused
    assert "Stop here" in refused
    assert paused["running_instance"]["status"] == "paused"


PARAMETERS_IN_PAYLOADS = [{"key": "secret"}, {"status": "failed"}, {"stagePath": "9"}, {"start": "yes"}]


@pytest.mark.parametrize("payload", PARAMETERS_IN_PAYLOADS, ids=lambda payload: next(iter(payload)))
async def test_payloads_are_not_taken_for_parameters(agents: Agents, payload: dict[str, str]) -> None:
    async with agents() as agent:
        told = await agent.fail("ping_stage", workflow_id=new_id(), stage=1, start=True, payload=payload)
    assert next(iter(payload)) in told
    assert "secret" not in told


async def test_pulses_begin_fail_and_live(agents: Agents, mine: Calls) -> None:
    target = f"nightly-{new_id('p').replace('_', '-')}"
    async with agents() as agent:
        missing = await agent.fail("ping_pulse", target=target)
        made = await agent.call(
            "ping_pulse", target=target, create=True, period_seconds=3600, grace_seconds=60, payload={"rows": 3}
        )
        begun = await agent.call("ping_pulse", target=target, event="start", run_id="42")
        failed = await agent.call("ping_pulse", target=target, event="fail", run_id="42", error="disk full")
        noted = await agent.call("ping_pulse", target=target, event="log", agent="a", duration_ms=5)
    assert "not_found" in missing
    assert [answer["event"] for answer in (made, begun, failed, noted)] == ["success", "start", "fail", "log"]
    pulse = await mine.get(f"/api/pulses/{made['target_id']}")
    assert (pulse["slug"], pulse["period_seconds"], pulse["grace_seconds"]) == (target, 3600, 60)
    pings = (await mine.get(f"/api/pulses/{made['target_id']}/pings"))["pings"]
    assert [ping["event"] for ping in pings] == ["log", "fail", "start", "success"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"workflow_id": "a/../b", "stage": 1}, "workflow_id"),
    ({"workflow_id": "..", "stage": 1}, "workflow_id"),
    ({"workflow_id": "wf", "stage": 2.5}, "stage"),
    ({"workflow_id": "wf"}, "stage"),
    ({"workflow_id": "wf", "stage": 1, "cost_usd": -1}, "cost_usd"),
    ({"workflow_id": "wf", "stage": 1, "agent_name": "ada"}, "agent_name"),
    ({"workflow_id": "wf", "stage": "1..2"}, "stagePath"),
]


async def test_wrong_arguments_are_named(agents: Agents) -> None:
    async with agents() as agent:
        for arguments, field in WRONG:
            told = await agent.fail("ping_stage", **arguments)
            assert field in told, told
            assert "pydantic" not in told
