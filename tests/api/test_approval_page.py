"""The approver's page over real HTTP: who sees what, and how it is kept to them."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from config.clock import utc_now
from domain.accounts import Role
from storage import deciding
from storage.approval_audit import list_entries
from storage.approvals import Approval
from storage.base import transaction
from tests.conftest import StartGateway
from tests.support.approval_pages import (
    FORM,
    Browser,
    asked,
    browser,
    events_of,
    logged_in,
    member,
    nothing_is_decided,
    page_path,
    stored,
    voted,
)
from tests.support.approvals import AGENT, approve, deny
from tests.support.stack import Stack, make_account

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"


@pytest.fixture
async def ada(stack: Stack) -> AsyncIterator[Browser]:
    async with browser(stack.url) as ada:
        yield ada


@pytest.fixture
async def bob(stack: Stack) -> AsyncIterator[Browser]:
    async with browser(stack.url) as bob:
        yield bob


# What is shown to whom

BEFORE: dict[str, tuple[dict[str, Any], Any, str, list[str], list[str]]] = {
    # what was asked, a vote before, the title, the buttons, what is said
    "open": ({}, None, "Your decision is needed", ["approve", "deny"], ["deploy bot", "it is denied"]),
    "for ever": ({"timeout": None}, None, "Your decision is needed", ["approve", "deny"], ["Expires Never"]),
    "approved at the deadline": (
        {"timeout_action": "approve"},
        None,
        "Your decision is needed",
        ["approve", "deny"],
        ["If nobody decides within 5 min, it is approved."],
    ),
    "choices": (
        {"choices": ["Blue", "Green"]},
        None,
        "Your decision is needed",
        ["choose:0", "choose:1", "deny"],
        ["Blue Green Deny"],
    ),
    "quorum": (
        {"approvers": [ADA, BOB], "quorum": 2, "veto": True},
        (BOB, approve(notes="Fine with me")),
        "Your decision is needed",
        ["approve", "deny"],
        ["1 of 2 approvals; one denial denies it", "bob@example.com approved", "Fine with me"],
    ),
    "have voted": (
        {"approvers": [ADA, BOB], "quorum": 2},
        (ADA, approve()),
        "Awaiting a decision",
        [],
        ["You have voted", "You approved on"],
    ),
    "approved by me": ({}, (ADA, approve(notes="Go")), "Approved", [], ["Approved by you (ada@example.com).", "Go"]),
    "denied by another": (
        {"approvers": [ADA, BOB]},
        (BOB, deny(notes="Too early")),
        "Denied",
        [],
        ["Denied by bob@example.com.", "Too early", "You did not vote."],
    ),
    "chosen": ({"choices": ["Blue"]}, (ADA, approve(choice="Blue")), "Approved", [], ["(ada@example.com): Blue."]),
    "own request": (
        {"approvers": [ADA, BOB], "requesters": [ADA], "forbid_self": True},
        None,
        "Awaiting a decision",
        [],
        ["This is your own request", "Somebody else has to: bob@example.com"],
    ),
    "code": ({"confirm": "code"}, None, "Your decision is needed", ["send-code"], ["takes a code"]),
    "login": (
        {"confirm": "login"},
        None,
        "Your decision is needed",
        ["log-in"],
        ["takes the login of ada@example.com"],
    ),
    "escalates": (
        {"escalate_to": [BOB], "escalate_after": 120.0},
        None,
        "Your decision is needed",
        ["approve", "deny"],
        ["Also asked later bob@example.com, in 2 min"],
    ),
    "expired": ({"timeout": 0.001}, None, "Expired", [], ["The time to decide is over", "denied"]),
    "of a workflow": (
        {"workflow_id": "blog", "instance_id": "d1234abcd", "stage_path": "2.1"},
        None,
        "Your decision is needed",
        ["approve", "deny"],
        ["Workflow blog", "Instance d1234abcd", "Stage 2.1"],
    ),
    "a table": (
        {"payload": {"order": 4711, "note": "a b", "rush": True, "left": None}},
        None,
        "Your decision is needed",
        ["approve", "deny"],
        ["order 4711", "note a b", "rush true", "left null"],
    ),
    "JSON": (
        {"payload": {"orders": [{"id": 1}]}},
        None,
        "Your decision is needed",
        ["approve", "deny"],
        ['{ "orders": [ { "id": 1 } ] }'],
    ),
}


@pytest.mark.parametrize(("values", "vote", "state", "actions", "said"), BEFORE.values(), ids=BEFORE)
async def test_what_an_approver_sees(
    stack: Stack,
    ada: Browser,
    values: dict[str, Any],
    vote: tuple[str, Any] | None,
    state: str,
    actions: list[str],
    said: list[str],
) -> None:
    approval = await asked(stack, title="Publish the report?", context="Ready.\nAll checked.", **values)
    if vote is not None:
        await voted(stack.sessions, approval, *vote)
    page = await ada.open(page_path(approval.id, ADA))
    assert (page.status, page.title) == (200, f"{state}: Publish the report? · PingPulse")
    assert page.actions == actions
    assert "Ready.\nAll checked." in page.response.text
    assert [words for words in said if words not in page.text] == []
    assert (await events_of(stack.sessions, approval.id))[-1] == "viewed"


async def test_a_cancelled_one_says_by_whom(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    async with transaction(stack.sessions) as session:
        await deciding.cancel(session, approval.id, AGENT, "Not needed", utc_now())
    page = await ada.open(page_path(approval.id, ADA))
    assert "Cancelled by API key agent." in page.text
    assert page.actions == []


async def test_a_deadline_that_decided_says_so(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    async with transaction(stack.sessions) as session:
        past = utc_now() - timedelta(seconds=1)
        await session.execute(update(Approval).where(Approval.id == approval.id).values(expires_at=past))
        await deciding.follow(session, approval.id, utc_now(), utc_now())
    page = await ada.open(page_path(approval.id, ADA))
    assert "Denied, because its time was over" in page.text


async def test_no_words_are_turned_around_unseen(stack: Stack, ada: Browser) -> None:
    """As in mails: what is read is what is written. Values to edit are not changed, but told of."""
    evil, shown = "pay \u202e001\u2066\x1b[2J", "pay \ufffd001\ufffd\ufffd[2J"
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "title": f"t {evil}", "description": f"d {evil}", "maxLength": 100},
            "one": {"type": "string", "enum": [f"e {evil}", "other"]},
        },
    }
    approval = await asked(
        stack,
        title=f"title {evil}",
        context=f"context {evil}",
        requested_by=f"by {evil}",
        stage_path=f"stage {evil}",
        payload={"text": evil, "one": f"e {evil}", f"key {evil}": [evil]},
        editable=schema,
    )
    page = await ada.open(page_path(approval.id, ADA))
    for which in ("title", "context", "by", "stage", "t", "d", "e"):
        assert f"{which} {shown}" in page.text
    assert shown in page.title
    assert "\u202e" not in page.text + page.title
    assert "this holds characters that are not seen" in page.text
    page = await ada.press(page, "approve", notes=f"Go {evil}")
    assert f"Go {shown}" in page.text
    assert "\u202e" not in page.response.text
    decided = await stored(stack.sessions, approval.id)
    assert (decided.response, decided.notes) == ({"text": evil, "one": f"e {evil}"}, f"Go {evil}")


async def test_choices_are_not_turned_around_unseen(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, choices=["pay \u202e001"])
    page = await ada.open(page_path(approval.id, ADA))
    assert "\u202e" not in page.response.text
    page = await ada.press(page, "choose:0")
    assert "Approved by you (ada@example.com): pay \ufffd001." in page.text
    assert "\u202e" not in page.response.text


async def test_the_button_of_the_mail_only_moves_the_emphasis(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    page = await ada.open(page_path(approval.id, ADA, "deny"))
    assert 'class="deny strong"' in page.response.text
    assert "Nothing is decided yet" in page.text
    page = await ada.open(page_path(approval.id, ADA, "<b>"))
    assert 'class="approve strong"' in page.response.text
    await nothing_is_decided(stack, approval)


async def test_bad_links_and_unknown_approvals_look_alike(stack: Stack, ada: Browser) -> None:
    approval, other = await asked(stack), await asked(stack)
    token = page_path(other.id, ADA).partition("?")[2]
    answers = [
        await ada.open(path)
        for path in (
            f"/approvals/{approval.id}?{token}",
            f"/approvals/{approval.id}?token=nonsense",
            f"/approvals/{approval.id}?token=%FF%00",
            f"/approvals/{approval.id}?token=",
            page_path(approval.id, EVE),
            page_path("apr_unknownunkno", ADA),
            "/approvals/apr_unknownunkno",
            "/approvals/apr_%00",
        )
    ]
    assert {(answer.status, answer.response.text) for answer in answers} == {(404, answers[0].response.text)}
    assert "viewed" not in await events_of(stack.sessions, approval.id)


async def test_without_a_link_the_page_tells_nothing(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, title="Secret title", context="Secret context", payload={"secret": 1})
    page = await ada.open(page_path(approval.id))
    assert (page.status, page.actions) == (200, ["send-link", "log-in"])
    assert "ecret" not in page.response.text
    assert ADA not in page.response.text
    assert await events_of(stack.sessions, approval.id) == []


@pytest.mark.parametrize("role", ["owner", "member", "viewer"])
async def test_others_of_the_account_look_only(stack: Stack, ada: Browser, role: Role) -> None:
    approval = await asked(stack)
    await logged_in(ada, await member(stack, role))
    page = await ada.open(page_path(approval.id))
    assert (page.status, page.actions) == (200, [])
    assert "You may look, but not decide" in page.text
    assert "These people were asked: ada@example.com" in page.text
    page = await ada.press(page, "approve")
    assert page.status == 403
    await nothing_is_decided(stack, approval)


async def test_the_session_of_another_account_sees_nothing(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, title="Secret title")
    other_account, _ = await make_account(stack.sessions, "others")
    await logged_in(ada, await member(stack, account_id=other_account))
    page = await ada.open(page_path(approval.id))
    assert page.status == 403
    assert "Secret" not in page.response.text
    for action in ("approve", "send-code"):
        page = await ada.press(page, action)
        assert page.status == 403
        assert "Secret" not in page.response.text
    await nothing_is_decided(stack, approval)


@pytest.mark.parametrize("its_own", [True, False])
async def test_a_login_stands_for_an_approver_in_the_approvals_own_account_only(
    stack: Stack, ada: Browser, its_own: bool
) -> None:
    # Whoever has an account may give themselves this address.
    other_account, _ = await make_account(stack.sessions, "others")
    email = await member(stack, account_id=stack.account_id if its_own else other_account)
    approval = await asked(stack, approvers=[email], title="Secret title")
    await logged_in(ada, email)
    page = await ada.open(page_path(approval.id))
    if not its_own:
        assert (page.status, page.actions) == (403, ["send-link", "log-in"])
        assert "to another account" in page.text
        page = await ada.press(page, "approve")
        assert (page.status, "Secret" in page.response.text) == (403, False)
        await nothing_is_decided(stack, approval)
        # The mailed link is proof, wherever one is logged in.
        page = await ada.open(page_path(approval.id, email))
    page = await ada.press(page, "approve")
    assert "Approved by you" in page.text
    async with stack.sessions() as session:
        *_, last = [e.fields() for e in await list_entries(session, approval.id) if e.fields()["event"] == "voted"]
    assert (last["actor"], last["details"]["via"]) == (email, "session" if its_own else "link")


async def test_what_takes_a_login_takes_one_of_the_approvals_account(stack: Stack, ada: Browser) -> None:
    other_account, _ = await make_account(stack.sessions, "others")
    email = await member(stack, account_id=other_account)
    approval = await asked(stack, approvers=[email], confirm="login")
    await logged_in(ada, email)
    page = await ada.open(page_path(approval.id, email))
    assert page.actions == ["log-in"]
    page = await ada.press(page, "approve")
    assert page.status == 403
    await nothing_is_decided(stack, approval)


async def test_whoever_it_is_escalated_to_is_an_approver_from_then_on(stack: Stack, bob: Browser) -> None:
    values: dict[str, Any] = {"escalate_to": [BOB], "escalate_after": 60.0}
    early = await asked(stack, **values)
    assert (await bob.open(page_path(early.id, BOB))).status == 404
    late = await asked(stack, **values)
    async with transaction(stack.sessions) as session:
        await session.execute(update(Approval).where(Approval.id == late.id).values(escalate_at=utc_now()))
    page = await bob.press(await bob.open(page_path(late.id, BOB)), "deny")
    assert "Denied by you" in page.text


# Around it

ANSWERS = ("page", "decided", "refused", "door", "not found", "too much", "wrong method", "wrong type")


@pytest.mark.parametrize("which", ANSWERS)
async def test_headers_of_every_answer(stack: Stack, which: str) -> None:
    approval = await asked(stack)
    path = page_path(approval.id, ADA)
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:
        token, nonce = path.partition("=")[2], re.findall(r'name="nonce" value="(.*?)"', (await http.get(path)).text)[0]
        form = {"token": token, "nonce": nonce, "action": "approve"}
        requests = {
            "page": http.build_request("GET", path),
            "decided": http.build_request("POST", page_path(approval.id), data=form),
            "refused": http.build_request("POST", page_path(approval.id), data={**form, "nonce": ""}),
            "door": http.build_request("GET", page_path(approval.id)),
            "not found": http.build_request("GET", "/approvals/apr_0"),
            "too much": http.build_request("POST", path, content=b"x" * (1 << 21), headers=FORM),
            "wrong method": http.build_request("DELETE", path),
            "wrong type": http.build_request("POST", path, json={}),
        }
        answer = await http.send(requests[which])
    headers = answer.headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-robots-tag"] == "noindex, nofollow"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    style = policy.pop("style-src")
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", style)
    assert policy == {
        "default-src": "'none'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    if which != "decided":
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert not re.search(r"https?://", answer.text)


async def test_no_log_line_holds_a_token(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    path = page_path(approval.id, ADA)
    token = path.partition("=")[2]
    with capture_logs() as lines:
        page = await ada.open(path)
        nonce = page.inputs["nonce"]
        await ada.press(page, "approve", nonce="")
        await ada.press(page, "approve")
        await ada.http.get(f"{path}x")
        await ada.http.delete(path)
    logged = [line for line in lines if line.get("path", "").startswith("/approvals/")]
    assert len(logged) >= 6
    assert all("?" not in line["path"] for line in logged)
    assert token not in str(lines)
    assert nonce not in str(lines)


async def test_a_flood_of_looks_does_not_fill_the_trail(stack: Stack, start_gateway: StartGateway) -> None:
    approval = await asked(stack, approvers=[ADA, BOB])
    async with browser(start_gateway()) as flood:
        statuses = [(await flood.open(page_path(approval.id, ADA))).status for _ in range(63)]
        assert statuses == [200] * 60 + [429] * 3
        page = await flood.open(page_path(approval.id, ADA))
        assert 0 < int(page.response.headers["retry-after"]) <= 60
        assert "</html>" in page.response.text
        assert (await flood.open(page_path(approval.id, BOB))).status == 200
    assert len(await events_of(stack.sessions, approval.id)) == 61
