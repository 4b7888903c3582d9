"""From deliveries to messages: what a channel is told at once, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import random_id
from storage.channels import Channel
from storage.messages import Delivery, Message
from storage.telling import NOBODY_TOLD

GROUPING: Final = timedelta(seconds=3)
"""The first alert is told at once; what comes within this time after it goes together in the next message."""

CAP_WINDOW: Final = timedelta(minutes=1)
MAX_ALERTS: Final = 1000
MAX_CHANNELS: Final = 200
"""In one transaction."""


@dataclass(frozen=True)
class FormedMessage:
    id: str
    account_id: str


@dataclass(frozen=True)
class Formed:
    """`next_at`: when there may be another one to form, as far as is known now. More may wait if any was formed."""

    messages: tuple[FormedMessage, ...] = ()
    next_at: datetime | None = None


async def form_messages(session: AsyncSession, now: datetime) -> Formed:
    """Makes one message of all that waits for a channel, for each channel that may have one now.

    Only one worker at a time does it for a channel: its row is locked, and others pass it over.
    """
    waiting = await _waiting(session)
    due = [channel_id for channel_id, may_go_at in waiting.items() if may_go_at <= now][:MAX_CHANNELS]
    next_at = min((may_go_at for may_go_at in waiting.values() if may_go_at > now), default=None)
    channels = await _lock(session, due, now) if due else []
    if not channels:
        return Formed(next_at=next_at)
    free = []
    full_until = await _full_until(session, channels, now)
    for channel in channels:
        if (until := full_until.get(channel.id)) is None:
            free.append(channel)
        else:
            channel.free_at = until
            next_at = min(next_at or until, until)
    await session.flush()
    return Formed(await _form(session, free, now) if free else (), next_at)


async def drop_good_ends(session: AsyncSession, message_id: str) -> None:
    """Nobody gets to know of the trouble that this message, which failed, was to tell: so nobody is told of its end."""
    await session.execute(_DROP_GOOD_ENDS, {"message_id": message_id, "reason": NOBODY_TOLD})


async def _waiting(session: AsyncSession) -> dict[str, datetime]:
    """By channel, when what waits for it may go."""
    first = (
        select(Delivery.channel_id, func.min(Delivery.not_before).label("not_before"))
        .where(Delivery.message_id.is_(None))
        .group_by(Delivery.channel_id)
        .subquery()
    )
    may_go_at = func.greatest(first.c.not_before, Channel.free_at)
    query = select(Channel.id, may_go_at).join(first, first.c.channel_id == Channel.id).order_by(may_go_at)
    return {row[0]: row[1] for row in await session.execute(query)}


async def _lock(session: AsyncSession, channel_ids: Sequence[str], now: datetime) -> Sequence[Channel]:
    query = (
        select(Channel)
        .where(Channel.id.in_(channel_ids), (Channel.free_at <= now) | Channel.free_at.is_(None))
        .order_by(Channel.id)
        # Not the key: whoever writes a delivery holds a shared lock on that, and the channel would be passed over.
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).all()


async def _full_until(session: AsyncSession, channels: Sequence[Channel], now: datetime) -> dict[str, datetime]:
    """Of channels that had all the messages that they may have a minute: when the first of those is a minute old."""
    query = (
        select(Message.channel_id, Message.created_at)
        .where(
            Message.channel_id.in_([channel.id for channel in channels]),
            Message.created_at > now - CAP_WINDOW,
            Message.created_at <= now,
        )
        .order_by(Message.created_at.desc())
    )
    recent: dict[str, list[datetime]] = {}
    for channel_id, created_at in await session.execute(query):
        assert channel_id is not None
        recent.setdefault(channel_id, []).append(created_at)
    caps = {channel.id: max(1, channel.messages_per_minute) for channel in channels}
    return {id_: times[caps[id_] - 1] + CAP_WINDOW for id_, times in recent.items() if len(times) >= caps[id_]}


async def _form(session: AsyncSession, channels: Sequence[Channel], now: datetime) -> tuple[FormedMessage, ...]:
    parameters = {
        "channels": [channel.id for channel in channels],
        "messages": [random_id("msg_", 12) for _ in channels],
        "now": now,
        "free_at": now + GROUPING,
        "most": MAX_ALERTS,
    }
    formed = await session.execute(_FORM, parameters)
    return tuple(FormedMessage(row.id, row.account_id) for row in formed)


_FORM: Final = text("""
WITH chosen AS (
    SELECT slot.channel_id, slot.message_id, waiting.id
    FROM unnest(CAST(:channels AS text[]), CAST(:messages AS text[])) AS slot (channel_id, message_id)
    CROSS JOIN LATERAL (
        SELECT d.id
        FROM deliveries d JOIN alerts a ON a.id = d.alert_id
        WHERE d.channel_id = slot.channel_id AND d.message_id IS NULL AND d.not_before <= :now
        -- A good end waits until its trouble has arrived: told the other way round, the trouble would seem to last.
        AND NOT (a.resolves AND EXISTS (
            SELECT FROM alerts trouble
            JOIN deliveries told ON told.alert_id = trouble.id AND told.channel_id = d.channel_id
            JOIN messages m ON m.id = told.message_id AND m.state = 'pending'
            WHERE trouble.account_id = a.account_id AND trouble.trouble = a.trouble AND NOT trouble.resolves
        ))
        ORDER BY d.id
        LIMIT :most
    ) waiting
), formed AS (
    INSERT INTO messages (id, account_id, channel_id, state, created_at)
    SELECT DISTINCT chosen.message_id, c.account_id, c.id, 'pending', CAST(:now AS timestamptz)
    FROM chosen JOIN channels c ON c.id = chosen.channel_id
    RETURNING id, account_id, channel_id
), assigned AS (
    UPDATE deliveries SET message_id = chosen.message_id, waits_for = NULL FROM chosen WHERE deliveries.id = chosen.id
), taken AS (
    UPDATE channels SET free_at = :free_at FROM formed WHERE channels.id = formed.channel_id
)
SELECT id, account_id FROM formed
""")

_DROP_GOOD_ENDS: Final = text("""
WITH failed AS (
    SELECT DISTINCT a.account_id, a.trouble, m.channel_id
    FROM messages m JOIN deliveries d ON d.message_id = m.id JOIN alerts a ON a.id = d.alert_id
    WHERE m.id = :message_id AND NOT a.resolves
), dropped AS (
    DELETE FROM deliveries d USING alerts good, failed
    WHERE d.alert_id = good.id AND d.message_id IS NULL AND d.channel_id = failed.channel_id
    AND good.account_id = failed.account_id AND good.trouble = failed.trouble AND good.resolves
    AND NOT EXISTS (
        SELECT FROM alerts trouble
        JOIN deliveries told ON told.alert_id = trouble.id AND told.channel_id = d.channel_id
        LEFT JOIN messages m ON m.id = told.message_id
        WHERE trouble.account_id = good.account_id AND trouble.trouble = good.trouble AND NOT trouble.resolves
        AND (m.id IS NULL OR m.state <> 'failed')
    )
    RETURNING d.id, d.alert_id
)
UPDATE alerts SET state = 'silent', silent_reason = :reason
FROM dropped
WHERE alerts.id = dropped.alert_id
AND NOT EXISTS (SELECT FROM deliveries d WHERE d.alert_id = alerts.id AND d.id NOT IN (SELECT id FROM dropped))
""")
