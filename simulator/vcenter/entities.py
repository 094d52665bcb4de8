"""The estate's inventory seen as a tree of managed objects: who is whose parent, child, host, and by which
moref.

An index is computed once per inventory value and thrown away with it, so a sweep over all machines stays
linear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from simulator.estate.inventory import (
    Cluster,
    Datacenter,
    Datastore,
    Folder,
    Host,
    Inventory,
    Network,
    ResourcePool,
    Snapshot,
    VirtualMachine,
)
from simulator.vcenter.naming import escaped

Entity = Folder | Datacenter | Cluster | ResourcePool | Host | Datastore | Network | VirtualMachine


@dataclass(frozen=True, slots=True)
class SnapshotOf:
    """A snapshot together with its machine."""

    vm: VirtualMachine
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Index:
    """Lookups over one inventory value. Children are listed in inventory order."""

    inventory: Inventory
    entities: dict[str, Entity]
    children: dict[str, list[str]]
    snapshots: dict[str, SnapshotOf]
    vms_on_host: dict[str, list[str]] = field(default_factory=dict)
    vms_in_pool: dict[str, list[str]] = field(default_factory=dict)
    vms_on_datastore: dict[str, list[str]] = field(default_factory=dict)
    vms_on_network: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, inventory: Inventory) -> Index:
        entities: dict[str, Entity] = {}
        for table in _tables(inventory):
            entities.update(table)
        children: dict[str, list[str]] = {}
        for moref, entity in entities.items():
            if entity.parent is not None:
                children.setdefault(entity.parent, []).append(moref)
        snapshots = {
            snapshot.moref: SnapshotOf(vm, snapshot)
            for vm in inventory.vms.values()
            for snapshot in vm.snapshots
        }
        index = cls(inventory, entities, children, snapshots)
        for vm in inventory.vms.values():
            index._place(vm)
        return index

    def _place(self, vm: VirtualMachine) -> None:
        self.vms_on_host.setdefault(vm.host, []).append(vm.moref)
        self.vms_in_pool.setdefault(vm.resource_pool, []).append(vm.moref)
        for datastore in datastores_of(vm):
            self.vms_on_datastore.setdefault(datastore, []).append(vm.moref)
        for network in dict.fromkeys(nic.network for nic in vm.nics):
            self.vms_on_network.setdefault(network, []).append(vm.moref)

    def ancestors(self, moref: str) -> Iterator[Entity]:
        """The entity itself, then its parents up to the root folder."""
        at: str | None = moref
        while at is not None and at in self.entities:
            yield self.entities[at]
            at = self.entities[at].parent

    def below(self, moref: str) -> Iterator[Entity]:
        """Everything under an entity, parents before children; vApps' and pools' machines are in their
        folders.
        """
        for child in self.children.get(moref, ()):
            yield self.entities[child]
            yield from self.below(child)

    def path(self, moref: str) -> str:
        """The inventory path, `datacenter/vm/name`; empty for the root folder."""
        names = [entity.name for entity in self.ancestors(moref)]
        return "/".join(escaped(name) for name in reversed(names[:-1]))

    def datacenter_of(self, moref: str) -> str | None:
        return next((e.moref for e in self.ancestors(moref) if isinstance(e, Datacenter)), None)

    @property
    def root(self) -> Folder:
        return next(folder for folder in self.inventory.folders.values() if folder.parent is None)

    def folder_of(self, datacenter: str, kind: str) -> str:
        """The moref of a datacenter's own folder for machines, hosts, datastores or networks."""
        for moref in self.children.get(datacenter, ()):
            entity = self.entities[moref]
            if isinstance(entity, Folder) and entity.kind == kind:
                return moref
        raise LookupError(f"{datacenter} has no {kind} folder")


def _tables(inventory: Inventory) -> tuple[dict[str, Any], ...]:
    return (
        inventory.folders,
        inventory.datacenters,
        inventory.clusters,
        inventory.pools,
        inventory.hosts,
        inventory.datastores,
        inventory.networks,
        inventory.vms,
    )


def datastores_of(vm: VirtualMachine) -> list[str]:
    """Morefs of the datastores that a machine uses, its home first."""
    return list(dict.fromkeys([vm.datastore, *(disk.datastore for disk in vm.disks)]))


def changed_morefs(before: Inventory, after: Inventory) -> list[str]:
    """Entities that differ between two inventories, with those whose lists they appear in."""
    touched: dict[str, None] = {}
    for old, new in zip(_tables(before), _tables(after), strict=True):
        if old is new:
            continue
        for moref in old.keys() | new.keys():
            if old.get(moref) is not new.get(moref):
                touched[moref] = None
                touched.update(dict.fromkeys(_related(old.get(moref), new.get(moref))))
    return list(touched)


def _related(old: Any, new: Any) -> Iterator[str]:
    for entity in (old, new):
        if isinstance(entity, VirtualMachine):
            yield from (snapshot.moref for snapshot in entity.snapshots)
            yield from datastores_of(entity)
            yield entity.host
        if entity is not None and (old is None or new is None) and entity.parent is not None:
            yield entity.parent
