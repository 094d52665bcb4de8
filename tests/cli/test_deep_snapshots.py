"""The snapshots of deep checks: those of a living check stay, whenever it began, and the first disk is the first to boot."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from connector.cli import deep_snapshots
from connector.model import Machine, MachineDisk
from connector.sources.vddk import VddkReader
from connector.vcenter.client import Leftover, Snapshot, VCenter
from connector.vcenter.naming import Ticket
from simulator.vixdisklib import has_compiler, install
from tests.cli.conftest import Connector
from tests.vcenter.imaginary import PASSWORD, USER, World, world

needed = pytest.mark.skipif(not has_compiler(), reason="the stand-in VDDK needs a C compiler")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with world() as made:
        yield made


class Racing(VCenter):
    """Another deep check of this user begins in the moment before our one looks at the machine's snapshots."""

    others: ExitStack
    place: World

    def _another_begins(self, machine: str) -> None:
        ticket = Ticket(self.owner, self.others.enter_context(deep_snapshots.alive()))
        self.place.estate.snapshots.create(machine, ticket.name, ticket.token)

    def leftovers(self, machine: str | None = None) -> tuple[Leftover, ...]:
        self._another_begins(machine or self.place.vm)
        return super().leftovers(machine)

    def clear_leftovers(self, *, machine: str | None = None, **options: object) -> tuple[Leftover, ...]:
        self._another_begins(machine or self.place.vm)
        return super().clear_leftovers(machine=machine, **options)  # type: ignore[arg-type]


def test_a_check_that_begins_meanwhile_keeps_its_snapshot(place: World) -> None:
    owner, ledger = deep_snapshots.owner(), deep_snapshots.FileLedger()
    dead = Ticket(owner, "look-dead")
    place.estate.snapshots.create(place.vm, dead.name, dead.token)
    with ExitStack() as others, Racing(place.settings(), owner=owner, ledger=ledger) as vcenter:
        vcenter.others, vcenter.place = others, place
        with deep_snapshots.held(vcenter, vcenter.find(place.vm)):
            names = place.snapshots()
            assert len(names) == 2 and dead.name not in names
        assert len(place.snapshots()) == 1


def test_the_first_disk_is_the_one_that_the_firmware_starts_from(place: World) -> None:
    with VCenter(
        place.settings(), owner=deep_snapshots.owner(), ledger=deep_snapshots.FileLedger()
    ) as vcenter:
        machine = vcenter.find(place.vm)
    by_key = machine.disks
    starts: tuple[MachineDisk, ...] = tuple(reversed(by_key))
    other_order: Machine = replace(machine, disks=starts)
    snapshot = Snapshot(machine.moref, "snapshot-1", "t", by_key)
    assert deep_snapshots.first_disk(snapshot, other_order).key == starts[0].key


@needed
def test_the_lock_of_a_killed_check_is_undone_with_the_library_of_the_configuration(
    place: World, run: Connector, tmp_path: Path
) -> None:
    install(tmp_path / "vddk", place.estate.export.root)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    killed = Ticket(deep_snapshots.owner(), "look-dead")
    with VCenter(place.settings(), owner=killed.owner, ledger=deep_snapshots.FileLedger()) as vcenter:
        base = vcenter.disk_access(place.vm, None, vcenter.find(place.vm).disks[0])
        shot = place.estate.snapshots.create(place.vm, killed.name, killed.token)
        source = VddkReader(tmp_path / "vddk").open(replace(base, snapshot=shot))
        os.kill(source._disk._worker.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        source.close()
        assert vcenter.locked() == (place.vm,)
    section = {
        "url": place.server.url,
        "user": USER,
        "thumbprint": place.server.thumbprint,
        "password_file": str(tmp_path / "password"),
    }
    document = {
        "vcenter": section,
        "control": {"url": "https://127.0.0.1:1", "thumbprint": "00" * 32},
        "vddk": str(tmp_path / "vddk"),
        "state": str(tmp_path / "state"),
    }
    (tmp_path / "appliance.yaml").write_text(json.dumps(document))
    run("doctor", "--config", str(tmp_path / "appliance.yaml"), "--only", "looks", "--repair")
    assert place.snapshots() == []
    assert not place.estate.export.prepared(place.vm)
