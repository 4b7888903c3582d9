"""Channels: where people are told, and what is attached to which."""

from collections.abc import Collection, Iterable
from datetime import datetime, time
from typing import Any

from sqlalchemy import ForeignKey, Index, delete, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.alerts import Severity
from domain.channels import QuietHours, Routing
from domain.errors import InvalidRequest
from storage.accounts import Account
from storage.base import Base


class Channel(Base):
    """A place where people are told. `address` is a URL or an e-mail address, encrypted because it may hold a secret.

    `shown_address` is the same, masked. Webhooks are signed with `signing_secret` and, until `old_secret_until`, also
    with `old_signing_secret`; both are encrypted. `free_at` is when it may have its next message.
    """

    __tablename__ = "channels"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    kind: Mapped[str]
    name: Mapped[str]
    address: Mapped[bytes]
    shown_address: Mapped[str]
    signing_secret: Mapped[bytes | None]
    old_signing_secret: Mapped[bytes | None]
    old_secret_until: Mapped[datetime | None]
    is_default: Mapped[bool]
    severity: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSONB)
    quiet_hours: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    messages_per_minute: Mapped[int]
    free_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_channels_account_id_created_at", "account_id", "created_at", "id"),)

    def routing(self) -> Routing:
        return Routing(Severity(self.severity), frozenset(self.tags))

    def quiet(self) -> QuietHours | None:
        """Its quiet hours; kept as `{"start": "22:00", "end": "07:00", "timezone": …, "severity": …}`."""
        if self.quiet_hours is None:
            return None
        return QuietHours(
            time.fromisoformat(self.quiet_hours["start"]),
            time.fromisoformat(self.quiet_hours["end"]),
            self.quiet_hours["timezone"],
            Severity(self.quiet_hours["severity"]),
        )


class Attachment(Base):
    """A channel that is told of a source's alerts, in place of the account's default channels.

    `source` is as in `domain.subjects`: `workflow/<id>`, `pulse/<id>`, `process/<hook>`.
    """

    __tablename__ = "attachments"

    source: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey(Channel.id, ondelete="CASCADE"), primary_key=True)


async def get_channel(session: AsyncSession, channel_id: str, *, lock: bool = False) -> Channel | None:
    """The channel, unless it was deleted; `lock` holds it until the transaction ends."""
    channel = await session.get(Channel, channel_id, with_for_update=lock)
    return channel if channel is not None and channel.deleted_at is None else None


async def list_channels(
    session: AsyncSession, account_id: str, *, limit: int, before: tuple[datetime, str] | None
) -> list[Channel]:
    """Newest first; `before` is the creation time and id of the last one of the page before."""
    query = (
        select(Channel)
        .where(Channel.account_id == account_id, Channel.deleted_at.is_(None))
        .order_by(Channel.created_at.desc(), Channel.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(tuple_(Channel.created_at, Channel.id) < before)
    return list((await session.scalars(query)).all())


async def delete_channel(session: AsyncSession, channel: Channel, now: datetime) -> None:
    """Its row stays, because deliveries refer to it, but without its secrets."""
    channel.deleted_at = channel.updated_at = now
    channel.is_default = False
    channel.address, channel.signing_secret, channel.old_signing_secret = b"", None, None
    await session.flush()
    await session.execute(delete(Attachment).where(Attachment.channel_id == channel.id))


async def find_channels(session: AsyncSession, account_id: str, channel_ids: Iterable[str]) -> list[Channel]:
    """All of them, once each. Raises InvalidRequest naming those that the account does not have.

    They are locked, so that nobody deletes one of them before the transaction ends.
    """
    wanted = set(channel_ids)
    if not wanted:
        return []
    query = select(Channel).where(
        Channel.id.in_(wanted), Channel.account_id == account_id, Channel.deleted_at.is_(None)
    )
    found = list(await session.scalars(query.order_by(Channel.id).with_for_update(read=True)))
    if unknown := wanted - {channel.id for channel in found}:
        raise InvalidRequest.of_field(
            "channels", f"there is no channel {', '.join(sorted(unknown))}; GET /api/channels lists yours"
        )
    return found


async def attach(session: AsyncSession, account_id: str, source: str, channel_ids: Iterable[str]) -> None:
    """Makes these all the channels of a source. Raises InvalidRequest naming those that the account does not have."""
    ids = [channel.id for channel in await find_channels(session, account_id, channel_ids)]
    await session.execute(delete(Attachment).where(Attachment.source == source, Attachment.channel_id.not_in(ids)))
    if ids:
        rows = [{"source": source, "channel_id": channel_id} for channel_id in ids]
        await session.execute(insert(Attachment).values(rows).on_conflict_do_nothing())


async def attached(session: AsyncSession, sources: Collection[str]) -> dict[str, list[str]]:
    """The channels of each source, by id; none for a source that uses the account's default ones."""
    channels: dict[str, list[str]] = {source: [] for source in sources}
    if channels:
        query = select(Attachment).where(Attachment.source.in_(channels)).order_by(Attachment.channel_id)
        for attachment in await session.scalars(query):
            channels[attachment.source].append(attachment.channel_id)
    return channels
