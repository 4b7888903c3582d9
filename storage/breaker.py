"""The circuit breaker in Postgres: the rules of `domain.breaker`, applied in the transaction that accepts the pings."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.breaker import TYPICAL_OF, Assessment, Books, Charge, Trip, assess, typical_cost
from domain.budget_alerts import crossing_alert
from domain.budgets import ZERO, Action, Budget, Rule
from domain.costs import day_of, end_of, zone_of
from domain.forks import Origin
from domain.instances import FINISHED, Pause
from domain.verdicts import Counts, Verdict
from storage.accounts import Account
from storage.alerts import raise_alerts
from storage.budgets import BudgetRow
from storage.cost_alerts import add_crossings
from storage.costs import InstanceCost
from storage.instances import Instance, pauses_as_json
from storage.pings import Ping
from storage.reservations import settle_by_pings
from storage.resume_approvals import ask_to_resume
from storage.workflows import Workflow

LOOKED_AT: Final = 4 * TYPICAL_OF
"""Finished instances among which those with a known cost are looked for."""

_KNOWN_BEFORE: Final = text(f"""
SELECT day, coalesce(cost_usd, 0), NULL FROM workflow_costs WHERE workflow_id = :workflow_id AND day = ANY(:days)
UNION ALL
SELECT NULL, NULL, key FROM cost_alerts WHERE instance_id = :instance_id
UNION ALL
SELECT NULL, NULL, key FROM cost_alerts
WHERE workflow_id = :workflow_id AND day = ANY(:days) AND alert_type = '{Rule.DAILY}'
""")
"""What the workflow has spent on some days, and the keys of what was told of the instance, and of those days."""


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
    if row is None:
        return None
    # By a statement of its own, behind the lock: whoever had it before may have changed the instance.
    spender = select(Instance, Account.time_zone).join(Account, Account.id == Instance.account_id)
    found = (await session.execute(spender.where(Instance.id == instance_id))).one_or_none()
    return Ledger(row, found[0], zone_of(found[1])) if found is not None else None


async def assess_pings(
    session: AsyncSession, ledger: Ledger, counts: Mapping[int, Counts], now: datetime
) -> Assessment:
    """What the pings that are about to be accepted mean to the budget; `counts` are by ping, in their order."""
    if not counts:
        return Assessment()
    spent = select(InstanceCost).where(InstanceCost.instance_id == ledger.instance.id)
    rows = await session.execute(
        select(
            *(Ping.id, Ping.path, Ping.received_at, Ping.cost_usd, Ping.cost_day, Ping.cost_source),
            spent.with_only_columns(func.sum(InstanceCost.cost_usd)).scalar_subquery().label("spent"),
            spent.with_only_columns(func.sum(InstanceCost.unpriced_pings)).scalar_subquery().label("unpriced"),
        ).where(Ping.id.in_(counts))
    )
    pings = {row.id: row for row in rows}
    copied = await _count_copies(session, ledger.instance)
    charges = [_charge(pings[ping_id], count, copied, ledger.zone) for ping_id, count in counts.items()]
    of_instance = next(iter(pings.values()))
    books = await _read_books(session, ledger, {charge.day for charge in charges}, now)
    books = replace(books, instance_usd=of_instance.spent or ZERO, unpriced_pings=int(of_instance.unpriced or 0))
    return assess(ledger.row.budget(), books, charges)


async def _count_copies(session: AsyncSession, instance: Instance) -> Counter[str]:
    """By stage, the pings that a fork has inherited: it has not sent them."""
    if instance.origin != Origin.FORK:
        return Counter()
    query = select(Ping.path, func.count()).where(Ping.instance_id == instance.id, Ping.inherited)
    return Counter({row[0]: row[1] for row in await session.execute(query.group_by(Ping.path))})


def _charge(ping: Any, count: Counts, copied: Counter[str], zone: tzinfo) -> Charge:
    return Charge(
        ping.id,
        ping.path,
        ping.received_at,
        ping.cost_day or day_of(ping.received_at, zone),
        count.status,
        count.pings - copied.total(),
        count.visits - copied[ping.path],
        ping.cost_usd,
        ping.cost_source == "unpriced",
        count.is_late,
    )


async def _read_books(session: AsyncSession, ledger: Ledger, days: Collection[date], now: datetime) -> Books:
    """All but what the instance has spent."""
    row, instance = ledger.row, ledger.instance
    budget, stop = row.budget(), row.stop()
    if stop is not None and (budget.action is Action.ALERT or is_waived(instance, stop.key) or now >= stop.until):
        stop = None
    names = {"workflow_id": row.workflow_id, "instance_id": instance.id, "days": list(days)}
    known = list(await session.execute(_KNOWN_BEFORE, names))
    return Books(
        row.workflow_id,
        instance.id,
        days_usd={day: usd for day, usd, _ in known if day is not None},
        told=frozenset(key for _, _, key in known if key is not None),
        raised_limit_usd=instance.budget_limit_usd,
        typical_usd=await _typical(session, instance) if budget.anomaly_detection else None,
        stop=stop,
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
    if accepted:
        await settle_by_pings(session, instance.id, accepted, now)
    asked = 0
    if trip is not None and trip.action is Action.PAUSE:
        asked = await _pause(session, row.budget(), instance, trip, now)
    if not assessment.crossings:
        return asked
    add_crossings(session, row.workflow_id, instance.id, assessment.crossings, now)
    for crossing in assessment.crossings:
        if crossing.rule is Rule.DAILY and row.budget().action is not Action.ALERT:
            row.stop_key, row.stop_reason = crossing.key, crossing.message
            row.stopped_until = end_of(crossing.day, ledger.zone)
    await session.flush()
    workflow = await session.get_one(Workflow, row.workflow_id)
    alerts = [crossing_alert(workflow.definition(), instance.id, crossing) for crossing in assessment.crossings]
    return asked + await raise_alerts(session, alerts, now)


async def _pause(session: AsyncSession, budget: Budget, instance: Instance, trip: Trip, now: datetime) -> int:
    """Returns how many alerts there are to tell: one, if people are asked whether it may go on."""
    at, path = (await session.execute(select(Ping.received_at, Ping.path).where(Ping.id == trip.ping_id))).one()
    pauses = (*instance.pauses_made(), Pause(at, trip.reason, trip.cause))
    await session.execute(update(Instance).where(Instance.id == instance.id).values(pauses=pauses_as_json(pauses)))
    if not budget.approvers:
        return 0
    await ask_to_resume(session, budget, instance, trip.reason, path, now)
    return 1
