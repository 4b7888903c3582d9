"""Reports of what pings have cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from domain.costs import difference, total_of
from domain.pings import Outcome
from storage.costs import TOKENS, CostRollup, InstanceCost
from storage.pings import Ping
from storage.workflows import Workflow

GroupBy = Literal["day", "workflow", "model", "agent", "stage"]


@dataclass(frozen=True)
class Sums:
    """`cost_usd` is None if none of the pings is priced."""

    pings: int
    unpriced_pings: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal | None


NOTHING: Final = Sums(0, 0, 0, 0, 0, 0, 0, None)


@dataclass(frozen=True)
class Group:
    """What pings have in common, by the names of GROUPED_BY, and their sums."""

    common: Mapping[str, Any]
    sums: Sums


@dataclass(frozen=True)
class Summary:
    """The first of all groups, and the sums of all."""

    total: Sums
    groups: list[Group]

    @property
    def rest(self) -> Sums | None:
        """The sums of the groups that are not listed; None if all are."""
        listed = [group.sums for group in self.groups]
        counts = {
            name: getattr(self.total, name) - sum(getattr(sums, name) for sums in listed)
            for name in _SUMS
            if name != "cost_usd"
        }
        if not counts["pings"]:
            return None
        known = total_of([sums.cost_usd for sums in listed], unpriced=0)
        is_known = counts["pings"] > counts["unpriced_pings"]
        return Sums(**counts, cost_usd=difference(self.total.cost_usd, known) if is_known else None)


@dataclass(frozen=True)
class WorkflowCost:
    """Of some days. `instances` are those whose cost is known, at least in part; `dearest` is one of them."""

    pings: int
    unpriced_pings: int
    unpriced_today: int
    cost_usd: Decimal | None
    cost_today_usd: Decimal | None
    instances: int
    dearest_id: str | None
    dearest_cost_usd: Decimal | None


@dataclass(frozen=True)
class PingCost:
    """One accepted ping that says anything of costs."""

    stage_path: str
    model_id: str | None
    agent_code: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: Decimal | None
    cost_source: str
    price_version: str | None
    executed_at: datetime


@dataclass(frozen=True)
class InstancePings:
    """Some of the `pings` of an instance that say anything of costs; cost and `unpriced_pings` are of all."""

    pings: int
    unpriced_pings: int
    cost_usd: Decimal | None
    listed: list[PingCost]


GROUPED_BY: Final[Mapping[GroupBy, tuple[str, ...]]] = {
    "day": ("day",),
    "workflow": ("workflow_id", "workflow_name"),
    "model": ("model_id",),
    "agent": ("agent",),
    "stage": ("workflow_id", "stage_path"),
}

_SUMS: Final = ("pings", "unpriced_pings", *TOKENS, "cost_usd")


async def sum_costs(
    session: AsyncSession, account_id: str, group_by: GroupBy, first: date, last: date, *, limit: int
) -> Summary:
    """What the days `first` to `last` cost: days in their order, all others the dearest first, `limit` at most."""
    names = [name for name in GROUPED_BY[group_by] if name != "workflow_name"]
    columns = [getattr(CostRollup, name) for name in names]
    grouped = (
        select(*columns, *(func.sum(getattr(CostRollup, name)).label(name) for name in _SUMS))
        .where(CostRollup.account_id == account_id, CostRollup.day.between(first, last))
        .group_by(*columns)
        .cte("grouped")
    )
    # Of all groups, because windows come before the limit.
    query = select(grouped, *(func.sum(grouped.c[name]).over().label(f"total_{name}") for name in _SUMS))
    if group_by == "workflow":
        query = query.add_columns(Workflow.name.label("workflow_name"))
        query = query.outerjoin(Workflow, Workflow.id == grouped.c.workflow_id)
    order = [grouped.c[name].asc().nulls_first() for name in names]
    if group_by != "day":
        order = [grouped.c.cost_usd.desc().nulls_last(), grouped.c.pings.desc(), *order]
    rows = [dict(row) for row in (await session.execute(query.order_by(*order).limit(limit))).mappings()]
    return Summary(
        _sums(rows[0], "total_") if rows else NOTHING,
        [Group({name: row[name] for name in GROUPED_BY[group_by]}, _sums(row)) for row in rows],
    )


def _sums(row: Mapping[str, Any], prefix: str = "") -> Sums:
    # Sums of bigint come as decimals.
    counts = {name: int(row[f"{prefix}{name}"]) for name in _SUMS if name != "cost_usd"}
    return Sums(**counts, cost_usd=row[f"{prefix}cost_usd"])


async def read_workflow_cost(session: AsyncSession, workflow_id: str, first: date, today: date) -> WorkflowCost:
    """What the pings of the days from `first` to `today` cost."""
    is_today = InstanceCost.day == today
    by_instance = (
        select(
            InstanceCost.instance_id,
            func.sum(InstanceCost.pings).label("pings"),
            func.sum(InstanceCost.unpriced_pings).label("unpriced"),
            func.sum(InstanceCost.unpriced_pings).filter(is_today).label("unpriced_today"),
            func.sum(InstanceCost.cost_usd).label("cost"),
            func.sum(InstanceCost.cost_usd).filter(is_today).label("cost_today"),
        )
        .where(InstanceCost.workflow_id == workflow_id, InstanceCost.day.between(first, today))
        .group_by(InstanceCost.instance_id)
        .cte("by_instance")
    )
    dearest = (
        select(by_instance.c.instance_id, by_instance.c.cost)
        .where(by_instance.c.cost.is_not(None))
        .order_by(by_instance.c.cost.desc(), by_instance.c.instance_id)
        .limit(1)
        .subquery()
    )
    total = select(
        func.sum(by_instance.c.pings).label("pings"),
        func.sum(by_instance.c.unpriced).label("unpriced"),
        func.sum(by_instance.c.unpriced_today).label("unpriced_today"),
        func.sum(by_instance.c.cost).label("cost"),
        func.sum(by_instance.c.cost_today).label("cost_today"),
        func.count(by_instance.c.cost).label("instances"),
    ).subquery()
    row = (await session.execute(select(total, dearest).select_from(total.outerjoin(dearest, true())))).one()
    return WorkflowCost(
        int(row.pings or 0),
        int(row.unpriced or 0),
        int(row.unpriced_today or 0),
        row.cost,
        row.cost_today,
        row.instances,
        row.instance_id,
        row[-1],
    )


async def read_instance_cost(session: AsyncSession, instance_id: str, *, start: int, limit: int) -> InstancePings:
    """What an instance costs, and its pings from the number `start` on, in the order in which they were received.

    What a fork has inherited costs nothing: it was paid for by the instance that was forked.
    """
    costly = (
        Ping.instance_id == instance_id,
        Ping.outcome == Outcome.ACCEPTED,
        Ping.cost_source.is_not(None),
        Ping.inherited.is_(False),
    )
    unpriced = func.count().filter(Ping.cost_source == "unpriced")
    total = (await session.execute(select(func.count(), unpriced, func.sum(Ping.cost_usd)).where(*costly))).one()
    rows = await session.execute(
        select(
            Ping.path.label("stage_path"),
            Ping.model_id,
            Ping.agent.label("agent_code"),
            *(getattr(Ping, name) for name in TOKENS),
            Ping.cost_usd,
            Ping.cost_source,
            Ping.price_version,
            Ping.received_at.label("executed_at"),
        )
        .where(*costly)
        .order_by(Ping.received_at, Ping.id)
        .offset(start)
        .limit(limit)
    )
    return InstancePings(*total, [PingCost(*row) for row in rows])
