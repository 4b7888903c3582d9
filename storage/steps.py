"""All steps of an instance in short, without their payloads: what a picture of it is drawn from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.instances import Stamp
from domain.pings import Outcome, PingFact, PingStatus
from domain.subjects import instance_subject
from domain.timeline import SHOWN
from storage.cost_alerts import CostAlert
from storage.costs import InstanceCost
from storage.instances import Instance
from storage.pings import Ping
from storage.transitions import TransitionRow

MAX_CHANGES: Final = 1_000


class Mark(NamedTuple):
    """One step. Their numbers are their places in the list of all.

    A tuple and nothing more: of a run of ten thousand steps, each page needs them all.
    """

    id: int
    path: str
    status: str
    at: datetime
    name: str | None
    agent: str | None
    error: str | None
    final: bool
    duration_ms: int | None
    cost_usd: Decimal | None
    input_tokens: int | None
    output_tokens: int | None
    cost_source: str | None
    handoff_reason: str | None
    outcome: str
    inherited: bool

    @property
    def accepted(self) -> bool:
        return self.outcome == Outcome.ACCEPTED

    @property
    def is_unpriced(self) -> bool:
        return self.cost_source == "unpriced"

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.at, self.id)


@dataclass(frozen=True)
class StatusChange:
    """A change of status of the instance itself."""

    before: str | None
    after: str
    at: datetime
    reason: str | None


_MARK: Final = (
    Ping.id,
    Ping.path,
    Ping.status,
    Ping.received_at,
    Ping.name,
    Ping.agent,
    Ping.error,
    Ping.final,
    Ping.duration_ms,
    Ping.cost_usd,
    Ping.input_tokens,
    Ping.output_tokens,
    Ping.cost_source,
    Ping.handoff_reason,
    Ping.outcome,
    Ping.inherited,
)
_STATUS: Final = {status.value: status for status in PingStatus}


async def list_marks(session: AsyncSession, instance_id: str) -> list[Mark]:
    """All steps, in the order in which they were received."""
    query = select(*_MARK).where(Ping.instance_id == instance_id, Ping.outcome.in_(SHOWN))
    rows = await session.execute(query.order_by(Ping.received_at, Ping.id))
    return [Mark._make(row) for row in rows]


def facts_of(marks: Sequence[Mark]) -> list[PingFact]:
    """What the accepted ones say, as the rules take it."""
    return [
        PingFact(mark.id, 0, mark.path, _STATUS[mark.status], mark.at, mark.agent, mark.name, mark.error, mark.final)
        for mark in marks
        if mark.outcome == Outcome.ACCEPTED
    ]


async def list_status_changes(session: AsyncSession, instance: Instance) -> list[StatusChange]:
    """Of the instance itself, in order; what became of its stages is not among them."""
    row = TransitionRow
    query = select(row.before, row.after, row.at, row.reason).where(
        row.subject == instance_subject(instance.workflow_id, instance.id), row.path.is_(None)
    )
    return [StatusChange(*found) for found in await session.execute(query.order_by(row.id).limit(MAX_CHANGES))]


async def list_crossings(session: AsyncSession, instance_id: str) -> list[CostAlert]:
    """The lines of its budget that the instance has crossed, in order."""
    query = select(CostAlert).where(CostAlert.instance_id == instance_id).order_by(CostAlert.id)
    return list(await session.scalars(query.limit(MAX_CHANGES)))


async def costs_of(session: AsyncSession, instance_ids: Collection[str]) -> dict[str, Decimal]:
    """What is known of what instances cost, without what forks have inherited; those of which nothing is known are
    left out."""
    row = InstanceCost
    query = (
        select(row.instance_id, func.sum(row.cost_usd))
        .where(row.instance_id.in_(instance_ids), row.cost_usd.is_not(None))
        .group_by(row.instance_id)
    )
    return {instance_id: Decimal(cost) for instance_id, cost in await session.execute(query) if cost is not None}
