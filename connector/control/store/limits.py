"""How much may exist and run at once. Frozen; every process on one database should be given the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from connector.control.domain.entities import Pass
from connector.errors import BadInput


@dataclass(frozen=True, slots=True)
class Quotas:
    """Quotas of things that exist, then limits on what is read at the same time across all appliances.

    A disk that is read costs its ESXi host and its vCenter one connection; a machine that is read costs each of its
    datastores the growth of one snapshot. A machine, or an application, that alone exceeds a limit is read when nothing
    else is.
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
    def of(cls, words: Iterable[str]) -> Quotas:
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


@dataclass(frozen=True, slots=True)
class PassGroup:
    """Passes that are given out in one: all of them fit, or none begins. One alone, or an application's."""

    passes: Sequence[Pass]
    #: An application's: its room is kept even when it may begin, until it has.
    together: bool = False
    #: Its room was kept for it: only what is read counts against it.
    admitted: bool = False


class _Kind(NamedTuple):
    """What one limit counts, by its field of `Quotas`; and where: vCenter, then a host or datastore of it."""

    limit: str
    vcenter: str = ""
    place: str = ""

    def __str__(self) -> str:
        words = {
            "passes": "machines in all",
            "vcenter_disks": "disks of its vCenter",
            "host_disks": f"disks on host {self.place}",
            "datastore_machines": f"machines on datastore {self.place}",
        }
        return words[self.limit]


def reasons(
    claims: Sequence[PassGroup], running: Sequence[Pass], limits: Quotas, reserved: Sequence[Pass] = ()
) -> dict[str, str]:
    """Why each pass of the claims must wait while `running` are read; empty for one that need not. Pure.

    The oldest comes first, and what it waits for is kept free for it: a machine with many disks waits its turn,
    not for ever. `reserved` are still to be read, by applications whose machines go down already: they count as read,
    but not against one another, so nothing waits in a ring.
    """
    read = _use(running)
    used = read + _use(reserved)
    kept = Counter(used)
    found: dict[str, str] = {}
    for claim in claims:
        wanted = _use(claim.passes)
        why = _obstacle(wanted, read if claim.admitted else used, limits)
        if not why and not claim.admitted and _obstacle(wanted, kept, limits):
            why = "waits its turn behind an older pass"
        if not claim.admitted and (why or claim.together):
            kept += wanted
        found |= dict.fromkeys((one.id for one in claim.passes), why)
    return found


def _obstacle(wanted: Counter[_Kind], used: Counter[_Kind], limits: Quotas) -> str:
    for kind, more in wanted.items():
        limit = getattr(limits, kind.limit)
        if used[kind] > 0 and used[kind] + more > limit:
            return f"waits: {used[kind]} of {limit} {kind} are being read"
    return ""


def _use(passes: Iterable[Pass]) -> Counter[_Kind]:
    found: Counter[_Kind] = Counter()
    for one in passes:
        found[_Kind("passes")] += 1
        found[_Kind("vcenter_disks", one.vcenter)] += one.disk_count
        if one.host:
            found[_Kind("host_disks", one.vcenter, one.host)] += one.disk_count
        for store in one.datastores:
            found[_Kind("datastore_machines", one.vcenter, store)] += 1
    return found
