"""A console with one of each thing, and the addresses of all its pages and changes."""

from __future__ import annotations

from connector.control.console import actions
from connector.control.store import NewJob
from tests.console.conftest import Console


class Everything:
    """A console with one of each thing, and the addresses of all its pages."""

    def __init__(self, console: Console) -> None:
        house = console.house
        self.console = console
        self.source, self.free = house.register("web-01", "web-02")
        self.job = house.service.create(NewJob(self.source, "job-web-01")).id
        self.group = console.store.workgroups.create("shop", "").id
        self.token = console.store.tokens.create("north", "", count=1, days=1)[0].id
        self.pages = [
            "/console/jobs",
            f"/console/jobs/{self.job}",
            "/console/sources",
            f"/console/sources/{self.source}",
            f"/console/new-job?source={self.free}",
            "/console/groups",
            f"/console/groups/{self.group}",
            "/console/codes",
            "/console/appliances",
            "/console/audit",
        ]
        self.changes = [
            *(
                f"/console/bulk/{action.word}{step}"
                for action in actions.ACTIONS
                for step in ("", "/confirmed")
            ),
            *(f"/console/jobs/{self.job}/{action.word}" for action in actions.ACTIONS),
            f"/console/jobs/{self.job}/drill",
            f"/console/jobs/{self.job}/plan-conversion",
            f"/console/jobs/{self.job}/stop-drill",
            f"/console/jobs/{self.job}/modify",
            f"/console/jobs/{self.job}/disks",
            f"/console/sources/{self.source}/modify",
            f"/console/sources/{self.source}/delete",
            "/console/new-job",
            "/console/groups",
            "/console/put-into-group",
            f"/console/groups/{self.group}/modify",
            f"/console/groups/{self.group}/take-out",
            f"/console/groups/{self.group}/delete",
            "/console/codes",
            f"/console/codes/{self.token}/disable",
            f"/console/codes/{self.token}/delete",
        ]
