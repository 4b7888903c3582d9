"""`pingpulse login-link`, and the trail of what is done on the command line."""

import pyotp
import pytest
from sqlalchemy import select

from cli.errors import CommandError
from cli.identities import create_first_identity, database_session, end_key, login_link, new_key, new_user
from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.keys import key_id_of
from storage.account_audit import AccountEntry
from storage.login_links import LinkState, use_login_link
from storage.second_factors import begin_setup, confirm_setup, second_factor_of
from storage.users import find_user_by_email
from storage.vault import Vault
from tests.conftest import copy_database
from tests.domain.test_second_factors import at
from tests.support.stack import SECRET


@pytest.fixture(scope="module")
async def url(postgres: EmbeddedPostgres) -> str:
    return await copy_database(postgres, "login_links")


async def owner_of(url: str, token: str) -> tuple[LinkState, str | None]:
    async with database_session(url) as session:
        return await use_login_link(session, token, utc_now())


async def test_nobody_is_there_to_be_logged_in(url: str) -> None:
    with pytest.raises(CommandError, match="There is no user yet"):
        await login_link(url, None, reset_second_factor=False)


async def test_the_first_start_has_a_link_and_another_is_made_at_any_time(url: str) -> None:
    first = await create_first_identity(url)
    assert first is not None
    email, token = await login_link(url, None, reset_second_factor=False)
    assert (email, token != first.token) == (first.email, True)
    (state, owner), (_, same) = await owner_of(url, first.token), await owner_of(url, token)
    assert (state, owner) == (LinkState.GOOD, same)
    assert await owner_of(url, token) == (LinkState.USED, None)
    await new_user(url, "ada@example.com", "long enough for tests")
    email, _ = await login_link(url, " ADA@example.com", reset_second_factor=False)
    assert email == "ada@example.com"
    with pytest.raises(CommandError, match="There is no user nobody@example.com"):
        await login_link(url, "nobody@example.com", reset_second_factor=False)


async def test_the_only_owner_who_has_lost_the_phone_gets_in(url: str) -> None:
    now, vault = at(1_900_000_000), Vault(SECRET)
    async with database_session(url) as session:
        user = await find_user_by_email(session, "ada@example.com")
        assert user is not None
        secret = await begin_setup(session, user.id, vault, now)
        assert await confirm_setup(session, user.id, pyotp.TOTP(secret).at(now), vault, now)
    await login_link(url, "ada@example.com", reset_second_factor=False)
    async with database_session(url) as session:
        assert await second_factor_of(session, user.id) is not None
    await login_link(url, "ada@example.com", reset_second_factor=True)
    async with database_session(url) as session:
        assert await second_factor_of(session, user.id) is None


async def test_it_is_all_in_the_trail(url: str) -> None:
    key = await new_key(url, "ci", "ping", None)
    for _ in range(2):
        await end_key(url, key_id_of(key) or "")
    async with database_session(url) as session:
        entries = (await session.scalars(select(AccountEntry).order_by(AccountEntry.id))).all()
    assert {entry.who for entry in entries} == {"pingpulse"}
    assert [entry.action for entry in entries] == [
        "login.link_made",
        "member.added",
        "login.link_made",
        "login.link_made",
        "second_factor.reset",
        "login.link_made",
        "key.created",
        "key.revoked",
    ]
