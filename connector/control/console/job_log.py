"""The log of a job as a file: whole, one line for each entry, read piece by piece while it is sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Final

from connector.control.console import words
from connector.control.console.job_lines import JobLine, JobLines
from connector.control.console.pages import Download, Leaf, Visit
from connector.control.store import Store
from connector.control.store.rows import LogEntry
from connector.errors import ConnectorError
from connector.names import visible

_LOG: Final = logging.getLogger(__name__)

#: Entries that are in memory at once.
PIECE: Final = 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_CUT: Final = "# The log is not whole: the control plane could not read on. Download it again.\n"


class JobLogs:
    """Logs to take along. Who may see a job's page may have its log."""

    def __init__(self, store: Store, lines: JobLines) -> None:
        self._store = store
        self._lines = lines

    def leaves(self) -> tuple[Leaf, ...]:
        return (Leaf("/jobs/{id}/log", self.download),)

    def download(self, visit: Visit) -> Download:
        """What is in the log by now; an entry that is written meanwhile is not in the file."""
        line = self._lines.one(visit.path["id"])
        newest = self._store.overview.newest_entries([line.job.id]).get(line.job.id, 0)
        return Download(file_name(line), self._pieces(line, newest))

    def _pieces(self, line: JobLine, newest: int) -> Iterator[str]:
        job = line.job
        yield (
            visible(f"# Log of the job {job.name} ({job.id}), source {line.source_name} ({job.source_id})")
            + "\n"
        )
        try:
            after = 0
            while after < newest and (entries := self._store.log.after(job.id, after, PIECE)):
                after = entries[-1].id
                yield "".join(written(entry) for entry in entries if entry.id <= newest)
        except ConnectorError as failed:
            _LOG.warning("the log of %s is not sent whole: %s", job.id, failed)
            yield _CUT


def written(entry: LogEntry) -> str:
    """One line, as `connector job logs` prints it; whatever is in a name ends no line and is seen."""
    return f"{words.machine_time(entry.at)}  {visible(entry.kind):<10}  {visible(entry.text)}\n"


def file_name(line: JobLine) -> str:
    """Fit for every file system: the name tells people which job it is, the id makes it the only one."""
    name = _UNSAFE.sub("_", line.job.name).strip("_")[:60]
    return f"{name or 'job'}-{_UNSAFE.sub('_', line.job.id)}.log"
