"""Images on the disks of the users' machines: which, and what becomes of the former disks."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hand_overs",
        sa.Column("job_id", sa.String(length=80), nullable=False),
        sa.Column("instance", sa.String(length=256), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("changed", sa.Float(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_hand_overs_job_id_jobs"),
        sa.PrimaryKeyConstraint("job_id", name="pk_hand_overs"),
    )
    op.create_index("ix_hand_overs_state", "hand_overs", ["state"])
