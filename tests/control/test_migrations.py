"""A database of any earlier version opens, with everything in it, and its jobs go on; one of a later version is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector.control.domain.access import Role
from connector.control.domain.entities import Outcome, TagKind, Task
from connector.control.store import JobFilter, Quotas, SourceFilter, Store
from connector.control.store.database import Database
from connector.control.store.sources import GONE, GONE_CODE, OFFLINE, OFFLINE_CODE
from connector.errors import BadInput, ControlFailed
from tests.control.conftest import VCENTER
from tests.control.earlier import BORN, JOBS, REVISIONS, at_revision, fill
from tests.control.house import DAY, House


@pytest.fixture
def url(empty_url: str) -> str:
    return empty_url


@contextmanager
def _open(url: str, folder: Path) -> Iterator[House]:
    """Today's code opens it, and the appliance that stands there has been heard of."""
    house = House(url, folder, Quotas())
    try:
        yield house
    finally:
        house.store.close()


_QUICK = ("0001", "0006", "0007")  # on PostgreSQL, where each database costs a second
_CASES = [
    *(("sqlite", revision) for revision in REVISIONS),
    *(
        pytest.param("postgresql", revision, marks=() if revision in _QUICK else pytest.mark.slow)
        for revision in REVISIONS
    ),
]


@pytest.mark.parametrize(("empty_url", "revision"), _CASES, indirect=["empty_url"])
def test_a_database_of_an_earlier_version_is_read_and_its_jobs_go_on(
    url: str, quick_folder: Path, revision: str
) -> None:
    fill(url, revision)
    with _open(url, quick_folder) as house:
        _everything_is_there(house.store)
        if revision >= "0002":
            _beside_jobs(house.store)
        _jobs_go_on(house)


def _everything_is_there(store: Store) -> None:
    for name, state in JOBS.items():
        job = store.jobs.get(f"j-{name}")
        assert (job.name, (job.status, job.business)) == (name, state)
        assert (job.created, job.source_id, job.run_once) == (BORN, f"s-{name}", name != "waiting")
        (run,) = store.runs.of(job.id)
        assert (run.plan, run.started) == ((Task.READ,), BORN + 60)
        assert [(p.task, p.taken) for p in store.passes.of(job.id)] == [(Task.READ, BORN + 61)]
        assert [image.name for image in store.resources.images(job.id)] == [f"image-{name}"]
        assert {t.reference for t in store.resources.of(job.id)} == {"snapshot-1", "image-1"}
        assert [entry.kind for entry in store.jobs.history(job.id)] == ["created"]
        source = store.sources.get(job.source_id)
        assert (source.name, source.last_job, len(source.disks)) == (f"web-{name}", job.id, 2)
    assert store.jobs.page(JobFilter(), 1, 50).total == len(JOBS) - 1
    assert store.sources.page(SourceFilter(), 1, 50).total == len(JOBS)
    assert [run.job_id for run in store.runs.open()] == ["j-syncing"]


def _beside_jobs(store: Store) -> None:
    (tag,) = store.tags.of(TagKind.JOB, ["j-waiting"])["j-waiting"]
    assert (tag.key, tag.value) == ("team", "shop")
    assert set(store.workgroups.get("g-1").sources) == {f"s-{name}" for name in JOBS}
    assert store.tokens.get("at-1").registered == 9
    assert [(key.id, key.role) for key in store.keys.all()] == [("ak-1", Role.OPERATOR)]
    assert store.jobs.get("j-waiting").definition == {"ImageName": "shop"}


def _jobs_go_on(house: House) -> None:
    for name, ends in (("stopped", "Finished"), ("waiting", "Waiting")):
        house.service.start(f"j-{name}")
        assert house.run(f"j-{name}").status == ends
    house.service.start("j-broken")
    assert house.get("j-broken").error_code == ""


def test_an_appliance_ends_the_pass_that_it_took_before_the_upgrade(url: str, quick_folder: Path) -> None:
    fill(url, "0001")
    with _open(url, quick_folder) as house:
        (mine,) = [a for a in house.store.appliances.all() if a.id == "a-1"]
        assert house.service.heard(mine, {"p-syncing-1-0-1"}) == []
        house.turn()  # its instance stands
        house.finish("p-syncing-1-0-1", mine, Outcome.DONE, None, {})
        assert house.run("j-syncing").status == "Finished"


def test_a_job_from_before_there_was_a_validity_does_not_expire_by_the_upgrade(
    url: str, quick_folder: Path
) -> None:
    """Counted from its creation it would be deleted a week later, with all that it has copied."""
    fill(url, "0001")
    with _open(url, quick_folder) as house:
        house.turn()
        assert house.status("j-waiting") == "Waiting"
        assert house.get("j-waiting").valid_until >= house.clock.now + 29 * DAY


def test_why_a_source_or_job_failed_before_there_were_codes_has_its_code(
    url: str, quick_folder: Path
) -> None:
    fill(url, "0001")
    database = Database(url)
    with database.write() as connection:
        for name, reason in (("done", OFFLINE), ("gone", GONE)):
            connection.execute(
                sa.text("UPDATE sources SET state = 'Unavailable', reason = :reason WHERE id = :id"),
                {"reason": reason, "id": f"s-{name}"},
            )
    database.close()
    with _open(url, quick_folder) as house:
        codes = [house.store.sources.get(f"s-{name}").error_code for name in ("done", "gone", "ready")]
        assert codes == [OFFLINE_CODE, GONE_CODE, ""]
        assert house.get("j-broken").error_code == "ReaderFailed"
        assert house.get("j-waiting").image_id == "m-waiting"
        assert house.get("j-waiting").started == BORN + 60
        house.store.sources.set_online({VCENTER})
        assert house.store.sources.get("s-done").state == "Available"


def test_a_newer_database_is_refused_and_left_as_it_is(url: str) -> None:
    database = Database(url)
    with at_revision(database, "head") as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BadInput) as refused:
        Store(url)
    assert str(refused.value) == (
        "database: a newer version of the control plane has made it (9999, this one knows 0015);"
        " install that version, or restore a backup from before the upgrade"
    )
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"
    database.close()


def test_an_upgrade_that_breaks_off_has_changed_nothing(url: str, quick_folder: Path) -> None:
    fill(url, "0001")
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE evidence (x INTEGER)")  # 0005 stumbles over it
    with pytest.raises((ControlFailed, sa.exc.ProgrammingError)):
        Store(url)
    with database.write() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0001"
        assert "machine" not in {c["name"] for c in sa.inspect(connection).get_columns("sources")}
        connection.exec_driver_sql("DROP TABLE evidence")
    database.close()
    with _open(url, quick_folder) as house:
        _everything_is_there(house.store)
