"""Searches find the same whatever way is quickest, and cost about the same among many as among few."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks import crowd
from connector.control.domain.entities import TagKind
from connector.control.domain.jobs import JobEvent
from connector.control.store import JobFilter, SourceFilter, Store, search
from tests.control import fresh

COUNT = 60


@pytest.fixture
def store(url: str) -> Any:
    crowd.fill(url, COUNT)
    made = Store(url)
    yield made
    made.close()


TAGS: list[list[tuple[str, str | None]]] = [
    [("env", "env-3")],
    [("owner", None)],
    [("env", "env-3"), ("owner", "owner-3")],
    [("env", "env-3"), ("owner", "owner-4")],
    [("nothing", None)],
]


@pytest.mark.parametrize("tags", TAGS)
def test_x16_tags_are_found_the_same_way_among_few_and_among_many(
    store: Store, tags: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [n for n in range(COUNT) if all(v in (None, f"{k}-{n % 10}") for k, v in tags)]
    wanted = [] if tags[0][0] == "nothing" else wanted
    newest = sorted(wanted, reverse=True)
    for many in (0, 10**6):
        monkeypatch.setattr(search, "_MANY", many)
        sources = store.sources.page(SourceFilter(tags=tags), 1, 4)
        assert (sources.total, [s.id for s in sources.rows]) == (
            len(wanted),
            [crowd.source_id(n) for n in newest[:4]],
        )
        jobs = store.jobs.page(JobFilter(tags=tags, region="region-1"), 2, 2)
        here = [n for n in newest if n % 3 == 1]
        assert (jobs.total, [j.id for j in jobs.rows]) == (len(here), [crowd.job_id(n) for n in here[2:4]])


def test_what_is_deleted_is_not_counted_by_its_tags(store: Store) -> None:
    before = store.sources.page(SourceFilter(tags=[("env", None)])).total
    ready = store.jobs.page(JobFilter(status="Finished")).rows[0].source_id
    store.removal.source(ready, force=True)
    for job in store.jobs.all():
        if job.source_id == ready:
            store.jobs.apply(job.id, JobEvent.DELETED)
    assert store.removal.finish() == [ready]
    assert store.sources.page(SourceFilter(tags=[("env", None)])).total == before - 1
    assert store.tags.of(TagKind.SOURCE, [ready]) == {ready: []}


def test_pages_neither_repeat_nor_miss_a_row(store: Store) -> None:
    for look in (
        lambda n: store.sources.page(SourceFilter(), n, 7),
        lambda n: store.jobs.page(JobFilter(), n, 7),
    ):
        pages = [look(n) for n in range(1, 11)]
        found = [row.id for page in pages for row in page.rows]
        assert len(found) == len(set(found)) == COUNT
        assert {page.total for page in pages} == {COUNT}


Search = Callable[[Store], Any]

SEARCHES: dict[str, Search] = {
    "sources": lambda s: s.sources.page(SourceFilter(), 3),
    "sources by job type": lambda s: s.sources.page(SourceFilter(job_types=[3])),
    "sources by last job": lambda s: s.sources.page(SourceFilter(job_id=crowd.job_id(7))),
    "sources by name": lambda s: s.sources.page(SourceFilter(name="vm-00007")),
    "jobs": lambda s: s.jobs.page(JobFilter(), 3),
    "jobs by name": lambda s: s.jobs.page(JobFilter(name="job-00007")),
    "jobs by source": lambda s: s.jobs.page(JobFilter(source_ids=[crowd.source_id(7)])),
    "jobs by region": lambda s: s.jobs.page(JobFilter(region="region-1")),
    "ended passes": lambda s: s.passes.ended(),
}


def _plan(url: str, work: Search) -> list[str]:
    """How SQLite does what `work` asks of it, step by step."""
    crowd.fill(url, COUNT)
    store = Store(url)
    asked: list[tuple[str, Any]] = []
    engine = store._database._engine
    sa.event.listen(engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    work(store)
    plans: list[str] = []
    with engine.connect() as connection:
        for statement, values in [a for a in asked if a[0].startswith("SELECT")]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            plans += [row[3] for row in plan]
    store.close()
    return plans


@pytest.mark.parametrize("name", SEARCHES)
def test_no_search_reads_a_whole_table(quick_folder: Path, name: str) -> None:
    """Not row by row; the newest first, in the order of an index, until a page is full, is fine."""
    plans = _plan(fresh.sqlite(quick_folder / "x.sqlite"), SEARCHES[name])
    whole = [step for step in plans if step.startswith("SCAN") and "USING" not in step]
    assert whole == [], os.linesep.join(plans)


@pytest.mark.parametrize(
    "look",
    [
        lambda s: s.tags.of(TagKind.SOURCE, [crowd.source_id(7), crowd.source_id(8)]),
        lambda s: s.tags.search(TagKind.SOURCE, [crowd.source_id(7)], [], limit=51),
    ],
)
def test_tags_of_a_resource_are_found_by_the_resource(quick_folder: Path, look: Search) -> None:
    plans = _plan(fresh.sqlite(quick_folder / "x.sqlite"), look)
    assert all("resource_id=?" in step for step in plans if "SEARCH tags" in step), os.linesep.join(plans)
