"""What pings cost, summed up while they are kept: by day, by instance and by workflow."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

from sqlalchemy import BigInteger, Index, LargeBinary, Numeric, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from storage.base import Base


class CostRollup(Base):
    """The accepted pings of one day that say anything of costs and have everything below in common.

    Days are those of the account's time zone. What is named below may be long, and all of it together too long for
    an index: `key` is its hash. A ping of a pulse or of a process hook has neither workflow nor stage.
    `cost_usd` is None if none of the pings is priced; tokens are counted as far as they are known.
    """

    __tablename__ = "cost_rollups"

    account_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    workflow_id: Mapped[str | None]
    model_id: Mapped[str | None]
    agent: Mapped[str | None]
    stage_path: Mapped[str | None]
    pings: Mapped[int] = mapped_column(BigInteger)
    unpriced_pings: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    cache_write_tokens: Mapped[int] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric)


class InstanceCost(Base):
    """The same pings of one instance on one day."""

    __tablename__ = "instance_costs"

    instance_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    workflow_id: Mapped[str]
    pings: Mapped[int] = mapped_column(BigInteger)
    unpriced_pings: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric)

    __table_args__ = (Index("ix_instance_costs_workflow_id_day", "workflow_id", "day"),)


class WorkflowDayCost(Base):
    """The same pings of all instances of one workflow on one day."""

    __tablename__ = "workflow_costs"

    workflow_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric)


TOKENS: Final = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")

COUNTED_COLUMNS: Final = (
    *("outcome", "account_id", "workflow_id", "instance_id", "model_id", "agent", "path"),
    *("cost_source", "cost_day", "cost_usd", *TOKENS),
)
"""What `counted` wants to know of a ping."""

_COUNTS: Final = "count(*) AS pings, count(*) FILTER (WHERE cost_source = 'unpriced') AS unpriced_pings"
_ADDED_COUNTS: Final = (
    "pings = known.pings + excluded.pings, unpriced_pings = known.unpriced_pings + excluded.unpriced_pings"
)
_ADDED_COST: Final = "cost_usd = coalesce(known.cost_usd + excluded.cost_usd, known.cost_usd, excluded.cost_usd)"


def counted(source: str) -> str:
    """Adds the pings of the table `source`, which has COUNTED_COLUMNS, to the sums: a part of a WITH.

    The rows of a table are written in the order of their keys and the tables in this order, by everybody and as the
    last thing that a transaction locks. So those who wait for one another's rows wait in one direction only.
    """
    names = ", ".join(TOKENS)
    summed = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in TOKENS)
    added = ", ".join(f"{name} = known.{name} + excluded.{name}" for name in TOKENS)
    return f"""costly AS (
    SELECT *, CASE WHEN workflow_id IS NOT NULL THEN path END AS stage_path FROM {source}
    WHERE outcome = 'accepted' AND cost_source IS NOT NULL
), counted AS (
    INSERT INTO cost_rollups AS known (
        account_id, day, key, workflow_id, model_id, agent, stage_path, pings, unpriced_pings, {names}, cost_usd
    )
    SELECT
        account_id, cost_day,
        sha256(convert_to(jsonb_build_array(workflow_id, model_id, agent, stage_path)::text, 'UTF8')) AS key,
        workflow_id, model_id, agent, stage_path, {_COUNTS}, {summed}, sum(cost_usd)
    FROM costly
    GROUP BY account_id, cost_day, workflow_id, model_id, agent, stage_path
    ORDER BY account_id, cost_day, key
    ON CONFLICT (account_id, day, key) DO UPDATE SET {_ADDED_COUNTS}, {added}, {_ADDED_COST}
), counted_instances AS (
    INSERT INTO instance_costs AS known (instance_id, day, workflow_id, pings, unpriced_pings, cost_usd)
    SELECT instance_id, cost_day, workflow_id, {_COUNTS}, sum(cost_usd)
    FROM costly WHERE instance_id IS NOT NULL
    GROUP BY instance_id, cost_day, workflow_id
    ORDER BY instance_id, cost_day
    ON CONFLICT (instance_id, day) DO UPDATE SET {_ADDED_COUNTS}, {_ADDED_COST}
), counted_workflows AS (
    INSERT INTO workflow_costs AS known (workflow_id, day, cost_usd)
    SELECT workflow_id, cost_day, sum(cost_usd)
    FROM costly WHERE workflow_id IS NOT NULL
    GROUP BY workflow_id, cost_day
    ORDER BY workflow_id, cost_day
    ON CONFLICT (workflow_id, day) DO UPDATE SET {_ADDED_COST}
)"""


_COUNT = text(f"""
WITH accepted AS (SELECT {", ".join(COUNTED_COLUMNS)} FROM pings WHERE id = ANY(:ping_ids) AND NOT inherited),
{counted("accepted")}
SELECT
""")


async def count_costs(session: AsyncSession, ping_ids: Sequence[int]) -> None:
    """Adds pings that were accepted in this transaction, after they were journaled. Nothing else may be locked in it
    afterwards."""
    if ping_ids:
        await session.execute(_COUNT, {"ping_ids": list(ping_ids)})
