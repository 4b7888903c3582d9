"""What needs a human in an account now: what is down, failed, stopped, waits or is overdue, and who cannot be told.

As it is recorded: each kind is one query, with a few rows and how many there are in all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.processes import KEPT_OPEN_SECONDS


@dataclass(frozen=True)
class Matter:
    """One thing of `kind` that a human has to see to. `count` of the same are behind it, if it stands for several;
    `until` is when it ends or is decided by itself."""

    kind: str
    subject: str
    name: str
    since: datetime
    reason: str | None = None
    count: int = 1
    until: datetime | None = None
    is_mine: bool = False


@dataclass(frozen=True)
class Matters:
    """`total` counts those that are not among the `items`, too."""

    items: tuple[Matter, ...]
    total: int


_DOWN: Final = text("""
SELECT 'pulse/' || p.id AS subject, p.name, coalesce(s.since, s.last_ping_at, p.updated_at) AS since, s.reason,
       count(*) OVER () AS total
FROM pulses p JOIN pulse_standings s ON s.pulse_id = p.id
WHERE p.account_id = :account_id AND p.deleted_at IS NULL AND p.paused_at IS NULL AND s.status = 'down'
ORDER BY since DESC LIMIT :limit
""")

_FAILED: Final = text("""
SELECT 'instance/' || w.id || '/' || l.id AS subject, coalesce(nullif(w.name, ''), w.id) AS name,
       coalesce(l.completed_at, l.opened_at) AS since, l.failure_reason AS reason, since_good.failures AS count,
       count(*) OVER () AS total
FROM (
    SELECT workflow_id, max(opened_at) AS newest FROM instances
    WHERE account_id = :account_id AND status = 'failed' GROUP BY workflow_id
) f
JOIN workflows w ON w.id = f.workflow_id AND w.deleted_at IS NULL
LEFT JOIN LATERAL (
    SELECT opened_at FROM instances
    WHERE account_id = :account_id AND status = 'completed' AND workflow_id = f.workflow_id
    ORDER BY opened_at DESC LIMIT 1
) good ON true
CROSS JOIN LATERAL (
    SELECT id, opened_at, completed_at, failure_reason FROM instances
    WHERE account_id = :account_id AND status = 'failed' AND workflow_id = f.workflow_id
    ORDER BY opened_at DESC LIMIT 1
) l
CROSS JOIN LATERAL (
    SELECT count(*) AS failures FROM instances
    WHERE account_id = :account_id AND status = 'failed' AND workflow_id = f.workflow_id
      AND opened_at > coalesce(good.opened_at, '-infinity')
) since_good
WHERE good.opened_at IS NULL OR good.opened_at < f.newest
ORDER BY since DESC LIMIT :limit
""")

_PAUSED: Final = text("""
SELECT 'instance/' || w.id || '/' || i.id AS subject, coalesce(nullif(w.name, ''), w.id) AS name,
       coalesce(CAST(i.pauses -> -1 ->> 'start' AS timestamptz), i.last_ping_at, i.opened_at) AS since,
       coalesce(i.failure_reason, i.pauses -> -1 ->> 'reason') AS reason, count(*) OVER () AS total
FROM instances i JOIN workflows w ON w.id = i.workflow_id
WHERE i.account_id = :account_id AND i.status = 'paused'
ORDER BY i.opened_at DESC LIMIT :limit
""")

_STOPPED: Final = text("""
SELECT 'workflow/' || w.id AS subject, coalesce(nullif(w.name, ''), w.id) AS name,
       coalesce(c.created_at, b.updated_at) AS since, b.stop_reason AS reason, b.stopped_until AS until,
       count(*) OVER () AS total
FROM budgets b
JOIN workflows w ON w.id = b.workflow_id AND w.account_id = :account_id AND w.deleted_at IS NULL
LEFT JOIN cost_alerts c ON c.key = b.stop_key
WHERE b.enabled AND b.stopped_until > :now
ORDER BY b.stopped_until LIMIT :limit
""")

_WAITING: Final = text("""
SELECT 'approval/' || id AS subject, coalesce(nullif(title, ''), left(context, 120)) AS name, created_at AS since,
       'Asked by ' || requested_by AS reason, expires_at AS until, approvers @> CAST(:me AS jsonb)
           OR (escalated_at IS NOT NULL AND escalate_to @> CAST(:me AS jsonb)) AS is_mine,
       count(*) OVER () AS total
FROM approvals
WHERE status = 'pending' AND account_id = :account_id
ORDER BY is_mine DESC, expires_at NULLS LAST, created_at LIMIT :limit
""")

_OVERDUE: Final = text("""
SELECT 'process/' || h.id || '/' || r.id AS subject, h.name, r.overdue_at AS since, count(*) OVER () AS total
FROM process_hooks h
JOIN process_runs r ON r.hook_id = h.id AND r.ended_at IS NULL AND r.overdue_at > :given_up
WHERE h.account_id = :account_id AND h.deleted_at IS NULL
ORDER BY r.overdue_at DESC LIMIT :limit
""")

_UNREACHED: Final = text("""
SELECT 'channel/' || c.id AS subject, c.name, a.at AS since, a.detail AS reason, count(*) OVER () AS total
FROM channels c
CROSS JOIN LATERAL (
    SELECT m.created_at AS at, a.outcome, coalesce(a.detail, 'answered ' || a.status_code) AS detail
    FROM messages m JOIN attempts a ON a.message_id = m.id
    WHERE m.channel_id = c.id ORDER BY m.created_at DESC, a.id DESC LIMIT 1
) a
WHERE c.account_id = :account_id AND c.deleted_at IS NULL AND a.outcome IN ('retry', 'failed')
ORDER BY since DESC LIMIT :limit
""")

_QUERIES: Final[Mapping[str, TextClause]] = {
    "down": _DOWN,
    "failed": _FAILED,
    "paused": _PAUSED,
    "stopped": _STOPPED,
    "waiting": _WAITING,
    "overdue": _OVERDUE,
    "unreached": _UNREACHED,
}
"""By kind, the gravest first."""


async def list_matters(
    session: AsyncSession, account_id: str, email: str, now: datetime, *, limit: int
) -> dict[str, Matters]:
    """By kind, `limit` of each at most; kinds of which there is nothing are left out. `email` is of who looks."""
    named: dict[str, Any] = {
        "account_id": account_id,
        "limit": limit,
        "now": now,
        "me": json.dumps([email]),
        "given_up": now - timedelta(seconds=KEPT_OPEN_SECONDS),
    }
    matters: dict[str, Matters] = {}
    for kind, query in _QUERIES.items():
        rows = (await session.execute(query, named)).mappings().all()
        if rows:
            items = tuple(Matter(kind, **{name: row[name] for name in row if name != "total"}) for row in rows)
            matters[kind] = Matters(items, rows[0]["total"])
    return matters
