"""The inventory of a large vCenter against govmomi's: the same properties of every machine, in pairs, as whole processes.

    python -m benchmarks.inventory --machines 10000 --pairs 5

Needs Go (for the peer in tests/simulator/govmomi) and vcsim. `--vcsim` names another build of it: as released it
takes many minutes to make ten thousand machines, because each of its tasks waits for a tick of 20 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from connector.settings import VCenterSettings
from connector.vcenter import inventory
from connector.vcenter.session import Session
from tests.vcenter.witness import PASSWORD, USER, Witness, vcsim

PEER = Path(__file__).parents[1] / "tests" / "simulator" / "govmomi"


@dataclass(frozen=True)
class Figures:
    """One run of one side, from the start of its process to its end."""

    machines: int
    wall: float
    cpu: float
    memory: int  # bytes, at the peak


def ours_in_this_process() -> None:
    with Session(VCenterSettings()) as session:  # everything from the environment
        print(len(inventory.whole(session).machines))


def _run(command: list[str], environment: dict[str, str]) -> Figures:
    began = time.monotonic()
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with {process.returncode}")
    return Figures(
        _count(told), time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss << 10
    )


def _count(told: str) -> int:
    return int(told) if told.strip().isdigit() else told.count('"vm-') or len(told.splitlines())


def ours(place: Witness) -> Figures:
    settings = {
        "CONNECTOR_VCENTER_URL": place.url,
        "CONNECTOR_VCENTER_USER": USER,
        "CONNECTOR_VCENTER_PASSWORD": PASSWORD,
        "CONNECTOR_VCENTER_THUMBPRINT": place.identity.thumbprint("sha256"),
    }
    return _run([sys.executable, "-m", "benchmarks.inventory", "--ours"], settings)


def theirs(place: Witness, peer: Path) -> Figures:
    access = {"GOVC_URL": place.url, "GOVC_USERNAME": USER, "GOVC_PASSWORD": PASSWORD}
    return _run([str(peer), *inventory.MACHINE], access)


def build(directory: Path) -> Path:
    program = directory / "inventory"
    go = shutil.which("go") or "/usr/local/go/bin/go"
    flags = {"GOFLAGS": "-mod=mod -buildvcs=false"}
    subprocess.run(
        [go, "build", "-o", str(program), "./inventory"], cwd=PEER, env=os.environ | flags, check=True
    )
    return program


@contextmanager
def estate(options: argparse.Namespace, directory: Path) -> Iterator[Witness]:
    if options.vcsim:
        os.environ["PATH"] = f"{Path(options.vcsim).resolve().parent}{os.pathsep}{os.environ['PATH']}"
    half = str(options.machines // 2)  # vcsim makes so many on a host and as many in a cluster
    with vcsim(directory, "-api-version", "8.0.3.0", "-vm", half) as running:
        yield running


def report(pairs: list[tuple[Figures, Figures]]) -> str:
    ratios = [mine.wall / peer.wall for mine, peer in pairs]
    mine, peer = (
        [statistics.median(getattr(pair[side], name) for pair in pairs) for name in ("wall", "cpu", "memory")]
        for side in (0, 1)
    )
    return (
        f"{pairs[0][0].machines} machines, {len(pairs)} pairs: wall {mine[0]:.2f} s ours, {peer[0]:.2f} s govmomi, "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
        f"CPU {mine[1]:.2f} / {peer[1]:.2f} s; peak {mine[2] / 2**20:.0f} / {peer[2] / 2**20:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--vcsim", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        ours_in_this_process()
        return
    with tempfile.TemporaryDirectory() as scratch, estate(options, Path(scratch)) as place:
        peer = build(Path(scratch))
        theirs(place, peer)  # warms vcsim's caches for both
        pairs = [(ours(place), theirs(place, peer)) for _ in range(options.pairs)]
    assert all(mine.machines == other.machines for mine, other in pairs)
    print(report(pairs))
    if options.json:
        options.json.write_text(
            json.dumps([[asdict(one) for one in pair] for pair in pairs], indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
