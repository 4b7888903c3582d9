"""Logging in and out, in a browser."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form
from api.dashboard.rendering import render, see
from api.dashboard.visitors import AnyFormDep, VisitorDep
from api.deps import SessionDep, SettingsDep
from api.forms import read_fields
from api.html import refused, words
from api.security.login import log_in
from api.security.sessions import clear_session_cookies
from config.clock import utc_now
from domain.accounts import MAX_PASSWORD_LENGTH
from domain.errors import DomainError, InvalidRequest
from storage.sessions import revoke_session

router = APIRouter(include_in_schema=False)

_OVERVIEW: Final = "/"


@router.get("/login")
async def show_login(next: Annotated[str, Query(max_length=2000)] = _OVERVIEW) -> Response:
    return _page(next=next)


@router.post("/login")
async def submit_login(request: Request) -> Response:
    form = Form(await read_fields(request))
    email, password = form.get("email"), form.get("password")
    try:
        if not 0 < len(password) <= MAX_PASSWORD_LENGTH:
            raise InvalidRequest.of_field("password", "is missing, or too long")
        login = await log_in(request, email, password)
    except DomainError as error:
        return refused(_page(next=form.get("next"), email=email, error=error), error)
    response = see(_own_address(form.get("next")))
    login.set_cookies(response)
    return response


@router.post("/logout")
async def log_out(visitor: VisitorDep, form: AnyFormDep, session: SessionDep, settings: SettingsDep) -> Response:
    assert visitor.principal.session_id is not None
    await revoke_session(session, visitor.principal.session_id, utc_now())
    response = see("/login")
    clear_session_cookies(response, settings)
    return response


def _own_address(address: str) -> str:
    """Where to go on after the login: never to another site."""
    parts = urlsplit(address)
    is_own = not parts.scheme and not parts.netloc and address.startswith("/") and "\\" not in address
    return address if is_own and not address.startswith("//") and address.isprintable() else _OVERVIEW


def _page(*, next: str, email: str = "", error: DomainError | None = None) -> Response:
    return render(
        "login.html",
        error.status if error is not None else 200,
        next=next,
        email=email,
        said=None,
        error=error,
        error_words=words(error) if error is not None else None,
        problems={field.field: field.message for field in error.fields} if error is not None else {},
    )
