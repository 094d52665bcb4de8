"""The order of a source's disks as its appliance tells it, and the one that a job keeps from its first run on."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("source_disks") as batch:
        batch.add_column(sa.Column("place", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("disk_order", sa.JSON(none_as_null=True), nullable=True))
    _freeze()
    _place()


_JOBS = sa.table("jobs", sa.column("id"), sa.column("source_id"), sa.column("disk_order", sa.JSON()))
_RUNS = sa.table("runs", sa.column("job_id"))
_DISKS = sa.table(
    "source_disks",
    sa.column("source_id"),
    sa.column("key"),
    sa.column("place"),
    sa.column("facts", sa.JSON()),
)
_BUSES = ("ide", "scsi", "sata", "nvme")


def _freeze() -> None:
    """Jobs that have run were made with disks in the order of their keys, and keep that."""
    connection = op.get_bind()
    begun = sa.select(_JOBS.c.id, _JOBS.c.source_id).where(_JOBS.c.id.in_(sa.select(_RUNS.c.job_id)))
    for job in connection.execute(begun).all():
        query = sa.select(_DISKS.c.key).where(_DISKS.c.source_id == job.source_id).order_by(_DISKS.c.key)
        if keys := list(connection.execute(query).scalars()):
            connection.execute(_JOBS.update().where(_JOBS.c.id == job.id).values(disk_order=keys))


def _place() -> None:
    """The rest is ordered by controllers until an appliance tells the order, which the boot order is part of."""
    connection = op.get_bind()
    listed: dict[str, list[tuple[tuple[int, ...], int]]] = {}
    for disk in connection.execute(sa.select(_DISKS.c.source_id, _DISKS.c.key, _DISKS.c.facts)).all():
        listed.setdefault(disk.source_id, []).append((_rank(disk.facts or {}), disk.key))
    for source_id, disks in listed.items():
        for place, (_, key) in enumerate(sorted(disks)):
            which = sa.and_(_DISKS.c.source_id == source_id, _DISKS.c.key == key)
            if place:
                connection.execute(_DISKS.update().where(which).values(place=place))


def _rank(facts: dict[str, object]) -> tuple[int, ...]:
    word = str(facts.get("controller", "")).rstrip("0123456789")
    kind = _BUSES.index(word) if word in _BUSES else len(_BUSES)
    return kind, int(str(facts.get("bus") or 0)), int(str(facts.get("unit") or 0))
