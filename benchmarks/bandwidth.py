"""How well a pass keeps its bandwidth limit: bytes on the wire over time, all disks together, against a real instance.

    python -m benchmarks.bandwidth [--rates 50 200] [--disks 3] [--seconds 6] [--json FILE]

The data cannot be compressed. After `seconds` at a rate the limit is doubled while the pass goes on; it is told how long
that took to show.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from connector.clients.endpoint import InstanceEndpoint
from connector.errors import Interrupted
from connector.kinds import PassKind
from connector.model import Extent, InstanceAddress
from connector.settings import TransferSettings
from connector.transfer import extents as ranges
from connector.transfer.certificates import Authority, CertificateRole
from connector.transfer.disk_pass import DiskPass, copy_disk
from connector.transfer.flow import Flow
from connector.transfer.sender import SendProgress
from connector.transfer.source import Block

MBIT = 1e6 / 8
SETTLE = 1.0  # seconds after which the rate is measured
PERIOD = 0.05  # seconds between two samples
DISK = 4 << 30


class Noise:
    """A disk of random bytes."""

    capacity = DISK

    def __init__(self) -> None:
        self._data = memoryview(os.urandom(1 << 20))

    def allocated(self, extent: Extent) -> list[Extent]:
        return [extent]

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        for start, length in ranges.blocks(ranges.normalise(extents)):
            if halt is not None and halt.is_set():
                raise Interrupted("reading was stopped")
            yield Block(start, self._data[:length])

    def close(self) -> None:
        return None


class Wire:
    """What all disks have sent, with the time."""

    def __init__(self) -> None:
        self._sent: dict[str, int] = {}
        self.samples: list[tuple[float, int]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def report(self, disk: str, seen: SendProgress) -> None:
        self._sent[disk] = seen.wire

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(PERIOD):
            self.samples.append((time.monotonic(), sum(self._sent.values())))

    def rate(self, begin: float, end: float) -> float:
        """Mbit/s between two moments."""
        inside = [(at, sent) for at, sent in self.samples if begin <= at <= end]
        (t0, b0), (t1, b1) = inside[0], inside[-1]
        return (b1 - b0) / (t1 - t0) / MBIT


@contextmanager
def instance(home: Path) -> Iterator[InstanceEndpoint]:
    authority = Authority.create("benchmark")
    words = ["--directory", str(home), "--control-port", "0", "--block-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "connector.instance", *words, "--credential-stdin", "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps(asdict(authority.issue(CertificateRole.INSTANCE))) + "\n")
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        address = InstanceAddress("127.0.0.1", ready["control_port"], ready["block_port"])
        yield InstanceEndpoint(address, authority.issue(CertificateRole.APPLIANCE))
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def measure(rate: float, disks: int, seconds: float, home: Path) -> dict[str, Any]:
    """One pass at `rate` Mbit/s, then at twice that; figures in Mbit/s and seconds."""
    wished, stop = [rate * MBIT], threading.Event()
    flow = Flow(lambda: "none", lambda: wished[0])
    with instance(home) as endpoint, Wire() as wire:
        threads = [
            threading.Thread(target=_copy, args=(endpoint, f"{2000 + n}", flow, wire, stop))
            for n in range(disks)
        ]
        for thread in threads:
            thread.start()
        while not wire.samples or not wire.samples[-1][1]:
            time.sleep(PERIOD)
        began = time.monotonic()
        time.sleep(SETTLE + seconds)
        changed = time.monotonic()
        wished[0] *= 2
        time.sleep(SETTLE + seconds)
        ended = time.monotonic()
        stop.set()
        for thread in threads:
            thread.join()
    first, second = wire.rate(began + SETTLE, changed), wire.rate(changed + SETTLE, ended)
    windows = [wire.rate(at, at + 1.0) for at in _steps(began + SETTLE, changed - 1.0)]
    return {
        "limit": rate,
        "measured": first,
        "error": first / rate - 1,
        "worst_second": max(windows, key=lambda found: abs(found - rate)),
        "doubled": second,
        "doubled_error": second / rate / 2 - 1,
    }


def _steps(begin: float, end: float) -> Iterator[float]:
    while begin < end:
        yield begin
        begin += 0.25


def _copy(endpoint: InstanceEndpoint, key: str, flow: Flow, wire: Wire, stop: threading.Event) -> None:
    job = DiskPass(key, "pass-1", DISK, PassKind.FULL, "snapshot-1", "id/1")
    with suppress(Interrupted):
        copy_disk(
            Noise(),
            endpoint,
            job,
            settings=TransferSettings(),
            flow=flow,
            progress=lambda seen: wire.report(key, seen),
            stop=stop,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[50, 200])
    parser.add_argument("--disks", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    memory = Path("/dev/shm")
    parser.add_argument("--directory", type=Path, default=memory if memory.is_dir() else None)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    print(
        f"{'limit':>8}{'measured':>10}{'error':>8}{'worst second':>14}{'doubled':>10}{'error':>8}   Mbit/s, {options.disks} disks"
    )
    for rate in options.rates:
        with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
            row = measure(rate, options.disks, options.seconds, Path(scratch) / "instance")
        found.append(row)
        print(
            f"{rate:8.0f}{row['measured']:10.2f}{row['error']:8.1%}{row['worst_second']:14.2f}"
            f"{row['doubled']:10.2f}{row['doubled_error']:8.1%}"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
