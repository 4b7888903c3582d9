"""Users and API keys, made from the command line: straight in the database, where no login is needed."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from cli.errors import CommandError
from config.clock import utc_now
from domain.accounts import normal_email
from domain.keys import KeyScope
from storage.account_audit import OURSELVES, note
from storage.accounts import Account, create_account
from storage.base import create_engine, create_sessions, transaction
from storage.keys import ApiKey, create_key, get_key, list_keys, revoke_key
from storage.login_links import new_login_link
from storage.second_factors import remove_second_factor
from storage.users import User, create_user, find_user_by_email

FIRST_EMAIL = "admin@example.com"


@dataclass(frozen=True)
class FirstIdentity:
    """What the first start prints, once. `token` is that of a one-time login link."""

    email: str
    password: str
    key: str
    token: str


@asynccontextmanager
async def database_session(url: str) -> AsyncIterator[AsyncSession]:
    """One transaction in an engine of its own. Raises CommandError for a database that is away or not migrated."""
    engine = create_engine(url, application_name="pingpulse-cli")
    try:
        async with transaction(create_sessions(engine)) as session:
            yield session
    except ProgrammingError as error:
        if type(error.orig).__name__ == "UndefinedTable":
            raise CommandError("The database has no tables yet: run `pingpulse migrate` first.") from error
        raise
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines() or ["no reason given"]
        raise CommandError(
            f"The database does not answer ({reason[0]}): check PINGPULSE_DATABASE_URL, or run `pingpulse doctor`."
        ) from error
    finally:
        await engine.dispose()


def generated_password() -> str:
    """Of 120 random bits, all of them letters and digits: one double-click selects it."""
    return secrets.token_hex(15)


async def create_first_identity(url: str) -> FirstIdentity | None:
    """An owner and a key, on a database without accounts; None on any other."""
    async with database_session(url) as session:
        # Two `up` against one external database: the second waits, and then finds an account.
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtext("pingpulse first identity"))))
        if await session.scalar(select(Account.id).limit(1)) is not None:
            return None
        now = utc_now()
        account = await create_account(session, "Default", now)
        password = generated_password()
        user = await create_user(session, account.id, FIRST_EMAIL, password, now, role="owner")
        _, key = await create_key(session, account.id, "first key", "full", now, created_by=OURSELVES)
        return FirstIdentity(user.email, password, key, await new_login_link(session, user.id, now))


async def new_user(url: str, email: str, password: str) -> str:
    """Adds a user: the owner of a first account, else a member of the only or oldest one. Returns the account's id."""
    async with database_session(url) as session:
        now = utc_now()
        account_id = await session.scalar(select(Account.id).order_by(Account.created_at).limit(1))
        if account_id is None:
            account = await create_account(session, "Default", now)
            await create_user(session, account.id, email, password, now, role="owner")
            return account.id
        user = await create_user(session, account_id, email, password, now)
        details = {"email": user.email, "role": user.role}
        note(session, account_id, OURSELVES, "member.added", f"user/{user.id}", details, at=now)
        return account_id


async def login_link(url: str, email: str | None, *, reset_second_factor: bool) -> tuple[str, str]:
    """The user's e-mail address and the token of a one-time link: for the only or oldest owner, or the user `email`."""
    async with database_session(url) as session:
        user = await _user_to_let_in(session, email)
        now, subject = utc_now(), f"user/{user.id}"
        if reset_second_factor and await remove_second_factor(session, user.id):
            details = {"email": user.email}
            note(session, user.account_id, OURSELVES, "second_factor.reset", subject, details, at=now)
        note(session, user.account_id, OURSELVES, "login.link_made", subject, {"email": user.email}, at=now)
        return user.email, await new_login_link(session, user.id, now)


async def _user_to_let_in(session: AsyncSession, email: str | None) -> User:
    if email is not None:
        user = await find_user_by_email(session, normal_email(email))
        if user is None:
            raise CommandError(f"There is no user {email}: `pingpulse users create --email {email}` makes one.")
        return user
    query = select(User).where(User.role == "owner").order_by(User.created_at, User.id).limit(1)
    owner = await session.scalar(query)
    if owner is None:
        raise CommandError("There is no user yet: make one with `pingpulse users create --email you@example.com`.")
    return owner


async def new_key(url: str, name: str, scope: KeyScope, owner: str | None) -> str:
    """The text of a new key for the account of the user `owner` (an e-mail address), or the only account."""
    async with database_session(url) as session:
        account_id, now = await _account_of(session, owner), utc_now()
        key, plaintext = await create_key(session, account_id, name, scope, now, created_by=OURSELVES)
        note(session, account_id, OURSELVES, "key.created", f"key/{key.id}", {"name": name, "scope": scope}, at=now)
        return plaintext


async def keys_of(url: str, owner: str | None) -> Sequence[ApiKey]:
    async with database_session(url) as session:
        keys = await list_keys(session, await _account_of(session, owner))
        session.expunge_all()
        return keys


async def end_key(url: str, key_id: str) -> None:
    """Raises NotFound."""
    async with database_session(url) as session:
        key, now = await get_key(session, key_id), utc_now()
        if key.revoked_at is None:
            note(session, key.account_id, OURSELVES, "key.revoked", f"key/{key_id}", {"name": key.name}, at=now)
        await revoke_key(session, key_id, now)


async def _account_of(session: AsyncSession, owner: str | None) -> str:
    if owner is not None:
        user = await find_user_by_email(session, normal_email(owner))
        if user is None:
            raise CommandError(f"There is no user {owner}: `pingpulse users create --email {owner}` makes one.")
        return user.account_id
    accounts = (await session.scalars(select(Account.id).limit(2))).all()
    if not accounts:
        raise CommandError("There is no user yet: make one with `pingpulse users create --email you@example.com`.")
    if len(accounts) > 1:
        raise CommandError("There are several accounts: say whose key with --email.")
    return accounts[0]
