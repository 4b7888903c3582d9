"""The circuit breaker and all the ways in which pings come: static and strict, early, forked, repeated, at once."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.api.budget_calls import (
    alerts_told,
    budgeted,
    cost_alerts,
    read_exactly,
    refused,
    set_budget,
    spend,
    timeline,
)
from tests.api.calls import Calls, in_order
from tests.support.receivers import HttpReceiver, http_receiver
from tests.support.waiting import until

STOPPED = {"pause": ("instance_paused", "paused"), "terminate": ("instance_terminated", "terminated")}


async def static(calls: Calls, workflow_id: str, stage: int, cost: object = None, expected: int = 200) -> Any:
    body = {} if cost is None else {"cost_usd": cost}
    params: dict[str, str | int] = {"stage": stage, "agent": "ada"}
    return read_exactly(await calls.http.post(f"/shk/{workflow_id}", json=body, params=params), expected)


@pytest.mark.parametrize("mode", ["flexible", "strict"])
@pytest.mark.parametrize("action", STOPPED)
async def test_static_workflows(mine: Calls, action: str, mode: str) -> None:
    code, status = STOPPED[action]
    workflow_id = await mine.define(stages=in_order(4), validation_mode=mode)
    await set_budget(mine, workflow_id, budget_limit_usd=1, budget_action=action)
    opened = await static(mine, workflow_id, 1, "0.5")
    assert (opened["workflow_status"], opened["budget"]["instance_cost_usd"]) == ("running", Decimal("0.5"))
    crossing = await static(mine, workflow_id, 2, 1)
    assert (crossing["workflow_status"], crossing["budget"]["action_taken"]) == (status, action)
    assert (await static(mine, workflow_id, 3, 1, 409))["code"] == code
    instance_id = opened["instance_id"]
    tree = await mine.get(f"/shk/{workflow_id}/tree")
    assert [stage["status"] for stage in tree.values()] == ["healthy", "healthy", "pending", "pending"]
    assert (await mine.instance(instance_id))["status"] == status
    assert await refused(mine, workflow_id) == [("3", code, instance_id)]
    assert [(step["stage_path"], step["accepted"]) for step in (await timeline(mine, instance_id))["timeline"]] == [
        ("1", True),
        ("2", True),
        ("3", False),
    ]
    # Stage 1 opens the next run.
    second = await static(mine, workflow_id, 1)
    assert second["instance_id"] != instance_id
    assert (await static(mine, workflow_id, 2))["instance_id"] == second["instance_id"]


async def test_the_last_stage_completes_and_is_told(mine: Calls) -> None:
    workflow_id = await mine.define(stages=2)
    await set_budget(mine, workflow_id, budget_limit_usd=1, budget_action="pause")
    await static(mine, workflow_id, 1, 1)
    answer = await static(mine, workflow_id, 2, 1)
    assert (answer["workflow_status"], answer["budget"]["action_taken"]) == ("completed", "alert")


async def test_what_is_out_of_order_costs_nothing(mine: Calls) -> None:
    workflow_id = await mine.define(validation_mode="strict", stages=in_order(4))
    await set_budget(mine, workflow_id, budget_limit_usd=1, budget_action="pause")
    await static(mine, workflow_id, 1)
    assert (await static(mine, workflow_id, 3, 9, 400))["code"] == "stage_missed"
    answer = await static(mine, workflow_id, 2, "0.5")
    assert (answer["workflow_status"], answer["budget"]["today_cost_usd"]) == ("running", Decimal("0.5"))
    assert await cost_alerts(mine, workflow_id) == []


async def test_a_strict_dynamic_workflow(mine: Calls) -> None:
    workflow_id = await mine.define("dynamic", validation_mode="strict")
    await set_budget(mine, workflow_id, budget_limit_usd=1, budget_action="terminate")
    await spend(mine, workflow_id, "1", "0.5", start="yes", agent="ada")
    answer = await spend(mine, workflow_id, "2", 1, agent="ada")
    assert (answer["workflow_status"], answer["budget"]["state"]) == ("terminated", "exceeded")
    assert (await spend(mine, workflow_id, "3", None, 409, agent="ada"))["code"] == "instance_terminated"


async def test_what_early_pings_have_cost_counts_when_they_are_adopted(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=2, budget_action="pause")
    early = await spend(mine, workflow_id, "2", "1.5")
    assert (early["workflow_status"], early["instance_id"], early.get("budget")) == ("pending", None, None)
    answer = await spend(mine, workflow_id, "1", 1, start="yes")
    assert (answer["workflow_status"], answer["budget"]["instance_cost_usd"]) == ("paused", Decimal("2.5"))
    steps = (await timeline(mine, answer["instance_id"]))["timeline"]
    assert [(step["stage_path"], step["accepted"]) for step in steps] == [("2", True), ("1", True)]


@pytest.mark.parametrize("action", STOPPED)
async def test_forks_and_reruns_spend_for_themselves_alone(mine: Calls, action: str) -> None:
    code, status = STOPPED[action]
    workflow_id = await budgeted(mine, budget_limit_usd=5, budget_action=action)
    original = (await spend(mine, workflow_id, "1", 4, start="yes"))["instance_id"]
    fork = await mine.post(f"/api/instances/{original}/fork", {"fork_from_stage": "1"}, 201)
    rerun = await mine.post(f"/api/instances/{original}/rerun", {}, 201)
    for instance_id in (fork["forked_instance_id"], rerun["new_instance_id"]):
        answer = await spend(mine, workflow_id, "2", "4.5", instance_id=instance_id)
        assert (answer["workflow_status"], answer["budget"]["instance_cost_usd"]) == ("running", Decimal("4.5"))
        answer = await spend(mine, workflow_id, "3", 1, instance_id=instance_id)
        assert (answer["workflow_status"], answer["budget"]["instance_cost_usd"]) == (status, Decimal("5.5"))
        assert (await spend(mine, workflow_id, "4", 1, 409, instance_id=instance_id))["code"] == code
    # The original goes on, unnamed, whatever became of the others.
    answer = await spend(mine, workflow_id, "2", "0.5")
    assert (answer["instance_id"], answer["workflow_status"]) == (original, "running")
    alerts = await cost_alerts(mine, workflow_id)
    assert {alert["instance_id"] for alert in alerts} == {fork["forked_instance_id"], rerun["new_instance_id"]}


async def test_a_fork_of_a_stopped_run_goes_on(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=5, budget_action="pause")
    original = (await spend(mine, workflow_id, "1", 9, start="yes"))["instance_id"]
    fork = (await mine.post(f"/api/instances/{original}/fork", {"fork_from_stage": "1"}, 201))["forked_instance_id"]
    assert (await mine.instance(fork))["status"] == "running"
    answer = await spend(mine, workflow_id, "2", 1, instance_id=fork)
    assert (answer["workflow_status"], answer["budget"]["instance_cost_usd"]) == ("running", 1)
    assert (await mine.instance(original))["status"] == "paused"


async def test_a_repeated_ping_is_answered_as_before(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=1, budget_action="pause")
    await spend(mine, workflow_id, "1", "0.5", start="yes")

    async def ping(key: str, expected: int) -> tuple[Any, ...]:
        response = await mine.http.post(
            f"/dhk/{workflow_id}?stagePath=2", json={"cost_usd": 1}, headers={"Idempotency-Key": key}
        )
        answer = read_exactly(response, expected)
        return answer.get("workflow_status"), answer.get("budget"), answer.get("code"), answer.get("detail")

    crossing = await ping("first", 200)
    assert crossing[0] == "paused"
    assert await ping("first", 200) == crossing
    behind = await ping("second", 409)
    assert behind[:3] == ("paused", None, "instance_paused")
    assert await ping("second", 409) == behind
    assert await ping("first", 200) == crossing
    assert len(await refused(mine, workflow_id)) == 1
    (alert,) = await cost_alerts(mine, workflow_id)
    assert alert["current_cost_usd"] == Decimal("1.5")
    # As it was then, whatever the budget is now.
    await set_budget(mine, workflow_id, budget_enabled=False)
    assert await ping("first", 200) == crossing


@pytest.mark.parametrize("action", ["alert", *STOPPED])
async def test_pings_at_once_trip_at_the_first_that_crosses(mine: Calls, action: str) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=5, budget_action=action)
    instance_id = (await spend(mine, workflow_id, "1", start="yes"))["instance_id"]
    responses = await asyncio.gather(
        *(mine.http.post(f"/dhk/{workflow_id}?stagePath=2", json={"cost_usd": 1}) for _ in range(20))
    )
    answers = [read_exactly(response, response.status_code) for response in responses]
    budgets = sorted(
        (
            (answer["budget"]["instance_cost_usd"], answer["budget"]["alert_type"])
            for answer in answers
            if "budget" in answer
        ),
        key=lambda told: int(told[0]),
    )
    count = 20 if action == "alert" else 6
    assert budgets == [(spent, "budget_exceeded" if spent == 6 else None) for spent in range(1, count + 1)]
    if action != "alert":
        codes = [answer["code"] for answer in answers if "code" in answer]
        assert codes == [STOPPED[action][0]] * 14
        assert len(await refused(mine, workflow_id)) == 14
    steps = (await timeline(mine, instance_id))["timeline"]
    assert [step["accepted"] for step in steps].count(True) == count + 1
    assert len(await cost_alerts(mine, workflow_id)) == 1
    await alerts_told(mine, workflow_id, 1)


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    async with http_receiver() as receiver:
        yield receiver


async def test_webhooks_are_told(mine: Calls, receiver: HttpReceiver) -> None:
    body = {"kind": "webhook", "name": "Finance", "url": receiver.url()}
    channel = await mine.post("/api/channels", body, 201)
    workflow_id = await mine.define("dynamic", name="Summaries", tags=["llm"], channels=[channel["id"]])
    await set_budget(mine, workflow_id, budget_limit_usd=100, budget_action="pause")
    instance_id = (await spend(mine, workflow_id, "1", "105.5", start="yes"))["instance_id"]
    await until(lambda: receiver.received, timeout=40)
    received = receiver.received[0]
    event: Any = Webhook(channel["signing_secret"]).verify(received.body, dict(received.headers))
    (alert,) = event["data"]["alerts"]
    reason = "Instance cost $105.50 exceeds budget limit $100.00; the run is paused"
    assert (event["type"], alert["kind"], alert["severity"]) == ("alerts.raised", "budget_exceeded", "critical")
    assert (alert["reason"], alert["tags"]) == (reason, ["llm"])
    assert alert["title"] == f"Summaries ({instance_id}): {reason}"
    data = {name: alert["data"][name] for name in ("workflow_id", "instance_id", "action_taken")}
    assert data == {"workflow_id": workflow_id, "instance_id": instance_id, "action_taken": "pause"}
    money = [Decimal(alert["data"][name]) for name in ("current_cost_usd", "threshold_usd")]
    assert money == [Decimal("105.5"), 100]
