"""Who may do what for whom: approved appliances and their keys, vCenters of one tenant, codes and keys within bounds.

What was enrolled before is approved; the key that its newest evidence is signed with is its own.
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.String(length=80)


def upgrade() -> None:
    _appliances()
    _codes_and_keys()
    with op.batch_alter_table("passes") as batch:
        batch.add_column(sa.Column("wanted", sa.JSON(), server_default="[]", nullable=False))
    _carry_over()


def _appliances() -> None:
    with op.batch_alter_table("appliances") as batch:
        batch.add_column(sa.Column("state", sa.String(length=20), server_default="approved", nullable=False))
        batch.add_column(sa.Column("workgroup_id", _ID, nullable=True))
        batch.add_column(
            sa.Column("next_secret_hash", sa.String(length=64), server_default="", nullable=False)
        )
        batch.add_column(sa.Column("rotate", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "appliance_keys",
        sa.Column("appliance_id", _ID, nullable=False),
        sa.Column("fingerprint", sa.String(length=80), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("registered", sa.Float(), nullable=False),
        sa.Column("replaced", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["appliance_id"], ["appliances.id"], name="fk_appliance_keys_appliance_id_appliances"
        ),
        sa.PrimaryKeyConstraint("appliance_id", "fingerprint", name="pk_appliance_keys"),
    )
    op.create_table(
        "vcenters",
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("workgroup_id", _ID, nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_vcenters"),
    )


def _codes_and_keys() -> None:
    with op.batch_alter_table("access_tokens") as batch:
        batch.add_column(sa.Column("vcenter", sa.String(length=400), server_default="", nullable=False))
        batch.add_column(sa.Column("workgroup_id", _ID, nullable=True))
        batch.add_column(sa.Column("joins", sa.Boolean(), server_default=sa.false(), nullable=False))
    with op.batch_alter_table("access_keys") as batch:
        batch.add_column(sa.Column("workgroups", sa.JSON(none_as_null=True), nullable=True))
        batch.add_column(sa.Column("until", sa.Float(), nullable=True))


def _carry_over() -> None:
    connection = op.get_bind()
    now = float(context.config.attributes.get("now", 0.0))
    connection.execute(
        sa.text(
            "INSERT INTO vcenters (id, created) SELECT vcenter, MIN(created) FROM appliances GROUP BY vcenter"
        )
    )
    signed = connection.execute(
        sa.text(
            "SELECT passes.appliance_id AS appliance, evidence.key AS pem, MAX(evidence.created) AS newest"
            " FROM evidence JOIN passes ON passes.id = evidence.pass_id WHERE passes.appliance_id IS NOT NULL"
            " GROUP BY passes.appliance_id, evidence.key ORDER BY newest"
        )
    ).all()
    for row in {row.appliance: row for row in signed}.values():
        values = {"appliance": row.appliance, "pem": row.pem, "print": _fingerprint(row.pem), "at": now}
        if values["print"]:
            connection.execute(
                sa.text(
                    "INSERT INTO appliance_keys (appliance_id, fingerprint, key, registered)"
                    " VALUES (:appliance, :print, :pem, :at)"
                ),
                values,
            )


def _fingerprint(pem: str) -> str:
    """As evidence had it when this was written; empty for what is no key."""
    import base64
    import binascii
    import hashlib

    lines = [line for line in pem.splitlines() if line and not line.startswith("-----")]
    try:
        public = base64.b64decode("".join(lines), validate=True)[-32:]
    except binascii.Error:
        return ""
    return (
        "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=") if public else ""
    )
