"""The same key within 24 hours: the first answer again, and one ping."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select, update

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.pings import IdempotencyKey, Ping
from tests.api.calls import Calls, new_id
from tests.api.test_errors import problem


async def count(sessions: Sessions, workflow_id: str) -> int:
    async with sessions() as session:
        query = select(func.count()).select_from(Ping).where(Ping.workflow_id == workflow_id)
        return await session.scalar(query) or 0


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


@pytest.mark.parametrize("where", ["header", "query", "body"])
async def test_the_same_key_pings_once(ours: Calls, sessions: Sessions, where: str) -> None:
    workflow_id, key = new_id(), new_id("key")

    async def ping() -> httpx.Response:
        url = f"/dhk/{workflow_id}?stage=1&start=yes"
        if where == "header":
            return await ours.http.post(url, headers=keyed(key))
        if where == "query":
            return await ours.http.post(f"{url}&idempotency_key={key}")
        return await ours.http.post(url, json={"idempotency_key": key})

    first, second = await ping(), await ping()
    assert first.json() == second.json()
    assert first.json()["instance_id"]
    assert await count(sessions, workflow_id) == 1


async def test_the_first_answer_stays_when_the_instance_has_moved_on(ours: Calls) -> None:
    workflow_id = await ours.define(stages=2)
    key = new_id("key")
    first = await ours.static(workflow_id, 1, idempotency_key=key)
    assert (await ours.static(workflow_id, 2))["workflow_status"] in ("running", "completed")
    await ours.settled(first["instance_id"], "completed")
    assert await ours.static(workflow_id, 1, idempotency_key=key) == first


async def test_at_the_same_time_and_through_two_gateways(
    ours: Calls, ours_elsewhere: Calls, sessions: Sessions
) -> None:
    for mode in ("flexible", "strict"):
        workflow_id, key = await ours.define("dynamic", validation_mode=mode), new_id("key")
        params = {"stage": "1", "start": "yes", "agent": "a"}
        pings = [
            gateway.http.get(f"/dhk/{workflow_id}", params=params, headers=keyed(key))
            for gateway in (ours, ours_elsewhere) * 8
        ]
        answers = [response.json() for response in await asyncio.gather(*pings)]
        assert answers == [answers[0]] * len(answers)
        assert answers[0]["status"] == "success"
        assert await count(sessions, workflow_id) == 1


async def test_a_rejection_is_repeated(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    await ours.static(workflow_id, 1, agent="a")
    key = new_id("key")
    documents = []
    for _ in range(2):
        response = await ours.http.get(f"/shk/{workflow_id}?stage=3&agent=a", headers=keyed(key))
        documents.append(problem(response, 400, "stage_missed"))
        await ours.static(workflow_id, len(documents) + 1, agent="a")
    assert documents[0] == documents[1]
    assert [ping["stage_path"] for ping in await ours.failed_pings(workflow_id)] == ["3"]


async def test_a_rejection_before_any_instance_is_repeated(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    for _ in range(2):
        response = await ours.http.get(f"/shk/{workflow_id}", params={"stage": 1}, headers=keyed(workflow_id))
        assert problem(response, 400, "agent_required")["expected_stage"] == "1"
    assert len(await ours.failed_pings(workflow_id)) == 1


async def test_an_early_answer_is_repeated_after_it_was_adopted(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic")
    key = new_id("key")
    first = await ours.dynamic(workflow_id, "2", idempotency_key=key)
    assert first["instance_id"] is None
    await ours.open(workflow_id)
    assert await ours.dynamic(workflow_id, "2", idempotency_key=key) == first


async def test_another_stage_or_workflow_with_the_key_is_refused(ours: Calls) -> None:
    workflow_id, _ = await ours.open(idempotency_key=(key := new_id("key")))
    for path, stage in ((workflow_id, "2"), (new_id(), "1")):
        params = {"stage": stage, "start": "yes"}
        problem(await ours.http.get(f"/dhk/{path}", params=params, headers=keyed(key)), 409, "conflict")


async def test_keys_belong_to_an_account_and_to_24_hours(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    key = new_id("key")
    workflow_id, first = await ours.open(idempotency_key=key)
    _, other = await theirs.open(idempotency_key=key)
    assert first != other
    async with transaction(sessions) as session:
        yesterday = utc_now() - timedelta(hours=24)
        await session.execute(
            update(IdempotencyKey)
            .where(IdempotencyKey.account_id == ours.account_id, IdempotencyKey.key == key)
            .values(created_at=yesterday)
        )
    _, second = await ours.open(workflow_id, idempotency_key=key)
    assert second != first
    assert (await ours.open(workflow_id, idempotency_key=key))[1] == second


async def test_what_was_not_kept_is_not_remembered(ours: Calls) -> None:
    workflow_id, key = new_id(), new_id("key")
    problem(await ours.http.get(f"/dhk/{workflow_id}", params={"stage": 2}, headers=keyed(key)), 404, "not_found")
    await ours.open(workflow_id)
    assert (await ours.http.get(f"/dhk/{workflow_id}", params={"stage": 2}, headers=keyed(key))).status_code == 200


@pytest.mark.parametrize("key", ["x" * 256, "\x80" * 128])
async def test_keys_that_will_not_do(ours: Calls, key: str) -> None:
    response = await ours.http.get(
        f"/dhk/{new_id()}?stage=1&start=yes", headers={b"Idempotency-Key": key.encode("latin-1")}
    )
    if len(key) > 255:
        assert problem(response, 400, "invalid_request")["errors"][0]["field"] == "Idempotency-Key"
    else:
        assert response.status_code == 200
