"""A workflow that is told to begin a new history takes everything along, with pings arriving all the while."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecutionStatus

from domain.pings import PingStatus
from storage.base import Sessions
from temporal_workflows.search_attributes import OWNER, STATUS
from tests.domain.builders import dynamic, static
from tests.support.stack import make_worker, temporal_server
from tests.workflows.post import QUEUE, Post, Run, fact


@pytest.fixture(scope="module")
async def hurried(post: Post, journals: Sessions) -> AsyncIterator[Post]:
    """A server that suggests a new history after 60 events instead of 4,096."""
    async with (
        temporal_server("limit.historyCount.suggestContinueAsNew=60") as client,
        make_worker(client, journals, task_queue=QUEUE),
    ):
        yield post.on(client)


async def test_nothing_is_lost_between_histories(hurried: Post) -> None:
    run = await hurried.open(dynamic())
    await run.ping("1", PingStatus.FAILED, error="boom")
    await run.ping("1")

    async def tell() -> None:
        for number in range(60):
            await run.tell(await run.journal(fact(f"2.{number + 1}", name=f"told {number}")))

    async def ask() -> None:
        for number in range(60):
            asked = await run.journal(fact(f"3.{number + 1}"), gateway=1)
            verdict = (await run.ask(asked)).get(asked[0].id)
            assert verdict is None or verdict.accepted

    await asyncio.gather(tell(), ask())
    snapshot = await run.taken_in(122)
    histories = await count_histories(run)
    assert histories > 3
    tree = await run.tree()
    assert len(tree.stages) == 121
    assert tree == await run.folded()
    assert (await run.recorded()).stages == tree.stages
    assert snapshot.version == (await run.row()).version
    transitions = await run.transitions()
    assert len(transitions) == len(set(transitions)), "nothing is told twice"
    assert {path for path, _ in transitions} == {None, *tree.stages}

    description = await run.handle.describe()
    assert description.typed_search_attributes.get(STATUS) == "running"
    assert description.typed_search_attributes.get(OWNER) == hurried.account_id
    metadata = await run.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details.startswith("**running**")


async def test_deadlines_go_on_in_the_next_history(hurried: Post) -> None:
    run = await hurried.open(static(None, 2.0, grace_period_seconds=0.2))
    for _ in range(25):
        await run.ping("1")
    assert await run.handle.result() == "failed"
    assert (await run.row()).failure_reason == "Stage 2 timeout"
    assert await count_histories(run) > 1


async def count_histories(run: Run) -> int:
    query = f"WorkflowId = '{run.subject}'"
    statuses = [item.status async for item in run.post.client.list_workflows(query)]
    assert set(statuses) <= {
        WorkflowExecutionStatus.CONTINUED_AS_NEW,
        WorkflowExecutionStatus.RUNNING,
        WorkflowExecutionStatus.COMPLETED,
    }
    return len(statuses)
