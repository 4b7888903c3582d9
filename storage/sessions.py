"""Logins of users in a browser."""

from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.ids import random_id
from storage.base import Base
from storage.users import User


class LoginSession(Base):
    """One login. The name keeps it apart from SQLAlchemy's sessions, which are everywhere in here."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


async def create_session(session: AsyncSession, user_id: str, now: datetime, lifetime: timedelta) -> LoginSession:
    """A new login; the user's expired ones are cleared away, so that the table does not grow for ever."""
    await session.execute(delete(LoginSession).where(LoginSession.user_id == user_id, LoginSession.expires_at <= now))
    login = LoginSession(
        id=random_id("ses_", 24), user_id=user_id, created_at=now, expires_at=now + lifetime, revoked_at=None
    )
    session.add(login)
    await session.flush()
    return login


async def find_session(session: AsyncSession, session_id: str, now: datetime) -> tuple[LoginSession, User] | None:
    """The login and its user, unless it is unknown, expired or revoked."""
    statement = (
        select(LoginSession, User)
        .join(User, User.id == LoginSession.user_id)
        .where(LoginSession.id == session_id, LoginSession.expires_at > now, LoginSession.revoked_at.is_(None))
    )
    row = (await session.execute(statement)).first()
    return (row[0], row[1]) if row else None


async def revoke_session(session: AsyncSession, session_id: str, now: datetime) -> None:
    """Ends a login at once, in every process. Unknown and already ended ones are left alone."""
    await session.execute(
        update(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=now)
    )
