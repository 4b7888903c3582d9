"""Alerts of instances, raised in the transaction that writes what they tell of."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.evaluation import Change
from domain.instance_alerts import alerts_of, fails_now, touches_failure, violation_alert
from domain.instances import InstanceStatus
from domain.pings import Outcome
from domain.run_alerts import has_ended
from domain.subjects import instance_subject
from domain.workflows import WorkflowKind
from storage.alerts import raise_alerts
from storage.instances import get_instance
from storage.pings import Ping
from storage.run_standings import raise_end_of_run
from storage.transitions import TransitionRow

_RUN: Final = "r"
"""How the ids of reported runs begin."""


async def raise_change(session: AsyncSession, change: Change, now: datetime) -> int:
    """Raises the alerts of a change that was recorded in this transaction; returns how many.

    Asks nothing of Postgres unless the change may be worth telling.
    """
    is_end_of_run = change.instance_id.startswith(_RUN) and has_ended(change)
    if not is_end_of_run and not touches_failure(change):
        return 0
    row = await get_instance(session, change.instance_id)
    if row is None:
        return 0
    if row.rules().kind is WorkflowKind.RUN:
        return await raise_end_of_run(session, row, change, now) if is_end_of_run else 0
    failed_since = fails_now(change)
    if failed_since is None:
        failed_since = await _failed_since(session, instance_subject(row.workflow_id, row.id))
    return await raise_alerts(session, alerts_of(row.rules(), change, failed_since), now)


async def raise_violations(session: AsyncSession, instance_id: str, ping_ids: Collection[int], now: datetime) -> int:
    """Raises the alerts of pings that verdicts of this transaction have rejected; returns how many."""
    row = await get_instance(session, instance_id) if ping_ids else None
    if row is None:
        return 0
    rules = row.rules()
    # What the journal has counts: an earlier verdict is final.
    rejected = select(Ping).where(Ping.id.in_(ping_ids), Ping.outcome == Outcome.REJECTED).order_by(Ping.id)
    alerts = [
        violation_alert(
            row.account_id,
            rules.id,
            rules.name,
            row.id,
            ping.path,
            ping.reason_code or "",
            ping.reason or "",
            ping.received_at,
            tags=rules.tags,
            agent=ping.agent,
        )
        for ping in await session.scalars(rejected)
    ]
    return await raise_alerts(session, alerts, now)


async def _failed_since(session: AsyncSession, subject: str) -> datetime | None:
    """When an instance failed last, as it was told; None if it never did.

    Its `completed_at` is no answer: that moves when the first of several failed stages heals.
    """
    query = select(TransitionRow.at).where(
        TransitionRow.subject == subject,
        TransitionRow.path.is_(None),
        TransitionRow.after == InstanceStatus.FAILED,
        # One that was resumed as failed as it was has not failed again.
        TransitionRow.before.is_distinct_from(InstanceStatus.PAUSED),
    )
    failed_at: datetime | None = await session.scalar(query.order_by(TransitionRow.id.desc()).limit(1))
    return failed_at
