"""Pages stay fast with 10,000 sources and 10,000 jobs: as many queries as with 100, and none that reads a whole table
to find a few rows.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector.control.domain.access import Role
from tests.console.conftest import Console
from tests.console.crowd import fill
from tests.console.visitor import Visitor
from tests.control import fresh

MANY = 10_000
#: Processor seconds for a page, on whatever machine this is: ten times what they take.
PATIENCE = 0.6

PAGES = {
    "jobs": "/console/jobs?size={size}",
    "last jobs": "/console/jobs?size={size}&page={last}",
    "jobs of a status": "/console/jobs?status=InError&size={size}",
    "job by name": "/console/jobs?item=name&value=job-00005",
    "jobs of a source": "/console/jobs?item=source&value=s-{five}",
    "one job": "/console/jobs/j-{five}",
    "sources": "/console/sources?size={size}",
    "last sources": "/console/sources?size={size}&page={last}",
    "source by name": "/console/sources?item=name&value=crowd-00005",
    "source by id": "/console/sources?item=id&value=s-{five}",
    "sources of a state": "/console/sources?item=state&value=InUse&size={size}",
    "source by last job": "/console/sources?item=job&value=j-{five}",
    "one source": "/console/sources/s-{five}",
    "new job": "/console/new-job?source=s-{five}",
    "groups": "/console/groups",
    "audit": "/console/audit?item=who&value=nobody",
}


class Crowd:
    def __init__(self, file: Path, count: int) -> None:
        url = fresh.sqlite(file)
        fill(url, count)
        self.count = count
        self.console = Console(url, file.parent)
        self.statements: list[str] = []
        sa.event.listen(sa.Engine, "before_cursor_execute", self._note)
        self.visitor: Visitor = self.console.visitor(Role.ADMIN)

    def _note(self, connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if str(connection.engine.url) == self.console.house.url and statement.startswith("SELECT"):
            self.statements.append(statement)

    def path(self, page: str, size: int = 20) -> str:
        last = -(-self.count // size)
        return PAGES[page].format(size=size, last=last, five=f"{5:020x}")

    def look(self, page: str, size: int = 20) -> tuple[int, float]:
        """Queries and processor seconds of one page."""
        self.visitor.get(self.path(page, size))
        self.statements.clear()
        began = time.process_time()
        answer = self.visitor.request("GET", self.path(page, size), None)
        spent = time.process_time() - began
        assert answer.status == 200
        return len(self.statements), spent

    def close(self) -> None:
        sa.event.remove(sa.Engine, "before_cursor_execute", self._note)
        self.console.store.close()


@contextmanager
def crowd(folder: Path, count: int) -> Iterator[Crowd]:
    made = Crowd(folder / f"crowd-{count}.sqlite", count)
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="crowd-", dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def few(folder: Path) -> Iterator[Crowd]:
    with crowd(folder, 100) as made:
        yield made


@pytest.fixture(scope="module")
def many(folder: Path) -> Iterator[Crowd]:
    with crowd(folder, MANY) as made:
        yield made


def test_pages_stay_fast_with_ten_thousand_sources_and_jobs(few: Crowd, many: Crowd) -> None:
    """One test, because so many rows take seconds to write."""
    _a_page_of_many_costs_what_a_page_of_few_costs(few, many)
    _what_people_search_by_is_found_by_an_index(many)
    _lists_are_sorted_by_an_index(many)


def _a_page_of_many_costs_what_a_page_of_few_costs(few: Crowd, many: Crowd) -> None:
    for page in PAGES:
        queries, _ = few.look(page)
        assert many.look(page)[0] == queries, page
        assert many.look(page, 50)[0] == queries, page
        spent = min(many.look(page, 50)[1] for _ in range(3))
        assert spent < PATIENCE, f"{page}: {spent:.3f} s"


def _what_people_search_by_is_found_by_an_index(many: Crowd) -> None:
    for page in ("job by name", "jobs of a source", "source by name", "source by id", "source by last job"):
        many.look(page)
        for plan in _plans(many, {"jobs", "sources"}):
            assert not plan.startswith("SCAN") or "USING INDEX" in plan or "COVERING" in plan, (page, plan)
        searched = "sources" if page.startswith("source ") else "jobs"
        listed = [p for p in _plans(many, {searched}) if p.startswith("SEARCH")]
        assert listed, page


def _plans(crowd: Crowd, tables: set[str]) -> list[str]:
    """How the queries of the page that was looked at last go over these tables."""
    engine = sa.create_engine(crowd.console.house.url)
    found: list[str] = []
    with engine.connect() as connection:
        for statement in list(crowd.statements):
            nothing = tuple("" for _ in range(statement.count("?")))
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", nothing):
                if row.detail.split()[1] in tables:
                    found.append(row.detail)
    engine.dispose()
    return found


def _lists_are_sorted_by_an_index(many: Crowd) -> None:
    for page in ("jobs", "sources", "jobs of a status", "sources of a state"):
        many.look(page)
        listing = [
            s for s in many.statements if "ORDER BY jobs.created" in s or "ORDER BY sources.created" in s
        ]
        assert listing, page
        many.statements[:] = listing
        plans = _plans(many, {"jobs", "sources"})
        assert all("INDEX" in plan for plan in plans), (page, plans)
