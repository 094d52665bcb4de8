"""Everything that holds machines: folders, datacenters, clusters, resource pools, hosts, datastores,
networks.
"""

from __future__ import annotations

from typing import Any

from simulator.estate.inventory import Cluster, Host
from simulator.vcenter.api import make, vim
from simulator.vcenter.kinds import Property, View
from simulator.vcenter.naming import escaped

_CHILD_TYPES = {
    "vm": ["Folder", "VirtualMachine", "VirtualApp"],
    "host": ["Folder", "ComputeResource"],
    "datastore": ["Folder", "Datastore", "StoragePod"],
    "network": ["Folder", "Network", "DistributedVirtualSwitch"],
    "datacenter": ["Folder", "Datacenter"],
}


def _vms(morefs: list[str] | None) -> list[Any]:
    return [vim.VirtualMachine(moref) for moref in morefs or ()]


def _children(view: View) -> list[Any]:
    return [view.center.reference(m) for m in view.center.index.children.get(view.target.moref, ())]


FOLDER: dict[str, Property] = {
    "childEntity": _children,
    "childType": lambda view: [*_CHILD_TYPES.get(view.target.subject.kind, ["Folder"])],
}


def _folder(kind: str) -> Property:
    return lambda view: vim.Folder(view.center.index.folder_of(view.target.moref, kind))


def _in_datacenter(table: str) -> Property:
    def listed(view: View) -> list[Any]:
        index = view.center.index
        morefs = getattr(index.inventory, table)
        return [view.center.reference(m) for m in morefs if index.datacenter_of(m) == view.target.moref]

    return listed


DATACENTER: dict[str, Property] = {
    "vmFolder": _folder("vm"),
    "hostFolder": _folder("host"),
    "datastoreFolder": _folder("datastore"),
    "networkFolder": _folder("network"),
    "datastore": _in_datacenter("datastores"),
    "network": _in_datacenter("networks"),
    "configuration": lambda _view: make(vim.Datacenter.ConfigInfo, defaultHardwareVersionKey="vmx-21"),
}


def _hosts(view: View) -> list[Host]:
    hosts = view.center.index.inventory.hosts.values()
    return [host for host in hosts if host.parent == view.target.moref]


def _of_hosts(view: View, name: str) -> list[Any]:
    morefs = dict.fromkeys(moref for host in _hosts(view) for moref in getattr(host, name))
    return [view.center.reference(moref) for moref in morefs]


def _cluster_summary(view: View) -> Any:
    hosts = _hosts(view)
    cores = sum(host.cpu_cores for host in hosts)
    mhz = sum(host.cpu_cores * host.cpu_mhz for host in hosts)
    return make(
        vim.ClusterComputeResource.Summary,
        totalCpu=mhz,
        totalMemory=sum(host.memory for host in hosts),
        numCpuCores=cores,
        numCpuThreads=cores * 2,
        effectiveCpu=mhz,
        effectiveMemory=sum(host.memory for host in hosts) >> 20,
        numHosts=len(hosts),
        numEffectiveHosts=sum(not host.in_maintenance for host in hosts),
        overallStatus="green",
        currentFailoverLevel=0,
        numVmotions=0,
        currentEVCModeKey=None,
    )


def _cluster_configuration(_view: View) -> Any:
    das = make(vim.cluster.DasConfigInfo, enabled=False, failoverLevel=1, admissionControlEnabled=False)
    drs = make(vim.cluster.DrsConfigInfo, enabled=True, defaultVmBehavior="manual", vmotionRate=3)
    return make(vim.cluster.ConfigInfoEx, dasConfig=das, drsConfig=drs)


CLUSTER: dict[str, Property] = {
    "host": lambda view: [vim.HostSystem(host.moref) for host in _hosts(view)],
    "datastore": lambda view: _of_hosts(view, "datastores"),
    "network": lambda view: _of_hosts(view, "networks"),
    "resourcePool": lambda view: vim.ResourcePool(view.target.subject.resource_pool),
    "summary": _cluster_summary,
    "configurationEx": _cluster_configuration,
}


def _pool_usage(limit: int) -> Any:
    return make(
        vim.ResourcePool.ResourceUsage,
        reservationUsed=0,
        reservationUsedForVm=0,
        unreservedForPool=limit,
        unreservedForVm=limit,
        overallUsage=0,
        maxUsage=limit,
    )


def _pool_runtime(view: View) -> Any:
    hosts = [
        host
        for host in view.center.index.inventory.hosts.values()
        if host.parent == view.target.subject.owner
    ]
    return make(
        vim.ResourcePool.RuntimeInfo,
        memory=_pool_usage(sum(host.memory for host in hosts)),
        cpu=_pool_usage(sum(host.cpu_cores * host.cpu_mhz for host in hosts)),
        overallStatus="green",
    )


def _pool_config(view: View) -> Any:
    allocation = make(
        vim.ResourceAllocationInfo,
        reservation=0,
        expandableReservation=True,
        limit=-1,
        shares=make(vim.SharesInfo, shares=4000, level="normal"),
    )
    return make(
        vim.ResourceConfigSpec,
        entity=view.target.reference,
        cpuAllocation=allocation,
        memoryAllocation=allocation,
    )


def _pool_summary(view: View) -> Any:
    return make(
        vim.ResourcePool.Summary,
        name=escaped(view.target.subject.name),
        config=_pool_config(view),
        runtime=_pool_runtime(view),
    )


def _pools_below(view: View) -> list[Any]:
    pools = view.center.index.inventory.pools.values()
    return [vim.ResourcePool(pool.moref) for pool in pools if pool.parent == view.target.moref]


POOL: dict[str, Property] = {
    "owner": lambda view: view.center.reference(view.target.subject.owner),
    "vm": lambda view: _vms(view.center.index.vms_in_pool.get(view.target.moref)),
    "resourcePool": _pools_below,
    "runtime": _pool_runtime,
    "config": _pool_config,
    "summary": _pool_summary,
}


def _network_summary(view: View) -> Any:
    return make(
        vim.Network.Summary,
        network=view.target.reference,
        name=escaped(view.target.subject.name),
        accessible=True,
        ipPoolName="",
    )


def _hosts_with(view: View, name: str) -> list[Host]:
    hosts = view.center.index.inventory.hosts.values()
    return [host for host in hosts if view.target.moref in getattr(host, name)]


NETWORK: dict[str, Property] = {
    "summary": _network_summary,
    "host": lambda view: [vim.HostSystem(host.moref) for host in _hosts_with(view, "networks")],
    "vm": lambda view: _vms(view.center.index.vms_on_network.get(view.target.moref)),
}

PORTGROUP: dict[str, Property] = {
    **NETWORK,
    "key": lambda view: view.target.moref,
    "portKeys": lambda _view: [],
    "config": lambda view: make(
        vim.dvs.DistributedVirtualPortgroup.ConfigInfo,
        key=view.target.moref,
        name=escaped(view.target.subject.name),
        numPorts=8,
        type="earlyBinding",
        autoExpand=True,
        backingType="nsx" if view.target.subject.segment else "standard",
    ),
}


def _datastore_summary(view: View) -> Any:
    store = view.target.subject
    return make(
        vim.Datastore.Summary,
        datastore=view.target.reference,
        name=escaped(store.name),
        url=_url(view),
        capacity=store.capacity,
        freeSpace=view.center.free_space(store.moref),
        uncommitted=0,
        accessible=store.accessible,
        multipleHostAccess=True,
        type=store.type,
        maintenanceMode=store.maintenance_mode,
    )


def _url(view: View) -> str:
    store = view.target.subject
    return store.url or f"ds:///vmfs/volumes/{store.moref}/"


def _datastore_info(view: View) -> Any:
    store = view.target.subject
    fields = {
        "name": escaped(store.name),
        "url": _url(view),
        "freeSpace": view.center.free_space(store.moref),
        "maxFileSize": 70368744177664,
        "maxMemoryFileSize": 70368744177664,
    }
    if store.type != "VMFS":
        return make(vim.Datastore.Info, **fields)
    extent = make(vim.host.ScsiDisk.Partition, diskName=f"naa.{store.moref}", partition=1)
    volume = make(
        vim.host.VmfsVolume,
        type="VMFS",
        name=escaped(store.name),
        capacity=store.capacity,
        blockSizeMb=1,
        maxBlocks=63963136,
        majorVersion=6,
        version="6.82",
        uuid=store.moref,
        extent=[extent],
        vmfsUpgradable=False,
        local=False,
    )
    return make(vim.host.VmfsDatastoreInfo, **fields, vmfs=volume)


def _datastore_hosts(view: View) -> list[Any]:
    access = make(vim.host.MountInfo, path=_url(view), accessMode="readWrite", mounted=True, accessible=True)
    return [
        make(vim.Datastore.HostMount, key=vim.HostSystem(host.moref), mountInfo=access)
        for host in _hosts_with(view, "datastores")
    ]


def _datastore_capability(_view: View) -> Any:
    return make(
        vim.Datastore.Capability,
        directoryHierarchySupported=True,
        rawDiskMappingsSupported=True,
        perFileThinProvisioningSupported=True,
        nativeSnapshotSupported=False,
        seSparseSupported=True,
    )


DATASTORE: dict[str, Property] = {
    "summary": _datastore_summary,
    "info": _datastore_info,
    "host": _datastore_hosts,
    "vm": lambda view: _vms(view.center.index.vms_on_datastore.get(view.target.moref)),
    "browser": lambda view: vim.host.DatastoreBrowser(f"datastoreBrowser-{view.target.moref}"),
    "capability": _datastore_capability,
}

CLUSTER_TYPE = Cluster
