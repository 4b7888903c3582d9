"""What the routing rules need to know, read for a whole batch of pings at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.forks import Origin
from domain.instances import InstanceState, InstanceStatus, confirm, merge
from domain.pings import PingFact, PingStatus
from domain.reports import RUN_PATH, LastReport
from domain.routing import Candidate
from domain.workflows import WorkflowDefinition
from storage.rows import Row
from storage.workflows import definition_from

MAX_COUNTED: Final = 200
"""Pings of an instance that are read to tell its exact status; that of a busier one is only predicted."""

_CANDIDATE = """id, status, closes_at, first_stage_seen, failure_reason,
    definition ->> 'validation_mode' = 'strict' AS is_strict, definition ->> 'kind' = 'static' AS is_static"""
_NEWEST = ("id", "status", "closes_at", "first_stage_seen", "failure_reason", "is_strict", "is_static")

# What the circuit breaker ended goes before runs that are older: whoever was stopped would go on in one of those.
_ROUTES = text(f"""
SELECT w.id, w.account_id, w.kind, w.name, w.slug, w.tags, w.validation_mode, w.stages, w.stage_timeout_seconds,
       w.instance_timeout_seconds, w.idle_timeout_seconds, w.grace_period_seconds, w.deleted_at,
       b.workflow_id IS NOT NULL AS has_budget, CASE WHEN b.stopped_until > :now THEN b.stop_reason END AS day_stop,
       {", ".join(f"coalesce(s.{name}, o.{name}, g.{name}) AS newest_{name}" for name in _NEWEST)}
FROM workflows w
LEFT JOIN budgets b ON b.workflow_id = w.id AND b.enabled
LEFT JOIN LATERAL (
    SELECT {_CANDIDATE} FROM instances
    WHERE workflow_id = w.id AND closes_at IS NULL AND origin IS NULL
    ORDER BY opened_at DESC, id DESC LIMIT 1
) o ON true
LEFT JOIN LATERAL (
    SELECT {_CANDIDATE} FROM instances
    WHERE (o.id IS NULL OR b.workflow_id IS NOT NULL) AND workflow_id = w.id AND origin IS NULL
    ORDER BY opened_at DESC, id DESC LIMIT 1
) s ON s.status = 'terminated' AND s.failure_reason IS NOT NULL
LEFT JOIN LATERAL (
    SELECT {_CANDIDATE} FROM instances
    WHERE o.id IS NULL AND s.id IS NULL AND workflow_id = w.id AND closes_at >= :now AND origin IS NULL
    ORDER BY opened_at DESC, id DESC LIMIT 1
) g ON true
WHERE w.id = ANY(:workflow_ids)
""")

_NAMED = text(f"SELECT {_CANDIDATE}, workflow_id FROM instances WHERE id = ANY(:instance_ids)")

_EXTERNAL = text("""
SELECT i.id, i.workflow_id, i.external_id, i.status, i.closes_at, i.first_stage_seen,
       i.definition ->> 'validation_mode' = 'strict' AS is_strict, i.definition ->> 'kind' = 'static' AS is_static,
       i.failure_reason, i.ended_at, p.id AS ping_id, p.status AS ping_status
FROM unnest(CAST(:workflow_ids AS text[]), CAST(:external_ids AS text[])) AS asked (workflow_id, external_id)
JOIN instances i ON i.workflow_id = asked.workflow_id AND i.external_id = asked.external_id
LEFT JOIN LATERAL (
    SELECT id, status FROM pings
    WHERE instance_id = i.id AND outcome = 'accepted' AND path = :run_path
    ORDER BY received_at DESC, id DESC LIMIT 1
) p ON i.ended_at IS NOT NULL
""")

_FACTS = text("""
SELECT i.id AS instance_id, i.definition, i.opened_at, i.origin, p.*
FROM instances i
LEFT JOIN LATERAL (
    SELECT id, gateway_id, path, status, received_at, final FROM pings
    WHERE instance_id = i.id AND outcome = 'accepted' LIMIT :limit
) p ON true
WHERE i.id = ANY(:instance_ids)
ORDER BY i.id
""")


@dataclass
class WorkflowRoute:
    """A workflow and the instance that its pings go to; changed in place as a batch opens instances.

    With a budget, its pings wait for a verdict. `day_stop` is why no instance may be opened today.
    """

    account_id: str
    definition: WorkflowDefinition | None
    newest: Candidate | None
    has_budget: bool = False
    day_stop: str | None = None


@dataclass(frozen=True)
class NamedInstance:
    workflow_id: str
    candidate: Candidate


@dataclass
class ExternalInstance:
    """What an external id names; changed in place as a batch tells of it. `report` is the ping of its latest report,
    by number or as a row of the batch."""

    candidate: Candidate
    report: int | Row | None = None


@dataclass(frozen=True)
class Routes:
    """`states` is what the pings of some flexible instances add up to: of those whose next status one ping alone
    does not tell. Not of a dynamic one that is running, which is the hot path."""

    workflows: dict[str, WorkflowRoute]
    named: Mapping[str, NamedInstance]
    states: dict[str, InstanceState] = field(default_factory=dict)
    external: dict[tuple[str, str], ExternalInstance] = field(default_factory=dict)


async def load_routes(
    session: AsyncSession,
    workflow_ids: Collection[str],
    instance_ids: Collection[str],
    now: datetime,
    external_ids: Collection[tuple[str, str]] = (),
) -> Routes:
    """Reads them as they are now. A deleted workflow has no definition, but still belongs to its account."""
    rows = (await session.execute(_ROUTES, {"workflow_ids": list(workflow_ids), "now": now})).mappings()
    unclear: dict[str, InstanceStatus] = {}
    workflows = {row["id"]: _workflow_route(dict(row), unclear) for row in rows}
    named: dict[str, NamedInstance] = {}
    if instance_ids:
        for row in (await session.execute(_NAMED, {"instance_ids": list(instance_ids)})).mappings():
            named[row["id"]] = NamedInstance(row["workflow_id"], _candidate(dict(row), unclear))
    external = await _load_external(session, external_ids, unclear) if external_ids else {}
    return Routes(workflows, named, await _load_states(session, unclear, now) if unclear else {}, external)


async def _load_external(
    session: AsyncSession, external_ids: Collection[tuple[str, str]], unclear: dict[str, InstanceStatus]
) -> dict[tuple[str, str], ExternalInstance]:
    """By workflow and external id, the instances that there are already."""
    workflows, ids = zip(*external_ids, strict=True)
    asked = {"workflow_ids": list(workflows), "external_ids": list(ids), "run_path": RUN_PATH}
    found: dict[tuple[str, str], ExternalInstance] = {}
    for row in (await session.execute(_EXTERNAL, asked)).mappings():
        candidate = _candidate(dict(row), unclear)
        if row["ping_id"] is not None:
            report = LastReport(PingStatus(row["ping_status"]), row["ended_at"])
            candidate = replace(candidate, report=report)
        found[row["workflow_id"], row["external_id"]] = ExternalInstance(candidate, row["ping_id"])
    return found


async def _load_states(
    session: AsyncSession, instances: Mapping[str, InstanceStatus], now: datetime
) -> dict[str, InstanceState]:
    rows = await session.execute(_FACTS, {"instance_ids": list(instances), "limit": MAX_COUNTED + 1})
    states: dict[str, InstanceState] = {}
    for instance_id, group in groupby(rows.mappings(), itemgetter("instance_id")):
        pings = list(group)
        if len(pings) > MAX_COUNTED:
            continue
        state = InstanceState(
            instance_id,
            definition_from(pings[0]["definition"]),
            pings[0]["opened_at"],
            begins_with_ping=pings[0]["origin"] == Origin.RERUN,
        )
        state = merge(state, [_fact(dict(ping)) for ping in pings if ping["id"] is not None])
        # Deadlines are for the workflow to call. Where it has called one, the instance stays failed by it.
        states[instance_id] = confirm(state, now) if instances[instance_id] is InstanceStatus.FAILED else state
    return states


def _fact(row: Mapping[str, Any]) -> PingFact:
    """What of a ping decides a status."""
    status = PingStatus(row["status"])
    return PingFact(row["id"], row["gateway_id"], row["path"], status, row["received_at"], final=row["final"])


def _workflow_route(row: dict[str, Any], unclear: dict[str, InstanceStatus]) -> WorkflowRoute:
    deleted_at, has_budget, day_stop = row.pop("deleted_at"), row.pop("has_budget"), row.pop("day_stop")
    newest = {name.removeprefix("newest_"): row.pop(name) for name in list(row) if name.startswith("newest_")}
    if deleted_at is not None:
        return WorkflowRoute(row["account_id"], None, None, has_budget)
    candidate = _candidate(newest, unclear) if newest["id"] else None
    return WorkflowRoute(row["account_id"], definition_from(row), candidate, has_budget, day_stop)


def _candidate(row: Mapping[str, Any], unclear: dict[str, InstanceStatus]) -> Candidate:
    """Notes in `unclear` an instance whose status depends on all of its pings."""
    status = InstanceStatus(row["status"])
    is_moving = status not in (InstanceStatus.PAUSED, InstanceStatus.TERMINATED)
    if is_moving and not row["is_strict"] and (row["is_static"] or status is InstanceStatus.FAILED):
        unclear[row["id"]] = status
    return Candidate(
        row["id"], status, row["closes_at"], row["first_stage_seen"], row["is_strict"], row["failure_reason"]
    )
