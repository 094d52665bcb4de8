"""A control plane's database with many sources and jobs in it, as months of use would leave it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from connector.control.domain.audit_log import EMPTY, ChainHead, follow
from connector.control.store import Store, tables
from connector.control.store.database import normal_url

DAY = 86400.0
PER_WAVE = 40  # sources in one workgroup
#: Share of the jobs in each status; nothing runs, so that nothing but requests is measured.
STATUSES = {"Finished": 0.7, "Waiting": 0.1, "Ready": 0.1, "InError": 0.05, "Stopped": 0.05}
VCENTERS = 4

Row = dict[str, Any]


def fill(url: str, count: int, seed: int = 1) -> None:
    """`count` sources with two disks each, a job for each with a run, a pass, an image, a log and tags."""
    Store(url).close()  # migrates
    engine = sa.create_engine(normal_url(url))
    with engine.begin() as connection:
        for table, rows in _rows(count, random.Random(seed)):
            for at in range(0, len(rows), 1000):
                connection.execute(table.insert(), rows[at : at + 1000])
    if engine.dialect.name == "postgresql":  # as it does by itself
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()


def _rows(count: int, rng: random.Random) -> Iterator[tuple[sa.Table, Sequence[Row]]]:
    now = time.time()
    numbers = range(count)
    statuses = rng.choices(list(STATUSES), list(STATUSES.values()), k=count)
    waves = range(-(-count // PER_WAVE))
    appliances = range(VCENTERS)
    yield tables.appliances, [_appliance(n, now) for n in appliances]
    yield tables.workgroups, [_wave(n, now) for n in waves]
    yield tables.sources, [_source(n, statuses[n], now) for n in numbers]
    yield tables.source_disks, [_disk(n, key) for n in numbers for key in (2000, 2001)]
    yield tables.jobs, [_job(n, statuses[n], now) for n in numbers]
    ran = [n for n in numbers if statuses[n] != "Ready"]
    yield tables.runs, [_run(n, now) for n in ran]
    yield tables.passes, [_pass(n, now) for n in ran]
    yield tables.images, [_image(n, now) for n in ran]
    yield tables.objects, [_thing(n, kind, now) for n in ran for kind in ("instance", "disk", "image")]
    yield tables.events, [_event(n, line, now) for n in numbers for line in range(8)]
    yield (
        tables.tags,
        [_tag(kind, n, key) for n in numbers for kind in ("s", "j") for key in ("env", "owner")],
    )
    yield tables.audit, list(_audit(count, now))


def source_id(n: int) -> str:
    return f"s-{n:020x}"


def job_id(n: int) -> str:
    return f"j-{n:020x}"


def _created(n: int, now: float) -> float:
    return now - 29 * DAY + n


def _appliance(n: int, now: float) -> Row:
    row = {"id": f"a-{n}", "name": f"appliance-{n}", "vcenter": f"vc-{n}", "version": "1", "secret_hash": ""}
    return row | {"heartbeat": now + DAY, "created": now}  # none of them falls silent


def _wave(n: int, now: float) -> Row:
    return {"id": f"wg-{n}", "name": f"wave-{n}", "description": "", "created": now + n}


def _source(n: int, status: str, now: float) -> Row:
    facts = {
        "guest_id": "debian12_64Guest",
        "guest_name": "Debian 12",
        "cpus": 4,
        "memory": 8 << 30,
        "host": f"host-{n % 50}",
        "addresses": [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"],
        "path": f"/DC/vm/vm-{n:05}",
    }
    return {
        "id": source_id(n),
        "vcenter": f"vc-{n % VCENTERS}",
        "moref": f"vm-{n}",
        "instance_uuid": f"uuid-{n}",
        "name": f"vm-{n:05}",
        "machine": f"vm-{n:05}",
        "state": "Available" if status == "Finished" else "InUse",
        "reason": "",
        "facts": facts,
        "findings": [],
        "seen": now,
        "created": _created(n, now),
        "last_job": job_id(n),
        "workgroup_id": f"wg-{n // PER_WAVE}",
    }


def _disk(n: int, key: int) -> Row:
    facts = {"key": key, "datastore": f"ds-{n % 20}", "path": f"[ds-{n % 20}] vm-{n}/{key}.vmdk"}
    return {
        "source_id": source_id(n),
        "key": key,
        "label": f"Hard disk {key - 1999}",
        "capacity": 40 << 30,
    } | {"facts": facts}


def _job(n: int, status: str, now: float) -> Row:
    created = _created(n, now)
    incremental = status == "Waiting"
    error = {"error": "TransferFailed", "what": "the line broke"} if status == "InError" else None
    return {
        "id": job_id(n),
        "source_id": source_id(n),
        "name": f"job-{n:05}",
        "status": status,
        "business": "",
        "run_once": not incremental,
        "last_sync": False,
        "image_name": f"image-{n:05}",
        "image_format": "qcow2",
        "shutdown_deadline": 600.0,
        "allow_power_off": False,
        "cutover": False,
        "error": error,
        "error_code": "TransferFailed" if error else "",
        "created": created,
        "changed": created,
        "region": f"region-{n % 3}",
        "definition": {"TargetType": "Image", "NetMode": 0},
        "frequency": 168 if incremental else None,
        "max_images": 3 if incremental else None,
        "next_run": now + 6 * DAY if incremental else None,
        "valid_until": created + 90 * DAY,
        "image_id": None if status == "Ready" else f"m-{n}",
    }


def _run(n: int, now: float) -> Row:
    row = {"id": f"r-{n}", "job_id": job_id(n), "number": 1, "kind": "Manual", "plan": [False]}
    return row | {
        "started": now - DAY,
        "stop": False,
        "ended": now - DAY + 600,
        "outcome": "done",
        "error": None,
    }


def _pass(n: int, now: float) -> Row:
    disks = [
        {"key": key, "label": "Hard disk", "capacity": 40 << 30, "wanted": 20 << 30, "done": 20 << 30}
        for key in (2000, 2001)
    ]
    return {
        "id": f"p-{n}",
        "run_id": f"r-{n}",
        "job_id": job_id(n),
        "slot": 0,
        "attempt": 1,
        "final": False,
        "vcenter": f"vc-{n % VCENTERS}",
        "state": "Finished",
        "appliance_id": f"a-{n % VCENTERS}",
        "offered": now - DAY,
        "taken": now - DAY,
        "ended": now - DAY + 600,
        "phase": "delivered",
        "disks": disks,
        "outcome": "done",
        "error": None,
        "result": {"disks": [{"planned": 20 << 30, "seconds": 600.0}]},
    }


def _image(n: int, now: float) -> Row:
    row = {
        "id": f"m-{n}",
        "job_id": job_id(n),
        "run_id": f"r-{n}",
        "name": f"image-{n:05}",
        "format": "qcow2",
    }
    return row | {
        "ready": True,
        "details": {"location": f"/images/{n}", "size": 1 << 30},
        "created": now - DAY,
    }


def _thing(n: int, kind: str, now: float) -> Row:
    row = {
        "token": f"{kind}-{n}",
        "job_id": job_id(n),
        "place": "cloud",
        "kind": kind,
        "reference": f"{kind}/{n}",
    }
    return row | {"removed": kind != "image", "created": now - DAY}


def _event(n: int, line: int, now: float) -> Row:
    return {
        "job_id": job_id(n),
        "at": now - DAY + line,
        "kind": "moved",
        "text": "Running/Preparing -> Running/Syncing",
    }


def _tag(kind: str, n: int, key: str) -> Row:
    owner = (source_id(n), "sourceserver") if kind == "s" else (job_id(n), "replicationjob")
    return {"kind": owner[1], "resource_id": owner[0], "key": key, "value": f"{key}-{n % 10}"}


def _audit(count: int, now: float) -> Iterator[Row]:
    """The chain, from line 1 on: nobody has written a line before."""
    head = EMPTY
    for n in range(count):
        content = {"at": now, "who": "AK", "origin": "10.0.0.1", "action": "CreateReplicationJob"}
        entry = follow(head, content | {"subject": job_id(n), "details": {}})
        row = entry.content() | {"id": entry.number, "digest": entry.digest}
        row.pop("number")
        yield row
        head = ChainHead(entry.number, entry.digest)
