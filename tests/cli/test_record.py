"""`connector record --nfc`: both files of one recording, what it asks before it takes a snapshot, and that none is left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import yaml

from connector.cli.secret import VARIABLE
from connector.errors import BadInput, NotFound, ReaderFailed
from connector.sources import nfc_recording
from connector.vcenter import record
from nfc.spec import Extent
from simulator.estate.estate import Estate
from simulator.faults import Rule
from tests.cli.conftest import Connector
from tests.nfc.replay import ask_again, conversations, replaying
from tests.vcenter.imaginary import PASSWORD, World, change_vm, world

STORE, NAME = "kundenlager", "kundenname"
CONTENT = Random(5).randbytes(65536)


def ours(estate: Estate) -> None:
    vm = estate.inventory.vm(min(estate.inventory.vms))
    estate.storage.disk(vm.disks[0].storage).write(0, CONTENT)
    disks = tuple(
        replace(disk, path=f"[{STORE}] {NAME}/{NAME}_{number}.vmdk") for number, disk in enumerate(vm.disks)
    )
    change_vm(estate, vm.moref, name=NAME, disks=disks)


@pytest.fixture(scope="module")
def _place() -> Iterator[World]:
    with world(prepare=ours) as made:
        yield made


@pytest.fixture
def place(_place: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    monkeypatch.setenv("CONNECTOR_VCENTER_URL", _place.server.url)
    monkeypatch.setenv("CONNECTOR_VCENTER_THUMBPRINT", _place.server.thumbprint)
    monkeypatch.setenv(VARIABLE, PASSWORD)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield _place
    _place.estate.faults.replace(())
    assert not _place.snapshots(), "no snapshot is left"
    assert not list((tmp_path / "state").rglob("look-*")), "and none is remembered"


def words_of(file: Path) -> str:
    return str(yaml.safe_load(file.read_text())["interactions"])


def test_both_files_have_the_same_pseudonyms_and_tell_nothing(
    place: World, run: Connector, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = run("record", str(out), "--machine", NAME, "--nfc", "--yes")
    assert "3 connections" in ran.out and "Look through both" in ran.out
    assert "snapshot" in ran.err, "whoever watches sees that one was taken"
    said, over_nfc = words_of(out / record.FILE), (out / nfc_recording.FILE).read_text()
    assert {file.stat().st_mode & 0o77 for file in out.iterdir()} == {0}
    bare = "".join(over_nfc.split())
    for secret in (STORE, NAME, "127.0.0.1", PASSWORD, place.server.thumbprint.replace(":", "")):
        assert secret.lower() not in (said + over_nfc).lower().replace(":", ""), secret
        assert secret.encode().hex() not in bare, secret
    assert not [at for at in range(0, len(CONTENT), 512) if CONTENT[at : at + 8].hex() in bare]
    scripts = conversations(over_nfc)
    match = re.match(r"\[(\w+)\] (\w+)/", scripts[0].path)
    assert match and len(match[1]) == len(STORE) and len(match[2]) == len(NAME)
    assert f"[{match[1][:9]}] {match[2][:9]}/" in said, "the datastore and the folder are called so in both"
    with replaying(scripts) as host:
        for script in scripts:
            assert len(ask_again(host, script)) == len(script.requests)


def test_it_asks_before_it_takes_a_snapshot(place: World, run: Connector, tmp_path: Path) -> None:
    refused = run("record", str(tmp_path / "out"), "--machine", NAME, "--nfc", code=BadInput.exit_code)
    assert "--nfc" in refused.err and "give --yes" in refused.err
    alone = run("record", str(tmp_path / "out"), "--nfc", code=BadInput.exit_code)
    assert "--machine" in alone.err
    nobody = ("record", str(tmp_path / "out"), "--machine", "nobody", "--nfc", "--yes")
    run(*nobody, code=NotFound.exit_code)
    assert not (tmp_path / "out").exists()
    assert not place.snapshots()


def test_a_recording_is_never_written_over(place: World, run: Connector, tmp_path: Path) -> None:
    (tmp_path / nfc_recording.FILE).write_text("older")
    again = ("record", str(tmp_path), "--machine", NAME, "--nfc", "--yes")
    assert "choose a new directory" in run(*again, code=BadInput.exit_code).err
    assert not place.snapshots() and not (tmp_path / record.FILE).exists()


def test_an_error_of_the_host_is_recorded_and_told(place: World, run: Connector, tmp_path: Path) -> None:
    place.estate.faults.replace([Rule("nfc.open", "fault", message=f"Failed to lock {NAME}")])
    out = tmp_path / "out"
    ran = run("record", str(out), "--machine", NAME, "--nfc", "--yes", "--json")
    assert ran.json["nfc"]["connections"] == 1
    assert f"Failed to lock {NAME}" in ran.json["nfc"]["trouble"]
    text = (out / nfc_recording.FILE).read_text()
    assert NAME not in text and NAME.encode().hex() not in "".join(text.split())
    assert text.endswith("# the client ended with DiskLocked\n")
    place.estate.faults.replace([Rule("nfc.read", "cut", bytes=1000)])
    shown = run("record", str(tmp_path / "cut"), "--machine", NAME, "--nfc", "--yes").out
    assert "The last one ended early" in shown and "was cut" in shown


def test_a_host_that_cannot_be_reached_leaves_nothing(place: World, run: Connector, tmp_path: Path) -> None:
    place.estate.faults.replace([Rule("nfc.connect", "fault")])
    run("record", str(tmp_path / "out"), "--machine", NAME, "--nfc", "--yes", code=ReaderFailed.exit_code)
    assert not (tmp_path / "out").exists()


def test_whoever_interrupts_leaves_nothing(
    place: World, run: Connector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> Iterator[Extent]:
        assert place.snapshots(), "while it is read"
        raise KeyboardInterrupt

    monkeypatch.setattr(nfc_recording, "places", interrupted)
    ran = run("record", str(tmp_path / "out"), "--machine", NAME, "--nfc", "--yes", code=None)
    assert ran.code != 0 and not (tmp_path / "out").exists()


def test_the_help_says_that_a_snapshot_is_taken(run: Connector) -> None:
    said = " ".join(run("record", "--help").out.split())
    assert "Without --nfc, nothing is changed in vCenter" in said
    assert "With --nfc, a snapshot of the machine is taken for a moment and removed" in said


def test_a_machine_that_is_off(place: World, run: Connector, tmp_path: Path) -> None:
    other = place.other()
    place.estate.power.off(other)
    try:
        run("record", str(tmp_path / "out"), "--machine", other, "--nfc", "--yes")
    finally:
        place.estate.power.on(other)
    assert not place.snapshots(other)
