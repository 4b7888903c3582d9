"""Approvals, their votes and audit trails; letters beside messages to channels."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("editable", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("choices", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requesters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("approvers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.Column("veto", sa.Boolean(), nullable=False),
        sa.Column("forbid_self", sa.Boolean(), nullable=False),
        sa.Column("confirm", sa.Text(), nullable=False),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timeout_action", sa.Text(), nullable=False),
        sa.Column("reminders", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("escalate_to", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("escalate_after_seconds", sa.Double(), nullable=True),
        sa.Column("escalate_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("instance_id", sa.Text(), nullable=True),
        sa.Column("stage_path", sa.Text(), nullable=True),
        sa.Column("callback_url", sa.LargeBinary(), nullable=True),
        sa.Column("callback_secret", sa.LargeBinary(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reminded", sa.Integer(), nullable=False),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("choice", sa.Text(), nullable=True),
        sa.Column("response", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("followed_revision", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("audit_count", sa.Integer(), nullable=False),
        sa.Column("audit_head", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'denied', 'cancelled')", name=op.f("ck_approvals_status")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_approvals_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_account_id_created_at", "approvals", ["account_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_approvals_behind",
        "approvals",
        ["changed_at"],
        unique=False,
        postgresql_where="followed_revision < revision",
    )
    op.create_index(
        "ix_approvals_instance_id",
        "approvals",
        ["instance_id"],
        unique=False,
        postgresql_where="instance_id IS NOT NULL",
    )
    op.create_index("ix_approvals_pending", "approvals", ["id"], unique=False, postgresql_where="status = 'pending'")
    op.create_index(
        "uq_approvals_account_id_idempotency_key",
        "approvals",
        ["account_id", "idempotency_key"],
        unique=True,
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.create_table(
        "approval_audit",
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name=op.f("fk_approval_audit_approval_id")),
        sa.PrimaryKeyConstraint("approval_id", "seq", name=op.f("pk_approval_audit")),
    )
    op.create_table(
        "approval_codes",
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries_left", sa.Integer(), nullable=False),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name=op.f("fk_approval_codes_approval_id")),
        sa.PrimaryKeyConstraint("approval_id", "voter", name=op.f("pk_approval_codes")),
    )
    op.create_table(
        "approval_nonces",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name=op.f("fk_approval_nonces_approval_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_approval_nonces")),
    )
    op.create_index("ix_approval_nonces_expires_at", "approval_nonces", ["expires_at"], unique=False)
    op.create_table(
        "approval_votes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=True),
        sa.Column("response", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name=op.f("fk_approval_votes_approval_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_votes")),
    )
    op.create_index("uq_approval_votes_approval_id_voter", "approval_votes", ["approval_id", "voter"], unique=True)
    op.create_index("ix_alerts_subject", "alerts", ["subject", "at"], unique=False)
    op.add_column("messages", sa.Column("approval_id", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("topic", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("recipient", sa.Text(), nullable=True))
    op.alter_column("messages", "channel_id", existing_type=sa.TEXT(), nullable=True)
    op.create_index(
        "ix_messages_approval_id", "messages", ["approval_id"], unique=False, postgresql_where="approval_id IS NOT NULL"
    )
    op.create_foreign_key(op.f("fk_messages_approval_id"), "messages", "approvals", ["approval_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_messages_addressee"),
        "messages",
        "(channel_id IS NULL) = (approval_id IS NOT NULL AND topic IS NOT NULL)",
    )
    op.execute(
        "CREATE FUNCTION refuse_changes() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE TRIGGER approval_audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON approval_audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes()"
    )
    op.execute(
        "CREATE TRIGGER approval_votes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON approval_votes "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes()"
    )


def downgrade() -> None:
    # Letters have no place in the old table.
    op.execute("DELETE FROM attempts USING messages m WHERE m.id = message_id AND m.channel_id IS NULL")
    op.execute("DELETE FROM messages WHERE channel_id IS NULL")
    op.drop_constraint(op.f("ck_messages_addressee"), "messages", type_="check")
    op.drop_constraint(op.f("fk_messages_approval_id"), "messages", type_="foreignkey")
    op.drop_index("ix_messages_approval_id", table_name="messages", postgresql_where="approval_id IS NOT NULL")
    op.alter_column("messages", "channel_id", existing_type=sa.TEXT(), nullable=False)
    op.drop_column("messages", "recipient")
    op.drop_column("messages", "topic")
    op.drop_column("messages", "approval_id")
    op.drop_index("ix_alerts_subject", table_name="alerts")
    op.drop_index("uq_approval_votes_approval_id_voter", table_name="approval_votes")
    op.drop_table("approval_votes")
    op.drop_index("ix_approval_nonces_expires_at", table_name="approval_nonces")
    op.drop_table("approval_nonces")
    op.drop_table("approval_codes")
    op.drop_table("approval_audit")
    op.drop_index(
        "uq_approvals_account_id_idempotency_key",
        table_name="approvals",
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.drop_index("ix_approvals_pending", table_name="approvals", postgresql_where="status = 'pending'")
    op.drop_index("ix_approvals_instance_id", table_name="approvals", postgresql_where="instance_id IS NOT NULL")
    op.drop_index("ix_approvals_behind", table_name="approvals", postgresql_where="followed_revision < revision")
    op.drop_index("ix_approvals_account_id_created_at", table_name="approvals")
    op.drop_table("approvals")
    op.execute("DROP FUNCTION refuse_changes()")
