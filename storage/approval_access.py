"""What keeps a decision on the page from being made by anything but the approver: one-time nonces and mailed codes."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from storage.approvals import Approval
from storage.base import Base


class ApprovalNonce(Base):
    """One rendering of the page for one approver. Its row is deleted when it is used; only its hash is kept."""

    __tablename__ = "approval_nonces"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    approval_id: Mapped[str] = mapped_column(ForeignKey(Approval.id))
    voter: Mapped[str]
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_approval_nonces_expires_at", "expires_at"),)


class ApprovalCode(Base):
    """The latest code that was mailed to an approver, encrypted. `sent` counts them, `tries_left` the guesses."""

    __tablename__ = "approval_codes"

    approval_id: Mapped[str] = mapped_column(ForeignKey(Approval.id), primary_key=True)
    voter: Mapped[str] = mapped_column(primary_key=True)
    code: Mapped[bytes]
    expires_at: Mapped[datetime]
    tries_left: Mapped[int] = mapped_column(Integer)
    sent: Mapped[int] = mapped_column(Integer)
    sent_at: Mapped[datetime]
