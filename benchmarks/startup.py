"""What a command costs before it does anything: CPU and memory of help, version, completion, and of the children of a migration.

    python -m benchmarks.startup [--runs 7] [--against CHECKOUT] [--json FILE]

The least of several runs each, CPU of user and system together: start-up is what it costs when nothing else runs.
`--against`: another checkout with a .venv, in turn with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parents[1]
COMMAND: Final = ("-m", "connector.cli.main")
COMPLETE: Final = {"_CONNECTOR_COMPLETE": "bash_complete"}


@dataclass(frozen=True, slots=True)
class Case:
    words: tuple[str, ...]
    environment: Mapping[str, str]


def _completion(line: str) -> Case:
    return Case(COMMAND, COMPLETE | {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)})


def _import(module: str) -> Case:
    return Case(("-c", f"import {module}"), {})


CASES: Final = {
    "python -c pass": Case(("-c", "pass"), {}),
    "connector --help": Case((*COMMAND, "--help"), {}),
    "connector --version": Case((*COMMAND, "--version"), {}),
    "completion: connector jo": _completion("connector jo"),
    "completion: connector job st": _completion("connector job st"),
    "completion: connector vm ch": _completion("connector vm ch"),
    "connector job list --help": Case((*COMMAND, "job", "list", "--help"), {}),
    "connector batch --help": Case((*COMMAND, "batch", "--help"), {}),
    "connector vm check --help": Case((*COMMAND, "vm", "check", "--help"), {}),
    "connector control --help": Case((*COMMAND, "control", "--help"), {}),
    "connector migrate --help": Case((*COMMAND, "migrate", "--help"), {}),
    "imports of connector.control": _import("connector.control.__main__"),
    "imports of connector.appliance": _import("connector.appliance.__main__"),
    "imports of connector.instance": _import("connector.instance.__main__"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu` in seconds, `memory` in MiB at its highest."""

    cpu: float
    memory: float


def once(checkout: Path, case: Case) -> Cost:
    """One run, in a process of its own; what it says is not looked at."""
    python = checkout / ".venv" / "bin" / "python"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    with tempfile.TemporaryDirectory() as home:
        started = subprocess.Popen(
            [python, *case.words],
            cwd=home,
            env=plain | case.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise SystemExit(f"{case.words} ended with {started.returncode}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measure(checkouts: list[Path], runs: int) -> dict[str, list[Cost]]:
    """The least cost of each case, one for each checkout; they take turns."""
    figures: dict[str, list[Cost]] = {}
    for name, case in CASES.items():
        once(checkouts[0], case)  # the files are in memory, and compiled
        taken = [[once(checkout, case) for checkout in checkouts] for _ in range(runs)]
        figures[name] = [
            Cost(min(cost.cpu for cost in each), min(cost.memory for cost in each))
            for each in zip(*taken, strict=True)
        ]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    checkouts = [HERE, *([given.against.resolve()] if given.against else [])]
    figures = measure(checkouts, given.runs)
    print(f"{'':36}" + "".join(f"{name:>24}" for name in ("this code", "the other")[: len(checkouts)]))
    for name, costs in figures.items():
        print(f"{name:36}" + "".join(f"{cost.cpu:12.2f} s{cost.memory:6.0f} MiB" for cost in costs))
    if given.json:
        shown = {name: [asdict(cost) for cost in costs] for name, costs in figures.items()}
        given.json.write_text(json.dumps(shown, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
