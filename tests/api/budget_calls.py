"""What users do with budgets, so that tests read like it."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import httpx

from api.budget_views import BudgetView, CostAlertList
from tests.api.calls import Calls
from tests.support.waiting import until


def read_exactly(response: httpx.Response, expected: int = 200) -> dict[str, Any]:
    """With money as it was written."""
    assert response.status_code == expected, response.text
    return dict(json.loads(response.text, parse_float=Decimal, parse_int=int))


async def budget_of(calls: Calls, workflow_id: str) -> dict[str, Any]:
    response = await calls.http.get(f"/api/workflows/{workflow_id}/budget")
    budget = read_exactly(response)
    BudgetView.model_validate(response.json())
    return budget


async def set_budget(calls: Calls, workflow_id: str, **fields: Any) -> dict[str, Any]:
    response = await calls.http.put(f"/api/workflows/{workflow_id}/budget", json=fields)
    budget = read_exactly(response)
    BudgetView.model_validate(response.json())
    return budget


async def budgeted(calls: Calls, **fields: Any) -> str:
    """A new dynamic workflow with that budget."""
    workflow_id = await calls.define("dynamic")
    await set_budget(calls, workflow_id, **fields)
    return workflow_id


async def spend(
    calls: Calls, workflow_id: str, stage: str, cost: object = None, expected: int = 200, **params: Any
) -> dict[str, Any]:
    """The answer to a ping of a dynamic workflow that costs so much, or says nothing of costs."""
    body = {"cost_usd": cost} if cost is not None else {}
    return read_exactly(
        await calls.http.post(f"/dhk/{workflow_id}", json=body, params={"stagePath": stage, **params}), expected
    )


async def cost_alerts(calls: Calls, workflow_id: str, **params: Any) -> list[dict[str, Any]]:
    """The oldest first."""
    response = await calls.http.get(f"/api/workflows/{workflow_id}/cost-alerts", params=params)
    CostAlertList.model_validate(response.json())
    return list(reversed(read_exactly(response)["alerts"]))


async def alerts_told(calls: Calls, workflow_id: str, count: int) -> list[dict[str, Any]]:
    """What channels are told of the workflow, the oldest first, once there are so many."""

    async def found() -> Sequence[dict[str, Any]] | None:
        alerts = (await calls.get("/api/alerts", source=f"workflow/{workflow_id}", limit=100))["alerts"]
        assert len(alerts) <= count
        return list(reversed(alerts)) if len(alerts) == count else None

    return list(await until(found))


async def timeline(calls: Calls, instance_id: str, **params: Any) -> dict[str, Any]:
    return dict(await calls.get(f"/api/instances/{instance_id}/timeline", **params))


async def refused(calls: Calls, workflow_id: str) -> list[tuple[str, str, str | None]]:
    """Of the failed queue, the oldest first: stage, code and instance."""
    pings = await calls.failed_pings(workflow_id)
    return [(ping["stage_path"], ping["code"], ping["instance_id"]) for ping in reversed(pings)]
