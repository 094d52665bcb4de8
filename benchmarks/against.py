"""This code against an earlier release: a full pass, a delta and the opening of a disk, in alternating pairs.

    git worktree add /tmp/release 0.1.0
    python -m benchmarks.against /tmp/release [--pairs 15] [--directory /dev/shm] [--json FILE]

Both run with this interpreter, on the same disk, on tmpfs. The interval is that of the median ratio (95 %, from the order of
the pairs' ratios).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import disks
from benchmarks.pass_vs_nbdcopy import _certificates

HERE: Final = Path(__file__).parents[1]
SIDE: Final = Path(__file__).with_name("side.py")
SHARE: Final = 256  # a delta changes one cell in so many
WHAT: Final = ("full", "delta", "open")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path, help="a checkout of it")
    parser.add_argument("--pairs", type=int, default=15)
    memory = Path("/dev/shm")
    parser.add_argument("--directory", type=Path, default=memory if memory.is_dir() else None)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the disk; half of it is data")
    parser.add_argument("--prove", action="store_true", help="each pass is proved, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, list[dict[str, Any]]] = {"now": [], "then": []}
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        home = Path(scratch)
        _, credentials = _certificates(home / "certificates")
        size = options.size << 20
        disk = disks.generate(home / "source.raw", size, size * 3 // 8, size // 8)
        order = {"disk": str(disk), "home": str(home), "prove": options.prove} | credentials
        order["changes"] = size // (64 << 10) // SHARE
        for number in range(options.pairs):
            sides = [("now", HERE), ("then", options.release.resolve())]
            for name, checkout in sides if number % 2 else reversed(sides):
                figures[name].append(_run(checkout, order))
            print(number + 1, figures["now"][-1], figures["then"][-1], file=sys.stderr)
    print(_table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _run(checkout: Path, order: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SIDE)],
        input=json.dumps(order),
        text=True,
        capture_output=True,
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _table(figures: dict[str, list[dict[str, Any]]]) -> str:
    now, then = figures["now"], figures["then"]
    lines = [
        "| | now | then | wall, median ratio (95 %) | CPU, median ratio (95 %) |",
        "|---|---|---|---|---|",
    ]
    for what in WHAT:
        walls = [statistics.median(side[what]["wall"] for side in both) for both in (now, then)]
        ratios = (
            interval([a[what][kind] / max(b[what][kind], 1e-9) for a, b in zip(now, then, strict=True)])
            for kind in ("wall", "cpu")
        )
        lines.append(f"| {what} | {walls[0]:.3f} s | {walls[1]:.3f} s | {' | '.join(ratios)} |")
    memory = [statistics.median(side["memory"] for side in both) / 2**20 for both in (now, then)]
    lines.append(f"| memory | {memory[0]:.0f} MiB | {memory[1]:.0f} MiB | | |")
    return "\n".join(lines)


def interval(ratios: list[float]) -> str:
    """Median, and the ranks between which it lies in 95 of 100 cases."""
    ordered, count = sorted(ratios), len(ratios)
    low = 0
    while sum(math.comb(count, k) for k in range(low + 1)) * 2 / 2**count <= 0.05:
        low += 1
    low = max(low - 1, 0)
    return f"{statistics.median(ordered):.3f} ({ordered[low]:.3f} to {ordered[count - 1 - low]:.3f})"


if __name__ == "__main__":
    main()
