"""A snapshot is ours if and only if its description is our token; its name is for people, no proof."""

from __future__ import annotations

import re
from dataclasses import dataclass

from connector.errors import BadInput
from connector.model import SnapshotNode

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(rf"connector:({_PART.pattern}):({_PART.pattern})")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whose snapshot it is and for which pass. Letters, digits, ".", "_" and "-"; at most 64 each."""

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
        """The snapshot's whole description, and the key under which a ledger knows it."""
        return f"connector:{self.owner}:{self.pass_id}"

    @property
    def tracking(self) -> str:
        """Under which a ledger knows that this pass turned CBT on."""
        return f"tracking:{self.owner}:{self.pass_id}"

    @classmethod
    def of(cls, description: str) -> Ticket | None:
        """The ticket that a snapshot carries, or None for a snapshot that is not ours."""
        found = _TOKEN.fullmatch(description.strip())
        return cls(found[1], found[2]) if found else None


def owned(nodes: tuple[SnapshotNode, ...], owner: str) -> tuple[SnapshotNode, ...]:
    """The snapshots of one owner in a machine's tree."""
    return tuple(node for node in nodes if (ticket := Ticket.of(node.description)) and ticket.owner == owner)
