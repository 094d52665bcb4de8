from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from connector.control import web
from connector.control.console import site
from connector.control.console.looks import Looks
from connector.control.keys import Keys
from connector.control.smc import api as smc
from connector.control.store import Limits
from connector.control.store.rows import Role
from connector.control.vault import Vault
from tests.console.visitor import Answer, Visitor
from tests.control import fresh
from tests.control.conftest import quick_folder
from tests.control.house import GRACE, House

__all__ = ["quick_folder"]


#: Templates are read once for all tests.
LOOKS = Looks()


class Console:
    """A house with a console, and people in it."""

    def __init__(self, url: str, folder: Path, limits: Limits | None = None) -> None:
        self.house = House(url, folder, limits)
        self.store = self.house.store
        self.keys = Keys(self.store.keys, Vault(folder / "key"))
        self.people = {role: self.keys.create(f"a {role}", role) for role in Role}

        self.app = self.process()

    def process(self) -> Starlette:
        """One that serves it; there may be others."""
        desk = smc.desk(self.house.service)
        return web.application([], site.routes(self.store, desk, self.keys, GRACE, LOOKS))

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

    def make(limits: Limits | None = None) -> Console:
        url = fresh.sqlite(quick_folder / f"console-{len(made)}.sqlite")
        made.append(Console(url, quick_folder, limits))
        return made[-1]

    yield make
    for console in made:
        console.house.store.close()


@pytest.fixture
def console(make_console: Callable[..., Console]) -> Console:
    return make_console()
