"""The console on PostgreSQL: the same pages from the same queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.control.domain.access import Role
from tests.console.conftest import Console
from tests.console.crowd import fill
from tests.console.test_crowd import PAGES
from tests.control.conftest import empty_postgres_url, postgres_server

__all__ = ["empty_postgres_url", "postgres_server"]


@pytest.fixture
def on_postgres(empty_postgres_url: str, tmp_path: Path) -> Iterator[Console]:
    made = Console(empty_postgres_url, tmp_path)
    yield made
    made.store.close()


def test_every_page_and_the_watcher_work_on_postgresql(on_postgres: Console) -> None:
    fill(on_postgres.house.url, 30)
    visitor = on_postgres.visitor(Role.ADMIN)
    for page, path in PAGES.items():
        assert visitor.get(path.format(size=20, last=2, five=f"{5:020x}")).status == 200, page
    lines = ",".join(f"j-{number:020x}" for number in range(30))
    heard = visitor.get(f"/console/live?lines={lines}&counts=&sheet=j-{5:020x}")
    assert heard.status == 200
    job = on_postgres.house.job("web-01")
    assert visitor.post(f"/console/jobs/{job}/start").status == 303
    assert visitor.get(f"/console/jobs/{job}").states[0] == "Preparing"
    assert visitor.get(f"/console/jobs/{job}%00").status == 400
    assert visitor.get("/console/sources?item=name&value=%00").status == 400
