"""Second factors, one-time links and the account's audit trail, where two come at the same time."""

import asyncio
from datetime import timedelta

import pyotp
import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DBAPIError

from config.clock import utc_now
from domain.errors import Conflict, RateLimited
from domain.second_factors import STEP_SECONDS
from storage.account_audit import AccountEntry, list_entries, note
from storage.base import Sessions, transaction
from storage.second_factors import (
    FAILURES_AN_HOUR,
    SETUP_LIFETIME,
    SecondFactor,
    begin_setup,
    confirm_setup,
    prove,
    remove_second_factor,
    second_factor_of,
)
from storage.users import create_user
from storage.vault import Vault, VaultError

VAULT = Vault("a secret for tests, of 32 characters or more")
NOW = utc_now()


@pytest.fixture
async def user_id(sessions: Sessions, account: str) -> str:
    async with transaction(sessions) as session:
        return (await create_user(session, account, f"ada@{account}.example", "long enough for tests", NOW)).id


async def set_up(sessions: Sessions, user_id: str) -> tuple[str, list[str]]:
    async with transaction(sessions) as session:
        secret = await begin_setup(session, user_id, VAULT, NOW)
        codes = await confirm_setup(session, user_id, pyotp.TOTP(secret).at(NOW), VAULT, NOW)
        assert codes is not None
        return secret, codes


async def is_good(sessions: Sessions, user_id: str, code: str, seconds: float = 0, vault: Vault = VAULT) -> bool:
    async with transaction(sessions) as session:
        factor = await second_factor_of(session, user_id, lock=True)
        assert factor is not None
        return (await prove(session, factor, code, vault, NOW + timedelta(seconds=seconds))).is_good


async def test_the_secret_is_not_in_the_database(sessions: Sessions, user_id: str) -> None:
    secret, codes = await set_up(sessions, user_id)
    async with sessions() as session:
        row = str((await session.execute(select(SecondFactor.__table__))).all())
    assert secret not in row
    assert not [code for code in codes if code in row]


async def test_the_code_that_confirms_is_used_up(sessions: Sessions, user_id: str) -> None:
    secret, _ = await set_up(sessions, user_id)
    assert not await is_good(sessions, user_id, pyotp.TOTP(secret).at(NOW))
    later = pyotp.TOTP(secret).at(NOW + timedelta(seconds=STEP_SECONDS))
    assert await is_good(sessions, user_id, later, STEP_SECONDS)
    assert not await is_good(sessions, user_id, later, STEP_SECONDS)


async def test_of_two_uses_of_a_recovery_code_at_the_same_time_one_is_good(sessions: Sessions, user_id: str) -> None:
    _, codes = await set_up(sessions, user_id)
    found = await asyncio.gather(*(is_good(sessions, user_id, codes[3]) for _ in range(5)))
    assert sum(found) == 1


async def test_a_set_up_that_is_not_confirmed_protects_nothing_and_ends(sessions: Sessions, user_id: str) -> None:
    async with transaction(sessions) as session:
        secret = await begin_setup(session, user_id, VAULT, NOW)
        assert await second_factor_of(session, user_id) is None
        assert await confirm_setup(session, user_id, "000000", VAULT, NOW) is None
        late = NOW + SETUP_LIFETIME
        with pytest.raises(Conflict):
            await confirm_setup(session, user_id, pyotp.TOTP(secret).at(late), VAULT, late)
        assert not await remove_second_factor(session, user_id)


async def test_one_that_is_on_is_not_set_up_over(sessions: Sessions, user_id: str) -> None:
    await set_up(sessions, user_id)
    async with transaction(sessions) as session:
        with pytest.raises(Conflict):
            await begin_setup(session, user_id, VAULT, NOW)
        assert await remove_second_factor(session, user_id)


async def test_wrong_codes_are_counted_and_a_good_one_forgives(sessions: Sessions, user_id: str) -> None:
    secret, codes = await set_up(sessions, user_id)
    for _ in range(FAILURES_AN_HOUR - 1):
        assert not await is_good(sessions, user_id, "000000")
    assert await is_good(sessions, user_id, codes[0])
    for _ in range(FAILURES_AN_HOUR):
        assert not await is_good(sessions, user_id, "nonsense")
    with pytest.raises(RateLimited):
        await is_good(sessions, user_id, codes[1])
    assert await is_good(sessions, user_id, codes[1], 3601)


async def test_recovery_codes_work_when_the_operators_key_was_lost(sessions: Sessions, user_id: str) -> None:
    secret, codes = await set_up(sessions, user_id)
    other = Vault("another secret for tests, of 32 characters")
    with pytest.raises(VaultError):
        await is_good(sessions, user_id, "123456", vault=other)
    assert await is_good(sessions, user_id, codes[0], vault=other)


async def test_the_trail_is_paged_by_account_and_refuses_changes(sessions: Sessions, account: str) -> None:
    async with transaction(sessions) as session:
        for number in range(5):
            note(session, account, "ada@example.com", "key.created", f"key/{number}", {"name": str(number)}, at=NOW)
            await session.flush()
    async with sessions() as session:
        newest = await list_entries(session, account, 2)
        assert [entry.subject for entry in newest] == ["key/4", "key/3"]
        older = await list_entries(session, account, 10, before=newest[-1].id)
        assert [entry.subject for entry in older] == ["key/2", "key/1", "key/0"]
        assert await list_entries(session, "acc_of_others", 10) == []
    for statement in (
        update(AccountEntry).where(AccountEntry.account_id == account).values(who="somebody else"),
        delete(AccountEntry).where(AccountEntry.account_id == account),
        text("TRUNCATE account_audit"),
    ):
        with pytest.raises(DBAPIError, match="append-only"):
            async with transaction(sessions) as session:
                await session.execute(statement)
