from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from connector.control.console import site
from connector.control.console.templating import Templates
from connector.control.domain.access import Role
from connector.control.http import exchange
from connector.control.smc import api as smc
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import Quotas
from tests.console.visitor import Answer, Visitor
from tests.control import fresh
from tests.control.conftest import quick_folder
from tests.control.house import GRACE, House

__all__ = ["quick_folder"]


#: Templates are read once for all tests.
LOOKS = Templates()


class Console:
    """A house with a console, and people in it."""

    def __init__(self, url: str, folder: Path, limits: Quotas | None = None) -> None:
        self.house = House(url, folder, limits)
        self.store = self.house.store
        self.keys = AccessKeys(self.store.keys, Vault(folder / "key"))
        self.people = {role: self.keys.create(f"a {role}", role) for role in Role}

        self.app = self.process()

    def process(self) -> Starlette:
        """One that serves it; there may be others."""
        dispatcher = smc.dispatcher(self.house.service)
        drills = self.house.service.drills
        target = {
            "billed": self.house.service.billed,
            "drills": drills is not None,
            "drills_convert": drills is not None and drills.converts,
        }
        return exchange.application(
            [], site.routes(self.store, dispatcher, self.keys, GRACE, LOOKS, **target)
        )

    def visitor(self, role: Role | None = Role.ADMIN, address: str = "192.0.2.1") -> Visitor:
        """Somebody with a key of this role, logged in; None: nobody in particular, at the entrance."""
        visitor = Visitor(self.app, address)
        if role is not None:
            key, secret = self.people[role]
            assert visitor.log_in(key.id, secret).moved == "/console/jobs"
            visitor.get("/console/jobs")
        return visitor

    def job_page(self, job_id: str, role: Role = Role.OPERATOR) -> Answer:
        return self.visitor(role).get(f"/console/jobs/{job_id}")


@pytest.fixture
def make_console(quick_folder: Path) -> Iterator[Callable[..., Console]]:
    made: list[Console] = []

    def make(limits: Quotas | None = None) -> Console:
        url = fresh.sqlite(quick_folder / f"console-{len(made)}.sqlite")
        made.append(Console(url, quick_folder, limits))
        return made[-1]

    yield make
    for console in made:
        console.house.store.close()


@pytest.fixture
def console(make_console: Callable[..., Console]) -> Console:
    return make_console()
