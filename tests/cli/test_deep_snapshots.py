"""The snapshots of deep checks: those of a living check stay, whenever it began, and the first disk is the first to boot."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from tests.vcenter.imaginary import PASSWORD, USER, World, change_vm, world

needed = pytest.mark.skipif(not has_compiler(), reason="the stand-in VDDK needs a C compiler")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with world() as made:
        yield made


def killed(machine: str) -> Ticket:
    """What a killed deep check leaves: a record that nobody locks. The caller takes the snapshot."""
    ticket = Ticket(deep_snapshots.owner(), "look-dead")
    deep_snapshots.directory().mkdir(parents=True, exist_ok=True)
    (deep_snapshots.directory() / ticket.pass_id).write_text(f"{machine} snapshot {ticket.token}\n")
    return ticket


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
    dead = killed(place.vm)
    place.estate.snapshots.create(place.vm, dead.name, dead.token)
    with ExitStack() as others, Racing(place.settings(), owner=owner, ledger=ledger) as vcenter:
        vcenter.others, vcenter.place = others, place
        with deep_snapshots.held(vcenter, vcenter.find(place.vm)):
            names = place.snapshots()
            assert len(names) == 2 and dead.name not in names
        assert len(place.snapshots()) == 1


@contextmanager
def checking(place: World, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VCenter]:
    """A deep check that is alive, with this state directory. What follows in the block uses another."""
    with monkeypatch.context() as here:
        here.setenv("XDG_STATE_HOME", str(state))
        ledger = deep_snapshots.FileLedger()
        with (
            VCenter(place.settings(), owner=deep_snapshots.owner(), ledger=ledger) as vcenter,
            deep_snapshots.held(vcenter, vcenter.find(place.vm)),
        ):
            here.undo()
            yield vcenter
            here.setenv("XDG_STATE_HOME", str(state))


def test_a_check_of_another_appliance_keeps_its_snapshot(
    place: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host name and user say nothing: clones have the same, and one user may have two state directories."""
    ledger = deep_snapshots.FileLedger()
    with checking(place, tmp_path / "other", monkeypatch):
        (theirs,) = place.snapshots()
        with VCenter(place.settings(), owner=deep_snapshots.owner(), ledger=ledger) as vcenter:
            assert deep_snapshots.findings(vcenter, None) == ()
            with deep_snapshots.held(vcenter, vcenter.find(place.vm)):
                assert theirs in place.snapshots() and len(place.snapshots()) == 2
        assert place.snapshots() == [theirs]
    assert place.snapshots() == []


def test_a_check_of_a_clone_keeps_its_snapshot_until_it_is_old(
    place: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone has the same id in its state directory, and maybe the same machine id, but not our records."""
    mine = deep_snapshots.owner()
    shutil.copytree(tmp_path / "connector", tmp_path / "clone" / "connector")
    with checking(place, tmp_path / "clone", monkeypatch) as theirs:
        assert theirs.owner == mine
        with VCenter(place.settings(), owner=mine, ledger=deep_snapshots.FileLedger()) as vcenter:
            assert len(vcenter.leftovers()) == 1 and deep_snapshots.dead(vcenter) == ()
            (shot,) = place.estate.inventory.vms[place.vm].snapshots
            change_vm(place.estate, place.vm, snapshots=(replace(shot, created="2020-01-01T00:00:00Z"),))
            assert len(deep_snapshots.dead(vcenter)) == 1


def test_an_owner_is_one_state_directory_on_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    machines = [tmp_path / "one", tmp_path / "two"]
    for number, file in enumerate(machines):
        file.write_text(f"{number}" * 32)
    assert deep_snapshots.owner(new=False) != deep_snapshots.owner(new=False), "nothing was recorded here"
    assert not (tmp_path / "state").exists()
    first, second = (deep_snapshots.owner(machine=file) for file in machines)
    assert first == deep_snapshots.owner(new=False, machine=machines[0]) != second
    assert deep_snapshots.owner(machine=tmp_path / "none") == deep_snapshots.owner(machine=tmp_path / "none")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert deep_snapshots.owner(machine=machines[0]) not in (first, second)


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
    dead = killed(place.vm)
    with VCenter(place.settings(), owner=dead.owner, ledger=deep_snapshots.FileLedger()) as vcenter:
        base = vcenter.disk_access(place.vm, None, vcenter.find(place.vm).disks[0])
        shot = place.estate.snapshots.create(place.vm, dead.name, dead.token)
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
