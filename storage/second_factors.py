"""Second factors: codes of an authenticator app, and recovery codes for whoever has lost it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Integer, LargeBinary, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.durations import in_words
from domain.errors import Conflict, RateLimited
from domain.second_factors import fitting_step, new_recovery_codes, new_secret, normal_code, recovery_code
from storage.base import Base
from storage.vault import Vault

SETUP_LIFETIME: Final = timedelta(minutes=30)
SETUP_TRIES: Final = 10
"""Wrong codes after which a setup must be begun again."""

FAILURES_AN_HOUR: Final = 10
"""Wrong codes after the right password. Who guesses for a year finds a code of six digits with a chance of a fifth, and
the account's audit trail has tens of thousands of entries by then."""

_HOUR: Final = timedelta(hours=1)


class SecondFactor(Base):
    """The `secret` is encrypted. Until it is confirmed with a code it asks nobody for one.

    `last_step` is the number of the last half-minute whose code was used: no code is good twice. `recovery_hashes` are
    unsalted SHA-256, because those codes are random. `failures` were made since `failing_since`.
    """

    __tablename__ = "second_factors"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[bytes]
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    recovery_hashes: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary))
    failures: Mapped[int] = mapped_column(Integer)
    failing_since: Mapped[datetime | None]


@dataclass(frozen=True)
class Proof:
    """What became of a code: good or not, and by a recovery code, of which so many are left."""

    is_good: bool
    by_recovery_code: bool = False
    codes_left: int = 0


async def second_factor_of(session: AsyncSession, user_id: str, *, lock: bool = False) -> SecondFactor | None:
    """The one that logins ask for; None while there is none, or it is only being set up."""
    found = await _get(session, user_id, lock=lock)
    return found if found is not None and found.confirmed_at is not None else None


async def users_with_second_factor(session: AsyncSession, user_ids: Sequence[str]) -> set[str]:
    query = select(SecondFactor.user_id).where(
        SecondFactor.user_id.in_(user_ids), SecondFactor.confirmed_at.is_not(None)
    )
    return set(await session.scalars(query))


async def begin_setup(session: AsyncSession, user_id: str, vault: Vault, now: datetime) -> str:
    """A new secret, still to be confirmed. Raises Conflict while there is a second factor."""
    found = await _get(session, user_id, lock=True)
    if found is not None and found.confirmed_at is not None:
        raise Conflict("Two-factor login is on already; turn it off first to set up another app.")
    secret = new_secret()
    if found is None:
        found = SecondFactor(user_id=user_id)
        session.add(found)
    found.secret, found.created_at, found.confirmed_at, found.last_step = vault.encrypt(secret), now, None, None
    found.recovery_hashes, found.failures, found.failing_since = [], 0, None
    await session.flush()
    return secret


async def confirm_setup(
    session: AsyncSession, user_id: str, code: str, vault: Vault, now: datetime
) -> list[str] | None:
    """Turns it on with a first code; the recovery codes, which nobody can tell again. None for a wrong code; the
    transaction must be committed then, too: it counts.

    Raises Conflict if nothing is being set up, also after too many wrong codes, and VaultError.
    """
    found = await _get(session, user_id, lock=True)
    if found is None or not _is_in_setup(found, now):
        raise Conflict("Nothing is being set up, or it took too long or too many wrong codes. Begin again.")
    step = fitting_step(vault.decrypt(found.secret), normal_code(code), now, None)
    if step is None:
        found.failures += 1
        await session.flush()
        return None
    codes = new_recovery_codes()
    found.failures = 0
    found.confirmed_at, found.last_step, found.recovery_hashes = now, step, [_hash(code) for code in codes]
    await session.flush()
    return codes


async def renew_recovery_codes(session: AsyncSession, factor: SecondFactor) -> list[str]:
    """Others in place of those there were. The factor must be locked."""
    codes = new_recovery_codes()
    factor.recovery_hashes = [_hash(code) for code in codes]
    await session.flush()
    return codes


async def prove(session: AsyncSession, factor: SecondFactor, code: str, vault: Vault, now: datetime) -> Proof:
    """Checks a code, and uses it up. The factor must be locked, so that of two at the same time one fails; the
    transaction must be committed, also for a wrong code: it counts.

    Raises RateLimited after too many wrong ones, and VaultError.
    """
    if factor.failing_since is not None and factor.failing_since + _HOUR <= now:
        factor.failures, factor.failing_since = 0, None
    if factor.failures >= FAILURES_AN_HOUR and factor.failing_since is not None:
        seconds = max(1, round((factor.failing_since + _HOUR - now).total_seconds()))
        raise RateLimited(
            f"There were {FAILURES_AN_HOUR} wrong codes within the hour. Try again in {in_words(seconds)}.",
            retry_after=seconds,
        )
    proof = _proof(factor, code, vault, now)
    if proof.is_good:
        factor.failures, factor.failing_since = 0, None
    else:
        factor.failures += 1
        factor.failing_since = factor.failing_since or now
    await session.flush()
    return proof


async def remove_second_factor(session: AsyncSession, user_id: str) -> bool:
    """Whether there was one that logins asked for."""
    statement = delete(SecondFactor).where(SecondFactor.user_id == user_id).returning(SecondFactor.confirmed_at)
    return await session.scalar(statement) is not None


def _proof(factor: SecondFactor, code: str, vault: Vault, now: datetime) -> Proof:
    digits = normal_code(code)
    if digits:
        step = fitting_step(vault.decrypt(factor.secret), digits, now, factor.last_step)
        if step is None:
            return Proof(False)
        factor.last_step = step
        return Proof(True, codes_left=len(factor.recovery_hashes))
    recovery = recovery_code(code)
    # Hashes of random codes: that some compare faster tells nothing.
    if recovery is None or (digest := _hash(recovery)) not in factor.recovery_hashes:
        return Proof(False)
    factor.recovery_hashes = [other for other in factor.recovery_hashes if other != digest]
    return Proof(True, True, len(factor.recovery_hashes))


def _is_in_setup(factor: SecondFactor, now: datetime) -> bool:
    is_open = factor.failures < SETUP_TRIES and now < factor.created_at + SETUP_LIFETIME
    return factor.confirmed_at is None and is_open


async def _get(session: AsyncSession, user_id: str, *, lock: bool = False) -> SecondFactor | None:
    query = select(SecondFactor).where(SecondFactor.user_id == user_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await session.scalar(query)


def _hash(code: str) -> bytes:
    return sha256(code.encode()).digest()
