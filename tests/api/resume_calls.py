"""Paused instances, and what resumes them, so that tests read like what users do."""

from typing import Any

from tests.api.budget_calls import budgeted, spend
from tests.api.calls import Calls


async def paused(calls: Calls, **budget: Any) -> tuple[str, str]:
    """A workflow and its instance, which has spent 1.10 of 1.00."""
    workflow_id = await budgeted(calls, **{"budget_action": "pause", "budget_limit_usd": 1, **budget})
    opened = await spend(calls, workflow_id, "1", 0.4, start="yes")
    crossed = await spend(calls, workflow_id, "2", 0.7)
    assert (opened["workflow_status"], crossed["workflow_status"]) == ("running", "paused")
    return workflow_id, str(opened["instance_id"])


async def resume(calls: Calls, instance_id: str, expected: int = 200, **body: Any) -> dict[str, Any]:
    response = await calls.http.post(f"/api/instances/{instance_id}/resume", json=body or None)
    assert response.status_code == expected, response.text
    return dict(response.json())


async def steps(calls: Calls, instance_id: str) -> list[str]:
    transitions = (await calls.instance(instance_id))["transitions"]
    return [item["to_status"] for item in transitions if item["stage_path"] is None]
