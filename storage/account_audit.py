"""The audit trail of an account: who changed what, when and from where. Postgres refuses to change or delete an entry
(a trigger of migration 0007)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from storage.base import Base

OURSELVES: Final = "pingpulse"
"""Whoever has the command line."""

MAX_AGENT: Final = 300
MAX_ADDRESS: Final = 100


class AccountEntry(Base):
    """`who` is a user's e-mail address, `api-key:<id>` or `pingpulse`; `action` such as `key.created`; `subject` what
    it was done to, as in `key/3bs7q4k6bq`."""

    __tablename__ = "account_audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    at: Mapped[datetime]
    who: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    address: Mapped[str | None]
    agent: Mapped[str | None]

    __table_args__ = (Index("ix_account_audit_account_id", "account_id", "id"),)


def note(
    session: AsyncSession,
    account_id: str,
    who: str,
    action: str,
    subject: str | None,
    details: Mapping[str, Any] | None = None,
    *,
    at: datetime,
    address: str | None = None,
    agent: str | None = None,
) -> None:
    """An entry, written with the transaction of what it tells of."""
    session.add(
        AccountEntry(
            account_id=account_id,
            at=at,
            who=who,
            action=action,
            subject=subject,
            details=dict(details or {}),
            address=address[:MAX_ADDRESS] if address is not None else None,
            agent=agent[:MAX_AGENT] if agent is not None else None,
        )
    )


async def list_entries(
    session: AsyncSession, account_id: str, limit: int, *, before: int | None = None
) -> Sequence[AccountEntry]:
    """The newest first, of those before an entry if one is given."""
    query = select(AccountEntry).where(AccountEntry.account_id == account_id)
    if before is not None:
        query = query.where(AccountEntry.id < before)
    return (await session.scalars(query.order_by(AccountEntry.id.desc()).limit(limit))).all()
