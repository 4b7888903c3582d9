"""What has changed since somebody last looked: for pages that are kept up to date."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from storage.account_audit import AccountEntry
from storage.approvals import Approval, ApprovalVote
from storage.messages import Attempt, Message
from storage.pings import Ping
from storage.processes import ProcessHook
from storage.pulses import Pulse
from storage.transitions import TransitionRow
from storage.workflows import Workflow

MOST: Final = 20_000
"""Rows of one table that are read at once. Beyond them everything counts as changed."""


@dataclass(frozen=True)
class Change:
    """`subject` is None where only the account is known. `id` is of the row that tells of the change."""

    source: str
    id: int
    account_id: str
    subject: str | None


_KEYS: Final[Mapping[str, InstrumentedAttribute[int]]] = {
    "pings": Ping.id,
    "transitions": TransitionRow.id,
    "votes": ApprovalVote.id,
    "attempts": Attempt.id,
    "entries": AccountEntry.id,
}


async def newest(session: AsyncSession) -> dict[str, int]:
    """By source, the highest number there is."""
    query = select(*(select(func.coalesce(func.max(key), 0)).scalar_subquery() for key in _KEYS.values()))
    return dict(zip(_KEYS, (await session.execute(query)).one(), strict=True))


async def list_changes(session: AsyncSession, above: Mapping[str, int]) -> list[Change]:
    """By whatever was written with a higher number than the source's."""
    queries = {
        "pings": select(Ping.id, Ping.account_id, Ping.subject).where(Ping.id > above["pings"]),
        "transitions": _transitions(above["transitions"]),
        "votes": select(ApprovalVote.id, Approval.account_id, func.concat("approval/", Approval.id))
        .join(Approval, Approval.id == ApprovalVote.approval_id)
        .where(ApprovalVote.id > above["votes"]),
        "attempts": select(Attempt.id, Message.account_id, literal(None))
        .join(Message, Message.id == Attempt.message_id)
        .where(Attempt.id > above["attempts"]),
        "entries": select(AccountEntry.id, AccountEntry.account_id, AccountEntry.subject).where(
            AccountEntry.id > above["entries"]
        ),
    }
    changes: list[Change] = []
    for source, query in queries.items():
        rows = await session.execute(query.order_by(_KEYS[source]).limit(MOST))
        changes.extend(Change(source, row[0], row[1], row[2]) for row in rows)
    return changes


def _transitions(above: int) -> Select[int, Any, str]:
    """With the account, which they do not name themselves: each kind of subject begins with whom it belongs to."""
    owner_id = func.split_part(TransitionRow.subject, "/", 2)
    kind = func.split_part(TransitionRow.subject, "/", 1)
    owners = (
        ("instance", Workflow.id, Workflow.account_id),
        ("pulse", Pulse.id, Pulse.account_id),
        ("process", ProcessHook.id, ProcessHook.account_id),
        ("approval", Approval.id, Approval.account_id),
    )
    account_id = func.coalesce(
        *(select(account).where(kind == name, key == owner_id).scalar_subquery() for name, key, account in owners)
    )
    return select(TransitionRow.id, account_id, TransitionRow.subject).where(
        TransitionRow.id > above, account_id.is_not(None)
    )
