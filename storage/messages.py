"""Messages: what a channel is told at once, and every attempt to deliver it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.alerts import CHANNEL_TEST
from domain.errors import Conflict
from domain.ids import random_id
from domain.letters import LetterTopic
from storage.alerts import AlertRow
from storage.approvals import Approval
from storage.base import Base
from storage.channels import Channel
from storage.invitations import Invitation

OVERDUE: Final = timedelta(seconds=60)
"""An alert that nobody has looked at for this long is stuck."""


class Message(Base):
    """One message: to a channel, with one alert or many; or a letter about an approval or an invitation. `state` is
    `pending`, `sent`, `failed`, or `dropped`: a letter that nobody needed any more.

    A letter has an `approval_id` or an `invitation_id`, and a `topic`, in place of a channel, and a `recipient` if it
    is a mail (see `domain.letters`). `handed_over_at` is when Temporal was asked to send it; until then it is asked
    again and again.
    """

    __tablename__ = "messages"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    channel_id: Mapped[str | None] = mapped_column(ForeignKey(Channel.id))
    approval_id: Mapped[str | None] = mapped_column(ForeignKey(Approval.id))
    invitation_id: Mapped[str | None] = mapped_column(ForeignKey(Invitation.id))
    topic: Mapped[str | None]
    recipient: Mapped[str | None]
    state: Mapped[str]
    created_at: Mapped[datetime]
    handed_over_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "num_nonnulls(channel_id, approval_id, invitation_id) = 1 AND (channel_id IS NULL) = (topic IS NOT NULL)",
            name="addressee",
        ),
        Index("ix_messages_channel_id_created_at", "channel_id", "created_at"),
        Index("ix_messages_approval_id", "approval_id", postgresql_where="approval_id IS NOT NULL"),
        Index("ix_messages_invitation_id", "invitation_id", postgresql_where="invitation_id IS NOT NULL"),
        Index(
            "ix_messages_not_handed_over",
            "created_at",
            postgresql_where="state = 'pending' AND handed_over_at IS NULL",
        ),
    )


class Delivery(Base):
    """That a channel is told of an alert. `message_id` is null while it waits, until `not_before` at least."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey(AlertRow.id))
    channel_id: Mapped[str] = mapped_column(ForeignKey(Channel.id))
    message_id: Mapped[str | None] = mapped_column(ForeignKey(Message.id))
    not_before: Mapped[datetime]
    waits_for: Mapped[str | None]

    __table_args__ = (
        Index("ix_deliveries_waiting", "channel_id", "not_before", postgresql_where="message_id IS NULL"),
        Index("ix_deliveries_alert_id", "alert_id"),
        Index("ix_deliveries_message_id", "message_id"),
    )


class Attempt(Base):
    """One attempt to deliver a message. `outcome` is `sent`, `retry` (another follows), or `failed` or `dropped`
    (none does)."""

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey(Message.id))
    number: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime]
    took_ms: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str]
    status_code: Mapped[int | None] = mapped_column(Integer)
    detail: Mapped[str | None]
    next_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_attempts_message_id", "message_id", "id"),)


@dataclass(frozen=True)
class DeliveryLog:
    """What became of an alert on one channel.

    `message` is None while it waits, which it does until `waits_until` at least; `attempts` are in order.
    """

    delivery: Delivery
    channel: Channel
    message: Message | None
    attempts: tuple[Attempt, ...]
    waits_until: datetime | None


async def list_deliveries(session: AsyncSession, alert_id: str) -> list[DeliveryLog]:
    """All channels that are told of an alert, in the order in which that was decided."""
    query = (
        select(Delivery, Channel, Message)
        .join(Channel, Channel.id == Delivery.channel_id)
        .outerjoin(Message, Message.id == Delivery.message_id)
        .where(Delivery.alert_id == alert_id)
        .order_by(Delivery.id)
    )
    found = (await session.execute(query)).all()
    attempts: dict[str, list[Attempt]] = {message.id: [] for _, _, message in found if message is not None}
    tried = select(Attempt).where(Attempt.message_id.in_(attempts)).order_by(Attempt.id)
    for attempt in await session.scalars(tried):
        attempts[attempt.message_id].append(attempt)
    return [
        DeliveryLog(
            delivery,
            channel,
            message,
            tuple(attempts[message.id]) if message is not None else (),
            max(delivery.not_before, channel.free_at or delivery.not_before) if message is None else None,
        )
        for delivery, channel, message in found
    ]


async def load_message(session: AsyncSession, message_id: str) -> tuple[Message, Channel | None] | None:
    """A message with its channel; a letter has none."""
    query = (
        select(Message, Channel).outerjoin(Channel, Channel.id == Message.channel_id).where(Message.id == message_id)
    )
    found = (await session.execute(query)).first()
    return None if found is None else (found[0], found[1])


def write_letter(
    session: AsyncSession, approval: Approval, topic: LetterTopic, now: datetime, recipient: str | None = None
) -> None:
    """A letter about an approval, to be sent at once; without a `recipient` it goes to the approval's callback URL."""
    session.add(
        Message(
            id=random_id("msg_", 12),
            account_id=approval.account_id,
            approval_id=approval.id,
            topic=topic.value,
            recipient=recipient,
            state="pending",
            created_at=now,
        )
    )


def write_invitation(session: AsyncSession, invitation: Invitation, now: datetime) -> None:
    """The mail with the link to accept it, to be sent at once. The invitation must be in the database already."""
    session.add(
        Message(
            id=random_id("msg_", 12),
            account_id=invitation.account_id,
            invitation_id=invitation.id,
            topic=LetterTopic.INVITATION.value,
            recipient=invitation.email,
            state="pending",
            created_at=now,
        )
    )


async def alerts_of(session: AsyncSession, message_id: str) -> list[AlertRow]:
    """What a message tells, in the order in which it happened."""
    query = (
        select(AlertRow)
        .where(AlertRow.id.in_(select(Delivery.alert_id).where(Delivery.message_id == message_id)))
        .order_by(AlertRow.at, AlertRow.resolves, AlertRow.id)
    )
    return list((await session.scalars(query)).all())


async def count_attempts(session: AsyncSession, message_id: str) -> int:
    """The number of the last recorded one; one that nobody lived to record counts if another followed it."""
    last = await session.scalar(select(func.max(Attempt.number)).where(Attempt.message_id == message_id))
    return last or 0


async def finish_message(session: AsyncSession, message_id: str, state: str, now: datetime) -> bool:
    """Makes a pending message `sent`, `failed` or `dropped`; False if it is finished already."""
    finish = (
        update(Message)
        .where(Message.id == message_id, Message.state == "pending")
        .values(state=state, finished_at=now)
        .returning(Message.id)
    )
    return (await session.execute(finish)).first() is not None


async def list_not_handed_over(session: AsyncSession, *, limit: int) -> list[tuple[str, str]]:
    """Ids and accounts of the messages that Temporal does not know of, as far as we know; oldest first."""
    query = (
        select(Message.id, Message.account_id)
        .where(Message.state == "pending", Message.handed_over_at.is_(None))
        .order_by(Message.created_at)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in await session.execute(query)]


async def mark_handed_over(session: AsyncSession, message_ids: Sequence[str], now: datetime) -> None:
    await session.execute(
        update(Message).where(Message.id.in_(message_ids), Message.handed_over_at.is_(None)).values(handed_over_at=now)
    )


async def hand_over_again(session: AsyncSession) -> int:
    """For a Temporal that has forgotten its workflows: it is asked once more to send all that is pending.

    Harmless if it has not: a message that it knows, it does not take twice. Returns the number of messages.
    """
    again = (
        update(Message)
        .where(Message.state == "pending", Message.handed_over_at.is_not(None))
        .values(handed_over_at=None)
        .returning(Message.id)
    )
    return len((await session.execute(again)).all())


async def redeliver(
    session: AsyncSession, alert: AlertRow, channels: Sequence[Channel] | None, now: datetime
) -> list[str]:
    """Tells an alert again, alone and at once, whatever the channels want; returns the ids of the messages.

    Without `channels` those that it was for before. Raises Conflict if there are none.
    """
    if channels is None:
        query = select(Channel).where(
            Channel.id.in_(select(Delivery.channel_id).where(Delivery.alert_id == alert.id)),
            Channel.deleted_at.is_(None),
        )
        channels = (await session.scalars(query)).all()
    if not channels:
        raise Conflict("Nobody was to be told of this alert, or the channels are deleted. Name channels to tell.")
    # Silent or held until now; a new one is still to be routed to its own channels.
    if alert.state in ("silent", "held"):
        alert.state, alert.silent_reason, alert.settles_at = "told", None, None
    return [await _tell_at_once(session, alert.id, channel, now) for channel in channels]


async def test_message(session: AsyncSession, channel: Channel, now: datetime) -> str:
    """A message by which people see that a channel works; returns its id."""
    alert_id, source = random_id("alr_", 12), f"channel/{channel.id}"
    session.add(
        AlertRow(
            id=alert_id,
            account_id=channel.account_id,
            source=source,
            subject=source,
            kind=CHANNEL_TEST.name,
            severity=CHANNEL_TEST.severity.value,
            resolves=CHANNEL_TEST.resolves,
            name=channel.name,
            title=f"This is a test of the channel {channel.name}",
            reason="If you can read this, alerts will reach you here.",
            trouble=f"{source}/{alert_id}",
            dedupe_key=f"{source}/{alert_id}",
            tags=[],
            depends_on=[],
            data={},
            at=now,
            created_at=now,
            state="told",
            repeats=0,
        )
    )
    await session.flush()
    return await _tell_at_once(session, alert_id, channel, now)


async def _tell_at_once(session: AsyncSession, alert_id: str, channel: Channel, now: datetime) -> str:
    """A message of its own. What waits for this channel goes with it, so that it is not told twice."""
    message_id = random_id("msg_", 12)
    session.add(
        Message(id=message_id, account_id=channel.account_id, channel_id=channel.id, state="pending", created_at=now)
    )
    await session.flush()
    waiting = (
        update(Delivery)
        .where(Delivery.alert_id == alert_id, Delivery.channel_id == channel.id, Delivery.message_id.is_(None))
        .values(message_id=message_id, waits_for=None)
        .returning(Delivery.id)
    )
    if (await session.execute(waiting)).first() is None:
        session.add(Delivery(alert_id=alert_id, channel_id=channel.id, message_id=message_id, not_before=now))
        await session.flush()
    return message_id


@dataclass(frozen=True)
class TellingStands:
    """`overdue` alerts should have been told by now and are not even on their way; `pending` messages are, or are
    tried again; `failed` ones of the last day were given up."""

    overdue: float
    oldest_seconds: float
    pending: float
    failed: float


async def telling_stands(session: AsyncSession, now: datetime) -> TellingStands:
    """How well people are told, for whoever looks after it."""
    late = select(func.count(), func.min(AlertRow.created_at)).where(
        AlertRow.state == "new", AlertRow.created_at < now - OVERDUE
    )
    overdue, oldest = (await session.execute(late)).one()
    by_state = (
        select(Message.state, func.count())
        .where((Message.state == "pending") | (Message.finished_at > now - timedelta(days=1)))
        .group_by(Message.state)
    )
    counts = {row[0]: row[1] for row in await session.execute(by_state)}
    waited = (now - oldest).total_seconds() if oldest is not None else 0.0
    return TellingStands(overdue, waited, counts.get("pending", 0), counts.get("failed", 0))
