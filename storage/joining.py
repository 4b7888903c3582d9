"""The short way into the journal: a batch whose pings all go where earlier ones went.

One statement and one round trip, where `storage.journal` needs five: on the hot path the round trips cost more
than everything else. The statement itself makes sure that the instances and pulses are still the right ones, and
keeps nothing otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg

from domain import routing
from domain.instances import InstanceStatus
from domain.pings import Outcome
from domain.routing import PulseRequest, Request
from domain.workflows import WorkflowKind
from storage.base import UTC
from storage.batch import stage_row
from storage.costs import counted
from storage.pulse_pings import pulse_row
from storage.rows import Journaled, NewPing, Row, Target, documents, incoming, journaled, keep

MAX_KNOWN: Final = 20_000

Key = TypeVar("Key")
Value = TypeVar("Value")


def _keep_if_current(*, costs: bool) -> str:
    return f"""
WITH incoming AS (SELECT * FROM {incoming("%(rows)s", costs=costs)}),
joined AS (SELECT DISTINCT workflow_id, instance_id FROM incoming WHERE instance_id IS NOT NULL),
current AS (
    SELECT 1 FROM joined j
    JOIN workflows w ON w.id = j.workflow_id AND w.deleted_at IS NULL
    JOIN LATERAL (
        SELECT id, status FROM instances
        WHERE workflow_id = w.id AND closes_at IS NULL AND origin IS NULL
        ORDER BY opened_at DESC, id DESC LIMIT 1
    ) newest ON newest.id = j.instance_id AND newest.status = 'running'
    WHERE NOT EXISTS (SELECT FROM budgets b WHERE b.workflow_id = j.workflow_id AND b.enabled)
),
targets AS (SELECT DISTINCT pulse_id, pulse_revision FROM incoming WHERE pulse_id IS NOT NULL),
current_targets AS (
    SELECT 1 FROM targets t
    JOIN pulses p ON p.id = t.pulse_id AND p.revision = t.pulse_revision AND p.deleted_at IS NULL
),
fitting AS (
    SELECT * FROM incoming
    WHERE (SELECT count(*) FROM current) = (SELECT count(*) FROM joined)
      AND (SELECT count(*) FROM current_targets) = (SELECT count(*) FROM targets)
),
{keep("%(gateway_id)s", "fitting", costs=costs)}{", " + counted("journaled") if costs else ""}
SELECT id FROM journaled ORDER BY id
"""


_KEEP_IF_CURRENT: Final = _keep_if_current(costs=False)
_KEEP_IF_CURRENT_WITH_COSTS: Final = _keep_if_current(costs=True)


@dataclass(frozen=True, slots=True)
class Joined:
    """The instance that the last ping of a workflow joined."""

    account_id: str
    instance_id: str


class Shortcuts:
    """Where the latest pings went, so that the next ones may take the short way."""

    def __init__(self) -> None:
        self._joined: dict[str, Joined] = {}
        self._targets: dict[tuple[str, str], Target] = {}

    def row(self, ping: NewPing) -> Row | None:
        """The ping as a row, or None if it takes more to know where it belongs."""
        if ping.idempotency_key is not None:
            return None
        match ping.request:
            case Request() as request:
                return _as_row(ping, request, self._joined.get(request.workflow_id))
            case PulseRequest(target=name):
                target = self._targets.get((ping.account_id, name))
                return pulse_row(ping, target) if target is not None else None
        return None

    def learn(self, ping: NewPing, result: Journaled) -> None:
        """Remembers where a ping went; the short way makes sure that it is still right."""
        if result.outcome is not Outcome.ACCEPTED:
            return
        match ping.request:
            case Request(kind=WorkflowKind.DYNAMIC, instance_id=None, external=None, workflow_id=workflow_id) if (
                result.instance_id
            ):
                _remember(self._joined, workflow_id, Joined(ping.account_id, result.instance_id))
            case PulseRequest(target=name) if result.target is not None:
                _remember(self._targets, (ping.account_id, name), result.target)


def _as_row(ping: NewPing, request: Request, joined: Joined | None) -> Row | None:
    if (
        joined is None
        or joined.account_id != ping.account_id
        # The answer to a static ping tells whether it was the last one missing, which takes a look at the others.
        or request.kind is not WorkflowKind.DYNAMIC
        or request.start
        or request.instance_id is not None
        or request.external is not None
    ):
        return None
    status = routing.predicted_status(InstanceStatus.RUNNING, request.fact)
    return stage_row(ping, Outcome.ACCEPTED, status, joined.instance_id)


def _remember(known: dict[Key, Value], key: Key, value: Value) -> None:
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[key] = value


class ConnectionLost(Exception):
    """The connection broke before the answer came: nobody knows yet whether the rows were kept."""

    def __init__(self, server_process: int) -> None:
        super().__init__(f"the connection to the server process {server_process} broke")
        self.server_process = server_process


class JoiningConnection:
    """A connection of its own, which commits each statement by itself. For one flush at a time."""

    def __init__(self, database_url: str, gateway_id: int) -> None:
        self._database_url = database_url.replace("+psycopg", "", 1)
        self._gateway_id = gateway_id
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def keep(self, rows: Sequence[Row]) -> list[Journaled] | None:
        """Keeps all of `rows` and commits, or keeps nothing and returns None.

        Raises psycopg.Error if nothing could be kept, and ConnectionLost.
        """
        parameters = {"gateway_id": self._gateway_id, "rows": documents(rows)}
        has_costs = any(row.ping.has_costs for row in rows)
        statement = _KEEP_IF_CURRENT_WITH_COSTS if has_costs else _KEEP_IF_CURRENT
        connection = await self._connected()
        server_process = connection.info.backend_pid
        try:
            cursor = await connection.execute(statement, parameters, prepare=True)
            ids = [row[0] for row in await cursor.fetchall()]
        except psycopg.Error as error:
            if connection.broken:
                raise ConnectionLost(server_process) from error
            raise
        return kept_as(rows, self._gateway_id, ids) if ids else None

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> "psycopg.AsyncConnection[tuple[Any, ...]]":
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._database_url,
                autocommit=True,
                connect_timeout=5,
                application_name="pingpulse journal",
                options=UTC,
            )
        return self._connection


def kept_as(rows: Sequence[Row], gateway_id: int, ids: Sequence[int]) -> list[Journaled]:
    return [journaled(row, gateway_id, ping_id) for row, ping_id in zip(rows, ids, strict=True)]
