"""What a ping is about; which instance it belongs to, and whether it opens one."""

from dataclasses import dataclass
from datetime import datetime

from domain.errors import DomainError, InvalidRequest, NotFound
from domain.instances import FINISHED, InstanceState, InstanceStatus
from domain.pings import PingFact, PingStatus
from domain.reports import LastReport, is_repetition
from domain.verdicts import (
    DailyBudgetExceeded,
    InstanceClosed,
    InstancePaused,
    InstanceTerminated,
    NoOpenInstance,
    judge,
)
from domain.workflows import WorkflowDefinition, WorkflowKind


@dataclass(frozen=True)
class Candidate:
    """An instance a ping may belong to.

    `first_stage_seen`: whether a static instance had a healthy stage 1 already; `is_strict`: by the definition that
    it was opened with. `reason` is why it failed, or why the circuit breaker stopped it. `report` is the latest that
    told of all of it, of those that are named by an external id.
    """

    id: str
    status: InstanceStatus
    closes_at: datetime | None = None
    first_stage_seen: bool = True
    is_strict: bool = False
    reason: str | None = None
    report: LastReport | None = None

    def stopped(self, workflow_id: str) -> DomainError | None:
        """What its pings are answered with, if the circuit breaker has stopped it."""
        if self.status is InstanceStatus.PAUSED:
            return InstancePaused.of(workflow_id, self.id, self.reason)
        if self.status is InstanceStatus.TERMINATED and self.reason is not None:
            return InstanceTerminated.of(workflow_id, self.id, self.reason)
        return None

    def is_closed(self, now: datetime) -> bool:
        return self.closes_at is not None and now > self.closes_at


@dataclass(frozen=True)
class External:
    """What the caller's own system knows of the instance that a ping belongs to.

    `id` is how it calls the instance: a run, a trace. Unique in the workflow; the first ping with it opens the
    instance; a blank one is none. `correlation_id` links instances of any workflows. `started_at` and `ended_at` are
    by the caller's clock: they are shown, and nothing is reckoned with them. `is_whole`: the ping reports all of it,
    at its end.
    """

    id: str | None = None
    correlation_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_whole: bool = False

    def __post_init__(self) -> None:
        # Kept as it is, it would never be looked up, and the next one would be a duplicate for ever.
        if self.id is not None and not self.id.strip():
            object.__setattr__(self, "id", None)


@dataclass(frozen=True)
class Request:
    """What of a stage ping decides its way. `kind` is the endpoint it came to, `instance_id` what the caller named.

    With `external`, but without an `instance_id`, it goes to the instance of that external id or opens one, and never
    to the workflow's current one.
    """

    workflow_id: str
    kind: WorkflowKind
    fact: PingFact
    start: bool = False
    instance_id: str | None = None
    external: External | None = None

    @property
    def is_whole(self) -> bool:
        return self.external is not None and self.external.is_whole


@dataclass(frozen=True)
class NewPulse:
    """The schedule of a target that a ping may bring into being."""

    period_seconds: float
    grace_seconds: float


@dataclass(frozen=True)
class PulseRequest:
    """What of a pulse's ping decides its way. `target` is an id or a slug.

    `is_plain`: the caller says no more than that it is alive, so the target's keywords decide what `body` means.
    """

    target: str
    fact: PingFact
    is_plain: bool = False
    body: str | None = None
    create: NewPulse | None = None


@dataclass(frozen=True)
class RunRequest:
    """What of a process hook's ping decides its way. `hook` is an id or a slug, `run_id` what the caller named."""

    hook: str
    fact: PingFact
    run_id: str | None = None


@dataclass(frozen=True)
class Join:
    instance_id: str


@dataclass(frozen=True)
class Open:
    """A new instance is opened by this ping."""


@dataclass(frozen=True)
class CreateAndOpen:
    """The dynamic workflow comes into being with this ping, and its first instance with it."""


@dataclass(frozen=True)
class KeepEarly:
    """No instance is open; the next start within the grace period adopts the ping."""


@dataclass(frozen=True)
class Repeat:
    """It says what the instance's latest report has said, and is not kept again."""


@dataclass(frozen=True)
class Refuse:
    """Not taken. `journaled`: kept in the failed queue, so that it can be investigated; as a ping of the instance, if
    there is one that it was for."""

    error: DomainError
    journaled: bool = False
    instance_id: str | None = None


Route = Join | Open | CreateAndOpen | KeepEarly | Repeat | Refuse


def route(
    request: Request,
    definition: WorkflowDefinition | None,
    newest: Candidate | None,
    named: Candidate | None,
    *,
    day_stop: str | None = None,
) -> Route:
    """Decides. `newest` is the newest instance of all if the circuit breaker has ended it, or else the newest open one
    or, without one, the newest still in its grace period; `named` the one that `request.instance_id` names, or else its
    external id, if it is of this workflow. `day_stop` is why nothing may be opened today: the workflow's daily limit is
    spent. What is reported as a whole is over: it is too late to stop it."""
    way = _route(request, definition, newest, named)
    if day_stop is None or not isinstance(way, Open) or request.is_whole:
        return way
    message = f"{day_stop}. No run is opened before the next day, or before the limit is raised."
    return Refuse(DailyBudgetExceeded(message), journaled=True)


def _route(
    request: Request, definition: WorkflowDefinition | None, newest: Candidate | None, named: Candidate | None
) -> Route:
    if definition is None:
        return _unknown_workflow(request)
    if definition.kind is not request.kind:
        message = f"{definition.id} is a {definition.kind} workflow; {how_to_ping(definition)}"
        return Refuse(InvalidRequest.of_field("workflow_id", message))
    is_whole = request.external is not None and request.external.is_whole
    order = definition.order_of_name(request.fact.path)
    if order is not None and not is_whole:
        message = f"{request.fact.path} is the name of stage {order}; ping it as stage={order}"
        return Refuse(InvalidRequest.of_field("stage", message))
    if request.instance_id is not None:
        return _to_named(request, named)
    if request.external is not None:
        return _to_external(request, definition, request.external, named)
    if definition.is_static:
        return _static(request, definition, newest)
    return _dynamic(request, definition, newest)


def how_to_ping(definition: WorkflowDefinition) -> str:
    """What to do instead, for whoever took it for another kind."""
    if definition.kind is WorkflowKind.RUN:
        return "report its runs at /api/v1/ingest/run-success and /api/v1/ingest/run-failure"
    return f"ping it at /{'shk' if definition.is_static else 'dhk'}/{definition.id}"


def _unknown_workflow(request: Request) -> Route:
    workflow_id = request.workflow_id
    if request.kind is not WorkflowKind.DYNAMIC:
        message = f"There is no {request.kind} workflow {workflow_id}; create it with POST /api/workflows first."
        return Refuse(NotFound(message))
    if not request.start:
        return Refuse(
            NotFound(f"There is no workflow {workflow_id} yet; send the first ping with start=yes to create it.")
        )
    if request.instance_id is not None:
        return Refuse(NotFound(f"There is no instance {request.instance_id} in workflow {workflow_id}."))
    return CreateAndOpen()


def _to_named(request: Request, named: Candidate | None) -> Route:
    if named is None:
        return Refuse(NotFound(f"There is no instance {request.instance_id} in workflow {request.workflow_id}."))
    if (stopped := named.stopped(request.workflow_id)) is not None:
        return Refuse(stopped, journaled=True, instance_id=named.id)
    if named.closes_at is not None and named.is_closed(request.fact.at):
        closed_at = named.closes_at.isoformat()
        return Refuse(InstanceClosed(f"Instance {named.id} closed at {closed_at}; open a new one to go on."))
    return Join(named.id)


def _to_external(
    request: Request, definition: WorkflowDefinition, external: External, named: Candidate | None
) -> Route:
    """Finds or opens. The end of one that is named so is no reason to turn a ping away: what comes of it may come late,
    and it cannot be meant for another."""
    if external.is_whole and definition.is_strict:
        message = f"{definition.id} is strict, so its runs cannot be reported as a whole; {how_to_ping(definition)}"
        return Refuse(InvalidRequest.of_field("workflow_id", message))
    if named is None:
        return _open(request, definition)
    is_over = named.is_closed(request.fact.at) and named.is_strict
    stopped = named.stopped(request.workflow_id)
    if stopped is not None and not external.is_whole:
        return Refuse(stopped, journaled=True, instance_id=named.id)
    if is_over or named.status is InstanceStatus.TERMINATED:
        return Refuse(InstanceClosed(f"Instance {named.id} has ended; use another id for what comes after it."))
    report = named.report if external.is_whole else None
    if report is not None and is_repetition(report, request.fact.status, external.ended_at):
        return Repeat()
    return Join(named.id)


def _dynamic(request: Request, definition: WorkflowDefinition, newest: Candidate | None) -> Route:
    if request.start:
        return _open(request, definition)
    if newest is not None:
        return _to_newest(request, newest)
    return _no_open_instance(definition, "start=yes") if definition.is_strict else KeepEarly()


def _static(request: Request, definition: WorkflowDefinition, newest: Candidate | None) -> Route:
    if request.fact.path == "1":
        if newest is not None and not newest.first_stage_seen and newest.stopped(request.workflow_id) is None:
            return Join(newest.id)
        return _open(request, definition)
    if newest is not None:
        return _to_newest(request, newest)
    return _no_open_instance(definition, "stage=1") if definition.is_strict else _open(request, definition)


def _to_newest(request: Request, newest: Candidate) -> Route:
    stopped = newest.stopped(request.workflow_id)
    return Join(newest.id) if stopped is None else Refuse(stopped, journaled=True, instance_id=newest.id)


def _open(request: Request, definition: WorkflowDefinition) -> Route:
    rejection = judge(InstanceState("", definition, request.fact.at), request.fact, None)
    return Open() if rejection is None else Refuse(rejection, journaled=True)


def _no_open_instance(definition: WorkflowDefinition, opener: str) -> Refuse:
    error = NoOpenInstance(
        f"Workflow {definition.id} has no open instance; send {opener} to open one.", expected_stage="1"
    )
    return Refuse(error, journaled=True)


def is_first_stage(fact: PingFact) -> bool:
    """Whether a ping is what a static instance begins with. One that failed or was announced is still awaited, so
    that its repetition heals the instance instead of opening another."""
    return fact.path == "1" and fact.status is PingStatus.HEALTHY


def predicted_status(current: InstanceStatus, fact: PingFact) -> InstanceStatus:
    """What a flexible instance's status will be as far as one ping tells, before its workflow has taken it in."""
    if fact.status is PingStatus.FAILED:
        return InstanceStatus.FAILED
    if fact.final and fact.status is PingStatus.HEALTHY and current not in FINISHED:
        return InstanceStatus.COMPLETED
    return InstanceStatus.RUNNING if current is InstanceStatus.PENDING else current
