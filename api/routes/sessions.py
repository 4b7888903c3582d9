"""Where a user is logged in, and ending it."""

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.deps import SessionDep, UserDep
from api.openapi import JSON_API_ERRORS, problems
from api.security.auditing import note
from api.views import in_utc
from config.clock import utc_now
from domain.agents import in_words
from domain.errors import NotFound
from storage.sessions import LoginSession, list_sessions, revoke_own_session, revoke_sessions

router = APIRouter(prefix="/api/sessions", tags=["session"])


class SessionView(BaseModel):
    id: str
    created_at: datetime
    seen_at: datetime = Field(description="To the minute.")
    expires_at: datetime
    address: str | None = Field(description="From where it began.")
    browser: str = Field(description="As it says itself, in words.")
    is_this: bool = Field(description="Whether it is the one that asks.")


class SessionList(BaseModel):
    sessions: list[SessionView]


class EndedSessions(BaseModel):
    ended: int


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_own(session: SessionDep, principal: UserDep) -> SessionList:
    """One's own logins that go on, the one last seen first."""
    assert principal.user_id is not None
    found = await list_sessions(session, principal.user_id, utc_now())
    return SessionList(sessions=[_view(login, principal.session_id) for login in found])


@router.delete("", responses=problems(*JSON_API_ERRORS))
async def end_others(request: Request, session: SessionDep, principal: UserDep) -> EndedSessions:
    """Ends all one's logins but the one that asks."""
    assert principal.user_id is not None
    ended = await revoke_sessions(session, principal.user_id, utc_now(), but=principal.session_id)
    note(session, request, principal, "sessions.ended", f"user/{principal.user_id}", ended=ended)
    return EndedSessions(ended=ended)


@router.delete(
    "/{session_id}",
    status_code=204,
    responses=problems(*JSON_API_ERRORS, NotFound("There is no such session of yours, or it has ended.")),
)
async def end_one(session_id: str, request: Request, session: SessionDep, principal: UserDep) -> None:
    """Ends one of one's logins at once."""
    assert principal.user_id is not None
    await revoke_own_session(session, principal.user_id, session_id, utc_now())
    note(session, request, principal, "session.ended", f"user/{principal.user_id}")


def _view(login: LoginSession, this: str | None) -> SessionView:
    return SessionView(
        id=login.id,
        created_at=in_utc(login.created_at),
        seen_at=in_utc(login.seen_at),
        expires_at=in_utc(login.expires_at),
        address=login.address,
        browser=in_words(login.user_agent),
        is_this=login.id == this,
    )
