"""Workflow definitions as users keep them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from domain.workflows import StageDefinition, ValidationMode, WorkflowDefinition, WorkflowKind
from storage.accounts import Account
from storage.base import Base


class Workflow(Base):
    """A definition; deleted ones stay for the sake of their history, and their id stays taken.

    `pulse_id` is the pulse that its reports are pings of, if they are expected in intervals.
    """

    __tablename__ = "workflows"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    kind: Mapped[str]
    name: Mapped[str]
    slug: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    validation_mode: Mapped[str]
    stages: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    stage_timeout_seconds: Mapped[float | None]
    instance_timeout_seconds: Mapped[float | None]
    idle_timeout_seconds: Mapped[float | None]
    grace_period_seconds: Mapped[float]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    pulse_id: Mapped[str | None] = mapped_column(ForeignKey("pulses.id"))

    __table_args__ = (
        Index("uq_workflows_account_id_slug", "account_id", "slug", unique=True, postgresql_where="deleted_at IS NULL"),
        Index("ix_workflows_account_id_created_at", "account_id", "created_at", "id"),
    )

    def definition(self) -> WorkflowDefinition:
        return WorkflowDefinition(
            id=self.id,
            account_id=self.account_id,
            kind=WorkflowKind(self.kind),
            name=self.name,
            slug=self.slug,
            tags=tuple(self.tags),
            validation_mode=ValidationMode(self.validation_mode),
            stages=tuple(StageDefinition(**stage) for stage in self.stages),
            stage_timeout_seconds=self.stage_timeout_seconds,
            instance_timeout_seconds=self.instance_timeout_seconds,
            idle_timeout_seconds=self.idle_timeout_seconds,
            grace_period_seconds=self.grace_period_seconds,
        )


def columns_of(definition: WorkflowDefinition) -> dict[str, Any]:
    """The definition as values of the table's columns."""
    return {
        "id": definition.id,
        "account_id": definition.account_id,
        "kind": definition.kind.value,
        "name": definition.name,
        "slug": definition.slug,
        "tags": list(definition.tags),
        "validation_mode": definition.validation_mode.value,
        "stages": [
            {"order": stage.order, "name": stage.name, "timeout_seconds": stage.timeout_seconds}
            for stage in definition.stages
        ],
        "stage_timeout_seconds": definition.stage_timeout_seconds,
        "instance_timeout_seconds": definition.instance_timeout_seconds,
        "idle_timeout_seconds": definition.idle_timeout_seconds,
        "grace_period_seconds": definition.grace_period_seconds,
    }


def definition_from(columns: Mapping[str, Any]) -> WorkflowDefinition:
    """The inverse of `columns_of`, for the copy that each instance keeps."""
    return WorkflowDefinition(
        **{
            **columns,
            "kind": WorkflowKind(columns["kind"]),
            "tags": tuple(columns.get("tags", ())),
            "validation_mode": ValidationMode(columns["validation_mode"]),
            "stages": tuple(StageDefinition(**stage) for stage in columns["stages"]),
        }
    )


async def get_workflow(session: AsyncSession, workflow_id: str) -> Workflow | None:
    """The workflow, unless it was deleted."""
    workflow = await session.get(Workflow, workflow_id)
    return workflow if workflow is not None and workflow.deleted_at is None else None


async def find_workflows(
    session: AsyncSession, account_id: str, column: InstrumentedAttribute[str], value: str, *, limit: int = 5
) -> list[Workflow]:
    """Those of the account with exactly this id, slug or name: of the first two there is one at most."""
    query = select(Workflow).where(Workflow.account_id == account_id, Workflow.deleted_at.is_(None), column == value)
    return list(await session.scalars(query.order_by(Workflow.created_at, Workflow.id).limit(limit)))


async def list_workflows(
    session: AsyncSession,
    account_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None,
    kind: WorkflowKind | None = None,
) -> list[Workflow]:
    """Newest first; `before` is the creation time and id of the last one of the page before."""
    query = (
        select(Workflow)
        .where(Workflow.account_id == account_id, Workflow.deleted_at.is_(None))
        .order_by(Workflow.created_at.desc(), Workflow.id.desc())
        .limit(limit)
    )
    if kind is not None:
        query = query.where(Workflow.kind == kind)
    if before is not None:
        at, workflow_id = before
        query = query.where(tuple_(Workflow.created_at, Workflow.id) < (at, workflow_id))
    return list((await session.scalars(query)).all())


async def lock_workflows(session: AsyncSession, workflow_ids: Iterable[str]) -> None:
    """Holds the rows until the transaction ends, so that only one gateway at a time opens instances of them."""
    # Not FOR UPDATE: whoever changes an instance twice in one transaction has its foreign key checked, which would wait
    # for us while we wait for the instance.
    query = select(Workflow.id).where(Workflow.id.in_(sorted(workflow_ids))).order_by(Workflow.id)
    await session.execute(query.with_for_update(key_share=True))
