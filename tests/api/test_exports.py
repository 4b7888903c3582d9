"""What one installation exports opens in another."""

import copy
import json
import re
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select, update

from api.export_file import ExportFile, PingPart
from api.middleware import MAX_BODY_BYTES
from config.clock import utc_now
from domain.subjects import instance_subject
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.exports import KEPT
from storage.instances import Instance
from storage.outbox import OutboxRow
from storage.pings import Ping
from tests.api.budget_calls import budget_of, read_exactly, set_budget
from tests.api.calls import Calls, in_order, new_id
from tests.api.conftest import api_key, make_key
from tests.api.test_comparisons import compare, kinds
from tests.api.test_errors import problem
from tests.api.test_timeline import timeline

IMPORT = "/api/instances/import"

File = dict[str, Any]


async def export(calls: Calls, instance_id: str) -> File:
    """As the schema says that it is."""
    response = await calls.http.get(f"/api/instances/{instance_id}/export")
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"] == f'attachment; filename="{instance_id}.pingpulse.json"'
    ExportFile.model_validate(response.json())
    return dict(json.loads(response.text))


async def import_(calls: Calls, file: Any, expected: int = 201) -> dict[str, Any]:
    return await calls.post(IMPORT, file, expected)


def without_ids(file: File) -> File:
    """What must not change from one installation to the next."""
    file = copy.deepcopy(file)
    for part, name in (("instance", "id"), ("workflow", "id")):
        del file[part][name]
    del file["exported_at"]
    return file


async def a_run(calls: Calls) -> tuple[str, str]:
    """A workflow and its instance, completed, with something of everything."""
    workflow_id = new_id()
    spent = {"model_id": "m", "usage": {"input_tokens": 3, "output_tokens": 4}, "cost_usd": "0.000000000000000010"}
    body = {"task": {"big": 10**30, "deep": [1, 2.5, None, "ü"]}, "tool_calls": [{"name": "search"}], **spent}
    answer = await calls.post(f"/dhk/{workflow_id}", body, stagePath="1", start="yes", agent="ada", stagename="Ingest")
    instance_id = str(answer["instance_id"])
    await calls.dynamic(workflow_id, "2", status="failed", error="no disk")
    response = await calls.http.post(f"/dhk/{workflow_id}", content=b"just text", params={"stagePath": "2"})
    assert response.status_code == 200, response.text
    await calls.dynamic(workflow_id, "done", final="yes")
    await calls.settled(instance_id, "completed")
    return workflow_id, instance_id


def without_when(document: dict[str, Any]) -> dict[str, Any]:
    """A timeline up to ids, and without alerts and approvals, which are not exported."""
    events = [event for event in document["events"] if event["type"] == "transition"]
    return {**document, "events": events, "instance_id": None, "workflow_id": None}


async def test_an_import_is_what_was_exported(ours: Calls, theirs: Calls) -> None:
    workflow_id, instance_id = await a_run(ours)
    file = await export(ours, instance_id)
    assert file["pings"][0]["cost_usd"] == "0.000000000000000010"
    assert file["pings"][0]["payload"]["task"]["big"] == 10**30
    made = await import_(theirs, file)
    assert made["instance_id"] != instance_id
    assert (made["status"], made["total_steps"], made["workflow_created"]) == ("completed", 4, True)
    assert without_ids(await export(theirs, made["instance_id"])) == without_ids(file)
    assert without_when(await timeline(theirs, made["instance_id"])) == without_when(await timeline(ours, instance_id))
    for step in range(4):
        here, there = [
            await timeline(calls, id_, at_step=step)
            for calls, id_ in ((ours, instance_id), (theirs, made["instance_id"]))
        ]
        assert {**here, "instance_id": None, "workflow_id": None} == {**there, "instance_id": None, "workflow_id": None}
    tree = f"/dhk/{made['workflow_id']}/tree"
    original = await ours.get(f"/dhk/{workflow_id}/tree")
    assert await theirs.get(tree, instance_id=made["instance_id"]) == original
    imported = await theirs.instance(made["instance_id"])
    assert imported["imported_from"]["instance_id"] == instance_id
    assert imported["origin"] == "import"


async def test_copies_and_originals_do_not_differ(ours: Calls) -> None:
    workflow_id, instance_id = await a_run(ours)
    made = await import_(ours, await export(ours, instance_id))
    assert (made["workflow_id"], made["workflow_created"]) == (workflow_id, False)
    document = await compare(ours, instance_id, made["instance_id"])
    assert document["comparison"]["divergence_step"] is None
    assert {kind for _, kind in kinds(document)} == {"same"}


async def test_nothing_is_delivered_and_nobody_is_told(ours: Calls, sessions: Sessions) -> None:
    workflow_id = await ours.define(stages=2, validation_mode="strict")
    answer = await ours.static(workflow_id, 1, agent="ada")
    await ours.static(workflow_id, 3, 400, agent="ada")
    await ours.static(workflow_id, 2, agent="ada", status="failed")
    await ours.settled(answer["instance_id"], "failed")
    file = await export(ours, answer["instance_id"])
    made = await import_(ours, file)
    assert without_ids(await export(ours, made["instance_id"])) == without_ids(file)
    subject = instance_subject(workflow_id, made["instance_id"])
    async with sessions() as session:
        assert await session.scalar(select(func.count()).where(OutboxRow.subject == subject)) == 0
        assert await session.scalar(select(func.count()).where(AlertRow.subject == subject)) == 0
        row = await session.get_one(Instance, made["instance_id"])
        pings = (await session.scalars(select(Ping).where(Ping.instance_id == row.id).order_by(Ping.id))).all()
    assert row.closes_at is not None
    assert row.closes_at < utc_now()
    assert [(ping.path, ping.outcome, ping.reason_code) for ping in pings] == [
        ("1", "accepted", None),
        ("3", "rejected", "stage_unknown"),
        ("2", "accepted", None),
    ]
    refused = await ours.http.get(
        f"/shk/{workflow_id}", params={"stage": "2", "agent": "ada", "instance_id": made["instance_id"]}
    )
    problem(refused, 409, "instance_closed")
    tree = await ours.http.get(f"/shk/{workflow_id}/tree", params={"instance_id": made["instance_id"]})
    assert tree.headers["x-pingpulse-source"] == "read-model"
    assert tree.json()["2"]["status"] == "failed"


async def test_what_it_cost_is_shown_and_counts_nowhere(ours: Calls, theirs: Calls) -> None:
    _, instance_id = await a_run(ours)
    made = await import_(theirs, await export(ours, instance_id))
    await set_budget(theirs, made["workflow_id"], budget_limit_usd=1)
    cost = read_exactly(await theirs.http.get(f"/api/instances/{made['instance_id']}/cost"))
    assert (cost["total_cost_usd"], len(cost["breakdown"])) == (Decimal("1e-17"), 1)
    assert (await theirs.get(f"/api/workflows/{made['workflow_id']}/cost", days=3660))["instance_count"] == 0
    assert (await budget_of(theirs, made["workflow_id"]))["today_cost_usd"] == 0
    by_workflow = await theirs.get("/api/costs", group_by="workflow")
    assert made["workflow_id"] not in {group["workflow_id"] for group in by_workflow["groups"]}


async def test_deadlines_that_passed_stay_passed(ours: Calls, theirs: Calls) -> None:
    workflow_id = await ours.define(stages=3, stage_timeout_seconds=0.3, grace_period_seconds=0.2)
    instance_id = (await ours.static(workflow_id, 1))["instance_id"]
    await ours.settled(instance_id, "failed")
    file = await export(ours, instance_id)
    made = await import_(theirs, file)
    imported, original = await theirs.instance(made["instance_id"]), await ours.instance(instance_id)
    for name in ("status", "failure_reason", "completed_at", "stage_statuses", "transitions", "started_at"):
        assert imported[name] == original[name], name
    assert imported["failure_reason"] == "Stage 2 timeout"
    assert without_ids(await export(theirs, made["instance_id"])) == without_ids(file)


async def test_what_was_not_finished_ends_with_its_export(ours: Calls, theirs: Calls) -> None:
    _, instance_id = await ours.open(agent="ada")
    await ours.settled(instance_id, "running")
    file = await export(ours, instance_id)
    made = await import_(theirs, file)
    assert made["status"] == "terminated"
    imported = await theirs.instance(made["instance_id"])
    assert imported["completed_at"] == file["exported_at"]
    assert imported["transitions"][-1] == {
        "stage_path": None,
        "from_status": "running",
        "to_status": "terminated",
        "at": file["exported_at"],
        "reason": "It was not finished when it was exported.",
    }
    assert (await timeline(theirs, made["instance_id"], at_step=0))["status"] == "running"
    again = await import_(theirs, await export(theirs, made["instance_id"]))
    once, twice = await export(theirs, made["instance_id"]), await export(theirs, again["instance_id"])
    assert without_ids(once) == without_ids(twice)


async def test_outages_of_the_one_installation_count_in_the_other(ours: Calls, theirs: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    await ours.dynamic(workflow_id, "2", final="yes")
    await ours.settled(instance_id, "completed")
    file = await export(ours, instance_id)
    file["outages"] = [{"start": file["instance"]["opened_at"], "end": file["pings"][-1]["received_at"]}]
    made = await import_(theirs, file)
    assert (await export(theirs, made["instance_id"]))["outages"] == file["outages"]


async def test_what_a_fork_was_made_of_is_told_where_it_comes_from(ours: Calls, theirs: Calls) -> None:
    _, instance_id = await a_run(ours)
    forked = await ours.post(f"/api/instances/{instance_id}/fork", {"fork_from_stage": "2"}, 201)
    file = await export(ours, forked["forked_instance_id"])
    assert file["instance"]["lineage"]["parent_id"] == instance_id
    assert {ping["inherited"] for ping in file["pings"]} == {True}
    made = await import_(theirs, file)
    imported = await theirs.instance(made["instance_id"])
    assert (imported["parent_id"], imported["root_id"]) == (None, made["instance_id"])
    again = await export(theirs, made["instance_id"])
    assert (again["instance"]["lineage"], again["pings"]) == (file["instance"]["lineage"], file["pings"])


async def test_many_pings_keep_their_order(ours: Calls) -> None:
    file = await small_file(ours)
    (ping,) = file["pings"]
    file["pings"] = [{**ping, "path": str(number), "payload": {"n": number}} for number in range(1, 4_502)]
    made = await import_(ours, file)
    assert made["total_steps"] == 4_501
    assert [ping["path"] for ping in (await export(ours, made["instance_id"]))["pings"]] == [
        ping["path"] for ping in file["pings"]
    ]


async def test_bodies_may_be_larger_here_than_elsewhere(ours: Calls) -> None:
    file = await small_file(ours)
    (ping,) = file["pings"]
    file["pings"] = [{**ping, "payload": {"long": "x" * 90_000}}] * 20
    assert len(json.dumps(file)) > MAX_BODY_BYTES
    made = await import_(ours, file)
    assert len((await export(ours, made["instance_id"]))["pings"]) == 20
    body = json.dumps(file).encode()
    problem(await ours.http.post("/api/instances/compare", content=body), 413, "payload_too_large")
    refused = await ours.http.post(IMPORT, content=b" " * (50 * 1024 * 1024 + 1))
    assert str(50 * 1024 * 1024) in problem(refused, 413, "payload_too_large")["detail"]


async def test_a_body_of_unknown_size_is_read_up_to_the_limit(ours: Calls) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(51):
            yield b" " * (1024 * 1024)

    problem(await ours.http.post(IMPORT, content=chunks()), 413, "payload_too_large")


async def test_what_is_too_large_for_an_import_is_not_exported(ours: Calls, sessions: Sessions) -> None:
    file = await small_file(ours)
    (ping,) = file["pings"]
    file["pings"] = [{**ping, "payload": {"long": "x" * 1_000}}] * 3_000
    made = await import_(ours, file)
    async with transaction(sessions) as session:
        of_it = Ping.instance_id == made["instance_id"]
        await session.execute(update(Ping).where(of_it).values(payload={"long": "x" * 20_000}))
    response = await ours.http.get(f"/api/instances/{made['instance_id']}/export")
    assert "timeline" in problem(response, 400, "invalid_request")["detail"]


async def test_a_workflow_that_others_have_is_made_anew(ours: Calls, theirs: Calls) -> None:
    workflow_id, instance_id = await a_run(ours)
    made = await import_(theirs, await export(ours, instance_id))
    assert made["workflow_created"]
    assert re.fullmatch(r"dwf_[a-z0-9]{10}", made["workflow_id"])
    definition = await theirs.get(f"/api/workflows/{made['workflow_id']}")
    assert (definition["kind"], definition["name"]) == ("dynamic", workflow_id)


async def test_a_workflow_of_an_id_that_is_free_gets_it(ours: Calls) -> None:
    file = await small_file(ours)
    file["workflow"]["id"] = new_id()
    made = await import_(ours, file)
    assert (made["workflow_id"], made["workflow_created"]) == (file["workflow"]["id"], True)
    again = await import_(ours, file)
    assert (again["workflow_id"], again["workflow_created"]) == (file["workflow"]["id"], False)


async def test_a_workflow_of_the_other_kind_is_another_one(ours: Calls) -> None:
    file = await small_file(ours)
    file["workflow"] |= {"kind": "static", "stages": in_order(1)}
    made = await import_(ours, file)
    assert made["workflow_created"]
    assert made["workflow_id"].startswith("swf_")
    assert made["status"] == "completed"


async def small_file(calls: Calls) -> File:
    workflow_id = new_id()
    instance_id = (await calls.dynamic(workflow_id, "1", start="yes", final="yes"))["instance_id"]
    await calls.settled(instance_id, "completed")
    return await export(calls, instance_id)


def change(*path: str | int, to: Any) -> Callable[[File], None]:
    def apply(file: Any) -> None:
        *outer, last = path
        for name in outer:
            file = file[name]
        file[last] = to

    return apply


LATER, NEVER = "2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("apply", "field"),
    [
        (change("format", to="zip"), "format"),
        (change("version", to=2), "version"),
        (change("more", to=1), "more"),
        (change("exported_at", to=NEVER), "exported_at"),
        (change("exported_at", to="2026-01-01T00:00:00"), "exported_at"),
        (change("instance", "opened_at", to=NEVER), "instance.opened_at"),
        (change("instance", "completed_at", to=NEVER), "instance.completed_at"),
        (change("instance", "status", to="well"), "instance.status"),
        (change("workflow", "id", to="../x"), "workflow.id"),
        (change("workflow", "stages", to=in_order(1)), "stages"),
        (change("workflow", "grace_period_seconds", to=-1), "workflow.grace_period_seconds"),
        (change("pings", 0, "path", to="1..2"), "pings.0.path"),
        (change("pings", 0, "status", to="well"), "pings.0.status"),
        (change("pings", 0, "outcome", to="pending"), "pings.0.outcome"),
        (change("pings", 0, "received_at", to=NEVER), "pings"),
        (change("pings", 0, "start", to="yes"), "pings.0.start"),
        (change("pings", 0, "agent", to="\x00"), "pings.0.agent"),
        (change("pings", 0, "agent", to="\ud800"), "pings.0.agent"),
        (change("pings", 0, "agent", to="x" * 257), "pings.0.agent"),
        (change("pings", 0, "input_tokens", to=2**63), "pings.0.input_tokens"),
        (change("pings", 0, "cost_usd", to="-1"), "pings.0.cost_usd"),
        (change("pings", 0, "cost_usd", to="NaN"), "pings.0.cost_usd"),
        (change("pings", 0, "payload", to=[]), "pings.0.payload"),
        (change("pings", 0, "payload", to={"a": "\x00"}), "pings.0.payload"),
        (change("pings", 0, "payload", to={"\ud800": 1}), "pings.0.payload"),
        (change("pings", 0, "payload", to={"a": "x" * 500_000}), "pings.0.payload"),
        (change("pings", 0, "payload", to=json.loads('{"a":' * 65 + "1" + "}" * 65)), "pings.0.payload"),
        (change("pings", 0, "id", to=1), "pings.0.id"),
        (change("pings", to=[]), None),
        (change("transitions", 0, "after", to="well"), "transitions.0.after"),
        (change("transitions", 0, "at", to=NEVER), "transitions"),
        (change("outages", to=[{"start": LATER, "end": "2025-01-01T00:00:00Z"}]), "outages"),
    ],
)
async def test_files_that_are_not_as_they_should_be(
    ours: Calls, apply: Callable[[File], None], field: str | None
) -> None:
    file = await small_file(ours)
    apply(file)
    response = await ours.http.post(IMPORT, content=json.dumps(file))
    if field is None:
        assert response.status_code == 201, response.text
        return
    errors = problem(response, 400, "invalid_request")["errors"]
    assert field in {error["field"] for error in errors} or any(error["field"].startswith(field) for error in errors)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"\xff", b'{"format": NaN}', b"[" * 100_000, b"9" * 5_000, b"{}" * 1_000_001],
    ids=["nothing", "a list", "half", "no text", "not a number", "deep", "long number", "many"],
)
async def test_bodies_that_are_no_files(ours: Calls, body: bytes) -> None:
    problem(await ours.http.post(IMPORT, content=body), 400, "invalid_request")


async def test_whose_they_are(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    file = await small_file(ours)
    url = f"/api/instances/{file['instance']['id']}/export"
    problem(await theirs.http.get(url), 403, "forbidden")
    problem(await ours.http.get("/api/instances/dnothing1/export"), 404, "not_found")
    async with transaction(sessions) as session:
        headers = api_key(await make_key(session, ours.account_id, "ping"))
    problem(await ours.http.get(url, headers=headers), 403, "insufficient_scope")
    problem(await ours.http.post(IMPORT, json=file, headers=headers), 403, "insufficient_scope")
    problem(await ours.http.post(IMPORT, json=file, headers=api_key("")), 401, "unauthenticated")


def test_everything_that_the_journal_keeps_of_a_ping_is_in_the_file() -> None:
    assert set(PingPart.model_fields) == set(KEPT)
    assert PingPart.model_validate(
        {"path": "1", "status": "healthy", "received_at": LATER, "outcome": "accepted", "cost_usd": "0.10"}
    ).cost_usd == Decimal("0.1")
