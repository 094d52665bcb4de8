"""The units and what systemd says about them; they name only what the package brings."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from connector.appliance.configuration import from_yaml
from connector.control import configuration
from connector.settings import CREDENTIAL

ROOT: Final = Path(__file__).parents[2]
UNITS: Final = ROOT / "deploy" / "systemd"
SERVICES: Final = ("connector-appliance", "connector-control", "connector-instance")
EXPOSURE: Final = "20"  # tenths: what `systemd-analyze security` must not exceed


def needed(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"needs {program} (Debian: {package})")
    return path


def settings(service: str) -> dict[str, list[str]]:
    """The settings of a unit; one that is given several times has several values."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"{service}.service").read_text().replace("\\\n", " ").splitlines():
        if re.match(r"[A-Z]\w*=", line):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("service", ["connector-appliance", "connector-control"])
def test_a_service_is_hardly_exposed(service: str) -> None:
    analyze = needed("systemd-analyze", "systemd")
    unit = str(UNITS / f"{service}.service")
    words = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_systemd_finds_no_fault(service: str, tmp_path: Path) -> None:
    """In a root of its own, where the interpreter of the package is."""
    analyze = needed("systemd-analyze", "systemd")
    unit = tmp_path / f"{service}.service"
    text = (UNITS / unit.name).read_text()
    unit.write_text(text.replace("/usr/lib/connector/bin/python3", "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    own = [line for line in done.stderr.splitlines() if "connector" in line]
    assert (done.returncode, own) == (0, [])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_watched_and_has_time_to_end(service: str) -> None:
    unit = settings(service)
    assert unit["Type"] == ["notify"] and unit["WatchdogSec"] and unit["TimeoutStopSec"]
    assert unit["NoNewPrivileges"] == ["yes"] and unit["ProtectSystem"] == ["strict"]
    assert unit["CapabilityBoundingSet"] == [""] and unit["LimitCORE"] == ["0"]
    (line,) = unit["ExecStart"]
    assert line.startswith(f"/usr/lib/connector/bin/python3 -I -m {service.replace('-', '.')} ")


@pytest.mark.parametrize("service", ["connector-appliance", "connector-control"])
def test_a_service_has_a_user_of_its_own(service: str) -> None:
    users = re.findall(r"^u (\S+) ", (UNITS / "connector.sysusers").read_text(), re.MULTILINE)
    assert settings(service)["User"] == [service]
    assert service in users


def test_the_state_of_the_examples_is_where_the_units_may_write() -> None:
    example = from_yaml(ROOT / "config" / "appliance.yaml")
    assert str(example.state) == f"/var/lib/{settings('connector-appliance')['StateDirectory'][0]}"
    plane = configuration.load(ROOT / "config" / "control-plane.yaml")
    assert str(plane.state) == f"/var/lib/{settings('connector-control')['StateDirectory'][0].split()[0]}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_allows_metrics_to_be_served(service: str) -> None:
    """They need a socket of IP, and /proc of the process itself."""
    unit = settings(service)
    assert "AF_INET" in unit["RestrictAddressFamilies"][0].split()
    refused = {"PrivateNetwork", "IPAddressDeny", "SocketBindDeny", "IPAddressAllow"}
    assert not refused & unit.keys()
    assert unit.get("ProcSubset", ["all"]) in (["pid"], ["all"])


def test_the_password_is_loaded_under_the_name_that_the_product_looks_for() -> None:
    assert CREDENTIAL in settings("connector-appliance")["LoadCredential"]


@pytest.mark.parametrize(
    "script",
    [
        *(f"deploy/debian/{name}" for name in ("postinst", "prerm", "postrm", "launcher")),
        "tests/deploy/night.sh",
    ],
)
def test_scripts_are_clean(script: str) -> None:
    file = str(ROOT / script)
    subprocess.run(["sh", "-n", file], check=True)
    subprocess.run([needed("shellcheck", "shellcheck"), "--shell=sh", file], check=True)


def test_nothing_of_the_old_version_runs_while_the_package_is_replaced() -> None:
    """A backup that runs has loaded one half of the modules; its timer would start one. What ran starts again."""
    script = (ROOT / "deploy" / "debian" / "prerm").read_text()
    stopped = (re.search(r'^units="(.*?)"', script, re.MULTILINE | re.DOTALL) or [""])[1].split()
    shipped = [path.name for path in UNITS.iterdir() if path.suffix in (".service", ".timer")]
    assert sorted(stopped) == sorted(shipped)
    assert stopped.index("connector-control-backup.timer") < stopped.index("connector-control-backup.service")


def test_the_trial_of_a_backup_is_not_in_memory() -> None:
    unit = settings("connector-control-backup")
    assert unit["PrivateTmp"] == ["yes"] and "TMPDIR=/var/tmp" in unit["Environment"]
