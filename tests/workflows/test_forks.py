"""Forks live: their workflow begins with what they inherited, and takes their pings to their end."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from api.delivery import Temporal
from config.clock import utc_now
from domain.evaluation import evaluate
from domain.instances import InstanceState, merge
from domain.pings import PingFact, PingStatus
from domain.workflows import WorkflowDefinition
from storage.base import transaction
from storage.forks import fork_instance
from storage.pings import list_facts
from tests.domain.builders import NOON, dynamic, static, strict
from tests.support.waiting import until
from tests.workflows.post import Post, Run, fact

FAILED = PingStatus.FAILED
LONG_AGO = timedelta(days=30)


async def fork(run: Run, stage: str) -> Run:
    """A fork, and its workflow begun, as the gateway does both."""
    async with transaction(run.post.sessions) as session:
        forked = await fork_instance(session, await run.row(), stage, {}, utc_now())
    fork = Run(run.post, forked.instance.id, run.definition)
    await Temporal(run.post.client, run.post.queue).signal(fork.subject, [])
    return fork


async def report(run: Run, *facts: PingFact) -> None:
    """Journals and delivers pings, with verdicts if it takes them."""
    journaled = await run.journal(*facts)
    if run.definition.is_strict:
        assert all(verdict.accepted for verdict in (await run.ask(journaled)).values())
    else:
        await run.tell(journaled)


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize("end", ["running", "completed", "failed"])
@pytest.mark.parametrize("definition", [static(None, None, None), dynamic()], ids=["static", "dynamic"])
async def test_a_fork_of_whatever_became_of_it_goes_on_to_its_own_end(
    post: Post, definition: WorkflowDefinition, end: str, is_strict: bool
) -> None:
    run = await post.open(strict(definition) if is_strict else definition)
    await report(run, fact("1"), fact("2"))
    if end != "running":
        await report(run, fact("3", FAILED if end == "failed" else PingStatus.HEALTHY, final=True))
    original = (await run.taken_in(2 if end == "running" else 3)).state
    assert evaluate(original).status == end

    forked = await fork(run, "2")
    begun = await forked.taken_in(2)
    assert begun.version == 1
    tree = await forked.tree()
    assert (tree.status, tree) == ("running", await forked.folded())
    await report(forked, fact("3", final=True))
    await forked.taken_in(3)
    tree = await forked.tree()
    assert (tree.status, tree) == ("completed", await forked.folded())
    recorded = await forked.recorded()
    assert (recorded.status, recorded.stages) == (tree.status, tree.stages)
    assert [after for path, after in await forked.transitions() if path is None] == ["running", "completed"]
    assert (await run.snapshot()).state == original


async def test_the_workflow_begins_with_the_fold_and_without_alerts_of_the_past(post: Post) -> None:
    run = await post.open(dynamic())
    await report(run, fact("1"), fact("2", FAILED, error="boom"))
    forked = await fork(run, "2")
    tree = await forked.tree()
    assert (tree.status, tree.failure_reason) == ("failed", "Stage 2 failed: boom")
    await report(forked, fact("2"))
    await forked.taken_in(3)
    assert (await forked.tree()).status == "running"
    async with post.sessions() as session:
        facts = await list_facts(session, forked.id)
    row = await forked.row()
    state = (await forked.snapshot()).state
    assert state == merge(
        InstanceState(row.id, row.rules(), row.opened_at, confirmed_until=state.confirmed_until), facts
    )


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (static(None, 1.0, None), "Stage 2 timeout"),
        (dynamic(stage_timeout_seconds=1.0), "Stage 2 timeout"),
        (dynamic(idle_timeout_seconds=1.0), "Idle timeout: no ping for 1 seconds"),
        (dynamic(instance_timeout_seconds=1.0), "Instance timeout"),
    ],
)
async def test_deadlines_count_from_the_fork(post: Post, definition: WorkflowDefinition, reason: str) -> None:
    """They were over long ago, by the times of what it inherited."""
    run = await post.open(definition)
    await run.journal(fact("1", at=utc_now() - LONG_AGO))
    forked = await fork(run, "1")
    assert (await forked.folded()).status == "running"

    async def has_failed() -> bool:
        return (await forked.row()).status == "failed"

    await until(has_failed)
    row = await forked.row()
    assert (row.failure_reason, row.completed_at) == (reason, row.opened_at + timedelta(seconds=1))
    assert await forked.folded() == await forked.tree()


async def test_a_fork_whose_workflow_is_gone_comes_back(post: Post) -> None:
    run = await post.open(static(None, None, None))
    await report(run, fact("1", at=NOON))
    forked = await fork(run, "1")
    before = await forked.tree()
    await forked.handle.terminate()
    await Temporal(post.client, post.queue).signal(forked.subject, [])
    assert await forked.tree() == before
    assert (await forked.handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await report(forked, fact("2"), fact("3"))
    await forked.taken_in(3)
    assert (await forked.tree()).status == "completed"
