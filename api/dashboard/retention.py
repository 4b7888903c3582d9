"""`/settings/retention`: how long what is over is kept."""

from typing import Any, Final

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SnapshotDep
from api.routes.retention import CountView, RetentionInput, change_retention, counted, retention_of
from config.clock import utc_now
from domain.errors import DomainError, InvalidRequest
from domain.retention import MAX_DAYS, MIN_DAYS, Retention
from storage.base import snapshot
from storage.old_things import COUNTED_TO

router = APIRouter(include_in_schema=False)

NAMES: Final = ("keep_days", "keep_approvals_days")
KINDS: Final = {
    "instances": "Finished instances, with all that belongs to them",
    "process_runs": "Finished process runs",
    "pulse_pings": "Pings of pulses",
    "rejected_pings": "Refused pings",
    "alerts": "Alerts that were told",
    "approvals": "Decided approvals, with their audit trails",
}
_OF_APPROVALS: Final = frozenset({"approvals"})
_NOT_SURE: Final = InvalidRequest.of_field("sure", "has to be ticked: what is deleted cannot be brought back")
_DONE: Final = {"saved": "Saved. It holds from now on."}


@router.get("/settings/retention")
async def show_retention(visitor: VisitorDep, session: SnapshotDep) -> Response:
    return await _page(visitor, session)


@router.post("/settings/retention/preview")
async def preview_retention(visitor: VisitorDep, form: FormDep, session: SnapshotDep) -> Response:
    """What would be deleted; nothing is changed."""
    try:
        body = build(RetentionInput, _given(form))
    except DomainError as error:
        return await _page(visitor, session, form=form, error=error)
    days = Retention(body.keep_days, body.keep_approvals_days)
    would = await counted(session, visitor.account.id, days, utc_now())
    return await _page(visitor, session, form=form, would=would)


@router.post("/settings/retention")
async def save_retention(request: Request, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        body = build(RetentionInput, _given(form))
        if Retention(body.keep_days, body.keep_approvals_days).deletes and not form.ticked("sure"):
            raise _NOT_SURE
        await change_retention(body, request, sessions, visitor.principal)
    except DomainError as error:
        async with snapshot(sessions) as session:
            return await _page(visitor, session, form=form, error=error)
    return see("/settings/retention?done=saved")


def _given(form: Form) -> dict[str, Any]:
    return {name: form.text(name) for name in NAMES}


async def _page(
    visitor: Visitor,
    session: AsyncSession,
    *,
    form: Form | None = None,
    error: DomainError | None = None,
    would: CountView | None = None,
) -> Response:
    now = await retention_of(session, visitor.account.id)
    return visitor.page(
        "settings/retention.html",
        section="settings",
        done=_DONE,
        form=form,
        error=error,
        kept=now,
        is_on=now.keep_days is not None or now.keep_approvals_days is not None,
        days={name: form.get(name) if form else _text(getattr(now, name)) for name in NAMES},
        would=_rows(
            would or now.would_delete, form if would is not None else None, now.keep_days, now.keep_approvals_days
        ),
        is_preview=would is not None,
        deleted=[(KINDS[kind], count) for kind, count in now.deleted.model_dump().items() if count],
        counted_to=COUNTED_TO,
        least=MIN_DAYS,
        most=MAX_DAYS,
    )


def _rows(
    counts: CountView, asked: Form | None, keep_days: int | None, keep_approvals_days: int | None
) -> list[tuple[str, int | None]]:
    """By kind, how much there is to delete; None of what is kept for good."""
    days, approvals_days = (asked.text(NAMES[0]), asked.text(NAMES[1])) if asked else (keep_days, keep_approvals_days)
    return [
        (KINDS[kind], count if (approvals_days if kind in _OF_APPROVALS else days) is not None else None)
        for kind, count in counts.model_dump().items()
    ]


def _text(days: int | None) -> str:
    return str(days) if days is not None else ""
