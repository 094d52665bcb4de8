"""Opening a disk of 16 TiB with 1 TiB of digests: its journal is read, its tree computed; table and target are not read.

    python -m benchmarks.lineage [--directory DIR] [--window MIB] [--runs 5]

A process of its own for each run; the journal's pages are dropped from the cache before. The files are sparse.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from connector.instance.disk import Disk
from connector.instance.journal import header
from connector.instance.records import NodeRecord, Pages, PassBegin, PassEnd, Ranges, TargetRecord, encode
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer import digest, tree

CAPACITY: Final = 16 << 40
FILLED: Final = 1 << 40
KEY: Final = "2000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--directory", type=Path, help="where the sparse files may lie; tmpfs knows no cold cache"
    )
    parser.add_argument("--window", type=int, default=32, help="MiB between two acknowledgements")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        _open(options.open)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        home = Path(scratch)
        size = _made(home, options.window << 20)
        print(f"journal of {size >> 10} KiB")
        walls = [_cold(home) for _ in range(options.runs)]
        print(f"opened in {statistics.median(walls):.2f} s ({min(walls):.2f} to {max(walls):.2f})")


def _made(home: Path, window: int) -> int:
    """The files of a disk after a full pass; answers the size of its journal."""
    nodes = os.urandom(digest.SIZE * tree.count(FILLED))
    parts = [encode(TargetRecord("ab" * 16)), encode(PassBegin("p", "full", "s", "c", ""))]
    for at in range(0, FILLED, window):
        first, after = at // tree.PAGE, -(-(at + window) // tree.PAGE)
        touched = nodes[first * digest.SIZE : after * digest.SIZE]
        parts.append(encode(NodeRecord((Pages(first, after - first, touched),))))
        parts.append(encode(Ranges(((Extent(at, window), RangeState.DATA),))))
    blank = tree.count(CAPACITY) - tree.count(FILLED)
    parts.append(encode(NodeRecord((Pages(tree.count(FILLED), blank),))))
    parts.append(encode(Ranges(((Extent(FILLED, CAPACITY - FILLED), RangeState.HOLE),))))
    root = tree.root(CAPACITY, nodes + bytes(blank * digest.SIZE))
    content = header(KEY, CAPACITY) + b"".join([*parts, encode(PassEnd("p", root))])
    (home / "journal").write_bytes(content)
    for name, size in (("disk.raw", CAPACITY), ("digests", digest.count(CAPACITY) * digest.SIZE)):
        with (home / name).open("wb") as file:
            file.truncate(size)
    return len(content)


def _cold(home: Path) -> float:
    with (home / "journal").open("rb") as journal:
        os.fsync(journal.fileno())
        os.posix_fadvise(journal.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    order = [sys.executable, "-m", "benchmarks.lineage", "--open", str(home)]
    done = subprocess.run(order, capture_output=True, text=True, check=True)
    print(done.stdout.strip())
    return float(done.stdout.split()[0])


def _open(home: Path) -> None:
    began, used = time.monotonic(), time.process_time()
    disk = Disk(home, KEY, CAPACITY)
    wall, cpu = time.monotonic() - began, time.process_time() - used
    settled = disk.describe()["settled"]
    disk.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{wall:.3f} s, CPU {cpu:.3f} s, memory at most {peak} MiB, {'settled' if settled else 'NOT SETTLED'}"
    )


if __name__ == "__main__":
    main()
