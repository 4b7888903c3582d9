"""Invitations: who may become a member of an account."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, Index, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from domain.accounts import Role, normal_email
from domain.errors import Conflict, EmailTaken, NotFound
from domain.ids import random_id
from storage.base import Base
from storage.users import User, find_user_by_email

LIFETIME: Final = timedelta(days=7)
MAX_OPEN: Final = 200
"""Of an account: each may send a mail."""

_IS_OPEN: Final = "accepted_at IS NULL AND revoked_at IS NULL"


class InvitationState(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Invitation(Base):
    """`secret` changes whenever it is sent again, which ends the link before. The link is signed (see
    `activities.invitation_links`), so the database alone lets nobody in."""

    __tablename__ = "invitations"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    email: Mapped[str]
    role: Mapped[Role] = mapped_column(Text)
    secret: Mapped[str]
    invited_by: Mapped[str]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("role IN ('owner', 'member', 'viewer')", name="role"),
        Index("uq_invitations_account_id_email", "account_id", "email", unique=True, postgresql_where=_IS_OPEN),
        Index("ix_invitations_account_id", "account_id", "created_at", "id"),
    )

    def state(self, now: datetime) -> InvitationState:
        if self.accepted_at is not None:
            return InvitationState.ACCEPTED
        if self.revoked_at is not None:
            return InvitationState.REVOKED
        return InvitationState.OPEN if now < self.expires_at else InvitationState.EXPIRED


async def invite(
    session: AsyncSession, account_id: str, email: str, role: Role, invited_by: str, now: datetime
) -> Invitation:
    """A new invitation. The account must be locked.

    Raises InvalidRequest for what is no address, EmailTaken for one that is a user's, Conflict for one that is invited.
    """
    email = normal_email(email)
    user = await find_user_by_email(session, email)
    if user is not None:
        raise EmailTaken(_taken(user, account_id))
    there = await list_open(session, account_id)
    if any(one.email == email for one in there):
        raise Conflict(f"{email} is invited already: send that invitation again, or revoke it first.")
    if len(there) >= MAX_OPEN:
        raise Conflict(f"There are {MAX_OPEN} open invitations, which is the most: revoke some first.")
    invitation = Invitation(
        id=random_id("inv_", 12),
        account_id=account_id,
        email=email,
        role=role,
        invited_by=invited_by,
        created_at=now,
        accepted_at=None,
        revoked_at=None,
    )
    _send(invitation, now)
    session.add(invitation)
    await session.flush()
    return invitation


async def resend(session: AsyncSession, account_id: str, invitation_id: str, now: datetime) -> Invitation:
    """With another link, and as long to live as a new one. Raises NotFound, and Conflict for one that is over."""
    invitation = await get_open(session, account_id, invitation_id)
    _send(invitation, now)
    await session.flush()
    return invitation


async def revoke(session: AsyncSession, account_id: str, invitation_id: str, now: datetime) -> Invitation:
    """Raises NotFound, and Conflict for one that is over."""
    invitation = await get_open(session, account_id, invitation_id)
    invitation.revoked_at = now
    await session.flush()
    return invitation


async def get_open(session: AsyncSession, account_id: str, invitation_id: str) -> Invitation:
    """One that was neither accepted nor revoked, held until the transaction ends. Raises NotFound and Conflict."""
    invitation = await get_invitation(session, invitation_id, lock=True)
    if invitation is None or invitation.account_id != account_id:
        raise NotFound("There is no invitation with this id.")
    if invitation.accepted_at is not None:
        raise Conflict(f"{invitation.email} has accepted this invitation.")
    if invitation.revoked_at is not None:
        raise Conflict("This invitation was revoked; make another one.")
    return invitation


async def get_invitation(session: AsyncSession, invitation_id: str, *, lock: bool = False) -> Invitation | None:
    if "\x00" in invitation_id:
        return None
    query = select(Invitation).where(Invitation.id == invitation_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await session.scalar(query)


async def list_open(session: AsyncSession, account_id: str) -> Sequence[Invitation]:
    """Those that were neither accepted nor revoked, the newest first; expired ones too, for they may be sent again."""
    query = (
        select(Invitation)
        .where(Invitation.account_id == account_id, Invitation.accepted_at.is_(None), Invitation.revoked_at.is_(None))
        .order_by(Invitation.created_at.desc(), Invitation.id)
    )
    return (await session.scalars(query)).all()


def _send(invitation: Invitation, now: datetime) -> None:
    invitation.secret, invitation.sent_at, invitation.expires_at = secrets.token_urlsafe(24), now, now + LIFETIME


def _taken(user: User, account_id: str) -> str:
    if user.account_id == account_id:
        return f"{user.email} is a member of this account already."
    return f"{user.email} belongs to another account here. One user belongs to one account: invite another address."
