"""Telling Temporal again of everything it has to follow, after it was lost or restored from an older backup."""

import asyncio

from api.delivery import Temporal
from config.clock import utc_now
from config.settings import Settings
from config.temporal import connect
from domain.subjects import instance_subject, pulse_subject, run_subject
from storage.approvals import list_pending
from storage.base import create_engine, create_sessions
from storage.instances import list_unclosed
from storage.messages import hand_over_again
from storage.process_runs import list_awaited
from storage.pulses import list_expected
from temporal_workflows.approval import ApprovalEvent

CONCURRENCY = 16


async def revive(settings: Settings) -> int:
    """Signals every instance that is open or in its grace period, every pulse that was pinged or is awaited,
    every run that is awaited and every approval that is pending, with no news; returns how many there are.

    A workflow that runs takes no notice. One that is gone starts, loads itself from Postgres, and its deadlines
    count again. Without this it would start with the next ping only. Messages that were not sent yet are handed over
    again by the workers. Raises RPCError and what the driver raises.
    """
    assert settings.database_url is not None
    temporal = Temporal(await connect(settings), settings.temporal_task_queue)
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=1)
    try:
        async with create_sessions(engine)() as session:
            subjects = [
                *(instance_subject(*ids) for ids in await list_unclosed(session, utc_now())),
                *(pulse_subject(pulse_id) for pulse_id in await list_expected(session)),
                *(run_subject(*ids) for ids in await list_awaited(session, utc_now())),
            ]
            approvals = await list_pending(session)
        async with create_sessions(engine).begin() as session:
            await hand_over_again(session)
    finally:
        await engine.dispose()
    turns = asyncio.Semaphore(CONCURRENCY)

    async def tell(subject: str) -> None:
        async with turns:
            await temporal.signal(subject, [])

    async def tell_of_approval(approval_id: str) -> None:
        async with turns:
            await temporal.tell_of_approval(approval_id, ApprovalEvent("noticed"))

    async with asyncio.TaskGroup() as group:
        for subject in subjects:
            group.create_task(tell(subject))
        for approval_id in approvals:
            group.create_task(tell_of_approval(approval_id))
    return len(subjects) + len(approvals)
