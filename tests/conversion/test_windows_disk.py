"""A synthetic Windows goes through inspection, plan and conversion with libguestfs. `virt-win-reg` reads its registry back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from connector.cli.main import main
from tests.conversion import windows_disk
from tests.conversion.hives import empty_hive
from tests.conversion.windows_files import DRIVERS, SERVER_2019, SOFTWARE, SYSTEM, USUAL
from tests.integration.witness import digest

pytestmark = [pytest.mark.boot, pytest.mark.xdist_group("boot")]
DIRECT = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
SHELL = "/Windows/System32/cmd.exe"


def run(*words: object) -> int:
    return main([str(word) for word in words])


def make(disk: Path, **more: bytes) -> Path:
    missing = [tool for tool in ("qemu-system-x86_64", "qemu-img", "virt-win-reg") if not shutil.which(tool)]
    module = subprocess.run(["/usr/bin/python3", "-I", "-c", "import guestfs"], capture_output=True)
    if missing or module.returncode:
        pytest.skip(
            "needs libguestfs (Debian: python3-guestfs, libguestfs-tools, ntfs-3g, qemu-system-x86, a kernel)"
        )
    hive = empty_hive()
    files = {
        SYSTEM: hive,
        SOFTWARE: hive,
        SHELL: windows_disk.shell(),
        "/Windows/System32/drivers/disk.sys": b"driver",
    }
    windows_disk.make(
        disk,
        files | {f"/{name}": data for name, data in more.items()},
        {SYSTEM: USUAL, SOFTWARE: SERVER_2019},
    )
    return disk


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("windows") / "disk.raw")


@pytest.fixture
def virtio_win(tmp_path: Path) -> Path:
    for path, data in DRIVERS.items():
        file = tmp_path / "virtio-win" / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "virtio-win"


def read_back(image: Path, key: str) -> str:
    words = ["virt-win-reg", str(image), key]
    return subprocess.run(words, check=True, capture_output=True, text=True, env=os.environ | DIRECT).stdout


def test_a_windows_gets_its_drivers_and_the_image_stays(
    disk: Path, virtio_win: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, target = digest(disk.read_bytes()), tmp_path / "converted"
    assert run("machine", "convert", disk, "--virtio-win", virtio_win, "--to", target, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["system"] == "Windows Server 2019 Standard"
    assert digest(disk.read_bytes()) == before
    service = read_back(target / "disk.qcow2", "HKLM\\SYSTEM\\ControlSet001\\Services\\viostor")
    assert '"Start"=dword:00000000' in service
    assert run("machine", "plan", target, "--virtio-win", virtio_win) == 0
    assert "nothing has to change" in capsys.readouterr().out


def content(image: Path, path: str) -> bytes:
    words = ["virt-cat", "-a", str(image), path]
    return subprocess.run(words, check=True, capture_output=True, env=os.environ | DIRECT).stdout


def test_its_address_and_a_script_wait_for_the_first_start(
    disk: Path, virtio_win: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, script = tmp_path / "converted", tmp_path / "script.ps1"
    script.write_bytes(b"Write-Output 'hello'\r\n")
    words = ["--virtio-win", virtio_win, "--network", "keep", "--first-boot", script]
    assert run("machine", "convert", disk, *words, "--to", target) == 0
    converted = target / "disk.qcow2"
    assert content(converted, "/Windows/Connector/script.ps1") == script.read_bytes()
    assert b"$addresses = @('10.0.0.5')" in content(converted, "/Windows/Connector/addresses.ps1")
    control = "HKLM\\SYSTEM\\ControlSet001\\Services"
    assert '"Start"=dword:00000002' in read_back(converted, f"{control}\\ConnectorFirstBoot")
    card = read_back(converted, f"{control}\\Tcpip\\Parameters\\Interfaces\\{{B1}}")
    assert '"EnableDHCP"=dword:00000001' in card
    capsys.readouterr()
    assert run("machine", "plan", target, *words) == 0
    assert "nothing has to change" in capsys.readouterr().out


#: What virt-v2v calls its package of drivers, and what we do.
NAMES = {
    "guestor.inf_tmp": "connector.inf_virtio",
    "guestor.inf": "connector.inf",
    "guestor_conf": "connector_virtio",
}


def values(image: Path, hive: str) -> set[tuple[str, str]]:
    """Every value of a hive: the key, and the value with its name."""
    text, rows, key = read_back(image, f"HKLM\\{hive}"), set(), ""
    for line in text.splitlines():
        if line.startswith("["):
            key = line
        elif line:
            rows.add((key, re.sub(r"hex\([17]\):([0-9a-f,]*)", _decoded, line)))
    return rows


def _decoded(match: re.Match[str]) -> str:
    return bytes.fromhex(match[1].replace(",", "")).decode("utf-16-le")


def _ours(word: str) -> str:
    for theirs, our in NAMES.items():
        word = word.replace(theirs, our)
    return word


def test_virt_v2v_sets_nothing_that_we_do_not_set(disk: Path, virtio_win: Path, tmp_path: Path) -> None:
    if not shutil.which("virt-v2v-in-place"):
        pytest.skip(
            "needs virt-v2v-in-place (Debian package virt-v2v), whose conversion is compared with ours"
        )
    theirs, target = tmp_path / "theirs.raw", tmp_path / "ours"
    shutil.copy(disk, theirs)
    subprocess.run(
        ["virt-v2v-in-place", "-i", "disk", theirs],
        check=True,
        env=os.environ | DIRECT | {"VIRTIO_WIN": str(virtio_win)},
    )
    assert run("machine", "convert", disk, "--virtio-win", virtio_win, "--to", target) == 0
    for hive in ("SYSTEM", "SOFTWARE"):
        expected = {(_ours(key), _ours(line)) for key, line in values(theirs, hive)}
        assert expected - values(disk, hive), "virt-v2v changed something"
        assert expected <= values(target / "disk.qcow2", hive)


def test_drivers_come_from_an_iso_image_too(
    disk: Path, virtio_win: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = next((tool for tool in ("genisoimage", "mkisofs", "xorrisofs") if shutil.which(tool)), None)
    if maker is None:
        pytest.skip("needs genisoimage or xorriso, to make an ISO image")
    iso = tmp_path / "virtio-win.iso"
    subprocess.run([maker, "-quiet", "-J", "-R", "-o", iso, virtio_win], check=True)
    assert run("machine", "plan", disk, "--virtio-win", iso, "--json") == 0
    paths = [row["path"] for row in json.loads(capsys.readouterr().out)["changes"]]
    assert "/Windows/System32/drivers/viostor.sys" in paths
    assert "/Windows/Drivers/VirtIO/netkvm.inf" in paths
    assert run("machine", "plan", disk, "--virtio-win", disk) == 2
    assert "is no ISO image" in capsys.readouterr().err


def test_without_virtio_win_it_is_refused_with_what_to_do(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("machine", "plan", disk) == 5
    said = capsys.readouterr().err
    assert "has no virtio storage driver, and this computer has no virtio-win" in said
    assert "--virtio-win" in said


def test_a_hibernated_windows_is_refused(
    tmp_path: Path, virtio_win: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asleep = make(tmp_path / "asleep.raw", **{"hiberfil.sys": b"HIBR" + bytes(4096)})
    target = tmp_path / "converted"
    assert run("machine", "convert", asleep, "--virtio-win", virtio_win, "--to", target) == 5
    assert "shutdown /s /t 0" in capsys.readouterr().err
    assert not target.exists()
