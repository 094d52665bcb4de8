"""Jobs whose sources are cut over together, and the runs that do so."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("application", sa.String(length=128), server_default="", nullable=False))
        batch.add_column(sa.Column("rank", sa.Integer(), server_default="0", nullable=False))
        batch.create_index("ix_jobs_application", ["application"])
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("cohort", sa.String(length=80), nullable=True))
        batch.add_column(sa.Column("rank", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("proved", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch.create_index("ix_runs_cohort", ["cohort"])
