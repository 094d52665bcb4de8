"""SearchIndex: find entities by inventory path, UUID, address, DNS name, datastore path or child name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from simulator.estate.inventory import VirtualMachine
from simulator.vcenter.api import vim
from simulator.vcenter.kinds import Call, Kind, Method
from simulator.vcenter.machine_config import vmx_path
from simulator.vcenter.naming import same


def _one(morefs: Iterator[str], call: Call) -> Any:
    moref = next(morefs, None)
    return None if moref is None else call.center.reference(moref)


def _many(morefs: Iterator[str], call: Call) -> list[Any]:
    return [call.center.reference(moref) for moref in dict.fromkeys(morefs)]


def _machines(call: Call, fits: Callable[[VirtualMachine], bool]) -> Iterator[str]:
    within = call["datacenter"]
    for vm in call.center.index.inventory.vms.values():
        if fits(vm) and (within is None or call.center.index.datacenter_of(vm.moref) == within._moId):
            yield vm.moref


def _by_uuid(call: Call) -> Iterator[str]:
    wanted = call["uuid"].lower()
    if not call["vmSearch"]:
        hosts = call.center.index.inventory.hosts.values()
        return (host.moref for host in hosts if host.uuid.lower() == wanted)
    if call["instanceUuid"]:
        return _machines(call, lambda vm: vm.instance_uuid.lower() == wanted)
    return _machines(call, lambda vm: vm.uuid.lower() == wanted)


def _addresses(vm: VirtualMachine) -> set[str]:
    return {vm.guest.ip, *(address for nic in vm.nics for address in nic.addresses)} - {""}


def _by_ip(call: Call) -> Iterator[str]:
    return _machines(call, lambda vm: call["ip"] in _addresses(vm)) if call["vmSearch"] else iter(())


def _by_dns(call: Call) -> Iterator[str]:
    name = call["dnsName"].lower()
    if not call["vmSearch"]:
        hosts = call.center.index.inventory.hosts.values()
        return (host.moref for host in hosts if host.name.lower() == name)
    return _machines(call, lambda vm: vm.guest.host_name.lower() == name and name != "")


def _by_path(call: Call) -> Any:
    index = call.center.index
    at = index.root.moref
    for part in [part for part in call["inventoryPath"].split("/") if part]:
        children = _named_children(call, at)
        following = next((moref for moref, known in children if same(known, part)), None)
        if following is None:
            return None
        at = following
    return call.center.reference(at)


def _named_children(call: Call, moref: str) -> list[tuple[str, str]]:
    index = call.center.index
    children = [(child, index.entities[child].name) for child in index.children.get(moref, ())]
    if moref in index.inventory.pools:
        children += [(vm, index.entities[vm].name) for vm in index.vms_in_pool.get(moref, ())]
    return children


def _child(call: Call) -> Any:
    target = call.center.locate(call["entity"])
    children = (moref for moref, name in _named_children(call, target.moref) if same(name, call["name"]))
    return _one(children, call)


def _by_datastore_path(call: Call) -> Any:
    return _one(_machines(call, lambda vm: vmx_path(vm, call.center.estate.inventory) == call["path"]), call)


METHODS: dict[str, Method] = {
    "FindByUuid": lambda call: _one(_by_uuid(call), call),
    "FindAllByUuid": lambda call: _many(_by_uuid(call), call),
    "FindByIp": lambda call: _one(_by_ip(call), call),
    "FindAllByIp": lambda call: _many(_by_ip(call), call),
    "FindByDnsName": lambda call: _one(_by_dns(call), call),
    "FindAllByDnsName": lambda call: _many(_by_dns(call), call),
    "FindByInventoryPath": _by_path,
    "FindChild": _child,
    "FindByDatastorePath": _by_datastore_path,
}

KIND = Kind(vim.SearchIndex, methods=METHODS)
