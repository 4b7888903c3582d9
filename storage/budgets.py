"""What workflows may cost, and what they have spent of it."""

from collections.abc import Collection
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Numeric, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.breaker import DayStop
from domain.budgets import ZERO, Action, Budget
from domain.costs import day_of, end_of, zone_of
from storage.accounts import Account
from storage.base import Base
from storage.cost_alerts import CostAlert, list_daily
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


async def lock_budget(session: AsyncSession, workflow_id: str, now: datetime) -> Budget | None:
    """What the budget is, or None without one, to be changed: it stays so until the transaction ends."""
    if await _make_row(session, workflow_id, Budget(enabled=False), now):
        return None
    row = await get_budget(session, workflow_id, lock=True)
    assert row is not None
    return row.budget()


async def set_budget(session: AsyncSession, workflow: Workflow, budget: Budget, now: datetime) -> BudgetRow:
    """Sets it, or replaces what it was. A day's stop ends if by the new budget it would not have come, and comes back
    with the budget by which it came."""
    await _make_row(session, workflow.id, budget, now)
    row = await get_budget(session, workflow.id, lock=True)
    assert row is not None
    for name, value in _values(budget, now).items():
        setattr(row, name, value)
    await _renew_stops(session, [row], await account_zone(session, workflow.account_id), now)
    return row


async def change_time_zone(session: AsyncSession, account: Account, time_zone: str, now: datetime) -> None:
    """Has the account's days be those of another time zone, which must be known. What was counted stays on its day; a
    day that was stopped stays so until it ends there."""
    account.time_zone = time_zone
    await session.flush()
    # Whoever has a budget locked goes by the zone that was; those who come behind us find the new one.
    of_account = (
        select(BudgetRow)
        .join(Workflow, Workflow.id == BudgetRow.workflow_id)
        .where(Workflow.account_id == account.id)
        .order_by(BudgetRow.workflow_id)
        .with_for_update(of=BudgetRow)
        .execution_options(populate_existing=True)
    )
    await _renew_stops(session, list(await session.scalars(of_account)), zone_of(time_zone), now)


async def _renew_stops(session: AsyncSession, rows: Collection[BudgetRow], zone: tzinfo, now: datetime) -> None:
    """Has the stops of budgets that are locked be as budgets and time zone are now.

    A day whose limit was crossed and told is stopped until it ends: no ping would cross the same line any more. That
    may be a later day than today, by a time zone in which it had come before; then today is stopped, too.
    """
    lines = await list_daily(session, [row.workflow_id for row in rows], day_of(now, zone))
    for row in rows:
        stop = await _last_crossed(session, row, [line for line in lines if line.workflow_id == row.workflow_id])
        row.stop_key, row.stop_reason = (stop.key, stop.message) if stop is not None else (None, None)
        row.stopped_until = end_of(stop.day, zone) if stop is not None else None
    await session.flush()


async def _last_crossed(session: AsyncSession, row: BudgetRow, lines: Collection[CostAlert]) -> CostAlert | None:
    """Of the latest day on which more was spent than the budget allows, the line that stops it, if there is one.

    The one that has stopped it so far goes before that of the budget as it is: whoever was resumed was resumed from it.
    """
    limit = row.daily_limit_usd
    if not lines or not row.enabled or limit is None or row.action == Action.ALERT:
        return None
    days = await read_days(session, row.workflow_id, {line.day for line in lines})
    stopping = [
        line
        for line in lines
        if days.get(line.day, ZERO) > limit
        and (line.key == row.stop_key or (line.threshold_usd == limit and line.key.endswith(f"/{row.action}")))
    ]
    return max(stopping, key=lambda line: (line.day, line.key == row.stop_key), default=None)


async def _make_row(session: AsyncSession, workflow_id: str, budget: Budget, now: datetime) -> bool:
    """Whether there was none. Whoever makes it first, others wait for."""
    values = {"workflow_id": workflow_id, **_values(budget, now)}
    made = insert(BudgetRow).values(values).on_conflict_do_nothing().returning(BudgetRow.workflow_id)
    return await session.scalar(made) is not None


def _values(budget: Budget, now: datetime) -> dict[str, Any]:
    return {
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
