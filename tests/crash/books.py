"""Do the answers, the journal and the workflows agree?"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from temporalio.client import Client

from api.views import fold_instance
from domain.subjects import instance_subject
from storage.base import Sessions
from storage.gateways import Gateway
from storage.instances import Instance
from storage.outbox import OutboxRow
from storage.pings import Ping
from temporal_workflows.instance import InstanceWorkflow
from tests.crash.callers import Answers
from tests.support.up import Up
from tests.support.waiting import until

CATCH_UP_SECONDS = 30


async def check_books(up: Up, answers: Answers) -> None:
    """Every acknowledged ping is in the journal and applied, once; none that was answered with an error is."""
    temporal = await up.temporal()
    async with up.sessions() as sessions:
        await until(lambda: _is_told(sessions), timeout=30, every=0.1)
        await _check_journal(sessions, answers)
        for instance in await _instances(sessions):
            await _check_instance(sessions, temporal, instance)


@dataclass(frozen=True)
class Told:
    """Falsy, and showing what it is, while anything is left in the outbox."""

    left: list[tuple[Any, ...]]
    gateways: list[tuple[Any, ...]]

    def __bool__(self) -> bool:
        return not self.left


async def _is_told(sessions: Sessions) -> Told:
    rows = select(OutboxRow.ping_id, OutboxRow.gateway_id, OutboxRow.subject, OutboxRow.wants_verdict)
    gateways = select(Gateway.id, Gateway.seen_at, Gateway.stopped_at, Gateway.adopted_by)
    async with sessions() as session:
        left = [tuple(row) for row in await session.execute(rows.limit(10))]
        return Told(left, [tuple(row) for row in await session.execute(gateways)])


async def _check_journal(sessions: Sessions, answers: Answers) -> None:
    marker = Ping.payload["marker"].as_string()
    async with sessions() as session:
        rows = (await session.execute(select(marker, Ping.outcome))).all()
    outcomes: dict[str, list[str]] = {}
    for name, outcome in rows:
        outcomes.setdefault(name, []).append(outcome)
    accepted = Counter(name for name, outcome in rows if outcome == "accepted")
    assert {name for name in answers.acknowledged if accepted[name] != 1} == set(), "acknowledged: once each"
    assert {name for name in answers.refused if accepted[name]} == set(), "refused: never"
    assert {name: found for name, found in outcomes.items() if len(found) > 1 and accepted[name] != 1} == {}
    assert not [name for name, outcome in rows if outcome == "pending"], "every ping has found its end"


async def _instances(sessions: Sessions) -> list[Instance]:
    async with sessions() as session:
        return list((await session.scalars(select(Instance))).all())


async def _check_instance(sessions: Sessions, temporal: Client, instance: Instance) -> None:
    """The workflow has counted each accepted ping once, and shows what the journal adds up to."""
    handle = temporal.get_workflow_handle_for(InstanceWorkflow.run, instance_subject(instance.workflow_id, instance.id))
    async with sessions() as session:
        accepted = await session.scalar(
            select(func.count()).where(Ping.instance_id == instance.id, Ping.outcome == "accepted")
        )
        folded = await fold_instance(session, instance)
    counted = 0
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + CATCH_UP_SECONDS
    while counted < (accepted or 0) and loop.time() < give_up_at:
        snapshot = await handle.query(InstanceWorkflow.state)
        counted = snapshot.state.ping_count if snapshot is not None else 0
        await asyncio.sleep(0.05)
    assert counted == accepted, f"instance {instance.id} has counted {counted} of {accepted} pings"
    shown = await handle.query(InstanceWorkflow.tree)
    assert shown is not None
    assert (shown.status, shown.stages) == (folded.status, folded.stages), f"instance {instance.id}"
