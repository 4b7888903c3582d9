"""Two instances side by side: which ones, and what came of it."""

import asyncio
import json
from collections import Counter
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.compare_words import KINDS, Row, figures, rows
from api.dashboard.forms import Form, build
from api.dashboard.links import with_query
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionDep, SessionsDep, SnapshotDep, Text
from api.pages import Cursor, decode_cursor, encode_cursor
from api.routes.comparisons import ComparisonRequest, compare_instances
from api.routes.workflows import owned_workflow
from api.security import ensure_owner
from api.views import current_views
from domain.comparison import Kind
from domain.errors import DomainError, NotFound
from domain.json_diff import DEFAULT_IGNORE
from storage.base import snapshot
from storage.comparisons import get_comparison, list_comparisons
from storage.instances import get_instance, list_instances
from storage.workflows import list_workflows

router = APIRouter(include_in_schema=False)

LISTED: Final = 25
WORKFLOWS: Final = 200
KEPT: Final = 10
PAGE: Final = 100
OPEN: Final = 5
"""Differences of payloads that are open when the page comes."""

MAX_NUMBER: Final = 2**31 - 1


@router.get("/compare")
async def choose(
    visitor: VisitorDep,
    session: SnapshotDep,
    a: Annotated[Text, Query(max_length=64)] = "",
    b: Annotated[Text, Query(max_length=64)] = "",
    workflow: Annotated[Text, Query(max_length=200)] = "",
    cursor: Cursor = None,
) -> Response:
    return await _form(visitor, session, a, b, workflow, cursor)


@router.post("/comparisons")
async def compare(request: Request, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    a = form.text("instance_a") or form.get("pick_a")
    b = form.text("instance_b") or form.get("pick_b")
    try:
        values: dict[str, Any] = {"instance_a": a, "instance_b": b}
        if "ignore" in form:
            values["ignore"] = [line.strip() for line in form.get("ignore").splitlines() if line.strip()]
        answer = await compare_instances(build(ComparisonRequest, values), request, sessions, visitor.principal)
    except DomainError as error:
        async with snapshot(sessions) as session:
            return await _form(visitor, session, a, b, form.get("workflow"), None, error=error, form=form)
    return see(f"/comparisons/{json.loads(bytes(answer.body))['session_id']}")


async def _form(
    visitor: Visitor,
    session: AsyncSession,
    a: str,
    b: str,
    workflow_id: str,
    cursor: str | None,
    *,
    error: DomainError | None = None,
    form: Form | None = None,
) -> Response:
    account_id = visitor.account.id
    if not workflow_id and a:
        # What one would compare it with is, most of the time, another run of the same workflow.
        found = await get_instance(session, a)
        workflow_id = found.workflow_id if found is not None and found.account_id == account_id else ""
    listed, older, views = [], None, {}
    if workflow_id:
        await owned_workflow(session, visitor.principal, workflow_id)
        found_rows = await list_instances(session, workflow_id, limit=LISTED + 1, before=decode_cursor(cursor))
        listed = found_rows[:LISTED]
        views = await current_views(session, listed)
        if len(found_rows) > LISTED:
            mark = encode_cursor(listed[-1].opened_at, listed[-1].id)
            older = with_query("/compare", a=a, b=b, workflow=workflow_id, cursor=mark)
    ids = {row.id for row in listed}
    return visitor.page(
        "compare/choose.html",
        section="compare",
        error=error,
        form=form,
        a=a,
        b=b,
        typed_a=a if a not in ids else "",
        typed_b=b if b not in ids else "",
        workflow_id=workflow_id,
        workflows=await list_workflows(session, account_id, limit=WORKFLOWS, before=None),
        listed=listed,
        views=views,
        older=older,
        newest=with_query("/compare", a=a, b=b, workflow=workflow_id) if cursor else None,
        ignore="\n".join(DEFAULT_IGNORE) if form is None else form.get("ignore"),
        kept=await list_comparisons(session, account_id, limit=KEPT),
    )


@router.get("/comparisons/{session_id}")
async def show(
    session_id: Text,
    visitor: VisitorDep,
    session: SessionDep,
    only: Annotated[Text, Query(max_length=20)] = "",
    start: Annotated[int, Query(alias="from", ge=0, le=MAX_NUMBER)] = 0,
) -> Response:
    """What came of a comparison. `only`: one kind of difference, or `differences` for all of them."""
    row = await get_comparison(session, session_id)
    if row is None:
        raise NotFound(f"There is no comparison {session_id}.")
    ensure_owner(visitor.principal, row.account_id)
    comparison, pairs = await asyncio.to_thread(_read, row.document)
    counts = Counter(kind for pair in pairs for kind in pair.kinds)
    different = [pair for pair in pairs if not pair.is_same]
    wanted = different if only == "differences" else [p for p in pairs if only in p.kinds] if only in KINDS else pairs
    start = min(start, max(0, len(wanted) - 1)) // PAGE * PAGE
    divergence = comparison["divergence_step"]
    return visitor.page(
        "compare/show.html",
        section="compare",
        session_id=session_id,
        made_at=row.created_at,
        comparison=comparison,
        a=comparison["instance_a"],
        b=comparison["instance_b"],
        figures=figures(comparison),
        pairs=wanted[start : start + PAGE],
        total=len(wanted),
        of_all=len(pairs),
        differing=len(different),
        counts=counts,
        kinds=KINDS,
        only=only,
        start=start,
        page_size=PAGE,
        open_count=OPEN,
        divergence=pairs[divergence] if divergence is not None else None,
        address=f"/comparisons/{session_id}",
        with_query=with_query,
        same=Kind.SAME,
    )


def _read(document: str) -> tuple[dict[str, Any], list[Row]]:
    comparison: dict[str, Any] = json.loads(document)
    return comparison, list(rows(comparison))
