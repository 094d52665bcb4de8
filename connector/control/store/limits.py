"""How much may exist and run at once. Frozen; every process on one database should be given the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from connector.control.store.rows import Pass
from connector.errors import BadInput


@dataclass(frozen=True, slots=True)
class Limits:
    """Quotas of things that exist, then limits on what is read at the same time across all appliances.

    A disk that is read costs its ESXi host and its vCenter one connection; a machine that is read costs each of its
    datastores the growth of one snapshot. A machine that alone exceeds a limit is read when nothing else is.
    """

    sources: int = 1000
    jobs: int = 1000
    running: int = 50
    workgroups: int = 50
    workgroup_sources: int = 50
    host_disks: int = 8
    datastore_machines: int = 15
    vcenter_disks: int = 48
    passes: int = 50

    @classmethod
    def of(cls, words: Iterable[str]) -> Limits:
        """From words such as `host_disks=4`; `BadInput` for a limit that does not exist and for less than 1."""
        names = [limit.name for limit in fields(cls)]
        chosen: dict[str, int] = {}
        for word in words:
            name, _, number = word.partition("=")
            if name not in names or not number.isdecimal() or not 1 <= int(number) < 1 << 31:
                raise BadInput(
                    f"{word[:80]!r} is no limit",
                    on="--limit",
                    remedy=f"NAME=NUMBER; NAME: {', '.join(names)}",
                )
            chosen[name] = int(number)
        return cls(**chosen)


class _Count(NamedTuple):
    """One limit met by one pass: what is used, what it would add."""

    used: int
    more: int
    limit: int
    what: str

    @property
    def full(self) -> bool:
        return self.used > 0 and self.used + self.more > self.limit


def reasons(offered: Sequence[Pass], running: Sequence[Pass], limits: Limits) -> dict[str, str]:
    """Why each offered pass must wait while `running` are read; empty for one that need not. Pure.

    The oldest comes first, and what it waits for is kept free for it: a machine with many disks waits its turn,
    not for ever. What reads no disk waits for nothing and takes nobody's place.
    """
    running = [other for other in running if other.task.reads]
    kept = list(running)
    found: dict[str, str] = {other.id: "" for other in offered if not other.task.reads}
    offered = [other for other in offered if other.task.reads]
    for wanted in offered:
        found[wanted.id] = _obstacle(wanted, running, limits)
        if not found[wanted.id] and _obstacle(wanted, kept, limits):
            found[wanted.id] = "waits its turn behind an older pass"
        if found[wanted.id]:
            kept.append(wanted)
    return found


def _obstacle(wanted: Pass, running: Sequence[Pass], limits: Limits) -> str:
    there = [other for other in running if other.vcenter == wanted.vcenter]
    beside = [other for other in there if wanted.host and other.host == wanted.host]
    counts = [
        _Count(len(running), 1, limits.passes, "machines in all"),
        _Count(_disks(there), wanted.disk_count, limits.vcenter_disks, f"disks of {wanted.vcenter}"),
        _Count(_disks(beside), wanted.disk_count, limits.host_disks, f"disks on host {wanted.host}"),
    ]
    counts += [
        _Count(
            sum(store in other.datastores for other in there),
            1,
            limits.datastore_machines,
            f"machines on datastore {store}",
        )
        for store in wanted.datastores
    ]
    full = next((count for count in counts if count.full), None)
    return "" if full is None else f"waits: {full.used} of {full.limit} {full.what} are being read"


def _disks(passes: Sequence[Pass]) -> int:
    return sum(found.disk_count for found in passes)
