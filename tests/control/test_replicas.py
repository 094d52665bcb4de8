"""Three control planes on one PostgreSQL; the active one is killed again and again while jobs run."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from connector import child
from connector.cli.access import of_directory
from connector.clients.agents import ControlClient, Membership, enrol
from connector.errors import ConnectorError, TrustFailed
from tests.control.conftest import DISK, VCENTER, machine
from tests.control.fake_replica import HOST_DISKS, PASSES
from tests.control.honest import keep_shown, manifest, new_signer
from tests.people import People
from tests.waiting import PATIENCE, eventually

SHARED = ("control.pem", "access-key.toml", "activation-code", "vault-key")


class Replicas:
    """Processes on one database, each with its own state directory and the shared identity."""

    def __init__(self, root: Path, database: str, count: int) -> None:
        self.root, self.database = root, database
        self.children: list[child.Child] = [self._start(0)]
        for number in range(1, count):
            (root / str(number)).mkdir(mode=0o700)
            for name in SHARED:
                shutil.copy2(root / "0" / name, root / str(number) / name)
            self.children.append(self._start(number))
        self.thumbprint = str(self.children[0].ready["thumbprint"])
        self.key = Path(str(self.children[0].ready["access_key_file"]))
        self.code = Path(str(self.children[0].ready["activation_code_file"])).read_text().strip()
        driver = database.replace("postgresql:", "postgresql+psycopg:")
        self.engine = sa.create_engine(driver, isolation_level="AUTOCOMMIT")

    def _start(self, number: int) -> child.Child:
        arguments = [str(self.root / str(number)), str(self.root / "cloud"), self.database]
        log = self.root / f"{number}.log"
        return child.start("tests.control.fake_replica", arguments, name=f"replica-{number}", log=log)

    def ask(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text(query)).all())

    def active(self) -> int | None:
        """Which one holds the lock: the one from whose port its session comes."""
        ports = self.ask(
            "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid)"
            f" WHERE locktype = 'advisory' AND objid = {0x636F6E6E} AND granted"
        )
        for number, started in enumerate(self.children):
            if started.exit_code() is not None:
                continue
            mine = {c.laddr.port for c in psutil.Process(started.pid).net_connections() if c.laddr}
            if ports and ports[0].client_port in mine:
                return number
        return None

    def kill_active(self) -> float:
        """Seconds until another one is active; the killed one is started again."""
        victim = eventually(lambda: self.active() is not None and [self.active()], "one is active")[0]
        began = time.monotonic()
        os.kill(self.children[victim].pid, signal.SIGKILL)
        self.children[victim].stop()
        eventually(lambda: self.active() not in (None, victim), "another one takes over")
        took = time.monotonic() - began
        self.children[victim] = self._start(victim)
        return took

    def any(self, call: Callable[[str], Any]) -> Any:
        """Ask whichever answers."""
        for attempt in range(60):
            started = self.children[attempt % len(self.children)]
            try:
                return call(str(started.ready["url"]))
            except ConnectorError as failed:
                if not (failed.retryable or isinstance(failed, TrustFailed)):
                    raise  # (somebody else may have the port of one that was killed)
                time.sleep(0.1)
        raise AssertionError("nobody answers")

    def people(self, call: Callable[[People], Any]) -> Any:
        """With one key, whichever answers: they share it."""
        return self.any(lambda url: call(People(of_directory(url, self.thumbprint, self.key))))

    def close(self) -> None:
        for started in self.children:
            if started.exit_code() is None:
                os.kill(started.pid, signal.SIGKILL)
            started.stop()
        self.engine.dispose()


class Workers:
    """A scripted appliance with several hands; speaks to whichever replica answers. Finishes nothing before `go`."""

    def __init__(self, replicas: Replicas, name: str, hands: int, pause: float) -> None:
        self.replicas, self.pause = replicas, pause
        self.signer = new_signer()
        self.member: Membership = replicas.any(
            lambda url: enrol(
                url,
                replicas.thumbprint,
                replicas.code,
                name=name,
                vcenter=VCENTER,
                version="1",
                evidence_key=self.signer.public_pem,
            )
        )
        self.end = threading.Event()
        self.go = threading.Event()
        self.held: set[str] = set()
        self.threads = [threading.Thread(target=self._work) for _ in range(hands)]
        self.threads.append(threading.Thread(target=self._beat))

    def __enter__(self) -> Workers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.go.set()
        for thread in self.threads:
            thread.join()

    def call(self, work: Callable[[ControlClient], Any]) -> Any:
        replicas = self.replicas
        return replicas.any(lambda url: work(ControlClient(url, replicas.thumbprint, self.member)))

    def _beat(self) -> None:
        while not self.end.wait(0.3):
            self.call(lambda client: client.heartbeat(list(self.held)))

    def _work(self) -> None:
        while not self.end.is_set():
            order = self.call(lambda client: client.take(1.0))
            if order is None:
                continue
            pass_id = order["pass_id"]
            self.held.add(pass_id)
            try:
                self.go.wait()
                self.end.wait(self.pause)
                self.call(lambda client, p=pass_id: client.progress(p, "reading", [DISK]))
                self._deliver(order)
                self.call(lambda client, p=pass_id: client.finish(p, "done", None, {}))
            except ConnectorError as refused:
                assert not refused.retryable, refused  # it was given to another one meanwhile
            finally:
                self.held.discard(pass_id)

    def _deliver(self, order: dict[str, Any]) -> None:
        """The bytes are at the instance, and the evidence says so."""
        source = self.replicas.people(lambda jobs: jobs.source(order["source_id"]))
        keys = [disk["key"] for disk in source["disks"]]
        keep_shown(self.replicas.root / "cloud", order, keys)
        made = manifest(self.signer, order, VCENTER, keys)
        self.call(lambda client: client.evidence(order["pass_id"], made))


class Limits:
    """Looks all the time whether more is read at once than may be."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.broken: list[str] = []
        self.monitors = 0
        self.most = 0
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self) -> Limits:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.end.wait(0.05):
            rows = self.replicas.ask(
                "SELECT host, sum(disk_count) AS disks, count(*) AS machines FROM passes"
                " WHERE state = 'Taken' GROUP BY host"
            )
            self.monitors += 1
            self.most = max(self.most, *(row.disks for row in rows), 0) if rows else self.most
            if any(row.disks > HOST_DISKS for row in rows) or sum(row.machines for row in rows) > PASSES:
                self.broken.append(str(rows))


@pytest.fixture
def replicas(quick_folder: Path, empty_postgres_url: str) -> Iterator[Replicas]:
    made = Replicas(quick_folder, empty_postgres_url, 3)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("jobs", "hosts", "kills", "every", "pause"),
    [
        pytest.param(5, 1, 2, 0.5, 0.6, id="short"),
        pytest.param(50, 4, 5, 3.0, 0.8, id="long", marks=pytest.mark.slow),
    ],
)
def test_every_job_finishes_once_whoever_is_killed(
    replicas: Replicas, jobs: int, hosts: int, kills: int, every: float, pause: float
) -> None:
    names = [f"vm-{n:02}" for n in range(jobs)]
    machines = [
        replace(machine(name, name, disks=1 + n % 2), host=f"host-{n % hosts}")
        for n, name in enumerate(names)
    ]
    with ExitStack() as stack:
        workers = [stack.enter_context(Workers(replicas, f"a{n}", 2 * hosts, pause)) for n in range(2)]
        workers[0].call(lambda client: client.put_sources(machines, {}))
        limits = stack.enter_context(Limits(replicas))
        for name in names:
            replicas.people(lambda people, n=name: people.create(n, n))
            replicas.people(lambda people, n=name: people.start(n))
        eventually(lambda: limits.most == HOST_DISKS, "as much is read as may be")
        for worker in workers:
            worker.go.set()
        took = []
        for _ in range(kills):
            time.sleep(every)  # the kill shall come at no chosen moment
            took.append(replicas.kill_active())
        try:
            eventually(lambda: _statuses(replicas) == {"Finished": jobs}, "all jobs finish")
        except AssertionError as late:
            hands = [sum(thread.is_alive() for thread in worker.threads) for worker in workers]
            raise AssertionError(f"{_left(replicas)}; hands that still work: {hands}") from late
    assert not limits.broken
    assert max(took) < PATIENCE, took
    assert {row.count for row in replicas.ask("SELECT count(*) FROM runs GROUP BY job_id")} == {1}
    done = replicas.ask("SELECT count(*) FROM passes WHERE state = 'Finished' GROUP BY run_id")
    assert [row.count for row in done] == [1] * jobs
    assert len(list((replicas.root / "cloud" / "images").iterdir())) == jobs
    assert not list((replicas.root / "cloud" / "instances").iterdir())


def _left(replicas: Replicas) -> list[Any]:
    """What has not finished, and where its passes are."""
    return replicas.ask(
        "SELECT jobs.id, jobs.status, jobs.business, jobs.waiting, passes.state, passes.attempt, passes.outcome"
        " FROM jobs LEFT JOIN passes ON passes.job_id = jobs.id WHERE jobs.status <> 'Finished'"
    )


def _statuses(replicas: Replicas) -> dict[str, int]:
    return dict(Counter(row.status for row in replicas.ask("SELECT status FROM jobs")))
