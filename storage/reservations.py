"""Money that an agent has set aside before it spends it."""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Index, Numeric, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from storage.base import Base
from storage.pings import Ping


class Reservation(Base):
    """Held until it is settled, or expires. `settled_by` is the ping that told what became of it, if one did.

    `idempotency_key` is the caller's, so that a repeated request reserves once.
    """

    __tablename__ = "reservations"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    workflow_id: Mapped[str]
    instance_id: Mapped[str]
    amount_usd: Mapped[Decimal] = mapped_column(Numeric)
    idempotency_key: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index("ix_reservations_held", "workflow_id", "expires_at", postgresql_where="settled_at IS NULL"),
        Index(
            "uq_reservations_instance_id_idempotency_key",
            "instance_id",
            "idempotency_key",
            unique=True,
            postgresql_where="idempotency_key IS NOT NULL",
        ),
    )


async def read_held(session: AsyncSession, workflow_id: str, now: datetime) -> Mapping[str, Decimal]:
    """What is set aside of a workflow's budget, by instance."""
    query = select(Reservation.instance_id, func.sum(Reservation.amount_usd)).where(
        Reservation.workflow_id == workflow_id, Reservation.settled_at.is_(None), Reservation.expires_at > now
    )
    return {row[0]: row[1] for row in await session.execute(query.group_by(Reservation.instance_id))}


async def settle_by_pings(session: AsyncSession, instance_id: str, ping_ids: Collection[int], now: datetime) -> None:
    """Settles the reservations that accepted pings of an instance name."""
    await session.execute(
        update(Reservation)
        .where(
            Reservation.id == Ping.reservation_id,
            Ping.id.in_(ping_ids),
            Reservation.instance_id == instance_id,
            Reservation.settled_at.is_(None),
        )
        .values(settled_at=now, settled_by=Ping.id)
    )
