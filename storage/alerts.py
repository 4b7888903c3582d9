"""Alerts: what is worth telling, written in the transaction of the status that it tells of."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Index, Integer, select, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.alerts import Alert, Severity
from domain.ids import random_id
from domain.messages import ToldAlert
from storage.base import Base


class AlertRow(Base):
    """One alert. `state` is `new` until it was routed to channels, then `told`; `held` while something it depends on
    is down; `silent` if nobody is told, for `silent_reason`. `repeats` counts further alerts with the same key.

    `settles_at` is set once nothing that a held one depends on is down any more: it is told then, unless its trouble
    ends before.
    """

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    source: Mapped[str]
    subject: Mapped[str]
    kind: Mapped[str]
    severity: Mapped[str]
    resolves: Mapped[bool] = mapped_column(Boolean)
    name: Mapped[str]
    title: Mapped[str]
    reason: Mapped[str | None]
    trouble: Mapped[str]
    dedupe_key: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSONB)
    depends_on: Mapped[list[str]] = mapped_column(JSONB)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime]
    created_at: Mapped[datetime]
    state: Mapped[str]
    silent_reason: Mapped[str | None]
    settles_at: Mapped[datetime | None]
    repeats: Mapped[int] = mapped_column(Integer, default=0)

    __table_args__ = (
        Index("uq_alerts_account_id_dedupe_key", "account_id", "dedupe_key", unique=True),
        Index("ix_alerts_account_id_created_at", "account_id", "created_at", "id"),
        Index("ix_alerts_trouble", "account_id", "trouble"),
        Index("ix_alerts_subject", "subject", "at"),
        Index("ix_alerts_unrouted", "state", "created_at", postgresql_where="state IN ('new', 'held')"),
    )


def alert_rows(alerts: Iterable[Alert], now: datetime) -> list[dict[str, Any]]:
    """Alerts as values of the table's columns; those with the same key as one that repeats."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for alert in alerts:
        key = (alert.account_id, alert.dedupe_key)
        if key in rows:
            rows[key]["repeats"] += 1
            continue
        rows[key] = {
            "id": random_id("alr_", 12),
            "account_id": alert.account_id,
            "source": alert.source,
            "subject": alert.subject,
            "kind": alert.kind.name,
            "severity": alert.kind.severity.value,
            "resolves": alert.kind.resolves,
            "name": alert.name,
            "title": alert.title,
            "reason": alert.reason,
            "trouble": alert.trouble,
            "dedupe_key": alert.dedupe_key,
            "tags": list(alert.tags),
            "depends_on": list(alert.depends_on),
            "data": dict(alert.data),
            "at": alert.at,
            "created_at": now,
            "state": "new",
            "repeats": 0,
        }
    # In one order, so that two transactions with the same alerts do not wait for each other.
    return [rows[key] for key in sorted(rows)]


async def raise_alerts(session: AsyncSession, alerts: Iterable[Alert], now: datetime) -> int:
    """Keeps alerts; one whose key is known is only counted. Returns how many there are to tell."""
    rows = alert_rows(alerts, now)
    if not rows:
        return 0
    statement = insert(AlertRow).values(rows)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["account_id", "dedupe_key"],
            set_={"repeats": AlertRow.repeats + statement.excluded.repeats + 1},
        )
    )
    return len(rows)


async def depend_held_alerts(session: AsyncSession, subject: str, depends_on: Collection[str]) -> None:
    """Those that are held because of what the subject depended on, go by what it depends on now."""
    held = update(AlertRow).where(AlertRow.subject == subject, AlertRow.state == "held")
    await session.execute(held.values(depends_on=list(depends_on)).execution_options(synchronize_session=False))


async def get_alert(session: AsyncSession, alert_id: str) -> AlertRow | None:
    return await session.get(AlertRow, alert_id)


async def list_alerts(
    session: AsyncSession,
    account_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    state: str | None = None,
    kind: str | None = None,
    severity: str | None = None,
    subject: str | None = None,
    source: str | None = None,
) -> list[AlertRow]:
    """Newest first; `before` is the creation time and id of the last one of the page before."""
    query = (
        select(AlertRow)
        .where(AlertRow.account_id == account_id)
        .order_by(AlertRow.created_at.desc(), AlertRow.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(tuple_(AlertRow.created_at, AlertRow.id) < before)
    wanted = {"state": state, "kind": kind, "severity": severity, "subject": subject, "source": source}
    query = query.filter_by(**{column: value for column, value in wanted.items() if value is not None})
    return list((await session.scalars(query)).all())


def told_alert(row: AlertRow) -> ToldAlert:
    return ToldAlert(
        id=row.id,
        kind=row.kind,
        severity=Severity(row.severity),
        resolves=row.resolves,
        source=row.source,
        subject=row.subject,
        name=row.name,
        title=row.title,
        trouble=row.trouble,
        at=row.at,
        reason=row.reason,
        tags=tuple(row.tags),
        data=row.data,
    )
