"""What happens to an approval at somebody's request: kept in Postgres, and then told to its workflow."""

from collections.abc import Collection

from api.gateway import Gateway
from config.clock import utc_now
from domain.approvals import ApprovalStatus, Ballot, Voter
from domain.subjects import instance_subject
from storage import deciding
from storage.approvals import Approval
from storage.base import Sessions, transaction
from storage.channels import attach
from temporal_workflows.approval import ApprovalEvent


async def open_approval(
    sessions: Sessions, gateway: Gateway, approval: Approval, requester: Voter, channels: Collection[str] = ()
) -> None:
    """Keeps a new approval and begins to follow it. Raises InvalidRequest for channels that the account does not
    have."""
    async with transaction(sessions) as session:
        if channels:
            await attach(session, approval.account_id, approval.subject, channels)
        await deciding.open_approval(session, approval, requester)
    gateway.follower.tell(approval.id, ApprovalEvent("requested", requester.name))


async def vote(sessions: Sessions, gateway: Gateway, approval_id: str, voter: Voter, ballot: Ballot) -> Approval:
    """Raises what `storage.deciding.vote` raises."""
    async with transaction(sessions) as session:
        approval = await deciding.vote(session, approval_id, voter, ballot, utc_now())
    tell_of_vote(gateway, approval, voter, ballot)
    return approval


def tell_of_vote(gateway: Gateway, approval: Approval, voter: Voter, ballot: Ballot) -> None:
    """Tells the workflow of the approval, and that of an instance which goes on by it. After the commit."""
    gateway.follower.tell(approval.id, ApprovalEvent(ballot.decision.value, voter.name))
    if approval.resumes and approval.status == ApprovalStatus.APPROVED:
        gateway.follower.tell_of_change(instance_subject(str(approval.workflow_id), str(approval.instance_id)))


async def cancel(sessions: Sessions, gateway: Gateway, approval_id: str, who: Voter, notes: str | None) -> Approval:
    """Raises what `storage.deciding.cancel` raises."""
    async with transaction(sessions) as session:
        approval = await deciding.cancel(session, approval_id, who, notes, utc_now())
    gateway.follower.tell(approval_id, ApprovalEvent("cancelled", who.name))
    return approval
