"""OpenLineage's events on their way to the journal: each becomes a ping of the instance that its run belongs to."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

from api.gateway import Gateway
from api.lineage_input import Sent
from config.clock import utc_now
from domain.errors import Forbidden, NotFound
from domain.openlineage import (
    EventType,
    JobRun,
    Known,
    RunEvent,
    Said,
    event_key,
    second_workflow_id,
    stage_path,
    understand_event,
    workflow_id_of,
)
from domain.pings import PingFact, PingStatus, Report
from domain.routing import External
from domain.routing import Request as StageRequest
from domain.subjects import parts_of
from domain.verdicts import InstanceClosed
from domain.workflows import WorkflowDefinition, WorkflowKind
from storage.base import Sessions, single_statements
from storage.lineage_events import Owned, StageEvents, Told, find_owners, list_open_stages, stage_events, told_of
from storage.rows import NewPing

Turns = WeakValueDictionary[tuple[str, str], asyncio.Lock]

ASSUMED: Final = "The whole run is complete, and this part has not said how it ended."
SETTLED: Final = "Events of this stage came at the same moment; this is how it stands by all of them."


@dataclass(frozen=True)
class Taken:
    ping_id: int | None
    workflow_id: str
    instance_id: str
    path: str


@dataclass(frozen=True)
class _Place:
    """Where an event belongs, in the instance of the run `whole`, and what is known there; without `instance_id`, it
    opens the instance."""

    whole: JobRun
    workflow_id: str
    kind: WorkflowKind
    path: str
    known: Known
    instance_id: str | None


class EventTaker:
    """Takes the events of one account. `turns` are of the whole gateway."""

    def __init__(self, gateway: Gateway, sessions: Sessions, turns: Turns, account_id: str) -> None:
        self._gateway = gateway
        self._sessions = sessions
        self._turns = turns
        self._account_id = account_id

    async def take(self, sent: Sent) -> Taken:
        """Keeps an event. Raises the DomainError that it is refused with."""
        run, whole = sent.event.run, sent.event.whole
        # What an event means depends on those before: one of a run after the other.
        async with self._turns.setdefault((self._account_id, whole.run_id), asyncio.Lock()):
            taken = await self._take_at(await self._place_of(sent.event, whole), sent)
            if run != whole:
                # It may have parts that know of no root but this run: then it is an instance, too.
                place = await self._place_of(sent.event, run)
                if place.instance_id is not None:
                    await self._take_at(place, sent)
        return taken

    async def _take_at(self, place: _Place, sent: Sent) -> Taken:
        try:
            receipt = await self._gateway.take(self._event_ping(place, sent))
        except (Forbidden, NotFound):
            # Another account has taken the id in this moment, or the workflow was deleted.
            place = await self._place_of(sent.event, place.whole)
            receipt = await self._gateway.take(self._event_ping(place, sent))
        assert receipt.subject is not None
        instance_id = parts_of(receipt.subject)[-1]
        await self._settle(place, sent.event, instance_id)
        if sent.event.run == place.whole and sent.event.type is EventType.COMPLETE:
            await self._assume_ends(place, sent.event, instance_id)
        return Taken(receipt.ping_id, place.workflow_id, instance_id, place.path)

    async def _settle(self, place: _Place, event: RunEvent, instance_id: str) -> None:
        """Another gateway may have kept an event of the same stage meanwhile, neither knowing of the other's. Whoever
        looks last sees both, and says what they come to."""
        async with single_statements(self._sessions) as session:
            events = await stage_events(session, instance_id, place.path)
        latest = events.latest
        if latest is None:
            return
        run = replace(event.run, run_id=latest.run_id)
        shown = replace(event, run=run, type=latest.type, at=latest.at, error=None)
        said = understand_event(shown, Known(ends=events.ends))
        if said.status is not latest.status:
            await self._take_all([self._own_ping(place, place.path, shown, said, "settled", SETTLED)])

    async def _assume_ends(self, place: _Place, event: RunEvent, instance_id: str) -> None:
        """Parts of which no end was heard, because it was lost or because their tool tells of none, such as of a task
        that is skipped, are over when the whole is. What they say later counts all the same."""
        async with single_statements(self._sessions) as session:
            stages = await list_open_stages(session, instance_id)
        parts = {stage.path: replace(event, run=replace(event.run, run_id=stage.run_id)) for stage in stages}
        said = Said(PingStatus.HEALTHY)
        await self._take_all(
            self._own_ping(place, path, part, said, "assumed", ASSUMED) for path, part in parts.items()
        )

    async def _take_all(self, pings: Iterable[NewPing]) -> None:
        for result in await asyncio.gather(*map(self._gateway.take, pings), return_exceptions=True):
            # A strict instance without a grace period takes nothing more.
            if isinstance(result, BaseException) and not isinstance(result, InstanceClosed):
                raise result

    async def _place_of(self, event: RunEvent, whole: JobRun) -> _Place:
        first = workflow_id_of(whole)
        second = second_workflow_id(first, self._account_id)
        async with single_statements(self._sessions) as session:
            owners = await find_owners(session, (first, second), whole.run_id)
            workflow_id = first if first not in owners or owners[first].account_id == self._account_id else second
            owned = owners.get(workflow_id) or Owned(self._account_id, None, None)
            definition, instance_id = owned.definition, owned.instance_id
            told, events = Told(), StageEvents()
            if instance_id is not None:
                told = await told_of(session, instance_id, event.run.run_id)
            # A job may change its name on the way, once more is known of it.
            path = told.path or _defined_path(stage_path(event.run, whole, event.index), definition)
            if instance_id is not None:
                events = await stage_events(session, instance_id, path)
        is_static = definition is not None and definition.is_static
        kind = WorkflowKind.STATIC if is_static else WorkflowKind.DYNAMIC
        return _Place(whole, workflow_id, kind, path, Known(told.started_at, events.ends), instance_id)

    def _event_ping(self, place: _Place, sent: Sent) -> NewPing:
        event = sent.event
        said = understand_event(event, place.known)
        is_whole = event.run == place.whole and event.type is EventType.COMPLETE
        external = External(
            id=place.whole.run_id,
            correlation_id=event.whole.run_id,
            started_at=event.at if event.type is EventType.START else None,
            ended_at=event.at if event.type.is_end else None,
        )
        fact = replace(_fact(place.path, event, said), final=is_whole and said.status is PingStatus.HEALTHY)
        key = event_key(event, place.workflow_id, place.path)
        return self._ping(place, fact, external, sent.payload, key)

    def _own_ping(self, place: _Place, path: str, event: RunEvent, said: Said, what: str, why: str) -> NewPing:
        """What no event has said, but follows from those that there are."""
        document = {
            "eventType": event.type.value,
            "eventTime": event.at.isoformat(),
            "run": {"runId": event.run.run_id},
            what: why,
        }
        key = f"{event_key(event, place.workflow_id, path)}:{what}:{said.status}"
        external = External(place.whole.run_id)
        return self._ping(place, _fact(path, event, said), external, json.dumps(document), key)

    def _ping(self, place: _Place, fact: PingFact, external: External, payload: str, key: str) -> NewPing:
        return NewPing(
            self._account_id,
            StageRequest(place.workflow_id, place.kind, fact, start=True, external=external),
            Report(status=fact.status, error=fact.error, duration_ms=fact.duration_ms),
            payload=payload,
            size_bytes=len(payload.encode()),
            idempotency_key=key,
        )


def _fact(path: str, event: RunEvent, said: Said) -> PingFact:
    return PingFact(
        id=0,
        gateway=0,
        path=path,
        status=said.status,
        at=utc_now(),
        agent=event.agent,
        error=said.error,
        run_id=event.run.run_id,
        duration_ms=said.duration_ms,
    )


def _defined_path(path: str, definition: WorkflowDefinition | None) -> str:
    """The number of the stage that has this name in the definition."""
    order = definition.order_of_name(path) if definition is not None else None
    return str(order) if order is not None else path
