"""Container images, read by other tools: skopeo and a registry. What a guest's services propose."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.conversion import container
from connector.conversion.oci_layout import ContainerConfig, write
from connector.conversion.services import Service, services
from connector.errors import TargetFailed
from tests.conversion.guest_files import GuestFiles
from tests.waiting import eventually

CONFIG = ContainerConfig(
    command=("/usr/sbin/nginx", "-g", "daemon off;"), ports=("80/tcp",), labels={"a": "b"}
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Files with owners, a hard link, a symbolic link and an extended attribute."""
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (
            ("./bin/true", b"\x7fELF" + os.urandom(5 << 20)),
            ("./etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid, entry.mode = len(data), 7, 8, 0o4755
            entry.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("./bin/also-true")
        link.type, link.linkname = tarfile.LNKTYPE, "./bin/true"
        tar.addfile(link)
    return path


def test_the_same_archive_gives_the_same_image(archive: Path, tmp_path: Path) -> None:
    digests = {write(tmp_path / name, archive, CONFIG, "latest") for name in ("one", "two")}
    assert len(digests) == 1


@pytest.fixture
def skopeo() -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo (Debian package)")


@pytest.mark.usefixtures("skopeo")
def test_another_tool_reads_the_image(archive: Path, tmp_path: Path) -> None:
    digest = write(tmp_path / "layout", archive, CONFIG, "v1")
    source = f"oci:{tmp_path / 'layout'}:v1"
    shown = json.loads(subprocess.run(["skopeo", "inspect", source], check=True, capture_output=True).stdout)
    assert shown["Digest"] == digest
    assert (shown["Os"], shown["Architecture"], shown["Labels"]) == ("linux", "amd64", {"a": "b"})
    raw = subprocess.run(["skopeo", "inspect", "--config", source], check=True, capture_output=True).stdout
    config = json.loads(raw)["config"]
    assert config["Cmd"] == list(CONFIG.command)
    assert config["ExposedPorts"] == {"80/tcp": {}}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry of this computer's own."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry (Debian package)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))  # JSON is YAML
    process = subprocess.Popen([program, "serve", str(tmp_path / "registry.yml")], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((address.split(":")[0], int(address.split(":")[1]))) == 0

    try:
        eventually(answers, "the registry answers")
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("skopeo")
def test_r44_a_container_image_goes_through_a_registry(archive: Path, tmp_path: Path, registry: str) -> None:
    layout, back = tmp_path / "layout", tmp_path / "back"
    write(layout, archive, CONFIG, "v1")
    container.push(layout, "v1", f"{registry}/team/web:1", None, tls=False)
    pull = [
        "skopeo",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        f"docker://{registry}/team/web:1",
        f"dir:{back}",
    ]
    subprocess.run(pull, check=True)
    manifest = json.loads((back / "manifest.json").read_text())
    layer = back / manifest["layers"][0]["digest"].removeprefix("sha256:")
    with tarfile.open(layer) as tar, tarfile.open(archive) as source:
        for pulled, original in zip(tar, source, strict=True):
            assert (pulled.name, pulled.uid, pulled.gid, pulled.mode, pulled.linkname) == (
                *(original.name, original.uid, original.gid, original.mode, original.linkname),
            )
            assert pulled.pax_headers == original.pax_headers


@pytest.mark.usefixtures("skopeo")
def test_a_registry_that_is_gone_leaves_the_layout(archive: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    write(layout, archive, CONFIG, "v1")
    with pytest.raises(TargetFailed, match="push again") as failed:
        container.push(layout, "v1", "127.0.0.1:1/team/web:1", None, tls=False)
    assert str(layout) in str(failed.value)
    assert (layout / "index.json").exists()


def unit(command: str) -> bytes:
    return f"[Service]\nExecStart={command}\n".encode()


def guest(**units: str) -> GuestFiles:
    wants = "/etc/systemd/system/multi-user.target.wants"
    files = {f"{wants}/{name}.service": b"" for name in units}
    files |= {f"/lib/systemd/system/{name}.service": unit(command) for name, command in units.items()}
    return GuestFiles(files)


def test_the_only_service_that_is_not_the_systems_is_proposed() -> None:
    files = guest(nginx="-/usr/sbin/nginx -g 'daemon on;'", ssh="/usr/sbin/sshd -D", cron="/usr/sbin/cron -f")
    assert services(files) == [Service("nginx", ("/usr/sbin/nginx", "-g", "daemon on;"))]
    assert list(services(files)[0].ports) == ["80/tcp", "443/tcp"]


@pytest.mark.parametrize(
    "command", ["/usr/bin/app $OPTIONS", "/usr/bin/app %i", "/usr/bin/app \\", "/usr/bin/app '"]
)
def test_a_command_that_only_systemd_understands_is_not_proposed(command: str) -> None:
    assert services(guest(app=command)) == [Service("app", ())]


def test_a_guest_without_services_proposes_none() -> None:
    assert services(GuestFiles({"/etc/fstab": b""})) == []


@pytest.mark.parametrize("kind", ["forking", "oneshot"])
def test_a_service_that_leaves_the_foreground_is_not_proposed(kind: str) -> None:
    """Debian's nginx is forking, and its postgresql runs /bin/true: a container with these would end at once."""
    wants = "/etc/systemd/system/multi-user.target.wants/web.service"
    text = f"[Service]\nType={kind}\nExecStart=/usr/sbin/web -d\n"
    assert services(GuestFiles({wants: b"", "/lib/systemd/system/web.service": text.encode()})) == [
        Service("web", ())
    ]


@pytest.mark.parametrize(
    "name", ["accounts-api", "cloud-gateway", "network-monitor", "cronicle", "rsync-backup", "sshd-proxy"]
)
def test_a_name_that_only_begins_like_a_system_service_is_the_guests_own(name: str) -> None:
    assert [service.name for service in services(guest(**{name: "/usr/bin/own"}))] == [name]


@pytest.mark.parametrize(
    "name",
    [
        "getty@tty1",
        "cloud-init-local",
        "accounts-daemon",
        "dbus-org.freedesktop.timesync1",
        "vmware-tools-thinprint",
    ],
)
def test_system_services_are_not_run(name: str) -> None:
    assert services(guest(**{name: "/usr/bin/own"})) == []
