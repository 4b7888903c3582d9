"""Approvals in memory, for recording histories: the same activity by name, and what happens to each of them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle

from activities.approvals import ApprovalQuestion, FollowedApproval
from config.clock import utc_now
from domain.approvals import (
    ApprovalStatus,
    ApprovalTerms,
    Ballot,
    Decision,
    Outcome,
    Standing,
    Vote,
    next_step,
    standing_at,
)
from temporal_workflows.approval import ApprovalEvent, ApprovalInput, ApprovalWorkflow
from tests.support.waiting import until

QUEUE = "approvals in memory"


class Desk:
    """All approvals, by the ids of their workflows."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._approvals: dict[str, tuple[ApprovalTerms, list[Vote]]] = {}
        self._cancelled: set[str] = set()
        self._looks = 0

    def handle(self, approval_id: str) -> WorkflowHandle[ApprovalWorkflow, str]:
        return self._client.get_workflow_handle_for(ApprovalWorkflow.run, approval_id)

    async def open(self, approval_id: str, **terms: Any) -> None:
        """`reminders`, `escalate_at` and `expires_at` are in seconds from now."""
        now = utc_now()
        for name in {"escalate_at", "expires_at"} & terms.keys():
            terms[name] = now + timedelta(seconds=terms[name])
        terms["reminders"] = tuple(now + timedelta(seconds=after) for after in terms.get("reminders", ()))
        self._approvals[approval_id] = (ApprovalTerms(now, **terms), [])
        await self._tell(approval_id, "requested")

    async def vote(self, approval_id: str, name: str, decision: Decision) -> None:
        self._approvals[approval_id][1].append(Vote(name, Ballot(decision), utc_now()))
        await self._tell(approval_id, decision.value, name)

    async def cancel(self, approval_id: str) -> None:
        self._cancelled.add(approval_id)
        await self._tell(approval_id, "cancelled", "ada")

    async def _tell(self, approval_id: str, what: str, by: str | None = None) -> None:
        """Returns once the workflow has taken notice, and waits again."""
        looks = self._looks
        await self._client.start_workflow(
            ApprovalWorkflow.run,
            ApprovalInput(approval_id),
            id=approval_id,
            task_queue=QUEUE,
            start_signal="approval_changed",
            start_signal_args=[ApprovalEvent(what, by)],
        )
        await until(lambda: self._looks > looks)
        await until(lambda: self.handle(approval_id).query(ApprovalWorkflow.decision))

    @activity.defn
    async def follow_approval(self, question: ApprovalQuestion) -> FollowedApproval | None:
        self._looks += 1
        terms, votes = self._approvals[question.approval_id]
        standing = standing_at(terms, votes, max([question.until, *(vote.at for vote in votes)]))
        if question.approval_id in self._cancelled:
            standing = Standing(outcome=Outcome(ApprovalStatus.CANCELLED, question.until, "ada"))
        at, step = next_step(terms, standing) or (None, None)
        decided_by = standing.outcome.decided_by if standing.outcome is not None else None
        return FollowedApproval(standing.status, "account", "Deploy 1.4", at, step, decided_by, workflow_id="flow")


async def approval_voted(desk: Desk) -> None:
    await desk.open("approval_voted", approvers=("ada", "bob"), quorum=2, expires_at=60)
    for name in ("ada", "bob"):
        await desk.vote("approval_voted", name, Decision.APPROVE)


async def approval_expired(desk: Desk) -> None:
    times = {"reminders": (1, 3), "escalate_at": 2, "expires_at": 4}
    await desk.open("approval_expired", approvers=("ada",), escalate_to=("bob",), **times)


async def approval_cancelled(desk: Desk) -> None:
    await desk.open("approval_cancelled", approvers=("ada",))
    await desk.cancel("approval_cancelled")


APPROVAL_PATHS: tuple[Callable[[Desk], Awaitable[None]], ...] = (approval_voted, approval_expired, approval_cancelled)
