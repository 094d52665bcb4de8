"""A Windows guest as dictionaries: its files and its registry, in which names do not tell capitals from small letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connector.conversion.changes import ChangePlan
from connector.conversion.registry import RegistryKey, RegistryValue, dword, expand_sz, multi_sz, sz
from connector.conversion.virtio_win import STORAGE
from connector.conversion.windows import WindowsGuest
from tests.conversion.guest_files import GIB, GuestFiles
from tests.conversion.hives import empty_hive

SYSTEM, SOFTWARE = "/Windows/System32/config/SYSTEM", "/Windows/System32/config/SOFTWARE"
CURRENT = ("Microsoft", "Windows NT", "CurrentVersion")
SETUP = ("Microsoft", "Windows", "CurrentVersion")
CARD = ("ControlSet001", "Services", "Tcpip", "Parameters", "Interfaces", "{B1}")
Keys = Mapping[tuple[str, ...], Mapping[str, RegistryValue]]

SERVER_2019: Keys = {
    CURRENT: {
        "ProductName": sz("Windows Server 2019 Standard"),
        "CurrentMajorVersionNumber": dword(10),
        "CurrentMinorVersionNumber": dword(0),
        "CurrentBuildNumber": sz("17763"),
        "InstallationType": sz("Server"),
    },
    SETUP: {"DevicePath": expand_sz("%SystemRoot%\\inf")},
}
USUAL: Keys = {
    ("Select",): {"Current": dword(1)},
    ("DriverDatabase",): {"Version": dword(1)},
    CARD: {
        "EnableDHCP": dword(0),
        "IPAddress": multi_sz(["10.0.0.5"]),
        "SubnetMask": multi_sz(["255.255.255.0"]),
        "DefaultGateway": multi_sz(["10.0.0.1"]),
        "NameServer": sz("10.0.0.2,10.0.0.3"),
    },
}
DRIVERS = {
    f"/viostor/2k19/amd64/{STORAGE}.sys": b"storage 2k19",
    f"/viostor/2k19/amd64/{STORAGE}.inf": b"inf",
    f"/viostor/2k19/amd64/{STORAGE}.pdb": b"symbols",
    f"/viostor/w10/amd64/{STORAGE}.sys": b"storage w10",
    "/NetKVM/2k19/amd64/netkvm.inf": b"net inf",
    "/NetKVM/2k19/amd64/netkvm.sys": b"net",
    "/NetKVM/2k19/x86/netkvm.sys": b"32 bit",
}


@dataclass(frozen=True, slots=True)
class WindowsDisk(GuestFiles):
    def resolve(self, path: str) -> str:
        return next((known for known in self.content if known.lower() == path.lower()), path)


@dataclass(frozen=True, slots=True)
class Hives:
    """Keys by hive. A key that has a key below it exists."""

    keys: Mapping[str, Keys]

    def registry_keys(
        self, hive: str, paths: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], RegistryKey]:
        known = {path: self._key(hive, path) for path in paths}
        return {path: key for path, key in known.items() if key is not None}

    def _key(self, hive: str, path: tuple[str, ...]) -> RegistryKey | None:
        low, values, subkeys, exists = _low(path), {}, [], False
        for known, content in self.keys[hive].items():
            if _low(known)[: len(low)] == low:
                exists = True
                subkeys += [known[len(low)]] if len(known) > len(low) else []
                values |= dict(content) if len(known) == len(low) else {}
        return RegistryKey(values, tuple(dict.fromkeys(subkeys))) if exists else None

    def after(self, plan: ChangePlan) -> Hives:
        keys = {
            hive: {path: dict(values) for path, values in rows.items()} for hive, rows in self.keys.items()
        }
        for change in plan.registry:
            same = [path for path in keys[change.hive] if _low(path) == _low(change.key)]
            keys[change.hive].setdefault(same[0] if same else change.key, {})[change.name] = change.after
        return Hives(keys)


def _low(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.lower() for word in path)


def windows(
    files: Mapping[str, bytes] = {},
    system: Keys = USUAL,
    software: Keys = SERVER_2019,
    **more: object,
) -> WindowsGuest:
    content = {SYSTEM: empty_hive(), SOFTWARE: empty_hive(), **files}
    more = {"disks": 1, "virtio_win": GuestFiles(DRIVERS)} | more
    room = more.pop("room", GIB)
    hives = Hives({SYSTEM: system, SOFTWARE: software})
    disk = WindowsDisk(content, room)  # type: ignore[arg-type]
    return WindowsGuest("mail-01", disk, hives, "/Windows", str(more.pop("architecture", "x86_64")), **more)  # type: ignore[arg-type]


def carried_out(guest: WindowsGuest, plan: ChangePlan) -> WindowsGuest:
    assert isinstance(guest.files, WindowsDisk)
    assert isinstance(guest.registry, Hives)
    return replace(guest, files=guest.files.after(plan), registry=guest.registry.after(plan))
