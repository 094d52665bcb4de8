"""One look for all live pages takes four queries, and more only for topics that have changed.

One watcher calls `Watching.look`, never twice at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from connector.control.console.job_lines import JobLine, JobLines
from connector.control.console.job_page import JobDetailsReader
from connector.control.console.live import Topic
from connector.control.console.templating import Fragment, Templates
from connector.control.domain.jobs import JobStatus
from connector.control.store import Store
from connector.control.store.overview import JobGlance

LINE: Final = "line"
SHEET: Final = "sheet"
COUNTS: Final = "counts"
#: The element of every page that shows which sources are down.
DOWN: Final = "down"

#: The parts of a job's page; each is a template of this name.
SHEET_PARTS: Final = ("state", "actions", "progress", "runs", "images", "drill", "resources", "log")

_ORDER: Final = (
    JobStatus.RUNNING,
    JobStatus.IN_ERROR,
    JobStatus.WAITING,
    JobStatus.READY,
    JobStatus.STOPPED,
    JobStatus.FINISHED,
    JobStatus.EXPIRED,
    JobStatus.DELETING,
)

#: A job's page is read again after so many looks even if neither job nor log changed: its source may have changed.
_REREAD: Final = 5

Parts = Mapping[str, Fragment]
Counted = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The parts of a topic, and the sign that tells whether they are current."""

    sign: Any
    parts: Parts


class Watching:
    """Makes the parts of pages, for the pages themselves and for live updates."""

    def __init__(self, store: Store, lines: JobLines, sheets: JobDetailsReader, templates: Templates) -> None:
        self._store = store
        self._lines = lines
        self._sheets = sheets
        self._templates = templates
        self._seen: dict[Topic, _Seen] = {}
        self._looked = 0

    def look(self, topics: Set[Topic]) -> Mapping[Topic, Parts]:
        """The parts of every topic as they are now."""
        ids = sorted({topic.id for topic in topics if topic.kind in (LINE, SHEET)})
        lines = self._lines.of(ids)
        entries = self._store.overview.newest_entries([t.id for t in topics if t.kind == SHEET])
        counted = self._counted() if any(topic.kind == COUNTS for topic in topics) else ()
        down = self._store.overview.down()
        self._looked += 1
        current: dict[Topic, _Seen] = {}
        for topic in topics:
            line = lines.get(topic.id)
            sign = {
                COUNTS: (counted, down),
                LINE: line,
                SHEET: (line, down, entries.get(topic.id), self._looked // _REREAD),
            }[topic.kind]
            previous = self._seen.get(topic)
            if previous is not None and previous.sign == sign:
                current[topic] = previous
            else:
                current[topic] = _Seen(sign, self._parts(topic, line, counted, down))
        self._seen = current
        return {topic: state.parts for topic, state in current.items()}

    def _parts(
        self, topic: Topic, line: JobLine | None, counted: Counted, down: Sequence[JobGlance]
    ) -> Parts:
        if topic.kind == COUNTS:
            return {"counts": self._counts(counted, topic.id), DOWN: self._down(down)}
        if line is None:
            return self._gone(topic)
        if topic.kind == LINE:
            return {f"line-{topic.id}": self.line(line, may_operate=topic.may_operate)}
        return {**self.sheet(line, may_operate=topic.may_operate), DOWN: self._down(down)}

    def down(self) -> Fragment:
        """The part of every page with the jobs whose sources are down."""
        return self._down(self._store.overview.down())

    def _down(self, jobs: Sequence[JobGlance]) -> Fragment:
        return self._templates.part("job/down.html", {"down": jobs})

    def line(self, line: JobLine, *, may_operate: bool) -> Fragment:
        """The cells of one line of a list."""
        return self._templates.part("job/line.html", {"line": line, "may_operate": may_operate})

    def sheet(self, line: JobLine, *, may_operate: bool) -> Parts:
        """The parts of a job's page that change by themselves."""
        values = {"sheet": self._sheets.of(line), "line": line, "may_operate": may_operate}
        return {name: self._templates.part(f"job/{name}.html", values) for name in SHEET_PARTS}

    def counts(self, status: str) -> Fragment:
        """The numbers of jobs in each status. `status`: the one that the list shows."""
        return self._counts(self._counted(), status)

    def _counts(self, counted: Counted, status: str) -> Fragment:
        return self._templates.part("job/counts.html", {"counts": counted, "chosen": status})

    def _counted(self) -> Counted:
        counts = self._store.overview.job_counts()
        return tuple((str(status), counts.get(status, 0)) for status in _ORDER)

    def _gone(self, topic: Topic) -> Parts:
        name = f"line-{topic.id}" if topic.kind == LINE else "state"
        return {name: self._templates.part(f"job/gone_{topic.kind}.html", {})}
