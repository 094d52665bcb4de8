"""Epochs: how far this database has come in which history; what must be compared, and approved again, after a restore."""

import secrets

import sqlalchemy as sa
from alembic import context, op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    epochs = op.create_table(
        "epochs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("writer", sa.String(length=16), nullable=False),
        sa.Column("began", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.Column("restored", sa.Text(), server_default="", nullable=False),
        sa.Column("restored_at", sa.Float(), nullable=True),
        sa.Column("heard", sa.Integer(), server_default="0", nullable=False),
        sa.Column("engine", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epochs")),
        sa.UniqueConstraint("number", name=op.f("uq_epochs_number")),
    )
    op.create_table(
        "writers",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_writers")),
    )
    now = context.config.attributes.get("now", 0.0)
    first = {"id": secrets.token_hex(16), "number": 1, "sequence": 0, "writer": "0" * 16, "began": now}
    op.bulk_insert(epochs, [first])
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("compare_reason", sa.Text(), server_default="", nullable=False))
    for table in ("access_keys", "access_tokens"):
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("approved", sa.Boolean(), server_default=sa.true(), nullable=False))
