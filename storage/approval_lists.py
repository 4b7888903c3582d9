"""Approvals as people look for them: what waits for somebody, and what was decided."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from domain.approvals import ApprovalStatus
from storage.approvals import Approval, ApprovalVote
from storage.workflows import Workflow

FOREVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""The deadline of approvals that have none."""


@dataclass(frozen=True)
class Waiting:
    """How many approvals wait: for somebody, and for others of the account."""

    for_me: int
    for_others: int


@dataclass(frozen=True)
class Listed:
    """One approval of a list. `workflow_name` is that of the workflow it is about, if it is about one."""

    approval: Approval
    workflow_name: str | None
    for_others: bool = False


@dataclass(frozen=True)
class Place:
    """Where a list of what waits goes on: behind the approval of this id."""

    for_others: bool
    deadline: datetime
    approval_id: str


def place_of(listed: Listed) -> Place:
    return Place(listed.for_others, listed.approval.expires_at or FOREVER, listed.approval.id)


async def count_waiting(session: AsyncSession, account_id: str, email: str) -> Waiting:
    for_me = func.count().filter(_waits_for(email))
    row = (await session.execute(select(for_me, func.count()).where(*_is_pending(account_id)))).one()
    return Waiting(row[0], row[1] - row[0])


async def is_named(session: AsyncSession, account_id: str, email: str) -> bool:
    """Whether something pending is asked from this address, or will be when it is escalated."""
    names = or_(_names(Approval.approvers, email), _names(Approval.escalate_to, email))
    return await session.scalar(select(Approval.id).where(*_is_pending(account_id), names).limit(1)) is not None


async def list_waiting(
    session: AsyncSession, account_id: str, email: str, *, limit: int, after: Place | None = None
) -> list[Listed]:
    """What waits for whoever has this address comes first, then what waits for others, each with the soonest deadline
    first."""
    for_others = ~_waits_for(email)
    deadline = func.coalesce(Approval.expires_at, FOREVER)
    query = (
        select(Approval, Workflow.name, for_others)
        .outerjoin(Workflow, Workflow.id == Approval.workflow_id)
        .where(*_is_pending(account_id))
    )
    if after is not None:
        place = tuple_(for_others, deadline, Approval.id)
        query = query.where(place > tuple_(after.for_others, after.deadline, after.approval_id))
    rows = await session.execute(query.order_by(for_others, deadline, Approval.id).limit(limit))
    return [Listed(*row) for row in rows]


def _is_pending(account_id: str) -> tuple[ColumnElement[bool], ...]:
    return Approval.account_id == account_id, Approval.status == ApprovalStatus.PENDING.value


def _waits_for(email: str) -> ColumnElement[bool]:
    """Whether somebody is asked by now, may decide, and has not voted yet: as `domain.approvals.check_vote` says."""
    has_voted = select(ApprovalVote.id).where(ApprovalVote.approval_id == Approval.id, ApprovalVote.voter == email)
    is_asked = or_(
        _names(Approval.approvers, email),
        and_(Approval.escalated_at.is_not(None), _names(Approval.escalate_to, email)),
    )
    is_own = and_(Approval.forbid_self, _names(Approval.requesters, email))
    return and_(is_asked, ~is_own, ~has_voted.correlate(Approval).exists())


def _names(column: InstrumentedAttribute[list[str]], name: str) -> ColumnElement[bool]:
    contains: ColumnElement[bool] = column.contains([name])
    return contains


async def list_decided(
    session: AsyncSession,
    account_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    statuses: Iterable[ApprovalStatus] = (),
    workflow_id: str | None = None,
    who: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Listed]:
    """The latest decision first. `who` has decided it or voted on it.
    `before` is the time of the decision and the id of the last one of the page before."""
    query = (
        select(Approval, Workflow.name)
        .outerjoin(Workflow, Workflow.id == Approval.workflow_id)
        .where(Approval.account_id == account_id, Approval.decided_at.is_not(None))
    )
    if wanted := [status.value for status in statuses]:
        query = query.where(Approval.status.in_(wanted))
    if workflow_id is not None:
        query = query.where(Approval.workflow_id == workflow_id)
    if who is not None:
        votes = select(ApprovalVote.id).where(ApprovalVote.approval_id == Approval.id, ApprovalVote.voter == who)
        query = query.where(or_(Approval.decided_by == who, votes.correlate(Approval).exists()))
    if since is not None:
        query = query.where(Approval.decided_at >= since)
    if until is not None:
        query = query.where(Approval.decided_at < until)
    if before is not None:
        query = query.where(tuple_(Approval.decided_at, Approval.id) < before)
    rows = await session.execute(query.order_by(Approval.decided_at.desc(), Approval.id.desc()).limit(limit))
    return [Listed(*row) for row in rows]
