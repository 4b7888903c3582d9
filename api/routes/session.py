"""Log in, log out, and who am I."""

import json
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.deps import AnyPrincipalDep, SessionDep, SessionsDep, SettingsDep, Text, UserDep
from api.errors import UnsupportedMediaType, invalid_request
from api.forms import check_site
from api.openapi import JSON_API_ERRORS, PUBLIC, problems
from api.security.auditing import note
from api.security.login import MAX_CODE, WRONG_CODE, WRONG_PASSWORD, SecondFactorRequired, WrongSecondFactor, log_in
from api.security.proving import prove_user
from api.security.sessions import clear_session_cookies
from config.clock import utc_now
from domain.accounts import MAX_PASSWORD_LENGTH, Role, normal_email
from domain.errors import (
    Conflict,
    CsrfFailed,
    EmailTaken,
    Forbidden,
    InvalidRequest,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.keys import KeyScope
from storage.approval_lists import is_named
from storage.base import transaction
from storage.login_links import end_login_links
from storage.sessions import revoke_session, revoke_sessions
from storage.users import User, change_email, change_password, find_user, lock_user

router = APIRouter(prefix="/api", tags=["session"])


class Credentials(BaseModel):
    """What a login takes, as JSON or as a form."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=MAX_PASSWORD_LENGTH)
    code: str | None = Field(
        None, max_length=MAX_CODE, description="Of the authenticator app or a recovery code, with two-factor login."
    )


class OwnChanges(BaseModel):
    """What users change of their own login. It ends all their other sessions."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(
        "",
        max_length=MAX_PASSWORD_LENGTH,
        description="The present one. Not needed within an hour of a login by a one-time link.",
    )
    email: Annotated[Text, Field(max_length=254)] | None = None
    new_password: str | None = Field(None, max_length=MAX_PASSWORD_LENGTH)


class UserView(BaseModel):
    id: str
    account_id: str
    email: str
    role: Role


class LoginView(BaseModel):
    user: UserView
    csrf_token: str = Field(description="Send it as X-CSRF-Token with every write made with the session cookie.")


class MeView(BaseModel):
    account_id: str
    user: Annotated[UserView | None, Field(description="Null for an API key.")]
    key_id: Annotated[str | None, Field(description="Null for a session.")]
    scope: KeyScope
    role: Role


_VIEWER: Final = Forbidden("A viewer's e-mail address stays; ask an owner to invite you under the other address.")
_ASKED: Final = Conflict(
    "This address is asked to decide about something just now. Wait until that is decided, or ask an owner to invite "
    "it."
)

_LOGIN: Final[dict[str, Any]] = PUBLIC | {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": Credentials.model_json_schema()}
            for media_type in ("application/json", "application/x-www-form-urlencoded")
        },
    },
}


@router.post(
    "/login",
    openapi_extra=_LOGIN,
    responses=problems(
        InvalidRequest.of_field("password", "Field required"),
        Unauthenticated(WRONG_PASSWORD),
        SecondFactorRequired(),
        WrongSecondFactor(WRONG_CODE),
        CsrfFailed("Log in from our own page."),
        UnsupportedMediaType("Send JSON or a form."),
        RateLimited("More than 10 failed logins a minute. Try again in 17 s.", retry_after=17),
        Unavailable,
    ),
)
async def login(request: Request, response: Response) -> LoginView:
    """Starts a session: the cookie `access_token`, and a token to send with writes. With two-factor login it takes a
    `code`, too; without one it answers 401 with the code `second_factor_required`."""
    # Another site could otherwise log its visitors in as somebody else by a form that posts to us.
    check_site(request)
    credentials = await _credentials(request)
    opened = await log_in(request, credentials.email, credentials.password, credentials.code)
    opened.set_cookies(response)
    return LoginView(user=_view(opened.user), csrf_token=opened.csrf_token)


@router.post("/logout", status_code=204, responses=problems(*JSON_API_ERRORS))
async def logout(response: Response, settings: SettingsDep, session: SessionDep, principal: AnyPrincipalDep) -> None:
    """Ends the session at once and everywhere. For an API key there is nothing to end."""
    if principal.session_id:
        await revoke_session(session, principal.session_id, utc_now())
    clear_session_cookies(response, settings)


@router.get("/me", responses=problems(*JSON_API_ERRORS))
async def me(session: SessionDep, principal: AnyPrincipalDep) -> MeView:
    """Whom the key or the cookie stands for."""
    user = await find_user(session, principal.user_id) if principal.user_id else None
    return MeView(
        account_id=principal.account_id,
        user=_view(user) if user else None,
        key_id=principal.key_id,
        scope=principal.scope,
        role=principal.role,
    )


@router.patch(
    "/me",
    responses=problems(
        *JSON_API_ERRORS,
        InvalidRequest.of_field("password", "is not your password"),
        _VIEWER,
        EmailTaken("Another user has this e-mail address."),
        _ASKED,
    ),
)
async def change_me(body: OwnChanges, request: Request, sessions: SessionsDep, principal: UserDep) -> UserView:
    """Another e-mail address or password to log in with. All other sessions of the user end, and with the password
    the one-time links to log in. The address is the name in which one approves: viewers keep theirs, and nobody takes
    one that is asked to decide about something."""
    proved = await prove_user(request, principal, body.password)
    async with transaction(sessions) as session:
        user = await lock_user(session, proved.id)
        if user is None or user.password_hash != proved.password_hash:
            raise Unauthenticated("The password was changed meanwhile; log in again.")
        before = user.email
        if body.new_password is not None:
            await change_password(session, user, body.new_password, field="new_password")
            await end_login_links(session, user.id, utc_now())
            note(session, request, principal, "password.changed", f"user/{user.id}")
        if body.email is not None:
            if user.role == "viewer" and normal_email(body.email) != before:
                raise Forbidden(_VIEWER.message)
            await change_email(session, user, body.email)
        if user.email != before:
            if await is_named(session, user.account_id, user.email):
                raise Conflict(_ASKED.message)
            details = {"before": before, "after": user.email}
            note(session, request, principal, "email.changed", f"user/{user.id}", **details)
        if body.new_password is not None or user.email != before:
            await revoke_sessions(session, user.id, utc_now(), but=principal.session_id)
    return _view(user)


def _view(user: User) -> UserView:
    return UserView(id=user.id, account_id=user.account_id, email=user.email, role=user.role)


async def _credentials(request: Request) -> Credentials:
    """Raises InvalidRequest, or UnsupportedMediaType for a body that is neither JSON nor a form."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("application/json", "application/x-www-form-urlencoded"):
        raise UnsupportedMediaType("Send application/json or application/x-www-form-urlencoded.")
    body = await request.body()
    try:
        values = json.loads(body) if media_type == "application/json" else dict(parse_qsl(body.decode()))
    except (ValueError, RecursionError):
        raise InvalidRequest.of_field("body", f"is not valid {media_type}") from None
    try:
        return Credentials.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error.errors()) from None
