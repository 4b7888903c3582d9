"""The public API's own examples, run unchanged against a real `pingpulse up`."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.up import Up, running_up
from tests.support.waiting import until

EXAMPLES = Path(__file__).parent / "examples"
STAGES = [{"order": 1}, {"order": 2}, {"order": 3}]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with running_up(tmp_path_factory.mktemp("home")) as up:
        async with httpx.AsyncClient(base_url=up.runtime.gateway_url) as client:
            body = {"kind": "static", "id": "swf123", "name": "Static", "stages": STAGES}
            created = await client.post("/api/workflows", json=body, headers={"X-API-Key": up.key})
            assert created.status_code == 201, created.text
        yield up


async def run(up: Up, example: str, *program: str, **replacements: str) -> str:
    """What an example prints, with the stack's address and key in place of the page's."""
    replacements = {"https://pingpulsehq.com": up.runtime.gateway_url, "YOUR_KEY": up.key, **replacements}
    text = (EXAMPLES / example).read_text()
    for theirs, ours in replacements.items():
        text = text.replace(theirs, ours)
    process = await asyncio.create_subprocess_exec(
        *program, text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()
    return out.decode()


async def read(up: Up, path: str) -> Any:
    async with httpx.AsyncClient(base_url=up.runtime.gateway_url, headers={"X-API-Key": up.key}) as client:
        return (await client.get(path)).json()


async def test_python(up: Up) -> None:
    await run(up, "ping_stages.py", sys.executable, "-c")
    assert (await read(up, "/shk/swf123/tree"))["1"] == {"status": "healthy"}
    assert await read(up, "/dhk/ml_pipeline/tree") == {
        "1": {"status": "healthy"},
        "2.1": {"status": "healthy", "stage_name": "Training"},
    }


async def test_python_over_generic_http(up: Up) -> None:
    await run(up, "generic_http.py", sys.executable, "-c", YOUR_WORKFLOW_ID="generic")
    history = await read(up, "/api/workflows/generic/instances")
    assert history["running_instance"] is None
    assert [instance["status"] for instance in history["recent_instances"]] == ["completed"]


async def test_curl(up: Up) -> None:
    await run(up, "curl.sh", "bash", "-c", YOUR_ID="from_curl")
    tree = await read(up, "/dhk/ml_pipeline/tree")
    assert list(tree) == ["1", "2", "2.1", "3"]
    assert tree["2.1"] == {"status": "healthy", "stage_name": "Train GPU"}
    assert tree["3"] == {"status": "healthy", "agent_code": "model-trainer"}
    assert set(await read(up, "/dhk/from_curl/tree")) == {"1", "2", "3"}


async def test_curl_with_costs(up: Up) -> None:
    budget = {
        "budget_enabled": True,
        "budget_limit_usd": 100.0,
        "budget_alert_threshold_usd": 50.0,
        "budget_daily_limit_usd": 500.0,
        "budget_action": "terminate",
        "cost_anomaly_detection": True,
        "cost_anomaly_multiplier": 3.0,
    }
    async with httpx.AsyncClient(base_url=up.runtime.gateway_url, headers={"X-API-Key": up.key}) as client:
        opened = await client.post("/dhk/dwf_xxx", params={"stage": "1", "start": "yes"}, json={"cost_usd": 0.08})
        instance_id = opened.json()["instance_id"]
        answer = await client.put("/api/workflows/dwf_xxx/budget", json=budget)
        assert {name: answer.json()[name] for name in budget} == budget
        pinged = json.loads(await run(up, "cost.sh", "bash", "-c"))
        assert (pinged["status"], pinged["instance_id"]) == ("success", instance_id)
        assert (pinged["budget"]["state"], pinged["budget"]["instance_cost_usd"]) == ("ok", 0.125)
        # Dearer than the limit: the run is over with it, and takes no more.
        last = await client.post("/dhk/dwf_xxx", params={"stage": "3"}, json={"cost_usd": 105.375})
        assert (last.json()["workflow_status"], last.json()["budget"]["state"]) == ("terminated", "exceeded")
        refused = await client.post("/dhk/dwf_xxx", params={"stage": "4"}, json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "instance_terminated")
    cost = await read(up, f"/api/instances/{instance_id}/cost")
    assert cost["total_cost_usd"] == 105.5
    reported = {
        name: cost["breakdown"][1][name] for name in ("stage_path", "model_id", "input_tokens", "output_tokens")
    }
    assert reported == {"stage_path": "2", "model_id": "claude-3-opus", "input_tokens": 1500, "output_tokens": 500}
    step = (await read(up, f"/api/instances/{instance_id}/timeline"))["timeline"][1]
    assert step["tool_calls"] == [{"tool_name": "web_search", "latency_ms": 250, "success": True}]
    alerts = (await read(up, "/api/workflows/dwf_xxx/cost-alerts?days=7&limit=50"))["alerts"]
    (exceeded,) = [alert for alert in alerts if alert["alert_type"] == "budget_exceeded"]
    assert exceeded["message"] == "Instance cost $105.50 exceeds budget limit $100.00"
    assert (exceeded["action_taken"], exceeded["current_cost_usd"]) == ("terminate", 105.5)


async def test_the_history_with_a_login_of_a_browser(up: Up) -> None:
    async with httpx.AsyncClient(base_url=up.runtime.gateway_url) as client:
        key = {"key": up.key}
        await client.get("/dhk/my_pipeline", params={"stagePath": "1", "start": "yes", **key})
        failed = await client.get("/dhk/my_pipeline", params={"stagePath": "2", "status": "failed", **key})
        await client.get("/dhk/my_pipeline", params={"stagePath": "1", "start": "yes", **key})
        login = await client.post("/api/login", json={"email": up.email, "password": up.password})
        assert login.status_code == 200, login.text
        token = client.cookies["access_token"]
    instance_id = failed.json()["instance_id"]

    async def told() -> str:
        return await run(up, "instance_history.py", sys.executable, "-c", YOUR_JWT_TOKEN=token)

    printed = await until(told)
    assert "Active instance: d" in printed
    assert f"Failed: {instance_id} - Stage 2 failed" in printed
    assert "Stage 2: failed" in printed
