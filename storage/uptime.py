"""How much of each day pulses were up: for many of them at once."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.subjects import pulse_subject
from domain.uptime import DayUptime, latest_days

# Postgres adds up: there may be thousands of changes of a pulse, and a row for each of its days is all that is needed.
# A change from up to late, or back, is none here, and there are the most of those.
_SECONDS_A_DAY: Final = text("""
WITH spans AS (
    SELECT subject, after, at AS begins, lead(at, 1, :until) OVER (PARTITION BY subject ORDER BY id) AS ends
    FROM transitions
    WHERE subject = ANY(:subjects)
      AND (after IN ('up', 'late') AND before IN ('up', 'late')) IS NOT TRUE
), counted AS (
    SELECT subject, after = 'down' AS is_down, greatest(begins, :since) AS begins, least(ends, :until) AS ends
    FROM spans
    WHERE after IN ('up', 'late', 'down') AND ends > :since AND begins < :until
), parts AS (
    SELECT subject, is_down, day,
           extract(epoch FROM least(ends, (:bounds)[day + 1]) - greatest(begins, (:bounds)[day])) AS seconds
    FROM counted, generate_series(width_bucket(begins, :bounds), width_bucket(ends, :bounds)) AS day
    WHERE day < cardinality(:bounds) AND ends > begins
)
SELECT subject, day,
       coalesce(sum(seconds) FILTER (WHERE NOT is_down), 0),
       coalesce(sum(seconds) FILTER (WHERE is_down), 0)
FROM parts
GROUP BY subject, day
""")


async def daily_uptime(
    session: AsyncSession, pulse_ids: Collection[str], until: datetime, timezone: str, days: int
) -> dict[str, list[DayUptime]]:
    """By pulse, the latest `days` on the calendar of `timezone`, the oldest first; the last one ends at `until`."""
    dates, bounds = latest_days(until, timezone, days)
    subjects = {pulse_subject(pulse_id): pulse_id for pulse_id in pulse_ids}
    found = {pulse_id: [DayUptime(day) for day in dates] for pulse_id in pulse_ids}
    values = {"subjects": list(subjects), "bounds": bounds, "since": bounds[0], "until": until}
    for subject, day, up, down in await session.execute(_SECONDS_A_DAY, values):
        found[subjects[subject]][day - 1] = DayUptime(dates[day - 1], float(up), float(down))
    return found
