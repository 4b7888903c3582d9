"""Members, invitations, second factors and the account's audit trail."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "account_audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_account_audit_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_audit")),
    )
    op.create_index("ix_account_audit_account_id", "account_audit", ["account_id", "id"], unique=False)
    op.execute(
        "CREATE TRIGGER account_audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account_audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes()"
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('owner', 'member', 'viewer')", name=op.f("ck_invitations_role")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_invitations_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
    )
    op.create_index("ix_invitations_account_id", "invitations", ["account_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_invitations_account_id_email",
        "invitations",
        ["account_id", "email"],
        unique=True,
        postgresql_where="accepted_at IS NULL AND revoked_at IS NULL",
    )
    op.create_table(
        "login_links",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_login_links_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_login_links")),
    )
    op.create_index(op.f("ix_login_links_user_id"), "login_links", ["user_id"], unique=False)
    op.create_table(
        "second_factors",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("recovery_hashes", sa.ARRAY(sa.LargeBinary()), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_second_factors_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_second_factors")),
    )
    op.add_column("api_keys", sa.Column("created_by", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("invitation_id", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_messages_invitation_id"), "messages", "invitations", ["invitation_id"], ["id"])
    op.create_index(
        "ix_messages_invitation_id",
        "messages",
        ["invitation_id"],
        unique=False,
        postgresql_where="invitation_id IS NOT NULL",
    )
    op.drop_constraint(op.f("ck_messages_addressee"), "messages", type_="check")
    op.create_check_constraint(
        op.f("ck_messages_addressee"),
        "messages",
        "num_nonnulls(channel_id, approval_id, invitation_id) = 1 AND (channel_id IS NULL) = (topic IS NOT NULL)",
    )
    op.add_column("sessions", sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
    # Nobody knows better of those that are there.
    op.execute("UPDATE sessions SET seen_at = created_at")
    op.alter_column("sessions", "seen_at", nullable=False)
    op.add_column("sessions", sa.Column("user_agent", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("address", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("by_link", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    op.drop_column("sessions", "by_link")
    op.drop_column("sessions", "address")
    op.drop_column("sessions", "user_agent")
    op.drop_column("sessions", "seen_at")
    # Letters about invitations have no place in the old table.
    op.execute("DELETE FROM attempts USING messages m WHERE m.id = message_id AND m.invitation_id IS NOT NULL")
    op.execute("DELETE FROM messages WHERE invitation_id IS NOT NULL")
    op.drop_constraint(op.f("ck_messages_addressee"), "messages", type_="check")
    op.create_check_constraint(
        op.f("ck_messages_addressee"),
        "messages",
        "(channel_id IS NULL) = (approval_id IS NOT NULL AND topic IS NOT NULL)",
    )
    op.drop_index("ix_messages_invitation_id", table_name="messages", postgresql_where="invitation_id IS NOT NULL")
    op.drop_constraint(op.f("fk_messages_invitation_id"), "messages", type_="foreignkey")
    op.drop_column("messages", "invitation_id")
    op.drop_column("api_keys", "created_by")
    op.drop_table("second_factors")
    op.drop_index(op.f("ix_login_links_user_id"), table_name="login_links")
    op.drop_table("login_links")
    op.drop_index(
        "uq_invitations_account_id_email",
        table_name="invitations",
        postgresql_where="accepted_at IS NULL AND revoked_at IS NULL",
    )
    op.drop_index("ix_invitations_account_id", table_name="invitations")
    op.drop_table("invitations")
    op.drop_index("ix_account_audit_account_id", table_name="account_audit")
    op.drop_table("account_audit")
