"""How long an account keeps what is over."""

from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import PrincipalDep, SessionsDep, SnapshotDep
from api.openapi import JSON_API_ERRORS, problems
from api.security.auditing import note
from api.views import in_utc
from config.clock import utc_now
from domain.errors import Forbidden
from domain.retention import MAX_DAYS, MIN_DAYS, Retention
from storage.accounts import get_account
from storage.base import transaction
from storage.old_things import COUNTED_TO, Counted, preview
from storage.retention import get_retention, keep_for

router = APIRouter(prefix="/api/account/retention", tags=["account"])

Days = Annotated[int, Field(ge=MIN_DAYS, le=MAX_DAYS)]
DaysQuery = Annotated[int | None, Query(ge=MIN_DAYS, le=MAX_DAYS, description="Count as if it were set to this.")]

_OWNERS_ONLY: Final = Forbidden("Only owners of the account may say what is deleted; ask one of them.")


class RetentionInput(BaseModel):
    """What is left out stays as it is; null keeps for good."""

    model_config = ConfigDict(extra="forbid")

    keep_days: Days | None = Field(
        None, description="Days after which instances, runs, pings of pulses, refused pings and alerts are deleted."
    )
    keep_approvals_days: Days | None = Field(
        None, description="Days after which decided approvals are deleted, with their audit trails."
    )


class CountView(BaseModel):
    """How many of each kind."""

    instances: int = 0
    process_runs: int = 0
    pulse_pings: int = 0
    rejected_pings: int = 0
    alerts: int = 0
    approvals: int = 0


class RetentionView(BaseModel):
    keep_days: int | None = Field(description="Null keeps for good.")
    keep_approvals_days: int | None
    would_delete: CountView = Field(
        description=f"How much there is to delete at this moment, counted up to {COUNTED_TO} of each kind."
    )
    looked_at: datetime | None = Field(description="When the last round of deleting was over.")
    deleted: CountView = Field(description="What that round has deleted.")


@router.get("", responses=problems(*JSON_API_ERRORS))
async def read_retention(
    session: SnapshotDep, principal: PrincipalDep, keep_days: DaysQuery = None, keep_approvals_days: DaysQuery = None
) -> RetentionView:
    """How long the account keeps what is over, and what there is to delete by that; or would be by other days."""
    view = await retention_of(session, principal.account_id)
    if keep_days is not None or keep_approvals_days is not None:
        view.would_delete = await counted(
            session, principal.account_id, Retention(keep_days, keep_approvals_days), utc_now()
        )
    return view


@router.patch("", responses=problems(*JSON_API_ERRORS, _OWNERS_ONLY))
async def change_retention(
    body: RetentionInput, request: Request, sessions: SessionsDep, principal: PrincipalDep
) -> RetentionView:
    """Changes what the body names. Deleting begins within a minute, and cannot be undone. It takes an owner, or a key
    with the scope `full`."""
    if principal.user_id is not None and principal.role != "owner":
        raise _OWNERS_ONLY
    async with transaction(sessions) as session:
        await get_account(session, principal.account_id, lock=True)
        row = await get_retention(session, principal.account_id)
        before = row.settings() if row is not None else Retention()
        after = replace(before, **body.model_dump(exclude_unset=True))
        if after != before:
            await keep_for(session, principal.account_id, after, utc_now())
            days = {"before": asdict(before), "after": asdict(after)}
            note(session, request, principal, "retention.changed", None, **days)
        return await retention_of(session, principal.account_id)


async def retention_of(session: AsyncSession, account_id: str) -> RetentionView:
    row = await get_retention(session, account_id)
    settings = row.settings() if row is not None else Retention()
    return RetentionView(
        keep_days=settings.keep_days,
        keep_approvals_days=settings.keep_approvals_days,
        would_delete=await counted(session, account_id, settings, utc_now()),
        looked_at=in_utc(row.looked_at) if row is not None and row.looked_at is not None else None,
        deleted=_view(row.deleted if row is not None else {}),
    )


async def counted(session: AsyncSession, account_id: str, settings: Retention, now: datetime) -> CountView:
    return _view(await preview(session, account_id, settings.keep_days, settings.keep_approvals_days, now))


def _view(counts: Counted) -> CountView:
    return CountView(**counts)
