"""The audit trail: Postgres lets nobody change it, and whoever does all the same is found out."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from config.clock import utc_now
from storage import deciding
from storage.approval_audit import add_entry, find_tampering, hash_of, list_entries
from storage.approvals import Approval, get_approval
from storage.base import Sessions, snapshot, transaction
from tests.support.approvals import AGENT, approve, ask, by_link

ADA = "ada@example.com"
ENTRIES = 4
"""Of an approval that ada has seen and then approved."""

Tamper = Callable[[AsyncSession, str], Awaitable[Any]]


@pytest.fixture
async def approval(sessions: Sessions, account: str) -> Approval:
    approval = await ask(sessions, account)
    now = utc_now()
    async with transaction(sessions) as session:
        await deciding.note(session, approval.id, "viewed", by_link(ADA), now)
    async with transaction(sessions) as session:
        await deciding.vote(session, approval.id, by_link(ADA), approve(notes="fine"), now)
    return approval


async def broken(sessions: Sessions, approval: Approval) -> str | None:
    async with snapshot(sessions) as session:
        return (await wrong_in(session)).get(approval.id, (None, None))[0]


async def wrong_in(session: AsyncSession) -> dict[str, tuple[str | None, int | None]]:
    """By approval, what is wrong and at which entry."""
    return {one.approval_id: (one.what, one.entry) for one in await find_tampering(session)}


async def test_every_entry_is_there_and_the_chain_holds(sessions: Sessions, approval: Approval) -> None:
    async with sessions() as session:
        entries = await list_entries(session, approval.id)
    assert [entry.fields()["event"] for entry in entries] == ["requested", "viewed", "voted", "decided"]
    assert await broken(sessions, approval) is None


async def test_anybody_can_compute_the_chain(sessions: Sessions, approval: Approval) -> None:
    before = b""
    async with sessions() as session:
        for entry in await list_entries(session, approval.id):
            before = sha256(before + entry.entry.encode()).digest()
            assert entry.hash == before
        row = await get_approval(session, approval.id)
    assert row is not None
    assert (row.audit_head, row.audit_count) == (before, ENTRIES)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE approval_audit SET entry = '{}' WHERE approval_id = :id",
        "UPDATE approval_audit SET seq = seq + 1 WHERE approval_id = :id",
        "DELETE FROM approval_audit WHERE approval_id = :id",
        "DELETE FROM approval_audit WHERE false AND approval_id = :id",
        "TRUNCATE approval_audit",
        "TRUNCATE approvals CASCADE",
    ],
)
async def test_postgres_refuses_to_change_an_entry(sessions: Sessions, approval: Approval, statement: str) -> None:
    async with sessions() as session:
        with pytest.raises(DBAPIError, match="approval_audit is append-only"):
            await session.execute(text(statement), {"id": approval.id} if ":id" in statement else {})
    assert await broken(sessions, approval) is None


def run(statement: str) -> Tamper:
    async def tamper(session: AsyncSession, approval_id: str) -> None:
        await session.execute(text(statement.replace(":this", "approval_id = :id")), {"id": approval_id})

    return tamper


def forge(seq: int, entry: str, *, up_to: int = ENTRIES) -> Tamper:
    """Puts another text in an entry, and the hashes that fit in it and in those that follow, `up_to` one."""

    async def tamper(session: AsyncSession, approval_id: str) -> None:
        before = b""
        for row in await list_entries(session, approval_id):
            said = entry.replace("ID", approval_id) if row.seq == seq else row.entry
            before = hash_of(said, before) if row.seq <= up_to else row.hash
            values = {"id": approval_id, "seq": row.seq, "entry": said, "hash": before}
            await session.execute(
                text("UPDATE approval_audit SET entry = :entry, hash = :hash WHERE approval_id = :id AND seq = :seq"),
                values,
            )
        if up_to == ENTRIES:
            await session.execute(
                text("UPDATE approvals SET audit_head = :head WHERE id = :id"), {"id": approval_id, "head": before}
            )

    return tamper


async def swap(session: AsyncSession, approval_id: str) -> None:
    for old, new in ((2, 9), (3, 2), (9, 3)):
        await session.execute(
            text("UPDATE approval_audit SET seq = :new WHERE approval_id = :id AND seq = :old"),
            {"id": approval_id, "old": old, "new": new},
        )


DENY = "regexp_replace(entry, 'approve', 'deny')"


@pytest.mark.parametrize(
    ("tamper", "number"),
    [
        (run(f"UPDATE approval_audit SET entry = {DENY} WHERE :this AND seq = 3"), 3),
        (run("UPDATE approval_audit SET entry = 'gone' WHERE :this AND seq = 1"), 1),
        (run("UPDATE approval_audit SET entry = entry || ' ' WHERE :this AND seq = 4"), 4),
        (run("UPDATE approval_audit SET hash = '\\x00' WHERE :this AND seq = 2"), 2),
        (run("DELETE FROM approval_audit WHERE :this AND seq = 1"), 1),
        (run("DELETE FROM approval_audit WHERE :this AND seq = 3"), 3),
        (run("DELETE FROM approval_audit WHERE :this AND seq = 4"), 4),
        (run("DELETE FROM approval_audit WHERE :this AND seq > 2"), 3),
        (run("DELETE FROM approval_audit WHERE :this"), 1),
        (
            run(
                "INSERT INTO approval_audit SELECT approval_id, 5, entry, hash FROM approval_audit WHERE :this LIMIT 1"
            ),
            5,
        ),
        (
            run(
                "INSERT INTO approval_audit SELECT approval_id, 0, entry, hash FROM approval_audit WHERE :this LIMIT 1"
            ),
            1,
        ),
        (run("UPDATE approvals SET audit_head = '\\x00' WHERE id = :id"), 5),
        (run("UPDATE approvals SET audit_count = 9 WHERE id = :id"), 5),
        (swap, 2),
        (forge(2, "no JSON at all"), 2),
        (forge(2, "[]"), 2),
        (forge(2, "{}"), 2),
        (forge(2, '{"approval_id":"ID","seq":3}'), 2),
        (forge(2, '{"approval_id":"apr_other","seq":2}'), 2),
        (forge(2, '{"approval_id":"ID","seq":2}', up_to=2), 3),
        (forge(4, '{"approval_id":"ID","seq":4}', up_to=3), 4),
    ],
)
async def test_who_goes_around_that_is_found_at_the_entry(
    sessions: Sessions, approval: Approval, tamper: Tamper, number: int
) -> None:
    """As a superuser may, who turns the trigger off."""
    async with sessions() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        await tamper(session, approval.id)
        await session.flush()
        session.expunge_all()
        assert (await wrong_in(session))[approval.id][1] == number
        await session.rollback()
    assert await broken(sessions, approval) is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE approvals SET context = 'Something else' WHERE id = :id", "what was asked is not what its trail says"),
        ("UPDATE approvals SET approvers = '[]' WHERE id = :id", "what was asked is not what its trail says"),
        ("UPDATE approvals SET payload = '{\"a\": 1}' WHERE id = :id", "what was asked is not what its trail says"),
        ("UPDATE approvals SET status = 'denied' WHERE id = :id", "it did not end as its trail says"),
        ("UPDATE approvals SET decided_by = 'eve' WHERE id = :id", "it did not end as its trail says"),
        ("UPDATE approval_votes SET decision = 'deny' WHERE approval_id = :id", "its votes are not those of its trail"),
        ("DELETE FROM approval_votes WHERE approval_id = :id", "its votes are not those of its trail"),
    ],
)
async def test_who_changes_the_approval_itself_is_found_by_its_trail(
    sessions: Sessions, approval: Approval, change: str, what: str
) -> None:
    async with sessions() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        await session.execute(text(change), {"id": approval.id})
        session.expunge_all()
        assert (await wrong_in(session))[approval.id] == (what, None)
        await session.rollback()


RESPONSE = {
    "text": 'Grüße, 世界 🚀 \\ " \n \x7f \u2028',
    "float": 0.1 + 0.2,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "round": 1e22,
    "int": 2**80,
    "nested": [{"b": None, "a": [True, False, [], {}]}],
    "": "no name",
    "long": "x" * 100_000,
}


async def test_whatever_people_answer_survives(sessions: Sessions, account: str) -> None:
    approval = await ask(sessions, account, approvers=[ADA, "bob@example.com"], quorum=2, editable=None)
    async with transaction(sessions) as session:
        locked, _ = await deciding.lock_approval(session, approval.id)
        add_entry(session, locked, "edited", ADA, utc_now(), agent="A" * 999, details={"response": RESPONSE})
    async with sessions() as session:
        entry = (await list_entries(session, approval.id))[-1].fields()
    kept = entry["details"]["response"]
    assert kept == RESPONSE
    assert {name: type(value) for name, value in kept.items()} == {n: type(value) for n, value in RESPONSE.items()}
    assert entry["agent"] == "A" * 300
    assert await broken(sessions, approval) is None


async def test_a_time_is_written_in_one_way(sessions: Sessions, account: str) -> None:
    moment = utc_now().replace(microsecond=0)
    approval = await ask(sessions, account, now=moment)
    async with sessions() as session:
        (entry,) = await list_entries(session, approval.id)
    assert entry.fields()["at"] == moment.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00")
    assert entry.entry == json.dumps(entry.fields(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


async def test_entries_that_are_written_meanwhile_break_nothing(sessions: Sessions, account: str) -> None:
    approval = await ask(sessions, account)
    is_done = asyncio.Event()

    async def look() -> None:
        while not is_done.is_set():
            async with transaction(sessions) as session:
                await deciding.note(session, approval.id, "viewed", AGENT, utc_now() + timedelta(seconds=1))

    looking = asyncio.create_task(look())
    for _ in range(20):
        assert await broken(sessions, approval) is None
    is_done.set()
    await looking


async def test_more_approvals_than_one_page_are_checked(
    sessions: Sessions, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.approval_audit.PAGE", 3)
    approvals = [await ask(sessions, account) for _ in range(8)]
    async with sessions() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        for approval in approvals:
            await session.execute(text("DELETE FROM approval_audit WHERE approval_id = :id"), {"id": approval.id})
        found = await wrong_in(session)
        assert {found[approval.id][1] for approval in approvals} == {1}
        await session.rollback()
