"""Views: container, list and inventory views of one session; a container view is computed anew each time it
is read.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from simulator.vcenter.api import vim, vmodl
from simulator.vcenter.kinds import Call, Center, Kind, Target
from simulator.vcenter.kinds import View as Reading


@dataclass(slots=True)
class Container:
    """A container view: everything of these types in the container."""

    owner: str
    container: Any
    types: tuple[Any, ...]
    recursive: bool


@dataclass(slots=True)
class Listed:
    """A list or inventory view: the objects that the client added."""

    owner: str
    references: list[Any] = field(default_factory=list)


class Views:
    """All views by moref. Thread-safe."""

    def __init__(self, center: Center) -> None:
        self._center = center
        self._lock = threading.Lock()
        self._views: dict[str, Target] = {}

    def add(self, kind: Kind, view: Container | Listed) -> Any:
        moref = f"session[{view.owner}]{secrets.token_hex(8)}"
        target = Target(kind, moref, view)
        with self._lock:
            self._views[moref] = target
        return target.reference

    def find(self, moref: str) -> Target | None:
        return self._views.get(moref)

    def of_session(self, key: str) -> list[Any]:
        with self._lock:
            return [target.reference for target in self._views.values() if target.subject.owner == key]

    def destroy(self, moref: str) -> None:
        with self._lock:
            self._views.pop(moref, None)
        self._center.changes.touch(moref)

    def end_session(self, key: str) -> None:
        for reference in self.of_session(key):
            self.destroy(reference._moId)


def _owner(call: Call) -> str:
    return call.opened.key


def _create_container(call: Call) -> Any:
    container = call["container"]
    target = call.center.locate(container)
    if not isinstance(container, _CONTAINERS):
        raise vmodl.fault.InvalidArgument(
            invalidProperty="container", msg=f"{target.kind.name} is no container"
        )
    types = tuple(call["type"] or ())
    return call.center.views.add(
        CONTAINER, Container(_owner(call), container, types, bool(call["recursive"]))
    )


_CONTAINERS = (vim.Folder, vim.Datacenter, vim.ComputeResource, vim.ResourcePool, vim.HostSystem)


def _contained(reading: Reading) -> list[Any]:
    view: Container = reading.target.subject
    center = reading.center
    references = []
    for moref in _members(center, view):
        reference = center.reference(moref)
        if not view.types or isinstance(reference, view.types):
            references.append(reference)
    return references


def _members(center: Center, view: Container) -> list[str]:
    index, moref = center.index, view.container._moId
    if isinstance(view.container, vim.HostSystem):
        return list(index.vms_on_host.get(moref, ()))
    members = (
        [entity.moref for entity in index.below(moref)]
        if view.recursive
        else list(index.children.get(moref, ()))
    )
    pools = [m for m in [moref, *members] if m in index.inventory.pools]
    members += [vm for pool in pools for vm in index.vms_in_pool.get(pool, ())]
    return list(dict.fromkeys(members))


def _create_list(call: Call) -> Any:
    return call.center.views.add(LIST, Listed(_owner(call), list(call["obj"] or ())))


def _create_inventory(call: Call) -> Any:
    return call.center.views.add(INVENTORY, Listed(_owner(call), [vim.Folder(call.center.index.root.moref)]))


def _modify_list(call: Call) -> list[Any]:
    view: Listed = call.target.subject
    gone = {reference._moId for reference in call["remove"] or ()}
    unresolved = [reference for reference in call["add"] or () if call.center.find(reference) is None]
    remaining = [reference for reference in view.references if reference._moId not in gone]
    known = {reference._moId for reference in remaining}
    added = [r for r in call["add"] or () if r not in unresolved and r._moId not in known]
    view.references = remaining + added
    call.center.changes.touch(call.target.moref)
    return unresolved


def _reset_list(call: Call) -> list[Any]:
    view: Listed = call.target.subject
    unresolved = [reference for reference in call["obj"] or () if call.center.find(reference) is None]
    view.references = [reference for reference in call["obj"] or () if reference not in unresolved]
    call.center.changes.touch(call.target.moref)
    return unresolved


def _reset_from(call: Call) -> None:
    other = call.center.locate(call["view"])
    call.target.subject.references = list(call.center.read(other, "view", call.session) or ())
    call.center.changes.touch(call.target.moref)


def _open_folder(call: Call) -> list[Any]:
    view: Listed = call.target.subject
    for reference in call["entity"]:
        children = call.center.index.children.get(reference._moId, ())
        known = {listed._moId for listed in view.references}
        view.references += [call.center.reference(child) for child in children if child not in known]
    call.center.changes.touch(call.target.moref)
    return []


def _destroy(call: Call) -> None:
    call.center.views.destroy(call.target.moref)


def _listed(reading: Reading) -> list[Any]:
    references: list[Any] = reading.target.subject.references
    return [reference for reference in references if reading.center.find(reference) is not None]


_VOLATILE = frozenset({"view"})
CONTAINER = Kind(
    vim.view.ContainerView,
    {
        "view": _contained,
        "container": lambda reading: reading.target.subject.container,
        "type": lambda reading: list(reading.target.subject.types),
        "recursive": lambda reading: reading.target.subject.recursive,
    },
    {"DestroyView": _destroy},
    _VOLATILE,
)
LIST = Kind(
    vim.view.ListView,
    {"view": _listed},
    {
        "DestroyView": _destroy,
        "ModifyListView": _modify_list,
        "ResetListView": _reset_list,
        "ResetListViewFromView": _reset_from,
    },
    _VOLATILE,
)
INVENTORY = Kind(
    vim.view.InventoryView,
    {"view": _listed},
    {"DestroyView": _destroy, "OpenInventoryViewFolder": _open_folder},
    _VOLATILE,
)
MANAGER = Kind(
    vim.view.ViewManager,
    {
        "viewList": lambda reading: (
            reading.center.views.of_session(reading.session.key) if reading.session is not None else []
        )
    },
    {
        "CreateContainerView": _create_container,
        "CreateListView": _create_list,
        "CreateListViewFromView": lambda call: call.center.views.add(
            LIST,
            Listed(
                _owner(call),
                list(call.center.read(call.center.locate(call["view"]), "view", call.session) or ()),
            ),
        ),
        "CreateInventoryView": _create_inventory,
    },
    frozenset({"viewList"}),
)
