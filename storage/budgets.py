"""What workflows may cost, and what they have spent of it."""

from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Numeric, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.budgets import ZERO, Action, Budget, DayStop
from domain.costs import day_of
from storage.base import Base
from storage.costs import InstanceCost, WorkflowDayCost
from storage.prices import account_zone
from storage.workflows import Workflow


class BudgetRow(Base):
    """The budget of a workflow. Its row is locked by whoever decides on a ping's costs, and before all other rows.

    `stop_key`, `stop_reason` and `stopped_until` are of the daily limit once it is crossed: until the end of that day.
    """

    __tablename__ = "budgets"

    workflow_id: Mapped[str] = mapped_column(ForeignKey(Workflow.id), primary_key=True)
    enabled: Mapped[bool]
    limit_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    threshold_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    daily_limit_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    action: Mapped[str]
    anomaly_detection: Mapped[bool]
    anomaly_multiplier: Mapped[Decimal] = mapped_column(Numeric)
    anomaly_floor_usd: Mapped[Decimal] = mapped_column(Numeric)
    max_pings: Mapped[int | None] = mapped_column(BigInteger)
    max_visits: Mapped[int | None] = mapped_column(BigInteger)
    approvers: Mapped[list[str]] = mapped_column(JSONB)
    updated_at: Mapped[datetime]
    stop_key: Mapped[str | None]
    stop_reason: Mapped[str | None]
    stopped_until: Mapped[datetime | None]

    def budget(self) -> Budget:
        return Budget(
            self.enabled,
            self.limit_usd,
            self.threshold_usd,
            self.daily_limit_usd,
            Action(self.action),
            self.anomaly_detection,
            self.anomaly_multiplier,
            self.anomaly_floor_usd,
            self.max_pings,
            self.max_visits,
            tuple(self.approvers),
        )

    def stop(self) -> DayStop | None:
        if self.stop_key is None or self.stopped_until is None:
            return None
        return DayStop(self.stop_key, self.stop_reason or "", self.stopped_until)


async def get_budget(session: AsyncSession, workflow_id: str, *, lock: bool = False) -> BudgetRow | None:
    """`lock` holds it until the transaction ends."""
    return await session.get(BudgetRow, workflow_id, with_for_update=lock, populate_existing=True)


async def set_budget(session: AsyncSession, workflow: Workflow, budget: Budget, now: datetime) -> BudgetRow:
    """Sets it, or replaces what it was. A day's stop ends if by the new budget it would not have come."""
    values: dict[str, Any] = {
        "enabled": budget.enabled,
        "limit_usd": budget.limit_usd,
        "threshold_usd": budget.threshold_usd,
        "daily_limit_usd": budget.daily_limit_usd,
        "action": budget.action.value,
        "anomaly_detection": budget.anomaly_detection,
        "anomaly_multiplier": budget.anomaly_multiplier,
        "anomaly_floor_usd": budget.anomaly_floor_usd,
        "max_pings": budget.max_pings,
        "max_visits": budget.max_visits,
        "approvers": list(budget.approvers),
        "updated_at": now,
    }
    await session.execute(insert(BudgetRow).values({"workflow_id": workflow.id, **values}).on_conflict_do_nothing())
    row = await get_budget(session, workflow.id, lock=True)
    assert row is not None
    for name, value in values.items():
        setattr(row, name, value)
    today = day_of(now, await account_zone(session, workflow.account_id))
    if row.stopped_until is not None and await _is_lifted(session, row, today):
        row.stop_key = row.stop_reason = row.stopped_until = None
    await session.flush()
    return row


async def _is_lifted(session: AsyncSession, row: BudgetRow, today: date) -> bool:
    spent = (await read_days(session, row.workflow_id, [today])).get(today, ZERO)
    is_over = row.daily_limit_usd is not None and spent > row.daily_limit_usd
    return not (row.enabled and is_over) or row.action == Action.ALERT


async def read_days(session: AsyncSession, workflow_id: str, days: Collection[date]) -> dict[date, Decimal]:
    """What is known of what the workflow has spent on each of the days."""
    query = select(WorkflowDayCost.day, func.coalesce(WorkflowDayCost.cost_usd, 0)).where(
        WorkflowDayCost.workflow_id == workflow_id, WorkflowDayCost.day.in_(days)
    )
    return {day: Decimal(cost) for day, cost in await session.execute(query)}


async def read_spent(session: AsyncSession, instance_id: str) -> Decimal:
    """What is known of what an instance has spent, on all days."""
    query = select(func.coalesce(func.sum(InstanceCost.cost_usd), 0)).where(InstanceCost.instance_id == instance_id)
    return Decimal(await session.scalar(query) or 0)
