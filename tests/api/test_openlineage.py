"""OpenLineage over HTTP: events as tools send them, and OpenLineage's own client."""

import asyncio
import gzip
import itertools
import json
import os
import random
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, JobEvent, Run, RunEvent, RunState
from openlineage.client.facet_v2 import error_message_run, parent_run
from openlineage.client.transport.async_http import AsyncHttpConfig, AsyncHttpTransport
from openlineage.client.transport.http import HttpConfig, HttpTransport
from openlineage.client.uuid import generate_new_uuid

from api.lineage_input import MAX_BYTES, MAX_EVENTS
from domain.openlineage import second_workflow_id
from tests.api.calls import Calls
from tests.api.ingest_calls import wrong
from tests.api.lineage_samples import (
    AirflowRun,
    Event,
    at,
    dbt_command,
    event,
    failure,
    new_job,
    new_run,
    ref,
    spark_application,
)
from tests.support.waiting import until

PATH = "/api/v1/lineage"
PAGE = Path(__file__).parents[2] / "docs" / "integrations" / "openlineage.md"
AIRFLOW_STAGES = {"extract": "healthy", "warehouse.load": "healthy"}


async def send(calls: Calls, said: Any, expected: int = 201, path: str = PATH) -> dict[str, Any]:
    return await calls.post(path, said, expected)


async def send_all(calls: Calls, events: Iterable[Event]) -> dict[str, Any]:
    """One after the other; the last answer."""
    answer: dict[str, Any] = {}
    for said in events:
        answer = await send(calls, said)
    return answer


async def the_instance(calls: Calls, workflow_id: str, run_id: str) -> dict[str, Any]:
    """The only one of that run."""
    history = await calls.history(workflow_id, limit=50)
    found = [item for item in history["recent_instances"] if item.get("external_id") == run_id]
    if running := history["running_instance"]:
        found += [running] if running.get("external_id") == run_id else []
    (one,) = {item["id"]: item for item in found}.values()
    return dict(one)


async def settled(calls: Calls, workflow_id: str, run_id: str, status: str) -> dict[str, Any]:
    async def is_so() -> Any:
        one = await the_instance(calls, workflow_id, run_id)
        return one if one["status"] == status else None

    one = await until(is_so)
    return await calls.settled(one["id"], status)


def stages(instance: dict[str, Any]) -> dict[str, str]:
    return {path: stage["status"] for path, stage in instance["stage_statuses"].items()}


async def steps(calls: Calls, instance_id: str) -> list[dict[str, Any]]:
    return list((await calls.get(f"/api/instances/{instance_id}/timeline"))["timeline"])


# What tools send


async def test_a_dag_run_of_airflow(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    events = run.whole()
    answer = await send(ours, events[0])
    assert answer["status"] == "accepted"
    assert answer["event_id"].startswith("evt_")
    assert (answer["workflow_id"], answer["stage_path"]) == (run.workflow_id, run.dag)
    await send_all(ours, events[1:])
    instance = await ours.settled(answer["instance_id"], "completed")
    assert stages(instance) == {run.dag: "healthy", **AIRFLOW_STAGES}
    assert (instance["started_at"], instance["completed_at"]) == (at(0), at(20))
    assert (instance["external_id"], instance["correlation_id"]) == (run.run_id, run.run_id)
    assert instance["agent_code"] == "airflow"
    took = [
        (step["stage_path"], step["status"], step["response_time_ms"]) for step in await steps(ours, instance["id"])
    ]
    assert took == [
        (run.dag, "pending", None),
        ("extract", "pending", None),
        ("extract", "success", 4500),
        ("warehouse.load", "pending", None),
        ("warehouse.load", "success", 12_000),
        (run.dag, "success", 20_000),
    ]
    tree = await ours.get(f"/dhk/{run.workflow_id}/tree", instance_id=instance["id"])
    assert "extract" in json.dumps(tree)


async def test_while_it_runs_and_what_it_reads_and_writes(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    answer = await send_all(ours, run.whole()[:-1])
    instance = await the_instance(ours, run.workflow_id, run.run_id)
    assert instance["status"] == "running"
    *_, loaded = await steps(ours, answer["instance_id"])
    assert loaded["payload"]["outputs"][0]["name"] == "public.orders"
    assert loaded["payload"]["run"]["facets"]["airflow"]["taskInstance"]["try_number"] == 1


async def test_a_task_that_fails_and_its_next_try(ours: Calls) -> None:
    run, first, second = AirflowRun(new_job("etl")), new_run(), new_run()
    error: dict[str, Any] = {"errorMessage": failure("disk full")}
    await send(ours, run.of_dag("START", 0))
    await send(ours, run.of_task("START", 1, "load", first))
    answer = await send(ours, run.of_task("FAIL", 2, "load", first, **error))
    failed = await ours.settled(answer["instance_id"], "failed")
    assert failed["failure_reason"] == "Stage load failed: disk full"
    await send(ours, run.of_task("START", 60, "load", second))
    await ours.settled(answer["instance_id"], "running")
    await send(ours, run.of_task("COMPLETE", 65, "load", second))
    await send(ours, run.of_dag("COMPLETE", 66))
    healed = await ours.settled(answer["instance_id"], "completed")
    assert stages(healed) == {run.dag: "healthy", "load": "healthy"}


async def test_a_dag_run_that_fails(ours: Calls) -> None:
    run, task = AirflowRun(new_job("etl")), new_run()
    await send(ours, run.of_task("FAIL", 2, "load", task, errorMessage=failure("disk full")))
    answer = await send(ours, run.of_dag("FAIL", 3, errorMessage=failure("task_failure")))
    failed = await ours.settled(answer["instance_id"], "failed")
    assert failed["failure_reason"] == "Stage load failed: disk full"
    assert failed["stage_statuses"][run.dag]["error"] == "task_failure"


async def test_mapped_tasks_are_a_stage_each(ours: Calls) -> None:
    run, one, other = AirflowRun(new_job("etl")), new_run(), new_run()
    await send(ours, run.of_task("START", 1, "load", one, 0))
    await send(ours, run.of_task("START", 1, "load", other, 1))
    # Old providers say the index at the start only.
    await send(ours, run.of_task("FAIL", 3, "load", one, errorMessage=failure("no")))
    answer = await send(ours, run.of_task("COMPLETE", 4, "load", other))
    instance = await ours.settled(answer["instance_id"], "failed")
    assert stages(instance) == {"load:0": "failed", "load:1": "healthy"}


async def test_a_part_of_which_no_end_is_heard_is_over_with_the_whole(ours: Calls) -> None:
    run, skipped = AirflowRun(new_job("etl")), new_run()
    await send(ours, run.of_dag("START", 0))
    await send(ours, run.of_task("START", 1, "maybe", skipped))
    answer = await send(ours, run.of_dag("COMPLETE", 5))
    instance = await ours.settled(answer["instance_id"], "completed")
    assert stages(instance) == {run.dag: "healthy", "maybe": "healthy"}
    *_, last = await steps(ours, instance["id"])
    assert "has not said how it ended" in last["payload"]["assumed"]
    await send(ours, run.of_task("RUNNING", 2, "maybe", skipped))
    assert stages(await ours.instance(instance["id"]))["maybe"] == "healthy"
    await send(ours, run.of_task("FAIL", 3, "maybe", skipped, errorMessage=failure("no")))
    await ours.settled(instance["id"], "failed")


async def test_an_application_of_spark(ours: Calls) -> None:
    name, app = new_job("orders_app"), new_run()
    answer = await send_all(ours, spark_application(name, app))
    assert answer["workflow_id"] == f"prod.{name}"
    instance = await ours.settled(answer["instance_id"], "completed")
    assert stages(instance) == {name: "healthy", "execute_insert_into": "healthy", "collect": "healthy"}
    assert instance["agent_code"] == "spark"
    large = next(step for step in await steps(ours, instance["id"]) if "dropped" in (step["payload"] or {}))
    (dropped,) = large["payload"]["dropped"]
    assert dropped["what"] == "run.facets.spark.logicalPlan"
    assert "spark.logicalPlan" not in large["payload"]["run"]["facets"]


async def test_spark_within_a_task_that_names_its_root(ours: Calls) -> None:
    run, task, name = AirflowRun(new_job("etl")), new_run(), new_job("orders_app")
    parent = {**ref(task, f"{run.dag}.submit"), "root": ref(run.run_id, run.dag)}
    await send(ours, run.of_dag("START", 0))
    await send(ours, run.of_task("START", 1, "submit", task))
    await send_all(ours, spark_application(name, new_run(), parent=parent))
    await send(ours, run.of_task("COMPLETE", 30, "submit", task))
    answer = await send(ours, run.of_dag("COMPLETE", 31))
    instance = await ours.settled(answer["instance_id"], "completed")
    assert set(stages(instance)) == {run.dag, "submit", name, f"{name}.execute_insert_into", f"{name}.collect"}
    assert set(stages(instance).values()) == {"healthy"}


async def test_spark_within_a_task_that_names_no_root(ours: Calls) -> None:
    run, task, app, name = AirflowRun(new_job("etl")), new_run(), new_run(), new_job("orders_app")
    submit = f"{run.dag}.submit"
    query: dict[str, Any] = {"parent": ref(app, name)}
    await send(ours, run.of_dag("START", 0))
    await send(ours, run.of_task("START", 1, "submit", task))
    await send(ours, event("START", 2, app, name, parent=ref(task, submit)))
    await send(ours, event("START", 3, new_run(), f"{name}.collect", **query))
    await send(ours, event("COMPLETE", 4, app, name, parent=ref(task, submit)))
    await send(ours, run.of_task("COMPLETE", 5, "submit", task))
    await send(ours, run.of_dag("COMPLETE", 6))
    of_dag = await settled(ours, run.workflow_id, run.run_id, "completed")
    of_task = await settled(ours, f"prod.{submit}", task, "completed")
    of_app = await settled(ours, f"prod.{name}", app, "completed")
    assert stages(of_dag) == {run.dag: "healthy", "submit": "healthy"}
    assert stages(of_task) == {submit: "healthy", name: "healthy"}
    assert stages(of_app) == {name: "healthy", "collect": "healthy"}
    assert [link["instance_id"] for link in of_task["correlated_instances"]] == [of_dag["id"]]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_command_of_dbt(ours: Calls, fails: bool) -> None:
    project = new_job("shop")
    answer = await send_all(ours, dbt_command(project, fails=fails))
    assert answer["workflow_id"] == f"prod.dbt-run-{project}"
    instance = await ours.settled(answer["instance_id"], "failed" if fails else "completed")
    end, model = "failed" if fails else "healthy", f"analytics.public.{project}.orders.build"
    assert stages(instance) == {f"dbt-run-{project}": end, f"{model}.run": "healthy", f"{model}.test": end}
    if fails:
        assert "Got 3 results" in instance["failure_reason"]


async def test_events_of_jobs_and_datasets_are_ignored(mine: Calls) -> None:
    job = {"eventTime": at(0), "producer": "x", "job": {"namespace": "prod", "name": "etl"}}
    dataset = {"eventTime": at(0), "producer": "x", "dataset": {"namespace": "s3://b", "name": "t"}}
    for said in (job, dataset):
        answer = await send(mine, said)
        assert answer["status"] == "ignored"
        assert "no run" in answer["reason"]
    assert (await mine.get("/api/v1/workflows"))["workflows"] == []


# In any order, and more than once


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_ends_the_same(ours: Calls, seed: int) -> None:
    run = AirflowRun(new_job("etl"))
    events = run.whole()
    random.Random(seed).shuffle(events)
    answer = await send_all(ours, events)
    instance = await ours.settled(answer["instance_id"], "completed")
    assert stages(instance) == {run.dag: "healthy", **AIRFLOW_STAGES}
    assert (instance["started_at"], instance["completed_at"]) == (at(0), at(20))


async def test_all_at_once_ends_the_same(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    events = [said for said in run.whole() for _ in range(3)]
    random.Random(1).shuffle(events)
    answers = await asyncio.gather(*(send(ours, said) for said in events))
    assert len({answer["instance_id"] for answer in answers}) == 1
    assert len({answer["event_id"] for answer in answers}) == 6
    instance = await ours.settled(answers[0]["instance_id"], "completed")
    assert stages(instance) == {run.dag: "healthy", **AIRFLOW_STAGES}


async def test_the_same_event_counts_once(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    events = run.whole()
    answers = [await send(ours, said) for said in events for _ in range(2)]
    assert answers[0::2] == answers[1::2]
    again = [await send(ours, said) for said in events]
    assert again == answers[0::2]
    assert len(await steps(ours, answers[0]["instance_id"])) == len(events)
    await ours.settled(answers[0]["instance_id"], "completed")


async def test_emitters_at_two_gateways(ours: Calls, ours_elsewhere: Calls) -> None:
    runs = [AirflowRun(new_job("etl")) for _ in range(3)]

    async def emit(calls: Calls, run: AirflowRun, task: str) -> None:
        run_id = new_run()
        for seconds, type_ in enumerate(("START", "RUNNING", "COMPLETE")):
            await send(calls, run.of_task(type_, 1 + seconds, task, run_id))

    gateways = itertools.cycle((ours, ours_elsewhere))
    tasks = [f"task_{number}" for number in range(6)]
    await asyncio.gather(*(emit(next(gateways), run, task) for run in runs for task in tasks))
    for run in runs:
        await send(next(gateways), run.of_dag("COMPLETE", 20))
        instance = await settled(ours, run.workflow_id, run.run_id, "completed")
        assert stages(instance) == {run.dag: "healthy"} | dict.fromkeys(tasks, "healthy")
        assert len(await steps(ours, instance["id"])) == 3 * len(tasks) + 1


async def test_start_and_end_at_the_same_moment_at_two_gateways(ours: Calls, ours_elsewhere: Calls) -> None:
    job = new_job("quick")
    for _ in range(15):
        run_id = new_run()
        end, start = event("COMPLETE", 5, run_id, job), event("START", 1, run_id, job)
        answers = await asyncio.gather(send(ours, end), send(ours_elsewhere, start))
        assert (await steps(ours, answers[0]["instance_id"]))[-1]["status"] == "success"
        await ours.settled(answers[0]["instance_id"], "completed")


async def test_two_runs_of_one_dag_are_two_instances(ours: Calls) -> None:
    dag = new_job("etl")
    one, other = AirflowRun(dag), AirflowRun(dag)
    for events in zip(one.whole(), other.whole(), strict=True):
        await asyncio.gather(*(send(ours, said) for said in events))
    for run in (one, other):
        await settled(ours, run.workflow_id, run.run_id, "completed")


# Whose it is


async def test_another_account_has_the_same_jobs(ours: Calls, theirs: Calls) -> None:
    run = AirflowRun(new_job("etl"), "default")
    mine = await send_all(ours, run.whole())
    answer = await send_all(theirs, run.whole())
    second = second_workflow_id(run.workflow_id, theirs.account_id)
    assert (mine["workflow_id"], answer["workflow_id"]) == (run.workflow_id, second)
    for calls, each in ((ours, mine), (theirs, answer)):
        assert stages(await calls.settled(each["instance_id"], "completed")) == {run.dag: "healthy", **AIRFLOW_STAGES}
    assert answer["instance_id"] != mine["instance_id"]


async def test_accounts_that_race_for_an_id(ours: Calls, theirs: Calls) -> None:
    for _ in range(5):
        job, run_ids = new_job("etl"), [new_run(), new_run()]
        first, second = await asyncio.gather(
            *(
                send(calls, event("COMPLETE", 5, run_id, job))
                for calls, run_id in zip((ours, theirs), run_ids, strict=True)
            )
        )
        assert first["workflow_id"] != second["workflow_id"]
        await ours.settled(first["instance_id"], "completed")
        await theirs.settled(second["instance_id"], "completed")


async def test_a_static_workflow_of_that_id_knows_its_tasks_by_name(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    named = [{"order": 1, "name": "extract"}, {"order": 2, "name": "warehouse.load"}]
    await ours.define("static", named, id=run.workflow_id)
    answer = await send_all(ours, run.whole())
    assert answer["instance_id"][0] == "s"
    instance = await ours.settled(answer["instance_id"], "completed")
    assert stages(instance) == {"1": "healthy", "2": "healthy", run.dag: "healthy"}


async def test_a_strict_workflow_of_that_id(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    named = [{"order": 1, "name": "extract"}, {"order": 2, "name": "warehouse.load"}]
    await ours.define("static", named, id=run.workflow_id, validation_mode="strict")
    start, *tasks, end = run.whole()
    await send(ours, start)
    refused = await send(ours, tasks[-1], 400)
    assert (refused["code"], refused["expected_stage"]) == ("stage_missed", "1")
    await send_all(ours, tasks[:3])
    # A refusal is remembered like any other answer.
    assert (await send(ours, tasks[3], 400))["code"] == "stage_missed"
    answer = await send(ours, end)
    await ours.settled(answer["instance_id"], "completed")


async def test_a_strict_dynamic_workflow_of_that_id(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    await ours.define("dynamic", id=run.workflow_id, validation_mode="strict", grace_period_seconds=0)
    answer = await send_all(ours, run.whole())
    await ours.settled(answer["instance_id"], "completed")
    await ours.closed(answer["instance_id"])
    problem = await send(ours, run.of_task("RUNNING", 30, "extract", new_run()), 409)
    assert problem["code"] == "instance_closed"


async def test_a_run_workflow_of_that_id_takes_none(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    await ours.define("run", id=run.workflow_id)
    problem = await send(ours, run.of_dag("START", 0), 400)
    assert "run-success" in wrong(problem)["workflow_id"]


async def test_a_workflow_that_was_deleted_comes_back(ours: Calls) -> None:
    run, next_run = (AirflowRun(new_job("etl")) for _ in range(2))
    next_run.dag = run.dag
    await send(ours, run.of_dag("START", 0))
    response = await ours.http.delete(f"/api/workflows/{run.workflow_id}")
    assert response.status_code in (200, 204)
    assert (await send(ours, run.of_dag("COMPLETE", 5), 409))["code"] == "instance_closed"
    answer = await send_all(ours, next_run.whole())
    await ours.settled(answer["instance_id"], "completed")


# Requests


async def test_lists(ours: Calls) -> None:
    run = AirflowRun(new_job("etl"))
    events = [*run.whole(), {"eventTime": at(0), "job": {"namespace": "prod", "name": "etl"}}]
    for path in (PATH, f"{PATH}/batch"):
        answer = await send(ours, events, path=path)
        assert answer["status"] == "accepted"
        assert [each["status"] for each in answer["events"]] == ["accepted"] * 6 + ["ignored"]
    await ours.settled(answer["events"][0]["instance_id"], "completed")
    assert len(await steps(ours, answer["events"][0]["instance_id"])) == 6
    assert await send(ours, []) == {"status": "accepted", "events": []}
    problem = await send(ours, run.of_dag("START", 0), 400, f"{PATH}/batch")
    assert set(wrong(problem)) == {"body"}


async def test_of_a_list_with_a_bad_event_none_is_kept(mine: Calls) -> None:
    good = event("START", 0, new_run(), "etl")
    problem = await send(mine, [good, {**good, "run": {}}], 400)
    assert wrong(problem) == {"1.run.runId": "is missing"}
    assert (await mine.get("/api/v1/workflows"))["workflows"] == []
    problem = await send(mine, [good] * (MAX_EVENTS + 1), 413)
    assert str(MAX_EVENTS) in problem["detail"]


@pytest.mark.parametrize(
    ("content", "headers", "status", "field"),
    [
        (b"{", {}, 400, "body"),
        (b"", {}, 400, "body"),
        (b'"text"', {}, 400, "body"),
        (b'{"run": {}}', {}, 400, "run.runId"),
        (b'{"run": {"runId": " "}}', {}, 400, "run.runId"),
        (b"\xff", {}, 400, "body"),
        (b"{}", {"Content-Encoding": "gzip"}, 400, "body"),
        (gzip.compress(b"{}", mtime=0)[:-9], {"Content-Encoding": "gzip"}, 400, "body"),
        (gzip.compress(b"{", mtime=0), {"Content-Encoding": "gzip"}, 400, "body"),
        (gzip.compress(b" " * (MAX_BYTES + 1), mtime=0), {"Content-Encoding": "gzip"}, 413, None),
        (b" " * (MAX_BYTES + 1), {}, 413, None),
        (b"{}", {"Content-Encoding": "br"}, 415, None),
    ],
)
async def test_what_cannot_be_read(
    ours: Calls, content: bytes, headers: dict[str, str], status: int, field: str | None
) -> None:
    response = await ours.http.post(PATH, content=content, headers={"Content-Type": "application/json", **headers})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert field in wrong(response)


async def test_a_body_in_several_members_of_gzip(ours: Calls) -> None:
    raw = json.dumps(event("COMPLETE", 5, new_run(), new_job("etl"))).encode()
    content = gzip.compress(raw[:50]) + gzip.compress(raw[50:])
    response = await ours.http.post(PATH, content=content, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 201, response.text


async def test_an_event_of_megabytes(ours: Calls) -> None:
    said = event("COMPLETE", 5, new_run(), new_job("etl"), plan={"text": "x" * 2_000_000})
    answer = await send(ours, said)
    (step,) = await steps(ours, answer["instance_id"])
    assert step["payload"]["dropped"][0]["what"] == "run.facets.plan"


async def test_a_wrong_key(ours: Calls) -> None:
    said = event("START", 0, new_run(), "etl")
    async with httpx.AsyncClient(base_url=ours.http.base_url) as client:
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            response = await client.post(PATH, json=said, headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        # Before it is known who asks, nothing is read.
        response = await client.post(PATH, content=b"{")
        assert response.status_code == 401


async def test_a_key_in_a_facet_is_not_kept(ours: Calls) -> None:
    said = event("FAIL", 5, new_run(), new_job("etl"), errorMessage=failure(f"401 with {ours.key}"))
    answer = await send(ours, said)
    assert ours.key not in json.dumps(await ours.instance(answer["instance_id"]))
    assert ours.key not in json.dumps(await steps(ours, answer["instance_id"]))


# OpenLineage's own client


def config_of(calls: Calls, **more: Any) -> dict[str, Any]:
    return {"url": str(calls.http.base_url), "auth": {"type": "api_key", "apiKey": calls.key}, **more}


def emitted(type_: RunState, seconds: float, run: Run, job: str) -> RunEvent:
    moment = (datetime(2026, 1, 15, 2, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat()
    return RunEvent(
        eventType=type_,
        eventTime=moment,
        run=run,
        job=Job(namespace="prod", name=job),
        producer="https://example.com/tool",
        inputs=[InputDataset(namespace="s3://bucket", name="orders.csv")],
    )


def a_pipeline(job: str, *, fails: bool) -> tuple[str, list[RunEvent]]:
    """The events of a run with a part, and the run's id."""
    run_id, part_id = str(generate_new_uuid()), str(generate_new_uuid())
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=run_id),
        job=parent_run.Job(namespace="prod", name=job),
        root=parent_run.Root(run=parent_run.RootRun(runId=run_id), job=parent_run.RootJob(namespace="prod", name=job)),
    )
    error = error_message_run.ErrorMessageRunFacet(message="disk full", programmingLanguage="python")
    end, facets = (RunState.FAIL, {"errorMessage": error}) if fails else (RunState.COMPLETE, {})
    run, part = Run(runId=run_id), Run(runId=part_id, facets={"parent": parent})
    return run_id, [
        emitted(RunState.START, 0, run, job),
        emitted(RunState.START, 1, part, f"{job}.load"),
        emitted(RunState.RUNNING, 2, part, f"{job}.load"),
        emitted(end, 3, Run(runId=part_id, facets={"parent": parent, **facets}), f"{job}.load"),
        emitted(end, 4, run, job),
    ]


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("fails", [False, True])
async def test_the_client(ours: Calls, compression: str | None, fails: bool) -> None:
    job = new_job("pipeline")
    run_id, events = a_pipeline(job, fails=fails)

    def emit() -> list[int]:
        options = {"compression": compression} if compression else {}
        transport = HttpTransport(HttpConfig.from_dict(config_of(ours, **options)))
        client = OpenLineageClient(transport=transport)
        answers = [transport.emit(said).status_code for said in events]
        client.emit(JobEvent(eventTime=at(0), job=Job(namespace="prod", name=job), producer="https://example.com"))
        client.close()
        return answers

    assert await asyncio.to_thread(emit) == [201] * 5
    status = "failed" if fails else "completed"
    instance = await settled(ours, f"prod.{job}", run_id, status)
    assert stages(instance) == dict.fromkeys((job, "load"), "failed" if fails else "healthy")
    assert len(await steps(ours, instance["id"])) == 5
    if fails:
        assert instance["failure_reason"] == "Stage load failed: disk full"


async def test_the_client_that_sends_many_at_once(ours: Calls) -> None:
    pipelines = [(job, *a_pipeline(job, fails=False)) for job in (new_job("pipeline") for _ in range(8))]

    def emit() -> dict[str, int]:
        transport = AsyncHttpTransport(AsyncHttpConfig.from_dict(config_of(ours, compression="gzip")))
        for said in itertools.chain.from_iterable(zip(*(events for _, _, events in pipelines), strict=True)):
            transport.emit(said)
        assert transport.close(timeout=30)
        return transport.get_stats()

    stats = await asyncio.to_thread(emit)
    assert (stats["success"], stats["failed"]) == (40, 0)
    for job, run_id, _ in pipelines:
        instance = await settled(ours, f"prod.{job}", run_id, "completed")
        assert stages(instance) == {job: "healthy", "load": "healthy"}


async def test_the_client_with_a_wrong_key(ours: Calls) -> None:
    config = {**config_of(ours), "auth": {"type": "api_key", "apiKey": "nonsense"}}
    _, events = a_pipeline(new_job("pipeline"), fails=False)
    transport = HttpTransport(HttpConfig.from_dict(config))
    with pytest.raises(requests.HTTPError, match="401"):
        await asyncio.to_thread(transport.emit, events[0])
    transport.close()


# The page


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


async def run(program: str, calls: Calls, directory: Path) -> str:
    program = program.replace("http://localhost:8000", str(calls.http.base_url).rstrip("/"))
    program = program.replace("YOUR_KEY", calls.key)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENLINEAGE")}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", program),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=environment,
    )
    out, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()
    return out.decode()


async def test_the_page_s_program(mine: Calls, tmp_path: Path) -> None:
    (program,) = blocks("python")
    (yaml,) = blocks("yaml")
    airflow, by_environment, curl = blocks("sh")
    (tmp_path / "program.py").write_text(program)
    (tmp_path / "elsewhere").mkdir()
    here = f"cat > openlineage.yml <<'END'\n{yaml}\nEND\n{sys.executable} program.py"
    await run(here, mine, tmp_path)
    await run(f"{by_environment}\n{sys.executable} ../program.py", mine, tmp_path / "elsewhere")
    # Airflow hands its setting on to the same client.
    handed_on = 'export OPENLINEAGE__TRANSPORT="$AIRFLOW__OPENLINEAGE__TRANSPORT"'
    await run(f"{airflow}\n{handed_on}\n{sys.executable} ../program.py", mine, tmp_path / "elsewhere")
    imports = (await mine.history("prod.nightly_import"))["recent_instances"]
    assert len(imports) == 3
    for each in imports:
        assert stages(await mine.settled(each["id"], "completed")) == {"nightly_import": "healthy"}
    answer = json.loads(await run(curl, mine, tmp_path))
    (shown,) = (json.loads(block) for block in blocks("json"))
    assert set(answer) == set(shown)
    assert answer["stage_path"] == shown["stage_path"]
    await mine.settled(answer["instance_id"], "completed")
