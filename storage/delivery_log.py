"""What channels were told: of one channel every message with its attempts, and of one trouble all its alerts."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.subjects import PROCESS, PULSE, parts_of
from storage.alerts import AlertRow
from storage.channels import Attachment
from storage.messages import Attempt, Delivery, Message
from storage.processes import ProcessHook
from storage.pulses import Pulse
from storage.workflows import Workflow

MAX_ALERTS: int = 20
"""Of a message, that are named."""


@dataclass(frozen=True)
class SentMessage:
    """A message to a channel: what it tells, the newest first and `MAX_ALERTS` at most, of `total`."""

    message: Message
    alerts: tuple[AlertRow, ...]
    total: int
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class Standing:
    """How the last attempt to reach a channel went, if there was any."""

    outcome: str
    at: datetime
    detail: str | None


@dataclass(frozen=True)
class WaitingDeliveries:
    """What a channel is still to be told of: how much, from when on at the earliest, and what it waits for."""

    count: int
    not_before: datetime | None
    waits_for: str | None


@dataclass(frozen=True)
class AttachedSource:
    """What tells a channel in place of the account's default ones; `name` is None for what is not there any more."""

    source: str
    name: str | None


async def list_trouble(session: AsyncSession, alert: AlertRow, *, limit: int) -> list[AlertRow]:
    """All alerts of the same trouble, in their order."""
    query = select(AlertRow).where(AlertRow.account_id == alert.account_id, AlertRow.trouble == alert.trouble)
    newest = list(await session.scalars(query.order_by(AlertRow.at.desc(), AlertRow.id.desc()).limit(limit)))
    return newest[::-1]


async def list_messages(
    session: AsyncSession, channel_id: str, *, limit: int, before: tuple[datetime, str] | None = None
) -> list[SentMessage]:
    """The newest first; `before` is the creation time and id of the last one of the page before."""
    query = select(Message).where(Message.channel_id == channel_id)
    if before is not None:
        query = query.where(tuple_(Message.created_at, Message.id) < before)
    messages = list(await session.scalars(query.order_by(Message.created_at.desc(), Message.id.desc()).limit(limit)))
    attempts: dict[str, list[Attempt]] = {message.id: [] for message in messages}
    alerts: dict[str, list[AlertRow]] = {message.id: [] for message in messages}
    totals = dict.fromkeys(attempts, 0)
    if not messages:
        return []
    for attempt in await session.scalars(select(Attempt).where(Attempt.message_id.in_(attempts)).order_by(Attempt.id)):
        attempts[attempt.message_id].append(attempt)
    place = func.row_number().over(partition_by=Delivery.message_id, order_by=Delivery.id)
    total = func.count().over(partition_by=Delivery.message_id)
    told = (
        select(Delivery.message_id, Delivery.alert_id, place.label("place"), total.label("total"))
        .where(Delivery.message_id.in_(attempts))
        .subquery()
    )
    rows = await session.execute(
        select(told.c.message_id, told.c.total, AlertRow)
        .join(AlertRow, AlertRow.id == told.c.alert_id)
        .where(told.c.place <= MAX_ALERTS)
        .order_by(told.c.place)
    )
    for message_id, count, alert in rows:
        alerts[message_id].append(alert)
        totals[message_id] = count
    return [
        SentMessage(message, tuple(alerts[message.id]), totals[message.id], tuple(attempts[message.id]))
        for message in messages
    ]


async def last_attempts(session: AsyncSession, channel_ids: Collection[str]) -> dict[str, Standing]:
    """By channel, of those that anything was ever sent to."""
    standings = {}
    for channel_id in channel_ids:
        query = (
            select(Attempt.outcome, Attempt.at, Attempt.detail)
            .join(Message, Message.id == Attempt.message_id)
            .where(Message.channel_id == channel_id)
            .order_by(Message.created_at.desc(), Attempt.id.desc())
            .limit(1)
        )
        if (found := (await session.execute(query)).first()) is not None:
            standings[channel_id] = Standing(found[0], found[1], found[2])
    return standings


async def read_waiting(session: AsyncSession, channel_id: str) -> WaitingDeliveries:
    query = select(func.count(), func.min(Delivery.not_before), func.min(Delivery.waits_for)).where(
        Delivery.channel_id == channel_id, Delivery.message_id.is_(None)
    )
    count, not_before, waits_for = (await session.execute(query)).one()
    return WaitingDeliveries(count, not_before, waits_for)


async def list_attached(session: AsyncSession, channel_id: str) -> list[AttachedSource]:
    """The sources that a channel is attached to, by their names."""
    query = select(Attachment.source).where(Attachment.channel_id == channel_id).order_by(Attachment.source)
    sources = list(await session.scalars(query))
    names: dict[str, str] = {}
    for kind, table in (("workflow", Workflow), (PULSE, Pulse), (PROCESS, ProcessHook)):
        ids = {parts_of(source)[1] for source in sources if parts_of(source)[0] == kind}
        if ids:
            rows = await session.execute(select(table.id, table.name).where(table.id.in_(ids)))
            names |= {f"{kind}/{row[0]}": row[1] or row[0] for row in rows}
    return [AttachedSource(source, names.get(source)) for source in sources]
