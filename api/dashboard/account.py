"""`/settings/account`: the account's name and time zone."""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.dashboard.zones import ZONES
from api.deps import SessionsDep
from api.routes.accounts import AccountInput, change_account
from config.clock import utc_now
from domain.costs import zone_of
from domain.errors import DomainError

router = APIRouter(include_in_schema=False)

_DONE: Final = {"saved": "The account was changed."}


@router.get("/settings/account")
async def show_account(visitor: VisitorDep) -> Response:
    return _page(visitor)


@router.post("/settings/account")
async def save_account(request: Request, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        body = build(AccountInput, {"name": form.text("name") or "", "time_zone": form.text("time_zone") or ""})
        await change_account(body, request, sessions, visitor.principal)
    except DomainError as error:
        return _page(visitor, form, error)
    return see("/settings/account?done=saved")


def _page(visitor: Visitor, form: Form | None = None, error: DomainError | None = None) -> Response:
    return visitor.page(
        "settings/account.html",
        section="settings",
        done=_DONE,
        form=form,
        error=error,
        account=visitor.account,
        zones=ZONES,
        there=utc_now().astimezone(zone_of(visitor.account.time_zone)),
    )
