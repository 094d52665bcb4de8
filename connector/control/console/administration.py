"""Pages for administrators: activation codes, appliances, and the audit log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.control.console.lists import Paging, Search, SearchItem, wanted_page
from connector.control.console.pages import Banner, Form, Page, PageRequest, Redirect, View, link
from connector.control.domain.audit_log import AuditEntry
from connector.control.smc.dispatcher import OperationDispatcher
from connector.control.store import Store

AUDIT_ITEMS: Final = (
    SearchItem("subject", "Object", "j-…, s-…, wg-…"),
    SearchItem("who", "Who", "AK…, a-…, operator or system"),
)


class CodePages:
    """The pages of activation codes. A code is shown only by the answer that made it."""

    def __init__(self, store: Store, dispatcher: OperationDispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    def views(self) -> tuple[View, ...]:
        return (View("/codes", self.list),)

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/codes", self._create, self.list),
            Form("/codes/{id}/disable", self._disable, self.list),
            Form("/codes/{id}/delete", self._delete, self.list),
        )

    def list(self, request: PageRequest) -> Page:
        return Page("codes.html", {"codes": self._store.tokens.all(), "form": request.form, "made": None})

    def _create(self, request: PageRequest) -> Page:
        names = ("Name", "Description", "Count", "TimeToLiveInDays")
        values = {name: request.form.get(name, "") for name in names}
        bound = {name: request.form[name] for name in ("VCenter", "WorkgroupId") if request.form.get(name)}
        operation = "CreateEnrolmentCode" if bound else "CreateAccessToken"
        answer = self._dispatcher.call(request.caller, operation, values | bound)
        banner = Banner(f"The activation code {values['Name']} is made. It is shown this once: copy it now.")
        return Page(
            "codes.html",
            {"codes": self._store.tokens.all(), "form": {}, "made": answer["AccessTokenCode"]},
            banner,
        )

    def _disable(self, request: PageRequest) -> Redirect:
        self._dispatcher.call(request.caller, "DisableAccessToken", {"AccessTokenId": request.path["id"]})
        return Redirect(link("codes", said="disabled"))

    def _delete(self, request: PageRequest) -> Redirect:
        self._dispatcher.call(request.caller, "DeleteAccessToken", {"AccessTokenId": request.path["id"]})
        return Redirect(link("codes", said="forgotten"))


class AppliancePages:
    """The page of appliances, which shows whether they are online."""

    def __init__(self, store: Store, dispatcher: OperationDispatcher, grace: float) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._grace = grace

    def views(self) -> tuple[View, ...]:
        return (View("/appliances", self.list),)

    def forms(self) -> tuple[Form, ...]:
        return (
            Form(
                "/appliances/{id}/approve", self._decide("ApproveMigrationAppliance", "approved"), self.list
            ),
            Form("/appliances/{id}/revoke", self._decide("RevokeMigrationAppliance", "revoked"), self.list),
            Form("/appliances/{id}/rotate", self._decide("RotateMigrationAppliance", "rotated"), self.list),
        )

    def _decide(self, operation: str, outcome: str) -> Callable[[PageRequest], Redirect]:
        def decide(request: PageRequest) -> Redirect:
            self._dispatcher.call(request.caller, operation, {"ApplianceId": request.path["id"]})
            return Redirect(link("appliances", said=outcome))

        return decide

    def list(self, _request: PageRequest) -> Page:
        now = self._store.now()
        rows = self._store.appliances.all()
        lines = [(row, now - row.heartbeat, row.heartbeat >= now - self._grace) for row in rows]
        return Page("appliances.html", {"lines": lines})


@dataclass(frozen=True, slots=True)
class Party:
    """The actor or the object of a change. `name` is empty if it has none, such as "system"."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One change of the audit log."""

    entry: AuditEntry
    who: Party
    objects: Sequence[Party]


class AuditPages:
    """The page of the audit log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def views(self) -> tuple[View, ...]:
        return (View("/audit", self.list),)

    def list(self, request: PageRequest) -> Page:
        search = Search.of(AUDIT_ITEMS, request.query)
        number, size = wanted_page(request.query)
        page = self._store.audit.page(number, size, subject=search.given("subject"), who=search.given("who"))
        paging = Paging(number, size, page.total, ("audit",), request.query)
        shown = {"search": search, "lines": self._lines(page.rows), "paging": paging}
        return Page("audit.html", shown | {"head": self._store.audit.head()})

    def _lines(self, entries: Sequence[AuditEntry]) -> Sequence[AuditLine]:
        """The lines with names beside ids, by a fixed number of queries for any number of lines."""
        ids = {entry.who for entry in entries} | {word for entry in entries for word in entry.subject.split()}
        names = self._store.overview.names(ids)
        return [
            AuditLine(
                entry,
                Party(entry.who, names.get(entry.who, "")),
                [Party(word, names.get(word, "")) for word in _objects(entry.subject, names)],
            )
            for entry in entries
        ]


def _objects(subject: str, names: Mapping[str, str]) -> list[str]:
    """The ids in a subject, which are separated by blanks. A subject that is no list of ids is one object."""
    words = subject.split()
    return words if any(word in names for word in words) else [subject] if subject else []
