"""What became of an approval: its audit trail, and the letters that were written about it."""

from datetime import datetime
from typing import Annotated, Final, Literal, cast

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.approval_callers import owned_approval
from api.approval_views import AuditTrail, audit_trail
from api.deps import PrincipalDep, SnapshotDep, Text
from api.message_views import AttemptView
from api.openapi import JSON_API_ERRORS, problems
from domain.errors import NotFound
from domain.letters import LetterTopic
from storage.approval_audit import list_entries
from storage.approvals import list_votes
from storage.letters import LetterLog, list_letters

router = APIRouter(prefix="/api/approvals", tags=["approvals"])

LetterState = Literal["pending", "sent", "failed", "dropped"]

_MISSING: Final = NotFound("There is no approval apr_8k2m4n6p0q1r.")


class LetterView(BaseModel):
    message_id: str
    topic: LetterTopic
    recipient: str | None = Field(description="Null for the callback.")
    state: Annotated[LetterState, Field(description="`dropped` if nobody needed it any more when it was to be sent.")]
    created_at: datetime
    finished_at: datetime | None
    attempts: list[AttemptView]


class LetterList(BaseModel):
    letters: list[LetterView]


@router.get("/{approval_id}/audit", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_audit(approval_id: Text, session: SnapshotDep, principal: PrincipalDep) -> AuditTrail:
    """Everything that was seen and done, in order.

    To check it: `hash` of each entry is the SHA-256 of the bytes of the hash before (of none for the first) and of
    `entry` in UTF-8; the last one is `head`.
    """
    approval = await owned_approval(session, principal, approval_id)
    votes = (await list_votes(session, [approval_id]))[approval_id]
    return audit_trail(approval, votes, await list_entries(session, approval_id))


@router.get("/{approval_id}/letters", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_letters(approval_id: Text, session: SnapshotDep, principal: PrincipalDep) -> LetterList:
    """Mails to approvers and the callback, each with every attempt to send it. What channels were told, is with the
    alerts: `GET /api/alerts?subject=approval/{id}`."""
    await owned_approval(session, principal, approval_id)
    return LetterList(letters=[_letter(log) for log in await list_letters(session, approval_id)])


def _letter(log: LetterLog) -> LetterView:
    message = log.message
    return LetterView(
        message_id=message.id,
        topic=LetterTopic(message.topic or ""),
        recipient=message.recipient,
        state=cast(LetterState, message.state),
        created_at=message.created_at,
        finished_at=message.finished_at,
        attempts=[AttemptView.model_validate(attempt) for attempt in log.attempts],
    )
