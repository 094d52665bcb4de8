"""What real tools wrote is read as they meant it; what nobody would write never ends in anything but a refusal."""

from __future__ import annotations

import gzip
import lzma
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.offline import initramfs, loaders, partitions, volumes
from connector.offline.ext4 import Ext4
from connector.offline.inspection import Inspection
from connector.offline.ntfs import Ntfs
from connector.offline.window import DiskReader, DiskSlice, UnreadableStructure
from tests.offline.disks import (
    MIB,
    cpio,
    ext4,
    fat,
    gpt,
    gpt_of_sectors,
    lvm,
    mbr,
    need,
    ntfs,
    patched,
    put,
    run,
    window,
)


def test_an_mbr_with_logical_partitions(tmp_path: Path) -> None:
    disk = mbr(
        tmp_path / "d",
        64 * MIB,
        "size=8MiB, type=83, bootable\nsize=8MiB, type=42\nsize=40MiB, type=5\n5: size=8MiB, type=7\n6: size=8MiB, type=82\n",
    )
    table = partitions.read(window(disk))
    assert (table.scheme, table.damage) == ("mbr", "")
    assert [(p.number, p.kind, p.length // MIB, p.active) for p in table.partitions if p.kind != "05"] == [
        (1, "83", 8, True),
        (2, "42", 8, False),
        (5, "07", 8, False),
        (6, "82", 8, False),
    ]
    listed = run("sfdisk", "-d", disk).decode()
    for found in table.partitions:
        assert f"start= {found.start // 512:>11}" in listed


def test_a_gpt_and_what_may_happen_to_it(tmp_path: Path) -> None:
    disk = gpt(tmp_path / "d", 64 * MIB, "size=8MiB, type=U, name=EFI\nsize=16MiB, type=L, name=root\n")
    table = partitions.read(window(disk))
    assert (table.scheme, table.damage) == ("gpt", "")
    assert [(p.number, p.kind == partitions.ESP, p.length // MIB, p.name) for p in table.partitions] == [
        (1, True, 8, "EFI"),
        (2, False, 16, "root"),
    ]
    whole = disk.read_bytes()
    grown = partitions.read(window(whole + bytes(MIB)))
    assert (
        grown.partitions == table.partitions
        and "backup GPT at the end of the disk is not there" in grown.damage
    )
    for at, what in (
        (512 + 20, "the GPT header is not there"),
        (1024 + 60, "the GPT header has damaged entries"),
    ):
        hurt = bytearray(whole)
        hurt[at] ^= 1
        mended = partitions.read(window(bytes(hurt)))
        assert mended.partitions == table.partitions and what in mended.damage
    assert partitions.read(window(bytes(MIB))) == partitions.Table()
    assert partitions.read(window(b"")) == partitions.Table()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-b", "1024"),
        ("-b", "4096"),
        ("-O", "^extent,^64bit"),
        ("-t", "ext2"),
    ],
    ids=lambda words: " ".join(words) or "default",
)
def test_every_file_of_an_ext4_is_read_as_it_was_written(tmp_path: Path, options: tuple[str, ...]) -> None:
    tree, source = tmp_path / "tree", random.Random(3)
    (tree / "etc" / "many").mkdir(parents=True)
    files = {
        "etc/fstab": b"/dev/sda1 / ext4\n",
        "empty": b"",
        "big": source.randbytes(3 * MIB + 77),
        "small": b"x" * 40,
    }
    files |= {f"etc/many/file-{n:04}": str(n).encode() for n in range(700)}
    for name, content in files.items():
        (tree / name).write_bytes(content)
    with (tree / "sparse").open("wb") as file:
        file.truncate(2 * MIB)
        file.seek(MIB)
        file.write(b"in the middle")
    (tree / "link").symlink_to("etc/fstab")
    (tree / "etc" / "absolute").symlink_to("/" + "etc/../" * 10 + "etc/fstab")
    (tree / "loop").symlink_to("loop")
    found = Ext4(window(ext4(tmp_path / "d", tree, 32 * MIB, *options)))
    for name, content in files.items():
        assert found.read(name, 64 * MIB) == content, name
    assert found.read("/sparse", 64 * MIB) == (tree / "sparse").read_bytes()
    assert found.read("link") == found.read("/etc/absolute") == files["etc/fstab"]
    assert set(found.names("/etc/many")) == {f"file-{n:04}" for n in range(700)}
    assert found.read("big", 10) == files["big"][:10]
    for wrong in ("nothing", "loop", "etc", "small/deeper"):
        with pytest.raises(UnreadableStructure):
            found.read(wrong)
    assert 3 * MIB < (found.blocks - found.free) * found.block < 16 * MIB


def test_an_ntfs_that_sleeps_or_is_dirty(tmp_path: Path) -> None:
    files = {f"file-{n:03}.txt": b"x" * n for n in range(120)} | {"hiberfil.sys": b"HIBR" + bytes(9000)}
    found = Ntfs(window(ntfs(tmp_path / "asleep", files)))
    assert found.names().keys() >= files.keys() and found.asleep() and not found.dirty()
    awake = Ntfs(window(ntfs(tmp_path / "awake", {"hiberfil.sys": bytes(9000)})))
    assert not awake.asleep()
    without = ntfs(tmp_path / "without")
    assert not Ntfs(window(without)).asleep()
    run(need("ntfslabel", "ntfs-3g"), without, "label")
    raw = without.read_bytes()
    mft = struct.unpack_from("<Q", raw, 48)[0] * 4096
    record = raw[mft + 3 * 1024 : mft + 4 * 1024]
    at = record.index(struct.pack("<I", 0x70), 56)
    content = at + struct.unpack_from("<H", record, at + 20)[0]
    assert Ntfs(window(put(without, mft + 3 * 1024 + content + 10, b"\1"))).dirty()


@pytest.mark.parametrize(
    "pack", [gzip.compress, lzma.compress, zstandard.compress, bytes], ids=lambda p: p.__name__
)
@pytest.mark.parametrize("early", [False, True])
def test_the_modules_of_an_initramfs(pack: Callable[[bytes], bytes], early: bool) -> None:
    names = [
        "usr/lib/modules/6.1/kernel/drivers/block/virtio_blk.ko",
        "lib/modules/6.1/net/virtio-net.ko.xz",
        "init",
    ]
    packed = pack(cpio(dict.fromkeys(names, b"code" * 1000)))
    microcode = cpio({"kernel/x86/microcode/GenuineIntel.bin": b"\1" * 999}) + bytes(512) if early else b""
    assert initramfs.modules(microcode + packed) == {"virtio_blk", "virtio_net"}


def test_an_initramfs_that_is_none_or_has_no_end() -> None:
    for wrong in (
        b"\x02\x21\x4c\x18lz4",
        gzip.compress(b"no archive" * 100),
        gzip.compress(cpio({"a": b""}))[:-30],
    ):
        with pytest.raises(UnreadableStructure):
            initramfs.modules(wrong)
    with pytest.raises(UnreadableStructure, match="unpacks to more than 512 MiB"):
        initramfs.modules(_endless())
    assert initramfs.modules(b"") == set()


def _endless() -> bytes:
    """A bomb: 600 MiB of zeros in one file of the archive."""
    head = cpio({"big": b""})[:110]
    head = head[:54] + b"%08X" % (600 * MIB) + head[62:]
    packer = zstandard.ZstdCompressor().compressobj()
    zeros = bytes(MIB)
    return (
        packer.compress(head + b"big\0\0\0")
        + b"".join(packer.compress(zeros) for _ in range(600))
        + packer.flush()
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/dev/sda1 / ext4 defaults 0 1", ["/dev/sda1"]),
        (
            "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1 / xfs",
            ["/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1"],
        ),
        ("/dev/nvme0n1p2 /var ext4", ["/dev/nvme0n1p2"]),
        ("UUID=1-2 / ext4", []),
        ("#/dev/sda1 / ext4", []),
        ("/dev/mapper/vg-root / xfs", []),
        ("/dev/disk/by-uuid/1-2 / ext4", []),
        ("/dev/cdrom /media iso9660", []),
        ("UUID=1-2 / ext4 defaults # was on /dev/sda1 during installation", []),
        ("UUID=1-2 /srv xfs logdev=/dev/sdc1,noatime", ["/dev/sdc1"]),
        ("luks-home /dev/sdb2 none luks", ["/dev/sdb2"]),
        ("luks-home UUID=1-2 /dev/sdc1:/key luks,header=/dev/sdd", ["/dev/sdc1", "/dev/sdd"]),
        ("options root=/dev/sda3 ro resume=/dev/sda2", ["/dev/sda3", "/dev/sda2"]),
        ("kernelopts=root=/dev/sda3 ro", ["/dev/sda3"]),
        ('GRUB_CMDLINE_LINUX="boot=/dev/sda1 resume=/dev/sda2"', ["/dev/sda1", "/dev/sda2"]),
        ("GRUB_CMDLINE_LINUX='cryptdevice=/dev/nvme0n1p3:root:allow-discards'", ["/dev/nvme0n1p3"]),
        (
            "linux /vmlinuz root=/dev/disk/by-id/scsi-36000c29-part3 ro",
            ["/dev/disk/by-id/scsi-36000c29-part3"],
        ),
        ("/dev/disk/by-id/dm-name-vg-root / xfs", []),
        ("linux /vmlinuz root=UUID=7 ro console=ttyS0", []),
        ("linux /vmlinuz root=/dev/mapper/x rd.lvm.lv=x/root", []),
        ("  menuentry 'Debian (on /dev/sda2)' {", []),
        ("title Rocky Linux (on /dev/sda2)", []),
        ("append root=802 ro", ["root=802"]),
        ("What=/dev/sdb1", ["/dev/sdb1"]),
    ],
)
def test_devices_that_are_named_by_place(line: str, found: list[str]) -> None:
    assert loaders.places(line) == found


@pytest.mark.parametrize(
    ("tool", "package", "words", "kind"),
    [
        ("mkfs.vfat", "dosfstools", (), "vfat"),
        ("mkfs.xfs", "xfsprogs", ("-q", "-f"), "xfs"),
        ("mkswap", "util-linux", ("-q",), "swap"),
        ("mkfs.ext4", "e2fsprogs", ("-q", "-F"), "ext"),
        ("mkntfs", "ntfs-3g", ("-q", "-F", "-Q"), "ntfs"),
    ],
)
def test_volumes_are_recognised(
    tmp_path: Path, tool: str, package: str, words: tuple[str, ...], kind: str
) -> None:
    disk = tmp_path / "d"
    with disk.open("wb") as file:
        file.truncate(320 * MIB)
    run(need(tool, package), *words, disk)
    with disk.open("rb") as file:
        head = file.read(MIB)
    assert volumes.recognise(window(head)).kind == kind


def test_a_real_luks_header(tmp_path: Path) -> None:
    disk = tmp_path / "d"
    with disk.open("wb") as file:
        file.truncate(32 * MIB)
    tool = need("cryptsetup", "cryptsetup-bin")
    run(
        tool,
        "luksFormat",
        "-q",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        disk,
        "-",
        given="secret",
    )
    assert volumes.recognise(window(disk.read_bytes()[:MIB])) == volumes.Volume("luks", "version 2")


def test_signatures_without_a_tool() -> None:
    assert volumes.recognise(window(b"\xeb\x58\x90-FVE-FS-" + bytes(5000))).kind == "bitlocker"
    assert volumes.recognise(window(bytes(MIB))) == volumes.Volume(blank=True)
    assert volumes.recognise(window(b"")) == volumes.Volume(blank=True)


@pytest.mark.parametrize(
    ("config", "lacks", "unsure"),
    [
        ("", set(), True),  # what it has built in, nobody tells
        ("CONFIG_EXT4_FS=y\n", {"disk", "network"}, False),
        ("CONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_NET=m\n", {"network"}, False),
        ("CONFIG_BLK_DEV_NVME=y\nCONFIG_VIRTIO_NET=y\n", set(), False),
        ("CONFIG_SCSI_VIRTIO=y\nCONFIG_VIRTIO_NET=y\n", set(), False),
        ("CONFIG_VIRTIO_BLK=m\nCONFIG_SCSI_VIRTIO=m\nCONFIG_BLK_DEV_NVME=m\n", {"disk", "network"}, False),
        ("# CONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_NET=y\n", {"disk"}, False),
    ],
)
def test_a_driver_that_is_built_in_is_not_missed(
    tmp_path: Path, config: str, lacks: set[str], unsure: bool
) -> None:
    tree = tmp_path / "tree"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot" / "initrd.img-6.1").write_bytes(gzip.compress(cpio({"a/ahci.ko": b"x"})))
    if config:
        (tree / "boot" / "config-6.1").write_text(config)
    inspection = Inspection("vm", "bios")
    inspection.disk("disk", window(ext4(tmp_path / "d", tree, 8 * MIB)))
    (kernel,) = inspection.facts().kernels
    assert (set(kernel.missing), bool(kernel.trouble)) == (lacks, unsure)


def test_a_window_reads_once_and_ends_at_its_budget() -> None:
    asked = []

    def fetch(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return bytes(length)

    disk = DiskReader(fetch, 10 * MIB + 5, budget=MIB)
    disk.read(10, 20)
    disk.read(65530, 10)
    assert asked == [(0, 65536), (65536, 65536)] and disk.fetched == 131072
    assert len(disk.read(10 * MIB, 5)) == 5
    with pytest.raises(UnreadableStructure, match="beyond"):
        disk.read(10 * MIB, 6)
    with pytest.raises(UnreadableStructure, match="more than 1 MiB"):
        disk.read(2 * MIB, 2 * MIB)
    part = DiskSlice(disk, MIB, 20 * MIB)
    assert part.size == 9 * MIB + 5
    with pytest.raises(UnreadableStructure):
        part.read(part.size, 1)


@pytest.mark.parametrize("label", range(4))
def test_a_root_in_a_logical_volume_is_looked_into_and_what_is_not_plain_is_told(
    tmp_path: Path, label: int
) -> None:
    tree = tmp_path / "tree"
    for folder in ("etc", "boot/grub"):
        (tree / folder).mkdir(parents=True)
    (tree / "etc" / "fstab").write_text("/dev/sdb1 /srv ext4\n")
    (tree / "boot" / "config-6.1").write_text("CONFIG_EXT4_FS=y\n")
    (tree / "boot" / "initrd.img-6.1").write_bytes(gzip.compress(cpio({"a/ahci.ko": b"x"})))
    content = lvm(ext4(tmp_path / "root", tree, 9 * MIB).read_bytes(), label=label)
    disk = put(mbr(tmp_path / "disk", 32 * MIB, "start=2048, size=24MiB, type=8e\n"), MIB, content)
    inspection = Inspection("vm", "bios")
    inspection.disk("Hard disk 1", window(disk))
    facts = inspection.facts()
    (root,), (kernel,) = facts.linux, facts.kernels
    assert root.place == "Hard disk 1 partition 1 vg/root"
    assert [(one.file, one.devices) for one in facts.named] == [("/etc/fstab", ("/dev/sdb1",))]
    assert "disk" in kernel.missing
    assert facts.closed == (
        ("Hard disk 1 partition 1 vg/mirror", "it is not stored in plain runs on this disk alone"),
    )


def test_what_is_left_out_because_there_is_so_much_is_told(tmp_path: Path) -> None:
    """Logical volumes of a group, and files of a folder."""
    root = tmp_path / "tree"
    mounts = root / "etc" / "systemd" / "system"
    mounts.mkdir(parents=True)
    for number in range(70):
        (mounts / f"m{number:02}.mount").write_text("[Mount]\nWhat=/dev/sdb1\n")
    (root / "etc" / "fstab").write_text("UUID=1 / ext4\n" + "#" * MIB + "\n/dev/sdc1 /srv ext4\n")
    content = lvm(ext4(tmp_path / "root", root, 9 * MIB).read_bytes(), more=[f"data{n}" for n in range(64)])
    inspection = Inspection("vm", "bios")
    inspection.disk("disk", window(content))
    facts = inspection.facts()
    assert len(facts.named) == 64
    assert {place: why for place, why in facts.closed if "only" in why} == {
        "disk": "it has 66 logical volumes, and only the first 64 were looked into",
        "disk vg/root /etc/systemd/system": "it has 70 such files, and only the first 64 were read",
        "disk vg/root /etc/fstab": "it is larger than 1 MiB, and only its beginning was read",
    }


def test_of_two_labels_the_sound_one_counts() -> None:
    """A physical volume was made again with its label in another sector, and the first label is still there."""
    sound, older = lvm(bytes(2 * MIB), label=3), lvm(bytes(2 * MIB), label=0)
    disk = bytearray(sound)
    disk[:512] = older[:32] + b"9" * 32 + older[64:512]
    inspection = Inspection("vm", "bios")
    inspection.disk("disk", window(bytes(disk)))
    assert [place.logical for place in inspection.facts().disks[0].places] == ["", "vg/root"]


def test_lvm_that_is_damaged_is_told_and_no_more() -> None:
    sound = lvm(bytes(2 * MIB))
    for place, put_in in ((4100, b"x"), (4096 + 48, b"\xff" * 8), (544, b"y" * 32), (4700, b"{" * 40)):
        disk = bytearray(sound)
        disk[place : place + len(put_in)] = put_in
        inspection = Inspection("vm", "bios")
        inspection.disk("disk", window(bytes(disk)))
        assert inspection.facts().closed and not inspection.facts().linux


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Small disks of each kind."""
    place = tmp_path_factory.mktemp("samples")
    tree = place / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "boot").mkdir()
    (tree / "etc" / "fstab").write_text("/dev/sda1 / ext4\n")
    (tree / "boot" / "initrd.img-6.1").write_bytes(gzip.compress(cpio({"a/virtio_blk.ko": b"x"})))
    made = [ext4(place / "e", tree, 8 * MIB), ext4(place / "e2", tree, 8 * MIB, "-O", "^extent,^64bit")]
    made += [ntfs(place / "n", {"windows": b"", "hiberfil.sys": b"HIBR"}, 4 * MIB)]
    made += [
        mbr(place / "m", 8 * MIB, "size=1MiB\nsize=4MiB, type=5\n5: size=1MiB\n"),
        gpt(place / "g", 8 * MIB, "size=1MiB\n"),
    ]
    disks = [file.read_bytes() for file in made]
    esp = fat(place / "f", {"EFI/BOOT/BOOTX64.EFI": b"MZ"}, 12, size=2 * MIB).read_bytes()
    large = patched(gpt_of_sectors(4096, 8 * MIB, {(MIB, 2 * MIB): partitions.ESP}), MIB, esp)
    kept = ext4(
        place / "k", tree, 8 * MIB, "-b", "1024", "-O", "inline_data,meta_bg,^resize_inode"
    ).read_bytes()
    return [*disks, lvm(disks[0]), esp, large, kept]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_hostile_disks_are_looked_into_and_nothing_breaks(samples: list[bytes], data: st.DataObject) -> None:
    disk = bytearray(data.draw(st.sampled_from(samples)))
    used = [at for at in range(0, len(disk), 512) if any(disk[at : at + 512])]
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.sampled_from(used)) + data.draw(st.integers(0, 511))
        put_in = data.draw(
            st.sampled_from([b"\xff", b"\0", b"\xff\xff\xff\xff", b"\x80", b"\1\0\0\0"])
            | st.binary(max_size=9)
        )
        disk[at : at + len(put_in)] = put_in
    inspection = Inspection("vm", "bios")
    inspection.disk(
        "disk", window(bytes(disk[: data.draw(st.sampled_from([len(disk), 600, 70000, 1 << 20]))]))
    )
    assert inspection.facts().fetched <= len(disk)


def _tangled() -> bytes:
    """An ext4 whose directory's tree of extents meets itself: five levels of 340 entries, all of the same child."""
    disk = bytearray(MIB)
    struct.pack_into("<IIII", disk, 1024, 64, 256, 0, 0)
    struct.pack_into("<I", disk, 1024 + 24, 2)  # blocks of 4096 bytes
    struct.pack_into("<I", disk, 1024 + 40, 64)
    struct.pack_into("<H", disk, 1024 + 56, 0xEF53)
    struct.pack_into("<I", disk, 4096 + 8, 2)  # the table of inodes
    root = 2 * 4096 + 128
    struct.pack_into("<HHI", disk, root, 0x41ED, 0, 1 << 30)
    struct.pack_into("<I", disk, root + 32, 0x80000)
    struct.pack_into("<HHHHI", disk, root + 40, 0xF30A, 4, 4, 5, 0)
    for number in range(4):
        struct.pack_into("<IIHH", disk, root + 52 + 12 * number, 0, 10, 0, 0)
    for level in range(5):
        at = (10 + level) * 4096
        struct.pack_into("<HHHHI", disk, at, 0xF30A, 340, 340, 4 - level, 0)
        for number in range(340):
            struct.pack_into("<IIHH", disk, at + 12 + 12 * number, 0, 11 + level, 0, 0)
    return bytes(disk)


def test_a_tree_of_extents_that_meets_itself_ends() -> None:
    with pytest.raises(UnreadableStructure, match="extents"):
        Ext4(window(_tangled())).names("/")


@pytest.mark.parametrize(
    "piece",
    [cpio({}), bytes(4096), cpio({f"{n}.ko": b"" for n in range(99)})],
    ids=["empty", "zeros", "many"],
)
def test_an_initramfs_of_very_many_small_things_ends(piece: bytes) -> None:
    try:
        assert len(initramfs.modules(piece * (32 * MIB // len(piece)))) < 100
    except UnreadableStructure as refused:
        assert "more than" in str(refused)


def test_links_that_lead_through_very_many_names_end(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    for number in range(3000):
        (tree / "etc" / f"file-{number:04}").touch()
    (tree / "etc" / "fstab").symlink_to("../etc/" * 100 + "fstab")
    with pytest.raises(UnreadableStructure, match="more than 32 parts"):
        Ext4(window(ext4(tmp_path / "d", tree, 16 * MIB))).read("/etc/fstab")
