"""One-time links that log a user in: for the first start, and for whoever has lost the password."""

import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

from sqlalchemy import ForeignKey, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from storage.base import Base

LIFETIME: Final = timedelta(hours=1)
REMEMBERED: Final = timedelta(days=7)
"""How long one that is over is still known, so that its page can say why it does not work."""


class LoginLink(Base):
    """Only the hash of the token is kept: it is random, so a fast one will do."""

    __tablename__ = "login_links"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class LinkState(StrEnum):
    GOOD = "good"
    USED = "used"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


async def new_login_link(session: AsyncSession, user_id: str, now: datetime) -> str:
    """The token of a new link, which nobody can tell again."""
    await session.execute(delete(LoginLink).where(LoginLink.expires_at <= now - REMEMBERED))
    token = secrets.token_urlsafe(32)
    session.add(LoginLink(hash=_hash(token), user_id=user_id, created_at=now, expires_at=now + LIFETIME, used_at=None))
    await session.flush()
    return token


async def link_state(session: AsyncSession, token: str, now: datetime) -> LinkState:
    """Whether a link works, and uses nothing up."""
    return _state(await session.get(LoginLink, _hash(token)), now)


async def use_login_link(session: AsyncSession, token: str, now: datetime) -> tuple[LinkState, str | None]:
    """Uses a link up, and says whose it is. Of two at the same time, one finds it used."""
    statement = select(LoginLink).where(LoginLink.hash == _hash(token)).with_for_update()
    link = await session.scalar(statement.execution_options(populate_existing=True))
    state = _state(link, now)
    if link is None or state is not LinkState.GOOD:
        return state, None
    link.used_at = now
    await session.flush()
    return state, link.user_id


async def end_login_links(session: AsyncSession, user_id: str, now: datetime) -> None:
    """Uses up what is left of a user's links. Those of a user who is removed go with the user."""
    unused = (LoginLink.user_id == user_id, LoginLink.used_at.is_(None))
    await session.execute(update(LoginLink).where(*unused).values(used_at=now))


def _state(link: LoginLink | None, now: datetime) -> LinkState:
    if link is None:
        return LinkState.UNKNOWN
    if link.used_at is not None:
        return LinkState.USED
    return LinkState.GOOD if now < link.expires_at else LinkState.EXPIRED


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
