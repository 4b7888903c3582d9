"""What comes of a report of a whole run, in the transaction that keeps it: the run's own times, and a sign of life."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.pings import Event, Outcome, PingFact, PingStatus, Report
from domain.reports import RUN_PATH
from domain.routing import External, PulseRequest, Request
from storage.instances import Instance
from storage.pings import Ping
from storage.pulse_pings import pulse_row
from storage.pulses import Pulse, definition_of
from storage.rows import NewPing, Row, Target
from storage.workflows import Workflow


async def note_reports(session: AsyncSession, rows: Sequence[Row]) -> None:
    """To be called with the rows that are kept; asks nothing of Postgres unless some of them are of external ids.

    Instances are written in the order of their ids, as by every gateway, so that none waits for another in a circle.
    """
    told = [(row, external) for row in rows if (external := _external(row)) is not None]
    for row, external in sorted(told, key=lambda pair: pair[0].instance_id or ""):
        if row.opened is not None or external.started_at is not None or external.ended_at is not None:
            await _note(session, row.instance_id, external)
    reports = [row for row, external in told if external.is_whole and row.outcome is Outcome.ACCEPTED]
    if not reports:
        return
    targets = await _expected(session, {row.workflow_id for row in reports if row.workflow_id is not None})
    for row in reports:
        if (target := targets.get(row.workflow_id or "")) is not None:
            row.also = (_sign_of_life(row, target),)


def _external(row: Row) -> External | None:
    return row.ping.request.external if isinstance(row.ping.request, Request) else None


async def _note(session: AsyncSession, instance_id: str | None, external: External) -> None:
    """A report of all of it is right about its times; a part of it began no earlier, and ended no later, than the
    whole."""
    started_at: object = external.started_at
    ended_at: object = external.ended_at
    if not external.is_whole:
        started_at = func.least(Instance.started_at, external.started_at)
        ended_at = func.greatest(Instance.ended_at, external.ended_at)
    correlation_id = func.coalesce(external.correlation_id, Instance.correlation_id)
    values = {"correlation_id": correlation_id, "started_at": started_at, "ended_at": ended_at}
    await session.execute(
        update(Instance).where(Instance.id == instance_id).values(values).execution_options(synchronize_session=False)
    )


async def _expected(session: AsyncSession, workflow_ids: Collection[str]) -> Mapping[str, Target]:
    """By workflow, the pulses that their reports are pings of."""
    query = (
        select(Workflow.id, Pulse)
        .join(Pulse, Pulse.id == Workflow.pulse_id)
        .where(Workflow.id.in_(workflow_ids), Pulse.deleted_at.is_(None))
    )
    rows = await session.execute(query)
    return {row[0]: Target(row[1].id, definition_of(row[1])) for row in rows}


def _sign_of_life(row: Row, target: Target) -> Row:
    """A ping of the pulse, of the same moment. What is expected is a report: one of a failure is told as such, and is
    not silence."""
    fact = PingFact(0, 0, Event.SUCCESS.value, PingStatus.HEALTHY, row.fact.at, duration_ms=row.fact.duration_ms)
    request = PulseRequest(target.id, fact)
    return pulse_row(NewPing(row.ping.account_id, request, Report(duration_ms=fact.duration_ms)), target)


async def latest_report(session: AsyncSession, instance_id: str) -> tuple[dict[str, Any], datetime] | None:
    """What the latest report of a run has said, and when it came."""
    query = (
        select(Ping.payload, Ping.received_at)
        .where(Ping.instance_id == instance_id, Ping.outcome == Outcome.ACCEPTED, Ping.path == RUN_PATH)
        .order_by(Ping.received_at.desc(), Ping.id.desc())
        .limit(1)
    )
    row = (await session.execute(query)).one_or_none()
    return (row[0], row[1]) if row is not None and isinstance(row[0], dict) else None
