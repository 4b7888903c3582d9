"""The audit trail of the account: who changed what."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import PrincipalDep, SnapshotDep
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Limit
from api.security import Principal
from api.views import in_utc
from domain.audit import in_words
from domain.errors import InvalidRequest
from storage.account_audit import AccountEntry, list_entries
from storage.keys import name_keys

router = APIRouter(prefix="/api/audit", tags=["members"])

_KEY: Final = "api-key:"
_MAX_ID: Final = 2**63 - 1

Cursor = Annotated[str | None, Query(max_length=30, description="`next_cursor` of the page before.")]


class AuditEntryView(BaseModel):
    id: int
    at: datetime
    who: str = Field(description="A user's e-mail address, `api-key:<id>`, or `pingpulse` for the command line.")
    key_name: str | None = Field(description="Of the key, if it was one.")
    action: str = Field(description="Such as `key.created`.")
    words: str = Field(description="The same for people.")
    subject: str | None = Field(description="To what it was done, as in `workflow/nightly`.")
    details: dict[str, Any]
    address: str | None = Field(description="From where. Viewers are not told.")
    agent: str | None = Field(description="The program, as it says itself. Viewers are not told.")


class AuditPage(BaseModel):
    entries: list[AuditEntryView]
    next_cursor: str | None


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all(
    session: SnapshotDep, principal: PrincipalDep, cursor: Cursor = None, limit: Limit = 50
) -> AuditPage:
    """What was done in the account, the newest first. Entries stay for good; nobody can change them."""
    return await read_page(session, principal, cursor, limit)


async def read_page(session: AsyncSession, principal: Principal, cursor: str | None, limit: int) -> AuditPage:
    found = await list_entries(session, principal.account_id, limit + 1, before=_before(cursor))
    page = found[:limit]
    keys = {entry.who.removeprefix(_KEY) for entry in page if entry.who.startswith(_KEY)}
    names = await name_keys(session, principal.account_id, keys) if keys else {}
    is_viewer = principal.role == "viewer"
    return AuditPage(
        entries=[_view(entry, names.get(entry.who.removeprefix(_KEY)), is_viewer) for entry in page],
        next_cursor=str(page[-1].id) if len(found) > limit else None,
    )


def _view(entry: AccountEntry, key_name: str | None, is_viewer: bool) -> AuditEntryView:
    return AuditEntryView(
        id=entry.id,
        at=in_utc(entry.at),
        who=entry.who,
        key_name=key_name if entry.who.startswith(_KEY) else None,
        action=entry.action,
        words=in_words(entry.action, entry.details),
        subject=entry.subject,
        details=entry.details,
        address=None if is_viewer else entry.address,
        agent=None if is_viewer else entry.agent,
    )


def _before(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and int(cursor) <= _MAX_ID):
        raise InvalidRequest.of_field("cursor", "is not a next_cursor of this list")
    return int(cursor)
