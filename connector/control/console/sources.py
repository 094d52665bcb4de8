"""The pages of migration sources. All sources are virtual machines of VMware, so there is one list (R9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector.cloud import licences
from connector.control.console.lists import Paging, Search, SearchItem, wanted_page
from connector.control.console.pages import Form, Page, PageRequest, Redirect, View, link
from connector.control.domain.entities import Source, TagKind
from connector.control.domain.findings import blocking, forbidding
from connector.control.domain.sources import SourceState
from connector.control.smc.catalogue import Denied
from connector.control.smc.dispatcher import OperationDispatcher
from connector.control.smc.parameters import read
from connector.control.store import JobFilter, SourceFilter, Store
from connector.control.store.overview import JobGlance
from connector.errors import NotFound
from connector.model import Severity
from connector.specification import kinds

#: R2. These four and no other.
ITEMS: Final = (
    SearchItem("name", "Migration Source Name", "web-01"),
    SearchItem("id", "Migration Source ID", "s-…"),
    SearchItem("state", "Status", "Available, InUse, Unavailable or Deleting"),
    SearchItem("job", "Last Migration Job ID", "j-…"),
)
_JOBS: Final = 20  # a source's page shows so many of its newest jobs


@dataclass(frozen=True, slots=True)
class SourceLine:
    """What a list shows of a source."""

    source: Source
    last_job: JobGlance | None

    @property
    def size(self) -> int:
        return sum(disk.capacity for disk in self.source.disks)

    @property
    def blocking(self) -> int:
        return len(blocking(self.source))

    @property
    def forbidden(self) -> bool:
        """Whether no job can be created, whatever it leaves out."""
        return bool(forbidding(self.source))

    @property
    def warnings(self) -> int:
        return sum(finding["severity"] == Severity.WARN for finding in self.source.findings)

    @property
    def takes_a_job(self) -> bool:
        """R67, R75, R76. Only an available source takes a job."""
        return self.source.state is SourceState.AVAILABLE


class SourcePages:
    """The pages of sources."""

    def __init__(self, store: Store, dispatcher: OperationDispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    def views(self) -> tuple[View, ...]:
        return (View("/sources", self.list), View("/sources/{id}", self.one))

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/sources/{id}/modify", self._modify, self.one),
            Form("/sources/{id}/delete", self._delete, self.one),
        )

    def list(self, request: PageRequest) -> Page:
        """R4. The list, searched by an item from the drop-down and a value."""
        search = Search.of(ITEMS, request.query)
        condition = SourceFilter(
            name=search.given("name"),
            ids=[word] if (word := search.given("id")) else (),
            state=search.given("state"),
            job_id=search.given("job"),
            part=search.part,
        )
        number, size = wanted_page(request.query)
        page = self._store.sources.page(condition, number, size)
        last = self._store.overview.jobs({row.last_job for row in page.rows if row.last_job})
        return Page(
            "sources.html",
            {
                "search": search,
                "lines": [SourceLine(row, last.get(row.last_job or "")) for row in page.rows],
                "paging": Paging(number, size, page.total, ("sources",), request.query),
                "groups": self._store.overview.group_names(),
                "appliances": bool(page.rows) or bool(self._store.appliances.all()),
            },
        )

    def one(self, request: PageRequest) -> Page:
        source = source_of(self._store, request.path["id"])
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
                "form": request.form,
            },
        )

    def _modify(self, request: PageRequest) -> Redirect:
        values = {name: request.form.get(name, "") for name in ("Name", "Description")}
        source = source_of(self._store, request.path["id"])
        if values["Name"] == source.name:  # vCenter's name may break the rule for new names
            del values["Name"]
        self._dispatcher.call(request.caller, "ModifySourceServerAttribute", values | {"SourceId": source.id})
        return Redirect(link("sources", source.id, said="changed"))

    def _delete(self, request: PageRequest) -> Redirect:
        force = "true" if request.form.get("Force") else "false"
        values = {"SourceId": request.path["id"], "Force": force}
        self._dispatcher.call(request.caller, "DeleteSourceServer", values)
        return Redirect(link("sources", said="removed"))


def source_of(store: Store, source_id: str) -> Source:
    """The source with this id; a name is not accepted. Raises `Denied` if there is none."""
    read(kinds.ID, "SourceId", source_id)
    try:
        source = store.sources.get(source_id)
    except NotFound:
        source = None
    if source is None or source.id != source_id or source.state is SourceState.DELETED:
        raise Denied("SourceServer.NotFound", f"There is no source {source_id}.")
    return source
