"""`qemu-img` is called in one way: without a terminal and without our secrets. Callers say what its failure means to them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from connector import environment

LONGEST = 300  # characters of what it says that go into an error


@dataclass(frozen=True, slots=True)
class QemuImgAnswer:
    """What it printed; `trouble` is what it said of a failure, and is empty otherwise."""

    text: str
    trouble: str


def qemu_img(*words: str) -> QemuImgAnswer:
    """Run it, and wait."""
    result = subprocess.run(
        ["qemu-img", *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment.without_secrets(),
    )
    trouble = result.stderr.strip()[:LONGEST] or f"exit code {result.returncode}"
    return QemuImgAnswer(result.stdout, trouble if result.returncode else "")
