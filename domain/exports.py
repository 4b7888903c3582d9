"""Instances taken out of one installation and opened in another."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from domain.evaluation import InstanceView, evaluate
from domain.instances import FINISHED, InstanceState, InstanceStatus, Outage, fold
from domain.pings import PingFact
from domain.routing import External
from domain.transitions import Transition
from domain.workflows import WorkflowDefinition

FORMAT: Final = "pingpulse.instance"
VERSION: Final = 1
"""Of the file. What is added with a default needs no new one."""

NOT_FINISHED: Final = "It was not finished when it was exported."


@dataclass(frozen=True)
class Exported:
    """What a file says of an instance: up to `exported_at` it had these `facts` and transitions. `outages` are those
    of the installation that it comes from, where its deadlines were moved by them. `external` is what its caller's own
    system knows of it."""

    definition: WorkflowDefinition
    status: InstanceStatus
    opened_at: datetime
    completed_at: datetime | None
    exported_at: datetime
    facts: tuple[PingFact, ...]
    transitions: tuple[Transition, ...]
    outages: tuple[Outage, ...] = ()
    external: External | None = None
    failure_reason: str | None = None


def as_finished(exported: Exported) -> tuple[InstanceView, tuple[Transition, ...]]:
    """How the instance stands once it is imported, and all its transitions.

    Nobody goes on with it, so one that was not finished ends there and then, as terminated.
    """
    completed_at = exported.completed_at if exported.status in FINISHED else None
    was_ended = exported.status is InstanceStatus.TERMINATED
    opened = InstanceState(
        "",
        exported.definition,
        exported.opened_at,
        terminated_at=completed_at if was_ended else None,
        termination_reason=exported.failure_reason if was_ended else None,
    )
    until = completed_at or exported.exported_at
    state = fold(opened, exported.facts, until=until, outages=exported.outages)
    view = evaluate(state)
    if view.status not in FINISHED:
        view = evaluate(replace(state, terminated_at=exported.exported_at))
    if exported.status in FINISHED:
        return view, exported.transitions
    ended_at = view.completed_at or exported.exported_at
    ending = Transition(None, exported.status, view.status, ended_at, view.failure_reason or NOT_FINISHED)
    return view, (*exported.transitions, ending)


def in_order(times: Iterable[datetime]) -> bool:
    """Whether no time comes before the one before it."""
    last: datetime | None = None
    for at in times:
        if last is not None and at < last:
            return False
        last = at
    return True
