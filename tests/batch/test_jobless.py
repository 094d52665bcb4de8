"""A machine of the manifest without a job: its group is not finished, and what waits for it is not shut down."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.batch.apply import Apply
from connector.batch.cutover import CutoverResult
from connector.cli.batch import cutover_code
from connector.errors import Conflict
from tests.batch.conftest import Estate, wave
from tests.batch.test_cutover import ORDERED, WAVE, Cut, beside, hook


@pytest.fixture
def cut(estate: Estate) -> Cut:
    ready = Cut(estate)
    ready.ready()
    return ready


def deleted(cut: Cut, machine: str) -> None:
    """Somebody deletes the job of a machine, and it is gone."""
    names = {source.id: source.name for source in cut.estate.plane.sources()}
    (job,) = [job.id for job in cut.estate.plane.jobs("w1") if names[job.source] == machine]
    cut.estate.plane.delete(job)
    for _ in range(3):
        cut.estate.house.turn()
    assert machine not in cut.states()


def test_a_group_whose_only_job_is_gone_is_not_finished_and_is_said(cut: Cut, tmp_path: Path) -> None:
    deleted(cut, "db-01")
    cut.text += hook("before-cutover", ["touch", str(tmp_path / "begun")])
    with pytest.raises(Conflict, match="1 machine of the manifest without a job: db-01") as refused:
        cut.run(regardless=True)
    assert refused.value.on == "group db"
    assert "connector batch apply wave.yaml" in refused.value.remedy
    assert "take out of the manifest" in refused.value.remedy
    assert set(cut.states().values()) == {"Waiting"}
    assert not (tmp_path / "begun").exists()


def test_a_group_without_jobs_stops_only_what_waits_for_it(estate: Estate) -> None:
    cut = Cut(estate, beside(estate, -10))
    cut.ready()
    deleted(cut, "db-01")
    done = cut.run()
    assert done == CutoverResult(("group web",), (), ("group db", "group late"))
    assert cutover_code(done) == 11
    assert "group db: 1 machine of the manifest without a job: db-01" in cut.said[-1]


def test_a_machine_that_was_added_and_not_applied_keeps_its_group_from_its_cutover(cut: Cut) -> None:
    cut.estate.has("db-02")
    cut.text = WAVE.replace("  - {name: db-01,", "  - {name: db-02, group: db}\n  - {name: db-01,")
    with pytest.raises(Conflict, match="without a job: db-02"):
        cut.run(regardless=True)
    planned = cut.estate.plan(wave(cut.text))
    assert not Apply(cut.estate.plane, planned, clock=cut.estate.house.clock).run().failures
    for _ in range(6):
        cut.work()
    assert cut.run(regardless=True).finished == ("group db", "group web")


def test_an_application_is_not_made_of_the_jobs_that_are_left(cut: Cut) -> None:
    cut.text = ORDERED
    deleted(cut, "web-02")
    assert cut.run(regardless=True) == CutoverResult(("group db",), (), ("group web",))
    assert "group web: 1 machine of the manifest without a job: web-02" in cut.said[-1]
    assert cut.states() == {"db-01": "Finished", "web-01": "Waiting"}


def test_a_machine_that_the_manifest_leaves_out_keeps_nobody_waiting(cut: Cut) -> None:
    deleted(cut, "db-01")
    cut.text = WAVE.replace("  - {name: db-01, group: db}\n", "")
    assert cut.run(regardless=True) == CutoverResult(("group web",))


@pytest.mark.parametrize("entry", ["name: no-such", "selector: 'name:no-such*'"])
def test_an_entry_that_names_no_machine_is_a_machine_without_a_job(cut: Cut, entry: str) -> None:
    cut.text = WAVE.replace("- {name: db}", "- {name: db, after: [new]}\n  - {name: new}")
    cut.text = cut.text.replace("machines:", f"machines:\n  - {{{entry}, group: new}}")
    with pytest.raises(Conflict, match=r"without a job: .*no-such"):
        cut.run(regardless=True)
    assert set(cut.states().values()) == {"Waiting"}


def test_a_finished_machine_that_is_no_source_any_more_keeps_nobody_waiting(cut: Cut) -> None:
    assert cut.run(regardless=True).finished == ("group db", "group web")
    cut.estate.loses("db-01")
    assert cut.run(regardless=True).finished == ("group db", "group web")


def test_a_machine_waits_for_what_the_manifest_says_now_not_for_what_was_applied(cut: Cut) -> None:
    """Its job has the tag of the group that it was in."""
    cut.text = WAVE.replace("web-02, group: web", "web-02, group: db").replace(
        "db-01, group: db", "db-01, group: web"
    )
    cut.run(regardless=True)
    order = [line.partition(":")[0] for line in cut.said if "finished, image" in line]
    assert order[0] == "web-02"
