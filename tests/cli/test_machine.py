"""`connector machine` on images that are one boot sector long."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from connector.cli.main import main
from connector.cloud import machine_files
from connector.cloud.machine_files import ImageDisk, MachineDescription, NetworkCard
from connector.specification.image_formats import FORMATS, ImageFormat
from tests.conversion.boot_sectors import saying
from tests.conversion.conftest import qemu

__all__ = ["qemu"]
LOGIN = b"\r\nweb-01 login: "
PANIC = b"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"


def image(directory: Path, *texts: bytes) -> Path:
    """An image whose disks say these texts when they are started from."""
    directory.mkdir()
    disks = []
    for place, text in enumerate(texts):
        saying(directory / f"{2000 + place}.raw", text)
        disks.append(ImageDisk(f"{2000 + place}.raw", "raw", 1 << 20))
    machine = MachineDescription("web-01", tuple(disks), cards=(NetworkCard("00:50:56:01:02:03"),))
    for name, content in machine_files.files(machine, directory).items():
        (directory / name).write_bytes(content)
    return directory


def test_a_command_that_is_not_closed_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "machine",
        "container",
        str(image(tmp_path / "web-01", LOGIN)),
        "--to",
        str(tmp_path / "web.oci"),
    ]
    assert main([*words, "--command", "sh -c 'x"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--command: the command cannot be split into words" in err
    assert not (tmp_path / "web.oci").exists()


@pytest.mark.usefixtures("qemu")
def test_an_image_that_boots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first disk of machine.json is started from; the others are there too."""
    assert main(["machine", "check", str(image(tmp_path / "web-01", LOGIN, PANIC)), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["boots"], answer["outcome"], answer["host"]) == (True, "login prompt", "web-01")


@pytest.mark.usefixtures("qemu")
def test_one_that_does_not_says_why_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = image(tmp_path / "web-01", PANIC, LOGIN)
    assert main(["machine", "check", str(directory), "--report", str(tmp_path / "report")]) == 13
    out, err = capsys.readouterr()
    assert out.startswith("does not boot: kernel panic after ")
    assert str(tmp_path / "report" / "screen.png") in out
    assert err.count("\n") == 1
    assert "unknown-block(0,0)" in err and f"see {tmp_path / 'report'}" in err


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("form", [form for form in FORMATS if form.name != "raw"], ids=lambda form: form.name)
def test_each_format_that_an_image_may_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: ImageFormat
) -> None:
    directory = image(tmp_path / "web-01", LOGIN)
    disk = directory / f"2000.{form.suffix}"
    words = ["qemu-img", "convert", "-f", "raw", "-O", form.driver, *form.options]
    subprocess.run([*words, str(directory / "2000.raw"), str(disk)], check=True)
    assert main(["machine", "check", str(disk), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["boots"]
    machine = MachineDescription("web-01", (ImageDisk(disk.name, form.driver, 1 << 20),))
    for name, content in machine_files.files(machine, directory).items():
        (directory / name).write_bytes(content)
    assert main(["machine", "check", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["boots"]


@pytest.mark.usefixtures("qemu")
def test_the_other_firmware_is_proposed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    assert main(["machine", "check", str(tmp_path / "disk")]) == 13
    assert "--firmware efi" in capsys.readouterr().err


@pytest.mark.usefixtures("qemu")
def test_a_guest_does_not_choose_the_format_of_its_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first sector is the header of a qcow2 that reads a file of this computer. machine.json says that it is raw."""
    (tmp_path / "secret").write_bytes(b"\xfa\xf4" + bytes(1 << 20))
    directory = image(tmp_path / "web-01", LOGIN)
    header = tmp_path / "header"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(tmp_path / "secret"), str(header)],
        check=True,
    )
    (directory / "2000.raw").write_bytes(header.read_bytes())
    assert main(["machine", "check", str(directory), "--json"]) == 13
    assert json.loads(capsys.readouterr().out.splitlines()[0])["outcome"] == "no bootable disk"
    shutil.copyfile(header, tmp_path / "disk.img")
    assert main(["machine", "check", str(tmp_path / "disk.img")]) == 2
    err = capsys.readouterr().err
    assert "is not whole: it reads" in err and "qemu-img convert" in err


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing-here"], "nothing-here: cannot be read"),
        (["."], "has no machine.json"),
        (["disk", "--marker", "("], "is no regular expression"),
    ],
)
def test_bad_input(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").write_bytes(bytes(512))
    assert main(["machine", "check", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_qemu_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["machine", "check", str(tmp_path / "disk")]) == 2
    assert "install the Debian packages qemu-system-x86" in capsys.readouterr().err


@pytest.mark.usefixtures("qemu")
def test_an_image_that_reads_a_file_of_its_own_name_elsewhere_is_not_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2000.vmdk").write_bytes(bytes(1 << 20))
    descriptor = tmp_path / "2000.vmdk"
    descriptor.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        f'RW 2048 FLAT "{elsewhere}/2000.vmdk" 0\nddb.adapterType = "ide"\n'
    )
    assert main(["machine", "check", str(descriptor)]) == 2
    assert f"is not whole: it reads {elsewhere}/2000.vmdk" in capsys.readouterr().err
