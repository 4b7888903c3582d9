"""The account: its name, and the time zone by whose days its costs are counted."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.deps import PrincipalDep, SessionDep, SessionsDep, Text
from api.gateway import Gateway
from api.openapi import JSON_API_ERRORS, problems
from api.security.auditing import note
from api.views import in_utc
from config.clock import utc_now
from domain.costs import check_zone
from domain.errors import InvalidRequest
from storage.accounts import Account, get_account
from storage.base import transaction
from storage.budgets import change_time_zone

router = APIRouter(prefix="/api/account", tags=["account"])

MAX_ZONE: Final = 64

_NO_ZONE: Final = InvalidRequest.of_field(
    "time_zone", '"Mars/Olympus" is not known; use a name such as "UTC" or "Europe/Berlin"'
)


class AccountInput(BaseModel):
    """What may be changed of an account."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    time_zone: Annotated[Text, Field(min_length=1, max_length=MAX_ZONE)] | None = Field(
        None, description="An IANA name. Costs of pings that come from now on count on its days."
    )

    @field_validator("name", "time_zone")
    @classmethod
    def _is_given(cls, value: str | None) -> str:
        if value is None:
            raise ValueError("must be a text; leave it out to keep it as it is")
        return value


class AccountView(BaseModel):
    id: str
    name: str
    time_zone: str = Field(description="By whose days costs are counted: an IANA name such as Europe/Berlin.")
    created_at: datetime


@router.get("", responses=problems(*JSON_API_ERRORS))
async def read_account(session: SessionDep, principal: PrincipalDep) -> AccountView:
    """The account of whoever asks."""
    return _view(await get_account(session, principal.account_id))


@router.patch("", responses=problems(*JSON_API_ERRORS, _NO_ZONE))
async def change_account(
    body: AccountInput, request: Request, sessions: SessionsDep, principal: PrincipalDep
) -> AccountView:
    """Changes what the body names. Another time zone holds for the pings that come from now on: what was counted stays
    on its day. A day that a daily limit has stopped stays so until it ends in that zone."""
    if body.time_zone is not None:
        check_zone(body.time_zone)
    async with transaction(sessions) as session:
        account = await get_account(session, principal.account_id, lock=True)
        if body.name is not None and body.name != account.name:
            account.name = body.name
            note(session, request, principal, "account.changed", None, changed="name", name=body.name)
        if body.time_zone is not None and body.time_zone != account.time_zone:
            zones = {"before": account.time_zone, "after": body.time_zone}
            note(session, request, principal, "time_zone.changed", None, **zones)
            await change_time_zone(session, account, body.time_zone, utc_now())
    gateway: Gateway = request.app.state.gateway
    gateway.pricing.forget(account.id)
    return _view(account)


def _view(account: Account) -> AccountView:
    return AccountView(
        id=account.id, name=account.name, time_zone=account.time_zone, created_at=in_utc(account.created_at)
    )
