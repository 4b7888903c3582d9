"""Pulses, process hooks, channels and alerts; transitions of every kind of subject."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("resolves", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("depends_on", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("silent_reason", sa.Text(), nullable=True),
        sa.Column("settles_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index("ix_alerts_account_id_created_at", "alerts", ["account_id", "created_at", "id"], unique=False)
    op.create_index("ix_alerts_trouble", "alerts", ["account_id", "trouble"], unique=False)
    op.create_index(
        "ix_alerts_unrouted",
        "alerts",
        ["state", "created_at"],
        unique=False,
        postgresql_where="state IN ('new', 'held')",
    )
    op.create_index("uq_alerts_account_id_dedupe_key", "alerts", ["account_id", "dedupe_key"], unique=True)
    op.create_table(
        "channels",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("shown_address", sa.Text(), nullable=False),
        sa.Column("signing_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_signing_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("quiet_hours", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("messages_per_minute", sa.Integer(), nullable=False),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_channels_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
    )
    op.create_index("ix_channels_account_id_created_at", "channels", ["account_id", "created_at", "id"], unique=False)
    op.create_table(
        "process_hooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("expected_seconds", sa.Double(), nullable=False),
        sa.Column("grace_seconds", sa.Double(), nullable=False),
        sa.Column("overlap", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_process_hooks_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process_hooks")),
    )
    op.create_index(
        "ix_process_hooks_account_id_created_at", "process_hooks", ["account_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "uq_process_hooks_account_id_slug",
        "process_hooks",
        ["account_id", "slug"],
        unique=True,
        postgresql_where="deleted_at IS NULL",
    )
    op.create_table(
        "pulses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("period_seconds", sa.Double(), nullable=True),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("grace_seconds", sa.Double(), nullable=False),
        sa.Column("start_grace_seconds", sa.Double(), nullable=True),
        sa.Column("min_duration_seconds", sa.Double(), nullable=True),
        sa.Column("max_duration_seconds", sa.Double(), nullable=True),
        sa.Column("alert_after", sa.Integer(), nullable=False),
        sa.Column("reminder_seconds", sa.Double(), nullable=True),
        sa.Column("notify_late", sa.Boolean(), nullable=False),
        sa.Column("success_keywords", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("failure_keywords", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ignore_keywords", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("maintenance", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("depends_on", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("badge_token", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_pulses_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pulses")),
        sa.UniqueConstraint("badge_token", name=op.f("uq_pulses_badge_token")),
    )
    op.create_index("ix_pulses_account_id_created_at", "pulses", ["account_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_pulses_account_id_slug",
        "pulses",
        ["account_id", "slug"],
        unique=True,
        postgresql_where="deleted_at IS NULL",
    )
    op.create_table(
        "attachments",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=op.f("fk_attachments_channel_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("source", "channel_id", name=op.f("pk_attachments")),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("handed_over_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_messages_channel_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index("ix_messages_channel_id_created_at", "messages", ["channel_id", "created_at"], unique=False)
    op.create_index(
        "ix_messages_not_handed_over",
        "messages",
        ["created_at"],
        unique=False,
        postgresql_where="state = 'pending' AND handed_over_at IS NULL",
    )
    op.create_table(
        "process_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hook_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("expected_seconds", sa.Double(), nullable=False),
        sa.Column("grace_seconds", sa.Double(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("overdue_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["hook_id"], ["process_hooks.id"], name=op.f("fk_process_runs_hook_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process_runs")),
    )
    op.create_index("ix_process_runs_hook_id_started_at", "process_runs", ["hook_id", "started_at", "id"], unique=False)
    op.create_index(
        "ix_process_runs_open",
        "process_runs",
        ["hook_id", "started_at", "id"],
        unique=False,
        postgresql_where="ended_at IS NULL",
    )
    op.create_table(
        "pulse_standings",
        sa.Column("pulse_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("last_ping_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("delivered", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["pulse_id"], ["pulses.id"], name=op.f("fk_pulse_standings_pulse_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pulse_id", name=op.f("pk_pulse_standings")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("took_ms", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_attempts_message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_message_id", "attempts", ["message_id", "id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waits_for", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_deliveries_alert_id")),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_deliveries_channel_id")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_deliveries_message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_alert_id", "deliveries", ["alert_id"], unique=False)
    op.create_index("ix_deliveries_message_id", "deliveries", ["message_id"], unique=False)
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["channel_id", "not_before"],
        unique=False,
        postgresql_where="message_id IS NULL",
    )
    op.add_column("pings", sa.Column("run_id", sa.Text(), nullable=True))
    op.alter_column("pings", "workflow_id", existing_type=sa.TEXT(), nullable=True)
    op.create_index(
        "ix_pings_subject",
        "pings",
        ["subject", "id"],
        unique=False,
        postgresql_include=["gateway_id"],
        postgresql_where="workflow_id IS NULL",
    )
    op.add_column("transitions", sa.Column("subject", sa.Text(), nullable=True))
    op.execute(
        "UPDATE transitions SET subject = 'instance/' || i.workflow_id || '/' || i.id "
        "FROM instances i WHERE i.id = transitions.instance_id"
    )
    op.alter_column("transitions", "subject", nullable=False)
    op.drop_index(op.f("ix_transitions_instance_id"), table_name="transitions")
    op.create_index("ix_transitions_subject", "transitions", ["subject", "id"], unique=False)
    op.drop_constraint(op.f("fk_transitions_instance_id"), "transitions", type_="foreignkey")
    op.drop_column("transitions", "instance_id")
    op.add_column(
        "workflows", sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("workflows", "tags")
    # What is about pulses and processes has no place in the old tables.
    op.execute("DELETE FROM transitions WHERE subject NOT LIKE 'instance/%'")
    op.execute("DELETE FROM pings WHERE workflow_id IS NULL")
    op.add_column("transitions", sa.Column("instance_id", sa.TEXT(), nullable=True))
    op.execute("UPDATE transitions SET instance_id = split_part(subject, '/', 3)")
    op.alter_column("transitions", "instance_id", nullable=False)
    op.create_foreign_key(
        op.f("fk_transitions_instance_id"), "transitions", "instances", ["instance_id"], ["id"], ondelete="CASCADE"
    )
    op.drop_index("ix_transitions_subject", table_name="transitions")
    op.create_index(op.f("ix_transitions_instance_id"), "transitions", ["instance_id", "id"], unique=False)
    op.drop_column("transitions", "subject")
    op.drop_index(
        "ix_pings_subject",
        table_name="pings",
        postgresql_include=["gateway_id"],
        postgresql_where="workflow_id IS NULL",
    )
    op.alter_column("pings", "workflow_id", existing_type=sa.TEXT(), nullable=False)
    op.drop_column("pings", "run_id")
    op.drop_index("ix_deliveries_waiting", table_name="deliveries", postgresql_where="message_id IS NULL")
    op.drop_index("ix_deliveries_message_id", table_name="deliveries")
    op.drop_index("ix_deliveries_alert_id", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index("ix_attempts_message_id", table_name="attempts")
    op.drop_table("attempts")
    op.drop_table("pulse_standings")
    op.drop_index("ix_process_runs_open", table_name="process_runs", postgresql_where="ended_at IS NULL")
    op.drop_index("ix_process_runs_hook_id_started_at", table_name="process_runs")
    op.drop_table("process_runs")
    op.drop_index(
        "ix_messages_not_handed_over",
        table_name="messages",
        postgresql_where="state = 'pending' AND handed_over_at IS NULL",
    )
    op.drop_index("ix_messages_channel_id_created_at", table_name="messages")
    op.drop_table("messages")
    op.drop_table("attachments")
    op.drop_index("uq_pulses_account_id_slug", table_name="pulses", postgresql_where="deleted_at IS NULL")
    op.drop_index("ix_pulses_account_id_created_at", table_name="pulses")
    op.drop_table("pulses")
    op.drop_index("uq_process_hooks_account_id_slug", table_name="process_hooks", postgresql_where="deleted_at IS NULL")
    op.drop_index("ix_process_hooks_account_id_created_at", table_name="process_hooks")
    op.drop_table("process_hooks")
    op.drop_index("ix_channels_account_id_created_at", table_name="channels")
    op.drop_table("channels")
    op.drop_index("uq_alerts_account_id_dedupe_key", table_name="alerts")
    op.drop_index("ix_alerts_unrouted", table_name="alerts", postgresql_where="state IN ('new', 'held')")
    op.drop_index("ix_alerts_trouble", table_name="alerts")
    op.drop_index("ix_alerts_account_id_created_at", table_name="alerts")
    op.drop_table("alerts")
