"""Pages on which workflows are made and changed."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.forms import Form, as_of, build, check_as_of
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.dashboard.workflow_form import NEW, SEPARATOR, at_its_field, changed_values, new_values, shown
from api.dashboard.workflows import MAX_CHANNELS
from api.deps import SessionsDep, SnapshotDep, Text
from api.routes import workflows
from api.routes.workflows import WorkflowView
from api.workflow_fields import NewWorkflow, WorkflowInput
from domain.errors import DomainError, Forbidden
from storage.channels import list_channels

router = APIRouter(include_in_schema=False)

_TEMPLATE: Final = "workflows/edit.html"
_LOOK_ONLY: Final = "A viewer may look but not change anything; ask an owner of the account."


@router.get("/workflows/new")
async def show_new(visitor: VisitorDep, session: SnapshotDep) -> Response:
    _require_writer(visitor)
    return await _page(session, visitor, None)


@router.post("/workflows/new")
async def create(visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        body = build(NewWorkflow, new_values(form))
        view = await workflows.create_workflow(body, sessions, visitor.principal, visitor.request)
    except DomainError as error:
        async with sessions() as session:
            return await _page(session, visitor, None, error, form)
    return see(f"/workflows/{view.id}?done=created")


@router.get("/workflows/{workflow_id}/edit")
async def show_edit(workflow_id: Text, visitor: VisitorDep, session: SnapshotDep) -> Response:
    view = await workflows.read_workflow(workflow_id, session, visitor.principal, visitor.request)
    return await _page(session, visitor, view)


@router.post("/workflows/{workflow_id}/edit")
async def change(workflow_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    async with sessions() as session:
        view = await workflows.read_workflow(workflow_id, session, visitor.principal, visitor.request)
    try:
        check_as_of(form, _as_of(view))
        body = build(WorkflowInput, changed_values(form, shown(view), view.channels))
        await workflows.change_workflow(workflow_id, body, sessions, visitor.principal, visitor.request)
    except DomainError as error:
        async with sessions() as session:
            return await _page(session, visitor, view, error, form)
    return see(f"/workflows/{view.id}?done=changed")


def _as_of(view: WorkflowView) -> str:
    return as_of(shown(view), view.channels)


def _require_writer(visitor: Visitor) -> None:
    if not visitor.may_write:
        raise Forbidden(_LOOK_ONLY)


async def _page(
    session: AsyncSession,
    visitor: Visitor,
    view: WorkflowView | None,
    error: DomainError | None = None,
    form: Form | None = None,
) -> Response:
    """With what was typed, if something was; else with the workflow as it is, or as a new one would be."""
    rows = await list_channels(session, visitor.account.id, limit=MAX_CHANNELS, before=None)
    channels = [(row.id, row.name, f"{row.kind} · {row.shown_address}") for row in rows]
    ticked = form.all("channels") if form else view.channels if view is not None else []
    listed = {row.id for row in rows}
    texts = shown(view) if view is not None else dict(NEW)
    if form:
        texts = {name: form.get(name) if name in form else text for name, text in texts.items()}
    return visitor.page(
        _TEMPLATE,
        section="workflows",
        error=at_its_field(error) if error is not None else None,
        form=form,
        workflow=view,
        as_of=_as_of(view) if view is not None else None,
        texts=texts,
        kind=view.kind.value if view is not None else (form.get("kind") if form else "") or "static",
        chosen_id=form.get("id") if form else "",
        # One that is attached and not in the list would be detached by saving.
        channels=[*channels, *((one, one, None) for one in ticked if one not in listed)],
        ticked=set(ticked),
        separator=SEPARATOR,
    )
