"""A snapshot is ours if and only if its description is a token with our owner. Its name is for people and proves nothing.

A token with another owner makes it a snapshot of another connector: `Ticket.of` tells those from what others made, `owned` ours.

A backup's snapshot is known by its name only, because backups leave no such token.

The owner in the token follows from the control plane's certificate. With another certificate, earlier snapshots belong to another
connector.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from connector.errors import BadInput
from connector.model import SnapshotNode

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BACKUP = re.compile(
    r"veeam|commvault|galaxy_|netbackup|nbu_|rubrik|cohesity|avamar|networker|consolidate helper|_backup_",
    re.I,
)
_TOKEN = re.compile(rf"connector:({_PART.pattern}):({_PART.pattern})")


@dataclass(frozen=True, slots=True)
class Ticket:
    """The owner of a snapshot and its pass. Letters, digits, ".", "_" and "-"; at most 64 of each."""

    owner: str
    pass_id: str

    def __post_init__(self) -> None:
        for part in (self.owner, self.pass_id):
            if not _PART.fullmatch(part):
                raise BadInput(
                    "an owner or pass id is not 1 to 64 of letters, digits, '.', '_', '-'", on=part
                )

    @property
    def name(self) -> str:
        return f"connector-{self.pass_id}"

    @property
    def token(self) -> str:
        """The snapshot's whole description, and its key in a ledger."""
        return f"connector:{self.owner}:{self.pass_id}"

    @property
    def tracking(self) -> str:
        """The key of the ledger's entry that this pass turned CBT on."""
        return f"tracking:{self.owner}:{self.pass_id}"

    @classmethod
    def of(cls, description: str) -> Ticket | None:
        """The ticket that a snapshot of a connector carries, of whatever owner; None for a snapshot of others."""
        match = _TOKEN.fullmatch(description.strip())
        return cls(match[1], match[2]) if match else None


def owned(nodes: tuple[SnapshotNode, ...], owner: str) -> tuple[SnapshotNode, ...]:
    """The snapshots of one owner in a machine's tree."""
    return tuple(node for node in nodes if (ticket := Ticket.of(node.description)) and ticket.owner == owner)


def is_backup(node: SnapshotNode) -> bool:
    """Whether a snapshot is named as a known backup product names its own."""
    return bool(_BACKUP.search(f"{node.name} {node.description}"))
