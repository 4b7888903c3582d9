"""What an approval's workflow does as time passes: on a server that skips it, and on one of real time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.testing import WorkflowEnvironment

from cli.revive import revive
from config.clock import utc_now
from domain.approvals import ApprovalDecided, NotAnApprover
from domain.letters import LetterTopic
from storage.accounts import create_account
from storage.base import Sessions, transaction
from temporal_workflows.approval import ApprovalInput, ApprovalWorkflow
from temporal_workflows.options import READ_MODEL
from temporal_workflows.search_attributes import KIND, OWNER, STATUS, WORKFLOW
from tests.support.approvals import deny
from tests.support.stack import make_settings, temporal_server
from tests.support.waiting import until
from tests.workflows.approval_world import ApprovalWorld, Case

ADA, BOB, CAROL, DAVE = "ada@example.com", "bob@example.com", "carol@example.com", "dave@example.com"
DEADLINE = 300.0
DAY = 86_400.0


async def make_world(client: WorkflowEnvironment, sessions: Sessions, queue: str) -> ApprovalWorld:
    async with transaction(sessions) as session:
        account = await create_account(session, "approvals", utc_now())
    return ApprovalWorld(client, sessions, account.id, queue)


@pytest.fixture(scope="module")
async def world(skipping: WorkflowEnvironment, journals: Sessions) -> AsyncIterator[ApprovalWorld]:
    """Time is skipped."""
    async with (await make_world(skipping, journals, "approvals")).worker() as world:
        yield world


@pytest.fixture
async def idle(temporal: Client, journals: Sessions) -> ApprovalWorld:
    """Time is real, and there is no worker yet."""
    return await make_world(WorkflowEnvironment.from_client(temporal), journals, "approvals in real time")


@pytest.mark.parametrize(("action", "status"), [("deny", "denied"), ("approve", "approved")])
async def test_the_deadline_decides_either_way_and_not_before(world: ApprovalWorld, action: str, status: str) -> None:
    case = await world.open(timeout_action=action)
    await case.until(DEADLINE - 1)
    assert (await case.row()).status == "pending"
    await case.until(DEADLINE + 1)
    assert await case.ended() == (status, "timeout", DEADLINE)
    assert len(case.looks) == 2
    assert DEADLINE <= case.looks[-1] < DEADLINE + 1


async def test_without_a_deadline_it_waits_until_somebody_decides(world: ApprovalWorld) -> None:
    case = await world.open(timeout=None)
    await case.until(400 * DAY)
    assert len(case.looks) == 1
    await case.vote(ADA)
    status, decided_by, second = await case.ended()
    assert (status, decided_by) == ("approved", ADA)
    assert second >= 400 * DAY


async def test_a_deadline_may_be_a_year_away(world: ApprovalWorld) -> None:
    case = await world.open(timeout=366 * DAY)
    await case.until(366 * DAY - 1)
    assert (await case.row()).status == "pending"
    await case.until(366 * DAY + 1)
    assert await case.ended() == ("denied", "timeout", 366 * DAY)
    assert len(case.looks) == 2


async def test_reminders_and_the_escalation_are_sent_when_they_are_due(world: ApprovalWorld) -> None:
    case = await world.open(
        approvers=[ADA, BOB],
        quorum=2,
        timeout=3 * DAY,
        reminders=[DAY, 2 * DAY, 2.5 * DAY],
        escalate_to=[CAROL],
        escalate_after=1.5 * DAY,
    )
    await case.until(DAY - 1)
    assert len(case.looks) == 1
    await case.until(DAY + 1)
    await case.vote(ADA)
    await case.until(2 * DAY + 1)
    assert await case.letters(LetterTopic.ESCALATION) == [(1.5 * DAY, CAROL)]
    await case.until(3 * DAY + 1)
    assert await case.ended() == ("denied", "timeout", 3 * DAY)
    assert await case.letters(LetterTopic.REQUEST) == [(0, ADA), (0, BOB)]
    reminders = [(DAY, ADA), (DAY, BOB), (2 * DAY, BOB), (2 * DAY, CAROL), (2.5 * DAY, BOB), (2.5 * DAY, CAROL)]
    assert await case.letters(LetterTopic.REMINDER) == reminders


async def test_those_it_is_escalated_to_may_decide_from_then_on(world: ApprovalWorld) -> None:
    case = await world.open(escalate_to=[DAVE], escalate_after=60)
    with pytest.raises(NotAnApprover):
        await case.vote(DAVE)
    await case.until(61)
    await case.vote(DAVE)
    assert (await case.ended())[:2] == ("approved", DAVE)


async def test_nobody_is_reminded_of_what_is_decided(world: ApprovalWorld) -> None:
    case = await world.open(reminders=[60, 120])
    await case.until(61)
    await case.vote(ADA, deny())
    assert (await case.ended())[:2] == ("denied", ADA)
    await case.until(DEADLINE + 60)
    assert await case.letters(LetterTopic.REMINDER) == [(60, ADA)]
    assert len(case.looks) == 3


async def test_a_quorum_is_complete_with_the_last_signal(world: ApprovalWorld) -> None:
    case = await world.open(approvers=[ADA, BOB, CAROL], quorum=2)
    await case.vote(ADA)
    await until(lambda: len(case.looks) == 2)
    followed = await case.handle.query(ApprovalWorkflow.decision)
    assert followed is not None
    assert (followed.status, followed.decided_by, followed.next_step) == ("pending", None, "it expires")
    await case.vote(BOB, deny())
    await case.vote(CAROL)
    assert (await case.ended())[:2] == ("approved", CAROL)


async def test_a_veto_ends_it(world: ApprovalWorld) -> None:
    case = await world.open(approvers=[ADA, BOB, CAROL], quorum=2, veto=True)
    await case.vote(ADA)
    await case.vote(BOB, deny())
    assert (await case.ended())[:2] == ("denied", BOB)


async def test_a_cancelled_one_ends(world: ApprovalWorld) -> None:
    case = await world.open(timeout=None)
    await case.cancel()
    assert (await case.ended())[:2] == ("cancelled", "api-key:agent")


async def test_a_vote_just_before_the_deadline_counts_and_one_after_it_does_not(world: ApprovalWorld) -> None:
    before = await world.open()
    await before.until(DEADLINE - 1)
    await before.vote(ADA)
    status, decided_by, second = await before.ended()
    assert (status, decided_by) == ("approved", ADA)
    assert DEADLINE - 1 <= second < DEADLINE
    after = await world.open()
    await after.until(DEADLINE + 1)
    with pytest.raises(ApprovalDecided):
        await after.vote(ADA)
    assert await after.ended() == ("denied", "timeout", DEADLINE)


async def test_a_vote_that_races_the_deadline_has_one_outcome(world: ApprovalWorld) -> None:
    cases = [await world.open() for _ in range(8)]
    await cases[0].until(DEADLINE - 0.2)

    async def race(case: Case) -> None:
        try:
            await case.vote(ADA)
        except ApprovalDecided as error:
            said = error.extra["decided_by"]
        else:
            said = ADA
        assert (await case.ended())[1] == said

    await asyncio.gather(cases[0].until(DEADLINE + 1), *(race(case) for case in cases))


async def test_a_signal_may_come_many_times(world: ApprovalWorld) -> None:
    case = await world.open(approvers=[ADA, BOB], quorum=2, reminders=[60])
    await case.vote(ADA)
    await asyncio.gather(*(case.tell("approve", ADA) for _ in range(20)))
    await case.until(61)
    assert await case.letters(LetterTopic.REMINDER) == [(60, BOB)]
    await case.vote(BOB)
    assert (await case.ended())[:2] == ("approved", BOB)
    # One who comes after the end starts a workflow that looks and ends.
    await case.tell("noticed")
    assert (await case.ended())[:2] == ("approved", BOB)


@pytest.mark.parametrize("reminders", [[60.0], []])
async def test_a_lost_signal_is_made_up_for_by_the_next_timer(world: ApprovalWorld, reminders: list[float]) -> None:
    case = await world.open(reminders=reminders)
    await case.vote(ADA, is_told=False)
    await case.until(DEADLINE + 1)
    assert (await case.ended())[:2] == ("approved", ADA)
    assert [round(look) for look in case.looks] == [0, 60 if reminders else DEADLINE]
    assert await case.letters(LetterTopic.REMINDER) == []


async def test_the_workflow_of_an_approval_that_is_not_there_ends_quietly(world: ApprovalWorld) -> None:
    await world.tell("apr_nowhere", "noticed")
    assert await world.client.get_workflow_handle("approval/apr_nowhere").result() == "withdrawn"


async def test_it_shows_itself_in_the_temporal_ui(idle: ApprovalWorld) -> None:
    async with idle.worker() as world:
        case = await world.open(title="Deploy 1.4", workflow_id="flow", reminders=[60.0])
        assert await (await case.handle.describe()).static_summary() == f"approval {case.id}"
        shown = ["approval", world.account_id, "pending", "flow"]

        async def is_shown() -> bool:
            attributes = (await case.handle.describe()).typed_search_attributes
            return [attributes.get(key) for key in (KIND, OWNER, STATUS, WORKFLOW)] == shown

        await until(is_shown)
        assert await details(case) == "**pending** Deploy 1.4"
        await case.vote(ADA)
        assert (await case.ended())[:2] == ("approved", ADA)
        assert await details(case) == "**approved** by ada@example.com Deploy 1.4"
        assert (await case.handle.describe()).typed_search_attributes.get(STATUS) == "approved"
        timers = [
            world.client.data_converter.payload_converter.from_payload(event.user_metadata.summary, str)
            async for event in case.handle.fetch_history_events()
            if event.HasField("timer_started_event_attributes")
        ]
        assert timers == ["until the next reminder"]


def has_looked(case: Case, looks: int) -> bool:
    """Whether its workflow has looked again, after so many times."""
    return len(case.looks) > looks


async def details(case: Case) -> str:
    metadata: WorkflowMetadata = await case.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details


async def test_another_worker_goes_on_where_one_was_stopped(idle: ApprovalWorld) -> None:
    async with idle.worker():
        voted, expired = await idle.open(approvers=[ADA, BOB], quorum=2), await idle.open(timeout=1.5, reminders=[1.0])
        await voted.vote(ADA)
        await until(lambda: len(voted.looks) == 2)
    await voted.vote(BOB)
    assert (await voted.row()).status == "approved"
    await until(lambda: expired.second(utc_now()) > 1.6)
    assert (await expired.row()).status == "pending"
    async with idle.worker():
        assert (await voted.ended())[:2] == ("approved", BOB)
        assert await expired.ended() == ("denied", "timeout", 1.5)
        assert await expired.letters(LetterTopic.REMINDER) == []


async def test_while_postgres_is_down_it_waits_and_then_all_is_as_it_would_have_been(
    idle: ApprovalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_interval=timedelta(milliseconds=400))
    monkeypatch.setitem(READ_MODEL, "retry_policy", policy)
    monkeypatch.setitem(READ_MODEL, "local_retry_threshold", timedelta(milliseconds=80))
    monkeypatch.setitem(READ_MODEL, "start_to_close_timeout", timedelta(milliseconds=500))
    world = replace(idle, queue="approvals without postgres")
    async with world.worker():
        case = await world.open(timeout=1.0, timeout_action="approve")
        other = await world.open()
        world.is_down, world.attempts = True, 0
        await other.vote(ADA)
        await until(lambda: case.second(utc_now()) > 1.5 and world.attempts >= 8)
        assert (await case.row()).status == "pending"
        followed = await other.handle.query(ApprovalWorkflow.decision)
        assert followed is not None
        assert followed.status == "pending"
        world.is_down = False
        assert await case.ended() == ("approved", "timeout", 1.0)
        assert (await other.ended())[:2] == ("approved", ADA)


async def test_temporal_may_be_lost_and_a_new_one_begins_new_histories(idle: ApprovalWorld) -> None:
    """The second server knows nothing, and suggests a new history after 40 events."""
    async with idle.worker():
        case = await idle.open(approvers=[ADA, BOB], quorum=2, workflow_id="flow")
        expiring = await idle.open(timeout=4.0)
        await case.vote(ADA)
        await until(lambda: len(case.looks) == 2)
    async with temporal_server("limit.historyCount.suggestContinueAsNew=40") as client:
        world = replace(idle, environment=WorkflowEnvironment.from_client(client), looks=[])
        engine = world.sessions.kw["bind"]
        url = engine.url.render_as_string(hide_password=False)
        assert await revive(make_settings(url, client, temporal_task_queue=world.queue)) >= 2
        async with world.worker():
            moved, lost = Case(world, case.approval), Case(world, expiring.approval)
            await until(lambda: moved.looks and lost.looks)
            for _ in range(30):
                looks = len(moved.looks)
                await moved.tell("noticed")
                await until(partial(has_looked, moved, looks))
            query = f"WorkflowId = '{case.approval.subject}'"
            statuses = [item.status async for item in client.list_workflows(query)]
            assert statuses.count(WorkflowExecutionStatus.CONTINUED_AS_NEW) >= 1
            attributes = (await moved.handle.describe()).typed_search_attributes
            assert (attributes.get(STATUS), attributes.get(WORKFLOW)) == ("pending", "flow")
            assert await details(moved) == "**pending** Publish the report"
            await moved.vote(BOB)
            assert (await moved.ended())[:2] == ("approved", BOB)
            assert await lost.ended() == ("denied", "timeout", 4.0)
    assert await case.letters(LetterTopic.REQUEST) == [(0, ADA), (0, BOB)]


async def test_signals_that_come_all_the_while_are_never_missed(idle: ApprovalWorld) -> None:
    """Each vote is seen without any timer: the last look is after the last vote."""
    people = [f"p{number}@example.com" for number in range(12)]
    async with idle.worker() as world:
        cases = [await world.open(approvers=people, quorum=12, timeout=None) for _ in range(3)]

        async def decide(case: Case) -> None:
            for name in people:
                await case.vote(name)

        await asyncio.gather(*(decide(case) for case in cases))
        for case in cases:
            assert (await case.ended())[:2] == ("approved", people[-1])


async def test_a_vote_that_comes_between_the_look_and_what_it_says_is_not_missed(idle: ApprovalWorld) -> None:
    """A workflow task that takes long is prolonged again and again, and brings signals along."""
    world = replace(idle, queue="approvals looked at for long", held=asyncio.Event())
    async with world.worker():
        case = Case(world, await world.keep(timeout=None))
        await world.client.start_workflow(
            ApprovalWorkflow.run,
            ApprovalInput(case.id),
            id=case.approval.subject,
            task_queue=world.queue,
            task_timeout=timedelta(seconds=1),
        )
        await until(lambda: case.looks)
        await case.vote(ADA)

        async def is_brought() -> bool:
            kinds = [event.WhichOneof("attributes") async for event in case.handle.fetch_history_events()]
            signaled, started = (f"workflow_{what}_event_attributes" for what in ("execution_signaled", "task_started"))
            return signaled in kinds and started in kinds[kinds.index(signaled) :]

        await until(is_brought)
        assert len(case.looks) == 1
        assert world.held is not None
        world.held.set()
        assert (await case.ended())[:2] == ("approved", ADA)


async def test_who_cancels_the_workflow_itself_ends_it(idle: ApprovalWorld) -> None:
    """As an operator may in the Temporal UI; the approval is as it was, and followed again when it is told of."""
    async with idle.worker() as world:
        case = await world.open(timeout=None)
        await case.handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await case.handle.result()
        assert (await case.row()).status == "pending"
        await case.vote(ADA)
        assert (await case.ended())[:2] == ("approved", ADA)
