"""Who may ask, look, decide and cancel."""

import httpx
import pytest

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.users import create_user
from tests.api.approval_calls import ADA, BOB, CLEO, ask, key_id, look, only
from tests.api.calls import Calls, new_id
from tests.api.conftest import PASSWORD, Team, calls_to, log_in, make_key, make_team, new_ping_key
from tests.api.test_errors import problem
from tests.conftest import StartGateway
from tests.support.stack import Stack


async def test_an_agent_asks_polls_and_cancels_but_does_not_decide(
    team: Team, quick_gateway: str, sessions: Sessions
) -> None:
    async with calls_to(quick_gateway, team.account_id, team.ping_key) as agent:
        approval_id = await ask(agent)
        document = await look(agent, approval_id)
        assert document["requested_by"] == "a ping key"
        for path in ("decide", "audit"):
            method = "POST" if path == "decide" else "GET"
            response = await agent.http.request(
                method, f"/api/approvals/{approval_id}/{path}", json={"decision": "approve"}
            )
            problem(response, 403, "insufficient_scope")
        problem(await agent.http.get("/api/approvals"), 403, "insufficient_scope")
        cancelled = await agent.post(f"/api/approvals/{approval_id}/cancel", {"notes": "changed my mind"})
        assert only(cancelled, "status", "result", "notes", "decided_by") == {
            "status": "cancelled",
            "result": 0,
            "notes": "changed my mind",
            "decided_by": await key_id(sessions, team.ping_key),
        }


async def test_an_agent_cancels_nothing_but_what_it_asked_for(
    team: Team, quick_gateway: str, sessions: Sessions
) -> None:
    another_key = await new_ping_key(sessions, team)
    async with (
        calls_to(quick_gateway, team.account_id, team.ping_key) as agent,
        calls_to(quick_gateway, team.account_id, another_key) as another,
        calls_to(quick_gateway, team.account_id, team.full_key) as calls,
        httpx.AsyncClient(base_url=quick_gateway) as browser,
    ):
        # Not even with the same name.
        ids = [await ask(agent, requested_by="the nightly job") for _ in range(2)] + [await ask(calls)]
        for approval_id in ids:
            said = problem(await another.http.post(f"/api/approvals/{approval_id}/cancel"), 403, "insufficient_scope")
            assert "only what it asked for itself" in said["detail"]
            assert (await look(agent, approval_id))["status"] == "pending"
        assert (await calls.post(f"/api/approvals/{ids[0]}/cancel", {}))["status"] == "cancelled"
        csrf = await log_in(browser, team.owner)
        response = await browser.post(f"/api/approvals/{ids[1]}/cancel", headers=csrf)
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")


async def test_a_user_decides_in_their_own_name(team: Team, quick_gateway: str) -> None:
    async with (
        calls_to(quick_gateway, team.account_id, team.full_key) as calls,
        httpx.AsyncClient(base_url=quick_gateway) as browser,
    ):
        approval_id = await ask(calls, approvers=[team.owner, ADA], confirm="link")
        path = f"/api/approvals/{approval_id}/decide"
        csrf = await log_in(browser, team.owner)
        problem(await browser.post(path, json={"decision": "approve"}), 403, "csrf_failed")
        problem(await browser.post(path, json={"decision": "approve", "approver": ADA}, headers=csrf), 403, "forbidden")
        response = await browser.post(path, json={"decision": "approve", "approver": team.owner}, headers=csrf)
        assert response.status_code == 200, response.text
        assert response.json()["decided_by"] == team.owner
        # With a session, confirm=login is done by logging in.
        approval_id = await ask(calls, approvers=[team.owner], confirm="login")
        response = await browser.post(f"/api/approvals/{approval_id}/decide", json={"decision": "deny"}, headers=csrf)
        assert (response.status_code, response.json()["status"]) == (200, "denied")


async def test_a_viewer_looks_and_does_nothing(team: Team, quick_gateway: str) -> None:
    async with (
        calls_to(quick_gateway, team.account_id, team.full_key) as calls,
        httpx.AsyncClient(base_url=quick_gateway) as browser,
    ):
        approval_id = await ask(calls, approvers=[team.viewer])
        csrf = await log_in(browser, team.viewer)
        assert (await browser.get(f"/api/approvals/{approval_id}")).status_code == 200
        assert (await browser.get("/api/approvals")).status_code == 200
        for path, body in (
            ("", {"context": "mine", "approvers": [ADA]}),
            (f"/{approval_id}/decide", {"decision": "approve"}),
            (f"/{approval_id}/cancel", {}),
        ):
            problem(await browser.post(f"/api/approvals{path}", json=body, headers=csrf), 403, "forbidden")
        assert (await look(calls, approval_id))["status"] == "pending"


async def test_other_accounts_have_nothing_to_do_with_it(ours: Calls, theirs: Calls) -> None:
    approval_id = await ask(ours)
    path = f"/api/approvals/{approval_id}"
    for response in (
        await theirs.http.get(path),
        await theirs.http.get(path, params={"wait": 30}),
        await theirs.http.get(f"{path}/audit"),
        await theirs.http.post(f"{path}/decide", json={"decision": "approve"}),
        await theirs.http.post(f"{path}/cancel"),
    ):
        problem(response, 403, "forbidden")
    assert approval_id not in {item["approval_id"] for item in (await theirs.get("/api/approvals"))["approvals"]}
    assert (await look(ours, approval_id))["status"] == "pending"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "?wait=30"), ("GET", "/audit"), ("POST", "/decide"), ("POST", "/cancel")]
)
async def test_there_is_no_such_approval(ours: Calls, method: str, path: str) -> None:
    body = {"decision": "approve"} if path == "/decide" else None
    problem(await ours.http.request(method, f"/api/approvals/apr_none{path}", json=body), 404, "not_found")


async def test_without_a_key(quick_gateway: str) -> None:
    async with httpx.AsyncClient(base_url=quick_gateway) as nobody:
        for response in (await nobody.get("/api/approvals/apr_none"), await nobody.post("/api/approvals", json={})):
            problem(response, 401, "unauthenticated")


async def test_polls_have_the_room_that_pings_have(stack: Stack, start_gateway: StartGateway) -> None:
    async with calls_to(start_gateway(requests_per_minute=2), stack.account_id, stack.key) as calls:
        approval_id = await ask(calls)
        for _ in range(10):
            await look(calls, approval_id)
        await calls.get("/api/approvals")
        problem(await calls.http.get("/api/approvals"), 429, "rate_limited")
        await look(calls, approval_id)
    async with calls_to(start_gateway(pings_per_minute=2), stack.account_id, stack.key) as calls:
        for _ in range(2):
            await look(calls, approval_id)
        problem(await calls.http.get(f"/api/approvals/{approval_id}"), 429, "rate_limited")


async def test_an_account_sends_so_many_letters_a_minute(
    team: Team, others: Team, start_gateway: StartGateway, sessions: Sessions
) -> None:
    url = start_gateway(letters_per_minute=4)
    async with (
        calls_to(url, team.account_id, team.full_key) as calls,
        calls_to(url, team.account_id, await new_ping_key(sessions, team)) as agent,
        calls_to(url, others.account_id, others.full_key) as theirs,
    ):
        once = {"idempotency_key": new_id("key")}
        approval_id = await ask(calls, approvers=[ADA, BOB, CLEO], **once)
        before = len((await calls.get("/api/approvals"))["approvals"])
        refused = await agent.http.post("/api/approvals", json={"context": "x", "approvers": [ADA, BOB]})
        assert "letters" in problem(refused, 429, "rate_limited")["detail"]
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert len((await calls.get("/api/approvals"))["approvals"]) == before
        # It is neither what was refused that counts, nor what was asked before.
        assert await ask(calls, approvers=[ADA, BOB, CLEO], **once) == approval_id
        await ask(agent)
        problem(await agent.http.post("/api/approvals", json={"context": "x", "approvers": [ADA]}), 429, "rate_limited")
        await ask(theirs, approvers=[ADA, BOB])


async def test_the_owners_of_the_account_are_asked_if_nobody_else_is_named(
    sessions: Sessions, quick_gateway: str
) -> None:
    mine = await make_team(sessions, new_id("team"))
    async with transaction(sessions) as session:
        await create_user(session, mine.account_id, f"{new_id('o')}@example.com", PASSWORD, utc_now(), role="owner")
        key = await make_key(session, mine.account_id, "ping")
    async with calls_to(quick_gateway, mine.account_id, key) as agent:
        approval_id = (await agent.post("/api/approvals", {"context": "x"}, 201))["approval_id"]
        approvers = (await look(agent, approval_id))["approvers"]
    assert len(approvers) == 2
    assert mine.owner in approvers
    assert mine.viewer not in approvers
