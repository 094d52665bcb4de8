"""What the process around VDDK costs: reads through a worker against copies of the same size in one process, in pairs.

`python -m benchmarks.worker [PAIRS]`. The library is `tests/vddk/oddity.c`, which only copies memory.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.vddk.oddity import Oddity
from vddk.spec import Disk
from vddk.worker import WorkerDisk

MIB = 1 << 20
COUNT = 2000  # reads of one MiB
DEPTH = 8  # of them in flight


def through_worker(disk: Disk) -> float:
    """Bytes a second."""
    memory = disk.buffers(DEPTH, MIB)
    began = time.monotonic()
    for token in range(DEPTH):
        disk.submit(token * MIB, memory[token], token)
    ended, started = 0, DEPTH
    while ended < COUNT:
        for token, error in disk.completions():
            assert error is None
            ended += 1
            if started < COUNT:
                disk.submit(started % 500 * MIB, memory[token], token)
                started += 1
    return COUNT * MIB / (time.monotonic() - began)


def by_copying() -> float:
    """Bytes a second of copies from one buffer into eight others."""
    source, targets = bytes(range(256)) * (MIB // 256), [bytearray(MIB) for _ in range(DEPTH)]
    began = time.monotonic()
    for number in range(COUNT):
        targets[number % DEPTH][:] = source
    return COUNT * MIB / (time.monotonic() - began)


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        oddity = Oddity(Path(scratch), patch)
        with WorkerDisk(oddity.installation(), oddity.spec(), DEPTH) as disk:
            rates = [(through_worker(disk), by_copying()) for _ in range(pairs)]
    ratios = sorted(worker / copied for worker, copied in rates)
    middle = statistics.median(worker for worker, _ in rates)
    print(f"worker: {middle / 1e9:.2f} GB/s; of the rate of copying: {statistics.median(ratios):.2f}")
    print(f"({ratios[0]:.2f} to {ratios[-1]:.2f}, {pairs} pairs)")


if __name__ == "__main__":
    main()
