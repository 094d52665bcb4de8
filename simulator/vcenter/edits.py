"""Changes of the inventory besides operations of machines: renaming, and destroying a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.estate.inventory import (
    Cluster,
    Datacenter,
    Datastore,
    Folder,
    Host,
    Inventory,
    Network,
    ResourcePool,
    VirtualMachine,
)
from simulator.vcenter.api import vim
from simulator.vcenter.kinds import Center, Target
from simulator.vcenter.naming import same

_TABLES: Mapping[type, str] = {
    Folder: "folders",
    Datacenter: "datacenters",
    Cluster: "clusters",
    ResourcePool: "pools",
    Host: "hosts",
    Datastore: "datastores",
    Network: "networks",
    VirtualMachine: "vms",
}


def rename(center: Center, target: Target, name: str) -> None:
    """Rename any entity. Raises DuplicateName when a sibling has the name."""
    table = _TABLES[type(target.subject)]
    with center.naming:
        for sibling in center.index.children.get(target.subject.parent or "", ()):
            if sibling != target.moref and same(center.index.entities[sibling].name, name):
                raise vim.fault.DuplicateName(
                    name=name, object=center.reference(sibling), msg=f"The name '{name}' already exists."
                )
        if isinstance(target.subject, VirtualMachine):
            center.estate.hardware.edit(target.moref, name=name)
            return

        def step(inventory: Inventory) -> Inventory:
            entries = getattr(inventory, table)
            changed = entries | {target.moref: replace(entries[target.moref], name=name)}
            return replace(inventory, **{table: changed})

        center.estate.change(step)


def rename_snapshot(
    center: Center, moref: str, snapshot: str, name: str | None, description: str | None
) -> None:
    with center.estate.operation(moref) as vm:
        changed = tuple(
            replace(
                known,
                name=name if name is not None else known.name,
                description=description if description is not None else known.description,
            )
            if known.moref == snapshot
            else known
            for known in vm.snapshots
        )
        center.estate.change_vm(moref, snapshots=changed)


def destroy_machine(center: Center, moref: str) -> None:
    """Delete a machine and its disks."""
    with center.estate.operation(moref) as vm:
        storages = {disk.storage for disk in vm.disks} | {
            disk.storage for snapshot in vm.snapshots for disk in snapshot.disks
        }

        def step(inventory: Inventory) -> Inventory:
            remaining = {name: known for name, known in inventory.vms.items() if name != moref}
            return replace(inventory, vms=remaining)

        center.estate.change(step)
        for storage in storages - {""}:
            center.estate.storage.delete(storage)
