"""What is planned for a Windows guest, by its files and its registry. Whatever is planned is done once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.conversion import windows as planner
from connector.conversion.changes import ChangePlan
from connector.conversion.registry import RegistryValue, dword, expand_sz, multi_sz, sz
from connector.conversion.virtio_win import (
    DIRECTORIES,
    STORAGE,
    DirectoryFiles,
    WindowsRelease,
    directories_of,
    drivers_for,
    installed,
)
from connector.conversion.windows import WindowsGuest
from connector.errors import BadInput, Ineligible
from connector.offline.window import Missing
from tests.conversion.guest_files import GuestFiles
from tests.conversion.hives import empty_hive
from tests.conversion.windows_files import (
    CARD,
    CURRENT,
    DRIVERS,
    SERVER_2019,
    SETUP,
    SOFTWARE,
    SYSTEM,
    USUAL,
    WindowsDisk,
    carried_out,
    windows,
)

DRIVER = f"/Windows/System32/drivers/{STORAGE}.sys"
DEVICES = (
    "VEN_1AF4&DEV_1001&REV_00",
    "VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
    "VEN_1AF4&DEV_1042&REV_01",
    "VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01",
)
SERVICE = ("ControlSet001", "Services", STORAGE)


def planned(guest: WindowsGuest) -> ChangePlan:
    plan = planner.plan(guest)
    assert planner.plan(carried_out(guest, plan)).is_empty
    return plan


def values(plan: ChangePlan) -> dict[tuple[tuple[str, ...], str], RegistryValue]:
    return {(change.key, change.name): change.after for change in plan.registry}


def test_the_storage_driver_starts_with_the_kernel_and_knows_its_device() -> None:
    plan = planned(windows())
    contents = {change.path: change.after for change in plan.changes}
    assert contents[DRIVER] == b"storage 2k19"
    assert values(plan)[SERVICE, "Start"] == dword(0)
    assert values(plan)[SERVICE, "ImagePath"] == expand_sz("system32\\drivers\\viostor.sys")
    devices = {change.key[-1] for change in plan.registry if "DeviceIds" in change.key}
    assert devices == set(DEVICES)
    packages = [change.key for change in plan.registry if "Descriptors" in change.key]
    (inf,) = {change.name for change in plan.registry if "DeviceIds" in change.key}
    (package,) = {key[2] for key in packages}
    assert values(plan)[("DriverDatabase", "DriverInfFiles", inf), ""] == multi_sz([package])


def test_before_windows_8_devices_are_known_by_another_key() -> None:
    old = {
        CURRENT: {
            "ProductName": sz("Windows Server 2008 R2"),
            "CurrentVersion": sz("6.1"),
            "CurrentBuild": sz("7601"),
        }
    }
    system = {key: row for key, row in USUAL.items() if key != ("DriverDatabase",)}
    drivers = {path.replace("2k19", "2k8R2"): data for path, data in DRIVERS.items()}
    plan = planned(windows(software=old, system=system, virtio_win=GuestFiles(drivers)))
    keys = {
        key[-1]: value
        for (key, name), value in values(plan).items()
        if "CriticalDeviceDatabase" in key and name == "Service"
    }
    assert keys == {f"PCI#{device}": sz(STORAGE) for device in DEVICES}
    assert not [change for change in plan.registry if change.key[0] == "DriverDatabase"]


def test_the_control_set_that_is_used_is_changed() -> None:
    system = {(key[0].replace("001", "002"), *key[1:]): row for key, row in USUAL.items()} | {
        ("Select",): {"Current": dword(2)}
    }
    keys = {change.key[0] for change in planned(windows(system=system)).registry if "Services" in change.key}
    assert keys == {"ControlSet002"}


def test_other_drivers_are_where_windows_looks_for_them() -> None:
    plan = planned(windows())
    others = {change.path for change in plan.changes if "VirtIO" in change.path}
    folder = "/Windows/Drivers/VirtIO"
    assert others == {
        f"{folder}/{name}" for name in ("netkvm.inf", "netkvm.sys", "viostor.inf", "viostor.sys")
    }
    assert values(plan)[SETUP, "DevicePath"] == expand_sz("%SystemRoot%\\inf;%SystemRoot%\\Drivers\\VirtIO")


def test_a_windows_that_has_its_drivers_needs_nothing() -> None:
    system = USUAL | {
        SERVICE: {"Start": dword(0)},
        ("ControlSet001", "Services", "netkvm"): {"Start": dword(3)},
    }
    for drivers in (None, GuestFiles(DRIVERS)):
        plan = planned(windows({DRIVER.upper(): b"driver"}, system=system, virtio_win=drivers))
        assert plan.is_empty


def test_a_storage_driver_that_is_not_started_with_the_kernel_does_not_count() -> None:
    system = USUAL | {SERVICE: {"Start": dword(3), "Type": dword(1)}}
    plan = planned(windows({DRIVER: b"older"}, system=system))
    (start,) = (change for change in plan.registry if change.name == "Start")
    assert (start.before, start.after) == (dword(3), dword(0))
    assert (SERVICE, "Type") not in values(plan)
    assert [change.before for change in plan.changes if change.path == DRIVER] == [b"older"]


def test_without_a_network_driver_that_is_said() -> None:
    system = USUAL | {SERVICE: {"Start": dword(0)}}
    plan = planned(windows({DRIVER: b"driver"}, system=system, virtio_win=None))
    assert plan.is_empty
    assert "the virtio network driver is not installed, and this computer has no virtio-win" in plan.notes


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {"virtio_win": None},
            r"\(build 17763, x86_64\) has no virtio storage driver, and this computer has no virtio-win",
        ),
        ({"virtio_win": GuestFiles({"/readme": b""})}, "this virtio-win has none for it"),
        ({"architecture": "aarch64"}, "aarch64.*has none for it"),
        ({"files": {"/hiberfil.sys": b"HIBR"}}, "hibernated"),
        ({"files": {SYSTEM: empty_hive(is_saved=False)}}, "its registry was not saved completely"),
        ({"files": {SOFTWARE: empty_hive(is_saved=False)}}, "config/SOFTWARE"),
        ({"files": {SYSTEM: b""}}, "its registry was not saved completely"),
    ],
)
def test_what_cannot_be_converted_is_said(more: dict[str, object], why: str) -> None:
    with pytest.raises(Ineligible, match=why):
        planner.plan(windows(**more))  # type: ignore[arg-type]


def test_a_windows_that_has_resumed_is_not_hibernated() -> None:
    assert planned(windows({"/hiberfil.sys": bytes(4)})).changes


def test_a_hive_that_is_not_there_is_said() -> None:
    guest = windows()
    files = WindowsDisk({path: data for path, data in guest.files.content.items() if path != SOFTWARE})  # type: ignore[attr-defined]
    with pytest.raises(Ineligible, match="config/SOFTWARE does not exist"):
        planner.plan(replace(guest, files=files))


def test_drivers_that_are_there_need_no_room() -> None:
    """After a conversion the drive may be as full as it is allowed to be, and planning again must give nothing."""
    guest = windows()
    converted = carried_out(guest, planner.plan(guest))
    full = replace(converted, files=replace(converted.files, room=64 << 20))  # type: ignore[type-var]
    assert planner.plan(full).is_empty


def test_a_file_that_is_too_large_for_a_driver_is_not_cut_off() -> None:
    large = GuestFiles(DRIVERS | {"/NetKVM/2k19/amd64/netkvm.sys": bytes((64 << 20) + 1)})
    with pytest.raises(BadInput, match=r"netkvm\.sys: has more than 64 MiB"):
        planner.plan(windows(virtio_win=large))


def test_a_full_drive_is_said() -> None:
    with pytest.raises(Ineligible, match="drive C has 8 MiB free"):
        planner.plan(windows(room=8 << 20))


@pytest.mark.parametrize(
    ("disks", "policy", "expected"),
    [(2, None, dword(1)), (2, dword(2), dword(1)), (2, dword(1), None), (1, None, None)],
)
def test_data_disks_of_a_server_come_online(
    disks: int, policy: RegistryValue | None, expected: RegistryValue | None
) -> None:
    key = ("ControlSet001", "Services", "partmgr", "Parameters")
    system = USUAL | ({key: {"SanPolicy": policy}} if policy else {})
    assert values(planned(windows(system=system, disks=disks))).get((key, "SanPolicy")) == expected


def test_data_disks_of_a_desktop_come_online_anyway() -> None:
    client = {
        CURRENT: SERVER_2019[CURRENT]
        | {"InstallationType": sz("Client"), "ProductName": sz("Windows 10 Pro")}
    }
    plan = planned(windows(software=client, disks=2))
    assert {change.after for change in plan.changes if change.path == DRIVER} == {b"storage w10"}
    assert not [change for change in plan.registry if change.name == "SanPolicy"]


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({}, "fixed addresses (10.0.0.5) stay with the old network cards"),
        (
            {"keeps_addresses": True, "cards": 2},
            "fixed addresses (10.0.0.5) are not kept: the registry has cards that may be gone (1 with fixed addresses",
        ),
        ({"system": USUAL | {("ControlSet001", "Services", "VMTools"): {}}}, "VMware Tools are installed"),
        ({"system": USUAL | {("controlset001", "services", "ntds"): {}}}, "it is a domain controller"),
        (
            {"software": SERVER_2019 | {(*SETUP, "Component Based Servicing", "RebootPending"): {}}},
            "updates wait for a restart",
        ),
        (
            {
                "software": SERVER_2019
                | {
                    ("Policies", "Microsoft", "Windows", "DeviceInstall", "Restrictions"): {
                        "DenyUnspecified": dword(1)
                    }
                }
            },
            "a group policy restricts the installation of devices",
        ),
    ],
)
def test_what_a_person_has_to_know_is_said(more: dict[str, object], note: str) -> None:
    notes = planned(windows(**more)).notes  # type: ignore[arg-type]
    assert any(text.startswith(note) for text in notes), notes


def test_a_card_that_asks_dhcp_is_no_note() -> None:
    system = USUAL | {CARD: {"EnableDHCP": dword(1), "IPAddress": multi_sz(["0.0.0.0"])}}
    assert planned(windows(system=system)).notes == ()


@pytest.mark.parametrize(
    ("version", "build", "is_server", "expected"),
    [
        ((10, 0), 26100, True, ("2k25", "2k22", "2k19", "2k16")),
        ((10, 0), 17763, True, ("2k19", "2k16")),
        ((10, 0), 22631, False, ("w11", "w10")),
        ((6, 3), 9600, True, ("2k12R2",)),
        ((5, 2), 3790, True, ()),
    ],
)
def test_drivers_are_named_by_the_release(
    version: tuple[int, int], build: int, is_server: bool, expected: tuple[str, ...]
) -> None:
    assert directories_of(WindowsRelease(version, build, is_server)) == expected


@pytest.mark.parametrize("home", ["/drivers/by-os/amd64/2k19", "/by-os/amd64/2K19", "/viostor/2K19/AMD64"])
def test_each_layout_of_virtio_win_is_understood(home: str) -> None:
    source = GuestFiles({f"{home}/VioStor.sys": b"driver", f"{home}/viostor.pdb": b""})
    drivers = drivers_for(source, WindowsRelease((10, 0), 20348, True), "x86_64")
    assert drivers is not None
    assert (drivers.name, list(drivers.paths)) == ("2k19", [f"{STORAGE}.sys"])
    assert drivers.read(f"{STORAGE}.sys") == b"driver"


def test_a_directory_of_this_computer_is_read(tmp_path: Path) -> None:
    home = tmp_path / "viostor" / "w11" / "amd64"
    home.mkdir(parents=True)
    (home / "viostor.sys").write_bytes(b"driver")
    (tmp_path / "readme.txt").write_text("read me")
    drivers = drivers_for(DirectoryFiles(tmp_path), WindowsRelease((10, 0), 22000, False), "x86_64")
    assert drivers is not None
    assert drivers.read("viostor.sys") == b"driver"


def test_what_is_no_file_is_missing_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    files = DirectoryFiles(tmp_path)
    for path in ("/nothing", "/file/below"):
        with pytest.raises(Missing):
            files.read(path)
    with pytest.raises(Missing):
        files.names("/file")
    with pytest.raises(BadInput, match="cannot be read: Too many levels"):
        files.read("/loop")


def test_the_installed_virtio_win_is_its_iso_image_or_its_files(tmp_path: Path) -> None:
    home = tmp_path / "virtio-win"
    assert installed(home) is None
    home.mkdir()
    assert installed(home) == home
    (home / "virtio-win.iso").touch()
    assert installed(home) == home / "virtio-win.iso"


@given(st.sampled_from(DIRECTORIES), st.integers(0, 99999))
def test_a_release_never_gets_drivers_of_a_later_one(
    row: tuple[tuple[int, int], bool, int, str], build: int
) -> None:
    version, is_server, first, name = row
    assert (name in directories_of(WindowsRelease(version, build, is_server))) == (build >= first)


def test_the_report_says_what_each_value_was_and_is() -> None:
    system = USUAL | {SERVICE: {"Start": dword(3)}}
    rows = planned(windows(system=system)).to_json()["changes"]
    assert isinstance(rows, list)
    row = next(row for row in rows if row["path"].endswith("viostor\\Start"))
    assert row["path"] == f"{SYSTEM}\\ControlSet001\\Services\\viostor\\Start"
    assert (row["before"], row["after"]) == ("REG_DWORD 3", "REG_DWORD 0")
