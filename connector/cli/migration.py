"""`connector migrate` finds or makes the job of each machine, starts it, and watches it to its end.

A machine has at most one unfinished job. The same command again resumes an interrupted run, or else does the next delta.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import chain, count
from typing import Any

from connector.cli import records, source_down
from connector.cli.display import Display
from connector.cli.job_parameters import OF_MIGRATIONS, as_echoed
from connector.cli.report import JobReport, report
from connector.cli.stack import Stack
from connector.cli.watching import as_displayed
from connector.clients.smc import Json, SmcClient
from connector.errors import Conflict, ConnectorError, Interrupted, NotFound, StateRestored, from_json
from connector.model import Machine
from connector.specification import source_down as down_words
from connector.specification.kinds import LOCAL_REGION

DEADLINE = (
    300  # default seconds for a guest to shut down; it is short because somebody waits for this command
)
POLL = 0.3  # seconds between two looks at the jobs

STOPPING = 60.0  # seconds for jobs to stop

WAYS_ON = down_words.ways_on(
    "the same command again", "the same command with --rollback in place of --cutover"
)
LONGEST_NAME = 60  # an image's name may have 101 characters; its cycle and its job are appended
UNFINISHED = ("Ready", "Running", "Stopped", "InError", "Waiting")


@dataclass(frozen=True, slots=True)
class MigrationRequest:
    """What to do with each machine. With `cutover` the job stays open for deltas until the cutover.

    `rollback`: only roll a cutover back. `again`: copy finished machines again. `image_format`: of a new job.
    `fields`: fields of the job by name, also of one that is there; None: not given.
    """

    incremental: bool = False
    cutover: bool = False
    image_format: str = "raw"
    fields: Mapping[str, Any] = field(default_factory=dict)
    rollback: bool = False
    again: bool = False

    def parameters(self) -> dict[str, Any]:
        """The fields that every start of a job sets, as parameters of the public API; without a value, their defaults."""
        parameters = {field.name: field.default for field in OF_MIGRATIONS} | {"ShutdownDeadline": DEADLINE}
        parameters |= as_echoed(self.fields)
        return {name: value for name, value in parameters.items() if value != ""}


@dataclass(slots=True)
class _Watched:
    """One machine under way. `cut`: the cutover itself was asked for. `shut_down`: a cutover has shut the source down.

    `note`: why nothing had to be done.
    """

    name: str
    job: str
    cut: bool = False
    shut_down: bool = False
    phase: str = ""
    syncing: bool = False
    row: Json = field(default_factory=dict)
    ended: Json | None = None
    errors: list[ConnectorError] = field(default_factory=list)
    note: str = ""


def migrate(
    stack: Stack, machines: Sequence[Machine], request: MigrationRequest, display: Display
) -> list[JobReport]:
    """Bring every machine as far as `request` says; answer the reports of the jobs that have ended.

    A machine that fails does not stop the others. The first failure is raised after all have ended. After an interrupt
    every job is asked to stop first, so that no snapshot is left.
    """
    begin = _roll_back if request.rollback else _begin
    watched = [stack.patiently(partial(begin, stack, machine, request)) for machine in machines]
    try:
        while any(entry.ended is None for entry in watched):
            stack.check()
            for entry in watched:
                if entry.ended is None:
                    stack.patiently(partial(_look, stack.client, entry, request, display))
            time.sleep(POLL)
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be closed
            display.say("stopping; snapshots are being removed")
        _stop_all(stack, watched)
        raise _interrupted(watched, request) from None
    for entry in watched:
        if entry.errors:
            raise entry.errors[0]
    return [
        replace(report(stack.client, entry.ended), note=entry.note)
        for entry in watched
        if entry.ended is not None
    ]


def refuse_open_cutovers(client: SmcClient, machines: Sequence[Machine]) -> None:
    """Only a cutover resumes a cutover. Raises Conflict for the first of these machines with an open one."""
    for machine in machines:
        sources = [
            row["SourceId"] for row in records.rows(client, records.MACHINE, MachineId=[machine.moref])
        ]
        for job in records.rows(client, records.JOB, SourceId=sources) if sources else ():
            if job["CutOver"] and job["Status"] != "Finished":
                down = down_words.of_row(job)
                raise Conflict(
                    f"{down}; an interrupted cutover is open" if down else "an interrupted cutover is open",
                    on=machine.name,
                    remedy="--cutover resumes it, --rollback takes it back",
                )


def to_cut_over(stack: Stack, machines: Sequence[Machine]) -> list[Machine]:
    """The machines whose cutover would begin now. A begun cutover is resumed in any case: its source may be down."""
    to_begin = []
    for machine in machines:
        newest = next(
            records.rows(stack.client, records.JOB, SourceId=[_source(stack.client, machine)]), None
        )
        if newest is None or not newest["CutOver"]:
            to_begin.append(machine)
    return to_begin


def _interrupted(watched: Sequence[_Watched], request: MigrationRequest) -> Interrupted:
    # The appliance and the control plane end with this command, so nothing is under way afterwards.
    rows = [(entry.name, entry.row | {"Status": "Stopped"}) for entry in watched]
    down = [f"{name}: {text}" for name, row in rows if (text := down_words.of_row(row))]
    remedy = WAYS_ON if down and not request.rollback else "run the same command again to resume"
    return Interrupted("; ".join(["stopped", *down]), remedy=remedy)


def _begin(stack: Stack, machine: Machine, request: MigrationRequest) -> _Watched:
    client = stack.client
    source = _source(client, machine)
    jobs = list(records.rows(client, records.JOB, SourceId=[source]))  # newest first
    job = next((job for job in jobs if job["Status"] in UNFINISHED), None)
    if job is None and jobs and _resumed(stack, jobs[0]["JobId"]):
        job = jobs[0]
    if job is None and jobs and not request.again and (finished := _finished(stack, machine, jobs[0])):
        return finished
    job = job or _create(stack, machine, source, request)
    if job["RunOnce"] and (request.incremental or request.cutover):
        raise Conflict(
            "an unfinished migration was begun without --incremental and --cutover",
            on=machine.name,
            remedy="finish it with the command that began it, give it up with --abandon, or use another --to",
        )
    watched = _Watched(machine.name, job["JobId"])
    if job["Status"] == "Waiting" and request.cutover:
        _cut(client, watched, request)
    elif job["Status"] != "Running" and not _resumed(stack, watched.job):
        _start(client, watched, request)
        watched.cut = _progress(client, watched.job)["CutOver"]
    return watched


def _finished(stack: Stack, machine: Machine, job: Json) -> _Watched | None:
    """The machine's migration if it is finished and its image still exists."""
    if job["Status"] != "Finished":
        return None
    row = _progress(stack.client, job["JobId"])
    existing = [
        image["name"] for image in report(stack.client, row).images if image["name"] in stack.images()
    ]
    if not existing:
        return None
    note = f"{machine.name}: already finished, image {existing[-1]}; --again makes another"
    return _Watched(machine.name, job["JobId"], ended=row, note=note)


def _roll_back(stack: Stack, machine: Machine, _request: MigrationRequest) -> _Watched:
    """Begin to roll the newest job's cutover back. A running job is stopped first."""
    client = stack.client
    source = _source(client, machine)
    for job in records.rows(client, records.JOB, SourceId=[source]):
        watched = _Watched(machine.name, job["JobId"], cut=True)
        row = _progress(client, watched.job)
        watched.shut_down = bool(row["DownSinceTime"])
        if row["Status"] == "Running" and row["CutOver"] and row["BusinessStatus"] != "RollingBack":
            _stop_all(stack, [watched])
            row = _at_rest(client, watched)
        allowed: list[Any] = records.items(row, "AllowedOperations", "AllowedOperation")
        if "RollbackReplicationJob" in allowed:
            client.call("RollbackReplicationJob", JobId=watched.job, KeepChangeTracking=False)
            return watched
        if row["BusinessStatus"] == "RollingBack":
            return watched
        break
    raise Conflict("there is no cutover to roll back", on=machine.name, remedy="nothing was shut down here")


def _at_rest(client: SmcClient, watched: _Watched) -> Json:
    """The job after it has stopped."""
    deadline = time.monotonic() + STOPPING
    while (row := _progress(client, watched.job))["Status"] == "Running" and time.monotonic() < deadline:
        time.sleep(POLL)
    return row


def _source(client: SmcClient, machine: Machine) -> str:
    """The id of the machine's source, which the appliance registered at its start."""
    for row in records.rows(client, records.MACHINE, MachineId=[machine.moref]):
        return str(row["SourceId"])
    raise NotFound("the appliance has not registered this machine", on=machine.name, remedy="read its log")


def _job(client: SmcClient, job: str) -> Json:
    """The job with its definition."""
    return records.find(client, records.JOB, job)


def _progress(client: SmcClient, job: str) -> Json:
    """How far the job is."""
    answer = client.call("DescribeReplicationJobProgress", JobId=[job])
    for row in records.items(answer, "ReplicationJobs", "ReplicationJob"):
        return row
    raise NotFound("the job is gone", on=job, remedy="somebody has deleted it: run the same command again")


def _resumed(stack: Stack, job: str) -> bool:
    """Whether this start of the stack resumed the job's interrupted run and has already finished it."""
    run = _progress(stack.client, job)
    if run["RunOutcome"] != "done":
        return False
    began, ended = (datetime.fromisoformat(run[name]).timestamp() for name in ("RunStartTime", "RunEndTime"))
    return began < stack.began <= ended


def _create(stack: Stack, machine: Machine, source: str, request: MigrationRequest) -> Json:
    client = stack.client
    name = free_name(plain_name(machine.name), _JobNames(client), stack.images())
    once = not (request.incremental or request.cutover)
    answer = client.call(
        "CreateReplicationJob",
        RegionId=LOCAL_REGION,
        SourceId=source,
        Name=name,
        RunOnce=once,
        OnDemand=None if once else True,
        ImageName=name,
        **({"ImageFormat": request.image_format} | request.parameters()),
    )
    return _job(client, answer["JobId"])


class _JobNames(Container[str]):
    """The names of all jobs."""

    def __init__(self, client: SmcClient) -> None:
        self._client = client

    def __contains__(self, name: object) -> bool:
        return any(True for _ in records.rows(self._client, records.JOB, Name=name))


def _look(client: SmcClient, watched: _Watched, request: MigrationRequest, display: Display) -> None:
    job = _progress(client, watched.job)
    turned = bool(job["SourceDown"]) != bool(watched.row.get("SourceDown"))
    watched.row = job
    syncing = job["BusinessStatus"] == "Syncing"
    phase = job["Phase"] if syncing and job["Phase"] else job["BusinessStatus"] or job["Status"]
    if phase != watched.phase:
        watched.phase = phase
        display.phase(watched.name, phase)
    if turned:
        display.say(f"{watched.name}: {down_words.of_row(job) or source_down.ended(job)}")
    if syncing or watched.syncing:  # once more at the end, or a bar stands still before it is full
        for disk in records.items(job, "Disks", "Disk"):
            display.disk(watched.name, as_displayed(disk, "DiskKey"))
    watched.syncing = syncing
    if job["Status"] == "Running":
        return
    if job["Status"] == "Waiting" and request.cutover and not watched.cut:
        _cut(client, watched, request)
        return
    if job["ErrorKind"] == StateRestored.__name__:
        _start(client, watched, request)  # its run met a restored state that was not confirmed yet
        return
    watched.ended = job
    if request.rollback and job["Status"] == "Stopped" and not job["SourceDown"]:
        display.say(f"{watched.name}: the cutover is rolled back, and the source has its state back")
        if watched.shut_down:
            display.say(f"{watched.name} is powered on")
        return
    if job["Status"] not in ("Finished", "Waiting"):
        watched.errors.append(_why(watched, job))


def _say(client: SmcClient, watched: _Watched, request: MigrationRequest) -> None:
    """Set the fields of this command, which override those of the job's creation."""
    job = _job(client, watched.job)
    changes = {name: value for name, value in request.parameters().items() if job.get(name) != value}
    if changes:
        client.call("ModifyReplicationJobAttribute", JobId=watched.job, **changes)


def _start(client: SmcClient, watched: _Watched, request: MigrationRequest) -> None:
    _say(client, watched, request)
    client.call("StartReplicationJob", JobId=watched.job)


def _cut(client: SmcClient, watched: _Watched, request: MigrationRequest) -> None:
    _say(client, watched, request)
    client.call("CutOverReplicationJob", JobId=watched.job, SyncData=True)
    watched.cut = True


def _why(watched: _Watched, job: Json) -> ConnectorError:
    if job["ErrorKind"]:
        failed = from_json(
            {
                "error": job["ErrorKind"],
                "what": job["ErrorReason"],
                "on": job["ErrorSubject"],
                "remedy": job["ErrorRemedy"],
                "retryable": job["ErrorRetryable"],
            }
        )
        failed.on = failed.on or watched.name
        return source_down.added(failed, job, watched.name, WAYS_ON)
    remedy = "" if job["SourceDown"] else "run the same command again to resume"
    stopped = Interrupted(f"the job is {job['Status']}", on=watched.name, remedy=remedy)
    return source_down.added(stopped, job, watched.name, WAYS_ON)


def _stop_all(stack: Stack, watched: Sequence[_Watched]) -> None:
    """Ask every running job to stop, and wait for it. The end of the appliance stops the remaining jobs."""
    for entry in watched:
        if entry.ended is None:
            try:
                stack.client.call("StopReplicationJob", JobId=entry.job)
            except ConnectorError:
                continue  # its state cannot be stopped; the end of the stack stops it too
    deadline = time.monotonic() + STOPPING
    while time.monotonic() < deadline:
        for entry in watched:
            entry.row = _progress(stack.client, entry.job)
        if all(entry.row["BusinessStatus"] != "Syncing" for entry in watched):
            return
        time.sleep(POLL)


def free_name(name: str, jobs: Container[str], images: Collection[str]) -> str:
    """`name`, else `name-2` and so on: a name that no job and no image has, images of single runs included."""

    def free(candidate: str) -> bool:
        run = f"{candidate}_CYCLE_"
        return candidate not in jobs and all(i != candidate and not i.startswith(run) for i in images)

    return next(filter(free, chain([name], (f"{name}-{number}" for number in count(2)))))


def plain_name(name: str) -> str:
    """A machine's name in the form of names of jobs and images, with room for their endings.

    A letter first, then letters, digits, "_" or "-".
    """
    plain = re.sub(r"[^A-Za-z0-9_\-]+", "-", name).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"vm-{plain}"
    return plain[:LONGEST_NAME].ljust(2, "-")
