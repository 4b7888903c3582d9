"""Logins of users in a browser."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ForeignKey, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.errors import NotFound
from domain.ids import random_id
from storage.base import Base
from storage.users import User

SEEN_PRECISION: Final = timedelta(minutes=1)
LINK_PROVES_FOR: Final = timedelta(hours=1)
"""How long after a login by a one-time link no password is asked for: who came by it may not know any."""

MAX_AGENT: Final = 300
MAX_ADDRESS: Final = 100


class LoginSession(Base):
    """One login. The name keeps it apart from SQLAlchemy's sessions, which are everywhere in here.

    `seen_at` is to the minute. `by_link`: it began with a one-time link, without a password.
    """

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    seen_at: Mapped[datetime]
    user_agent: Mapped[str | None]
    address: Mapped[str | None]
    by_link: Mapped[bool] = mapped_column(server_default=text("false"))

    def is_proved_by_link(self, now: datetime) -> bool:
        """Whether the link that it began with still stands for a password."""
        return self.by_link and now < self.created_at + LINK_PROVES_FOR


async def create_session(
    session: AsyncSession,
    user_id: str,
    now: datetime,
    lifetime: timedelta,
    *,
    user_agent: str | None = None,
    address: str | None = None,
    by_link: bool = False,
) -> LoginSession:
    """A new login; the user's expired ones are cleared away, so that the table does not grow for ever."""
    await session.execute(delete(LoginSession).where(LoginSession.user_id == user_id, LoginSession.expires_at <= now))
    login = LoginSession(
        id=random_id("ses_", 24),
        user_id=user_id,
        created_at=now,
        expires_at=now + lifetime,
        revoked_at=None,
        seen_at=now,
        user_agent=user_agent[:MAX_AGENT] if user_agent is not None else None,
        address=address[:MAX_ADDRESS] if address is not None else None,
        by_link=by_link,
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


async def list_sessions(session: AsyncSession, user_id: str, now: datetime) -> Sequence[LoginSession]:
    """Those of a user that go on, the one last seen first."""
    statement = (
        select(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.expires_at > now, LoginSession.revoked_at.is_(None))
        .order_by(LoginSession.seen_at.desc(), LoginSession.created_at.desc(), LoginSession.id)
    )
    return (await session.scalars(statement)).all()


async def touch_session(session: AsyncSession, login: LoginSession, now: datetime) -> None:
    """Records that it is in use, at most once a minute however many processes do so."""
    await session.execute(
        update(LoginSession)
        .where(LoginSession.id == login.id, LoginSession.seen_at <= now - SEEN_PRECISION)
        .values(seen_at=now)
    )


async def revoke_session(session: AsyncSession, session_id: str, now: datetime) -> None:
    """Ends a login at once, in every process. Unknown and already ended ones are left alone."""
    await session.execute(
        update(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=now)
    )


async def revoke_own_session(session: AsyncSession, user_id: str, session_id: str, now: datetime) -> None:
    """Ends a login of this user. Raises NotFound for one that is not theirs, or has ended."""
    statement = (
        update(LoginSession)
        .where(
            LoginSession.id == session_id,
            LoginSession.user_id == user_id,
            LoginSession.expires_at > now,
            LoginSession.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(LoginSession.id)
    )
    # Postgres refuses NUL bytes with an error instead of finding nothing.
    if "\x00" in session_id or await session.scalar(statement) is None:
        raise NotFound("There is no such session of yours, or it has ended.")


async def revoke_sessions(session: AsyncSession, user_id: str, now: datetime, *, but: str | None = None) -> int:
    """Ends all logins of a user but one; returns how many that were."""
    statement = (
        update(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.expires_at > now, LoginSession.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(LoginSession.id)
    )
    if but is not None:
        statement = statement.where(LoginSession.id != but)
    return len((await session.scalars(statement)).all())
