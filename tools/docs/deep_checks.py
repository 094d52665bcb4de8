"""docs/deep-checks.md is made from the rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from connector.cli.deep import UNCHECKED
from connector.model import Severity
from connector.offline.rules import RULES

_REGISTRY: Final = "needs Windows' registry"
_CONVERSION: Final = "[conversion](booting.md#windows)"
#: Documented checks that no rule answers.
NOT_SEEN: Final = (
    (
        "O8",
        "anti-virus",
        f"{_REGISTRY}; a group policy that keeps devices out is in the plan of a {_CONVERSION}",
    ),
    (
        "O9",
        "SAN policy of Windows",
        f"{_REGISTRY}; a {_CONVERSION} sets it. By hand: diskpart, `san policy=OnlineAll`",
    ),
    ("O11", "domain controllers, cluster nodes", f"{_REGISTRY}; in the plan of a {_CONVERSION}"),
    (
        "O5-O7",
        "inside XFS, Btrfs, RAID, and LVM that is not linear on one disk",
        "reported as O12: not checked inside",
    ),
)
#: What no rule says: that the rules could not be applied to a machine.
NOT_POSSIBLE: Final = (
    UNCHECKED,
    "the machine could not be checked inside",
    "warning",
    "its disks",
    "see the reason, run it again",
)
_SAYS: Final = {Severity.BLOCK: "blocks", Severity.WARN: "warning", Severity.INFO: "note"}
_INTRODUCTION: Final = """# Checks inside the disks

`connector vm check --deep` takes a snapshot of each machine, one after the other, reads a few MB of its disks (through
VDDK if it is named, else over NFC), and removes the snapshot. It asks first, unless `--yes` is given. Nothing is
written to a disk. A machine that another finding blocks is not checked. If a deep check is killed, the next one of that
machine removes its snapshot, if it runs on the same computer with the same state directory (`$XDG_STATE_HOME/connector`, or
`~/.local/state/connector`); `connector doctor` (`--only looks`, `--repair`) finds it too.
Deep checks that are alive do not disturb each other. Of a computer that is a clone with a copy of the state directory, only
snapshots that are older than a day are removed.
The first disk is the first by boot order and controllers ([order of disks](vcenter.md#the-order-of-disks)).
The newest changes of a running guest may be missing, because journals are not replayed. This page is generated from the
rules (`connector/offline/rules.py`).
"""


def document() -> str:
    """The whole page."""
    rows = [NOT_POSSIBLE, *((r.id, r.title, _SAYS[r.severity], r.reads, r.remedy) for r in RULES)]
    parts = [
        _INTRODUCTION,
        *_table(("check", "when", "it", "read from", "what to do"), rows),
        "",
        "## Not checked",
        "",
        *_table(("check", "what", "why"), NOT_SEEN),
    ]
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
