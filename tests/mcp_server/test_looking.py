"""Trees, timelines, costs, comparisons and lists, held against the API's own answers."""

from datetime import date
from typing import Any

from tests.api.calls import Calls, new_id
from tests.mcp_server.conftest import Agents

PRICED = {"model_id": "claude-3-opus", "usage": {"input_tokens": 1500, "output_tokens": 500}, "cost_usd": 0.045}


async def run_of(calls: Calls, workflow_id: str, *payloads: dict[str, Any]) -> str:
    """A run with a stage for each payload."""
    instance_id = ""
    for number, payload in enumerate(payloads, 1):
        where: dict[str, Any] = {"start": "yes"} if number == 1 else {"instance_id": instance_id}
        answer = await calls.post(f"/dhk/{workflow_id}", payload, stagePath=str(number), **where)
        instance_id = answer["instance_id"]
    return instance_id


async def test_the_tree_of_the_current_run_and_of_another_one(agents: Agents, mine: Calls) -> None:
    workflow_id = await mine.define(stages=[{"order": 1, "name": "extract"}, {"order": 2}, {"order": 3}])
    first = (await mine.static(workflow_id, 1, agent="ada"))["instance_id"]
    await mine.post(f"/shk/{workflow_id}", {"status": "failed", "error": "disk full"}, stage=2)
    second = (await mine.static(workflow_id, 1))["instance_id"]
    async with agents() as agent:
        current = await agent.call("get_tree", workflow_id=workflow_id)
        before = await agent.call("get_tree", workflow_id=workflow_id, instance_id=first)
        missing = await agent.fail("get_tree", workflow_id=workflow_id, instance_id="s00000000")
    assert second != first
    assert current["by_status"] == {"healthy": 1, "pending": 2}
    assert before["stages"] == [
        {"stage": "1", "status": "healthy", "name": "extract", "agent": "ada", "error": None},
        {"stage": "2", "status": "failed", "name": None, "agent": None, "error": "disk full"},
        {"stage": "3", "status": "pending", "name": None, "agent": None, "error": None},
    ]
    assert not before["truncated"]
    assert "s00000000" in missing


async def test_a_large_tree_comes_in_pages(agents: Agents, mine: Calls) -> None:
    workflow_id = await mine.define(stages=30)
    await mine.static(workflow_id, 1)
    async with agents() as agent:
        first = await agent.call("get_tree", workflow_id=workflow_id, limit=20)
        last = await agent.call("get_tree", workflow_id=workflow_id, start=20)
    assert (first["total_stages"], len(first["stages"]), first["truncated"]) == (30, 20, True)
    assert "start=20" in first["hint"]
    assert [stage["stage"] for stage in last["stages"]] == [str(number) for number in range(21, 31)]
    assert (last["truncated"], last["hint"]) == (False, None)


async def test_a_timeline_in_pages_has_what_the_api_has(agents: Agents, mine: Calls) -> None:
    instance_id = await run_of(mine, new_id(), {"n": 1} | PRICED, {"n": 2, "status": "failed"}, {"n": 3} | PRICED)
    theirs = await mine.get(f"/api/instances/{instance_id}/timeline")
    async with agents() as agent:
        first = await agent.call("get_timeline", instance_id=instance_id, limit=2)
        last = await agent.call("get_timeline", instance_id=instance_id, start=first["next_start"], limit=2)
        missing = await agent.fail("get_timeline", instance_id="d00000000")
    assert (first["total_steps"], first["next_start"], first["truncated"]) == (3, 2, True)
    assert (last["next_start"], last["truncated"]) == (None, False)
    steps = first["steps"] + last["steps"]
    for ours, step in zip(steps, theirs["timeline"], strict=True):
        assert {name: step[name] for name in ours.keys() & step.keys()} == {
            name: ours[name] for name in ours.keys() & step.keys()
        }
    assert [step["cumulative_cost_usd"] for step in steps] == [0.045, 0.045, 0.09]
    assert "not_found" in missing


async def test_long_payloads_are_cut_and_long_pages_end_early(agents: Agents, mine: Calls) -> None:
    instance_id = await run_of(mine, new_id(), *({"text": "long " * 4000} for _ in range(5)))
    async with agents() as agent:
        short = await agent.call("get_timeline", instance_id=instance_id)
        none = await agent.call("get_timeline", instance_id=instance_id, payload_characters=0)
        full = await agent.call("get_timeline", instance_id=instance_id, payload_characters=20_000)
        rest = await agent.call("get_timeline", instance_id=instance_id, payload_characters=20_000, start=1, limit=1)
    assert [len(step["payload"]) for step in short["steps"]] == [501] * 5
    assert all(step["payload_cut"] for step in short["steps"])
    assert [step["payload"] for step in none["steps"]] == [None] * 5
    assert (len(full["steps"]), full["truncated"], full["next_start"]) == (1, True, 1)
    assert "start=1" in full["hint"]
    assert rest["steps"][0]["step"] == 1


async def test_costs_of_a_run_a_workflow_and_everything(agents: Agents, mine: Calls) -> None:
    workflow_id = new_id()
    instance_id = await run_of(
        mine, workflow_id, PRICED, PRICED, {"model_id": "nobody-knows", "usage": {"input_tokens": 1}}
    )
    of_run = await mine.get(f"/api/instances/{instance_id}/cost")
    of_workflow = await mine.get(f"/api/workflows/{workflow_id}/cost", days=3)
    report = await mine.get("/api/costs", group_by="model")
    async with agents() as agent:
        run = await agent.call("get_costs", instance_id=instance_id, limit=2)
        rest = await agent.call("get_costs", instance_id=instance_id, start=run["next_start"])
        workflow = await agent.call("get_costs", workflow_id=workflow_id, days=3)
        account = await agent.call("get_costs", group_by="model")
        one = await agent.call("get_costs", group_by="model", limit=1)
        days = await agent.call("get_costs", from_day=report["from"], to_day=report["to"])
        both = await agent.fail("get_costs", instance_id=instance_id, workflow_id=workflow_id)
        never = await agent.fail("get_costs", from_day="2026-02-30")
    assert (run["of"], run["total_cost_usd"], run["unpriced_pings"]) == ("instance", 0.09, 1)
    assert run["total_cost_usd"] == of_run["total_cost_usd"]
    assert [ping["stage_path"] for ping in run["pings"] + rest["pings"]] == ["1", "2", "3"]
    assert (run["truncated"], rest["truncated"]) == (True, False)
    assert (workflow["of"], workflow["id"], workflow["total_cost_usd"]) == ("workflow", workflow_id, 0.09)
    assert workflow["average_cost_per_instance_usd"] == of_workflow["average_cost_per_instance_usd"]
    assert workflow["most_expensive_instance_id"] == instance_id
    assert account["total_cost_usd"] == report["total"]["cost_usd"] == 0.09
    assert [group["model_id"] for group in account["groups"]] == [group["model_id"] for group in report["groups"]]
    assert (len(one["groups"]), one["truncated"], one["next_start"]) == (1, True, 1)
    assert date.fromisoformat(days["groups"][0]["day"])
    assert report["time_zone"] in days["period"]
    assert "not both" in both
    assert "must be a day" in never


async def test_two_runs_side_by_side(agents: Agents, mine: Calls) -> None:
    workflow_id = new_id()
    good = await run_of(mine, workflow_id, {"n": 1}, {"text": "a" * 1000}, {"n": 3} | PRICED)
    bad = await run_of(mine, workflow_id, {"n": 1}, {"text": "b" * 1000}, {"n": 3, "status": "failed"}, {"n": 4})
    async with agents() as agent:
        compared = await agent.call("compare_instances", instance_a=good, instance_b=bad, limit=2)
        rest = await agent.call("compare_instances", instance_a=good, instance_b=bad, start=2)
        ignoring = await agent.call("compare_instances", instance_a=good, instance_b=bad, ignore=["/text"])
    kept = (await mine.get(f"/api/comparisons/{compared['session_id']}"))["comparison"]
    assert compared["divergence_step"] == kept["divergence_step"] == 1
    assert compared["totals"] == kept["differences"]
    assert compared["instance_b"] == kept["instance_b"]
    assert (compared["total_steps"], compared["different_steps"], compared["truncated"]) == (4, 3, True)
    assert [(pair["position"], pair["kind"]) for pair in compared["differences"] + rest["differences"]] == [
        (1, "payload"),
        (2, "status"),
        (3, "added"),
    ]
    text = compared["differences"][0]["payload_diff"][0]
    assert (text["path"], len(text["a"]), compared["differences"][0]["payload_diff_cut"]) == ("/text", 301, True)
    assert ignoring["divergence_step"] == 2


async def test_workflows_and_their_runs_in_pages(agents: Agents, mine: Calls) -> None:
    static = await mine.define(stages=[{"order": 1, "name": "extract"}, {"order": 2}], tags=["db"])
    dynamic = await mine.define("dynamic")
    for _ in range(2):
        instance_id = (await mine.static(static, 1))["instance_id"]
        await mine.post(f"/shk/{static}", {"status": "failed", "error": "disk full"}, stage=2)
        await mine.settled(instance_id, "failed")
    running = (await mine.static(static, 1))["instance_id"]
    async with agents() as agent:
        first = await agent.call("list_workflows", limit=1)
        last = await agent.call("list_workflows", cursor=first["next_cursor"])
        runs = await agent.call("list_instances", workflow_id=static, limit=1)
        more = await agent.call("list_instances", workflow_id=static, cursor=runs["next_cursor"])
        failed = await agent.call("list_instances", workflow_id=static, status=["failed"])
    assert [row["id"] for row in first["workflows"] + last["workflows"]] == [dynamic, static]
    assert (first["truncated"], last["truncated"]) == (True, False)
    assert last["workflows"][0]["stages"] == ["1: extract", "2"]
    assert last["workflows"][0]["tags"] == ["db"]
    assert runs["running_instance"]["id"] == running
    assert runs["recent_instances"][0]["bad_stages"] == ["2: failed"]
    assert runs["recent_instances"][0]["failure_reason"] == "Stage 2 failed: disk full"
    assert (runs["truncated"], more["truncated"]) == (True, False)
    history = await mine.history(static)
    assert [row["id"] for row in runs["recent_instances"] + more["recent_instances"]] == [
        row["id"] for row in history["recent_instances"]
    ]
    assert failed["running_instance"] is None
    assert {row["status"] for row in failed["recent_instances"]} == {"failed"}
