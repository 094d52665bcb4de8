"""Whatever happens to a disk, it and every snapshot read as a plain byte string would, and CBT never misses
a byte.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from simulator.estate.areas import rounded, union
from simulator.estate.errors import InvalidArgument
from simulator.estate.estate import Estate, Policy
from tests.estate.conftest import DS, QUICK, VM, fill
from tests.estate.reader import view, views

CAPACITY = 45 * 4096 + 3 * 512
UNIT = 8192
KEY = 2000


@dataclass
class Point:
    """What the model knows of the instant of a snapshot."""

    content: bytes
    log: int
    life: int
    order: int
    change_id: str | None


class DiskModel(RuleBasedStateMachine):
    @initialize(tracked=st.booleans())
    def begin(self, tracked: bool) -> None:
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.room = Path(tempfile.mkdtemp(dir=base, prefix="model-"))
        self.estate = Estate(self.room, QUICK, Policy(granularity=UNIT))
        fill(self.estate, CAPACITY)
        self.content = bytearray(CAPACITY)
        self.log: list[tuple[int, int]] = []
        self.life = 0
        self.points: dict[str, Point] = {}
        self.past: list[Point] = []
        if tracked:
            self.estate.hardware.set_change_tracking(VM, True)

    def teardown(self) -> None:
        if hasattr(self, "estate"):
            self.estate.close()
            shutil.rmtree(self.room)

    @property
    def running(self) -> bool:
        return self.estate.inventory.vm(VM).power_state == "poweredOn"

    @precondition(lambda self: self.running)
    @rule(
        first=st.integers(0, CAPACITY // 512 - 1),
        count=st.sampled_from([1, 2, 7, 8, 9, 16, 40, 100]),
        seed=st.integers(0, 255),
    )
    def write(self, first: int, count: int, seed: int) -> None:
        offset = first * 512
        data = bytes([seed]) * min(count * 512, CAPACITY - offset)
        self.estate.power.write(VM, KEY, offset, data)
        self.content[offset : offset + len(data)] = data
        self.log.append((offset, offset + len(data)))

    @precondition(lambda self: self.running)
    @rule(first=st.integers(0, CAPACITY // 512 - 1), count=st.sampled_from([1, 8, 9, 30, 200]))
    def discard(self, first: int, count: int) -> None:
        offset = first * 512
        length = min(count * 512, CAPACITY - offset)
        self.estate.power.discard(VM, KEY, offset, length)
        self.content[offset : offset + length] = bytes(length)
        self.log.append((offset, offset + length))

    @precondition(lambda self: len(self.points) < 6)
    @rule()
    def snapshot(self) -> None:
        moref = self.estate.snapshots.create(VM, "s")
        disk = self.estate.inventory.vm(VM).snapshot(moref).disks[0]
        point = Point(bytes(self.content), len(self.log), self.life, len(self.past), disk.change_id)
        assert (disk.change_id is not None) == self.estate.inventory.vm(VM).change_tracking
        self.points[moref] = point
        self.past.append(point)

    @precondition(lambda self: self.points)
    @rule(data=st.data(), children=st.booleans(), fold=st.booleans())
    def remove(self, data: st.DataObject, children: bool, fold: bool) -> None:
        moref = data.draw(st.sampled_from(sorted(self.points)))
        self.estate.snapshots.remove(VM, moref, children=children, consolidate=fold)
        left = {snapshot.moref for snapshot in self.estate.inventory.vm(VM).snapshots}
        assert moref not in left
        assert children or left == set(self.points) - {moref}
        self.points = {name: point for name, point in self.points.items() if name in left}
        if fold:
            assert not self.estate.inventory.vm(VM).consolidation_needed

    @rule()
    def consolidate(self) -> None:
        self.estate.snapshots.consolidate(VM)
        assert not self.estate.inventory.vm(VM).consolidation_needed

    @precondition(lambda self: self.points)
    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        moref = data.draw(st.sampled_from(sorted(self.points)))
        self.estate.snapshots.revert(VM, moref)
        self.content = bytearray(self.points[moref].content)
        self.life += 1
        self.estate.power.on(VM)

    @precondition(lambda self: self.running)
    @rule()
    def off(self) -> None:
        self.estate.power.off(VM)

    @precondition(lambda self: not self.running)
    @rule()
    def on(self) -> None:
        self.estate.power.on(VM)

    @precondition(lambda self: not self.points)
    @rule(wanted=st.booleans())
    def track(self, wanted: bool) -> None:
        if wanted != self.estate.inventory.vm(VM).change_tracking:
            self.life += 1
        self.estate.hardware.set_change_tracking(VM, wanted)
        moref = self.estate.snapshots.create(VM, "to stun")
        self.estate.snapshots.remove(VM, moref)

    @invariant()
    def reopened_everything_is_the_same(self) -> None:
        before = self.estate.inventory
        self.estate.close()
        self.estate = Estate(self.room, QUICK, Policy(granularity=UNIT))
        assert self.estate.inventory == before
        disk = self.estate.storage.disk("disk-1")
        assert disk.read(0, CAPACITY) == self.content
        for moref, point in self.points.items():
            assert disk.read(0, CAPACITY, moref) == point.content
        if not self.points and not self.estate.inventory.vm(VM).consolidation_needed:
            assert len(disk.chain.files()) == 1
        assert len(list(disk.directory.glob("*.raw"))) <= 2 * len(self.points) + 8
        assert 0 < self.estate.free_space(DS) <= 1 << 40

    @invariant()
    def the_export_reads_the_same(self) -> None:
        export = self.room / "export"
        assert views(export, VM) == {"current", *self.points}
        vm = self.estate.inventory.vm(VM)
        for name, wanted in [("current", self.content), *((m, p.content) for m, p in self.points.items())]:
            (disk,) = view(export, VM, name)
            assert disk.read() == wanted
            described = vm.disks[0] if name == "current" else vm.snapshot(name).disks[0]
            assert (disk.path, disk.uuid, disk.mode) == (described.path, described.uuid, described.mode)

    @invariant()
    def changed_areas_are_exact(self) -> None:
        disk = self.estate.storage.disk("disk-1")
        targets: list[tuple[str | None, Point]] = [(m, p) for m, p in self.points.items() if p.change_id]
        if disk.tracking.active:
            targets.append((None, Point(bytes(self.content), len(self.log), self.life, len(self.past), None)))
        for moref, upto in targets:
            for since in self.past[-5:]:
                if since.change_id is None:
                    continue
                if since.life != upto.life or since.order > upto.order:
                    with pytest.raises(InvalidArgument):
                        disk.changed(since.change_id, moref, upto.change_id)
                    continue
                self.check(disk.changed(since.change_id, moref, upto.change_id), since, upto)
            used = disk.changed("*", moref, upto.change_id)
            cover = bytearray(upto.content)
            for area in used:
                cover[area.start : area.stop] = bytes(area.length)
            assert not any(cover)

    def check(self, areas: list[tuple[int, int]], since: Point, upto: Point) -> None:
        writes = union(self.log[since.log : upto.log])
        assert areas == rounded(writes, UNIT, CAPACITY)
        patched = bytearray(since.content)
        for start, length in areas:
            patched[start : start + length] = upto.content[start : start + length]
        assert patched == upto.content


TestDiskModel = DiskModel.TestCase
TestDiskModel.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
