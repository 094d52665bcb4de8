"""What a source costs and how it is given back: why an object still stands in vCenter."""

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
