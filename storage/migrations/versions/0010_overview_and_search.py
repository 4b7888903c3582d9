"""Indexes for the overview and for search: runs by how they stand and when they ended, and by their callers' ids."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_instances_standing", "instances", ["account_id", "status", "workflow_id", "opened_at"])
    op.create_index(
        "ix_instances_ended",
        "instances",
        ["account_id", "completed_at"],
        postgresql_include=["status"],
        postgresql_where=sa.text("completed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_process_runs_ended",
        "process_runs",
        ["account_id", "finished_at"],
        postgresql_include=["status"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    for name in ("external_id", "correlation_id"):
        op.create_index(
            f"ix_instances_{name}_prefix",
            "instances",
            ["account_id", name],
            postgresql_ops={name: "text_pattern_ops"},
            postgresql_where=sa.text(f"{name} IS NOT NULL"),
        )


def downgrade() -> None:
    for name in ("correlation_id", "external_id"):
        op.drop_index(f"ix_instances_{name}_prefix", table_name="instances")
    op.drop_index("ix_process_runs_ended", table_name="process_runs")
    op.drop_index("ix_instances_ended", table_name="instances")
    op.drop_index("ix_instances_standing", table_name="instances")
