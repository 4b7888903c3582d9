"""Approvals that ask whether a paused instance may go on."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.approvals import ApprovalStatus, Confirm, Decision, Voter, new_approval_id
from domain.budgets import Budget
from domain.instances import InstanceStatus
from domain.resuming import NotPaused
from domain.room import shorten
from domain.subjects import workflow_source
from storage.approvals import Approval
from storage.deciding import cancel, lock_settled, open_approval
from storage.instances import Instance
from storage.resuming import resume
from storage.workflows import Workflow

ASKED_BY: Final = "circuit breaker"
MAX_NAME_BYTES: Final = 150


@dataclass(frozen=True)
class ResumedByRequest:
    """`cancelled` is the approval that nobody needs any more, if there was one."""

    instance: Instance
    cancelled: str | None = None


async def ask_to_resume(
    session: AsyncSession, budget: Budget, instance: Instance, reason: str, path: str, now: datetime
) -> None:
    """Asks the budget's approvers whether the instance may go on, which is paused in this transaction at the stage
    `path`. It waits for ever, as the instance does."""
    workflow = await session.get_one(Workflow, instance.workflow_id)
    name = shorten(workflow.name or workflow.id, MAX_NAME_BYTES)
    approval = Approval(
        id=new_approval_id(),
        account_id=instance.account_id,
        created_at=now,
        changed_at=now,
        status=ApprovalStatus.PENDING.value,
        title=f"Resume {name} ({instance.id})?",
        context=(
            f"Run {instance.id} of {name} is paused at stage {path}: {reason}.\n\n"
            "If you approve, it goes on until it crosses another line; its limits stay as they are. If you deny, it "
            "stays paused, and may be resumed later by other means."
        ),
        choices=[],
        requested_by=ASKED_BY,
        requesters=[ASKED_BY],
        approvers=list(budget.approvers),
        quorum=1,
        veto=False,
        forbid_self=False,
        confirm=Confirm.LINK.value,
        timeout_action=Decision.DENY.value,
        reminders=[],
        escalate_to=[],
        source=workflow_source(workflow.id),
        workflow_id=workflow.id,
        instance_id=instance.id,
        stage_path=path,
        resumes=True,
        request_hash=b"",
    )
    await open_approval(session, approval, None)


async def resume_by_request(
    session: AsyncSession, instance_id: str, who: Voter, now: datetime, limit_usd: Decimal | None = None
) -> ResumedByRequest:
    """Resumes an instance at somebody's request, and cancels the approval that asks for the same.

    Raises what `storage.resuming.resume` raises.
    """
    approval_id = await _find_pending(session, instance_id)
    approval = (await lock_settled(session, approval_id, now))[0] if approval_id is not None else None
    instance = await resume(session, instance_id, who.name, now, limit_usd=limit_usd)
    if await _find_pending(session, instance_id) not in (None, approval_id):
        # It was paused after the first look, so this request came before: to an instance that was running.
        raise NotPaused.of(instance_id, InstanceStatus.RUNNING)
    if approval is None or approval.status != ApprovalStatus.PENDING:
        return ResumedByRequest(instance)
    await cancel(session, approval.id, who, f"Instance {instance_id} was resumed by {who.name}.", now)
    return ResumedByRequest(instance, approval.id)


async def _find_pending(session: AsyncSession, instance_id: str) -> str | None:
    query = select(Approval.id).where(
        Approval.instance_id == instance_id,
        Approval.resumes,
        Approval.status == ApprovalStatus.PENDING.value,
    )
    found: str | None = await session.scalar(query.order_by(Approval.created_at).limit(1))
    return found
