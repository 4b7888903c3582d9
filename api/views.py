"""Instances as the API shows them: from the read model where it is current, else from the journal itself."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from config.clock import utc_now
from domain import paths
from domain.evaluation import InstanceView, StageView, evaluate
from domain.instances import InstanceStatus, StageStatus, fold
from domain.subjects import instance_subject
from storage import instances, outbox, pings
from storage.exports import external_id_of
from storage.instances import Instance, Stage
from storage.outages import list_outages_of


async def fold_instance(session: AsyncSession, instance: Instance) -> InstanceView:
    """The instance as its journal tells it, as of now."""
    now = utc_now()
    facts = await pings.list_facts(session, instance.id)
    outages = await list_outages_of(session, instance.id, instance.opened_at, now)
    return evaluate(fold(instance.before_pings(), facts, until=now, outages=outages))


async def current_views(session: AsyncSession, rows: Iterable[Instance]) -> dict[str, InstanceView]:
    """By id. Callers read their own writes: an instance with pings its workflow has not recorded yet is folded."""
    views: dict[str, InstanceView] = {}
    recorded: list[Instance] = []
    for row in rows:
        if await _is_current(session, row):
            recorded.append(row)
        else:
            views[row.id] = await fold_instance(session, row)
    stages = await instances.list_stages(session, [row.id for row in recorded])
    views.update({row.id: recorded_view(row, stages[row.id]) for row in recorded})
    return views


async def _is_current(session: AsyncSession, row: Instance) -> bool:
    """Whether its workflow has recorded all of its pings. Pings of one gateway may overtake those of another."""
    newest = await pings.newest_received_at(session, row.id)
    if newest is not None and (row.last_ping_at is None or newest > row.last_ping_at):
        return False
    is_closed = row.closes_at is not None and row.closes_at < utc_now()
    return is_closed or not await outbox.has_undelivered(session, instance_subject(row.workflow_id, row.id))


def recorded_view(row: Instance, stages: Iterable[Stage]) -> InstanceView:
    """The read model as a view; stages that were never pinged are in the definition only."""
    shown = {str(stage.order): StageView(StageStatus.PENDING, name=stage.name) for stage in row.rules().stages}
    for stage in stages:
        shown[stage.path] = StageView(
            StageStatus(stage.status), name=stage.name, agent=stage.agent, error=stage.error, at=stage.changed_at
        )
    return InstanceView(
        status=InstanceStatus(row.status),
        stages={path: shown[path] for path in sorted(shown, key=paths.sort_key)},
        changed_at=row.completed_at or row.last_ping_at or row.opened_at,
        failure_reason=row.failure_reason,
        completed_at=row.completed_at,
        closes_at=row.closes_at,
        agent=row.agent,
        last_ping_at=row.last_ping_at,
    )


def in_utc(at: datetime) -> datetime:
    """Shown with a Z. Postgres answers in the time zone it was set up with."""
    return at.astimezone(UTC)


def tree_document(view: InstanceView) -> dict[str, dict[str, Any]]:
    """The stages by path; what is not known of a stage is left out."""
    return {
        path: {
            "status": stage.status,
            **({"stage_name": stage.name} if stage.name is not None else {}),
            **({"agent_code": stage.agent} if stage.agent is not None else {}),
            **({"error": stage.error} if stage.error is not None else {}),
        }
        for path, stage in view.stages.items()
    }


def lineage_document(row: Instance) -> dict[str, Any]:
    """What an instance was made of; the root of one that was opened by a ping is itself."""
    return {
        "origin": row.origin,
        "parent_id": row.parent_id,
        "root_id": row.root_id or row.id,
        "fork_depth": row.fork_depth,
        "fork_from_stage": row.fork_from_stage,
    }


def instance_document(row: Instance, view: InstanceView) -> dict[str, Any]:
    """An instance with its stages, as in the instance history. One that was reported whole has the times it says."""
    document: dict[str, Any] = {
        "id": row.id,
        "status": view.status,
        "started_at": in_utc(row.started_at or row.ended_at or row.opened_at),
        "agent_code": view.agent,
        "stage_statuses": tree_document(view),
    }
    if view.completed_at is not None:
        document["completed_at"] = in_utc(row.ended_at or view.completed_at)
    if view.failure_reason is not None:
        document["failure_reason"] = view.failure_reason
    for name, value in (("external_id", external_id_of(row)), ("correlation_id", row.correlation_id)):
        if value is not None:
            document[name] = value
    return document
