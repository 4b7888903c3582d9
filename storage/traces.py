"""What is known already of the traces of an account: their workflows, and spans that are sent again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, Text, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.otel import workflow_id_within
from domain.pings import Outcome
from domain.workflows import WorkflowKind
from storage.journal import IDEMPOTENCY_HOURS
from storage.pings import IdempotencyKey, Ping
from storage.workflows import Workflow


@dataclass(frozen=True)
class TraceWorkflow:
    """`exists`: it need not be created."""

    id: str
    exists: bool


async def find_trace_workflows(
    session: AsyncSession, account_id: str, names: Collection[str]
) -> Mapping[str, TraceWorkflow]:
    """For each of `names` the workflow of that id; else the account's own dynamic one of that slug; else, if it is
    somebody else's id, one that no other account has."""
    within = {name: workflow_id_within(account_id, name) for name in names}
    columns = Workflow.id, Workflow.account_id, Workflow.kind, Workflow.slug, Workflow.deleted_at
    is_own_slug = (Workflow.account_id == account_id) & Workflow.slug.in_({name.lower() for name in names})
    query = select(*columns).where(or_(Workflow.id.in_({*names, *within.values()}), is_own_slug))
    rows = (await session.execute(query)).all()
    owners = {row.id: row.account_id for row in rows}
    living = {row.id for row in rows if row.deleted_at is None}
    slugs = {
        row.slug: row.id
        for row in rows
        if row.id in living and row.account_id == account_id and row.kind == WorkflowKind.DYNAMIC
    }

    def found(name: str) -> TraceWorkflow:
        if owners.get(name) != account_id and (by_slug := slugs.get(name.lower())):
            return TraceWorkflow(by_slug, exists=True)
        id_ = name if owners.get(name, account_id) == account_id else within[name]
        return TraceWorkflow(id_, exists=id_ in living)

    return {name: found(name) for name in names}


async def find_kept_keys(session: AsyncSession, account_id: str, keys: Collection[str], now: datetime) -> set[str]:
    """Those of the idempotency keys whose pings were accepted: the answer to each is known, without asking for it."""
    query = (
        select(IdempotencyKey.key)
        .join(Ping, Ping.id == IdempotencyKey.ping_id)
        .where(
            IdempotencyKey.account_id == account_id,
            IdempotencyKey.key == func.any(literal(list(keys), ARRAY(Text))),
            IdempotencyKey.created_at > now - timedelta(hours=IDEMPOTENCY_HOURS),
            Ping.outcome == Outcome.ACCEPTED,
        )
    )
    return set(await session.scalars(query))
