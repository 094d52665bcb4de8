"""The log of a job is printed from its newest entries, and followed while the job runs."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from connector import amounts, files
from connector.cli.records import items
from connector.cli.tables import plain
from connector.cli.watching import MOVING, PACE
from connector.clients.smc import Json, SmcClient
from connector.errors import BadInput, ControlFailed, Interrupted, TargetFailed
from connector.outages import Silence

AT_ONCE: Final = 500
#: Entries of the same moment may appear in either order, so this many are read again.
_OVERLAP: Final = 10


def print_log(client: SmcClient, key: str, lines: int, as_json: bool) -> None:
    """The newest `lines` entries, oldest first."""
    if lines <= AT_ONCE:
        _print(_entries(client.call("DescribeReplicationJobLog", JobId=key, MaxResults=lines)), as_json)
        return
    tail = _Tail(client, key)
    newest: deque[Json] = deque(maxlen=lines)
    while entries := tail.more():
        newest.extend(entries)
    _print(newest, as_json)


def follow(client: SmcClient, key: str, lines: int, as_json: bool) -> None:
    """The newest `lines` entries (at most 500), then every new one until the job rests."""
    answer = client.call("DescribeReplicationJobLog", JobId=key, MaxResults=min(lines, AT_ONCE))
    tail = _Tail(client, key, _entries(answer))
    _print(_entries(answer), as_json)
    silence = Silence(lambda message: click.echo(message, err=True))
    try:
        while True:
            try:
                entries = tail.more()
                silence.heard()
            except ControlFailed as failed:
                silence.bear(failed)
                entries = []
            _print(entries, as_json)
            if not entries and silence.since is None and tail.status not in MOVING:
                return
            if not entries:
                time.sleep(PACE)
    except KeyboardInterrupt:
        raise Interrupted("stopped reading the log; the job goes on") from None


def save(client: SmcClient, key: str, file: Path, as_json: bool) -> None:
    """Write all entries into a new file, page by page. Raises BadInput if there is such a file. A failure leaves nothing."""
    tail, count, made = _Tail(client, key), 0, False
    try:
        with files.new(file) as out:
            made = True
            while entries := tail.more():
                out.writelines(f"{line}\n".encode() for line in _lines(entries, as_json))
                count += len(entries)
    except FileExistsError:
        raise BadInput("there is such a file already", on=str(file), remedy="name another one") from None
    except BaseException as failed:
        if made:
            file.unlink(missing_ok=True)
        if isinstance(failed, OSError):
            why = failed.strerror or type(failed).__name__
            raise TargetFailed(
                f"the log cannot be written ({why})", on=str(file), remedy="name another place"
            ) from None
        raise
    click.echo(f"{file}: {amounts.plural(count, 'entry', 'entries')}", err=True)


class _Tail:
    """Reads the entries after those that were read. Each entry comes once."""

    def __init__(self, client: SmcClient, key: str, seen_entries: Iterable[Json] = ()) -> None:
        self._client, self._key = client, key
        self._recent: deque[int] = deque((int(entry["EntryId"]) for entry in seen_entries), maxlen=_OVERLAP)
        self.status = ""

    def more(self) -> list[Json]:
        """The next entries, at most 500; empty if there are none now. It sets `status` to the job's."""
        after = min(self._recent) - 1 if self._recent else 0
        answer = self._client.call(
            "DescribeReplicationJobLog", JobId=self._key, AfterEntryId=after, MaxResults=AT_ONCE
        )
        entries = [entry for entry in _entries(answer) if int(entry["EntryId"]) not in self._recent]
        self._recent.extend(int(entry["EntryId"]) for entry in entries)
        self.status = str(answer.get("Status"))
        return entries


def _entries(answer: Json) -> list[Json]:
    return items(answer, "LogEntries", "LogEntry")


def _print(entries: Iterable[Json], as_json: bool) -> None:
    for line in _lines(entries, as_json):
        click.echo(line)


def _lines(entries: Iterable[Json], as_json: bool) -> Iterator[str]:
    for entry in entries:
        if as_json:
            yield json.dumps(entry)
        else:
            yield f"{plain(entry.get('Time'))}  {plain(entry.get('Kind')):<10}  {plain(entry.get('Text'))}"
