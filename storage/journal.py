"""Appending to the journal: a batch of pings is routed, instances are opened, and all is kept in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain import ids
from domain.errors import Conflict, DomainError
from domain.instances import InstanceStatus
from domain.pings import Outcome, PingFact
from domain.routing import is_first_stage
from domain.subjects import instance_subject
from domain.workflows import WorkflowDefinition
from storage.batch import Batch, NewPing, Row
from storage.instances import Instance
from storage.outbox import OutboxRow
from storage.pings import IdempotencyKey, Ping, find_used_keys
from storage.routing import load_routes
from storage.rows import INCOMING, KEEP, Journaled, documents, journaled
from storage.workflows import Workflow, columns_of, lock_workflows, slug_is_taken

IDEMPOTENCY_HOURS: Final = 24


@dataclass(frozen=True)
class Repeated:
    """The idempotency key was used before, for this ping."""

    ping_id: int


Appended = Journaled | Repeated | DomainError


class KeyInUseElsewhere(Exception):
    """Another gateway is using the same idempotency key at this moment; the batch must be tried again."""


async def append(session: AsyncSession, gateway_id: int, pings: Sequence[NewPing], now: datetime) -> list[Appended]:
    """Keeps `pings` in their order and returns what became of each. The caller commits.

    No two of them may carry the same idempotency key. Raises KeyInUseElsewhere if another gateway uses one of
    the keys at the same time.
    """
    results: list[Appended | None] = [None] * len(pings)
    keys: dict[tuple[str, str | None], int] = {
        (ping.account_id, ping.idempotency_key): i for i, ping in enumerate(pings) if ping.idempotency_key
    }
    if keys:
        used = await find_used_keys(session, keys, now - timedelta(hours=IDEMPOTENCY_HOURS))
        for owner_and_key, usage in used.items():
            index = keys[owner_and_key]
            is_same = usage.target == _target(pings[index])
            results[index] = Repeated(usage.ping_id) if is_same else _key_reused()

    waiting = [i for i, result in enumerate(results) if result is None]
    batch, rows = await _route(session, [pings[i] for i in waiting], now)
    kept: list[tuple[int, Row]] = []
    for index, row in zip(waiting, rows, strict=True):
        if isinstance(row, DomainError):
            results[index] = row
        else:
            kept.append((index, row))

    await _open_instances(session, gateway_id, batch, [row for _, row in kept], now)
    inserted = await _insert(session, gateway_id, [row for _, row in kept])
    keyed: list[tuple[NewPing, int]] = []
    for (index, row), ping_id in zip(kept, inserted, strict=True):
        results[index] = journaled(row, gateway_id, ping_id)
        if row.ping.idempotency_key:
            keyed.append((row.ping, ping_id))
    if keyed:
        await _remember_keys(session, keyed, now)
    return [result for result in results if result is not None]


async def _route(
    session: AsyncSession, pings: Sequence[NewPing], now: datetime
) -> tuple[Batch, list[Row | DomainError]]:
    """Routes without locks first; only to open an instance, its workflow is locked and everything read again."""
    workflow_ids = {ping.request.workflow_id for ping in pings}
    instance_ids = {ping.request.instance_id for ping in pings if ping.request.instance_id}
    locked: frozenset[str] = frozenset()
    while True:
        batch = Batch(await load_routes(session, workflow_ids, instance_ids, now), locked)
        rows = [batch.add(ping) for ping in pings]
        if batch.needs_lock <= locked:
            return batch, rows
        locked |= batch.needs_lock
        await _create_workflows(session, batch.created, now)
        await lock_workflows(session, locked)


async def _create_workflows(session: AsyncSession, definitions: Sequence[WorkflowDefinition], now: datetime) -> None:
    for definition in definitions:
        if await slug_is_taken(session, definition.account_id, definition.slug, other_than=definition.id):
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
        fact = row.ping.request.fact
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
            )
        )
        if not row.opened.is_static:
            row.adopted = await _adopt_early(session, gateway_id, row, now)
    if batch.first_stage_seen:
        await session.execute(
            update(Instance).where(Instance.id.in_(batch.first_stage_seen)).values(first_stage_seen=True)
        )
    await session.flush()


async def _adopt_early(session: AsyncSession, gateway_id: int, row: Row, now: datetime) -> tuple[PingFact, ...]:
    assert row.opened is not None
    assert row.instance_id is not None
    subject = instance_subject(row.opened.id, row.instance_id)
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


_INSERT = text(f"""
WITH incoming AS (SELECT * FROM {INCOMING.format(rows=":rows")}),
{KEEP.format(gateway_id=":gateway_id", source="incoming")}
SELECT id FROM journaled ORDER BY id
""")


async def _insert(session: AsyncSession, gateway_id: int, rows: Sequence[Row]) -> list[int]:
    """One statement for the whole batch. The ids grow in the order of `rows`."""
    if not rows:
        return []
    inserted = await session.execute(_INSERT, {"gateway_id": gateway_id, "rows": documents(rows)})
    return list(inserted.scalars())


async def _remember_keys(session: AsyncSession, keyed: Sequence[tuple[NewPing, int]], now: datetime) -> None:
    statement = insert(IdempotencyKey).values(
        [
            {
                "account_id": ping.account_id,
                "key": ping.idempotency_key,
                "target": _target(ping),
                "ping_id": ping_id,
                "created_at": now,
            }
            for ping, ping_id in keyed
        ]
    )
    remembered = await session.execute(
        statement.on_conflict_do_update(
            index_elements=["account_id", "key"],
            set_={name: statement.excluded[name] for name in ("target", "ping_id", "created_at")},
            where=IdempotencyKey.created_at <= now - timedelta(hours=IDEMPOTENCY_HOURS),
        ).returning(IdempotencyKey.key)
    )
    if len(remembered.all()) < len(keyed):
        raise KeyInUseElsewhere


def _target(ping: NewPing) -> str:
    return f"{ping.request.workflow_id}/{ping.request.fact.path}"


def _key_reused() -> DomainError:
    return Conflict("This Idempotency-Key was used for another workflow or stage in the last 24 hours; send a new key.")


async def expire_early(session: AsyncSession, now: datetime) -> list[Ping]:
    """Moves early pings that no start adopted in time to the failed queue, and returns them."""
    expired = await session.scalars(
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
        .returning(Ping)
    )
    return list(expired.all())


async def forget_old_keys(session: AsyncSession, before: datetime) -> None:
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < before))


async def server_process(session: AsyncSession) -> int:
    """The process of Postgres that serves the session's transaction."""
    connection = await (await session.connection()).get_raw_connection()
    driver_connection: Any = connection.driver_connection
    pid: int = driver_connection.info.backend_pid
    return pid


async def find_kept(session: AsyncSession, lost_process: int, gateway_id: int, after: int) -> list[int] | None:
    """The pings that a gateway kept behind `after`, whose commit got no answer; None while that may still be going on.

    Asked by rows, not by the transaction's id: after a crash of Postgres, ids of lost transactions are used again.
    """
    is_busy = text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid AND state <> 'idle'")
    if (await session.execute(is_busy, {"pid": lost_process})).first() is not None:
        return None
    kept = select(Ping.id).where(Ping.id > after, Ping.gateway_id == gateway_id).order_by(Ping.id)
    return list(await session.scalars(kept))
