"""The places of machines (folders, clusters, hosts, datastores, networks) by moref, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.model import Datastore, Host, Network
from connector.vcenter.answer import PropertyRow
from connector.vcenter.values import each, moref, number, plain, text, true

FOLDERS: Mapping[str, Sequence[str]] = {
    "Folder": ("name", "parent"),
    "Datacenter": ("name", "parent"),
    "VirtualApp": ("name", "parentFolder", "parent"),
}
AROUND: Mapping[str, Sequence[str]] = {
    "ComputeResource": ("name",),
    "HostSystem": (
        "name",
        "parent",
        "runtime.connectionState",
        "runtime.inMaintenanceMode",
        "runtime.inQuarantineMode",
        "config.product.version",
        "config.product.build",
    ),
    "Datastore": (
        "name",
        "summary.type",
        "summary.capacity",
        "summary.freeSpace",
        "summary.accessible",
        "summary.maintenanceMode",
    ),
    "Network": ("name",),
    "dvs.DistributedVirtualPortgroup": ("name", "config.backingType"),
}
_NETWORKS = {"Network", "DistributedVirtualPortgroup", "OpaqueNetwork"}


class Places:
    """The rows of everything but machines, by moref. The invisible root folder is no part of a path."""

    def __init__(self, rows: Sequence[PropertyRow] = (), root: str = "") -> None:
        self._rows = {row.moref: row for row in rows if row.moref != root}

    def path(self, row: PropertyRow) -> str:
        """ "/DC0/vm/folder/name", each part still escaped: a slash in a name stays unambiguous."""
        parts = [text(row.get("name"))]
        above = moref(row.get("parent")) or moref(row.get("parentVApp"))
        visited: set[str] = set()
        while (place := self._rows.get(above)) is not None and above not in visited:
            visited.add(above)
            parts.append(text(place.get("name")))
            above = moref(place.get("parentFolder")) or moref(place.get("parent"))
        return "/" + "/".join(reversed(parts))

    def name(self, reference: str) -> str:
        """The name of an object by its moref; empty when it is not known."""
        row = self._rows.get(reference)
        return plain(text(row.get("name"))) if row is not None else ""

    def names(self, references: Any) -> tuple[str, ...]:
        """The names of those references that are known."""
        morefs = (moref(reference) for reference in each(references))
        return tuple(self.name(reference) for reference in morefs if reference in self._rows)

    def cluster(self, host: str) -> str:
        """The name of the cluster of a host; a host without a cluster has none."""
        row = self._rows.get(host)
        above = self._rows.get(moref(row.get("parent"))) if row is not None else None
        return self.name(above.moref) if above is not None and above.kind == "ClusterComputeResource" else ""

    def hosts(self) -> tuple[Host, ...]:
        return tuple(
            Host(
                row.moref,
                self.name(row.moref),
                self.cluster(row.moref),
                text(row.get("runtime.connectionState")) or "connected",
                true(row.get("runtime.inMaintenanceMode")),
                true(row.get("runtime.inQuarantineMode")),
                text(row.get("config.product.version")),
                text(row.get("config.product.build")),
            )
            for row in self._of({"HostSystem"})
        )

    def datastores(self) -> tuple[Datastore, ...]:
        return tuple(
            Datastore(
                row.moref,
                self.name(row.moref),
                text(row.get("summary.type")),
                number(row.get("summary.capacity")),
                number(row.get("summary.freeSpace")),
                true(row.get("summary.accessible"), True),
                text(row.get("summary.maintenanceMode")) or "normal",
            )
            for row in self._of({"Datastore"})
        )

    def networks(self) -> tuple[Network, ...]:
        return tuple(
            Network(
                row.moref,
                self.name(row.moref),
                row.kind,
                text(row.get("config.backingType")).lower() == "nsx",
            )
            for row in self._of(_NETWORKS)
        )

    def clusters(self) -> tuple[str, ...]:
        return tuple(self.name(row.moref) for row in self._of({"ClusterComputeResource"}))

    def folders(self) -> tuple[str, ...]:
        return tuple(sorted(self.path(row) for row in self._of({"Folder", "Datacenter", "VirtualApp"})))

    def _of(self, kinds: set[str]) -> list[PropertyRow]:
        return sorted((row for row in self._rows.values() if row.kind in kinds), key=lambda row: row.moref)
