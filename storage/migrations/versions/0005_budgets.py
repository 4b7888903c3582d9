"""Budgets: limits, what was crossed, pauses, and money that is set aside."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "cost_alerts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("alert_type", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("current_cost_usd", sa.Numeric(), nullable=False),
        sa.Column("threshold_usd", sa.Numeric(), nullable=True),
        sa.Column("action_taken", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("ping_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cost_alerts")),
    )
    op.create_index(
        "ix_cost_alerts_daily",
        "cost_alerts",
        ["workflow_id", "day"],
        unique=False,
        postgresql_where="alert_type = 'daily_budget_exceeded'",
    )
    op.create_index("ix_cost_alerts_instance_id", "cost_alerts", ["instance_id"], unique=False)
    op.create_index(
        "ix_cost_alerts_workflow_id_created_at", "cost_alerts", ["workflow_id", "created_at", "id"], unique=False
    )
    op.create_index("uq_cost_alerts_key", "cost_alerts", ["key"], unique=True)
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("amount_usd", sa.Numeric(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index(
        "ix_reservations_held",
        "reservations",
        ["workflow_id", "expires_at"],
        unique=False,
        postgresql_where="settled_at IS NULL",
    )
    op.create_index(
        "uq_reservations_instance_id_idempotency_key",
        "reservations",
        ["instance_id", "idempotency_key"],
        unique=True,
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.create_table(
        "workflow_costs",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=True),
        sa.PrimaryKeyConstraint("workflow_id", "day", name=op.f("pk_workflow_costs")),
    )
    op.create_table(
        "budgets",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("limit_usd", sa.Numeric(), nullable=True),
        sa.Column("threshold_usd", sa.Numeric(), nullable=True),
        sa.Column("daily_limit_usd", sa.Numeric(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("anomaly_detection", sa.Boolean(), nullable=False),
        sa.Column("anomaly_multiplier", sa.Numeric(), nullable=False),
        sa.Column("anomaly_floor_usd", sa.Numeric(), nullable=False),
        sa.Column("max_pings", sa.BigInteger(), nullable=True),
        sa.Column("max_visits", sa.BigInteger(), nullable=True),
        sa.Column("approvers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stop_key", sa.Text(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("stopped_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflows.id"], name=op.f("fk_budgets_workflow_id")),
        sa.PrimaryKeyConstraint("workflow_id", name=op.f("pk_budgets")),
    )
    op.add_column("approvals", sa.Column("resumes", sa.Boolean(), server_default="false", nullable=False))
    op.add_column(
        "instances", sa.Column("pauses", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False)
    )
    op.add_column("instances", sa.Column("budget_limit_usd", sa.Numeric(), nullable=True))
    op.add_column("instances", sa.Column("is_unheard", sa.Boolean(), server_default="false", nullable=False))
    op.create_index("ix_instances_unheard", "instances", ["opened_at"], unique=False, postgresql_where="is_unheard")
    op.add_column("pings", sa.Column("budget", sa.JSON(), nullable=True))
    op.add_column("pings", sa.Column("reservation_id", sa.Text(), nullable=True))
    # A daily limit counts what was spent before there were any.
    op.execute(
        "INSERT INTO workflow_costs (workflow_id, day, cost_usd) "
        "SELECT workflow_id, day, sum(cost_usd) FROM instance_costs GROUP BY workflow_id, day"
    )


def downgrade() -> None:
    op.drop_column("pings", "reservation_id")
    op.drop_column("pings", "budget")
    op.drop_index("ix_instances_unheard", table_name="instances", postgresql_where="is_unheard")
    op.drop_column("instances", "is_unheard")
    op.drop_column("instances", "budget_limit_usd")
    op.drop_column("instances", "pauses")
    op.drop_column("approvals", "resumes")
    op.drop_table("budgets")
    op.drop_table("workflow_costs")
    op.drop_index(
        "uq_reservations_instance_id_idempotency_key",
        table_name="reservations",
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.drop_index("ix_reservations_held", table_name="reservations", postgresql_where="settled_at IS NULL")
    op.drop_table("reservations")
    op.drop_index("uq_cost_alerts_key", table_name="cost_alerts")
    op.drop_index("ix_cost_alerts_workflow_id_created_at", table_name="cost_alerts")
    op.drop_index("ix_cost_alerts_instance_id", table_name="cost_alerts")
    op.drop_index(
        "ix_cost_alerts_daily", table_name="cost_alerts", postgresql_where="alert_type = 'daily_budget_exceeded'"
    )
    op.drop_table("cost_alerts")
