"""The Debian package: built twice, and installed, used and removed in a Debian 12 that has no network.

WHEELS: a directory that keeps the downloads. PACKAGE_CACHE: one that keeps the unpacked Debian.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from connector import __version__
from deploy import environment
from tests.deploy.test_units import needed
from tests.deploy.test_wheel import ROOT, built, copied, digest

pytestmark = [pytest.mark.package, pytest.mark.timeout(3600), pytest.mark.xdist_group("package")]
#: What the package depends on, in the smallest Debian.
PACKAGES: Final = ("python3", "systemd", "libstdc++6")
#: What a computer without the package has of the network: its own address.
ALONE: Final = 'ip link set lo up; mount -t proc proc "$0/proc"; exec chroot "$0" "$@"'


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The downloads, which are the same for every build."""
    needed("dpkg-deb", "dpkg")
    place = Path(os.environ.get("WHEELS") or tmp_path_factory.mktemp("downloads") / "wheels")
    if not place.exists():
        environment.download(ROOT, place)
    return place


@pytest.fixture(scope="module")
def package(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copied(tmp_path_factory.mktemp("one") / "source", 0o022)
    return built("deploy.deb", root, 0o022, "--wheels", str(wheels.resolve()))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the smallest Debian 12 that has what the package depends on."""
    needed("mmdebstrap", "mmdebstrap")
    if os.geteuid():
        pytest.skip("needs root: mmdebstrap and chroot")
    alone = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(alone, check=False, capture_output=True).returncode:
        pytest.skip("needs namespaces of its own: `unshare --net --mount --pid` is refused here")
    kept = os.environ.get("PACKAGE_CACHE")
    root = Path(kept) / "debian" if kept else tmp_path_factory.mktemp("clean") / "debian"
    if not root.exists():
        words = ["--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(root)]
        subprocess.run(["mmdebstrap", *words], check=True)
    return root


@pytest.fixture(scope="module")
def debian(clean: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a Debian 12 with the package."""
    root = another(clean, tmp_path_factory.mktemp("debian") / "root", package)
    assert "Creating user 'connector-appliance'" in inside(root, "dpkg", "--install", "/connector.deb")
    yield root
    shutil.rmtree(root)


def another(clean: Path, root: Path, package: Path) -> Path:
    """A copy of that Debian, with the package's file."""
    subprocess.run(["cp", "-a", str(clean), str(root)], check=True)
    shutil.copy(package, root / "connector.deb")
    return root


def inside(root: Path, *command: str, code: int = 0) -> str:
    """What a command says in that Debian, with no network but its own address; all its processes end with it."""
    alone = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ALONE, str(root)]
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*alone, *command], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_two_builds_are_the_same_bytes(package: Path, wheels: Path, tmp_path: Path) -> None:
    other = copied(tmp_path / "somewhere else" / "b", 0o077)
    more = ("--wheels", str(wheels.resolve()))
    again = built("deploy.deb", other, 0o077, *more, today="2031-05-05 05:05:05")
    assert (again.name, digest(again)) == (package.name, digest(package))


def test_everything_belongs_to_root_and_nothing_says_who_built_it(package: Path, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True
    ).stdout
    lines = listed.splitlines()
    assert {line.split()[1] for line in lines} == {"root/root"}
    assert {line.split()[0] for line in lines} == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}
    assert not re.search(r"__pycache__|\.pyc$|/RECORD$|direct_url", listed, re.MULTILINE)
    assert not re.search(r"site-packages/(pytest|mypy|tests|tools|deploy|pip|setuptools)/", listed)
    subprocess.run(["dpkg-deb", "--extract", str(package), str(tmp_path)], check=True)
    who = subprocess.run(
        ["grep", "-rlF", "-e", str(ROOT), "-e", "/pip-install-", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert who.stdout == ""


def test_every_library_has_its_licence(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", str(package), str(tmp_path)], check=True)
    text = (tmp_path / "usr/share/doc/connector/copyright").read_text()
    names = {
        path.name.split("-")[0].lower()
        for path in tmp_path.glob("usr/lib/connector/lib/*/site-packages/*.dist-info")
    }
    found = re.findall(r"^Files: (usr/lib/\S+)\*$", text, re.MULTILINE)
    assert names == {name.rpartition("/")[2].lower().replace("-", "_").replace(".", "_") for name in found}
    assert "License: unknown" not in text
    for file in re.findall(r"^ (/usr/lib/\S+)$", text, re.MULTILINE):
        assert (tmp_path / file[1:]).is_file()


def test_the_bill_of_materials_is_valid_and_names_every_library_with_the_hash_of_its_file(
    package: Path, wheels: Path, tmp_path: Path
) -> None:
    subprocess.run(["dpkg-deb", "--extract", str(package), str(tmp_path)], check=True)
    text = (tmp_path / "usr/share/doc/connector/connector.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    installed = {
        path.name.split("-")[0].lower().replace("_", "-").replace(".", "-")
        for path in tmp_path.glob("usr/lib/connector/lib/*/site-packages/*.dist-info")
    }
    components = json.loads(text)["components"]
    named = {entry["purl"].removeprefix("pkg:pypi/").partition("@")[0] for entry in components}
    assert named == installed - {"agentless-connector"}
    assert {entry["hashes"][0]["content"] for entry in components} == {
        digest(file) for file in wheels.iterdir()
    }
    assert all(entry["licenses"] for entry in components)


def test_the_command_line_works(debian: Path) -> None:
    assert inside(debian, "connector", "--version") == f"connector, version {__version__}\n"
    assert "connector demo" in inside(debian, "connector")


def test_only_what_the_package_brings_is_imported(debian: Path) -> None:
    """Neither from the current directory nor from where a variable says."""
    (debian / "tmp" / "click.py").write_text("raise SystemExit('not this one')\n")
    script = "cd /tmp; PYTHONPATH=/tmp PYTHONSTARTUP=/tmp/click.py connector control run --help"
    assert "--state" in inside(debian, "sh", "-c", script)


def test_every_library_can_be_loaded(debian: Path) -> None:
    """None needs a library of the system that the package does not ask for."""
    script = "find /usr/lib/connector -name '*.so*' -type f | xargs ldd 2>&1 | grep -E 'not found' || true"
    assert inside(debian, "sh", "-c", script) == ""


def test_init_writes_a_configuration(debian: Path) -> None:
    """And the units find the state where it says."""
    print_ = "00" * 32
    words = [
        *("connector", "init", "/etc/connector/appliance.yaml", "--offline", "--name", "site-a"),
        *("--vcenter", "https://vcenter.example.com", "--thumbprint", ":".join(["AA"] * 32)),
        *("--user", "connector@vsphere.local", "--password-file", ""),
        *("--control", "https://control.example.com:8443", "--control-thumbprint", print_),
        *("--activation-code-file", "/run/credentials/connector-appliance.service/activation-code"),
        *("--state", "/var/lib/connector/appliance"),
    ]
    assert "/etc/connector/appliance.yaml is written" in inside(debian, *words)
    inside(debian, "systemd-analyze", "verify", "--man=no", "connector-appliance.service")
    (debian / "etc/connector/appliance.yaml").unlink()


def test_users_and_directories(debian: Path) -> None:
    inside(debian, "systemd-sysusers", "--dry-run", "connector.conf")
    inside(debian, "systemd-tmpfiles", "--create", "connector.conf")
    users = inside(debian, "getent", "passwd", "connector-appliance", "connector-control")
    assert users.count("/usr/sbin/nologin") == 2
    assert (
        inside(debian, "stat", "-c", "%a %U", "/etc/credstore", "/var/lib/connector")
        == "700 root\n755 root\n"
    )


def test_a_control_plane_runs_as_its_user(debian: Path) -> None:
    script = """
        mkdir -m 700 /var/lib/connector/control /var/lib/connector/images
        chown connector-control: /var/lib/connector/*
        set -- runuser -u connector-control --
        mkfifo /tmp/said
        "$@" /usr/lib/connector/bin/python3 -I -m connector.control --state /var/lib/connector/control \\
            --images /var/lib/connector/images > /tmp/said & process=$!
        head -n 1 /tmp/said
        "$@" connector control key create --state /var/lib/connector/control --name me --json
        kill $process
    """
    said = inside(debian, "bash", "-c", script)
    assert '"url": "https://127.0.0.1:' in said
    assert '"access_key_secret"' in said


def test_the_demo_migrates_a_machine(debian: Path) -> None:
    """No compiler, no network, a user who may write nowhere but in /tmp."""
    demo = "cd /tmp; exec connector demo --vms 1 --guest-rate 100K --reader nfc"
    said = inside(debian, "runuser", "-u", "connector-appliance", "--", "sh", "-c", demo)
    assert "every image equals its powered-off source, byte for byte; no snapshot is left" in said


def test_removal_leaves_what_the_page_says(debian: Path) -> None:
    """The last test with that Debian: afterwards the package is gone."""
    (debian / "var/lib/connector/appliance").mkdir(exist_ok=True)
    (debian / "var/lib/connector/appliance/evidence-key").write_text("key")
    (debian / "etc/credstore/vcenter-password").write_text("password")
    inside(debian, "dpkg", "--remove", "connector")
    assert not (debian / "usr/lib/connector").exists() and not (debian / "usr/bin/connector").exists()
    said = inside(debian, "dpkg", "--purge", "connector")
    assert (
        "left in place: /var/lib/connector; when nobody needs it any more: rm -r /var/lib/connector" in said
    )
    assert "left in place: /etc/credstore/vcenter-password" in said
    assert (debian / "var/lib/connector/appliance/evidence-key").read_text() == "key"
    assert not (debian / "etc/connector").exists()
    assert "connector-appliance" in inside(debian, "getent", "passwd", "connector-appliance")


SAID: Final = """\
enabled: disabled
unconfigured: refused
control plane: serves
its user: connector-control
init: the appliance serves https://127.0.0.1:8443 with 1 machines of https://127.0.0.1:8989
secrets: 600 root
appliance: serves https://127.0.0.1:8443 with 1 machines of https://127.0.0.1:8989
its user: connector-appliance
watched: 5min
 A10    ok
 A11    ok
 A3     ok
 A4     ok
 A8     ok
stopped: success
sealed: active
hung: started again, cores 0
upgraded: started again
instance: inactive
purged: inactive 2
enabled links: 0
"""
UNIT: Final = """[Service]
Type=oneshot
ExecStart=/bin/sh -x /night.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/log
StandardError=file:/log
TimeoutStartSec=1800
"""


def test_units_start_as_their_users_and_come_back_after_an_upgrade(
    clean: Path, package: Path, tmp_path: Path
) -> None:
    """Everything that docs/install.md does, in a Debian that systemd has booted; it has no network but its own address."""
    nspawn = needed("systemd-nspawn", "systemd-container")
    root = another(clean, tmp_path / "root", package)
    shutil.copy(Path(__file__).with_name("night.sh"), root / "night.sh")
    (root / "etc/systemd/system/night.service").write_text(UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "night.service").symlink_to("../night.service")
    words = [
        nspawn,
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--private-network",
        "-D",
        str(root),
        "--boot",
    ]
    booted = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    log = (root / "log").read_text() if (root / "log").exists() else booted.stdout + booted.stderr
    assert (root / "said").read_text() == SAID, log
