"""Pings that Temporal has not been told of yet.

`wants_verdict` is also the token for a verdict: whoever clears it decides. The workflow clears it when it records a
verdict, the gateway when it withdraws the ping because no verdict came in time; one of the two gets it. An accepted
ping stays until Temporal has it: an update is in Temporal's memory alone until the workflow has answered it.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, ColumnElement, Index, delete, false, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from storage.base import Base


class OutboxRow(Base):
    """One undelivered ping. `gateway_id` is the gateway whose order it is delivered in.

    `is_judged`: it was accepted, so its workflow has taken it in, but perhaps Temporal forgets that.
    """

    __tablename__ = "outbox"

    ping_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    gateway_id: Mapped[int] = mapped_column(BigInteger)
    subject: Mapped[str]
    wants_verdict: Mapped[bool]
    is_judged: Mapped[bool] = mapped_column(default=False, server_default=false())

    __table_args__ = (
        Index("ix_outbox_gateway_id_ping_id", "gateway_id", "ping_id"),
        Index("ix_outbox_subject", "subject"),
        # Rows live for a second: vacuum by count, not by share of the table.
        {"postgresql_with": {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10000}},
    )


_DELETE = text("DELETE FROM outbox WHERE ping_id = ANY(:ping_ids)")


async def delete_delivered(session: AsyncSession, ping_ids: Sequence[int]) -> None:
    """Forgets rows. One array parameter: as many parameters as pings would take longer than the deletion.

    The commit must wait for the disk: a row that a crash of Postgres brought back, its gateway would not know of,
    and it would stand in the way of its subject's deadlines for ever.
    """
    await session.execute(_DELETE, {"ping_ids": list(ping_ids)})


async def take_token(session: AsyncSession, ping_id: int) -> bool:
    """Deletes the row of a ping that waits for its verdict; False if that was given, or the ping withdrawn."""
    token = delete(OutboxRow).where(OutboxRow.ping_id == ping_id, OutboxRow.wants_verdict)
    taken = await session.execute(token.returning(OutboxRow.ping_id))
    return taken.first() is not None


async def has_undelivered(session: AsyncSession, subject: str) -> bool:
    query = select(OutboxRow.ping_id).where(OutboxRow.subject == subject).limit(1)
    return await session.scalar(query) is not None


async def lowest_undelivered(session: AsyncSession, subject: str) -> dict[int, int]:
    """By gateway, the first ping of the subject that its workflow has not taken in."""
    return await _lowest(session, OutboxRow.subject == subject, OutboxRow.is_judged.is_(False))


async def lowest_undecided(session: AsyncSession, subject: str) -> dict[int, int]:
    """By gateway, the first ping of the subject that waits for its verdict."""
    return await _lowest(session, OutboxRow.subject == subject, OutboxRow.wants_verdict.is_(True))


async def _lowest(session: AsyncSession, *conditions: ColumnElement[bool]) -> dict[int, int]:
    query = select(OutboxRow.gateway_id, func.min(OutboxRow.ping_id)).where(*conditions).group_by(OutboxRow.gateway_id)
    return {row[0]: row[1] for row in await session.execute(query)}
