"""What appliances tell about their sources, and what the control plane makes of it."""

from __future__ import annotations

from connector.control.store.rows import Outcome
from tests.control.house import House


def _texts(house: House, job: str, kind: str) -> list[str]:
    return [entry.text for entry in house.store.jobs.history(job) if entry.kind == kind]


def test_a_pass_that_is_handed_back_rests_and_its_job_says_why(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    for _ in range(25):  # more often than an appliance may be lost
        found = house.take()
        assert found is not None
        why = {"error": "Interrupted", "what": "datastore ds has 3.0% free", "on": "j", "remedy": ""}
        house.service.finish(found.id, house.appliance, Outcome.STOPPED, why, {}, rest=300.0)
        house.turn()
        assert house.take() is None
        waiting = house.get(job).waiting
        assert waiting.startswith("rests, and is tried again at ")
        assert waiting.endswith(" UTC: datastore ds has 3.0% free")
        house.later(301.0)
    assert _texts(house, job, "lost")[-1].endswith("handed back: datastore ds has 3.0% free")
    house.carry()
    house.turn()
    assert house.status(job) == "Finished"


def test_a_resting_pass_is_stopped_at_once_and_without_an_error(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    house.service.finish(found.id, house.appliance, Outcome.STOPPED, {"what": "full"}, {}, rest=300.0)
    house.service.stop(job)
    house.turn()
    assert (house.status(job), house.get(job).error) == ("Stopped", None)


def test_giving_back_when_asked_to_stop_is_stopping(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    house.service.stop(job)
    house.service.finish(found.id, house.appliance, Outcome.STOPPED, {"what": "full"}, {}, rest=300.0)
    house.turn()
    assert (house.status(job), house.get(job).error) == ("Stopped", None)


def test_invariant_3_what_resists_stays_in_the_log_and_with_the_job_until_it_is_mended(house: House) -> None:
    job = house.incremental()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None

    def told(trouble: str) -> None:
        house.store.things.record(
            job, "snap", place="vcenter", kind="snapshot", pass_id=found.id, trouble=trouble
        )

    for trouble in ("", "a file is locked", "a file is locked"):
        told(trouble)
    house.service.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert house.status(job) == "Waiting"
    assert _texts(house, job, "left") == ["snapshot snap still stands in vCenter: a file is locked"]
    ((_, thing),) = house.service.leftovers(house.appliance)
    assert (thing.token, thing.trouble) == ("snap", "a file is locked")
    house.store.things.cleaned("snap", house.appliance.vcenter, "the datastore is gone")
    assert len(_texts(house, job, "left")) == 2
    house.store.things.cleaned("snap", house.appliance.vcenter)
    assert _texts(house, job, "mended") == ["snapshot snap is gone"]
    assert not house.service.leftovers(house.appliance)
