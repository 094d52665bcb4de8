"""The store on both databases: the schema is the tables, rows are frozen, races have one winner."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.control.domain.entities import Outcome, PassState
from connector.control.domain.jobs import JobEvent, JobStatus
from connector.control.store import NewJob, Store, job_rows, tables
from connector.control.store.database import Database
from connector.control.store.evidence import EvidenceStore
from connector.control.store.pass_ends import ATTEMPTS
from connector.control.store.provider_ledger import StoreLedger, instance_token
from connector.errors import Conflict, ControlFailed, NotFound
from tests.control.conftest import VCENTER, Plane, Robot, machine
from tests.control.earlier import at_revision
from tests.waiting import PATIENCE


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store(url)
    yield made
    made.close()


def _source(store: Store, moref: str = "vm-1") -> str:
    body = asdict(machine(moref, f"m-{moref}")) | {"findings": []}
    return store.sources.put(VCENTER, [body])[moref]


def _together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """The results, or ConnectorErrors, of `work` in threads that start at the same instant."""
    results: list[Any] = [None] * count
    start = threading.Barrier(count)

    def one(n: int) -> None:
        start.wait()
        try:
            results[n] = work(n)
        except (Conflict, ControlFailed) as refused:
            results[n] = refused

    threads = [threading.Thread(target=one, args=[n]) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_the_migrations_build_exactly_the_tables(store: Store) -> None:
    engine = sa.create_engine(store.url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    engine.dispose()
    ours = [d for d in differences if "dbos" not in str(d)]
    assert ours == []


def test_migrating_again_changes_nothing(store: Store, url: str) -> None:
    source = _source(store)
    Store(url).close()
    assert store.sources.get(source).moref == "vm-1"


def test_runs_from_before_there_were_applications_belong_to_none(empty_url: str) -> None:
    url = empty_url
    database = Database(url)
    with at_revision(database, "0006") as connection:
        connection.exec_driver_sql(
            "INSERT INTO sources (id, vcenter, moref, machine, instance_uuid, name, state, reason, facts, findings, seen,"
            " created) VALUES ('s-1', 'v', 'vm-1', 'vm', 'u', 'vm', 'Available', '', '{}', '[]', 1, 1)"
        )
        connection.exec_driver_sql(
            "INSERT INTO jobs (id, source_id, name, status, business, run_once, last_sync, image_name, image_format,"
            " shutdown_deadline, allow_power_off, cutover, created, changed, valid_until, down_since, keep_cbt)"
            " VALUES ('j-1', 's-1', 'j', 'Running', 'Syncing', false, true, 'j', 'raw', 1, false, true, 1000, 1000, 9e9,"
            " 1500, true)"
        )
        connection.exec_driver_sql(
            "INSERT INTO runs (id, job_id, number, kind, plan, started, stop)"
            " VALUES ('r-1', 'j-1', 1, 'Manual', '[\"final\"]', 1400, false)"
        )
        connection.exec_driver_sql(
            "INSERT INTO passes (id, run_id, job_id, slot, attempt, state, offered, vcenter, host, datastores, disk_count,"
            " phase, disks, final, task) VALUES ('p-1', 'r-1', 'j-1', 0, 1, 'Taken', 1450, 'v', 'h', '[]', 1, 'reading',"
            " '[]', true, 'final')"
        )
    database.close()
    store = Store(url)
    job, run = store.jobs.get("j"), store.runs.get("r-1")
    assert (job.application, job.rank, job.down_since, job.keep_cbt) == ("", 0, 1500.0, True)
    assert (run.cohort, run.rank, run.proved, run.started) == (None, 0, False, 1400.0)
    assert [found.phase for found in store.passes.of("j-1")] == ["reading"]
    assert store.applications.final_outcome("r-1") is Outcome.DONE
    store.close()


def test_what_the_first_schema_held_is_still_there(empty_url: str) -> None:
    """Names become unique, and a rebuilt table takes nothing with it that refers to it."""
    url = empty_url
    database = Database(url)
    with at_revision(database, "0001") as connection:
        facts = "'x', 'u', 'twin', 'Available', '', '{}', '[]', 1, 1"
        columns = "vcenter, instance_uuid, name, state, reason, facts, findings, seen, created, id, moref"
        for n in (1, 2):
            row = f"INSERT INTO sources ({columns}) VALUES ({facts}, 's-{n}', 'vm-{n}')"
            connection.exec_driver_sql(row)
            disk = f"INSERT INTO source_disks VALUES ('s-{n}', 2000, 'Hard disk 1', 8, '{{}}')"
            connection.exec_driver_sql(disk)
        connection.exec_driver_sql(
            "INSERT INTO jobs (id, source_id, name, status, business, run_once, last_sync, image_name, image_format,"
            " shutdown_deadline, allow_power_off, cutover, created, changed) VALUES ('j-1', 's-1', 'j', 'Ready', '',"
            " true, false, 'j', 'raw', 1, false, false, 1000, 1000)"
        )
    database.close()
    store = Store(url)
    sources = store.sources.all()
    assert [(s.name, s.machine, len(s.disks)) for s in sources] == [
        ("twin", "twin", 1),
        ("twin_s-2", "twin", 1),
    ]
    assert sources[0].last_job == "j-1"
    assert store.jobs.get("j").valid_until > time.time() + 29 * 86400
    with pytest.raises(sa.exc.IntegrityError), store._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM sources WHERE id = 's-1'")
    store.close()


def test_rows_are_frozen(store: Store) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        store.sources.get(_source(store)).name = "other"  # type: ignore[misc]


def test_of_many_who_want_one_source_one_wins(store: Store) -> None:
    source = _source(store)
    results = _together(6, lambda n: store.jobs.create(NewJob(source, f"job{n}")))
    assert sum(isinstance(r, Conflict) for r in results) == 5
    assert len(store.jobs.all()) == 1


def test_of_many_starts_one_makes_a_run(store: Store) -> None:
    job = store.jobs.create(NewJob(_source(store), "j"))
    results = _together(6, lambda _n: store.jobs.begin(job.id, JobEvent.START))
    assert sum(isinstance(r, Conflict) for r in results) == 5
    assert [run.number for run in store.runs.of(job.id)] == [1]


def _syncing(store: Store) -> str:
    job = store.jobs.create(NewJob(_source(store), "j"))
    run = store.jobs.begin(job.id, JobEvent.START)
    store.jobs.advance(run.id, JobEvent.PREPARED)
    return run.id


def test_of_many_appliances_one_takes_the_pass(store: Store) -> None:
    run = _syncing(store)
    store.passes.offer(run, 0)
    members = [store.appliances.enrol(f"a{n}", VCENTER, "1")[0] for n in range(6)]
    results = _together(6, lambda n: store.pass_queue.take(members[n]))
    assert sum(r is not None for r in results) == 1


def test_a_stop_and_an_offer_at_the_same_time_never_strand_the_pass(store: Store) -> None:
    run = _syncing(store)
    job = store.runs.get(run).job_id
    _together(2, lambda n: store.pass_ends.stop(job) if n else store.passes.offer(run, 0))
    verdict = store.passes.verdict(run, 0)
    assert verdict is not None
    assert verdict.outcome is Outcome.STOPPED


def test_a_stop_and_the_word_that_all_are_proved_never_both_win(store: Store) -> None:
    bodies = [asdict(machine(f"vm-{n}", f"m-{n}")) | {"findings": []} for n in (1, 2)]
    known = store.sources.put(VCENTER, bodies).values()
    ids = [store.jobs.create(NewJob(one, f"j-{one}", run_once=False, frequency=12)).id for one in known]
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET status = 'Waiting'")
    cohort = store.jobs.begin_together(JobEvent.CUTOVER, dict.fromkeys(ids, 0), {})
    appliance = store.appliances.enrol("a", VCENTER, "1")[0]
    open_runs = store.runs.open()
    for run in open_runs:
        store.jobs.advance(run.id, JobEvent.PREPARED)
    for slot, power_tasks in enumerate((True, False)):
        for run in open_runs:
            store.passes.offer(run.id, slot)
        for _ in open_runs:
            found = store.pass_queue.take(appliance, power_tasks)
            assert found is not None
            store.pass_ends.finish(found.id, appliance, Outcome.DONE, None, {})
    results = _together(2, lambda n: store.pass_ends.stop(ids[0]) if n else store.applications.decide(cohort))
    stopped = not any(isinstance(result, Conflict) for result in results)
    words = [store.applications.final_outcome(run.id) for run in open_runs]
    assert sorted(words, key=str) == ([None, Outcome.STOPPED] if stopped else [Outcome.DONE] * 2)


def test_who_refers_to_a_locked_job_need_not_wait_for_it(empty_postgres_url: str) -> None:
    """Else two that lock a job and its run in different orders would wait for each other."""
    store = Store(empty_postgres_url)
    job = store.jobs.create(NewJob(_source(store), "j")).id
    done = threading.Event()
    with store._database.write() as connection:
        job_rows.locked(connection, job)
        writer = threading.Thread(target=lambda: (store.jobs.note(job, "test", "beside it"), done.set()))
        writer.start()
        finished = done.wait(PATIENCE)
    writer.join()
    store.close()
    assert finished


def test_reports_of_the_workflow_may_be_repeated(store: Store) -> None:
    run = _syncing(store)
    for event in (
        JobEvent.PREPARED,
        JobEvent.SYNCED,
        JobEvent.PREPARED,
        JobEvent.SYNCED,
        JobEvent.PROCESSED,
        JobEvent.SYNCED,
    ):
        store.jobs.advance(run, event)
    for _ in range(2):
        store.jobs.settle(run, JobEvent.FINISHED, Outcome.DONE)
    job = store.jobs.get("j")
    assert job.status is JobStatus.FINISHED
    store.jobs.advance(run, JobEvent.PREPARED)
    assert store.jobs.get("j").status is JobStatus.FINISHED


def test_a_late_report_of_an_old_run_does_not_touch_the_new_one(store: Store) -> None:
    old = _syncing(store)
    store.jobs.settle(old, JobEvent.FAILED, Outcome.FAILED, Conflict("x").to_json())
    store.jobs.begin(store.runs.get(old).job_id, JobEvent.START)
    store.jobs.settle(old, JobEvent.STOPPED, Outcome.STOPPED)
    store.jobs.advance(old, JobEvent.PREPARED)
    assert str(store.jobs.get("j").state) == "Running/Preparing"


def test_a_pass_is_given_up_after_many_lost_appliances(store: Store) -> None:
    run = _syncing(store)
    store.passes.offer(run, 0)
    member, _ = store.appliances.enrol("a", VCENTER, "1")
    ended = []
    for _ in range(ATTEMPTS):
        assert store.pass_queue.take(member) is not None
        ended += store.pass_ends.lose(lambda _p: True, "gone")
    assert [p.state for p in ended] == [PassState.FINISHED]
    assert ended[0].error is not None
    what = f"{ATTEMPTS} attempts at this pass ended without a report, the last one at the appliance a: gone"
    assert ended[0].error["what"] == what


def test_one_token_names_one_object(store: Store) -> None:
    job = store.runs.get(_syncing(store)).job_id
    store.resources.record(job, "t", place="vcenter", kind="snapshot", reference="snapshot-1")
    store.resources.record(job, "t", place="vcenter", kind="snapshot", removed=True)
    store.resources.record(job, "t", place="vcenter", kind="snapshot")
    (resource,) = store.resources.of(job)
    assert (resource.reference, resource.removed) == ("snapshot-1", True)
    with pytest.raises(Conflict):
        store.resources.record(job, "t", place="cloud", kind="instance")


def test_an_instance_that_is_made_again_is_a_new_one(store: Store) -> None:
    """Finished, rolled back, started: the released instance's id is not the new one's."""
    job = store.runs.get(_syncing(store)).job_id
    owner = instance_token(job)
    ledger = OwnerLedger(StoreLedger(store.resources), owner)

    def row() -> tuple[str | None, bool]:
        (resource,) = store.resources.of(job)
        return resource.reference, resource.removed

    ledger.own("i-1")
    assert (ledger.instance(), row()) == ("i-1", ("i-1", False))
    ledger.released()
    assert (ledger.instance(), row()) == (None, ("i-1", True))
    store.resources.record(job, owner, place="cloud", kind="instance", made_again=True)
    assert (ledger.instance(), row()) == (None, (None, False))
    ledger.own("i-2")
    assert (ledger.instance(), row()) == ("i-2", ("i-2", False))
    ledger.released()
    ledger.own("i-3")  # the process that would have recorded it before was killed
    assert (ledger.instance(), row()) == ("i-3", ("i-3", False))


def test_the_name_of_an_image_is_free_again_when_its_run_failed_before_it_was_made(store: Store) -> None:
    first = _syncing(store)
    job = store.runs.get(first).job_id
    assert store.resources.reserve_image(job, first, ["a", "b"], "raw").name == "a"
    store.jobs.settle(first, JobEvent.FAILED, Outcome.FAILED, Conflict("x").to_json())
    second = store.jobs.begin(job, JobEvent.START).id
    images = _together(2, lambda _: store.resources.reserve_image(job, second, ["a", "b"], "raw"))
    assert {image.name for image in images} == {"a"}


def test_an_image_that_was_made_keeps_its_name(store: Store) -> None:
    first = _syncing(store)
    job = store.runs.get(first).job_id
    store.resources.reserve_image(job, first, ["a", "b"], "raw")
    store.resources.complete_image(first, {})
    store.jobs.settle(first, JobEvent.FAILED, Outcome.FAILED, Conflict("x").to_json())
    second = store.jobs.begin(job, JobEvent.START).id
    assert store.resources.reserve_image(job, second, ["a", "b"], "raw").name == "b"


def test_evidence_is_kept_packed_and_the_oldest_makes_room(store: Store, url: str) -> None:
    run = _syncing(store)
    member = store.appliances.enrol("a", VCENTER, "1")[0]
    database = Database(url)
    kept = EvidenceStore(database, room=3000)
    store.passes.offer(run, 0)
    for attempt in range(4):
        found = store.pass_queue.take(member)
        assert found is not None
        for _ in range(2):  # repeating it replaces
            kept.put(
                found, bytes([attempt]) * 100_000 + random.Random(attempt).randbytes(1200), f"key {attempt}"
            )
        if attempt < 3:
            store.pass_ends.lose(lambda _p: True, "gone")
    entries = kept.of(found.job_id)
    assert [entry.key for entry in entries] == ["key 2", "key 3"]
    assert [entry.size for entry in entries] == [101_200, 101_200]
    assert kept.manifest(entries[0].pass_id)[:100_000] == b"\x02" * 100_000
    with pytest.raises(NotFound, match="no evidence"):
        kept.manifest("p-none")
    EvidenceStore(database, room=1).put(found, b"alone, and larger than its room", "key 4")
    assert [entry.key for entry in kept.of(found.job_id)] == ["key 4"]
    store.pass_ends.finish(found.id, member, Outcome.DONE, None, {})
    kept.put(found, b"alone, and larger than its room", "key 4")
    with pytest.raises(Conflict, match="this pass has ended"):
        kept.put(found, b"another one, afterwards", "key 4")
    database.close()


def test_a_database_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ControlFailed, match="the database does not answer"):
        Store(f"sqlite:///{tmp_path / 'no' / 'such' / 'directory' / 'x.sqlite'}")


def test_a_run_on_postgresql_survives_a_kill(
    make_plane: Callable[..., Plane], empty_postgres_url: str, tmp_path: Path
) -> None:
    plane = make_plane(database=empty_postgres_url)
    with Robot(plane) as robot:
        robot.register()
        plane.hold("image")
        plane.jobs.create("web-01", "j1")
        plane.jobs.start("j1")
        plane.at("image")
        plane.kill()
        plane.let_go("image")
        plane.start()
        plane.reach("j1", "Finished")
    store = Store(empty_postgres_url)
    log = [(e.who.partition("-")[0], e.action, e.origin) for e in store.audit.page().rows]
    store.close()
    by = "state"  # the key of the state directory
    assert log == [
        (by, "StartReplicationJob", "127.0.0.1"),
        (by, "CreateReplicationJob", "127.0.0.1"),
        ("activation code", "enrol", "127.0.0.1"),
    ]
    assert not list((tmp_path / "state").glob("*.sqlite"))


def test_a_source_is_removed_once_by_whoever_looks_first(store: Store) -> None:
    for n in range(8):
        source = _source(store, f"vm-{n}")
        store.removal.source(source, force=False)
        found = _together(4, lambda _: store.removal.finish())
        assert [one for each in found for one in each] == [source]
