"""Comparisons as they were answered, to be opened again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import ForeignKey, Index, delete, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.timeline import SHOWN
from storage.accounts import Account
from storage.base import Base
from storage.pings import Ping

MAX_KEPT: Final = 1_000
"""Of one account; the oldest go first. One of 10,000 steps takes some megabytes."""


class ComparisonRow(Base):
    """One comparison. `document` is its JSON as it was answered: as a value, it would lose decimals of money."""

    __tablename__ = "comparisons"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    created_at: Mapped[datetime]
    instance_a: Mapped[str]
    instance_b: Mapped[str]
    request: Mapped[dict[str, Any]] = mapped_column(JSONB)
    document: Mapped[str]

    __table_args__ = (Index("ix_comparisons_account_id_created_at", "account_id", "created_at", "session_id"),)


@dataclass(frozen=True)
class Extent:
    """How many steps an instance has, and the bytes of what was sent with them."""

    steps: int
    size_bytes: int


async def measure(session: AsyncSession, instance_ids: Collection[str]) -> dict[str, Extent]:
    """By instance."""
    query = (
        select(Ping.instance_id, func.count(), func.sum(Ping.size_bytes))
        .where(Ping.instance_id.in_(instance_ids), Ping.outcome.in_(SHOWN))
        .group_by(Ping.instance_id)
    )
    found = {row[0]: Extent(row[1], row[2]) for row in await session.execute(query)}
    return {instance_id: found.get(instance_id, Extent(0, 0)) for instance_id in instance_ids}


def new_session_id() -> str:
    return str(uuid4())


async def keep_comparison(session: AsyncSession, comparison: ComparisonRow, at_most: int = MAX_KEPT) -> None:
    """Keeps it, and no more than `at_most` of its account."""
    session.add(comparison)
    await session.flush()
    too_old = (
        select(ComparisonRow.session_id)
        .where(ComparisonRow.account_id == comparison.account_id)
        .order_by(ComparisonRow.created_at.desc(), ComparisonRow.session_id.desc())
        .offset(at_most)
    )
    await session.execute(delete(ComparisonRow).where(ComparisonRow.session_id.in_(too_old)))


async def get_comparison(session: AsyncSession, session_id: str) -> ComparisonRow | None:
    return await session.get(ComparisonRow, session_id)


@dataclass(frozen=True)
class Compared:
    """A comparison in short."""

    session_id: str
    created_at: datetime
    instance_a: str
    instance_b: str


async def list_comparisons(session: AsyncSession, account_id: str, *, limit: int) -> list[Compared]:
    """The latest of an account, the newest first, without what came of them."""
    row = ComparisonRow
    query = (
        select(row.session_id, row.created_at, row.instance_a, row.instance_b)
        .where(row.account_id == account_id)
        .order_by(row.created_at.desc(), row.session_id.desc())
        .limit(limit)
    )
    return [Compared(*found) for found in await session.execute(query)]
