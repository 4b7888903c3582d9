"""What the pages of an instance show of it: how it stands now, or stood after one of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from api.dashboard.links import temporal_url
from api.dashboard.stage_spans import Course
from api.routes.instances import owned_instance
from api.security import Principal
from api.views import current_views
from config.clock import utc_now
from config.settings import Settings
from domain.approvals import ApprovalStatus
from domain.costs import total_of
from domain.evaluation import InstanceView
from domain.instances import FINISHED, InstanceStatus, StageStatus
from domain.subjects import instance_subject
from domain.timeline import as_of
from storage.approvals import Approval, list_approvals
from storage.budgets import get_budget, read_spent
from storage.cost_alerts import CostAlert
from storage.exports import external_id_of, outages_of
from storage.instances import Instance, list_correlated
from storage.steps import Mark, StatusChange, facts_of, list_crossings, list_marks, list_status_changes
from storage.workflows import Workflow, get_workflow

MAX_APPROVALS: Final = 20
MAX_CORRELATED: Final = 10


@dataclass(frozen=True)
class Figures:
    """What its steps add up to; `steps` without those that were rejected. Costs and tokens of what was inherited are
    those of the original."""

    steps: int
    rejected: int
    cost_usd: Decimal | None
    unpriced: int
    tokens: int | None
    done: int
    stages: int
    agents: int
    seconds: float


@dataclass(frozen=True)
class Look:
    """An instance as one looks at it. `step` is the one it is shown as of, None for now; `view` is how it stood then,
    `current` how it stands now. `marks` are all steps, also those that came later."""

    row: Instance
    workflow: Workflow | None
    current: InstanceView
    view: InstanceView
    marks: Sequence[Mark]
    step: int | None
    now: datetime

    @property
    def title(self) -> str:
        name = self.workflow.name if self.workflow is not None else self.row.rules().name
        return name or self.row.workflow_id

    @property
    def external_id(self) -> str | None:
        return external_id_of(self.row)

    @property
    def last_step(self) -> int:
        return len(self.marks) - 1

    @property
    def taken(self) -> Sequence[Mark]:
        """The steps up to the one that is looked at."""
        return self.marks if self.step is None else self.marks[: self.step + 1]

    @property
    def end(self) -> datetime:
        """When that was: now, or the end of the instance."""
        if self.step is not None:
            return self.marks[self.step].at
        if self.view.status in FINISHED and self.view.completed_at is not None:
            return max([self.view.completed_at, *(mark.at for mark in self.marks[-1:])])
        return self.now

    @cached_property
    def course(self) -> Course:
        return Course(self.row, self.view, self.taken, self.end)

    @cached_property
    def figures(self) -> Figures:
        taken = [mark for mark in self.taken if mark.accepted]
        own = [mark for mark in taken if not mark.inherited]
        unpriced = sum(mark.is_unpriced for mark in own)
        tokens = [number for mark in own for number in (mark.input_tokens, mark.output_tokens) if number is not None]
        priced = any(mark.cost_usd is not None for mark in own) or unpriced
        stages = self.view.stages.values()
        finished_at = self.row.ended_at or self.view.completed_at
        ended_at = finished_at if self.step is None and finished_at is not None else self.end
        started_at = self.row.started_at or self.row.opened_at
        return Figures(
            steps=len(taken),
            rejected=len(self.taken) - len(taken),
            cost_usd=total_of([mark.cost_usd for mark in own], unpriced=unpriced) if priced else None,
            unpriced=unpriced,
            tokens=sum(tokens) if tokens else None,
            done=sum(stage.status is StageStatus.HEALTHY for stage in stages),
            stages=len(stages),
            agents=len(self.course.agents()),
            seconds=max(0.0, (ended_at - started_at).total_seconds()),
        )


@dataclass(frozen=True)
class Surroundings:
    """What else there is to know of an instance as it is now."""

    changes: Sequence[StatusChange]
    crossings: Sequence[CostAlert]
    approvals: Sequence[Approval]
    correlated: Sequence[Instance]
    limit_usd: Decimal | None
    spent_usd: Decimal | None


async def look_at(session: AsyncSession, principal: Principal, instance_id: str, step: int | None = None) -> Look:
    """Raises NotFound and Forbidden. A step beyond the last one is the last one."""
    row = await owned_instance(session, principal, instance_id)
    marks = await list_marks(session, row.id)
    current = (await current_views(session, [row]))[row.id]
    view, number = current, None
    if step is not None and marks:
        number = min(step, len(marks) - 1)
        last = marks[number].stamp
        outages = await outages_of(session, row, last.at)
        view = as_of(row.before_pings(), facts_of(marks[: number + 1]), last, outages)
    workflow = await get_workflow(session, row.workflow_id)
    return Look(row, workflow, current, view, marks, number, utc_now())


async def surroundings_of(session: AsyncSession, look: Look) -> Surroundings:
    row = look.row
    crossings = await list_crossings(session, row.id)
    correlated: list[Instance] = []
    if row.correlation_id is not None:
        found = await list_correlated(session, row.account_id, row.correlation_id, limit=MAX_CORRELATED + 1)
        correlated = [other for other in found if other.id != row.id][:MAX_CORRELATED]
    limit_usd = spent_usd = None
    if look.current.status is InstanceStatus.PAUSED:
        budget = await get_budget(session, row.workflow_id)
        limit_usd = row.budget_limit_usd or (budget.limit_usd if budget is not None else None)
        spent_usd = await read_spent(session, row.id)
    return Surroundings(
        changes=await list_status_changes(session, row),
        crossings=crossings,
        approvals=await list_approvals(
            session,
            row.account_id,
            limit=MAX_APPROVALS,
            statuses=[ApprovalStatus.PENDING],
            instance_id=row.id,
        ),
        correlated=correlated,
        limit_usd=limit_usd,
        spent_usd=spent_usd,
    )


def head_of(look: Look, settings: Settings, tab: str) -> dict[str, Any]:
    """What the head of all pages of an instance is made of; `tab` is the one that is open."""
    subject = instance_subject(look.row.workflow_id, look.row.id)
    return {"look": look, "row": look.row, "tab": tab, "temporal": temporal_url(settings, subject)}
