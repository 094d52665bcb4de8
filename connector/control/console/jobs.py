"""The pages of migration jobs: the list, one job, and the forms that change a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from connector.control.console import actions, form_fields, streams
from connector.control.console.job_lines import JobLines
from connector.control.console.lists import Paging, Search, SearchItem, wanted_page
from connector.control.console.new_job import TRANSFER, transfer
from connector.control.console.pages import Form, Page, PageRequest, Redirect, View, link
from connector.control.console.watching import Watching
from connector.control.domain import jobs as machine
from connector.control.domain.access import Role
from connector.control.domain.definition import PARAMETER
from connector.control.domain.entities import Job, TagKind
from connector.control.domain.jobs import JobStatus
from connector.control.smc.catalogue import Denied
from connector.control.smc.dispatcher import OperationDispatcher
from connector.control.state.access_keys import includes
from connector.control.store import JobFilter, Store
from connector.specification.fields import BY_NAME

ITEMS: Final = (
    SearchItem("name", "Migration Job Name", "web-01_move"),
    SearchItem("id", "Migration Job ID", "j-…"),
    SearchItem("source", "Migration Source ID", "s-…"),
)
#: The name of a disk's box; the disk's key follows.
BOX: Final = "disk-"
_STATUSES: Final = tuple(str(status) for status in JobStatus if status is not JobStatus.DELETED)
_CHANGES: Final = ("Name", "Description", "Frequency", "MaxNumberOfImageToKeep")


class JobPages:
    """The pages of jobs."""

    def __init__(
        self, store: Store, dispatcher: OperationDispatcher, lines: JobLines, watching: Watching
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._lines = lines
        self._watching = watching

    def views(self) -> tuple[View, ...]:
        return (View("/jobs", self.list), View("/jobs/{id}", self.one))

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/jobs/{id}/modify", self._modify, self.one),
            Form("/jobs/{id}/disks", self._choose_disks, self.one),
            Form("/jobs/{id}/{action}", self._do, self.one),
        )

    def list(self, request: PageRequest) -> Page:
        search = Search.of(ITEMS, request.query)
        status = request.query.get("status", "")
        condition = JobFilter(
            name=search.given("name"),
            ids=[word] if (word := search.given("id")) else (),
            source_ids=[word] if (word := search.given("source")) else (),
            status=status if status in _STATUSES else None,
            part=search.part,
        )
        number, size = wanted_page(request.query)
        page = self._lines.page(condition, number, size)
        may = includes(request.key.role, Role.OPERATOR)
        return Page(
            "jobs.html",
            {
                "search": search,
                "status": status,
                "actions": actions.ACTIONS,
                "counts": self._watching.counts(status),
                "lines": [(line.job.id, self._watching.line(line, may_operate=may)) for line in page.rows],
                "paging": Paging(number, size, page.total, ("jobs",), request.query),
                "live": streams.list_address([line.job.id for line in page.rows], status),
            },
        )

    def one(self, request: PageRequest) -> Page:
        line = self._lines.one(request.path["id"])
        job = line.job
        may = includes(request.key.role, Role.OPERATOR)
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
                "boxes": form_fields.boxes(job, request.form),
                "disks": disks,
                "changes_disks": machine.modifiable(job.state, BY_NAME["LeftOutDisks"]) and len(disks) > 1,
                "form": request.form,
            },
        )

    def _do(self, request: PageRequest) -> Redirect:
        action = actions.named(request.path["action"])
        if action is None:
            raise Denied("InvalidAction.NotFound", "There is no such operation on a job.")
        self._dispatcher.call(request.caller, action.operation, {"JobId": request.path["id"], **action.given})
        if request.form.get("list"):
            return Redirect(link("jobs", said=action.word))
        return Redirect(link("jobs", request.path["id"], said=action.word))

    def _modify(self, request: PageRequest) -> Redirect:
        job = self._lines.one(request.path["id"]).job
        values = {
            "Name": job.name,
            "Description": job.description,
            "Frequency": str(job.frequency),
            "MaxNumberOfImageToKeep": str(job.max_images),
        }
        changed = {
            name: value
            for name in _CHANGES
            if (value := request.form.get(name, "")) and value != values[name]
        }
        changed |= form_fields.changes(job, request.form)
        if moved := _transfer(job, request.form):
            changed[PARAMETER] = moved
        self._dispatcher.call(request.caller, "ModifyReplicationJobAttribute", changed | {"JobId": job.id})
        return Redirect(link("jobs", job.id, said="changed"))

    def _choose_disks(self, request: PageRequest) -> Redirect:
        """Leave out the disks that are not ticked."""
        job = self._lines.one(request.path["id"]).job
        disks = self._store.sources.of(job).disks[1:]
        left_out = [str(disk.key) for disk in disks if f"{BOX}{disk.key}" not in request.form]
        values = {f"DiskKey.{number}": key for number, key in enumerate(left_out, 1)}
        self._dispatcher.call(request.caller, "SetReplicationJobDisks", values | {"JobId": job.id})
        return Redirect(link("jobs", job.id, said="changed"))


def _set(job: Job) -> dict[str, Any]:
    """The replication parameters that the job sets."""
    values: dict[str, Any] = json.loads(job.definition.get(PARAMETER) or "{}")
    return values


def _transfer(job: Job, form: Mapping[str, str]) -> str:
    """All replication parameters, with the form's changes; empty if none is set. An empty field unsets one."""
    before = {key: str(value) for key, value in _set(job).items()}
    after = before | {key: form[key] for key in TRANSFER if key in form}
    after = {key: value for key, value in after.items() if value}
    return json.dumps(transfer(after)) if after != before else ""
