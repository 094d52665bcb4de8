"""A ready datacenter: two machines with real contents, more small ones, and any number without disks for
scale.

The tree, names and sizes come from the arguments and the seed alone; only uuids and times differ between two
builds.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

from simulator.estate.estate import Estate, Policy, Timing
from simulator.estate.inventory import (
    About,
    Cluster,
    Controller,
    Datacenter,
    Datastore,
    Folder,
    Guest,
    Host,
    Inventory,
    Network,
    Nic,
    ResourcePool,
    VirtualMachine,
    now,
)
from simulator.faults import Faults
from simulator.images.disks import MadeDisk, make_bios_disk, make_data_disk, make_efi_disk
from simulator.images.imports import import_image

SCSI, SATA, NVME, IDE = 1000, 15000, 31000, 200
NAMES = ("web-01", "db-01", "app-01", "mail-01", "cache-01", "build-01", "ldap-01", "files-01")
_ROOTS = (
    Folder("group-d1", "Datacenters", "datacenter", None),
    Folder("group-v3", "vm", "vm", "datacenter-2"),
    Folder("group-h4", "host", "host", "datacenter-2"),
    Folder("group-s5", "datastore", "datastore", "datacenter-2"),
    Folder("group-n6", "network", "network", "datacenter-2"),
)
_FIRST = {"vm": 100, "snapshot": 0, "disk": 0}


@dataclass(frozen=True)
class Sizes:
    """Bytes. `content` of a system disk: files in it; of a data disk: written bytes."""

    system: int = 2 << 30
    system_content: int = 200 << 20
    data: int = 1 << 30
    data_content: int = 96 << 20
    small: int = 256 << 20
    small_content: int = 16 << 20
    datastore: int = 200 << 30


@dataclass(frozen=True)
class Layout:
    """How much of everything. `images`: extra machines by name, each with image files of any supported
    format.

    `fillers`: machines without disk contents, for inventories at scale.
    """

    vms: int = 2
    hosts: int = 2
    datastores: int = 2
    fillers: int = 0
    sizes: Sizes = field(default_factory=Sizes)
    images: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    power_on: bool = True


def build_estate(
    directory: Path,
    layout: Layout | None = None,
    seed: int = 0,
    *,
    timing: Timing | None = None,
    policy: Policy | None = None,
    faults: Faults | None = None,
) -> Estate:
    """Open the estate in `directory`, making its contents first when there are none.

    Machine 1 boots by BIOS from ext4 and has a data disk; machine 2 boots by EFI; others are small BIOS
    machines. Raises ProgramMissing (e2fsprogs, qemu-utils), RuntimeError when another simulator has it open.
    """
    estate = Estate(directory, timing, policy, faults)
    if estate.inventory.datacenters:
        return estate
    try:
        _populate(estate, layout or Layout(), seed)
    except BaseException:
        estate.close()
        raise
    return estate


def _populate(estate: Estate, layout: Layout, seed: int) -> None:
    workshop = estate.directory / "making"
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir()
    tree = _tree(layout)
    for vm in estate.inventory.vms.values():
        for disk in vm.disks:
            estate.storage.delete(disk.storage)
    estate.change(lambda old: replace(tree, datacenters={}, counters=_FIRST | old.counters))
    for index in range(layout.vms):
        name = NAMES[index] if index < len(NAMES) else f"node-{index + 1:03d}"
        moref = _add_machine(estate, layout, name, index, firmware="efi" if index == 1 else "bios")
        for made_disk in _contents(workshop, layout.sizes, index, seed, name):
            _attach(estate, moref, made_disk)
    for index, (name, sources) in enumerate(layout.images.items(), start=layout.vms):
        moref = _add_machine(estate, layout, name, index, firmware="bios")
        for number, source in enumerate(sources):
            _attach(estate, moref, import_image(source, workshop / f"import-{number}.raw"))
    _add_fillers(estate, layout)
    shutil.rmtree(workshop)
    if layout.power_on:
        for moref, vm in estate.inventory.vms.items():
            if vm.disks:
                estate.power.on(moref)
    estate.change(
        lambda old: replace(old, datacenters=tree.datacenters)
    )  # last: a half-built estate is rebuilt


def _contents(workshop: Path, sizes: Sizes, index: int, seed: int, host: str) -> list[MadeDisk]:
    path, seed = workshop / "system.raw", seed * 1000 + index
    if index == 0:
        data = make_data_disk(workshop / "data.raw", sizes.data, seed, sizes.data_content)
        return [make_bios_disk(path, sizes.system, seed, sizes.system_content, host), data]
    if index == 1:
        return [make_efi_disk(path, sizes.system, seed, sizes.system_content, host)]
    return [make_bios_disk(path, sizes.small, seed, sizes.small_content, host)]


def _attach(estate: Estate, moref: str, made_disk: MadeDisk) -> None:
    unit = len(estate.inventory.vm(moref).disks)
    unit += unit >= 7  # the controller itself sits at 7
    estate.hardware.add_disk(
        moref, SCSI, unit, made_disk.capacity, base=made_disk.path, scratch=made_disk.scratch
    )


def _add_machine(estate: Estate, layout: Layout, name: str, index: int, firmware: str) -> str:
    number = estate.next_number("vm")
    machine = _machine(f"vm-{number}", name, index, layout, firmware)
    estate.change(lambda old: replace(old, vms=old.vms | {machine.moref: machine}))
    return machine.moref


def _add_fillers(estate: Estate, layout: Layout) -> None:
    if not layout.fillers:
        return
    machines = {}
    for index in range(layout.fillers):
        moref = f"vm-{estate.inventory.counters['vm'] + 1 + index}"
        machines[moref] = _machine(moref, f"idle-{index + 1:05d}", index, layout, "bios")
    last = estate.inventory.counters["vm"] + layout.fillers
    estate.change(lambda old: replace(old, vms=old.vms | machines, counters=old.counters | {"vm": last}))


def _machine(moref: str, name: str, index: int, layout: Layout, firmware: str) -> VirtualMachine:
    address = f"10.20.{index // 250}.{index % 250 + 10}"
    nic = Nic(4000, "Network adapter 1", _mac(moref), "network-41", addresses=(address,))
    return VirtualMachine(
        moref=moref,
        name=name,
        parent="group-v3",
        host=f"host-{21 + index % layout.hosts}",
        resource_pool="resgroup-8",
        datastore=f"datastore-{31 + index % layout.datastores}",
        directory=name,
        uuid=f"4230{str(uuid4())[4:]}",
        instance_uuid=f"5030{str(uuid4())[4:]}",
        firmware=firmware,
        created=now(),
        guest=Guest(host_name=name, full_name="Debian GNU/Linux 12 (64-bit)", ip=address),
        controllers=(Controller(SCSI, "pvscsi"), Controller(SATA, "sata"), Controller(IDE, "ide")),
        nics=(nic,),
    )


def _mac(moref: str) -> str:
    random = Random(moref)  # noqa: S311 - an address, not a secret
    return "00:50:56:" + ":".join(f"{byte:02x}" for byte in (random.randrange(0x40), *random.randbytes(2)))


def _tree(layout: Layout) -> Inventory:
    hosts = [f"host-{21 + n}" for n in range(layout.hosts)]
    stores = tuple(f"datastore-{31 + n}" for n in range(layout.datastores))
    networks = (
        Network("network-41", "VM Network", "group-n6"),
        Network("dvportgroup-42", "DPG-Servers", "group-n6", "DistributedVirtualPortgroup"),
    )
    nets = tuple(network.moref for network in networks)
    return Inventory(
        about=About(instance_uuid=str(uuid4())),
        folders={folder.moref: folder for folder in _ROOTS},
        datacenters={"datacenter-2": Datacenter("datacenter-2", "DC0", "group-d1")},
        clusters={"domain-c7": Cluster("domain-c7", "Cluster-1", "group-h4", "resgroup-8")},
        pools={"resgroup-8": ResourcePool("resgroup-8", "Resources", "domain-c7", "domain-c7")},
        hosts={
            moref: Host(
                moref, f"esx-{n:02d}.lab.example", "domain-c7", str(uuid4()), datastores=stores, networks=nets
            )
            for n, moref in enumerate(hosts, start=1)
        },
        datastores={
            moref: Datastore(
                moref,
                f"datastore-{n}",
                "group-s5",
                layout.sizes.datastore,
                url=f"ds:///vmfs/volumes/{UUID(int=n)}/",
            )
            for n, moref in enumerate(stores, start=1)
        },
        networks={network.moref: network for network in networks},
    )
