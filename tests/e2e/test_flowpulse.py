"""FlowPulse's clients against `pingpulse up`, by base URL and key alone; and every command of our page."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.up import Up, running_up
from tests.support.waiting import until

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "integrations" / "flowpulse.md"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with running_up(tmp_path_factory.mktemp("home")) as up:
        yield up


async def run(program: str, replacements: dict[str, str]) -> str:
    for theirs, ours in replacements.items():
        program = program.replace(theirs, ours)
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()
    return out.decode()


def answers(printed: str) -> list[dict[str, Any]]:
    """One JSON document behind the other."""
    found, at = [], 0
    while at < len(printed):
        document, at = json.JSONDecoder().raw_decode(printed, at)
        found.append(document)
    return found


async def settled(client: httpx.AsyncClient, instance_id: str, status: str) -> dict[str, Any]:
    async def is_so() -> Any:
        instance = (await client.get(f"/api/instances/{instance_id}")).json()
        return instance if [item["to_status"] for item in instance["transitions"]][-1:] == [status] else None

    return dict(await until(is_so))


async def test_the_reference_by_base_url_and_key_alone(up: Up) -> None:
    async with up.client() as client:
        body = {"kind": "run", "name": "Lead enrichment", "slug": "lead-enrichment"}
        created = await client.post("/api/workflows", json=body)
        assert created.status_code == 201, created.text
        example = (HERE / "examples" / "flowpulse.sh").read_text()
        replacements = {"https://app.flowpulse.xyz": up.runtime.gateway_url, "fp_your_key": up.key}
        listed, succeeded, failed = answers(await run(example, replacements))
        assert [item["slug"] for item in listed["workflows"]] == ["lead-enrichment"]
        assert [answer["status"] for answer in (succeeded, failed)] == ["accepted", "accepted"]
        good = await settled(client, succeeded["instance_id"], "completed")
        assert good["run"]["duration_ms"] == 4000
        assert good["run"]["metadata"] == {"leads": 12}
        bad = await settled(client, failed["instance_id"], "failed")
        assert (bad["failure_reason"], bad["run"]["error_type"]) == ("429 from the CRM", "RateLimitError")
        # The whole of it once more is the same runs.
        assert answers(await run(example, replacements))[1:] == [succeeded, failed]
        await client.delete(f"/api/workflows/{created.json()['id']}")


async def test_every_command_of_the_page(up: Up) -> None:
    commands = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    replacements = {"http://localhost:8000": up.runtime.gateway_url, "YOUR_KEY": up.key, "curl -sS": "curl -fsS"}
    (workflow,), (good,), (bad,), (listed,) = [answers(await run(command, replacements)) for command in commands]
    assert workflow["expected_interval_seconds"] == 3600
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert json.loads(shown).keys() == good.keys() == bad.keys()
    assert listed["workflows"][0]["id"] == workflow["id"]
    async with up.client() as client:
        linked = (await client.get("/api/instances", params={"correlation_id": "order-99"})).json()
        assert good["instance_id"] in [item["id"] for item in linked["instances"]]
