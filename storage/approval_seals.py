"""What stays of an approval that was deleted by retention: that it was there, and the hash of its audit trail's end.

Whoever has kept a copy of the trail can still prove by it that nothing was left out or changed. Postgres lets nobody
change a seal, and deletes no entry of a trail, and no vote, whose approval has none (triggers of migration 0008).
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ForeignKey, Integer, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from storage.accounts import Account
from storage.approvals import Approval
from storage.base import Base


class ApprovalSeal(Base):
    """`audit_count` and `audit_head` are those of the approval when it was deleted, at `sealed_at`."""

    __tablename__ = "approval_seals"

    approval_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    created_at: Mapped[datetime]
    decided_at: Mapped[datetime]
    status: Mapped[str]
    audit_count: Mapped[int] = mapped_column(Integer)
    audit_head: Mapped[bytes]
    sealed_at: Mapped[datetime]


async def seal(session: AsyncSession, approval_ids: Collection[str], now: datetime) -> None:
    """Before they are deleted, in the same transaction."""
    copied = ("id", "account_id", "created_at", "decided_at", "status", "audit_count", "audit_head")
    query = select(*(getattr(Approval, name) for name in copied), literal(now)).where(Approval.id.in_(approval_ids))
    await session.execute(insert(ApprovalSeal).from_select(["approval_id", *copied[1:], "sealed_at"], query))


async def find_seal(session: AsyncSession, approval_id: str) -> ApprovalSeal | None:
    return await session.get(ApprovalSeal, approval_id)
