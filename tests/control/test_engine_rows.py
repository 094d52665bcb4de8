"""What somebody wrote into the engine's tables is never unpickled; the rest goes on."""

from __future__ import annotations

import base64
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dbos
import pytest
import sqlalchemy as sa

from connector.control.engine import rows
from connector.control.store import Store
from tests.control.conftest import Plane, Robot
from tests.waiting import eventually

NOW = 1_790_000_000_000


class Burglar:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.mark),)


class Planter:
    """Writes rows into the engine's tables; each would leave a mark of its own if it were unpickled."""

    def __init__(self, url: str, marks: Path) -> None:
        self.engine = sa.create_engine(url)
        self.schema = None if url.startswith("sqlite") else "dbos"
        self.marks = marks
        marks.mkdir()

    def bomb(self, name: str) -> str:
        return base64.b64encode(pickle.dumps(Burglar(self.marks / name))).decode()

    def table(self, name: str) -> sa.Table:
        return sa.Table(name, sa.MetaData(), schema=self.schema, autoload_with=self.engine)

    def insert(self, name: str, /, **values: Any) -> None:
        table = self.table(name)
        with self.engine.begin() as connection:
            connection.execute(table.insert().values(serialization="py_pickle", **values))

    def workflow(self, name: str, status: str, /, **values: Any) -> None:
        self.insert(
            "workflow_status",
            workflow_uuid=name,
            status=status,
            name="run",
            class_name="Runs",
            config_name="runs",
            executor_id="control",
            application_version="engine-1",
            created_at=NOW,
            updated_at=NOW,
            priority=0,
            inputs=self.bomb(f"{name}-inputs"),
            output=self.bomb(f"{name}-output"),
            error=self.bomb(f"{name}-error"),
            **values,
        )

    def message(self, workflow: str, mark: str) -> None:
        values = {"message_uuid": mark, "message": self.bomb(mark), "created_at_epoch_ms": NOW}
        self.insert("notifications", destination_uuid=workflow, topic="slot-0", **values)

    def spoil(self, workflow: str) -> None:
        """Every answer of a step that this workflow has recorded, and what it was begun with."""
        for name, column in (("operation_outputs", "output"), ("workflow_status", "inputs")):
            table = self.table(name)
            with self.engine.begin() as connection:
                done = connection.execute(
                    table.update()
                    .where(table.c.workflow_uuid == workflow)
                    .values({"serialization": "py_pickle", column: self.bomb(f"{workflow}-{name}")})
                )
            assert done.rowcount

    def close(self) -> None:
        self.engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("empty_postgres_url")) if request.param == "postgresql" else "sqlite"


@pytest.fixture
def opened(make_plane: Callable[..., Plane], url: str, tmp_path: Path) -> Any:
    """A control plane on either database, and somebody who can write the engine's tables."""
    database = "" if url.startswith("sqlite") else url
    plane = make_plane(database=database)
    engine = f"sqlite:///{tmp_path / 'state' / 'engine.sqlite'}"
    planter = Planter(database.replace("postgresql:", "postgresql+psycopg:") or engine, tmp_path / "marks")
    yield plane, planter
    planter.close()


def _waiting(plane: Plane, robot: Robot, job: str) -> str:
    """A job whose pass is with an appliance; the id of its run, which is its workflow's."""
    robot.register()
    robot.pause.set()
    plane.jobs.create("web-01", job)
    plane.jobs.start(job)
    eventually(lambda: robot.orders, "the pass is taken")
    state = plane.root / "state"
    store = Store(plane.database or f"sqlite:///{state / 'control.sqlite'}")
    (run,) = store.runs.of(plane.jobs.id(job))
    store.close()
    return run.id


def test_rows_planted_while_the_control_plane_is_down_are_dropped_and_its_jobs_end(
    opened: tuple[Plane, Planter],
) -> None:
    plane, planter = opened
    with Robot(plane) as robot:
        run = _waiting(plane, robot, "j1")
        plane.kill()
        planter.spoil(run)
        planter.workflow("stranger-1", "PENDING")
        planter.workflow("stranger-2", "ENQUEUED", queue_name="_dbos_internal_queue")
        planter.workflow("stranger-3", "ERROR")
        planter.message("stranger-1", "message")
        planter.insert("workflow_events", workflow_uuid="stranger-1", key="k", value=planter.bomb("event"))
        plane.start()
        robot.pause.clear()
        plane.reach("j1", "Finished")
    assert list(planter.marks.iterdir()) == []
    log = plane.log.read_text()
    assert "dropped a row of the engine's table operation_outputs" in log
    assert all(f"stranger-{n}" in log for n in (1, 2, 3))


def test_rows_planted_while_jobs_run_are_refused_and_the_jobs_end(opened: tuple[Plane, Planter]) -> None:
    plane, planter = opened
    with Robot(plane) as robot:
        run = _waiting(plane, robot, "j1")
        planter.workflow("stranger", "ENQUEUED", queue_name="_dbos_internal_queue")
        planter.message(run, "message")
        table = planter.table("workflow_status")
        query = sa.select(table.c.status).where(table.c.workflow_uuid == "stranger")

        def refused() -> bool:
            with planter.engine.connect() as connection:
                return connection.execute(query).scalar_one_or_none() == "ERROR"

        eventually(refused, "the stranger's row is refused")
        eventually(lambda: "engine's table notifications" in plane.log.read_text(), "the message is dropped")
        robot.pause.clear()
        plane.reach("j1", "Finished")
        plane.jobs.create("web-01", "j2")
        plane.jobs.start("j2")
        plane.reach("j2", "Finished")
    assert list(planter.marks.iterdir()) == []


def test_nothing_of_the_engine_unpickles_but_the_one_class_that_is_disarmed(tmp_path: Path) -> None:
    """A newer engine that unpickles anywhere else is seen here, before it is seen by somebody else."""
    package = Path(dbos.__file__).parent
    users = {
        file.name
        for file in package.rglob("*.py")
        if any(word in file.read_text() for word in ("import pickle", "import marshal", "import shelve"))
    }
    assert users == {"_serialization.py"}
    assert (package / "_serialization.py").read_text().count("pickle.loads") == 1
    rows.refuse_pickles()
    text = base64.b64encode(pickle.dumps(Burglar(tmp_path / "mark"))).decode()
    with pytest.raises(rows.RowRefused):
        dbos._serialization.deserialize_value(text, "py_pickle", rows.SERIALIZER)
    assert not (tmp_path / "mark").exists()
