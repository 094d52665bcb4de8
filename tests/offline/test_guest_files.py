"""Files of guests, in file systems as real tools make them: read, or said not to be understood; never taken for missing."""

from __future__ import annotations

import lzma
import random
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from connector.model import Finding, Severity
from connector.offline.ext4 import Ext4
from connector.offline.fat import Fat
from connector.offline.inspection import GuestFacts, Inspection
from connector.offline.partitions import ESP
from connector.offline.rules import judge
from connector.offline.window import DiskReader, Missing, UnreadableStructure
from tests.offline.disks import (
    MIB,
    blank,
    ext4,
    fat,
    gpt,
    gpt_of_sectors,
    mbr,
    need,
    patched,
    put,
    run,
    window,
)

DISKS = Path(__file__).parents[2] / "fixtures" / "disks"
DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"  # Microsoft basic data


def packed(name: str) -> DiskReader:
    data = lzma.decompress((DISKS / name).read_bytes())
    return DiskReader(lambda at, length: data[at : at + length], len(data))


def facts(firmware: str, *disks: DiskReader) -> GuestFacts:
    inspection = Inspection("vm", firmware)
    for number, disk in enumerate(disks, 1):
        inspection.disk(f"disk {number}", disk)
    return inspection.facts()


def grave(seen: GuestFacts) -> list[Finding]:
    return [one for one in judge(seen) if one.severity is not Severity.INFO]


def test_a_disk_whose_gpt_counts_in_4096_bytes() -> None:
    seen = facts("efi", packed("gpt4k.raw.xz"))
    (disk,) = seen.disks
    assert (disk.table.scheme, disk.table.damage, disk.table.sector) == ("gpt", "", 4096)
    assert (disk.table.partitions[0].start, disk.table.partitions[0].kind) == (MIB, ESP)
    assert [one.name for one in seen.linux] == ["Test Linux 9"]
    assert [one.message for one in grave(seen)] == ["its partition table counts in sectors of 4096 bytes"]


@pytest.mark.parametrize("sector", [512, 1024, 2048, 4096])
def test_a_gpt_is_read_in_the_sectors_that_it_counts_in(sector: int) -> None:
    parts = {(MIB, 2 * MIB): ESP, (4 * MIB, MIB): DATA}
    whole = gpt_of_sectors(sector, 8 * MIB, parts)
    for hurt, damage in (
        (whole, ""),
        (patched(whole, sector + 20, b"\xff"), "the GPT header is not there, or damaged"),
        (whole[:-sector] + bytes(sector), "the backup GPT at the end of the disk is not there, or damaged"),
    ):
        table = facts("efi", window(hurt)).disks[0].table
        assert [(p.start, p.length, p.kind) for p in table.partitions] == [
            (*at, kind) for at, kind in parts.items()
        ]
        assert (table.damage, table.sector) == (damage, sector)


def test_an_older_gpt_of_other_sectors_is_not_believed(tmp_path: Path) -> None:
    """A disk had a GPT of 512 bytes, and was made anew as one of 4096."""
    older = gpt(tmp_path / "d", 8 * MIB, "size=1MiB, type=L\n").read_bytes()
    newer = gpt_of_sectors(4096, 8 * MIB, {(MIB, 2 * MIB): ESP})
    mixed = bytearray(older)
    mixed[:512], mixed[4096 : 4096 * 7], mixed[-4096 * 6 :] = (
        newer[:512],
        newer[4096 : 4096 * 7],
        newer[-4096 * 6 :],
    )
    table = facts("efi", window(bytes(mixed))).disks[0].table
    assert (table.sector, [p.kind for p in table.partitions]) == (4096, [ESP])


def test_an_mbr_that_counts_in_4096_bytes(tmp_path: Path) -> None:
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    root = ext4(tmp_path / "root", tmp_path / "tree", 8 * MIB).read_bytes()
    script = f"start={MIB // 4096}, size={8 * MIB // 4096}, type=83\n"
    disk = put(mbr(tmp_path / "d", 16 * MIB, script), MIB, root)
    seen = facts("bios", window(disk))
    assert seen.disks[0].table.sector == 4096 and len(seen.linux) == 1


LOADER = {"EFI/BOOT/BOOTX64.EFI": b"MZ" + bytes(999), "EFI/a vendor of long names/grubx64.efi": b"MZ"}


@pytest.mark.parametrize(
    ("bits", "sector", "size"), [(12, 512, 2), (16, 512, 9), (16, 4096, 40), (32, 512, 40), (32, 4096, 300)]
)
def test_files_of_a_fat(tmp_path: Path, bits: int, sector: int, size: int) -> None:
    source = random.Random(5)
    files = {
        "EFI/BOOT/BOOTX64.EFI": source.randbytes(3 * sector + 7),
        "loader/entries/0123456789abcdef-5.14.0-362.el9.x86_64.conf": b"options root=/dev/sda3\n",
        "empty": b"",
        "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}.txt": b"x",
    }
    seen = Fat(window(fat(tmp_path / "d", files, bits, sector, size * MIB)))
    for name, content in files.items():
        assert seen.read(name) == content, name
    assert seen.read("/efi/boot/bootx64.efi", 5) == files["EFI/BOOT/BOOTX64.EFI"][:5]
    assert seen.names("/loader/entries") == ["0123456789abcdef-5.14.0-362.el9.x86_64.conf"]
    for wrong in ("nothing", "EFI/nothing", "empty/deeper"):
        with pytest.raises(Missing):
            seen.read(wrong)
    with pytest.raises(UnreadableStructure, match="no file"):
        seen.read("EFI")


@pytest.mark.parametrize("kind", [DATA, "0fc63daf-8483-4772-8e79-3d69d8477de4"])
@pytest.mark.parametrize("sector", [512, 4096])
def test_an_esp_of_another_type_is_known_by_its_files(tmp_path: Path, kind: str, sector: int) -> None:
    esp = fat(tmp_path / "esp", LOADER, 32, sector, 40 * MIB if sector == 512 else 300 * MIB).read_bytes()
    disk = patched(gpt_of_sectors(sector, len(esp) + 2 * MIB, {(MIB, len(esp)): kind}), MIB, esp)
    findings = [one for one in grave(facts("efi", window(disk))) if "sectors" not in one.message]
    assert [(one.severity, one.subject) for one in findings] == [(Severity.WARN, "vm disk 1 partition 1")]
    assert f"by its files, but not by its type ({kind})" in findings[0].message


def test_an_esp_in_an_mbr_and_one_without_any_table(tmp_path: Path) -> None:
    esp = fat(tmp_path / "esp", LOADER, 16, size=16 * MIB).read_bytes()
    for disk in (put(mbr(tmp_path / "d", 32 * MIB, "start=2048, size=16MiB, type=c\n"), MIB, esp), esp):
        assert [one.severity for one in grave(facts("efi", window(disk)))] == [Severity.WARN]


def test_a_fat_without_a_loader_is_no_sure_esp_and_another_file_system_is_none(tmp_path: Path) -> None:
    run(need("mkfs.vfat", "dosfstools"), blank(tmp_path / "empty", 8 * MIB))
    disk = gpt_of_sectors(512, 16 * MIB, {(MIB, 8 * MIB): DATA})
    (finding,) = grave(facts("efi", window(patched(disk, MIB, (tmp_path / "empty").read_bytes()))))
    assert finding.severity is Severity.WARN and "without a loader" in finding.message
    (finding,) = grave(facts("efi", window(disk)))
    assert (finding.severity, finding.message[:20]) == (Severity.BLOCK, "the firmware is UEFI")


def test_a_first_disk_without_an_esp_and_a_second_with_one_of_another_type(tmp_path: Path) -> None:
    esp = fat(tmp_path / "esp", LOADER, 16, size=16 * MIB).read_bytes()
    second = patched(gpt_of_sectors(512, 32 * MIB, {(MIB, len(esp)): DATA}), MIB, esp)
    findings = grave(facts("efi", window(bytes(8 * MIB)), window(second)))
    assert any("it is the first disk and has nothing to start; disk 2 has" in one.message for one in findings)


def test_a_root_by_device_name_wherever_it_is_written() -> None:
    named = [one for one in judge(facts("bios", packed("bls.raw.xz"))) if one.check == "O5"]
    assert {one.message for one in named} == {
        "/etc/crypttab names /dev/sdb2 by place",
        "/etc/default/grub names /dev/sda3, /dev/sda2 by place",
        "/boot/grub2/grubenv names /dev/sda3, /dev/sda2 by place",
        "/boot/loader/entries/abc-5.14.0.conf names /dev/sda3, /dev/sda2 by place",
    }


def tree(path: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def test_device_names_in_a_boot_partition_and_on_an_esp(tmp_path: Path) -> None:
    boot = tree(
        tmp_path / "boot",
        {
            "loader/entries/a.conf": "title A (on /dev/sdx1)\noptions root=/dev/sda2 quiet\n",
            "loader/entries/b.conf": "options $kernelopts\n",
            "loader/entries/c.conf.rpmsave": "options root=/dev/sdc2\n",
            "grub2/grubenv": "# GRUB Environment Block\nkernelopts=root=/dev/sdb2 ro\n#####\n",
            "grub2/grub.cfg": "# root=/dev/sdy1\nset root='hd0,msdos1'\nlinux /vmlinuz root=UUID=1 ro\n",
        },
    )
    esp = fat(
        tmp_path / "esp",
        {
            **LOADER,
            "EFI/redhat/grub.cfg": b"linux /v root=/dev/sdd1\n",
            "loader/entries/d.conf": b"options root=/dev/sde1\n",
        },
        16,
        size=16 * MIB,
    )
    seen = facts("efi", window(ext4(tmp_path / "d", boot, 8 * MIB)), window(esp))
    assert [(one.place, one.file, one.devices) for one in seen.named] == [
        ("disk 1", "/grub2/grubenv", ("/dev/sdb2",)),
        ("disk 1", "/loader/entries/a.conf", ("/dev/sda2",)),
        ("disk 2", "/loader/entries/d.conf", ("/dev/sde1",)),
        ("disk 2", "/EFI/redhat/grub.cfg", ("/dev/sdd1",)),
    ]


FEATURES = [
    ("-b", "1024", "-O", "meta_bg,^resize_inode"),
    ("-b", "4096", "-O", "meta_bg,^resize_inode,64bit"),
    ("-b", "1024", "-O", "meta_bg,^resize_inode,^64bit,^sparse_super"),
    ("-b", "1024", "-O", "meta_bg,^resize_inode,sparse_super2", "-E", "num_backup_sb=2"),
    ("-b", "1024", "-O", "bigalloc"),
    ("-b", "1024", "-O", "bigalloc,meta_bg,^resize_inode"),
    ("-b", "4096", "-O", "bigalloc", "-C", "65536"),
    ("-b", "65536", "-g", "1024"),
    ("-b", "1024", "-O", "flex_bg,^metadata_csum,uninit_bg", "-G", "4"),
    ("-b", "1024", "-O", "inline_data", "-I", "256"),
    ("-b", "1024", "-O", "inline_data,meta_bg,^resize_inode", "-I", "1024"),
    ("-b", "1024", "-O", "large_dir,ea_inode,metadata_csum_seed,mmp,quota,project,verity"),
    ("-b", "1024", "-O", "encrypt,casefold", "-E", "encoding=utf8"),
    ("-O", "^filetype"),
]  # fmt: skip


@pytest.mark.parametrize("options", FEATURES, ids=lambda words: " ".join(words))
def test_features_that_change_where_things_are(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Sixty block groups of 1 KiB blocks and more, so that descriptors are in many blocks, and files in every group."""
    files = {
        "etc/fstab": "/dev/sda1 / ext4\n",
        "short": "y" * 50,
        "longer": "z" * 150,
        "etc/os-release": "x" * 70,
    }
    files |= {f"d{n}/file-{m}": f"{n}/{m}" * 9 for n in range(80) for m in range(3)}
    files |= {f"many/a rather long name {n:04}": "" for n in range(400)}
    source = tree(tmp_path / "tree", files)
    (source / "link").symlink_to("etc/" + "./" * 40 + "fstab")
    image = ext4(tmp_path / "d", source, 480 * MIB, "-N", "20000", *options)
    with image.open("rb") as disk:

        def fetch(at: int, length: int) -> bytes:
            disk.seek(at)
            return disk.read(length)

        seen = Ext4(DiskReader(fetch, 480 * MIB))
        for name, content in files.items():
            assert seen.read(name) == content.encode(), name
        assert seen.read("link") == files["etc/fstab"].encode()
        assert set(seen.names("/many")) == {f"a rather long name {n:04}" for n in range(400)}
        assert set(seen.names("/etc")) == {"fstab", "os-release"}
        for wrong in ("nothing", "etc/nothing", "many/nothing", "short/deeper"):
            with pytest.raises(Missing):
                seen.read(wrong)
        assert 0 < (seen.blocks - seen.free) * seen.block < 240 * MIB


@pytest.mark.parametrize("bit", [0x1, 0x8, 0x20, 0x800, 0x1000, 0x40000, 1 << 31])
def test_a_feature_that_is_not_known_is_said_and_no_file_is_missed(tmp_path: Path, bit: int) -> None:
    image = ext4(tmp_path / "d", tree(tmp_path / "tree", {"etc/fstab": "/dev/sda1 / ext4\n"}), 8 * MIB)
    (features,) = struct.unpack_from("<I", image.read_bytes(), 1024 + 96)
    put(image, 1024 + 96, struct.pack("<I", features | bit))
    (closed,) = facts("bios", window(image)).closed
    assert closed[0] == "disk 1" and closed[1].startswith("not understood: an ext4 with the feature ")


@pytest.mark.parametrize("name", ["/etc", "/etc/fstab"])
def test_what_ext4_encrypts_is_said_and_not_taken_for_missing(tmp_path: Path, name: str) -> None:
    image = ext4(tmp_path / "d", tree(tmp_path / "tree", {"etc/fstab": "/dev/sda1 / ext4\n"}), 8 * MIB)
    flags = run(need("debugfs", "e2fsprogs"), "-R", f"stat {name}", image).decode()
    flag = int(flags.partition("Flags: ")[2].split()[0], 16) | 0x800
    run(need("debugfs", "e2fsprogs"), "-w", "-R", f"set_inode_field {name} flags {flag:#x}", image)
    seen = facts("bios", window(image))
    assert not seen.named
    assert any(why == "not understood: a file or directory that ext4 encrypts" for _, why in seen.closed)


def test_names_in_a_folded_directory_are_found_without_case(tmp_path: Path) -> None:
    source = tree(tmp_path / "tree", {"Etc/FStab": "/dev/sda1 / ext4\n"})
    image = ext4(tmp_path / "d", source, 8 * MIB, "-O", "casefold", "-E", "encoding=utf8")
    with pytest.raises(Missing):
        Ext4(window(image)).read("/etc/fstab")
    for folder in ("/", "/Etc"):
        flags = run(need("debugfs", "e2fsprogs"), "-R", f"stat {folder}", image).decode()
        flag = int(flags.partition("Flags: ")[2].split()[0], 16) | 0x40000000
        run(need("debugfs", "e2fsprogs"), "-w", "-R", f"set_inode_field {folder} flags {flag:#x}", image)
    assert Ext4(window(image)).read("/etc/fstab") == b"/dev/sda1 / ext4\n"


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_looked_into(tmp_path: Path) -> None:
    files = {"etc/fstab": "/dev/sda1 / ext4\n", "etc/crypttab": "x /dev/sdb1 none\n" * 200}
    image = ext4(tmp_path / "d", tree(tmp_path / "tree", files), 8 * MIB)
    at = image.read_bytes().index(b"x /dev/sdb1")
    block = struct.unpack_from("<I", image.read_bytes(), 1024 + 24)[0]
    inode = image.read_bytes().index(struct.pack("<I", at // (1024 << block)))
    put(image, inode, b"\xff\xff\xff\x7f")  # the first block of crypttab is beyond the end
    seen = facts("bios", window(image))
    assert [one.file for one in seen.named] == ["/etc/fstab"]
    assert ("disk 1 /etc/crypttab", "it points beyond the end of the disk") in seen.closed
