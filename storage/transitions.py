"""Every change of status of every subject."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.transitions import Transition
from storage.base import Base


class TransitionRow(Base):
    """A change of status of a subject, or of one of the stages of an instance (`path`). Append-only."""

    __tablename__ = "transitions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    subject: Mapped[str]
    path: Mapped[str | None]
    before: Mapped[str | None]
    after: Mapped[str]
    at: Mapped[datetime]
    reason: Mapped[str | None]

    __table_args__ = (Index("ix_transitions_subject", "subject", "id"),)


def add_transitions(session: AsyncSession, subject: str, transitions: Iterable[Transition]) -> None:
    session.add_all(
        TransitionRow(
            subject=subject,
            path=transition.path,
            before=transition.before,
            after=transition.after,
            at=transition.at,
            reason=transition.reason,
        )
        for transition in transitions
    )


async def list_transitions(session: AsyncSession, subject: str) -> list[TransitionRow]:
    """All of a subject, in order."""
    query = select(TransitionRow).where(TransitionRow.subject == subject).order_by(TransitionRow.id)
    return list((await session.scalars(query)).all())
