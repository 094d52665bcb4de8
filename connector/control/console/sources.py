"""Pages of migration sources. R9: virtual machines of VMware and nothing else, so they are one list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector.control import licences
from connector.control.console.lists import Item, Paging, Search, wanted_page
from connector.control.console.pages import Form, Leaf, Moved, Page, Visit, link
from connector.control.service import blocking
from connector.control.smc.catalogue import Denied
from connector.control.smc.desk import Desk
from connector.control.smc.parameters import read
from connector.control.sources import SourceState
from connector.control.store import JobFilter, SourceFilter, Store
from connector.control.store.overview import JobGlance
from connector.control.store.rows import Source, TagKind
from connector.errors import NotFound
from connector.model import Severity
from connector.specification import kinds

#: R2. These four and no other.
ITEMS: Final = (
    Item("name", "Migration Source Name", "web-01"),
    Item("id", "Migration Source ID", "s-…"),
    Item("state", "Status", "Available, InUse, Unavailable or Deleting"),
    Item("job", "Last Migration Job ID", "j-…"),
)
_JOBS: Final = 20  # of a source's jobs, its page shows the newest


@dataclass(frozen=True, slots=True)
class SourceLine:
    """What a list says of a source."""

    source: Source
    last_job: JobGlance | None

    @property
    def size(self) -> int:
        return sum(disk.capacity for disk in self.source.disks)

    @property
    def blocking(self) -> int:
        return len(blocking(self.source))

    @property
    def warnings(self) -> int:
        return sum(finding["severity"] == Severity.WARN for finding in self.source.findings)

    @property
    def takes_a_job(self) -> bool:
        """R67, R75, R76. Only an available source does."""
        return self.source.state is SourceState.AVAILABLE


class SourcePages:
    """Sources as people see them."""

    def __init__(self, store: Store, desk: Desk) -> None:
        self._store = store
        self._desk = desk

    def leaves(self) -> tuple[Leaf, ...]:
        return (Leaf("/sources", self.list), Leaf("/sources/{id}", self.one))

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/sources/{id}/modify", self._modify, self.one),
            Form("/sources/{id}/delete", self._delete, self.one),
        )

    def list(self, visit: Visit) -> Page:
        """R4: an item from the drop-down, a value, Enter."""
        search = Search.of(ITEMS, visit.query)
        wanted = SourceFilter(
            name=search.given("name"),
            ids=[word] if (word := search.given("id")) else (),
            state=search.given("state"),
            job_id=search.given("job"),
            part=search.part,
        )
        number, size = wanted_page(visit.query)
        found = self._store.sources.page(wanted, number, size)
        last = self._store.overview.jobs({row.last_job for row in found.rows if row.last_job})
        return Page(
            "sources.html",
            {
                "search": search,
                "lines": [SourceLine(row, last.get(row.last_job or "")) for row in found.rows],
                "paging": Paging(number, size, found.total, ("sources",), visit.query),
                "groups": self._store.overview.group_names(),
                "appliances": bool(found.rows) or bool(self._store.appliances.all()),
            },
        )

    def one(self, visit: Visit) -> Page:
        source = source_of(self._store, visit.path["id"])
        jobs = self._store.jobs.page(JobFilter(source_ids=[source.id]), 1, _JOBS).rows
        last = self._store.overview.jobs([source.last_job] if source.last_job else [])
        return Page(
            "source.html",
            {
                "line": SourceLine(source, last.get(source.last_job or "")),
                "source": source,
                "jobs": jobs,
                "groups": self._store.overview.group_names(),
                "tags": self._store.tags.of(TagKind.SOURCE, [source.id])[source.id],
                "advice": licences.warnings(str(source.facts.get("guest_id", ""))),
                "blocking": blocking(source),
                "form": visit.form,
            },
        )

    def _modify(self, visit: Visit) -> Moved:
        given = {name: visit.form.get(name, "") for name in ("Name", "Description")}
        source = source_of(self._store, visit.path["id"])
        if given["Name"] == source.name:  # vCenter's name may break the rule that a new one must follow
            del given["Name"]
        self._desk.call(visit.caller, "ModifySourceServerAttribute", given | {"SourceId": source.id})
        return Moved(link("sources", source.id, said="changed"))

    def _delete(self, visit: Visit) -> Moved:
        force = "true" if visit.form.get("Force") else "false"
        given = {"SourceId": visit.path["id"], "Force": force}
        self._desk.call(visit.caller, "DeleteSourceServer", given)
        return Moved(link("sources", said="removed"))


def source_of(store: Store, source_id: str) -> Source:
    """The source with this id, names are no ids here; `Denied` when there is none."""
    read(kinds.ID, "SourceId", source_id)
    try:
        source = store.sources.get(source_id)
    except NotFound:
        source = None
    if source is None or source.id != source_id or source.state is SourceState.DELETED:
        raise Denied("SourceServer.NotFound", f"There is no source {source_id}.")
    return source
