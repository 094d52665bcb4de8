"""Passes that read files over HTTPS, and what happens when somebody rewrites the files meanwhile."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

import pytest

from connector.appliance.passes.give_back import GivenBack
from connector.sources.factory import Readers
from connector.sources.https import HttpsReader, HttpsSettings
from simulator.faults import Rule
from tests.appliance.desk import KEYS, Bench
from tests.vcenter.imaginary import MIB


@pytest.fixture
def files(desk: Bench) -> Bench:
    """The appliance has no other reader."""
    desk.workbench = replace(
        desk.workbench, readers=Readers({"https": HttpsReader(HttpsSettings(every=0.2))})
    )
    desk.governed(rest=7)
    return desk


LARGE: Final = "*_1-flat.vmdk"  # the file of the large disk
FOURTH: Final = 4  # read of it: the first one is for the size, so some of its bytes are read before, and most of them later


def distrusted(desk: Bench, number: int, *, rest: int = 7, **changes: object) -> None:
    """A pass in the middle of which another product removes all snapshots: before a read of the large disk is answered.

    It is no matter of time: what was read is only good if nothing has changed after the last read.
    """
    faults, reads = desk.estate.faults, itertools.count(1)
    consult = faults.consult

    def removed_meanwhile(call: str, target: str = "") -> Rule | None:
        if call == "folder.read" and fnmatchcase(target, LARGE) and next(reads) == FOURTH:
            desk.estate.snapshots.remove_all(desk.vm)
        return consult(call, target)

    faults.consult = removed_meanwhile  # type: ignore[method-assign]
    try:
        with pytest.raises(GivenBack, match="cannot be trusted") as back:
            desk.carry(desk.order(number, **changes))
    finally:
        faults.consult = consult  # type: ignore[method-assign]
    assert next(reads) > FOURTH
    assert back.value.rest == rest
    assert not any(desk.instance.endpoint.disk(str(key))["attempts"] for key in KEYS)


def test_full_and_delta(files: Bench) -> None:
    first = files.carry(files.order(1))
    assert files.equal() and not files.world.snapshots()
    assert [disk["kind"] for disk in first["disks"]] == ["full", "full"]
    assert [disk["readers"] for disk in first["disks"]] == [["https"], ["https"]]
    files.write()
    second = files.carry(files.order(2))
    assert files.equal()
    assert all(disk["kind"] == "delta" and disk["read"] < 2 * MIB for disk in second["disks"])


def test_a_first_pass_whose_files_change_is_compared_next_time(files: Bench) -> None:
    distrusted(files, 1)
    is_touched = files.instance.endpoint.disk(str(KEYS[1]))["touched"]  # else nothing had arrived yet
    files.write()
    again = files.carry(files.order(2))
    assert files.equal()
    small, large = (disk["kind"] for disk in again["disks"])
    assert large == ("compare" if is_touched else "full")
    assert small in ("compare", "delta")  # it may have been finished before


def test_a_base_is_doubted_when_the_files_of_a_later_pass_change(files: Bench) -> None:
    files.carry(files.order(1))
    files.write(400)  # far more than is read before the removal is seen
    distrusted(files, 2)
    large = str(KEYS[1])  # the small one may have been finished before
    assert "cannot be trusted" in str(files.instance.endpoint.disk(large)["doubt"])
    files.write()
    again = files.carry(files.order(3))
    assert files.equal()
    assert again["disks"][1]["kind"] == "compare"
    assert "cannot be trusted" in again["disks"][1]["note"]


def test_a_cutover_whose_files_change_is_tried_again_at_once(files: Bench) -> None:
    """The source is down: a rest would only be downtime."""
    distrusted(files, 1, rest=0, final=True, task="final")
    done = files.carry(files.order(2, final=True, task="final"))
    assert done["shutdown"] is None and files.equal()
