"""What may be asked for, and what is refused with the field that is wrong."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from storage.approvals import Approval, get_approval
from storage.base import Sessions
from storage.channels import attached
from storage.messages import Message
from storage.vault import Vault
from tests.api.approval_calls import ADA, BOB, CLEO, ask, create, look
from tests.api.calls import JSON, Calls, new_id
from tests.api.conftest import Team, calls_to, log_in
from tests.api.test_errors import fields, problem
from tests.conftest import StartGateway
from tests.support.stack import SECRET, Stack, make_account

LONG = "é" * 10_000
"""20,000 bytes."""

EDITABLE = {"type": "object", "properties": {"amount": {"type": "integer"}}}
YEAR = 366 * 86_400


def secret_of(size: int) -> str:
    return "whsec_" + base64.b64encode(b"x" * size).decode()


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else 1


def deep_schema(levels: int, inner: str) -> Any:
    if not levels:
        return {"type": "string"}
    below = deep_schema(levels - 1, inner)
    return {"type": "object", "properties": {"x": below}} if inner == "properties" else {"type": "array", inner: below}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"context": None}, "context"),
    ({"context": ""}, "context"),
    ({"context": " \n"}, "context"),
    ({"context": "\u200b\u3164"}, "context"),
    ({"context": 5}, "context"),
    ({"context": "x" * 20_001}, "context"),
    ({"context": LONG + "x"}, "context"),
    ({"context": "a\x00b"}, "context"),
    ({"context": "a\ud800b"}, "context"),
    ({"title": ""}, "title"),
    ({"title": "   "}, "title"),
    ({"title": "\u200b"}, "title"),
    ({"title": "t" * 201}, "title"),
    ({"title": "t\x00"}, "title"),
    ({"timeout_seconds": 0}, "timeout_seconds"),
    ({"timeout_seconds": 0.5}, "timeout_seconds"),
    ({"timeout_seconds": -1}, "timeout_seconds"),
    ({"timeout_seconds": "300"}, "timeout_seconds"),
    ({"timeout_seconds": True}, "timeout_seconds"),
    ({"timeout_seconds": [300]}, "timeout_seconds"),
    ({"timeout_seconds": YEAR + 1}, "timeout_seconds"),
    ({"timeout_seconds": 10**400}, "timeout_seconds"),
    ({"timeout_seconds": float("nan")}, "timeout_seconds"),
    ({"timeout_seconds": float("inf")}, "timeout_seconds"),
    ({"timeout_action": "maybe"}, "timeout_action"),
    ({"timeout_action": "Approve"}, "timeout_action"),
    ({"timeout_action": None}, "timeout_action"),
    ({"approvers": []}, "approvers"),
    ({"approvers": [f"a{number}@example.com" for number in range(200)]}, "approvers"),
    ({"approvers": ADA}, "approvers"),
    ({"approvers": [ADA, "nobody"]}, "approvers.1"),
    ({"approvers": ["Ada <ada@example.com>"]}, "approvers.0"),
    ({"approvers": ["a b@example.com"]}, "approvers.0"),
    ({"approvers": [f"{'a' * 300}@example.com"]}, "approvers.0"),
    ({"approvers": ["ada@example.com\nBcc: eve@example.com"]}, "approvers.0"),
    ({"approvers": [5]}, "approvers.0"),
    ({"approvers": ["a\x00@example.com"]}, "approvers.0"),
    ({"quorum": 0}, "quorum"),
    ({"quorum": 2}, "quorum"),
    ({"quorum": "1"}, "quorum"),
    ({"quorum": True}, "quorum"),
    ({"quorum": 2, "approvers": [ADA, ADA.upper()]}, "quorum"),
    ({"veto": "yes"}, "veto"),
    ({"requested_by": "r" * 201}, "requested_by"),
    ({"requested_by": "\ufeff \u00ad"}, "requested_by"),
    ({"forbid_self": 1}, "forbid_self"),
    ({"forbid_self": True, "requested_by": ADA.upper()}, "forbid_self"),
    ({"forbid_self": True, "requested_by": ADA, "approvers": [ADA, BOB], "quorum": 2}, "forbid_self"),
    ({"reminders": [0]}, "reminders.0"),
    ({"reminders": [60, "90"]}, "reminders.1"),
    ({"reminders": list(range(1, 22))}, "reminders"),
    ({"reminders": [60, 300], "timeout_seconds": 300}, "reminders"),
    ({"escalate_to": [BOB]}, "escalate_after_seconds"),
    ({"escalate_after_seconds": 60}, "escalate_to"),
    ({"escalate_to": [BOB], "escalate_after_seconds": 0}, "escalate_after_seconds"),
    ({"escalate_to": [BOB], "escalate_after_seconds": 300, "timeout_seconds": 300}, "escalate_after_seconds"),
    ({"escalate_to": [BOB, ADA.upper()], "escalate_after_seconds": 60}, "escalate_to"),
    ({"escalate_to": [], "escalate_after_seconds": 60}, "escalate_to"),
    ({"payload": {"a": "x" * 100_000}}, "payload"),
    ({"payload": {"a": float("nan")}}, "payload"),
    ({"payload": [float("-inf")]}, "payload"),
    ({"payload": {"a": ["b\x00"]}}, "payload"),
    ({"payload": {"a\x00": 1}}, "payload"),
    ({"payload": "\udc00"}, "payload"),
    ({"payload": 2**70}, "payload"),
    ({"payload": deep(50)}, "payload"),
    ({"editable": [1]}, "editable"),
    ({"editable": {"type": "string"}}, "editable"),
    ({"editable": deep_schema(250, "properties")}, "editable"),
    ({"editable": deep_schema(400, "items")}, "editable"),
    ({"editable": {"type": "object", "properties": {"x": {"type": "array", "default": deep(400)}}}}, "editable"),
    ({"editable": EDITABLE, "payload": {"amount": "many"}}, "editable"),
    ({"choices": ["one"]}, "choices"),
    ({"choices": []}, "choices"),
    ({"choices": [str(number) for number in range(11)]}, "choices"),
    ({"choices": ["one", "one"]}, "choices"),
    ({"choices": ["one", "One"]}, "choices"),
    ({"choices": ["one", "\u200b"]}, "choices"),
    ({"choices": ["one", "Deny"]}, "choices"),
    ({"choices": ["one", "two"], "timeout_action": "approve"}, "timeout_action"),
    ({"choices": ["one", ""]}, "choices.1"),
    ({"choices": ["one", "c" * 101]}, "choices.1"),
    ({"callback_url": "example.com/hook"}, "callback_url"),
    ({"callback_url": "ftp://example.com/hook"}, "callback_url"),
    ({"callback_url": "https://example.com/a b"}, "callback_url"),
    ({"callback_url": "https://example.com:65536/"}, "callback_url"),
    ({"callback_url": "https://example.com:0/"}, "callback_url"),
    ({"callback_secret": secret_of(32)}, "callback_secret"),
    ({"callback_secret": secret_of(23), "callback_url": "https://example.com"}, "callback_secret"),
    ({"callback_secret": secret_of(65), "callback_url": "https://example.com"}, "callback_secret"),
    ({"callback_secret": secret_of(32)[6:], "callback_url": "https://example.com"}, "callback_secret"),
    ({"callback_secret": "whsec_what? é", "callback_url": "https://example.com"}, "callback_secret"),
    ({"workflow_id": "swf_none"}, "workflow_id"),
    ({"instance_id": "dnone0000"}, "instance_id"),
    ({"stage_path": "1"}, "stage_path"),
    ({"channels": ["chn_none"]}, "channels"),
    ({"confirm": "maybe"}, "confirm"),
    ({"confirm": "login"}, "approvers"),
    ({"idempotency_key": ""}, "idempotency_key"),
    ({"idempotency_key": "k" * 201}, "idempotency_key"),
    ({"idempotency_key": 5}, "idempotency_key"),
    ({"timeout": 300}, "timeout"),
    ({"key": "ppk_0"}, "key"),
]


@pytest.mark.parametrize(
    ("body", "field"), REFUSED, ids=lambda value: str(value)[:50].encode("ascii", "replace").decode()
)
async def test_bad_requests_name_the_field(ours: Calls, body: dict[str, Any], field: str) -> None:
    whole = {"context": "Publish the report", "approvers": [ADA]} | body
    if whole["context"] is None:
        del whole["context"]
    # Not httpx's, which refuses to write what must be refused to read.
    text = json.dumps(whole)
    response = await ours.http.post("/api/approvals", content=text, headers=JSON)
    assert fields(problem(response, 400, "invalid_request")) == [field]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"title": "t" * 201}, "must have at most 200 characters, not 201"),
        ({"title": ""}, "must have at least 1 character, not 0"),
        ({"approvers": []}, "List should have at least 1 item after validation, not 0"),
    ],
)
async def test_texts_have_characters_and_lists_have_items(ours: Calls, body: dict[str, Any], message: str) -> None:
    response = await ours.http.post("/api/approvals", json={"context": "x", "approvers": [ADA]} | body)
    (field,) = problem(response, 400, "invalid_request")["errors"]
    assert field["message"] == message


@pytest.mark.parametrize("text", ["", "[]", '"x"', "{", '{"context": 1', "\xff", "[" * 100_000])
async def test_bodies_that_are_none(ours: Calls, text: str) -> None:
    response = await ours.http.post("/api/approvals", content=text.encode("latin-1"), headers=JSON)
    assert fields(problem(response, 400, "invalid_request")) == ["body"]


@pytest.mark.parametrize(
    "body",
    [
        {"context": LONG},
        {"context": "<script>alert(1)</script> & 'quotes' \u2028"},
        {"timeout_seconds": 1},
        {"timeout_seconds": YEAR},
        {"timeout_seconds": 1.5},
        {"approvers": [f"a{number}@example.com" for number in range(50)], "quorum": 50},
        {"approvers": ["root@mailhost"]},
        {"quorum": 2, "escalate_to": [BOB], "escalate_after_seconds": 60},
        {"reminders": [300, 60.5, 60.5], "timeout_seconds": 301},
        {"reminders": [10_000_000], "timeout_seconds": None},
        {"forbid_self": True, "requested_by": "somebody"},
        {"payload": {"a": "x" * 99_900}},
        {"payload": "\\u0000"},
        {"payload": [1e15, -(2**62), 0.1, None, True, ""]},
        {"choices": ["é" * 100, "no"]},
        {"choices": ["Deny for now", "Approve it"], "timeout_action": "deny"},
        {"title": "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}", "callback_url": "https://example.com:65535/"},
        {"confirm": "code"},
        {"title": None, "approvers": [ADA], "payload": None, "editable": None, "choices": None},
    ],
    ids=lambda body: str(body)[:50],
)
async def test_requests_that_will_do(ours: Calls, body: dict[str, Any]) -> None:
    document = await look(ours, await ask(ours, **body))
    for name in ("context", "payload", "choices", "approvers", "quorum", "confirm"):
        if body.get(name) is not None:
            assert document[name] == body[name], name


async def test_what_is_kept_of_the_terms(ours: Calls, sessions: Sessions) -> None:
    approval_id = await ask(
        ours, reminders=[120, 60, 60], escalate_to=[CLEO.upper(), BOB, CLEO], escalate_after_seconds=90, veto=True
    )
    async with sessions() as session:
        row = await get_approval(session, approval_id)
    assert row is not None
    terms = row.terms()
    assert [(at - terms.created_at).total_seconds() for at in terms.reminders] == [60, 120]
    assert terms.escalate_to == (CLEO, BOB)
    assert terms.escalate_at is not None
    assert (terms.escalate_at - terms.created_at).total_seconds() == 90
    assert row.source == f"approval/{approval_id}" == row.subject
    # Nobody is asked before it is their turn.
    assert (await look(ours, approval_id))["approvers"] == [ADA]


# Who asks, and who is asked


async def test_without_owners_somebody_must_be_named(stack: Stack) -> None:
    account_id, key = await make_account(stack.sessions)
    async with calls_to(stack.url, account_id, key) as calls:
        said = problem(await calls.http.post("/api/approvals", json={"context": "x"}), 400, "invalid_request")
    assert fields(said) == ["approvers"]


async def test_a_user_asks_by_their_address(team: Team, quick_gateway: str, sessions: Sessions) -> None:
    async with httpx.AsyncClient(base_url=quick_gateway) as browser:
        csrf = await log_in(browser, team.owner)
        body = {"context": "x", "approvers": [ADA], "requested_by": "the nightly job"}
        for said, requested_by in ((body, "the nightly job"), ({"context": "x", "approvers": [ADA]}, team.owner)):
            response = await browser.post("/api/approvals", json=said, headers=csrf)
            assert response.status_code == 201, response.text
            async with sessions() as session:
                row = await get_approval(session, response.json()["approval_id"])
            assert row is not None
            assert row.requested_by == requested_by
            assert set(row.requesters) == {requested_by, team.owner}
        # The owner is asked, if nobody is named, but must not answer.
        response = await browser.post("/api/approvals", json={"context": "x", "forbid_self": True}, headers=csrf)
        assert fields(problem(response, 400, "invalid_request")) == ["forbid_self"]


async def test_for_a_login_everybody_must_have_one(team: Team, quick_gateway: str) -> None:
    async with calls_to(quick_gateway, team.account_id, team.full_key) as calls:
        await ask(calls, approvers=[team.owner.upper(), team.viewer], confirm="login")
        later = {"escalate_to": [BOB], "escalate_after_seconds": 60}
        for body, field in (
            ({"approvers": [team.owner, ADA]}, "approvers"),
            ({"approvers": [team.owner]} | later, "escalate_to"),
        ):
            response = await calls.http.post("/api/approvals", json={"context": "x", "confirm": "login"} | body)
            assert fields(problem(response, 400, "invalid_request")) == [field]


# What it is about


async def test_its_place_in_an_instance(ours: Calls, sessions: Sessions) -> None:
    workflow_id, instance_id = await ours.open()
    for body, place in (
        ({"instance_id": instance_id}, (workflow_id, instance_id, None)),
        ({"workflow_id": workflow_id}, (workflow_id, None, None)),
        (
            {"instance_id": instance_id, "workflow_id": workflow_id, "stage_path": " 2.1 "},
            (workflow_id, instance_id, "2.1"),
        ),
    ):
        document = await look(ours, await ask(ours, **body))
        assert (document["workflow_id"], document["instance_id"], document["stage_path"]) == place
        async with sessions() as session:
            row = await get_approval(session, document["approval_id"])
        assert row is not None
        assert row.source == f"workflow/{workflow_id}"


async def test_places_that_are_none(ours: Calls, theirs: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    other_workflow, _ = await ours.open()
    static = await ours.define(stages=2)
    their_workflow, their_instance = await theirs.open()
    for body, field in (
        ({"workflow_id": their_workflow}, "workflow_id"),
        ({"instance_id": their_instance}, "instance_id"),
        ({"instance_id": instance_id, "workflow_id": other_workflow}, "instance_id"),
        ({"instance_id": instance_id, "stage_path": "1..2"}, "stage_path"),
        ({"workflow_id": static, "stage_path": "3"}, "stage_path"),
        ({"instance_id": "a\x00"}, "instance_id"),
    ):
        response = await ours.http.post("/api/approvals", json={"context": "x", "approvers": [ADA]} | body)
        assert fields(problem(response, 400, "invalid_request")) == [field], body
    assert (await look(ours, await ask(ours, workflow_id=static, stage_path="2")))["stage_path"] == "2"
    await ours.http.delete(f"/api/workflows/{workflow_id}")
    response = await ours.http.post(
        "/api/approvals", json={"context": "x", "approvers": [ADA], "instance_id": instance_id}
    )
    assert fields(problem(response, 400, "invalid_request")) == ["instance_id"]


async def test_channels_are_told_of_this_one(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    body = {"kind": "webhook", "name": "hook", "url": "https://example.com/hook"}
    channel = (await ours.post("/api/channels", body, 201))["id"]
    their_channel = (await theirs.post("/api/channels", body, 201))["id"]
    workflow_id, _ = await ours.open()
    approval_id = await ask(ours, channels=[channel], workflow_id=workflow_id)
    source = f"approval/{approval_id}"
    async with sessions() as session:
        assert await attached(session, [source]) == {source: [channel]}
        row = await get_approval(session, approval_id)
    assert row is not None
    assert row.source == source
    response = await ours.http.post(
        "/api/approvals", json={"context": "x", "approvers": [ADA], "channels": [their_channel]}
    )
    assert fields(problem(response, 400, "invalid_request")) == ["channels"]
    await ours.http.delete(f"/api/channels/{channel}")


# Callbacks


async def test_a_callback_has_a_secret_that_is_shown_once(ours: Calls, sessions: Sessions) -> None:
    url = "https://example.com/hook?token=very-secret"
    created = await create(ours, callback_url=url)
    assert list(created) == ["approval_id", "status", "result", "expires_at", "callback_secret"]
    secret = created["callback_secret"]
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret[6:])) == 32
    response = await ours.http.get(f"/api/approvals/{created['approval_id']}")
    assert "secret" not in response.text
    async with sessions() as session:
        row = await get_approval(session, created["approval_id"])
    assert row is not None
    assert row.callback_url is not None
    assert row.callback_secret is not None
    vault = Vault(SECRET)
    assert (vault.decrypt(row.callback_url), vault.decrypt(row.callback_secret)) == (url, secret)


async def test_or_one_of_the_callers_own(ours: Calls) -> None:
    for size in (24, 64):
        created = await create(ours, callback_url="https://example.com/hook", callback_secret=secret_of(size))
        assert created["callback_secret"] == secret_of(size)


async def test_without_a_key_for_secrets_there_are_no_callbacks(stack: Stack, start_gateway: StartGateway) -> None:
    async with calls_to(start_gateway(secret_key=None), stack.account_id, stack.key) as calls:
        await ask(calls)
        body = {"context": "x", "approvers": [ADA], "callback_url": "https://example.com"}
        problem(await calls.http.post("/api/approvals", json=body), 503, "unavailable")


# The same request twice


async def count(sessions: Sessions, key: str) -> tuple[int, int]:
    """How many approvals have this key, and how many letters were written of them."""
    async with sessions() as session:
        of_key = Approval.idempotency_key == key
        approvals = await session.scalar(select(func.count()).select_from(Approval).where(of_key))
        letters = await session.scalar(
            select(func.count()).select_from(Message).join(Approval, Message.approval_id == Approval.id).where(of_key)
        )
    return approvals or 0, letters or 0


@pytest.mark.parametrize("where", ["header", "body", "both"])
async def test_the_same_key_asks_once(ours: Calls, sessions: Sessions, where: str) -> None:
    key = new_id("key")
    body = {"context": "x", "approvers": [ADA], "callback_url": "https://example.com/hook"}
    headers = {"Idempotency-Key": {"header": key, "both": "another"}.get(where, "")}
    if where != "header":
        body["idempotency_key"] = key

    async def post(**changes: Any) -> httpx.Response:
        return await ours.http.post("/api/approvals", json=body | changes, headers=headers)

    first = await post()
    assert first.status_code == 201, first.text
    # Written in another way, it is the same request; and what became of the first one makes no difference.
    approval_id = first.json()["approval_id"]
    assert (await ours.http.post(f"/api/approvals/{approval_id}/cancel")).status_code == 200
    second = await post(approvers=["ADA@example.com", ADA], timeout_seconds=86_400, title=None)
    assert (second.status_code, second.json()) == (201, first.json())
    assert second.headers["cache-control"] == "no-store"
    assert await count(sessions, key) == (1, 2)  # the request, and the callback of the end
    for changes in ({"context": "y"}, {"quorum": 1, "veto": True}, {"payload": 1}, {"callback_url": None}):
        problem(await post(**changes), 409, "conflict")
    assert (await count(sessions, key))[0] == 1


async def test_ten_at_once_ask_once(ours: Calls, ours_elsewhere: Calls, sessions: Sessions) -> None:
    for _ in range(3):
        key = new_id("key")
        answers = await asyncio.gather(
            *(create((ours, ours_elsewhere)[number % 2], idempotency_key=key) for number in range(10))
        )
        assert all(answer == answers[0] for answer in answers)
        assert await count(sessions, key) == (1, 1)


async def test_ten_different_ones_with_one_key(ours: Calls, sessions: Sessions) -> None:
    key = new_id("key")
    responses = await asyncio.gather(
        *(
            ours.http.post("/api/approvals", json={"context": f"{number}", "approvers": [ADA], "idempotency_key": key})
            for number in range(10)
        )
    )
    assert sorted(response.status_code for response in responses) == [201] + [409] * 9
    assert await count(sessions, key) == (1, 1)


async def test_a_key_belongs_to_its_account(ours: Calls, theirs: Calls) -> None:
    key = new_id("key")
    assert await ask(ours, idempotency_key=key) != await ask(theirs, idempotency_key=key)


async def test_a_key_in_the_header_has_its_limit_too(ours: Calls) -> None:
    response = await ours.http.post(
        "/api/approvals", json={"context": "x", "approvers": [ADA]}, headers={"Idempotency-Key": "k" * 201}
    )
    assert fields(problem(response, 400, "invalid_request")) == ["Idempotency-Key"]
