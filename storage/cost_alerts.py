"""The lines that costs have crossed, each told once."""

from collections.abc import Collection, Iterable
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Identity, Index, Numeric, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.breaker import Crossing
from domain.budgets import Rule
from storage.base import Base


class CostAlert(Base):
    """A `domain.breaker.Crossing`. `day` is the account's day in which the ping that crossed it counts."""

    __tablename__ = "cost_alerts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    workflow_id: Mapped[str]
    instance_id: Mapped[str]
    key: Mapped[str]
    alert_type: Mapped[str]
    day: Mapped[date]
    current_cost_usd: Mapped[Decimal] = mapped_column(Numeric)
    threshold_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    action_taken: Mapped[str]
    message: Mapped[str]
    ping_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("uq_cost_alerts_key", "key", unique=True),
        Index("ix_cost_alerts_workflow_id_created_at", "workflow_id", "created_at", "id"),
        Index("ix_cost_alerts_instance_id", "instance_id"),
        Index("ix_cost_alerts_daily", "workflow_id", "day", postgresql_where=f"alert_type = '{Rule.DAILY}'"),
    )


def add_crossings(
    session: AsyncSession, workflow_id: str, instance_id: str, crossings: Iterable[Crossing], now: datetime
) -> None:
    session.add_all(
        CostAlert(
            workflow_id=workflow_id,
            instance_id=instance_id,
            key=crossing.key,
            alert_type=crossing.rule.value,
            day=crossing.day,
            current_cost_usd=crossing.current_usd,
            threshold_usd=crossing.threshold_usd,
            action_taken=crossing.taken.value,
            message=crossing.message,
            ping_id=crossing.ping_id,
            created_at=now,
        )
        for crossing in crossings
    )


async def list_daily(session: AsyncSession, workflow_ids: Collection[str], since: date) -> list[CostAlert]:
    """The crossings of the workflows' daily limits on that day and later ones."""
    query = select(CostAlert).where(
        CostAlert.workflow_id.in_(workflow_ids), CostAlert.day >= since, CostAlert.alert_type == Rule.DAILY.value
    )
    return list(await session.scalars(query))


async def list_cost_alerts(
    session: AsyncSession,
    workflow_id: str,
    since: datetime,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
) -> list[CostAlert]:
    """Newest first; `before` are the time and the id of the last one of the page before."""
    query = select(CostAlert).where(CostAlert.workflow_id == workflow_id, CostAlert.created_at >= since)
    if before is not None:
        query = query.where(tuple_(CostAlert.created_at, CostAlert.id) < before)
    return list(await session.scalars(query.order_by(CostAlert.created_at.desc(), CostAlert.id.desc()).limit(limit)))
