"""A look into the disks of a simulated machine with a real system on it: what it finds, what it reads, what it leaves."""

from __future__ import annotations

import gzip
import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connector.cli import deep, deep_snapshots
from simulator.faults import Rule
from tests.integration.command import Command
from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape
from tests.offline.disks import cpio, ext4, mbr, ntfs, put
from tests.waiting import PATIENCE

TINY = ((40 * MIB, 0), (24 * MIB, 0))


@pytest.fixture
def house(make_house: Callable[..., House], tmp_path: Path) -> House:
    """web-01: an ext4 root with an old fstab and an initramfs without virtio, and a hibernated Windows' data disk."""
    made = make_house(Shape("web-01", TINY))
    tree = tmp_path / "tree"
    for folder in ("etc", "boot/grub"):
        (tree / folder).mkdir(parents=True)
    (tree / "etc" / "fstab").write_text("/dev/sda1 / ext4 defaults 0 1\n")
    (tree / "etc" / "os-release").write_text('PRETTY_NAME="Old Linux 7"\n')
    (tree / "boot" / "grub" / "grub.cfg").write_text("linux /vmlinuz root=/dev/sda1 ro\n")
    old, new = (gzip.compress(cpio({f"lib/{name}.ko": b"x" * 5000})) for name in ("virtio_blk", "mptspi"))
    (tree / "boot" / "initrd.img-5.9.0").write_bytes(old)
    (tree / "boot" / "initrd.img-5.10.0").write_bytes(new)
    (tree / "boot" / "config-5.10.0").write_text("CONFIG_EXT4_FS=y\nCONFIG_VIRTIO_BLK=m\n")
    disk = mbr(tmp_path / "disk", 40 * MIB, "start=2048, size=32MiB, type=83, bootable\n")
    put(disk, MIB, ext4(tmp_path / "root", tree, 32 * MIB).read_bytes())
    data = ntfs(tmp_path / "data", {"hiberfil.sys": b"hibr" + bytes(9000)}, 24 * MIB)
    for device, file in zip(made.machine().disks, (disk, data), strict=True):
        made.estate.storage.disk(device.storage).write(0, file.read_bytes())
    return made


def check(house: House, *words: str) -> list[str]:
    return ["vm", "check", "web-01", *house.access(), "--vddk", str(house.vddk), "--json", *words]


def test_what_is_in_the_disks_is_found_and_nothing_is_left(house: House, run: Run) -> None:
    before = house.digests()
    done = run(check(house, "--deep", "--yes"))
    assert done.code == 5, done.stderr
    found = {(row["check"], row["message"]) for row in map(json.loads, done.stdout.splitlines())}
    inside = {(check, message) for check, message in found if check.startswith("O") and check != "O12"}
    assert inside == {
        ("O3", "Windows is hibernated, or was shut down by fast startup"),
        ("O5", "/etc/fstab names /dev/sda1 by place"),
        ("O5", "/boot/grub/grub.cfg names /dev/sda1 by place"),
        ("O6", "initrd.img-5.10.0 has none of virtio_blk, virtio_scsi, nvme"),
        ("O6", "initrd.img-5.10.0 has none of virtio_net"),
        (
            "O10",
            "the firmware is BIOS, but the first sector has no boot code",
        ),  # of the first disk, and only of it
    }
    (said,) = [line for line in done.stderr.splitlines() if line.endswith("iB read")]
    fetched, unit = said.split()[-3:-1]
    assert unit == "KiB" or (unit == "MiB" and float(fetched) < 3.0)
    assert not house.snapshots() and house.digests() == before
    assert not house.machine().change_tracking


def test_nothing_is_done_without_consent(house: House, run: Run) -> None:
    refused = run(check(house, "--deep"))
    assert refused.code == 2 and "give --yes" in refused.complaint
    assert not house.witness.count("CreateSnapshot_Task")
    plain = run(check(house))
    assert plain.code == 0 and not house.witness.count("CreateSnapshot_Task")


def test_a_machine_that_something_blocks_is_left_alone(house: House, run: Run) -> None:
    vm = house.machine()
    disks = (vm.disks[0], replace(vm.disks[1], mode="independent_persistent"))
    house.estate.change_vm(vm.moref, disks=disks)
    done = run(check(house, "--deep", "--yes"))
    told = [row for row in map(json.loads, done.stdout.splitlines()) if row["check"] == deep.UNCHECKED]
    assert done.code == 5 and "something blocks it" in told[0]["message"]
    assert not house.witness.count("CreateSnapshot_Task")


def test_what_a_killed_look_left_is_removed_by_the_next_and_others_snapshots_stay(
    house: House, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    moref = house.machine().moref
    house.estate.snapshots.create(moref, "connector-look-1", f"connector:{deep_snapshots.owner()}:look-1")
    house.estate.snapshots.create(moref, "nightly", "somebody's backup")
    deep_snapshots.directory().mkdir()
    (deep_snapshots.directory() / "look-1").touch()
    run(check(house, "--deep", "--yes"), XDG_STATE_HOME=str(tmp_path / "state"))
    assert [shot.name for shot in house.machine().snapshots] == ["nightly"]


def test_a_machine_that_cannot_be_read_is_told_and_its_snapshot_goes(house: House, run: Run) -> None:
    house.witness.add(Rule("CreateSnapshot_Task", "fault", fault="TooManySnapshotLevels", times=None))
    done = run(check(house, "--deep", "--yes"))
    told = [row for row in map(json.loads, done.stdout.splitlines()) if row["check"] == deep.UNCHECKED]
    assert done.code == 0 and "not checked inside" in told[0]["message"]
    assert not house.snapshots()


def reading(house: House, command: Command, looks_: int = 1) -> None:
    """Wait until so many looks have their snapshots, and this one reads."""
    deadline = time.monotonic() + PATIENCE
    while len(house.snapshots()) < looks_:
        assert time.monotonic() < deadline, "no snapshot was taken"
        time.sleep(0.02)
    command.present("worker")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_gives_the_snapshot_back(
    house: House, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    house.reader(bandwidth=MIB // 16)
    command = start(check(house, "--deep", "--yes"), XDG_STATE_HOME=str(tmp_path / "state"))
    reading(house, command)
    command.interrupt(number)
    done = command.wait()
    command.gone()
    assert done.code != 0 and "stopped" in done.complaint
    assert not house.snapshots()
    assert not list((tmp_path / "state" / "connector" / "looks").iterdir())


def test_invariant_3_a_look_that_lives_is_left_alone_and_what_a_killed_one_left_is_found_and_mended(
    house: House, start: Start, run: Run, tmp_path: Path
) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    doctor = ["doctor", "--only", "looks", "--vddk", str(house.vddk), *house.access(), "--json"]
    house.reader(bandwidth=MIB // 16)
    command = start(check(house, "--deep", "--yes"), **state)
    reading(house, command)
    (standing,) = house.snapshots()
    busy = run([*doctor, "--repair"], **state)
    assert (busy.code, busy.events, house.snapshots()) == (0, (), [standing])
    other = start(check(house, "--deep", "--yes"), **state)
    reading(house, other, 2)
    assert standing in house.snapshots(), "a second look took the first one's snapshot away"
    for one in (command, other):
        one.kill("cli")
        one.wait()
        one.gone()
    foreign = house.estate.snapshots.create(house.machine().moref, "by hand")
    shown = run(doctor, **state)
    assert shown.code == 11 and [event["check"] for event in shown.events] == ["snapshot", "snapshot"]
    assert len(house.snapshots()) == 2
    mended = run([*doctor, "--repair"], **state)
    assert mended.code == 0 and {event["outcome"] for event in mended.events} == {"mended"}
    assert [shot.moref for shot in house.machine().snapshots] == [foreign]
