"""The read model of instances: their status and their stages."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Numeric, delete, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.evaluation import Change, StageView
from domain.forks import Origin
from domain.instances import FINISHED, InstanceState, InstanceStatus, Pause
from domain.pings import Outcome
from domain.subjects import instance_subject
from domain.workflows import WorkflowDefinition
from storage.base import Base
from storage.pings import Ping
from storage.transitions import add_transitions
from storage.workflows import Workflow, definition_from


class Instance(Base):
    """One execution. Opened by the gateway together with its first ping, then written by its workflow alone.

    `version` counts what the workflow has recorded, so that a repeated activity writes nothing twice.
    `closes_at` is set while it is finished; after that it takes no more pings.
    `origin` is set if it was made of another one, `parent_id`, and `root_id` is where that line begins, `fork_depth`
    steps before; or if it is known by what its caller calls it (see `domain.routing.External`). It takes no pings but
    those that name it. No foreign keys, so that each of them may be forgotten by itself. `opened_at` is when it was
    made: its deadlines count from there. `started_at` and `ended_at` are its own times, by its caller's clock.
    `pauses` are `domain.instances.Pause`, as JSON. `budget_limit_usd` is what a resume allowed it. `is_unheard`: it was
    changed by others than its workflow, which has not loaded it since.
    `imported` is where one that was imported comes from, and what is known there alone: see `storage.exports`.
    """

    __tablename__ = "instances"

    id: Mapped[str] = mapped_column(primary_key=True)
    workflow_id: Mapped[str] = mapped_column(ForeignKey(Workflow.id))
    account_id: Mapped[str]
    status: Mapped[str]
    opened_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    failure_reason: Mapped[str | None]
    agent: Mapped[str | None]
    last_ping_at: Mapped[datetime | None]
    first_stage_seen: Mapped[bool]
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(BigInteger, default=0)
    origin: Mapped[str | None]
    parent_id: Mapped[str | None]
    root_id: Mapped[str | None]
    fork_depth: Mapped[int] = mapped_column(default=0, server_default="0")
    fork_from_stage: Mapped[str | None]
    session_id: Mapped[str | None]
    imported: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    external_id: Mapped[str | None]
    correlation_id: Mapped[str | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    pauses: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list, server_default="[]")
    budget_limit_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    is_unheard: Mapped[bool] = mapped_column(default=False, server_default="false")

    __table_args__ = (
        # Without forks and reruns: they take none of the pings that look for their instance.
        Index(
            "ix_instances_current",
            "workflow_id",
            "opened_at",
            "id",
            postgresql_where="closes_at IS NULL AND origin IS NULL",
        ),
        Index("ix_instances_root_id", "root_id", "opened_at", "id", postgresql_where="root_id IS NOT NULL"),
        Index(
            "uq_instances_workflow_id_external_id",
            "workflow_id",
            "external_id",
            unique=True,
            postgresql_where="external_id IS NOT NULL",
        ),
        Index(
            "ix_instances_correlation_id",
            "account_id",
            "correlation_id",
            "opened_at",
            "id",
            postgresql_where="correlation_id IS NOT NULL",
        ),
        Index("ix_instances_workflow_id_closes_at", "workflow_id", "closes_at"),
        Index("ix_instances_workflow_id_opened_at", "workflow_id", "opened_at", "id"),
        Index("ix_instances_unheard", "opened_at", postgresql_where="is_unheard"),
        Index("ix_instances_paused", "account_id", "opened_at", "id", postgresql_where="status = 'paused'"),
        Index("ix_instances_standing", "account_id", "status", "workflow_id", "opened_at"),
        Index(
            "ix_instances_ended",
            "account_id",
            "completed_at",
            postgresql_include=["status"],
            postgresql_where="completed_at IS NOT NULL",
        ),
        *(
            Index(
                f"ix_instances_{name}_prefix",
                "account_id",
                name,
                postgresql_ops={name: "text_pattern_ops"},
                postgresql_where=f"{name} IS NOT NULL",
            )
            for name in ("external_id", "correlation_id")
        ),
    )

    def rules(self) -> WorkflowDefinition:
        """The definition it was opened with."""
        return definition_from(self.definition)

    def before_pings(self) -> InstanceState:
        """What its pings are merged into."""
        return InstanceState(
            self.id,
            self.rules(),
            self.opened_at,
            terminated_at=self.completed_at if self.status == InstanceStatus.TERMINATED else None,
            begins_with_ping=self.origin == Origin.RERUN,
            pauses=self.pauses_made(),
            termination_reason=self.failure_reason if self.status == InstanceStatus.TERMINATED else None,
        )

    def pauses_made(self) -> tuple[Pause, ...]:
        return tuple(_pause(**pause) for pause in self.pauses)


def _pause(start: str, reason: str, cause: str, end: str | None) -> Pause:
    return Pause(datetime.fromisoformat(start), reason, cause, datetime.fromisoformat(end) if end else None)


def pauses_as_json(pauses: Iterable[Pause]) -> list[dict[str, Any]]:
    """As the column has them."""
    return [
        {
            "start": pause.start.isoformat(),
            "reason": pause.reason,
            "cause": pause.cause,
            "end": pause.end.isoformat() if pause.end else None,
        }
        for pause in pauses
    ]


_BY_A_PING = or_(Instance.origin.is_(None), Instance.origin == Origin.EXTERNAL)
"""Of those that a ping has opened."""


class Stage(Base):
    """A stage as its workflow last saw it."""

    __tablename__ = "stages"

    instance_id: Mapped[str] = mapped_column(ForeignKey(Instance.id, ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    name: Mapped[str | None]
    agent: Mapped[str | None]
    error: Mapped[str | None]
    changed_at: Mapped[datetime | None]


async def record_change(session: AsyncSession, change: Change) -> bool:
    """Writes it all; False, and nothing written, if that version was recorded before or the instance was ended."""
    written = await session.execute(
        update(Instance)
        .where(
            Instance.id == change.instance_id,
            Instance.version < change.version,
            Instance.status != InstanceStatus.TERMINATED,
        )
        .values(
            version=change.version,
            status=change.status,
            completed_at=change.completed_at,
            closes_at=change.closes_at,
            failure_reason=change.failure_reason,
            agent=change.agent,
            last_ping_at=change.last_ping_at,
        )
        .returning(Instance.workflow_id)
    )
    workflow_id = written.scalar()
    if workflow_id is None:
        return False
    if change.stages:
        statement = insert(Stage)
        columns = ("status", "name", "agent", "error", "changed_at")
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["instance_id", "path"], set_={name: statement.excluded[name] for name in columns}
            ),
            [_stage_row(change.instance_id, path, stage) for path, stage in change.stages.items()],
        )
    add_transitions(session, instance_subject(workflow_id, change.instance_id), change.transitions)
    return True


def _stage_row(instance_id: str, path: str, stage: StageView) -> dict[str, Any]:
    return {
        "instance_id": instance_id,
        "path": path,
        "status": stage.status.value,
        "name": stage.name,
        "agent": stage.agent,
        "error": stage.error,
        "changed_at": stage.at,
    }


async def get_instance(session: AsyncSession, instance_id: str) -> Instance | None:
    return await session.get(Instance, instance_id)


async def find_current_instance(session: AsyncSession, workflow_id: str) -> Instance | None:
    """The newest open instance or, without one, the newest of all. Neither is ever a fork or a rerun."""
    newest = select(Instance).where(Instance.workflow_id == workflow_id, _BY_A_PING)
    order = (Instance.opened_at.desc(), Instance.id.desc())
    current: Instance | None = await session.scalar(
        newest.where(Instance.closes_at.is_(None)).order_by(*order).limit(1)
    )
    return current or await session.scalar(newest.order_by(*order).limit(1))


async def list_instances(
    session: AsyncSession,
    workflow_id: str,
    *,
    limit: int,
    statuses: Iterable[InstanceStatus] = (),
    before: tuple[datetime, str] | None = None,
) -> list[Instance]:
    """Newest first; `before` is the opening time and id of the last one of the page before."""
    query = select(Instance).where(Instance.workflow_id == workflow_id)
    if wanted := [status.value for status in statuses]:
        query = query.where(Instance.status.in_(wanted))
    if before is not None:
        query = query.where(tuple_(Instance.opened_at, Instance.id) < before)
    query = query.order_by(Instance.opened_at.desc(), Instance.id.desc()).limit(limit)
    return list((await session.scalars(query)).all())


async def list_correlated(
    session: AsyncSession,
    account_id: str,
    correlation_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
) -> list[Instance]:
    """The account's instances, of any workflow, that their callers have linked by this id; newest first."""
    query = select(Instance).where(Instance.account_id == account_id, Instance.correlation_id == correlation_id)
    if before is not None:
        query = query.where(tuple_(Instance.opened_at, Instance.id) < before)
    query = query.order_by(Instance.opened_at.desc(), Instance.id.desc()).limit(limit)
    return list((await session.scalars(query)).all())


async def list_stages(session: AsyncSession, instance_ids: Iterable[str]) -> dict[str, list[Stage]]:
    """The stages of each of the instances, in no order."""
    stages: dict[str, list[Stage]] = {instance_id: [] for instance_id in instance_ids}
    for stage in await session.scalars(select(Stage).where(Stage.instance_id.in_(stages))):
        stages[stage.instance_id].append(stage)
    return stages


async def terminate_instances(session: AsyncSession, workflow_id: str, now: datetime) -> list[str]:
    """Ends every open instance of a workflow that is being deleted; returns their ids."""
    ended = await session.scalars(
        update(Instance)
        .where(Instance.workflow_id == workflow_id, Instance.status.not_in([status.value for status in FINISHED]))
        # A reason would say that the circuit breaker has ended it: that of a pause goes.
        .values(status=InstanceStatus.TERMINATED.value, completed_at=now, closes_at=now, failure_reason=None)
        .returning(Instance.id)
    )
    return list(ended.all())


async def mark_heard(session: AsyncSession, instance: Instance) -> None:
    """Its workflow knows it as it is in this session, unless it was changed since."""
    await session.execute(
        update(Instance)
        .where(Instance.id == instance.id, Instance.version == instance.version)
        .values(is_unheard=False)
    )


async def list_unheard(session: AsyncSession, limit: int) -> list[tuple[str, str]]:
    """The workflow and the id of instances whose workflow is to be told that they were changed."""
    query = select(Instance.workflow_id, Instance.id).where(Instance.is_unheard).order_by(Instance.opened_at)
    return [(row[0], row[1]) for row in await session.execute(query.limit(limit))]


async def forget_if_never_begun(session: AsyncSession, instance_id: str) -> None:
    """Deletes an instance whose opening ping was taken back, unless others have joined it, or no ping opens it."""
    joined = select(Ping.id).where(
        Ping.instance_id == instance_id, Ping.outcome.in_((Outcome.ACCEPTED, Outcome.PENDING))
    )
    never_recorded = (Instance.id == instance_id, _BY_A_PING, Instance.version == 0)
    await session.execute(delete(Instance).where(*never_recorded, ~joined.exists()))


async def list_unclosed(session: AsyncSession, now: datetime) -> list[tuple[str, str]]:
    """The workflow and the id of every instance that its workflow still has to follow. Of one that waits for its first
    ping, nothing is due."""
    query = select(Instance.workflow_id, Instance.id).where(
        or_(Instance.closes_at.is_(None), Instance.closes_at > now), Instance.status != InstanceStatus.PENDING
    )
    return [(row[0], row[1]) for row in await session.execute(query)]
