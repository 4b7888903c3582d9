"""Logging in: the same rules for programs, for our own pages and for one-time links."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.deps import get_authenticator, get_limiter, get_sessions, get_settings, get_vault
from api.security.auditing import address_of, agent_of, note_as
from api.security.sessions import set_session_cookies
from config.clock import utc_now
from config.settings import Settings
from domain.accounts import normal_email
from domain.errors import Unauthenticated, Unavailable
from storage.base import transaction
from storage.login_links import LinkState, use_login_link
from storage.second_factors import SecondFactor, prove, second_factor_of
from storage.sessions import create_session
from storage.users import User, find_user, find_user_by_email, lock_user, password_fits
from storage.vault import VaultError

MAX_CODE: Final = 100
"""Characters of a code, however it was typed."""

WRONG_PASSWORD: Final = "The e-mail address or the password is wrong."
WRONG_CODE: Final = (
    "That code is wrong, or was used before. Wait for the next one in your authenticator app, or use a recovery code."
)
LINK_OVER: Final = {
    LinkState.USED: "This login link was used already; each is good for one login.",
    LinkState.EXPIRED: "This login link is more than an hour old.",
    LinkState.UNKNOWN: "This login link is not known here; it may have been cut off.",
}
NO_STEP: Final = "The login took too long, or the password was changed meanwhile. Start again."


class SecondFactorRequired(Unauthenticated):
    """The password was right; the login needs a code of the authenticator app, too, or a recovery code.

    `step` is for the second step of our own page, which is to keep no password.
    """

    code = "second_factor_required"
    title = "Second factor required"

    def __init__(self, step: str = "") -> None:
        super().__init__("Send `code`, too: the one of your authenticator app, or a recovery code.")
        self.step = step


class WrongSecondFactor(Unauthenticated):
    """The password was right, but not the code."""

    code = "second_factor_wrong"
    title = "Wrong code"


class LinkOver(Unauthenticated):
    """A one-time link that does not work, or not any more."""

    code = "login_link_over"
    title = "Login link over"


class StepOver(Unauthenticated):
    """A second step without a first one of the last minutes."""

    code = "login_step_over"
    title = "Login took too long"


@dataclass(frozen=True)
class Login:
    """A session that has begun. `set_cookies` gives it to the browser."""

    user: User
    csrf_token: str
    _token: str
    _settings: Settings

    def set_cookies(self, response: Response) -> None:
        set_session_cookies(response, self._token, self.csrf_token, self._settings)
        response.headers["Cache-Control"] = "no-store"


async def log_in(request: Request, email: str, password: str, code: str | None = None) -> Login:
    """Raises InvalidRequest for what is no e-mail address, Unauthenticated, SecondFactorRequired without a `code` that
    is needed, WrongSecondFactor, and RateLimited after too many failures."""
    email = normal_email(email)
    get_limiter(request).hit_login(request.scope, email)
    # No transaction is open while the password is checked: a flood of logins must not hold all connections.
    async with get_sessions(request)() as session:
        user = await find_user_by_email(session, email)
    if not await password_fits(user, password) or user is None:
        raise Unauthenticated(WRONG_PASSWORD)
    return await _enter(request, user, code)


async def log_in_by_step(request: Request, step: str, code: str) -> Login:
    """The second step: `step` as SecondFactorRequired had it. Raises StepOver, WrongSecondFactor and RateLimited."""
    tokens = get_authenticator(request).tokens
    found = tokens.read_step(step)
    if found is None:
        raise StepOver(NO_STEP)
    user_id, by_link = found
    async with get_sessions(request)() as session:
        user = await find_user(session, user_id)
    if user is None or not tokens.is_step_of(step, user):
        raise StepOver(NO_STEP)
    get_limiter(request).hit_login(request.scope, user.email)
    return await _enter(request, user, code, by_link=by_link)


async def log_in_by_link(request: Request, token: str) -> Login:
    """Uses a one-time link up. Raises LinkOver, and SecondFactorRequired: a link is no way around it."""
    async with transaction(get_sessions(request)) as session:
        state, user_id = await use_login_link(session, token, utc_now())
        user = await find_user(session, user_id) if user_id is not None else None
    if user is None:
        raise LinkOver(LINK_OVER.get(state, LINK_OVER[LinkState.UNKNOWN]))
    get_limiter(request).hit_login(request.scope, user.email)
    return await _enter(request, user, None, by_link=True)


async def begin(session: AsyncSession, request: Request, user: User, action: str, *, by_link: bool = False) -> Login:
    """A session for somebody who has proved who they are. Its transaction must be committed before it is told."""
    settings, tokens = get_settings(request), get_authenticator(request).tokens
    opened = await create_session(
        session,
        user.id,
        utc_now(),
        timedelta(hours=settings.session_hours),
        user_agent=agent_of(request),
        address=address_of(request),
        by_link=by_link,
    )
    note_as(session, request, user.account_id, user.email, action, f"user/{user.id}")
    return Login(user, tokens.csrf_token(opened.id), tokens.issue(opened), settings)


async def check_code(
    session: AsyncSession, request: Request, user: User, factor: SecondFactor, code: str
) -> WrongSecondFactor | None:
    """Uses a code up. What is returned is to be raised once the transaction is committed: a wrong code counts. Raises
    RateLimited and Unavailable. The factor must be locked."""
    try:
        proof = await prove(session, factor, code, get_vault(request), utc_now())
    except VaultError:
        raise Unavailable(
            "Codes of authenticator apps cannot be checked: PINGPULSE_SECRET_KEY is not the one that they were set up "
            "with. Use a recovery code, or set the earlier key again."
        ) from None
    if proof.is_good:
        if proof.by_recovery_code:
            action, left = "second_factor.recovery_code_used", proof.codes_left
            note_as(session, request, user.account_id, user.email, action, f"user/{user.id}", codes_left=left)
        return None
    note_as(session, request, user.account_id, user.email, "second_factor.failed", f"user/{user.id}")
    return WrongSecondFactor(WRONG_CODE)


async def _enter(request: Request, user: User, code: str | None, *, by_link: bool = False) -> Login:
    limiter, login, wrong = get_limiter(request), None, None
    async with transaction(get_sessions(request)) as session:
        # Held until the session is there: whoever changes the password now, ends it too.
        now = await lock_user(session, user.id, shared=True)
        if now is None or now.password_hash != user.password_hash:
            raise Unauthenticated(WRONG_PASSWORD)
        factor = await second_factor_of(session, user.id, lock=True)
        if factor is not None and not code:
            limiter.forgive_login(request.scope, user.email)
            raise SecondFactorRequired(get_authenticator(request).tokens.step_token(user, by_link=by_link))
        if factor is not None and code:
            wrong = await check_code(session, request, user, factor, code)
        if wrong is None:
            login = await begin(session, request, now, "login.by_link" if by_link else "login", by_link=by_link)
    if login is None:
        raise wrong or Unauthenticated(WRONG_PASSWORD)
    limiter.forgive_login(request.scope, user.email)
    return login
