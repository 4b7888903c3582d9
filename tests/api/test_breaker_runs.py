"""The circuit breaker over HTTP: what counts for a run, what is typical, and what comes after a run was stopped."""

from decimal import Decimal
from typing import Any

from tests.api.budget_calls import budget_of, budgeted, cost_alerts, refused, set_budget, spend
from tests.api.calls import Calls
from tests.api.test_errors import problem


async def test_a_budget_holds_from_the_next_ping_on(mine: Calls) -> None:
    workflow_id, instance_id = await mine.open()
    assert "budget" not in await spend(mine, workflow_id, "2", 3)
    await set_budget(mine, workflow_id, budget_limit_usd=2, budget_action="pause")
    # What was spent before counts.
    answer = await spend(mine, workflow_id, "3")
    assert (answer["workflow_status"], answer["budget"]["instance_cost_usd"]) == ("paused", 3)
    # Without a budget the next run has none; the paused one stays paused.
    await set_budget(mine, workflow_id, budget_enabled=False)
    await spend(mine, workflow_id, "4", None, 409)
    assert "budget" not in await spend(mine, workflow_id, "1", 9, start="yes")
    assert "budget" not in await spend(mine, workflow_id, "2", 9)
    assert (await mine.instance(instance_id))["status"] == "paused"


async def test_pings_without_costs_are_told_how_the_run_stands(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd="2.5", budget_daily_limit_usd=9, budget_action="pause")
    await spend(mine, workflow_id, "1", "0.5", start="yes")
    assert (await spend(mine, workflow_id, "2"))["budget"] == {
        "state": "ok",
        "instance_cost_usd": Decimal("0.5"),
        "limit_usd": Decimal("2.5"),
        "today_cost_usd": Decimal("0.5"),
        "daily_limit_usd": 9,
        "unpriced_pings": 0,
        "alert_type": None,
        "action_taken": None,
        "message": None,
    }


async def test_what_nobody_knows_the_price_of_is_counted_as_such(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=1, budget_action="pause")
    unknown = {"model_id": "house-llm-7", "usage": {"input_tokens": 10}}

    async def ping(stage: str, body: dict[str, Any], start: str = "") -> tuple[Any, Any]:
        answer = await mine.post(f"/dhk/{workflow_id}", body, stagePath=stage, start=start)
        return answer["budget"]["unpriced_pings"], answer["budget"]["instance_cost_usd"]

    assert await ping("1", unknown, start="yes") == (1, 0)
    assert await ping("2", unknown | {"cost_usd": "0.5"}) == (1, 0.5)
    assert await ping("2", unknown) == (2, 0.5)
    assert await ping("2", {}) == (2, 0.5)
    budget = await budget_of(mine, workflow_id)
    assert (budget["today_cost_usd"], budget["unpriced_pings_today"]) == (Decimal("0.5"), 2)
    # Another run has its own.
    assert await ping("1", {}, start="yes") == (0, 0)


async def test_an_anomaly_takes_five_finished_runs_and_more_than_the_floor(mine: Calls) -> None:
    workflow_id = await budgeted(mine, cost_anomaly_detection=True, budget_action="pause")

    async def finish(cost: str) -> None:
        run = await spend(mine, workflow_id, "1", cost, start="yes", final="yes")
        await mine.settled(run["instance_id"], "completed")

    for _ in range(4):
        await finish("0.1")
    assert (await spend(mine, workflow_id, "1", 50, start="yes"))["workflow_status"] == "running"
    await finish("0.1")
    # Five, and three times as much is 0.30; but up to a dollar nothing is unusual.
    assert (await spend(mine, workflow_id, "1", 1, start="yes"))["workflow_status"] == "running"
    answer = await spend(mine, workflow_id, "2", "0.01")
    assert (answer["workflow_status"], answer["budget"]["alert_type"]) == ("paused", "cost_anomaly")
    await set_budget(mine, workflow_id, cost_anomaly_floor_usd=0)
    assert (await spend(mine, workflow_id, "1", "0.3", start="yes"))["workflow_status"] == "running"
    assert (await spend(mine, workflow_id, "2", "0.001"))["workflow_status"] == "paused"


async def test_what_is_typical_is_the_median_of_the_last_twenty(mine: Calls) -> None:
    workflow_id = await mine.define("dynamic")

    async def finish(cost: str) -> None:
        run = await spend(mine, workflow_id, "1", cost, start="yes", final="yes")
        await mine.settled(run["instance_id"], "completed")

    for cost in ["9"] * 11 + ["0.4"] * 11:
        await finish(cost)
    await set_budget(mine, workflow_id, cost_anomaly_detection=True, budget_action="pause")
    # Of the last twenty, nine cost 9 and eleven 0.4.
    assert (await spend(mine, workflow_id, "1", "1.2", start="yes"))["workflow_status"] == "running"
    assert (await spend(mine, workflow_id, "2", "0.01"))["workflow_status"] == "paused"


async def test_what_has_reached_its_end_is_told_and_not_stopped(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=1, budget_action="terminate")
    answer = await spend(mine, workflow_id, "1", 2, start="yes", final="yes")
    assert (answer["workflow_status"], answer["budget"]["action_taken"]) == ("completed", "alert")
    (alert,) = await cost_alerts(mine, workflow_id)
    assert alert["action_taken"] == "alert"
    await mine.settled(answer["instance_id"], "completed")


async def test_a_terminated_run_is_over_until_another_is_opened(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=1, budget_action="terminate")
    first = (await spend(mine, workflow_id, "1", 2, start="yes"))["instance_id"]
    shown = await mine.instance(first)
    assert (shown["status"], shown["completed_at"] is not None) == ("terminated", True)
    for stage in ("2", "3"):
        assert (await spend(mine, workflow_id, stage, None, 409))["code"] == "instance_terminated"
    second = (await spend(mine, workflow_id, "1", "0.5", start="yes"))["instance_id"]
    assert (await spend(mine, workflow_id, "2"))["instance_id"] == second != first
    # Its own pings are still refused.
    refusal = await mine.http.get(f"/dhk/{workflow_id}", params={"stagePath": "2", "instance_id": first})
    problem(refusal, 409, "instance_terminated")
    assert await refused(mine, workflow_id) == [(stage, "instance_terminated", first) for stage in ("2", "3", "2")]


async def test_a_paused_run_does_not_keep_others_from_opening(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=1, budget_action="pause")
    first = (await spend(mine, workflow_id, "1", 2, start="yes"))["instance_id"]
    await spend(mine, workflow_id, "2", None, 409)
    second = (await spend(mine, workflow_id, "1", start="yes"))["instance_id"]
    assert (await spend(mine, workflow_id, "2"))["instance_id"] == second
    assert (await spend(mine, workflow_id, "2", None, 409, instance_id=first))["code"] == "instance_paused"
    assert (await mine.instance(first))["status"] == "paused"


async def test_whoever_was_terminated_does_not_go_on_in_an_older_run(mine: Calls) -> None:
    workflow_id = await mine.define("dynamic")
    finished = (await spend(mine, workflow_id, "1", start="yes", final="yes"))["instance_id"]
    await mine.settled(finished, "completed")
    older = (await spend(mine, workflow_id, "1", start="yes"))["instance_id"]
    await set_budget(mine, workflow_id, budget_limit_usd=1, budget_action="terminate")
    assert (await spend(mine, workflow_id, "2"))["instance_id"] == older
    await spend(mine, workflow_id, "1", 2, start="yes")
    assert (await spend(mine, workflow_id, "2", None, 409))["code"] == "instance_terminated"
    assert (await spend(mine, workflow_id, "3", instance_id=older))["workflow_status"] == "running"
