"""A real Airflow with the published provider, against a real `pingpulse up`: see `make test-airflow`.

Not named like a test: `make test` has no Airflow. What the provider sends is tested there by tests/api/test_airflow.py.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from shutil import copytree
from unittest.mock import ANY

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.airflow.calls import CALLS, USER_AGENT, sort_of
from tests.airflow.installation import ROOT, Airflow
from tests.airflow.recorder import Exchange, Recorder, recording
from tests.airflow.world import World
from tests.support.up import Up, running_up
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(900)

PAGE = (ROOT / "docs" / "integrations" / "airflow.md").read_text()
DAGS = {
    "operators": "success",
    "static_operators": "success",
    "strict_operators": "success",
    "decorators": "success",
    "static_decorators": "success",
    "retrying_decorators": "success",
    "reopening_decorators": "success",
    "failing_decorators": "failed",
    "callbacks": "success",
    "failing_callbacks": "failed",
    "failing_at_once": "failed",
    "static_callbacks": "success",
    "failing_static_callbacks": "failed",
    "failing_silently": "failed",
}
TOLD_BY_THE_DAG = {dag_id: state for dag_id, state in DAGS.items() if "callbacks" in dag_id or "failing" in dag_id}
PAGE_DAGS = ("etl_operators", "etl_decorated", "etl_callbacks")
PAGE_DAY = "2026-01-02"
BY_THE_PROVIDER = {"shk": "static", "dhk": "dynamic", "hb": "pulse"}
"""Endpoints, and what metrics call them."""


def code_of_the_page(language: str, **replacements: str) -> list[str]:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    for theirs, ours in replacements.items():
        blocks = [block.replace(theirs, ours) for block in blocks]
    return blocks


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with AsyncExitStack() as running:
        up = await running.enter_async_context(running_up(tmp_path_factory.mktemp("home")))
        recorder = running.enter_context(recording(up.runtime.gateway_url))
        http = await running.enter_async_context(up.client())
        airflow = await make_airflow(tmp_path_factory.mktemp("airflow"), up, recorder, http)
        await define(http)
        async with airflow.scheduler():
            states = await airflow.run_states(*DAGS, timeout=600)
            await until(lambda: TOLD_BY_THE_DAG.keys() <= told_by_dags(recorder).keys(), timeout=60)
        yield World(recorder, airflow, http, states)


def told_by_dags(recorder: Recorder) -> dict[str, str]:
    """What the callbacks of DAGs have told, by DAG."""
    stages = {"dag_complete": "success", "dag_failed": "failed"}
    return {
        exchange.body["airflow"]["dag_id"]: stages[stage]
        for exchange in recorder.exchanges
        if (stage := exchange.params.get("stagePath")) in stages
    }


async def make_airflow(home: Path, up: Up, recorder: Recorder, http: httpx.AsyncClient) -> Airflow:
    """An Airflow that was set up, and has run the DAGs of the page, as the page says."""
    created = await http.post("/api/keys", json={"name": "Airflow", "scope": "ping"})
    assert created.status_code == 201, created.text
    airflow = Airflow(home, OWN_KEY=created.json()["key"], OWN_URL=f"http://{recorder.address}")
    await airflow.run("airflow", "db", "migrate")
    install, *others = code_of_the_page("sh", **{"localhost:8000": recorder.address, "YOUR_KEY": up.key})
    pip, connect, test = install.strip().splitlines()
    assert pip.split()[-1] in (await airflow.run("python", "-m", "pip", "freeze")).splitlines()
    await airflow.run("bash", "-c", connect)
    assert "Connection success!" in await airflow.run("bash", "-c", test)
    # The type that the provider's own page names, which Airflow tests in its own way.
    await airflow.run(
        "bash", "-c", connect.replace("--conn-type pingpulse", "--conn-type http").replace("_default", "_2")
    )
    assert "Connection success!" in await airflow.run("airflow", "connections", "test", "pingpulse_2")
    for command in others:
        await airflow.run("bash", "-c", command.replace("curl ", "curl -fsS "))
    dags = code_of_the_page("python")
    for dag_id, dag in zip(PAGE_DAGS, dags, strict=True):
        (airflow.dags / f"{dag_id}.py").write_text(dag)
        await airflow.run("airflow", "dags", "test", dag_id, PAGE_DAY)
    copytree(Path(__file__).parent / "dags", airflow.dags, dirs_exist_ok=True)
    return airflow


async def define(http: httpx.AsyncClient) -> None:
    """What has to be there before the DAGs run, which take longer than a minute; their first pings create the rest."""
    for dag_id in DAGS.keys() - {"operators"}:
        body = {"kind": "dynamic", "id": dag_id, "name": dag_id, "grace_period_seconds": 3600}
        if "static" in dag_id or "strict" in dag_id:
            stages = [{"order": order} for order in ((1, 2, 3) if "strict" in dag_id else (1, 2))]
            mode = "strict" if "strict" in dag_id else "flexible"
            body |= {"kind": "static", "stages": stages, "validation_mode": mode}
        assert (await http.post("/api/workflows", json=body)).status_code == 201
    for slug in ("operators-pulse", "dead-pulse"):
        created = await http.post("/api/pulses", json={"name": slug, "slug": slug, "period_seconds": 3600})
        assert created.status_code == 201


def sent(world: World) -> list[tuple[str, Exchange]]:
    """What the provider has sent, with the endpoint."""
    ours = [exchange for exchange in world.recorder.exchanges if exchange.user_agent == USER_AGENT]
    return [(exchange.path.split("/")[1], exchange) for exchange in ours]


async def test_all_dags_end_as_they_should(world: World) -> None:
    assert world.airflow.import_errors() == []
    assert world.states == DAGS
    assert told_by_dags(world.recorder) == TOLD_BY_THE_DAG | {"etl_callbacks": "success"}


async def test_no_call_of_the_provider_is_refused(world: World) -> None:
    calls = sent(world)
    assert {exchange.status for _, exchange in calls} == {200}
    assert [exchange for exchange in world.recorder.exchanges if exchange.status >= 400] == []
    families = text_string_to_metric_families((await world.http.get("/metrics")).text)
    pings = next(family for family in families if family.name == "pingpulse_pings")
    counted = {
        (sample.labels["kind"], sample.labels["outcome"]): int(sample.value)
        for sample in pings.samples
        if sample.name.endswith("_total") and sample.value
    }
    kinds = Counter(BY_THE_PROVIDER[endpoint] for endpoint, _ in calls if endpoint != "health")
    assert counted == {(kind, "accepted"): number for kind, number in kinds.items()}
    assert re.findall(r"PingPulse .*failed:.*", world.airflow.logs()) == []


async def test_the_calls_are_those_that_the_default_suite_makes(world: World) -> None:
    calls = [(endpoint, exchange) for endpoint, exchange in sent(world) if endpoint != "health"]
    assert all(set(exchange.params) >= {"key"} for _, exchange in calls)
    seen = {sort_of(endpoint, exchange.params, exchange.body) for endpoint, exchange in calls}
    known = {sort_of(call.endpoint, call.params, call.body): call.what for call in CALLS}
    assert seen - known.keys() == set()
    assert [what for sort, what in known.items() if sort not in seen] == []


async def test_connections_are_tested(world: World) -> None:
    """By the command with each type of connection, and by two hooks in a task."""
    tests = [exchange for exchange in world.recorder.exchanges if exchange.path in ("/health", "/", "/docs")]
    expected = [("GET", "/health", 200), ("POST", "/", 303), ("GET", "/docs", 200), *[("GET", "/health", 200)] * 2]
    assert [(exchange.method, exchange.path, exchange.status) for exchange in tests] == expected


async def test_the_dags_of_the_page(world: World) -> None:
    (run,) = await world.runs("etl_operators", "completed")
    started, ended = await world.steps("etl_operators", "completed")
    assert started["payload"]["airflow"]["run_id"].startswith(f"manual__{PAGE_DAY}")
    assert ended["payload"]["rows"] == "1200"
    assert {exchange.body.get("instance_id") for _, exchange in sent(world) if "etl_op" in exchange.path} == {
        None,
        run["id"],
    }
    steps = await world.steps("etl_decorated", "completed")
    results = [{"records": 1000}, {"processed": 1000}, {"loaded": 1000}]
    assert [step["payload"]["result"] for step in steps] == results
    await world.runs("etl_callbacks", "completed")
    assert await world.tree("etl_callbacks") == dict.fromkeys(("1", "2", "dag_complete"), "healthy")
    assert (await world.get("/api/pulses/nightly-etl"))["status"] == "up"
    for dag_id in PAGE_DAGS:
        await world.alerts(dag_id)


async def test_operators(world: World) -> None:
    first, second, last = await world.steps("operators", "completed")
    assert [step["stage_path"] for step in (first, second, last)] == ["1", "2.1", "3"]
    run_id = first["payload"]["airflow"]["run_id"]
    context = {"dag_id": "operators", "run_id": run_id, "execution_date": "2026-01-01 00:00:00+00:00", "try_number": 1}
    told = {"duration": "None", "rows": 1000, "cost_usd": 0.25}
    assert first["payload"] == told | {"airflow": context | {"task_id": "first"}}
    assert first["cost_usd"] == 0.25
    assert second["payload"] is None
    assert last["payload"] == {"status": "success", "airflow": context | {"task_id": "last"}}
    assert await world.tree("operators") == dict.fromkeys(("1", "2.1", "3"), "healthy")


async def test_heartbeats(world: World) -> None:
    alive = await world.get("/api/pulses/operators-pulse")
    assert (alive["status"], alive["last_duration_seconds"]) == ("up", 1.5)
    (ping,) = (await world.get(f"/api/pulses/{alive['id']}/pings"))["pings"]
    assert (ping["event"], ping["payload"]) == ("success", {"rows": 1000, "duration": 1.5})
    dead = await world.get("/api/pulses/dead-pulse")
    assert (dead["status"], dead["reason"]) == ("down", "no rows")


async def test_static_and_strict_workflows(world: World) -> None:
    for workflow_id in ("static_operators", "static_decorators", "static_callbacks", "strict_operators"):
        await world.runs(workflow_id, "completed")
        await world.alerts(workflow_id)
    assert await world.tree("static_operators", "shk") == {"1": "healthy", "2": "healthy"}
    assert await world.tree("static_decorators", "shk") == {"1": "healthy", "2": "healthy"}
    told_by_the_dag = {"1": "healthy", "2": "healthy", "dag_complete": "healthy"}
    assert await world.tree("static_callbacks", "shk") == told_by_the_dag
    steps = await world.steps("strict_operators", "completed")
    assert [(step["stage_path"], step["agent_code"]) for step in steps] == [(stage, "airflow") for stage in "123"]
    assert (await world.get("/api/workflows/strict_operators/failed-pings"))["failed_pings"] == []
    (failed,) = await world.runs("failing_static_callbacks", "failed")
    assert failed["failure_reason"] == "Stage 2 failed: no connection to the database"
    assert failed["stage_statuses"]["dag_failed"]["status"] == "failed"


async def test_decorators(world: World) -> None:
    extracted, transformed, loaded = await world.steps("decorators", "completed")
    result = {"records": 1000, "status": "failed", "nested": {"deep": [1, None, "é"]}}
    assert extracted["payload"] == {"task_name": "extract", "duration": ANY, "status": "success", "result": result}
    assert extracted["response_time_ms"] == round(extracted["payload"]["duration"] * 1000)
    assert transformed["payload"] == {"task_name": "transform", "status": "success"}
    assert loaded["payload"]["result"] == {"try": 1}
    assert loaded["payload"]["airflow"] == {"dag_id": "decorators", "task_id": "load", "run_id": ANY}


async def test_a_retry_heals_the_run(world: World) -> None:
    steps = await world.steps("retrying_decorators", "completed")
    told = [(step["stage_path"], step["status"], step["error"]) for step in steps]
    tries = [("2", "failed", "try 1"), ("2", "failed", "try 2"), ("2", "success", None)]
    assert told == [("1", "success", None), *tries]
    assert world.airflow.tries("retrying_decorators")["moody"] == ("success", 3)
    alerts = await world.alerts("retrying_decorators", "stage_failed", "instance_failed", "instance_recovered")
    assert alerts[-1]["kind"] == "instance_recovered"


async def test_each_try_with_a_start_opens_a_run(world: World) -> None:
    second, first = await world.runs("reopening_decorators", "completed", "failed")
    assert first["failure_reason"] == "Stage 1 failed: not yet"
    assert second["stage_statuses"] == dict.fromkeys("123", {"status": "healthy"})


async def test_decorated_tasks_that_fail(world: World) -> None:
    (run,) = await world.runs("failing_decorators", "failed")
    error = ("the disk is full " * 60)[:500]
    assert run["failure_reason"].startswith("Stage 2 failed: the disk is full")
    assert run["stage_statuses"] == {
        "1": {"status": "healthy"},
        "2": {"status": "failed", "error": error},
        "3": {"status": "failed", "error": "'customers'"},
        "dag_failed": {"status": "failed"},
    }
    await world.alerts("failing_decorators", *["stage_failed"] * 3, "instance_failed")


async def test_callbacks(world: World) -> None:
    first, retried, second, third, dag = await world.steps("callbacks", "completed")
    context = {"dag_id": "callbacks", "run_id": ANY, "execution_date": "2026-01-01 00:00:00+00:00"}
    of_a_task = context | {"task_id": "stage_1", "try_number": 1}
    assert first["payload"] == {"status": "success", "airflow": of_a_task, "duration": ANY}
    assert (retried["status"], retried["error"]) == ("pending", "no connection to the database")
    assert (second["payload"]["airflow"]["try_number"], second["payload"]["team"]) == (2, "data")
    assert second["model_id"] == "gpt-4o"
    assert (third["stage_path"], dag["stage_path"]) == ("3", "dag_complete")
    assert dag["payload"] == {"status": "dag_success", "airflow": context}
    assert await world.tree("callbacks") == dict.fromkeys(("1", "2", "3", "dag_complete"), "healthy")
    await world.alerts("callbacks")


async def test_callbacks_of_what_fails(world: World) -> None:
    (run,) = await world.runs("failing_callbacks", "failed")
    assert run["failure_reason"] == "Stage 2 failed: no connection to the database"
    failed = {"status": "failed", "error": "no connection to the database"}
    of_the_dag = {"status": "failed"}
    assert run["stage_statuses"] == {"1": {"status": "healthy"}, "2": failed, "dag_failed": of_the_dag}
    (run,) = await world.runs("failing_at_once", "failed")
    assert run["stage_statuses"] == {"1": failed, "dag_failed": of_the_dag}
    for workflow_id in ("failing_callbacks", "failing_at_once"):
        await world.alerts(workflow_id, "stage_failed", "stage_failed", "instance_failed")


async def test_the_dag_alone_tells_that_it_failed(world: World) -> None:
    (run,) = await world.runs("failing_silently", "failed")
    assert run["stage_statuses"] == {"1": {"status": "healthy"}, "dag_failed": {"status": "failed"}}
    await world.alerts("failing_silently", "stage_failed", "instance_failed")
