"""What handlers ask for by annotation."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import Depends, Request
from pydantic import AfterValidator
from sqlalchemy.ext.asyncio import AsyncSession

from api.security import Authenticator, Limiter, Principal, key_of
from api.security.sessions import CSRF_HEADER, SESSION_COOKIE
from config.settings import Settings
from domain.errors import Forbidden, InsufficientScope, Unavailable
from storage.base import Sessions, snapshot, transaction
from storage.vault import Vault

READS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode, without lone surrogates") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""A string that Postgres can hold."""


def get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def get_sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def get_authenticator(request: Request) -> Authenticator:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


def get_limiter(request: Request) -> Limiter:
    limiter: Limiter = request.app.state.limiter
    return limiter


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """One transaction a request, committed when the handler returns."""
    async with transaction(get_sessions(request)) as session:
        yield session


async def get_snapshot(request: Request) -> AsyncIterator[AsyncSession]:
    """For reads of several queries that belong together: all see the same moment."""
    async with snapshot(get_sessions(request)) as session:
        yield session


def get_vault(request: Request) -> Vault:
    """Raises Unavailable without a secret key."""
    secret_key = get_settings(request).secret_key
    if secret_key is None:
        raise Unavailable(
            "There is no key to encrypt secrets with: set PINGPULSE_SECRET_KEY to 32 or more random characters, for "
            "gateway and worker alike, and start them again."
        )
    return Vault(secret_key.get_secret_value())


async def authenticate(request: Request) -> Principal:
    """Anybody known: a key of any scope, or a session, whose writes need the CSRF token.

    A key goes before the cookie, also a wrong one. Raises Unauthenticated, CsrfFailed and RateLimited.
    """
    principal = await _identify(request)
    get_limiter(request).hit_request(request.scope, principal)
    return principal


async def authenticate_poll(request: Request) -> Principal:
    """As `authenticate`, for what programs ask again and again: it counts as a ping, of which there may be more."""
    principal = await _identify(request)
    get_limiter(request).hit_ping(request.scope, principal)
    return principal


async def require_full(request: Request, principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    """A session, or a key with the scope `full`; to write, no viewer. Raises InsufficientScope and Forbidden."""
    if principal.scope != "full":
        raise InsufficientScope("This key may ping, read trees and ask for approvals; this needs the scope `full`.")
    return await require_member(request, principal)


async def require_member(request: Request, principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    """Anybody known; to write, no viewer. Raises Forbidden."""
    if principal.role == "viewer" and request.method not in READS:
        raise Forbidden("A viewer may look but not change anything; ask an owner of the account.")
    return principal


async def require_user(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    """Somebody who is logged in, viewers too. Raises Forbidden for a key."""
    if principal.session_id is None:
        raise Forbidden("This is for users who are logged in, not for API keys.")
    return principal


async def require_owner(principal: Annotated[Principal, Depends(require_full)]) -> Principal:
    """An owner who is logged in. Raises Forbidden."""
    if principal.role != "owner":
        raise Forbidden("Only owners of the account may do this, logged in; ask one of them.")
    return principal


async def _identify(request: Request) -> Principal:
    authenticator = get_authenticator(request)
    key, token = key_of(request), request.cookies.get(SESSION_COOKIE)
    if token and not key:
        principal = await authenticator.authenticate_session(token)
        if request.method not in READS and principal.session_id:
            authenticator.tokens.check_csrf(principal.session_id, request.headers.get(CSRF_HEADER))
    else:
        principal = await authenticator.authenticate_key(key)
    return principal


SettingsDep = Annotated[Settings, Depends(get_settings)]
SessionsDep = Annotated[Sessions, Depends(get_sessions)]
AuthenticatorDep = Annotated[Authenticator, Depends(get_authenticator)]
VaultDep = Annotated[Vault, Depends(get_vault)]
LimiterDep = Annotated[Limiter, Depends(get_limiter)]
# FastAPI's default scope ends after the answer was sent; with this one the commit comes before it.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
SnapshotDep = Annotated[AsyncSession, Depends(get_snapshot, scope="function")]
PrincipalDep = Annotated[Principal, Depends(require_full)]
AnyPrincipalDep = Annotated[Principal, Depends(authenticate)]
MemberDep = Annotated[Principal, Depends(require_member)]
PollingPrincipalDep = Annotated[Principal, Depends(authenticate_poll)]
UserDep = Annotated[Principal, Depends(require_user)]
OwnerDep = Annotated[Principal, Depends(require_owner)]
