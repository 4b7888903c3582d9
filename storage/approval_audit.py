"""The audit trail of an approval: everything that was seen and done, each entry chained to the one before by its hash.

Postgres refuses to change or delete an entry (a trigger of migration 0003). Whoever goes around that breaks the chain:
a changed entry does not fit its hash, a missing one not that of the next, and a missing end not the approval's
`audit_head`.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ForeignKey, Integer, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, load_only, mapped_column

from storage.approvals import Approval
from storage.base import Base


class AuditEntry(Base):
    """`entry` is the text that is hashed, JSON with `approval_id`, `seq`, `at`, `event`, `actor`, `address`, `agent`
    and `details`.

    The event is `requested`, `viewed`, `edited`, `voted`, `code_sent`, `link_sent`, `refused`, `reminded`, `escalated`,
    `decided` or `cancelled`; the actor an e-mail address, `api-key:<id>`, `timeout` or `pingpulse` itself.
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
PAGE: Final = 500


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


async def broken_chains(session: AsyncSession) -> list[tuple[str, int]]:
    """Every approval whose chain does not hold, with the number of the first entry that is wrong.

    The session must see one moment (`storage.base.snapshot`): in others, entries that are written meanwhile are too
    many.
    """
    broken: list[tuple[str, int]] = []
    heads = select(Approval).options(load_only(Approval.id, Approval.audit_count, Approval.audit_head))
    last = ""
    while page := (await session.scalars(heads.where(Approval.id > last).order_by(Approval.id).limit(PAGE))).all():
        trails: dict[str, list[AuditEntry]] = {approval.id: [] for approval in page}
        query = select(AuditEntry).where(AuditEntry.approval_id.in_(trails)).order_by(AuditEntry.seq)
        for entry in await session.scalars(query):
            trails[entry.approval_id].append(entry)
        for approval in page:
            if (number := broken_at(approval, trails[approval.id])) is not None:
                broken.append((approval.id, number))
        last = page[-1].id
    return broken
