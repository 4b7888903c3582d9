"""`/invitations/{token}`: the page on which somebody who was invited chooses a password and joins."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form
from api.dashboard.rendering import render, see
from api.deps import get_limiter, get_sessions, get_settings
from api.forms import read_fields
from api.html import refused, words
from api.routes.invitations import links_of
from api.security.joining import InvitationOver, accept_invitation, read_invitation
from domain.accounts import MIN_PASSWORD_LENGTH
from domain.errors import DomainError, InvalidRequest

router = APIRouter(include_in_schema=False)


@router.get("/invitations/{token}")
async def show_invitation(token: str, request: Request) -> Response:
    get_limiter(request).hit_page(request.scope, "invitation", None)
    return await _page(request, token)


@router.post("/invitations/{token}")
async def submit_invitation(token: str, request: Request) -> Response:
    form = Form(await read_fields(request))
    get_limiter(request).hit_page(request.scope, "invitation", None)
    try:
        if form.get("password") != form.get("again"):
            raise InvalidRequest.of_field("again", "is not the same password")
        login = await accept_invitation(request, links_of(get_settings(request)), token, form.get("password"))
    except InvitationOver as error:
        return _over(error)
    except DomainError as error:
        return refused(await _page(request, token, error), error)
    response = see("/")
    login.set_cookies(response)
    return response


async def _page(request: Request, token: str, error: DomainError | None = None) -> Response:
    try:
        async with get_sessions(request)() as session:
            invitation, account = await read_invitation(session, links_of(get_settings(request)), token)
    except InvitationOver as over:
        return _over(over)
    return render(
        "invitation.html",
        error.status if error is not None else 200,
        token=token,
        invitation=invitation,
        account=account,
        least=MIN_PASSWORD_LENGTH,
        over=None,
        said=None,
        error=error,
        error_words=words(error) if error is not None else None,
        problems={field.field: field.message for field in error.fields} if error is not None else {},
    )


def _over(error: InvitationOver) -> Response:
    return render("invitation.html", error.status, over=words(error))
