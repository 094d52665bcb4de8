"""Looking at jobs until they rest: bars on a terminal, lines in a log, JSON for programs.

A control plane that is silent for a while is waited for: a replica may be taking over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from connector.cli import outage
from connector.cli.display import Display, choose
from connector.cli.records import JOB, items
from connector.clients.smc import Json, SmcClient
from connector.errors import Conflict, ConnectorError, ControlFailed, Interrupted, NotFound, from_json
from connector.outages import Silence
from connector.specification import outage as outage_words

PACE: Final = 0.5  # seconds between two looks
#: A job in any other status rests.
MOVING: Final = ("Running", "Deleting")
_AT_ONCE: Final = 50


@dataclass(slots=True)
class _Watched:
    name: str
    phase: str = ""
    ended: Json | None = None
    last: Json = field(default_factory=dict)
    down: bool = False


def watch(client: SmcClient, jobs: Sequence[Json], as_json: bool) -> None:
    """Until every job rests. Raises the first failure of one that rests in InError, Expired, or is gone."""
    watched = {job["JobId"]: _Watched(str(job.get("Name") or job["JobId"])) for job in jobs}
    with choose(as_json) as display:
        try:
            _until_rest(client, watched, display)
        except KeyboardInterrupt:
            down = outage.lines(one.last for one in watched.values())
            raise Interrupted(
                "; ".join(["stopped watching; the jobs go on", *down]),
                remedy="watch again, or `connector job stop`",
            ) from None
    if as_json:
        for key, one in watched.items():
            click.echo(json.dumps(_result(key, one)))
    for one in watched.values():
        if failed := _failure(one):
            raise outage.added(failed, one.ended or {}, one.name)
    for one in watched.values():
        if text := outage_words.of_row(one.ended or {}):
            click.echo(f"{one.name}: {text}; {outage.ways_on(one.name)}", err=True)


def _until_rest(client: SmcClient, watched: dict[str, _Watched], display: Display) -> None:
    silence = Silence(display.say)
    while open_ := [key for key, one in watched.items() if one.ended is None]:
        try:
            _look(client, open_, watched, display)
            silence.heard()
        except ControlFailed as failed:
            silence.bear(failed)
        if any(one.ended is None for one in watched.values()):
            time.sleep(PACE)


def _look(client: SmcClient, keys: Sequence[str], watched: dict[str, _Watched], display: Display) -> None:
    for start in range(0, len(keys), _AT_ONCE):
        part = list(keys[start : start + _AT_ONCE])
        answer = client.call("DescribeReplicationJobProgress", JobId=part)
        found = {row["JobId"]: row for row in items(answer, JOB.plural, JOB.singular)}
        for key in part:
            _show(watched[key], found.get(key, {"Status": "Deleted"}), display)


def _show(one: _Watched, row: Json, display: Display) -> None:
    one.last = row
    status = str(row["Status"])
    if bool(row.get("SourceDown")) != one.down:
        one.down = not one.down
        display.say(f"{one.name}: {outage_words.of_row(row) or 'the cutover has ended'}")
    phase = str(row.get("BusinessStatus") or status)
    if phase == "Syncing":
        phase = str(row.get("WaitingFor") or row.get("Phase") or phase)
    if phase != one.phase:
        one.phase = phase
        display.phase(one.name, phase)
    if row.get("BusinessStatus") == "Syncing":
        for disk in items(row, "Disks", "Disk"):
            display.disk(one.name, as_displayed(disk, "Index"))
    if status not in MOVING:
        one.ended = row


def as_displayed(disk: Json, key: str) -> dict[str, Any]:
    """A disk under way with the names of `appliance.progress.DiskProgress`; `key`: the field that names it."""
    return {
        "key": disk[key],
        "label": disk["Label"],
        "capacity": disk["SizeBytes"],
        "wanted": disk["WantedBytes"],
        "done": disk["DoneBytes"],
        "read": disk["ReadBytes"],
        "zero": disk["ZeroBytes"],
        "wire": disk["WireBytes"],
        "rate": disk["BytesPerSecond"],
        "bottleneck": disk["Bottleneck"],
        "state": disk["State"],
    }


def _result(key: str, one: _Watched) -> Json:
    row = one.ended or {}
    return {
        "event": "result",
        "machine": one.name,
        "job": key,
        "status": row.get("Status", ""),
        "run": row.get("RunNumber", 0),
        "error": row.get("ErrorMessage", "") if row.get("Status") == "InError" else "",
    }


def _failure(one: _Watched) -> ConnectorError | None:
    row = one.ended or {}
    if row.get("Status") == "Deleted":
        return NotFound("the job is gone", on=one.name, remedy="somebody deleted it")
    if row.get("Status") == "Expired":
        return Conflict("its valid time has passed", on=one.name, remedy="delete it and create a new job")
    if row.get("Status") != "InError":
        return None
    reason = {"error": row.get("ErrorCode"), "what": row.get("ErrorMessage") or "it failed"}
    failed = from_json(reason, ControlFailed)
    failed.on, failed.remedy = one.name, f"see connector job logs {one.name}"
    return failed
