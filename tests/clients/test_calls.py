"""What waits for an answer: pings and questions, by both clients."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pingpulse import InvalidRequest, NotFound, PayloadError, PingPulse
from tests.api.calls import Calls, new_id
from tests.clients.conftest import Kind

Connect = Callable[..., Any]

PARAMETERS = {"stage": "9", "stagePath": "9", "stagename": "x", "start": "2026-01-01", "final": "maybe", "rid": "r",
              "instance_id": "nobody", "agent": "x", "idempotency_key": "k", "create": "perhaps", "period": "p",
              "grace": "g", "run_id": "*"}  # fmt: skip
"""A payload that is made of the names of parameters."""


async def test_stages_of_a_dynamic_workflow(connect: Connect, kind: Kind, mine: Calls) -> None:
    client, workflow_id = connect(), new_id()
    first = await kind.call(client.stage, workflow_id, 1, start=True, agent="ada", name="Ingest")
    assert (first.workflow_id, first.stage_path, first.workflow_status) == (workflow_id, "1", "running")
    await kind.call(client.stage, workflow_id, "2.1", status="failed", error="disk full", duration_seconds=1.5)
    tree = await kind.call(client.tree, workflow_id)
    assert list(tree) == ["1", "2.1"]
    assert (tree["1"].status, tree["1"].stage_name, tree["1"].agent_code) == ("healthy", "Ingest", "ada")
    assert (tree["2.1"].status, tree["2.1"].error) == ("failed", "disk full")
    await kind.call(client.stage, workflow_id, "2.1")
    last = await kind.call(client.stage, workflow_id, "3", final=True, instance_id=first.instance_id)
    assert last.instance_id == first.instance_id
    instance = await kind.call(client.instance, first.instance_id)
    assert (instance.status, instance.workflow_id, instance.agent_code) == ("completed", workflow_id, "ada")
    assert abs((datetime.now(UTC) - instance.started_at).total_seconds()) < 60
    await mine.settled(first.instance_id, "completed")
    history = await kind.call(client.instances, workflow_id, status="completed")
    assert history.running_instance is None
    assert [found.id for found in history.recent_instances] == [first.instance_id]


async def test_stages_of_a_static_workflow(connect: Connect, kind: Kind, mine: Calls) -> None:
    client, workflow_id = connect(), await mine.define(stages=2, validation_mode="strict")
    first = await kind.call(client.stage, workflow_id, 1, kind="static", agent="ada")
    assert (first.stage_order, first.workflow_status) == (1, "running")
    with pytest.raises(InvalidRequest) as refused:
        await kind.call(client.stage, workflow_id, 2, kind="static")
    assert (refused.value.code, refused.value.extra["expected_stage"]) == ("agent_required", "2")
    done = await kind.call(client.stage, workflow_id, 2, kind="static", agent="ada")
    assert done.workflow_status == "completed"
    assert {
        path: stage.status for path, stage in (await kind.call(client.tree, workflow_id, kind="static")).items()
    } == {
        "1": "healthy",
        "2": "healthy",
    }


async def test_timelines_and_costs(connect: Connect, kind: Kind) -> None:
    client, workflow_id = connect(), new_id()
    payload = {"task": "analyse", "ratio": 0.5, "at": datetime(2026, 1, 2, tzinfo=UTC), "cost": Decimal("1.10")}
    opened = await kind.call(
        client.stage,
        workflow_id,
        1,
        start=True,
        payload=payload,
        model_id="house-llm",
        usage={"input_tokens": 15, "output_tokens": 5},
        cost_usd=Decimal("0.100000000000000001"),
        handoff_reason="done",
    )
    await kind.call(client.stage, workflow_id, 2, model_id="nobody-knows", usage={"input_tokens": 1})
    timeline = await kind.call(client.timeline, opened.instance_id, limit=1)
    assert (timeline.total_steps, timeline.next_from, len(timeline.timeline)) == (2, 1, 1)
    step = timeline.timeline[0]
    assert (step.cost_usd, step.input_tokens, step.handoff_reason) == (Decimal("0.100000000000000001"), 15, "done")
    assert step.payload["ratio"] == 0.5
    assert (step.payload["at"], step.payload["cost"]) == ("2026-01-02 00:00:00+00:00", "1.10")
    assert step.raw["context_size_bytes"] > 0
    rest = await kind.call(client.timeline, opened.instance_id, from_step=1)
    assert [step.stage_path for step in rest.timeline] == ["2"]
    cost = await kind.call(client.instance_cost, opened.instance_id)
    assert (cost.total_cost_usd, cost.unpriced_pings) == (Decimal("0.100000000000000001"), 1)
    assert [(ping.cost_source, ping.cost_usd is None) for ping in cost.breakdown] == [
        ("caller", False),
        ("unpriced", True),
    ]
    total = await kind.call(client.workflow_cost, workflow_id, days=3)
    assert (total.period_days, total.most_expensive_instance.id) == (3, opened.instance_id)


async def test_workflows(connect: Connect, kind: Kind, mine: Calls) -> None:
    client = connect()
    ids = {await mine.define(name=name, stages=2) for name in ("One", "Two", "Three")}
    page = await kind.call(client.workflows, limit=2)
    rest = await kind.call(client.workflows, limit=2, cursor=page.next_cursor)
    assert {found.id for found in page.workflows + rest.workflows} == ids
    info = await kind.call(client.workflow_info, page.workflows[0].id)
    assert (info.kind, info.validation_mode, [stage.order for stage in info.stages]) == ("static", "flexible", [1, 2])


async def test_pulses(connect: Connect, kind: Kind, mine: Calls) -> None:
    client, target = connect(), new_id("nightly").replace("_", "-")
    created = await kind.call(client.ping, target, create=True, period_seconds=3600, grace_seconds=60)
    assert created.event == "success"
    assert (await kind.call(client.ping_start, target, run_id="7")).event == "start"
    assert (await kind.call(client.ping_fail, target, run_id="7", error="disk full")).event == "fail"
    assert (await kind.call(client.ping_log, target, "half way")).event == "log"
    assert (await kind.call(client.ping, target, status=1)).event == "fail"
    pings = (await mine.get(f"/api/pulses/{created.target_id}/pings"))["pings"]
    assert [ping["event"] for ping in pings] == ["fail", "log", "fail", "start", "success"]
    assert pings[1]["payload"] == {"message": "half way"}
    found = await mine.get(f"/api/pulses/{target}")
    assert (found["period_seconds"], found["grace_seconds"]) == (3600, 60)


async def test_process_hooks(connect: Connect, kind: Kind, mine: Calls) -> None:
    client = connect()
    hook = (await mine.post("/api/process-hooks", {"name": "ETL", "expected_seconds": 60}, 201))["id"]
    started = [await kind.call(client.process_start, hook, agent=agent) for agent in ("a", "b")]
    ended = await kind.call(client.process_finish, hook, run_id=started[0].run_id, payload={"rows": 3})
    assert (ended.run_id, ended.run_status) == (started[0].run_id, "finished")
    failed = await kind.call(client.process_fail, hook, error="boom")
    assert (failed.run_id, failed.run_status) == (started[1].run_id, "failed")
    runs = (await mine.get(f"/api/process-hooks/{hook}/runs"))["runs"]
    assert {run["run_id"]: (run["metadata"].get("rows"), run["error"]) for run in runs} == {
        started[0].run_id: (3, None),
        started[1].run_id: (None, "boom"),
    }


async def test_a_payload_may_have_the_names_of_parameters(connect: Connect, kind: Kind, mine: Calls) -> None:
    client, workflow_id, target = connect(), new_id(), new_id("pls").replace("_", "-")
    opened = await kind.call(client.stage, workflow_id, 1, start=True, payload=PARAMETERS)
    assert (await kind.call(client.timeline, opened.instance_id)).timeline[0].payload == PARAMETERS
    await kind.call(client.ping, target, create=True)
    await kind.call(client.ping, target, payload=PARAMETERS)
    assert (await mine.get(f"/api/pulses/{target}/pings"))["pings"][0]["payload"] == PARAMETERS


async def test_an_id_is_one_part_of_the_address(connect: Connect, kind: Kind) -> None:
    client = connect()
    for id_ in ("../api/keys", "a/b", "a?b", "ä"):
        with pytest.raises((InvalidRequest, NotFound)):
            await kind.call(client.stage, id_, 1, start=True)
    for id_ in ("", ".", ".."):
        with pytest.raises(ValueError, match="no id"):
            await kind.call(client.tree, id_)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"key": "value"}, "API key"),
        ({"x": float("nan")}, "JSON"),
        ({"x": "y" * 100_000}, "bytes"),
        ({("a", "b"): 1}, "JSON"),
        ("text", "a mapping"),
    ],
)
async def test_a_payload_that_cannot_be_sent_is_refused(pulse: PingPulse, payload: Any, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        pulse.stage("w", 1, payload=payload)


async def test_a_misspelt_detail_is_refused(pulse: PingPulse) -> None:
    with pytest.raises(TypeError, match="idempotency_kee"):
        pulse.stage("w", 1, idempotency_kee="x")  # type: ignore[call-arg]
