"""The account over HTTP: its name, and the time zone by whose days costs are counted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from api.routes.accounts import AccountView
from config.clock import utc_now
from domain.costs import end_of
from storage.base import Sessions, transaction
from tests.api.budget_calls import alerts_told, budget_of, budgeted, cost_alerts, read_exactly, spend
from tests.api.calls import Calls, new_id
from tests.api.conftest import Team, api_key, log_in, make_user
from tests.api.test_errors import fields, problem
from tests.support.waiting import until

EAST, WEST = "Pacific/Kiritimati", "Etc/GMT+12"
"""26 hours apart: one is a day or two ahead of the other at every moment."""


async def change(calls: Calls, **body: Any) -> dict[str, Any]:
    response = await calls.http.patch("/api/account", json=body)
    assert response.status_code == 200, response.text
    AccountView.model_validate(response.json())
    return dict(response.json())


def today_in(zone: str) -> str:
    return str(utc_now().astimezone(ZoneInfo(zone)).date())


async def days(calls: Calls) -> dict[str, Decimal]:
    report = read_exactly(await calls.http.get("/api/costs?from=2026-01-01&to=2026-12-31"))
    return {group["day"]: group["cost_usd"] for group in report["groups"]}


async def test_what_is_named_is_changed(mine: Calls) -> None:
    before = await mine.get("/api/account")
    assert (before["id"], before["time_zone"]) == (mine.account_id, "UTC")
    assert datetime.fromisoformat(before["created_at"]) <= utc_now()
    assert await change(mine, time_zone="Asia/Kathmandu") == {**before, "time_zone": "Asia/Kathmandu"}
    assert await change(mine, name="Größe & Co") == {**before, "time_zone": "Asia/Kathmandu", "name": "Größe & Co"}
    after = await change(mine)
    assert after == await mine.get("/api/account")
    assert await change(mine, time_zone="UTC", name=before["name"]) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *(
            ({"time_zone": wrong}, "time_zone")
            for wrong in (
                "Mars/Olympus",
                "europe/berlin",
                "localtime",
                "Factory",
                "../../etc/passwd",
                "Europe",
                "UTC ",
                "+01:00",
            )
        ),
        *(({"time_zone": wrong}, "time_zone") for wrong in ("", None, 1, "a\x00", "A" * 65, ["UTC"])),
        *(({"name": wrong}, "name") for wrong in ("", None, 1, "a\x00", "n" * 201)),
        ({"id": "acc_1"}, "id"),
        ({"timezone": "UTC"}, "timezone"),
    ],
)
async def test_what_is_wrong_is_named(mine: Calls, body: dict[str, Any], field: str) -> None:
    before = await mine.get("/api/account")
    found = problem(await mine.http.patch("/api/account", json={"name": "new", **body}), 400, "invalid_request")
    assert fields(found) == [field]
    assert await mine.get("/api/account") == before


@pytest.fixture
async def member(quick_gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=quick_gateway) as client:
        yield client


@pytest.mark.parametrize("who", ["owner", "member", "viewer", "full key", "ping key", "nobody"])
async def test_who_may(member: httpx.AsyncClient, team: Team, sessions: Sessions, who: str) -> None:
    headers = {"full key": api_key(team.full_key), "ping key": api_key(team.ping_key)}.get(who)
    if who in ("owner", "member", "viewer"):
        email = {"owner": team.owner, "viewer": team.viewer}.get(who)
        if email is None:
            async with transaction(sessions) as session:
                email = await make_user(session, team.account_id, f"{new_id()}@ours.example", "member")
        member.headers.update(await log_in(member, email))
    answers = [
        await member.request(method, "/api/account", json={"name": "ours"}, headers=headers)
        for method in ("GET", "PATCH")
    ]
    if who == "nobody":
        for answer in answers:
            problem(answer, 401, "unauthenticated")
    elif who == "ping key":
        for answer in answers:
            problem(answer, 403, "insufficient_scope")
    else:
        assert (answers[0].status_code, answers[0].json()["id"]) == (200, team.account_id)
        if who == "viewer":
            problem(answers[1], 403, "forbidden")
        else:
            assert answers[1].status_code == 200
    if who == "owner":
        del member.headers["X-CSRF-Token"]
        problem(await member.patch("/api/account", json={}), 403, "csrf_failed")


async def test_the_next_ping_counts_on_the_new_zone_s_day(mine: Calls) -> None:
    workflow_id = new_id()
    for zone in (EAST, WEST):
        await change(mine, time_zone=zone)
        before = today_in(zone)
        await spend(mine, workflow_id, "1", "0.25", start="yes")
        assert before in await days(mine) or today_in(zone) in await days(mine)
    # What was counted has stayed on its day.
    assert list((await days(mine)).values()) == [Decimal("0.25")] * 2
    assert (await mine.get("/api/costs"))["time_zone"] == WEST


async def test_another_gateway_learns_of_a_zone(mine: Calls, ours_elsewhere: Calls) -> None:
    workflow_id, params = new_id(), {"stagePath": "1", "start": "yes"}

    async def ping_elsewhere() -> int:
        answer = await ours_elsewhere.http.post(
            f"/dhk/{workflow_id}", params=params, json={"cost_usd": 1}, headers=api_key(mine.key)
        )
        assert answer.status_code == 200, answer.text
        return len(await days(mine))

    assert await ping_elsewhere() == 1
    await change(mine, time_zone=EAST)
    zone = EAST if today_in(EAST) != today_in("UTC") else WEST
    await change(mine, time_zone=zone)

    async def counts_there() -> bool:
        return await ping_elsewhere() == 2

    await until(counts_there, every=0.2)


async def test_a_daily_limit_follows_the_zone(mine: Calls) -> None:
    await change(mine, time_zone=WEST)
    workflow_id = await budgeted(mine, budget_daily_limit_usd=1, budget_action="pause")
    await spend(mine, workflow_id, "1", 2, start="yes")
    stopped = await budget_of(mine, workflow_id)
    # Tomorrow has come: runs are opened again, and the new day is told of by itself.
    await change(mine, time_zone=EAST)
    budget = await budget_of(mine, workflow_id)
    assert (budget["stopped_until"], budget["stop_reason"], budget["today_cost_usd"]) == (None, None, 0)
    assert (await spend(mine, workflow_id, "1", 3, start="yes"))["workflow_status"] == "paused"
    eastern = datetime.fromisoformat((await budget_of(mine, workflow_id))["stopped_until"])
    local = eastern.astimezone(ZoneInfo(EAST))
    assert (local.time(), local - timedelta(days=1) <= utc_now() < local) == (time(), True)
    # Back where it is yesterday, both days are spent: the later one has to end there.
    await change(mine, time_zone=WEST)
    budget = await budget_of(mine, workflow_id)
    assert datetime.fromisoformat(budget["stopped_until"]) == eastern + timedelta(hours=26)
    assert datetime.fromisoformat(budget["stopped_until"]) > datetime.fromisoformat(stopped["stopped_until"])
    assert budget["today_cost_usd"] == 2
    assert (await spend(mine, workflow_id, "1", 1, 409, start="yes"))["code"] == "daily_budget_exceeded"
    assert [alert["current_cost_usd"] for alert in await cost_alerts(mine, workflow_id)] == [2, 3]
    await alerts_told(mine, workflow_id, 2)


async def test_a_zone_that_changes_while_a_limit_is_crossed(mine: Calls, ours_elsewhere: Calls) -> None:
    """Whoever comes first, the day that was crossed is stopped until it ends in the zone that there is."""
    for zone in (WEST, "UTC", WEST):
        workflow_id = await budgeted(mine, budget_daily_limit_usd=1, budget_action="pause")
        runs = [(await spend(mine, workflow_id, "1", start="yes"))["instance_id"] for _ in range(6)]
        pings = [
            http.post(
                f"/dhk/{workflow_id}",
                params={"stagePath": "2", "instance_id": run},
                json={"cost_usd": "0.4"},
                headers=api_key(mine.key),
            )
            for run in runs
            for http in (mine.http, ours_elsewhere.http)
        ]
        changed, *answers = await asyncio.gather(change(mine, time_zone=zone), *pings)
        assert changed["time_zone"] == zone
        assert {answer.status_code for answer in answers} <= {200, 409}
        # Of two days, if the one that was crossed first is over in the new zone.
        alerts = await cost_alerts(mine, workflow_id)
        crossed = [date.fromisoformat(alert["message"].split(" on ")[1].split()[0]) for alert in alerts]
        assert 0 < len(crossed) == len(set(crossed))
        if max(crossed) >= date.fromisoformat(today_in(zone)):
            until = (await budget_of(mine, workflow_id))["stopped_until"]
            assert datetime.fromisoformat(until) == end_of(max(crossed), ZoneInfo(zone))
