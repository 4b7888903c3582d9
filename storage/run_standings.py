"""How the runs of each workflow whose runs are reported stand, for the alerts of them."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.evaluation import Change
from domain.run_alerts import RunStanding, standing_after
from storage.alerts import raise_alerts
from storage.base import Base
from storage.instances import Instance


class RunStandingRow(Base):
    """See `domain.run_alerts.RunStanding`.

    No foreign key: whoever opens instances locks their workflow first, and this is written behind an instance.
    """

    __tablename__ = "run_standings"

    workflow_id: Mapped[str] = mapped_column(primary_key=True)
    failing_since: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]


async def raise_end_of_run(session: AsyncSession, row: Instance, change: Change, now: datetime) -> int:
    """Takes a change of a reported run into account, and raises its alerts; returns how many.

    The standing is held until the transaction ends: of two runs that end at once, one comes after the other.
    """
    await session.execute(insert(RunStandingRow).values(workflow_id=row.workflow_id).on_conflict_do_nothing())
    query = select(RunStandingRow).where(RunStandingRow.workflow_id == row.workflow_id).with_for_update()
    kept = (await session.scalars(query.execution_options(populate_existing=True))).one()
    before = RunStanding(kept.failing_since, kept.failed_at, kept.succeeded_at)
    after, alerts = standing_after(row.rules(), change, before, row.external_id)
    kept.failing_since, kept.failed_at, kept.succeeded_at = after.failing_since, after.failed_at, after.succeeded_at
    return await raise_alerts(session, alerts, now)


async def list_run_standings(session: AsyncSession, workflow_ids: Collection[str]) -> dict[str, RunStanding]:
    """By workflow; those without a recorded run are left out."""
    rows = await session.scalars(select(RunStandingRow).where(RunStandingRow.workflow_id.in_(workflow_ids)))
    return {row.workflow_id: RunStanding(row.failing_since, row.failed_at, row.succeeded_at) for row in rows}


async def forget_run_standing(session: AsyncSession, workflow_id: str) -> None:
    await session.execute(delete(RunStandingRow).where(RunStandingRow.workflow_id == workflow_id))
