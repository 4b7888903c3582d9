"""FlowPulse's ingestion over HTTP: runs that are reported once they are over."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from config.clock import utc_now
from tests.api.calls import Calls, new_id
from tests.api.conftest import Team, api_key
from tests.api.ingest_calls import (
    ENDED,
    FAILURE,
    SUCCESS,
    fail,
    history,
    new_execution,
    runs,
    steps,
    succeed,
    told,
    wrong,
)

FULL: dict[str, Any] = {
    "started_at": "2026-01-15T10:00:00+01:00",
    "ended_at": ENDED,
    "external_execution_id": "1234",
    "source_platform": "n8n",
    "source_workflow_id": "wf-7",
    "correlation_id": "order-99",
    "metadata": {"rows": 12, "region": "eu"},
}


async def test_a_run_that_succeeded(ours: Calls) -> None:
    workflow_id = await runs(ours)
    answer = await succeed(ours, workflow_id, **FULL)
    assert answer["status"] == "accepted"
    assert answer["event_id"].startswith("evt_")
    assert answer["workflow_id"] == workflow_id
    assert answer["instance_id"][0] == "r"
    assert len(answer["instance_id"]) == 9
    run = await ours.settled(answer["instance_id"], "completed")
    assert (run["started_at"], run["completed_at"]) == ("2026-01-15T09:00:00Z", "2026-01-15T09:00:04.500000Z")
    assert (run["external_id"], run["correlation_id"], run["agent_code"]) == ("1234", "order-99", "n8n")
    reported_at = run["run"].pop("reported_at")
    assert utc_now() - datetime.fromisoformat(reported_at) < timedelta(minutes=1)
    assert run["run"] == {
        **FULL,
        "started_at": "2026-01-15T09:00:00Z",
        "ended_at": "2026-01-15T09:00:04.500000Z",
        "duration_ms": 4500,
        "error_message": None,
        "error_type": None,
    }
    (shown,) = await history(ours, workflow_id)
    assert shown == {name: run[name] for name in shown}


async def test_a_run_that_failed(ours: Calls) -> None:
    workflow_id = await runs(ours)
    answer = await fail(ours, workflow_id, error_type="RateLimitError", duration_ms=1500)
    run = await ours.settled(answer["instance_id"], "failed")
    assert run["failure_reason"] == "429 from the CRM"
    assert run["started_at"] == "2026-01-15T09:00:03Z"
    assert (run["run"]["error_message"], run["run"]["error_type"]) == ("429 from the CRM", "RateLimitError")
    assert run["run"]["duration_ms"] == 1500


async def test_its_timeline_has_the_report_as_its_step(ours: Calls) -> None:
    workflow_id = await runs(ours)
    answer = await succeed(ours, workflow_id, **FULL, plan="gold")
    (step,) = await steps(ours, answer["instance_id"])
    assert (step["stage_path"], step["status"], step["response_time_ms"]) == ("run", "success", 4500)
    assert step["payload"]["metadata"] == FULL["metadata"]
    assert step["payload"]["plan"] == "gold"
    assert datetime.fromisoformat(step["executed_at"]) > datetime.fromisoformat(ENDED)


@pytest.mark.parametrize("named", ["workflow_id", "workflow_slug", "workflow_name"])
async def test_the_workflow_by_any_of_its_names(ours: Calls, named: str) -> None:
    workflow_id = await runs(ours)
    workflow = await ours.get(f"/api/workflows/{workflow_id}")
    body = {named: workflow[named.removeprefix("workflow_")], "ended_at": ENDED}
    assert (await ours.post(SUCCESS, body, 202))["workflow_id"] == workflow_id


async def test_of_several_names_the_id_goes_before_the_slug_and_that_before_the_name(ours: Calls) -> None:
    one, other = await runs(ours), await runs(ours)
    slug, name = [(await ours.get(f"/api/workflows/{other}"))[field] for field in ("slug", "name")]
    assert (await succeed(ours, one, workflow_slug=slug, workflow_name=name))["workflow_id"] == one
    body = {"workflow_slug": slug, "workflow_name": "an old name", "ended_at": ENDED}
    assert (await ours.post(SUCCESS, body, 202))["workflow_id"] == other


async def test_a_name_that_several_workflows_have(ours: Calls) -> None:
    name = new_id("twins")
    ids = [await ours.define("run", name=name) for _ in range(2)]
    problem = await ours.post(SUCCESS, {"workflow_name": name, "ended_at": ENDED}, 400)
    said = wrong(problem)["workflow_name"]
    assert "workflow_slug" in said
    assert all(workflow_id in said for workflow_id in ids)


@pytest.mark.parametrize("named", ["workflow_id", "workflow_slug", "workflow_name"])
async def test_an_unknown_workflow_is_to_be_created_first(ours: Calls, named: str) -> None:
    problem = await ours.post(SUCCESS, {named: "nobody-knows-it", "ended_at": ENDED}, 404)
    assert problem["code"] == "not_found"
    assert "POST /api/workflows" in problem["detail"]


async def test_a_workflow_of_others_or_a_deleted_one_is_unknown(ours: Calls, theirs: Calls) -> None:
    workflow_id = await runs(ours)
    await succeed(theirs, workflow_id, 404)
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    await succeed(ours, workflow_id, 404)


async def test_400_names_each_field(ours: Calls) -> None:
    assert set(wrong(await ours.post(FAILURE, {}, 400))) == {"workflow_id", "ended_at", "error_message"}
    assert set(wrong(await ours.post(SUCCESS, {"workflow_id": ""}, 400))) == {"workflow_id", "ended_at"}
    bad = {"started_at": "yesterday", "duration_ms": "long", "metadata": [1], "correlation_id": {"a": 1}}
    body = {"workflow_id": "x", "ended_at": ENDED, **bad}
    assert set(wrong(await ours.post(SUCCESS, body, 400))) == set(bad)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"{", "application/json"), (b"[1, 2]", "application/json"), (b"hello", "text/plain"), (b"\xff", "text/plain")],
)
async def test_a_body_that_is_none(ours: Calls, content: bytes, content_type: str) -> None:
    response = await ours.http.post(SUCCESS, content=content, headers={"Content-Type": content_type})
    assert response.status_code == 400
    assert set(wrong(response)) == {"body"}


async def test_a_key_is_needed_before_anything_else(ours: Calls) -> None:
    async with httpx.AsyncClient(base_url=str(ours.http.base_url)) as stranger:
        for headers in ({}, api_key("fp_wrong"), {"Authorization": "Bearer fp_wrong"}):
            response = await stranger.post(SUCCESS, content=b"{", headers=headers)
            assert response.status_code == 401
            assert response.json()["code"] == "unauthenticated"


async def test_the_key_in_any_place(ours: Calls) -> None:
    workflow_id = await runs(ours)
    body = {"workflow_id": workflow_id, "ended_at": ENDED}
    ways: list[dict[str, Any]] = [
        {"headers": {"X-API-Key": ours.key}},
        {"headers": {"Authorization": f"Bearer {ours.key}"}},
        {"params": {"key": ours.key}},
    ]
    async with httpx.AsyncClient(base_url=str(ours.http.base_url)) as client:
        for way in ways:
            assert (await client.request("POST", SUCCESS, json=body, **way)).status_code == 202
        answer = await client.post(SUCCESS, json={**body, "key": ours.key})
        assert answer.status_code == 202
    (step,) = await steps(ours, answer.json()["instance_id"])
    assert "key" not in step["payload"]


async def test_a_key_for_pings_is_enough(ours: Calls, team: Team) -> None:
    async with httpx.AsyncClient(base_url=str(ours.http.base_url), headers=api_key(team.full_key)) as owner:
        created = await owner.post("/api/workflows", json={"kind": "run", "name": "Theirs"})
        workflow_id = created.json()["id"]
    async with httpx.AsyncClient(base_url=str(ours.http.base_url), headers=api_key(team.ping_key)) as client:
        listed = (await client.get("/api/v1/workflows")).json()["workflows"]
        assert workflow_id in [workflow["id"] for workflow in listed]
        response = await client.post(SUCCESS, json={"workflow_id": workflow_id, "ended_at": ENDED})
        assert response.status_code == 202


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("workflow_id={id}&ended_at=2026-01-15T09%3A00%3A04.500Z&started_at=&duration_ms=4500&metadata=%7B%22a%22%3A1%7D",
         "application/x-www-form-urlencoded"),
        ('{"workflow_id":"{id}","ended_at":1768467604.5,"duration_ms":"4500","metadata":"{\\"a\\":1}"}', "text/plain"),
        ('[{"workflow_id":"{id}","ended_at":"1768467604500","duration_ms":4500.2,"metadata":{"a":1},"started_at":null}]',
         "application/json; charset=utf-8"),
        (' [{"workflow_id":"{id}","ended_at":"Jan 15, 2026, 9:00:04.5 AM","duration_ms":4500,"metadata":{"a":1}}]',
         "application/x-www-form-urlencoded"),
        ('\ufeff{"workflow_id":" {id} ","ended_at":"2026-01-15 10:00:04.5 +0100","duration_ms":"4.5e3",'
         '"metadata":{"a":1},"correlation_id":"","external_execution_id":"undefined"}', "application/json"),
    ],
)  # fmt: skip
async def test_what_tools_really_send(ours: Calls, body: str, content_type: str) -> None:
    workflow_id = await runs(ours)
    content = body.replace("{id}", workflow_id).encode()
    response = await ours.http.post(SUCCESS, content=content, headers={"Content-Type": content_type})
    assert response.status_code == 202, response.text
    run = (await ours.instance(response.json()["instance_id"]))["run"]
    del run["reported_at"]
    said = {name: value for name, value in run.items() if value is not None}
    assert said == {
        "ended_at": "2026-01-15T09:00:04.500000Z",
        "duration_ms": 4500,
        "metadata": {"a": 1},
    } | ({"started_at": said["started_at"]} if "started_at" in said else {})


async def test_a_clock_that_is_ahead_is_shown_and_nothing_is_reckoned_with_it(ours: Calls) -> None:
    workflow_id = await runs(ours, grace_period_seconds=0)
    ahead = (utc_now() + timedelta(hours=5)).isoformat()
    answer = await succeed(ours, workflow_id, ended_at=ahead)
    run = await ours.settled(answer["instance_id"], "completed")
    assert datetime.fromisoformat(run["completed_at"]) == datetime.fromisoformat(ahead)
    assert datetime.fromisoformat(run["closes_at"]) <= utc_now()


async def test_it_cannot_end_before_it_started(ours: Calls) -> None:
    problem = await succeed(ours, await runs(ours), 400, started_at="2026-01-15T09:00:05Z")
    assert wrong(problem) == {"ended_at": "is before started_at"}


async def test_a_key_in_an_error_is_not_kept(ours: Calls) -> None:
    workflow_id = await runs(ours)
    answer = await fail(ours, workflow_id, error_message=f"401 with {ours.key}", metadata={"url": f"?key={ours.key}"})
    shown = json.dumps(await ours.instance(answer["instance_id"]))
    assert ours.key not in shown
    assert "401 with" in shown
    problem = await succeed(ours, workflow_id, 400, correlation_id=ours.key)
    assert set(wrong(problem)) == {"correlation_id"}


# One run


async def test_the_same_execution_is_one_run(ours: Calls) -> None:
    workflow_id, execution = await runs(ours), new_execution()
    first = await succeed(ours, workflow_id, external_execution_id=execution)
    later = "2026-01-15T09:00:05Z"
    assert await succeed(ours, workflow_id, external_execution_id=execution, ended_at=later) == first
    await ours.settled(first["instance_id"], "completed")
    assert await succeed(ours, workflow_id, external_execution_id=execution) == first
    assert len(await history(ours, workflow_id)) == 1
    assert len(await steps(ours, first["instance_id"])) == 1


async def test_in_two_workflows_it_is_two_and_without_an_id_each_is_one(ours: Calls) -> None:
    execution = new_execution()
    one, other = await runs(ours), await runs(ours)
    answers = [await succeed(ours, workflow_id, external_execution_id=execution) for workflow_id in (one, other)]
    assert len({answer["instance_id"] for answer in answers}) == 2
    await succeed(ours, one)
    await succeed(ours, one)
    assert len(await history(ours, one)) == 3


async def test_a_success_heals_the_run_that_failed(ours: Calls) -> None:
    workflow_id, execution = await runs(ours), new_execution()
    failed = await fail(ours, workflow_id, external_execution_id=execution)
    await ours.settled(failed["instance_id"], "failed")
    healed = await succeed(ours, workflow_id, external_execution_id=execution, ended_at="2026-01-15T09:05:00Z")
    assert healed["instance_id"] == failed["instance_id"]
    assert healed["event_id"] != failed["event_id"]
    run = await ours.settled(failed["instance_id"], "completed")
    assert (run["completed_at"], run["run"]["error_message"]) == ("2026-01-15T09:05:00Z", None)
    assert [step["status"] for step in await steps(ours, run["id"])] == ["failed", "success"]


async def test_it_heals_long_after_its_grace_period_too(ours: Calls) -> None:
    workflow_id, execution = await runs(ours, grace_period_seconds=0), new_execution()
    failed = await fail(ours, workflow_id, external_execution_id=execution)
    await ours.settled(failed["instance_id"], "failed")
    await ours.closed(failed["instance_id"])
    assert (await succeed(ours, workflow_id, external_execution_id=execution))["instance_id"] == failed["instance_id"]
    await ours.settled(failed["instance_id"], "completed")


async def test_what_comes_late_of_an_earlier_attempt_changes_nothing(ours: Calls) -> None:
    workflow_id, execution = await runs(ours), new_execution()
    succeeded = await succeed(ours, workflow_id, external_execution_id=execution)
    earlier = "2026-01-15T09:00:00Z"
    assert await fail(ours, workflow_id, external_execution_id=execution, ended_at=earlier) == succeeded
    later = await fail(ours, workflow_id, external_execution_id=execution, ended_at="2026-01-15T10:00:00Z")
    assert later["instance_id"] == succeeded["instance_id"]
    await ours.settled(later["instance_id"], "failed")


async def test_each_failed_attempt_is_kept_once(ours: Calls) -> None:
    workflow_id, execution = await runs(ours), new_execution()
    ends = ["2026-01-15T09:00:00Z", "2026-01-15T09:00:00Z", "2026-01-15T09:01:00Z"]
    answers = [await fail(ours, workflow_id, external_execution_id=execution, ended_at=end) for end in ends]
    assert answers[0] == answers[1] != answers[2]
    assert len(await steps(ours, answers[0]["instance_id"])) == 2


async def test_gateways_that_race_for_one_execution(ours: Calls, ours_elsewhere: Calls) -> None:
    workflow_id = await runs(ours)
    for _ in range(5):
        execution = new_execution()
        reports = [succeed(calls, workflow_id, external_execution_id=execution) for calls in (ours, ours_elsewhere) * 6]
        answers = await asyncio.gather(*reports)
        assert all(answer == answers[0] for answer in answers)
        assert len(await steps(ours, answers[0]["instance_id"])) == 1
    assert len(await history(ours, workflow_id)) == 5


async def test_failures_and_a_success_that_race(ours: Calls, ours_elsewhere: Calls) -> None:
    workflow_id, execution = await runs(ours), new_execution()
    later: dict[str, Any] = {"external_execution_id": execution, "ended_at": "2026-01-15T09:10:00Z"}
    reports = [fail(calls, workflow_id, external_execution_id=execution) for calls in (ours, ours_elsewhere) * 3]
    reports += [succeed(calls, workflow_id, **later) for calls in (ours, ours_elsewhere) * 3]
    answers = await asyncio.gather(*reports)
    assert len({answer["instance_id"] for answer in answers}) == 1
    await ours.settled(answers[0]["instance_id"], "completed")
    assert len(await history(ours, workflow_id)) == 1


async def test_an_idempotency_key_as_for_every_ping(ours: Calls) -> None:
    workflow_id, key = await runs(ours), new_execution()
    body = {"workflow_id": workflow_id, "ended_at": ENDED}
    answers = [await ours.http.post(SUCCESS, json=body, headers={"Idempotency-Key": key}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    response = await ours.http.post(SUCCESS, json=body, headers={"Idempotency-Key": "x" * 256})
    assert set(wrong(response)) == {"Idempotency-Key"}


@pytest.mark.parametrize("first", [SUCCESS, FAILURE])
async def test_an_idempotency_key_is_not_for_a_success_and_a_failure(ours: Calls, first: str) -> None:
    workflow_id, headers = await runs(ours), {"Idempotency-Key": new_execution()}
    body = {"workflow_id": workflow_id, "ended_at": ENDED, "error_message": "429 from the CRM"}
    second = FAILURE if first == SUCCESS else SUCCESS
    answers = [await ours.http.post(path, json=body, headers=headers) for path in (first, second, first)]
    assert [answer.status_code for answer in answers] == [202, 409, 202]
    assert answers[0].json() == answers[2].json()
    assert len(await history(ours, workflow_id)) == 1


@pytest.mark.parametrize("junk", [{}, {"file": ("a.bin", b"\xff")}])
async def test_of_multipart_is_said_what_to_send_instead(ours: Calls, junk: dict[str, Any]) -> None:
    response = await ours.http.post(SUCCESS, files={"workflow_id": (None, "x"), **junk})
    assert response.status_code == 400
    assert wrong(response) == {
        "body": "is multipart, which is not read here; send JSON or a form as application/x-www-form-urlencoded"
    }


async def test_an_error_message_that_is_json_as_text_says_its_message(ours: Calls) -> None:
    failed = await fail(ours, await runs(ours), error_message='{"message":"inner"}')
    assert (await ours.instance(failed["instance_id"]))["run"]["error_message"] == "inner"


# Alerts


async def test_a_failure_alerts_and_the_next_success_recovers(ours: Calls) -> None:
    workflow_id = await runs(ours, name="Lead enrichment", slug=new_id("lead").replace("_", "-"), tags=["crm"])
    await succeed(ours, workflow_id)
    failed = await fail(ours, workflow_id, external_execution_id="77")
    (alert,) = await told(ours, workflow_id, "instance_failed")
    assert alert["title"] == f"Lead enrichment ({failed['instance_id']}) failed: 429 from the CRM"
    assert (alert["severity"], alert["tags"], alert["data"]["external_id"]) == ("critical", ["crm"], "77")
    again = await fail(ours, workflow_id, error_message="disk full")
    await told(ours, workflow_id, "instance_failed", "instance_failed")
    good = await succeed(ours, workflow_id)
    alerts = await told(ours, workflow_id, "instance_failed", "instance_failed", "instance_recovered")
    assert alerts[-1]["title"] == f"Lead enrichment recovered: run {good['instance_id']} succeeded"
    assert len({alert["trouble"] for alert in alerts}) == 1
    assert alerts[1]["data"]["instance_id"] == again["instance_id"]
    await ours.settled((await succeed(ours, workflow_id))["instance_id"], "completed")
    await fail(ours, workflow_id)
    *_, newest = await told(ours, workflow_id, *["instance_failed"] * 2, "instance_recovered", "instance_failed")
    assert newest["trouble"] != alerts[0]["trouble"]


async def test_a_run_that_heals_recovers_its_workflow(ours: Calls) -> None:
    workflow_id, execution = await runs(ours), new_execution()
    await fail(ours, workflow_id, external_execution_id=execution)
    await told(ours, workflow_id, "instance_failed")
    await succeed(ours, workflow_id, external_execution_id=execution)
    await told(ours, workflow_id, "instance_failed", "instance_recovered")


# Links


async def test_runs_are_linked_by_what_they_have_in_common(ours: Calls, theirs: Calls) -> None:
    order = new_id("order")
    one, other = await runs(ours), await runs(ours)
    first = await succeed(ours, one, correlation_id=order)
    second = await fail(ours, other, correlation_id=order)
    await succeed(ours, one)
    await succeed(theirs, await runs(theirs), correlation_id=order)
    linked = await ours.get("/api/instances", correlation_id=order)
    assert [item["id"] for item in linked["instances"]] == [second["instance_id"], first["instance_id"]]
    assert [item["workflow_id"] for item in linked["instances"]] == [other, one]
    page = await ours.get("/api/instances", correlation_id=order, limit=1)
    rest = await ours.get("/api/instances", correlation_id=order, cursor=page["next_cursor"])
    assert [item["id"] for item in rest["instances"]] == [first["instance_id"]]
    await ours.settled(second["instance_id"], "failed")
    (link,) = (await ours.instance(first["instance_id"]))["correlated_instances"]
    assert link == {"instance_id": second["instance_id"], "workflow_id": other, "status": "failed"}
    assert (await ours.get("/api/instances", 400))["code"] == "invalid_request"
