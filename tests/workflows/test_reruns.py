"""Reruns live: nothing is due until their first ping, and from then on they are like any other."""

from datetime import timedelta

from api.delivery import Temporal
from config.clock import utc_now
from domain.workflows import WorkflowDefinition
from storage.base import transaction
from storage.reruns import rerun_instance
from tests.domain.builders import dynamic, static, strict
from tests.support.waiting import until
from tests.workflows.post import Post, Run, fact

LONG_AGO = timedelta(days=30)


async def rerun(post: Post, definition: WorkflowDefinition) -> Run:
    """Made long ago, of an instance that was never pinged."""
    run = await post.open(definition)
    async with transaction(post.sessions) as session:
        made = await rerun_instance(session, await run.row(), {}, utc_now() - LONG_AGO, "https://pp.example/{}")
    return Run(post, made.id, run.definition)


async def test_its_time_counts_from_its_first_ping(post: Post) -> None:
    run = await rerun(post, dynamic(instance_timeout_seconds=1.0))
    assert (await run.folded()).status == "pending"
    await run.ping("1")
    snapshot = await run.taken_in(1)

    async def has_failed() -> bool:
        return (await run.row()).status == "failed"

    await until(has_failed)
    row = await run.row()
    assert snapshot.state.first_ping_at is not None
    assert (row.failure_reason, row.completed_at) == (
        "Instance timeout",
        snapshot.state.first_ping_at + timedelta(seconds=1),
    )
    assert await run.tree() == await run.folded()
    assert [after for path, after in await run.transitions() if path is None] == ["pending", "running", "failed"]


async def test_a_workflow_that_begins_before_its_first_ping_waits(post: Post) -> None:
    run = await rerun(post, static(None, None, idle_timeout_seconds=1.0, stage_timeout_seconds=1.0))
    await Temporal(post.client, post.queue).signal(run.subject, [])
    tree = await run.tree()
    assert (tree.status, tree.next_deadline) == ("pending", None)
    assert tree == await run.folded()
    await run.ping("1")
    await run.ping("2")
    await run.taken_in(2)
    assert (await run.tree()).status == "completed"


async def test_a_refused_first_ping_begins_nothing(post: Post) -> None:
    run = await rerun(post, strict(static(None, None, stage_timeout_seconds=3600.0)))
    (refused,) = (await run.ask(await run.journal(fact("2")))).values()
    assert (refused.accepted, refused.code, refused.instance_status) == (False, "stage_missed", "pending")
    assert (await run.tree()).next_deadline is None
    for path, status in (("1", "running"), ("2", "completed")):
        (accepted,) = (await run.ask(await run.journal(fact(path)))).values()
        assert (accepted.accepted, accepted.instance_status) == (True, status)
    tree = await run.tree()
    assert (tree.status, tree) == ("completed", await run.folded())
