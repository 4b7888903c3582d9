"""The short way into the journal: a batch whose pings all join instances that earlier ones joined.

One statement and one round trip, where `storage.journal` needs five: on the hot path the round trips cost more
than everything else. The statement itself makes sure that the instances are still the right ones, and keeps
nothing otherwise.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from domain import routing
from domain.instances import InstanceStatus
from domain.pings import Outcome
from domain.workflows import WorkflowKind
from storage.batch import NewPing, Row
from storage.rows import INCOMING, KEEP, Journaled, documents, journaled

_KEEP_IF_CURRENT: Final = f"""
WITH incoming AS (SELECT * FROM {INCOMING.format(rows="%(rows)s")}),
joined AS (SELECT DISTINCT workflow_id, instance_id FROM incoming),
current AS (
    SELECT 1 FROM joined j
    JOIN workflows w ON w.id = j.workflow_id AND w.deleted_at IS NULL
    JOIN LATERAL (
        SELECT id, status FROM instances
        WHERE workflow_id = w.id AND closes_at IS NULL
        ORDER BY opened_at DESC, id DESC LIMIT 1
    ) newest ON newest.id = j.instance_id AND newest.status = 'running'
),
fitting AS (
    SELECT * FROM incoming WHERE (SELECT count(*) FROM current) = (SELECT count(*) FROM joined)
),
{KEEP.format(gateway_id="%(gateway_id)s", source="fitting")}
SELECT id FROM journaled ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Joined:
    """The instance that the last ping of a workflow joined."""

    account_id: str
    kind: WorkflowKind
    instance_id: str


def as_row(ping: NewPing, joined: Joined | None) -> Row | None:
    """The ping as a row that joins `joined`, or None if it takes more than that to know where it belongs."""
    request = ping.request
    if (
        joined is None
        or joined.account_id != ping.account_id
        or joined.kind is not request.kind
        or ping.idempotency_key is not None
        or request.start
        or request.instance_id is not None
        or (request.kind is WorkflowKind.STATIC and request.fact.path == "1")
    ):
        return None
    status = routing.predicted_status(InstanceStatus.RUNNING, request.fact)
    return Row(ping, Outcome.ACCEPTED, status, joined.instance_id)


class JoiningConnection:
    """A connection of its own, which commits each statement by itself. For one flush at a time."""

    def __init__(self, database_url: str, gateway_id: int) -> None:
        self._database_url = database_url.replace("+psycopg", "", 1)
        self._gateway_id = gateway_id
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._backend: tuple[Any, ...] | None = None
        self._last_id = 0

    async def keep(self, rows: Sequence[Row]) -> list[Journaled] | None:
        """Keeps all of `rows` and commits, or keeps nothing and returns None.

        Raises psycopg.Error if nothing could be kept. When the connection breaks, waits as long as it takes to
        learn what became of the rows: a ping must not be refused and applied all the same.
        """
        parameters = {"gateway_id": self._gateway_id, "rows": documents(rows)}
        connection = await self._connected()
        try:
            cursor = await connection.execute(_KEEP_IF_CURRENT, parameters, prepare=True)
            ids = [row[0] for row in await cursor.fetchall()]
        except psycopg.Error:
            if not connection.broken:
                raise
            ids = await self._settle()
            if not ids:
                raise
        if not ids:
            return None
        self._last_id = ids[-1]
        return [journaled(row, self._gateway_id, ping_id, None) for row, ping_id in zip(rows, ids, strict=True)]

    def note(self, ping_id: int) -> None:
        """Says which ping of the gateway was kept last, by other ways than this."""
        self._last_id = ping_id

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> "psycopg.AsyncConnection[tuple[Any, ...]]":
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._database_url, autocommit=True, connect_timeout=5, application_name="pingpulse journal"
            )
            cursor = await self._connection.execute(
                "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            )
            self._backend = await cursor.fetchone()
        return self._connection

    async def _settle(self) -> list[int]:
        """The ids under which the last rows were kept after all. Their server process must be gone first."""
        lost, after = self._backend, self._last_id
        while True:
            try:
                connection = await self._connected()
                alive = await connection.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND backend_start = %s", lost
                )
                if await alive.fetchone() is None:
                    kept = await connection.execute(
                        "SELECT ping_id FROM outbox WHERE gateway_id = %s AND ping_id > %s ORDER BY ping_id",
                        (self._gateway_id, after),
                    )
                    return [row[0] for row in await kept.fetchall()]
            except psycopg.Error:
                pass
            await asyncio.sleep(0.2)
