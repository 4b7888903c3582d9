"""Deciding, for a batch of pings, which instance each belongs to."""

from dataclasses import replace
from typing import Final

from domain import ids, routing
from domain.errors import DomainError, Forbidden
from domain.evaluation import stand
from domain.instances import InstanceState, InstanceStatus, merge
from domain.pings import Outcome, PingFact
from domain.reports import LastReport
from domain.routing import Candidate, CreateAndOpen, Join, KeepEarly, Open, Refuse, Repeat, Request
from domain.subjects import instance_subject
from domain.workflows import WorkflowDefinition
from storage.routing import ExternalInstance, Routes, WorkflowRoute
from storage.rows import NewPing, Row, Same

MAX_ID: Final = 2**63 - 1
"""Of a ping in the journal. Those of the batch get theirs later, and come after it until then."""


class Batch:
    """Routes pings one after the other against routes read once, keeping those in step with what it opens."""

    def __init__(self, routes: Routes, locked: frozenset[str]) -> None:
        self.routes = routes
        self.locked = locked
        self.needs_lock: set[str] = set()
        self.created: list[WorkflowDefinition] = []
        self.first_stage_seen: list[str] = []
        self._early: dict[str, list[Row]] = {}
        self._unnumbered = 0

    def add(self, ping: NewPing) -> Row | Same | DomainError:
        request = stage_request(ping)
        known = self.routes.workflows.get(request.workflow_id)
        if known is not None and known.account_id != ping.account_id:
            return Forbidden(f"Workflow {request.workflow_id} belongs to another account.")
        named = self.routes.named.get(request.instance_id or "")
        candidate = named.candidate if named is not None and named.workflow_id == request.workflow_id else None
        external = self._external(request)
        if external is not None:
            candidate = external.candidate
        newest = known.newest if known is not None else None
        definition = known.definition if known is not None else None
        day_stop = known.day_stop if known is not None else None
        match routing.route(request, definition, newest, candidate, day_stop=day_stop):
            case Refuse(error, journaled, instance_id):
                if not journaled:
                    return error
                return stage_row(ping, Outcome.REJECTED, InstanceStatus.PENDING, instance_id, rejection=error)
            case KeepEarly():
                return self._keep_early(ping)
            case Join(instance_id):
                return self._joined(external, self._join(ping, instance_id, candidate or newest, known))
            case Repeat():
                assert external is not None
                assert external.report is not None
                return Same(external.report)
            case Open():
                assert known is not None
                assert known.definition is not None
                return self._open(ping, known.definition, has_budget=known.has_budget)
            case CreateAndOpen():
                definition = WorkflowDefinition(
                    id=request.workflow_id,
                    account_id=ping.account_id,
                    kind=request.kind,
                    name=request.workflow_id,
                    slug=request.workflow_id.lower(),
                )
                self.created.append(definition)
                # One that was deleted comes back with its budget.
                return self._open(ping, definition, has_budget=known is not None and known.has_budget)

    def _join(self, ping: NewPing, instance_id: str, candidate: Candidate | None, known: WorkflowRoute | None) -> Row:
        assert candidate is not None
        fact = ping.request.fact
        if routing.is_first_stage(fact) and not candidate.first_stage_seen:
            self._lock(stage_request(ping).workflow_id)
            self.first_stage_seen.append(instance_id)
            if known is not None and known.newest is not None and known.newest.id == instance_id:
                known.newest = replace(candidate, first_stage_seen=True)
        if candidate.is_strict or (known is not None and known.has_budget and not stage_request(ping).is_whole):
            return stage_row(ping, Outcome.PENDING, candidate.status, instance_id)
        status = self._status_after(fact, instance_id, candidate.status)
        return stage_row(ping, Outcome.ACCEPTED, status, instance_id)

    def _keep_early(self, ping: NewPing) -> Row:
        # Locked, so that no instance opens meanwhile elsewhere: its start would not see the ping.
        workflow_id = stage_request(ping).workflow_id
        self._lock(workflow_id)
        row = stage_row(ping, Outcome.EARLY, InstanceStatus.PENDING)
        self._early.setdefault(workflow_id, []).append(row)
        return row

    def _open(self, ping: NewPing, definition: WorkflowDefinition, *, has_budget: bool = False) -> Row:
        self._lock(definition.id)
        fact = ping.request.fact
        candidate = Candidate(
            ids.new_instance_id(definition.kind),
            InstanceStatus.RUNNING,
            first_stage_seen=not definition.is_static or routing.is_first_stage(fact),
            is_strict=definition.is_strict,
        )
        if stage_request(ping).external is not None:
            return self._open_external(ping, definition, candidate, has_budget=has_budget)
        self.routes.workflows[definition.id] = WorkflowRoute(definition.account_id, definition, candidate, has_budget)
        if definition.is_static:
            self.routes.states[candidate.id] = InstanceState(candidate.id, definition, fact.at)
        if definition.grace_period_seconds > 0:
            for early in self._early.pop(definition.id, []):
                early.outcome, early.status, early.instance_id = Outcome.ACCEPTED, InstanceStatus.RUNNING, candidate.id
                early.subject = instance_subject(definition.id, candidate.id)
        outcome = Outcome.PENDING if definition.is_strict or has_budget else Outcome.ACCEPTED
        status = self._status_after(fact, candidate.id, InstanceStatus.RUNNING)
        return stage_row(ping, outcome, status, candidate.id, opened=definition)

    def _external(self, request: Request) -> ExternalInstance | None:
        """What the ping's external id names, if it names the instance by that."""
        if request.external is None or request.external.id is None or request.instance_id is not None:
            return None
        return self.routes.external.get((request.workflow_id, request.external.id))

    def _open_external(
        self, ping: NewPing, definition: WorkflowDefinition, candidate: Candidate, *, has_budget: bool
    ) -> Row:
        """One that takes no pings but those that name it, early ones neither."""
        request = stage_request(ping)
        route = WorkflowRoute(definition.account_id, definition, None, has_budget)
        self.routes.workflows.setdefault(definition.id, route)
        if definition.is_static:
            self.routes.states[candidate.id] = InstanceState(candidate.id, definition, request.fact.at)
        is_judged = definition.is_strict or (has_budget and not request.is_whole)
        outcome = Outcome.PENDING if is_judged else Outcome.ACCEPTED
        status = self._status_after(request.fact, candidate.id, InstanceStatus.RUNNING)
        row = stage_row(ping, outcome, status, candidate.id, opened=definition)
        opened = ExternalInstance(candidate)
        if request.external is not None and request.external.id is not None:
            self.routes.external[definition.id, request.external.id] = opened
        return self._joined(opened, row)

    def _joined(self, instance: ExternalInstance | None, row: Row) -> Row:
        """Remembers what a report has said. One at a time tells of a workflow's runs: of two at once, the second may be
        a repetition."""
        external = stage_request(row.ping).external
        if external is not None and external.is_whole:
            self._lock(stage_request(row.ping).workflow_id)
            if instance is not None:
                report = LastReport(row.fact.status, external.ended_at)
                instance.candidate = replace(instance.candidate, report=report)
                instance.report = row
        return row

    def _status_after(self, fact: PingFact, instance_id: str, current: InstanceStatus) -> InstanceStatus:
        """The instance's status with this ping and those before it in the batch; predicted where that is enough."""
        state = self.routes.states.get(instance_id)
        if state is None:
            return routing.predicted_status(current, fact)
        self._unnumbered += 1
        state = self.routes.states[instance_id] = merge(state, [replace(fact, id=MAX_ID + self._unnumbered)])
        return stand(state).status

    def _lock(self, workflow_id: str) -> None:
        if workflow_id not in self.locked:
            self.needs_lock.add(workflow_id)


def stage_request(ping: NewPing) -> Request:
    assert isinstance(ping.request, Request)
    return ping.request


def stage_row(
    ping: NewPing,
    outcome: Outcome,
    status: InstanceStatus,
    instance_id: str | None = None,
    *,
    rejection: DomainError | None = None,
    opened: WorkflowDefinition | None = None,
) -> Row:
    """The ping of a stage as a row: of the instance, or of none (yet)."""
    workflow_id = stage_request(ping).workflow_id
    return Row(
        ping,
        ping.request.fact,
        outcome,
        status,
        subject=instance_subject(workflow_id, instance_id) if instance_id is not None else None,
        workflow_id=workflow_id,
        instance_id=instance_id,
        rejection=rejection,
        opened=opened,
    )
