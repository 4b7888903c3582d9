"""Temporal loses a workflow, and gets it back without another ping."""

from temporalio.client import WorkflowExecutionStatus

from api.delivery import Temporal
from cli.revive import revive
from domain.evaluation import InstanceView
from domain.subjects import instance_subject
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
