"""What the public API knows beside the job itself: names, definitions, tags, groups, tokens, keys, the audit log."""

import time

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.String(length=80)
_HERE = sa.text("state <> 'Deleted'")
_MONTH = 2592000.0
_CODES = {
    "no appliance of its vCenter is online": "SourceServer.Offline",
    "no longer in vCenter's inventory": "SourceServer.Missing",
}


def upgrade() -> None:
    _appliances()
    _sources()
    _jobs()
    _passes_and_images()
    _tags_and_groups()
    _identities()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _short(name: str) -> sa.Column[str]:
    return sa.Column(name, _ID, server_default="", nullable=False)


def _no(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)


def _appliances() -> None:
    with op.batch_alter_table("appliances") as batch:
        batch.add_column(sa.Column("token_id", _ID, nullable=True))
        batch.add_column(_text("notice"))


def _sources() -> None:
    with op.batch_alter_table("sources") as batch:
        batch.add_column(sa.Column("machine", sa.String(length=400), server_default="", nullable=False))
        batch.add_column(_no("named"))
        batch.add_column(_text("description"))
        batch.add_column(_short("error_code"))
        batch.add_column(sa.Column("last_job", _ID, nullable=True))
        batch.add_column(sa.Column("workgroup_id", _ID, nullable=True))
        batch.add_column(_short("resource_group"))
        batch.add_column(sa.Column("token_id", _ID, nullable=True))
        batch.drop_constraint("uq_sources_vcenter_moref", type_="unique")
    op.execute("UPDATE sources SET machine = name")
    # Names become unique: of machines with one name all but the first get their id appended.
    op.execute(
        "UPDATE sources SET name = name || '_' || id WHERE EXISTS"
        " (SELECT 1 FROM sources AS other WHERE other.machine = sources.machine AND other.id < sources.id)"
    )
    op.execute(
        "UPDATE sources SET last_job = (SELECT jobs.id FROM jobs WHERE jobs.source_id = sources.id"
        " ORDER BY jobs.created DESC, jobs.id LIMIT 1)"
    )
    for reason, code in _CODES.items():
        what = sa.text(
            "UPDATE sources SET error_code = :code WHERE state = 'Unavailable' AND reason = :reason"
        )
        op.execute(what.bindparams(code=code, reason=reason))
    with op.batch_alter_table("sources") as batch:
        for column in ("created", "machine", "last_job", "workgroup_id", "token_id"):
            batch.create_index(f"ix_sources_{column}", [column])
        for name, columns in (("ux_sources_machine", ["vcenter", "moref"]), ("ux_sources_name", ["name"])):
            batch.create_index(name, columns, unique=True, sqlite_where=_HERE, postgresql_where=_HERE)


def _jobs() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(_text("description"))
        batch.add_column(sa.Column("job_type", sa.Integer(), server_default="3", nullable=False))
        batch.add_column(_short("region"))
        batch.add_column(_short("resource_group"))
        batch.add_column(_short("target_instance"))
        batch.add_column(sa.Column("definition", sa.JSON(), server_default="{}", nullable=False))
        batch.add_column(sa.Column("frequency", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("max_images", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("scheduled_start", sa.Float(), nullable=True))
        batch.add_column(sa.Column("valid_until", sa.Float(), server_default="1e18", nullable=False))
        for column in ("expired", "next_run", "started", "ended"):
            batch.add_column(sa.Column(column, sa.Float(), nullable=True))
        batch.add_column(_short("error_code"))
        batch.add_column(_text("waiting"))
        batch.add_column(sa.Column("image_id", _ID, nullable=True))
        batch.add_column(sa.Column("transition_instance", sa.String(length=200), nullable=True))
        batch.create_index("ix_jobs_created", ["created"])
    op.execute("UPDATE jobs SET valid_until = created + 2592000")
    # Nobody knew of a validity when they were made: what is not finished must not expire by the upgrade.
    until = context.config.attributes.get("now", time.time()) + _MONTH
    alive = sa.text(
        "UPDATE jobs SET valid_until = :until WHERE status NOT IN ('Finished', 'Deleting', 'Deleted')"
    )
    op.execute(alive.bindparams(until=until))
    _results()


def _results() -> None:
    """What the last run and the last image of a job were, and the code of its error."""
    op.execute(
        "UPDATE jobs SET"
        " started = (SELECT runs.started FROM runs WHERE runs.job_id = jobs.id ORDER BY runs.number DESC LIMIT 1),"
        " ended = (SELECT runs.ended FROM runs WHERE runs.job_id = jobs.id ORDER BY runs.number DESC LIMIT 1)"
    )
    op.execute(
        "UPDATE jobs SET image_id = (SELECT images.id FROM images WHERE images.job_id = jobs.id AND images.ready"
        " ORDER BY images.created DESC, images.id LIMIT 1)"
    )
    jobs = sa.table("jobs", sa.column("id"), sa.column("error", sa.JSON()), sa.column("error_code"))
    failed = sa.select(jobs.c.id, jobs.c.error).where(jobs.c.error.is_not(sa.null()))
    for job_id, error in op.get_bind().execute(failed).all():
        code = str((error or {}).get("error") or "")
        op.get_bind().execute(jobs.update().where(jobs.c.id == job_id).values(error_code=code))


def _passes_and_images() -> None:
    with op.batch_alter_table("passes") as batch:
        batch.add_column(_short("host"))
        batch.add_column(sa.Column("datastores", sa.JSON(), server_default="[]", nullable=False))
        batch.add_column(sa.Column("disk_count", sa.Integer(), server_default="1", nullable=False))
    with op.batch_alter_table("images") as batch:
        batch.add_column(_no("removed"))


def _tags_and_groups() -> None:
    op.create_table(
        "tags",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("resource_id", _ID, nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("kind", "resource_id", "key", name="pk_tags"),
    )
    op.create_index("ix_tags_key_value", "tags", ["key", "value"])
    op.create_table(
        "workgroups",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("client_token", sa.String(length=64), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workgroups"),
        sa.UniqueConstraint("name", name="uq_workgroups_name"),
        sa.UniqueConstraint("client_token", name="uq_workgroups_client_token"),
    )


def _identities() -> None:
    op.create_table(
        "access_tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("registered", sa.Integer(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_tokens"),
        sa.UniqueConstraint("code_hash", name="uq_access_tokens_code_hash"),
    )
    op.create_table(
        "access_keys",
        sa.Column("id", _ID, nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_keys"),
    )
    op.create_table(
        "nonces",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("nonce", sa.String(length=128), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "nonce", name="pk_nonces"),
    )
    op.create_index("ix_nonces_at", "nonces", ["at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("origin", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_subject", "audit", ["subject"])
