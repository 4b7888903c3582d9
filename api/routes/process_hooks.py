"""Process hooks, and the runs that were reported to them."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import PrincipalDep, SessionDep, SnapshotDep, Text
from api.fields import ChannelIds, Slug, Tags, statuses_of
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, Limit, decode_cursor, encode_cursor
from api.run_views import RunDetails, RunDocument, run_details, run_documents
from api.security import Principal, ensure_owner
from api.security.auditing import note
from api.views import in_utc
from config.clock import utc_now
from domain.errors import Conflict, NotFound
from domain.ids import random_id
from domain.processes import (
    DEFAULT_GRACE_SECONDS,
    MAX_SECONDS,
    RunStatus,
    new_hook_id,
)
from domain.slugs import slug_of
from domain.subjects import process_source
from storage.channels import attach, attached
from storage.process_runs import get_run, list_runs, run_statistics
from storage.processes import ProcessHook, find_hook, list_hooks
from storage.retention import in_words
from storage.slugs import slug_is_taken

router = APIRouter(prefix="/api/process-hooks", tags=["process hooks"])

Name = Annotated[Text, Field(min_length=1, max_length=200)]
Expected = Annotated[float, Field(ge=1, le=MAX_SECONDS, description="How long a run takes.")]
Grace = Annotated[float, Field(ge=0, le=MAX_SECONDS, description="How much longer it may take before it is overdue.")]
Overlap = Annotated[bool, Field(description="Whether a run may start while another is going on; else that is a 409.")]

_MISSING: Final = NotFound("There is no process hook phk_3k9x2m7q1a.")
_TAKEN: Final = Conflict("The slug nightly-backup is taken; choose another.")


class NewHook(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    slug: Slug | None = Field(None, description="Pings may name it instead of the id. Made of the name if left out.")
    tags: Tags = []
    expected_seconds: Expected
    grace_seconds: Grace = DEFAULT_GRACE_SECONDS
    overlap: Overlap = True
    channels: ChannelIds = []


class HookChanges(BaseModel):
    """What may be changed of a hook; what is left out, or null, stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    slug: Slug | None = None
    tags: Tags | None = None
    expected_seconds: Expected | None = None
    grace_seconds: Grace | None = None
    overlap: Overlap | None = None
    channels: ChannelIds | None = None


class HookView(BaseModel):
    id: str
    name: str
    slug: str
    tags: list[str]
    expected_seconds: float
    grace_seconds: float
    overlap: bool
    channels: list[str]
    created_at: datetime
    updated_at: datetime
    ping_url: str = Field(description="Ping it with /start, /finish or /fail behind it, and the key.")


class HookList(BaseModel):
    process_hooks: list[HookView]
    next_cursor: str | None


class Statistics(BaseModel):
    """Of the latest 1,000 runs that are over. Durations are of those that finished, in seconds."""

    count: int
    failed: int
    overdue: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    min: float | None
    max: float | None
    mean: float | None


class RunList(BaseModel):
    runs: list[RunDocument]
    statistics: Statistics
    next_cursor: str | None


@router.post("", status_code=201, responses=problems(*JSON_API_ERRORS, _TAKEN))
async def create_hook(body: NewHook, session: SessionDep, principal: PrincipalDep, request: Request) -> HookView:
    """Defines a process hook."""
    hook_id, now = new_hook_id(), utc_now()
    slug = body.slug or slug_of(body.name, hook_id)
    if await slug_is_taken(session, ProcessHook, principal.account_id, slug):
        if body.slug:
            raise _taken(slug)
        slug = random_id(f"{slug[:100]}-", 6)
    hook = ProcessHook(
        id=hook_id,
        account_id=principal.account_id,
        slug=slug,
        created_at=now,
        updated_at=now,
        deleted_at=None,
        **body.model_dump(exclude={"slug", "channels"}),
    )
    session.add(hook)
    await _flush(session, slug)
    await attach(session, principal.account_id, process_source(hook_id), body.channels)
    note(session, request, principal, "process_hook.created", f"process/{hook_id}", name=hook.name)
    return await _view(session, hook, request)


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all_hooks(
    session: SnapshotDep, principal: PrincipalDep, request: Request, limit: Limit = 50, cursor: Cursor = None
) -> HookList:
    """The account's process hooks, the newest first."""
    rows = await list_hooks(session, principal.account_id, limit=limit + 1, before=decode_cursor(cursor))
    page = rows[:limit]
    channels = await attached(session, [process_source(row.id) for row in page])
    return HookList(
        process_hooks=[_hook_view(row, channels[process_source(row.id)], request) for row in page],
        next_cursor=encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
    )


@router.get("/{hook_id}", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_hook(hook_id: Text, session: SnapshotDep, principal: PrincipalDep, request: Request) -> HookView:
    """One process hook."""
    return await _view(session, await _owned(session, principal, hook_id), request)


@router.patch("/{hook_id}", responses=problems(*JSON_API_ERRORS, _MISSING, _TAKEN))
async def change_hook(
    hook_id: Text, body: HookChanges, session: SessionDep, principal: PrincipalDep, request: Request
) -> HookView:
    """Changes what the body names. Runs that are under way keep the times they were started with."""
    hook = await _owned(session, principal, hook_id)
    changes = body.model_dump(exclude_none=True)
    slug = changes.get("slug", hook.slug)
    if await slug_is_taken(session, ProcessHook, principal.account_id, slug, other_than=hook.id):
        raise _taken(slug)
    channels = changes.pop("channels", None)
    for name, value in changes.items():
        setattr(hook, name, value)
    hook.updated_at = utc_now()
    await _flush(session, slug)
    changed = sorted(body.model_fields_set)
    note(session, request, principal, "process_hook.changed", f"process/{hook.id}", name=hook.name, changed=changed)
    if channels is not None:
        await attach(session, principal.account_id, process_source(hook.id), channels)
    return await _view(session, hook, request)


@router.delete("/{hook_id}", status_code=204, responses=problems(*JSON_API_ERRORS, _MISSING))
async def delete_hook(hook_id: Text, session: SessionDep, principal: PrincipalDep, request: Request) -> None:
    """Takes no more pings. Runs that are under way stay as they are, and nobody is told of them any more."""
    hook = await _owned(session, principal, hook_id)
    hook.deleted_at = hook.updated_at = utc_now()
    note(session, request, principal, "process_hook.deleted", f"process/{hook.id}", name=hook.name)


@router.get("/{hook_id}/runs", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_runs(
    hook_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Annotated[
        list[str] | None, Query(description="Only these, comma-separated or repeated.", examples=["failed"])
    ] = None,
) -> RunList:
    """The runs of a hook, the newest first, and how long they take."""
    hook = await _owned(session, principal, hook_id)
    wanted = statuses_of(RunStatus, status)
    rows = await list_runs(session, hook.id, limit=limit + 1, statuses=wanted, before=decode_cursor(cursor))
    page = rows[:limit]
    documents = await run_documents(session, page)
    return RunList(
        runs=[document for document in documents if not wanted or document.status in wanted],
        statistics=Statistics(**asdict(await run_statistics(session, hook.id))),
        next_cursor=encode_cursor(page[-1].started_at, page[-1].id) if len(rows) > limit else None,
    )


@router.get("/{hook_id}/runs/{run_id}", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_run(hook_id: Text, run_id: Text, session: SnapshotDep, principal: PrincipalDep) -> RunDetails:
    """One run with its pings and every change of status."""
    hook = await _owned(session, principal, hook_id)
    run = await get_run(session, hook.id, run_id)
    if run is None:
        why = await in_words(session, principal.account_id, "keep_days")
        raise NotFound(f"There is no run {run_id} of process hook {hook_id}.{why}")
    return await run_details(session, run)


async def _owned(session: AsyncSession, principal: Principal, name: str) -> ProcessHook:
    """The hook with this id or slug, if it is the principal's. Raises NotFound or Forbidden."""
    hook = await find_hook(session, principal.account_id, name)
    if hook is None:
        raise NotFound(f"There is no process hook {name}.")
    ensure_owner(principal, hook.account_id)
    return hook


async def _flush(session: AsyncSession, slug: str) -> None:
    """Raises Conflict when another request was quicker to take the slug."""
    try:
        await session.flush()
    except IntegrityError:
        raise _taken(slug) from None


def _taken(slug: str) -> Conflict:
    return Conflict(f"The slug {slug} is taken; choose another.")


async def _view(session: AsyncSession, hook: ProcessHook, request: Request) -> HookView:
    source = process_source(hook.id)
    return _hook_view(hook, (await attached(session, [source]))[source], request)


def _hook_view(hook: ProcessHook, channels: list[str], request: Request) -> HookView:
    return HookView(
        id=hook.id,
        name=hook.name,
        slug=hook.slug,
        tags=hook.tags,
        expected_seconds=hook.expected_seconds,
        grace_seconds=hook.grace_seconds,
        overlap=hook.overlap,
        channels=channels,
        created_at=in_utc(hook.created_at),
        updated_at=in_utc(hook.updated_at),
        ping_url=f"{request.app.state.settings.base_url}/phk/{hook.id}",
    )
