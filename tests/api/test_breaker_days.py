"""The daily limit over HTTP: shared by all runs of a workflow, until the day is over or the limit is raised."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, update

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.budgets import BudgetRow
from storage.pings import Ping
from tests.api.budget_calls import (
    alerts_told,
    budget_of,
    budgeted,
    cost_alerts,
    read_exactly,
    refused,
    set_budget,
    spend,
)
from tests.api.calls import Calls

STOPPED = {"pause": ("instance_paused", "paused"), "terminate": ("instance_terminated", "terminated")}


async def open_runs(calls: Calls, workflow_id: str, *costs: object) -> list[str]:
    return [str((await spend(calls, workflow_id, "1", cost, start="yes"))["instance_id"]) for cost in costs]


def midnight() -> datetime:
    return datetime.combine(utc_now().date() + timedelta(days=1), datetime.min.time(), UTC)


@pytest.mark.parametrize("action", STOPPED)
async def test_one_crossing_stops_all_runs_and_opens_none(mine: Calls, action: str) -> None:
    code, status = STOPPED[action]
    workflow_id = await budgeted(mine, budget_daily_limit_usd=5, budget_action=action)
    first, second, third = await open_runs(mine, workflow_id, 1, 1, None)
    answer = await spend(mine, workflow_id, "2", "3.5", instance_id=second)
    assert (answer["workflow_status"], answer["budget"]["instance_cost_usd"]) == (status, Decimal("4.5"))
    reason = answer["budget"]["message"]
    budget = await budget_of(mine, workflow_id)
    assert (budget["stop_reason"], budget["today_cost_usd"]) == (reason, Decimal("5.5"))
    assert datetime.fromisoformat(budget["stopped_until"]) == midnight()
    # The others are stopped in front of their next ping, by the same crossing.
    for instance_id in (first, third):
        refusal = await spend(mine, workflow_id, "2", 1, 409, instance_id=instance_id)
        assert (refusal["code"], refusal["workflow_status"]) == (code, status)
        assert reason in refusal["detail"]
        shown = await mine.instance(instance_id)
        assert (shown["status"], shown["failure_reason"]) == (status, reason)
        assert (await mine.get(f"/api/instances/{instance_id}/cost"))["total_cost_usd"] in (0, 1)
    opening = await spend(mine, workflow_id, "1", None, 409, start="yes")
    assert (opening["code"], reason in opening["detail"]) == ("daily_budget_exceeded", True)
    assert await refused(mine, workflow_id) == [
        ("2", code, first),
        ("2", code, third),
        ("1", "daily_budget_exceeded", None),
    ]
    assert (await budget_of(mine, workflow_id))["today_cost_usd"] == Decimal("5.5")
    (alert,) = await cost_alerts(mine, workflow_id)
    assert (alert["alert_type"], alert["instance_id"]) == ("daily_budget_exceeded", second)
    assert (alert["current_cost_usd"], alert["threshold_usd"]) == (Decimal("5.5"), 5)
    await alerts_told(mine, workflow_id, 1)
    # Raising the limit lets the workflow go on, with another line ahead. What was stopped stays so.
    budget = await set_budget(mine, workflow_id, budget_daily_limit_usd=6)
    assert (budget["stopped_until"], budget["stop_reason"]) == (None, None)
    assert (await mine.instance(first))["status"] == status
    (fourth,) = await open_runs(mine, workflow_id, "0.5")
    answer = await spend(mine, workflow_id, "2", 1, instance_id=fourth)
    assert (answer["workflow_status"], answer["budget"]["today_cost_usd"]) == (status, 7)
    assert [alert["threshold_usd"] for alert in await cost_alerts(mine, workflow_id)] == [5, 6]


async def test_an_alert_is_told_once_a_day_and_stops_nothing(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_daily_limit_usd=1)
    first, second = await open_runs(mine, workflow_id, 1, "0.5")
    for instance_id in (first, second):
        answer = await spend(mine, workflow_id, "2", 1, instance_id=instance_id)
        assert (answer["workflow_status"], answer["budget"]["state"]) == ("running", "exceeded")
        assert answer["budget"]["alert_type"] is None
    await open_runs(mine, workflow_id, 1)
    assert (await budget_of(mine, workflow_id))["stopped_until"] is None
    (alert,) = await cost_alerts(mine, workflow_id)
    assert (alert["instance_id"], alert["action_taken"]) == (second, "alert")
    await alerts_told(mine, workflow_id, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"budget_daily_limit_usd": None},
        {"budget_daily_limit_usd": 2},
        {"budget_action": "alert"},
        {"budget_enabled": False},
    ],
)
async def test_a_budget_that_would_not_have_stopped_the_day_lets_it_go_on(
    mine: Calls, change: dict[str, object]
) -> None:
    workflow_id = await budgeted(mine, budget_daily_limit_usd=1, budget_action="pause")
    (other, _) = await open_runs(mine, workflow_id, "0.5", "1.5")
    assert (await spend(mine, workflow_id, "1", None, 409, start="yes"))["code"] == "daily_budget_exceeded"
    # Another limit that is spent as well, or one that has nothing to do with it.
    for same in ({"budget_daily_limit_usd": "1.5"}, {"budget_limit_usd": 50}):
        assert (await set_budget(mine, workflow_id, **same))["stopped_until"] is not None
    assert (await set_budget(mine, workflow_id, **change))["stopped_until"] is None
    await open_runs(mine, workflow_id, None)
    # The run that no ping had asked for meanwhile was never stopped.
    await spend(mine, workflow_id, "2", instance_id=other)


async def test_a_run_that_was_not_opened_is_refused_again_by_the_same_key(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_daily_limit_usd=1, budget_action="pause")
    await open_runs(mine, workflow_id, 2)

    async def start(key: str) -> dict[str, object]:
        params = {"stagePath": "1", "start": "yes"}
        response = await mine.http.post(f"/dhk/{workflow_id}", params=params, headers={"Idempotency-Key": key})
        return read_exactly(response, response.status_code)

    refusal = await start("first")
    assert refusal["code"] == "daily_budget_exceeded"
    await set_budget(mine, workflow_id, budget_daily_limit_usd=5)
    assert await start("first") == refusal
    assert (await start("second"))["workflow_status"] == "running"


async def test_the_next_day_goes_on_by_itself(mine: Calls, sessions: Sessions) -> None:
    workflow_id = await budgeted(mine, budget_daily_limit_usd=1, budget_action="pause")
    (other, _) = await open_runs(mine, workflow_id, "0.5", "1.5")
    async with transaction(sessions) as session:
        # As it is on the day after.
        of_workflow = update(BudgetRow).where(BudgetRow.workflow_id == workflow_id)
        await session.execute(of_workflow.values(stopped_until=utc_now()))
    budget = await budget_of(mine, workflow_id)
    assert (budget["stopped_until"], budget["stop_reason"]) == (None, None)
    await open_runs(mine, workflow_id, None)
    await spend(mine, workflow_id, "2", instance_id=other)


async def test_many_at_once_spend_what_is_counted_and_trip_once(
    mine: Calls, ours: Calls, ours_elsewhere: Calls, sessions: Sessions
) -> None:
    workflow_id = await budgeted(ours, budget_daily_limit_usd=10, budget_action="pause")
    runs = await open_runs(ours, workflow_id, *[None] * 8)

    async def ping(number: int) -> bool:
        calls = (ours, ours_elsewhere)[number % 2]
        response = await calls.http.post(
            f"/dhk/{workflow_id}",
            json={"cost_usd": "0.7"},
            params={"stagePath": "2", "instance_id": runs[number % len(runs)]},
        )
        assert response.status_code in (200, 409), response.text
        return response.status_code == 200

    taken = await asyncio.gather(*(ping(number) for number in range(48)))
    # The fifteenth crosses.
    assert sum(taken) == 15
    assert (await budget_of(ours, workflow_id))["today_cost_usd"] == Decimal("10.5")
    (alert,) = await cost_alerts(ours, workflow_id)
    assert alert["current_cost_usd"] == Decimal("10.5")
    async with sessions() as session:
        kept = await session.scalars(select(Ping.outcome).where(Ping.workflow_id == workflow_id, Ping.path == "2"))
        assert sorted(kept) == ["accepted"] * 15 + ["rejected"] * 33
    costs = [read_exactly(await ours.http.get(f"/api/instances/{run}/cost"))["total_cost_usd"] for run in runs]
    assert sum(costs) == Decimal("10.5")
