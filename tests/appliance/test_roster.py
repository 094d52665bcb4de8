"""Disks that come and go between passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.errors import Conflict
from tests.appliance.context import MIB, Bench, context
from tests.transfer.conftest import make_job


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with context(tmp_path_factory.mktemp("roster"), make_job("roster")) as made:
        made.run()
        yield made


def test_a_disk_that_came_is_copied_in_full_beside_the_deltas_of_the_others(web: Bench) -> None:
    vm = web.house.machine()
    added = web.house.estate.hardware.add_disk(vm.moref, 1000, 5, MIB)
    web.house.write()
    rows = web.run()
    web.equal()
    assert {key: row["kind"] for key, row in rows.items()} == {
        2000: "delta",
        2001: "delta",
        added.key: "full",
    }


def test_invariant_10_a_disk_that_went_leaves_the_run_by_consent_only(web: Bench) -> None:
    vm = web.house.machine()
    gone = vm.disks[1]
    web.house.estate.hardware.remove_disk(vm.moref, gone.key)
    web.house.write()
    with pytest.raises(Conflict, match=rf"Hard disk 2 \({gone.key}\) was migrated before") as caught:
        web.run()
    assert "--accept-removed-disks" in caught.value.remedy
    assert caught.value.on == "web-01"
    assert web.target(gone.key).exists()
    assert not web.house.snapshots()
    rows = web.run(web.order(accept_removed_disks=True))
    web.equal()
    assert gone.key not in rows
    assert web.result["dropped"] == [
        {"key": str(gone.key), "label": "Hard disk 2", "capacity": gone.capacity}
    ]
    assert not web.target(gone.key).exists()
    image = web.instance.endpoint.make_image("after", "raw", "r")
    assert {entry["disk"] for entry in image["files"]} == {str(d.key) for d in web.house.machine().disks}  # type: ignore[attr-defined]
    web.house.write()
    assert web.run() and web.result["dropped"] == []
