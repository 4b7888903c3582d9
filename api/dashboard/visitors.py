"""Who looks at the dashboard, and what they send with a form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form
from api.dashboard.rendering import render
from api.deps import READS, get_authenticator, get_limiter, get_sessions, get_settings
from api.forms import read_fields
from api.html import refused, words
from api.security import Principal
from api.security.sessions import SESSION_COOKIE
from config.clock import utc_now
from domain.errors import CsrfFailed, DomainError, Forbidden, Unauthenticated
from storage.accounts import Account, get_account
from storage.users import User, find_user

CSRF_FIELD: Final = "csrf_token"

_LOOK_ONLY: Final = "A viewer may look but not change anything; ask an owner of the account."


@dataclass(frozen=True)
class Visitor:
    """A user who is logged in, and the one request they make."""

    request: Request
    principal: Principal
    user: User
    account: Account
    csrf_token: str

    @property
    def may_write(self) -> bool:
        return self.principal.role != "viewer"

    @property
    def is_owner(self) -> bool:
        return self.principal.role == "owner"

    async def is_logged_in(self) -> bool:
        """Whether the session has not ended since: for answers that go on."""
        try:
            await identify_visitor(self.request)
        except Unauthenticated:
            return False
        return True

    def require_owner(self) -> None:
        """Raises Forbidden."""
        if not self.is_owner:
            raise Forbidden("Only owners of the account may do this; ask one of them.")

    def page(
        self,
        template: str,
        *,
        section: str = "",
        status: int = 200,
        live: str | None = None,
        done: Mapping[str, str] | None = None,
        error: DomainError | None = None,
        form: Form | None = None,
        **values: Any,
    ) -> Response:
        """A page of the dashboard. `section` is the entry of the navigation that it is below. `live`: the subject whose
        changes bring it up to date, or "account" for all changes. `done`: what the codes mean that `?done=` may hold.
        With an `error` it tells what was refused, and has the error's status; `form` is what was sent."""
        settings = get_settings(self.request)
        said = (done or {}).get(self.request.query_params.get("done", ""))
        response = render(
            template,
            error.status if error is not None else status,
            visitor=self,
            section=section,
            live=live,
            said=said,
            error=error,
            error_words=words(error) if error is not None else None,
            problems={field.field: field.message for field in error.fields} if error is not None else {},
            form=form if form is not None else Form(()),
            now=utc_now(),
            base_url=settings.base_url,
            **values,
        )
        return refused(response, error) if error is not None else response


async def admit_visitor(request: Request) -> Visitor:
    """Raises Unauthenticated, for which the browser is sent to log in, and RateLimited."""
    visitor = await identify_visitor(request)
    get_limiter(request).hit_request(request.scope, visitor.principal)
    return visitor


async def identify_visitor(request: Request) -> Visitor:
    """As `admit_visitor`, and counts nothing. Raises Unauthenticated."""
    authenticator = get_authenticator(request)
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        raise Unauthenticated("Log in first.")
    principal = await authenticator.authenticate_session(token)
    assert principal.user_id is not None
    assert principal.session_id is not None
    async with get_sessions(request)() as session:
        user = await find_user(session, principal.user_id)
        account = await get_account(session, principal.account_id)
    if user is None:
        raise Unauthenticated("Log in first.")
    return Visitor(request, principal, user, account, authenticator.tokens.csrf_token(principal.session_id))


async def read_form(request: Request, visitor: "VisitorDep") -> Form:
    """Of a page of the dashboard, and of somebody who may change things.

    Raises CsrfFailed, Forbidden for viewers, and what `api.forms.read_fields` raises.
    """
    form = await read_any_form(request, visitor)
    if not visitor.may_write:
        raise Forbidden(_LOOK_ONLY)
    return form


async def read_any_form(request: Request, visitor: "VisitorDep") -> Form:
    """As `read_form`, for what viewers may do, too: log out, their own password."""
    if request.method in READS:
        raise Forbidden("This takes a form.")
    form = Form(await read_fields(request))
    assert visitor.principal.session_id is not None
    try:
        get_authenticator(request).tokens.check_csrf(visitor.principal.session_id, form.get(CSRF_FIELD))
    except CsrfFailed:
        raise CsrfFailed("The page is from an earlier login. Load it again, then send the form once more.") from None
    return form


VisitorDep = Annotated[Visitor, Depends(admit_visitor)]
FormDep = Annotated[Form, Depends(read_form)]
AnyFormDep = Annotated[Form, Depends(read_any_form)]
