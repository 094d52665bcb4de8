"""What a source costs and how it is given back: rests, troubles, downtime, rollback."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("objects") as batch:
        batch.add_column(sa.Column("trouble", sa.Text(), server_default="", nullable=False))
    with op.batch_alter_table("passes") as batch:
        batch.alter_column(
            "phase",
            existing_type=sa.String(length=80),
            type_=sa.String(length=400),
            existing_nullable=False,
        )
        batch.add_column(sa.Column("not_before", sa.Float(), server_default="0", nullable=False))
        batch.add_column(sa.Column("reason", sa.Text(), server_default="", nullable=False))
        batch.add_column(sa.Column("task", sa.String(length=20), server_default="read", nullable=False))
    op.execute("UPDATE passes SET task = 'final' WHERE final")
    with op.batch_alter_table("images") as batch:
        batch.add_column(sa.Column("completed", sa.Float(), nullable=True))
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("down_since", sa.Float(), nullable=True))
        batch.add_column(sa.Column("predicted_downtime", sa.Float(), nullable=True))
        batch.add_column(sa.Column("quiesce", sa.String(length=20), server_default="off", nullable=False))
        batch.add_column(sa.Column("keep_cbt", sa.Boolean(), server_default=sa.false(), nullable=False))
