"""The latest runs of many process hooks at once."""

from collections.abc import Collection

from sqlalchemy import select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from storage.processes import ProcessHook, ProcessRun


async def latest_runs(session: AsyncSession, hook_ids: Collection[str], count: int) -> dict[str, list[ProcessRun]]:
    """By hook, its latest `count` runs, the oldest of them first."""
    latest = (
        select(ProcessRun)
        .where(ProcessRun.hook_id == ProcessHook.id)
        .order_by(ProcessRun.started_at.desc(), ProcessRun.id.desc())
        .limit(count)
        .lateral()
    )
    run = aliased(ProcessRun, latest)
    query = select(run).select_from(ProcessHook).join(run, true()).where(ProcessHook.id.in_(hook_ids))
    found: dict[str, list[ProcessRun]] = {hook_id: [] for hook_id in hook_ids}
    for one in await session.scalars(query.order_by(run.started_at, run.id)):
        found[one.hook_id].append(one)
    return found
