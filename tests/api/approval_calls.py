"""Calls about approvals, so that tests read like what an agent and its people do."""

from typing import Any, Final

import httpx

from storage.base import Sessions
from storage.keys import find_key
from tests.api.calls import Calls

ADA: Final = "ada@example.com"
BOB: Final = "bob@example.com"
CLEO: Final = "cleo@example.com"


async def create(calls: Calls, expected: int = 201, **body: Any) -> dict[str, Any]:
    """The answer to a request of which Ada is asked, unless it says otherwise."""
    return await calls.post("/api/approvals", {"context": "Publish the report", "approvers": [ADA]} | body, expected)


async def ask(calls: Calls, **body: Any) -> str:
    """The id of a new approval."""
    return str((await create(calls, **body))["approval_id"])


async def look(calls: Calls, approval_id: str, expected: int = 200, **params: Any) -> dict[str, Any]:
    return dict(await calls.get(f"/api/approvals/{approval_id}", expected, **params))


async def answer(calls: Calls, approval_id: str, decision: str = "approve", **body: Any) -> httpx.Response:
    return await calls.http.post(f"/api/approvals/{approval_id}/decide", json={"decision": decision} | body)


async def decide(calls: Calls, approval_id: str, decision: str = "approve", **body: Any) -> dict[str, Any]:
    """The approval after a vote that is taken."""
    response = await answer(calls, approval_id, decision, **body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def only(document: dict[str, Any], *members: str) -> dict[str, Any]:
    return {member: document[member] for member in members}


async def key_id(sessions: Sessions, key: str) -> str:
    """What a key is called where it acts."""
    async with sessions() as session:
        found = await find_key(session, key)
    assert found is not None
    return f"api-key:{found.id}"
