"""What agents are told when something is wrong, and what is done about it before."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.mcp_server import gateway
from cli.mcp_server.approving import LATE_SECONDS
from tests.api.calls import Calls, new_id
from tests.mcp_server.agents import over_stdio
from tests.support.receivers import Answer, HttpReceiver, http_receiver
from tests.support.stack import Stack

KEY = "ppk_abcdefghij_abcdefghijabcdefghijabcdefghijabcdefghij"
PINGED = {"status": "success", "workflow_id": "wf", "instance_id": "d12345678", "workflow_status": "running"}
APPROVAL = {
    "approval_id": "apr_8k2m4n6p",
    "status": "pending",
    "result": None,
    "seconds_remaining": 100,
    "expires_at": None,
    "timeout_action": "deny",
    "approvers": ["ada@example.com"],
    "quorum": 1,
    "approvals": 0,
    "denials": 0,
    "title": None,
    "context": "Publish?",
    "url": "http://localhost:8000/approvals/apr_8k2m4n6p",
}
APPROVED = APPROVAL | {"status": "approved", "result": 1, "decided_by": "ada@example.com", "approvals": 1}


def good(document: dict[str, Any]) -> Answer:
    return Answer(headers={"Content-Type": "application/json"}, body=json.dumps(document).encode())


def problem(status: int, code: str, detail: str, headers: Iterable[tuple[str, str]] = (), **more: Any) -> Answer:
    document = {"type": f"/docs/errors#{code}", "title": code, "status": status, "code": code, "detail": detail} | more
    return Answer(status, dict(headers), json.dumps(document).encode())


@asynccontextmanager
async def answering(*answers: Answer) -> AsyncIterator[HttpReceiver]:
    """Something in the place of a gateway that answers so, the last answer for ever."""
    async with http_receiver() as receiver:
        receiver.answers = list(answers)
        yield receiver


AGAIN = problem(503, "unavailable", "Postgres does not answer.")


async def test_a_wrong_key_is_said_and_not_shown(tmp_path: Path, stack: Stack) -> None:
    async with over_stdio(tmp_path, stack.url, KEY) as agent:
        told = await agent.fail("list_workflows")
    assert "unauthenticated" in told
    assert "PINGPULSE_API_KEY" in told
    assert KEY not in told


async def test_what_belongs_to_another_account_is_refused(
    tmp_path: Path, stack: Stack, mine: Calls, theirs: Calls
) -> None:
    workflow_id, instance_id = await theirs.open()
    async with over_stdio(tmp_path, stack.url, mine.key) as agent:
        told = [
            await agent.fail("get_tree", workflow_id=workflow_id),
            await agent.fail("get_timeline", instance_id=instance_id),
            await agent.fail("ping_stage", workflow_id=workflow_id, stage=2),
        ]
    assert all("forbidden" in text for text in told)


async def test_a_gateway_that_is_down_is_tried_again_and_then_told_of(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://user:password@127.0.0.1:{nobody.getsockname()[1]}"
        async with over_stdio(tmp_path, url, KEY) as agent:
            begun = time.monotonic()
            pinging = asyncio.create_task(agent.fail("ping_stage", workflow_id=new_id(), stage=1))
            asking = asyncio.create_task(agent.fail("ask_for_approval", context="Publish?", idempotency_key="mine"))
            pinged, asked = await pinging, await asking
            assert time.monotonic() - begun >= sum(gateway.PAUSES)
    assert "cannot be reached" in pinged
    assert "repeat the call with idempotency_key=mcp-" in pinged
    assert "repeat the call with idempotency_key=mine" in asked
    assert "password" not in pinged
    assert KEY not in pinged


async def test_a_ping_is_sent_again_with_the_same_key_until_it_is_kept(tmp_path: Path) -> None:
    answers = (Answer(drops=True), AGAIN, Answer(502, body=b"Bad gateway"), good(PINGED))
    async with answering(*answers) as receiver, over_stdio(tmp_path, receiver.url(""), KEY) as agent:
        answer = await agent.call("ping_stage", workflow_id="wf", stage=1)
    assert answer["instance_id"] == "d12345678"
    assert len(receiver.received) == 4
    assert {request.headers["idempotency-key"] for request in receiver.received} == {answer["idempotency_key"]}
    assert {request.headers["x-api-key"] for request in receiver.received} == {KEY}
    assert not [request.target for request in receiver.received if "ppk_" in request.target]


async def test_refusals_are_not_tried_again(tmp_path: Path) -> None:
    async with (
        answering(problem(409, "instance_closed", "Instance d1 closed.")) as receiver,
        over_stdio(tmp_path, receiver.url(""), KEY) as agent,
    ):
        told = await agent.fail("ping_stage", workflow_id="wf", stage=1)
    assert "Instance d1 closed. (HTTP 409, instance_closed)" in told
    assert len(receiver.received) == 1


@pytest.mark.parametrize("code", ["instance_paused", "instance_terminated", "daily_budget_exceeded"])
async def test_a_budget_that_is_used_up_tells_to_stop_and_ask(tmp_path: Path, code: str) -> None:
    detail = "Instance d1 of workflow wf is paused: it cost $105.50 of $100.00."
    async with (
        answering(problem(409, code, detail, workflow_status="paused")) as receiver,
        over_stdio(tmp_path, receiver.url(""), KEY) as agent,
    ):
        told = await agent.fail("ping_stage", workflow_id="wf", stage=1)
    assert detail in told
    assert "Stop here" in told
    assert "ask how to go on" in told


async def test_a_limit_tells_how_long_to_wait(tmp_path: Path) -> None:
    limited = problem(429, "rate_limited", "Too many requests.", [("Retry-After", "17")])
    async with answering(limited) as receiver, over_stdio(tmp_path, receiver.url(""), KEY) as agent:
        told = await agent.fail("list_workflows")
    assert "Wait 17 seconds" in told


STRANGE = [
    Answer(404, body=b"<html>Not here</html>"),
    Answer(200, body=b"<html>Welcome</html>"),
    Answer(301, {"Location": "https://example.com/"}),
    Answer(404, body=b'["not", "ours"]'),
    good({"instance_id": 7}),
]


@pytest.mark.parametrize("answer", STRANGE, ids=["404", "200", "301", "json", "other"])
async def test_something_else_than_a_gateway_is_told_of(tmp_path: Path, answer: Answer) -> None:
    async with answering(answer) as receiver, over_stdio(tmp_path, receiver.url(""), KEY) as agent:
        told = await agent.fail("ping_stage", workflow_id="wf", stage=1)
        listed = await agent.fail("list_workflows")
    assert "PINGPULSE_URL" in told
    assert "PINGPULSE_URL" in listed


async def test_a_key_that_the_gateway_quotes_is_not_passed_on(tmp_path: Path) -> None:
    secret = "not-like-one-of-ours"
    quoted = problem(400, "invalid_request", f"agent: contains {KEY} and {secret}", errors=[{"field": "agent"}])
    async with answering(quoted) as receiver, over_stdio(tmp_path, receiver.url(""), secret) as agent:
        told = await agent.fail("ping_stage", workflow_id="wf", stage=1)
    assert KEY not in told
    assert secret not in told


async def test_a_gateway_that_restarts_does_not_end_a_wait(tmp_path: Path) -> None:
    gone = [Answer(drops=True)] * (len(gateway.PAUSES) + 1)
    async with (
        answering(good(APPROVAL), *gone, good(APPROVED)) as receiver,
        over_stdio(tmp_path, receiver.url(""), KEY) as agent,
    ):
        answer = await agent.call("wait_for_approval", approval_id="apr_8k2m4n6p", max_wait_seconds=60)
    assert answer["proceed"]
    assert len(agent.progress) == 2


async def test_a_gateway_that_is_down_when_a_wait_ends_is_told_of(tmp_path: Path) -> None:
    async with (
        answering(good(APPROVAL), Answer(drops=True)) as receiver,
        over_stdio(tmp_path, receiver.url(""), KEY) as agent,
    ):
        told = await agent.fail("wait_for_approval", approval_id="apr_8k2m4n6p", max_wait_seconds=1)
    assert "cannot be reached" in told


async def test_an_approval_that_was_asked_for_is_not_lost_with_the_gateway(tmp_path: Path) -> None:
    created = {"approval_id": "apr_8k2m4n6p", "status": "pending", "result": None, "expires_at": None}
    gone = Answer(drops=True)
    async with answering(good(created), gone) as receiver, over_stdio(tmp_path, receiver.url(""), KEY) as agent:
        told = await agent.fail("ask_for_approval", context="Publish?")
    assert "cannot be reached" in told
    assert "call wait_for_approval with approval_id=apr_8k2m4n6p" in told


async def test_a_gateway_that_hangs_does_not_make_a_wait_longer(tmp_path: Path) -> None:
    hangs = Answer(hangs=True)
    async with answering(good(APPROVAL), hangs) as receiver, over_stdio(tmp_path, receiver.url(""), KEY) as agent:
        begun = time.monotonic()
        told = await agent.fail("wait_for_approval", approval_id="apr_8k2m4n6p", max_wait_seconds=1)
        assert time.monotonic() - begun < 1 + LATE_SECONDS + 3
    assert "did not answer in time" in told


async def test_a_gateway_that_does_not_hold_requests_is_not_asked_without_end(tmp_path: Path) -> None:
    async with answering(good(APPROVAL)) as receiver, over_stdio(tmp_path, receiver.url(""), KEY) as agent:
        await agent.call("wait_for_approval", approval_id="apr_8k2m4n6p", max_wait_seconds=2)
    assert len(receiver.received) <= 4
