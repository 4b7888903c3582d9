"""Reported runs: instances by their callers' own ids, how the runs of a workflow stand, and when they are expected."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "run_standings",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("workflow_id", name=op.f("pk_run_standings")),
    )
    op.add_column("instances", sa.Column("external_id", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("correlation_id", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("instances", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "uq_instances_workflow_id_external_id",
        "instances",
        ["workflow_id", "external_id"],
        unique=True,
        postgresql_where="external_id IS NOT NULL",
    )
    op.create_index(
        "ix_instances_correlation_id",
        "instances",
        ["account_id", "correlation_id", "opened_at", "id"],
        unique=False,
        postgresql_where="correlation_id IS NOT NULL",
    )
    op.add_column("pulses", sa.Column("awaited_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("workflows", sa.Column("pulse_id", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_workflows_pulse_id"), "workflows", "pulses", ["pulse_id"], ["id"])


def downgrade() -> None:
    op.drop_constraint(op.f("fk_workflows_pulse_id"), "workflows", type_="foreignkey")
    op.drop_column("workflows", "pulse_id")
    op.drop_column("pulses", "awaited_since")
    op.drop_index("ix_instances_correlation_id", table_name="instances", postgresql_where="correlation_id IS NOT NULL")
    op.drop_index(
        "uq_instances_workflow_id_external_id", table_name="instances", postgresql_where="external_id IS NOT NULL"
    )
    op.drop_column("instances", "ended_at")
    op.drop_column("instances", "started_at")
    op.drop_column("instances", "correlation_id")
    op.drop_column("instances", "external_id")
    op.drop_table("run_standings")
