"""Users who change what guards their own account say their password again."""

from starlette.requests import Request

from api.deps import get_limiter, get_sessions
from api.security.principal import Principal
from config.clock import utc_now
from domain.errors import Forbidden, InvalidRequest, Unauthenticated
from storage.sessions import find_session
from storage.users import User, password_fits


async def needs_no_password(request: Request, principal: Principal) -> bool:
    """Whether the session has begun with a one-time link, not long ago: who came by it may know no password."""
    if principal.session_id is None:
        return False
    now = utc_now()
    async with get_sessions(request)() as session:
        found = await find_session(session, principal.session_id, now)
    return found is not None and found[0].is_proved_by_link(now)


async def prove_user(request: Request, principal: Principal, password: str) -> User:
    """The user, as they were when the password was checked. Raises Forbidden for a key, InvalidRequest naming
    `password` for a wrong one, and RateLimited."""
    if principal.session_id is None:
        raise Forbidden("This is for users who are logged in; an API key has no password.")
    now = utc_now()
    async with get_sessions(request)() as session:
        found = await find_session(session, principal.session_id, now)
    if found is None:
        raise Unauthenticated("The session has ended; log in again.")
    login, user = found
    if login.is_proved_by_link(now):
        return user
    limiter = get_limiter(request)
    limiter.hit_login(request.scope, user.email)
    if not await password_fits(user, password):
        raise InvalidRequest.of_field("password", "is not your password")
    limiter.forgive_login(request.scope, user.email)
    return user
