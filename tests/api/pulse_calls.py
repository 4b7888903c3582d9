"""Calls about pulses, so that tests read like what a user does."""

from typing import Any

from tests.api.calls import Calls
from tests.support.waiting import until

HOURLY = {"name": "Nightly backup", "period_seconds": 3600}


async def create(calls: Calls, **rules: Any) -> dict[str, Any]:
    return await calls.post("/api/pulses", {**HOURLY, **rules}, 201)


async def patch(calls: Calls, pulse_id: str, expected: int = 200, **changes: Any) -> dict[str, Any]:
    response = await calls.http.patch(f"/api/pulses/{pulse_id}", json=changes)
    assert response.status_code == expected, response.text
    return dict(response.json())


async def read(calls: Calls, pulse_id: str) -> dict[str, Any]:
    return dict(await calls.get(f"/api/pulses/{pulse_id}"))


async def recorded(calls: Calls, pulse_id: str, *statuses: str) -> list[dict[str, Any]]:
    """The events, once the workflow has recorded exactly these changes, the oldest first."""

    async def are_there() -> Any:
        events = (await calls.get(f"/api/pulses/{pulse_id}/events"))["events"]
        return events if [event["to_status"] for event in reversed(events)] == list(statuses) else None

    return list(await until(are_there))
