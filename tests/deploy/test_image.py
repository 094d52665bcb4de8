"""The appliance's image: built, started in QEMU, configured on its console and from a CD, and used.

PACKAGE: a package of `make deb`. IMAGE_CACHE: a directory that keeps the unpacked Debian and the image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from connector import __version__
from connector.cli.ovf_properties import PROPERTIES
from deploy import environment
from deploy.image import __main__ as image_builder
from deploy.image import tree
from tests.deploy import appliance_night
from tests.deploy.test_units import needed
from tests.deploy.test_wheel import ROOT, built, copied

pytestmark = [pytest.mark.image, pytest.mark.timeout(7200), pytest.mark.xdist_group("image")]


@pytest.fixture(scope="module")
def built_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the image's files."""
    for program, package in (("mmdebstrap", "mmdebstrap"), ("qemu-img", "qemu-utils"), ("mcopy", "mtools")):
        needed(program, package)
    if os.geteuid():
        pytest.skip("needs root: mmdebstrap and chroot")
    kept = Path(os.environ.get("IMAGE_CACHE") or tmp_path_factory.mktemp("image"))
    if not (kept / "image" / "SHA256SUMS").exists():
        root = tmp_path_factory.mktemp("root") / "root"
        if not (kept / "debian").exists():
            tree.debian(kept / "debian")
        subprocess.run(["cp", "-a", str(kept / "debian"), str(root)], check=True)
        files = image_builder.build(root, _package(tmp_path_factory), kept / "image", __version__)
        image_builder.checksums(files, None)
        shutil.rmtree(root)
    return kept / "image"


def _package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("PACKAGE")
    if given:
        return Path(given)
    wheels = tmp_path_factory.mktemp("downloads") / "wheels"
    environment.download(ROOT, wheels)
    source = copied(tmp_path_factory.mktemp("package") / "source", 0o022)
    return built("deploy.deb", source, 0o022, "--wheels", str(wheels))


def night(image: Path, directory: Path, *more: str) -> Mapping[str, Any]:
    """One night of `appliance_night`, in a network of its own."""
    needed("qemu-system-x86_64", "qemu-system-x86")
    file = next(image.glob("*.qcow2"))
    words = [
        "unshare",
        "--net",
        sys.executable,
        "-m",
        "tests.deploy.appliance_night",
        str(directory),
        str(file),
    ]
    done = subprocess.run([*words, *more], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr + done.stdout
    answer: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_it_asks_on_its_console_enrols_itself_and_migrates_a_machine(
    built_image: Path, tmp_path: Path
) -> None:
    """With a wrong address and a wrong password on the way; nothing secret is shown, and no port is open to others."""
    done = night(built_image, tmp_path)
    assert done["job"]["status"] == "Finished"
    assert done["equal"] == [True, True]
    assert "is no address" in done["shown"] and "user or password refused" in done["shown"]
    assert "the appliance serves https://198.18.0.1:8443 with 1 machines" in done["shown"]
    assert all(address.endswith((":68", ":546")) for address in done["listening"]), "only DHCP's client"
    assert appliance_night.LOGIN not in done["shown"]


@pytest.mark.parametrize("firmware", ["bios", "efi"])
def test_it_takes_what_was_typed_in_vcenter(built_image: Path, tmp_path: Path, firmware: str) -> None:
    """From a CD, with both firmwares; nobody touches the console."""
    needed("genisoimage", "genisoimage")
    done = night(built_image, tmp_path, "cd", firmware)
    assert done["job"]["status"] == "Finished"
    assert done["equal"] == [True, True]
    assert "Press Enter" not in done["shown"]


def test_the_sums_are_those_of_the_files(built_image: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=built_image, check=True)
    with tarfile.open(next(built_image.glob("*.ova"))) as archive:
        names = [Path(name).suffix for name in archive.getnames()]
        assert names == [".ovf", ".mf", ".vmdk"]


def test_another_program_imports_it_into_another_vcenter(built_image: Path, tmp_path: Path) -> None:
    """govc and vcsim, VMware's own: every question, the devices, the size of the disk."""
    build = "no package; go install github.com/vmware/govmomi/govc and vcsim"
    govc, vcsim = needed("govc", build), needed("vcsim", build)
    with subprocess.Popen([vcsim, "-l", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = re.search(r"GOVC_URL=(\S+)", server.stdout.readline())
            assert url is not None
            ask = Govc(govc, url[1])
            ova = str(next(built_image.glob("*.ova")))
            spec = json.loads(ask("import.spec", ova))
            keys = [entry["Key"] for entry in spec["PropertyMapping"]]
            assert keys == [f"connector.{entry.key}" for entry in PROPERTIES]
            assert [entry["Name"] for entry in spec["NetworkMapping"]] == ["Management"]
            spec["NetworkMapping"][0]["Network"] = "VM Network"
            (tmp_path / "spec").write_text(json.dumps(spec))
            ask(
                "import.ova",
                "-ds",
                "LocalDS_0",
                "-options",
                str(tmp_path / "spec"),
                "-name",
                "appliance",
                ova,
            )
            devices = ask("device.ls", "-vm", "appliance")
            assert {"ParaVirtualSCSIController", "VirtualVmxnet3", "VirtualCdrom"} <= set(devices.split())
            assert f"{image_builder.CAPACITY // 1024:,} KB" in devices
        finally:
            server.terminate()


class Govc:
    """VMware's command line, and the vCenter that it talks to."""

    def __init__(self, program: str, url: str) -> None:
        self._program = program
        where = {"GOVC_URL": url, "GOVC_INSECURE": "1", "GOVC_RESOURCE_POOL": "/DC0/host/DC0_H0/Resources"}
        self._variables = os.environ | where

    def __call__(self, *words: str) -> str:
        command = [self._program, *words]
        return subprocess.run(command, env=self._variables, capture_output=True, text=True, check=True).stdout
