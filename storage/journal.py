"""Appending to the journal: a batch of pings is routed and kept in one commit, with all that it brings into being."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, DomainError
from domain.routing import PulseRequest, Request, RunRequest
from storage.costs import COUNTED_COLUMNS, counted
from storage.pings import IdempotencyKey, Ping, find_used_keys
from storage.pulse_pings import route_pulse_pings
from storage.rows import Journaled, NewPing, Row, Same, documents, incoming, journaled, keep
from storage.run_pings import route_run_pings
from storage.stage_pings import route_stage_pings

IDEMPOTENCY_HOURS: Final = 24


@dataclass(frozen=True)
class Repeated:
    """The idempotency key was used before, for this ping; or this ping has said the same."""

    ping_id: int


Appended = Journaled | Repeated | DomainError


class KeyInUseElsewhere(Exception):
    """Another gateway is using the same idempotency key at this moment; the batch must be tried again."""


async def append(session: AsyncSession, gateway_id: int, pings: Sequence[NewPing], now: datetime) -> list[Appended]:
    """Keeps `pings` in their order and returns what became of each. The caller commits.

    No two of them may carry the same idempotency key. Raises KeyInUseElsewhere if another gateway uses one of
    the keys at the same time.
    """
    results: list[Appended | None] = [None] * len(pings)
    keys: dict[tuple[str, str | None], int] = {
        (ping.account_id, ping.idempotency_key): i for i, ping in enumerate(pings) if ping.idempotency_key
    }
    if keys:
        used = await find_used_keys(session, keys, now - timedelta(hours=IDEMPOTENCY_HOURS))
        for owner_and_key, usage in used.items():
            index = keys[owner_and_key]
            is_same = usage.target == _target(pings[index])
            results[index] = Repeated(usage.ping_id) if is_same else _key_reused()

    waiting = [i for i, result in enumerate(results) if result is None]
    routed = await _route(session, gateway_id, [pings[i] for i in waiting], now)
    kept: list[tuple[int, Row]] = []
    for index, row in zip(waiting, routed, strict=True):
        if isinstance(row, DomainError):
            results[index] = row
        elif isinstance(row, Row):
            kept.append((index, row))

    every = [each for _, row in kept for each in (row, *row.also)]
    ids = dict(zip(map(id, every), await _insert(session, gateway_id, every), strict=True))
    keyed: list[tuple[NewPing, int]] = []
    for index, row in kept:
        ping_id = ids[id(row)]
        also = tuple(journaled(other, gateway_id, ids[id(other)]) for other in row.also)
        results[index] = journaled(row, gateway_id, ping_id, also)
        if row.ping.idempotency_key:
            keyed.append((row.ping, ping_id))
    for index, row in zip(waiting, routed, strict=True):
        if isinstance(row, Same):
            results[index] = Repeated(ids[id(row.of)] if isinstance(row.of, Row) else row.of)
    if keyed:
        await _remember_keys(session, keyed, now)
    return [result for result in results if result is not None]


Router = Callable[[AsyncSession, int, Sequence[NewPing], datetime], Awaitable[Sequence[Row | Same | DomainError]]]


async def _route(
    session: AsyncSession, gateway_id: int, pings: Sequence[NewPing], now: datetime
) -> list[Row | Same | DomainError]:
    """What becomes of each of `pings`, of whatever they are."""
    routed: dict[int, Row | Same | DomainError] = {}
    routers: dict[type[Request | PulseRequest | RunRequest], Router] = {
        Request: route_stage_pings,
        PulseRequest: route_pulse_pings,
        RunRequest: route_run_pings,
    }
    for kind, route in routers.items():
        if chosen := [index for index, ping in enumerate(pings) if isinstance(ping.request, kind)]:
            rows = await route(session, gateway_id, [pings[index] for index in chosen], now)
            routed.update(zip(chosen, rows, strict=True))
    return [routed[index] for index in range(len(pings))]


_INSERT = text(f"""
WITH incoming AS (SELECT * FROM {incoming(":rows", costs=False)}),
{keep(":gateway_id", "incoming", costs=False)}
SELECT id FROM journaled ORDER BY id
""")

# Early pings that an instance has adopted are counted here too: a transaction counts once, and last.
_INSERT_WITH_COSTS = text(f"""
WITH incoming AS (SELECT * FROM {incoming(":rows", costs=True)}),
{keep(":gateway_id", "incoming", costs=True)},
accepted AS (
    SELECT {", ".join(COUNTED_COLUMNS)} FROM journaled
    UNION ALL SELECT {", ".join(COUNTED_COLUMNS)} FROM pings WHERE id = ANY(:adopted)
),
{counted("accepted")}
SELECT id FROM journaled ORDER BY id
""")


async def _insert(session: AsyncSession, gateway_id: int, rows: Sequence[Row]) -> list[int]:
    """One statement for the whole batch. The ids grow in the order of `rows`."""
    if not rows:
        return []
    parameters: dict[str, Any] = {"gateway_id": gateway_id, "rows": documents(rows)}
    adopted = [fact.id for row in rows for fact in row.adopted]
    statement = _INSERT
    if adopted or any(row.ping.has_costs for row in rows):
        statement, parameters["adopted"] = _INSERT_WITH_COSTS, adopted
    inserted = await session.execute(statement, parameters)
    return list(inserted.scalars())


async def _remember_keys(session: AsyncSession, keyed: Sequence[tuple[NewPing, int]], now: datetime) -> None:
    statement = insert(IdempotencyKey).values(
        [
            {
                "account_id": ping.account_id,
                "key": ping.idempotency_key,
                "target": _target(ping),
                "ping_id": ping_id,
                "created_at": now,
            }
            for ping, ping_id in keyed
        ]
    )
    remembered = await session.execute(
        statement.on_conflict_do_update(
            index_elements=["account_id", "key"],
            set_={name: statement.excluded[name] for name in ("target", "ping_id", "created_at")},
            where=IdempotencyKey.created_at <= now - timedelta(hours=IDEMPOTENCY_HOURS),
        ).returning(IdempotencyKey.key)
    )
    if len(remembered.all()) < len(keyed):
        raise KeyInUseElsewhere


def _target(ping: NewPing) -> str:
    match ping.request:
        case Request(workflow_id=about, is_whole=True):
            # Its success and its failure have the same path.
            return f"{about}/{ping.request.fact.path}#{ping.request.fact.status}"
        case Request(workflow_id=about):
            return f"{about}/{ping.request.fact.path}"
        case PulseRequest(target=about):
            return f"pulse/{about}/{ping.request.fact.path}"
        case RunRequest(hook=about):
            return f"process/{about}/{ping.request.fact.path}"


def _key_reused() -> DomainError:
    return Conflict("This Idempotency-Key was used for something else in the last 24 hours; send a new key.")


async def forget_old_keys(session: AsyncSession, before: datetime) -> None:
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < before))


async def server_process(session: AsyncSession) -> int:
    """The process of Postgres that serves the session's transaction."""
    connection = await (await session.connection()).get_raw_connection()
    driver_connection: Any = connection.driver_connection
    pid: int = driver_connection.info.backend_pid
    return pid


async def find_kept(session: AsyncSession, lost_process: int, gateway_id: int, after: int) -> list[int] | None:
    """The pings that a gateway kept behind `after`, whose commit got no answer; None while that may still be going on.

    Asked by rows, not by the transaction's id: after a crash of Postgres, ids of lost transactions are used again.
    """
    is_busy = text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid AND state <> 'idle'")
    if (await session.execute(is_busy, {"pid": lost_process})).first() is not None:
        return None
    kept = select(Ping.id).where(Ping.id > after, Ping.gateway_id == gateway_id).order_by(Ping.id)
    return list(await session.scalars(kept))
