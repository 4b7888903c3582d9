"""What the overview shows of an account: what runs now, what came of the last day, and whether anything ever came.

What needs a human is in `storage.attention`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.processes import KEPT_OPEN_SECONDS

HOURS: Final = 24
TYPICAL_OF: Final = 20
"""The latest good runs of a workflow, of which the median says how long one takes."""
FEWEST: Final = 3
"""So many are needed for that."""
PINGS_COUNTED: Final = 30_000
"""The latest pings of the installation, among which an account's own are counted: pings have no index by account, as
that would cost every ping. Before the oldest of them, how many there were is not known."""


@dataclass(frozen=True)
class RunningInstance:
    """`stage_*` is what was heard of it last, and `agent` who it was from. `typical_seconds` is the median of its
    workflow's latest good runs.
    """

    id: str
    workflow_id: str
    name: str
    opened_at: datetime
    agent: str | None
    last_ping_at: datetime | None
    stage_path: str | None
    stage_name: str | None
    stage_status: str | None
    typical_seconds: float | None

    @property
    def expected_at(self) -> datetime | None:
        return self.opened_at + timedelta(seconds=self.typical_seconds) if self.typical_seconds is not None else None


@dataclass(frozen=True)
class OpenRun:
    id: str
    hook_id: str
    name: str
    started_at: datetime
    agent: str | None
    expected_seconds: float

    @property
    def expected_at(self) -> datetime:
        return self.started_at + timedelta(seconds=self.expected_seconds)


@dataclass(frozen=True)
class Hour:
    """`pings` is None where they are not counted."""

    start: datetime
    good: int = 0
    failed: int = 0
    pings: int | None = None


@dataclass(frozen=True)
class Arrival:
    """The subject of a first ping, and how people call it."""

    subject: str
    name: str
    at: datetime


_RUNNING: Final = text(f"""
SELECT i.id, i.workflow_id, coalesce(nullif(w.name, ''), w.id) AS name, i.opened_at,
       coalesce(s.agent, i.agent) AS agent, i.last_ping_at,
       s.path AS stage_path, s.name AS stage_name, s.status AS stage_status, t.seconds AS typical_seconds, i.total
FROM (
    SELECT id, workflow_id, opened_at, agent, last_ping_at, count(*) OVER () AS total FROM instances
    WHERE account_id = :account_id AND status = 'running' AND closes_at IS NULL
    ORDER BY opened_at DESC LIMIT :limit
) i
JOIN workflows w ON w.id = i.workflow_id
LEFT JOIN LATERAL (
    SELECT path, name, status, agent FROM stages WHERE instance_id = i.id AND changed_at IS NOT NULL
    ORDER BY changed_at DESC, path DESC LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) >= {FEWEST} THEN percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) END AS seconds
    FROM (
        SELECT extract(epoch FROM completed_at - opened_at)::float8 AS seconds FROM instances
        WHERE account_id = :account_id AND status = 'completed' AND workflow_id = i.workflow_id
        ORDER BY opened_at DESC LIMIT {TYPICAL_OF}
    ) latest
) t ON true
ORDER BY i.opened_at DESC
""")

_OPEN_RUNS: Final = text("""
SELECT r.id, r.hook_id, h.name, r.started_at, r.agent, r.expected_seconds, count(*) OVER () AS total
FROM process_hooks h
JOIN process_runs r ON r.hook_id = h.id AND r.ended_at IS NULL AND r.overdue_at IS NULL AND r.started_at > :given_up
WHERE h.account_id = :account_id AND h.deleted_at IS NULL
ORDER BY r.started_at DESC LIMIT :limit
""")

_HOUR: Final = "floor(extract(epoch FROM {0} - CAST(:since AS timestamptz)) / 3600)::int"

_ENDED: Final = text(f"""
SELECT hour, sum(CASE WHEN status IN ('completed', 'finished') THEN number ELSE 0 END) AS good,
       sum(CASE WHEN status = 'failed' THEN number ELSE 0 END) AS failed
FROM (
    SELECT {_HOUR.format("completed_at")} AS hour, status, count(*) AS number FROM instances
    WHERE account_id = :account_id AND completed_at >= :since GROUP BY 1, 2
    UNION ALL
    SELECT {_HOUR.format("finished_at")}, status, count(*) FROM process_runs
    WHERE account_id = :account_id AND finished_at >= :since GROUP BY 1, 2
) ended
GROUP BY hour
""")

_PINGS: Final = text(f"""
WITH newest AS (SELECT coalesce(max(id), 0) AS id FROM pings),
     latest AS (
         SELECT account_id, received_at FROM pings
         WHERE id > (SELECT id FROM newest) - {PINGS_COUNTED} AND NOT inherited
     )
SELECT NULL AS hour, NULL AS number,
       (SELECT received_at FROM pings WHERE id > (SELECT id FROM newest) - {PINGS_COUNTED} ORDER BY id LIMIT 1)
           AS oldest,
       (SELECT EXISTS (SELECT 1 FROM pings WHERE id <= (SELECT id FROM newest) - {PINGS_COUNTED})) AS are_more
UNION ALL
SELECT {_HOUR.format("received_at")}, count(*), NULL, NULL FROM latest
WHERE account_id = :account_id AND received_at >= :since GROUP BY 1
""")

# In the order of an index: where there is nothing of the account, nothing else is looked through.
_ARRIVALS: Final = text("""
(SELECT 'instance/' || i.workflow_id || '/' || i.id AS subject, coalesce(nullif(w.name, ''), w.id) AS name,
        i.opened_at AS at
 FROM (
     SELECT id, workflow_id, opened_at FROM instances WHERE account_id = :account_id AND imported IS NULL
     ORDER BY status, workflow_id, opened_at LIMIT 1
 ) i
 JOIN workflows w ON w.id = i.workflow_id)
UNION ALL
(SELECT 'pulse/' || p.id, p.name, g.received_at
 FROM pulses p
 CROSS JOIN LATERAL (
     SELECT received_at FROM pings WHERE subject = 'pulse/' || p.id AND workflow_id IS NULL ORDER BY id LIMIT 1
 ) g
 WHERE p.account_id = :account_id LIMIT 1)
UNION ALL
(SELECT 'process/' || h.id || '/' || r.id, h.name, r.started_at
 FROM process_hooks h JOIN process_runs r ON r.hook_id = h.id WHERE h.account_id = :account_id LIMIT 1)
LIMIT 1
""")


async def list_running(session: AsyncSession, account_id: str, limit: int) -> tuple[list[RunningInstance], int]:
    """The newest first, and how many there are."""
    return _counted(RunningInstance, await session.execute(_RUNNING, {"account_id": account_id, "limit": limit}))


async def list_open_runs(
    session: AsyncSession, account_id: str, now: datetime, limit: int
) -> tuple[list[OpenRun], int]:
    """Of process hooks, those that are not overdue; the newest first, and how many there are."""
    # What nobody ended and nobody called overdue is from a time in which nothing looked.
    given_up = now - timedelta(days=365, seconds=KEPT_OPEN_SECONDS)
    named = {"account_id": account_id, "limit": limit, "given_up": given_up}
    return _counted(OpenRun, await session.execute(_OPEN_RUNS, named))


async def read_hours(session: AsyncSession, account_id: str, now: datetime) -> list[Hour]:
    """The last 24 hours by the clock, the one that has begun included: what ended well and badly, and the pings."""
    since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    named = {"account_id": account_id, "since": since}
    ended = {row.hour: row for row in await session.execute(_ENDED, named)}
    pings: dict[int, int] = {}
    counted_from = since
    for row in await session.execute(_PINGS, named):
        if row.hour is not None:
            pings[row.hour] = row.number
        elif row.are_more:
            counted_from = max(since, row.oldest)
    hours = []
    for number in range(HOURS):
        start = since + timedelta(hours=number)
        counts = ended.get(number)
        is_counted = start >= counted_from
        hours.append(
            Hour(
                start,
                int(counts.good) if counts is not None else 0,
                int(counts.failed) if counts is not None else 0,
                pings.get(number, 0) if is_counted else None,
            )
        )
    return hours


async def find_arrival(session: AsyncSession, account_id: str) -> Arrival | None:
    """Something that this account has pinged for; None while it has not sent any ping."""
    row = (await session.execute(_ARRIVALS, {"account_id": account_id})).one_or_none()
    return Arrival(row.subject, row.name, row.at) if row is not None else None


def _counted(kind: type[Any], rows: Any) -> tuple[list[Any], int]:
    """Rows of a query whose last column is how many there are in all."""
    found: Sequence[Any] = rows.all()
    return [kind(*row[:-1]) for row in found], found[0][-1] if found else 0
