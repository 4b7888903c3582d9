"""Defining process hooks, and changing them."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.forms import Form, as_of, build, check_as_of
from api.dashboard.process_hooks import MOST_CHANNELS
from api.dashboard.pulse_forms import by_field, require_writer
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SnapshotDep, Text
from api.routes import process_hooks
from api.routes.process_hooks import HookChanges, HookView, NewHook
from domain.durations import as_text
from domain.errors import DomainError, InvalidRequest
from domain.processes import DEFAULT_GRACE_SECONDS
from storage.base import Sessions, snapshot, transaction
from storage.channels import list_channels

router = APIRouter(include_in_schema=False)

_FIRST: Final[Mapping[str, Any]] = {
    "name": "",
    "slug": "",
    "tags": "",
    "expected_seconds": "30 min",
    "grace_seconds": as_text(DEFAULT_GRACE_SECONDS),
    "overlap": True,
    "channels": [],
}


@router.get("/process-hooks/new")
async def show_new(visitor: VisitorDep, sessions: SessionsDep) -> Response:
    require_writer(visitor)
    return await _page(visitor, sessions, None, _FIRST)


@router.post("/process-hooks/new")
async def create(visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        body = build(NewHook, _read(form))
        async with transaction(sessions) as session:
            hook = await process_hooks.create_hook(body, session, visitor.principal, visitor.request)
    except DomainError as error:
        return await _page(visitor, sessions, None, _sent(form), error=by_field(error), form=form)
    return see(f"/process-hooks/{hook.id}?done=created")


@router.get("/process-hooks/{hook_id}/edit")
async def show_edit(hook_id: Text, visitor: VisitorDep, session: SnapshotDep, sessions: SessionsDep) -> Response:
    require_writer(visitor)
    hook = await process_hooks.read_hook(hook_id, session, visitor.principal, visitor.request)
    return await _page(visitor, sessions, hook, _values_of(hook))


@router.post("/process-hooks/{hook_id}/edit")
async def change(hook_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    async with snapshot(sessions) as session:
        hook = await process_hooks.read_hook(hook_id, session, visitor.principal, visitor.request)
    try:
        sent, shown = _sent(form), _values_of(hook)
        check_as_of(form, as_of(shown))
        values = {name: value for name, value in _read(form).items() if sent[name] != shown[name]}
        body = build(HookChanges, values)
        async with transaction(sessions) as session:
            await process_hooks.change_hook(hook.id, body, session, visitor.principal, visitor.request)
    except DomainError as error:
        return await _page(visitor, sessions, hook, _sent(form), error=by_field(error), form=form)
    return see(f"/process-hooks/{hook.id}?done=changed")


def _values_of(hook: HookView) -> Mapping[str, Any]:
    return {
        "name": hook.name,
        "slug": hook.slug,
        "tags": ", ".join(hook.tags),
        "expected_seconds": as_text(hook.expected_seconds),
        "grace_seconds": as_text(hook.grace_seconds),
        "overlap": hook.overlap,
        "channels": hook.channels,
    }


def _sent(form: Form) -> dict[str, Any]:
    """What was typed, to be shown again."""
    texts = ("name", "slug", "tags", "expected_seconds", "grace_seconds")
    return {
        **{name: form.get(name) for name in texts},
        "overlap": form.ticked("overlap"),
        "channels": form.all("channels"),
    }


def _read(form: Form) -> dict[str, Any]:
    """What the JSON API takes; what is empty and may be, is left out. Raises InvalidRequest."""
    expected_seconds = form.seconds("expected_seconds")
    if expected_seconds is None:
        raise InvalidRequest.of_field("expected_seconds", "is missing; write a duration such as 30 min or 2 h")
    values = {
        "name": form.get("name").strip(),
        "slug": form.text("slug"),
        "tags": form.words("tags"),
        "expected_seconds": expected_seconds,
        "grace_seconds": form.seconds("grace_seconds"),
        "overlap": form.ticked("overlap"),
        "channels": form.all("channels"),
    }
    return {name: value for name, value in values.items() if value is not None}


async def _page(
    visitor: Visitor,
    sessions: Sessions,
    hook: HookView | None,
    values: Mapping[str, Any],
    *,
    error: DomainError | None = None,
    form: Form | None = None,
) -> Response:
    async with snapshot(sessions) as session:
        channels = await list_channels(session, visitor.account.id, limit=MOST_CHANNELS, before=None)
    return visitor.page(
        "process_hooks/form.html",
        section="process",
        error=error,
        form=form,
        hook=hook,
        as_of=as_of(_values_of(hook)) if hook is not None else None,
        values=values,
        channels=channels,
    )
