"""Calls of FlowPulse's API, so that tests read like what a user does."""

from typing import Any
from uuid import uuid4

import httpx

from tests.api.calls import Calls
from tests.support.waiting import until

SUCCESS = "/api/v1/ingest/run-success"
FAILURE = "/api/v1/ingest/run-failure"
ENDED = "2026-01-15T09:00:04.500Z"


def new_execution() -> str:
    """An id that no other run has."""
    return f"exec-{uuid4().hex[:12]}"


async def runs(calls: Calls, **fields: Any) -> str:
    """A new workflow's id."""
    return await calls.define("run", **{"name": f"Enrichment {uuid4().hex[:8]}", **fields})


async def succeed(calls: Calls, workflow_id: str, expected: int = 202, **fields: Any) -> dict[str, Any]:
    return await calls.post(SUCCESS, {"workflow_id": workflow_id, "ended_at": ENDED, **fields}, expected)


async def fail(calls: Calls, workflow_id: str, expected: int = 202, **fields: Any) -> dict[str, Any]:
    body = {"workflow_id": workflow_id, "ended_at": ENDED, "error_message": "429 from the CRM", **fields}
    return await calls.post(FAILURE, body, expected)


async def history(calls: Calls, workflow_id: str) -> list[dict[str, Any]]:
    """The workflow's runs, the newest first."""
    answer = await calls.history(workflow_id, limit=50)
    assert answer["running_instance"] is None
    return list(answer["recent_instances"])


async def steps(calls: Calls, instance_id: str) -> list[dict[str, Any]]:
    return list((await calls.get(f"/api/instances/{instance_id}/timeline"))["timeline"])


async def told(calls: Calls, workflow_id: str, *kinds: str) -> list[dict[str, Any]]:
    """The alerts of a workflow, the oldest first, once there are exactly these."""

    async def are_there() -> Any:
        alerts = (await calls.get("/api/alerts", source=f"workflow/{workflow_id}", limit=50))["alerts"]
        return alerts[::-1] if [alert["kind"] for alert in reversed(alerts)] == list(kinds) else None

    return list(await until(are_there))


def wrong(response: httpx.Response | dict[str, Any]) -> dict[str, str]:
    """What is wrong with each field."""
    problem = response.json() if isinstance(response, httpx.Response) else response
    return {item["field"]: item["message"] for item in problem["errors"]}
