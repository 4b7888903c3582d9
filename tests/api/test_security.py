"""Whose key it is, and what it may do."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from api.security import Authenticator
from api.security.authenticator import CACHE_SECONDS
from api.security.sessions import SessionTokens
from config.clock import utc_now
from domain.keys import HOW_TO_SEND_A_KEY, KEY, key_id_of, new_key, redact
from storage.base import Sessions, transaction
from storage.keys import ApiKey, find_key, revoke_key
from tests.api.conftest import Team, api_key, new_ping_key
from tests.api.test_errors import problem
from tests.support.stack import SECRET


def test_keys_look_as_they_should() -> None:
    key_id, key = new_key()
    assert re.fullmatch(r"ppk_[a-z0-9]{10}_[A-Za-z0-9]{32,}", key)
    assert key_id_of(key) == key_id
    assert KEY.fullmatch(key + "\n") is None
    assert redact(f"a {key}, b") == f"a ppk_{key_id}_***, b"


@pytest.mark.parametrize(
    "where",
    [
        lambda key: {"params": {"key": key}},
        lambda key: {"json": {"key": key}},
        lambda key: {"headers": {"X-API-Key": key}},
        lambda key: {"headers": {"Authorization": f"bearer {key}"}},
        lambda key: {"params": {"key": ""}, "json": {"key": 1}, "headers": {"X-API-Key": key}},
    ],
)
async def test_a_key_is_taken_from_everywhere(
    client: httpx.AsyncClient, team: Team, where: Callable[[str], dict[str, Any]]
) -> None:
    response = await client.post("/dhk/w", **where(team.ping_key))
    assert (response.status_code, response.text) == (200, team.account_id)


async def test_a_payload_may_have_a_key_of_its_own(client: httpx.AsyncClient, team: Team) -> None:
    response = await client.post("/dhk/w", json={"key": "uploads/report.csv"}, headers=api_key(team.ping_key))
    assert response.text == team.account_id


async def test_the_query_goes_before_the_rest(client: httpx.AsyncClient, team: Team, others: Team) -> None:
    response = await client.post("/dhk/w", params={"key": team.ping_key}, headers=api_key(others.ping_key))
    assert response.text == team.account_id


async def test_without_a_key_the_answer_says_where_to_put_one(client: httpx.AsyncClient) -> None:
    for response in (await client.get("/dhk/w"), await client.get("/api/keys")):
        assert HOW_TO_SEND_A_KEY in problem(response, 401, "unauthenticated")["detail"]
        assert response.headers["www-authenticate"].startswith("Bearer")


async def test_wrong_keys(client: httpx.AsyncClient, team: Team) -> None:
    unknown = new_key()[1]
    forged = team.ping_key[:-1] + ("a" if team.ping_key[-1] != "a" else "b")
    with capture_logs() as logs:
        for key in (unknown, unknown, forged, "nonsense", "é", "\x00", "x" * 5000):
            response = await client.get("/dhk/w", params={"key": key})
            problem(response, 401, "unauthenticated")
            assert key not in response.text
    assert unknown not in repr(logs)
    response = await client.post(
        "/dhk/w", content=b'{"key": "ppk_\\ud800"}', headers={"Content-Type": "application/json"}
    )
    problem(response, 401, "unauthenticated")


async def test_only_the_hash_is_stored(sessions: Sessions, team: Team) -> None:
    async with sessions() as session:
        key = await find_key(session, team.full_key)
    assert key is not None
    assert team.full_key.rpartition("_")[2] not in repr(vars(key))


async def test_keys_are_made_listed_and_revoked(client: httpx.AsyncClient, team: Team) -> None:
    headers = api_key(team.full_key)
    created = await client.post("/api/keys", json={"name": "cron", "scope": "ping"}, headers=headers)
    assert created.status_code == 201
    assert created.headers["cache-control"] == "no-store"
    key, key_id = created.json()["key"], created.json()["id"]
    assert (await client.get("/dhk/w", params={"key": key})).status_code == 200

    listed = await client.get("/api/keys", headers=headers)
    assert key not in listed.text
    assert "key" not in listed.json()["keys"][0]
    assert listed.json()["keys"][0]["id"] == key_id
    assert listed.json()["keys"][0]["last_used_at"] is not None

    for _ in range(2):
        assert (await client.delete(f"/api/keys/{key_id}", headers=headers)).status_code == 204
        problem(await client.get("/dhk/w", params={"key": key}), 401, "unauthenticated")
    assert (await client.get("/api/keys", headers=headers)).json()["keys"][0]["revoked_at"] is not None


async def test_a_key_revoked_elsewhere_ends_within_the_caches_second(
    client: httpx.AsyncClient, sessions: Sessions, team: Team
) -> None:
    key = await new_ping_key(sessions, team)
    assert (await client.get("/dhk/w", params={"key": key})).status_code == 200
    async with transaction(sessions) as session:
        await revoke_key(session, str(key_id_of(key)), utc_now())
    await asyncio.sleep(CACHE_SECONDS + 0.1)
    problem(await client.get("/dhk/w", params={"key": key}), 401, "unauthenticated")


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "a\x00"}, {"name": "a", "scope": "all"}, {"nam": "a"}])
async def test_bad_new_keys(client: httpx.AsyncClient, team: Team, body: dict[str, str]) -> None:
    problem(await client.post("/api/keys", json=body, headers=api_key(team.full_key)), 400, "invalid_request")


async def test_other_peoples_keys(client: httpx.AsyncClient, team: Team, others: Team) -> None:
    headers = api_key(team.full_key)
    theirs = key_id_of(others.ping_key)
    problem(await client.delete(f"/api/keys/{theirs}", headers=headers), 403, "forbidden")
    assert (await client.get("/dhk/w", params={"key": others.ping_key})).status_code == 200
    assert str(theirs) not in (await client.get("/api/keys", headers=headers)).text
    for unknown in ("nothing", "%00", "%FF"):
        problem(await client.delete(f"/api/keys/{unknown}", headers=headers), 404, "not_found")


async def test_ensure_owner(client: httpx.AsyncClient, team: Team, others: Team) -> None:
    headers = api_key(team.full_key)
    assert (await client.get(f"/api/of/{team.account_id}", headers=headers)).status_code == 200
    problem(await client.get(f"/api/of/{others.account_id}", headers=headers), 403, "forbidden")


async def test_a_ping_key_pings_and_reads_trees_only(client: httpx.AsyncClient, team: Team) -> None:
    headers = api_key(team.ping_key)
    assert (await client.get("/dhk/w", headers=headers)).status_code == 200
    assert (await client.get("/dhk/w/tree", headers=headers)).json() == "ping"
    problem(await client.get("/api/keys", headers=headers), 403, "insufficient_scope")


# The cache of keys


async def test_a_busy_key_costs_one_query_and_last_use_one_write_a_minute(sessions: Sessions, team: Team) -> None:
    key, queries = await new_ping_key(sessions, team), 0

    class Counted:
        def __call__(self) -> Any:
            nonlocal queries
            queries += 1
            return sessions()

    now = utc_now()
    authenticator = Authenticator(Counted(), SessionTokens(SECRET), lambda: now)  # type: ignore[arg-type]
    answers = await asyncio.gather(*(authenticator.authenticate_key(key) for _ in range(50)))
    await authenticator.authenticate_key(key)
    assert {answer.key_id for answer in answers} == {key_id_of(key)}
    assert queries == 1

    async def last_use() -> Any:
        async with sessions() as session:
            return await session.scalar(select(ApiKey.last_used_at).where(ApiKey.id == key_id_of(key)))

    first = now
    for seconds, expected in ((0, first), (59, first), (61, first + timedelta(seconds=61))):
        now = first + timedelta(seconds=seconds)
        authenticator.forget_key(str(key_id_of(key)))
        await authenticator.authenticate_key(key)
        assert await last_use() == expected


async def test_a_look_up_that_began_before_a_revocation_is_not_remembered(sessions: Sessions, team: Team) -> None:
    key = await new_ping_key(sessions, team)
    authenticator = Authenticator(sessions, SessionTokens(SECRET))
    looking = asyncio.create_task(authenticator.authenticate_key(key))
    for _ in range(2):  # the request, then the look-up that it starts
        await asyncio.sleep(0)
    authenticator.forget_key(str(key_id_of(key)))
    await looking
    assert not authenticator._good


async def test_the_cache_is_bounded(sessions: Sessions, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.security.authenticator.CACHE_SIZE", 3)
    authenticator = Authenticator(sessions, SessionTokens(SECRET))
    await authenticator.authenticate_key(team.ping_key)
    for _ in range(5):
        with pytest.raises(Exception, match="wrong or was revoked"):
            await authenticator.authenticate_key(new_key()[1])
    assert (len(authenticator._good), len(authenticator._bad)) == (1, 3)
