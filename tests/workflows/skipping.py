"""Going on to a moment, on a server that skips time."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

ATTEMPTS = 10
ENDS_OF_TASKS = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
)


async def skip_to(environment: WorkflowEnvironment, moment: datetime) -> None:
    """Returns when it is that time on the server. A call ends after ten seconds of ours: on a busy machine a year of
    timers takes longer than that."""
    for _ in range(ATTEMPTS):
        left = moment - await environment.get_current_time()
        if left <= timedelta(0):
            return
        try:
            await environment.sleep(left)
        except RPCError as error:
            if error.status not in (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED):
                raise
    raise AssertionError(f"the server does not come to {moment}")


async def lose(handle: WorkflowHandle[Any, Any]) -> None:
    """Terminates a workflow once it is at rest. The server holds the time while a worker has a task, and would hold it
    for good: it never hears of the end of a task whose workflow was terminated meanwhile."""
    while await _is_at_work(handle):
        await asyncio.sleep(0.01)
    await handle.terminate()


async def _is_at_work(handle: WorkflowHandle[Any, Any]) -> bool:
    tasks = 0
    async for event in handle.fetch_history_events():
        tasks += event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
        tasks -= event.event_type in ENDS_OF_TASKS
    return tasks > 0
