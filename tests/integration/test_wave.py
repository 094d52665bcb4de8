"""A wave through everything that is real: vCenter, appliance, VDDK, instances, images; and two kills of the appliance."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from connector import child
from connector.batch import quantities
from connector.control.domain.access import Role
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import Store
from tests.cli.conftest import bare_environment, run
from tests.integration.house import MIB, USER, House, Shape, is_off
from tests.integration.witness import digest
from tests.waiting import PATIENCE, eventually

__all__ = ["bare_environment", "run"]

DISKS = ((12 * MIB, 8 * MIB), (3 * MIB + 512, MIB))


class Site:
    """A control plane and one appliance at a time, on a vCenter of the test's own."""

    def __init__(self, house: House, unwind: ExitStack) -> None:
        self.house, self._unwind = house, unwind
        self.state = house.root / "control"
        self.control = unwind.enter_context(
            child.start(
                "connector.control",
                ["--state", str(self.state), "--images", str(house.out), "--grace", "15", "--exit-with-stdin"],
                name="control plane", log=house.root / "control.log", timeout=PATIENCE,
            )
        )  # fmt: skip
        self.ready = {key: str(value) for key, value in self.control.ready.items()}
        self.appliance = self.start()

    def variables(self) -> dict[str, str]:
        store = Store(f"sqlite:///{self.state / 'control.sqlite'}")
        key, secret = AccessKeys(store.keys, Vault(self.state / "vault-key")).create("wave", Role.OPERATOR)
        store.close()
        return {
            "CONNECTOR_CONTROL_URL": self.ready["url"],
            "CONNECTOR_CONTROL_THUMBPRINT": self.ready["thumbprint"],
            "CONNECTOR_ACCESS_KEY_ID": key.id,
            "CONNECTOR_ACCESS_KEY_SECRET": secret,
        }

    def start(self) -> child.Child:
        house = self.house
        configuration: dict[str, object] = {
            "name": "a1",
            "vcenter": {
                "url": house.server.url.removesuffix("/sdk"), "user": USER, "password": house.password,
                "thumbprint": house.server.thumbprint, "authority": None,
            },
            "control": {
                "url": self.ready["url"], "thumbprint": self.ready["thumbprint"],
                "activation_code_file": self.ready["activation_code_file"],
            },
            "vddk": str(house.vddk), "state": str(house.root / "appliance"), "passes": 2, "transports": "nbdssl",
        }  # fmt: skip
        started = child.start(
            "connector.appliance", ["--exit-with-stdin"], name="appliance", configuration=configuration,
            log=house.root / "appliance.log", timeout=PATIENCE,
        )  # fmt: skip
        self._unwind.enter_context(started)
        return started

    def kill_appliance(self) -> None:
        os.kill(self.appliance.pid, signal.SIGKILL)
        self.appliance.stop()
        self.appliance = self.start()


@pytest.fixture
def site(make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    house = make_house(Shape("db/01", DISKS), Shape("web-01", DISKS))
    house.reader(bandwidth=5 * MIB)
    with ExitStack() as unwind:
        found = Site(house, unwind)
        for name, value in found.variables().items():
            monkeypatch.setenv(name, value)
        yield found


def manifest(begin: float, end: float) -> str:
    return f"""apiVersion: connector/v1
kind: MigrationWave
metadata: {{name: night}}
defaults:
  target: {{region: local}}
  incremental: {{every: 24h, keep: 2}}
groups: [{{name: db}}, {{name: web, after: [db]}}]
machines:
  - {{name: db%2f01, group: db, disks: {{exclude: ["Hard disk 2"]}}}}
  - {{selector: "name:web-* power:on cluster:?*", group: web}}
schedule: {{start: now}}
cutover: {{window: {{start: {quantities.written(begin)}, end: {quantities.written(end)}}}}}
"""


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs the package qemu-utils")
def test_a_wave_survives_two_kills_of_the_appliance(
    site: Site, tmp_path: Path, run: Callable[..., Any]
) -> None:
    house, file = site.house, tmp_path / "night.yaml"
    file.write_text(manifest(time.time() + 3600, time.time() + 7200))
    eventually(lambda: run("batch", "plan", str(file), "--json", code=None).code == 0, "machines are known")
    assert len(run("batch", "apply", str(file), "--json").json["started"]) == 2

    def states() -> dict[str, Any]:
        return dict(run("batch", "status", str(file), "--json", code=None).json["counts"])

    for share in (10, 50):  # in the middle of the first readings, and again
        eventually(
            lambda share=share: any(r["progress"] > share for r in _rows(run, file)), f"{share}% are read"
        )
        site.kill_appliance()
    house.reader()
    run("batch", "status", str(file), "--watch", "--every", "0.3")
    assert states() == {"Waiting": 2}
    assert "no change" in run("batch", "apply", str(file)).out
    assert "opens in" in run("batch", "cutover", str(file), code=11).err
    assert not any(is_off(house.machine(name)) for name in ("db/01", "web-01"))
    for name in ("db/01", "web-01"):
        house.write(name)
    file.write_text(manifest(time.time() - 60, time.time() + 3600))
    cut = run("batch", "cutover", str(file), "--every", "0.3", "--json").json
    assert cut["finished"] == ["group db", "group web"]
    assert all(is_off(house.machine(name)) for name in ("db/01", "web-01"))
    assert image(house, "web-01") == house.digests("web-01")
    first = min(house.digests("db/01"))
    assert image(house, "db-01") == {first: house.digests("db/01")[first]}  # the other disk stayed behind
    assert not house.snapshots()
    report = run("batch", "report", str(file), "--json").json
    assert report["totals"]["finished"] == 2
    assert report["totals"]["read"] > 0
    for line in report["machines"]:
        assert line["downtime"] >= 0, line
        assert line["digests"], line


def image(house: House, name: str) -> dict[int, str]:
    """BLAKE3 of each disk of a qcow2 image."""
    found = {}
    for file in (house.out / "images" / name).glob("*.qcow2"):
        raw = house.root / f"{name}-{file.stem}.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", file, raw], check=True)
        found[int(file.stem)] = digest(raw.read_bytes())
    return found


def _rows(run: Callable[..., Any], file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run("batch", "status", str(file), "--json", code=None).json["machines"]
    return rows
