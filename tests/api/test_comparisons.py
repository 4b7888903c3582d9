"""Two instances side by side over HTTP."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update

from api.comparison_views import ComparisonSession
from storage.base import Sessions, transaction
from storage.pings import Ping
from tests.api.calls import Calls, new_id
from tests.api.conftest import api_key, make_key
from tests.api.test_errors import problem

URL = "/api/instances/compare"

Stages = Sequence[tuple[str, dict[str, Any]]]


async def compare(calls: Calls, a: str, b: str, **body: Any) -> dict[str, Any]:
    """As the schema says that it is, and with money as it was written."""
    response = await calls.http.post(URL, json={"instance_a": a, "instance_b": b, **body})
    assert response.status_code == 200, response.text
    ComparisonSession.model_validate(response.json())
    return dict(json.loads(response.text, parse_float=Decimal))


async def run(calls: Calls, stages: Stages, workflow_id: str | None = None, **params: Any) -> str:
    """An instance to which these stages were pinged."""
    workflow_id = workflow_id or new_id()
    (path, payload), *others = stages
    answer = await calls.post(f"/dhk/{workflow_id}", payload, stagePath=path, start="yes", **params)
    instance_id = str(answer["instance_id"])
    for path, payload in others:
        await calls.post(f"/dhk/{workflow_id}", payload, stagePath=path, instance_id=instance_id, **params)
    return instance_id


def kinds(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(pair["stage_path"], pair["kind"]) for pair in document["comparison"]["steps"]]


async def test_a_comparison_is_as_in_the_reference(ours: Calls) -> None:
    workflow_id = new_id()
    spent = {"model_id": "m", "usage": {"input_tokens": 1500, "output_tokens": 500}, "cost_usd": "0.045"}
    more = {"model_id": "m", "usage": {"input_tokens": 1900, "output_tokens": 600}, "cost_usd": "0.070"}
    a = await run(ours, [("1", {}), ("2", {"duration_ms": 100}), ("3", spent)], workflow_id, agent="ada")
    b = await run(ours, [("1", {}), ("2", {"duration_ms": 1300}), ("3", more)], workflow_id, agent="ada")
    document = await compare(ours, a, b)
    assert UUID(document["session_id"])
    comparison = document["comparison"]
    assert {"instance_a", "instance_b", "divergence_step", "differences"} <= comparison.keys()
    assert (comparison["instance_a"]["id"], comparison["instance_b"]["id"]) == (a, b)
    aggregates = comparison["instance_a"]["aggregates"]
    assert aggregates.pop("elapsed_ms") >= 0
    assert aggregates == {
        "total_steps": 3,
        "statuses": {"success": 3},
        "total_tokens": 2000,
        "input_tokens": 1500,
        "output_tokens": 500,
        "total_cost_usd": Decimal("0.045"),
        "unpriced_steps": 0,
        "total_duration_ms": 100,
        "agents": {"ada": 3},
        "models": {"m": 1},
        "tool_calls": {},
    }
    assert comparison["divergence_step"] == 1
    differences = comparison["differences"]
    assert (differences["cost_diff_usd"], differences["token_diff"], differences["time_diff_ms"]) == (
        Decimal("0.025"),
        500,
        1200,
    )
    assert kinds(document) == [("1", "same"), ("2", "timing"), ("3", "cost")]
    step = comparison["steps"][2]["b"]
    assert (step["step"], step["input_tokens"], step["cost_usd"]) == (2, 1900, Decimal("0.07"))


async def test_the_other_way_round_everything_is_the_other_way_round(ours: Calls) -> None:
    a = await run(ours, [("1", {"n": 1, "cost_usd": "0.3"}), ("2", {})])
    b = await run(ours, [("1", {"n": 2, "cost_usd": "0.1"}), ("3", {})])
    there, back = await compare(ours, a, b), await compare(ours, b, a)
    assert there["session_id"] != back["session_id"]
    assert there["comparison"]["instance_a"] == back["comparison"]["instance_b"]
    ours_, theirs_ = there["comparison"]["differences"], back["comparison"]["differences"]
    assert ours_ == {name: None if value is None else -value for name, value in theirs_.items()}
    assert ours_["cost_diff_usd"] == Decimal("-0.2")
    assert there["comparison"]["divergence_step"] == back["comparison"]["divergence_step"] == 0


async def test_an_instance_and_itself_do_not_differ(ours: Calls) -> None:
    instance_id = await run(ours, [("1", {"id": 1, "cost_usd": "0.1"}), ("2", {"status": "failed"}), ("1", {})])
    comparison = (await compare(ours, instance_id, instance_id))["comparison"]
    assert comparison["divergence_step"] is None
    assert comparison["instance_a"] == comparison["instance_b"]
    assert {pair["kind"] for pair in comparison["steps"]} == {"same"}
    assert {value for value in comparison["differences"].values() if value is not None} == {0}


async def test_a_stage_more_does_not_shift_the_rest_and_workflows_may_be_different(ours: Calls) -> None:
    a = await run(ours, [("1", {}), ("2", {"rows": [1, 2]}), ("3", {}), ("4", {})])
    b = await run(ours, [("1", {}), ("1.5", {}), ("2", {"rows": [1, 3]}), ("3", {"status": "failed"})])
    document = await compare(ours, a, b)
    assert kinds(document) == [("1", "same"), ("1.5", "added"), ("2", "payload"), ("3", "status"), ("4", "missing")]
    added, changed, _, missing = document["comparison"]["steps"][1:]
    assert (added["a"], added["b"]["step"]) == (None, 1)
    assert (missing["a"]["step"], missing["b"]) == (3, None)
    assert changed["payload_diff"] == [{"path": "/rows/1", "op": "replace", "a": 2, "b": 3}]
    assert document["comparison"]["divergence_step"] == 1
    workflows = {document["comparison"][name]["workflow_id"] for name in ("instance_a", "instance_b")}
    assert len(workflows) == 2


async def test_ids_and_timestamps_do_not_count_unless_they_are_to(ours: Calls) -> None:
    first = {"trace_id": "a", "at": "2026-01-01T00:00:00Z", "task": {"id": 1, "seed": 7}}
    second = {"trace_id": "b", "at": "2026-01-02T00:00:00Z", "task": {"id": 2, "seed": 8}}
    a, b = await run(ours, [("1", first)]), await run(ours, [("1", second)])

    async def paths(**body: Any) -> list[str]:
        comparison = (await compare(ours, a, b, **body))["comparison"]
        assert comparison["ignore"] == body.get("ignore", comparison["ignore"])
        return [difference["path"] for difference in comparison["steps"][0]["payload_diff"]]

    assert await paths() == ["/task/seed"]
    assert await paths(ignore=[]) == ["/at", "/task/id", "/task/seed", "/trace_id"]
    assert await paths(ignore=["/task/*", "timestamps"]) == ["/trace_id"]


async def test_values_of_every_sort(ours: Calls) -> None:
    big = 10**40
    first = {"big": big, "gone": None, "deep": "ü" * 3000, "tool_calls": [{"name": "search"}, {"name": "search"}]}
    a, b = await run(ours, [("1", first)]), await run(ours, [("1", {"big": big + 1, "deep": "ü", "new": [None]})])
    comparison = (await compare(ours, a, b, ignore=["*/tool_calls"]))["comparison"]
    (pair,) = comparison["steps"]
    big_one, deep, gone, new = pair["payload_diff"]
    assert (big_one["a"], big_one["b"]) == (big, big + 1)
    assert deep["a"].endswith("…")
    assert pair["payload_diff_truncated"]
    assert gone == {"path": "/gone", "op": "remove", "a": None}
    assert new == {"path": "/new", "op": "add", "b": [None]}
    assert comparison["instance_a"]["aggregates"]["tool_calls"] == {"search": 2}


async def test_it_can_be_opened_again_as_it_was(ours: Calls) -> None:
    workflow_id = new_id()
    a, b = (
        await run(ours, [("1", {"cost_usd": "0.1000"})], workflow_id),
        await run(ours, [("1", {"n": 1})], workflow_id),
    )
    response = await ours.http.post(URL, json={"instance_a": a, "instance_b": b})
    await ours.dynamic(workflow_id, "2", instance_id=a)
    again = await ours.http.get(f"/api/comparisons/{response.json()['session_id']}")
    assert (again.status_code, again.text) == (200, response.text)
    assert again.headers["content-type"] == "application/json"


async def test_whose_they_are(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    own, other = await run(ours, [("1", {})]), await run(theirs, [("1", {})])
    for a, b in ((own, other), (other, own), (other, other)):
        problem(await ours.http.post(URL, json={"instance_a": a, "instance_b": b}), 403, "forbidden")
    for a, b in ((own, "dnothing1"), ("dnothing1", own)):
        problem(await ours.http.post(URL, json={"instance_a": a, "instance_b": b}), 404, "not_found")
    kept = f"/api/comparisons/{(await compare(ours, own, own))['session_id']}"
    problem(await theirs.http.get(kept), 403, "forbidden")
    problem(await ours.http.get("/api/comparisons/nothing"), 404, "not_found")
    async with transaction(sessions) as session:
        headers = api_key(await make_key(session, ours.account_id, "ping"))
    problem(await ours.http.get(kept, headers=headers), 403, "insufficient_scope")
    body = {"instance_a": own, "instance_b": own}
    problem(await ours.http.post(URL, json=body, headers=headers), 403, "insufficient_scope")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"instance_b": None}, "instance_b"), ({"instance_a": "x" * 65}, "instance_a"), ({"more": 1}, "more")]
    + [({"ignore": ignore}, "ignore") for ignore in ("*/id", ["id"], ["/a"] * 101, ["/" + "a" * 200])],
)
async def test_requests_that_make_no_sense(ours: Calls, change: dict[str, Any], field: str) -> None:
    instance_id = await run(ours, [("1", {})])
    body = {"instance_a": instance_id, "instance_b": instance_id, **change}
    assert problem(await ours.http.post(URL, json=body), 400, "invalid_request")["errors"][0]["field"] == field


async def long_run(calls: Calls, sessions: Sessions, steps: int, payload: str) -> str:
    """With copies of its first step; each `%` in `payload` becomes the number of the copy."""
    instance_id = await run(calls, [("1", {})])
    columns = "account_id, workflow_id, instance_id, subject, status, start, final, received_at"
    async with transaction(sessions) as session:
        await session.execute(
            text(
                f"INSERT INTO pings ({columns}, gateway_id, path, size_bytes, outcome, payload) "
                f"SELECT {columns}, 0, (n % 50 + 1)::text, 4000, 'accepted', "
                "replace(CAST(:payload AS text), '%', n::text)::json "
                "FROM pings, generate_series(2, :steps) AS n WHERE instance_id = :instance_id"
            ),
            {"payload": payload, "steps": steps, "instance_id": instance_id},
        )
    return instance_id


async def test_what_is_too_long_or_too_large_is_said_to_be(ours: Calls, sessions: Sessions) -> None:
    short = await run(ours, [("1", {}), ("2", {})])
    long = await long_run(ours, sessions, 10_001, "null")
    refused = problem(await ours.http.post(URL, json={"instance_a": short, "instance_b": long}), 400, "invalid_request")
    assert f"{long} has 10001 steps" in refused["detail"]
    async with transaction(sessions) as session:
        await session.execute(update(Ping).where(Ping.instance_id == short).values(size_bytes=2**25 + 1))
    refused = problem(
        await ours.http.post(URL, json={"instance_a": short, "instance_b": short}), 400, "invalid_request"
    )
    assert "fewer steps" in refused["detail"]


async def test_two_of_2000_steps_are_compared_whole(ours: Calls, sessions: Sessions) -> None:
    members = ", ".join(f'"member_{number}": "value {number} % as payloads have them"' for number in range(50))
    a = await long_run(ours, sessions, 2_000, f'{{"trace_id": "%", "seed": 1, {members}}}')
    b = await long_run(ours, sessions, 2_000, f'{{"trace_id": "-%", "seed": 2, {members}}}')
    document = await compare(ours, a, b)
    assert kinds(document)[1] == ("3", "payload")
    assert len(document["comparison"]["steps"]) == 2_000
