"""A paused instance goes on: in one transaction, whoever lets it."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.budget_alerts import resumed_alert
from domain.budgets import limit_of
from domain.errors import NotFound
from domain.evaluation import Change, evaluate
from domain.instances import InstanceStatus, confirm, merge
from domain.resuming import NotPaused, check_raise, ended, reason_of
from domain.subjects import instance_subject
from domain.transitions import Transition
from storage.alerts import raise_alerts
from storage.budgets import get_budget, read_spent
from storage.instance_alerts import raise_change
from storage.instances import Instance, pauses_as_json, record_change
from storage.pings import list_facts
from storage.transitions import TransitionRow
from storage.workflows import Workflow

NO_INSTANCE = "There is no instance {}."


async def resume(
    session: AsyncSession,
    instance_id: str,
    by: str,
    now: datetime,
    *,
    limit_usd: Decimal | None = None,
    approval_id: str | None = None,
) -> Instance:
    """Ends the pause of an instance, whose row is held from here on. `limit_usd` is what it may cost in all.

    Its workflow is to be told after the commit (`instance_changed`). If an approval asks for this, it must have been
    locked before: everywhere approvals come before instances.
    Raises NotFound, NotPaused, and InvalidRequest for a limit that is no raise; nothing is changed then.
    """
    row = await session.get(Instance, instance_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(NO_INSTANCE.format(instance_id))
    pause = row.before_pings().pause
    if row.status != InstanceStatus.PAUSED or pause is None:
        raise NotPaused.of(instance_id, InstanceStatus(row.status))
    if limit_usd is not None:
        await _check_raise(session, row, limit_usd)
        row.budget_limit_usd = limit_usd
    row.pauses, row.is_unheard = pauses_as_json(ended(row.pauses_made(), now)), True
    await session.flush()
    was_failed = await _was_failed(session, row)
    state = merge(row.before_pings(), await list_facts(session, row.id))
    if was_failed:
        # By a deadline, maybe. Of no other it is known that nobody was on the way to keep it: its workflow asks.
        state = confirm(state, pause.start)
    view = evaluate(state)
    change = Change(
        row.id,
        row.version + 1,
        view.status,
        # Of the stages nothing is different, but for those that a deadline has failed: its workflow says so.
        stages={},
        transitions=(Transition(None, InstanceStatus.PAUSED, view.status, now, reason_of(pause, by, approval_id)),),
        completed_at=view.completed_at,
        closes_at=view.closes_at,
        failure_reason=view.failure_reason,
        agent=row.agent,
        last_ping_at=row.last_ping_at,
    )
    await record_change(session, change)
    if was_failed and view.status is not InstanceStatus.FAILED:
        # It has recovered by the ping that paused it, of which a pause tells nothing.
        recovery = Transition(None, InstanceStatus.FAILED, view.status, now)
        await raise_change(session, replace(change, transitions=(recovery,)), now)
    workflow = await session.get_one(Workflow, row.workflow_id)
    await raise_alerts(session, [resumed_alert(workflow.definition(), row.id, pause.cause, by, now)], now)
    await session.refresh(row)
    return row


async def _check_raise(session: AsyncSession, row: Instance, limit_usd: Decimal) -> None:
    budget = await get_budget(session, row.workflow_id)
    present = limit_of(budget.budget(), row.budget_limit_usd) if budget is not None and budget.enabled else None
    check_raise(limit_usd, await read_spent(session, row.id), present)


async def _was_failed(session: AsyncSession, row: Instance) -> bool:
    """Whether it had failed when it was paused."""
    query = select(TransitionRow.before).where(
        TransitionRow.subject == instance_subject(row.workflow_id, row.id),
        TransitionRow.path.is_(None),
        TransitionRow.after == InstanceStatus.PAUSED,
    )
    return await session.scalar(query.order_by(TransitionRow.id.desc()).limit(1)) == InstanceStatus.FAILED
