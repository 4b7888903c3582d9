"""The circuit breaker in Postgres: the rules of `domain.budgets`, applied in the transaction that accepts the pings."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.budget_alerts import crossing_alert
from domain.budgets import TYPICAL_OF, Action, Assessment, Books, Charge, Rule, Trip, assess, typical_cost
from domain.costs import day_of
from domain.instances import FINISHED, Pause
from domain.verdicts import Counts, Verdict
from storage.alerts import raise_alerts
from storage.budgets import BudgetRow, read_days, read_spent
from storage.cost_alerts import add_crossings, list_told
from storage.costs import InstanceCost
from storage.instances import Instance, get_instance, pauses_as_json
from storage.pings import Ping
from storage.prices import account_zone
from storage.reservations import settle_by_pings
from storage.workflows import Workflow

LOOKED_AT: Final = 4 * TYPICAL_OF
"""Finished instances among which those with a known cost are looked for."""


@dataclass(frozen=True)
class Ledger:
    """A budget that is locked until the transaction ends, and the instance that is about to spend of it."""

    row: BudgetRow
    instance: Instance
    zone: tzinfo


async def open_ledger(session: AsyncSession, instance_id: str) -> Ledger | None:
    """None if the instance's workflow has no budget. Nothing may be locked before this in the same transaction."""
    query = (
        select(BudgetRow)
        .join(Instance, Instance.workflow_id == BudgetRow.workflow_id)
        .where(Instance.id == instance_id, BudgetRow.enabled)
        .with_for_update(of=BudgetRow)
    )
    row = await session.scalar(query)
    # Read behind the lock: whoever had it before may have changed the instance.
    instance = await get_instance(session, instance_id) if row is not None else None
    if row is None or instance is None:
        return None
    return Ledger(row, instance, await account_zone(session, instance.account_id))


async def assess_pings(
    session: AsyncSession, ledger: Ledger, counts: Mapping[int, Counts], now: datetime
) -> Assessment:
    """What the pings that are about to be accepted mean to the budget; `counts` are by ping, in their order."""
    pings = {
        row.id: row
        for row in await session.execute(
            select(Ping.id, Ping.path, Ping.received_at, Ping.cost_usd, Ping.cost_day).where(Ping.id.in_(counts))
        )
    }
    charges = [
        Charge(
            ping_id,
            pings[ping_id].path,
            pings[ping_id].received_at,
            pings[ping_id].cost_day or day_of(pings[ping_id].received_at, ledger.zone),
            count.status,
            count.pings,
            count.visits,
            pings[ping_id].cost_usd,
        )
        for ping_id, count in counts.items()
    ]
    books = await _read_books(session, ledger, {charge.day for charge in charges}, now)
    return assess(ledger.row.budget(), books, charges)


async def _read_books(session: AsyncSession, ledger: Ledger, days: Collection[date], now: datetime) -> Books:
    row, instance = ledger.row, ledger.instance
    budget, stop = row.budget(), row.stop()
    if stop is not None and (budget.action is Action.ALERT or is_waived(instance, stop.key) or now >= stop.until):
        stop = None
    return Books(
        row.workflow_id,
        instance.id,
        await read_spent(session, instance.id),
        await read_days(session, row.workflow_id, days),
        await list_told(session, row.workflow_id, instance.id, days),
        instance.budget_limit_usd,
        await _typical(session, instance) if budget.anomaly_detection else None,
        stop,
    )


def is_waived(instance: Instance, cause: str) -> bool:
    """Whether somebody has resumed the instance from a pause of that cause."""
    return any(pause.cause == cause and pause.end is not None for pause in instance.pauses_made())


async def _typical(session: AsyncSession, instance: Instance) -> Decimal | None:
    """What the latest finished instances of its workflow typically cost. No forks: they cost less than a whole run."""
    finished = (
        select(Instance.id, Instance.closes_at)
        .where(
            Instance.workflow_id == instance.workflow_id,
            Instance.closes_at.is_not(None),
            Instance.status.in_([status.value for status in FINISHED]),
            Instance.origin.is_(None),
            Instance.id != instance.id,
        )
        .order_by(Instance.closes_at.desc())
        .limit(LOOKED_AT)
        .subquery()
    )
    cost = func.sum(InstanceCost.cost_usd)
    query = (
        select(cost)
        .join(finished, finished.c.id == InstanceCost.instance_id)
        .group_by(finished.c.id, finished.c.closes_at)
        .having(cost.is_not(None))
        .order_by(finished.c.closes_at.desc())
        .limit(TYPICAL_OF)
    )
    return typical_cost(list(await session.scalars(query)))


def with_reports(verdicts: Collection[Verdict], assessment: Assessment) -> tuple[Verdict, ...]:
    return tuple(replace(verdict, budget=assessment.reports.get(verdict.ping_id)) for verdict in verdicts)


async def keep_assessment(
    session: AsyncSession, ledger: Ledger, assessment: Assessment, accepted: Collection[int], now: datetime
) -> int:
    """Writes what was crossed and what was done about it; returns how many alerts there are to tell."""
    row, instance, trip = ledger.row, ledger.instance, assessment.trip
    await settle_by_pings(session, instance.id, accepted, now)
    if trip is not None and trip.action is Action.PAUSE:
        await _pause(session, instance, trip)
    if not assessment.crossings:
        return 0
    add_crossings(session, row.workflow_id, instance.id, assessment.crossings, now)
    for crossing in assessment.crossings:
        if crossing.rule is Rule.DAILY and row.budget().action is not Action.ALERT:
            row.stop_key, row.stop_reason = crossing.key, crossing.message
            row.stopped_until = end_of(crossing.day, ledger.zone)
    await session.flush()
    workflow = await session.get_one(Workflow, row.workflow_id)
    alerts = [crossing_alert(workflow.definition(), instance.id, crossing) for crossing in assessment.crossings]
    return await raise_alerts(session, alerts, now)


async def _pause(session: AsyncSession, instance: Instance, trip: Trip) -> None:
    at = await session.scalar(select(Ping.received_at).where(Ping.id == trip.ping_id))
    assert at is not None
    pauses = (*instance.pauses_made(), Pause(at, trip.reason, trip.cause))
    await session.execute(update(Instance).where(Instance.id == instance.id).values(pauses=pauses_as_json(pauses)))


def end_of(day: date, zone: tzinfo) -> datetime:
    """The first moment of the next day."""
    return datetime.combine(day + timedelta(days=1), time(), zone)
