"""How long a scrape of a control plane takes with many jobs, and what it costs.

    python -m benchmarks.metrics [--jobs 10000] [--running 50] [--scrapes 20] [--postgresql] [--json FILE]

A control plane runs as a program over a database with so many jobs, of which some have a running pass, an open snapshot and
a source that is down. It is scraped over its own listener. `--postgresql` needs the package postgresql.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks import crowd
from connector import child
from connector.control.store import tables
from connector.control.store.database import normal_url

_DISK = {"key": 2000, "label": "Hard disk 1", "capacity": 10 << 30, "wanted": 6 << 30, "done": 2 << 30}
_PROGRESS = {"rate": 9e7, "bottleneck": "network", "state": "full"}


@contextmanager
def server(home: Path, jobs: int, running: int, database: str) -> Iterator[child.Child]:
    """`python -m connector.control` with its metrics on."""
    state = home / "state"
    state.mkdir(mode=0o700)
    url = database or f"sqlite:///{state / 'control.sqlite'}"
    crowd.fill(url, jobs)
    make_busy(url, running)
    words = ["--state", str(state), "--images", str(home / "images"), "--exit-with-stdin", "--metrics", "0"]
    words += ["--database", database] if database else []
    with child.start(
        "connector.control", words, name="control plane", log=home / "control.log", timeout=120
    ) as run:
        yield run


def make_busy(url: str, count: int) -> None:
    """So many jobs have a running pass, an open snapshot and a source that is down."""
    passes, jobs, objects = tables.passes, tables.jobs, tables.objects
    engine = sa.create_engine(normal_url(url))
    with engine.begin() as connection:
        ids = list(connection.execute(sa.select(passes.c.job_id).limit(count)).scalars())
        disks = [_DISK | _PROGRESS]
        connection.execute(
            passes.update()
            .where(passes.c.job_id.in_(ids))
            .values(state="Taken", disks=disks, appliance_id="a-0")
        )
        connection.execute(jobs.update().where(jobs.c.id.in_(ids)).values(status="InError", down_since=1.0))
        rows = [
            {"token": f"snap-{job}", "job_id": job, "place": "vcenter", "kind": "snapshot"}
            | {"removed": False, "created": 1.0, "trouble": "", "reference": None, "pass_id": None}
            for job in ids
        ]
        connection.execute(objects.insert(), rows)
    engine.dispose()


def measure(run: child.Child, scrapes: int) -> dict[str, Any]:
    """Seconds of each scrape, and the processor time of the server for all of them."""
    process, took, size = psutil.Process(run.pid), [], 0
    url = str(run.ready["metrics"])
    before = process.cpu_times()
    for _ in range(scrapes):
        began = time.perf_counter()
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        took.append(time.perf_counter() - began)
        size = len(text)
        assert "connector_control_database_up 1.0" in text, text
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return {
        "median_s": statistics.median(took),
        "most_s": max(took),
        "cpu_s_each": used / scrapes,
        "bytes": size,
        "series": len(re.findall(r"^[a-z]", text, re.MULTILINE)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=50)
    parser.add_argument("--scrapes", type=int, default=20)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        database = _postgresql(stack) if options.postgresql else ""
        run = stack.enter_context(server(home, options.jobs, options.running, database))
        figures = measure(run, options.scrapes)
    for name, value in figures.items():
        print(f"{name:12}{value:12.3f}" if isinstance(value, float) else f"{name:12}{value:12}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _postgresql(stack: ExitStack) -> str:
    from tests.control import postgres

    programs = postgres.binaries()
    if programs is None:
        raise SystemExit("--postgresql needs the package postgresql")
    return stack.enter_context(postgres.cluster(programs))


if __name__ == "__main__":
    main()
