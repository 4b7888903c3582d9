"""Making instances of instances: forks, whose journal begins with copies, and the tree that comes of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain import ids
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.evaluation import change_between, evaluate
from domain.forks import MAX_DEPTH, Origin, field_of, inherited_by_fork, modified_fact
from domain.instances import InstanceStatus, merge
from domain.merge_patch import merge_patch
from domain.pings import MAX_PAYLOAD_BYTES, PingFact
from domain.routing import is_first_stage
from domain.subjects import instance_subject
from storage.instances import Instance, record_change
from storage.pings import Ping, list_facts
from storage.workflows import Workflow

MAX_MODIFIED: Final = 1_000
"""Pings whose payloads may be modified at once: they are merged here, all others are copied inside Postgres."""

NO_GATEWAY: Final = 0
"""Of copies: no gateway has taken them. Under the number of a real one, it would look for them among its own."""

Modifications = Mapping[str, Mapping[str, Any]]
"""By stage, the JSON Merge Patch of the payloads of its pings."""

_OWN: Final = ("gateway_id", "instance_id", "subject", "inherited", "payload", "text", "size_bytes", "status", "error")
_COPIED: Final = [column.name for column in Ping.__table__.columns if column.name not in ("id", *_OWN)]

_COPY: Final = text(f"""
INSERT INTO pings ({", ".join((*_OWN, *_COPIED))})
SELECT :gateway_id, :instance_id, :subject, true,
       CASE WHEN m.ping_id IS NULL THEN p.payload ELSE m.payload END,
       CASE WHEN m.ping_id IS NULL THEN p.text END,
       coalesce(m.size_bytes, p.size_bytes),
       coalesce(m.status, p.status),
       CASE WHEN m.ping_id IS NULL THEN p.error ELSE m.error END,
       {", ".join(f"p.{name}" for name in _COPIED)}
FROM pings p
LEFT JOIN json_to_recordset(CAST(:modified AS json))
    AS m (ping_id bigint, payload json, size_bytes int, status text, error text) ON m.ping_id = p.id
WHERE p.id = ANY(:ping_ids)
ORDER BY p.received_at, p.id
""")
"""The ids of the copies grow in the order of the fold, so theirs is the same."""


@dataclass(frozen=True)
class Forked:
    """`stages_copied` counts stages, each once, however often it was pinged."""

    instance: Instance
    stages_copied: int


async def fork_instance(
    session: AsyncSession, parent: Instance, stage: str, modifications: Modifications, now: datetime
) -> Forked:
    """Makes a fork as of `now`; the caller commits. The original is only read.

    Accepted pings stay as they are and where they are: nothing but retention takes them away, see `add_descendant`.
    Raises InvalidRequest naming the field, Conflict for a fork that would be too deep, and NotFound if the workflow was
    deleted.
    """
    inherited = inherited_by_fork(parent.rules(), await list_facts(session, parent.id), stage, modifications)
    facts, documents = await _modify(session, inherited, modifications)
    fork = descendant(parent, Origin.FORK, now)
    fork.fork_from_stage = stage
    fork.first_stage_seen |= any(map(is_first_stage, facts))
    await add_descendant(session, fork, facts)
    await session.execute(
        _COPY,
        {
            "gateway_id": NO_GATEWAY,
            "instance_id": fork.id,
            "subject": instance_subject(fork.workflow_id, fork.id),
            "modified": json.dumps(documents, ensure_ascii=False),
            "ping_ids": [ping.id for ping in inherited],
        },
    )
    return Forked(fork, len({ping.path for ping in inherited}))


def descendant(parent: Instance, origin: Origin, now: datetime) -> Instance:
    """A new instance that is made of `parent`, by the same rules. Raises Conflict if that would be too deep."""
    if parent.fork_depth >= MAX_DEPTH:
        raise Conflict(f"Instance {parent.id} is {MAX_DEPTH} steps away from its root; take one that is nearer to it.")
    rules = parent.rules()
    return Instance(
        id=ids.new_instance_id(rules.kind),
        workflow_id=parent.workflow_id,
        account_id=parent.account_id,
        status=InstanceStatus.PENDING.value,
        opened_at=now,
        first_stage_seen=not rules.is_static,
        definition=parent.definition,
        version=0,
        origin=origin.value,
        parent_id=parent.id,
        root_id=parent.root_id or parent.id,
        fork_depth=parent.fork_depth + 1,
        session_id=str(uuid4()),
    )


async def add_descendant(session: AsyncSession, instance: Instance, facts: Sequence[PingFact]) -> None:
    """Keeps it as its pings make it. Raises NotFound if its workflow was deleted, which it cannot be meanwhile.

    Recorded here and not by its Temporal workflow: what it has inherited is nobody's news, and no alert.
    """
    query = select(Workflow.id).where(Workflow.id == instance.workflow_id, Workflow.deleted_at.is_(None))
    if await session.scalar(query.with_for_update(read=True)) is None:
        message = f"Workflow {instance.workflow_id} was deleted; its instances can be looked at, but not begun anew."
        raise NotFound(message)
    # Retention deletes nothing of what is held here, and looks again for forks once it holds it.
    parent = select(Instance.id).where(Instance.id == instance.parent_id).with_for_update(read=True, key_share=True)
    if await session.scalar(parent) is None:
        raise NotFound(f"There is no instance {instance.parent_id} any more.")
    session.add(instance)
    await session.flush()
    view = evaluate(merge(instance.before_pings(), facts))
    await record_change(session, change_between(instance.id, 1, None, view))
    await session.refresh(instance)


async def _modify(
    session: AsyncSession, pings: list[PingFact], modifications: Modifications
) -> tuple[list[PingFact], list[dict[str, Any]]]:
    """The pings as they say what was modified, and those that were modified as documents for _COPY."""
    wanted = {ping.id: ping.path for ping in pings if ping.path in modifications}
    merged = await merged_payloads(session, wanted, modifications)
    facts: list[PingFact] = []
    documents: list[dict[str, Any]] = []
    for ping in pings:
        if ping.id in merged:
            payload, size = merged[ping.id]
            ping = modified_fact(ping, modifications[ping.path], payload)
            documents.append(
                {"ping_id": ping.id, "payload": payload, "size_bytes": size, "status": ping.status, "error": ping.error}
            )
        facts.append(ping)
    return facts, documents


async def merged_payloads(
    session: AsyncSession, paths: Mapping[int, str], modifications: Modifications
) -> dict[int, tuple[dict[str, Any], int]]:
    """Of pings, by their ids, what the payload becomes and its size in bytes; `paths` are their stages.

    Raises InvalidRequest naming the stage if that is more than a ping may carry, or if they are too many.
    """
    if len(paths) > MAX_MODIFIED:
        message = f"concern {len(paths)} pings; those of at most {MAX_MODIFIED} can be modified at once"
        raise InvalidRequest.of_field("payload_modifications", message)
    rows = await session.execute(select(Ping.id, Ping.payload).where(Ping.id.in_(paths)))
    merged: dict[int, tuple[dict[str, Any], int]] = {}
    for ping_id, payload in rows:
        path = paths[ping_id]
        payload = merge_patch(payload, modifications[path])
        size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())
        if size > MAX_PAYLOAD_BYTES:
            message = f"the merged payload has {size} bytes; a ping's may have {MAX_PAYLOAD_BYTES}"
            raise InvalidRequest.of_field(field_of(path), message)
        merged[ping_id] = payload, size
    return merged


async def list_lineage(
    session: AsyncSession, root_id: str, *, limit: int, after: tuple[datetime, str] | None
) -> list[Instance]:
    """An instance and all that was made of it, oldest first; `after` are opening time and id of the one before."""
    query = select(Instance).where(or_(Instance.id == root_id, Instance.root_id == root_id))
    if after is not None:
        query = query.where(tuple_(Instance.opened_at, Instance.id) > after)
    return list((await session.scalars(query.order_by(Instance.opened_at, Instance.id).limit(limit))).all())
