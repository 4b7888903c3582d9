"""Deleting what is over and old: a batch in one transaction, of whatever kind there is some left.

A batch is small, and locks nothing but what it deletes, all of it long out of use: no ping waits for it. Whoever dies
in the middle has deleted nothing, and the next one begins where that began.

Sums of days stay (`cost_rollups`, `instance_costs`, `workflow_costs`), and so do the changes of status of pulses.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from storage.approval_seals import seal
from storage.old_things import (
    ENDED_RUNS,
    LOST_RUNS,
    OLD_ALERTS,
    OLD_APPROVALS,
    OLD_INSTANCES,
    OLD_PULSE_PINGS,
    OLD_REJECTED,
    Counted,
    is_over,
    values_of,
)
from storage.retention import EVERY, RetentionRow, take_due

BATCH: Final = 50
"""Rows of one kind that are looked for at once; of an instance or a run, all that belongs to it goes with it."""

MOST_PINGS: Final = 5_000
"""Of the instances of one batch together, unless one has more by itself."""


async def forget_some(session: AsyncSession, now: datetime, batch: int = BATCH) -> bool | None:
    """One batch of the account whose turn it is; the caller commits. Whether it deleted anything: if not, that account
    has its next turn later. None if it is nobody's turn."""
    row = await take_due(session, now)
    if row is None:
        return None
    deleted = await forget_batch(session, row, now, batch)
    if deleted:
        row.deleting = {kind: row.deleting.get(kind, 0) + deleted.get(kind, 0) for kind in row.deleting | deleted}
    else:
        row.deleted, row.deleting, row.looked_at = row.deleting, {}, now
        row.due_at = now + EVERY
    return bool(deleted)


async def forget_batch(session: AsyncSession, row: RetentionRow, now: datetime, batch: int = BATCH) -> Counted:
    """How many of which kind were deleted; of one kind at most, none if nothing is left."""
    known: dict[int, dict[str, Any]] = {}
    for kind, days, forget in _kinds(row.keep_days, row.keep_approvals_days):
        if days not in known:
            known[days] = await values_of(session, row.account_id, days, now)
        if count := await forget(session, known[days], batch):
            return {kind: count}
    return {}


async def _forget_instances(session: AsyncSession, values: dict[str, Any], batch: int) -> int:
    roots = await _scalars(
        session,
        f"""SELECT DISTINCT root FROM (
            SELECT coalesce(i.root_id, i.id) AS root {OLD_INSTANCES} ORDER BY i.completed_at LIMIT :batch
        ) found""",
        {**values, "batch": batch},
    )
    if not roots:
        return 0
    members = "id = ANY(:roots) OR root_id = ANY(:roots)"
    # Whoever forks an instance holds its row. So only now it is known that nobody does.
    locked = await _scalars(
        session,
        f"SELECT id FROM instances WHERE {members} ORDER BY id FOR UPDATE SKIP LOCKED",
        {"roots": roots},
    )
    rows = await session.execute(
        text(
            f"""SELECT coalesce(i.root_id, i.id), i.id, i.workflow_id,
                (SELECT count(*) FROM (SELECT FROM pings g WHERE g.instance_id = i.id LIMIT :most) counted)
            FROM instances i
            WHERE (i.id = ANY(:roots) OR i.root_id = ANY(:roots)) AND coalesce(i.root_id, i.id) NOT IN (
                SELECT coalesce(m.root_id, m.id) FROM instances m
                WHERE (m.id = ANY(:roots) OR m.root_id = ANY(:roots))
                  AND (m.id <> ALL(:locked) OR NOT {is_over("m")})
            ) ORDER BY 1, 2"""
        ),
        {**values, "roots": roots, "locked": locked, "most": MOST_PINGS},
    )
    trees: dict[str, list[tuple[str, str, int]]] = {}
    for root, instance_id, workflow_id, pings in rows:
        trees.setdefault(root, []).append((instance_id, workflow_id, pings))
    chosen: list[tuple[str, str]] = []
    pings = 0
    for tree in trees.values():
        size = sum(member[2] for member in tree)
        if chosen and pings + size > MOST_PINGS:
            break
        pings += size
        chosen.extend((instance_id, workflow_id) for instance_id, workflow_id, _ in tree)
    await delete_instances(session, values["account_id"], chosen)
    return len(chosen)


async def delete_instances(session: AsyncSession, account_id: str, instances: Sequence[tuple[str, str]]) -> None:
    """Ids and workflows of instances that nobody uses any more, with all that is theirs alone."""
    ids = [instance_id for instance_id, _ in instances]
    values = {
        "ids": ids,
        "subjects": [f"instance/{workflow_id}/{instance_id}" for instance_id, workflow_id in instances],
        "account_id": account_id,
    }
    for statement in (
        "DELETE FROM pings WHERE instance_id = ANY(:ids)",
        "DELETE FROM transitions WHERE subject = ANY(:subjects)",
        "DELETE FROM reservations WHERE instance_id = ANY(:ids)",
        "DELETE FROM cost_alerts WHERE instance_id = ANY(:ids)",
        "DELETE FROM comparisons WHERE account_id = :account_id AND (instance_a = ANY(:ids) OR instance_b = ANY(:ids))",
        # Stages, and the inputs of reruns, go with them.
        "DELETE FROM instances WHERE id = ANY(:ids)",
    ):
        await session.execute(text(statement), values)


async def _forget_runs(session: AsyncSession, values: dict[str, Any], batch: int) -> int:
    count = 0
    for query in (ENDED_RUNS, LOST_RUNS):
        rows = await session.execute(
            text(f"SELECT r.id, r.hook_id {query} LIMIT :batch FOR UPDATE SKIP LOCKED"), {**values, "batch": batch}
        )
        runs = rows.all()
        ids, subjects = [run[0] for run in runs], [f"process/{run[1]}/{run[0]}" for run in runs]
        for statement in (
            "DELETE FROM pings WHERE subject = ANY(:subjects) AND workflow_id IS NULL",
            "DELETE FROM transitions WHERE subject = ANY(:subjects)",
            "DELETE FROM process_runs WHERE id = ANY(:ids)",
        ):
            if ids:
                await session.execute(text(statement), {"ids": ids, "subjects": subjects})
        count += len(ids)
    return count


async def _forget_pulse_pings(session: AsyncSession, values: dict[str, Any], batch: int) -> int:
    return await _forget_pings(session, OLD_PULSE_PINGS, values, batch)


async def _forget_rejected(session: AsyncSession, values: dict[str, Any], batch: int) -> int:
    return await _forget_pings(session, OLD_REJECTED, values, batch)


async def _forget_pings(session: AsyncSession, query: str, values: dict[str, Any], batch: int) -> int:
    most = {**values, "most": batch}
    ids = await _scalars(session, f"SELECT old.id {query} LIMIT :most", most)
    if ids:
        await session.execute(text("DELETE FROM pings WHERE id = ANY(:ids)"), {"ids": ids})
    return len(ids)


async def _forget_alerts(session: AsyncSession, values: dict[str, Any], batch: int) -> int:
    query = f"SELECT a.id {OLD_ALERTS} ORDER BY a.created_at LIMIT :batch FOR UPDATE SKIP LOCKED"
    ids = await _scalars(session, query, {**values, "batch": batch})
    if ids:
        await _delete_alerts(session, ids)
    return len(ids)


async def _delete_alerts(session: AsyncSession, ids: Collection[str]) -> None:
    """With their deliveries, and the messages that told of nothing else."""
    told = "DELETE FROM deliveries WHERE alert_id = ANY(:ids) RETURNING message_id"
    messages = {message_id for message_id in await _scalars(session, told, {"ids": ids}) if message_id is not None}
    await session.execute(text("DELETE FROM alerts WHERE id = ANY(:ids)"), {"ids": ids})
    empty = await _scalars(
        session,
        """SELECT m.id FROM messages m WHERE m.id = ANY(:ids) AND m.state <> 'pending'
           AND NOT EXISTS (SELECT FROM deliveries d WHERE d.message_id = m.id)""",
        {"ids": sorted(messages)},
    )
    await _delete_messages(session, empty)


async def _delete_messages(session: AsyncSession, ids: Collection[str]) -> None:
    if ids:
        await session.execute(text("DELETE FROM attempts WHERE message_id = ANY(:ids)"), {"ids": ids})
        await session.execute(text("DELETE FROM messages WHERE id = ANY(:ids)"), {"ids": ids})


async def _forget_approvals(session: AsyncSession, values: dict[str, Any], batch: int) -> int:
    query = f"SELECT p.id {OLD_APPROVALS} ORDER BY p.decided_at LIMIT :batch FOR UPDATE SKIP LOCKED"
    ids = await _scalars(session, query, {**values, "batch": batch})
    if not ids:
        return 0
    subjects = [f"approval/{id_}" for id_ in ids]
    await session.execute(text("SELECT set_config('pingpulse.is_sealing', 'yes', true)"))
    await seal(session, ids, values["now"])
    alerts = await _scalars(session, "SELECT id FROM alerts WHERE subject = ANY(:subjects)", {"subjects": subjects})
    await _delete_alerts(session, alerts)
    letters = await _scalars(session, "SELECT id FROM messages WHERE approval_id = ANY(:ids)", {"ids": ids})
    await _delete_messages(session, letters)
    for statement in (
        "DELETE FROM transitions WHERE subject = ANY(:subjects)",
        "DELETE FROM attachments WHERE source = ANY(:subjects)",
        "DELETE FROM approval_nonces WHERE approval_id = ANY(:ids)",
        "DELETE FROM approval_codes WHERE approval_id = ANY(:ids)",
        "DELETE FROM approval_votes WHERE approval_id = ANY(:ids)",
        "DELETE FROM approval_audit WHERE approval_id = ANY(:ids)",
        "DELETE FROM approvals WHERE id = ANY(:ids)",
    ):
        await session.execute(text(statement), {"ids": ids, "subjects": subjects})
    return len(ids)


async def _scalars(session: AsyncSession, statement: str, values: dict[str, Any]) -> list[Any]:
    return list((await session.execute(text(statement), values)).scalars())


_Forget = Callable[[AsyncSession, dict[str, Any], int], Awaitable[int]]

_FORGOTTEN: Final[dict[str, _Forget]] = {
    "instances": _forget_instances,
    "process_runs": _forget_runs,
    "pulse_pings": _forget_pulse_pings,
    "rejected_pings": _forget_rejected,
    "alerts": _forget_alerts,
}


def _kinds(keep_days: int | None, keep_approvals_days: int | None) -> list[tuple[str, int, _Forget]]:
    kinds = [(kind, keep_days, forget) for kind, forget in _FORGOTTEN.items()] if keep_days is not None else []
    if keep_approvals_days is not None:
        kinds.append(("approvals", keep_approvals_days, _forget_approvals))
    return kinds
