"""Made disks are judged by programs and parsers that did not make them."""

import hashlib
import resource
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from simulator.images import tables
from simulator.images.disks import MadeDisk, make_bios_disk, make_data_disk, make_efi_disk
from simulator.images.ext4 import ProgramMissing, program
from simulator.images.fat import Fat32
from simulator.images.imports import import_image, sniff

MIB = 1 << 20


def needed(name: str, package: str) -> str:
    try:
        return program(name, package)
    except ProgramMissing:
        pytest.skip(f"needs the package {package}")


def fsck(image: Path, offset: int) -> None:
    done = subprocess.run(
        [needed("e2fsck", "e2fsprogs"), "-fn", f"{image}?offset={offset}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listing(image: Path, offset: int, folder: str) -> str:
    command = [needed("debugfs", "e2fsprogs"), "-R", f"ls -l {folder}", f"{image}?offset={offset}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def bios(room: Path) -> MadeDisk:
    needed("mke2fs", "e2fsprogs")
    return make_bios_disk(room / "bios.raw", 128 * MIB, 7, 12 * MIB, "web-01")


@pytest.fixture
def efi(room: Path) -> MadeDisk:
    needed("mke2fs", "e2fsprogs")
    return make_efi_disk(room / "efi.raw", 160 * MIB, 7, 12 * MIB, "db-01")


def test_bios_disk(bios: MadeDisk):
    sector = bios.path.read_bytes()[:512]
    assert sector[510:] == b"\x55\xaa"
    flag, kind, start, count = struct.unpack_from("<B3xB3xII", sector, 446)
    assert (flag, kind, start) == (0x80, 0x83, 2048)
    fsck(bios.path, start * 512)
    assert "web-01" not in listing(bios.path, start * 512, "/etc/app.d")
    assert listing(bios.path, start * 512, "/etc/app.d").count(".conf") == 150
    assert bios.scratch is not None and bios.scratch[0] == (start + count) * 512
    assert sum(bios.scratch) <= bios.capacity == bios.path.stat().st_size
    assert bios.path.stat().st_blocks * 512 < 40 * MIB, "must be sparse"


def test_efi_disk_has_two_agreeing_tables(efi: MadeDisk):
    data = efi.path.read_bytes()
    last = len(data) // 512 - 1
    headers = [data[512:1024], data[last * 512 :]]
    for at, header in zip((1, last), headers, strict=True):
        size, crc = struct.unpack_from("<II", header, 12)
        assert header[:8] == b"EFI PART" and size == 92
        assert crc == zlib.crc32(header[:16] + bytes(4) + header[20:size])
        mine, other, first_usable, last_usable = struct.unpack_from("<QQQQ", header, 24)
        assert (mine, other) == (at, 1 + last - at)
        table_at, count, entry, table_crc = struct.unpack_from("<QIII", header, 72)
        assert zlib.crc32(data[table_at * 512 : table_at * 512 + count * entry]) == table_crc
        assert (first_usable, last_usable) == (34, last - 33)
    assert data[450] == 0xEE and data[510:512] == b"\x55\xaa"
    esp, root, scratch = tables.read(efi.path)
    assert (esp.type, root.type) == (tables.EFI_SYSTEM, tables.LINUX_DATA)
    assert efi.scratch == (scratch.start, scratch.length)
    fsck(efi.path, root.start)


@pytest.mark.parametrize("name", ["sfdisk", "sgdisk"])
def test_efi_disk_before_other_judges(efi: MadeDisk, name: str):
    path = needed(name, {"sfdisk": "fdisk", "sgdisk": "gdisk"}[name])
    done = subprocess.run([path, "--verify", str(efi.path)], capture_output=True, text=True)
    said = (done.stdout + done.stderr).replace("No errors detected", "")
    assert done.returncode == 0 and "rror" not in said, said


def fat_file(volume: bytes, path: list[str]) -> bytes:
    """Read a file from FAT32 by following its chains."""
    reserved, copies = struct.unpack_from("<HB", volume, 14)
    (sectors,) = struct.unpack_from("<I", volume, 36)
    assert volume[reserved * 512 :][: sectors * 512] == volume[(reserved + sectors) * 512 :][: sectors * 512]
    table = struct.unpack_from(f"<{sectors * 128}I", volume, reserved * 512)
    data_at = reserved + copies * sectors

    def chain(cluster: int) -> bytes:
        out = b""
        while cluster < 0x0FFFFFF8:
            start = (data_at + cluster - 2) * 512
            out += volume[start : start + 512]
            cluster = table[cluster] & 0x0FFFFFFF
        return out

    at, size = struct.unpack_from("<I", volume, 44)[0], None
    for name in path:
        folder = chain(at)
        entries = {folder[n : n + 11]: folder[n : n + 32] for n in range(0, len(folder), 32)}
        entry = entries[name.encode()]
        high, low, size = struct.unpack("<20xH4xHI", entry)
        at = high << 16 | low
    return chain(at)[:size]


def test_the_esp_can_be_read(efi: MadeDisk):
    esp = tables.read(efi.path)[0]
    volume = efi.path.read_bytes()[esp.start : esp.stop]
    loader = fat_file(volume, ["EFI        ", "BOOT       ", "BOOTX64 EFI"])
    assert loader[:2] == b"MZ" and len(loader) == 200_002
    assert fat_file(volume, ["EFI        ", "DEBIAN     ", "GRUB    CFG"]).startswith(b"search")


def test_the_esp_before_another_judge(efi: MadeDisk, room: Path):
    path = needed("fsck.vfat", "dosfstools")
    esp = tables.read(efi.path)[0]
    (room / "esp").write_bytes(efi.path.read_bytes()[esp.start : esp.stop])
    done = subprocess.run([path, "-n", str(room / "esp")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_fat_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match="clusters"):
        Fat32(20 * MIB, 1)
    with pytest.raises(ValueError, match=r"8\.3"):
        Fat32(40 * MIB, 1).blocks({"longer-than-eight.txt": b""})
    with pytest.raises(ValueError, match="do not fit"):
        Fat32(40 * MIB, 1).blocks({"A.BIN": bytes(41 * MIB)})


def test_a_seed_gives_the_same_bytes_and_another_others(room: Path):
    needed("mke2fs", "e2fsprogs")
    digests = []
    for seed in (1, 1, 2):
        make_efi_disk(room / "a", 96 * MIB, seed, 4 * MIB)
        digests.append(digest(room / "a"))
        make_data_disk(room / "b", 8 * MIB, seed)
        digests.append(digest(room / "b"))
    assert digests[:2] == digests[2:4]
    assert not set(digests[:2]) & set(digests[4:])


def _processor_seconds() -> float:
    """Of this process and its children: what else runs on the machine does not count."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def test_a_big_disk_is_made_quickly(room: Path):
    needed("mke2fs", "e2fsprogs")
    began = _processor_seconds()
    made = make_bios_disk(room / "big", 2 << 30, 1, 250 * MIB)
    assert _processor_seconds() - began < 15, "5 s when nothing else runs"
    assert 230 * MIB < made.path.stat().st_blocks * 512 < 330 * MIB


@pytest.mark.parametrize("capacity", [20 * MIB, 128 * MIB + 100])
def test_impossible_sizes_are_refused(room: Path, capacity: int):
    with pytest.raises(ValueError, match="too small or no whole number"):
        make_bios_disk(room / "x", capacity, 1)


def test_a_missing_program_names_its_package():
    with pytest.raises(ProgramMissing, match="install the package e2fsprogs"):
        program("no-such-program", "e2fsprogs")


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk"])
def test_import(room: Path, efi: MadeDisk, kind: str):
    source = room / "misnamed.bin"
    if kind == "raw":
        shutil.copy(efi.path, source)
    else:
        command = [
            needed("qemu-img", "qemu-utils"),
            "convert",
            "-f",
            "raw",
            "-O",
            kind,
            str(efi.path),
            str(source),
        ]
        subprocess.run(command, check=True)
    assert sniff(source) == kind
    made = import_image(source, room / "out")
    assert digest(made.path) == digest(efi.path)
    assert made.path.stat().st_blocks <= efi.path.stat().st_blocks
    assert (made.capacity, made.scratch) == (efi.capacity, efi.scratch)


def test_an_odd_raw_image_is_rounded_up(room: Path):
    (room / "odd").write_bytes(bytes(1_000_000) + b"end")
    made = import_image(room / "odd", room / "out")
    assert made.capacity == 1_000_448 and made.scratch is None
    assert made.path.read_bytes() == bytes(1_000_000) + b"end" + bytes(445)
    (room / "empty").touch()
    with pytest.raises(ValueError, match="empty"):
        import_image(room / "empty", room / "out")


def test_the_largest_gap_is_free(room: Path):
    parts = [tables.Partition(MIB, 2 * MIB, 0x83), tables.Partition(10 * MIB + 512, MIB, 0x83)]
    image = room / "gap"
    image.write_bytes(tables.mbr(parts, 1) + bytes(16 * MIB - 512))
    assert tables.free_region(image, 16 * MIB) == (3 * MIB, 7 * MIB)
    image.write_bytes(bytes(MIB))
    assert tables.free_region(image, MIB) is None


def test_a_file_system_without_gaps_lends_the_guest_its_widest_hole(room: Path) -> None:
    """Writing there leaves the file system as it was: e2fsck has nothing to say."""
    source, files = room / "whole.ext4", room / "files"
    files.mkdir()
    (files / "kept").write_bytes(bytes(range(256)) * 4096)
    with open(source, "wb") as disk:
        disk.truncate(512 * MIB)
    mke2fs = needed("mke2fs", "e2fsprogs")
    subprocess.run([mke2fs, "-q", "-t", "ext4", "-d", str(files), str(source)], check=True)
    made = import_image(source, room / "imported")
    assert made.scratch is not None
    start, length = made.scratch
    assert length >= 16 * MIB and start % MIB == 0 and start + length <= made.capacity
    with open(made.path, "r+b") as disk:
        disk.seek(start)
        disk.write(b"overwritten " * (length // 12))
    fsck(made.path, 0)
