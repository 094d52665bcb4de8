"""Methods of Folder: make folders, and move machines or folders between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulator.estate.inventory import Folder, Inventory
from simulator.vcenter.api import vim, vmodl
from simulator.vcenter.kinds import Call, Method, Target
from simulator.vcenter.naming import same
from simulator.vcenter.tasks import Running

_LETTERS = {"vm": "v", "host": "h", "datastore": "s", "network": "n", "datacenter": "d"}


def _create(call: Call) -> Any:
    parent: Folder = call.target.subject
    center, name = call.center, call["name"]
    if not name.strip() or len(name) > 80:
        raise vim.fault.InvalidName(name=name, msg=f"The name '{name}' is not valid.")
    siblings = center.index.children.get(parent.moref, ())
    existing = next((child for child in siblings if same(center.index.entities[child].name, name)), None)
    if existing is not None:
        raise vim.fault.DuplicateName(
            name=name, object=center.reference(existing), msg=f"The name '{name}' already exists."
        )
    number = 1000 + center.estate.next_number("folder")
    folder = Folder(f"group-{_LETTERS.get(parent.kind, 'v')}{number}", name, parent.kind, parent.moref)
    center.estate.change(lambda old: replace(old, folders=old.folders | {folder.moref: folder}))
    return vim.Folder(folder.moref)


def _move(call: Call) -> Any:
    folder: Folder = call.target.subject
    targets = [call.center.locate(reference) for reference in call["list"]]
    for target in targets:
        _check(call, folder, target)

    def step(inventory: Inventory) -> Inventory:
        vms, folders = dict(inventory.vms), dict(inventory.folders)
        for target in targets:
            table: dict[str, Any] = folders if isinstance(target.subject, Folder) else vms
            table[target.moref] = replace(table[target.moref], parent=folder.moref)
        return replace(inventory, vms=vms, folders=folders)

    def work(_running: Running) -> None:
        call.center.estate.change(step)

    return call.center.tasks.start(call, work)


def _check(call: Call, folder: Folder, target: Target) -> None:
    """Only machines and folders of the same kind can be moved, and no folder into itself."""
    kind = target.subject.kind if isinstance(target.subject, Folder) else "vm"
    movable = isinstance(target.reference, (vim.Folder, vim.VirtualMachine)) and kind == folder.kind
    inside = {entity.moref for entity in call.center.index.ancestors(folder.moref)}
    if not movable or target.moref in inside:
        raise vmodl.fault.NotSupported(msg=f"{target.moref} cannot be moved into {folder.name}.")


METHODS: dict[str, Method] = {"CreateFolder": _create, "MoveIntoFolder_Task": _move}
