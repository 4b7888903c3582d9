"""How often."""

import asyncio
from collections.abc import Callable

import httpx

from api.security.limiter import Windows
from storage.base import Sessions
from tests.api.conftest import PASSWORD, Gateway, Team, api_key, log_in, new_ping_key
from tests.api.test_errors import problem


async def test_pings_are_limited_by_key(start: Callable[..., Gateway], sessions: Sessions, team: Team) -> None:
    first, second = await new_ping_key(sessions, team), await new_ping_key(sessions, team)
    async with start(pings_per_minute=3).client() as client:
        for left in (2, 1, 0):
            response = await client.get("/dhk/w", params={"key": first})
            assert response.status_code == 200
            assert response.headers["ratelimit-limit"] == "3"
            assert response.headers["ratelimit-remaining"] == str(left)
            assert 0 < int(response.headers["ratelimit-reset"]) <= 60
        refused = await client.get("/dhk/w", params={"key": first})
        problem(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"]
        assert refused.headers["ratelimit-remaining"] == "0"
        assert (await client.get("/dhk/w", params={"key": second})).status_code == 200
        assert (await client.get("/api/me", params={"key": first})).status_code == 200


async def test_requests_are_limited_by_key_and_by_user(start: Callable[..., Gateway], team: Team) -> None:
    async with start(requests_per_minute=2).client() as client:
        await log_in(client, team.owner)
        for headers in ({}, api_key(team.full_key)):
            statuses = [(await client.get("/api/me", headers=headers)).status_code for _ in range(3)]
            assert statuses == [200, 200, 429]
        response = await client.get("/api/keys", headers=api_key(team.full_key))
        problem(response, 429, "rate_limited")
        assert response.headers["ratelimit-limit"] == "2"


async def test_failing_logins_are_throttled(start: Callable[..., Gateway], team: Team) -> None:
    async with start(failed_logins_per_minute=3).client() as client:

        async def attempt(email: str, password: str) -> httpx.Response:
            return await client.post("/api/login", json={"email": email, "password": password})

        for _ in range(5):  # good ones cost nothing
            assert (await attempt(team.owner, PASSWORD)).status_code == 200
        wrong = [attempt(team.owner, "wrong") for _ in range(2)]
        assert [response.status_code for response in await asyncio.gather(*wrong)] == [401, 401]
        assert (await attempt(team.owner, PASSWORD)).status_code == 200  # and forgive no bad ones
        assert (await attempt(team.owner, "wrong")).status_code == 401
        refused = await attempt(team.owner, PASSWORD)
        problem(refused, 429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
        problem(await attempt("another@ours.example", "wrong"), 429, "rate_limited")  # by address


async def test_attempts_at_the_same_time_are_all_counted(start: Callable[..., Gateway], team: Team) -> None:
    async with start(failed_logins_per_minute=3).client() as client:
        wrong = [client.post("/api/login", json={"email": team.owner, "password": "wrong"}) for _ in range(8)]
        statuses = sorted(response.status_code for response in await asyncio.gather(*wrong))
    assert statuses == [401] * 3 + [429] * 5


def test_windows_count_many_at_once() -> None:
    windows = Windows(3)
    assert [windows.hit("a", 1000.0, 2), windows.hit("a", 1001.0, 5)] == [(2, 1060.0), (7, 1060.0)]
    windows.take_back("a", 5)
    assert windows.hit("a", 1002.0) == (3, 1060.0)
    windows.take_back("a", 9)
    assert windows.hit("a", 1003.0, 2) == (2, 1060.0)


def test_windows_begin_anew_and_are_swept() -> None:
    windows = Windows(3)
    assert [windows.hit("a", 1000.0), windows.hit("a", 1001.0)] == [(1, 1060.0), (2, 1060.0)]
    windows.take_back("a")
    windows.take_back("a stranger")
    assert windows.hit("a", 1059.9) == (2, 1060.0)
    assert windows.hit("a", 1060.0) == (1, 1120.0)
    for moment in (2000.0, 3000.0, 4000.0):
        for number in range(1000):
            windows.hit(f"caller {number} of {moment}", moment)
    assert len(windows) <= 2000
