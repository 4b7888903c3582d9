"""Telling Temporal of every open instance again, after it was lost or restored from an older backup."""

import asyncio

from api.delivery import Temporal
from config.clock import utc_now
from config.settings import Settings
from config.temporal import connect
from domain.subjects import instance_subject
from storage.base import create_engine, create_sessions
from storage.instances import list_unclosed

CONCURRENCY = 16


async def revive(settings: Settings) -> int:
    """Signals every instance that is open or in its grace period, with no pings; returns how many there are.

    A workflow that runs takes no notice. One that is gone starts, loads itself from Postgres, and its deadlines
    count again. Without this it would start with the next ping only. Raises RPCError and what the driver raises.
    """
    assert settings.database_url is not None
    temporal = Temporal(await connect(settings), settings.temporal_task_queue)
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=1)
    try:
        async with create_sessions(engine)() as session:
            unclosed = await list_unclosed(session, utc_now())
    finally:
        await engine.dispose()
    turns = asyncio.Semaphore(CONCURRENCY)

    async def tell(workflow_id: str, instance_id: str) -> None:
        async with turns:
            await temporal.signal(instance_subject(workflow_id, instance_id), [])

    async with asyncio.TaskGroup() as group:
        for workflow_id, instance_id in unclosed:
            group.create_task(tell(workflow_id, instance_id))
    return len(unclosed)
