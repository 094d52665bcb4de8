"""The metrics of a control plane: what they say is what the store and the appliances have, and they wait for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks import crowd
from connector.control.domain import waiting
from connector.control.domain.entities import Outcome
from connector.control.metrics import DatabaseMetrics
from connector.control.store import Quotas, Store, tables
from connector.control.store.database import DatabaseSilent, normal_url
from connector.control.store.watched import WatchedState
from connector.errors import TargetFailed
from connector.metrics.rows import SERIES, MetricOrigin
from connector.metrics.samples import Samples
from connector.metrics.tables import CONTROL
from tests.control import fresh
from tests.control.conftest import DISK, Plane, Robot, machine
from tests.control.house import House
from tests.control.test_replicas import Replicas
from tests.metrics.scrape import collected, scrape, status, until
from tests.waiting import eventually

P = "connector_control_"


def values(samples: Samples, metric: str) -> dict[str, float]:
    """The series of a metric; its labels joined by a blank."""
    return {" ".join(key): value for key, value in samples.values.get(P + metric, {}).items()}


def seen(house: House) -> Samples:
    return collected("control", DatabaseMetrics(house.store.watched.state).collect)


def test_a_pass_is_seen_while_it_runs_and_gone_when_it_has_ended(make_plane: Callable[..., Plane]) -> None:
    plane = make_plane(metrics="127.0.0.1:0")
    url = plane.ready["metrics"]
    eventually(lambda: status(url.replace("metrics", "readyz"))[0] == 200, "it serves")
    assert status(url.replace("metrics", "healthz"))[0] == 200
    with Robot(plane) as robot:
        robot.pause.set()
        robot.register(machine())
        plane.jobs.create("web-01", "job-1")
        plane.jobs.start("job-1")
        job = plane.jobs.id("job-1")
        running = until(url, lambda one: one.value(P + "passes", state="Taken", task="read") == 1, "it runs")
        assert running.value(P + "pass_seconds", job_id=job, task="read") is not None
        assert running.value(P + "job_info", job_id=job, name="job-1") == 1
        assert running.value(P + "jobs", status="Running", business="Syncing") == 1
        (order,) = robot.orders
        client = plane.client(robot.membership)
        client.progress(
            order["pass_id"],
            "reading",
            [
                DISK | {"wanted": 100, "done": 40, "rate": 7.0, "bottleneck": "network"},
                DISK | {"key": 2001, "wanted": 50, "done": 49, "rate": 2.5, "bottleneck": "a hostile word"},
            ],
        )
        client.record(order["pass_id"], "a-snapshot", "snapshot", "snapshot-1")
        open_one = until(url, lambda one: one.value(P + "open_snapshots") == 1, "its snapshot is open")
        assert open_one.value(P + "pass_planned_bytes", job_id=job) == 150
        assert open_one.value(P + "pass_durable_bytes", job_id=job) == 89
        assert open_one.value(P + "pass_rate_bytes_per_second", job_id=job) == 9.5
        assert open_one.value(P + "pass_bottleneck", job_id=job, bottleneck="network") == 1
        assert open_one.value(P + "open_snapshot_seconds", job_id=job) >= 0  # type: ignore[operator]
        client.record(order["pass_id"], "a-snapshot", "snapshot", "snapshot-1", removed=True)
        robot.pause.clear()
        plane.reach("job-1", "Finished")
    ended = scrape(url)
    assert job not in ended.text
    assert ended.value(P + "jobs", status="Finished", business="") == 1
    assert ended.value(P + "runs_ended_last_hour", kind="Manual", outcome="done") == 1
    assert ended.value(P + "open_snapshots") == 0
    assert ended.value(P + "runner_active") == 1
    assert ended.value(P + "appliances", state="approved") == 1
    assert (
        ended.value("connector_certificate_not_after_timestamp_seconds", certificate="control") > time.time()
    )  # type: ignore[operator]
    known = {plane.ready[word] for word in ("thumbprint",)}
    secrets = [Path(plane.ready["activation_code_file"]).read_text().strip(), *known]
    assert not [secret for secret in secrets if secret in ended.text]


def test_metrics_are_off_by_default(plane: Plane) -> None:
    assert "metrics" not in plane.ready


def test_source_is_down_while_it_is_down(house: House) -> None:
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={"predicted_downtime": 300.0})
    house.turn()
    taken = house.take()
    assert taken is not None
    assert values(seen(house), "sources_down") == {"": 0}
    house.store.cutovers.going_down(job, taken.id)
    since = house.clock.now
    house.clock.advance(100)
    down = seen(house)
    assert values(down, "sources_down") == {"": 1}
    assert values(down, "source_down_since_timestamp_seconds") == {job: since}
    assert values(down, "source_down_at_rest") == {job: 0}
    assert values(down, "source_back_in_seconds") == {job: 200}
    assert values(down, "predicted_downtime_seconds") == {job: 300}
    house.finish(taken.id, house.appliance, Outcome.FAILED, TargetFailed("broken").to_json(), {})
    house.turn()
    failed = seen(house)
    assert values(failed, "source_down_at_rest") == {job: 1}
    assert values(failed, "source_back_in_seconds") == {}
    assert values(failed, "failed_jobs") == {"TargetFailed": 1}
    house.service.start(job)
    house.run(job)
    assert house.status(job) == "Finished"
    assert values(seen(house), "sources_down") == {"": 0}
    assert values(seen(house), "source_down_since_timestamp_seconds") == {}


def test_why_passes_wait_is_one_of_few_words(make_house: Callable[[Quotas], House]) -> None:
    house = make_house(Quotas(passes=1))
    for name in ("a", "b", "c"):
        house.service.start(house.job(name))
    house.turn()
    house.turn()
    assert values(seen(house), "waiting_passes") == {"appliance_busy": 3}
    assert values(seen(house), "passes") == {"Offered read": 3}
    first = house.take()
    assert first is not None
    house.clock.advance(5)
    house.turn()
    assert values(seen(house), "waiting_passes") == {"limit": 2}
    assert values(seen(house), "passes") == {"Offered read": 2, "Taken read": 1}
    assert values(seen(house), "oldest_waiting_pass_seconds")[""] >= 5
    house.finish(
        first.id, house.appliance, Outcome.STOPPED, TargetFailed("the datastore is full").to_json(), {}
    )
    house.clock.advance(3600)
    house.watch.look()
    assert values(seen(house), "waiting_passes") == {"appliance_offline": 3}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "new"),
        ("rests, and is tried again at 10:00:00 UTC: waits for room at x", "resting"),
        ("waits: the appliance a1 is not online", "appliance_offline"),
        ("waits: none of the appliances a, b and 3 more is online", "appliance_offline"),
        ("waits: no appliance of its vCenter is online", "appliance_offline"),
        ("waits: 4 of 4 disks on host host-1 are being read (limit host_disks)", "limit"),
        ("waits its turn behind the older pass of job job-1", "turn"),
        ("waits for web-01 to be ready", "application"),
        ("waits: its application is rolled back", "application"),
        ("proved, waits for web-02 to be proved", "application"),
        ("a text of a later release", "other"),
    ],
)
def test_a_reason_is_known_by_its_beginning(text: str, word: str) -> None:
    assert waiting.reason(text) == word


def test_jobs_that_expire_soon_are_counted(house: House) -> None:
    began = house.clock.now
    for name, days in (("a", 10), ("b", 13), ("c", 60)):
        house.job(name, valid_until=began + days * 86400)
    assert values(seen(house), "expiring_jobs") == {"86400": 0, "604800": 0}
    house.clock.advance(9 * 86400 + 3600)
    found = seen(house)
    assert values(found, "expiring_jobs") == {"86400": 1, "604800": 2}
    assert values(found, "next_expiry_timestamp_seconds") == {"": began + 10 * 86400}


def test_a_held_state_is_said(house: House) -> None:
    assert values(seen(house), "state_held") == {"": 0}
    house.store.epochs.hold("a backup was put back")
    assert values(seen(house), "state_held") == {"": 1}


@pytest.fixture(params=["sqlite", "postgresql"])
def crowded(request: pytest.FixtureRequest, quick_folder: Path) -> Any:
    """A database with 10,000 jobs, 2,000 of which have a running pass, an open snapshot and a source that is down."""
    if request.param == "sqlite":
        url = f"sqlite:///{quick_folder / 'crowd.sqlite'}"
    else:
        url = fresh.empty_postgres(request.getfixturevalue("postgres_server"))
    crowd.fill(url, 10_000)
    engine = sa.create_engine(normal_url(url))
    with engine.begin() as connection:
        _make_busy(connection, 2000)
    engine.dispose()
    yield url
    fresh.drop(url)


def _make_busy(connection: sa.Connection, count: int) -> None:
    passes, jobs, objects = tables.passes, tables.jobs, tables.objects
    ids = list(
        connection.execute(sa.select(passes.c.job_id).order_by(passes.c.job_id).limit(count)).scalars()
    )
    busy = passes.c.job_id.in_(ids)
    connection.execute(passes.update().where(busy).values(state="Taken", disks=[DISK], appliance_id="a-0"))
    down = {"status": "Running", "business": "Syncing", "down_since": 1.0, "predicted_downtime": 5.0}
    connection.execute(jobs.update().where(jobs.c.id.in_(ids)).values(**down, cutover=True))
    rows = [
        {"token": f"snap-{job}", "job_id": job, "place": "vcenter", "kind": "snapshot"}
        | {"removed": False, "created": 1.0, "trouble": "", "reference": None, "pass_id": None}
        for job in ids
    ]
    connection.execute(objects.insert(), rows)


def test_labels_stay_bounded_with_10_000_jobs(crowded: str) -> None:
    with closing(Store(crowded)) as store:
        found = collected("control", DatabaseMetrics(store.watched.state, patience=240).collect)
        queries: list[str] = []
        sa.event.listen(
            store._database._engine, "before_cursor_execute", lambda *said: queries.append(said[2])
        )
        store.watched.state()
    assert max(len(series) for series in found.values.values()) == SERIES
    assert sum(len(series) for series in found.values.values()) < 12 * SERIES
    assert values(found, "sources_down") == {"": 2000}
    assert values(found, "open_snapshots") == {"": 2000}
    assert values(found, "passes")["Taken read"] == 2000
    assert found.left_out[P + "source_down_at_rest"] == 1500
    assert sum(values(found, "jobs").values()) == 10_000
    assert len(queries) < 25


def test_a_database_that_does_not_answer_is_said_and_not_waited_for(
    empty_postgres_url: str, make_plane: Any
) -> None:
    """Somebody has locked a table: a query waits for as long as the lock is held."""
    plane = make_plane(database=empty_postgres_url, metrics="127.0.0.1:0")
    url = plane.ready["metrics"]
    assert scrape(url).value(P + "database_up") == 1
    engine = sa.create_engine(normal_url(empty_postgres_url))
    with engine.connect() as other, other.begin():
        other.execute(sa.text("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE"))
        silent = scrape(url)
        assert silent.value(P + "database_up") == 0
        assert silent.value("connector_ready") == 1
        assert silent.value(P + "runner_active") == 1
        assert P + "jobs" not in silent.samples
        assert scrape(url).value(P + "database_up") == 0
    engine.dispose()
    until(url, lambda one: one.value(P + "database_up") == 1, "the database answers again")


def test_two_control_planes_on_one_database_count_nothing_twice(
    quick_folder: Path, empty_postgres_url: str
) -> None:
    """What is of the database is the same in both, and says so in its help; the rest is of each process."""
    replicas = Replicas(quick_folder, empty_postgres_url, 2)
    try:
        urls = [str(started.ready["metrics"]) for started in replicas.children]
        eventually(lambda: replicas.active() is not None, "one moves the jobs")
        for url in urls:
            until(url, lambda one: one.value(P + "state_held") == 0, "the database is there")
        first, second = (scrape(url) for url in urls)
    finally:
        replicas.close()
    assert sorted([first.value(P + "runner_active"), second.value(P + "runner_active")]) == [0, 1]  # type: ignore[type-var]
    shared = {row.name for row in CONTROL if row.origin is MetricOrigin.DATABASE}
    assert {name: first.samples.get(name) for name in shared} == {
        name: second.samples.get(name) for name in shared
    }
    assert all(f"# HELP {name} " in first.text for name in shared & first.samples.keys())
    helps = [line for line in first.text.splitlines() if line.startswith("# HELP connector_control_")]
    said = {
        line.split()[2]
        for line in helps
        if line.endswith("(of the database: the same in each control plane)")
    }
    assert said == shared & first.samples.keys()


def test_scrapes_that_come_meanwhile_ask_the_database_once() -> None:
    asked, answer = [], threading.Event()

    def read() -> WatchedState:
        asked.append(threading.current_thread().name)
        answer.wait()
        raise DatabaseSilent("the database does not answer")

    source = DatabaseMetrics(read, patience=0.01)
    for _ in range(5):
        assert values(collected("control", source.collect), "database_up") == {"": 0}
    assert asked == ["metrics database"]
    answer.set()
