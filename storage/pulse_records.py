"""Recording what a pulse's workflow has decided: state, transitions and alerts in one statement.

A thousand pulses may be due in one second, and what each takes here is what the last one waits for. A statement for
each table would be ten round trips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import Alert
from domain.pulses import PulseState
from domain.subjects import pulse_subject
from domain.transitions import Transition
from storage.alerts import alert_rows
from storage.gateways import TOLERANCE
from storage.pulses import standing_row


@dataclass(frozen=True)
class Claim:
    """That nothing came from `since` until a moment but the `known` pings, by gateway."""

    since: datetime
    until: datetime
    known: Mapping[int, int]


@dataclass(frozen=True)
class Written:
    """Nothing was written unless `is_written`. `revision` is the pulse's rules', None if it was deleted.

    `is_doubtful`: silence is not as sure as it was claimed. Why is for others to find out.
    """

    revision: int | None
    is_doubtful: bool
    is_written: bool


_RECORD: Final = text("""
WITH target AS (
    SELECT revision FROM pulses WHERE id = :pulse_id AND deleted_at IS NULL
), doubt AS (
    SELECT WHERE CAST(:is_claimed AS bool) AND (
        EXISTS (
            SELECT FROM outbox o
            JOIN pings p ON p.id = o.ping_id
            LEFT JOIN json_each_text(CAST(:known AS json)) known ON CAST(known.key AS bigint) = o.gateway_id
            WHERE o.subject = :subject AND p.received_at <= :until
              AND o.ping_id > coalesce(CAST(known.value AS bigint), 0)
        )
        -- A gateway that has lived all the while, and lives: there was no outage.
        OR NOT EXISTS (SELECT FROM lives WHERE began_at <= :since AND seen_at >= :alive_since)
    )
), written AS (
    INSERT INTO pulse_standings
    SELECT standing.*
    FROM target, json_populate_record(CAST(NULL AS pulse_standings), CAST(:standing AS json)) standing
    WHERE NOT EXISTS (SELECT FROM doubt)
    ON CONFLICT (pulse_id) DO UPDATE SET
        version = excluded.version, revision = excluded.revision, status = excluded.status, since = excluded.since,
        reason = excluded.reason, last_ping_at = excluded.last_ping_at, due_at = excluded.due_at,
        failures = excluded.failures, state = excluded.state, delivered = excluded.delivered
    WHERE pulse_standings.version < excluded.version
    RETURNING pulse_id
), changed AS (
    INSERT INTO transitions (subject, before, after, at, reason)
    SELECT :subject, before, after, at, reason
    FROM written, json_populate_recordset(CAST(NULL AS transitions), CAST(:transitions AS json))
), raised AS (
    INSERT INTO alerts
    SELECT alert.* FROM written, json_populate_recordset(CAST(NULL AS alerts), CAST(:alerts AS json)) alert
    ON CONFLICT (account_id, dedupe_key) DO UPDATE SET repeats = alerts.repeats + excluded.repeats + 1
)
SELECT (SELECT revision FROM target), EXISTS (SELECT FROM doubt), EXISTS (SELECT FROM written)
""")


async def record(
    session: AsyncSession,
    pulse_id: str,
    *,
    version: int,
    revision: int,
    state: PulseState,
    delivered: Mapping[int, int],
    due_at: datetime | None,
    transitions: Sequence[Transition],
    alerts: Sequence[Alert],
    claim: Claim | None,
    now: datetime,
) -> Written:
    """Writes it all, or nothing: not if that `version` was recorded before, nor if there is doubt about the claim."""
    standing = standing_row(
        pulse_id, version=version, revision=revision, state=state, delivered=delivered, due_at=due_at
    )
    row = await session.execute(
        _RECORD,
        {
            "pulse_id": pulse_id,
            "subject": pulse_subject(pulse_id),
            "is_claimed": claim is not None,
            "since": claim.since if claim is not None else now,
            "until": claim.until if claim is not None else now,
            "known": _json({str(gateway): last for gateway, last in claim.known.items()} if claim is not None else {}),
            "alive_since": now - TOLERANCE,
            "standing": _json(standing),
            "transitions": _json([_transition_row(transition) for transition in transitions]),
            "alerts": _json(alert_rows(alerts, now)),
        },
    )
    return Written(*row.one())


def _transition_row(transition: Transition) -> dict[str, Any]:
    return {
        "before": transition.before,
        "after": transition.after,
        "at": transition.at,
        "reason": transition.reason,
    }


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
