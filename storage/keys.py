"""API keys."""

import hmac
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from domain.errors import NotFound
from domain.keys import KeyScope, key_id_of, new_key
from storage.base import Base

LAST_USE_PRECISION: Final = timedelta(minutes=1)


class ApiKey(Base):
    """A key of which only the hash is known.

    `secret_hash` is an unsalted SHA-256 of the whole text. That is right here and would be wrong for a password:
    the secret is random with more than 190 bits, so there is nothing to guess and no table to look it up in, and
    a slow hash would only slow down every ping. It is compared in constant time.

    `created_by` is a user's e-mail address, `api-key:<id>`, or `pingpulse` for the command line; null if not known.
    """

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint("scope IN ('ping', 'full')", name="scope"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    scope: Mapped[KeyScope] = mapped_column(Text)
    secret_hash: Mapped[bytes]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


async def create_key(
    session: AsyncSession, account_id: str, name: str, scope: KeyScope, now: datetime, *, created_by: str | None = None
) -> tuple[ApiKey, str]:
    """A new key and its plaintext, which nobody can tell again."""
    key_id, plaintext = new_key()
    key = ApiKey(
        id=key_id,
        account_id=account_id,
        name=name,
        scope=scope,
        secret_hash=_hash(plaintext),
        created_at=now,
        created_by=created_by,
        last_used_at=None,
        revoked_at=None,
    )
    session.add(key)
    await session.flush()
    return key, plaintext


async def find_key(session: AsyncSession, plaintext: str) -> ApiKey | None:
    """The key that this text is, or None if it is malformed, unknown, wrong or revoked."""
    key_id = key_id_of(plaintext)
    key = await session.get(ApiKey, key_id) if key_id else None
    if key is None or key.revoked_at is not None or not hmac.compare_digest(key.secret_hash, _hash(plaintext)):
        return None
    return key


async def get_key(session: AsyncSession, key_id: str) -> ApiKey:
    """A key by its id, revoked ones too. Raises NotFound."""
    # Postgres refuses NUL bytes with an error instead of finding nothing.
    key = await session.get(ApiKey, key_id) if key_id.isalnum() else None
    if key is None:
        raise NotFound("There is no API key with this id.")
    return key


async def list_keys(session: AsyncSession, account_id: str) -> Sequence[ApiKey]:
    """All keys of an account, revoked ones too, the newest first."""
    statement = (
        select(ApiKey).where(ApiKey.account_id == account_id).order_by(ApiKey.created_at.desc(), ApiKey.id.desc())
    )
    return (await session.scalars(statement)).all()


async def name_keys(session: AsyncSession, account_id: str, key_ids: Collection[str]) -> dict[str, str]:
    """The names of those of the account's keys, by id."""
    query = select(ApiKey.id, ApiKey.name).where(ApiKey.account_id == account_id, ApiKey.id.in_(key_ids))
    return {row[0]: row[1] for row in await session.execute(query)}


async def revoke_key(session: AsyncSession, key_id: str, now: datetime) -> None:
    """Ends a key for good; revoking it again changes nothing. Raises NotFound.

    Gateway processes remember good keys for a second: that long it may still work in those not told.
    """
    key = await get_key(session, key_id)
    if key.revoked_at is None:
        key.revoked_at = now
        await session.flush()


async def touch_key(session: AsyncSession, key: ApiKey, now: datetime) -> None:
    """Records that the key is in use, at most once a minute however many processes do so."""
    stale = now - LAST_USE_PRECISION
    if key.last_used_at is not None and key.last_used_at > stale:
        return
    await session.execute(
        update(ApiKey)
        .where(ApiKey.id == key.id, or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= stale))
        .values(last_used_at=now)
    )


def _hash(plaintext: str) -> bytes:
    return sha256(plaintext.encode()).digest()
