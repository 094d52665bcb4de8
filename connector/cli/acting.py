"""One operation on several jobs: each is tried, the first failure decides the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click

from connector.cli import tables
from connector.cli.smc_client import Json, SmcClient
from connector.errors import ConnectorError


@dataclass(frozen=True, slots=True)
class Act:
    """An operation, and the word for having asked for it."""

    action: str
    done: str


START = Act("StartReplicationJob", "started")
STOP = Act("StopReplicationJob", "asked to stop")
CUT_OVER = Act("CutOverReplicationJob", "cutover begun")
DELETE = Act("DeleteReplicationJob", "being deleted")


def act(client: SmcClient, what: Act, jobs: Iterable[Json], as_json: bool, **parameters: Any) -> None:
    """Ask for it for each job, and say so; raises the first failure after all were tried."""
    failures: list[ConnectorError] = []
    for job in jobs:
        name, key = str(job.get("Name") or job["JobId"]), job["JobId"]
        try:
            answer = client.call(what.action, JobId=key, **parameters)
        except ConnectorError as failed:
            failed.on = failed.on or name
            if failures:
                click.echo(f"connector: {failed}", err=True)
            failures.append(failed)
            continue
        fields = {"JobId": key, "Name": name, "Operation": what.action, "RequestId": answer.get("RequestId")}
        tables.told(name, what.done, fields, as_json)
    if failures:
        raise failures[0]
