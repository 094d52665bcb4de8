"""The audit log becomes a chain, and append-only.

The lines that are there get numbers without gaps and their digests now: nobody can tell what was done to them before. A line
of its own says how many they were. This is the format of `domain/audit_log.py` as it was when this revision was made.
"""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_TEXTS = ("who", "origin", "action", "subject")
_AUDIT = sa.table(
    "audit",
    sa.column("id", sa.Integer),
    sa.column("at", sa.Float),
    *(sa.column(name, sa.String) for name in _TEXTS),
    sa.column("details", sa.JSON),
    sa.column("previous", sa.String),
    sa.column("digest", sa.String),
)
_SQLITE = (
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN"
    " SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN"
    " SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    # INSERT OR REPLACE deletes without the trigger above
    "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN"
    " SELECT RAISE(ABORT, 'the audit log is append-only'); END",
)
_POSTGRESQL = (
    "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit"
    " FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()",
    "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
)


def upgrade() -> None:
    connection = op.get_bind()
    for name in ("previous", "digest"):
        op.add_column("audit", sa.Column(name, sa.String(length=64), nullable=True))
    number, digest = _chain(connection)
    if number:
        now = context.config.attributes.get("now", 0.0)
        said = {"at": float(now), "who": "system", "origin": "", "action": "audit log chained", "subject": ""}
        whole = said | {"details": {"lines before": number}, "number": number + 1, "previous": digest}
        values = {name: value for name, value in whole.items() if name != "number"}
        connection.execute(_AUDIT.insert().values(**values, id=number + 1, digest=_digest(whole)))
    with op.batch_alter_table("audit") as batch:
        for name in ("previous", "digest"):
            batch.alter_column(name, existing_type=sa.String(length=64), nullable=False)
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def _chain(connection: sa.Connection) -> tuple[int, str]:
    """Number and chain all lines; answer the last one."""
    changed: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in ("id", "previous", "digest")}
    update = _AUDIT.update().where(_AUDIT.c.id == sa.bindparam("own", type_=sa.Integer)).values(changed)
    number, digest, last = 0, "0" * 64, 0
    query = sa.select(_AUDIT).order_by(_AUDIT.c.id).limit(_AT_ONCE)
    while rows := connection.execute(query.where(_AUDIT.c.id > last)).all():
        changes = []
        for row in rows:
            number, last = number + 1, row.id
            content = {name: getattr(row, name) for name in ("at", *_TEXTS, "details")}
            previous, digest = digest, _digest(content | {"number": number, "previous": digest})
            changes.append({"own": row.id, "new_id": number, "new_previous": previous, "new_digest": digest})
        connection.execute(update, changes)  # a number is never above the former id, so none is taken
    return number, digest


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
