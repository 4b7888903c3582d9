"""What the published Airflow provider calls, as it calls it. `make test-airflow` runs the provider itself."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.airflow.calls import CALLS, USER_AGENT, Call
from tests.api.calls import Calls, new_id
from tests.support.waiting import until


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """With the provider's headers, and no key in them."""
    with requests.Session() as session:
        session.headers.update({"Content-Type": "application/json", "User-Agent": USER_AGENT})
        yield session


def make(session: requests.Session, calls: Calls, call: Call, target: str) -> dict[str, Any]:
    url = str(calls.http.base_url).rstrip("/") + call.path(target)
    answer = session.post(url, params={"key": calls.key} | call.params, json=dict(call.body), timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("call", [call for call in CALLS if call.endpoint == "dhk"], ids=lambda call: call.what)
async def test_a_ping_of_a_dynamic_workflow(ours: Calls, session: requests.Session, call: Call) -> None:
    workflow_id = new_id()
    if "start" not in call.flags:
        await ours.open(workflow_id)
    await check(ours, call, workflow_id, str(make(session, ours, call, workflow_id)["instance_id"]))


@pytest.mark.parametrize("call", [call for call in CALLS if call.endpoint == "shk"], ids=lambda call: call.what)
async def test_a_ping_of_a_static_workflow(ours: Calls, session: requests.Session, call: Call) -> None:
    workflow_id = await ours.define(stages=2)
    for stage in {"1": (), "2": (1,), "dag_failed": (1,), "dag_complete": (1, 2)}[call.stage]:
        await ours.static(workflow_id, stage)
    await check(ours, call, workflow_id, str(make(session, ours, call, workflow_id)["instance_id"]))


async def check(calls: Calls, call: Call, workflow_id: str, instance_id: str) -> None:
    stage = (await calls.get(f"/{call.endpoint}/{workflow_id}/tree"))[call.stage]
    assert (stage["status"], stage.get("error")) == (call.becomes, call.body.get("error"))
    step = (await calls.get(f"/api/instances/{instance_id}/timeline"))["timeline"][-1]
    assert (step["stage_path"], step["payload"]) == (call.stage, dict(call.body) or None)
    is_last = "final" in call.flags or (call.endpoint, call.stage) == ("shk", "2")
    status = "failed" if call.becomes == "failed" else "completed" if is_last else "running"
    await calls.settled(instance_id, status)


@pytest.mark.parametrize("call", [call for call in CALLS if call.endpoint == "hb"], ids=lambda call: call.what)
async def test_a_heartbeat(ours: Calls, session: requests.Session, call: Call) -> None:
    slug = new_id("pulse").replace("_", "-")
    await ours.post("/api/pulses", {"name": "Airflow", "slug": slug, "period_seconds": 3600}, 201)
    make(session, ours, call, slug)

    async def has_status() -> bool:
        return bool((await ours.get(f"/api/pulses/{slug}"))["status"] == call.becomes)

    await until(has_status)


async def test_a_failed_try_is_healed_by_the_next(ours: Calls, session: requests.Session) -> None:
    workflow_id, instance_id = await ours.open()
    by_name = {call.what: call for call in CALLS}
    make(session, ours, replace(by_name["next decorator, failed"], stage="3"), workflow_id)
    await ours.settled(instance_id, "failed")
    make(session, ours, by_name["last decorator"], workflow_id)
    await ours.settled(instance_id, "completed")


def test_the_provider_and_airflow_test_a_connection(ours: Calls, session: requests.Session) -> None:
    """Airflow itself posts to the root, and follows where that leads."""
    base_url = str(ours.http.base_url).rstrip("/")
    assert session.get(f"{base_url}/health", timeout=10).status_code == 200
    with requests.Session() as airflow:
        answer = airflow.post(base_url, timeout=10)
        assert (answer.status_code, [step.status_code for step in answer.history]) == (200, [303])
