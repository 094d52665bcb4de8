"""What the console needs: sessions, and indices for what people search by."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.String(length=80)


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("origin", sa.String(length=80), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    op.create_index("ix_jobs_name", "jobs", ["name"])
    op.create_index("ix_jobs_source_id", "jobs", ["source_id"])
    op.create_index("ix_audit_who", "audit", ["who"])
    for table, state in (("sources", "state"), ("jobs", "status")):
        op.drop_index(f"ix_{table}_{state}", table)
        op.create_index(f"ix_{table}_{state}_created", table, [state, "created"])
