"""Accounts: whom everything belongs to."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.ids import random_id
from storage.base import Base


class Account(Base):
    """`time_zone` is an IANA name; it is for showing times and for the days of costs, never for deadlines."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    created_at: Mapped[datetime]


async def create_account(session: AsyncSession, name: str, now: datetime, *, time_zone: str = "UTC") -> Account:
    account = Account(id=random_id("acc_", 12), name=name, time_zone=time_zone, created_at=now)
    session.add(account)
    await session.flush()
    return account


async def get_account(session: AsyncSession, account_id: str, *, lock: bool = False) -> Account:
    """`lock` holds it until the transaction ends, against others who change it. What refers to it may be written."""
    # By FOR UPDATE they could not, and some are written by those who hold a budget that we are about to lock.
    held = {"key_share": True} if lock else False
    return await session.get_one(Account, account_id, with_for_update=held, populate_existing=True)
