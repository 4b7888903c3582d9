"""Prices that accounts have set for themselves."""

from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Final

from sqlalchemy import ForeignKey, Index, Numeric, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.costs import Terms, zone_of
from domain.errors import Conflict
from domain.ids import random_id
from domain.prices import OwnPrice
from storage.accounts import Account
from storage.base import Base
from storage.costs import CostRollup

MAX_PRICES: Final = 1_000
"""Of an account: each of its pings with usage is held against all."""


class PriceRow(Base):
    """`domain.prices.OwnPrice` as it was set. The same model has one price from any moment."""

    __tablename__ = "prices"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    model: Mapped[str]
    input_per_million: Mapped[Decimal] = mapped_column(Numeric)
    output_per_million: Mapped[Decimal] = mapped_column(Numeric)
    cached_per_million: Mapped[Decimal | None] = mapped_column(Numeric)
    valid_from: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        Index(
            "uq_prices_account_id_model_valid_from",
            "account_id",
            text("lower(model)"),
            "valid_from",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    def own_price(self) -> OwnPrice:
        return OwnPrice(
            self.model, self.input_per_million, self.output_per_million, self.cached_per_million, self.valid_from
        )


@dataclass(frozen=True)
class Unpriced:
    """What pings have named, whose price nobody knows; None if they have named no model. `tokens` are in and out."""

    model_id: str | None
    pings: int
    tokens: int
    last_day: date


async def set_price(session: AsyncSession, account_id: str, own: OwnPrice, now: datetime) -> tuple[PriceRow, bool]:
    """Sets a price, or replaces that of the same model from the same moment; the second says whether it is new.

    Raises Conflict if the account has too many.
    """
    # One at a time, so that nobody finds that the same price was set between a look and a write.
    await session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    row = await session.scalar(
        select(PriceRow).where(
            PriceRow.account_id == account_id,
            func.lower(PriceRow.model) == func.lower(own.model),
            PriceRow.valid_from.is_not_distinct_from(own.valid_from),
        )
    )
    is_new = row is None
    if row is None:
        count = await session.scalar(select(func.count()).where(PriceRow.account_id == account_id))
        if count is not None and count >= MAX_PRICES:
            raise Conflict(
                f"An account may have {MAX_PRICES} prices; one for several models, such as gpt-4o*, will do."
            )
        row = PriceRow(id=random_id("prc_", 12), account_id=account_id)
        session.add(row)
    row.model, row.valid_from, row.created_at = own.model, own.valid_from, now
    row.input_per_million, row.output_per_million = own.input_per_million, own.output_per_million
    row.cached_per_million = own.cached_per_million
    await session.flush()
    return row, is_new


async def list_prices(session: AsyncSession, account_id: str) -> list[PriceRow]:
    """By model, the oldest price first."""
    query = select(PriceRow).where(PriceRow.account_id == account_id)
    order = (func.lower(PriceRow.model), PriceRow.valid_from.asc().nulls_first())
    return list(await session.scalars(query.order_by(*order)))


async def get_price(session: AsyncSession, price_id: str) -> PriceRow | None:
    return await session.get(PriceRow, price_id)


async def load_terms(session: AsyncSession, account_id: str) -> Terms:
    """By what the pings of an account are priced and counted from now on."""
    own = tuple(row.own_price() for row in await list_prices(session, account_id))
    return Terms(own, await account_zone(session, account_id))


async def account_zone(session: AsyncSession, account_id: str) -> tzinfo:
    name = await session.scalar(select(Account.time_zone).where(Account.id == account_id))
    return zone_of(name or "UTC")


async def list_unpriced(session: AsyncSession, account_id: str, since: date, *, limit: int) -> list[Unpriced]:
    """Of the pings that were counted on that day or later, those that came most often first."""
    pings = func.sum(CostRollup.unpriced_pings)
    query = (
        select(
            CostRollup.model_id,
            pings,
            func.sum(CostRollup.input_tokens + CostRollup.output_tokens),
            func.max(CostRollup.day),
        )
        .where(CostRollup.account_id == account_id, CostRollup.day >= since, CostRollup.unpriced_pings > 0)
        .group_by(CostRollup.model_id)
        .order_by(pings.desc(), CostRollup.model_id)
        .limit(limit)
    )
    return [Unpriced(row[0], int(row[1]), int(row[2]), row[3]) for row in await session.execute(query)]
