"""Users and their passwords."""

import asyncio
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache, partial
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import CheckConstraint, ForeignKey, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from domain.accounts import Role, check_new_password, normal_email
from domain.errors import Conflict, EmailTaken, NotFound
from domain.ids import random_id
from storage.accounts import get_account
from storage.base import Base

T = TypeVar("T")

_hasher: Final = PasswordHasher()

# One hash takes 64 MiB and tens of milliseconds of CPU: two at a time, so that a flood of logins queues up
# here instead of taking the machine.
_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="argon2")


class LastOwner(Conflict):
    """An account always has an owner."""

    code = "last_owner"


class User(Base):
    """`email` is unique over all accounts and kept in lower case; `password_hash` is argon2id in PHC format."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('owner', 'member', 'viewer')", name="role"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[Role] = mapped_column(Text)
    created_at: Mapped[datetime]


async def create_user(
    session: AsyncSession, account_id: str, email: str, password: str, now: datetime, *, role: Role = "member"
) -> User:
    """Raises InvalidRequest for an e-mail or password that will not do, EmailTaken for one in use."""
    email = normal_email(email)
    check_new_password(password)
    values = {
        "id": random_id("usr_", 12),
        "account_id": account_id,
        "email": email,
        "password_hash": await _hash(password),
        "role": role,
        "created_at": now,
    }
    statement = insert(User).values(values).on_conflict_do_nothing(index_elements=[User.email]).returning(User)
    user = await session.scalar(statement)
    if user is None:
        raise EmailTaken("This e-mail address is taken.")
    return user


async def find_user(session: AsyncSession, user_id: str) -> User | None:
    return await session.get(User, user_id)


async def lock_user(session: AsyncSession, user_id: str, *, shared: bool = False) -> User | None:
    """Held until the transaction ends; `shared` with others who only want it to stay as it is."""
    query = select(User).where(User.id == user_id).with_for_update(read=shared, key_share=not shared)
    return await session.scalar(query.execution_options(populate_existing=True))


async def change_password(session: AsyncSession, user: User, password: str, *, field: str = "password") -> None:
    """Raises InvalidRequest naming `field` for one that will not do. The user must be locked."""
    check_new_password(password, field)
    user.password_hash = await _hash(password)
    await session.flush()


async def change_email(session: AsyncSession, user: User, email: str) -> None:
    """Raises InvalidRequest for what is no address, EmailTaken for one in use. The user must be locked."""
    email = normal_email(email)
    try:
        async with session.begin_nested():
            user.email = email
    except IntegrityError:
        raise EmailTaken("Another user has this e-mail address.") from None


async def list_members(session: AsyncSession, account_id: str) -> Sequence[User]:
    """All users of an account, who has been one longest first."""
    query = select(User).where(User.account_id == account_id).order_by(User.created_at, User.id)
    return (await session.scalars(query)).all()


async def get_member(session: AsyncSession, account_id: str, user_id: str) -> User:
    """A user of this account. Raises NotFound."""
    # Postgres refuses NUL bytes with an error instead of finding nothing.
    user = await find_user(session, user_id) if "\x00" not in user_id else None
    if user is None or user.account_id != account_id:
        raise NotFound("There is no member with this id in the account.")
    return user


async def change_role(session: AsyncSession, account_id: str, user_id: str, role: Role) -> tuple[User, Role]:
    """The user and the role before. Raises NotFound, and LastOwner rather than leaving nobody in charge."""
    user = await _hold_member(session, account_id, user_id)
    before = user.role
    if before == "owner" and role != "owner":
        await _ensure_another_owner(session, user)
    user.role = role
    await session.flush()
    return user, before


async def remove_member(session: AsyncSession, account_id: str, user_id: str) -> User:
    """Removes a user with their sessions. Raises NotFound, and LastOwner rather than leaving nobody in charge."""
    user = await _hold_member(session, account_id, user_id)
    if user.role == "owner":
        await _ensure_another_owner(session, user)
    await session.delete(user)
    await session.flush()
    return user


async def _hold_member(session: AsyncSession, account_id: str, user_id: str) -> User:
    """The account is locked: of two who demote each other at the same time, one finds the other done."""
    await get_account(session, account_id, lock=True)
    user = await get_member(session, account_id, user_id)
    await session.refresh(user)
    return user


async def _ensure_another_owner(session: AsyncSession, user: User) -> None:
    others = select(func.count()).where(User.account_id == user.account_id, User.role == "owner", User.id != user.id)
    if not await session.scalar(others):
        raise LastOwner(f"{user.email} is the only owner of the account. Make somebody else an owner first.")


async def find_user_by_email(session: AsyncSession, email: str) -> User | None:
    """`email` as `domain.accounts.normal_email` returns it."""
    return await session.scalar(select(User).where(User.email == email))


async def list_owners(session: AsyncSession, account_id: str) -> list[str]:
    """The e-mail addresses of an account's owners, who has been one longest first."""
    query = select(User.email).where(User.account_id == account_id, User.role == "owner")
    return list(await session.scalars(query.order_by(User.created_at, User.id)))


async def users_among(session: AsyncSession, account_id: str, emails: Collection[str]) -> set[str]:
    """Which of these addresses are of users of the account."""
    return set(await session.scalars(select(User.email).where(User.account_id == account_id, User.email.in_(emails))))


async def password_fits(user: User | None, password: str) -> bool:
    """Whether this is the user's password, found out in a thread.

    Without a user the answer is no, after the same work: its timing does not tell which addresses are known.
    """
    return await _in_thread(partial(_fits, user.password_hash if user else None, password))


async def _hash(password: str) -> str:
    return await _in_thread(partial(_hasher.hash, password.encode("utf-8", "surrogatepass")))


def _fits(password_hash: str | None, password: str) -> bool:
    nobodys = _nobodys_hash()
    try:
        _hasher.verify(password_hash or nobodys, password.encode("utf-8", "surrogatepass"))
    except VerificationError:
        return False
    return password_hash is not None


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("no user has this password hash")


async def _in_thread(function: partial[T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function)
