"""HostSystem: the properties of an ESXi host that checks and clients read."""

from __future__ import annotations

from typing import Any

from simulator.estate.inventory import Host
from simulator.vcenter.api import make, vim
from simulator.vcenter.kinds import Property, View


def _host(view: View) -> Host:
    host: Host = view.target.subject
    return host


def product(version: str, build: str) -> Any:
    """AboutInfo of an ESXi host."""
    return make(
        vim.AboutInfo,
        name="VMware ESXi",
        fullName=f"VMware ESXi {version} build-{build}",
        vendor="VMware, Inc.",
        version=version,
        build=build,
        localeVersion="INTL",
        localeBuild="000",
        osType="vmnix-x86",
        productLineId="embeddedEsx",
        apiType="HostAgent",
        apiVersion=f"{version}.0",
        licenseProductName="VMware ESX Server",
        licenseProductVersion="8.0",
    )


def _runtime(view: View) -> Any:
    host = _host(view)
    return make(
        vim.host.RuntimeInfo,
        connectionState=host.connection_state,
        powerState="poweredOn" if host.connection_state == "connected" else "unknown",
        standbyMode="none",
        inMaintenanceMode=host.in_maintenance,
        inQuarantineMode=False,
        bootTime=view.center.started,
    )


def _config_summary(view: View) -> Any:
    host = _host(view)
    return make(
        vim.host.Summary.ConfigSummary,
        name=host.name,
        port=443,
        sslThumbprint=view.center.thumbprint,
        product=product(host.version, host.build),
        vmotionEnabled=True,
        faultToleranceEnabled=False,
    )


def _hardware_summary(host: Host) -> Any:
    return make(
        vim.host.Summary.HardwareSummary,
        vendor="Simulated",
        model="Imaginary Server",
        uuid=host.uuid,
        memorySize=host.memory,
        cpuModel="Imaginary CPU @ 2.60GHz",
        cpuMhz=host.cpu_mhz,
        numCpuPkgs=2,
        numCpuCores=host.cpu_cores,
        numCpuThreads=2 * host.cpu_cores,
        numNics=2,
        numHBAs=1,
    )


def _summary(view: View) -> Any:
    host = _host(view)
    vms = len(view.center.index.vms_on_host.get(host.moref, ()))
    return make(
        vim.host.Summary,
        host=view.target.reference,
        hardware=_hardware_summary(host),
        runtime=_runtime(view),
        config=_config_summary(view),
        quickStats=make(
            vim.host.Summary.QuickStats,
            overallCpuUsage=100 * vms,
            overallMemoryUsage=512 * vms,
            uptime=86400,
        ),
        overallStatus="green" if host.connection_state == "connected" else "red",
        rebootRequired=False,
    )


def _address(host: Host) -> str:
    return "127.0.0.1" if not host.name.replace(".", "").isdigit() else host.name


def _config(view: View) -> Any:
    host = _host(view)
    spec = make(
        vim.host.VirtualNic.Specification,
        ip=make(vim.host.IpConfig, dhcp=False, ipAddress=_address(host), subnetMask="255.255.255.0"),
        mac="00:50:56:60:00:01",
        mtu=1500,
    )
    nic = make(
        vim.host.VirtualNic,
        device="vmk0",
        key="key-vim.host.VirtualNic-vmk0",
        portgroup="Management",
        spec=spec,
    )
    net = make(
        vim.host.VirtualNicManager.NetConfig,
        nicType="management",
        multiSelectAllowed=True,
        candidateVnic=[nic],
        selectedVnic=["management.key-vim.host.VirtualNic-vmk0"],
    )
    return make(
        vim.host.ConfigInfo,
        host=view.target.reference,
        product=product(host.version, host.build),
        virtualNicManagerInfo=make(vim.host.VirtualNicManagerInfo, netConfig=[net]),
    )


def _hardware(view: View) -> Any:
    host = _host(view)
    return make(
        vim.host.HardwareInfo,
        systemInfo=make(vim.host.SystemInfo, vendor="Simulated", model="Imaginary Server", uuid=host.uuid),
        cpuInfo=make(
            vim.host.CpuInfo,
            numCpuPackages=2,
            numCpuCores=host.cpu_cores,
            numCpuThreads=2 * host.cpu_cores,
            hz=host.cpu_mhz * 1_000_000,
        ),
        memorySize=host.memory,
    )


PROPERTIES: dict[str, Property] = {
    "runtime": _runtime,
    "summary": _summary,
    "config": _config,
    "hardware": _hardware,
    "configManager": lambda _view: make(vim.host.ConfigManager),
    "vm": lambda view: [
        vim.VirtualMachine(moref) for moref in view.center.index.vms_on_host.get(view.target.moref, ())
    ],
    "datastore": lambda view: [vim.Datastore(moref) for moref in _host(view).datastores],
    "network": lambda view: [view.center.reference(moref) for moref in _host(view).networks],
    "datastoreBrowser": lambda view: vim.host.DatastoreBrowser(f"datastoreBrowser-{view.target.moref}"),
}
