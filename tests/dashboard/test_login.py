"""Logging in: with a password, with a code besides, by a one-time link."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx
import pyotp
import pytest
from sqlalchemy import update

from config.clock import utc_now
from domain.second_factors import STEP_SECONDS
from storage.base import Sessions, transaction
from storage.login_links import LoginLink, new_login_link
from storage.second_factors import SecondFactor, begin_setup, confirm_setup
from storage.sessions import LoginSession
from storage.users import change_password, find_user_by_email, lock_user
from storage.vault import Vault
from tests.api.conftest import PASSWORD
from tests.support.dashboard import Screen, Site
from tests.support.stack import SECRET

Visit = Callable[[], Site]


@pytest.fixture
async def visit(quick_gateway: str) -> AsyncIterator[Visit]:
    """Somebody who is not logged in yet."""
    clients: list[httpx.AsyncClient] = []

    def come() -> Site:
        clients.append(httpx.AsyncClient(base_url=quick_gateway, timeout=30, limits=httpx.Limits(keepalive_expiry=1)))
        return Site(clients[-1], "", "", "")

    yield come
    for client in clients:
        await client.aclose()


async def id_of(sessions: Sessions, email: str) -> str:
    async with sessions() as session:
        user = await find_user_by_email(session, email)
        assert user is not None
        return user.id


async def link_for(sessions: Sessions, email: str) -> str:
    user_id = await id_of(sessions, email)
    async with transaction(sessions) as session:
        return f"/start/{await new_login_link(session, user_id, utc_now())}"


async def protect(sessions: Sessions, email: str) -> tuple[str, list[str]]:
    """Turns two-factor login on; its secret and the recovery codes."""
    user_id, vault = await id_of(sessions, email), Vault(SECRET)
    # With a code of a while ago, so that the present one is still to be used.
    before = utc_now() - timedelta(seconds=10 * STEP_SECONDS)
    async with transaction(sessions) as session:
        secret = await begin_setup(session, user_id, vault, before)
        codes = await confirm_setup(session, user_id, pyotp.TOTP(secret).at(before), vault, before)
        assert codes is not None
        return secret, codes


def code_of(secret: str) -> str:
    return pyotp.TOTP(secret).at(utc_now())


async def step_one(somebody: Site, email: str, next_page: str = "/settings/security") -> Screen:
    screen = await somebody.open(f"/login?next={next_page}")
    screen = await somebody.submit(screen, "/login", email=email, password=PASSWORD)
    assert screen.title == "Enter your code"
    assert PASSWORD not in screen.response.text
    return screen


async def is_logged_in(somebody: Site) -> bool:
    return (await somebody.http.get("/api/me")).status_code == 200


async def test_a_wrong_password_is_said_and_the_address_stays(fresh: Site, visit: Visit) -> None:
    somebody = visit()
    screen = await somebody.log_in(fresh.email, "not the password")
    assert screen.status == 401
    assert "wrong" in screen.said
    assert (email := screen.main.select_one("#f-email")) is not None
    assert email["value"] == fresh.email


async def test_who_has_a_second_factor_needs_a_code(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    secret, _ = await protect(sessions, fresh.email)
    somebody = visit()
    screen = await step_one(somebody, fresh.email)
    assert not await is_logged_in(somebody)
    screen = await somebody.submit(screen, "/login/code", code="000 000")
    assert (screen.status, "wrong" in screen.said) == (401, True)
    screen = await somebody.submit(screen, "/login/code", code=code_of(secret))
    assert screen.path == "/settings/security"
    assert await is_logged_in(somebody)


async def test_a_code_is_good_once_also_for_two_at_a_time(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    secret, _ = await protect(sessions, fresh.email)
    people = [visit() for _ in range(4)]
    screens = [await step_one(somebody, fresh.email) for somebody in people]
    code = code_of(secret)
    await asyncio.gather(
        *(somebody.submit(screen, "/login/code", code=code) for somebody, screen in zip(people, screens, strict=True))
    )
    assert sum([await is_logged_in(somebody) for somebody in people]) == 1


async def test_a_recovery_code_logs_in_once(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    _, codes = await protect(sessions, fresh.email)
    somebody = visit()
    screen = await somebody.submit(await step_one(somebody, fresh.email), "/login/code", code=codes[0].upper())
    assert "9 recovery codes left" in screen.text
    another = visit()
    screen = await another.submit(await step_one(another, fresh.email), "/login/code", code=codes[0])
    assert screen.status == 401


async def test_guessing_codes_ends_for_an_hour(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    secret, _ = await protect(sessions, fresh.email)
    user_id = await id_of(sessions, fresh.email)
    async with transaction(sessions) as session:
        values = {"failures": 9, "failing_since": utc_now() - timedelta(minutes=30)}
        await session.execute(update(SecondFactor).where(SecondFactor.user_id == user_id).values(values))
    somebody = visit()
    screen = await somebody.submit(await step_one(somebody, fresh.email), "/login/code", code="123456")
    assert screen.status == 401
    screen = await somebody.submit(screen, "/login/code", code=code_of(secret))
    assert screen.status == 429
    assert "wrong codes within the hour" in screen.said
    async with transaction(sessions) as session:
        earlier = utc_now() - timedelta(minutes=61)
        await session.execute(update(SecondFactor).where(SecondFactor.user_id == user_id).values(failing_since=earlier))
    screen = await somebody.submit(screen, "/login/code", code=code_of(secret))
    assert await is_logged_in(somebody)


async def test_the_second_step_is_bound_to_the_password_of_the_first(
    fresh: Site, visit: Visit, sessions: Sessions
) -> None:
    secret, _ = await protect(sessions, fresh.email)
    somebody = visit()
    screen = await step_one(somebody, fresh.email)
    user_id = await id_of(sessions, fresh.email)
    async with transaction(sessions) as session:
        user = await lock_user(session, user_id)
        assert user is not None
        await change_password(session, user, "another password")
    screen = await somebody.submit(screen, "/login/code", code=code_of(secret))
    assert screen.title == "Log in"
    assert "Start again" in screen.said
    for forged in ("", "nonsense", "é"):
        fields = [("step", forged), ("code", code_of(secret)), ("next", "/")]
        assert (await somebody.post("/login/code", fields)).title == "Log in"
    assert not await is_logged_in(somebody)


@pytest.mark.parametrize("next_page", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"])
async def test_a_login_leads_to_no_other_site(fresh: Site, visit: Visit, sessions: Sessions, next_page: str) -> None:
    secret, _ = await protect(sessions, fresh.email)
    somebody = visit()
    screen = await step_one(somebody, fresh.email)
    step = screen.form("/login/code").select_one("input[name=step]")
    assert step is not None
    fields = {"step": str(step["value"]), "code": code_of(secret), "next": next_page}
    answer = await somebody.http.post("/login/code", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


# One-time links


async def test_a_link_logs_in_once_and_looking_at_it_uses_nothing_up(
    fresh: Site, visit: Visit, sessions: Sessions
) -> None:
    address = await link_for(sessions, fresh.email)
    somebody = visit()
    for _ in range(3):
        screen = await somebody.open(address)
        assert screen.title == "Log in"
    assert not await is_logged_in(somebody)
    await somebody.submit(screen, address)
    assert await is_logged_in(somebody)
    late = visit()
    screen = await late.open(address)
    assert (screen.status, screen.title) == (401, "Login link over")
    assert "used already" in screen.text
    assert "pingpulse login-link" in screen.text
    await late.post(address, [])
    assert not await is_logged_in(late)


async def test_of_two_who_use_a_link_at_the_same_time_one_gets_in(
    fresh: Site, visit: Visit, sessions: Sessions
) -> None:
    address = await link_for(sessions, fresh.email)
    people = [visit() for _ in range(5)]
    await asyncio.gather(*(somebody.post(address, []) for somebody in people))
    assert sum([await is_logged_in(somebody) for somebody in people]) == 1


async def test_a_link_is_over_after_an_hour(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    address, user_id = await link_for(sessions, fresh.email), await id_of(sessions, fresh.email)
    async with transaction(sessions) as session:
        await session.execute(update(LoginLink).where(LoginLink.user_id == user_id).values(expires_at=utc_now()))
    somebody = visit()
    assert "more than an hour old" in (await somebody.open(address)).text
    assert "more than an hour old" in (await somebody.post(address, [])).text
    assert "not known here" in (await somebody.open("/start/nonsense")).text
    assert not await is_logged_in(somebody)


async def test_a_link_is_no_way_around_the_second_factor(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    secret, _ = await protect(sessions, fresh.email)
    address = await link_for(sessions, fresh.email)
    somebody = visit()
    screen = await somebody.submit(await somebody.open(address), address)
    assert screen.title == "Enter your code"
    assert not await is_logged_in(somebody)
    await somebody.submit(screen, "/login/code", code=code_of(secret))
    assert await is_logged_in(somebody)


async def test_other_sites_cannot_log_their_visitors_in(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    address = await link_for(sessions, fresh.email)
    somebody = visit()
    answer = await somebody.http.post(address, data={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code in (403, 415)
    assert (await somebody.open(address)).title == "Log in"


async def test_for_an_hour_a_link_stands_for_the_password(fresh: Site, visit: Visit, sessions: Sessions) -> None:
    address = await link_for(sessions, fresh.email)
    somebody = visit()
    await somebody.submit(await somebody.open(address), address)
    screen = await somebody.open("/settings/security")
    assert "You came by a one-time link" in screen.text
    action = "/settings/security/password"
    screen = await somebody.submit(screen, action, new_password="a new password", again="a new password")
    assert "Your password was changed" in screen.said
    action = "/settings/security/email"
    screen = await somebody.submit(screen, action, email=f"me.{fresh.email}")
    assert "Your e-mail address was changed" in screen.said
    assert not await is_logged_in(fresh)

    async with transaction(sessions) as session:
        user = await find_user_by_email(session, f"me.{fresh.email}")
        assert user is not None
        values = {"created_at": utc_now() - timedelta(minutes=61)}
        await session.execute(update(LoginSession).where(LoginSession.user_id == user.id).values(values))
    screen = await somebody.open("/settings/security")
    assert "You came by a one-time link" not in screen.text
    screen = await somebody.submit(screen, action, email=fresh.email, password="no idea")
    assert screen.status == 400
    assert "is not your password" in screen.said
