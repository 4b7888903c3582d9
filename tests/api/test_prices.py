"""Own prices over HTTP, and what they make of pings."""

import json
from decimal import Decimal
from typing import Any

import pytest

from api.routes.prices import PriceList, PriceView
from config.clock import utc_now
from storage.base import Sessions, transaction
from tests.api.calls import Calls, new_id
from tests.api.conftest import api_key, make_key
from tests.api.test_costs import cost_of, post
from tests.api.test_errors import fields, problem
from tests.support.waiting import until

PRICE = {"model": "house-*", "input_per_million": 2, "output_per_million": 10}
PING = {"model": "House-7b", "usage": {"input_tokens": 1_000_000, "output_tokens": 100_000, "cached_tokens": 400_000}}


async def put(calls: Calls, expected: int = 201, **price: Any) -> dict[str, Any]:
    response = await calls.http.put("/api/prices", json={**PRICE, **price})
    assert response.status_code == expected, response.text
    PriceView.model_validate(response.json())
    return dict(json.loads(response.text, parse_float=Decimal))


async def listed(calls: Calls) -> list[dict[str, Any]]:
    document = await calls.get("/api/prices")
    PriceList.model_validate(document)
    return list(document["prices"])


async def priced(calls: Calls, body: Any = PING) -> dict[str, Any]:
    """What a ping of a new instance costs."""
    instance_id = await post(calls, new_id(), "1", body, start="yes")
    (ping,) = (await cost_of(calls, instance_id))["breakdown"]
    return dict(ping)


async def test_a_price_holds_for_the_next_ping(mine: Calls) -> None:
    assert (await priced(mine))["cost_source"] == "unpriced"
    price = await put(mine, cached_per_million="0.5")
    ping = await priced(mine)
    # 600,000 at 2, 400,000 from the cache at 0.5, 100,000 at 10
    assert (ping["cost_usd"], ping["cost_source"]) == (Decimal("2.4"), "own")
    assert ping["price_version"] == "house-* 2/10/0.5"
    response = await mine.http.delete(f"/api/prices/{price['id']}")
    assert response.status_code == 204
    assert (await priced(mine))["cost_source"] == "unpriced"
    assert await listed(mine) == []


async def test_what_the_caller_says_goes_first(mine: Calls) -> None:
    await put(mine)
    assert (await priced(mine, {**PING, "cost_usd": 0.1}))["cost_usd"] == Decimal("0.1")


async def test_an_own_price_goes_before_the_table(mine: Calls) -> None:
    await put(mine, model="gpt-4o")
    assert (await priced(mine, {**PING, "model": "gpt-4o"}))["cost_usd"] == 3


async def test_the_same_model_has_one_price_from_a_moment(mine: Calls) -> None:
    first = await put(mine)
    again = await put(mine, 200, model="HOUSE-*", input_per_million="0.000000001")
    assert (again["id"], again["model"], again["input_per_million"]) == (first["id"], "HOUSE-*", Decimal("1e-9"))
    later = await put(mine, valid_from="2099-01-01T00:00:00+01:00")
    assert later["valid_from"] == "2098-12-31T23:00:00Z"
    await put(mine, 200, valid_from="2098-12-31T23:00:00Z")
    other = await put(mine, model="another")
    assert [price["id"] for price in await listed(mine)] == [other["id"], first["id"], later["id"]]
    assert (await priced(mine))["price_version"] == "HOUSE-* 0.000000001/10"


async def test_a_price_is_what_was_sent(mine: Calls) -> None:
    headers = {"Content-Type": "application/json"}
    start = '{"model": "exact", "output_per_million": 10, "input_per_million": '
    for written in ("0.123456789", "999999.123456789", '"0.1"', "1e1", "2.500000000000"):
        response = await mine.http.put("/api/prices", content=f"{start}{written}}}", headers=headers)
        price = json.loads(response.text, parse_float=Decimal)
        assert price["input_per_million"] == Decimal(written.strip('"')), response.text
    # As a float it would be taken for 0.1.
    for written in ("0.10000000000000000001", "1e99999999999999999999", "1e-400", "NaN"):
        response = await mine.http.put("/api/prices", content=f"{start}{written}}}", headers=headers)
        assert fields(problem(response, 400, "invalid_request")) == ["input_per_million"]


async def test_another_gateway_learns_of_a_price(mine: Calls, ours_elsewhere: Calls) -> None:
    elsewhere = Calls(ours_elsewhere.http, mine.account_id, mine.key)
    headers = api_key(mine.key)

    async def costs_elsewhere() -> Any:
        workflow_id = new_id()
        response = await elsewhere.http.post(f"/dhk/{workflow_id}?stagePath=1&start=yes", json=PING, headers=headers)
        (ping,) = (await cost_of(mine, response.json()["instance_id"]))["breakdown"]
        return ping["cost_usd"]

    assert await costs_elsewhere() is None
    await put(mine)

    async def knows_it() -> bool:
        return bool(await costs_elsewhere() == 3)

    await until(knows_it, every=0.2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": "a*b"}, "model"),
        ({"model": "a\x00"}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"input_per_million": -1}, "input_per_million"),
        ({"input_per_million": None}, "input_per_million"),
        ({"output_per_million": 1_000_001}, "output_per_million"),
        ({"output_per_million": "0.0000000001"}, "output_per_million"),
        ({"output_per_million": "NaN"}, "output_per_million"),
        ({"cached_per_million": 3}, "cached_per_million"),
        ({"valid_from": "2026-01-01T00:00:00"}, "valid_from"),
        ({"valid_from": "0001-01-01T00:00:00+14:00"}, "valid_from"),
        ({"valid_from": "9999-12-31T23:59:59-14:00"}, "valid_from"),
        ({"price": 1}, "price"),
    ],
)
async def test_what_makes_no_sense_is_named(mine: Calls, change: dict[str, Any], field: str) -> None:
    found = problem(await mine.http.put("/api/prices", json={**PRICE, **change}), 400, "invalid_request")
    assert fields(found) == [field]
    assert await listed(mine) == []


async def test_prices_are_the_account_s_own(mine: Calls, theirs: Calls, sessions: Sessions) -> None:
    price = await put(mine)
    assert price["id"] not in {their["id"] for their in await listed(theirs)}
    problem(await theirs.http.delete(f"/api/prices/{price['id']}"), 403, "forbidden")
    problem(await mine.http.delete("/api/prices/prc_nothing"), 404, "not_found")
    assert (await priced(theirs))["cost_source"] == "unpriced"
    async with transaction(sessions) as session:
        ping_key = await make_key(session, mine.account_id, "ping")
    response = await mine.http.put("/api/prices", json=PRICE, headers=api_key(ping_key))
    problem(response, 403, "insufficient_scope")


async def test_an_account_has_only_so_many(mine: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.prices.MAX_PRICES", 1)
    price = await put(mine)
    found = problem(await mine.http.put("/api/prices", json={**PRICE, "model": "more"}), 409, "conflict")
    assert "more" not in found["detail"]
    assert (await put(mine, 200))["created_at"] > price["created_at"] < utc_now().isoformat()
