"""Approvals: an agent asks, somebody else decides meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.approval_watch import ApprovalWatch
from cli.mcp_server.approving import SLICE_SECONDS
from tests.api.approval_calls import ADA, BOB, ask, decide, look
from tests.api.calls import Calls
from tests.api.conftest import calls_to
from tests.mcp_server.agents import Agent, Mode, http_server, over_http, over_stdio
from tests.mcp_server.conftest import Agents
from tests.support.serving import serve
from tests.support.stack import Stack
from tests.support.waiting import until

MODES: list[Mode] = ["auto", "legacy"]


async def waits(agent: Agent, times: int = 1) -> None:
    """Returns once the agent was told that it waits."""
    await until(lambda: len(agent.progress) >= times)


async def newest(calls: Calls) -> dict[str, Any] | None:
    approvals = (await calls.get("/api/approvals"))["approvals"]
    return dict(approvals[0]) if approvals else None


async def test_a_request_has_all_that_was_asked(agents: Agents, mine: Calls) -> None:
    workflow_id, instance_id = await mine.open()
    asked = {
        "context": "Send the newsletter?",
        "title": "Newsletter",
        "payload": {"subject": "Q4 results", "to": 1200},
        "approvers": [ADA, BOB],
        "quorum": 2,
        "editable": {"type": "object", "properties": {"subject": {"type": "string"}}},
        "timeout_action": "deny",
        "confirm": "code",
        "instance_id": instance_id,
        "stage_path": "1",
    }
    async with agents() as agent:
        answer = await agent.call("request_approval", **asked, timeout_seconds=600)
        for_ever = await agent.call("request_approval", context="Whenever?", approvers=[ADA], timeout_seconds=None)
        again = await agent.call("request_approval", context="Once?", approvers=[ADA], idempotency_key="k")
        same = await agent.call("request_approval", context="Once?", approvers=[ADA], idempotency_key="k")
    assert answer["status"] == "pending"
    approval = await look(mine, answer["approval_id"])
    assert {name: approval[name] for name in asked} == asked
    assert approval["workflow_id"] == workflow_id
    assert 590 < approval["seconds_remaining"] <= 600
    assert for_ever["expires_at"] is None
    assert again["approval_id"] == same["approval_id"]


async def test_what_cannot_be_asked_is_explained(agents: Agents) -> None:
    async with agents() as agent:
        nobody = await agent.fail("request_approval", context="Go?", approvers=["nobody"])
        choices = await agent.fail(
            "ask_for_approval", context="Which?", approvers=[ADA], choices=["a", "b"], timeout_action="approve"
        )
        missing = await agent.fail("wait_for_approval", approval_id="apr_000000000000")
    assert "approvers" in nobody
    assert "timeout_action" in choices
    assert "There is no approval" in missing


@pytest.mark.parametrize("mode", MODES)
async def test_it_waits_until_another_client_decides(agents: Agents, mine: Calls, mode: Mode) -> None:
    async with agents(mode=mode) as agent:
        asking = asyncio.create_task(agent.call("ask_for_approval", context="Publish?", approvers=[ADA]))
        await waits(agent)
        approval = await until(lambda: newest(mine))
        await decide(mine, approval["approval_id"], notes="Looks good, proceed!", approver=ADA)
        answer = await asking
    assert (answer["approval_id"], answer["status"], answer["proceed"]) == (approval["approval_id"], "approved", True)
    assert (answer["notes"], answer["decided_by"]) == ("Looks good, proceed!", ADA)
    assert approval["approval_id"] in agent.progress[0]


async def test_denials_choices_and_edits_arrive(agents: Agents, mine: Calls) -> None:
    denied = await ask(mine)
    chosen = await ask(mine, choices=["blue", "green"])
    edited = await ask(
        mine, payload={"to": 1200}, editable={"type": "object", "properties": {"to": {"type": "integer"}}}
    )
    cancelled = await ask(mine)
    await decide(mine, denied, "deny", notes="Too early")
    await decide(mine, chosen, choice="green")
    await decide(mine, edited, response={"to": 3})
    await mine.post(f"/api/approvals/{cancelled}/cancel", {})
    async with agents() as agent:
        answers = [
            await agent.call("wait_for_approval", approval_id=id_) for id_ in (denied, chosen, edited, cancelled)
        ]
    assert [answer["proceed"] for answer in answers] == [False, True, True, False]
    assert answers[0]["notes"] == "Too early"
    assert answers[1]["choice"] == "green"
    assert answers[2]["response"] == {"to": 3}
    assert answers[3]["status"] == "cancelled"


async def test_silence_is_told_as_such(agents: Agents, mine: Calls) -> None:
    async with agents() as agent:
        answer = await agent.call(
            "ask_for_approval", context="Anybody?", approvers=[ADA], timeout_seconds=1, timeout_action="deny"
        )
    assert (answer["status"], answer["decided_by"], answer["proceed"]) == ("denied", "timeout", False)
    assert answer["hint"].startswith("Nobody decided in time.")


async def test_a_wait_that_is_over_is_no_error(agents: Agents, mine: Calls) -> None:
    approval_id = await ask(mine, timeout_seconds=600)
    async with agents() as agent:
        looked = await agent.call("wait_for_approval", approval_id=approval_id, max_wait_seconds=0)
        waited = await agent.call("wait_for_approval", approval_id=approval_id, max_wait_seconds=1)
    assert len(agent.progress) >= 1
    for answer in (looked, waited):
        assert (answer["status"], answer["proceed"]) == ("pending", False)
        assert "call wait_for_approval again" in answer["hint"]
        assert answer["seconds_remaining"] > 0


@dataclass(frozen=True)
class House:
    """A gateway of one's own, of which can be seen who waits there."""

    url: str
    watch: ApprovalWatch
    calls: Calls


@pytest.fixture
async def house(stack: Stack) -> AsyncIterator[House]:
    app = create_app(stack.settings)
    with serve(app) as url:
        async with calls_to(url, stack.account_id, stack.key) as calls:
            yield House(url, app.state.gateway.approval_watch, calls)


async def give_up(agent: Agent, house: House) -> None:
    approval_id = await ask(house.calls)
    wait = {"approval_id": approval_id, "max_wait_seconds": 3600}
    waiting = asyncio.create_task(agent.call("wait_for_approval", **wait))
    await until(lambda: house.watch.waiting == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    # Less than a slice: it is not that the wait was over.
    await until(lambda: house.watch.waiting == 0, timeout=SLICE_SECONDS / 2)
    answer = await agent.call("wait_for_approval", approval_id=approval_id, max_wait_seconds=0)
    assert answer["status"] == "pending"


@pytest.mark.parametrize("mode", MODES)
async def test_a_wait_over_stdio_can_be_given_up(tmp_path: Path, house: House, mode: Mode) -> None:
    async with over_stdio(tmp_path, house.url, house.calls.key, mode) as agent:
        await give_up(agent, house)


@pytest.mark.parametrize("mode", MODES)
async def test_a_wait_over_http_can_be_given_up(tmp_path: Path, house: House, mode: Mode) -> None:
    async with http_server(tmp_path, house.url, house.calls.key) as server, over_http(server.url, mode) as agent:
        await give_up(agent, house)


async def test_a_key_of_the_scope_ping_may_ask_and_wait(
    tmp_path: Path, stack: Stack, mine: Calls, ping_key: str
) -> None:
    async with over_stdio(tmp_path, stack.url, ping_key) as agent:
        asked = await agent.call("request_approval", context="Publish?", approvers=[ADA])
        await decide(mine, asked["approval_id"])
        answer = await agent.call("wait_for_approval", approval_id=asked["approval_id"])
    assert answer["proceed"]
