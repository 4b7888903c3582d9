"""Reservations over HTTP: money that careful agents set aside before they spend it."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from api.routes.reservations import ReservationView, SettledReservation
from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.reservations import Reservation
from tests.api.budget_calls import budgeted, cost_alerts, read_exactly, set_budget, spend
from tests.api.calls import Calls
from tests.api.conftest import Team, api_key, log_in, make_key
from tests.api.test_errors import fields, problem
from tests.support.stack import Stack


async def opened(calls: Calls, **budget: Any) -> tuple[str, str]:
    """A workflow with that budget and an instance that has spent nothing yet."""
    workflow_id = await budgeted(calls, **budget)
    return workflow_id, str((await spend(calls, workflow_id, "1", start="yes"))["instance_id"])


async def reserve(
    calls: Calls, instance_id: str, amount: object, expected: int = 201, key: str | None = None, **body: Any
) -> dict[str, Any]:
    response = await calls.http.post(
        f"/api/instances/{instance_id}/budget/reserve",
        json={"amount_usd": amount, **body},
        headers={"Idempotency-Key": key} if key is not None else {},
    )
    document = read_exactly(response, expected)
    if expected == 201:
        ReservationView.model_validate(response.json())
    return document


async def settle(calls: Calls, instance_id: str, reservation_id: str) -> dict[str, Any]:
    response = await calls.http.post(
        f"/api/instances/{instance_id}/budget/settle", json={"reservation_id": reservation_id}
    )
    document = read_exactly(response)
    SettledReservation.model_validate(response.json())
    return document


def left(document: dict[str, Any]) -> tuple[Any, Any]:
    return document["remaining_usd"], document["remaining_today_usd"]


async def held(sessions: Sessions, instance_id: str) -> Decimal:
    query = select(func.coalesce(func.sum(Reservation.amount_usd), 0)).where(
        Reservation.instance_id == instance_id, Reservation.settled_at.is_(None)
    )
    async with sessions() as session:
        return Decimal(await session.scalar(query) or 0)


async def expire(sessions: Sessions, reservation_id: str) -> None:
    async with transaction(sessions) as session:
        past = utc_now() - timedelta(seconds=1)
        await session.execute(update(Reservation).where(Reservation.id == reservation_id).values(expires_at=past))


async def test_what_is_set_aside_is_not_left_for_others(ours: Calls) -> None:
    workflow_id, one = await opened(ours, budget_limit_usd=1, budget_daily_limit_usd="1.5")
    other = str((await spend(ours, workflow_id, "1", "0.25", start="yes"))["instance_id"])
    before = utc_now()
    document = await reserve(ours, one, 0.5)
    assert left(document) == (Decimal("0.5"), Decimal("0.75"))
    assert (document["instance_id"], document["amount_usd"]) == (one, Decimal("0.5"))
    expires_in = datetime.fromisoformat(document["expires_at"]) - before
    assert timedelta(seconds=900) <= expires_in < timedelta(seconds=930)
    assert left(await reserve(ours, other, "0.75", ttl_seconds=86_400)) == (0, 0)
    for instance_id, amount, remaining in ((one, "0.000000000000000001", (0.5, 0)), (other, 1, (0, 0))):
        refused = await reserve(ours, instance_id, amount, 409)
        assert refused["code"] == "budget_exhausted"
        assert left(refused) == tuple(Decimal(str(each)) for each in remaining)
    assert "of the daily limit" in refused["detail"]
    assert "of the run's limit" in refused["detail"]


async def test_what_is_settled_is_given_back_once(ours: Calls) -> None:
    _, instance_id = await opened(ours, budget_limit_usd=1)
    reservation_id = (await reserve(ours, instance_id, "0.7"))["reservation_id"]
    first = await settle(ours, instance_id, reservation_id)
    assert left(first) == (1, None)
    assert (first["reservation_id"], first["is_expired"]) == (reservation_id, False)
    assert await settle(ours, instance_id, reservation_id) == first
    assert left(await reserve(ours, instance_id, 1)) == (0, None)


async def test_a_ping_settles_as_its_cost_counts(ours: Calls, sessions: Sessions) -> None:
    workflow_id, instance_id = await opened(ours, budget_limit_usd=1)
    reservation_id = (await reserve(ours, instance_id, "0.7"))["reservation_id"]
    body = {"cost_usd": 0.6, "reservation_id": reservation_id}
    await ours.post(f"/dhk/{workflow_id}", body, stagePath="2")
    assert await held(sessions, instance_id) == 0
    assert left(await reserve(ours, instance_id, "0.1")) == (Decimal("0.3"), None)
    document = await settle(ours, instance_id, reservation_id)
    assert left(document) == (Decimal("0.3"), None)
    async with sessions() as session:
        row = await session.get_one(Reservation, reservation_id)
    assert row.settled_at == datetime.fromisoformat(document["settled_at"])
    assert row.settled_by is not None


async def test_what_is_held_is_shown(ours: Calls, sessions: Sessions) -> None:
    workflow_id, one = await opened(ours, budget_limit_usd=5)
    other = str((await spend(ours, workflow_id, "1", start="yes"))["instance_id"])
    _, elsewhere = await opened(ours, budget_limit_usd=5)

    async def shown() -> list[Decimal]:
        paths = [f"/api/instances/{one}/cost", f"/api/instances/{other}/cost", f"/api/workflows/{workflow_id}/budget"]
        return [read_exactly(await ours.http.get(path))["held_usd"] for path in paths]

    assert await shown() == [0, 0, 0]
    first = (await reserve(ours, one, "0.7"))["reservation_id"]
    second = (await reserve(ours, one, "0.000000000000000001"))["reservation_id"]
    await reserve(ours, other, "0.2")
    await reserve(ours, elsewhere, 5)
    tiny = Decimal("1e-18")
    assert await shown() == [Decimal("0.7") + tiny, Decimal("0.2"), Decimal("0.9") + tiny]
    await ours.post(f"/dhk/{workflow_id}", {"cost_usd": 0.6, "reservation_id": first}, stagePath="2", instance_id=one)
    assert await shown() == [tiny, Decimal("0.2"), Decimal("0.2") + tiny]
    await expire(sessions, second)
    assert await shown() == [0, Decimal("0.2"), Decimal("0.2")]


async def test_a_ping_does_not_settle_what_another_instance_holds(ours: Calls, sessions: Sessions) -> None:
    workflow_id, one = await opened(ours, budget_limit_usd=1)
    _, other = await opened(ours, budget_limit_usd=1)
    reservation_id = (await reserve(ours, other, "0.7"))["reservation_id"]
    await ours.post(f"/dhk/{workflow_id}", {"cost_usd": 0.6, "reservation_id": reservation_id}, stagePath="2")
    assert await held(sessions, other) == Decimal("0.7")


async def test_what_is_not_settled_expires(ours: Calls, sessions: Sessions) -> None:
    _, instance_id = await opened(ours, budget_limit_usd=1)
    document = await reserve(ours, instance_id, 1, ttl_seconds=1)
    await expire(sessions, document["reservation_id"])
    assert left(await reserve(ours, instance_id, "0.4")) == (Decimal("0.6"), None)
    settled = await settle(ours, instance_id, document["reservation_id"])
    assert (settled["is_expired"], left(settled)) == (True, (Decimal("0.6"), None))
    assert await settle(ours, instance_id, document["reservation_id"]) == settled


async def test_nothing_is_set_aside_twice_for_one_key(ours: Calls, sessions: Sessions) -> None:
    _, one = await opened(ours, budget_limit_usd=1)
    _, other = await opened(ours, budget_limit_usd=1)
    first = await reserve(ours, one, "0.6", key="step 7")
    assert await reserve(ours, one, "0.60", key="step 7") == first
    assert (await reserve(ours, one, "0.5", 409, key="step 7"))["code"] == "conflict"
    assert (await reserve(ours, other, "0.6", key="step 7"))["reservation_id"] != first["reservation_id"]
    assert await held(sessions, one) == Decimal("0.6")


@pytest.mark.parametrize("budget", [{}, {"budget_enabled": False, "budget_limit_usd": 1}], ids=["none", "disabled"])
async def test_without_a_budget_everything_is_granted(ours: Calls, sessions: Sessions, budget: dict[str, Any]) -> None:
    workflow_id = await ours.define("dynamic")
    if budget:
        await set_budget(ours, workflow_id, **budget)
    _, instance_id = await ours.open(workflow_id)
    answers = await asyncio.gather(*(reserve(ours, instance_id, 1000, key="same") for _ in range(8)))
    assert {answer["reservation_id"] for answer in answers} == {answers[0]["reservation_id"]}
    assert left(answers[0]) == (None, None)
    assert await held(sessions, instance_id) == 1000


async def test_fifty_at_once_over_two_gateways_hold_no_more_than_there_is(
    ours: Calls, ours_elsewhere: Calls, sessions: Sessions
) -> None:
    workflow_id, one = await opened(ours, budget_limit_usd=4, budget_daily_limit_usd=5)
    other = str((await spend(ours, workflow_id, "1", "0.3", start="yes"))["instance_id"])

    async def ask(number: int) -> int:
        calls, instance_id = (ours, ours_elsewhere)[number % 2], (one, other)[number // 2 % 2]
        url = f"/api/instances/{instance_id}/budget/reserve"
        return (await calls.http.post(url, json={"amount_usd": 0.25})).status_code

    statuses = await asyncio.gather(*map(ask, range(50)))
    assert sorted(set(statuses)) == [201, 409]
    assert statuses.count(201) == 18  # of 4.70
    assert await held(sessions, one) + await held(sessions, other) == Decimal("4.5")
    assert left(await reserve(ours, one, "0.2"))[1] == 0


async def test_a_reservation_never_trips_the_breaker(ours: Calls) -> None:
    workflow_id, instance_id = await opened(ours, budget_limit_usd=1, budget_action="terminate")
    await reserve(ours, instance_id, 1)
    answer = await spend(ours, workflow_id, "2", 0.9)
    assert (answer["workflow_status"], answer["budget"]["state"]) == ("running", "ok")
    assert await cost_alerts(ours, workflow_id) == []


async def test_a_raised_limit_leaves_more(ours: Calls) -> None:
    workflow_id, instance_id = await opened(ours, budget_limit_usd=1, budget_action="pause")
    await spend(ours, workflow_id, "2", "1.5")
    refused = await reserve(ours, instance_id, "0.1", 409)
    assert (refused["code"], refused["workflow_status"]) == ("instance_paused", "paused")
    await ours.post(f"/api/instances/{instance_id}/resume", {"budget_limit_usd": 2})
    assert left(await reserve(ours, instance_id, "0.1")) == (Decimal("0.4"), None)


async def test_what_is_over_sets_nothing_aside(ours: Calls) -> None:
    workflow_id, instance_id = await opened(ours, budget_limit_usd=1, budget_action="terminate")
    reservation_id = (await reserve(ours, instance_id, "0.1"))["reservation_id"]
    await spend(ours, workflow_id, "2", 2)
    assert (await reserve(ours, instance_id, "0.1", 409))["code"] == "instance_terminated"
    assert left(await settle(ours, instance_id, reservation_id)) == (0, None)
    workflow_id = await ours.define("dynamic", grace_period_seconds=0)
    await set_budget(ours, workflow_id, budget_limit_usd=1)
    completed = str((await spend(ours, workflow_id, "1", start="yes", final="yes"))["instance_id"])
    await ours.closed(completed)
    assert (await reserve(ours, completed, "0.1", 409))["code"] == "instance_closed"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "amount_usd"),
        ({"amount_usd": 0}, "amount_usd"),
        ({"amount_usd": -1}, "amount_usd"),
        ({"amount_usd": 10**10}, "amount_usd"),
        ({"amount_usd": "NaN"}, "amount_usd"),
        ({"amount_usd": 1, "ttl_seconds": 0}, "ttl_seconds"),
        ({"amount_usd": 1, "ttl_seconds": 86_401}, "ttl_seconds"),
        ({"amount_usd": 1, "ttl_seconds": "900"}, "ttl_seconds"),
        ({"amount_usd": 1, "model_id": "m"}, "model_id"),
    ],
)
async def test_what_is_wrong_is_named(ours: Calls, body: dict[str, Any], field: str) -> None:
    _, instance_id = await opened(ours, budget_limit_usd=1)
    response = await ours.http.post(f"/api/instances/{instance_id}/budget/reserve", json=body)
    assert fields(problem(response, 400, "invalid_request")) == [field]


async def test_a_settlement_is_not_where_costs_are_told(ours: Calls, sessions: Sessions) -> None:
    _, instance_id = await opened(ours, budget_limit_usd=1)
    reservation_id = (await reserve(ours, instance_id, "0.1"))["reservation_id"]
    body = {"reservation_id": reservation_id, "cost_usd": 0.05}
    response = await ours.http.post(f"/api/instances/{instance_id}/budget/settle", json=body)
    document = problem(response, 400, "invalid_request")
    assert fields(document) == ["cost_usd"]
    assert "the ping" in document["detail"]
    assert await held(sessions, instance_id) == Decimal("0.1")


async def test_who_may_reserve(ours: Calls, theirs: Calls, stack: Stack, sessions: Sessions, team: Team) -> None:
    _, instance_id = await opened(ours, budget_limit_usd=1)
    _, another = await opened(ours, budget_limit_usd=1)
    url = f"/api/instances/{instance_id}/budget"
    body = {"amount_usd": 0.1}
    async with transaction(sessions) as session:
        key = api_key(await make_key(session, ours.account_id, "ping"))
    made = read_exactly(await ours.http.post(f"{url}/reserve", json=body, headers=key), 201)
    held_there = {"reservation_id": made["reservation_id"]}
    problem(await theirs.http.post(f"{url}/reserve", json=body), 403, "forbidden")
    problem(await theirs.http.post(f"{url}/settle", json=held_there), 403, "forbidden")
    nowhere = "/api/instances/dnothing1/budget/reserve"
    problem(await ours.http.post(nowhere, json=body), 404, "not_found")
    for instance, reservation_id in ((another, made["reservation_id"]), (instance_id, "rsv_none")):
        response = await ours.http.post(
            f"/api/instances/{instance}/budget/settle", json={"reservation_id": reservation_id}
        )
        problem(response, 404, "not_found")
    assert (await ours.http.post(f"{url}/settle", json=held_there, headers=key)).status_code == 200
    async with httpx.AsyncClient(base_url=stack.url) as browser:
        viewer = await log_in(browser, team.viewer)
        problem(await browser.post(f"{url}/reserve", json=body, headers=viewer), 403, "forbidden")


async def test_what_is_over_for_good_holds_nothing(ours: Calls) -> None:
    workflow_id, one = await opened(
        ours, budget_daily_limit_usd=10, max_pings_per_instance=1, budget_action="terminate"
    )
    await reserve(ours, one, 9, ttl_seconds=86_400)
    assert (await spend(ours, workflow_id, "2", instance_id=one))["workflow_status"] == "terminated"
    other = (await spend(ours, workflow_id, "1", start="yes"))["instance_id"]
    assert left(await reserve(ours, other, 2)) == (None, 8)


async def test_a_key_that_is_used_again_says_what_became_of_its_reservation(ours: Calls) -> None:
    _, instance_id = await opened(ours, budget_limit_usd=10)
    first = await reserve(ours, instance_id, 1, key="k")
    assert (first["settled_at"], first["is_expired"]) == (None, False)
    settled_at = (await settle(ours, instance_id, first["reservation_id"]))["settled_at"]
    again = await reserve(ours, instance_id, 1, key="k")
    assert (again["reservation_id"], again["settled_at"]) == (first["reservation_id"], settled_at)
