"""Stage pings on their way into the journal: each finds its instance, or opens one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import func, literal, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain import ids
from domain.alerts import Alert
from domain.errors import DomainError
from domain.forks import Origin
from domain.instance_alerts import unclaimed_alert, violation_alert
from domain.instances import InstanceStatus
from domain.pings import Outcome, PingFact
from domain.routing import is_first_stage
from domain.verdicts import STOPPED
from domain.workflows import WorkflowDefinition
from storage.alerts import raise_alerts
from storage.batch import Batch, stage_request
from storage.instances import Instance
from storage.outbox import OutboxRow
from storage.pings import Ping
from storage.reports import note_reports
from storage.routing import load_routes
from storage.rows import NewPing, Row, Same
from storage.slugs import slug_is_taken
from storage.workflows import Workflow, columns_of, lock_workflows


async def route_stage_pings(
    session: AsyncSession, gateway_id: int, pings: Sequence[NewPing], now: datetime
) -> list[Row | Same | DomainError]:
    """What becomes of each of `pings`, in order. Opens workflows and instances where that takes it."""
    batch, rows = await _decide(session, pings, now)
    kept = [row for row in rows if isinstance(row, Row)]
    await _open_instances(session, gateway_id, batch, kept, now)
    await raise_alerts(session, _violations(batch, kept), now)
    await note_reports(session, kept)
    return rows


def _violations(batch: Batch, rows: Sequence[Row]) -> Iterator[Alert]:
    for row in rows:
        if row.rejection is None or row.workflow_id is None or row.rejection.code in STOPPED:
            continue
        definition = batch.routes.workflows[row.workflow_id].definition
        if definition is not None:
            yield violation_alert(
                row.ping.account_id,
                definition.id,
                definition.name,
                row.instance_id,
                row.fact.path,
                row.rejection.code,
                row.rejection.message,
                row.fact.at,
                tags=definition.tags,
                agent=row.fact.agent,
            )


async def _decide(
    session: AsyncSession, pings: Sequence[NewPing], now: datetime
) -> tuple[Batch, list[Row | Same | DomainError]]:
    """Routes without locks first; only to open an instance, its workflow is locked and everything read again."""
    requests = [stage_request(ping) for ping in pings]
    workflow_ids = {request.workflow_id for request in requests}
    instance_ids = {request.instance_id for request in requests if request.instance_id}
    external_ids = {
        (request.workflow_id, request.external.id) for request in requests if request.external and request.external.id
    }
    locked: frozenset[str] = frozenset()
    while True:
        batch = Batch(await load_routes(session, workflow_ids, instance_ids, now, external_ids), locked)
        rows = [batch.add(ping) for ping in pings]
        if batch.needs_lock <= locked:
            return batch, rows
        locked |= batch.needs_lock
        await _create_workflows(session, batch.created, now)
        await lock_workflows(session, locked)


async def _create_workflows(session: AsyncSession, definitions: Sequence[WorkflowDefinition], now: datetime) -> None:
    for definition in definitions:
        if await slug_is_taken(session, Workflow, definition.account_id, definition.slug, other_than=definition.id):
            definition = replace(definition, slug=ids.random_id(f"{definition.slug[:100]}-", 6))
        values = {**columns_of(definition), "created_at": now, "updated_at": now, "deleted_at": None}
        statement = insert(Workflow).values(values)
        # An own deleted workflow comes back; anyone else's id conflicts, and the next look says whose it is.
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["id"],
                set_={**values},
                where=(Workflow.deleted_at.is_not(None)) & (Workflow.account_id == definition.account_id),
            )
        )


async def _open_instances(
    session: AsyncSession, gateway_id: int, batch: Batch, rows: Sequence[Row], now: datetime
) -> None:
    for row in rows:
        if row.opened is None:
            continue
        fact, external = row.fact, stage_request(row.ping).external
        session.add(
            Instance(
                id=row.instance_id,
                workflow_id=row.opened.id,
                account_id=row.opened.account_id,
                status=InstanceStatus.RUNNING.value,
                opened_at=fact.at,
                agent=fact.agent,
                first_stage_seen=not row.opened.is_static or is_first_stage(fact),
                definition=columns_of(row.opened),
                version=0,
                origin=Origin.EXTERNAL.value if external is not None else None,
                external_id=external.id if external is not None else None,
            )
        )
        if not row.opened.is_static and external is None:
            row.adopted = await _adopt_early(session, gateway_id, row, now)
    if batch.first_stage_seen:
        await session.execute(
            update(Instance).where(Instance.id.in_(batch.first_stage_seen)).values(first_stage_seen=True)
        )
    await session.flush()


async def _adopt_early(session: AsyncSession, gateway_id: int, row: Row, now: datetime) -> tuple[PingFact, ...]:
    assert row.opened is not None
    subject = row.subject
    assert subject is not None
    adopted = await session.scalars(
        update(Ping)
        .where(
            Ping.workflow_id == row.opened.id,
            Ping.outcome == Outcome.EARLY,
            Ping.received_at > now - timedelta(seconds=row.opened.grace_period_seconds),
        )
        .values(instance_id=row.instance_id, subject=subject, gateway_id=gateway_id, outcome=Outcome.ACCEPTED)
        .returning(Ping)
    )
    facts = tuple(sorted((ping.fact() for ping in adopted), key=lambda fact: fact.id))
    session.add_all(
        OutboxRow(ping_id=fact.id, gateway_id=gateway_id, subject=subject, wants_verdict=False) for fact in facts
    )
    return facts


async def expire_early(session: AsyncSession, now: datetime) -> list[Ping]:
    """Moves early pings that no start adopted in time to the failed queue, with an alert, and returns them."""
    expired = await session.execute(
        update(Ping)
        .where(
            Ping.outcome == Outcome.EARLY,
            Ping.workflow_id == Workflow.id,
            Ping.received_at < literal(now) - func.make_interval(0, 0, 0, 0, 0, 0, Workflow.grace_period_seconds),
        )
        .values(
            outcome=Outcome.REJECTED,
            reason_code="no_open_instance",
            reason="No instance was opened within the grace period.",
            expected_stage="1",
        )
        .returning(Ping, Workflow)
    )
    rows = [(row[0], row[1]) for row in expired]
    await raise_alerts(
        session,
        (
            unclaimed_alert(
                ping.account_id,
                workflow.id,
                workflow.name,
                ping.path,
                ping.received_at,
                tags=tuple(workflow.tags),
                agent=ping.agent,
            )
            for ping, workflow in rows
        ),
        now,
    )
    return [ping for ping, _ in rows]
