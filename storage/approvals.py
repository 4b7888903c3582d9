"""Approvals: what was asked, who voted, and what came of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    and_,
    func,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.approval_alerts import ApprovalIdentity
from domain.approvals import (
    ApprovalStatus,
    ApprovalTerms,
    Ballot,
    Confirm,
    Decision,
    Outcome,
    Standing,
    Vote,
)
from domain.durations import in_words
from domain.subjects import approval_subject
from storage.accounts import Account
from storage.base import Base

CHANGES: str = "pingpulse_approvals"
"""The channel on which Postgres tells every gateway the id of an approval that has changed."""

FOLLOWED_WITHIN: Final = timedelta(minutes=1)
"""A workflow that takes longer to notice something is in trouble."""

MAX_BEHIND = 1_000
MAX_NAME = 80
MAX_SHOWN: Final = 300
"""Of the context, in messages to channels."""


class Approval(Base):
    """One approval. All but the request itself is written by `storage.deciding`, under a lock of this row.

    `resumes`: it was asked because the instance was paused, which goes on if this is approved.
    `requesters` are the names by which `forbid_self` knows whoever asked. `callback_url` and `callback_secret` are
    encrypted. `expires_at` and `escalate_at` move by the time in which no gateway lived. `reminders` are in seconds
    after the request; `reminded` and `escalated_at` say what was done of that. `revision` counts what happened here,
    `followed_revision` is what its workflow has taken notice of. `audit_count` and `audit_head` are the length of its
    audit trail and the hash of the last entry.
    """

    __tablename__ = "approvals"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    created_at: Mapped[datetime]
    status: Mapped[str]
    title: Mapped[str | None]
    context: Mapped[str]
    # Not JSONB, which sorts members: people see them in the order in which they were given.
    payload: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    editable: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    choices: Mapped[list[str]] = mapped_column(JSONB)
    requested_by: Mapped[str]
    requesters: Mapped[list[str]] = mapped_column(JSONB)
    approvers: Mapped[list[str]] = mapped_column(JSONB)
    quorum: Mapped[int]
    veto: Mapped[bool]
    forbid_self: Mapped[bool]
    confirm: Mapped[str]
    timeout_seconds: Mapped[float | None]
    expires_at: Mapped[datetime | None]
    timeout_action: Mapped[str]
    reminders: Mapped[list[float]] = mapped_column(JSONB)
    escalate_to: Mapped[list[str]] = mapped_column(JSONB)
    escalate_after_seconds: Mapped[float | None]
    escalate_at: Mapped[datetime | None]
    source: Mapped[str]
    workflow_id: Mapped[str | None]
    instance_id: Mapped[str | None]
    stage_path: Mapped[str | None]
    resumes: Mapped[bool] = mapped_column(default=False, server_default="false")
    callback_url: Mapped[bytes | None]
    callback_secret: Mapped[bytes | None]
    idempotency_key: Mapped[str | None]
    request_hash: Mapped[bytes]
    reminded: Mapped[int] = mapped_column(Integer, default=0)
    escalated_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    notes: Mapped[str | None]
    choice: Mapped[str | None]
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    reason: Mapped[str | None]
    revision: Mapped[int] = mapped_column(BigInteger, default=1)
    followed_revision: Mapped[int] = mapped_column(BigInteger, default=0)
    changed_at: Mapped[datetime]
    audit_count: Mapped[int] = mapped_column(Integer, default=0)
    audit_head: Mapped[bytes] = mapped_column(default=b"")

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'approved', 'denied', 'cancelled')", name="status"),
        Index("ix_approvals_account_id_created_at", "account_id", "created_at", "id"),
        Index(
            "uq_approvals_account_id_idempotency_key",
            "account_id",
            "idempotency_key",
            unique=True,
            postgresql_where="idempotency_key IS NOT NULL",
        ),
        Index("ix_approvals_instance_id", "instance_id", postgresql_where="instance_id IS NOT NULL"),
        Index("ix_approvals_behind", "changed_at", postgresql_where="followed_revision < revision"),
        Index("ix_approvals_pending", "id", postgresql_where="status = 'pending'"),
        Index(
            "ix_approvals_account_id_decided_at",
            "account_id",
            "decided_at",
            "id",
            postgresql_where="decided_at IS NOT NULL",
        ),
    )

    @property
    def subject(self) -> str:
        return approval_subject(self.id)

    @property
    def name(self) -> str:
        """What people call it: its title, or how its context begins."""
        words = " ".join((self.title or self.context).split())
        return words if len(words) <= MAX_NAME else words[: MAX_NAME - 1] + "…"

    def identity(self) -> ApprovalIdentity:
        context = " ".join(self.context.split())
        shown = context if len(context) <= MAX_SHOWN else context[: MAX_SHOWN - 1] + "…"
        return ApprovalIdentity(
            self.account_id,
            self.id,
            self.name,
            self.source,
            self.requested_by,
            self.expires_at,
            context=shown if shown != self.name else None,
        )

    def terms(self) -> ApprovalTerms:
        return ApprovalTerms(
            created_at=self.created_at,
            approvers=tuple(self.approvers),
            quorum=self.quorum,
            veto=self.veto,
            expires_at=self.expires_at,
            timeout_action=Decision(self.timeout_action),
            reminders=tuple(self.created_at + timedelta(seconds=after) for after in self.reminders),
            escalate_to=tuple(self.escalate_to),
            escalate_at=self.escalate_at,
            requesters=frozenset(self.requesters),
            forbid_self=self.forbid_self,
            confirm=Confirm(self.confirm),
        )

    def standing(self) -> Standing:
        """Where it stands as far as that is recorded: what counts for everybody."""
        return Standing(self.reminded, self.escalated_at is not None, self.outcome())

    def outcome(self) -> Outcome | None:
        if self.decided_at is None or self.decided_by is None:
            return None
        return Outcome(
            ApprovalStatus(self.status),
            self.decided_at,
            self.decided_by,
            self.notes,
            self.choice,
            self.response,
            self.reason,
        )

    def at_its_deadline(self) -> str:
        """What happens if nobody decides, in words."""
        if self.expires_at is None:
            return "It waits until somebody decides."
        word = "approved" if self.timeout_action == Decision.APPROVE else "denied"
        after = in_words((self.expires_at - self.created_at).total_seconds())
        return f"If nobody decides within {after}, it is {word}."


class ApprovalVote(Base):
    """One vote, as `domain.approvals.Vote`; `via` and `caller` say how it came. Append-only."""

    __tablename__ = "approval_votes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    approval_id: Mapped[str] = mapped_column(ForeignKey(Approval.id))
    voter: Mapped[str]
    decision: Mapped[str]
    choice: Mapped[str | None]
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    notes: Mapped[str | None]
    at: Mapped[datetime]
    via: Mapped[str]
    caller: Mapped[str | None]

    __table_args__ = (Index("uq_approval_votes_approval_id_voter", "approval_id", "voter", unique=True),)

    def vote(self) -> Vote:
        return Vote(self.voter, Ballot(Decision(self.decision), self.choice, self.response, self.notes), self.at)


async def get_approval(session: AsyncSession, approval_id: str, *, lock: bool = False) -> Approval | None:
    """`lock` holds it until the transaction ends; who decides, reads it so."""
    approval: Approval | None = await session.get(Approval, approval_id, with_for_update=lock, populate_existing=lock)
    return approval


async def find_by_idempotency_key(session: AsyncSession, account_id: str, key: str) -> Approval | None:
    query = select(Approval).where(Approval.account_id == account_id, Approval.idempotency_key == key)
    approval: Approval | None = await session.scalar(query)
    return approval


async def list_votes(session: AsyncSession, approval_ids: Sequence[str]) -> dict[str, list[ApprovalVote]]:
    """The votes on each, in the order in which they were received."""
    votes: dict[str, list[ApprovalVote]] = {approval_id: [] for approval_id in approval_ids}
    if votes:
        query = select(ApprovalVote).where(ApprovalVote.approval_id.in_(votes)).order_by(ApprovalVote.id)
        for vote in await session.scalars(query):
            votes[vote.approval_id].append(vote)
    return votes


async def list_approvals(
    session: AsyncSession,
    account_id: str,
    *,
    limit: int,
    statuses: Iterable[ApprovalStatus] = (),
    instance_id: str | None = None,
    before: tuple[datetime, str] | None = None,
) -> list[Approval]:
    """Newest first; `before` is the creation time and id of the last one of the page before."""
    query = select(Approval).where(Approval.account_id == account_id)
    if wanted := [status.value for status in statuses]:
        query = query.where(Approval.status.in_(wanted))
    if instance_id is not None:
        query = query.where(Approval.instance_id == instance_id)
    if before is not None:
        query = query.where(tuple_(Approval.created_at, Approval.id) < before)
    query = query.order_by(Approval.created_at.desc(), Approval.id.desc()).limit(limit)
    return list((await session.scalars(query)).all())


async def list_pending(session: AsyncSession) -> list[str]:
    """The id of every approval that its workflow still has to follow."""
    query = select(Approval.id).where(Approval.status == ApprovalStatus.PENDING.value)
    return list((await session.scalars(query)).all())


async def list_unfollowed(session: AsyncSession, before: datetime) -> list[str]:
    """Approvals whose workflow has not taken notice of what happened before that moment, oldest first. Those that
    no gateway has opened at once: nobody has told their workflow."""
    is_ours = and_(Approval.resumes, Approval.followed_revision == 0)
    query = (
        select(Approval.id)
        .where(Approval.followed_revision < Approval.revision, or_(Approval.changed_at < before, is_ours))
        .order_by(Approval.changed_at)
        .limit(MAX_BEHIND)
    )
    return list((await session.scalars(query)).all())


@dataclass(frozen=True)
class ApprovalsStand:
    """How many approvals are pending. `unfollowed`: something happened that their workflow has not noticed in
    `FOLLOWED_WITHIN`; `late`: their deadline is past by as much."""

    pending: int
    unfollowed: int
    late: int


async def approvals_stand(session: AsyncSession, now: datetime) -> ApprovalsStand:
    before = now - FOLLOWED_WITHIN
    is_pending = Approval.status == ApprovalStatus.PENDING.value
    is_unfollowed = (Approval.followed_revision < Approval.revision) & (Approval.changed_at < before)
    wanted = (is_pending, is_unfollowed, is_pending & (Approval.expires_at < before))
    # Each by itself, because each has an index.
    counts = [await session.scalar(select(func.count()).select_from(Approval).where(which)) or 0 for which in wanted]
    return ApprovalsStand(*counts)


async def announce_change(session: AsyncSession, approval: Approval, now: datetime) -> None:
    """Something happened: whoever waits for it is told, in every gateway, when the transaction commits."""
    approval.revision += 1
    approval.changed_at = now
    await session.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": CHANGES, "id": approval.id})
