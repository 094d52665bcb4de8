"""Generated: every property that is read, answered in every hostile way, on one machine each, in one estate.

Each such machine is listed; every other is as it was before; nothing that looks at them all, or at another, fails.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from connector.appliance.inventory import Rescan
from connector.cli.main import main
from connector.cli.secret import VARIABLE
from connector.model import Finding, Inventory, Machine
from connector.settings import VCenterSettings
from connector.vcenter import machines, tracking, watching
from connector.vcenter.client import VCenter
from simulator.estate.build import Layout, build_estate
from simulator.estate.estate import Estate, Timing
from simulator.vcenter.api import vim
from simulator.vcenter.hostile import Variant, variants
from simulator.vcenter.server import Server, serve
from tests.vcenter.imaginary import MIB, PASSWORD, USER, change_vm
from tests.vcenter.ledger import Memory

READ = tuple(
    dict.fromkeys((*machines.MACHINE, *watching.WATCHED, *tracking._READS, "recentTask", "layoutEx"))
)
SOUND = ("vm-101", "vm-102", "vm-103")  # answer as they should, among those that do not
LOUD = ("unknown type", "huge text", "unsound characters", "too deep")  # nothing could make sense of these
HUGE = 2 << 20  # characters: more than any value is believed to have

Case = Mapping[str, Variant]


def cases(long: int = 80 << 10) -> dict[str, Case]:
    """One property each, by "path: what"."""
    return {
        f"{path}: {what}": {path: variant}
        for path in READ
        for what, variant in variants(vim.VirtualMachine, path, long).items()
    }


def together() -> dict[str, Case]:
    """Every property of one machine answered in the same way."""
    kinds = {path: variants(vim.VirtualMachine, path) for path in READ}
    ways = {what for found in kinds.values() for what in found}
    return {
        f"all: {what}": {path: found[what] for path, found in kinds.items() if what in found}
        for what in sorted(ways)
    }


@dataclass(frozen=True)
class Place:
    """An estate, its vCenter, which machine answers how, and the inventory before any did."""

    estate: Estate
    server: Server
    odd: Mapping[str, str]
    before: Inventory

    def settings(self) -> VCenterSettings:
        return VCenterSettings(
            url=self.server.url,
            user=USER,
            password=SecretStr(PASSWORD),
            thumbprint=self.server.thumbprint,
        )


@contextmanager
def place_of(chosen: Mapping[str, Case]) -> Iterator[Place]:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    quick = Timing(snapshot_stun=0, switch_stun=0, guest_shutdown=0.01)
    with tempfile.TemporaryDirectory(dir=base, prefix="hostile-") as directory:
        layout = Layout(vms=0, fillers=len(SOUND) + len(chosen))
        estate = build_estate(Path(directory) / "estate", layout, timing=quick)
        try:
            for moref in SOUND:
                estate.hardware.add_disk(moref, 1000, 0, 4 * MIB, scratch=(0, 4 * MIB))
                estate.power.on(moref)
            with serve(estate, accounts={USER: PASSWORD}) as server:
                blank = Place(estate, server, {}, Inventory(()))
                with VCenter(blank.settings(), owner="before", ledger=Memory()) as vcenter:
                    before = vcenter.inventory()
                others = sorted(one for one in estate.inventory.vms if one not in SOUND)
                server.center.hostile |= dict(zip(others, map(dict, chosen.values()), strict=True))
                server.center.changes.touch()
                yield Place(estate, server, dict(zip(others, chosen, strict=True)), before)
        finally:
            estate.close()


def few() -> dict[str, Case]:
    """A share for every day: all ways with all properties at once, and every ninth of the rest."""
    return together() | dict(list(cases().items())[::9])


@pytest.fixture(
    scope="module",
    params=[
        "few",
        *(pytest.param(part, marks=[pytest.mark.slow, pytest.mark.timeout(900)]) for part in range(3)),
    ],
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "few":
        chosen = few()
    else:
        chosen = dict(list(cases(HUGE if request.param == 0 else 80 << 10).items())[request.param :: 3])
    with place_of(chosen) as made:
        yield made


@pytest.fixture
def access(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_VCENTER_URL", place.server.url)
    monkeypatch.setenv("CONNECTOR_VCENTER_THUMBPRINT", place.server.thumbprint)
    monkeypatch.setenv(VARIABLE, PASSWORD)


def judge(place: Place, seen: Sequence[Machine]) -> None:
    """All are there; the sound ones as they were."""
    now = {one.moref: one for one in seen}
    before = {one.moref: one for one in place.before.machines}
    assert now.keys() == before.keys(), [place.odd.get(one) for one in before.keys() - now.keys()]
    for moref in SOUND:
        assert now[moref] == before[moref]


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("access")
class TestCommands:
    def test_the_list_shows_all(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["vm", "list", "--columns", "moref,name,host,networks,addresses"]) == 0
        found = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
        assert place.odd.keys() | set(SOUND) <= set(found)

    def test_the_check_has_findings_about_the_odd_and_none_about_the_sound(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["vm", "check", "--json"]) == 5
        found = lines(capsys.readouterr().out)
        doubted = {str(one["moref"]) for one in found if one["check"] == "V30"}
        assert doubted and not doubted & set(SOUND)
        for moref, case in place.odd.items():
            path, _, what = case.partition(": ")
            if path in (*machines.MACHINE, "all") and what in LOUD:
                assert moref in doubted, case
        assert main(["vm", "check", SOUND[0]]) == 0

    def test_the_doctor_sees_what_the_user_may_do(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--role"]) in (0, 11)
        assert "unforeseen" not in capsys.readouterr().err

    def test_what_was_left_behind_is_found(self, place: Place) -> None:
        with VCenter(place.settings(), owner="doctor", ledger=Memory()) as vcenter:
            assert vcenter.leftovers() == () and vcenter.clear_leftovers() == ()
            assert not set(vcenter.locked()) & set(SOUND)


def test_the_watch_goes_on(place: Place) -> None:
    stop = threading.Event()
    odd = sorted(place.odd)[:3]
    with VCenter(place.settings(), owner="watch", ledger=Memory()) as vcenter:
        told = vcenter.watch(stop).changes(notice=1)
        judge(place, next(told).inventory.machines)
        for moref in (*odd, SOUND[2]):
            change_vm(place.estate, moref, annotation="changed")
            place.estate.snapshots.create(moref, "of somebody", "")
        seen: set[str] = set()
        while SOUND[2] not in seen:
            seen |= set((change := next(told)).changed)
        assert len(change.inventory.machines) == len(place.before.machines)
        for moref in (*odd, SOUND[2]):
            place.estate.snapshots.remove_all(moref)
        stop.set()


def test_the_control_plane_is_told_of_all(place: Place) -> None:
    kept: list[tuple[Sequence[Machine], Mapping[str, Sequence[Finding]]]] = []

    class Registry:
        def put_sources(
            self, machines: Sequence[Machine], findings: Mapping[str, Sequence[Finding]], _url: str
        ) -> dict[str, str]:
            kept.append((machines, findings))
            return {}

        def close(self) -> None:
            """Nothing is open."""

    with VCenter(place.settings(), owner="import", ledger=Memory()) as vcenter:
        count = Rescan(vcenter, Registry, 60.0, threading.Event()).once()
    ((machines_told, findings),) = kept
    assert count == len(machines_told) == len(place.before.machines)
    assert findings.keys() == {one.moref for one in machines_told}


def test_another_machine_is_migrated(place: Place) -> None:
    """What a pass asks of vCenter about a sound machine, while all others answer as they do."""
    vm = SOUND[1]
    with VCenter(place.settings(), owner="pass", ledger=Memory()) as vcenter:
        assert vcenter.occupied(vm) == ""
        vcenter.clear_leftovers(machine=vm)
        assert vcenter.ensure_tracking(vm, "p0").turned_on
        place.estate.power.write(vm, 2000, MIB, b"x" * 512)
        with vcenter.snapshot(vm, "p1") as taken:
            found = vcenter.find(vm)
            assert vcenter.changed(vm, taken, taken.disks[0], None)
            assert vcenter.pressure(vm, taken).stores
            assert found.disks[0].key == taken.disks[0].key and found.traits.doubts == ()
        assert taken.cost.left == ""
        vcenter.restore_tracking(tracking.Tracking(vm, False, True))
        assert vcenter.find("/".join(["", *found.path.split("/")[1:]])).moref == vm
