"""One operation on several jobs tries each job. The first failure decides the exit code."""

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
    """An operation, and the words that say that it was asked for."""

    action: str
    done: str


START = Act("StartReplicationJob", "started")
STOP = Act("StopReplicationJob", "asked to stop")
CUT_OVER = Act("CutOverReplicationJob", "cutover begun")
ROLL_BACK = Act("RollbackReplicationJob", "being rolled back")
DELETE = Act("DeleteReplicationJob", "being deleted")


class Failures:
    """A failure of one object lets the others go on. A failure that would meet all of them ends the command at once."""

    def __init__(self) -> None:
        self._first: ConnectorError | None = None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Keep the first failure of the block, and print the others."""
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
        """Raise the first failure, if there was one."""
        if self._first is not None:
            raise self._first


def act(client: SmcClient, action: Act, jobs: Iterable[Json], as_json: bool, **parameters: Any) -> None:
    """Ask for the operation for each job and print the answer. Raises the first failure after all jobs were tried."""
    failures = Failures()
    for job in jobs:
        name, key = str(job.get("Name") or job["JobId"]), job["JobId"]
        with failures.of(name):
            answer = client.call(action.action, JobId=key, **parameters)
            fields = {"JobId": key, "Name": name, "Operation": action.action}
            outcome = "the cutover is resumed" if action is START and job.get("CutOver") else action.done
            tables.told(name, outcome, fields | {"RequestId": answer.get("RequestId")}, as_json)
    failures.done()
