"""A guest that is a table of files, and plans that are carried out on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connector.conversion.changes import ChangePlan
from connector.conversion.network.cards import Card
from connector.conversion.network.plan import NetworkMode, NetworkPlan, plan
from connector.offline.window import Missing, UnreadableStructure

MAC = "00:50:56:aa:bb:01"
SECOND_MAC = "00:50:56:aa:bb:02"
ONE = (Card(0, MAC),)
TWO = (Card(0, MAC), Card(1, SECOND_MAC))
#: What says that udev of a guest reads .link files.
SYSTEMD = {"/usr/lib/udev/rules.d/80-net-setup-link.rules": 'IMPORT{builtin}="net_setup_link"\n'}
RULES = "/etc/udev/rules.d/70-connector-network.rules"


@dataclass
class Guest:
    """See `Files`."""

    files: dict[str, bytes]
    unreadable: set[str] = field(default_factory=set)

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        if path in self.unreadable:
            raise UnreadableStructure("its inode is damaged")
        if path not in self.files:
            raise Missing(f"{path} does not exist")
        return self.files[path][:most]

    def names(self, path: str) -> list[str]:
        if path in self.files or path in self.unreadable:
            raise UnreadableStructure("it is no directory")
        below = f"{path.rstrip('/')}/"
        names = {file[len(below) :].partition("/")[0] for file in self.files if file.startswith(below)}
        if not names:
            raise Missing(f"{path} does not exist")
        return sorted(names, reverse=True)


def guest(files: Mapping[str, str | bytes], *, systemd: bool = True) -> Guest:
    every = {**(SYSTEMD if systemd else {}), **files}
    return Guest(
        {p: c.encode("utf-8", "surrogateescape") if isinstance(c, str) else c for p, c in every.items()}
    )


def planned(
    files: Guest | Mapping[str, str],
    mode: str = "keep",
    *,
    cards: Sequence[Card] = ONE,
    keeps_macs: bool = False,
    command_lines: Sequence[str] = (),
) -> NetworkPlan:
    source = files if isinstance(files, Guest) else guest(files)
    return plan(source, cards, mode=NetworkMode(mode), keeps_macs=keeps_macs, command_lines=command_lines)


def changed(result: NetworkPlan) -> dict[str, str | None]:
    """The new text of each changed file."""
    changes = result.plan.changes
    return {c.path: None if c.after is None else c.after.decode("utf-8", "surrogateescape") for c in changes}


def after(source: Guest, result: ChangePlan) -> Guest:
    """The guest when the plan is carried out."""
    files = dict(source.files)
    for change in result.changes:
        assert files.get(change.path) == change.before
        if change.after is None:
            del files[change.path]
        else:
            files[change.path] = change.after
    return Guest(files, source.unreadable)
