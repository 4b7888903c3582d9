"""Costs as pages show them: by day and group, the dearest instances, and models without a price."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import and_, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage.cost_reads import GROUPED_BY, Group, GroupBy
from storage.costs import CostRollup, InstanceCost
from storage.workflows import Workflow


@dataclass(frozen=True)
class DaySum:
    """What a group cost on a day; `group` is its number, None for all that are not asked for."""

    day: date
    group: int | None
    pings: int
    unpriced_pings: int
    cost_usd: Decimal | None


@dataclass(frozen=True)
class DearInstance:
    instance_id: str
    workflow_id: str
    workflow_name: str
    pings: int
    unpriced_pings: int
    cost_usd: Decimal


@dataclass(frozen=True)
class InstanceCosts:
    """Of those instances whose cost is known, at least in part: how many, what all cost, and the dearest."""

    instances: int
    cost_usd: Decimal | None
    dearest: list[DearInstance]


@dataclass(frozen=True)
class UnpricedModel:
    """`model_id` is None for pings that named no model."""

    model_id: str | None
    pings: int
    unpriced_pings: int


async def sum_days(
    session: AsyncSession, account_id: str, group_by: GroupBy, first: date, last: date, groups: Sequence[Group]
) -> list[DaySum]:
    """What each of the groups, and all others together, cost on each day on which they cost something."""
    names = [name for name in GROUPED_BY[group_by] if name not in ("workflow_name", "day")]
    columns = [getattr(CostRollup, name) for name in names]
    sums = ("pings", "unpriced_pings", "cost_usd")
    # By their names first: rows are compared with the groups once a day and name, not once a sum.
    named = (
        select(CostRollup.day, *columns, *(func.sum(getattr(CostRollup, name)).label(name) for name in sums))
        .where(CostRollup.account_id == account_id, CostRollup.day.between(first, last))
        .group_by(CostRollup.day, *columns)
        .cte("named")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    fits = [
        (and_(*(named.c[name].is_not_distinct_from(group.common[name]) for name in names)), literal(number))
        for number, group in enumerate(groups)
    ]
    number = (case(*fits, else_=None) if fits and names else literal(0)).label("number")
    query = select(named.c.day, number, *(func.sum(named.c[name]) for name in sums)).group_by(named.c.day, number)
    rows = await session.execute(query.order_by(named.c.day))
    return [DaySum(row[0], row[1], int(row[2]), int(row[3]), row[4]) for row in rows]


async def read_instance_costs(
    session: AsyncSession, account_id: str, first: date, last: date, *, limit: int
) -> InstanceCosts:
    """By their pings of these days."""
    fits = (
        InstanceCost.workflow_id.in_(select(Workflow.id).where(Workflow.account_id == account_id)),
        InstanceCost.day.between(first, last),
    )
    # Two statements, each of which streams: windows over all instances would be written to disk.
    total = select(func.count(InstanceCost.instance_id.distinct()), func.sum(InstanceCost.cost_usd)).where(
        *fits, InstanceCost.cost_usd.is_not(None)
    )
    instances, cost_usd = (await session.execute(total)).one()
    summed = func.sum(InstanceCost.cost_usd)
    dearest = (
        select(InstanceCost.instance_id, summed.label("cost_usd"))
        .where(*fits, InstanceCost.cost_usd.is_not(None))
        .group_by(InstanceCost.instance_id)
        .order_by(summed.desc(), InstanceCost.instance_id)
        .limit(limit)
        .subquery()
    )
    query = (
        select(
            dearest.c.instance_id,
            Workflow.id,
            Workflow.name,
            func.sum(InstanceCost.pings),
            func.sum(InstanceCost.unpriced_pings),
            dearest.c.cost_usd,
        )
        .join(InstanceCost, InstanceCost.instance_id == dearest.c.instance_id)
        .join(Workflow, Workflow.id == InstanceCost.workflow_id)
        .where(InstanceCost.day.between(first, last))
        .group_by(dearest.c.instance_id, dearest.c.cost_usd, Workflow.id)
        .order_by(dearest.c.cost_usd.desc(), dearest.c.instance_id)
    )
    listed = [
        DearInstance(row[0], row[1], row[2], int(row[3]), int(row[4]), row[5]) for row in await session.execute(query)
    ]
    return InstanceCosts(instances, cost_usd, listed)


async def list_unpriced(
    session: AsyncSession, account_id: str, first: date, last: date, *, limit: int
) -> list[UnpricedModel]:
    """Models of which pings of these days have no price, those with the most of them first."""
    unpriced = func.sum(CostRollup.unpriced_pings)
    query = (
        select(CostRollup.model_id, func.sum(CostRollup.pings), unpriced)
        .where(CostRollup.account_id == account_id, CostRollup.day.between(first, last), CostRollup.unpriced_pings > 0)
        .group_by(CostRollup.model_id)
        .order_by(unpriced.desc(), CostRollup.model_id)
        .limit(limit)
    )
    return [UnpricedModel(row[0], int(row[1]), int(row[2])) for row in await session.execute(query)]
