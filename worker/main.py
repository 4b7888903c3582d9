"""The worker process: polls Temporal and runs our workflows and their activities."""

import asyncio
from datetime import timedelta

import structlog
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.instances import InstanceActivities
from config.clock import utc_now
from config.settings import Settings
from config.temporal import connect
from storage.base import create_engine, create_sessions
from temporal_workflows.registry import WORKFLOWS

log = structlog.get_logger(__name__)

# Our own modules hold no state, and importing them anew for each of thousands of workflows costs 20 ms each.
PASSED_THROUGH = ("domain", "activities", "storage", "temporal_workflows", "sqlalchemy", "orjson")


def sandbox() -> SandboxedWorkflowRunner:
    """The runner of every worker, tests and replays included."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))


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
    instances = InstanceActivities(create_sessions(engine), utc_now)
    worker = Worker(
        client,
        task_queue=settings.temporal_task_queue,
        workflows=WORKFLOWS,
        activities=[instances.load_instance, instances.record, instances.confirm_silence],
        workflow_runner=sandbox(),
        graceful_shutdown_timeout=timedelta(seconds=settings.shutdown_seconds),
    )
    try:
        async with worker:
            log.info("worker started", task_queue=settings.temporal_task_queue)
            await asyncio.Event().wait()
    finally:
        await engine.dispose()
