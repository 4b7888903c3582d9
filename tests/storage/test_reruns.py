"""A rerun's rows: it waits, with what it is to be done with; and nobody's pings go to it but its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.forks import MAX_DEPTH
from domain.pings import Outcome, PingStatus
from domain.subjects import instance_subject
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.instances import Instance, find_current_instance, forget_if_never_begun, get_instance, list_unclosed
from storage.pings import Ping, list_facts
from storage.reruns import Input, read_inputs, rerun_instance
from storage.transitions import list_transitions
from storage.workflows import Workflow
from tests.storage.conftest import STRICT, Caller, define

URL = "https://pp.example/api/instances/{}/inputs"


async def opened(caller: Caller, *paths: str) -> str:
    start, *_ = await caller.keep(caller.ping("1", start=True), *(caller.ping(path) for path in paths))
    assert start.instance_id is not None
    return start.instance_id


async def rerun(sessions: Sessions, instance_id: str, modifications: Mapping[str, Any] | None = None) -> Instance:
    async with transaction(sessions) as session:
        parent = await get_instance(session, instance_id)
        assert parent is not None
        return await rerun_instance(session, parent, modifications or {}, utc_now(), URL)


async def inputs_of(sessions: Sessions, instance_id: str, start: int = 0, limit: int = 100) -> list[Input]:
    async with sessions() as session:
        return (await read_inputs(session, instance_id, start=start, limit=limit)).inputs


async def test_inputs_are_the_last_payload_of_each_stage_as_it_was_modified(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    first = replace(caller.ping("1", start=True, agent="ada"), payload='{"n":1e2,"deep":{"a":1,"b":2}}')
    (start, *_) = await caller.keep(
        first,
        replace(caller.ping("b", status=PingStatus.FAILED), payload='{"try":1}'),
        replace(caller.ping("a"), text='disk "full"'),
        replace(caller.ping("b", name="Train"), payload='{"try":2}'),
        caller.ping("c"),
    )
    original = str(start.instance_id)
    new = await rerun(sessions, original, {"1": {"deep": {"b": None}}, "c": {"x": 1}})
    inputs = await inputs_of(sessions, new.id)
    assert inputs == [
        Input("1", None, "ada", '{"n": 100.0, "deep": {"a": 1}}', True),
        Input("b", "Train", None, '{"try":2}', False),
        Input("a", None, None, '"disk \\"full\\""', False),
        Input("c", None, None, '{"x": 1}', True),
    ]
    assert await inputs_of(sessions, new.id, 1, 2) == inputs[1:3]
    await caller.keep(replace(caller.ping("b", instance_id=original), payload='{"try":3}'))
    assert await inputs_of(sessions, new.id) == inputs


async def test_it_waits_for_pings_that_name_it(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    original = await opened(caller, "2")
    new = await rerun(sessions, original)
    assert (new.status, new.origin, new.parent_id, new.root_id, new.fork_depth) == (
        "pending",
        "rerun",
        original,
        original,
        1,
    )
    assert (new.version, new.agent, new.last_ping_at, new.fork_from_stage) == (1, None, None, None)
    async with sessions() as session:
        current = await find_current_instance(session, caller.workflow_id)
        assert current is not None
        assert current.id == original
        assert await list_facts(session, new.id) == []
        # Nothing is due, so there is no workflow to begin.
        assert (caller.workflow_id, new.id) not in await list_unclosed(session, utc_now())
        told = await list_transitions(session, instance_subject(caller.workflow_id, new.id))
        assert [(item.before, item.after) for item in told] == [(None, "pending")]
    unnamed, named = await caller.keep(caller.ping("3"), caller.ping("1", instance_id=new.id))
    assert (unnamed.instance_id, named.instance_id, named.status) == (original, new.id, "running")


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("1", PingStatus.HEALTHY, "completed"),
        ("1", PingStatus.FAILED, "failed"),
        ("note", PingStatus.HEALTHY, "running"),
    ],
)
async def test_the_answer_to_its_first_ping_tells_how_it_stands(
    sessions: Sessions, account: str, path: str, status: PingStatus, answer: str
) -> None:
    caller = await define(sessions, account, "static", stages=1)
    (first,) = await caller.keep(caller.ping("1"))
    new = await rerun(sessions, str(first.instance_id))
    (joined,) = await caller.keep(caller.ping(path, status=status, instance_id=new.id))
    assert (joined.instance_id, joined.status) == (new.id, answer)


async def test_a_first_ping_that_was_taken_back_does_not_end_it(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, **STRICT)
    (first,) = await caller.keep(caller.ping("1", start=True, agent="a"))
    new = await rerun(sessions, str(first.instance_id))
    (taken,) = await caller.keep(caller.ping("1", agent="a", instance_id=new.id))
    assert taken.outcome is Outcome.PENDING
    async with transaction(sessions) as session:
        await session.execute(update(Ping).where(Ping.id == taken.ping_id).values(outcome=Outcome.WITHDRAWN))
        await session.execute(update(Instance).where(Instance.id == new.id).values(version=0))
        await forget_if_never_begun(session, new.id)
        assert await get_instance(session, new.id) is not None


async def test_it_is_told_of_once(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, name="Ingest")
    original = await opened(caller, "2")
    new = await rerun(sessions, original, {"2": {"a": 1}})
    async with sessions() as session:
        alerts = list(await session.scalars(select(AlertRow).where(AlertRow.account_id == account)))
    (alert,) = alerts
    assert (alert.kind, alert.source, alert.state) == (
        "instance_rerun_requested",
        f"workflow/{caller.workflow_id}",
        "new",
    )
    assert alert.data["inputs_url"] == f"https://pp.example/api/instances/{new.id}/inputs"
    assert alert.data["modified_stages"] == ["2"]


async def test_what_cannot_be_rerun(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    original = await opened(caller)
    with pytest.raises(InvalidRequest) as error:
        await rerun(sessions, original, {"2": {}})
    assert [field.field for field in error.value.fields] == ["payload_modifications.2"]
    with pytest.raises(InvalidRequest, match="bytes"):
        await rerun(sessions, original, {"1": {"x": "y" * 100_000}})
    async with transaction(sessions) as session:
        await session.execute(update(Instance).where(Instance.id == original).values(fork_depth=MAX_DEPTH))
    with pytest.raises(Conflict):
        await rerun(sessions, original)
    async with transaction(sessions) as session:
        await session.execute(update(Instance).where(Instance.id == original).values(fork_depth=0))
        await session.execute(update(Workflow).where(Workflow.id == caller.workflow_id).values(deleted_at=utc_now()))
    with pytest.raises(NotFound):
        await rerun(sessions, original)
