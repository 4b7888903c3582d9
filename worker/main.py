"""The worker process: polls Temporal, runs our workflows and their activities, and tells people."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from config.clock import utc_now
from config.settings import Settings
from config.temporal import connect
from storage.base import Sessions, create_engine, create_sessions
from temporal_workflows.message import MessageWorkflow
from temporal_workflows.registry import SUBJECT_WORKFLOWS, message_queue
from worker.parts import message_activities, subject_activities
from worker.telling import Telling

log = structlog.get_logger(__name__)

# Our own modules hold no state, and importing them anew for each of thousands of workflows costs 20 ms each.
OURS = ("domain", "activities", "storage", "temporal_workflows")
THEIRS = (
    "sqlalchemy",
    "orjson",
    "pydantic",
    "cronsim",
    "zoneinfo",
    "httpx",
    "cryptography",
    "standardwebhooks",
    "jsonschema",
)


def sandbox() -> SandboxedWorkflowRunner:
    """The runner of every worker, tests and replays included."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*OURS, *THEIRS))


async def run(settings: Settings) -> None:
    """Works until cancelled; then finishes what it has begun, within a few seconds."""
    if settings.database_url is None:
        raise ValueError("PINGPULSE_DATABASE_URL is not set; the worker needs Postgres.")
    client = await connect(settings)
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        application_name="pingpulse worker",
    )
    try:
        async with worker_on(client, create_sessions(engine), settings) as telling:
            log.info("worker started", task_queue=settings.temporal_task_queue)
            await telling
    finally:
        await engine.dispose()


@asynccontextmanager
async def worker_on(client: Client, sessions: Sessions, settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that polls while the block runs, and the task that tells people."""
    queue = settings.temporal_task_queue
    telling = Telling(sessions, client, message_queue(queue), utc_now)
    grace = timedelta(seconds=settings.shutdown_seconds)
    async with message_activities(settings, sessions, utc_now) as messages:
        subjects = Worker(
            client,
            task_queue=queue,
            workflows=SUBJECT_WORKFLOWS,
            activities=subject_activities(sessions, utc_now, telling.wake),
            workflow_runner=sandbox(),
            graceful_shutdown_timeout=grace,
        )
        # A queue of their own: when a thousand pulses are due at once, the first message does not wait for the last.
        telling_worker = Worker(
            client,
            task_queue=message_queue(queue),
            workflows=[MessageWorkflow],
            activities=messages,
            workflow_runner=sandbox(),
            graceful_shutdown_timeout=grace,
        )
        async with subjects, telling_worker:
            task = asyncio.create_task(telling.run(), name="telling")
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
