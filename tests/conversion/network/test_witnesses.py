"""The programs whose files are changed read them as meant. Debian: ifupdown, netplan.io, network-manager, udev."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conversion.network import test_formats as formats
from tests.conversion.network.guest import ONE, TWO, after, guest, planned


def needed(program: str, package: str) -> str:
    path = shutil.which(program) or shutil.which(program, path="/sbin:/usr/sbin")
    if path is None:
        pytest.skip(f"needs {program} ({package})")
    return path


def written(case: str, mode: str, directory: Path) -> Path:
    """The converted guest as a tree of files."""
    path, text, _, _ = formats.TABLE[case]
    source = guest({path: text})
    result = after(source, planned(source, mode, cards=TWO if case == "ubuntu" else ONE).plan)
    for name, content in result.files.items():
        file = directory / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o600)
    return directory


def answer(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ifupdown_asks_dhcp(tmp_path: Path) -> None:
    ifquery = needed("ifquery", "ifupdown")
    root = written("debian", "dhcp", tmp_path)
    file = tmp_path / "interfaces"
    file.write_text(
        (root / "etc/network/interfaces").read_text().replace("source /etc", f"source {root}/etc")
    )
    options = answer(ifquery, "-i", str(file), "ens192")
    assert "address" not in options and "gateway" not in options
    assert "/usr/local/bin/firewall up" in options


@pytest.mark.parametrize("case", ["ubuntu", "cloud-init"])
def test_netplan_asks_dhcp(case: str, tmp_path: Path) -> None:
    netplan = needed("netplan", "netplan.io")
    root = written(case, "dhcp", tmp_path)
    answer(netplan, "generate", "--root-dir", str(root))
    text = (root / "run/systemd/network/10-netplan-ens192.network").read_text()
    assert "Name=ens192" in text and "DHCP=ipv4" in text
    assert "Address=" not in text and "Gateway=" not in text and "MACAddress" not in text


def test_netplan_keeps_addresses_by_name(tmp_path: Path) -> None:
    netplan = needed("netplan", "netplan.io")
    root = written("cloud-init", "keep", tmp_path)
    answer(netplan, "generate", "--root-dir", str(root))
    text = (root / "run/systemd/network/10-netplan-ens192.network").read_text()
    assert "Name=ens192" in text and "Address=192.0.2.10/24" in text and "Gateway=192.0.2.1" in text


@pytest.mark.parametrize("case", ["rhel 9", "keyfile with a MAC"])
@pytest.mark.parametrize("mode", ["keep", "dhcp"])
def test_network_manager_reads_the_keyfile(case: str, mode: str, tmp_path: Path) -> None:
    nmcli = needed("nmcli", "network-manager")
    root = written(case, mode, tmp_path)
    keyfile = (root / formats.CONNECTION.lstrip("/")).read_text()
    done = subprocess.run(
        [nmcli, "--offline", "connection", "modify", "connection.autoconnect", "yes"],
        input=keyfile, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "interface-name=ens192" in done.stdout and "mac-address" not in done.stdout
    assert ("method=manual" in done.stdout, "192.0.2.10" in done.stdout) == ((mode == "keep"),) * 2
