"""Time travel and costs: forks, reruns and comparisons; what pings cost."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "cost_rollups",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("model_id", sa.Text(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("stage_path", sa.Text(), nullable=True),
        sa.Column("pings", sa.BigInteger(), nullable=False),
        sa.Column("unpriced_pings", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "day", "key", name=op.f("pk_cost_rollups")),
    )
    op.create_table(
        "instance_costs",
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("pings", sa.BigInteger(), nullable=False),
        sa.Column("unpriced_pings", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=True),
        sa.PrimaryKeyConstraint("instance_id", "day", name=op.f("pk_instance_costs")),
    )
    op.create_index("ix_instance_costs_workflow_id_day", "instance_costs", ["workflow_id", "day"], unique=False)
    op.create_table(
        "comparisons",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("instance_a", sa.Text(), nullable=False),
        sa.Column("instance_b", sa.Text(), nullable=False),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_comparisons_account_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_comparisons")),
    )
    op.create_index(
        "ix_comparisons_account_id_created_at", "comparisons", ["account_id", "created_at", "session_id"], unique=False
    )
    op.create_table(
        "prices",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("input_per_million", sa.Numeric(), nullable=False),
        sa.Column("output_per_million", sa.Numeric(), nullable=False),
        sa.Column("cached_per_million", sa.Numeric(), nullable=True),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_prices_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
    )
    op.create_index(
        "uq_prices_account_id_model_valid_from",
        "prices",
        ["account_id", sa.literal_column("lower(model)"), "valid_from"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "rerun_inputs",
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("payload", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("is_modified", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_rerun_inputs_instance_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("instance_id", "path", name=op.f("pk_rerun_inputs")),
    )
    op.create_index("uq_rerun_inputs_instance_id_position", "rerun_inputs", ["instance_id", "position"], unique=True)
    op.add_column("instances", sa.Column("origin", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("parent_id", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("root_id", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("fork_depth", sa.Integer(), server_default="0", nullable=False))
    op.add_column("instances", sa.Column("fork_from_stage", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("session_id", sa.Text(), nullable=True))
    op.add_column(
        "instances", sa.Column("imported", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True)
    )
    op.drop_index(op.f("ix_instances_open"), table_name="instances", postgresql_where="(closes_at IS NULL)")
    op.create_index(
        "ix_instances_current",
        "instances",
        ["workflow_id", "opened_at", "id"],
        unique=False,
        postgresql_where="closes_at IS NULL AND origin IS NULL",
    )
    op.create_index(
        "ix_instances_root_id",
        "instances",
        ["root_id", "opened_at", "id"],
        unique=False,
        postgresql_where="root_id IS NOT NULL",
    )
    op.add_column("pings", sa.Column("inherited", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("pings", sa.Column("cached_tokens", sa.BigInteger(), nullable=True))
    op.add_column("pings", sa.Column("cache_write_tokens", sa.BigInteger(), nullable=True))
    op.add_column("pings", sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True))
    op.add_column("pings", sa.Column("cost_source", sa.Text(), nullable=True))
    op.add_column("pings", sa.Column("price_version", sa.Text(), nullable=True))
    op.add_column("pings", sa.Column("cost_day", sa.Date(), nullable=True))


def downgrade() -> None:
    op.drop_column("pings", "cost_day")
    op.drop_column("pings", "price_version")
    op.drop_column("pings", "cost_source")
    op.drop_column("pings", "reasoning_tokens")
    op.drop_column("pings", "cache_write_tokens")
    op.drop_column("pings", "cached_tokens")
    op.drop_column("pings", "inherited")
    op.drop_index("ix_instances_root_id", table_name="instances", postgresql_where="root_id IS NOT NULL")
    op.drop_index(
        "ix_instances_current", table_name="instances", postgresql_where="closes_at IS NULL AND origin IS NULL"
    )
    op.create_index(
        op.f("ix_instances_open"),
        "instances",
        ["workflow_id", "opened_at", "id"],
        unique=False,
        postgresql_where="(closes_at IS NULL)",
    )
    op.drop_column("instances", "imported")
    op.drop_column("instances", "session_id")
    op.drop_column("instances", "fork_from_stage")
    op.drop_column("instances", "fork_depth")
    op.drop_column("instances", "root_id")
    op.drop_column("instances", "parent_id")
    op.drop_column("instances", "origin")
    op.drop_index("uq_rerun_inputs_instance_id_position", table_name="rerun_inputs")
    op.drop_table("rerun_inputs")
    op.drop_index("uq_prices_account_id_model_valid_from", table_name="prices", postgresql_nulls_not_distinct=True)
    op.drop_table("prices")
    op.drop_index("ix_comparisons_account_id_created_at", table_name="comparisons")
    op.drop_table("comparisons")
    op.drop_index("ix_instance_costs_workflow_id_day", table_name="instance_costs")
    op.drop_table("instance_costs")
    op.drop_table("cost_rollups")
