"""When pings of an instance could not be taken, or no verdict on them could be given."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.instances import Outage, joined
from domain.pings import Outcome
from storage.gateways import list_outages
from storage.pings import Ping

TO_SEND_AGAIN: Final = timedelta(minutes=1)
"""How long whoever was answered that no verdict could be had has for sending the ping again."""


async def list_outages_of(
    session: AsyncSession, instance_id: str, since: datetime, until: datetime
) -> tuple[Outage, ...]:
    """The times between `since` and `until` in which no gateway lived, and those after each ping that was taken back:
    gateways lived then, but Temporal or the worker did not answer. In order and apart from one another."""
    taken_back = await session.scalars(
        select(Ping.received_at).where(
            Ping.instance_id == instance_id, Ping.outcome == Outcome.WITHDRAWN, Ping.received_at.between(since, until)
        )
    )
    unanswered = (Outage(at, at + TO_SEND_AGAIN) for at in taken_back)
    return joined((*await list_outages(session, since, until), *unanswered))
