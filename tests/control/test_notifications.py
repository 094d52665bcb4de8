"""The outbox: what the database says becomes notifications, each is delivered once or again with the same id."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from connector.control.domain.conditions import NotificationFacts
from connector.control.domain.entities import Outcome
from connector.control.domain.notification_text import document
from connector.control.domain.notified_events import DAY, EVENTS, HOUR, EventSeverity
from connector.control.domain.notifying import RecipientFilter
from connector.control.metrics import DatabaseMetrics
from connector.control.notifications.outcome import PATIENCE, AttemptOutcome
from connector.control.notifications.sender import LEASE, Notifier, Sender
from connector.control.notifications.settings import NotificationsSection, WebhookSection
from connector.control.store import Quotas, Store, tables
from connector.control.store import notification_facts as facts
from connector.control.store.notifications import Delivery, DeliveryState
from tests.control import fresh
from tests.control.conftest import Plane, Robot, machine
from tests.control.house import House
from tests.metrics.scrape import collected
from tests.waiting import eventually

OPS: Final = RecipientFilter("ops")
LOOK: Final = 20.0


def look(house: House, *recipients: RecipientFilter, seconds: float = LOOK, beats: bool = True) -> int:
    """Looks for so long, again and again; the appliance is heard of if it `beats`."""
    count = 0
    for _ in range(max(1, round(seconds / LOOK))):
        house.clock.advance(LOOK)
        if beats:
            house.store.appliances.beat(house.appliance.id)
        count += house.store.notifications.decide(recipients or (OPS,), document)
    return count


class Taken:
    """A courier that keeps what it gets, and answers what it is told to."""

    def __init__(self, name: str = "ops") -> None:
        self.name, self.got = name, list[Delivery]()
        self.answer = AttemptOutcome()

    def deliver(self, delivery: Delivery) -> AttemptOutcome:
        self.got.append(delivery)
        return self.answer

    @property
    def told(self) -> list[str]:
        return [f"{one.event} {one.phase}" for one in self.got]


def send(house: House, to: Taken) -> list[str]:
    """Everything that is due now."""
    before, sender = len(to.got), Sender(house.store, to)
    while sender.step() == 0.0:
        pass
    return to.told[before:]


def incremental(house: House) -> str:
    """A job that waits after its first run."""
    job = house.incremental()
    house.service.start(job)
    assert house.run(job).status == "Waiting"
    return job


def test_a_job_that_fails_and_one_that_finishes_are_told_once(house: House) -> None:
    look(house)
    job, other = house.job("a"), house.job("b")
    house.service.start(job)
    house.turn()
    house.carry(Outcome.FAILED)
    house.turn()
    house.service.start(other)
    assert house.run(other).status == "Finished"
    assert house.get(job).status == "InError"
    assert look(house) == 2
    ops = Taken()
    assert sorted(send(house, ops)) == ["job-failed raised", "job-finished raised"]
    for _ in range(100):
        assert look(house, seconds=60) == 0 and send(house, ops) == []
    bodies = {one.event: json.loads(one.document) for one in ops.got}
    assert bodies["job-failed"]["figures"] == {"error": "TargetFailed"}
    assert bodies["job-failed"]["subject"] == {"kind": "job", "id": job}
    assert bodies["job-finished"]["untrusted"] == {"name": "job-b"}


def test_a_failure_that_was_repaired_before_anybody_looked_is_told(house: House) -> None:
    look(house)
    job = house.job()
    house.service.start(job)
    house.turn()
    house.carry(Outcome.FAILED)
    house.turn()
    house.service.start(job)
    assert house.run(job).status == "Finished"
    look(house)
    ops = Taken()
    assert sorted(send(house, ops)) == ["job-failed raised", "job-finished raised"]
    assert json.loads(ops.got[0].document)["event"] in ("job-failed", "job-finished")
    failed = next(one for one in ops.got if one.event == "job-failed")
    assert json.loads(failed.document)["figures"] == {"error": "TargetFailed"}


def test_what_was_before_notifications_and_what_is_old_is_not_told(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.run(job)
    assert look(house) == 0
    other = house.job("other")
    house.service.start(other)
    house.run(other)
    house.clock.advance(2 * DAY)  # notifications were off meanwhile
    assert look(house) == 0


def test_a_restart_neither_repeats_nor_loses(house: House) -> None:
    look(house)
    job = house.job()
    house.service.start(job)
    house.run(job)
    house.crash()
    assert look(house) == 1
    house.crash()
    assert look(house) == 0
    ops = Taken()
    assert send(house, ops) == ["job-finished raised"]
    house.crash()
    assert send(house, ops) == []


def test_a_source_that_is_down_too_long_is_told_and_its_return_too(house: House) -> None:
    look(house)
    job = incremental(house)
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    taken = house.take()
    assert taken is not None
    house.store.cutovers.going_down(job, taken.id)
    ops = Taken()
    look(house, seconds=600)
    assert "source-down raised" not in send(house, ops)  # an hour without a forecast
    house.finish(taken.id, house.appliance, Outcome.FAILED, {"error": "TargetFull", "what": "full"}, {})
    house.turn()
    assert house.get(job).status == "InError"
    look(house, seconds=400)
    assert "source-down raised" in send(house, ops)
    house.turn()
    look(house, seconds=HOUR)
    assert send(house, ops) == ["source-down reminder"]
    down = json.loads(ops.got[-1].document)
    assert down["severity"] == "critical" and "Nothing is under way that ends it" in down["text"]
    house.service.rollback(job)
    for _ in range(4):
        house.turn()
        house.carry(power_tasks=True)
    house.turn()
    assert house.get(job).down_since is None
    look(house, seconds=200)
    assert "source-down over" in send(house, ops)


def test_an_old_snapshot_an_expiring_job_and_a_silent_appliance(house: House) -> None:
    look(house)
    job = incremental(house)
    house.service.start(job)
    house.turn()
    taken = house.take()
    assert taken is not None
    house.store.resources.record(job, "t-1", place="vcenter", kind="snapshot")
    house.clock.advance(2 * DAY)
    house.store.appliances.beat(house.appliance.id)
    ops = Taken()
    look(house)
    assert send(house, ops) == ["snapshot-too-old raised"]
    house.store.resources.record(job, "t-1", place="vcenter", kind="snapshot", removed=True)
    look(house, seconds=290)
    look(house, seconds=60)
    assert "snapshot-too-old over" in send(house, ops)
    look(house, seconds=600, beats=False)
    assert "appliance-silent raised" in send(house, ops)


def test_an_incremental_job_whose_validity_ends_is_due_for_its_cutover(house: House) -> None:
    look(house)
    job = incremental(house)
    with house.store._database.write() as connection:
        connection.execute(tables.jobs.update().values(valid_until=house.clock.now + DAY - 60))
    ops = Taken()
    look(house)
    assert send(house, ops) == ["cutover-due raised"]
    assert json.loads(ops.got[0].document)["subject"]["id"] == job


def test_a_datastore_that_fills_is_what_the_appliance_reports(house: House) -> None:
    look(house)
    job = house.job()
    house.service.start(job)
    house.turn()
    taken = house.take()
    assert taken is not None
    ops = Taken()

    def report(free: float | None) -> list[str]:
        house.store.pass_ends.progress(taken.id, house.appliance, "reading", [], free)
        look(house, seconds=140)
        return send(house, ops)

    assert report(0.5) == report(None) == []
    assert report(0.07) == ["datastore-filling raised"]
    assert json.loads(ops.got[-1].document)["text"].endswith("7.0% free while its snapshot is open.")
    assert report(0.09) == []
    assert report(0.2) == []
    assert report(0.2) + report(0.2) == ["datastore-filling over"]


def test_deltas_that_do_not_become_smaller(house: House) -> None:
    look(house)
    job = incremental(house)
    ops = Taken()
    for _ in range(3):
        house.clock.advance(HOUR)
        house.service.start(job)
        house.turn()
        taken = house.take()
        assert taken is not None
        disk = {"kind": "delta", "planned": 50 << 30, "read": 50 << 30, "seconds": 2 * HOUR}
        house.finish(taken.id, house.appliance, Outcome.DONE, None, {"disks": [disk]})
        house.turn()
        house.store.appliances.beat(house.appliance.id)
    house.clock.advance(120)
    look(house)
    assert "will-not-converge raised" in send(house, ops)
    assert "MiB/s" in json.loads(ops.got[-1].document)["text"]


def test_a_restored_state_is_told_and_nothing_else_until_it_is_confirmed(house: House) -> None:
    look(house)
    job = house.job()
    house.service.start(job)
    house.run(job)
    house.store._database.hold("a test says so", 0)
    ops = Taken()
    look(house, seconds=HOUR)
    assert send(house, ops) == ["state-held raised"]
    house.store.epochs.confirm(keep_credentials=True)
    look(house, seconds=120)
    assert sorted(send(house, ops)) == ["job-finished raised", "state-held over"]


def test_the_certificate_of_the_control_plane_ends(house: House) -> None:
    look(house)
    ops = Taken()
    for _ in range(190):
        house.clock.advance(LOOK)
        house.store.appliances.beat(house.appliance.id)
        house.store.notifications.decide([OPS], document, house.clock.now + 20 * DAY)
    assert send(house, ops) == ["certificate-ending raised"]


def test_a_workgroup_and_a_severity_limit_what_a_recipient_hears(house: House) -> None:
    group = house.store.workgroups.create("g", "").id
    mine = RecipientFilter("mine", workgroups=frozenset({group}))
    urgent = RecipientFilter("urgent", EventSeverity.WARNING)
    look(house)
    inside, outside = house.job("inside"), house.job("outside")
    house.store.workgroups.associate(group, [house.sources["inside"]])
    for job in (inside, outside):
        house.service.start(job)
        house.run(job)
    look(house, mine, urgent, OPS)
    told = {name: Taken(name) for name in ("mine", "urgent", "ops")}
    for one in told.values():
        send(house, one)
    heard = {name: sorted(one.subject for one in courier.got) for name, courier in told.items()}
    assert heard == {"mine": [inside], "urgent": [], "ops": sorted([inside, outside])}
    assert json.loads(told["mine"].got[0].document)["workgroup"] == group


def finished(house: House, name: str = "j") -> str:
    """A job that has just finished, and is in the outbox."""
    look(house)
    job = house.job(name)
    house.service.start(job)
    house.run(job)
    look(house)
    return job


def test_a_recipient_that_is_down_gets_it_when_it_is_up_again(house: House) -> None:
    finished(house)
    ops = Taken()
    sender = Sender(house.store, ops)
    ops.answer = AttemptOutcome("no answer", silent=True)
    for _ in range(10):
        assert sender.step() > 0
        house.clock.advance(1000)
    assert len(ops.got) == 10
    ops.answer = AttemptOutcome()
    sender.step()
    assert len({one.notification_id for one in ops.got}) == 1 and len({one.document for one in ops.got}) == 1
    assert [one.state for one in house.store.notifications.recent(9)] == [DeliveryState.SENT]


def test_it_is_given_up_after_a_day_with_a_line_in_the_log(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    job = finished(house)
    ops = Taken()
    ops.answer = AttemptOutcome("host: no answer", silent=True)
    sender = Sender(house.store, ops)
    with caplog.at_level(logging.ERROR):
        while house.store.notifications.recent(1)[0].state is DeliveryState.PENDING:
            sender.step()
            house.clock.advance(900)
    (line,) = [record.getMessage() for record in caplog.records]
    assert job in line and "given up after" in line and "host: no answer" in line
    assert len(ops.got) * 900 >= PATIENCE
    assert house.store.notifications.recent(1)[0].state is DeliveryState.GIVEN_UP


def test_what_is_refused_is_tried_a_few_times(house: House) -> None:
    finished(house)
    ops = Taken()
    ops.answer = AttemptOutcome("it answered 404", final=True)
    sender = Sender(house.store, ops)
    for _ in range(40):
        sender.step()
        house.clock.advance(1000)
    assert len(ops.got) == 8


def test_the_end_is_told_only_to_those_who_heard_of_the_beginning(house: House) -> None:
    house.clock.advance(600)
    ops, away = Taken(), Taken("away")
    both = (OPS, RecipientFilter("away"))
    look(house, *both, seconds=600, beats=False)
    away.answer = AttemptOutcome("it answered 404", final=True)
    sender = Sender(house.store, away)
    assert send(house, ops) == ["appliance-silent raised"]
    sender.step()
    for _ in range(10):
        look(house, *both, seconds=60)
    assert send(house, ops) == ["appliance-silent over"]
    for _ in range(20):
        sender.step()
        house.clock.advance(1000)
    assert set(away.told) == {
        "appliance-silent raised"
    }  # never the end before the beginning, and none without it
    states = Counter(str(one.state) for one in house.store.notifications.recent(9) if one.recipient == "away")
    assert states == {"given-up": 1, "dropped": 1}


def _many(
    house: House, count: int, phase: str, number: int, state: str = "pending", event: str = "cutover-due"
) -> None:
    """Deliveries to `ops` about so many jobs."""
    fresh_ones = {"event": event, "created": house.clock.now}
    kept = {"phase": phase, "began": 1.0, "document": "{}"}
    waits = {
        "number": number,
        "attempts": 0,
        "not_before": house.clock.now,
        "claimed_until": 0.0,
        "trouble": "",
    }
    ids = [{"id": f"n-{event}-{at}-{number}", "subject": f"j-{at}"} for at in range(count)]
    with house.store._database.write(counted=False) as connection:
        connection.execute(tables.notifications.insert(), [one | fresh_ones | kept for one in ids])
        rows = [{"notification_id": one["id"], "subject": one["subject"], "recipient": "ops"} for one in ids]
        connection.execute(
            tables.deliveries.insert(), [one | fresh_ones | waits | {"state": state} for one in rows]
        )


def test_ends_that_are_not_told_delay_nothing(house: House) -> None:
    _many(house, 30, "raised", 1, state="given-up")
    _many(house, 30, "over", 2)
    house.clock.advance(1)
    _many(house, 1, "raised", 1, event="job-failed")
    ops = Taken()
    assert Sender(house.store, ops).step() == 0.0 and ops.told == ["job-failed raised"]


def test_the_most_urgent_is_sent_first(house: House) -> None:
    _many(house, 5, "raised", 1, event="job-finished")
    house.clock.advance(60)
    _many(house, 1, "raised", 1, event="source-down")
    ops = Taken()
    assert Sender(house.store, ops).step() == 0.0 and ops.told == ["source-down raised"]


def _work(house: House, do: Callable[[], object]) -> tuple[int, int]:
    """Statements, and thousands of steps of SQLite's machine, that it takes."""
    steps, statements = [], []
    engine = house.store._database._engine

    def watch(raw: Any, *_: object) -> None:
        raw.set_progress_handler(lambda: steps.append(1), 1000)

    def ask(*_: object) -> None:
        statements.append(1)

    sa.event.listen(engine, "checkout", watch)
    sa.event.listen(engine, "before_cursor_execute", ask)
    do()
    sa.event.remove(engine, "checkout", watch)
    sa.event.remove(engine, "before_cursor_execute", ask)
    return len(statements), len(steps)


def test_a_long_outage_of_many_jobs_does_not_make_each_look_at_the_outbox_long(house: House) -> None:
    """A reminder waits for what was told before it. To find that must not take a search through everything."""
    if not house.store._database.url.startswith("sqlite"):
        pytest.skip("it counts the steps of SQLite")
    _many(house, 1000, "raised", 1)
    _many(house, 1000, "reminder", 2)
    assert _work(house, lambda: house.store.notifications.claim("ops", LEASE))[1] < 500


def test_many_jobs_that_are_due_at_once_take_few_statements(house: House) -> None:
    """Whoever else writes waits as long as this transaction takes."""
    look(house)
    house.service.start(house.job())
    with house.store._database.write() as connection:
        job = dict(connection.execute(sa.select(tables.jobs)).one()._mapping)
        source = dict(connection.execute(sa.select(tables.sources)).one()._mapping)
        end = {"status": "Waiting", "run_once": False, "valid_until": house.clock.now + HOUR}
        names = [f"many-{at}" for at in range(100)]
        rows = [source | {"id": one, "moref": one, "name": one, "instance_uuid": one} for one in names]
        connection.execute(tables.sources.insert(), rows)
        rows = [job | end | {"id": one, "source_id": one, "name": one, "client_token": None} for one in names]
        connection.execute(tables.jobs.insert(), rows)
    told: list[int] = []
    assert _work(house, lambda: told.append(look(house)))[0] < 40 and told == [100]
    assert _work(house, lambda: told.append(look(house, seconds=60)))[0] < 120 and told == [100, 0]


def test_an_attempt_that_ends_late_does_not_end_the_claim_of_another_process(house: House) -> None:
    _many(house, 1, "raised", 1)
    outbox = house.store.notifications
    late = outbox.claim("ops", LEASE)
    house.clock.advance(LEASE + 1)
    assert late is not None and outbox.claim("ops", LEASE) is not None
    outbox.failed(late, "no answer", 0.0)
    outbox.give_up(late, "no answer")
    assert outbox.claim("ops", LEASE) is None
    assert [one.state for one in outbox.recent(9)] == [DeliveryState.PENDING]


def test_an_attempt_of_a_process_that_died_is_made_again(house: House) -> None:
    finished(house)
    first = house.store.notifications.claim("ops", LEASE)
    assert first is not None
    house.crash()
    assert house.store.notifications.claim("ops", LEASE) is None
    house.clock.advance(LEASE + 1)
    again = house.store.notifications.claim("ops", LEASE)
    assert again is not None
    assert (again.notification_id, again.document, again.attempts) == (
        first.notification_id,
        first.document,
        2,
    )


@pytest.mark.parametrize("back", [600.0, DAY, 400 * DAY])
def test_a_clock_that_is_set_back_keeps_nothing_from_being_sent(house: House, back: float) -> None:
    finished(house)
    ops = Taken()
    ops.answer = AttemptOutcome("no answer", silent=True, rest=3000.0)
    sender = Sender(house.store, ops)
    sender.step()
    house.clock.advance(-back)
    assert look(house) == 0
    ops.answer = AttemptOutcome()
    for _ in range(50):
        house.clock.advance(100)
        sender.step()
    assert house.store.notifications.recent(1)[0].state is DeliveryState.SENT
    job = house.job("later")
    house.service.start(job)
    house.run(job)
    look(house)
    assert "job-finished raised" in send(house, ops)


def test_a_clock_that_jumps_ahead_gives_nothing_up_that_was_not_tried(house: House) -> None:
    finished(house)
    house.clock.advance(30 * DAY)
    ops = Taken()
    assert send(house, ops) == ["job-finished raised"]


def test_what_ended_long_ago_is_forgotten_and_what_waits_is_not(house: House) -> None:
    finished(house)
    finished(house, "k")
    ops = Taken()
    Sender(house.store, ops).step()
    house.clock.advance(40 * DAY)
    house.store.notifications.forget()
    assert [one.state for one in house.store.notifications.recent(9)] == [DeliveryState.PENDING]
    assert house.store.notifications.abandon(["ops"], PATIENCE) == 0
    assert house.store.notifications.abandon([], PATIENCE) == 1


def test_many_jobs_at_once_are_all_told(house: House) -> None:
    """More entries than one look reads, and the same ones again and again."""
    look(house)
    job = house.job()
    with house.store._database.write() as connection:
        rows = [{"job_id": job, "at": house.clock.now, "kind": "finished", "text": ""}] * (facts.MOST * 2 + 7)
        connection.execute(tables.events.insert(), rows)
        newest = connection.execute(sa.select(sa.func.max(tables.events.c.id))).scalar_one()
    look(house, seconds=200)
    with house.store._database.read() as connection:
        assert connection.execute(sa.select(tables.log_position.c.entry)).scalar_one() == newest


def test_an_entry_that_is_committed_late_is_told(house: House) -> None:
    """On PostgreSQL a transaction may commit an entry after another one has committed the next."""
    look(house)
    job, other = house.job("a"), house.job("b")
    with house.store._database.write() as connection:
        newest = connection.execute(sa.select(sa.func.max(tables.events.c.id))).scalar_one()
        values = {"at": house.clock.now, "kind": "finished", "text": ""}
        connection.execute(tables.events.insert().values(id=newest + 2, job_id=job, **values))
    assert look(house) == 1
    with house.store._database.write() as connection:
        connection.execute(tables.events.insert().values(id=newest + 1, job_id=other, **values))
    assert look(house) == 1


def test_facts_of_nothing_are_nothing() -> None:
    assert [event.id for event in EVENTS if event.about == "control-plane"] == [
        "state-held",
        "certificate-ending",
    ]
    assert NotificationFacts(0.0).down == ()


@pytest.fixture
def stores(postgres_server: str) -> Iterator[Callable[[], Store]]:
    """Control planes on one PostgreSQL."""
    url, made = fresh.postgres(postgres_server), list[Store]()

    def make() -> Store:
        made.append(Store(url))
        return made[-1]

    yield make
    for store in made:
        store.close()
    fresh.drop(url)


def test_replicas_on_one_database_send_once(stores: Callable[[], Store], quick_folder: Path) -> None:
    with closing(stores()) as first:
        first.notifications.decide([OPS], document)
        house = House(first.url, quick_folder, Quotas())
        house.clock.now = first.now()
        for number in range(12):
            job = house.job(f"m{number}")
            house.service.start(job)
            assert house.run(job).status == "Finished"
        house.store.close()
    replicas = [stores() for _ in range(3)]
    couriers = [Taken() for _ in replicas]
    barrier = threading.Barrier(len(replicas))

    def work(store: Store, courier: Taken) -> None:
        sender = Sender(store, courier)
        barrier.wait()
        for _ in range(30):
            store.notifications.decide([OPS], document)
            sender.step()

    threads = [threading.Thread(target=work, args=pair) for pair in zip(replicas, couriers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = [one.notification_id for courier in couriers for one in courier.got]
    assert len(got) == len(set(got)) == 12


class Receiver:
    """A webhook over HTTP; `before` is called with each id before it answers."""

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        self.ids, self.bodies = list[str](), list[bytes]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies.append(body)
                receiver.ids.append(self.headers["Connector-Notification"])
                before(receiver.ids[-1])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef0123456789abcdef")
    file.chmod(0o600)
    return file


def test_a_process_that_is_killed_after_it_sent_sends_the_same_again(
    make_house: Callable[[Quotas], House], key_file: Path
) -> None:
    house = make_house(Quotas())
    house.clock.now = time.time()
    look(house)
    job = house.job()
    house.service.start(job)
    house.run(job)
    children: list[subprocess.Popen[bytes]] = []

    def kill_once(_: str) -> None:
        if len(children) == 1 and children[0].poll() is None:
            os.kill(children[0].pid, signal.SIGKILL)
            children[0].wait()

    with closing(Receiver(kill_once)) as receiver:
        section = {"kind": "webhook", "name": "ops", "url": receiver.url, "secret_file": str(key_file)}
        words = [house.store.url, json.dumps({"recipients": [section]}), "2"]

        def start() -> None:
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.control.fake_notifier", *words], stdout=subprocess.PIPE
                )
            )

        try:
            start()
            eventually(lambda: children[0].poll() is not None, "the first process is killed")
            assert house.store.notifications.recent(1)[0].state is DeliveryState.PENDING
            start()
            eventually(
                lambda: house.store.notifications.recent(1)[0].state is DeliveryState.SENT,
                "the second one sends it",
            )
        finally:
            for one in children:
                one.kill()
                one.wait()
    assert len(receiver.ids) == 2 and len(set(receiver.ids)) == 1 and len(set(receiver.bodies)) == 1


def test_a_dead_recipient_delays_no_other(make_house: Callable[[Quotas], House], key_file: Path) -> None:
    house = make_house(Quotas())
    house.clock.now = time.time()
    look(house)
    job = house.job()
    house.service.start(job)
    house.run(job)
    stuck = threading.Event()
    with closing(Receiver(lambda _: stuck.wait() and None)) as dead, closing(Receiver()) as alive:
        sections = [
            {"kind": "webhook", "name": name, "url": one.url, "secret_file": str(key_file)}
            for name, one in (("dead", dead), ("alive", alive))
        ]
        recipients = NotificationsSection.model_validate({"recipients": sections}).recipients
        notifier = Notifier(house.store, recipients, every=0.05)
        notifier.start()
        eventually(lambda: len(dead.ids) == 1 and len(alive.ids) == 1, "both are called")
        eventually(
            lambda: (
                {(one.recipient, str(one.state)) for one in house.store.notifications.recent(9)}
                == {("dead", "pending"), ("alive", "sent")}
            ),
            "the live one has it",
        )
        stuck.set()
        notifier.close()


def test_a_whole_control_plane_tells_and_goes_on_when_it_is_killed(
    make_plane: Callable[..., Plane], key_file: Path
) -> None:
    with closing(Receiver()) as receiver:
        section = {"kind": "webhook", "name": "ops", "url": receiver.url, "secret_file": str(key_file)}
        plane = make_plane(notifications={"recipients": [section]})
        with closing(sqlite3.connect(plane.root / "state" / "control.sqlite")) as database:
            eventually(
                lambda: database.execute("SELECT entry FROM log_position").fetchall(), "its first look"
            )
        with Robot(plane) as robot:
            robot.register(machine())
            plane.jobs.create("web-01", "job-1")
            plane.jobs.start("job-1")
            plane.reach("job-1", "Finished")
        eventually(lambda: receiver.ids, "it is told")
        plane.restart()
        plane.restart()
        names = ("vault-key", "activation-code", "access-key.toml", "control.pem")
        secrets = [(plane.root / "state" / name).read_text() for name in names]
    (body,) = {body.decode() for body in receiver.bodies}
    told = json.loads(body)
    assert (told["event"], told["untrusted"]["name"]) == ("job-finished", "job-1")
    for text in [*secrets, key_file.read_text()]:
        for line in text.splitlines():
            word = line.rpartition("=")[2].strip().strip('"')
            assert len(word) < 12 or word not in body
    assert "given up" not in plane.log.read_text()


def test_metrics_say_who_is_not_told(house: House) -> None:
    finished(house)

    def seen() -> dict[str, dict[tuple[str, ...], float]]:
        return collected("control", DatabaseMetrics(house.store.watched.state).collect).values

    prefix = "connector_control_"
    house.clock.advance(1000)
    assert seen()[f"{prefix}pending_notifications"] == {("ops",): 1}
    assert seen()[f"{prefix}oldest_pending_notification_seconds"] == {(): 1000}
    send(house, Taken())
    assert f"{prefix}pending_notifications" not in seen()
    assert seen()[f"{prefix}oldest_pending_notification_seconds"] == {(): 0}
    assert seen()[f"{prefix}notifications_ended_last_hour"] == {("ops", "sent"): 1}
    house.clock.advance(2 * HOUR)
    assert f"{prefix}notifications_ended_last_hour" not in seen()


def test_the_whole_house_tells_no_secret(make_house: Callable[[Quotas], House], key_file: Path) -> None:
    """Every secret of a control plane with a job, searched in everything that was stored or sent."""
    house = make_house(Quotas())
    finished(house, "done")
    job = incremental(house)
    house.clock.advance(4 * DAY)
    look(house, seconds=600, beats=False)
    secrets = {key_file.read_text(), (house.folder / "key").read_text().strip()}
    authority = house.get(job).authority
    assert authority
    secrets |= {authority, *(signer.public_pem for signer in house.signers.values())}
    with house.store._database.read() as connection:
        kept = [
            repr(row)
            for table in (tables.notifications, tables.deliveries, tables.episodes)
            for row in connection.execute(sa.select(table))
        ]
    assert len(kept) > 4
    assert not [secret for secret in secrets if any(secret in text for text in kept)]
    assert WebhookSection.model_fields["url"].repr is False
