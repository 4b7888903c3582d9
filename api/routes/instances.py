"""Instances: trees, history, and the failed queue."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import AnyPrincipalDep, PrincipalDep, SessionsDep, SnapshotDep, Text
from api.fields import statuses_of
from api.gateway import Gateway
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.pages import Cursor, Limit, decode_cursor, decode_number, encode_cursor
from api.report_views import correlated_document, reported_document
from api.routes.workflows import owned_workflow
from api.security import Principal, ensure_owner
from api.views import (
    current_views,
    fold_instance,
    in_utc,
    instance_document,
    lineage_document,
    recorded_view,
    tree_document,
)
from config.clock import utc_now
from domain.errors import NotFound
from domain.evaluation import InstanceView
from domain.instances import FINISHED, InstanceStatus
from domain.pings import MAX_TEXT
from domain.subjects import instance_subject
from storage import pings
from storage.exports import imported_from
from storage.instances import (
    Instance,
    find_current_instance,
    get_instance,
    list_correlated,
    list_instances,
    list_stages,
)
from storage.outbox import lowest_undelivered
from storage.retention import in_words
from storage.transitions import list_transitions

router = APIRouter(tags=["instances"])
log = structlog.get_logger(__name__)

SOURCE_HEADER = "X-PingPulse-Source"

_NO_WORKFLOW = NotFound("There is no workflow ml_pipeline.")
_NO_INSTANCE = NotFound("There is no instance dabc45678.")
_TREE: Responses = {
    200: {
        "description": "Stages by path.",
        "headers": {
            SOURCE_HEADER: {
                "description": "Where it was read: `temporal`, the `journal` if Temporal did not answer in time, or "
                "the `read-model` of an instance that is closed.",
                "schema": {"type": "string", "enum": ["temporal", "journal", "read-model"]},
            }
        },
        "content": {
            "application/json": {
                "example": {
                    "1": {"status": "healthy", "stage_name": "Ingest"},
                    "2.1": {"status": "healthy", "stage_name": "Train GPU A"},
                    "3": {"status": "pending"},
                }
            }
        },
    },
}


class TransitionView(BaseModel):
    stage_path: str | None
    from_status: str | None
    to_status: str
    at: datetime
    reason: str | None


@router.get("/shk/{workflow_id}/tree", responses=_TREE | problems(*JSON_API_ERRORS, _NO_INSTANCE))
@router.get("/dhk/{workflow_id}/tree", responses=_TREE | problems(*JSON_API_ERRORS, _NO_INSTANCE))
async def read_tree(
    workflow_id: Text,
    request: Request,
    response: Response,
    sessions: SessionsDep,
    principal: AnyPrincipalDep,
    instance_id: Annotated[Text | None, Query(description="The instance, if not the current one.")] = None,
) -> dict[str, dict[str, Any]]:
    """The stages of the workflow's current instance: the newest open one, or the newest of all."""
    async with sessions() as session:
        workflow = await owned_workflow(session, principal, workflow_id)
        if not instance_id:
            row = await find_current_instance(session, workflow_id)
        else:
            row = await get_instance(session, instance_id)
        if row is None or row.workflow_id != workflow.id:
            wanted = f"instance {instance_id}" if instance_id else "instance yet; send start=yes or stage=1 to open one"
            raise NotFound(f"Workflow {workflow_id} has no {wanted}.")
        if row.closes_at is not None and row.closes_at < utc_now():
            response.headers[SOURCE_HEADER] = "read-model"
            stages = await list_stages(session, [row.id])
            return tree_document(recorded_view(row, stages[row.id]))
        subject = instance_subject(row.workflow_id, row.id)
        undelivered = await lowest_undelivered(session, subject)
    gateway: Gateway = request.app.state.gateway
    # What another gateway still holds, only the journal knows; what this one holds is delivered now.
    view = await gateway.ask_tree(subject) if undelivered.keys() <= {gateway.id} else None
    response.headers[SOURCE_HEADER] = "temporal" if view is not None else "journal"
    if view is None:
        async with sessions() as session:
            view = await fold_instance(session, row)
    return tree_document(view)


@router.get("/api/workflows/{workflow_id}/instances", responses=problems(*JSON_API_ERRORS, _NO_WORKFLOW))
async def read_history(
    workflow_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    limit: Limit = 10,
    cursor: Cursor = None,
    status: Annotated[
        list[str] | None,
        Query(description="Only these, comma-separated or repeated: `running`, `failed`, …", examples=["failed"]),
    ] = None,
) -> dict[str, Any]:
    """The newest running instance, and the most recent others with their stages."""
    await owned_workflow(session, principal, workflow_id)
    wanted = statuses_of(InstanceStatus, status)
    rows = await list_instances(session, workflow_id, limit=limit + 2, statuses=wanted, before=decode_cursor(cursor))
    current = await find_current_instance(session, workflow_id)
    views = await current_views(session, [*rows, *([current] if current is not None else [])])

    def is_wanted(row: Instance) -> bool:
        return not wanted or views[row.id].status in wanted

    running = current if current is not None and views[current.id].status not in FINISHED else None
    others = [row for row in rows if running is None or row.id != running.id]
    page = others[:limit]
    return {
        "running_instance": _document(running, views) if running is not None and is_wanted(running) else None,
        "recent_instances": [_document(row, views) for row in page if is_wanted(row)],
        "next_cursor": encode_cursor(page[-1].opened_at, page[-1].id) if len(others) > limit else None,
    }


@router.get("/api/instances/{instance_id}", responses=problems(*JSON_API_ERRORS, _NO_INSTANCE))
async def read_instance(instance_id: Text, session: SnapshotDep, principal: PrincipalDep) -> dict[str, Any]:
    """One instance with its stages and every change of status."""
    row = await owned_instance(session, principal, instance_id)
    views = await current_views(session, [row])
    closes_at = views[row.id].closes_at
    transitions = [
        TransitionView(
            stage_path=item.path, from_status=item.before, to_status=item.after, at=in_utc(item.at), reason=item.reason
        )
        for item in await list_transitions(session, instance_subject(row.workflow_id, row.id))
    ]
    return {
        **instance_document(row, views[row.id]),
        "workflow_id": row.workflow_id,
        **lineage_document(row),
        "imported_from": imported_from(row),
        "closes_at": in_utc(closes_at) if closes_at is not None else None,
        "budget_limit_usd": float(row.budget_limit_usd) if row.budget_limit_usd is not None else None,
        **await reported_document(session, row),
        "correlated_instances": await correlated_document(session, row),
        "transitions": transitions,
    }


@router.get("/api/instances", responses=problems(*JSON_API_ERRORS))
async def read_correlated(
    session: SnapshotDep,
    principal: PrincipalDep,
    correlation_id: Annotated[Text, Query(min_length=1, max_length=MAX_TEXT, description="What links them.")],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """The instances, of any workflow, that were reported with the same `correlation_id`, the newest first."""
    rows = await list_correlated(
        session, principal.account_id, correlation_id, limit=limit + 1, before=decode_cursor(cursor)
    )
    page = rows[:limit]
    views = await current_views(session, page)
    return {
        "instances": [{**instance_document(row, views[row.id]), "workflow_id": row.workflow_id} for row in page],
        "next_cursor": encode_cursor(page[-1].opened_at, page[-1].id) if len(rows) > limit else None,
    }


@router.get("/api/workflows/{workflow_id}/failed-pings", responses=problems(*JSON_API_ERRORS, _NO_WORKFLOW))
async def read_failed_pings(
    workflow_id: Text, session: SnapshotDep, principal: PrincipalDep, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, Any]:
    """The failed queue: pings that were rejected, the newest first, with what was wrong."""
    await owned_workflow(session, principal, workflow_id)
    rows = await pings.list_rejected(session, workflow_id, limit=limit + 1, before=decode_number(cursor))
    page = rows[:limit]
    return {
        "failed_pings": [
            {
                "id": str(row.id),
                "stage_path": row.path,
                "stage_name": row.name,
                "agent_code": row.agent,
                "instance_id": row.instance_id,
                "received_at": in_utc(row.received_at),
                "code": row.reason_code,
                "detail": row.reason,
                "expected_stage": row.expected_stage,
                "payload": row.payload if row.payload is not None else row.text,
            }
            for row in page
        ],
        "next_cursor": encode_cursor(page[-1].received_at, str(page[-1].id)) if len(rows) > limit else None,
    }


def _document(row: Instance, views: Mapping[str, InstanceView]) -> dict[str, Any]:
    return instance_document(row, views[row.id])


async def owned_instance(session: AsyncSession, principal: Principal, instance_id: str) -> Instance:
    """The instance, if it is the principal's. Raises NotFound or Forbidden."""
    row = await get_instance(session, instance_id)
    if row is None:
        why = await in_words(session, principal.account_id, "keep_days")
        raise NotFound(f"There is no instance {instance_id}.{why}")
    ensure_owner(principal, row.account_id)
    return row
