"""What the routing rules need to know, read for a whole batch of pings at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.instances import InstanceStatus
from domain.routing import Candidate
from domain.workflows import WorkflowDefinition
from storage.workflows import definition_from

_ROUTES = text("""
SELECT w.id, w.account_id, w.kind, w.name, w.slug, w.validation_mode, w.stages, w.stage_timeout_seconds,
       w.instance_timeout_seconds, w.idle_timeout_seconds, w.grace_period_seconds, w.deleted_at,
       coalesce(o.id, g.id) AS newest_id, coalesce(o.status, g.status) AS newest_status,
       coalesce(o.closes_at, g.closes_at) AS newest_closes_at,
       coalesce(o.first_stage_seen, g.first_stage_seen) AS newest_first_stage_seen,
       coalesce(o.is_strict, g.is_strict) AS newest_is_strict
FROM workflows w
LEFT JOIN LATERAL (
    SELECT id, status, closes_at, first_stage_seen, definition ->> 'validation_mode' = 'strict' AS is_strict
    FROM instances
    WHERE workflow_id = w.id AND closes_at IS NULL
    ORDER BY opened_at DESC, id DESC LIMIT 1
) o ON true
LEFT JOIN LATERAL (
    SELECT id, status, closes_at, first_stage_seen, definition ->> 'validation_mode' = 'strict' AS is_strict
    FROM instances
    WHERE o.id IS NULL AND workflow_id = w.id AND closes_at >= :now
    ORDER BY opened_at DESC, id DESC LIMIT 1
) g ON true
WHERE w.id = ANY(:workflow_ids)
""")

_NAMED = text("""
SELECT id, workflow_id, status, closes_at, first_stage_seen, definition ->> 'validation_mode' = 'strict' AS is_strict
FROM instances WHERE id = ANY(:instance_ids)
""")


@dataclass
class WorkflowRoute:
    """A workflow and the instance that its pings go to; changed in place as a batch opens instances."""

    account_id: str
    definition: WorkflowDefinition | None
    newest: Candidate | None


@dataclass(frozen=True)
class NamedInstance:
    workflow_id: str
    candidate: Candidate


@dataclass(frozen=True)
class Routes:
    workflows: dict[str, WorkflowRoute]
    named: Mapping[str, NamedInstance]


async def load_routes(
    session: AsyncSession, workflow_ids: Collection[str], instance_ids: Collection[str], now: datetime
) -> Routes:
    """Reads them as they are now. A deleted workflow has no definition, but still belongs to its account."""
    rows = (await session.execute(_ROUTES, {"workflow_ids": list(workflow_ids), "now": now})).mappings()
    workflows = {row["id"]: _workflow_route(dict(row)) for row in rows}
    named: dict[str, NamedInstance] = {}
    if instance_ids:
        for row in (await session.execute(_NAMED, {"instance_ids": list(instance_ids)})).mappings():
            named[row["id"]] = NamedInstance(row["workflow_id"], _candidate(dict(row)))
    return Routes(workflows, named)


def _workflow_route(row: dict[str, Any]) -> WorkflowRoute:
    deleted_at = row.pop("deleted_at")
    newest = {name.removeprefix("newest_"): row.pop(name) for name in list(row) if name.startswith("newest_")}
    if deleted_at is not None:
        return WorkflowRoute(row["account_id"], None, None)
    return WorkflowRoute(row["account_id"], definition_from(row), _candidate(newest) if newest["id"] else None)


def _candidate(row: Mapping[str, Any]) -> Candidate:
    status = InstanceStatus(row["status"])
    return Candidate(row["id"], status, row["closes_at"], row["first_stage_seen"], row["is_strict"])
