"""Approvals as the API shows them."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import orjson
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from api.views import in_utc
from domain.approval_alerts import page_path
from domain.approvals import ApprovalStatus, Confirm, Decision, Vote
from storage.approval_audit import AuditEntry, tampering
from storage.approvals import Approval, ApprovalVote

NO_STORE: Final = {"Cache-Control": "no-store"}

Result = Literal[0, 1] | None


class ApprovalCreated(BaseModel):
    approval_id: str
    status: ApprovalStatus
    result: Result
    expires_at: datetime | None = Field(description="Null if it waits for ever.")
    callback_secret: str | None = Field(
        None,
        description="What the callback is signed with, by Standard Webhooks. Only there if a callback_url was given; "
        "keep it: it is not shown again.",
    )


class VoteView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    voter: str = Field(description="An e-mail address, or `api-key:<id>`.")
    decision: Decision
    choice: str | None
    response: dict[str, Any] | None
    notes: str | None
    at: datetime


class ApprovalDocument(BaseModel):
    """An approval. Keep polling while `result` is null; 1 means proceed, 0 do not."""

    model_config = ConfigDict(extra="forbid")

    approval_id: str
    status: ApprovalStatus
    result: Result
    seconds_remaining: int | None = Field(
        None, description="Only while it is pending; null if it waits for ever.", ge=0
    )
    notes: str | None = Field(None, description="Only once it is decided: what was noted with the decision.")
    decided_by: str | None = Field(
        None, description="Only once it is decided: an e-mail address, `api-key:<id>`, or `timeout`."
    )
    expires_at: datetime | None
    title: str | None
    context: str
    requested_by: str
    created_at: datetime
    decided_at: datetime | None
    reason: str | None = Field(description="How it came to that, where it is not plain from who decided.")
    choice: str | None = Field(description="What was chosen of `choices`.")
    response: dict[str, Any] | None = Field(description="The values of the editable fields, as they were approved.")
    timeout_action: Decision
    approvers: list[str] = Field(description="Who is asked by now.")
    quorum: int
    veto: bool
    approvals: int = Field(description="How many votes to approve there are.")
    denials: int = Field(description="How many votes to deny there are.")
    votes: list[VoteView]
    payload: Any
    editable: dict[str, Any] | None
    choices: list[str]
    confirm: Confirm
    escalated_at: datetime | None
    workflow_id: str | None
    instance_id: str | None
    stage_path: str | None
    resumes_instance: bool = Field(
        description="Whether it asks if `instance_id`, which a budget has paused, may go on; approved, it does."
    )
    url: str = Field(description="The page on which people decide.")


class ApprovalList(BaseModel):
    approvals: list[ApprovalDocument]
    next_cursor: str | None


class AuditEntryView(BaseModel):
    """What `entry` says is shown by itself too; null of a text that was tampered with and cannot be read."""

    seq: int
    at: datetime | None = None
    event: str | None = Field(None, description="`requested`, `viewed`, `voted`, `reminded`, `decided`, …")
    actor: str | None = Field(None, description="An e-mail address, `api-key:<id>`, `timeout`, or `pingpulse` itself.")
    address: str | None = None
    agent: str | None = None
    details: dict[str, Any] | None = None
    entry: str = Field(description="The text that is hashed: JSON.")
    hash: str = Field(description="SHA-256 of the hash before and of `entry`, in hexadecimal digits.")


class AuditTrail(BaseModel):
    entries: list[AuditEntryView]
    is_intact: bool
    broken_at: int | None = Field(description="The first entry that is missing or is not what was written.")
    problem: str | None = Field(description="What is wrong with the trail, or how the approval differs from it.")
    head: str = Field(description="The hash of the last entry, as it is kept with the approval itself.")


def approval_document(approval: Approval, votes: Sequence[Vote], base_url: str, now: datetime) -> dict[str, Any]:
    """As ApprovalDocument describes it. A plain dict, because programs poll it."""
    status, expires_at = ApprovalStatus(approval.status), approval.expires_at
    document: dict[str, Any] = {"approval_id": approval.id, "status": approval.status, "result": status.result}
    if status is ApprovalStatus.PENDING:
        document["seconds_remaining"] = _seconds_until(expires_at, now)
    else:
        document |= {"notes": approval.notes, "decided_by": approval.decided_by}
    approvals = sum(vote.ballot.decision is Decision.APPROVE for vote in votes)
    return document | {
        "expires_at": _shown(expires_at),
        "title": approval.title,
        "context": approval.context,
        "requested_by": approval.requested_by,
        "created_at": in_utc(approval.created_at),
        "decided_at": _shown(approval.decided_at),
        "reason": approval.reason,
        "choice": approval.choice,
        "response": approval.response,
        "timeout_action": approval.timeout_action,
        "approvers": approval.terms().approvers_at(approval.standing()),
        "quorum": approval.quorum,
        "veto": approval.veto,
        "approvals": approvals,
        "denials": len(votes) - approvals,
        "votes": [_vote_document(vote) for vote in votes],
        "payload": approval.payload,
        "editable": approval.editable,
        "choices": approval.choices,
        "confirm": approval.confirm,
        "escalated_at": _shown(approval.escalated_at),
        "workflow_id": approval.workflow_id,
        "instance_id": approval.instance_id,
        "stage_path": approval.stage_path,
        "resumes_instance": approval.resumes,
        "url": f"{base_url}{page_path(approval.id)}",
    }


def json_response(document: dict[str, Any]) -> Response:
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
    return Response(body, headers=NO_STORE, media_type="application/json")


def audit_trail(approval: Approval, votes: Sequence[ApprovalVote], entries: Sequence[AuditEntry]) -> AuditTrail:
    wrong = tampering(approval, votes, entries)
    return AuditTrail(
        entries=[_entry_view(entry) for entry in entries],
        is_intact=wrong is None,
        broken_at=wrong.entry if wrong is not None else None,
        problem=wrong.what if wrong is not None else None,
        head=approval.audit_head.hex(),
    )


def _entry_view(entry: AuditEntry) -> AuditEntryView:
    kept = {"seq": entry.seq, "entry": entry.entry, "hash": entry.hash.hex()}
    try:
        return AuditEntryView(**{**entry.fields(), **kept})
    except (ValueError, TypeError):
        return AuditEntryView(**kept)


def _vote_document(vote: Vote) -> dict[str, Any]:
    ballot = vote.ballot
    return {
        "voter": vote.voter,
        "decision": ballot.decision.value,
        "choice": ballot.choice,
        "response": ballot.response,
        "notes": ballot.notes,
        "at": in_utc(vote.at),
    }


def _seconds_until(moment: datetime | None, now: datetime) -> int | None:
    return max(0, math.ceil((moment - now).total_seconds())) if moment is not None else None


def _shown(moment: datetime | None) -> datetime | None:
    return in_utc(moment) if moment is not None else None
