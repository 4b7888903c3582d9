"""ApprovalWorkflow: one approval, from the request until it is decided, cancelled or expired."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.approvals import ApprovalActivities, ApprovalQuestion, FollowedApproval
    from domain.approvals import ApprovalStatus
    from domain.room import shorten
    from temporal_workflows.options import READ_MODEL
    from temporal_workflows.search_attributes import OWNER, STATUS, WORKFLOW

MAX_SUMMARY_BYTES: Final = 200


@dataclass(frozen=True)
class ApprovalInput:
    approval_id: str


@dataclass(frozen=True)
class ApprovalEvent:
    """What somebody did, for whoever looks at the history; the approval itself is in Postgres.

    `what` is `requested`, `approve`, `deny`, `cancelled`, or `noticed` if it is only known that something happened.
    """

    what: str
    by: str | None = None


@workflow.defn(name="ApprovalWorkflow")
class ApprovalWorkflow:
    """Keeps time: reminders, escalation and the deadline are its timers. A vote is a signal, and news.

    What is decided is decided in Postgres, under a lock of the approval: by the vote that completes the quorum, or at
    a look of this workflow after the deadline, whichever is first. So there is nothing here to be lost or to disagree.
    """

    def __init__(self) -> None:
        self._approval: FollowedApproval | None = None
        self._has_news = False

    @workflow.run
    async def run(self, start: ApprovalInput) -> str:
        """Looks at the approval whenever there is news or a timer is due; returns the last status."""
        while True:
            self._has_news = False
            question = ApprovalQuestion(start.approval_id, workflow.now())
            self._approval = await workflow.execute_local_activity_method(
                ApprovalActivities.follow_approval, question, **READ_MODEL
            )
            if self._approval is None:
                return "withdrawn"
            self._announce(self._approval)
            if not self._has_news and self._approval.status is not ApprovalStatus.PENDING:
                return self._approval.status
            await self._wait(self._approval)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(start)

    @workflow.signal(description="Somebody voted, or cancelled it.")
    def approval_changed(self, event: ApprovalEvent) -> None:
        self._has_news = True

    @workflow.query(description="The approval as it was recorded at the last look; null until the first.")
    def decision(self) -> FollowedApproval | None:
        return self._approval

    async def _wait(self, approval: FollowedApproval) -> None:
        """Until there is news or something is due: for years, if nothing ever is."""
        due_in = None
        if approval.next_at is not None:
            due_in = max(timedelta(0), approval.next_at - workflow.now())
        summary = f"until {approval.next_step}"
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._has_news, timeout=due_in, timeout_summary=summary)

    def _announce(self, approval: FollowedApproval) -> None:
        """Shows the approval to whoever looks at the Temporal UI."""
        by = f" by {approval.decided_by}" if approval.decided_by is not None else ""
        workflow.set_current_details(f"**{approval.status}**{by} {shorten(approval.name, MAX_SUMMARY_BYTES)}")
        if workflow.info().typed_search_attributes.get(STATUS) != approval.status:
            updates = [STATUS.value_set(approval.status), OWNER.value_set(approval.account_id)]
            if approval.workflow_id is not None:
                updates.append(WORKFLOW.value_set(approval.workflow_id))
            workflow.upsert_search_attributes(updates)
