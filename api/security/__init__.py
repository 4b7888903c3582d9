"""Who may: keys, sessions, CSRF tokens and rate limits."""

import secrets
from collections.abc import Mapping

import structlog
from starlette.applications import Starlette
from starlette.requests import Request

from api.security.authenticator import Authenticator
from api.security.keys import key_of
from api.security.limiter import Limiter
from api.security.principal import Principal, ensure_owner
from api.security.sessions import SessionTokens
from config.settings import Settings
from storage.base import Sessions

__all__ = ["Authenticator", "Limiter", "Principal", "admit_ping", "ensure_owner", "install_security", "key_of"]

log = structlog.get_logger("pingpulse.security")


def install_security(app: Starlette, settings: Settings, sessions: Sessions) -> None:
    """Puts `authenticator` and `limiter` on the app's state. Raises ValueError for a secret key that is too short."""
    if settings.secret_key is None:
        log.warning(
            "no secret key: logins end with this process and are not known to others",
            remedy="set PINGPULSE_SECRET_KEY to 32 or more random characters",
        )
        secret = secrets.token_urlsafe(48)
    else:
        secret = settings.secret_key.get_secret_value()
    app.state.authenticator = Authenticator(sessions, SessionTokens(secret))
    app.state.limiter = Limiter(settings)


async def admit_ping(
    request: Request, body: Mapping[str, object] | None = None, query: Mapping[str, str] | None = None
) -> Principal:
    """Whose ping this is, counted against their limit: all that stands before a ping.

    A plain call, because FastAPI's dependencies would cost more than the ping itself. Raises Unauthenticated
    and RateLimited.
    """
    state = request.app.state
    authenticator: Authenticator = state.authenticator
    principal = await authenticator.authenticate_key(key_of(request, body, query))
    limiter: Limiter = state.limiter
    limiter.hit_ping(request.scope, principal)
    return principal
