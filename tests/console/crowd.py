"""Thousands of sources and jobs at once, written as rows: what a large estate looks like after a few waves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from connector.control.domain.jobs import JobStatus
from connector.control.store import tables
from connector.control.store.database import normal_url
from tests.control.conftest import VCENTER, machine

_STATUSES = (
    JobStatus.FINISHED,
    JobStatus.FINISHED,
    JobStatus.WAITING,
    JobStatus.READY,
    JobStatus.RUNNING,
    JobStatus.IN_ERROR,
)
_DISK = {
    "key": 2000,
    "label": "Hard disk 1",
    "capacity": 10 << 30,
    "wanted": 6 << 30,
    "done": 2 << 30,
    "rate": 9e7,
    "bottleneck": "network",
    "state": "full",
}
_ERROR = {
    "error": "ReaderFailed",
    "what": "the disk cannot be opened",
    "on": "x",
    "remedy": "look at its host",
}


def fill(url: str, count: int, began: float = 1_790_000_000.0) -> None:
    """So many sources, each with a job of its own, a run, a pass, an image and some lines of log."""
    engine = sa.create_engine(normal_url(url))
    with engine.begin() as connection:
        connection.execute(tables.appliances.insert().values(_appliance(began)))
        for table, rows in _rows(count, began).items():
            for start in range(0, len(rows), 1000):
                connection.execute(table.insert(), rows[start : start + 1000])
    engine.dispose()


def _appliance(began: float) -> dict[str, Any]:
    about = {"id": "a-crowd", "name": "crowd", "vcenter": VCENTER, "version": "1", "secret_hash": "x"}
    return about | {"heartbeat": began, "created": began}


def _rows(count: int, began: float) -> dict[sa.Table, list[dict[str, Any]]]:
    rows: dict[sa.Table, list[dict[str, Any]]] = {}
    for number in range(count):
        status, at = _STATUSES[number % len(_STATUSES)], began + number
        ids = {kind: f"{kind}-{number:020x}" for kind in "sjrpm"}
        found = asdict(machine(f"vm-{number}", f"crowd-{number:05d}"))
        disks = found.pop("disks")
        made = {
            tables.sources: [_source(ids, found, status, at)],
            tables.source_disks: [_disk(ids, disk) for disk in disks],
            tables.jobs: [_job(ids, status, at, number)],
            tables.runs: [_run(ids, status, at)],
            tables.passes: [_pass(ids, status, at)],
            tables.images: [_image(ids, number, at)],
            tables.events: [
                {"job_id": ids["j"], "at": at + n, "kind": "offered", "text": f"line {n} of {ids['j']}"}
                for n in range(3)
            ],
        }
        for table, some in made.items():
            rows.setdefault(table, []).extend(some)
    return rows


def _source(ids: dict[str, str], found: dict[str, Any], status: JobStatus, at: float) -> dict[str, Any]:
    about = {"moref": found["moref"], "instance_uuid": found["instance_uuid"], "facts": found, "findings": []}
    names = {"id": ids["s"], "vcenter": VCENTER, "name": found["name"], "machine": found["name"]}
    state = "Available" if status is JobStatus.FINISHED else "InUse"
    return about | names | {"state": state, "reason": "", "seen": at, "created": at, "last_job": ids["j"]}


def _disk(ids: dict[str, str], disk: dict[str, Any]) -> dict[str, Any]:
    about = {name: disk[name] for name in ("key", "label", "capacity")}
    return about | {"source_id": ids["s"], "facts": disk}


def _run(ids: dict[str, str], status: JobStatus, at: float) -> dict[str, Any]:
    ended = None if status is JobStatus.RUNNING else at + 60
    about = {"kind": "Manual", "plan": [False], "started": at, "stop": False, "number": 1, "outcome": None}
    return about | {"id": ids["r"], "job_id": ids["j"], "ended": ended}


def _pass(ids: dict[str, str], status: JobStatus, at: float) -> dict[str, Any]:
    about = {
        "slot": 0,
        "attempt": 1,
        "final": False,
        "vcenter": VCENTER,
        "phase": "copying",
        "disks": [_DISK],
    }
    state = "Taken" if status is JobStatus.RUNNING else "Finished"
    when = {"state": state, "appliance_id": "a-crowd", "offered": at, "taken": at}
    return about | when | {"id": ids["p"], "run_id": ids["r"], "job_id": ids["j"]}


def _image(ids: dict[str, str], number: int, at: float) -> dict[str, Any]:
    about = {"name": f"crowd-{number}", "format": "qcow2", "ready": True, "details": {}, "created": at}
    return about | {"id": ids["m"], "job_id": ids["j"], "run_id": ids["r"]}


def _job(ids: dict[str, str], status: JobStatus, at: float, number: int) -> dict[str, Any]:
    once = status is not JobStatus.WAITING
    return {
        "id": ids["j"],
        "source_id": ids["s"],
        "name": f"job-{number:05d}",
        "status": status,
        "business": "Syncing" if status is JobStatus.RUNNING else "",
        "run_once": once,
        "last_sync": False,
        "image_name": f"image-{number:05d}",
        "image_format": "qcow2",
        "shutdown_deadline": 600.0,
        "allow_power_off": False,
        "cutover": False,
        "error": _ERROR if status is JobStatus.IN_ERROR else None,
        "created": at,
        "changed": at,
        "started": at,
        "definition": {"TargetType": "Image"},
        "frequency": None if once else 12,
        "max_images": None if once else 3,
        "valid_until": at + 86400 * 3650,
        "region": "cn-hangzhou",
    }
