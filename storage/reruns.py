"""Making an instance whose work is to be done once more: it waits for its first ping, and keeps what to do it with."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, ForeignKey, Index, Text, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.forks import Origin, check_modified
from domain.instance_alerts import rerun_alert
from storage.alerts import raise_alerts
from storage.base import Base
from storage.forks import Modifications, add_descendant, descendant, merged_payloads
from storage.instances import Instance
from storage.pings import list_facts


class RerunInput(Base):
    """What a stage is to be done with: the payload of its last accepted ping, as it was modified. What was sent as text
    is a JSON string. `position` counts stages in the order in which they came first."""

    __tablename__ = "rerun_inputs"

    instance_id: Mapped[str] = mapped_column(ForeignKey(Instance.id, ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    name: Mapped[str | None]
    agent: Mapped[str | None]
    payload: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    is_modified: Mapped[bool]

    __table_args__ = (Index("uq_rerun_inputs_instance_id_position", "instance_id", "position", unique=True),)


_KEEP: Final = text("""
INSERT INTO rerun_inputs (instance_id, path, position, name, agent, payload, is_modified)
SELECT :instance_id, p.path, i.position, p.name, p.agent,
       CASE WHEN i.is_modified THEN i.payload ELSE coalesce(p.payload, to_json(p.text)) END, i.is_modified
FROM json_to_recordset(CAST(:inputs AS json)) AS i (ping_id bigint, position int, payload json, is_modified bool)
JOIN pings p ON p.id = i.ping_id
""")


@dataclass(frozen=True)
class Input:
    """`payload` is JSON text as it was sent; None if there was none."""

    path: str
    name: str | None
    agent: str | None
    payload: str | None
    is_modified: bool


@dataclass(frozen=True)
class InputPage:
    inputs: list[Input]
    total: int


async def rerun_instance(
    session: AsyncSession, parent: Instance, modifications: Modifications, now: datetime, inputs_url: str
) -> Instance:
    """Makes it as of `now`, and an alert that asks for its work; the caller commits. The original is only read.

    `inputs_url` is where its inputs are, with `{}` for its id. Raises InvalidRequest naming the field, Conflict for one
    that would be too deep, and NotFound if the workflow was deleted.
    """
    rules = parent.rules()
    last_pings = {ping.path: ping.id for ping in await list_facts(session, parent.id)}
    check_modified(rules, last_pings, modifications)
    rerun = descendant(parent, Origin.RERUN, now)
    merged = await merged_payloads(session, {last_pings[path]: path for path in modifications}, modifications)
    inputs = [
        {
            "ping_id": ping_id,
            "position": position,
            "payload": merged[ping_id][0] if ping_id in merged else None,
            "is_modified": ping_id in merged,
        }
        for position, ping_id in enumerate(last_pings.values())
    ]
    await add_descendant(session, rerun, [])
    await session.execute(_KEEP, {"instance_id": rerun.id, "inputs": json.dumps(inputs, ensure_ascii=False)})
    assert rerun.session_id is not None
    alert = rerun_alert(
        rules, rerun.id, parent.id, rerun.session_id, now, inputs_url.format(rerun.id), sorted(modifications)
    )
    await raise_alerts(session, [alert], now)
    return rerun


async def read_inputs(session: AsyncSession, instance_id: str, *, start: int, limit: int) -> InputPage:
    """Those from the number `start` on, `limit` at most, in the order in which the stages came first."""
    of_instance = RerunInput.instance_id == instance_id
    total = await session.scalar(select(func.count()).select_from(RerunInput).where(of_instance)) or 0
    query = (
        select(
            RerunInput.path, RerunInput.name, RerunInput.agent, cast(RerunInput.payload, Text), RerunInput.is_modified
        )
        .where(of_instance, RerunInput.position.between(start, start + limit - 1))
        .order_by(RerunInput.position)
    )
    return InputPage([Input(*row) for row in await session.execute(query)], total)
