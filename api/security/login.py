"""Logging in with e-mail address and password: the same rules for programs and for our own pages."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.security.authenticator import Authenticator
from api.security.limiter import Limiter
from api.security.sessions import set_session_cookies
from config.clock import utc_now
from config.settings import Settings
from domain.accounts import normal_email
from domain.errors import Unauthenticated
from storage.base import Sessions, transaction
from storage.sessions import create_session
from storage.users import User, find_user_by_email, password_fits

WRONG_PASSWORD: Final = "The e-mail address or the password is wrong."


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


async def log_in(request: Request, email: str, password: str) -> Login:
    """Raises InvalidRequest for what is no e-mail address, Unauthenticated, and RateLimited after too many failures."""
    state = request.app.state
    settings: Settings = state.settings
    sessions: Sessions = state.sessions
    authenticator: Authenticator = state.authenticator
    limiter: Limiter = state.limiter
    email = normal_email(email)
    limiter.hit_login(request.scope, email)
    # No transaction is open while the password is checked: a flood of logins must not hold all connections.
    async with sessions() as session:
        user = await find_user_by_email(session, email)
    if not await password_fits(user, password) or user is None:
        raise Unauthenticated(WRONG_PASSWORD)
    async with transaction(sessions) as session:
        opened = await create_session(session, user.id, utc_now(), timedelta(hours=settings.session_hours))
    limiter.forgive_login(request.scope, email)
    csrf_token = authenticator.tokens.csrf_token(opened.id)
    return Login(user, csrf_token, authenticator.tokens.issue(opened), settings)
