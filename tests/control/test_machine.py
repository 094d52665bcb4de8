"""People, appliances, time and crashes in any order: jobs go only where the table leads, and nothing is left over."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from connector.cloud.provider import Health
from connector.control.domain import jobs as machine
from connector.control.domain.entities import Job, Outcome, Pass, PassState
from connector.control.domain.jobs import JobStatus
from connector.control.store import NewJob, Quotas
from connector.control.store.sources import OFFLINE_CODE
from connector.errors import Conflict, ControlFailed, NotFound
from connector.specification.fields import JOB_FIELDS
from tests.control import fresh
from tests.control.house import DAY, GRACE, HOUR, Crash, House

CHANGES = {
    "description": "other",
    "frequency": 24,
    "ReplicationParameters": '{"bandwidth_limit": 1}',
    "NetMode": 0,
    "shutdown_deadline": 30,
    "valid_until": None,
}
KEPT_AS = {field.column or field.name: field for field in JOB_FIELDS}
LIMITS = Quotas(running=2, host_disks=2)
MACHINES = ("a", "b", "c")


class Life(RuleBasedStateMachine):
    """Three machines with two disks each on one host, so that one is read at a time; two appliances."""

    url = ""  # of an empty database; set by the test

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        path = Path(self.folder.name)
        self.house = House(self.url or fresh.sqlite(path / "x.sqlite"), path, LIMITS)
        if self.url:
            _empty(self.house)
        self.house.cloud.instances.clear()
        self.members = [self.house.enrol("first"), self.house.enrol("second")]
        self.house.register(*MACHINES)
        self.held: dict[str, tuple[int, Pass]] = {}
        self.number = 0
        self.stolen: set[str] = set()

    def teardown(self) -> None:
        try:
            for job in self.house.store.jobs.all([*JobStatus]):
                self.led_along_the_table(job)
        finally:
            self.house.store.close()
            self.folder.cleanup()

    def led_along_the_table(self, job: Job) -> None:
        """Its log, from Ready to where it is now, is a path of the table: whoever moved it, whatever died meanwhile."""
        state = machine.READY
        for entry in self.house.store.jobs.history(job.id, 10_000):
            before, arrow, after = entry.text.partition(": ")[0].partition(" -> ")
            if arrow:
                assert before == str(state), entry
                state = machine.follow(state, machine.JobEvent(entry.kind))
                assert after == str(state), entry
        assert state == job.state

    @rule(name=st.sampled_from(MACHINES), incremental=st.booleans())
    def create(self, name: str, incremental: bool) -> None:
        self.number += 1
        new_job = NewJob(self.house.sources[f"vm-{name}"], f"job{self.number}", not incremental)
        more = {"frequency": 24, "max_images": 2} if incremental else {}
        with suppress(Conflict, NotFound):
            self.house.service.create(NewJob(**{**_fields(new_job), **more}))

    @rule(
        n=st.integers(0, 5), what=st.sampled_from(["start", "stop", "delete", "close", "cutover", "rollback"])
    )
    def ask(self, n: int, what: str) -> None:
        """A person asks for something; it happens exactly when the table allows it."""
        if not (alive := self.house.store.jobs.all()):
            return
        job = alive[n % len(alive)]
        event = machine.JobEvent(what)
        possible = event in machine.events(job.state)
        if event is machine.JobEvent.ROLLBACK:
            possible = possible and (job.cutover or job.last_sync)
        service = self.house.service
        try:
            if event in (machine.JobEvent.CLOSE, machine.JobEvent.CUTOVER):
                service.cutover(job.id, last_sync=event is machine.JobEvent.CUTOVER, changes={})
            else:
                getattr(service, what)(job.id)
        except Conflict:
            more = (
                "valid time",
                "as many jobs run",
                "not available",
                "runs once",
                "another job has the source",
            )
            hindered = (machine.JobEvent.START, machine.JobEvent.CUTOVER, machine.JobEvent.ROLLBACK)
            assert not possible or event in hindered, more
            return
        assert possible, f"{what} while {job.state}"

    @rule(n=st.integers(0, 5), what=st.sampled_from(sorted(CHANGES)))
    def modify(self, n: int, what: str) -> None:
        """A person changes something; it happens exactly when the state allows it."""
        if not (alive := self.house.store.jobs.all()):
            return
        job = alive[n % len(alive)]
        value = CHANGES[what] if what != "valid_until" else job.created + 40 * DAY
        try:
            self.house.service.modify(job.id, {what: value})
        except Conflict:
            assert not machine.modifiable(job.state, KEPT_AS[what]), f"{what} while {job.state}"
            return
        assert machine.modifiable(job.state, KEPT_AS[what]), f"{what} while {job.state}"

    @precondition(lambda self: self.house.cloud.instances)
    @rule(n=st.integers(0, 5))
    def somebody_removes_an_instance(self, n: int) -> None:
        """In the cloud's own console, although its name says not to."""
        names = sorted(self.house.cloud.instances)
        self.stolen.add(names[n % len(names)])
        del self.house.cloud.instances[names[n % len(names)]]

    @rule(name=st.sampled_from(MACHINES), force=st.booleans())
    def delete_source(self, name: str, force: bool) -> None:
        with suppress(Conflict, NotFound):
            self.house.service.delete_source(self.house.sources[f"vm-{name}"], force=force)

    @rule()
    def scan(self) -> None:
        self.house.register(*MACHINES)

    @rule(who=st.integers(0, 1), power_tasks=st.booleans())
    def take(self, who: int, power_tasks: bool) -> None:
        found = self.house.take(self.members[who], power_tasks)
        if found is not None:
            self.held[found.id] = (who, found)

    @precondition(lambda self: self.held)
    @rule(n=st.integers(0, 5), outcome=st.sampled_from(Outcome))
    def report(self, n: int, outcome: Outcome) -> None:
        """An appliance reports, perhaps about a pass that is another's by now."""
        pass_id = sorted(self.held)[n % len(self.held)]
        who, found = self.held.pop(pass_id)
        with suppress(Conflict):
            try:
                self.house.finish(pass_id, self.members[who], outcome, None, {})
            except ControlFailed as silent:  # what it read cannot be confirmed: it says so again
                assert silent.retryable
                assert self.house.steps.instances.find(found.job_id) is None
                self.held[pass_id] = who, found

    @rule(who=st.integers(0, 1))
    def restart_appliance(self, who: int) -> None:
        """It holds nothing any more, and says so."""
        self.held = {k: v for k, v in self.held.items() if v[0] != who}
        self.house.clock.advance(GRACE)
        for other, member in enumerate(self.members):
            self.house.service.heard(member, {k for k, v in self.held.items() if v[0] == other})

    @rule(crash_after=st.none() | st.integers(0, 12))
    def turn(self, crash_after: int | None) -> None:
        """The active runner works, and may die between any two steps; another one is active then."""
        try:
            self.house.turn(crash_after)
        except Crash:
            self.house.crash()

    @rule(seconds=st.sampled_from([HOUR, 25 * HOUR, 8 * DAY]))
    def wait(self, seconds: float) -> None:
        self.house.clock.advance(seconds)

    @rule()
    def nobody_is_heard(self) -> None:
        self.house.watch.look()
        self.house.clock.advance(GRACE + 1)
        self.house.watch.look()

    @invariant()
    def limits_hold(self) -> None:
        running = self.house.store.jobs.all([JobStatus.RUNNING])
        forward = [job for job in running if job.state != machine.ROLLING_BACK]  # the way back is always open
        assert len(forward) <= LIMITS.running
        taken = [p for job in self.house.store.jobs.all() for p in self.house.store.passes.of(job.id)]
        reading = [p for p in taken if p.state is PassState.TAKEN and p.task.reads]
        assert sum(p.disk_count for p in reading) <= LIMITS.host_disks

    @invariant()
    def a_source_is_used_exactly_while_it_has_an_unfinished_job(self) -> None:
        unfinished = [job.source_id for job in self.house.store.jobs.all(list(machine.UNFINISHED))]
        assert len(unfinished) == len(set(unfinished))
        for source in self.house.store.sources.all():
            assert (source.state == "InUse") == (source.id in unfinished)
            assert source.state != "Available" or source.error_code != OFFLINE_CODE

    @invariant()
    def one_run_is_open_exactly_while_its_job_runs(self) -> None:
        open_runs = [run.job_id for run in self.house.store.runs.open()]
        assert sorted(open_runs) == sorted(job.id for job in self.house.store.jobs.all([JobStatus.RUNNING]))

    @invariant()
    def over_is_over(self) -> None:
        for job in self.house.store.jobs.all([JobStatus.DELETED]):
            assert f"instance-{job.id}" not in self.house.cloud.instances

    @invariant()
    def a_finished_run_has_one_image_and_nothing_else(self) -> None:
        for job in self.house.store.jobs.all([JobStatus.FINISHED]):
            assert f"instance-{job.id}" not in self.house.cloud.instances
            images = [i for i in self.house.store.resources.images(job.id) if i.ready and not i.removed]
            assert {image.name for image in images} <= set(self.house.cloud.images)
            assert len({image.run_id for image in images}) == len(images)
        for job in self.house.store.jobs.all([JobStatus.WAITING]):
            assert (
                f"instance-{job.id}" in self.stolen
                or self.house.cloud.instances.get(f"instance-{job.id}") is Health.STOPPED
            )


def _fields(new_job: NewJob) -> dict[str, object]:
    return {name: getattr(new_job, name) for name in new_job.__slots__}


def _empty(house: House) -> None:
    """The same database serves every example: the jobs of the one before are of the past."""
    from connector.control.store import tables

    with house.store._database.write() as connection:
        of_the_database = (tables.epochs, tables.writers)
        for table in reversed([one for one in tables.metadata.sorted_tables if one not in of_the_database]):
            connection.execute(table.delete())
    house.appliance = house.enrol("a1")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    yield "" if request.param == "sqlite" else request.getfixturevalue("empty_postgres_url")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("examples", "steps"), [(8, 40), pytest.param(100, 60, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_order_of_wishes_crashes_and_time_leaves_the_table(
    database: str, examples: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Life, "url", database)
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            report_multiple_bugs=False,
        ),
    )
