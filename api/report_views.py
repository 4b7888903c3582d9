"""Reported runs, and what is linked to them, as the API shows them."""

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from api.views import in_utc
from storage.instances import Instance, list_correlated
from storage.reports import latest_report

MAX_LINKS: Final = 50

_SHOWN: Final = (
    "started_at",
    "ended_at",
    "duration_ms",
    "source_platform",
    "source_workflow_id",
    "external_execution_id",
    "correlation_id",
    "error_message",
    "error_type",
    "metadata",
)


async def reported_document(session: AsyncSession, row: Instance) -> dict[str, Any]:
    """As `run`, what the latest report of a whole run has said, if there was one; what it did not say is null."""
    found = await latest_report(session, row.id) if row.ended_at is not None else None
    if found is None:
        return {}
    said, reported_at = found
    return {"run": {**{name: said.get(name) for name in _SHOWN}, "reported_at": in_utc(reported_at)}}


async def correlated_document(session: AsyncSession, row: Instance) -> list[dict[str, Any]]:
    """The newest others with the same correlation id."""
    if row.correlation_id is None:
        return []
    others = await list_correlated(session, row.account_id, row.correlation_id, limit=MAX_LINKS + 1)
    return [
        {"instance_id": other.id, "workflow_id": other.workflow_id, "status": other.status}
        for other in others
        if other.id != row.id
    ][:MAX_LINKS]
