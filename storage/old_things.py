"""What is over and old, as conditions in SQL: for those who delete it, and for those who ask how much there is.

All take `account_id`; `before`, the moment before which it was over; `lost_before`, the same for what never ended; and
`boundary` (see `boundary_of`).
"""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.processes import KEPT_OPEN_SECONDS
from domain.retention import cutoff

COUNTED_TO: Final = 1_000
"""How far a preview counts."""

Counted = dict[str, int]
"""By kind, how many."""

_NO_LETTERS_LEFT: Final = """
NOT EXISTS (
    SELECT FROM deliveries d LEFT JOIN messages m ON m.id = d.message_id
    WHERE d.alert_id = a.id AND (d.message_id IS NULL OR m.state = 'pending')
)"""

_ALL_TOLD: Final = f"""
NOT EXISTS (
    SELECT FROM alerts a WHERE a.subject = {{subject}} AND (a.state IN ('new', 'held') OR NOT {_NO_LETTERS_LEFT})
)"""


def is_over(alias: str) -> str:
    """Whether an instance is finished, old, and nothing about it waits."""
    subject = f"'instance/' || {alias}.workflow_id || '/' || {alias}.id"
    return f"""(
    {alias}.closes_at < :before AND {alias}.completed_at < :before AND {alias}.opened_at < :before
    AND NOT {alias}.is_unheard
    AND {alias}.status IN ('completed', 'failed', 'terminated')
    AND NOT EXISTS (SELECT FROM outbox o WHERE o.subject = {subject})
    AND NOT EXISTS (SELECT FROM approvals p WHERE p.instance_id = {alias}.id AND p.status = 'pending')
    AND NOT EXISTS (
        SELECT FROM reservations r WHERE r.workflow_id = {alias}.workflow_id AND r.instance_id = {alias}.id
          AND r.settled_at IS NULL AND r.expires_at >= :before
    )
    AND {_ALL_TOLD.format(subject=subject)}
)"""


# The tree of an instance goes as a whole, once its youngest member may go.
OLD_INSTANCES: Final = f"""
FROM instances i
WHERE i.account_id = :account_id AND i.completed_at < :before AND {is_over("i")}
  AND NOT EXISTS (
    SELECT FROM instances m WHERE m.root_id = coalesce(i.root_id, i.id) AND m.id <> i.id AND NOT {is_over("m")}
  )
  AND NOT EXISTS (SELECT FROM instances m WHERE m.id = i.root_id AND NOT {is_over("m")})
"""

_OLD_RUNS: Final = f"""
FROM process_runs r
WHERE r.account_id = :account_id AND {{which}}
  AND NOT EXISTS (SELECT FROM outbox o WHERE o.subject = 'process/' || r.hook_id || '/' || r.id)
  AND {_ALL_TOLD.format(subject="'process/' || r.hook_id || '/' || r.id")}
"""
ENDED_RUNS: Final = _OLD_RUNS.format(which="r.finished_at < :before AND r.ended_at < :before")
# No end came, and none is waited for any more.
LOST_RUNS: Final = _OLD_RUNS.format(
    which="""r.ended_at IS NULL AND r.overdue_at < :lost_before
  AND r.id = ANY(ARRAY(
    SELECT o.id FROM process_hooks h CROSS JOIN LATERAL (
        SELECT id FROM process_runs WHERE hook_id = h.id AND ended_at IS NULL AND started_at < :lost_before
    ) o WHERE h.account_id = :account_id
  ))"""
)

# What is part of the pulse's standing, by the last ping of each gateway there, is needed by nobody. The latest stays:
# by it one sees at a glance that nothing is missing.
OLD_PULSE_PINGS: Final = """
FROM pulses u
LEFT JOIN pulse_standings s ON s.pulse_id = u.id
CROSS JOIN LATERAL (
    SELECT g.id FROM pings g
    WHERE g.subject = 'pulse/' || u.id AND g.workflow_id IS NULL AND g.id < :boundary AND g.received_at < :before
      AND g.id < (
        SELECT n.id FROM pings n WHERE n.subject = 'pulse/' || u.id AND n.workflow_id IS NULL ORDER BY n.id DESC LIMIT 1
      )
      AND (
        g.id <= CAST(s.delivered ->> CAST(g.gateway_id AS text) AS bigint)
        OR g.id <= (SELECT min(CAST(value AS bigint)) FROM jsonb_each_text(s.delivered))
        OR u.deleted_at < :before
      )
      AND NOT EXISTS (SELECT FROM outbox o WHERE o.ping_id = g.id)
    ORDER BY g.id LIMIT :most
) old
WHERE u.account_id = :account_id
"""

# Those that were refused, and belong to no instance that is there.
OLD_REJECTED: Final = """
FROM workflows w
CROSS JOIN LATERAL (
    SELECT g.id FROM pings g
    WHERE g.workflow_id = w.id AND g.outcome = 'rejected' AND g.id < :boundary AND g.received_at < :before
      AND NOT EXISTS (SELECT FROM instances i WHERE i.id = g.instance_id)
      AND NOT EXISTS (SELECT FROM outbox o WHERE o.ping_id = g.id)
    ORDER BY g.id LIMIT :most
) old
WHERE w.account_id = :account_id
"""

# Not while what they tell of goes on, because its good end goes to whoever was told, and not while they are told.
OLD_ALERTS: Final = f"""
FROM alerts a
WHERE a.account_id = :account_id AND a.created_at < :before AND a.at < :before AND a.state IN ('told', 'silent')
  AND {_NO_LETTERS_LEFT}
  AND NOT EXISTS (
    SELECT FROM alerts t WHERE t.account_id = a.account_id AND t.trouble = a.trouble AND t.state IN ('new', 'held')
  )
  AND NOT (a.subject LIKE 'instance/%' AND EXISTS (
    SELECT FROM instances i WHERE i.id = split_part(a.subject, '/', 3)
      AND (i.closes_at IS NULL OR i.closes_at >= :before OR i.completed_at IS NULL)
  ))
  AND NOT (a.subject LIKE 'process/%' AND EXISTS (
    SELECT FROM process_runs r WHERE r.id = split_part(a.subject, '/', 3) AND coalesce(
        r.ended_at >= :before OR r.finished_at >= :before, r.overdue_at IS NULL OR r.overdue_at >= :lost_before
    )
  ))
  AND NOT (a.subject LIKE 'approval/%' AND EXISTS (
    SELECT FROM approvals p WHERE p.id = split_part(a.subject, '/', 2)
      AND (p.decided_at IS NULL OR p.decided_at >= :before)
  ))
  AND NOT (a.subject LIKE 'pulse/%' AND EXISTS (
    SELECT FROM pulse_standings s JOIN pulses u ON u.id = s.pulse_id
    WHERE s.pulse_id = split_part(a.subject, '/', 2) AND u.deleted_at IS NULL AND s.status <> 'up'
      AND a.at >= coalesce(s.since, a.at)
  ))
  AND NOT (a.source LIKE 'workflow/%' AND EXISTS (
    SELECT FROM run_standings f WHERE f.workflow_id = substr(a.source, 10) AND a.at >= f.failing_since
  ))
"""

OLD_APPROVALS: Final = f"""
FROM approvals p
WHERE p.account_id = :account_id AND p.decided_at < :before AND p.status <> 'pending'
  AND p.followed_revision >= p.revision
  AND NOT EXISTS (SELECT FROM messages m WHERE m.approval_id = p.id AND m.state = 'pending')
  AND {_ALL_TOLD.format(subject="'approval/' || p.id")}
"""

_PREVIEWED: Final[dict[str, tuple[str, ...]]] = {
    "instances": (OLD_INSTANCES,),
    "process_runs": (ENDED_RUNS, LOST_RUNS),
    "pulse_pings": (OLD_PULSE_PINGS,),
    "rejected_pings": (OLD_REJECTED,),
    "alerts": (OLD_ALERTS,),
}


async def preview(
    session: AsyncSession, account_id: str, keep_days: int | None, keep_approvals_days: int | None, now: datetime
) -> Counted:
    """What would be deleted now, counted up to COUNTED_TO of each kind."""
    counted: Counted = {}
    for days, kinds in ((keep_days, _PREVIEWED), (keep_approvals_days, {"approvals": (OLD_APPROVALS,)})):
        if days is None:
            continue
        values = {**await values_of(session, account_id, days, now), "most": COUNTED_TO}
        for kind, queries in kinds.items():
            parts = " + ".join(f"(SELECT count(*) FROM (SELECT 1 {query} LIMIT :most) found)" for query in queries)
            counted[kind] = min(COUNTED_TO, int(await session.scalar(text(f"SELECT {parts}"), values) or 0))
    return counted


async def values_of(session: AsyncSession, account_id: str, days: int, now: datetime) -> dict[str, Any]:
    before = cutoff(days, now)
    return {
        "account_id": account_id,
        "now": now,
        "before": before,
        "lost_before": before - timedelta(seconds=KEPT_OPEN_SECONDS),
        "boundary": await boundary_of(session, before),
    }


async def boundary_of(session: AsyncSession, before: datetime) -> int:
    """The id of a ping behind nearly all that were received before that moment: there is no index of the time.

    Ids grow with it, but for seconds between gateways. A few may be missed or come too many: by the time of each is
    decided all the same.
    """
    first, last = (await session.execute(text("SELECT min(id), max(id) FROM pings"))).one()
    low, high = first or 0, (last or 0) + 1
    while low < high:
        middle = (low + high) // 2
        probe = text("SELECT id, received_at FROM pings WHERE id >= :id AND NOT inherited ORDER BY id LIMIT 1")
        found = (await session.execute(probe, {"id": middle})).first()
        if found is not None and found[1] < before:
            low = found[0] + 1
        else:
            high = middle
    return low
