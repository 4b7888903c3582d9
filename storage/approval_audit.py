"""The audit trail of an approval: everything that was seen and done, each entry chained to the one before by its hash.

Postgres refuses to change or delete an entry (a trigger of migration 0003). Whoever goes around that breaks the chain:
a changed entry does not fit its hash, a missing one not that of the next, and a missing end not the approval's
`audit_head`. What was asked, who voted and how it ended are in the trail too, so a changed approval does not fit it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ForeignKey, Integer, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from storage.approvals import Approval, ApprovalVote, list_votes
from storage.base import Base


class AuditEntry(Base):
    """`entry` is the text that is hashed, JSON with `approval_id`, `seq`, `at`, `event`, `actor`, `address`, `agent`
    and `details`.

    The event is `requested`, `viewed`, `edited`, `voted`, `code_sent`, `link_sent`, `refused`, `reminded`, `escalated`,
    `extended`, `decided` or `cancelled`; the actor an e-mail address, `api-key:<id>`, `timeout` or `pingpulse` itself.
    """

    __tablename__ = "approval_audit"

    approval_id: Mapped[str] = mapped_column(ForeignKey(Approval.id), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    entry: Mapped[str]
    hash: Mapped[bytes]

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.entry)
        return fields


OURSELVES: Final = "pingpulse"
MAX_AGENT: Final = 300
PAGE: Final = 100


def add_entry(
    session: AsyncSession,
    approval: Approval,
    event: str,
    actor: str,
    at: datetime,
    *,
    address: str | None = None,
    agent: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """The next entry. The approval must be locked, or nobody else know of it yet."""
    seq = approval.audit_count + 1
    fields = {
        "approval_id": approval.id,
        "seq": seq,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "event": event,
        "actor": actor,
        "address": address,
        "agent": agent[:MAX_AGENT] if agent is not None else None,
        "details": dict(details or {}),
    }
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    digest = hash_of(text, approval.audit_head)
    session.add(AuditEntry(approval_id=approval.id, seq=seq, entry=text, hash=digest))
    approval.audit_count, approval.audit_head = seq, digest


def hash_of(entry: str, before: bytes) -> bytes:
    """SHA-256 of the hash before (nothing for the first entry) and of the entry in UTF-8: anybody can compute it."""
    return sha256(before + entry.encode()).digest()


async def list_entries(session: AsyncSession, approval_id: str) -> list[AuditEntry]:
    """All of an approval, in order."""
    query = select(AuditEntry).where(AuditEntry.approval_id == approval_id).order_by(AuditEntry.seq)
    return list((await session.scalars(query)).all())


def broken_at(approval: Approval, entries: Iterable[AuditEntry]) -> int | None:
    """The number of the first entry that is not what was written, or is missing; None if the chain holds."""
    before, count = b"", 0
    for count, entry in enumerate(entries, start=1):
        if entry.seq != count or entry.hash != hash_of(entry.entry, before) or not _is_of(entry, approval):
            return count
        before = entry.hash
    if count != approval.audit_count or before != approval.audit_head:
        return count + 1
    return None


def _is_of(entry: AuditEntry, approval: Approval) -> bool:
    """Whether it says what its row says. Whoever forges a hash can put any text below it."""
    try:
        fields = entry.fields()
        return (fields["approval_id"], fields["seq"]) == (approval.id, entry.seq)
    except (ValueError, LookupError, TypeError):
        return False


@dataclass(frozen=True)
class Tampering:
    """That a trail does not hold, at the entry with that number, or that the approval is not what its trail says."""

    approval_id: str
    what: str
    entry: int | None = None


def tampering(approval: Approval, votes: Iterable[ApprovalVote], entries: Sequence[AuditEntry]) -> Tampering | None:
    """What somebody who went around PingPulse has left; None if nothing is wrong."""
    if (number := broken_at(approval, entries)) is not None:
        return Tampering(approval.id, f"entry {number} is missing, or not what was written", number)
    fields = [entry.fields() for entry in entries]
    if not fields or _details(fields[0]).get("terms") != json.loads(json.dumps(terms_of(approval))):
        return Tampering(approval.id, "what was asked is not what its trail says")
    said = [(entry.get("actor"), _details(entry).get("decision")) for entry in fields if entry.get("event") == "voted"]
    if said != [(vote.voter, vote.decision) for vote in votes]:
        return Tampering(approval.id, "its votes are not those of its trail")
    ends = [(_status(entry), entry.get("actor")) for entry in fields if entry.get("event") in ("decided", "cancelled")]
    if (ends or [("pending", None)]) != [(approval.status, approval.decided_by)]:
        return Tampering(approval.id, "it did not end as its trail says")
    return None


def terms_of(approval: Approval) -> dict[str, Any]:
    """What was asked, as the first entry has it: long documents by their hash."""
    resumes = {"resumes_instance": True} if approval.resumes else {}
    return resumes | {
        "title": approval.title,
        "context": approval.context,
        "payload_sha256": _digest(approval.payload),
        "editable_sha256": _digest(approval.editable),
        "choices": list(approval.choices),
        "requested_by": approval.requested_by,
        "approvers": list(approval.approvers),
        "quorum": approval.quorum,
        "veto": approval.veto,
        "forbid_self": approval.forbid_self,
        "confirm": approval.confirm,
        "timeout_seconds": approval.timeout_seconds,
        "timeout_action": approval.timeout_action,
        "reminders": list(approval.reminders),
        "escalate_to": list(approval.escalate_to),
        "escalate_after_seconds": approval.escalate_after_seconds,
        "workflow_id": approval.workflow_id,
        "instance_id": approval.instance_id,
        "stage_path": approval.stage_path,
    }


async def find_tampering(session: AsyncSession) -> list[Tampering]:
    """Every approval that is not what its trail says, or whose trail does not hold.

    The session must see one moment (`storage.base.snapshot`): in others, entries that are written meanwhile are too
    many.
    """
    found: list[Tampering] = []
    last = ""
    while page := (
        await session.scalars(select(Approval).where(Approval.id > last).order_by(Approval.id).limit(PAGE))
    ).all():
        trails: dict[str, list[AuditEntry]] = {approval.id: [] for approval in page}
        query = select(AuditEntry).where(AuditEntry.approval_id.in_(trails)).order_by(AuditEntry.seq)
        for entry in await session.scalars(query):
            trails[entry.approval_id].append(entry)
        votes = await list_votes(session, list(trails))
        for approval in page:
            if (wrong := tampering(approval, votes[approval.id], trails[approval.id])) is not None:
                found.append(wrong)
        last = page[-1].id
        session.expunge_all()
    return found


def _status(entry: Mapping[str, Any]) -> str | None:
    return "cancelled" if entry["event"] == "cancelled" else _details(entry).get("status")


def _details(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    details = entry.get("details")
    return details if isinstance(details, dict) else {}


def _digest(document: Any) -> str | None:
    """Of JSON as it is kept: with members in their order."""
    if document is None:
        return None
    return sha256(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
