"""The budgets of an account, and what they have stopped."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.approvals import ApprovalStatus
from domain.instances import InstanceStatus
from storage.approvals import Approval
from storage.budgets import BudgetRow
from storage.cost_alerts import CostAlert
from storage.costs import InstanceCost, WorkflowDayCost
from storage.instances import Instance
from storage.workflows import Workflow


@dataclass(frozen=True)
class BudgetStand:
    """A budget, and what of today's pings is known. `unpriced_pings` cost something on top of that."""

    row: BudgetRow
    workflow_name: str
    today_usd: Decimal | None
    unpriced_pings: int


@dataclass(frozen=True)
class PausedInstance:
    """`limit_usd` is what it may cost, by its budget or by a resume. `approval_id` asks whether it may go on."""

    instance: Instance
    workflow_name: str
    spent_usd: Decimal | None
    limit_usd: Decimal | None
    approval_id: str | None


async def list_budgets(
    session: AsyncSession, account_id: str, today: date, now: datetime, *, limit: int, offset: int = 0
) -> list[BudgetStand]:
    """Stopped ones first, then those whose day is used up the most."""
    unpriced = (
        select(func.sum(InstanceCost.unpriced_pings))
        .where(InstanceCost.workflow_id == BudgetRow.workflow_id, InstanceCost.day == today)
        .correlate(BudgetRow)
        .scalar_subquery()
    )
    is_stopped = and_(BudgetRow.enabled, func.coalesce(BudgetRow.stopped_until > now, False))
    used = func.coalesce(WorkflowDayCost.cost_usd, 0) / func.nullif(BudgetRow.daily_limit_usd, 0)
    query = (
        select(BudgetRow, Workflow.name, WorkflowDayCost.cost_usd, unpriced)
        .join(Workflow, Workflow.id == BudgetRow.workflow_id)
        .outerjoin(
            WorkflowDayCost,
            and_(WorkflowDayCost.workflow_id == BudgetRow.workflow_id, WorkflowDayCost.day == today),
        )
        .where(Workflow.account_id == account_id, Workflow.deleted_at.is_(None))
        .order_by(is_stopped.desc(), BudgetRow.enabled.desc(), used.desc().nulls_last(), Workflow.name, Workflow.id)
        .limit(limit)
        .offset(offset)
    )
    return [BudgetStand(row[0], row[1], row[2], int(row[3] or 0)) for row in await session.execute(query)]


async def list_paused(
    session: AsyncSession, account_id: str, *, limit: int, before: tuple[datetime, str] | None = None
) -> list[PausedInstance]:
    """Newest first; `before` is the opening time and id of the last one of the page before."""
    spent = (
        select(func.sum(InstanceCost.cost_usd))
        .where(InstanceCost.instance_id == Instance.id)
        .correlate(Instance)
        .scalar_subquery()
    )
    asking = (
        select(func.max(Approval.id))
        .where(Approval.instance_id == Instance.id, Approval.resumes, Approval.status == ApprovalStatus.PENDING.value)
        .correlate(Instance)
        .scalar_subquery()
    )
    query = (
        select(Instance, Workflow.name, spent, func.greatest(Instance.budget_limit_usd, BudgetRow.limit_usd), asking)
        .join(Workflow, Workflow.id == Instance.workflow_id)
        .outerjoin(BudgetRow, and_(BudgetRow.workflow_id == Instance.workflow_id, BudgetRow.limit_usd.is_not(None)))
        .where(Instance.account_id == account_id, Instance.status == InstanceStatus.PAUSED.value)
    )
    if before is not None:
        query = query.where(tuple_(Instance.opened_at, Instance.id) < before)
    query = query.order_by(Instance.opened_at.desc(), Instance.id.desc()).limit(limit)
    return [PausedInstance(*row) for row in await session.execute(query)]


@dataclass(frozen=True)
class Stops:
    """How many instances are paused, and how many workflows may not spend any more today."""

    paused: int
    days: int

    def __bool__(self) -> bool:
        return bool(self.paused or self.days)


async def count_stops(session: AsyncSession, account_id: str, now: datetime) -> Stops:
    paused = select(func.count()).where(
        Instance.account_id == account_id, Instance.status == InstanceStatus.PAUSED.value
    )
    days = (
        select(func.count())
        .select_from(BudgetRow)
        .join(Workflow, Workflow.id == BudgetRow.workflow_id)
        .where(
            Workflow.account_id == account_id,
            Workflow.deleted_at.is_(None),
            BudgetRow.enabled,
            BudgetRow.stopped_until > now,
        )
    )
    row = (await session.execute(select(paused.scalar_subquery(), days.scalar_subquery()))).one()
    return Stops(*row)


async def list_account_cost_alerts(
    session: AsyncSession, account_id: str, *, limit: int, before: tuple[datetime, int] | None = None
) -> list[tuple[CostAlert, str]]:
    """The lines that instances of all workflows have crossed, the newest first, with the workflow's name."""
    query = (
        select(CostAlert, Workflow.name)
        .join(Workflow, Workflow.id == CostAlert.workflow_id)
        .where(Workflow.account_id == account_id)
    )
    if before is not None:
        query = query.where(
            or_(
                CostAlert.created_at < before[0],
                and_(CostAlert.created_at == before[0], CostAlert.id < before[1]),
            )
        )
    rows = await session.execute(query.order_by(CostAlert.created_at.desc(), CostAlert.id.desc()).limit(limit))
    return [(alert, name) for alert, name in rows]
