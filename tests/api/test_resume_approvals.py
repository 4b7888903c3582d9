"""A pause asks the approvers that its budget names, and goes on as they decide, over HTTP."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from api.approval_views import ApprovalDocument
from storage.approvals import get_approval
from storage.base import Sessions
from storage.messages import Message
from tests.api.approval_calls import ADA, BOB, answer, decide, look
from tests.api.budget_calls import spend
from tests.api.calls import Calls
from tests.api.resume_calls import paused, resume, steps
from tests.api.test_errors import problem
from tests.support.approval_pages import browser, page_path
from tests.support.stack import Stack
from tests.support.waiting import until


async def approvals_of(calls: Calls, instance_id: str) -> list[dict[str, Any]]:
    """The oldest first."""
    return list(reversed((await calls.get("/api/approvals", instance_id=instance_id))["approvals"]))


async def asked_of(calls: Calls, instance_id: str) -> str:
    (approval,) = await approvals_of(calls, instance_id)
    return str(approval["approval_id"])


async def test_a_pause_asks_the_approvers(ours: Calls, sessions: Sessions) -> None:
    workflow_id, instance_id = await paused(ours, resume_approvers=[ADA, BOB])
    (document,) = await approvals_of(ours, instance_id)
    ApprovalDocument.model_validate(document)
    assert document["title"] == f"Resume A workflow ({instance_id})?"
    assert "Instance cost $1.10 exceeds budget limit $1.00" in document["context"]
    wanted = {
        "status": "pending",
        "requested_by": "circuit breaker",
        "approvers": [ADA, BOB],
        "quorum": 1,
        "expires_at": None,
        "workflow_id": workflow_id,
        "instance_id": instance_id,
        "stage_path": "2",
        "resumes_instance": True,
    }
    assert {name: document[name] for name in wanted} == wanted
    approval_id = document["approval_id"]
    async with sessions() as session:
        query = select(Message.recipient).where(Message.approval_id == approval_id, Message.topic == "request")
        assert sorted((await session.scalars(query)).all(), key=str) == [ADA, BOB]
    trail = await ours.get(f"/api/approvals/{approval_id}/audit")
    assert (trail["is_intact"], trail["entries"][0]["actor"]) == (True, "pingpulse")

    async def is_followed() -> bool:
        async with sessions() as session:
            approval = await get_approval(session, approval_id)
            return approval is not None and approval.followed_revision == approval.revision

    await until(is_followed, timeout=10)
    events = (await ours.get(f"/api/instances/{instance_id}/timeline"))["events"]
    assert [event["event"] for event in events if event["type"] == "approval"] == ["requested"]


@pytest.mark.parametrize("way", ["key", "page"])
async def test_approved_it_goes_on(ours: Calls, stack: Stack, way: str) -> None:
    workflow_id, instance_id = await paused(ours, resume_approvers=[ADA])
    approval_id = await asked_of(ours, instance_id)
    if way == "key":
        assert (await decide(ours, approval_id, approver=ADA))["status"] == "approved"
    else:
        async with browser(stack.url) as ada:
            page = await ada.press(await ada.open(page_path(approval_id, ADA)), "approve")
            assert page.title.startswith("Approved")
    shown = await ours.instance(instance_id)
    assert shown["status"] == "running"
    assert f"Resumed by {ADA} (approval {approval_id})." in shown["transitions"][-1]["reason"]
    assert (await spend(ours, workflow_id, "3", final="yes"))["workflow_status"] == "completed"
    document = await look(ours, approval_id)
    assert (document["decided_by"], document["reason"]) == (ADA, None)
    assert (await ours.get(f"/api/approvals/{approval_id}/audit"))["is_intact"]


async def test_denied_it_stays_paused(ours: Calls) -> None:
    workflow_id, instance_id = await paused(ours, resume_approvers=[ADA])
    approval_id = await asked_of(ours, instance_id)
    assert (await decide(ours, approval_id, "deny", approver=ADA))["status"] == "denied"
    assert (await ours.instance(instance_id))["status"] == "paused"
    assert (await resume(ours, instance_id))["status"] == "running"
    assert (await look(ours, approval_id))["status"] == "denied"
    assert (await spend(ours, workflow_id, "3"))["workflow_status"] == "running"


async def test_cancelled_it_stays_paused(ours: Calls) -> None:
    _, instance_id = await paused(ours, resume_approvers=[ADA])
    await ours.post(f"/api/approvals/{await asked_of(ours, instance_id)}/cancel", {})
    assert (await ours.instance(instance_id))["status"] == "paused"


async def test_a_request_makes_the_approval_needless(ours: Calls) -> None:
    workflow_id, instance_id = await paused(ours, resume_approvers=[ADA])
    approval_id = await asked_of(ours, instance_id)
    await resume(ours, instance_id, budget_limit_usd=2)
    document = await look(ours, approval_id)
    assert document["status"] == "cancelled"
    assert f"Instance {instance_id} was resumed by api-key:" in document["notes"]
    problem(await answer(ours, approval_id, approver=ADA), 409, "approval_decided")
    assert (await spend(ours, workflow_id, "3", 5))["workflow_status"] == "paused"
    first, second = await approvals_of(ours, instance_id)
    assert (first["status"], second["status"]) == ("cancelled", "pending")
    await decide(ours, second["approval_id"], approver=ADA)
    assert (await ours.instance(instance_id))["status"] == "running"


async def test_a_decision_on_what_is_not_paused_any_more_says_so(ours: Calls) -> None:
    workflow_id, instance_id = await paused(ours, resume_approvers=[ADA])
    approval_id = await asked_of(ours, instance_id)
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    document = await decide(ours, approval_id, approver=ADA)
    assert document["status"] == "approved"
    assert document["reason"].startswith(f"Instance {instance_id} was terminated and cannot be resumed.")
    assert (await ours.instance(instance_id))["status"] == "terminated"
    assert (await ours.get(f"/api/approvals/{approval_id}/audit"))["is_intact"]


async def test_votes_and_requests_at_once_resume_once(ours: Calls, ours_elsewhere: Calls) -> None:
    for _ in range(3):
        workflow_id, instance_id = await paused(ours, resume_approvers=[ADA, BOB])
        approval_id = await asked_of(ours, instance_id)
        decide_url, resume_url = f"/api/approvals/{approval_id}/decide", f"/api/instances/{instance_id}/resume"
        votes = [
            calls.http.post(decide_url, json={"decision": "approve", "approver": name})
            for calls, name in ((ours, ADA), (ours_elsewhere, BOB))
        ]
        requests = [calls.http.post(resume_url) for calls in (ours_elsewhere, ours, ours_elsewhere)]
        responses = await asyncio.gather(*votes, *requests)
        assert sorted(response.status_code for response in responses) == [200] + [409] * 4
        assert await steps(ours, instance_id) == ["running", "paused", "running"]
        assert (await look(ours, approval_id))["status"] in ("approved", "cancelled")
        assert (await spend(ours, workflow_id, "3"))["workflow_status"] == "running"
