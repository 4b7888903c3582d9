"""The webhook by which the requester's program hears how its approval ended."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from activities.letters.base import LetterSender, opened
from activities.outgoing import Outgoing
from activities.senders.base import Receipt
from activities.senders.signing import post_signed
from activities.senders.wording import stamp
from domain.approvals import TIMEOUT, ApprovalStatus
from storage.approvals import Approval
from storage.letters import Letter
from storage.vault import Vault


def callback_sender(outgoing: Outgoing, vault: Vault, now: Callable[[], datetime]) -> LetterSender:
    """`now` is what the signature is dated."""

    async def send(letter: Letter) -> Receipt:
        approval = letter.approval
        assert approval.callback_url is not None, approval.id
        secrets = [opened(vault, approval.callback_secret)] if approval.callback_secret is not None else []
        return await post_signed(
            outgoing,
            opened(vault, approval.callback_url),
            callback_body(approval),
            message_id=letter.message.id,
            secrets=secrets,
            now=now(),
        )

    return send


def callback_body(approval: Approval) -> dict[str, Any]:
    """`type` is `approval.cancelled`, `approval.expired` if its deadline decided, and otherwise `approval.decided`."""
    outcome = approval.outcome()
    assert outcome is not None, approval.id
    what = "expired" if outcome.decided_by == TIMEOUT else "decided"
    if outcome.status is ApprovalStatus.CANCELLED:
        what = "cancelled"
    return {
        "type": f"approval.{what}",
        "timestamp": stamp(outcome.at),
        "data": {
            "approval_id": approval.id,
            "status": outcome.status.value,
            "result": outcome.status.result,
            "decided_by": outcome.decided_by,
            "decided_at": stamp(outcome.at),
            "notes": outcome.notes,
            "choice": outcome.choice,
            "response": outcome.response,
            "reason": outcome.reason,
            "title": approval.title,
            "context": approval.context,
            "requested_by": approval.requested_by,
            "workflow_id": approval.workflow_id,
            "instance_id": approval.instance_id,
            "stage_path": approval.stage_path,
        },
    }
