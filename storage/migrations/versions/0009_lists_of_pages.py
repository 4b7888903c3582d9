"""Indexes for lists that pages show: approvals by their decision, and instances that are paused."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_approvals_account_id_decided_at",
        "approvals",
        ["account_id", "decided_at", "id"],
        postgresql_where=sa.text("decided_at IS NOT NULL"),
    )
    op.create_index(
        "ix_instances_paused",
        "instances",
        ["account_id", "opened_at", "id"],
        postgresql_where=sa.text("status = 'paused'"),
    )


def downgrade() -> None:
    op.drop_index("ix_instances_paused", table_name="instances")
    op.drop_index("ix_approvals_account_id_decided_at", table_name="approvals")
