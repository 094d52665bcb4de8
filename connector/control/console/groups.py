"""Pages of workgroups: sources that belong together."""

from __future__ import annotations

import secrets
from typing import Final

from connector.control.console.lists import Paging, wanted_page
from connector.control.console.pages import Form, Leaf, Moved, Page, Visit, link
from connector.control.console.sources import SourceLine
from connector.control.smc.catalogue import Denied
from connector.control.smc.desk import Desk
from connector.control.smc.parameters import read
from connector.control.store import SourceFilter, Store
from connector.specification import kinds

#: How the boxes before sources are called; the source's id follows.
BOX: Final = "source-"


class GroupPages:
    """Workgroups and what is in them."""

    def __init__(self, store: Store, desk: Desk) -> None:
        self._store = store
        self._desk = desk

    def leaves(self) -> tuple[Leaf, ...]:
        return (Leaf("/groups", self.list), Leaf("/groups/{id}", self.one))

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/groups", self._create, self.list),
            Form("/put-into-group", self._put, self._choose),
            Form("/groups/{id}/modify", self._modify, self.one),
            Form("/groups/{id}/take-out", self._take_out, self.one),
            Form("/groups/{id}/delete", self._delete, self.one),
        )

    def list(self, visit: Visit) -> Page:
        number, size = wanted_page(visit.query)
        found = self._store.workgroups.page(number, size)
        return Page(
            "groups.html",
            {
                "groups": found.rows,
                "paging": Paging(number, size, found.total, ("groups",), visit.query),
                "form": visit.form or {"ClientToken": secrets.token_hex(16)},
            },
        )

    def one(self, visit: Visit) -> Page:
        read(kinds.ID, "WorkgroupId", visit.path["id"])
        group = self._store.workgroups.get(visit.path["id"])
        number, size = wanted_page(visit.query)
        found = self._store.sources.page(SourceFilter(workgroup_id=group.id), number, size)
        last = self._store.overview.jobs({row.last_job for row in found.rows if row.last_job})
        return Page(
            "group.html",
            {
                "group": group,
                "lines": [SourceLine(row, last.get(row.last_job or "")) for row in found.rows],
                "paging": Paging(number, size, found.total, ("groups", group.id), visit.query),
                "form": visit.form,
            },
        )

    def _choose(self, visit: Visit) -> Page:
        """Where a refused choice of sources is explained."""
        return Page(
            "put_into_group.html", {"groups": self._store.overview.group_names(), "sources": _boxes(visit)}
        )

    def _create(self, visit: Visit) -> Moved:
        given = {name: visit.form.get(name, "") for name in ("Name", "Description", "ClientToken")}
        answer = self._desk.call(visit.caller, "CreateWorkgroup", given)
        return Moved(link("groups", answer["WorkgroupId"], said="made"))

    def _put(self, visit: Visit) -> Moved:
        group = visit.form.get("WorkgroupId", "")
        given = _listed(_boxes(visit)) | {"WorkgroupId": group}
        self._desk.call(visit.caller, "AssociateSourceServers", given)
        return Moved(link("groups", group, said="put"))

    def _take_out(self, visit: Visit) -> Moved:
        group = visit.path["id"]
        given = _listed(_boxes(visit)) | {"WorkgroupId": group}
        self._desk.call(visit.caller, "DisassociateSourceServers", given)
        return Moved(link("groups", group, said="taken"))

    def _modify(self, visit: Visit) -> Moved:
        group = self._store.workgroups.get(visit.path["id"])
        given = {name: visit.form.get(name, "") for name in ("Name", "Description")}
        self._desk.call(visit.caller, "ModifyWorkgroupAttribute", given | {"WorkgroupId": group.id})
        return Moved(link("groups", group.id, said="changed"))

    def _delete(self, visit: Visit) -> Moved:
        self._desk.call(visit.caller, "DeleteWorkgroup", {"WorkgroupId": visit.path["id"]})
        return Moved(link("groups", said="dissolved"))


def _boxes(visit: Visit) -> list[str]:
    """The sources whose boxes are ticked."""
    return [name.removeprefix(BOX) for name in visit.form if name.startswith(BOX)]


def _listed(sources: list[str]) -> dict[str, str]:
    if not sources:
        raise Denied("MissingParameter.SourceId", "No source is ticked.", "tick the boxes of the sources")
    return {f"SourceId.{number}": source for number, source in enumerate(sources, 1)}
