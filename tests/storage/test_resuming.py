"""The end of a pause in Postgres: once, in one order with the approval that asks for it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text, update

from activities.instances import InstanceActivities, InstanceQuestion
from config.clock import utc_now
from domain.approvals import Via, Voter
from domain.budgets import Budget
from domain.errors import InvalidRequest, NotFound
from domain.instances import InstanceStatus, Pause
from domain.resuming import NotPaused
from domain.subjects import instance_subject
from storage import deciding
from storage.alerts import AlertRow
from storage.approval_audit import list_entries, tampering
from storage.approvals import Approval, get_approval, list_unfollowed, list_votes
from storage.base import Sessions, transaction
from storage.budgets import set_budget
from storage.instances import Instance, get_instance, list_unheard, pauses_as_json, terminate_instances
from storage.resume_approvals import ask_to_resume, resume_by_request
from storage.resuming import resume
from storage.transitions import TransitionRow, list_transitions
from storage.workflows import Workflow
from tests.storage.conftest import define
from tests.support.approvals import approve, by_link, deny
from tests.support.waiting import until

ADA = "ada@example.com"
BOSS = Voter("boss@example.com", Via.SESSION)


@dataclass(frozen=True)
class Case:
    sessions: Sessions
    workflow_id: str
    id: str

    async def row(self) -> Instance:
        async with self.sessions() as session:
            return await session.get_one(Instance, self.id)

    async def pause(self, at: datetime | None = None, *, budget: Budget | None = None) -> None:
        """As the circuit breaker does it; asks whom the budget names."""
        async with transaction(self.sessions) as session:
            await self.pause_in(session, at, budget=budget)

    async def pause_in(self, session: Any, at: datetime | None = None, *, budget: Budget | None = None) -> None:
        row = await session.get(Instance, self.id, with_for_update=True, populate_existing=True)
        at = at or utc_now()
        row.status, row.failure_reason, row.version = "paused", "too dear", row.version + 1
        row.pauses = pauses_as_json((*row.pauses_made(), Pause(at, "too dear", f"a line/{row.version}")))
        subject = instance_subject(self.workflow_id, self.id)
        session.add(TransitionRow(subject=subject, before="running", after="paused", at=at, reason="too dear"))
        await session.flush()
        if budget is not None:
            await ask_to_resume(session, budget, row, "too dear", "1", at)

    async def request(self, now: datetime | None = None, limit: Decimal | None = None) -> None:
        async with transaction(self.sessions) as session:
            await resume_by_request(session, self.id, BOSS, now or utc_now(), limit)

    async def asked(self) -> list[Approval]:
        query = select(Approval).where(Approval.instance_id == self.id).order_by(Approval.created_at)
        async with self.sessions() as session:
            return list((await session.scalars(query)).all())

    async def vote(self, approval_id: str, **ballot: Any) -> None:
        async with transaction(self.sessions) as session:
            choice = deny() if ballot.get("no") else approve()
            await deciding.vote(session, approval_id, by_link(ADA), choice, utc_now())

    async def steps(self) -> list[str]:
        async with self.sessions() as session:
            rows = await list_transitions(session, instance_subject(self.workflow_id, self.id))
        return [row.after for row in rows if row.path is None]

    async def tampered(self, approval_id: str) -> str | None:
        async with self.sessions() as session:
            approval = await get_approval(session, approval_id)
            assert approval is not None
            votes = (await list_votes(session, [approval_id]))[approval_id]
            found = tampering(approval, votes, await list_entries(session, approval_id))
        return found.what if found is not None else None


ASKING = Budget(approvers=(ADA,))


@pytest.fixture
async def case(sessions: Sessions, account: str) -> Case:
    caller = await define(sessions, account, name="Ingest")
    (kept,) = await caller.keep(caller.ping("1", start=True))
    return Case(sessions, caller.workflow_id, str(kept.instance_id))


async def has_waiting(sessions: Sessions) -> bool:
    """Whether somebody waits for a lock that somebody else has."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    async with sessions() as session:
        return bool(await session.scalar(text(query)))


async def test_one_transaction_ends_a_pause(case: Case) -> None:
    await case.pause()
    before = await case.row()
    now = utc_now()
    await case.request(now)
    row = await case.row()
    assert (row.status, row.failure_reason, row.version, row.is_unheard) == ("running", None, before.version + 1, True)
    assert [pause.end for pause in row.pauses_made()] == [now]
    async with case.sessions() as session:
        last = (await list_transitions(session, instance_subject(case.workflow_id, case.id)))[-1]
        alerts = (await session.scalars(select(AlertRow).where(AlertRow.account_id == row.account_id))).all()
    assert (last.before, last.after, last.at) == ("paused", "running", now)
    assert last.reason == f"Resumed by {BOSS.name}. It was paused: too dear"
    assert [(alert.kind, alert.trouble) for alert in alerts] == [("instance_resumed", "budget/a line/1")]


async def test_by_clocks_that_differ_a_pause_ends_no_earlier_than_it_began(case: Case) -> None:
    start = utc_now()
    await case.pause(start)
    await case.request(start - timedelta(seconds=3))
    (pause,) = (await case.row()).pauses_made()
    assert pause.end == start
    await case.pause(start + timedelta(seconds=5))
    await case.request(start + timedelta(seconds=9))
    assert [each.end for each in (await case.row()).pauses_made()] == [start, start + timedelta(seconds=9)]


async def test_what_is_not_paused_is_left_alone(case: Case) -> None:
    async def refused(by: Callable[[], Awaitable[None]]) -> NotPaused:
        before = await case.row()
        with pytest.raises(NotPaused) as caught:
            await by()
        after = await case.row()
        assert (after.version, after.status, after.pauses) == (before.version, before.status, before.pauses)
        return caught.value

    assert (await refused(case.request)).extra == {"workflow_status": "running"}
    await case.pause()
    await case.request()
    await refused(case.request)
    await case.pause()
    async with transaction(case.sessions) as session:
        await terminate_instances(session, case.workflow_id, utc_now())
    assert (await refused(case.request)).extra == {"workflow_status": "terminated"}
    async with transaction(case.sessions) as session:
        with pytest.raises(NotFound):
            await resume(session, "dnothing1", ADA, utc_now())


async def test_a_raise_is_more_than_the_limit_of_the_day_it_is_asked_for(case: Case) -> None:
    async def limit(usd: str) -> None:
        async with transaction(case.sessions) as session:
            workflow = await session.get_one(Workflow, case.workflow_id)
            await set_budget(session, workflow, Budget(limit_usd=Decimal(usd)), utc_now())

    await limit("1")
    await case.pause()
    await case.request(limit=Decimal(3))
    await case.pause()
    with pytest.raises(InvalidRequest, match=r"present limit, \$3\.00"):
        await case.request(limit=Decimal(2))
    await limit("5")
    with pytest.raises(InvalidRequest, match=r"present limit, \$5\.00"):
        await case.request(limit=Decimal(4))
    assert (await case.row()).status == "paused"
    await case.request(limit=Decimal(6))
    assert (await case.row()).budget_limit_usd == 6


async def test_who_asks_for_the_instance_first_is_heard_by_its_workflow(case: Case) -> None:
    """Once it has loaded the instance as it is now, and not before."""

    async def unheard() -> bool:
        async with case.sessions() as session:
            return (case.workflow_id, case.id) in await list_unheard(session, 1_000)

    activities = InstanceActivities(case.sessions, utc_now)
    assert not await unheard()
    await case.pause()
    await case.request()
    assert await unheard()
    snapshot = await activities.load_instance(InstanceQuestion(case.id))
    assert snapshot is not None
    assert snapshot.state.pause is None
    assert not await unheard()


# With an approval


async def test_an_approval_asks_and_decides(case: Case) -> None:
    await case.pause(budget=ASKING)
    (asked,) = await case.asked()
    assert (asked.title, asked.requested_by, asked.resumes) == (
        f"Resume Ingest ({case.id})?",
        "circuit breaker",
        True,
    )
    await case.vote(asked.id)
    row = await case.row()
    assert (row.status, row.is_unheard) == ("running", True)
    async with case.sessions() as session:
        last = (await list_transitions(session, instance_subject(case.workflow_id, case.id)))[-1]
    assert last.reason == f"Resumed by {ADA} (approval {asked.id}). It was paused: too dear"
    assert await case.tampered(asked.id) is None


async def test_a_denial_leaves_it_paused_and_the_next_pause_asks_anew(case: Case) -> None:
    await case.pause(budget=ASKING)
    (asked,) = await case.asked()
    await case.vote(asked.id, no=True)
    assert (await case.row()).status == "paused"
    await case.request()
    await case.pause(budget=ASKING)
    first, second = await case.asked()
    assert (first.status, second.status) == ("denied", "pending")


async def test_a_long_name_fits_into_the_question(case: Case) -> None:
    async with transaction(case.sessions) as session:
        await session.execute(update(Workflow).where(Workflow.id == case.workflow_id).values(name="é" * 300))
    await case.pause(budget=ASKING)
    (asked,) = await case.asked()
    assert asked.title is not None
    assert len(asked.title) <= 200
    assert asked.title.endswith(f"… ({case.id})?")


async def test_that_an_approval_resumes_cannot_be_changed_unnoticed(case: Case) -> None:
    await case.pause(budget=ASKING)
    (asked,) = await case.asked()
    assert await case.tampered(asked.id) is None
    async with transaction(case.sessions) as session:
        await session.execute(update(Approval).where(Approval.id == asked.id).values(resumes=False))
    assert await case.tampered(asked.id) == "what was asked is not what its trail says"


async def test_its_workflow_is_to_be_started_at_once(case: Case) -> None:
    """No gateway has opened it, so none has told."""
    start = utc_now()
    await case.pause(start, budget=ASKING)
    (asked,) = await case.asked()

    async def is_unfollowed(before: datetime) -> bool:
        async with case.sessions() as session:
            return asked.id in await list_unfollowed(session, before)

    assert await is_unfollowed(start - timedelta(seconds=5))
    async with transaction(case.sessions) as session:
        await deciding.follow(session, asked.id, start, start)
    assert not await is_unfollowed(start + timedelta(seconds=5))
    await case.vote(asked.id)
    assert not await is_unfollowed(start - timedelta(seconds=5))


async def test_votes_and_requests_that_race(case: Case) -> None:
    for _ in range(10):
        await case.pause(budget=ASKING)
        *_, asked = await case.asked()
        acts = [case.request(), case.vote(asked.id), case.request(), case.vote(asked.id)]
        results = await asyncio.gather(*acts, return_exceptions=True)
        assert [result is None for result in results].count(True) == 1, results
        (*_, asked) = await case.asked()
        assert asked.status in ("approved", "cancelled")
        assert await case.tampered(asked.id) is None
    assert await case.steps() == ["paused", "running"] * 10


async def test_a_request_that_came_before_the_pause_does_not_end_it(case: Case) -> None:
    """It found no approval to lock first, so it cannot have one order with it."""
    async with case.sessions() as session, session.begin():
        await case.pause_in(session, budget=ASKING)
        request = asyncio.create_task(case.request())

        async def is_waiting() -> bool:
            return await has_waiting(case.sessions)

        await until(is_waiting)
    with pytest.raises(NotPaused):
        await request
    assert (await case.row()).status == InstanceStatus.PAUSED
    (asked,) = await case.asked()
    assert asked.status == "pending"
    await case.request()
    async with case.sessions() as session:
        row = await get_instance(session, case.id)
        assert row is not None
        assert row.status == "running"
