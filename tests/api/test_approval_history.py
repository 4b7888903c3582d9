"""What is left of an approval: its audit trail, its letters, its transitions."""

from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import text

from storage.base import Sessions, transaction
from storage.transitions import list_transitions
from tests.api.approval_calls import ADA, BOB, ask, decide, key_id
from tests.api.calls import Calls
from tests.support.stack import Stack
from tests.support.waiting import until


def replayed(trail: dict[str, Any]) -> str:
    """The head that the entries lead to."""
    head = b""
    for entry in trail["entries"]:
        head = sha256(head + entry["entry"].encode()).digest()
        assert entry["hash"] == head.hex()
    return head.hex()


async def test_the_audit_trail_can_be_verified_by_anybody(ours: Calls, stack: Stack) -> None:
    approval_id = await ask(ours, approvers=[ADA, BOB], quorum=2, requested_by="deploy bot")
    await decide(ours, approval_id, approver=ADA, notes="ünïcode ✓")
    await decide(ours, approval_id)
    trail = await ours.get(f"/api/approvals/{approval_id}/audit")
    assert (trail["is_intact"], trail["broken_at"]) == (True, None)
    assert replayed(trail) == trail["head"]
    us = await key_id(stack.sessions, ours.key)
    entries = trail["entries"]
    assert [(entry["seq"], entry["event"], entry["actor"]) for entry in entries] == [
        (1, "requested", us),
        (2, "voted", ADA),
        (3, "voted", us),
        (4, "decided", us),
    ]
    assert entries[1]["details"] == {"via": "key", "caller": us, "decision": "approve", "notes": "ünïcode ✓"}
    assert entries[1]["address"] == "127.0.0.1"
    assert entries[1]["agent"].startswith("python-httpx")
    assert all(datetime.fromisoformat(entry["at"]).tzinfo for entry in entries)


async def test_a_trail_that_was_tampered_with_is_shown_as_broken(ours: Calls, sessions: Sessions) -> None:
    for forged in ("not JSON", '{"at": "noon"}'):
        approval_id = await ask(ours)
        await decide(ours, approval_id, approver=ADA)
        async with transaction(sessions) as session:
            await session.execute(text("SET LOCAL session_replication_role = replica"))
            await session.execute(
                text("UPDATE approval_audit SET entry = :entry WHERE approval_id = :id AND seq = 2"),
                {"entry": forged, "id": approval_id},
            )
        trail = await ours.get(f"/api/approvals/{approval_id}/audit")
        assert (trail["is_intact"], trail["broken_at"]) == (False, 2)
        assert trail["entries"][1]["entry"] == forged
        assert trail["entries"][1]["actor"] is None


async def test_transitions_and_workflow_follow(ours: Calls, stack: Stack) -> None:
    approval_id = await ask(ours)
    await decide(ours, approval_id, approver=ADA)
    async with stack.sessions() as session:
        changes = await list_transitions(session, f"approval/{approval_id}")
    assert [(change.before, change.after) for change in changes] == [(None, "pending"), ("pending", "approved")]

    async def is_followed() -> bool:
        handle = stack.temporal.get_workflow_handle(f"approval/{approval_id}")
        description = await handle.describe()
        return description.status is not None and description.status.name == "COMPLETED"

    await until(is_followed)


async def test_a_letter_that_nobody_needs_any_more_was_dropped(ours: Calls, sessions: Sessions) -> None:
    approval_id = await ask(ours)
    await decide(ours, approval_id)

    async def are_finished() -> list[dict[str, Any]] | None:
        letters = (await ours.get(f"/api/approvals/{approval_id}/letters"))["letters"]
        return letters if all(letter["finished_at"] for letter in letters) else None

    (letter,) = await until(are_finished, timeout=20)
    # It may have gone out before the decision.
    async with transaction(sessions) as session:
        await session.execute(
            text("UPDATE messages SET state = 'dropped' WHERE id = :id"), {"id": letter["message_id"]}
        )
        await session.execute(
            text("UPDATE attempts SET outcome = 'dropped' WHERE message_id = :id"), {"id": letter["message_id"]}
        )
    (letter,) = (await ours.get(f"/api/approvals/{approval_id}/letters"))["letters"]
    assert letter["state"] == "dropped"
    assert [attempt["outcome"] for attempt in letter["attempts"]] == ["dropped"]


async def test_the_letters_that_were_written(ours: Calls) -> None:
    approval_id = await ask(ours, approvers=[ADA, BOB], quorum=2, callback_url="https://example.invalid/hook")

    async def are_sent() -> list[dict[str, Any]] | None:
        letters = (await ours.get(f"/api/approvals/{approval_id}/letters"))["letters"]
        return letters if all(letter["state"] == "sent" for letter in letters) else None

    asked = await until(are_sent, timeout=20)
    assert sorted((letter["topic"], letter["recipient"]) for letter in asked) == [("request", ADA), ("request", BOB)]
    assert all([attempt["outcome"] for attempt in letter["attempts"]] == ["sent"] for letter in asked)
    assert (await ours.http.post(f"/api/approvals/{approval_id}/cancel")).status_code == 200
    letters = (await ours.get(f"/api/approvals/{approval_id}/letters"))["letters"]
    assert (letters[-1]["topic"], letters[-1]["recipient"]) == ("callback", None)
