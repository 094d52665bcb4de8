"""`watch` shows jobs until they rest. If the control plane is silent for a while, it waits: a replica may be taking over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import click

from connector.cli import source_down
from connector.cli.display import Display, choose
from connector.cli.records import JOB, items
from connector.clients.refusal import failure_of
from connector.clients.smc import Json, SmcClient
from connector.errors import Conflict, ConnectorError, ControlFailed, Interrupted, NotFound
from connector.outages import Silence
from connector.specification import source_down as down_words

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
    syncing: bool = False  # the figures of its disks are shown
    shut_down: bool = False  # a cutover had shut the source down when the watching began

    @property
    def machine(self) -> str:
        """The source's name; the job's if it is not known."""
        return str((self.ended or self.last).get("SourceName") or self.name)

    @property
    def powered_on(self) -> bool:
        """A rollback has ended here: it powers on whatever the cutover has shut down."""
        row = self.ended or {}
        return self.shut_down and row.get("Status") == "Stopped" and row.get("CutOver") is False


def watch(client: SmcClient, jobs: Sequence[Json], as_json: bool) -> None:
    """Watch until every job rests. Raises the first failure: a job in InError or Expired, or a deleted job."""
    watched = {
        job["JobId"]: _Watched(str(job.get("Name") or job["JobId"]), shut_down=bool(job.get("DownSinceTime")))
        for job in jobs
    }
    with choose(as_json) as display:
        try:
            _until_rest(client, watched, display)
        except KeyboardInterrupt:
            raise _left(watched.values()) from None
    if as_json:
        for key, entry in watched.items():
            click.echo(json.dumps(_result(key, entry)))
    for entry in watched.values():
        if failed := _failure(entry):
            raise source_down.added(failed, entry.ended or {}, entry.name)
    for entry in watched.values():
        if text := down_words.of_row(entry.ended or {}):
            click.echo(f"{entry.name}: {text}; {source_down.ways_on(entry.name, entry.ended)}", err=True)
        elif entry.powered_on and not as_json:
            click.echo(f"{entry.machine} is powered on")


def _left(watched: Iterable[_Watched]) -> Interrupted:
    """The watching was interrupted: which jobs go on, whose sources are down, and how that is ended."""
    going = [entry for entry in watched if entry.ended is None]
    names = " ".join(entry.name for entry in going)
    down = [entry for entry in going if down_words.of_row(entry.last)]
    ways = [source_down.ways_on(entry.name, entry.last) for entry in down]
    return Interrupted(
        "; ".join([f"stopped watching; the jobs go on: {names}", *source_down.lines(e.last for e in down)]),
        remedy="; ".join([f"`connector job watch {names}`, or `connector job stop {names}`", *ways]),
    )


@contextmanager
def left_alone(watched: str) -> Iterator[None]:
    """An interrupt ends only the watching. `watched`: what goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped watching; {watched} goes on", remedy="watch again") from None


def _until_rest(client: SmcClient, watched: dict[str, _Watched], display: Display) -> None:
    silence = Silence(display.say)
    while open_ := [key for key, entry in watched.items() if entry.ended is None]:
        try:
            _look(client, open_, watched, display)
            silence.heard()
        except ControlFailed as failed:
            silence.bear(failed)
        if any(entry.ended is None for entry in watched.values()):
            time.sleep(PACE)


def _look(client: SmcClient, keys: Sequence[str], watched: dict[str, _Watched], display: Display) -> None:
    for start in range(0, len(keys), _AT_ONCE):
        part = list(keys[start : start + _AT_ONCE])
        answer = client.call("DescribeReplicationJobProgress", JobId=part)
        rows = {row["JobId"]: row for row in items(answer, JOB.plural, JOB.singular)}
        for key in part:
            _show(watched[key], rows.get(key, {"Status": "Deleted"}), display)


def _show(watched: _Watched, row: Json, display: Display) -> None:
    watched.last = row
    status = str(row["Status"])
    phase = str(row.get("BusinessStatus") or status)
    if phase == "Syncing":
        phase = str(row.get("WaitingFor") or row.get("Phase") or phase)
    if phase != watched.phase:
        watched.phase = phase
        display.phase(watched.name, phase)
    if bool(row.get("SourceDown")) != watched.down:
        watched.down = not watched.down
        display.say(f"{watched.name}: {down_words.of_row(row) or source_down.ended(row)}")
    syncing = row.get("BusinessStatus") == "Syncing"
    if syncing or watched.syncing:  # once more at the end, or a bar stands still before it is full
        for disk in items(row, "Disks", "Disk"):
            display.disk(watched.name, as_displayed(disk, "Index"))
    watched.syncing = syncing
    if status not in MOVING:
        watched.ended = row


def as_displayed(disk: Json, key: str) -> dict[str, Any]:
    """The figures of a disk, with the names of `appliance.progress.DiskProgress`. `key`: the field with its name."""
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


def _result(key: str, watched: _Watched) -> Json:
    row = watched.ended or {}
    return {
        "event": "result",
        "machine": watched.name,
        "job": key,
        "status": row.get("Status", ""),
        "run": row.get("RunNumber", 0),
        "error": row.get("ErrorMessage", "") if row.get("Status") == "InError" else "",
    }


def _failure(watched: _Watched) -> ConnectorError | None:
    row = watched.ended or {}
    if row.get("Status") == "Deleted":
        return NotFound("the job is gone", on=watched.name, remedy="somebody deleted it")
    if row.get("Status") == "Expired":
        return Conflict("its valid time has passed", on=watched.name, remedy="delete it and create a new job")
    if row.get("Status") != "InError":
        return None
    kind = failure_of(str(row.get("ErrorCode") or ""))
    return kind(
        str(row.get("ErrorMessage") or "it failed"),
        on=watched.name,
        remedy=f"see connector job logs {watched.name}",
        retryable=False,
    )
