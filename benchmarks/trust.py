"""What trust costs: a comparing pass and audits against a full pass, and `connector verify` against BLAKE3 alone.

    python -m benchmarks.trust [--pairs 3] [--size 2G] [--directory /dev/shm] [--json FILE]

One disk, half of it data. Passes run against an instance process; `verify` and its rival are processes of their own, so
their peak memory is theirs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import disks
from connector.clients.endpoint import InstanceEndpoint
from connector.model import Credential, Extent, InstanceAddress
from connector.transfer import evidence
from connector.transfer import extents as ranges
from connector.transfer.audit import audit
from connector.transfer.certificates import Authority, CertificateRole
from connector.transfer.disk_pass import DiskPass, DiskResult, copy_disk
from connector.transfer.evidence import Signer
from connector.transfer.extents import CELL
from connector.transfer.source import FileSource

GIB = 1 << 30
TELL = """
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""
VERIFY = """
import sys
from connector.cli.main import main
assert main(["verify", sys.argv[1], "--json"]) == 0
"""
RIVAL = """
import json, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from blake3 import blake3
file, local = os.open(sys.argv[1], os.O_RDONLY), threading.local()
def work(extent):
    room = local.__dict__.setdefault("room", bytearray(1 << 20))
    for at in range(extent[0], extent[0] + extent[1], 1 << 20):
        count = os.preadv(file, [memoryview(room)[: extent[0] + extent[1] - at]], at)
        blake3(memoryview(room)[:count]).digest()
with ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(work, json.load(sys.stdin)))
"""


def measured(code: str, words: list[str], given: str = "") -> dict[str, float]:
    """Wall and CPU seconds and peak bytes of one child."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    order = [sys.executable, "-c", code + TELL, *words]
    done = subprocess.run(order, input=given, text=True, capture_output=True, check=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "memory": int(done.stdout.split()[-1]) * 1024}


def copy(disk: Path, endpoint: InstanceEndpoint, number: int, kind: str) -> DiskResult:
    size = disk.stat().st_size
    job = DiskPass("2000", f"p-{number}", size, kind, f"s-{number}", f"id/{number}", f"id/{number - 1}")
    source = FileSource(disk)
    try:
        return copy_disk(source, endpoint, job)
    finally:
        source.close()


def audited(disk: Path, endpoint: InstanceEndpoint, share: float) -> dict[str, float]:
    source, began = FileSource(disk), time.monotonic()
    done = audit(
        source,
        lambda cells, look: endpoint.digests("2000", cells, look=look),
        [Extent(0, source.capacity)],
        share,
        1,
    )
    source.close()
    assert not done.missed
    return {"wall": time.monotonic() - began, "read": done.read, "cells": done.cells}


def change(disk: Path, share: float) -> int:
    """Write into so many cells of the first half."""
    draw = random.Random(1)
    cells = draw.sample(range(disk.stat().st_size // 2 // CELL), int(disk.stat().st_size / CELL * share))
    with disk.open("r+b") as out:
        for cell in cells:
            out.seek(cell * CELL + 100)
            out.write(draw.randbytes(64))
    return len(cells)


def passes(disk: Path, endpoint: InstanceEndpoint) -> dict[str, Any]:
    full = copy(disk, endpoint, 1, "full")
    equal = copy(disk, endpoint, 2, "compare")
    changed = change(disk, 0.01)
    compared = copy(disk, endpoint, 3, "compare")
    began = time.monotonic()
    endpoint.prove("2000")
    return {
        "full": _figures(full),
        "compare, nothing changed": _figures(equal),
        f"compare, {changed * CELL >> 20} MiB changed": _figures(compared),
        "audit 0.1 %": audited(disk, endpoint, 0.001),
        "audit 100 %": audited(disk, endpoint, 1.0),
        "proof": {"wall": time.monotonic() - began},
    }


def _figures(result: DiskResult) -> dict[str, float]:
    return {"wall": result.seconds, "read": result.read, "wire": result.wire}


def seal(home: Path, endpoint: InstanceEndpoint) -> Path:
    """An image with its evidence."""
    account = endpoint.account("2000")["account"]
    sections = {"pass": {"reading": "p-3"}, "machine": {}, "versions": {}, "disks": {"2000": account}}
    endpoint.put_evidence("p-3", evidence.seal(sections, Signer.load(home / "key.pem")))
    made = endpoint.make_image("image", "raw", "run")
    return Path(str(made["files"][0]["path"])).parent  # type: ignore[index]


@contextmanager
def instance(home: Path) -> Iterator[InstanceEndpoint]:
    authority = Authority.create("benchmark")
    words = ["-m", "connector.instance", "--directory", str(home / "instance"), "--control-port", "0"]
    child = subprocess.Popen(
        [sys.executable, *words, "--block-port", "0", "--credential-stdin", "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin and child.stdout
    child.stdin.write(json.dumps(asdict(authority.issue(CertificateRole.INSTANCE))) + "\n")
    child.stdin.flush()
    ready = json.loads(child.stdout.readline())
    credential: Credential = authority.issue(CertificateRole.APPLIANCE)
    try:
        yield InstanceEndpoint(
            InstanceAddress("127.0.0.1", ready["control_port"], ready["block_port"]), credential
        )
    finally:
        child.stdin.close()
        child.wait()


def pairs(count: int, ours: Callable[[], dict[str, float]], theirs: Callable[[], dict[str, float]]) -> Any:
    """Both in turn; medians, and the ratios of the walls."""
    runs = [(ours(), theirs()) for _ in range(count)]
    ratios = [one["wall"] / other["wall"] for one, other in runs]

    def median(side: int) -> dict[str, float]:
        return {name: statistics.median(run[side][name] for run in runs) for name in runs[0][side]}

    return {"ours": median(0), "theirs": median(1), "ratio": statistics.median(ratios), "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--size", type=int, default=2, help="GiB")
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(dir=options.directory, prefix="trust-"))
    try:
        size = options.size * GIB
        disk = disks.generate(home / "disk.raw", size, 3 * size // 8, size // 8)
        with instance(home) as endpoint:
            found: dict[str, Any] = passes(disk, endpoint)
            folder = seal(home, endpoint)
        image, manifest = str(folder / "2000.raw"), str(folder / "evidence.json")
        data = list(ranges.blocks(FileSource(folder / "2000.raw").allocated(Extent(0, size)), 16 << 20))
        found["verify"] = pairs(
            options.pairs,
            lambda: measured(VERIFY, [manifest]),
            lambda: measured(RIVAL, [image], json.dumps(data)),
        )
        found["verify"]["data"] = ranges.covered(data)
    finally:
        shutil.rmtree(home)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
