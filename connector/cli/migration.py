"""What one `connector migrate` does with each machine: find its job or make one, start it, watch it to the end.

A machine has at most one unfinished job. Running again continues it: resumes what was interrupted, else the next delta.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain, count
from typing import Any

from connector.cli import outage, records
from connector.cli.display import Display
from connector.cli.job_parameters import OF_MIGRATIONS, as_echoed
from connector.cli.report import JobReport, report
from connector.cli.stack import Stack
from connector.cli.watching import as_displayed
from connector.clients.smc import Json, SmcClient
from connector.errors import Conflict, ConnectorError, Interrupted, NotFound, StateRestored, from_json
from connector.model import Machine
from connector.specification import outage as outage_words
from connector.specification.kinds import LOCAL_REGION

DEADLINE = 300  # seconds for a guest to shut down when nothing is said: somebody waits for this command
POLL = 0.3  # seconds between two looks at the jobs

STOPPING = 60.0  # seconds for jobs to stop

WAYS_ON = outage_words.ways_on(
    "the same command again", "the same command with --rollback in place of --cutover"
)
LONGEST_NAME = 60  # of 101 that an image may have: its cycle and its job are appended
UNFINISHED = ("Ready", "Running", "Stopped", "InError", "Waiting")


@dataclass(frozen=True, slots=True)
class MigrationRequest:
    """What is wanted for each machine. `cutover` implies that the job stays open for deltas until it.

    `rollback`: take a cutover back, and nothing else. `again`: copy anew what is finished.
    `fields`: of the job, by name, as they were given; None: not given.
    """

    incremental: bool = False
    cutover: bool = False
    image_format: str = "raw"
    fields: Mapping[str, Any] = field(default_factory=dict)
    rollback: bool = False
    again: bool = False

    def parameters(self) -> dict[str, Any]:
        """What may be said anew with every start of a job, as the public API takes it; what was not given is the default."""
        wanted = {known.name: known.default for known in OF_MIGRATIONS} | {"ShutdownDeadline": DEADLINE}
        wanted |= as_echoed(self.fields)
        return {name: value for name, value in wanted.items() if value != ""}


@dataclass(slots=True)
class _Watched:
    """One machine under way. `cut` tells that the cutover itself has been asked for."""

    name: str
    job: str
    cut: bool = False
    phase: str = ""
    row: Json = field(default_factory=dict)
    ended: Json | None = None
    errors: list[ConnectorError] = field(default_factory=list)


def migrate(
    stack: Stack, machines: Sequence[Machine], request: MigrationRequest, display: Display
) -> list[JobReport]:
    """Bring every machine as far as `request` says; answers what is told of the jobs that have ended.

    A machine that fails does not stop the others; the first failure is raised after all have ended. On an interrupt every
    job is asked to stop first, so that no snapshot stays.
    """
    begin = _roll_back if request.rollback else _begin
    watched = [stack.patiently(partial(begin, stack, machine, request, display)) for machine in machines]
    try:
        while any(one.ended is None for one in watched):
            stack.check()
            for one in watched:
                if one.ended is None:
                    stack.patiently(partial(_look, stack.client, one, request, display))
            time.sleep(POLL)
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be what has gone
            display.say("stopping; snapshots are being removed")
        _stop_all(stack, watched)
        raise _interrupted(watched, request) from None
    for one in watched:
        if one.errors:
            raise one.errors[0]
    return [report(stack.client, one.ended) for one in watched if one.ended is not None]


def to_cut_over(stack: Stack, machines: Sequence[Machine]) -> list[Machine]:
    """Those whose cutover would begin: one that has begun is resumed whoever else is there, for its source may be down."""
    wanted = []
    for machine in machines:
        newest = next(
            records.rows(stack.client, records.JOB, SourceId=[_source(stack.client, machine)]), None
        )
        if newest is None or not newest["CutOver"]:
            wanted.append(machine)
    return wanted


def _interrupted(watched: Sequence[_Watched], request: MigrationRequest) -> Interrupted:
    down = [f"{one.name}: {text}" for one in watched if (text := outage_words.of_row(one.row))]
    remedy = f"run the same command again to resume{'; ' + WAYS_ON if down and not request.rollback else ''}"
    return Interrupted("; ".join(["stopped", *down]), remedy=remedy)


def _begin(stack: Stack, machine: Machine, request: MigrationRequest, display: Display) -> _Watched:
    client = stack.client
    source = _source(client, machine)
    mine = list(records.rows(client, records.JOB, SourceId=[source]))  # newest first
    job = next((job for job in mine if job["Status"] in UNFINISHED), None)
    if job is None and mine and _resumed(stack, mine[0]["JobId"]):
        job = mine[0]
    if job is None and mine and not request.again and (done := _finished(stack, machine, mine[0], display)):
        return done
    job = job or _create(stack, machine, source, request)
    if job["RunOnce"] and (request.incremental or request.cutover):
        raise Conflict(
            "an unfinished migration was begun without --incremental and --cutover",
            on=machine.name,
            remedy="finish it with the command that began it, or use another --to",
        )
    one = _Watched(machine.name, job["JobId"])
    if job["Status"] == "Waiting" and request.cutover:
        _cut(client, one, request)
    elif job["Status"] != "Running" and not _resumed(stack, one.job):
        _start(client, one, request)
        one.cut = _progress(client, one.job)["CutOver"]
    return one


def _finished(stack: Stack, machine: Machine, job: Json, display: Display) -> _Watched | None:
    """The machine's migration when it is finished and its image still stands."""
    if job["Status"] != "Finished":
        return None
    row = _progress(stack.client, job["JobId"])
    standing = [
        image["name"] for image in report(stack.client, row).images if image["name"] in stack.images()
    ]
    if not standing:
        return None
    display.say(f"{machine.name}: already finished, image {standing[-1]}; --again makes another")
    return _Watched(machine.name, job["JobId"], ended=row)


def _roll_back(stack: Stack, machine: Machine, _request: MigrationRequest, _display: Display) -> _Watched:
    """Begin to take the newest job's cutover back; one that runs is stopped first."""
    client = stack.client
    source = _source(client, machine)
    for job in records.rows(client, records.JOB, SourceId=[source]):
        one = _Watched(machine.name, job["JobId"], cut=True)
        row = _progress(client, one.job)
        if row["Status"] == "Running" and row["CutOver"] and row["BusinessStatus"] != "RollingBack":
            _stop_all(stack, [one])
            row = _at_rest(client, one)
        allowed: list[Any] = records.items(row, "AllowedOperations", "AllowedOperation")
        if "RollbackReplicationJob" in allowed:
            client.call("RollbackReplicationJob", JobId=one.job, KeepChangeTracking=False)
            return one
        if row["BusinessStatus"] == "RollingBack":
            return one
        break
    raise Conflict("there is no cutover to take back", on=machine.name, remedy="nothing was shut down here")


def _at_rest(client: SmcClient, one: _Watched) -> Json:
    """The job when its stop has come through."""
    deadline = time.monotonic() + STOPPING
    while (row := _progress(client, one.job))["Status"] == "Running" and time.monotonic() < deadline:
        time.sleep(POLL)
    return row


def _source(client: SmcClient, machine: Machine) -> str:
    """The id of the machine's source: the appliance has registered it when it started."""
    for row in records.rows(client, records.MACHINE, MachineId=[machine.moref]):
        return str(row["SourceId"])
    raise NotFound("the appliance has not registered this machine", on=machine.name, remedy="read its log")


def _job(client: SmcClient, job: str) -> Json:
    """The job with what it was asked to be."""
    return records.find(client, records.JOB, job)


def _progress(client: SmcClient, job: str) -> Json:
    """How far the job is."""
    answer = client.call("DescribeReplicationJobProgress", JobId=[job])
    for row in records.items(answer, "ReplicationJobs", "ReplicationJob"):
        return row
    raise NotFound("the job is gone", on=job, remedy="somebody has deleted it: run the same command again")


def _resumed(stack: Stack, job: str) -> bool:
    """Whether this very start took up the job's interrupted run and has brought it to its good end already."""
    run = _progress(stack.client, job)
    if run["RunOutcome"] != "done":
        return False
    begun, ended = (datetime.fromisoformat(run[name]).timestamp() for name in ("RunStartTime", "RunEndTime"))
    return begun < stack.began <= ended


def _create(stack: Stack, machine: Machine, source: str, request: MigrationRequest) -> Json:
    client = stack.client
    name = free_name(plain_name(machine.name), _JobNames(client), stack.images())
    once = not (request.incremental or request.cutover)
    made = client.call(
        "CreateReplicationJob",
        RegionId=LOCAL_REGION,
        SourceId=source,
        Name=name,
        RunOnce=once,
        OnDemand=None if once else True,
        ImageName=name,
        ImageFormat=request.image_format,
        **request.parameters(),
    )
    return _job(client, made["JobId"])


class _JobNames(Container[str]):
    """Names that jobs have."""

    def __init__(self, client: SmcClient) -> None:
        self._client = client

    def __contains__(self, name: object) -> bool:
        return any(True for _ in records.rows(self._client, records.JOB, Name=name))


def _look(client: SmcClient, one: _Watched, request: MigrationRequest, display: Display) -> None:
    job = _progress(client, one.job)
    if bool(job["SourceDown"]) != bool(one.row.get("SourceDown")):
        display.say(
            f"{one.name}: {outage_words.of_row(job) or 'the source is up, or its image has taken its place'}"
        )
    one.row = job
    syncing = job["BusinessStatus"] == "Syncing"
    phase = job["Phase"] if syncing and job["Phase"] else job["BusinessStatus"] or job["Status"]
    if phase != one.phase:
        one.phase = phase
        display.phase(one.name, phase)
    if syncing:
        for disk in records.items(job, "Disks", "Disk"):
            display.disk(one.name, as_displayed(disk, "DiskKey"))
    if job["Status"] == "Running":
        return
    if job["Status"] == "Waiting" and request.cutover and not one.cut:
        _cut(client, one, request)
        return
    if job["ErrorKind"] == StateRestored.__name__:
        _start(client, one, request)  # its run met a state that was not confirmed yet
        return
    one.ended = job
    if request.rollback and job["Status"] == "Stopped":
        display.say(f"{one.name}: the cutover is rolled back, and the source has its state back")
        return
    if job["Status"] not in ("Finished", "Waiting"):
        one.errors.append(_why(one, job))


def _say(client: SmcClient, one: _Watched, request: MigrationRequest) -> None:
    """What this command says counts more than what the job was created with."""
    job = _job(client, one.job)
    changes = {name: value for name, value in request.parameters().items() if job.get(name) != value}
    if changes:
        client.call("ModifyReplicationJobAttribute", JobId=one.job, **changes)


def _start(client: SmcClient, one: _Watched, request: MigrationRequest) -> None:
    _say(client, one, request)
    client.call("StartReplicationJob", JobId=one.job)


def _cut(client: SmcClient, one: _Watched, request: MigrationRequest) -> None:
    _say(client, one, request)
    client.call("CutOverReplicationJob", JobId=one.job, SyncData=True)
    one.cut = True


def _why(one: _Watched, job: Json) -> ConnectorError:
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
        failed.on = failed.on or one.name
        return outage.added(failed, job, one.name, WAYS_ON)
    stopped = Interrupted(
        f"the job is {job['Status']}", on=one.name, remedy="run the same command again to resume"
    )
    return outage.added(stopped, job, one.name, WAYS_ON)


def _stop_all(stack: Stack, watched: Sequence[_Watched]) -> None:
    """Ask every running job to stop and wait until none is; stopping the appliance afterwards catches the rest."""
    for one in watched:
        if one.ended is None:
            try:
                stack.client.call("StopReplicationJob", JobId=one.job)
            except ConnectorError:
                continue  # not in a state that can be stopped; leaving the house stops it too
    deadline = time.monotonic() + STOPPING
    while time.monotonic() < deadline:
        for one in watched:
            one.row = _progress(stack.client, one.job)
        if all(one.row["BusinessStatus"] != "Syncing" for one in watched):
            return
        time.sleep(POLL)


def free_name(name: str, jobs: Container[str], images: Collection[str]) -> str:
    """`name`, else `name-2` and so on: of no job, and of no image, those of single runs included."""

    def free(candidate: str) -> bool:
        run = f"{candidate}_CYCLE_"
        return candidate not in jobs and all(i != candidate and not i.startswith(run) for i in images)

    return next(filter(free, chain([name], (f"{name}-{number}" for number in count(2)))))


def plain_name(name: str) -> str:
    """A machine's name as jobs and images may be called, with room for what they append.

    A letter first, then letters, digits, "_" or "-".
    """
    plain = re.sub(r"[^A-Za-z0-9_\-]+", "-", name).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"vm-{plain}"
    return plain[:LONGEST_NAME].ljust(2, "-")
