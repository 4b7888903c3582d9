"""A fork's rows: copies of the original's, as they were modified; and the pings that it does not take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.evaluation import InstanceView, evaluate
from domain.forks import MAX_DEPTH
from domain.instances import InstanceState, InstanceStatus, merge
from domain.pings import Outcome, PingFact, PingStatus, Report
from domain.subjects import instance_subject
from domain.workflows import WorkflowDefinition
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.forks import NO_GATEWAY, Forked, fork_instance, list_lineage
from storage.instances import (
    Instance,
    find_current_instance,
    forget_if_never_begun,
    get_instance,
    list_stages,
    list_unclosed,
)
from storage.joining import JoiningConnection, Shortcuts
from storage.outbox import OutboxRow
from storage.pings import Ping, highest_by_gateway, list_facts
from storage.rows import NewPing
from storage.timeline import read_steps
from storage.transitions import list_transitions
from storage.workflows import Workflow
from tests.domain.builders import NOON, definitions, histories
from tests.storage.conftest import GATEWAY, STRICT, Caller, define

OWN = ("id", "gateway_id", "instance_id", "subject", "inherited")


@dataclass(frozen=True)
class Studio:
    """Where instances are forked."""

    sessions: Sessions
    account_id: str

    async def caller(self, kind: str = "dynamic", **fields: Any) -> Caller:
        return await define(self.sessions, self.account_id, kind, **fields)

    async def opened(self, caller: Caller, *pings: NewPing) -> str:
        """The instance that the pings open."""
        start = caller.ping("1", start=True, at=utc_now() - timedelta(hours=1))
        (first, *_) = await caller.keep(start, *pings)
        assert first.instance_id is not None
        return first.instance_id

    async def fork(
        self, instance_id: str, stage: str, now: datetime | None = None, **modifications: Mapping[str, Any]
    ) -> Forked:
        """`s1={…}` modifies stage 1."""
        by_stage = {name.removeprefix("s"): modification for name, modification in modifications.items()}
        async with transaction(self.sessions) as session:
            parent = await get_instance(session, instance_id)
            assert parent is not None
            return await fork_instance(session, parent, stage, by_stage, now or utc_now())

    async def rows(self, instance_id: str) -> Sequence[Ping]:
        async with self.sessions() as session:
            query = select(Ping).where(Ping.instance_id == instance_id).order_by(Ping.id)
            return (await session.scalars(query)).all()

    async def row(self, instance_id: str) -> Instance:
        async with self.sessions() as session:
            row = await get_instance(session, instance_id)
            assert row is not None
            return row

    async def facts(self, instance_id: str) -> list[PingFact]:
        async with self.sessions() as session:
            return await list_facts(session, instance_id)

    async def current(self, caller: Caller) -> str | None:
        async with self.sessions() as session:
            row = await find_current_instance(session, caller.workflow_id)
            return row.id if row is not None else None


@pytest.fixture
def studio(sessions: Sessions, account: str) -> Studio:
    return Studio(sessions, account)


def values(row: Ping, *without: str) -> dict[str, Any]:
    names = [column.name for column in Ping.__table__.columns if column.name not in without]
    return {name: getattr(row, name) for name in names}


def rich(ping: NewPing, payload: str) -> NewPing:
    """With everything that a ping may carry."""
    report = Report(
        duration_ms=150,
        handoff_reason="task_complete",
        model_id="claude-3-opus",
        usage={"input_tokens": 1500},
        input_tokens=1500,
        output_tokens=500,
        cost_usd=Decimal("0.045"),
        tool_calls=[{"name": "search"}],
    )
    return replace(ping, report=report, payload=payload, size_bytes=len(payload))


async def test_copies_are_the_original_except_for_whose_they_are(studio: Studio) -> None:
    caller = await studio.caller()
    pings = [
        rich(caller.ping("2", name="Train", agent="ada"), '{"b":1,"a":1e2,"deep":{"x":[1,2.50]}}'),
        replace(caller.ping("note"), text='disk "full"', size_bytes=11),
        rich(caller.ping("3", final=True), '{"x":1}'),
    ]
    original = await studio.opened(caller, *pings)
    before = [values(row) for row in await studio.rows(original)]
    forked = await studio.fork(original, "note")
    fork = forked.instance
    assert forked.stages_copied == 3
    copies = await studio.rows(fork.id)
    assert [values(copy, *OWN) for copy in copies] == [values(row, *OWN) for row in (await studio.rows(original))[:3]]
    subject = instance_subject(caller.workflow_id, fork.id)
    assert {(row.gateway_id, row.subject, row.inherited) for row in copies} == {(NO_GATEWAY, subject, True)}
    assert [values(row) for row in await studio.rows(original)] == before
    async with studio.sessions() as session:
        assert not list(await session.scalars(select(OutboxRow).where(OutboxRow.subject == subject)))
        assert await highest_by_gateway(session, fork.id) == {NO_GATEWAY: copies[-1].id}
        steps = (await read_steps(session, fork.id, limit=10)).steps
        told = (await read_steps(session, original, limit=3)).steps
    assert steps == [replace(step, inherited=True) for step in told]


async def test_a_payload_is_merged_and_weighed(studio: Studio) -> None:
    caller = await studio.caller()
    original = await studio.opened(
        caller,
        rich(caller.ping("2"), '{"keep":[1,2],"drop":1,"deep":{"a":1,"b":2}}'),
        caller.ping("2"),
        replace(caller.ping("2"), text="not JSON", size_bytes=8),
        rich(caller.ping("3"), '{"drop":1}'),
    )
    forked = await studio.fork(original, "3", s2={"drop": None, "deep": {"b": None, "c": "ü"}})
    rows = await studio.rows(forked.instance.id)
    assert [(row.path, row.payload, row.text) for row in rows] == [
        ("1", None, None),
        ("2", {"keep": [1, 2], "deep": {"a": 1, "c": "ü"}}, None),
        ("2", {"deep": {"c": "ü"}}, None),
        ("2", {"deep": {"c": "ü"}}, None),
        ("3", {"drop": 1}, None),
    ]
    assert [row.size_bytes for row in rows] == [0, len('{"keep":[1,2],"deep":{"a":1,"c":"ü"}}'.encode()), 19, 19, 10]
    assert [row.cost_usd for row in rows[:2]] == [None, Decimal("0.045")]


async def test_what_is_modified_decides_how_a_stage_went(studio: Studio) -> None:
    caller = await studio.caller()
    failed = caller.ping("2", status=PingStatus.FAILED, error="boom")
    original = await studio.opened(caller, replace(failed, payload='{"status":"failed","error":"boom"}'))
    as_it_was = (await studio.fork(original, "2")).instance
    assert (as_it_was.status, as_it_was.failure_reason) == ("failed", "Stage 2 failed: boom")
    assert as_it_was.completed_at == as_it_was.opened_at
    healed = (await studio.fork(original, "2", s2={"status": "ok", "error": None})).instance
    assert (healed.status, healed.failure_reason, healed.closes_at) == ("running", None, None)
    assert [(fact.status, fact.error) for fact in (await studio.facts(healed.id))[1:]] == [(PingStatus.HEALTHY, None)]


async def test_a_fork_is_recorded_with_its_ancestors_and_nobody_is_alerted(studio: Studio) -> None:
    caller = await studio.caller()
    original = await studio.opened(caller, caller.ping("2", status=PingStatus.FAILED, error="boom", agent="ada"))
    first = (await studio.fork(original, "2")).instance
    second = (await studio.fork(first.id, "1")).instance
    assert (first.origin, first.parent_id, first.root_id, first.fork_depth) == ("fork", original, original, 1)
    assert (second.origin, second.parent_id, second.root_id, second.fork_depth) == ("fork", first.id, original, 2)
    assert (first.version, first.agent, first.fork_from_stage, second.fork_from_stage) == (1, "ada", "2", "1")
    assert first.session_id != second.session_id
    async with studio.sessions() as session:
        stages = {
            stage.path: (stage.status, stage.error) for stage in (await list_stages(session, [first.id]))[first.id]
        }
        subject = instance_subject(caller.workflow_id, first.id)
        told = [(item.path, item.after) for item in await list_transitions(session, subject)]
        assert not list(await session.scalars(select(AlertRow).where(AlertRow.account_id == studio.account_id)))
        lineage = await list_lineage(session, original, limit=10, after=None)
        rest = await list_lineage(session, original, limit=10, after=(first.opened_at, first.id))
    assert stages == {"1": ("healthy", None), "2": ("failed", "boom")}
    assert told == [("1", "healthy"), ("2", "failed"), (None, "failed")]
    assert [row.id for row in lineage] == [original, first.id, second.id]
    assert [row.id for row in rest] == [second.id]
    assert all(row.fork_depth == 0 and row.root_id is None for row in [await studio.row(original)])


async def test_only_accepted_pings_are_inherited(studio: Studio) -> None:
    caller = await studio.caller(**STRICT)
    start = caller.ping("1", start=True, agent="ada")
    (first,) = await caller.keep(start)
    assert first.instance_id is not None
    with pytest.raises(InvalidRequest, match="not executed"):
        await studio.fork(first.instance_id, "1")
    async with transaction(studio.sessions) as session:
        await session.execute(update(Ping).where(Ping.id == first.ping_id).values(outcome=Outcome.ACCEPTED))
    await caller.keep(caller.ping("7", agent="ada"))
    fork = (await studio.fork(first.instance_id, "1")).instance
    assert [row.path for row in await studio.rows(fork.id)] == ["1"]


async def test_what_cannot_be_forked(studio: Studio) -> None:
    caller = await studio.caller()
    original = await studio.opened(caller, rich(caller.ping("2"), '{"x":"' + "x" * 60_000 + '"}'))
    with pytest.raises(InvalidRequest) as error:
        await studio.fork(original, "2", s2={"y": "y" * 40_000})
    assert [field.field for field in error.value.fields] == ["payload_modifications.2"]
    async with transaction(studio.sessions) as session:
        await session.execute(update(Instance).where(Instance.id == original).values(fork_depth=MAX_DEPTH))
    with pytest.raises(Conflict, match="100 steps away"):
        await studio.fork(original, "2")
    async with transaction(studio.sessions) as session:
        await session.execute(update(Instance).where(Instance.id == original).values(fork_depth=MAX_DEPTH - 1))
    assert (await studio.fork(original, "2")).instance.fork_depth == MAX_DEPTH
    async with transaction(studio.sessions) as session:
        await session.execute(update(Workflow).where(Workflow.id == caller.workflow_id).values(deleted_at=utc_now()))
    with pytest.raises(NotFound, match="was deleted"):
        await studio.fork(original, "1")


@pytest.mark.parametrize("kind", ["dynamic", "static"])
async def test_a_fork_takes_only_the_pings_that_name_it(studio: Studio, kind: str) -> None:
    caller = await studio.caller(kind)
    original = await studio.opened(caller, caller.ping("2"))
    fork = (await studio.fork(original, "1", utc_now() + timedelta(seconds=1))).instance
    assert await studio.current(caller) == original
    unnamed, named, again = await caller.keep(
        caller.ping("3"), caller.ping("2", instance_id=fork.id), caller.ping("note")
    )
    assert [item.instance_id for item in (unnamed, named, again)] == [original, fork.id, original]
    assert named.status == "running"


async def test_a_fork_alone_is_nobodys_current_instance(studio: Studio) -> None:
    """Neither while it runs nor in its grace period."""
    caller = await studio.caller()
    original = await studio.opened(caller, caller.ping("2", status=PingStatus.FAILED))
    running, failed = (await studio.fork(original, "1")).instance, (await studio.fork(original, "2")).instance
    assert (running.closes_at, failed.closes_at is not None) == (None, True)
    async with transaction(studio.sessions) as session:
        closed = {"closes_at": utc_now() - timedelta(seconds=1), "status": InstanceStatus.FAILED.value}
        await session.execute(update(Instance).where(Instance.id == original).values(**closed))
    (early,) = await caller.keep(caller.ping("3"))
    assert (early.outcome, early.instance_id) == (Outcome.EARLY, None)
    (opened,) = await caller.keep(caller.ping("1", start=True))
    assert opened.instance_id not in (None, original, running.id, failed.id)
    assert await studio.current(caller) == opened.instance_id
    assert (await studio.row(running.id)).status == "running"


async def test_the_short_way_goes_past_forks(studio: Studio) -> None:
    caller = await studio.caller()
    original = await studio.opened(caller)
    fork = (await studio.fork(original, "1", utc_now() + timedelta(seconds=1))).instance
    shortcuts = Shortcuts()
    (result,) = await caller.keep(caller.ping("2"))
    shortcuts.learn(caller.ping("2"), result)
    url = studio.sessions.kw["bind"].url.render_as_string(hide_password=False)
    joining = JoiningConnection(url, GATEWAY)
    try:
        row = shortcuts.row(caller.ping("3"))
        assert row is not None
        kept = await joining.keep([row])
        assert kept is not None
        assert [item.instance_id for item in kept] == [original]
        # Nor is there a short way to a fork, whatever a gateway believes.
        assert await joining.keep([replace(row, instance_id=fork.id)]) is None
    finally:
        await joining.close()
    assert shortcuts.row(caller.ping("4", instance_id=fork.id)) is None


async def test_what_a_fork_was_told_and_took_back_does_not_end_it(studio: Studio) -> None:
    caller = await studio.caller(**STRICT)
    (first,) = await caller.keep(caller.ping("1", start=True, agent="ada"))
    async with transaction(studio.sessions) as session:
        await session.execute(update(Ping).where(Ping.id == first.ping_id).values(outcome=Outcome.ACCEPTED))
    fork = (await studio.fork(str(first.instance_id), "1")).instance
    async with transaction(studio.sessions) as session:
        await session.execute(update(Instance).where(Instance.id == fork.id).values(version=0))
        await forget_if_never_begun(session, fork.id)
        assert (caller.workflow_id, fork.id) in await list_unclosed(session, utc_now())
    assert (await studio.row(fork.id)).parent_id == first.instance_id


def examples() -> list[tuple[WorkflowDefinition, list[PingFact], int, dict[str, Any]]]:
    """The same in every run."""
    found: list[tuple[WorkflowDefinition, list[PingFact], int, dict[str, Any]]] = []
    changes = st.sampled_from([{}, {"status": "ok"}, {"status": "failed", "error": "x"}, {"a": {"b": None}, "c": 1}])

    @settings(max_examples=25, derandomize=True, database=None, deadline=None)
    @given(definitions, histories(), st.integers(0, 20), changes)
    def collect(definition: WorkflowDefinition, pings: list[PingFact], pick: int, change: dict[str, Any]) -> None:
        if pings:
            found.append((definition, pings, pick % len(pings), change))

    collect()
    return found


async def test_whatever_is_forked_is_the_fold_of_the_prefix_and_leaves_the_original_alone(studio: Studio) -> None:
    found = examples()
    assert len(found) > 10
    for definition, pings, pick, change in found:
        kind, stages = definition.kind.value, len(definition.stages)
        rules = {name: getattr(definition, name) for name in ("stage_timeout_seconds", "grace_period_seconds")}
        caller = await studio.caller(kind, stages=stages, **rules)
        opener = caller.ping("1", start=kind == "dynamic", at=NOON - timedelta(seconds=1))
        (first,) = await caller.keep(opener)
        assert first.instance_id is not None
        for fact in pings:
            values_of: dict[str, Any] = {"status": fact.status, "at": fact.at, "agent": fact.agent, "error": fact.error}
            await caller.keep(caller.ping(fact.path, instance_id=first.instance_id, final=fact.final, **values_of))
        original = await studio.facts(first.instance_id)
        before = [values(row) for row in await studio.rows(first.instance_id)]
        row_before = vars(await studio.row(first.instance_id))
        stage, now = pings[pick].path, utc_now()
        forks = [(await studio.fork(first.instance_id, stage, now, **{f"s{stage}": change})).instance for _ in range(2)]
        views: list[InstanceView] = []
        for fork in forks:
            facts = await studio.facts(fork.id)
            views.append(evaluate(merge(InstanceState("any", fork.rules(), now), facts)))
            last = max(index for index, fact in enumerate(original) if fact.path == stage)
            assert [(fact.path, fact.at) for fact in facts] == [(fact.path, fact.at) for fact in original[: last + 1]]
            told = [fact for fact in facts if fact.path != stage]
            kept = [fact for fact in original[: last + 1] if fact.path != stage]
            assert [replace(fact, id=0, gateway=0) for fact in told] == [
                replace(fact, id=0, gateway=0) for fact in kept
            ]
            async with studio.sessions() as session:
                shown = {item.path: item.status for item in (await list_stages(session, [fork.id]))[fork.id]}
            assert shown == {path: item.status for path, item in views[-1].stages.items()}
            assert (fork.status, fork.closes_at) == (views[-1].status, views[-1].closes_at)
        assert views[0] == views[1]
        assert [values(row) for row in await studio.rows(first.instance_id)] == before
        row_after = vars(await studio.row(first.instance_id))
        assert {name: value for name, value in row_after.items() if name != "_sa_instance_state"} == {
            name: value for name, value in row_before.items() if name != "_sa_instance_state"
        }
