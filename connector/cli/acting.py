"""One operation on several jobs: each is tried, the first failure decides the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from connector.cli import tables
from connector.cli.typed import as_typed
from connector.clients.smc import Json, SmcClient
from connector.errors import (
    AuthenticationFailed,
    ConnectorError,
    ControlFailed,
    NotPermitted,
    TrustFailed,
)


@dataclass(frozen=True, slots=True)
class Act:
    """An operation, and the word for having asked for it."""

    action: str
    done: str


START = Act("StartReplicationJob", "started")
STOP = Act("StopReplicationJob", "asked to stop")
CUT_OVER = Act("CutOverReplicationJob", "cutover begun")
ROLL_BACK = Act("RollbackReplicationJob", "being rolled back")
DELETE = Act("DeleteReplicationJob", "being deleted")


class Failures:
    """What went wrong with one thing lets the others go on; what would go wrong with all of them ends it at once."""

    def __init__(self) -> None:
        self._first: ConnectorError | None = None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Keeps the first failure inside, and tells the others."""
        try:
            with as_typed():
                yield
        except (AuthenticationFailed, ControlFailed, NotPermitted, TrustFailed):
            raise
        except ConnectorError as failed:
            failed.on = failed.on or name
            if self._first is not None:
                click.echo(f"connector: {failed}", err=True)
            self._first = self._first or failed

    def done(self) -> None:
        """Raises the first failure, if there was one."""
        if self._first is not None:
            raise self._first


def act(client: SmcClient, what: Act, jobs: Iterable[Json], as_json: bool, **parameters: Any) -> None:
    """Ask for it for each job, and say so; raises the first failure after all were tried."""
    failures = Failures()
    for job in jobs:
        name, key = str(job.get("Name") or job["JobId"]), job["JobId"]
        with failures.of(name):
            answer = client.call(what.action, JobId=key, **parameters)
            fields = {"JobId": key, "Name": name, "Operation": what.action}
            done = "the cutover is resumed" if what is START and job.get("CutOver") else what.done
            tables.told(name, done, fields | {"RequestId": answer.get("RequestId")}, as_json)
    failures.done()
