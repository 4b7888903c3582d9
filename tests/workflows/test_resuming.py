"""Pauses as an instance's workflow lives through them: while one lasts nothing is due, and it ends whoever says so."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.instances import InstanceQuestion, InstanceSnapshot
from api.delivery import Temporal
from config.clock import utc_now
from domain.approvals import Via, Voter
from domain.budgets import Action, Budget
from domain.instances import Pause
from domain.verdicts import Verdict
from domain.workflows import WorkflowDefinition
from storage.base import transaction
from storage.budgets import set_budget
from storage.instances import terminate_instances
from storage.resume_approvals import resume_by_request
from storage.workflows import Workflow
from temporal_workflows.instance import InstanceWorkflow
from temporal_workflows.registry import WORKFLOWS
from tests.domain.builders import dynamic, static
from tests.support.waiting import until
from tests.workflows.post import Post, fact
from tests.workflows.post import Run as PostRun
from tests.workflows.world import QUEUE, Run, World
from worker.main import sandbox

ADA = Voter("ada@example.com", Via.SESSION)


# Time


class PausingWorld(World):
    """As Postgres does, it knows of pauses that the workflow is to learn of."""

    def __init__(self, environment: WorkflowEnvironment) -> None:
        super().__init__(environment)
        self.pauses: dict[str, tuple[Pause, ...]] = {}

    @activity.defn
    async def load_instance(self, question: InstanceQuestion) -> InstanceSnapshot | None:
        snapshot = await super().load_instance(question)
        if snapshot is None:
            return None
        return replace(snapshot, state=replace(snapshot.state, pauses=self.pauses.get(question.instance_id, ())))

    async def pause(self, run: Run, since: float, until: float | None = None) -> None:
        """Instead of the last pause, if that goes on; in seconds after the opening. Returns once the run knows."""
        before = tuple(pause for pause in self.pauses.get(run.id, ()) if pause.end is not None)
        pause = Pause(
            run.opened_at + timedelta(seconds=since),
            "too much",
            "a line",
            run.opened_at + timedelta(seconds=until) if until is not None else None,
        )
        self.pauses[run.id] = (*before, pause)
        await run.handle.signal(InstanceWorkflow.instance_changed)
        # The query is answered after the signal was taken in, and what is to be loaded, loaded.
        while (await run.show())[0] != ("paused" if until is None else "running"):
            pass


@pytest.fixture(scope="module")
async def pausing(skipping: WorkflowEnvironment) -> AsyncIterator[PausingWorld]:
    world = PausingWorld(skipping)
    worker = Worker(
        skipping.client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=world.activities,
        workflow_runner=sandbox(),
    )
    async with worker:
        yield world


@pytest.mark.parametrize(
    ("definition", "deadline", "reason"),
    [
        (dynamic(idle_timeout_seconds=100.0), 100, "Idle timeout: no ping for 100 seconds"),
        (dynamic(instance_timeout_seconds=100.0), 100, "Instance timeout"),
        (static(None, 100.0, None), 100, "Stage 2 timeout"),
    ],
    ids=["idle", "instance", "stage"],
)
async def test_deadlines_stand_still_while_it_is_paused(
    pausing: PausingWorld, definition: WorkflowDefinition, deadline: int, reason: str
) -> None:
    run = await pausing.open(definition)
    await run.ping("1")
    await run.until(10)
    await pausing.pause(run, 10)
    await run.until(5_000)
    assert await run.show() == ("paused", "too much")
    assert run.questions == []
    await pausing.pause(run, 10, until=5_000)
    await run.until(5_000 - 10 + deadline - 1)
    assert await run.show() == ("running", None)
    await run.until(5_000 - 10 + deadline + 1)
    assert await run.show() == ("failed", reason)
    assert run.told() == [("running", 0), ("failed", 4_990 + deadline)]


async def test_each_of_several_pauses_moves_a_deadline(pausing: PausingWorld) -> None:
    run = await pausing.open(dynamic(idle_timeout_seconds=100.0))
    await run.ping("1")
    for since, end in ((20, 50), (60, 1_060)):
        await run.until(since)
        await pausing.pause(run, since)
        await run.until(end)
        await pausing.pause(run, since, until=end)
    assert await run.result() == "failed"
    assert run.told() == [("running", 0), ("failed", 1_130)]


# Postgres


@dataclass(frozen=True)
class Budgeted:
    """An instance of a workflow that is paused by its third ping."""

    run: PostRun

    @property
    def handle(self) -> WorkflowHandle[InstanceWorkflow, str]:
        return self.run.handle

    async def ask(self, path: str, **values: Any) -> Verdict:
        (ping,) = await self.run.journal(fact(path, **values))
        return (await self.run.ask([ping]))[ping.id]

    async def resume(self, *, is_told: bool = True) -> None:
        async with transaction(self.run.post.sessions) as session:
            await resume_by_request(session, self.run.id, ADA, utc_now())
        if is_told:
            await self.tell()

    async def tell(self) -> None:
        await Temporal(self.run.post.client, self.run.post.queue).tell_of_change(self.run.subject)

    async def is_heard(self) -> bool:
        return not (await self.run.row()).is_unheard

    async def steps(self) -> list[str]:
        return [after for path, after in await self.run.transitions() if path is None]


async def limit_pings(run: PostRun) -> None:
    async with transaction(run.post.sessions) as session:
        workflow = await session.get_one(Workflow, run.definition.id)
        await set_budget(session, workflow, Budget(max_pings=2, action=Action.PAUSE), utc_now())


async def paused(post: Post, definition: WorkflowDefinition) -> Budgeted:
    budgeted = Budgeted(await post.open(definition))
    await limit_pings(budgeted.run)
    for path, status in (("1", "running"), ("2", "running"), ("3", "paused")):
        verdict = await budgeted.ask(path)
        assert (verdict.accepted, verdict.instance_status) == (True, status)
    return budgeted


async def test_told_of_it_the_workflow_goes_on(post: Post) -> None:
    budgeted = await paused(post, dynamic())
    assert (await budgeted.run.tree()).status == "paused"
    await budgeted.resume()
    await until(budgeted.is_heard)
    assert (await budgeted.run.tree()).status == "running"
    assert await budgeted.run.tree() == await budgeted.run.folded()
    verdict = await budgeted.ask("4", final=True)
    assert (verdict.accepted, verdict.instance_status) == (True, "completed")
    assert await budgeted.steps() == ["running", "paused", "running", "completed"]


async def test_told_of_nothing_it_finds_out_by_the_next_ping(post: Post) -> None:
    budgeted = await paused(post, dynamic())
    await budgeted.resume(is_told=False)
    assert (await budgeted.run.tree()).status == "paused"
    assert not await budgeted.is_heard()
    verdict = await budgeted.ask("4")
    assert (verdict.accepted, verdict.instance_status) == (True, "running")
    assert await budgeted.is_heard()
    assert await budgeted.run.tree() == await budgeted.run.folded()
    assert await budgeted.steps() == ["running", "paused", "running"]


async def test_its_workflow_may_be_lost_meanwhile(post: Post) -> None:
    budgeted = await paused(post, static(None, None, None, None))
    await budgeted.handle.terminate()
    await budgeted.resume()
    await until(budgeted.is_heard)
    assert (await budgeted.run.tree()).status == "running"
    assert (await budgeted.ask("4")).instance_status == "completed"
    assert await budgeted.steps() == ["running", "paused", "running", "completed"]


async def test_being_told_twice_changes_nothing(post: Post) -> None:
    budgeted = await paused(post, dynamic())
    await budgeted.resume()
    for _ in range(3):
        await budgeted.tell()
    assert (await budgeted.ask("4")).instance_status == "running"
    assert (await budgeted.run.row()).version == 5
    assert await budgeted.steps() == ["running", "paused", "running"]


async def test_pings_that_were_refused_meanwhile_stay_out(post: Post) -> None:
    """They came before it was resumed, and their callers were told."""
    budgeted = await paused(post, dynamic())
    await budgeted.run.journal(fact("4"))
    await budgeted.resume()
    assert (await budgeted.ask("5")).accepted
    assert (await budgeted.run.outcomes())["4"] == ["rejected"]
    assert list((await budgeted.run.tree()).stages) == ["1", "2", "3", "5"]


async def test_one_that_is_ended_while_it_is_paused_is_over(post: Post) -> None:
    budgeted = await paused(post, dynamic())
    async with transaction(post.sessions) as session:
        assert await terminate_instances(session, budgeted.run.definition.id, utc_now()) == [budgeted.run.id]
    await Temporal(post.client, post.queue).end(budgeted.run.subject)
    assert await budgeted.handle.result() == "terminated"


async def test_a_verdict_and_the_end_of_the_pause_at_the_same_time(post: Post) -> None:
    """Whichever is first, the ping has one answer, and the workflow knows what Postgres does."""
    codes: list[str | None] = []
    for _ in range(8):
        budgeted = Budgeted(await post.open(dynamic()))
        await limit_pings(budgeted.run)
        # All of them are in the journal before the third pauses it.
        *first, last = await budgeted.run.journal(*(fact(path) for path in "1234"))
        await budgeted.run.ask(first)
        verdicts, _ = await asyncio.gather(budgeted.run.ask([last]), budgeted.resume())
        verdict = verdicts[last.id]
        codes.append(verdict.code)
        assert (await budgeted.ask("5")).accepted
        assert list((await budgeted.run.tree()).stages) == [*"123", *("4" if verdict.accepted else ""), "5"]
        assert await budgeted.run.tree() == await budgeted.run.folded()
        assert await budgeted.steps() == ["paused", "running"]
    assert set(codes) <= {None, "instance_paused"}
