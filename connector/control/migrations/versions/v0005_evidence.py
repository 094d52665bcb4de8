"""What a job says about trust: the share that is audited, whether removed disks are accepted; and what its passes prove."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.String(length=80)


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("audit", sa.Float(), nullable=True))
        batch.add_column(
            sa.Column("accept_removed_disks", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
    op.create_table(
        "evidence",
        sa.Column("pass_id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["pass_id"], ["passes.id"], name="fk_evidence_pass_id_passes"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_evidence_job_id_jobs"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_evidence_run_id_runs"),
        sa.PrimaryKeyConstraint("pass_id", name="pk_evidence"),
    )
    op.create_index("ix_evidence_job_id", "evidence", ["job_id"])
    op.create_index("ix_evidence_run_id", "evidence", ["run_id"])
