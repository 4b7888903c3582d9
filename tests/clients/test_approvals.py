"""Asking people, and waiting for them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from pingpulse import ApprovalPending, Conflict, ConnectionFailed, InvalidRequest, NotFound
from pingpulse._asking import OUTAGE_SECONDS, Waiting
from pingpulse._parsing import parse
from pingpulse.models import Approval
from tests.api.approval_calls import decide
from tests.api.calls import Calls
from tests.clients.breakable import Breakable, Fault
from tests.clients.conftest import Kind
from tests.support.waiting import until

Connect = Callable[..., Any]

ADA = ["ada@example.com"]


async def asked(mine: Calls) -> str:
    """The id of the only approval that is open, once it is there."""

    async def find() -> Any:
        return (await mine.get("/api/approvals", status="pending"))["approvals"]

    (approval,) = await until(find)
    return str(approval["approval_id"])


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_asking_waits_until_somebody_decides(connect: Connect, kind: Kind, mine: Calls, decision: str) -> None:
    client = connect()
    asking = asyncio.create_task(
        kind.call(client.ask, "Publish the report?", title="Report", approvers=ADA, payload={"words": 1500})
    )
    approval_id = await asked(mine)
    await asyncio.sleep(0.3)
    assert not asking.done()
    began = time.monotonic()
    await decide(mine, approval_id, decision, approver="ada@example.com", notes="as you like")
    approval = await asking
    assert time.monotonic() - began < 3
    assert bool(approval) is approval.approved is (decision == "approve")
    assert (approval.approval_id, approval.notes, approval.payload) == (approval_id, "as you like", {"words": 1500})
    assert [vote.decision for vote in approval.votes] == [decision]


async def test_silence_decides_at_the_deadline(connect: Connect, kind: Kind) -> None:
    approval = await kind.call(connect().ask, "Go on?", approvers=ADA, timeout_seconds=1, timeout_action="approve")
    assert (approval.approved, approval.decided_by) == (True, "timeout")


async def test_who_waits_no_longer_may_come_back(connect: Connect, kind: Kind, mine: Calls) -> None:
    client = connect()
    with pytest.raises(ApprovalPending) as pending:
        await kind.call(client.ask, "Go on?", wait_seconds=0.3, approvers=ADA, timeout_seconds=None)
    assert isinstance(pending.value, TimeoutError)
    approval = await kind.call(client.approvals.get, pending.value.approval_id)
    assert (approval.status, approval.is_decided, bool(approval)) == ("pending", False, False)
    assert (approval.expires_at, approval.seconds_remaining) == (None, None)
    await decide(mine, approval.approval_id)
    assert await kind.call(client.approvals.wait, approval.approval_id)


async def test_outages_do_not_end_the_waiting(connect: Connect, kind: Kind, mine: Calls, proxy: Breakable) -> None:
    client = connect(proxy.url)
    asking = asyncio.create_task(kind.call(client.ask, "Go on?", approvers=ADA))
    approval_id = await asked(mine)
    await until(lambda: len(proxy.seen) == 2)
    proxy.break_()
    proxy.faults.extend([Fault(503), Fault(429, {"Retry-After": "0"}), Fault(loses=True)])
    await decide(mine, approval_id)
    await asyncio.sleep(0.3)
    assert not asking.done()
    proxy.mend()
    assert (await asking).approved


async def test_nobody_has_to_decide_any_more(connect: Connect, kind: Kind, proxy: Breakable) -> None:
    client = connect(proxy.url)
    asked = await kind.call(client.approvals.request, "Go on?", approvers=ADA)
    proxy.faults.append(Fault(loses=True))
    approval = await kind.call(client.approvals.cancel, asked.approval_id, "not needed")
    assert (approval.status, approval.approved, approval.notes) == ("cancelled", False, "not needed")
    assert not await kind.call(client.approvals.wait, asked.approval_id)


async def test_what_is_decided_cannot_be_cancelled(connect: Connect, kind: Kind, mine: Calls) -> None:
    client = connect()
    asked = await kind.call(client.approvals.request, "Go on?", approvers=ADA)
    await decide(mine, asked.approval_id, approver="ada@example.com")
    with pytest.raises(Conflict) as refused:
        await kind.call(client.approvals.cancel, asked.approval_id)
    assert (refused.value.code, refused.value.extra["decided_by"]) == ("approval_decided", "ada@example.com")


async def test_questions_that_cannot_be_asked(connect: Connect, kind: Kind) -> None:
    client = connect()
    with pytest.raises(InvalidRequest) as refused:
        await kind.call(client.ask, "Go on?", approvers=["ada"], quorum=0)
    assert [field.field for field in refused.value.fields] == ["approvers.0", "quorum"]
    with pytest.raises(NotFound):
        await kind.call(client.approvals.wait, "apr_0000000000")


def approval(result: int | None) -> Approval:
    return parse(Approval, {"approval_id": "apr_1", "status": "…", "result": result})


def test_who_has_little_time_asks_for_as_long_as_that() -> None:
    waiting = Waiting("apr_1", 40, now=0)
    assert waiting.ask(0).request.query == {"wait": "30.000"}
    assert waiting.after(approval(None), 30) == 0
    assert waiting.ask(30).request.query == {"wait": "10.000"}
    assert waiting.ask(30).request.extra_seconds == 10
    assert waiting.after(approval(1), 35) is None
    with pytest.raises(ApprovalPending):
        waiting.after(approval(None), 40)


def test_a_gateway_that_answers_at_once_is_not_asked_at_once() -> None:
    waiting = Waiting("apr_1", None, now=0)
    waiting.ask(0)
    assert waiting.after(approval(None), 0.1) == 1


def test_an_outage_has_an_end() -> None:
    waiting, error, now = Waiting("apr_1", None, now=0), ConnectionFailed("gone"), 0.0
    for _ in range(2):
        began = now
        while now - began < OUTAGE_SECONDS - 20:
            now += waiting.after_error(error, now)
        waiting.ask(now)
        waiting.after(approval(None), now)
    while now < 10 * OUTAGE_SECONDS:
        try:
            now += waiting.after_error(error, now)
        except ConnectionFailed:
            break
    assert now < 4 * OUTAGE_SECONDS
    with pytest.raises(NotFound):
        waiting.after_error(NotFound(404, "not_found", "", ""), now)
