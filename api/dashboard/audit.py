"""`/settings/audit`: who changed what in the account."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dashboard.links import subject_url
from api.dashboard.visitors import VisitorDep
from api.deps import SnapshotDep
from api.routes.audit import AuditEntryView, read_page
from domain.agents import in_words

router = APIRouter(include_in_schema=False)

_PAGE: Final = 50
_SHOWN: Final = ("workflow", "instance", "pulse", "process", "approval")
"""What has a page of its own; others are only named."""


@router.get("/settings/audit")
async def show_audit(
    visitor: VisitorDep, session: SnapshotDep, cursor: Annotated[str | None, Query(max_length=30)] = None
) -> Response:
    page = await read_page(session, visitor.principal, cursor, _PAGE)
    return visitor.page(
        "settings/audit.html",
        section="settings",
        entries=page.entries,
        next_cursor=page.next_cursor,
        is_first=not cursor,
        url_of=_url_of,
        browser=in_words,
    )


def _url_of(entry: AuditEntryView) -> str | None:
    """Where the thing is shown, unless it is gone."""
    kind = (entry.subject or "").partition("/")[0]
    is_gone = entry.action.endswith((".deleted", ".removed"))
    return subject_url(entry.subject) if entry.subject and kind in _SHOWN and not is_gone else None
