"""Plans what a Windows guest needs to start on virtio hardware. It reads the guest's files and registry and changes nothing.

Windows starts from a virtio disk when the storage driver is a boot driver and its device is known before the first start. The
other drivers are put where Windows looks for them when it meets new hardware. Sources of what has to be set: virt-v2v's published
sources and Microsoft's pages. docs/decisions/0131 says why virt-v2v itself is not used, and what nobody has seen start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from connector.conversion import windows_first_boot, windows_network
from connector.conversion.changes import ChangePlan, FileChange
from connector.conversion.registry import (
    RegistryChange,
    RegistryKey,
    RegistryReader,
    RegistryValue,
    binary,
    dword,
    expand_sz,
    multi_sz,
    sz,
)
from connector.conversion.virtio_win import (
    INSTALLED,
    NETWORK,
    STORAGE,
    VirtioDrivers,
    WindowsRelease,
    drivers_for,
)
from connector.conversion.windows_first_boot import FirstBootPart
from connector.conversion.windows_network import FixedAddress
from connector.errors import Ineligible
from connector.offline.ntfs import HIBERNATED
from connector.offline.window import Files, Missing

MIB: Final = 1 << 20
_ROOM: Final = 64 * MIB  # bytes that stay free
_LARGEST: Final = 64 * MIB  # bytes of a driver
_MOST_CARDS: Final = 256  # network cards, of which old ones stay in the registry for ever
_BOOT_START, _ONLINE_ALL = 0, 1
_CLASS: Final = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"  # of storage controllers
#: A virtio disk; 1001 is its older interface. Some releases of virt-v2v name the subsystem, some do not; Windows matches both.
_DEVICES: Final = (
    "VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
    "VEN_1AF4&DEV_1001&REV_00",
    "VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01",
    "VEN_1AF4&DEV_1042&REV_01",
)
#: `Version` of a driver package: a fixed head, the class as bytes, and no date.
_PACKAGE_VERSION: Final = (
    bytes.fromhex("00ff090000000000") + bytes.fromhex("7be9364d25e3ce11bfc108002be10318") + bytes(24)
)
_INF, _PACKAGE, _CONFIGURATION = "connector.inf", "connector.inf_virtio", "connector_virtio"

_SELECT: Final = ("Select",)
_DATABASE: Final = ("DriverDatabase",)
_WINDOWS: Final = ("Microsoft", "Windows NT", "CurrentVersion")
_SETUP: Final = ("Microsoft", "Windows", "CurrentVersion")
_PENDING: Final = (*_SETUP, "Component Based Servicing", "RebootPending")
_ONCE: Final = "it runs once, at the first start"
_RESTRICTIONS: Final = ("Policies", "Microsoft", "Windows", "DeviceInstall", "Restrictions")


class WindowsFiles(Files, Protocol):
    """The mounted file systems of a Windows."""

    def size(self, path: str) -> int:
        """The size of a file in bytes. Raises Missing."""

    def free(self, directory: str) -> int:
        """Free bytes where this directory is."""

    def resolve(self, path: str) -> str:
        """The path as it is written on the disk, where names do not tell capitals from small letters."""


@dataclass(frozen=True, slots=True)
class WindowsGuest:
    """A guest whose system disk is mounted. `directory`: of Windows. `virtio_win`: the drivers that the user has, if any.

    `keeps_addresses`: the user wants the addresses of the source; `cards`: how many network cards it has, 0 if nobody knows.
    `first_boot`: a script of the user in PowerShell; b"" is none.
    """

    name: str
    files: WindowsFiles
    registry: RegistryReader
    directory: str
    architecture: str
    disks: int
    virtio_win: Files | None = None
    keeps_addresses: bool = False
    cards: int = 1
    first_boot: bytes = b""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What was read. `system` and `software`: keys of the two hives, by path. `control`: the control set that is used."""

    guest: WindowsGuest
    control: str
    hives: tuple[str, str]
    system: dict[tuple[str, ...], RegistryKey]
    software: dict[tuple[str, ...], RegistryKey]
    release: WindowsRelease
    product: str
    fixed: Mapping[str, FixedAddress] = field(default_factory=dict)
    leases: int = 0

    def service(self, name: str) -> RegistryKey | None:
        return self.system.get((self.control, "Services", name))

    def set(self, key: tuple[str, ...], name: str, value: RegistryValue, why: str) -> ChangePlan:
        """A change of the system's hive; nothing when it is so already."""
        known = self.system.get(key)
        before = known.value(name) if known is not None else None
        change = RegistryChange(self.hives[0], key, name, before, value, why)
        return ChangePlan() if before == value else ChangePlan(registry=(change,))


def plan(guest: WindowsGuest) -> ChangePlan:
    """Everything that has to change. Raises Ineligible for a Windows that must not or cannot be converted."""
    _require_shut_down(guest)
    facts = _read(guest)
    whole = ChangePlan()
    for step in STEPS:
        whole = whole + step(facts)
    return whole


def _require_shut_down(guest: WindowsGuest) -> None:
    """What Windows would put back at its next start must not be changed now."""
    again = "shut it down in the source with `shutdown /s /t 0`, then run another pass"
    try:
        if guest.files.read("/hiberfil.sys", 4) in HIBERNATED:
            raise Ineligible(
                "Windows is hibernated, or was shut down by fast startup", on=guest.name, remedy=again
            )
    except Missing:
        pass
    for hive in _hives(guest):
        if _size(guest.files, hive) is None:
            raise Ineligible(
                f"its registry is incomplete: {hive} does not exist",
                on=guest.name,
                remedy="check that it starts in the source",
            )
        if _is_unsaved(guest.files.read(hive, 512)):
            raise Ineligible(
                f"its registry was not saved completely ({hive}): it was copied while Windows was running, or Windows crashed",
                on=guest.name,
                remedy=again,
            )


def _is_unsaved(head: bytes) -> bool:
    """A hive's head has two numbers, which differ while changes are only in its log. Layout: the libyal documentation of regf."""
    return head[:4] != b"regf" or head[4:8] != head[8:12]


def _hives(guest: WindowsGuest) -> tuple[str, str]:
    """The paths of the system's and of the software's hive."""
    folder = guest.files.resolve(f"{guest.directory}/System32/config")
    return guest.files.resolve(f"{folder}/SYSTEM"), guest.files.resolve(f"{folder}/SOFTWARE")


def _read(guest: WindowsGuest) -> _Facts:
    system_hive, software_hive = _hives(guest)
    system = guest.registry.registry_keys(system_hive, [_SELECT])
    control = (
        f"ControlSet{system[_SELECT].number('Current') or 1:03d}" if _SELECT in system else "ControlSet001"
    )
    interfaces = _interfaces(control)
    system |= guest.registry.registry_keys(system_hive, [interfaces, *_keys_that_change(control)])
    names = system[interfaces].subkeys[:_MOST_CARDS] if interfaces in system else ()
    cards = [(*interfaces, name) for name in names]
    system |= guest.registry.registry_keys(system_hive, cards) if cards else {}
    software = guest.registry.registry_keys(software_hive, [_WINDOWS, _SETUP, _PENDING, _RESTRICTIONS])
    current = software.get(_WINDOWS, RegistryKey())
    return _Facts(
        guest,
        control,
        (system_hive, software_hive),
        system,
        software,
        _release(current),
        current.text("ProductName") or "Windows",
        {name: row for name in names if (row := windows_network.fixed(name, system[*interfaces, name]))},
        sum(windows_network.has_lease(system[card]) for card in cards),
    )


def _interfaces(control: str) -> tuple[str, ...]:
    return (control, "Services", "Tcpip", "Parameters", "Interfaces")


def _keys_that_change(control: str) -> list[tuple[str, ...]]:
    services = (
        STORAGE,
        NETWORK,
        windows_first_boot.SERVICE,
        "partmgr\\Parameters",
        "VMTools",
        "NTDS",
        "ClusSvc",
    )
    return [
        _DATABASE,
        *((control, "Services", *name.split("\\")) for name in services),
        *(key for key, _, _ in _known_device(control, has_database=True)),
        *(key for key, _, _ in _known_device(control, has_database=False)),
    ]


def _release(current: RegistryKey) -> WindowsRelease:
    major, minor = current.number("CurrentMajorVersionNumber"), current.number("CurrentMinorVersionNumber")
    if major is None:  # before Windows 10 there is only a text
        first, _, second = current.text("CurrentVersion").partition(".")
        major, minor = _number(first), _number(second)
    build = _number(current.text("CurrentBuildNumber") or current.text("CurrentBuild"))
    is_server = "server" in f"{current.text('InstallationType')} {current.text('ProductName')}".lower()
    return WindowsRelease((major, minor or 0), build, is_server)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _storage(facts: _Facts) -> ChangePlan:
    """The storage driver is there, and is started with the kernel; the other drivers are where Windows looks for them."""
    guest = facts.guest
    target = guest.files.resolve(f"{guest.directory}/System32/drivers/{STORAGE}.sys")
    drivers = None
    if guest.virtio_win is not None:
        drivers = drivers_for(guest.virtio_win, facts.release, guest.architecture)
    service = facts.service(STORAGE)
    if (
        service is not None
        and service.number("Start") == _BOOT_START
        and _size(guest.files, target) is not None
    ):
        return ChangePlan() if facts.service(NETWORK) is not None else _others(facts, drivers)
    if drivers is None:
        raise _no_drivers(facts)
    why = "Windows starts from a virtio disk with it"
    whole = _file(guest.files, target, drivers.read(f"{STORAGE}.sys"), why)
    for key, name, value in _boot_driver(facts):
        whole = whole + facts.set(key, name, value, why)
    return whole + _others(facts, drivers)


def _no_drivers(facts: _Facts) -> Ineligible:
    """The storage driver is missing, and nobody has it."""
    why = "this computer has no virtio-win"
    remedy = f"put its ISO image or its files into {INSTALLED}, or name them with --virtio-win"
    if facts.guest.virtio_win is not None:
        why = "this virtio-win has none for it"
        remedy = (
            "use a release of virtio-win that supports this Windows, or keep the source's disk controller"
        )
    release = f"{facts.product} (build {facts.release.build}, {facts.guest.architecture})"
    return Ineligible(
        f"{release} has no virtio storage driver, and {why}", on=facts.guest.name, remedy=remedy
    )


def _boot_driver(facts: _Facts) -> Sequence[tuple[tuple[str, ...], str, RegistryValue]]:
    service = (facts.control, "Services", STORAGE)
    return (
        (service, "Type", dword(1)),
        (service, "Start", dword(_BOOT_START)),
        (service, "Group", sz("SCSI miniport")),
        (service, "ErrorControl", dword(1)),
        (service, "ImagePath", expand_sz(f"system32\\drivers\\{STORAGE}.sys")),
        *_known_device(facts.control, has_database=_DATABASE in facts.system),
    )


def _known_device(
    control: str, *, has_database: bool
) -> Sequence[tuple[tuple[str, ...], str, RegistryValue]]:
    """Windows knows the disk's device before it has met it. Since Windows 8 that is in a database of drivers."""
    if not has_database:
        return [
            row
            for device in _DEVICES
            for key in [(control, "Control", "CriticalDeviceDatabase", f"PCI#{device}")]
            for row in ((key, "Service", sz(STORAGE)), (key, "ClassGUID", sz(_CLASS)))
        ]
    inf, package = (*_DATABASE, "DriverInfFiles", _INF), (*_DATABASE, "DriverPackages", _PACKAGE)
    rows: list[tuple[tuple[str, ...], str, RegistryValue]] = [
        (inf, "", multi_sz([_PACKAGE])),
        (inf, "Active", sz(_PACKAGE)),
        (inf, "Configurations", multi_sz([_CONFIGURATION])),
        (package, "Version", binary(_PACKAGE_VERSION)),
        ((*package, "Configurations", _CONFIGURATION), "ConfigFlags", dword(0)),
        ((*package, "Configurations", _CONFIGURATION), "Service", sz(STORAGE)),
    ]
    for device in _DEVICES:
        rows.append(((*_DATABASE, "DeviceIds", "PCI", device), _INF, binary(b"\x01\xff\x00\x00")))
        rows.append(((*package, "Descriptors", "PCI", device), "Configuration", sz(_CONFIGURATION)))
    return rows


def _others(facts: _Facts, drivers: VirtioDrivers | None) -> ChangePlan:
    """All drivers are where Windows looks for them when it meets the network card and the other devices."""
    if drivers is None:
        return ChangePlan(
            notes=("the virtio network driver is not installed, and this computer has no virtio-win",)
        )
    guest = facts.guest
    folder = guest.files.resolve(f"{guest.directory}/Drivers/VirtIO")
    contents = {file: drivers.read(file) for file in sorted(drivers.paths)}
    why = f"a driver of virtio-win for {drivers.name}, for hardware that Windows meets at its first start"
    whole = ChangePlan()
    for file, data in contents.items():
        whole = whole + _file(guest.files, f"{folder}/{file}", data, why)
    _require_room(guest, whole.size)
    if f"{NETWORK}.inf" not in contents:
        whole = whole + ChangePlan(notes=("this virtio-win has no network driver for it",))
    return whole + _device_path(facts)


def _device_path(facts: _Facts) -> ChangePlan:
    before = facts.software.get(_SETUP, RegistryKey()).value("DevicePath")
    text = before.text if before is not None else "%SystemRoot%\\inf"
    place = "%SystemRoot%\\Drivers\\VirtIO"
    if place.lower() in (word.strip().lower() for word in text.split(";")):
        return ChangePlan()
    change = RegistryChange(
        facts.hives[1],
        _SETUP,
        "DevicePath",
        before,
        expand_sz(f"{text};{place}"),
        "Windows looks for drivers there",
    )
    return ChangePlan(registry=(change,))


def _require_room(guest: WindowsGuest, needed: int) -> None:
    free = guest.files.free("/")
    if needed and free < needed + _ROOM:
        raise Ineligible(
            f"its drivers need {needed // MIB + 1} MiB, and drive C has {free // MIB} MiB free",
            on=guest.name,
            remedy="free some space in the source, then run another pass",
        )


def _san_policy(facts: _Facts) -> ChangePlan:
    """A Windows Server leaves data disks offline that come with a controller which it takes for a SAN."""
    if facts.guest.disks < 2 or not facts.release.is_server:
        return ChangePlan()
    key = (facts.control, "Services", "partmgr", "Parameters")
    return facts.set(key, "SanPolicy", dword(_ONLINE_ALL), "its data disks must come online by themselves")


def _first_boot(facts: _Facts) -> ChangePlan:
    """What runs once at the first start: the addresses for the new card, and the user's script.

    The old card asks DHCP from now on: it is no more there, and Windows gives no address twice.
    """
    guest, whole, parts = facts.guest, ChangePlan(), list[FirstBootPart]()
    if facts.fixed and guest.keeps_addresses:
        if why := windows_network.trouble(facts.fixed, facts.leases, guest.cards):
            return (
                whole
                + ChangePlan(notes=(f"{_addresses(facts)} are not kept: {why}",))
                + _scripts(facts, parts)
            )
        (address,) = facts.fixed.values()
        parts.append(FirstBootPart(windows_network.SCRIPT, windows_network.script(address)))
        key = (*_interfaces(facts.control), address.key)
        whole = facts.set(key, "EnableDHCP", dword(1), f"the new card gets {address} at the first start")
    return whole + _scripts(facts, parts)


def _scripts(facts: _Facts, parts: list[FirstBootPart]) -> ChangePlan:
    guest, whole = facts.guest, ChangePlan()
    if guest.first_boot:
        parts = [*parts, FirstBootPart("script.ps1", guest.first_boot)]
    if not parts or (guest.first_boot and _has_script(facts)):
        return whole
    folder = guest.files.resolve(f"{guest.directory}/{windows_first_boot.FOLDER}")
    for name, data in windows_first_boot.files(tuple(parts)).items():
        whole = whole + _file(guest.files, f"{folder}/{name}", data, _ONCE)
    key = (facts.control, "Services", windows_first_boot.SERVICE)
    for name, value in windows_first_boot.service().items():
        whole = whole + facts.set(key, name, value, _ONCE)
    return whole


def _has_script(facts: _Facts) -> bool:
    """Whether the user's script waits for its first start already."""
    guest = facts.guest
    path = guest.files.resolve(f"{guest.directory}/{windows_first_boot.FOLDER}/script.ps1")
    is_known = facts.service(windows_first_boot.SERVICE) is not None and _size(guest.files, path) is not None
    return is_known and guest.files.read(path, _LARGEST) == guest.first_boot


def _addresses(facts: _Facts) -> str:
    return f"fixed addresses ({'; '.join(map(str, facts.fixed.values()))})"


def _notes(facts: _Facts) -> ChangePlan:
    """What a person has to know."""
    notes = [note for service, note in _NOTED_SERVICES if facts.service(service) is not None]
    if _PENDING in facts.software:
        notes.append("updates wait for a restart: restart Windows in the source before the cutover")
    restrictions = facts.software.get(_RESTRICTIONS, RegistryKey())
    if any(number for name in restrictions.values if (number := restrictions.number(name))):
        notes.append(
            "a group policy restricts the installation of devices: it may keep the virtio drivers out"
        )
    if facts.fixed and not facts.guest.keeps_addresses:
        what = "stay with the old network cards: give them to the new cards after the first start, or use --network keep"
        notes.append(f"{_addresses(facts)} {what}")
    return ChangePlan(notes=tuple(notes))


_NOTED_SERVICES: Final = (
    ("VMTools", "VMware Tools are installed: uninstall them after the first start"),
    ("NTDS", "it is a domain controller: never let it run beside the source"),
    ("ClusSvc", "it is a node of a failover cluster: its shared disks and its quorum are not converted"),
)

STEPS: Final[tuple[Callable[[_Facts], ChangePlan], ...]] = (_storage, _san_policy, _first_boot, _notes)


def _size(files: WindowsFiles, path: str) -> int | None:
    try:
        return files.size(path)
    except Missing:
        return None


def _file(files: WindowsFiles, path: str, data: bytes, why: str) -> ChangePlan:
    before = files.read(path, _LARGEST) if _size(files, path) is not None else None
    return ChangePlan() if before == data else ChangePlan((FileChange(path, before, data, why),))
