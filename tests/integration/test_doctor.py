"""The doctor after an accident with real processes: what is shown is what is done, and the migration goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape, equal
from tests.integration.witness import OURS

DISKS = ((8 * MIB, 6 * MIB),)


def test_invariant_3_what_a_killed_house_left_is_shown_then_mended_and_the_migration_goes_on(
    make_house: Callable[..., House], start: Start, run: Run
) -> None:
    house = make_house(Shape("web-01", DISKS))
    moref = house.machine().moref
    doctor = [
        "doctor",
        "--only",
        "left",
        "--to",
        str(house.out),
        "--vddk",
        str(house.vddk),
        *house.access(),
        "--json",
    ]
    house.reader(bandwidth=MIB // 4)
    command = start(house.migration("web-01", "--incremental"))
    command.copied(0.05)
    busy = run(doctor)
    assert (busy.code, busy.events) == (0, ())  # a pass works with it
    for part in ("worker", "appliance", "cli"):
        command.kill(part)
    command.wait()
    command.gone()
    (left,) = house.snapshots()
    foreign = house.estate.snapshots.create(moref, "by hand")
    shown = run(doctor)
    assert shown.code == 11
    assert {event["check"] for event in shown.events} == {"snapshot", "lock"}
    assert house.snapshots() == [left] and house.estate.export.prepared(moref)
    mended = run([*doctor, "--repair"])
    assert mended.code == 0, mended.stdout + mended.stderr
    assert {event["outcome"] for event in mended.events} == {"mended"}
    assert [shot.moref for shot in house.machine().snapshots] == [foreign]
    assert not house.estate.export.prepared(moref)
    house.reader()
    done = run(house.migration("web-01", "--cutover"))
    assert done.code == 0, done.stderr
    equal(house, "web-01", "web-01")
    assert not [s for s in house.machine().snapshots if s.description.startswith(OURS)]


@pytest.mark.slow
def test_cbt_is_put_back_on_request_and_who_never_migrated_has_nothing_to_repair(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", ((2 * MIB, MIB),)))
    doctor = ["doctor", "--only", "left", "--to", str(house.out), *house.access(), "--json"]
    house.out.mkdir()
    assert "never ran here" in run(doctor).complaint
    assert run(house.migration("web-01")).code == 0
    cbt = run([*doctor, "--repair", "--restore-cbt"])
    assert (cbt.code, [event["check"] for event in cbt.events]) == (0, ["cbt"])
    assert not house.machine().change_tracking
    assert run(doctor).events == ()


def test_each_reader_is_tried_on_a_real_disk_and_nothing_is_left(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", DISKS))
    doctor = ["doctor", "--only", "looks", "--read", "web-01", *house.access(), "--vddk", str(house.vddk)]
    refused = run([*doctor, "--json"])
    assert refused.code == 2 and "give --yes" in refused.complaint
    done = run([*doctor, "--yes", "--json"])
    assert done.code == 0, done.stderr
    assert [(event["reader"], event["trouble"]) for event in done.events] == [
        ("vddk", ""),
        ("nfc", ""),
        ("https", ""),
    ]
    assert all(event["read"] >= 6 * MIB and event["rate"] > 0 for event in done.events)
    assert not house.snapshots() and not house.machine().change_tracking
    assert not house.estate.export.prepared(house.machine().moref)
    house.nfc.switches = replace(house.nfc.switches, second_certificate="other", digest_of="first")
    shown = run([*doctor[:-2], "--yes"])
    assert shown.code == 0, shown.stderr
    assert "the second TLS layer" in shown.stdout and "vddk" not in shown.stdout
    assert not house.snapshots()
