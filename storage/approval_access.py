"""What keeps a decision on the page from being made by anything but the approver: one-time nonces and mailed codes."""

import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from sqlalchemy import ForeignKey, Index, Integer, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.durations import in_words
from domain.errors import RateLimited
from domain.letters import LetterTopic
from storage.approvals import Approval
from storage.base import Base
from storage.messages import Message
from storage.vault import Vault

NONCE_LIFETIME: Final = timedelta(hours=24)
CODE_LIFETIME: Final = timedelta(minutes=10)
CODE_DIGITS: Final = 8
"""Who may guess `TRIES` times `CODES_AN_HOUR` for a whole year finds one of 10^8 with a chance of 0.2 %."""

TRIES: Final = 5
CODES_AN_HOUR: Final = 5

_HOUR: Final = timedelta(hours=1)


class ApprovalNonce(Base):
    """One rendering of the page for one approver. Its row is deleted when it is used; only its hash is kept."""

    __tablename__ = "approval_nonces"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    approval_id: Mapped[str] = mapped_column(ForeignKey(Approval.id))
    voter: Mapped[str]
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_approval_nonces_expires_at", "expires_at"),)


class ApprovalCode(Base):
    """The latest code that was mailed to an approver, encrypted. `tries_left` counts the guesses; `sent` codes were
    mailed in the hour that begins at `sent_at`, with the first of them."""

    __tablename__ = "approval_codes"

    approval_id: Mapped[str] = mapped_column(ForeignKey(Approval.id), primary_key=True)
    voter: Mapped[str] = mapped_column(primary_key=True)
    code: Mapped[bytes]
    expires_at: Mapped[datetime]
    tries_left: Mapped[int] = mapped_column(Integer)
    sent: Mapped[int] = mapped_column(Integer)
    sent_at: Mapped[datetime]

    def is_good(self, now: datetime) -> bool:
        """Whether it may still be entered."""
        return self.tries_left > 0 and now < self.expires_at


class Nonce(StrEnum):
    """What became of one that was sent with a form."""

    GOOD = "good"
    """It is spent now."""

    GONE = "gone"
    """It was used before, or is too old, or there never was one."""

    FOREIGN = "foreign"
    """It was made for another approval or somebody else."""


async def new_nonce(session: AsyncSession, approval_id: str, voter: str, now: datetime) -> str:
    """For one rendering of the page."""
    nonce = secrets.token_urlsafe(32)
    session.add(ApprovalNonce(hash=_hash(nonce), approval_id=approval_id, voter=voter, expires_at=now + NONCE_LIFETIME))
    return nonce


async def spend_nonce(session: AsyncSession, approval_id: str, voter: str, nonce: str, now: datetime) -> Nonce:
    """Deletes it, in the transaction of what it allows: if that fails, the nonce is still good.

    The approval must be locked, so that the second of two clicks finds the nonce gone.
    """
    found = await session.get(ApprovalNonce, _hash(nonce))
    if found is None or found.expires_at <= now:
        return Nonce.GONE
    if (found.approval_id, found.voter) != (approval_id, voter):
        return Nonce.FOREIGN
    await session.delete(found)
    return Nonce.GOOD


async def get_code(session: AsyncSession, approval_id: str, voter: str) -> ApprovalCode | None:
    """The latest one of an approver, also if it is not good any more."""
    return await session.get(ApprovalCode, (approval_id, voter))


async def new_code(session: AsyncSession, approval_id: str, voter: str, vault: Vault, now: datetime) -> ApprovalCode:
    """Makes a code, which replaces the one before; to mail it is for the caller. The approval must be locked.

    Raises RateLimited beyond `CODES_AN_HOUR`.
    """
    code = await get_code(session, approval_id, voter)
    if code is None:
        code = ApprovalCode(approval_id=approval_id, voter=voter, sent=0, sent_at=now)
        session.add(code)
    elif code.sent_at + _HOUR <= now:
        code.sent, code.sent_at = 0, now
    if code.sent >= CODES_AN_HOUR:
        seconds = max(1, round((code.sent_at + _HOUR - now).total_seconds()))
        raise RateLimited(
            f"You had {CODES_AN_HOUR} codes within the hour. The next one can be mailed in {in_words(seconds)}.",
            retry_after=seconds,
        )
    code.code = vault.encrypt(f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}")
    code.expires_at, code.tries_left = now + CODE_LIFETIME, TRIES
    code.sent += 1
    return code


def guess(code: ApprovalCode, text: str, vault: Vault) -> bool:
    """Whether that is the code. Each wrong guess costs a try, so the transaction must be committed.

    Ask only for a code that is good, with the approval locked. Raises VaultError.
    """
    if compare_digest(text.encode(), vault.decrypt(code.code).encode()):
        return True
    code.tries_left -= 1
    return False


async def forget_code(session: AsyncSession, approval_id: str, voter: str) -> None:
    """It was used."""
    await session.execute(
        delete(ApprovalCode).where(ApprovalCode.approval_id == approval_id, ApprovalCode.voter == voter)
    )


async def link_was_sent(session: AsyncSession, approval_id: str, approver: str, since: datetime) -> bool:
    """Whether they were mailed the link that they asked for after that moment."""
    letters = select(Message.id).where(
        Message.approval_id == approval_id,
        Message.recipient == approver,
        Message.topic == LetterTopic.LINK.value,
        Message.created_at > since,
    )
    return bool(await session.scalar(select(exists(letters))))


async def forget_expired(session: AsyncSession, now: datetime) -> None:
    """Deletes what is past its time: nonces, and codes once their hour is over, too."""
    await session.execute(delete(ApprovalNonce).where(ApprovalNonce.expires_at <= now))
    await session.execute(
        delete(ApprovalCode).where(ApprovalCode.expires_at <= now, ApprovalCode.sent_at <= now - _HOUR)
    )


def _hash(nonce: str) -> bytes:
    return sha256(nonce.encode()).digest()
