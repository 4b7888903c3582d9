"""What was decided, and the audit trail of each approval."""

from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from api.approval_callers import owned_approval
from api.dashboard.links import temporal_url, with_query
from api.dashboard.visitors import VisitorDep
from api.deps import SettingsDep, SnapshotDep, Text
from api.pages import Cursor, decode_cursor, encode_cursor
from api.routes import approval_history
from domain.approvals import TIMEOUT, ApprovalStatus
from domain.costs import end_of
from domain.errors import DomainError, InvalidRequest
from storage.approval_audit import OURSELVES
from storage.approval_lists import list_decided
from storage.prices import account_zone

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
ENTRIES: Final = 100

_HISTORY: Final = "/approvals/history"
_RESULTS: Final = {status.value: status for status in ApprovalStatus if status is not ApprovalStatus.PENDING}

EVENTS: Final = {
    "requested": "Asked",
    "viewed": "Looked at it",
    "edited": "Changed fields",
    "voted": "Voted",
    "code_sent": "Had a code mailed",
    "link_sent": "Had a link mailed",
    "refused": "Was refused",
    "reminded": "Reminded approvers",
    "escalated": "Asked more people",
    "extended": "Moved the deadline",
    "decided": "Decided",
    "cancelled": "Cancelled",
}


@dataclass(frozen=True)
class Filters:
    """What of the history is shown; empty texts are no filter. Days are those of the account's time zone."""

    result: str = ""
    workflow: str = ""
    who: str = ""
    from_: str = ""
    to: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """As in the address."""
        return {"result": self.result, "workflow": self.workflow, "who": self.who, "from": self.from_, "to": self.to}

    def __bool__(self) -> bool:
        return any(self.fields.values())


Word = Annotated[Text, Query(max_length=320)]


@router.get(_HISTORY)
async def show_history(
    visitor: VisitorDep,
    session: SnapshotDep,
    result: Word = "",
    workflow: Word = "",
    who: Word = "",
    from_: Annotated[Text, Query(alias="from", max_length=30)] = "",
    to: Annotated[Text, Query(max_length=30)] = "",
    cursor: Cursor = None,
) -> Response:
    filters = Filters(result, workflow.strip(), who.strip(), from_, to)
    zone = await account_zone(session, visitor.account.id)
    error, wanted = None, dict[str, Any]()
    try:
        wanted = _wanted(filters, zone)
    except DomainError as caught:
        error = caught
    rows = await list_decided(
        session, visitor.account.id, limit=0 if error else PAGE + 1, before=decode_cursor(cursor), **wanted
    )
    page = rows[:PAGE]
    last = page[-1].approval if len(rows) > PAGE else None
    next_cursor = encode_cursor(last.decided_at, last.id) if last is not None and last.decided_at is not None else None
    return visitor.page(
        "approvals/history.html",
        section="approvals",
        live=None if cursor else "account",
        error=error,
        rows=page,
        filters=filters,
        zone=str(zone),
        by=by,
        next=with_query(_HISTORY, **filters.fields, cursor=next_cursor) if next_cursor else None,
        first=with_query(_HISTORY, **filters.fields) if cursor else None,
    )


def _wanted(filters: Filters, zone: tzinfo) -> dict[str, Any]:
    """Raises InvalidRequest."""
    if filters.result and filters.result not in _RESULTS:
        raise InvalidRequest.of_field("result", f"must be one of {', '.join(_RESULTS)}")
    first, last = _day("from", filters.from_), _day("to", filters.to)
    if first is not None and last is not None and last < first:
        raise InvalidRequest.of_field("from", "must not be after the last day")
    return {
        "statuses": [_RESULTS[filters.result]] if filters.result else [],
        "workflow_id": filters.workflow or None,
        "who": filters.who.lower() or None,
        "since": end_of(first - timedelta(days=1), zone) if first is not None else None,
        "until": end_of(last, zone) if last is not None else None,
    }


def _day(name: str, text: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        if not 2000 <= day.year <= 9000:
            raise ValueError
    except ValueError:
        raise InvalidRequest.of_field(name, "must be a day such as 2026-03-01") from None
    return day


def by(name: str) -> str:
    """Who did something, for people."""
    if name == TIMEOUT:
        return "the deadline"
    if name == OURSELVES:
        return "PingPulse"
    return f"API key {name.removeprefix('api-key:')}" if name.startswith("api-key:") else name


def facts(details: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What an entry says besides who and what, each on its line."""
    shown = []
    for name, value in (details or {}).items():
        text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        shown.append((name.replace("_", " ").capitalize(), text))
    return shown


@router.get("/approvals/{approval_id}/audit")
async def show_audit(
    approval_id: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    start: Annotated[int, Query(alias="from", ge=0, le=10**9)] = 0,
) -> Response:
    approval = await owned_approval(session, visitor.principal, approval_id)
    trail = await approval_history.read_audit(approval_id, session, visitor.principal)
    letters = await approval_history.read_letters(approval_id, session, visitor.principal)
    address = f"/approvals/{approval_id}/audit"
    end = start + ENTRIES
    return visitor.page(
        "approvals/audit.html",
        section="approvals",
        live=approval.subject,
        approval=approval,
        trail=trail,
        entries=trail.entries[start:end],
        events=EVENTS,
        by=by,
        facts=facts,
        letters=letters.letters,
        temporal=temporal_url(settings, approval.subject),
        next=with_query(address, **{"from": end}) if end < len(trail.entries) else None,
        first=address if start else None,
    )
