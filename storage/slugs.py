"""Slugs of what users define: each is taken once in an account, until what has it is deleted."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from storage.processes import ProcessHook
from storage.pulses import Pulse
from storage.workflows import Workflow

Sluggable = type[Workflow] | type[Pulse] | type[ProcessHook]


async def slug_is_taken(
    session: AsyncSession, table: Sluggable, account_id: str, slug: str, *, other_than: str | None = None
) -> bool:
    """By anything but the one with the id `other_than`."""
    query = select(table.id).where(table.account_id == account_id, table.slug == slug, table.deleted_at.is_(None))
    return (await session.scalar(query)) not in (None, other_than)
