"""Databases as earlier versions left them: made by the migrations up to a revision, and full of rows.

`SINCE` says which tables and columns each revision brought; a database at a revision holds what was known by then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from connector import control
from connector.control.store.database import Database
from connector.model import InstanceAddress
from tests.control.conftest import VCENTER, machine

Row = dict[str, Any]

BORN: Final = 1_790_000_000.0 - 45 * 86400  # long before the upgrade: older than a job may become by default
REVISIONS: Final = tuple(f"{n:04}" for n in range(1, 15))
AUTHORITY: Final = "sealed"

#: Name of the job to its state.
JOBS: Final = {
    "ready": ("Ready", ""),
    "syncing": ("Running", "Syncing"),
    "stopped": ("Stopped", ""),
    "broken": ("InError", ""),
    "waiting": ("Waiting", ""),
    "done": ("Finished", ""),
    "old": ("Expired", ""),
    "going": ("Deleting", ""),
    "gone": ("Deleted", ""),
}
_FAILED: Final = {"error": "ReaderFailed", "what": "a bad sector", "on": "", "remedy": "", "retryable": False}
_SINCE: Final[Mapping[str, Mapping[str, Row]]] = {
    "0002": {
        "appliances": {"notice": "machines not registered: 3 (no room)"},
        "sources": {"description": "of the shop", "workgroup_id": "g-1", "token_id": "at-1"},
        "jobs": {
            "description": "the shop's",
            "region": "eu-1",
            "definition": {"ImageName": "shop"},
            "valid_until": BORN + 90 * 86400,
            "waiting": "",
        },
        "passes": {"host": "host-1", "datastores": ["ds"], "disk_count": 2},
        "images": {"removed": False},
    },
    "0005": {"jobs": {"audit": 0.5, "accept_removed_disks": True}},
    "0006": {
        "objects": {"trouble": ""},
        "passes": {"task": "read", "not_before": 0.0, "reason": ""},
        "images": {"completed": BORN + 400},
        "jobs": {"quiesce": "try", "keep_cbt": True},
    },
    "0007": {"jobs": {"application": "", "rank": 2}, "runs": {"rank": 0, "proved": False}},
    "0008": {"jobs": {"disk_order": [2001, 2000]}, "source_disks": {"place": 0}},
    "0009": {"jobs": {"compare_reason": "the database was restored"}},
    "0010": {"appliances": {"state": "approved", "rotate": False}, "passes": {"wanted": [2000, 2001]}},
}


@contextmanager
def at_revision(database: Database, revision: str) -> Iterator[sa.Connection]:
    """An empty database as the release with this migration made it."""
    with database.write() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(control.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection


def fill(url: str, revision: str) -> None:
    """One source, job, run, pass, image and more for each name in `JOBS`, as the code of that revision wrote them."""
    database = Database(url)
    with at_revision(database, revision) as connection:
        schema = sa.MetaData()
        schema.reflect(connection)
        for table, rows in _rows(revision).items():
            connection.execute(schema.tables[table].insert(), rows)
    database.close()


def _rows(revision: str) -> dict[str, list[Row]]:
    filled: dict[str, list[Row]] = {"appliances": [_APPLIANCE]}
    for name in JOBS:
        for table, rows in _of_job(name, revision).items():
            filled.setdefault(table, []).extend(rows)
    for since, tables in _SINCE.items():
        for table, columns in tables.items() if since <= revision else ():
            filled[table] = [row | columns for row in filled[table]]
    if revision >= "0002":
        filled |= _beside_jobs()
    if revision >= "0003":
        filled["sessions"] = [
            {"id": "digest", "key_id": "ak-1", "origin": "::1", "created": BORN, "seen": BORN}
        ]
    if revision >= "0014":
        line = {"number": 1, "previous": "0" * 64, **filled["audit"][0]}
        canonical = json.dumps(line, sort_keys=True, separators=(",", ":")).encode()
        (entry,) = filled["audit"]
        filled["audit"] = [entry | {"id": 1, "previous": "0" * 64, "digest": sha256(canonical).hexdigest()}]
    return filled


def _of_job(name: str, revision: str) -> dict[str, list[Row]]:
    status, business = JOBS[name]
    source, job, run, attempt = f"s-{name}", f"j-{name}", f"r-{name}-1", f"p-{name}-1-0-1"
    found = asdict(machine(f"vm-{name}", f"web-{name}"))
    disks = found.pop("disks")
    free = status in ("Finished", "Deleting", "Deleted")
    over = status != "Running"
    # The newest code of each revision wrote the plan of a run in its own way.
    plan = ["read"] if revision >= "0006" else [False]
    begun = {"started": BORN + 60} | ({"ended": BORN + 500, "outcome": "done"} if over else {})
    rows: dict[str, list[Row]] = {
        "sources": [
            {"id": source, "vcenter": VCENTER, "moref": f"vm-{name}", "instance_uuid": f"uuid-{name}"}
            | {"name": f"web-{name}", "state": "Available" if free else "InUse", "reason": "", "facts": found}
            | {"findings": [], "seen": BORN, "created": BORN}
            | ({"machine": f"web-{name}", "last_job": job} if revision >= "0002" else {})
        ],
        "source_disks": [
            {"source_id": source, "key": d["key"], "label": d["label"], "capacity": d["capacity"], "facts": d}
            for d in disks
        ],
        "jobs": [
            {"id": job, "source_id": source, "name": name, "status": status, "business": business}
            | {"run_once": status != "Waiting", "last_sync": False, "image_name": f"image-{name}"}
            | {"image_format": "qcow2", "shutdown_deadline": 600.0, "allow_power_off": False}
            | {"cutover": False, "instance": asdict(InstanceAddress("127.0.0.9"))}
            | {"error": _FAILED if status == "InError" else sa.null(), "client_token": f"token-{name}"}
            | {"created": BORN, "changed": BORN + 500}
        ],
        "runs": [
            {"id": run, "job_id": job, "number": 1, "kind": "Manual", "plan": plan, "stop": False}
            | {"started": BORN + 60, "ended": None, "outcome": None}
            | begun
        ],
        "images": [
            {"id": f"m-{name}", "job_id": job, "run_id": run, "name": f"image-{name}", "format": "qcow2"}
            | {"ready": over, "details": {"size": 1}, "created": BORN + 300}
        ],
        "passes": [
            {"id": attempt, "run_id": run, "job_id": job, "slot": 0, "attempt": 1, "final": False}
            | {"vcenter": VCENTER, "state": "Finished" if over else "Taken", "appliance_id": "a-1"}
            | {"offered": BORN + 60, "taken": BORN + 61, "phase": "reading", "disks": [], "result": {}}
            | {"ended": BORN + 200 if over else None, "outcome": "done" if over else None}
        ],
        "objects": [
            {"token": f"{kind}-{name}", "job_id": job, "pass_id": attempt, "place": place, "kind": kind}
            | {"reference": f"{kind}-1", "removed": kind == "snapshot", "created": BORN + 61}
            for place, kind in (("vcenter", "snapshot"), ("cloud", "image"))
        ],
        "events": [{"job_id": job, "at": BORN, "kind": "created", "text": f"job {name} created"}],
    }
    if revision >= "0005":
        rows["evidence"] = [
            {"pass_id": attempt, "job_id": job, "run_id": run, "created": BORN + 200, "size": 3}
            | {"key": "-----BEGIN PUBLIC KEY-----", "packed": b"abc"}
        ]
    return rows


def _beside_jobs() -> dict[str, list[Row]]:
    return {
        "tags": [
            {"kind": kind, "resource_id": owner, "key": "team", "value": "shop"}
            for kind, owner in (
                ("replicationjob", "j-waiting"),
                ("sourceserver", "s-waiting"),
                ("workgroup", "g-1"),
            )
        ],
        "workgroups": [
            {"id": "g-1", "name": "wave 1", "description": "", "client_token": "c", "created": BORN}
        ],
        "access_tokens": [
            {
                "id": "at-1",
                "name": "wave",
                "description": "",
                "code_hash": "0" * 64,
                "count": 100,
                "registered": 9,
            }
            | {"days": 90, "disabled": False, "created": BORN}
        ],
        "access_keys": [
            {
                "id": "ak-1",
                "sealed": AUTHORITY,
                "role": "operator",
                "name": "ann",
                "created": BORN,
                "disabled": False,
            }
        ],
        "nonces": [{"key_id": "ak-1", "nonce": "n", "at": BORN}],
        "audit": [
            {
                "at": BORN,
                "who": "ak-1",
                "origin": "::1",
                "action": "start",
                "subject": "j-waiting",
                "details": {},
            }
        ],
    }


_APPLIANCE: Final[Row] = {
    "id": "a-1",
    "name": "a-1",
    "vcenter": VCENTER,
    "version": "1",
    "secret_hash": "0" * 64,
    "heartbeat": BORN,
    "created": BORN,
}
