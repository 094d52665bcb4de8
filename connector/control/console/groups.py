"""The pages of workgroups and of the sources in them."""

from __future__ import annotations

import secrets
from typing import Final

from connector.control.console.lists import Paging, wanted_page
from connector.control.console.pages import Form, Page, PageRequest, Redirect, View, link
from connector.control.console.sources import SourceLine
from connector.control.smc.catalogue import Denied
from connector.control.smc.dispatcher import OperationDispatcher
from connector.control.smc.parameters import read
from connector.control.store import SourceFilter, Store
from connector.specification import kinds

#: The name of a source's box; the source's id follows.
BOX: Final = "source-"


class GroupPages:
    """The list of workgroups, and one workgroup."""

    def __init__(self, store: Store, dispatcher: OperationDispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    def views(self) -> tuple[View, ...]:
        return (View("/groups", self.list), View("/groups/{id}", self.one))

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/groups", self._create, self.list),
            Form("/put-into-group", self._put, self._choose),
            Form("/groups/{id}/modify", self._modify, self.one),
            Form("/groups/{id}/take-out", self._take_out, self.one),
            Form("/groups/{id}/delete", self._delete, self.one),
        )

    def list(self, request: PageRequest) -> Page:
        number, size = wanted_page(request.query)
        page = self._store.workgroups.page(number, size)
        return Page(
            "groups.html",
            {
                "groups": page.rows,
                "paging": Paging(number, size, page.total, ("groups",), request.query),
                "form": request.form or {"ClientToken": secrets.token_hex(16)},
            },
        )

    def one(self, request: PageRequest) -> Page:
        read(kinds.ID, "WorkgroupId", request.path["id"])
        group = self._store.workgroups.get(request.path["id"])
        number, size = wanted_page(request.query)
        members = self._store.sources.page(SourceFilter(workgroup_id=group.id), number, size)
        last = self._store.overview.jobs({row.last_job for row in members.rows if row.last_job})
        return Page(
            "group.html",
            {
                "group": group,
                "lines": [SourceLine(row, last.get(row.last_job or "")) for row in members.rows],
                "paging": Paging(number, size, members.total, ("groups", group.id), request.query),
                "form": request.form,
            },
        )

    def _choose(self, request: PageRequest) -> Page:
        """The page that explains a refused choice of sources."""
        return Page(
            "put_into_group.html", {"groups": self._store.overview.group_names(), "sources": _boxes(request)}
        )

    def _create(self, request: PageRequest) -> Redirect:
        values = {name: request.form.get(name, "") for name in ("Name", "Description", "ClientToken")}
        answer = self._dispatcher.call(request.caller, "CreateWorkgroup", values)
        return Redirect(link("groups", answer["WorkgroupId"], said="made"))

    def _put(self, request: PageRequest) -> Redirect:
        group = request.form.get("WorkgroupId", "")
        values = _listed(_boxes(request)) | {"WorkgroupId": group}
        self._dispatcher.call(request.caller, "AssociateSourceServers", values)
        return Redirect(link("groups", group, said="put"))

    def _take_out(self, request: PageRequest) -> Redirect:
        group = request.path["id"]
        values = _listed(_boxes(request)) | {"WorkgroupId": group}
        self._dispatcher.call(request.caller, "DisassociateSourceServers", values)
        return Redirect(link("groups", group, said="taken"))

    def _modify(self, request: PageRequest) -> Redirect:
        group = self._store.workgroups.get(request.path["id"])
        values = {name: request.form.get(name, "") for name in ("Name", "Description")}
        self._dispatcher.call(request.caller, "ModifyWorkgroupAttribute", values | {"WorkgroupId": group.id})
        return Redirect(link("groups", group.id, said="changed"))

    def _delete(self, request: PageRequest) -> Redirect:
        self._dispatcher.call(request.caller, "DeleteWorkgroup", {"WorkgroupId": request.path["id"]})
        return Redirect(link("groups", said="dissolved"))


def _boxes(request: PageRequest) -> list[str]:
    """The sources whose boxes are ticked."""
    return [name.removeprefix(BOX) for name in request.form if name.startswith(BOX)]


def _listed(sources: list[str]) -> dict[str, str]:
    if not sources:
        raise Denied("MissingParameter.SourceId", "No source is ticked.", "tick the boxes of the sources")
    return {f"SourceId.{number}": source for number, source in enumerate(sources, 1)}
