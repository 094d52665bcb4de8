"""The properties of VirtualMachine. Its methods are in `machine_calls`."""

from __future__ import annotations

from typing import Any

from simulator.estate.inventory import Inventory, Nic, PowerState, Snapshot, ToolsState, VirtualMachine
from simulator.vcenter import machine_config
from simulator.vcenter.api import make, vim
from simulator.vcenter.entities import datastores_of
from simulator.vcenter.kinds import Property, View
from simulator.vcenter.machine_config import moment
from simulator.vcenter.naming import escaped


def _vm(view: View) -> VirtualMachine:
    vm: VirtualMachine = view.target.subject
    return vm


def _inventory(view: View) -> Inventory:
    inventory: Inventory = view.center.estate.inventory
    return inventory


def _runtime(view: View) -> Any:
    vm = _vm(view)
    return make(
        vim.vm.RuntimeInfo,
        host=vim.HostSystem(vm.host),
        connectionState=vm.connection_state,
        powerState=vm.power_state.value,
        faultToleranceState="notConfigured",
        toolsInstallerMounted=False,
        bootTime=moment(vm.boot_time) if vm.boot_time and vm.power_state == PowerState.ON else None,
        suspendInterval=0,
        question=_question(vm),
        memoryOverhead=0,
        maxCpuUsage=2600 * vm.cpus,
        maxMemoryUsage=vm.memory >> 20,
        numMksConnections=0,
        recordReplayState="inactive",
        cleanPowerOff=vm.power_state == PowerState.OFF,
        onlineStandby=False,
        consolidationNeeded=vm.consolidation_needed,
        paused=False,
        snapshotInBackground=False,
        quiescedForkParent=False,
        instantCloneFrozen=False,
        suspendedToMemory=False,
    )


def _question(vm: VirtualMachine) -> Any:
    if vm.question is None:
        return None
    choice = make(vim.option.ChoiceOption, choiceInfo=[])
    return make(vim.vm.QuestionInfo, id="1", text=vm.question, choice=choice)


def _running(vm: VirtualMachine) -> bool:
    return vm.power_state == PowerState.ON and vm.guest.tools == ToolsState.RUNNING


def _tools_status(vm: VirtualMachine) -> str:
    if not vm.guest.tools_installed:
        return "toolsNotInstalled"
    return "toolsOk" if _running(vm) else "toolsNotRunning"


def _guest(view: View) -> Any:
    vm = _vm(view)
    running = _running(vm)
    status = vm.guest.tools_version_status if vm.guest.tools_installed else "guestToolsNotInstalled"
    return make(
        vim.vm.GuestInfo,
        toolsStatus=_tools_status(vm),
        toolsVersionStatus=status,
        toolsVersionStatus2=status,
        toolsRunningStatus=ToolsState.RUNNING.value if running else ToolsState.NOT_RUNNING.value,
        toolsVersion="12389" if vm.guest.tools_installed else "0",
        toolsInstallType="guestToolsTypeOpenVMTools" if vm.guest.tools_installed else None,
        guestId=vm.guest_id if running else None,
        guestFamily=vm.guest.family if running else None,
        guestFullName=machine_config.guest_name(vm) if running else None,
        hostName=(vm.guest.host_name or None) if running else None,
        ipAddress=(vm.guest.ip or None) if running else None,
        net=[_guest_nic(nic, _inventory(view)) for nic in vm.nics] if running else [],
        screen=make(vim.vm.GuestInfo.ScreenInfo, width=1024, height=768),
        guestState="running" if running else "notRunning",
        guestOperationsReady=running,
        interactiveGuestOperationsReady=False,
        guestStateChangeSupported=running,
        hwVersion=vm.version,
    )


def _guest_nic(nic: Nic, inventory: Inventory) -> Any:
    network = inventory.networks.get(nic.network)
    addresses = [
        make(
            vim.net.IpConfigInfo.IpAddress,
            ipAddress=address,
            prefixLength=64 if ":" in address else 24,
            state="preferred",
        )
        for address in nic.addresses
    ]
    return make(
        vim.vm.GuestInfo.NicInfo,
        network=nic.network if network is None else network.name,
        ipAddress=list(nic.addresses),
        macAddress=nic.mac,
        connected=nic.connected,
        deviceConfigId=nic.key,
        ipConfig=make(vim.net.IpConfigInfo, ipAddress=addresses) if addresses else None,
    )


def _heartbeat(vm: VirtualMachine) -> str:
    return "green" if _running(vm) else "gray"


def _status(vm: VirtualMachine) -> str:
    return "yellow" if vm.consolidation_needed or vm.question else "green"


def _summary(view: View) -> Any:
    vm = _vm(view)
    committed = sum(view.center.disk_bytes(vm).values())
    running = _running(vm)
    return make(
        vim.vm.Summary,
        vm=view.target.reference,
        runtime=view.center.read(view.target, "runtime", view.session),
        guest=make(
            vim.vm.Summary.GuestSummary,
            guestId=vm.guest_id if running else None,
            guestFullName=machine_config.guest_name(vm) if running else None,
            toolsStatus=_tools_status(vm),
            toolsVersionStatus=vm.guest.tools_version_status,
            toolsVersionStatus2=vm.guest.tools_version_status,
            toolsRunningStatus=(ToolsState.RUNNING if running else ToolsState.NOT_RUNNING).value,
            hostName=(vm.guest.host_name or None) if running else None,
            ipAddress=(vm.guest.ip or None) if running else None,
        ),
        config=_config_summary(vm, _inventory(view)),
        storage=make(
            vim.vm.Summary.StorageSummary,
            committed=committed,
            uncommitted=max(0, sum(disk.capacity for disk in vm.disks) - committed),
            unshared=committed,
            timestamp=moment(vm.created),
        ),
        quickStats=_quick_stats(vm),
        overallStatus=_status(vm),
    )


def _config_summary(vm: VirtualMachine, inventory: Inventory) -> Any:
    return make(
        vim.vm.Summary.ConfigSummary,
        name=escaped(vm.name),
        template=vm.template,
        vmPathName=machine_config.vmx_path(vm, inventory),
        memorySizeMB=vm.memory >> 20,
        cpuReservation=0,
        memoryReservation=0,
        numCpu=vm.cpus,
        numEthernetCards=len(vm.nics),
        numVirtualDisks=len(vm.disks),
        uuid=vm.uuid,
        instanceUuid=vm.instance_uuid,
        guestId=vm.guest_id,
        guestFullName=machine_config.guest_name(vm),
        annotation=vm.annotation,
        installBootRequired=False,
        tpmPresent=False,
        numVmiopBackings=0,
        hwVersion=vm.version,
    )


def _quick_stats(vm: VirtualMachine) -> Any:
    on = vm.power_state == PowerState.ON
    return make(
        vim.vm.Summary.QuickStats,
        overallCpuUsage=100 if on else 0,
        overallCpuDemand=100 if on else 0,
        guestMemoryUsage=(vm.memory >> 20) // 10 if on else 0,
        hostMemoryUsage=(vm.memory >> 20) // 2 if on else 0,
        guestHeartbeatStatus=_heartbeat(vm),
        uptimeSeconds=60 if on else 0,
    )


def _storage(view: View) -> Any:
    vm = _vm(view)
    sizes = view.center.disk_bytes(vm)
    usage = []
    for datastore in datastores_of(vm):
        disks = [disk for disk in vm.disks if disk.datastore == datastore]
        used = sum(sizes.get(disk.storage, 0) for disk in disks)
        usage.append(
            make(
                vim.vm.StorageInfo.UsageOnDatastore,
                datastore=vim.Datastore(datastore),
                committed=used,
                uncommitted=max(0, sum(disk.capacity for disk in disks) - used),
                unshared=used,
            )
        )
    return make(vim.vm.StorageInfo, perDatastoreUsage=usage, timestamp=moment(vm.created))


def _snapshot_info(view: View) -> Any:
    vm = _vm(view)
    if not vm.snapshots:
        return None
    current = vim.vm.Snapshot(vm.current_snapshot) if vm.current_snapshot else None
    roots = [_tree(vm, snapshot) for snapshot in vm.children(None)]
    return make(vim.vm.SnapshotInfo, currentSnapshot=current, rootSnapshotList=roots)


def _tree(vm: VirtualMachine, snapshot: Snapshot) -> Any:
    return make(
        vim.vm.SnapshotTree,
        snapshot=vim.vm.Snapshot(snapshot.moref),
        vm=vim.VirtualMachine(vm.moref),
        name=snapshot.name,
        description=snapshot.description,
        id=snapshot.id,
        createTime=moment(snapshot.created),
        state=snapshot.power_state.value,
        quiesced=snapshot.quiesced,
        childSnapshotList=[_tree(vm, child) for child in vm.children(snapshot.moref)],
        replaySupported=False,
    )


_ALWAYS_DISABLED = ("AcquireMksTicket", "StartRecording_Task", "StopRecording_Task")
_DISABLED = {
    PowerState.ON: ("PowerOnVM_Task", "UnregisterVM", "Destroy_Task", "UpgradeVM_Task"),
    PowerState.OFF: (
        "PowerOffVM_Task",
        "SuspendVM_Task",
        "ResetVM_Task",
        "RebootGuest",
        "StandbyGuest",
        "ShutdownGuest",
    ),
    PowerState.SUSPENDED: ("SuspendVM_Task", "ShutdownGuest", "RebootGuest", "ReconfigVM_Task"),
}


def _disabled(view: View) -> list[str]:
    vm = _vm(view)
    names = [*_ALWAYS_DISABLED, *_DISABLED[vm.power_state]]
    if view.center.estate.export.prepared(vm.moref):
        names += ["RelocateVM_Task", "MigrateVM_Task"]
    if vm.extra.get("vcenter.disabledMethod"):
        names += vm.extra["vcenter.disabledMethod"].split(",")
    return names


PROPERTIES: dict[str, Property] = {
    "capability": lambda view: machine_config.capability(_vm(view)),
    "config": lambda view: machine_config.config(_vm(view), _inventory(view)),
    "datastore": lambda view: [vim.Datastore(moref) for moref in datastores_of(_vm(view))],
    "disabledMethod": _disabled,
    "environmentBrowser": lambda view: vim.EnvironmentBrowser(f"envbrowser-{_vm(view).moref}"),
    "guest": _guest,
    "guestHeartbeatStatus": lambda view: _heartbeat(_vm(view)),
    "layoutEx": lambda view: machine_config.layout(
        _vm(view), _inventory(view), view.center.file_sizes(_vm(view))
    ),
    "network": lambda view: [
        view.center.reference(moref) for moref in dict.fromkeys(nic.network for nic in _vm(view).nics)
    ],
    "overallStatus": lambda view: _status(_vm(view)),
    "resourceConfig": lambda view: machine_config.resource_config(_vm(view)),
    "resourcePool": lambda view: vim.ResourcePool(_vm(view).resource_pool),
    "rootSnapshot": lambda view: [vim.vm.Snapshot(snapshot.moref) for snapshot in _vm(view).children(None)],
    "runtime": _runtime,
    "snapshot": _snapshot_info,
    "storage": _storage,
    "summary": _summary,
}

SNAPSHOT_PROPERTIES: dict[str, Property] = {
    "config": lambda view: machine_config.config(
        view.target.subject.vm, _inventory(view), view.target.subject.snapshot
    ),
    "childSnapshot": lambda view: [
        vim.vm.Snapshot(child.moref)
        for child in view.target.subject.vm.children(view.target.subject.snapshot.moref)
    ],
    "vm": lambda view: vim.VirtualMachine(view.target.subject.vm.moref),
}
