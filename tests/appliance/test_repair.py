"""What a proof finds wrong has a way out: it is read again, and told apart from what only seems wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector.appliance.passes.disk import DiskCopy
from connector.appliance.progress import DiskProgress, PassProgress
from connector.appliance.snapshot_care.guard import Guard
from connector.cancellation import Cancellation
from connector.clients.endpoint import InstanceEndpoint
from connector.errors import Conflict, Interrupted, ProofFailed
from connector.patience import Patience
from connector.transfer.flow import Flow
from simulator.estate.inventory import PowerState
from tests.appliance.context import CELL, MIB, Bench, context
from tests.transfer.conftest import make_job
from tests.waiting import PATIENCE

KEY = 2000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with context(tmp_path_factory.mktemp("repair"), make_job("repair")) as made:
        yield made


@pytest.fixture
def web(shared: Bench) -> Bench:
    """A finished base, and writes of the guest since."""
    if shared.house.machine().power_state is PowerState.OFF:
        shared.house.estate.power.on(shared.house.machine().moref)
    shared.run()
    shared.house.write(count=2)
    return shared


def quiet(web: Bench, count: int) -> list[int]:
    """Offsets of cells that hold data and that the next delta does not touch."""
    now, was = web.house.content()[KEY], web.target(KEY).read_bytes()
    same = [at for at in range(0, len(now), CELL) if now[at : at + CELL] == was[at : at + CELL]]
    return [at for at in same if any(now[at : at + CELL])][:count]


def entry(at: int) -> int:
    """Where the digest of the cell at `at` stands in the table."""
    return at // CELL * 32 + 5


def test_rot_in_the_data_is_read_again_from_the_snapshot_that_is_open(web: Bench) -> None:
    first, second = quiet(web, 2)
    web.flip(KEY, first + 17)
    web.flip(KEY, second + 1)
    row = web.run()[KEY]
    web.equal()
    assert row["kind"] == "delta"
    assert f"found {2 * CELL} bytes wrong (cells: 2 in its data)" in row["note"]


def test_rot_in_the_digest_table_is_told_apart(web: Bench) -> None:
    """Where the pass itself changes nothing: the table of a page that it changes is put right without a word.

    The audit looks at every cell, and does not take rot on our side for a write that CBT missed.
    """
    web.run()
    data, table = quiet(web, 2)
    web.flip(KEY, data)
    web.flip(KEY, entry(table), name="digests")
    row = web.run(web.order(audit=1.0))[KEY]
    web.equal()
    assert "(cells: 1 in its data, 1 in its digest table)" in row["note"]


def test_rot_where_the_source_has_nothing(web: Bench) -> None:
    content = web.house.content()[KEY]
    hole = next(at for at in range(0, len(content), CELL) if not any(content[at : at + CELL]))
    web.flip(KEY, hole + 3)
    row = web.run()[KEY]
    web.equal()
    assert "(cells: 1 in its data)" in row["note"]


def test_rot_found_between_two_passes_is_repaired_by_the_next_one(web: Bench) -> None:
    """Under its own fresh snapshot, together with what changed since; until then no image, and no other way on."""
    web.run()
    web.house.write(count=2)
    (at,) = quiet(web, 1)
    changed = changed_cells(web)
    web.flip(KEY, at)
    endpoint = web.instance.endpoint
    for fresh in (True, False):  # the answer may be lost: the next request gets it again
        with pytest.raises(
            ProofFailed, match=rf"65536 bytes differ from what was sent, in \[{at}, {at + CELL}\)"
        ):
            endpoint.prove(str(KEY), fresh=fresh)
    with pytest.raises(Conflict, match="known to be wrong"):
        endpoint.make_image("x", "raw", "r")
    row = web.run()[KEY]
    web.equal()
    assert row["kind"] == "repair"
    assert row["note"].startswith(f"repaired: {CELL} bytes")
    assert row["read"] == (changed + 1) * CELL
    assert endpoint.disk(str(KEY))["rot"] == {"target": 1, "table": 0, "unclear": 0}


def changed_cells(web: Bench) -> int:
    now, was = web.house.content()[KEY], web.target(KEY).read_bytes()
    return sum(now[at : at + CELL] != was[at : at + CELL] for at in range(0, len(now), CELL))


def test_a_comparing_pass_over_rot_trusts_no_table(web: Bench) -> None:
    web.run()
    data, table = quiet(web, 2)
    web.flip(KEY, data)
    web.flip(KEY, entry(table), name="digests")
    with pytest.raises(ProofFailed):
        web.instance.endpoint.prove(str(KEY), fresh=True)
    web.instance.endpoint.doubt(str(KEY), "because the test says so")
    row = web.run()[KEY]
    web.equal()
    assert row["note"] == "compared: because the test says so"
    assert row["sent"] == CELL


class Rotting(PassProgress):
    """The storage flips the same bit again as soon as it is mended."""

    def __init__(self, web: Bench, at: int) -> None:
        super().__init__()
        self._web, self._at, self._mending = web, at, False

    def update(self, key: int, **changes: Any) -> None:
        super().update(key, **changes)
        if key != KEY:
            return
        self._mending |= changes.get("state") == "repair"
        if self._mending and changes.get("done"):
            self._mending = False
            self._web.flip(KEY, self._at)


def test_storage_that_does_not_keep_what_it_is_given_fails_the_pass(web: Bench) -> None:
    (at,) = quiet(web, 1)
    web.flip(KEY, at)
    with pytest.raises(ProofFailed, match=rf"65536 bytes differ .*\[{at}, {at + CELL}\)"):
        web.run(board=Rotting(web, at))
    assert not web.house.snapshots()
    assert web.instance.endpoint.disk(str(KEY))["spoiled"] == [[at, CELL]]
    assert web.run()[KEY]["kind"] == "repair"
    web.equal()


class Killed(InstanceEndpoint):
    """The appliance ends between the last acknowledgement and the end of the pass."""

    def finish_pass(self, *_: object) -> None:
        raise Interrupted("killed")


def test_a_repair_that_was_delivered_and_never_finished_is_finished(web: Bench) -> None:
    order, reading = web.order(), "r-delivered"
    assert order.instance is not None and order.credential is not None
    endpoint = InstanceEndpoint(order.instance, order.credential, Patience(PATIENCE))
    killed = Killed(order.instance, order.credential, Patience(PATIENCE))
    with web.work.vcenter.snapshot(order.moref, reading) as snapshot:
        disk = next(disk for disk in snapshot.disks if disk.key == KEY)

        def run(through: InstanceEndpoint) -> dict[str, Any]:
            board, flow = PassProgress(), Flow(lambda: "none")
            board.add(DiskProgress(KEY, disk.label, disk.capacity))
            guard = Guard(
                lambda: web.work.vcenter.pressure(order.moref, snapshot),
                web.work.governor,
                board,
                running=True,
                disks=1,
            )
            parts = (web.work, through, order, snapshot, disk, reading, board, flow, Cancellation(), guard)
            return DiskCopy(*parts).run()

        run(endpoint)
        (at,) = quiet(web, 1)
        web.flip(KEY, at)
        with pytest.raises(ProofFailed):
            endpoint.prove(str(KEY), fresh=True)
        with pytest.raises(Interrupted):
            run(killed)
        state = endpoint.disk(str(KEY))
        assert (state["spoiled"], len(state["attempts"])) == ([], 1)
        row = run(endpoint)
        assert "a repair that was interrupted is finished" in row["note"]
        assert endpoint.prove(str(KEY), fresh=True)["root"] == row["digest"]


def test_another_smaller_disk_in_the_place_of_one_gets_a_target_of_its_own(web: Bench) -> None:
    estate, vm = web.house.estate, web.house.machine()
    old = vm.disks[1]
    estate.hardware.remove_disk(vm.moref, old.key, destroy=True)
    estate.hardware.add_disk(vm.moref, old.controller, old.unit, MIB, key=old.key)
    web.house.write()
    row = web.run()[old.key]
    web.equal()
    assert row["kind"] == "full"
    assert row["note"].startswith(f"another disk of {MIB} bytes is in its place")
