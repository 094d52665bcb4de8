"""Pages of migration jobs: the list, one job, and what may be done to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from connector.control import jobs as machine
from connector.control.console import deeds, job_fields, streams
from connector.control.console.job_lines import JobLines
from connector.control.console.lists import Item, Paging, Search, wanted_page
from connector.control.console.new_job import TRANSFER, transfer
from connector.control.console.pages import Form, Leaf, Moved, Page, Visit, link
from connector.control.console.watching import Watching
from connector.control.jobs import Status
from connector.control.keys import includes
from connector.control.replication import PARAMETER
from connector.control.smc.catalogue import Denied
from connector.control.smc.desk import Desk
from connector.control.store import JobFilter, Store
from connector.control.store.rows import Job, Role, TagKind
from connector.specification.fields import BY_NAME

ITEMS: Final = (
    Item("name", "Migration Job Name", "web-01_move"),
    Item("id", "Migration Job ID", "j-…"),
    Item("source", "Migration Source ID", "s-…"),
)
#: How the boxes before disks are called; the disk's key follows.
BOX: Final = "disk-"
_STATUSES: Final = tuple(str(status) for status in Status if status is not Status.DELETED)
_CHANGES: Final = ("Name", "Description", "Frequency", "MaxNumberOfImageToKeep")


class JobPages:
    """Jobs as people see them."""

    def __init__(self, store: Store, desk: Desk, lines: JobLines, watching: Watching) -> None:
        self._store = store
        self._desk = desk
        self._lines = lines
        self._watching = watching

    def leaves(self) -> tuple[Leaf, ...]:
        return (Leaf("/jobs", self.list), Leaf("/jobs/{id}", self.one))

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/jobs/{id}/modify", self._modify, self.one),
            Form("/jobs/{id}/disks", self._choose_disks, self.one),
            Form("/jobs/{id}/{deed}", self._do, self.one),
        )

    def list(self, visit: Visit) -> Page:
        search = Search.of(ITEMS, visit.query)
        status = visit.query.get("status", "")
        wanted = JobFilter(
            name=search.given("name"),
            ids=[word] if (word := search.given("id")) else (),
            source_ids=[word] if (word := search.given("source")) else (),
            status=status if status in _STATUSES else None,
            part=search.part,
        )
        number, size = wanted_page(visit.query)
        found = self._lines.page(wanted, number, size)
        may = includes(visit.key.role, Role.OPERATOR)
        return Page(
            "jobs.html",
            {
                "search": search,
                "status": status,
                "deeds": deeds.DEEDS,
                "counts": self._watching.counts(status),
                "lines": [(line.job.id, self._watching.line(line, may_operate=may)) for line in found.rows],
                "paging": Paging(number, size, found.total, ("jobs",), visit.query),
                "live": streams.list_address([line.job.id for line in found.rows], status),
            },
        )

    def one(self, visit: Visit) -> Page:
        line = self._lines.one(visit.path["id"])
        job = line.job
        may = includes(visit.key.role, Role.OPERATOR)
        disks = self._store.sources.of(job).disks
        rhythm = not job.run_once and machine.modifiable(job.state, BY_NAME["Frequency"])
        return Page(
            "job.html",
            {
                "line": line,
                "job": job,
                "parts": self._watching.sheet(line, may_operate=may),
                "tags": self._store.tags.of(TagKind.JOB, [job.id])[job.id],
                "live": streams.sheet_address(job.id),
                "changes_rhythm": rhythm,
                "changes_transfer": machine.modifiable(job.state, BY_NAME["ReplicationParameters"]),
                "transfer": _set(job),
                "boxes": job_fields.boxes(job, visit.form),
                "disks": disks,
                "changes_disks": machine.modifiable(job.state, BY_NAME["LeftOutDisks"]) and len(disks) > 1,
                "form": visit.form,
            },
        )

    def _do(self, visit: Visit) -> Moved:
        deed = deeds.named(visit.path["deed"])
        if deed is None:
            raise Denied("InvalidAction.NotFound", "There is no such operation on a job.")
        self._desk.call(visit.caller, deed.operation, {"JobId": visit.path["id"], **deed.given})
        if visit.form.get("list"):
            return Moved(link("jobs", said=deed.word))
        return Moved(link("jobs", visit.path["id"], said=deed.word))

    def _modify(self, visit: Visit) -> Moved:
        job = self._lines.one(visit.path["id"]).job
        known = {
            "Name": job.name,
            "Description": job.description,
            "Frequency": str(job.frequency),
            "MaxNumberOfImageToKeep": str(job.max_images),
        }
        changed = {
            name: value for name in _CHANGES if (value := visit.form.get(name, "")) and value != known[name]
        }
        changed |= job_fields.changes(job, visit.form)
        if moved := _transfer(job, visit.form):
            changed[PARAMETER] = moved
        self._desk.call(visit.caller, "ModifyReplicationJobAttribute", changed | {"JobId": job.id})
        return Moved(link("jobs", job.id, said="changed"))

    def _choose_disks(self, visit: Visit) -> Moved:
        """What is not ticked stays behind."""
        job = self._lines.one(visit.path["id"]).job
        disks = self._store.sources.of(job).disks[1:]
        left = [str(disk.key) for disk in disks if f"{BOX}{disk.key}" not in visit.form]
        given = {f"DiskKey.{number}": key for number, key in enumerate(left, 1)}
        self._desk.call(visit.caller, "SetReplicationJobDisks", given | {"JobId": job.id})
        return Moved(link("jobs", job.id, said="changed"))


def _set(job: Job) -> dict[str, Any]:
    """How the job's data is to be moved, as far as somebody has said."""
    found: dict[str, Any] = json.loads(job.definition.get(PARAMETER) or "{}")
    return found


def _transfer(job: Job, form: Mapping[str, str]) -> str:
    """The whole of it with what the form changes; empty when that is nothing. An emptied field is unset."""
    before = {key: str(value) for key, value in _set(job).items()}
    after = before | {key: form[key] for key in TRANSFER if key in form}
    after = {key: value for key, value in after.items() if value}
    return json.dumps(transfer(after)) if after != before else ""
