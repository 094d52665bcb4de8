"""The objects that exist once: the service instance and the managers in its content, and the settings they
start with.
"""

from __future__ import annotations

from typing import Any

from simulator.estate.inventory import Inventory
from simulator.vcenter import authority, catalogue, files, filters, internal, search, service, views
from simulator.vcenter.api import vim
from simulator.vcenter.kinds import Center, Kind, Target

_KINDS: tuple[Kind, ...] = (
    service.SESSIONS,
    service.OPTIONS,
    authority.KIND,
    views.MANAGER,
    search.KIND,
    catalogue.TASKS,
    catalogue.EVENTS,
    catalogue.EXTENSIONS,
    catalogue.FIELDS,
    catalogue.DISKS,
    catalogue.LICENSES,
    filters.COLLECTOR,
    files.LOGS,
    files.STORAGE_OBJECTS,
    Kind(vim.FileManager),
    Kind(vim.PerformanceManager),
)


def singletons(center: Center) -> dict[str, Target]:
    """Every such object by its moref."""
    by_type = {kind.type: kind for kind in _KINDS}
    targets = {"ServiceInstance": Target(service.INSTANCE, "ServiceInstance", center)}
    targets[internal.MOREF] = internal.target(center)
    for reference in service.MANAGERS.values():
        targets[reference._moId] = Target(by_type[type(reference)], reference._moId, center)
    return targets


def settings(session_timeout: float, inventory: Inventory) -> dict[str, Any]:
    """The initial settings of OptionManager."""
    return {
        service.IDLE_SETTING: f"{session_timeout:g}s",
        "VirtualCenter.FQDN": "vcenter.simulated.test",
        "VirtualCenter.InstanceName": "vcenter.simulated.test",
        "VirtualCenter.VimApiUrl": "https://vcenter.simulated.test/sdk",
        "instance.id": 1,
        "vpxd.motd": "",
        "config.vpxd.hostCount": len(inventory.hosts),
    }
