"""Pages about who may do what, and who did: activation codes, appliances, the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connector.control.console.lists import Item, Paging, Search, wanted_page
from connector.control.console.pages import Banner, Form, Leaf, Moved, Page, Visit, link
from connector.control.smc.desk import Desk
from connector.control.store import Store

AUDIT_ITEMS: Final = (
    Item("subject", "Object", "j-…, s-…, wg-…"),
    Item("who", "Who", "AK…, a-…, operator or system"),
)


class CodePages:
    """Activation codes: a code is shown by the answer that made it, and by nothing else."""

    def __init__(self, store: Store, desk: Desk) -> None:
        self._store = store
        self._desk = desk

    def leaves(self) -> tuple[Leaf, ...]:
        return (Leaf("/codes", self.list),)

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/codes", self._create, self.list),
            Form("/codes/{id}/disable", self._disable, self.list),
            Form("/codes/{id}/delete", self._delete, self.list),
        )

    def list(self, visit: Visit) -> Page:
        return Page("codes.html", {"codes": self._store.tokens.all(), "form": visit.form, "made": None})

    def _create(self, visit: Visit) -> Page:
        names = ("Name", "Description", "Count", "TimeToLiveInDays")
        given = {name: visit.form.get(name, "") for name in names}
        bound = {name: visit.form[name] for name in ("VCenter", "WorkgroupId") if visit.form.get(name)}
        operation = "CreateEnrolmentCode" if bound else "CreateAccessToken"
        made = self._desk.call(visit.caller, operation, given | bound)
        banner = Banner(f"The activation code {given['Name']} is made. It is shown this once: copy it now.")
        return Page(
            "codes.html",
            {"codes": self._store.tokens.all(), "form": {}, "made": made["AccessTokenCode"]},
            banner,
        )

    def _disable(self, visit: Visit) -> Moved:
        self._desk.call(visit.caller, "DisableAccessToken", {"AccessTokenId": visit.path["id"]})
        return Moved(link("codes", said="disabled"))

    def _delete(self, visit: Visit) -> Moved:
        self._desk.call(visit.caller, "DeleteAccessToken", {"AccessTokenId": visit.path["id"]})
        return Moved(link("codes", said="forgotten"))


class AppliancePages:
    """Who reads for us, and whether it is there."""

    def __init__(self, store: Store, desk: Desk, grace: float) -> None:
        self._store = store
        self._desk = desk
        self._grace = grace

    def leaves(self) -> tuple[Leaf, ...]:
        return (Leaf("/appliances", self.list),)

    def forms(self) -> tuple[Form, ...]:
        return (
            Form(
                "/appliances/{id}/approve", self._decide("ApproveMigrationAppliance", "approved"), self.list
            ),
            Form("/appliances/{id}/revoke", self._decide("RevokeMigrationAppliance", "revoked"), self.list),
            Form("/appliances/{id}/rotate", self._decide("RotateMigrationAppliance", "rotated"), self.list),
        )

    def _decide(self, operation: str, said: str) -> Callable[[Visit], Moved]:
        def decide(visit: Visit) -> Moved:
            self._desk.call(visit.caller, operation, {"ApplianceId": visit.path["id"]})
            return Moved(link("appliances", said=said))

        return decide

    def list(self, _visit: Visit) -> Page:
        now = self._store.now()
        rows = self._store.appliances.all()
        lines = [(row, now - row.heartbeat, row.heartbeat >= now - self._grace) for row in rows]
        return Page("appliances.html", {"lines": lines})


class AuditPages:
    """Every change that somebody asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def leaves(self) -> tuple[Leaf, ...]:
        return (Leaf("/audit", self.list),)

    def list(self, visit: Visit) -> Page:
        search = Search.of(AUDIT_ITEMS, visit.query)
        number, size = wanted_page(visit.query)
        found = self._store.audit.page(number, size, subject=search.given("subject"), who=search.given("who"))
        paging = Paging(number, size, found.total, ("audit",), visit.query)
        return Page("audit.html", {"search": search, "entries": found.rows, "paging": paging})
