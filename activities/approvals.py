"""What an ApprovalWorkflow may ask of Postgres."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from temporalio import activity

from domain.approvals import ApprovalStatus, next_step
from storage.base import Sessions, transaction
from storage.deciding import follow


@dataclass(frozen=True)
class ApprovalQuestion:
    """Which approval to look at; its timers have run up to `until`."""

    approval_id: str
    until: datetime


@dataclass(frozen=True)
class FollowedApproval:
    """An approval as it is recorded now. `next_at` is when to look again if nobody decides, and `next_step` what
    happens then; None if there is nothing to wait for."""

    status: ApprovalStatus
    account_id: str
    name: str
    next_at: datetime | None = None
    next_step: str | None = None
    decided_by: str | None = None
    workflow_id: str | None = None


class ApprovalActivities:
    """`told` is called after a commit that may have raised alerts."""

    def __init__(
        self, sessions: Sessions, clock: Callable[[], datetime], told: Callable[[], None] = lambda: None
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._told = told

    @activity.defn
    async def follow_approval(self, question: ApprovalQuestion) -> FollowedApproval | None:
        """Has reminders, escalation and deadline take effect, all or nothing; None if there is no such approval.

        Its row is locked: a vote that comes at the same moment is before it or after it, for everybody.
        """
        async with transaction(self._sessions) as session:
            approval = await follow(session, question.approval_id, question.until, self._clock())
            if approval is None:
                return None
            at, step = next_step(approval.terms(), approval.standing()) or (None, None)
        self._told()
        return FollowedApproval(
            ApprovalStatus(approval.status),
            approval.account_id,
            approval.name,
            next_at=at,
            next_step=step,
            decided_by=approval.decided_by,
            workflow_id=approval.workflow_id,
        )
