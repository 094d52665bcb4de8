"""`connector migrate --cutover` shuts a machine down only if nothing shows that another connector migrates it.

A configured control plane is asked for unfinished jobs, because a waiting job leaves no trace in vCenter. Besides that,
snapshots of other connectors are seen. A migration elsewhere that has no snapshot now is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

from connector.appliance.membership import owner_of
from connector.cli import records
from connector.cli.access import configured
from connector.cli.acting import CUT_OVER, DELETE, START
from connector.clients.smc import Json, SmcClient
from connector.errors import Conflict, ConnectorError
from connector.model import Machine
from connector.vcenter.naming import Ticket

OPTION: Final = "--despite-other-jobs"
_UNFINISHED: Final = ("Ready", "Running", "Stopped", "InError", "Waiting")


def refuse_others(machines: Sequence[Machine], control: str) -> None:
    """Raise Conflict for the first machine that another connector works on. `control`: our own control plane's thumbprint."""
    for machine in machines:
        _refuse_snapshots(machine, owner_of(control))
    access = configured()
    if access is None:
        return
    try:
        with closing(SmcClient(access)) as client:
            for machine in machines:
                _refuse_jobs(client, machine, access.host)
    except Conflict:
        raise
    except ConnectorError as failed:
        failed.remedy = f"{failed.remedy}; or give {OPTION} to skip this check".removeprefix("; ")
        raise


def _refuse_snapshots(machine: Machine, owner: str) -> None:
    for node in machine.snapshots:
        ticket = Ticket.of(node.description)
        if ticket is not None and ticket.owner != owner:
            raise Conflict(
                f"another connector has the snapshot {node.name!r} on it",
                on=machine.name,
                remedy=f"finish that migration first, or give {OPTION}",
            )


def _refuse_jobs(client: SmcClient, machine: Machine, host: str) -> None:
    sources = [
        row["SourceId"]
        for row in records.rows(client, records.MACHINE, MachineId=[machine.moref])
        if row["InstanceUuid"] == machine.instance_uuid
    ]
    for job in records.rows(client, records.JOB, SourceId=sources) if sources else ():
        if job["Status"] in _UNFINISHED:
            raise Conflict(
                f"the control plane at {host} has an unfinished job for it: {job['Name']} ({job['Status']})",
                on=machine.name,
                remedy=f"{_ways(client, job)}, or give {OPTION}",
            )


def _ways(client: SmcClient, job: Json) -> str:
    """What can be done with this job in its state: only operations that are allowed now."""
    answer = client.call("DescribeReplicationJobProgress", JobId=[job["JobId"]])
    jobs = records.items(answer, records.JOB.plural, records.JOB.singular)
    allowed: list[Any] = []
    for row in jobs:
        allowed += records.items(row, "AllowedOperations", "AllowedOperation")
    name = job["Name"]
    if CUT_OVER.action in allowed:
        first = f"connector job cutover {name} --sync"
    elif START.action in allowed:
        first = f"connector job start {name} --watch"
    else:
        first = f"wait for it: connector job watch {name}"
    return f"{first}; or delete that job" if DELETE.action in allowed else first
