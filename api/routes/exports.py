"""Instances as files: taken out of one installation, opened in another."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api.deps import PrincipalDep, SessionsDep, Text
from api.export_file import ExportFile
from api.export_reading import read_file
from api.export_views import file_json, head_document, outage_document, ping_json, transition_document
from api.middleware import LARGE_BODIES
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.routes.instances import owned_instance
from api.security.auditing import note
from api.views import current_views
from config.clock import utc_now
from domain.errors import InvalidRequest, NotFound, PayloadTooLarge
from domain.instances import InstanceStatus
from domain.subjects import instance_subject
from storage.base import snapshot, transaction
from storage.exports import import_instance, list_kept, still_times
from storage.timeline import count_steps
from storage.transitions import list_transitions

router = APIRouter(prefix="/api/instances", tags=["time travel"])

MAX_FILE_BYTES: Final = LARGE_BODIES["/api/instances/import"]

_FILE: Final[Responses] = {
    200: {
        "model": ExportFile,
        "headers": {"Content-Disposition": {"description": "A name for the file.", "schema": {"type": "string"}}},
    }
}
_FILE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExportFile"}}},
    }
}
_MISSING: Final = NotFound("There is no instance dabc45678.")
_TOO_LARGE: Final = PayloadTooLarge(f"The body has more than {MAX_FILE_BYTES} bytes.")


class ImportedInstance(BaseModel):
    instance_id: str
    workflow_id: str
    workflow_created: bool
    status: InstanceStatus
    total_steps: int


@router.get("/{instance_id}/export", responses=_FILE | problems(*JSON_API_ERRORS, _MISSING))
async def export_instance(
    instance_id: Text, request: Request, sessions: SessionsDep, principal: PrincipalDep
) -> Response:
    """The instance with its definition, its journal and every change of status, as one file for another
    installation."""
    at_work: asyncio.Semaphore = request.app.state.at_work
    async with at_work, snapshot(sessions) as session:
        instance = await owned_instance(session, principal, instance_id)
        now = utc_now()
        view = (await current_views(session, [instance]))[instance.id]
        until = min(view.closes_at or now, now)
        transitions = await list_transitions(session, instance_subject(instance.workflow_id, instance.id))
        head = {
            **head_document(instance, view, now),
            "transitions": [transition_document(row) for row in transitions],
            "outages": [outage_document(outage) for outage in await still_times(session, instance, until)],
        }
        pings: list[bytes] = []
        size = 0
        async for rows in list_kept(session, instance.id):
            pings += await asyncio.to_thread(_pings_json, rows)
            size += sum(map(len, pings[-len(rows) :]))
            _check_size(instance.id, size)
        content = await asyncio.to_thread(file_json, head, pings)
    _check_size(instance.id, len(content))
    disposition = f'attachment; filename="{instance.id}.pingpulse.json"'
    return Response(content, media_type="application/json", headers={"Content-Disposition": disposition})


@router.post(
    "/import",
    status_code=201,
    responses=problems(*JSON_API_ERRORS, _TOO_LARGE),
    openapi_extra=_FILE_BODY,
)
async def import_exported(request: Request, sessions: SessionsDep, principal: PrincipalDep) -> ImportedInstance:
    """Opens what `GET /api/instances/{id}/export` answered, here or elsewhere, of up to 50 MB. It becomes a finished
    instance with an id of its own: it takes no pings, and nobody is told of it."""
    body = await request.body()
    at_work: asyncio.Semaphore = request.app.state.at_work
    async with at_work:
        now = utc_now()
        file = await asyncio.to_thread(read_file, body, now)
        async with transaction(sessions) as session:
            instance, is_new = await import_instance(
                session, principal.account_id, file.exported, file.view, file.transitions, file.rows, file.origin, now
            )
            steps = await count_steps(session, instance.id)
            subject = f"instance/{instance.workflow_id}/{instance.id}"
            note(session, request, principal, "instance.imported", subject, name=instance.id)
    return ImportedInstance(
        instance_id=instance.id,
        workflow_id=instance.workflow_id,
        workflow_created=is_new,
        status=file.view.status,
        total_steps=steps,
    )


def _pings_json(rows: Sequence[dict[str, Any]]) -> list[bytes]:
    return [ping_json(row) for row in rows]


def _check_size(instance_id: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise InvalidRequest(
            f"Instance {instance_id} would make a file of more than {MAX_FILE_BYTES} bytes, which nothing imports; "
            "read its timeline page by page instead."
        )
