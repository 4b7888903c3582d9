"""While Postgres is down, workflows wait: they lose nothing, answer queries, and do not hold the worker up."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from activities.instances import InstanceActivities, Recorded, Recording
from config.clock import utc_now
from domain.pings import PingStatus
from storage.base import Sessions
from temporal_workflows.options import READ_MODEL
from temporal_workflows.registry import WORKFLOWS
from tests.domain.builders import dynamic
from tests.support.waiting import until
from tests.workflows.post import Post
from worker.main import sandbox


class Interrupted(InstanceActivities):
    """Loses Postgres when told to."""

    is_down = False
    attempts = 0

    @activity.defn
    async def record(self, recording: Recording) -> Recorded:
        self.attempts += 1
        if self.is_down:
            raise ConnectionError("Postgres is down")
        return await super().record(recording)


@pytest.fixture
async def interrupted(
    temporal: Client, journals: Sessions, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Interrupted]:
    """A worker that waits in less time than usual: with a timer from the second retry on."""
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_interval=timedelta(milliseconds=400))
    monkeypatch.setitem(READ_MODEL, "retry_policy", policy)
    monkeypatch.setitem(READ_MODEL, "local_retry_threshold", timedelta(milliseconds=80))
    # The SDK's core minds a timeout that outlives its worker, and says so on standard error.
    monkeypatch.setitem(READ_MODEL, "start_to_close_timeout", timedelta(milliseconds=500))
    activities = Interrupted(journals, utc_now)
    async with Worker(
        temporal,
        task_queue="interrupted",
        workflows=WORKFLOWS,
        activities=[activities.load_instance, activities.record, activities.confirm_silence],
        workflow_runner=sandbox(),
        max_concurrent_workflow_tasks=2,
    ):
        yield activities


async def test_pings_wait_for_postgres(post: Post, interrupted: Interrupted) -> None:
    post = replace(post, queue="interrupted")
    runs = [await post.open(dynamic()) for _ in range(4)]
    for run in runs:
        await run.ping("1")
        await run.taken_in(1)
    interrupted.is_down, interrupted.attempts = True, 0
    for run in runs:
        await run.ping("2", PingStatus.FAILED)
        await run.ping("2")
    await until(lambda: interrupted.attempts >= 16)
    for run in runs:
        # More of them wait than the worker can work on, and yet each answers.
        assert list((await run.tree()).stages) == ["1", "2"]
        assert list((await run.recorded()).stages) == ["1"]
    interrupted.is_down = False
    for run in runs:
        await run.ping("3")
        await run.taken_in(4)
        assert await run.tree() == await run.folded()
        assert (await run.recorded()).stages == (await run.tree()).stages
