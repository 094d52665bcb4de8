"""docs/deep-checks.md, made from the rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from connector.model import Severity
from connector.offline.rules import RULES

#: Documented checks that no rule answers.
NOT_SEEN: Final = (
    ("O8", "anti-virus, group policies", "needs Windows' registry"),
    ("O9", "SAN policy of Windows", "needs Windows' registry: diskpart, `san policy=OnlineAll`"),
    ("O11", "domain controllers, cluster nodes", "needs Windows' registry"),
    (
        "O5-O7",
        "inside XFS, Btrfs, RAID, and LVM that is not linear on one disk",
        "told as O12: what could not be looked into",
    ),
)
_SAYS: Final = {Severity.BLOCK: "blocks", Severity.WARN: "warning", Severity.INFO: "note"}
_INTRODUCTION: Final = """# Checks inside the disks

`connector vm check --deep` takes a snapshot of each machine, one after the other, reads a few MB of its disks through
VDDK, and removes the snapshot. It asks first (`--yes` does not). Nothing is written into a disk. Machines that something
else blocks are left alone. A snapshot that a killed look left is removed by the next look of the same user on the same
host, and found by `connector doctor` (`--only looks`, `--repair`); looks that are alive leave each other alone.
The first disk is the machine's own first, by boot order and controllers ([order of disks](vcenter.md#the-order-of-disks)).
Of a guest that runs, the newest changes may be missing: journals are not replayed. This page is generated from the
rules (`connector/offline/rules.py`).
"""


def document() -> str:
    """The whole page."""
    rows = [(r.id, r.title, _SAYS[r.severity], r.reads, r.remedy) for r in RULES]
    parts = [
        _INTRODUCTION,
        *_table(("check", "when", "it", "read from", "what to do"), rows),
        "",
        "## Not looked at",
        "",
        *_table(("check", "what", "why"), NOT_SEEN),
    ]
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
