"""OpenLineage's run events: where each belongs and what it means."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.ids import WORKFLOW_ID
from domain.openlineage import (
    End,
    EventType,
    JobRun,
    Known,
    RunEvent,
    Said,
    event_key,
    read_event,
    second_workflow_id,
    stage_path,
    understand_event,
    workflow_id_of,
)
from domain.openlineage_payload import TOO_DEEP, kept_document
from domain.paths import parse_path
from domain.pings import MAX_PAYLOAD_BYTES, PingStatus

AT = datetime(2026, 1, 15, 9, tzinfo=UTC)
RUN = "01941b2c-3f55-7c1e-9f5a-2f1c3c9a7e10"
PARENT = "01941b2c-0000-7c1e-9f5a-2f1c3c9a7e10"
ROOT = "01941b2c-1111-7c1e-9f5a-2f1c3c9a7e10"
DAG = JobRun(PARENT, "prod", "etl")
KEY = "ppk_" + "a" * 10 + "_" + "b" * 40


def document(**members: Any) -> dict[str, Any]:
    return {
        "eventType": "START",
        "eventTime": "2026-01-15T09:00:00Z",
        "producer": "https://example.com/tool",
        "run": {"runId": RUN},
        "job": {"namespace": "prod", "name": "etl"},
        **members,
    }


def with_facets(**facets: Any) -> dict[str, Any]:
    return document(run={"runId": RUN, "facets": facets})


def named(run_id: str, job: str = "etl") -> dict[str, Any]:
    return {"run": {"runId": run_id}, "job": {"namespace": "prod", "name": job}}


def read(said: object) -> RunEvent:
    event = read_event(said)
    assert event is not None
    return event


def wrong(said: object) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read_event(said)
    return {error.field: error.message for error in caught.value.fields}


# Reading


def test_a_run_without_a_parent_is_a_whole() -> None:
    run = JobRun(RUN, "prod", "etl")
    assert read(document()) == RunEvent(EventType.START, AT, run, run, "openlineage")


@pytest.mark.parametrize(
    ("facets", "whole"),
    [
        ({"parent": named(PARENT)}, PARENT),
        ({"parentRun": named(PARENT)}, PARENT),
        ({"parent": {**named(PARENT, "etl.load"), "root": named(ROOT)}}, ROOT),
        ({"parent": {**named(PARENT), "root": None}}, PARENT),
        ({"parent": {**named(PARENT), "root": {}}}, PARENT),
        ({"parent": named(RUN)}, RUN),
        ({"parent": None}, RUN),
        ({}, RUN),
    ],
)
def test_it_belongs_to_its_root_or_else_its_parent(facets: dict[str, Any], whole: str) -> None:
    assert read(with_facets(**facets)).whole.run_id == whole


@pytest.mark.parametrize(
    ("word", "type_"),
    [
        *((type_.value, type_) for type_ in EventType),
        ("complete", EventType.COMPLETE),
        ("SOMETHING_NEW", EventType.OTHER),
        (None, EventType.OTHER),
        ("", EventType.OTHER),
    ],
)
def test_its_type(word: object, type_: EventType) -> None:
    assert read(document(eventType=word)).type is type_


@pytest.mark.parametrize(
    ("type_", "facet", "error"),
    [
        ("FAIL", {"message": "disk full", "programmingLanguage": "JAVA"}, "disk full"),
        ("FAIL", None, None),
        ("FAIL", {"message": "\x00\ud800"}, "\ufffd?"),
        ("FAIL", {"message": {"message": "nested"}}, "nested"),
        ("FAIL", "odd", None),
        ("ABORT", None, "Aborted"),
        ("ABORT", {"message": "by ada"}, "by ada"),
        ("COMPLETE", {"message": "was retried"}, None),
    ],
)
def test_its_error(type_: str, facet: object, error: str | None) -> None:
    assert read({**with_facets(errorMessage=facet), "eventType": type_}).error == error


@pytest.mark.parametrize(
    ("members", "agent"),
    [
        ({"producer": "https://github.com/apache/airflow/tree/providers-openlineage/2.0.0"}, "airflow"),
        ({"producer": "https://github.com/OpenLineage/OpenLineage/tree/1.40/integration/spark"}, "spark"),
        ({"producer": "https://github.com/OpenLineage/OpenLineage/tree/1.40/integration/dbt"}, "dbt"),
        ({"producer": None}, "openlineage"),
        (
            {"job": {"namespace": "a", "name": "b", "facets": {"jobType": {"integration": "DAGSTER"}}}},
            "dagster",
        ),
        ({"job": {"namespace": "a", "name": "b", "facets": {"jobType": {"integration": 7}}}}, "openlineage"),
    ],
)
def test_who_tells(members: dict[str, Any], agent: str) -> None:
    assert read(document(**members)).agent == agent


def test_what_airflow_says_of_a_task() -> None:
    event = read(with_facets(airflow={"taskInstance": {"map_index": 3, "duration": 4.5}}))
    assert (event.index, event.took) == (3, timedelta(seconds=4.5))
    assert read(with_facets(airflow_mappedTask={"mapIndex": 2})).index == 2
    assert read(with_facets(airflow={"taskInstance": {"map_index": -1, "duration": "long"}})).index is None


@pytest.mark.parametrize(
    "said",
    [
        {"eventTime": "2026-01-15T09:00:00Z", "job": {"namespace": "prod", "name": "etl"}},
        {"eventTime": "2026-01-15T09:00:00Z", "dataset": {"namespace": "s3://b", "name": "t"}},
        {"run": None, "job": {}},
    ],
)
def test_one_without_a_run_is_none(said: object) -> None:
    assert read_event(said) is None


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ("text", {"body"}),
        (None, {"body"}),
        ({}, {"eventTime", "run.runId", "job.namespace", "job.name"}),
        (document(eventTime=None), {"eventTime"}),
        (document(eventTime="yesterday"), {"eventTime"}),
        (document(eventType=7), {"eventType"}),
        (document(run={}), {"run.runId"}),
        (document(run=[1]), {"run.runId"}),
        (document(run={"runId": {"a": 1}}), {"run.runId"}),
        (document(run={"runId": "x" * 257}), {"run.runId"}),
        (document(run={"runId": "a\x00b"}), {"run.runId"}),
        (document(run={"runId": KEY}), {"run.runId"}),
        (document(run={"runId": " "}), {"run.runId"}),
        (document(run={"runId": "\t\n"}), {"run.runId"}),
        (document(job={"namespace": "\t", "name": " "}), {"job.namespace", "job.name"}),
        (document(job={"namespace": "prod"}), {"job.name"}),
        (document(job={"namespace": "", "name": "x" * 4001}), {"job.namespace", "job.name"}),
        (with_facets(parent={"run": {"runId": PARENT}}), {f"run.facets.parent.job.{n}" for n in ("namespace", "name")}),
        (with_facets(parent={}), {f"run.facets.parent.{n}" for n in ("run.runId", "job.namespace", "job.name")}),
        (
            with_facets(parent={**named(PARENT), "root": {"run": {"runId": ROOT}}}),
            {f"run.facets.parent.root.job.{n}" for n in ("namespace", "name")},
        ),
    ],
)
def test_what_is_wrong_is_named(said: object, fields: set[str]) -> None:
    assert set(wrong(said)) == fields


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def sometimes(well_formed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return well_formed | json_values


def an_object(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: sometimes(value) for name, value in members.items()})


job_runs = {
    "run": an_object(runId=st.just(PARENT)),
    "job": an_object(namespace=st.text(max_size=300), name=st.text(max_size=300)),
}
events = an_object(
    eventType=st.sampled_from([*(type_.value for type_ in EventType), "complete"]),
    eventTime=st.datetimes(timezones=st.just(UTC)).map(str),
    producer=st.text(max_size=50),
    run=an_object(
        runId=st.just(RUN),
        facets=an_object(
            parent=an_object(**job_runs, root=an_object(**job_runs)),
            errorMessage=an_object(message=st.text(max_size=50)),
            airflow=an_object(taskInstance=an_object(map_index=st.integers(), duration=st.floats())),
        ),
    ),
    job=an_object(namespace=st.text(max_size=300), name=st.text(max_size=300)),
    inputs=st.lists(an_object(namespace=st.text(), name=st.text(), facets=json_values), max_size=3),
)


def attempt(said: object) -> RunEvent | InvalidRequest | None:
    try:
        return read_event(said)
    except InvalidRequest as error:
        return error


@given(events | json_values)
def test_whatever_comes_is_understood_or_refused_by_the_names_of_its_fields(said: object) -> None:
    event = attempt(said)
    if isinstance(event, InvalidRequest):
        assert event.fields
    elif event is not None:
        assert isinstance(said, dict)
        for whole in (event.run, event.whole):
            workflow_id = workflow_id_of(whole)
            assert WORKFLOW_ID.fullmatch(workflow_id)
            assert workflow_id.strip(".")
            path = stage_path(event.run, whole, event.index)
            assert parse_path(path) == path
            assert len(event_key(event, workflow_id, path)) <= 255
        understand_event(event, Known())
        json.dumps(kept_document(said), allow_nan=False).encode()


# Where it belongs


@pytest.mark.parametrize(
    ("namespace", "job", "workflow_id"),
    [
        ("prod", "nightly_etl", "prod.nightly_etl"),
        ("default", "my-dag.v2", "default.my-dag.v2"),
        ("spark://host:7077", "my app", "spark_host_7077.my_app"),
    ],
)
def test_the_workflow_of_a_job(namespace: str, job: str, workflow_id: str) -> None:
    assert workflow_id_of(JobRun(RUN, namespace, job)) == workflow_id


def test_jobs_that_differ_in_letters_an_id_cannot_have_are_two_workflows() -> None:
    ids = {workflow_id_of(JobRun(RUN, ".", job)) for job in ("日报", "周报", "x" * 200, "x" * 201, "..", ".")}
    assert len(ids) == 6
    assert all(id_.strip(".") for id_ in ids)
    assert all(WORKFLOW_ID.fullmatch(id_) for id_ in ids)


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=20))
def test_what_another_account_has_gets_an_id_of_ones_own(job: str, account_id: str) -> None:
    first = workflow_id_of(JobRun(RUN, "prod", job))
    second = second_workflow_id(first, account_id)
    assert WORKFLOW_ID.fullmatch(second)
    assert second != first
    assert second != second_workflow_id(first, f"{account_id}2")


@pytest.mark.parametrize(
    ("job", "index", "path"),
    [
        ("etl.load", None, "load"),
        ("etl.group.load", None, "group.load"),
        ("etl.load", 3, "load:3"),
        ("db.schema.project.model", None, "db.schema.project.model"),
        ("etl.etl", None, "etl.etl"),
        ("etl", None, "etl.etl"),
        ("etl.", None, "etl."),
        ("etl.1", None, "1"),
        ("etl.2026.01", None, "_2026.01"),
        ("etl.(a)#b", None, "_a_b"),
        ("etl.größe", None, "größe"),
        ("etl.-x", None, "_-x"),
    ],
)
def test_the_stage_of_a_part(job: str, index: int | None, path: str) -> None:
    assert stage_path(JobRun(RUN, "prod", job), DAG, index) == path


def test_the_whole_is_a_stage_of_its_own_name() -> None:
    assert stage_path(DAG, DAG) == "etl"


def test_names_that_are_too_long_stay_apart() -> None:
    paths = {stage_path(JobRun(RUN, "prod", "ä" * 100 + end), DAG) for end in "abc"}
    assert len(paths) == 3
    assert all(len(path.encode()) <= 128 for path in paths)


# What it means


def event_of(type_: EventType, minute: int = 0, run: str = RUN) -> RunEvent:
    error = "disk full" if type_ is EventType.FAIL else None
    return RunEvent(type_, AT + timedelta(minutes=minute), JobRun(run, "prod", "etl.load"), DAG, "airflow", error)


def end_of(event: RunEvent) -> End:
    status = PingStatus.HEALTHY if event.type is EventType.COMPLETE else PingStatus.FAILED
    return End(event.run.run_id, event.at, status, event.error)


START, RUNNING, COMPLETE = event_of(EventType.START), event_of(EventType.RUNNING, 1), event_of(EventType.COMPLETE, 5)
FAIL = event_of(EventType.FAIL, 5)
AGAIN = "01941b2c-2222-7c1e-9f5a-2f1c3c9a7e10"
RETRY, HEALED = event_of(EventType.START, 6, AGAIN), event_of(EventType.COMPLETE, 9, AGAIN)


@pytest.mark.parametrize(
    ("event", "ends", "status"),
    [
        (START, (), PingStatus.PENDING),
        (RUNNING, (), PingStatus.PENDING),
        (event_of(EventType.OTHER), (), PingStatus.PENDING),
        (COMPLETE, (), PingStatus.HEALTHY),
        (FAIL, (), PingStatus.FAILED),
        (event_of(EventType.ABORT), (), PingStatus.FAILED),
        (START, (COMPLETE,), PingStatus.HEALTHY),
        (START, (FAIL,), PingStatus.FAILED),
        (event_of(EventType.OTHER, 7), (COMPLETE,), PingStatus.HEALTHY),
        (RETRY, (FAIL,), PingStatus.PENDING),
        (HEALED, (FAIL,), PingStatus.HEALTHY),
        (FAIL, (HEALED,), PingStatus.HEALTHY),
        (RETRY, (FAIL, HEALED), PingStatus.HEALTHY),
        (event_of(EventType.FAIL, 6), (COMPLETE,), PingStatus.FAILED),
    ],
)
def test_what_is_overtaken_changes_nothing(event: RunEvent, ends: tuple[RunEvent, ...], status: PingStatus) -> None:
    said = understand_event(event, Known(ends=tuple(end_of(end) for end in ends)))
    assert said.status is status
    assert (said.error is not None) == (status is PingStatus.FAILED and event.type is not EventType.ABORT)


def test_an_end_that_was_assumed_gives_way() -> None:
    assumed = replace(end_of(event_of(EventType.COMPLETE, 30)), assumed=True)
    assert understand_event(RUNNING, Known(ends=(assumed,))).status is PingStatus.HEALTHY
    assert understand_event(FAIL, Known(ends=(assumed,))) == Said(PingStatus.FAILED, "disk full")
    assert understand_event(RUNNING, Known(ends=(assumed, end_of(FAIL)))).status is PingStatus.FAILED


@pytest.mark.parametrize("order", list(itertools.permutations((START, RUNNING, FAIL, RETRY, HEALED))))
def test_any_order_ends_the_same(order: tuple[RunEvent, ...]) -> None:
    ends: list[End] = []
    said = None
    for event in order:
        said = understand_event(event, Known(ends=tuple(ends)))
        if event.type.is_end:
            ends.append(end_of(event))
    assert said == Said(PingStatus.HEALTHY, None, None)


@pytest.mark.parametrize(
    ("event", "known", "duration_ms"),
    [
        (COMPLETE, Known(AT), 300_000),
        (FAIL, Known(AT), 300_000),
        (COMPLETE, Known(), None),
        (replace(COMPLETE, took=timedelta(seconds=4.5)), Known(), 4500),
        (replace(COMPLETE, took=timedelta(seconds=4.5)), Known(AT), 300_000),
        (COMPLETE, Known(AT + timedelta(hours=1)), None),
        (COMPLETE, Known(AT - timedelta(days=400)), None),
        (RUNNING, Known(AT), None),
    ],
)
def test_how_long_it_took(event: RunEvent, known: Known, duration_ms: int | None) -> None:
    assert understand_event(event, known).duration_ms == duration_ms


def test_what_is_sent_again_is_the_same() -> None:
    keys = {event_key(event, "prod.etl", "load") for event in (START, RUNNING, COMPLETE, FAIL, RETRY)}
    keys |= {event_key(START, "prod.other", "load"), event_key(START, "prod.etl", "extract")}
    assert len(keys) == 7
    assert event_key(replace(START, error="again"), "prod.etl", "load") in keys


# What is kept


def size_of(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def test_what_fits_is_kept_as_it_is() -> None:
    said = with_facets(nominalTime={"nominalStartTime": "2026-01-15T09:00:00Z"})
    assert kept_document(said) == said


def test_the_largest_facets_go_first() -> None:
    said = document(
        run={"runId": RUN, "facets": {"spark.logicalPlan": {"plan": "x" * 90_000}, "small": {"a": 1}}},
        inputs=[{"namespace": "s3://b", "name": "t", "facets": {"schema": {"fields": ["y" * 30_000]}}}],
    )
    kept = kept_document(said)
    assert kept["run"] == {"runId": RUN, "facets": {"small": {"a": 1}}}
    assert kept["inputs"] == said["inputs"]
    (dropped,) = kept["dropped"]
    assert dropped["what"] == "run.facets.spark.logicalPlan"
    assert 90_000 < dropped["bytes"] < 90_100


def test_then_its_datasets() -> None:
    said = document(outputs=[{"namespace": "s3://bucket", "name": f"table {i}" * 5, "facets": {}} for i in range(5000)])
    kept = kept_document(said)
    assert "outputs" not in kept
    assert [item["what"] for item in kept["dropped"]] == ["outputs"]
    assert (kept["run"], kept["job"]) == (said["run"], said["job"])


def test_of_many_that_went_the_first_are_told() -> None:
    facets = {f"facet {i} " + "n" * 300: "x" * 3_000 for i in range(500)}
    kept = kept_document(with_facets(**facets))
    assert size_of(kept) <= MAX_PAYLOAD_BYTES
    assert len(kept["dropped"]) == 51
    assert "more" in kept["dropped"][-1]["what"]


def test_what_cannot_be_kept_is_replaced() -> None:
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]
    kept = kept_document(with_facets(a={"b\x00": "c\x00"}, deep=deep, number=float("inf")))
    assert kept["run"]["facets"]["a"] == {"b\ufffd": "c\ufffd"}
    assert kept["run"]["facets"]["number"] == "inf"
    assert TOO_DEEP in json.dumps(kept, ensure_ascii=False)


@given(events, st.integers(11_000, 20_000), st.lists(st.integers(0, 30_000), max_size=5))
def test_it_never_is_too_large(said: dict[str, Any], limit: int, sizes: list[int]) -> None:
    facets = {str(i): "x" * size for i, size in enumerate(sizes)}
    said = {**said, "run": {"runId": RUN, "facets": facets}, "job": {"namespace": "prod", "name": "etl"}}
    kept = kept_document(said, limit)
    assert size_of(kept) <= limit
    assert kept["run"]["runId"] == RUN
