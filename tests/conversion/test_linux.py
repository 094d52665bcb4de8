"""What is planned for a Linux guest, by its files. Whatever is planned is done once: planning again gives nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.conversion import linux
from connector.conversion.changes import ChangePlan
from connector.conversion.initramfs_append import WANTED
from connector.conversion.linux import LinuxGuest, NetworkRequest
from connector.conversion.network.cards import Card
from connector.conversion.network.plan import NetworkMode
from connector.errors import Ineligible
from connector.offline import initramfs
from tests.conversion.guest_files import GuestFiles, guest
from tests.conversion.test_initramfs_append import HOME, ROOT, VERSION, first

IMAGE = f"/boot/initrd.img-{VERSION}"
TOOLS = ("usr/bin/kmod", "usr/bin/udevadm")
FSTAB = "# /dev/sda1 was the root\n/dev/sda1\t/ ext4 errors=remount-ro 0 1\n/dev/sda5 none swap sw 0 0\n"


def carried_out(planned: LinuxGuest, plan: ChangePlan) -> LinuxGuest:
    assert isinstance(planned.files, GuestFiles)
    return replace(planned, files=planned.files.after(plan))


def planned(machine: LinuxGuest) -> ChangePlan:
    plan = linux.plan(machine)
    assert linux.plan(carried_out(machine, plan)).is_empty
    return plan


def after(machine: LinuxGuest, path: str) -> str:
    files = carried_out(machine, planned(machine)).files
    return files.read(path).decode()


def test_a_guest_that_needs_nothing_gets_nothing() -> None:
    plan = planned(
        guest(
            {
                "/etc/fstab": "UUID=ROOT-1 / ext4 defaults 0 1\n",
                "/boot/grub/grub.cfg": "linux /v root=UUID=R\n",
            }
        )
    )
    assert plan.is_empty
    assert plan.notes == (
        f"/boot has no initramfs that is known by its name: check that its kernels have {', '.join(WANTED)}",
    )
    assert (
        planned(with_kernel((*TOOLS, *(f"lib/modules/{VERSION}/{name}.ko" for name in WANTED)))).notes == ()
    )


def test_a_unified_kernel_image_is_said() -> None:
    plan = planned(efi({"/boot/efi/EFI/Linux/arch.efi": "x", "/boot/efi/EFI/BOOT/BOOTX64.EFI": "y"}))
    assert "/boot/efi/EFI/Linux/arch.efi has its initramfs inside" in plan.notes[0]


def test_file_systems_are_named_by_uuid() -> None:
    text = after(guest({"/etc/fstab": FSTAB}), "/etc/fstab")
    assert (
        text
        == "# /dev/sda1 was the root\nUUID=ROOT-1\t/ ext4 errors=remount-ro 0 1\nUUID=SWAP-5 none swap sw 0 0\n"
    )


@pytest.mark.parametrize(
    ("path", "before", "expected"),
    [
        (
            "/boot/grub/grub.cfg",
            "linux /vmlinuz root=/dev/sda1 ro quiet\n",
            "linux /vmlinuz root=UUID=ROOT-1 ro quiet\n",
        ),
        (
            "/boot/grub2/grub.cfg",
            "\tlinux /v root=/dev/sda1 resume=/dev/sda5\r\n",
            "\tlinux /v root=UUID=ROOT-1 resume=UUID=SWAP-5\r\n",
        ),
        (
            "/etc/default/grub",
            'GRUB_CMDLINE_LINUX="resume=/dev/sda5"\n',
            'GRUB_CMDLINE_LINUX="resume=UUID=SWAP-5"\n',
        ),
        ("/boot/loader/entries/a.conf", "options root=/dev/sda1\n", "options root=UUID=ROOT-1\n"),
        ("/etc/initramfs-tools/conf.d/resume", "RESUME=/dev/sda5", "RESUME=UUID=SWAP-5"),
        (
            "/etc/crypttab",
            "swap /dev/sda5 /dev/urandom swap\n",
            "swap /dev/disk/by-uuid/SWAP-5 /dev/urandom swap\n",
        ),
        (
            "/etc/systemd/system/srv.mount",
            "[Mount]\nWhat=/dev/sda1\n",
            "[Mount]\nWhat=/dev/disk/by-uuid/ROOT-1\n",
        ),
        (
            "/etc/fstab",
            "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1 / ext4 defaults 0 1\n",
            "UUID=ROOT-1 / ext4 defaults 0 1\n",
        ),
        ("/etc/fstab", "/dev/hda1 / ext3 defaults 0 1\n", "UUID=ROOT-1 / ext3 defaults 0 1\n"),
        ("/etc/fstab", "/dev/nvme0n1p1 / ext4 defaults 0 0\n", "UUID=ROOT-1 / ext4 defaults 0 0\n"),
    ],
)
def test_every_file_that_names_devices(path: str, before: str, expected: str) -> None:
    assert after(guest({path: before}), path) == expected


def test_a_menus_title_and_comments_stay() -> None:
    text = 'menuentry "Debian on /dev/sda1" {\n linux /v root=/dev/sda1\n}\n# root=/dev/sda1\n'
    expected = 'menuentry "Debian on /dev/sda1" {\n linux /v root=UUID=ROOT-1\n}\n# root=/dev/sda1\n'
    assert after(guest({"/boot/grub/grub.cfg": text}), "/boot/grub/grub.cfg") == expected


def test_grubs_environment_keeps_its_size() -> None:
    text = "# GRUB Environment Block\nkernelopts=root=/dev/sda1 ro\n".ljust(1024, "#")
    changed = after(guest({"/boot/grub2/grubenv": text}), "/boot/grub2/grubenv")
    assert "root=UUID=ROOT-1 ro\n" in changed
    assert len(changed) == 1024


def test_a_disk_that_is_not_in_the_image_does_not_stop_the_start() -> None:
    machine = guest(
        {
            "/etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n/dev/sdb1 /data ext4 rw 0 2\n/dev/sdc1 /x xfs noauto 0 0\n"
        }
    )
    assert after(machine, "/etc/fstab") == (
        "UUID=ROOT-1 / ext4 defaults 0 1\n/dev/sdb1 /data ext4 rw,nofail 0 2\n/dev/sdc1 /x xfs noauto 0 0\n"
    )


def test_the_second_disk_is_known_by_its_place() -> None:
    machine = guest({"/etc/fstab": "/dev/sdb1 /data ext4 rw 0 2\n"}, disks=2, uuids={"/dev/sdb1": "DATA"})
    assert after(machine, "/etc/fstab") == "UUID=DATA /data ext4 rw 0 2\n"


def test_a_disk_of_another_kind_than_fstab_says_is_not_taken_for_it() -> None:
    """The guest counts its disks in another order: its /dev/sdb1 is not what the image has there."""
    text = "/dev/sda1 / ext4 defaults 0 1\n/dev/sdb1 /data ext4 rw 0 2\n"
    machine = guest({"/etc/fstab": text}, disks=2, uuids={"/dev/sda1": "ROOT-1", "/dev/sdb1": "X"})
    plan = planned(machine)
    assert after(machine, "/etc/fstab") == text.replace("/dev/sda1", "UUID=ROOT-1")
    assert plan.notes[-1] == "/etc/fstab names /dev/sdb1 as ext4, and there is xfs; it is left as it is"


def test_what_is_not_understood_is_said_and_left() -> None:
    plan = planned(
        guest({"/boot/grub/grub.cfg": "linux /v root=/dev/sdq7\n", "/etc/lilo.conf": "boot=/dev/sda1\n"})
    )
    assert plan.is_empty
    assert [note.partition(" ")[0] for note in plan.notes[1:]] == [
        *("/etc/lilo.conf", "/boot/grub/grub.cfg"),
    ]


def with_kernel(names: tuple[str, ...], **more: object) -> LinuxGuest:
    return guest({**ROOT.content, IMAGE: first(*names), "/etc/initramfs-tools/modules": "# none"}, **more)  # type: ignore[arg-type]


def test_an_initramfs_gets_the_drivers_that_it_lacks_and_so_does_the_next() -> None:
    machine = with_kernel(TOOLS)
    plan = planned(machine)
    (append,) = plan.appends
    assert append.path == IMAGE
    assert "virtio_blk" in append.why
    (change,) = plan.changes
    assert change.after == b"# none\nvirtio_pci\nvirtio_blk\nvirtio_scsi\n"
    dracut = guest(
        {**ROOT.content, f"/boot/initramfs-{VERSION}.img": first(*TOOLS), "/etc/dracut.conf.d/x": ""}
    )
    assert [c.path for c in planned(dracut).changes] == ["/etc/dracut.conf.d/50-connector-virtio.conf"]


def test_an_initramfs_that_has_them_stays() -> None:
    assert planned(with_kernel((*TOOLS, f"lib/modules/{VERSION}/kernel/virtio_blk.ko"))).is_empty


def test_an_initramfs_that_could_not_load_them_is_said() -> None:
    plan = planned(with_kernel(("init",)))
    assert plan.is_empty
    assert "no udev" in plan.notes[0]


def test_an_initramfs_of_an_unknown_format_is_said() -> None:
    machine = guest({**ROOT.content, IMAGE: b"\x02\x21\x4c\x18 lz4"})
    assert "is not understood" in planned(machine).notes[0]


def test_a_kernel_without_virtio_is_said() -> None:
    machine = guest({f"{HOME}/modules.dep": b"kernel/x.ko:\n", IMAGE: first(*TOOLS)})
    assert "cannot start from a virtio disk" in planned(machine).notes[0]


def test_drivers_that_are_listed_and_not_there_are_said() -> None:
    machine = with_kernel(TOOLS)
    assert isinstance(machine.files, GuestFiles)
    files = {path: data for path, data in machine.files.content.items() if "virtio_blk" not in path}
    plan = planned(replace(machine, files=GuestFiles(files)))
    assert plan.is_empty
    assert "they cannot be read" in plan.notes[0]


def test_a_full_boot_is_refused_before_anything_is_written() -> None:
    with pytest.raises(Ineligible, match="4 MiB free; remove kernels"):
        linux.plan(with_kernel(TOOLS, room=4 << 20))


def efi(files: dict[str, str]) -> LinuxGuest:
    return guest(dict(files), firmware="efi", mounts={"/": "/dev/sda1", "/boot/efi": "/dev/sda2"})


def test_the_removable_path_gets_what_the_vendors_path_has() -> None:
    plan = planned(
        efi({"/boot/efi/EFI/debian/shimx64.efi": "shim", "/boot/efi/EFI/debian/grubx64.efi": "grub"})
    )
    assert {change.path: change.after for change in plan.changes} == {
        "/boot/efi/EFI/BOOT/BOOTX64.EFI": b"shim",
        "/boot/efi/EFI/BOOT/grubx64.efi": b"grub",
    }


def test_a_removable_path_that_is_there_stays_whatever_its_letters() -> None:
    assert planned(
        efi({"/boot/efi/efi/boot/bootx64.efi": "x", "/boot/efi/efi/debian/grubx64.efi": "y"})
    ).is_empty


def test_a_report_has_lines_that_change_and_no_others() -> None:
    machine = guest({"/etc/fstab": f"{FSTAB}//nas/x /x cifs password=hunter2 0 0\n"})
    document = str(planned(machine).to_json())
    assert "+UUID=ROOT-1" in document
    assert "hunter2" not in document


def test_a_name_of_a_card_is_in_the_initramfs_too() -> None:
    """udev in the initramfs may be the first to name a card."""
    request = NetworkRequest((Card(0, "00:50:56:00:00:01"),), NetworkMode.KEEP, keeps_macs=True)
    machine = with_kernel(("usr/lib/systemd/systemd-udevd", *TOOLS, f"lib/modules/{VERSION}/virtio_blk.ko"))
    assert isinstance(machine.files, GuestFiles)
    interfaces = b"auto ens192\niface ens192 inet static\n address 10.0.0.5/24\n gateway 10.0.0.1\n"
    files = {
        **machine.files.content,
        "/etc/network/interfaces": interfaces,
        "/usr/lib/udev/rules.d/80-net-setup-link.rules": b'IMPORT{builtin}="net_setup_link"\n',
    }
    plan = planned(replace(machine, files=GuestFiles(files), network=request))
    (rule,) = (change for change in plan.changes if change.path.startswith("/etc/udev/rules.d/"))
    assert rule.after is not None and b'NAME="ens192"' in rule.after
    (append,) = plan.appends
    assert rule.path.strip("/") in list(initramfs.names(files[IMAGE] + append.data))
