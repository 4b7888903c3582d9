"""Maintenance windows, which belong to pulses: those of an account, each with all pulses that have it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.maintenance import MaintenanceWindow
from storage.pulses import Pulse, definition_of


@dataclass(frozen=True)
class PlannedWindow:
    """`pulses`: id and name of each that has it."""

    window: MaintenanceWindow
    pulses: tuple[tuple[str, str], ...]


async def list_windows(session: AsyncSession, account_id: str) -> list[PlannedWindow]:
    """In no order. Windows that are alike are one."""
    query = select(Pulse).where(Pulse.account_id == account_id, Pulse.deleted_at.is_(None), Pulse.maintenance != [])
    found: dict[MaintenanceWindow, list[tuple[str, str]]] = {}
    for pulse in await session.scalars(query.order_by(Pulse.name, Pulse.id)):
        for window in dict.fromkeys(definition_of(pulse).maintenance):
            found.setdefault(window, []).append((pulse.id, pulse.name))
    return [PlannedWindow(window, tuple(pulses)) for window, pulses in found.items()]


async def list_named(session: AsyncSession, account_id: str, limit: int) -> list[tuple[str, str]]:
    """Id and name of the account's pulses, by name."""
    query = select(Pulse.id, Pulse.name).where(Pulse.account_id == account_id, Pulse.deleted_at.is_(None))
    return [(row[0], row[1]) for row in await session.execute(query.order_by(Pulse.name, Pulse.id).limit(limit))]


def window_as_json(window: MaintenanceWindow) -> dict[str, Any]:
    """As the JSON API takes it, without what it does not say."""

    def said(at: datetime | None) -> str | None:
        return at.isoformat() if at is not None else None

    if window.cron is not None:
        return {"cron": window.cron, "timezone": window.timezone, "duration_seconds": window.duration_seconds}
    return {"starts_at": said(window.starts_at), "ends_at": said(window.ends_at)}
