"""An instance converts copies: once for each order, never a disk that passes write to, and a broken copy is never a good one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.errors import BadInput, Conflict, NotPermitted
from connector.instance.conversions import Conversion, ConversionOrder, Conversions
from connector.instance.store import DiskStore
from tests.instance.test_devices import plug
from tests.transfer.conftest import MIB, Instance, Job
from tests.waiting import eventually

STAND_IN = "tests.control.fake_conversion"
MACHINE = {"version": 1, "name": "web", "firmware": "bios"}
ORDER = ConversionOrder("r-1", MACHINE, ("2000",), "dhcp")


@pytest.fixture
def gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "gates"
    place.mkdir()
    monkeypatch.setenv("FAKE_GATES", str(place))
    return place


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return plug(tmp_path / "dev", "bp1copy000000000001", 4 * MIB)


@pytest.fixture
def store(tmp_path: Path, disk: Path) -> Iterator[DiskStore]:
    opened = DiskStore(tmp_path / "data", tmp_path / "dev")
    opened.assign({"2000": "bp1copy000000000001"})
    yield opened
    opened.close()


@pytest.fixture
def conversions(store: DiskStore, gates: Path) -> Iterator[Conversions]:
    running = Conversions(store, STAND_IN)
    yield running
    running.close()


def ended(conversions: Conversions, order: ConversionOrder = ORDER) -> Conversion:
    return eventually(
        lambda: answer if (answer := conversions.order(order)).state != "running" else None, "it has ended"
    )


def test_the_order_is_carried_out_once(conversions: Conversions, disk: Path) -> None:
    assert conversions.order(ORDER).state == "running"
    answer = ended(conversions)
    assert answer.state == "done"
    assert answer.result is not None
    assert answer.result["conversion"]["changes"]
    assert disk.read_bytes()[:9] == b"converted"
    disk.write_bytes(bytes(4 * MIB))
    assert ended(conversions).state == "done"
    assert not any(disk.read_bytes())


def test_a_plan_changes_nothing(conversions: Conversions, disk: Path) -> None:
    assert ended(conversions, replace(ORDER, plan_only=True)).state == "done"
    assert not any(disk.read_bytes())


def test_what_a_guest_cannot_be_converted_for_is_in_the_result(conversions: Conversions, gates: Path) -> None:
    (gates / "convert-web").write_text("refuses")
    answer = ended(conversions)
    assert answer.result == {"conversion": None, "refusal": "it is encrypted"}


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("full", "64 MiB are needed"),
        ("dies", "has ended without a result"),
        ("no report", "answered what is no report"),
    ],
)
def test_a_failure_is_kept_with_its_reason(
    conversions: Conversions, gates: Path, word: str, what: str
) -> None:
    (gates / "convert-web").write_text(word)
    answer = ended(conversions)
    assert answer.state == "failed"
    assert what in str(answer.error)


def test_an_instance_that_is_started_again_says_that_it_was_interrupted(
    store: DiskStore, gates: Path, conversions: Conversions
) -> None:
    (gates / "convert-web").write_text("hang")
    conversions.order(ORDER)
    pids = eventually(
        lambda: file.read_text().split() if (file := gates / "started-web").exists() else None, "it runs"
    )
    conversions.close()
    again = Conversions(store, STAND_IN)
    assert again.order(ORDER).state == "interrupted"
    for pid in pids:
        eventually(lambda pid=pid: not _runs(int(pid)), f"process {pid} has ended")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_damaged_record_counts_as_interrupted(store: DiskStore, gates: Path) -> None:
    first = Conversions(store, STAND_IN)
    ended(first)
    (store.directory / "conversions" / "r-1.json").write_bytes(b"\x00\xff")
    assert Conversions(store, STAND_IN).order(ORDER).state == "interrupted"


def test_a_program_that_is_killed_is_a_failure_and_the_next_order_can_be_carried_out(
    conversions: Conversions, gates: Path
) -> None:
    (gates / "convert-web").write_text("hang")
    conversions.order(ORDER)
    pid = eventually(
        lambda: int(file.read_text().split()[0]) if (file := gates / "started-web").exists() else None,
        "it runs",
    )
    os.kill(pid, signal.SIGKILL)
    assert ended(conversions).state == "failed"
    (gates / "convert-web").unlink()
    assert ended(conversions, replace(ORDER, id="r-2")).state == "done"


def test_one_at_a_time_and_each_id_for_one_order(conversions: Conversions, gates: Path) -> None:
    (gates / "convert-web").write_text("hang")
    conversions.order(ORDER)
    with pytest.raises(Conflict, match="conversion r-1 runs"):
        conversions.order(replace(ORDER, id="r-2"))
    with pytest.raises(Conflict, match="ordered with other words"):
        conversions.order(replace(ORDER, network="keep"))


def test_a_disk_that_passes_write_to_is_never_converted(conversions: Conversions, store: DiskStore) -> None:
    store.put("2000", MIB, "")
    with pytest.raises(Conflict, match="passes write to it here"):
        conversions.order(ORDER)


def test_a_disk_that_is_not_attached_yet_may_come(
    conversions: Conversions, store: DiskStore, tmp_path: Path
) -> None:
    store.assign({"2001": "bp1copy000000000002"})
    order = replace(ORDER, disks=("2000", "2001"))
    with pytest.raises(Conflict, match="not attached yet") as refused:
        conversions.order(order)
    assert refused.value.retryable
    plug(tmp_path / "dev", "bp1copy000000000002", MIB)
    assert ended(conversions, order).state == "done"


@pytest.mark.parametrize(
    "order",
    [
        replace(ORDER, id="../r"),
        replace(ORDER, disks=()),
        replace(ORDER, disks=("2000", "2000")),
        replace(ORDER, network="bridge"),
    ],
)
def test_an_order_that_nobody_can_carry_out_is_refused(
    conversions: Conversions, order: ConversionOrder
) -> None:
    with pytest.raises(BadInput):
        conversions.order(order)


def test_a_record_that_cannot_be_written_at_the_end_is_an_interrupted_conversion(
    conversions: Conversions, store: DiskStore, gates: Path
) -> None:
    (gates / "convert-web").write_text("hang")
    conversions.order(ORDER)
    eventually((gates / "started-web").exists, "it runs")
    home = store.directory / "conversions"
    (home / "r-1.json").rename(home / "kept")
    (home / "r-1.json").mkdir()  # nothing can take this name
    (gates / "convert-web").unlink()
    eventually(lambda: conversions.running == "", "it has ended")
    (home / "r-1.json").rmdir()
    (home / "kept").rename(home / "r-1.json")
    assert conversions.order(ORDER).state == "interrupted"


def test_an_instance_that_converts_takes_no_pass(
    start: Callable[..., Instance], job: Job, tmp_path: Path
) -> None:
    plug(tmp_path / "dev", "bp1copy000000000001", MIB)
    instance = start(words=("--credential-stdin", "--devices", str(tmp_path / "dev")))
    control = InstanceEndpoint(instance.address, job.control)
    control.assign_devices({"2000": "bp1copy000000000001"})
    control.order_conversion("r-1", {"machine": MACHINE, "disks": ["2000"], "network": "dhcp"})
    with pytest.raises(Conflict, match="no pass writes here"):
        instance.endpoint.put_disk("2000", MIB)


def test_only_the_control_plane_orders_a_conversion(
    start: Callable[..., Instance], job: Job, tmp_path: Path
) -> None:
    instance = start()
    order = {"machine": MACHINE, "disks": ["2000"], "network": "dhcp"}
    with pytest.raises(NotPermitted):
        InstanceEndpoint(instance.address, job.appliance).order_conversion("r-1", order)
    control = InstanceEndpoint(instance.address, job.control)
    with pytest.raises(Conflict, match="the disks of this instance are files"):
        control.order_conversion("r-1", order)
    with pytest.raises(BadInput, match="must be a list of keys"):
        control.order_conversion("r-1", order | {"disks": [1]})
    assert json.dumps(control.health())
