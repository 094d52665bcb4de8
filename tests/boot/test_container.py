"""A container image of a real guest: pushed to a registry, pulled by another tool, compared with the guest's files, and run."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import socket
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.cli.main import main
from connector.conversion import container
from tests.boot import guests
from tests.boot.guests import Guest
from tests.boot.test_boot import root
from tests.conversion.conftest import qemu
from tests.conversion.test_container import registry, skopeo
from tests.conversion.test_conversion import tools
from tests.waiting import eventually

__all__ = ["qemu", "registry", "root", "skopeo", "tools"]
pytestmark = [
    pytest.mark.boot,
    pytest.mark.usefixtures("qemu", "skopeo", "tools"),
    pytest.mark.xdist_group("boot"),
]
_UNIT = """[Unit]
Description=The service that this machine is for
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /srv/web {port}
[Install]
WantedBy=multi-user.target
"""
#: What a container has from its host, or what only a machine needs, as docs/booting.md says. The rest must be there.
_LEFT_OUT = (
    *("proc/*", "sys/*", "dev/*", "run/*", "tmp/*", "var/tmp/*", "lost+found"),
    *("boot/vmlinuz*", "boot/initrd*", "boot/efi/*", "boot/grub*", "usr/lib/modules/*"),
)
Facts = tuple[str, int, int, int, str, dict[str, bytes], str]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def serving(root: Path, port: int) -> Iterator[Path]:
    """The guest's files, with a service of its own: owners, hard links, extended attributes, setuid."""
    web, unit = root / "srv/web", root / "etc/systemd/system/web.service"
    wanted = root / "etc/systemd/system/multi-user.target.wants/web.service"
    web.mkdir(parents=True)
    try:
        (web / "index.html").write_text("this is the guest\n")
        os.link(web / "index.html", web / "same.html")
        (web / "name with a blank and ü").write_text("x")
        (web / "link").symlink_to("/srv/web/index.html")
        os.chown(web / "index.html", 1234, 5678)
        os.setxattr(web / "index.html", "user.note", b"kept \x00 whole")
        (web / "tool").write_text("#!/bin/sh\n")
        (web / "tool").chmod(0o4755)
        unit.write_text(_UNIT.format(port=port))
        wanted.symlink_to("/etc/systemd/system/web.service")
        yield root
    finally:
        shutil.rmtree(web)
        unit.unlink(missing_ok=True)
        wanted.unlink(missing_ok=True)


def facts(top: Path) -> dict[str, Facts]:
    """Everything about every file that a container must keep. Hard links have the name of the first of them."""
    first: dict[int, str] = {}
    found: dict[str, Facts] = {}
    for folder, folders, names in os.walk(top):
        for name in sorted((*folders, *names)):
            path = Path(folder, name)
            place = str(path.relative_to(top))
            if any(fnmatch.fnmatchcase(place, pattern) for pattern in _LEFT_OUT):
                continue
            state = path.lstat()
            is_link = stat.S_ISLNK(state.st_mode)
            attributes = {} if is_link else {key: os.getxattr(path, key) for key in os.listxattr(path)}
            same = (
                first.setdefault(state.st_ino, place)
                if state.st_nlink > 1 and stat.S_ISREG(state.st_mode)
                else ""
            )
            target = str(path.readlink()) if is_link else ""
            found[place] = (
                *(stat.filemode(state.st_mode), state.st_uid, state.st_gid),
                *(state.st_size if stat.S_ISREG(state.st_mode) else 0, target, attributes, same),
            )
    return found


def test_a_guests_container_has_its_files_and_runs_its_service(
    serving: Path, port: int, registry: str, tmp_path: Path
) -> None:
    disk = guests.build(serving, Guest(console=False), tmp_path / "disk.raw")
    before = facts(serving)
    layout, pulled, unpacked = tmp_path / "layout", tmp_path / "pulled", tmp_path / "container"
    assert main(["machine", "container", str(disk), "--to", str(layout), "--tag", "v1"]) == 0
    disk.unlink()
    container.push(layout, "v1", f"{registry}/team/web:1", None, tls=False)
    source = ["--src-tls-verify=false", f"docker://{registry}/team/web:1"]
    subprocess.run(["skopeo", "copy", "--quiet", *source, f"dir:{pulled}"], check=True)
    manifest = json.loads((pulled / "manifest.json").read_text())
    unpacked.mkdir()
    for layer in manifest["layers"]:
        file = pulled / layer["digest"].removeprefix("sha256:")
        keep = ["--numeric-owner", "--same-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"]
        subprocess.run(
            ["tar", "--extract", "--file", str(file), "--directory", str(unpacked), *keep], check=True
        )
    assert facts(unpacked) == before
    settings = json.loads((pulled / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    command = settings["config"]["Cmd"]
    assert command[:3] == ["/usr/bin/python3", "-m", "http.server"]
    subprocess.run(["chroot", str(unpacked), "/bin/true"], check=True)
    with subprocess.Popen(
        ["chroot", str(unpacked), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as service:
        try:
            eventually(lambda: answer(port) == "this is the guest\n", "the service answers")
        finally:
            service.kill()


def answer(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/same.html", timeout=5) as page:
            text: str = page.read().decode()
            return text
    except OSError:
        return ""
