"""What of an approval is worth telling: that somebody must decide, that nobody did yet, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.alerts import Alert, AlertKind, Severity, alert_kind
from domain.approvals import TIMEOUT, ApprovalStatus, Outcome
from domain.subjects import approval_subject

APPROVAL_REQUESTED: Final = alert_kind(
    "approval_requested", Severity.WARNING, "awaits a decision", "approvals await a decision"
)
APPROVAL_REMINDER: Final = alert_kind(
    "approval_reminder", Severity.WARNING, "still awaits a decision", "approvals still await a decision"
)
APPROVAL_ESCALATED: Final = alert_kind(
    "approval_escalated", Severity.WARNING, "is escalated", "approvals are escalated"
)
APPROVAL_DECIDED: Final = alert_kind(
    "approval_decided", Severity.INFO, "was decided", "approvals were decided", resolves=True
)
APPROVAL_EXPIRED: Final = alert_kind(
    "approval_expired", Severity.WARNING, "expired", "approvals expired", resolves=True
)


@dataclass(frozen=True)
class ApprovalIdentity:
    """Whose approval it is; `name` is its title, or how its context begins. `source` is what its channels are
    attached to. `context` is more of the context, if there is more to say than the name."""

    account_id: str
    approval_id: str
    name: str
    source: str
    requested_by: str
    expires_at: datetime | None
    context: str | None = None

    @property
    def subject(self) -> str:
        return approval_subject(self.approval_id)


def requested(approval: ApprovalIdentity, at: datetime) -> Alert:
    title = f"{approval.requested_by} asks for approval: {approval.name}"
    return _alert(approval, APPROVAL_REQUESTED, title, at, reason=approval.context)


def reminded(approval: ApprovalIdentity, at: datetime) -> Alert:
    return _alert(approval, APPROVAL_REMINDER, f"{approval.name} still awaits a decision", at)


def escalated(approval: ApprovalIdentity, at: datetime, to: Sequence[str]) -> Alert:
    title = f"{approval.name} is escalated to {', '.join(to)}"
    return _alert(approval, APPROVAL_ESCALATED, title, at, escalated_to=list(to))


def ended(approval: ApprovalIdentity, outcome: Outcome) -> Alert:
    """All alerts of an approval belong to one trouble, of which this is the end."""
    if outcome.decided_by == TIMEOUT:
        word = "approved" if outcome.status is ApprovalStatus.APPROVED else "denied"
        kind, title = APPROVAL_EXPIRED, f"{approval.name} expired and is {word}"
    else:
        kind, title = APPROVAL_DECIDED, f"{approval.name} was {outcome.status} by {outcome.decided_by}"
    said = outcome.notes or outcome.reason
    return _alert(
        approval,
        kind,
        title,
        outcome.at,
        reason=said,
        status=outcome.status.value,
        result=outcome.status.result,
        decided_by=outcome.decided_by,
        notes=outcome.notes,
        choice=outcome.choice,
    )


def _alert(
    approval: ApprovalIdentity, kind: AlertKind, title: str, at: datetime, reason: str | None = None, **data: Any
) -> Alert:
    expires_at = approval.expires_at.isoformat() if approval.expires_at is not None else None
    return Alert(
        kind=kind,
        account_id=approval.account_id,
        source=approval.source,
        subject=approval.subject,
        name=approval.name,
        title=title,
        trouble=approval.subject,
        dedupe_key=f"{approval.subject}/{kind.name}/{at.isoformat()}",
        at=at,
        reason=reason,
        data={
            "approval_id": approval.approval_id,
            "requested_by": approval.requested_by,
            "expires_at": expires_at,
            # Where people decide, below the address of the gateway.
            "path": page_path(approval.approval_id),
            **data,
        },
    )


def page_path(approval_id: str) -> str:
    """Where the page of an approval is, below the address of the gateway."""
    return f"/approvals/{approval_id}"
