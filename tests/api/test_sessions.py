"""Logins in a browser, and the users behind them."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from api.security import install_security
from api.security.sessions import SessionTokens
from config.clock import utc_now
from config.settings import Settings
from domain.accounts import normal_email
from domain.errors import EmailTaken, InvalidRequest
from domain.keys import key_id_of, new_key
from storage.base import Sessions, transaction
from storage.sessions import LoginSession, create_session
from storage.users import User, create_user
from tests.api.conftest import PASSWORD, Gateway, Team, api_key, log_in
from tests.api.test_errors import problem
from tests.support.stack import SECRET


@pytest.mark.parametrize("kind", ["json", "data"])
async def test_login(client: httpx.AsyncClient, team: Team, kind: str) -> None:
    form = {"email": " OWNER@Ours.example ", "password": PASSWORD}
    response = await client.post("/api/login", **{kind: form})  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    assert response.json()["user"]["email"] == team.owner == "owner@ours.example"
    cookies = {line.partition("=")[0]: line.lower() for line in response.headers.get_list("set-cookie")}
    assert "httponly" in cookies["access_token"]
    assert "httponly" not in cookies["csrf_token"]
    assert all("samesite=lax" in line and "secure" not in line for line in cookies.values())
    assert client.cookies["csrf_token"] == response.json()["csrf_token"]
    me = (await client.get("/api/me")).json()
    assert (me["user"]["email"], me["account_id"], me["role"]) == (team.owner, team.account_id, "owner")


async def test_cookies_are_secure_behind_tls(start: Callable[..., Gateway], team: Team) -> None:
    async with start(cookie_secure=True).client() as client:
        response = await client.post("/api/login", json={"email": team.owner, "password": PASSWORD})
    assert all("Secure" in line for line in response.headers.get_list("set-cookie"))


async def test_me_of_a_key(client: httpx.AsyncClient, team: Team) -> None:
    me = (await client.get("/api/me", headers=api_key(team.ping_key))).json()
    assert (me["user"], me["key_id"], me["scope"]) == (None, key_id_of(team.ping_key), "ping")


async def test_bad_logins(client: httpx.AsyncClient, team: Team) -> None:
    for form in ({"email": team.owner, "password": "wrong"}, {"email": "no@body.example", "password": PASSWORD}):
        response = await client.post("/api/login", json=form)
        problem(response, 401, "unauthenticated")
        assert not response.cookies
    bad: Any
    for bad in ({"email": team.owner}, {"email": "a\x00@b", "password": "x"}, {"email": 1, "password": "x"}, []):
        problem(await client.post("/api/login", json=bad), 400, "invalid_request")
    problem(await client.post("/api/login", content=b"{}"), 415, "unsupported_media_type")
    headers = {"Content-Type": "application/json"}
    problem(await client.post("/api/login", content=b"{\xff", headers=headers), 400, "invalid_request")
    form = {"email": team.owner, "password": PASSWORD}
    cross_site = {"Sec-Fetch-Site": "cross-site"}
    problem(await client.post("/api/login", data=form, headers=cross_site), 403, "csrf_failed")


async def test_logins_take_as_long_for_unknown_emails(client: httpx.AsyncClient, team: Team) -> None:
    async def seconds(email: str) -> float:
        started = time.perf_counter()
        await client.post("/api/login", json={"email": email, "password": "wrong"})
        return time.perf_counter() - started

    pairs = [(await seconds(team.owner), await seconds("no@body.example")) for _ in range(5)]
    known, unknown = (min(column) for column in zip(*pairs, strict=True))
    assert 0.5 < unknown / known < 2


async def test_logout_revokes_the_session(client: httpx.AsyncClient, team: Team) -> None:
    csrf = await log_in(client, team.owner)
    stolen = {"access_token": client.cookies["access_token"]}
    assert (await client.post("/api/logout", headers=csrf)).status_code == 204
    assert not client.cookies
    client.cookies.update(stolen)
    problem(await client.get("/api/me"), 401, "unauthenticated")


async def test_writes_by_cookie_need_the_csrf_token(client: httpx.AsyncClient, team: Team) -> None:
    csrf = await log_in(client, team.owner)
    new = {"name": "by cookie"}
    assert (await client.get("/api/keys")).status_code == 200
    for sent in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "é".encode()}):
        problem(await client.post("/api/keys", json=new, headers=sent), 403, "csrf_failed")  # type: ignore[arg-type]
    problem(await client.post("/api/logout"), 403, "csrf_failed")
    assert (await client.post("/api/keys", json=new, headers=csrf)).status_code == 201
    assert (await client.post("/api/keys", json=new, headers=api_key(team.full_key))).status_code == 201

    await log_in(client, team.owner)
    problem(await client.post("/api/keys", json=new, headers=csrf), 403, "csrf_failed")


async def test_a_wrong_key_is_not_saved_by_a_cookie(client: httpx.AsyncClient, team: Team) -> None:
    await log_in(client, team.owner)
    problem(await client.get("/api/me", headers=api_key(new_key()[1])), 401, "unauthenticated")


async def test_viewers_look_only(client: httpx.AsyncClient, team: Team) -> None:
    csrf = await log_in(client, team.viewer)
    assert (await client.get("/api/keys")).status_code == 200
    problem(await client.post("/api/keys", json={"name": "mine"}, headers=csrf), 403, "forbidden")
    assert (await client.post("/api/logout", headers=csrf)).status_code == 204


async def test_tokens_that_are_not_ours(client: httpx.AsyncClient, team: Team, sessions: Sessions) -> None:
    await log_in(client, team.owner)
    claims = jwt.decode(client.cookies["access_token"], SECRET, algorithms=["HS256"])
    late = utc_now() - timedelta(seconds=1)
    forged = [
        "nonsense",
        jwt.encode(claims, "another secret, of 32 characters or more", algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode({**claims, "exp": late}, SECRET, algorithm="HS256"),
        jwt.encode({**claims, "sid": "ses_unknown"}, SECRET, algorithm="HS256"),
        jwt.encode({**claims, "sid": 1}, SECRET, algorithm="HS256"),
        jwt.encode({"sid": claims["sid"]}, SECRET, algorithm="HS256"),
    ]
    for token in forged:
        response = await client.get("/api/me", headers={"Cookie": f"access_token={token}"})
        problem(response, 401, "unauthenticated")
    async with transaction(sessions) as session:
        await session.execute(update(LoginSession).where(LoginSession.id == claims["sid"]).values(expires_at=late))
    problem(await client.get("/api/me"), 401, "unauthenticated")


async def test_expired_sessions_are_cleared_away(sessions: Sessions, team: Team) -> None:
    now, hour = utc_now(), timedelta(hours=1)
    async with transaction(sessions) as session:
        user = await create_user(session, team.account_id, "sessions@ours.example", PASSWORD, now)
        await create_session(session, user.id, now - 2 * hour, hour)
        await create_session(session, user.id, now, hour)
        count = select(func.count()).select_from(LoginSession).where(LoginSession.user_id == user.id)
        assert await session.scalar(count) == 1


async def test_a_session_is_seen_to_the_minute(client: httpx.AsyncClient, team: Team, sessions: Sessions) -> None:
    await log_in(client, team.owner)
    session_id = jwt.decode(client.cookies["access_token"], SECRET, algorithms=["HS256"])["sid"]
    for seconds, is_new in ((30, False), (61, True)):
        then = utc_now() - timedelta(seconds=seconds)
        async with transaction(sessions) as session:
            await session.execute(update(LoginSession).where(LoginSession.id == session_id).values(seen_at=then))
        assert (await client.get("/api/me")).status_code == 200
        async with sessions() as session:
            seen = await session.scalar(select(LoginSession.seen_at).where(LoginSession.id == session_id))
        assert seen is not None
        assert (seen != then) == is_new


async def test_long_headers_are_kept_short(client: httpx.AsyncClient, team: Team, sessions: Sessions) -> None:
    client.headers["User-Agent"] = "x" * 5000
    await log_in(client, team.owner)
    session_id = jwt.decode(client.cookies["access_token"], SECRET, algorithms=["HS256"])["sid"]
    async with sessions() as session:
        login = await session.get_one(LoginSession, session_id)
    assert (len(login.user_agent or ""), login.address) == (300, "127.0.0.1")


def test_without_a_secret_logins_work_for_this_process(sessions: Sessions) -> None:
    apps = [FastAPI(), FastAPI()]
    with capture_logs() as logs:
        for app in apps:
            install_security(app, Settings(_env_file=None), sessions)
    assert [entry["log_level"] for entry in logs] == ["warning"] * 2
    first, second = (app.state.authenticator.tokens.csrf_token("ses_1") for app in apps)
    assert first != second


def test_secrets_must_be_long() -> None:
    with pytest.raises(ValueError, match="PINGPULSE_SECRET_KEY"):
        SessionTokens("x" * 31)


# Users


async def test_emails_are_unique_whatever_their_case(sessions: Sessions, team: Team) -> None:
    with pytest.raises(EmailTaken):
        async with transaction(sessions) as session:
            await create_user(session, team.account_id, team.owner.upper(), PASSWORD, utc_now())
    async with sessions() as session:
        hashes = (await session.scalars(select(User.password_hash).where(User.email == team.owner))).all()
    assert [password_hash[:9] for password_hash in hashes] == ["$argon2id"]


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a b@c.d", "ada@exam\x00ple", "a@" + "b" * 260, "a@b\ud800"])
def test_emails_that_are_none(email: str) -> None:
    with pytest.raises(InvalidRequest):
        normal_email(email)


@pytest.mark.parametrize("password", ["short", "x" * 1025])
async def test_passwords_that_will_not_do(sessions: Sessions, team: Team, password: str) -> None:
    with pytest.raises(InvalidRequest, match="password"):
        async with transaction(sessions) as session:
            await create_user(session, team.account_id, "new@ours.example", password, utc_now())
