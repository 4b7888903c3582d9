"""Approvals over HTTP: polling, deciding, cancelling, and what is left of it."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from api.approval_views import ApprovalDocument
from config.clock import utc_now
from storage.base import Sessions
from tests.api.approval_calls import ADA, BOB, CLEO, answer, ask, create, decide, key_id, look, only
from tests.api.calls import Calls, new_id
from tests.api.conftest import Team, calls_to, make_team
from tests.api.test_errors import problem
from tests.support.stack import Stack

# As the reference has it


async def test_the_answers_of_the_reference(ours: Calls) -> None:
    created = await ours.http.post(
        "/api/approvals",
        json={
            "context": "Publish blog post: Q4 Earnings Report (1,500 words)",
            "timeout_seconds": 300,
            "timeout_action": "deny",
            "approvers": [ADA],
        },
    )
    assert created.status_code == 201
    assert created.headers["cache-control"] == "no-store"
    approval = created.json()
    approval_id = approval["approval_id"]
    assert list(approval) == ["approval_id", "status", "result", "expires_at"]
    assert approval_id.startswith("apr_")
    assert (approval["status"], approval["result"]) == ("pending", None)
    assert approval["expires_at"].endswith("Z")
    left = (datetime.fromisoformat(approval["expires_at"]) - utc_now()).total_seconds()
    assert 280 < left <= 300

    pending = await look(ours, approval_id)
    assert list(pending)[:4] == ["approval_id", "status", "result", "seconds_remaining"]
    assert only(pending, "approval_id", "status", "result", "expires_at") == approval
    assert isinstance(pending["seconds_remaining"], int)
    assert 280 < pending["seconds_remaining"] <= 300
    assert not {"notes", "decided_by"} & pending.keys()

    await decide(ours, approval_id, approver=ADA, notes="Looks good, proceed!")
    decided = await look(ours, approval_id)
    assert list(decided)[:5] == ["approval_id", "status", "result", "notes", "decided_by"]
    assert only(decided, "approval_id", "status", "result", "notes", "decided_by") == {
        "approval_id": approval_id,
        "status": "approved",
        "result": 1,
        "notes": "Looks good, proceed!",
        "decided_by": ADA,
    }
    assert "seconds_remaining" not in decided


async def test_the_rest_of_the_document(ours: Calls) -> None:
    approval_id = await ask(
        ours,
        title="Q4",
        context="Ship it?",
        requested_by="deploy bot",
        approvers=[ADA, "  BOB@example.com", "Ada@Example.com"],
        quorum=2,
        payload={"amount": 3, "deep": [{"é": None}]},
    )
    document = await look(ours, approval_id)
    ApprovalDocument.model_validate(document)
    assert document | {"created_at": None, "expires_at": None, "seconds_remaining": None, "url": None} == {
        "approval_id": approval_id,
        "status": "pending",
        "result": None,
        "seconds_remaining": None,
        "expires_at": None,
        "title": "Q4",
        "context": "Ship it?",
        "requested_by": "deploy bot",
        "created_at": None,
        "decided_at": None,
        "reason": None,
        "choice": None,
        "response": None,
        "timeout_action": "deny",
        "approvers": [ADA, BOB],
        "quorum": 2,
        "veto": False,
        "approvals": 0,
        "denials": 0,
        "votes": [],
        "payload": {"amount": 3, "deep": [{"é": None}]},
        "editable": None,
        "choices": [],
        "confirm": "link",
        "escalated_at": None,
        "workflow_id": None,
        "instance_id": None,
        "stage_path": None,
        "resumes_instance": False,
        "url": None,
    }
    assert document["url"].endswith(f"/approvals/{approval_id}")
    assert 86_300 < document["seconds_remaining"] <= 86_400

    document = await decide(ours, approval_id, approver=BOB.upper(), notes="fine")
    ApprovalDocument.model_validate(document)
    assert only(document, "status", "approvals", "denials") == {"status": "pending", "approvals": 1, "denials": 0}
    (vote,) = document["votes"]
    assert vote.pop("at").endswith("Z")
    assert vote == {"voter": BOB, "decision": "approve", "choice": None, "response": None, "notes": "fine"}


async def test_one_that_waits_for_ever(ours: Calls) -> None:
    created = await create(ours, timeout_seconds=None)
    assert created["expires_at"] is None
    document = await look(ours, created["approval_id"])
    assert (document["seconds_remaining"], document["expires_at"]) == (None, None)
    ApprovalDocument.model_validate(document)


@pytest.mark.parametrize(("action", "status", "result"), [("approve", "approved", 1), ("deny", "denied", 0)])
async def test_at_its_deadline_the_timeout_decides(ours: Calls, action: str, status: str, result: int) -> None:
    approval_id = await ask(ours, timeout_seconds=1, timeout_action=action)
    document = await look(ours, approval_id, wait=20)
    assert only(document, "status", "result", "decided_by", "notes") == {
        "status": status,
        "result": result,
        "decided_by": "timeout",
        "notes": None,
    }
    assert document["reason"]
    assert document["decided_at"] == document["expires_at"]


# Deciding


async def test_a_denial(ours: Calls, stack: Stack) -> None:
    document = await decide(ours, await ask(ours), "deny", notes="not today")
    assert (document["status"], document["result"], document["notes"]) == ("denied", 0, "not today")
    assert document["decided_by"] == await key_id(stack.sessions, ours.key)


async def test_a_second_decision_hears_of_the_first(ours: Calls) -> None:
    approval_id = await ask(ours)
    first = await decide(ours, approval_id, approver=ADA)
    said = problem(await answer(ours, approval_id, "deny", approver=ADA), 409, "approval_decided")
    assert (said["approval_status"], said["decided_by"]) == ("approved", ADA)
    assert datetime.fromisoformat(said["decided_at"]) == datetime.fromisoformat(first["decided_at"])


async def test_a_quorum_takes_as_many_votes(ours: Calls) -> None:
    approval_id = await ask(ours, approvers=[ADA, BOB, CLEO], quorum=2)
    assert (await decide(ours, approval_id, approver=ADA))["status"] == "pending"
    said = problem(await answer(ours, approval_id, approver=ADA), 409, "already_voted")
    assert said["voted_at"]
    assert (await decide(ours, approval_id, "deny", approver=BOB))["status"] == "pending"
    document = await decide(ours, approval_id, approver=CLEO)
    assert only(document, "status", "approvals", "denials", "decided_by") == {
        "status": "approved",
        "approvals": 2,
        "denials": 1,
        "decided_by": CLEO,
    }


async def test_one_veto_is_enough(ours: Calls) -> None:
    approval_id = await ask(ours, approvers=[ADA, BOB, CLEO], quorum=3, veto=True)
    assert (await decide(ours, approval_id, approver=ADA))["status"] == "pending"
    assert (await decide(ours, approval_id, "deny", approver=BOB))["status"] == "denied"


async def test_a_choice_is_one_of_those_offered(ours: Calls) -> None:
    approval_id = await ask(ours, choices=["blue", "green"])
    for body in ({}, {"choice": "red"}):
        said = problem(await answer(ours, approval_id, approver=ADA, **body), 400, "invalid_request")
        assert [error["field"] for error in said["errors"]] == ["choice"]
    assert (await decide(ours, approval_id, approver=ADA, choice="green"))["choice"] == "green"


async def test_edited_values_come_back(ours: Calls) -> None:
    editable = {
        "type": "object",
        "properties": {"amount": {"type": "integer", "maximum": 100}, "to": {"type": "string"}},
    }
    approval_id = await ask(ours, payload={"amount": 10, "to": "Eve"}, editable=editable)
    said = problem(await answer(ours, approval_id, approver=ADA, response={"amount": 101}), 400, "invalid_request")
    assert [error["field"] for error in said["errors"]] == ["response.amount"]
    document = await decide(ours, approval_id, approver=ADA, response={"amount": 99})
    assert document["response"] == {"amount": 99, "to": "Eve"}
    assert document["payload"] == {"amount": 10, "to": "Eve"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "decision"),
        ({"decision": "maybe"}, "decision"),
        ({"decision": "deny", "notes": "n" * 2001}, "notes"),
        ({"decision": "deny", "notes": "a\x00b"}, "notes"),
        ({"decision": "approve", "approver": "nobody"}, "approver"),
        ({"decision": "approve", "response": [1]}, "response"),
        ({"decision": "approve", "response": {"a": 1}}, "response"),
        ({"decision": "approve", "choice": "red"}, "choice"),
        ({"decision": "deny", "why": 1}, "why"),
    ],
)
async def test_decisions_that_will_not_do(ours: Calls, body: dict[str, Any], field: str) -> None:
    approval_id = await ask(ours)
    said = problem(await ours.http.post(f"/api/approvals/{approval_id}/decide", json=body), 400, "invalid_request")
    assert [error["field"] for error in said["errors"]] == [field]
    assert (await look(ours, approval_id))["votes"] == []


async def test_whoever_was_not_asked_does_not_decide(ours: Calls) -> None:
    problem(await answer(ours, await ask(ours), approver=BOB), 403, "not_an_approver")


async def test_nobody_decides_on_their_own_request(ours: Calls) -> None:
    approval_id = await ask(ours, approvers=[ADA, BOB], requested_by=ADA.upper(), forbid_self=True)
    assert (await look(ours, approval_id))["approvers"] == [BOB]
    # Not the key that asked either, in whoever's name.
    for body in ({}, {"approver": BOB}):
        problem(await answer(ours, approval_id, **body), 403, "own_request")


@pytest.mark.parametrize("confirm", ["code", "login"])
async def test_keys_do_not_decide_what_a_person_must(ours: Calls, team: Team, quick_gateway: str, confirm: str) -> None:
    async with calls_to(quick_gateway, team.account_id, team.full_key) as calls:
        approval_id = await ask(calls, approvers=[team.owner], confirm=confirm)
        for body in ({}, {"approver": team.owner}):
            said = problem(await answer(calls, approval_id, **body), 403, "confirmation_required")
            assert said["confirm"] == confirm


async def test_twenty_decide_at_once_and_one_does(ours: Calls, ours_elsewhere: Calls) -> None:
    for _ in range(3):
        approval_id = await ask(ours, approvers=[ADA, BOB])
        responses = await asyncio.gather(
            *(
                answer(
                    (ours, ours_elsewhere)[number % 2],
                    approval_id,
                    ("approve", "deny")[number // 2 % 2],
                    approver=(ADA, BOB)[number // 4 % 2],
                )
                for number in range(20)
            )
        )
        assert Counter(response.status_code for response in responses) == {200: 1, 409: 19}
        (won,) = (response.json() for response in responses if response.status_code == 200)
        outcomes = {
            (said["approval_status"], said["decided_by"], datetime.fromisoformat(said["decided_at"]))
            for said in (problem(one, 409, "approval_decided") for one in responses if one.status_code == 409)
        }
        assert outcomes == {(won["status"], won["decided_by"], datetime.fromisoformat(won["decided_at"]))}
        for calls in (ours, ours_elsewhere):
            assert await look(calls, approval_id) == won


# Cancelling


async def test_a_cancelled_one_stays_cancelled(ours: Calls) -> None:
    approval_id = await ask(ours)
    response = await ours.http.post(f"/api/approvals/{approval_id}/cancel")
    assert response.status_code == 200, response.text
    assert (response.json()["status"], response.json()["result"], response.json()["notes"]) == ("cancelled", 0, None)
    for again in (
        await ours.http.post(f"/api/approvals/{approval_id}/cancel", json={"notes": "again"}),
        await answer(ours, approval_id, approver=ADA),
    ):
        assert problem(again, 409, "approval_decided")["approval_status"] == "cancelled"


async def test_a_decided_one_is_not_cancelled(ours: Calls) -> None:
    approval_id = await ask(ours)
    await decide(ours, approval_id)
    problem(await ours.http.post(f"/api/approvals/{approval_id}/cancel"), 409, "approval_decided")


# Lists


async def test_the_list_of_an_account(sessions: Sessions, quick_gateway: str) -> None:
    mine = await make_team(sessions, new_id("team"))
    async with calls_to(quick_gateway, mine.account_id, mine.full_key) as calls:
        workflow_id, instance_id = await calls.open()
        ids = [await ask(calls, instance_id=instance_id if number == 2 else None) for number in range(5)]
        await decide(calls, ids[0], approver=ADA)
        await decide(calls, ids[1], "deny", approver=ADA)
        await calls.post(f"/api/approvals/{ids[3]}/cancel", {})

        async def listed(**params: Any) -> list[str]:
            return [item["approval_id"] for item in (await calls.get("/api/approvals", **params))["approvals"]]

        assert await listed() == ids[::-1]
        assert await listed(status="pending") == [ids[4], ids[2]]
        assert await listed(status="approved,denied") == [ids[1], ids[0]]
        assert await listed(status=["approved", "cancelled"]) == [ids[3], ids[0]]
        assert await listed(instance_id=instance_id) == [ids[2]]
        assert await listed(instance_id=instance_id, status="denied") == []

        pages, cursor = [], None
        for _ in range(3):
            page = await calls.get("/api/approvals", limit=2, **({"cursor": cursor} if cursor else {}))
            pages.append([item["approval_id"] for item in page["approvals"]])
            cursor = page["next_cursor"]
        assert pages == [ids[:2:-1], ids[2:0:-1], ids[:1]]
        assert cursor is None

        whole = (await calls.get("/api/approvals"))["approvals"]
        for item in whole:
            one = await look(calls, item["approval_id"])
            # A second may have passed between the two.
            assert item.pop("seconds_remaining", None) is None or one["seconds_remaining"] > 0
            one.pop("seconds_remaining", None)
            assert item == one
        for field, bad in (("status", "open"), ("limit", "0"), ("limit", "101"), ("cursor", "what")):
            said = problem(await calls.http.get("/api/approvals", params={field: bad}), 400, "invalid_request")
            assert [error["field"] for error in said["errors"]] == [field]
