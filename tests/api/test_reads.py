"""Trees and histories, right after the pings that they tell of."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.users import create_user
from tests.api.calls import Calls, new_id
from tests.api.conftest import PASSWORD, calls_to
from tests.api.test_errors import problem
from tests.conftest import StartGateway

ISO_IN_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def test_a_tree_knows_the_ping_before_it(ours_elsewhere: Calls) -> None:
    """Although pings to one instance are delivered once a second."""
    workflow_id, _ = await ours_elsewhere.open(stagename="Ingest")
    for number in range(2, 6):
        await ours_elsewhere.dynamic(workflow_id, f"2.{number}", agent="gpt")
        response = await ours_elsewhere.http.get(f"/dhk/{workflow_id}/tree")
        assert list(response.json())[-1] == f"2.{number}"
        assert response.headers["x-pingpulse-source"] == "temporal"
    assert response.json()["1"] == {"status": "healthy", "stage_name": "Ingest"}
    assert response.json()["2.5"] == {"status": "healthy", "agent_code": "gpt"}


async def test_trees_of_other_instances(ours: Calls) -> None:
    workflow_id, first = await ours.open()
    await ours.open(workflow_id, stagename="Second")
    _, elsewhere = await ours.open()
    assert await ours.get(f"/dhk/{workflow_id}/tree", instance_id=first) == {"1": {"status": "healthy"}}
    assert "stage_name" in (await ours.get(f"/dhk/{workflow_id}/tree"))["1"]
    for instance_id in ("dnothing1", elsewhere, "\x00"):
        response = await ours.http.get(f"/dhk/{workflow_id}/tree", params={"instance_id": instance_id})
        assert response.status_code == (400 if instance_id == "\x00" else 404)


async def test_trees_are_sorted_and_show_what_is_announced(ours: Calls) -> None:
    workflow_id, _ = await ours.open(stage="10")
    for stage in ("2.10", "dag_complete", "2.9", "2"):
        await ours.dynamic(workflow_id, stage)
    await ours.dynamic(workflow_id, "11", status="pending", stagename="Train GPU B")
    tree = await ours.get(f"/dhk/{workflow_id}/tree")
    assert list(tree) == ["2", "2.9", "2.10", "10", "11", "dag_complete"]
    assert tree["11"] == {"status": "pending", "stage_name": "Train GPU B"}


async def test_history_is_as_in_the_reference(ours: Calls) -> None:
    workflow_id = await ours.define("dynamic", name="My pipeline")
    await ours.open(workflow_id, agent="orchestrator")
    await ours.dynamic(workflow_id, "2", stagename="Process", agent="worker", final="yes")
    _, failed = await ours.open(workflow_id)
    await ours.dynamic(workflow_id, "3", status="failed", error="timeout")
    _, running = await ours.open(workflow_id, agent="orchestrator", stagename="Init")
    history = await ours.history(workflow_id)
    started = datetime.fromisoformat(history["running_instance"].pop("started_at"))
    assert abs(utc_now() - started) < timedelta(minutes=1)
    assert history["running_instance"] == {
        "id": running,
        "status": "running",
        "agent_code": "orchestrator",
        "stage_statuses": {"1": {"status": "healthy", "stage_name": "Init", "agent_code": "orchestrator"}},
    }
    second, first = history["recent_instances"]
    assert (second["id"], second["status"], second["failure_reason"]) == (failed, "failed", "Stage 3 failed: timeout")
    assert (first["status"], first["agent_code"]) == ("completed", "orchestrator")
    assert first["stage_statuses"]["2"] == {"status": "healthy", "stage_name": "Process", "agent_code": "worker"}
    assert "failure_reason" not in first
    for moment in (first["started_at"], first["completed_at"], second["started_at"]):
        assert ISO_IN_UTC.fullmatch(moment)


async def test_the_references_python_example(ours: Calls, sessions: Sessions) -> None:
    workflow_id, _ = await ours.open()
    await ours.dynamic(workflow_id, "2", status="failed", error="no disk")
    async with transaction(sessions) as session:
        await create_user(session, ours.account_id, "reader@reads.example", PASSWORD, utc_now())
    base_url = str(ours.http.base_url).rstrip("/")
    credentials = {"email": "reader@reads.example", "password": PASSWORD}
    login = requests.post(f"{base_url}/api/login", json=credentials, timeout=10)
    data = requests.get(
        f"{base_url}/api/workflows/{workflow_id}/instances",
        cookies={"access_token": login.cookies["access_token"]},
        timeout=10,
    ).json()
    assert data["running_instance"] is None
    (instance,) = data["recent_instances"]
    assert instance.get("failure_reason", "Unknown") == "Stage 2 failed: no disk"
    assert [key for key, stage in instance["stage_statuses"].items() if stage["status"] != "healthy"] == ["2"]


async def test_ten_unless_told_otherwise_and_page_by_page(ours: Calls) -> None:
    workflow_id = new_id()
    ids = [(await ours.open(workflow_id))[1] for _ in range(13)][::-1]
    history = await ours.history(workflow_id)
    assert history["running_instance"]["id"] == ids[0]
    assert [instance["id"] for instance in history["recent_instances"]] == ids[1:11]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await ours.history(workflow_id, limit=5, cursor=cursor)
        assert page["running_instance"]["id"] == ids[0]
        seen += [instance["id"] for instance in page["recent_instances"]]
        cursor = page["next_cursor"]
    assert seen == ids[1:]


async def test_an_older_one_may_be_the_one_that_runs(ours: Calls) -> None:
    workflow_id, oldest = await ours.open()
    for _ in range(2):
        _, instance_id = await ours.open(workflow_id, final="yes")
        await ours.settled(instance_id, "completed")
    first = await ours.history(workflow_id, limit=1)
    assert first["running_instance"]["id"] == oldest
    second = await ours.history(workflow_id, limit=1, cursor=first["next_cursor"])
    ids = [instance["id"] for page in (first, second) for instance in page["recent_instances"]]
    assert (len(set(ids)), oldest in ids, second["next_cursor"]) == (2, False, None)


async def test_only_some_statuses(ours: Calls) -> None:
    workflow_id = new_id()
    for status in ("failed", "ok"):
        _, instance_id = await ours.open(workflow_id, status=status, final="yes")
        await ours.settled(instance_id, "failed" if status == "failed" else "completed")
    await ours.open(workflow_id)

    async def statuses(**params: object) -> tuple[bool, list[str]]:
        history = await ours.history(workflow_id, **params)
        return bool(history["running_instance"]), [item["status"] for item in history["recent_instances"]]

    assert await statuses() == (True, ["completed", "failed"])
    assert await statuses(status="failed") == (False, ["failed"])
    assert await statuses(status="failed, completed") == (False, ["completed", "failed"])
    assert await statuses(status=["failed", "completed"]) == (False, ["completed", "failed"])
    assert await statuses(status="running") == (True, [])
    assert await statuses(status="paused") == (False, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("limit", "0"), ("limit", "101"), ("limit", "many"), ("status", "late"), ("status", "\x00")]
    + [("cursor", text) for text in ("x", "é", "====", "MjAyNS0wMS0wMSBk", "\x00", "a" * 501)],
)
async def test_questions_that_make_no_sense(ours: Calls, field: str, value: str) -> None:
    workflow_id, _ = await ours.open()
    for noun in ("instances", "failed-pings") if field != "status" else ("instances",):
        response = await ours.http.get(f"/api/workflows/{workflow_id}/{noun}", params={field: value})
        assert problem(response, 400, "invalid_request")["errors"][0]["field"] == field


async def test_the_failed_queue_page_by_page(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    for stage in range(2, 7):
        await ours.static(workflow_id, stage, 404, agent="a")
    url, seen, cursor = f"/api/workflows/{workflow_id}/failed-pings", [], ""
    while cursor is not None:
        page = await ours.get(url, limit=2, cursor=cursor)
        seen += [ping["stage_path"] for ping in page["failed_pings"]]
        cursor = page["next_cursor"]
    assert seen == ["6", "5", "4", "3", "2"]


async def test_an_instance_with_all_that_changed(ours: Calls) -> None:
    workflow_id, instance_id = await ours.open(agent="a")
    await ours.dynamic(workflow_id, "2", final="yes")
    instance = await ours.settled(instance_id, "completed")
    assert (instance["workflow_id"], instance["status"], instance["agent_code"]) == (workflow_id, "completed", "a")
    closes_after = datetime.fromisoformat(instance["closes_at"]) - datetime.fromisoformat(instance["completed_at"])
    assert closes_after == timedelta(seconds=60)
    assert [(item["stage_path"], item["from_status"], item["to_status"]) for item in instance["transitions"]] == [
        ("1", None, "healthy"),
        (None, None, "running"),
        ("2", None, "healthy"),
        (None, "running", "completed"),
    ]
    assert all(ISO_IN_UTC.fullmatch(item["at"]) for item in instance["transitions"])
    problem(await ours.http.get("/api/instances/dnothing1"), 404, "not_found")


async def test_health_and_metrics_are_for_everybody(ours: Calls) -> None:
    workflow_id, _ = await ours.open()
    await ours.dynamic(workflow_id, "2", 400, start="maybe")
    health = requests.get(f"{ours.http.base_url}/health", timeout=10)
    assert (health.status_code, health.json()) == (200, {"status": "ok", "database": "ok", "temporal": "ok"})
    metrics = requests.get(f"{ours.http.base_url}/metrics", timeout=10)
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in (
        'pingpulse_pings_total{kind="dynamic",outcome="accepted"}',
        'pingpulse_pings_total{kind="dynamic",outcome="invalid_request"}',
        'pingpulse_signals_total{kind="signal"}',
        "pingpulse_ack_seconds_bucket",
        "pingpulse_outbox_pings",
        "pingpulse_outbox_age_seconds",
        "pingpulse_pings_per_signal_count",
        "pingpulse_verdict_seconds_count",
        "pingpulse_delivery_lag_seconds_count",
    ):
        assert re.search(rf"^{re.escape(name)}", metrics.text, re.MULTILINE), name


async def test_without_temporal(ours: Calls, start_gateway: StartGateway) -> None:
    """Trees come from the journal; what would need a verdict is not taken at all."""
    strict = await ours.define(validation_mode="strict")
    workflow_id, _ = await ours.open(stagename="Ingest")
    await ours.dynamic(workflow_id, "2", status="failed", error="full")
    url = start_gateway(temporal_address="127.0.0.1:1", tree_timeout_seconds=0.3, verdict_timeout_seconds=0.3)
    async with calls_to(url, ours.account_id, ours.key) as cut_off:
        health = {"status": "degraded", "database": "ok", "temporal": "unreachable"}
        assert await cut_off.get("/health") == health
        tree = await cut_off.http.get(f"/dhk/{workflow_id}/tree")
        assert tree.headers["x-pingpulse-source"] == "journal"
        assert tree.json() == {
            "1": {"status": "healthy", "stage_name": "Ingest"},
            "2": {"status": "failed", "error": "full"},
        }
        params: dict[str, Any] = {"stage": "1", "agent": "a", "idempotency_key": new_id("key")}
        refused = await cut_off.http.get(f"/shk/{strict}", params=params)
        problem(refused, 503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert (await cut_off.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    assert (await ours.history(strict))["running_instance"] is None
    assert await ours.failed_pings(strict) == []
    assert (await ours.static(strict, **params))["workflow_status"] == "running"
