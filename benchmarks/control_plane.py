"""The public API with many sources and jobs against the same with few, and how many requests one process answers.

    python -m benchmarks.control_plane [--many 10000] [--few 100] [--pairs 7] [--postgresql] [--json FILE]

Two control planes run as programs, reached over TLS with signed requests. Each request is asked of one, then of the
other, in turns; what is compared is the time until the answer and the processor time of the server. `--postgresql`
needs the package postgresql.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import psutil
import requests
import sqlalchemy as sa

from benchmarks import crowd
from connector import child
from connector.clients import signature
from connector.control.domain.access import Role
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import Store

BATCH = 12  # requests of one turn
CLIENTS = 3
SECONDS = 8.0


@dataclass(frozen=True)
class Server:
    """A running control plane, and how to call it."""

    url: str
    certificate: str
    pid: int
    key: str
    secret: str
    count: int
    idle: float = 0.0  # share of one processor that it takes while nobody asks

    def query(self, action: str, parameters: dict[str, Any]) -> str:
        """A request's address, signed."""
        given = {
            "Action": action,
            "Version": "2019-06-01",
            "Format": "JSON",
            "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "SignatureNonce": uuid.uuid4().hex,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "AccessKeyId": self.key,
        } | {name: str(value) for name, value in parameters.items()}
        text = signature.string_to_sign_v1("POST", given)
        given["Signature"] = signature.sign(signature.V1, self.secret, text)
        return f"{self.url}/?" + "&".join(f"{quote_plus(k)}={quote_plus(v)}" for k, v in given.items())

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env, session.verify = False, self.certificate
        return session

    def cpu(self) -> float:
        used = psutil.Process(self.pid).cpu_times()
        return used.user + used.system


Parameters = Callable[[int, int], dict[str, Any]]  # of a crowd of n, in the i-th request

#: What is asked; every answer has the same size in both crowds.
QUESTIONS: dict[str, tuple[str, Parameters]] = {
    "sources, first page": ("DescribeSourceServers", lambda n, i: {}),
    "sources, page of 50": ("DescribeSourceServers", lambda n, i: {"PageSize": 50}),
    "sources, last page": ("DescribeSourceServers", lambda n, i: {"PageNumber": n // 10}),
    "sources by id": ("DescribeSourceServers", lambda n, i: {"SourceId.1": crowd.source_id(i * 7 % n)}),
    "sources by name": ("DescribeSourceServers", lambda n, i: {"Name": f"vm-{i * 7 % n:05}"}),
    "sources by state": ("DescribeSourceServers", lambda n, i: {"State": "InUse"}),
    "sources by last job": ("DescribeSourceServers", lambda n, i: {"JobId": crowd.job_id(i * 7 % n)}),
    "sources by workgroup": ("DescribeSourceServers", lambda n, i: {"WorkgroupId": "wg-1"}),
    "sources by tag": (
        "DescribeSourceServers",
        lambda n, i: {"Tag.1.Key": "env", "Tag.1.Value": f"env-{i % 10}"},
    ),
    "sources by job type": ("DescribeSourceServers", lambda n, i: {"RelatedJobType.1": 3}),
    "jobs, first page": ("DescribeReplicationJobs", lambda n, i: {}),
    "jobs, page of 50": ("DescribeReplicationJobs", lambda n, i: {"PageSize": 50}),
    "jobs, last page": ("DescribeReplicationJobs", lambda n, i: {"PageNumber": n // 10}),
    "jobs by id": ("DescribeReplicationJobs", lambda n, i: {"JobId.1": crowd.job_id(i * 7 % n)}),
    "jobs by name": ("DescribeReplicationJobs", lambda n, i: {"Name": f"job-{i * 7 % n:05}"}),
    "jobs by source": ("DescribeReplicationJobs", lambda n, i: {"SourceId.1": crowd.source_id(i * 7 % n)}),
    "jobs by status": ("DescribeReplicationJobs", lambda n, i: {"Status": "Waiting"}),
    "jobs by region": ("DescribeReplicationJobs", lambda n, i: {"RegionId": "region-1"}),
    "jobs by tag": ("DescribeReplicationJobs", lambda n, i: {"Tag.1.Key": "owner"}),
    "workgroups": ("DescribeWorkgroups", lambda n, i: {"PageSize": 1}),
    "tags of a source": (
        "ListTagResources",
        lambda n, i: {"ResourceType": "sourceserver", "ResourceId.1": crowd.source_id(i * 7 % n)},
    ),
}


@contextmanager
def server(home: Path, count: int, database: str) -> Iterator[Server]:
    """`python -m connector.control` over a crowd of `count`."""
    state = home / f"state-{count}"
    state.mkdir(mode=0o700)
    url = database or f"sqlite:///{state / 'control.sqlite'}"
    crowd.fill(url, count)
    limits = [word for name in ("sources", "jobs") for word in ("--limit", f"{name}=1000000")]
    words = ["--state", str(state), "--images", str(home / f"images-{count}"), "--exit-with-stdin", *limits]
    words += ["--database", database] if database else []
    with child.start(
        "connector.control", words, name="control plane", log=home / f"{count}.log", timeout=120
    ) as run:
        store = Store(url)
        key, secret = AccessKeys(store.keys, Vault(state / "vault-key")).create("benchmark", Role.OPERATOR)
        store.close()
        yield Server(str(run.ready["url"]), str(state / "control.crt"), run.pid, key.id, secret, count)


def compare(few: Server, many: Server, pairs: int) -> dict[str, dict[str, Any]]:
    """Each question asked in turns: milliseconds for an answer, and the ratio of each pair."""
    sessions = {few: few.session(), many: many.session()}
    found: dict[str, dict[str, Any]] = {}
    for name, (action, parameters) in QUESTIONS.items():
        turns: dict[Server, list[tuple[float, float]]] = {few: [], many: []}
        for turn in range(pairs + 1):
            for one in (few, many) if turn % 2 else (many, few):
                figures = _turn(one, sessions[one], action, parameters, turn)
                if turn:  # the first one warms caches
                    turns[one].append(figures)
        walls = [b[0] / a[0] for a, b in zip(turns[few], turns[many], strict=True)]
        found[name] = {
            "few_ms": _median(wall for wall, _ in turns[few]),
            "many_ms": _median(wall for wall, _ in turns[many]),
            "ratio": statistics.median(walls),
            "least": min(walls),
            "most": max(walls),
            "few_cpu_ms": sum(cpu for _, cpu in turns[few]) / pairs,
            "many_cpu_ms": sum(cpu for _, cpu in turns[many]) / pairs,
        }
    return found


def _turn(
    one: Server, session: requests.Session, action: str, parameters: Parameters, turn: int
) -> tuple[float, float]:
    """Milliseconds of the median answer, and of the server's processors for each beyond what it takes when idle."""
    took, cpu, start = [], one.cpu(), time.monotonic()
    for number in range(BATCH):
        query = one.query(action, parameters(one.count, turn * BATCH + number))
        began = time.perf_counter()
        answer = session.post(query, timeout=60)
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    resting = one.idle * (time.monotonic() - start)
    return statistics.median(took) * 1000, max(0.0, one.cpu() - cpu - resting) * 1000 / BATCH


def _median(values: Iterator[float]) -> float:
    return statistics.median(list(values))


def throughput(one: Server, seconds: float) -> dict[str, dict[str, float]]:
    """Requests a second that one process answers to several clients, and the processor time of each."""
    found = {}
    for name, work in (("DescribeReplicationJobs", _describe), ("CreateReplicationJob", _create)):
        with multiprocessing.get_context("fork").Pool(CLIENTS) as pool:
            cpu, began = one.cpu(), time.monotonic()
            counts = pool.starmap(work, [(one, number, seconds) for number in range(CLIENTS)])
            span, used = time.monotonic() - began, one.cpu() - cpu
        found[name] = {"per_second": sum(counts) / span, "server_cpu_ms": used * 1000 / sum(counts)}
    return found


def _describe(one: Server, number: int, seconds: float) -> int:
    session, count, end = one.session(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        answer = session.post(
            one.query("DescribeReplicationJobs", {"PageNumber": count % 100 + 1}), timeout=60
        )
        assert answer.status_code == 200, answer.text
        count += 1
    return count


def _create(one: Server, number: int, seconds: float) -> int:
    """Each client has sources of its own; those with an unfinished job are passed over."""
    session, count, end = one.session(), 0, time.monotonic() + seconds
    for n in range(number, one.count, CLIENTS):
        if time.monotonic() > end:
            break
        wish = {"RegionId": "r", "SourceId": crowd.source_id(n), "JobType": 3, "Name": f"new-{n}"}
        answer = session.post(one.query("CreateReplicationJob", wish), timeout=60)
        assert answer.status_code == 200 or "Unfinished" in answer.text, answer.text
        count += answer.status_code == 200
    return count


def idle(one: Server, seconds: float = 6.0) -> float:
    """Share of one processor that the server takes while nobody asks."""
    cpu = one.cpu()
    time.sleep(seconds)
    return (one.cpu() - cpu) / seconds


def table(figures: dict[str, Any], few: int, many: int) -> str:
    lines = [f"{'':24}{f'{few} ms':>11}{f'{many} ms':>11}{'ratio':>8}{'(min, max)':>15}{'CPU ms':>15}"]
    for name, row in figures["questions"].items():
        bounds, cpu = (
            f"({row['least']:.2f}, {row['most']:.2f})",
            f"{row['few_cpu_ms']:.1f} / {row['many_cpu_ms']:.1f}",
        )
        lines.append(
            f"{name:24}{row['few_ms']:11.1f}{row['many_ms']:11.1f}{row['ratio']:8.2f}{bounds:>15}{cpu:>15}"
        )
    for name, row in figures["throughput"].items():
        lines.append(f"{name}: {row['per_second']:.0f} a second, {row['server_cpu_ms']:.1f} ms of CPU each")
    lines.append(
        "idle, share of one CPU: " + ", ".join(f"{n}: {share:.3f}" for n, share in figures["idle"].items())
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        databases = _databases(stack) if options.postgresql else {"few": "", "many": ""}
        few = stack.enter_context(server(home, options.few, databases["few"]))
        many = stack.enter_context(server(home, options.many, databases["many"]))
        few, many = (replace(one, idle=idle(one)) for one in (few, many))
        figures: dict[str, Any] = {"idle": {one.count: one.idle for one in (few, many)}}
        figures["questions"] = compare(few, many, options.pairs)
        figures["throughput"] = throughput(many, options.seconds)
    print(table(figures, options.few, options.many))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _databases(stack: ExitStack) -> dict[str, str]:
    from tests.control import postgres

    programs = postgres.binaries()
    if programs is None:
        raise SystemExit("--postgresql needs the package postgresql")
    url = stack.enter_context(postgres.cluster(programs))
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in ("few", "many"):
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return {name: url.rsplit("/", 1)[0] + f"/{name}" for name in ("few", "many")}


if __name__ == "__main__":
    main()
