"""Retention and the status page."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TRAILS = (("approval_audit", "approval_audit_is_append_only"), ("approval_votes", "approval_votes_are_append_only"))


def upgrade() -> None:
    op.create_table(
        "retention",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.Column("keep_approvals_days", sa.Integer(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("deleting", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("keep_days >= 7 AND keep_approvals_days >= 7", name=op.f("ck_retention_days")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_retention_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_retention")),
    )
    op.create_index("ix_retention_due_at", "retention", ["due_at"], unique=False, postgresql_where="due_at IS NOT NULL")
    op.create_table(
        "status_pages",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("components", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_status_pages_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_status_pages")),
        sa.UniqueConstraint("slug", name=op.f("uq_status_pages_slug")),
    )
    op.create_table(
        "approval_seals",
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("audit_count", sa.Integer(), nullable=False),
        sa.Column("audit_head", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_approval_seals_account_id")),
        sa.PrimaryKeyConstraint("approval_id", name=op.f("pk_approval_seals")),
    )
    op.execute(
        "CREATE TRIGGER approval_seals_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON approval_seals "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes()"
    )
    # What of an approval is append-only may go once it is sealed: in a transaction that says so, and row by row,
    # because whose it is has to be looked at.
    op.execute(
        "CREATE FUNCTION refuse_unless_sealing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_setting('pingpulse.is_sealing', true) IS DISTINCT FROM 'yes' THEN "
        "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE FUNCTION refuse_unsealed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NOT EXISTS (SELECT FROM approval_seals WHERE approval_id = OLD.approval_id) THEN "
        "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END IF; RETURN OLD; END $$"
    )
    for table, trigger in _TRAILS:
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
        for name, event, each, function in (
            (trigger, "UPDATE OR TRUNCATE", "STATEMENT", "refuse_changes"),
            (f"{trigger}_unless_sealing", "DELETE", "STATEMENT", "refuse_unless_sealing"),
            (f"{trigger}_until_sealed", "DELETE", "ROW", "refuse_unsealed"),
        ):
            op.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()")
    op.create_index("ix_reservations_instance_id", "reservations", ["instance_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_reservations_instance_id", table_name="reservations")
    for table, trigger in _TRAILS:
        for name in (f"{trigger}_until_sealed", f"{trigger}_unless_sealing", trigger):
            op.execute(f"DROP TRIGGER {name} ON {table}")
        op.execute(
            f"CREATE TRIGGER {trigger} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes()"
        )
    op.execute("DROP FUNCTION refuse_unsealed()")
    op.execute("DROP FUNCTION refuse_unless_sealing()")
    op.drop_table("approval_seals")
    op.drop_table("status_pages")
    op.drop_index("ix_retention_due_at", table_name="retention", postgresql_where="due_at IS NOT NULL")
    op.drop_table("retention")
