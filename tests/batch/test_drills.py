"""The drills of a wave: which machines want one, one after the other, and what the status says of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.batch.apply import Apply
from connector.batch.drills import DrillResult, drill_all, wanted
from connector.batch.resolve import resolve
from connector.batch.status import status
from connector.clients.refusal import NotOffered
from connector.errors import TargetFull
from tests.batch.conftest import HEAD, Estate, wave
from tests.control.rehearsals import Rehearsal

TEXT = (
    HEAD
    + """  incremental: {every: 6h, keep: 3}
  drill: true
machines:
  - name: web-01
    drill: {network: keep}
  - {name: db-01}
  - {name: tool-01, drill: false}
"""
)


class Staged:
    """A wave whose machines have an image each, but those that are `left`."""

    def __init__(self, estate: Estate, *left: str) -> None:
        self.estate, self.rehearsal = estate, Rehearsal(estate.house)
        estate.has("web-01", "db-01", "tool-01")
        self.wave = wave(TEXT)
        Apply(estate.plane, estate.plan(self.wave), clock=estate.house.clock, pause=estate.house.later).run()
        names = {source.id: source.name for source in estate.plane.sources()}
        self.jobs = {names[job.source]: job.id for job in estate.plane.jobs("w1")}
        for name, job in self.jobs.items():
            if name not in left:
                estate.house.service.start(job)
        for _ in range(4):
            estate.house.turn()
            while estate.house.carry(by=estate.appliance):
                pass
        self.said: list[tuple[str, str]] = []

    def run(self) -> list[DrillResult]:
        placements = resolve(self.wave, self.estate.plane.sources()).placements
        drills = wanted(placements, self.estate.plane.jobs("w1"))
        return drill_all(self.estate.plane, drills, lambda *line: self.said.append(line), self._pause)

    def _pause(self, _seconds: float) -> None:
        self.estate.house.clock.advance(1.0)
        self.rehearsal.monitor.look()

    def shown(self) -> dict[str, str]:
        plane = self.estate.plane
        sources, jobs = plane.sources(), plane.jobs("w1")
        placements = resolve(self.wave, sources).placements
        drills = plane.drills([job.id for job in jobs])
        return {row.machine: row.drill for row in status("w1", jobs, sources, placements, {}, drills).rows}


@pytest.fixture
def staged(estate: Estate) -> Iterator[Staged]:
    made = Staged(estate)
    yield made
    made.rehearsal.monitor.close()


def test_each_machine_that_wants_a_drill_is_tried_as_it_wants(staged: Staged) -> None:
    assert staged.shown() == {"db-01": "none so far", "tool-01": "", "web-01": "none so far"}
    results = staged.run()
    assert [(row.machine, row.boots, row.text) for row in results] == [
        ("db-01", True, "boots: login prompt"),
        ("web-01", True, "boots: login prompt"),
    ]
    of = staged.estate.house.store.drills.last(list(staged.jobs.values()))
    assert {name: of[job].network for name, job in staged.jobs.items() if job in of} == {
        "db-01": "none",
        "web-01": "keep",
    }
    assert ("db-01", "boots: login prompt") in staged.said
    shown = staged.shown()
    assert shown["db-01"].startswith("boots: login prompt, 20")
    assert shown["tool-01"] == ""
    assert all(row.image for row in results)


def test_what_does_not_boot_and_what_fails_stop_no_other(staged: Staged) -> None:
    staged.rehearsal.pretended.boot |= {"boots": False, "outcome": "kernel panic", "reason": "no root"}
    assert [(row.boots, row.text) for row in staged.run()] == [
        (False, "does not boot: kernel panic (no root)")
    ] * 2
    staged.rehearsal.pretended.fails = TargetFull("64 MiB are needed", on="/srv", remedy="make room")
    assert [(row.boots, row.text) for row in staged.run()] == [(None, "failed: 64 MiB are needed")] * 2


def test_a_machine_without_an_image_or_a_job_says_so(estate: Estate) -> None:
    staged = Staged(estate, "db-01")
    estate.plane.delete(staged.jobs["web-01"])
    db, web = staged.run()
    assert (db.boots, "has no image yet" in db.text) == (None, True)
    assert (web.boots, "it has no job; `connector batch apply` makes one" in web.text) == (None, True)
    staged.rehearsal.monitor.close()


def test_an_earlier_control_plane_has_no_drills_and_its_waves_are_shown(staged: Staged) -> None:
    staged.estate.desk.refuse = lambda action, _given: (
        NotOffered("no such operation") if "Drill" in action else None
    )
    assert staged.shown()["db-01"] == "none so far"
    assert all(row.text.startswith("not tried: no such operation") for row in staged.run())


def test_a_choice_of_a_drill_changes_no_job(staged: Staged) -> None:
    assert staged.estate.plan(wave(TEXT.replace("drill: true", "drill: false"))).empty
