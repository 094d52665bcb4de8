"""`connector batch` against a control plane and appliances that are processes: a whole wave, with kills in between."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector import child
from connector.batch import quantities
from connector.cli.main import main
from connector.clients.agents import ControlClient, enrol
from connector.control.domain.access import Role
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.transfer.evidence import Signer
from tests.cli.conftest import bare_environment, run
from tests.control.conftest import machine, quick_folder
from tests.waiting import eventually

__all__ = ["bare_environment", "quick_folder", "run"]


#: Seconds that an appliance may be silent. Each kill costs them; on a busy machine one that lives is silent for some.
GRACE = 20.0


class Site:
    """A control plane process with a cloud in a directory, and at most one appliance process."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        database = f"sqlite:///{root / 'control.sqlite'}"
        self.plane = child.start(
            "tests.control.fake_replica",
            [str(root / "state"), str(root / "cloud"), database, str(GRACE)],
            name="plane",
            log=root / "plane.log",
        )
        self.ready = {key: str(value) for key, value in self.plane.ready.items()}
        store = Store(database)
        key, secret = AccessKeys(store.keys, Vault(root / "state" / "vault-key")).create(
            "wave", Role.OPERATOR
        )
        store.close()
        for name, value in {
            "CONNECTOR_CONTROL_URL": self.ready["url"],
            "CONNECTOR_CONTROL_THUMBPRINT": self.ready["thumbprint"],
            "CONNECTOR_ACCESS_KEY_ID": key.id,
            "CONNECTOR_ACCESS_KEY_SECRET": secret,
        }.items():
            monkeypatch.setenv(name, value)
        self.member: Any = None
        self.appliance: child.Child | None = None

    def machines(self, *names: str) -> None:
        """The whole vCenter, as its appliance reports it."""
        if self.member is None:
            code = Path(self.ready["activation_code_file"]).read_text().strip()
            self.member = enrol(
                self.ready["url"],
                self.ready["thumbprint"],
                code,
                name="a1",
                vcenter="https://vc.example",
                version="1",
                evidence_key=Signer.load(self.root / "evidence-key.pem").public_pem,
            )
        found = [
            replace(machine(f"vm-{number}", name, 1), host=f"host-{number % 8}", path=f"/DC0/vm/{name}")
            for number, name in enumerate(names)
        ]
        ControlClient(self.ready["url"], self.ready["thumbprint"], self.member).put_sources(found, {})

    def read(self, pause: float = 0.02) -> None:
        """An appliance begins to work."""
        settings = {
            "url": self.ready["url"], "thumbprint": self.ready["thumbprint"], "pause": str(pause),
            "appliance_id": self.member.appliance_id, "secret": self.member.secret, "log": str(self.root / "appliance.log"),
            "access_key_file": self.ready["access_key_file"], "vcenter": "https://vc.example",
            "key": str(self.root / "evidence-key.pem"), "cloud": str(self.root / "cloud"),
        }  # fmt: skip
        self.appliance = child.start(
            "tests.batch.fake_appliance", [], name="appliance", configuration=settings
        )

    @property
    def log(self) -> list[dict[str, Any]]:
        """What appliances have read, in the order of its end."""
        file = self.root / "appliance.log"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def kill(self) -> None:
        assert self.appliance is not None
        os.kill(self.appliance.pid, signal.SIGKILL)
        self.appliance.stop()

    def close(self) -> None:
        if self.appliance is not None:
            self.appliance.stop()
        os.kill(self.plane.pid, signal.SIGKILL)
        self.plane.stop()


@pytest.fixture
def site(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    found = Site(quick_folder, monkeypatch)
    yield found
    found.close()


def manifest(window: tuple[float, float], keep: int = 3, start: str = "now", hooks: str = "") -> str:
    begin, end = map(quantities.written, window)
    return f"""apiVersion: connector/v1
kind: MigrationWave
metadata: {{name: saturday}}
defaults:
  target: {{region: cn-hangzhou, imageName: "{{wave}}-{{machine}}"}}
  incremental: {{every: 6h, keep: 3}}
groups:
  - {{name: front, after: [data]}}
  - {{name: data}}
machines:
  - selector: name:db-*
    group: data
  - selector: name:web-*
    group: front
    incremental: {{every: 6h, keep: {keep}}}
  - selector: name:tool-*
schedule: {{start: {start}}}
cutover:
  window: {{start: {begin}, end: {end}}}
{hooks}"""


@pytest.mark.parametrize("size", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_wave_from_its_plan_to_its_report(
    site: Site, tmp_path: Path, run: Callable[..., Any], size: int
) -> None:
    names = [
        f"{kind}-{n:02}" for kind, part in (("db", 5), ("web", 2), ("tool", 10)) for n in range(size // part)
    ]
    names += [f"web-x{n}" for n in range(size - len(names))]
    site.machines(*names)
    site.read(0.3)
    later = (time.time() + 86400, time.time() + 90000)
    file, journal = tmp_path / "wave.yaml", tmp_path / "hooks"
    hooks = f"""hooks:
  - {{name: note, phase: before-cutover, command: ["sh", "-c", "cat >> {journal}; echo >> {journal}"]}}
  - {{name: after, phase: after-cutover, command: ["sh", "-c", "cat >> {journal}; echo >> {journal}"]}}
"""
    file.write_text(manifest(later, hooks=hooks))

    planned = run("batch", "plan", str(file), "--json", "--verbose").json
    assert planned["counts"] == {"create": size, "change": 0, "leave": 0, "not touched": 0}
    assert planned["steps"][0]["calls"][0]["action"] == "CreateReplicationJob"
    assert planned["estimate"]["machines"] == size
    done = run("batch", "apply", str(file), "--json").json
    assert (len(done["created"]), len(done["started"]), done["failures"]) == (size, size, [])
    for share in (0.2, 0.6):
        eventually(lambda share=share: len(site.log) >= size * share, "passes are read")
        site.kill()
        site.read(0.1)
    run("batch", "status", str(file), "--watch", "--every", "0.3")
    shown = run("batch", "status", str(file), "--json").json
    assert shown["counts"] == {"Waiting": size}
    assert "no change" in run("batch", "apply", str(file)).out

    file.write_text(manifest(later, keep=4, hooks=hooks))
    edited = run("batch", "plan", str(file), "--json").json
    front = sum(name.startswith("web") for name in names)
    assert edited["counts"] == {"create": 0, "change": front, "leave": size - front, "not touched": 0}
    assert {d["what"] for s in edited["steps"] for d in s["differences"]} == {"MaxNumberOfImageToKeep"}
    assert len(run("batch", "apply", str(file), "--json").json["changed"]) == front
    assert run("batch", "plan", str(file), "--json").json["counts"]["change"] == 0

    early = run("batch", "cutover", str(file), code=11)
    assert "the cutover window opens in" in early.err
    assert run("batch", "status", str(file), "--json").json["counts"] == {"Waiting": size}
    file.write_text(manifest((time.time() - 60, time.time() + 3600), keep=4, hooks=hooks))
    cut = run("batch", "cutover", str(file), "--every", "0.3", "--json").json
    assert cut == {
        "finished": ["machines without a group", "group data", "group front"],
        "failed": [],
        "not_begun": [],
    }
    order = [entry["done"] for entry in site.log if entry["final"]]
    assert max(order.index(n) for n in names if n.startswith("db")) < min(
        order.index(n) for n in names if n.startswith("web")
    )
    events = [json.loads(line) for line in journal.read_text().splitlines() if line]
    assert [(event["what"], event["group"]) for event in events] == [
        ("before-cutover", ""), ("before-cutover", "data"), ("after-cutover", ""), ("after-cutover", "data"),
        ("before-cutover", "front"), ("after-cutover", "front"),
    ]  # fmt: skip
    assert run("batch", "cutover", str(file), "--json").json["failed"] == []  # nothing is left to do

    html, table = tmp_path / "w.html", tmp_path / "w.csv"
    reported = run("batch", "report", str(file), "--html", str(html), "--csv", str(table), "--json").json
    assert reported["totals"]["finished"] == size
    assert reported["totals"]["read"] == size * 2 * (6 << 20)
    assert len(list(csv.DictReader(io.StringIO(table.read_text())))) == size
    page = html.read_text()
    assert all(name in page for name in names)
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_validate_tells_every_problem_with_its_line(tmp_path: Path, run: Callable[..., Any]) -> None:
    file = tmp_path / "wave.yaml"
    file.write_text(
        manifest((1.9e9, 1.9e9 + 60))
        .replace("keep: 3}\ngroups", "kep: 3}\ngroups")
        .replace("[data]", "[dat]")
    )
    wrong = run("batch", "validate", str(file), code=2)
    assert wrong.err.splitlines() == [
        f"{file}:6:16: defaults.incremental: keep is missing; add it",
        f"{file}:6:28: defaults.incremental: unknown key 'kep'; did you mean keep?",
    ]
    as_json = run("batch", "validate", str(file), "--json", code=2).lines
    assert (as_json[1]["line"], as_json[1]["column"], as_json[1]["remedy"]) == (6, 28, "did you mean keep?")
    file.write_text(manifest((1e9, 1e9 + 60)))
    over = run("batch", "validate", str(file), code=2).err
    assert over.startswith(f"{file}:19:46: cutover.window: the cutover window is over; move the window")
    assert "no such file" in run("batch", "validate", str(tmp_path / "none.yaml"), code=2).err.lower()
    assert main(["batch", "validate", str(file)]) == 2
