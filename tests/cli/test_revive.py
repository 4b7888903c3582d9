"""Temporal loses a workflow, and gets it back without another ping."""

from functools import partial

from temporalio.client import WorkflowExecutionStatus

from api.delivery import Temporal
from cli.revive import revive
from config.clock import utc_now
from domain.evaluation import InstanceView
from domain.subjects import instance_subject
from storage.approvals import Approval, get_approval
from storage.base import transaction
from storage.deciding import cancel
from temporal_workflows.approval import ApprovalEvent
from tests.support.approvals import AGENT, ask
from tests.support.stack import Stack
from tests.support.waiting import until


async def test_an_instance_that_temporal_lost_is_followed_again(stack: Stack) -> None:
    async with stack.client() as client:
        params = {"stagePath": "1", "start": "yes"}
        opened = (await client.get("/dhk/lost_by_temporal", params=params)).json()
        subject = instance_subject(opened["workflow_id"], opened["instance_id"])
        handle = stack.temporal.get_workflow_handle(subject)
        temporal = Temporal(stack.temporal, stack.settings.temporal_task_queue)

        async def view() -> InstanceView | None:
            return await temporal.query(subject, 5)

        # Asking for the tree delivers what is still held.
        assert (await client.get("/dhk/lost_by_temporal/tree")).headers["X-PingPulse-Source"] == "temporal"
        before = await until(view)
        await handle.terminate()
        assert await revive(stack.settings) >= 1

        async def runs_again() -> bool:
            running = (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
            return running and await view() == before

        assert await until(runs_again)
        await client.get("/dhk/lost_by_temporal", params={"stagePath": "2", "final": "yes"})
        assert (await client.get("/dhk/lost_by_temporal/tree")).json().keys() == {"1", "2"}


async def test_an_approval_that_temporal_lost_is_followed_again(stack: Stack) -> None:
    lost = await ask(stack.sessions, stack.account_id, timeout=None)
    decided = await ask(stack.sessions, stack.account_id, timeout=None)
    async with transaction(stack.sessions) as session:
        await cancel(session, decided.id, AGENT, None, utc_now())

    async def is_followed(approval: Approval) -> bool:
        async with stack.sessions() as session:
            row = await get_approval(session, approval.id)
        return row is not None and row.followed_revision == row.revision

    temporal = Temporal(stack.temporal, stack.settings.temporal_task_queue)
    for approval in (lost, decided):
        await temporal.tell_of_approval(approval.id, ApprovalEvent("requested"))
        await until(partial(is_followed, approval))
    handle = stack.temporal.get_workflow_handle(lost.subject)
    await handle.terminate()
    assert await revive(stack.settings) >= 1
    first = (await handle.describe()).run_id

    async def runs_again() -> bool:
        return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING

    assert await until(runs_again)
    # Of what is decided nobody is told again, and whoever is followed takes no notice.
    assert await stack.temporal.get_workflow_handle(decided.subject).result() == "cancelled"
    assert await revive(stack.settings) >= 1
    assert (await handle.describe()).run_id == first
