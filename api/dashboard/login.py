"""Logging in and out, in a browser."""

from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form
from api.dashboard.rendering import render, see
from api.dashboard.visitors import identify_visitor, read_any_form
from api.deps import SessionDep, SettingsDep, get_limiter, get_sessions
from api.forms import read_fields
from api.html import refused, words
from api.security.login import (
    LINK_OVER,
    MAX_CODE,
    LinkOver,
    SecondFactorRequired,
    StepOver,
    log_in,
    log_in_by_link,
    log_in_by_step,
)
from api.security.sessions import clear_session_cookies
from config.clock import utc_now
from domain.accounts import MAX_PASSWORD_LENGTH
from domain.errors import DomainError, InvalidRequest
from storage.login_links import LinkState, link_state
from storage.sessions import revoke_session

router = APIRouter(include_in_schema=False)

_OVERVIEW: Final = "/"
_WELCOME: Final = "/welcome"
_LOST: Final = "Your login had ended, so nothing was saved. Log in, and send it once more."


@router.get("/login")
async def show_login(next: Annotated[str, Query(max_length=2000)] = _OVERVIEW, lost: str = "") -> Response:
    return _page(next=next, said=_LOST if lost else None)


@router.post("/login")
async def submit_login(request: Request) -> Response:
    form = Form(await read_fields(request))
    email, password, next_page = form.get("email"), form.get("password"), form.get("next")
    try:
        if not 0 < len(password) <= MAX_PASSWORD_LENGTH:
            raise InvalidRequest.of_field("password", "is missing, or too long")
        login = await log_in(request, email, password)
    except SecondFactorRequired as needed:
        return _code_page(next=next_page, step=needed.step)
    except DomainError as error:
        return refused(_page(next=next_page, email=email, error=error), error)
    response = see(_own_address(next_page))
    login.set_cookies(response)
    return response


@router.post("/login/code")
async def submit_code(request: Request) -> Response:
    """The second step, for who has two-factor login on. The page holds no password meanwhile."""
    form = Form(await read_fields(request))
    step, next_page = form.get("step"), form.get("next")
    try:
        code = form.text("code") or ""
        if not 0 < len(code) <= MAX_CODE:
            raise InvalidRequest.of_field("code", "is missing, or too long")
        login = await log_in_by_step(request, step, code)
    except StepOver as error:
        return refused(_page(next=next_page, error=error), error)
    except DomainError as error:
        return refused(_code_page(next=next_page, step=step, error=error), error)
    response = see(_own_address(next_page))
    login.set_cookies(response)
    return response


@router.get("/start/{token}")
async def show_start(token: str, request: Request) -> Response:
    """A button: programs that look at links before people do must not use them up."""
    get_limiter(request).hit_page(request.scope, "start", None)
    async with get_sessions(request)() as session:
        state = await link_state(session, token, utc_now())
    if state is LinkState.GOOD:
        return render("start.html", token=token, over=None)
    return render("start.html", LinkOver.status, token=token, over=LINK_OVER[state])


@router.post("/start/{token}")
async def submit_start(token: str, request: Request) -> Response:
    await read_fields(request)  # refuses forms of other sites
    get_limiter(request).hit_page(request.scope, "start", None)
    try:
        login = await log_in_by_link(request, token)
    except SecondFactorRequired as needed:
        return _code_page(next=_WELCOME, step=needed.step)
    except LinkOver as error:
        return render("start.html", error.status, token=token, over=words(error))
    response = see(_WELCOME)
    login.set_cookies(response)
    return response


@router.post("/logout")
async def log_out(request: Request, session: SessionDep, settings: SettingsDep) -> Response:
    # Not counted: whoever has used up the quota may still leave.
    visitor = await identify_visitor(request)
    await read_any_form(request, visitor)
    assert visitor.principal.session_id is not None
    await revoke_session(session, visitor.principal.session_id, utc_now())
    response = see("/login")
    clear_session_cookies(response, settings)
    return response


def _own_address(address: str) -> str:
    """Where to go on after the login: never to another site."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return _OVERVIEW
    is_own = not parts.scheme and not parts.netloc and address.startswith("/") and "\\" not in address
    return address if is_own and not address.startswith("//") and address.isprintable() else _OVERVIEW


def _page(*, next: str, email: str = "", error: DomainError | None = None, said: str | None = None) -> Response:
    values = {**_said(error), "said": said}
    return render("login.html", error.status if error is not None else 200, next=next, email=email, **values)


def _code_page(*, next: str, step: str, error: DomainError | None = None) -> Response:
    return render("login_code.html", error.status if error is not None else 200, next=next, step=step, **_said(error))


def _said(error: DomainError | None) -> dict[str, Any]:
    return {
        "said": None,
        "error": error,
        "error_words": words(error) if error is not None else None,
        "problems": {field.field: field.message for field in error.fields} if error is not None else {},
    }
