"""What an account keeps, and for how long: the settings, whose turn it is, and what was done."""

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.retention import Retention
from storage.accounts import Account
from storage.base import Base

EVERY: Final = timedelta(hours=1)
"""Between the end of one pass and the next."""


class RetentionRow(Base):
    """Of one account. `due_at` is when there may be something to delete; null while all is kept. `looked_at` is the end
    of the last pass, `deleted` what that has deleted, by kind, and `deleting` what the one that goes on has so far."""

    __tablename__ = "retention"

    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id, ondelete="CASCADE"), primary_key=True)
    keep_days: Mapped[int | None] = mapped_column(Integer)
    keep_approvals_days: Mapped[int | None] = mapped_column(Integer)
    due_at: Mapped[datetime | None]
    looked_at: Mapped[datetime | None]
    deleted: Mapped[dict[str, int]] = mapped_column(JSONB, default=dict)
    deleting: Mapped[dict[str, int]] = mapped_column(JSONB, default=dict)

    __table_args__ = (
        CheckConstraint("keep_days >= 7 AND keep_approvals_days >= 7", name="days"),
        Index("ix_retention_due_at", "due_at", postgresql_where="due_at IS NOT NULL"),
    )

    def settings(self) -> Retention:
        return Retention(self.keep_days, self.keep_approvals_days)


async def get_retention(session: AsyncSession, account_id: str, *, lock: bool = False) -> RetentionRow | None:
    """None if nobody has ever changed that everything is kept."""
    return await session.get(RetentionRow, account_id, with_for_update=lock, populate_existing=True)


async def in_words(session: AsyncSession, account_id: str, setting: Literal["keep_days", "keep_approvals_days"]) -> str:
    """Behind "There is no such thing": why it may be gone. Empty if everything is kept."""
    row = await get_retention(session, account_id)
    days = getattr(row, setting) if row is not None else None
    what = "decided approvals" if setting == "keep_approvals_days" else "what is over"
    return f" This account deletes {what} after {days} days." if days is not None else ""


async def keep_for(session: AsyncSession, account_id: str, settings: Retention, now: datetime) -> None:
    """From now on. It begins at once."""
    values: dict[str, Any] = {
        "keep_days": settings.keep_days,
        "keep_approvals_days": settings.keep_approvals_days,
        "due_at": now if settings.deletes else None,
        "deleting": {},
    }
    statement = insert(RetentionRow).values(account_id=account_id, deleted={}, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))


async def take_due(session: AsyncSession, now: datetime) -> RetentionRow | None:
    """An account whose turn it is, the one that has waited longest; locked until the transaction ends, so that one
    gateway at a time looks after it."""
    query = select(RetentionRow).where(RetentionRow.due_at <= now).order_by(RetentionRow.due_at).limit(1)
    row: RetentionRow | None = await session.scalar(
        query.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    )
    return row
