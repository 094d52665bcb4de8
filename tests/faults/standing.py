"""A control plane that stands by itself on PostgreSQL, with an appliance beside it, driven by `connector job`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from connector import child
from tests.faults.restore import Harm, Moment
from tests.faults.world import DISKS, MACHINE, Refusal, call, copy, damage, images, matches, put_back
from tests.integration.house import USER, House, Shape, house
from tests.people import People, owner
from tests.waiting import PATIENCE

JOB: Final = "standing"
DATABASE: Final = "database"
GRACE: Final = 10.0
KEPT: Final = ("vcenter", "out")


class Standing:
    """`out` holds everything but the database: control/, appliance/, instances/, images/."""

    def __init__(self, root: Path, server: str) -> None:
        """`server`: URL of a database of a cluster that is ours."""
        self.live, self._kept = root / "live", root / "kept"
        self.out = self.live / "out"
        self.out.mkdir(parents=True)
        self._server = server
        self.database = server.rsplit("/", 1)[0] + "/standing"
        self._admin = sa.create_engine(
            server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        self._say("CREATE DATABASE standing")
        self._begin()

    def _begin(self) -> None:
        with house(self.live, (Shape(MACHINE, DISKS),)) as made:
            with self.running(made) as jobs:
                self._key()
                (source,) = jobs.sources()
                jobs.create(source["id"], JOB, run_once=False, image_name=JOB, image_format="raw", audit=0.0)
                assert self.act(made, "start") is None
            self._keep(Moment.FIRST)
            made.write(count=24)
            with self.running(made):
                assert self.act(made, "start") is None
            self._keep(Moment.SECOND)

    def _key(self) -> None:
        order = (
            "control",
            "key",
            "create",
            "--state",
            str(self.out / "control"),
            "--database",
            self.database,
        )
        secret = self.live / "secret"
        secret.unlink(missing_ok=True)
        code, key = call(
            [*order, "--name", "night", "--role", "admin", "--secret-file", str(secret), "--json"]
        )
        assert code == 0, key
        self._access = {
            "CONNECTOR_ACCESS_KEY_ID": str(key["access_key_id"]),
            "CONNECTOR_ACCESS_KEY_SECRET_FILE": str(secret),
        }

    # ------------------------------------------------------------------ processes

    @contextmanager
    def running(self, made: House) -> Iterator[People]:
        """Control plane and appliance run; with the operator's client."""
        state, log = self.out / "control", self.live
        with ExitStack() as stack:
            options = ("--state", str(state), "--database", self.database, "--images", str(self.out))
            control = child.start(
                "connector.control",
                [*options, "--grace", str(GRACE), "--exit-with-stdin"],
                name="control plane",
                log=log / "control.log",
                timeout=PATIENCE,
            )
            stack.enter_context(control)
            ready = {key: str(value) for key, value in control.ready.items()}
            self._where = {
                "CONNECTOR_CONTROL_URL": ready["url"],
                "CONNECTOR_CONTROL_THUMBPRINT": ready["thumbprint"],
            }
            jobs = owner(ready)
            stack.callback(jobs.close)
            stack.enter_context(self._appliance(made, ready))
            yield jobs

    def _appliance(self, made: House, control: Mapping[str, str]) -> child.Child:
        server = made.server
        configuration: dict[str, object] = {
            "name": "standing",
            "vcenter": {
                "url": server.url,
                "user": USER,
                "password": made.password,
                "thumbprint": server.thumbprint,
            },
            "control": {key: control[key] for key in ("url", "thumbprint", "activation_code_file")},
            "vddk": str(made.vddk),
            "state": str(self.out / "appliance"),
            "watch": False,
        }
        return child.start(
            "connector.appliance",
            ["--exit-with-stdin"],
            name="appliance",
            configuration=configuration,
            log=self.live / "appliance.log",
            timeout=PATIENCE,
        )

    # ------------------------------------------------------------------ moments and harm

    def _keep(self, moment: Moment) -> None:
        for name in KEPT:
            copy(self.live / name, self._kept / moment / name)
        self._say(f"CREATE DATABASE {_kept(moment)} TEMPLATE standing")

    def put_back(self, moment: Moment) -> None:
        for name in KEPT:
            shutil.rmtree(self.live / name)
            copy(self._kept / moment / name, self.live / name)
        self._replace(_kept(moment))

    def harm(self, what: str, harm: Harm) -> None:
        """Of the end of run 2; older copies are of the end of run 1."""
        older = self._kept / Moment.FIRST / "out"
        if what == DATABASE:
            self._replace(_kept(Moment.FIRST) if harm is Harm.OLDER else "template0")
        elif harm is Harm.OLDER:
            put_back(self.out, older, what)
        else:
            damage(matches(self.out, what)[0], harm)

    def _replace(self, template: str) -> None:
        self._say("DROP DATABASE standing WITH (FORCE)")
        self._say(f"CREATE DATABASE standing TEMPLATE {template}")

    def _say(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)

    # ------------------------------------------------------------------ what an administrator does

    def act(self, made: House, verb: str) -> Refusal | None:
        """`connector job start|cutover|watch`: every image that it makes is that of the source."""
        before, shown = images(made), len(made.witness.shown)
        more = {"start": ["--watch"], "cutover": ["--sync", "--watch"]}.get(verb, [])
        code, error = self.say("job", verb, JOB, *more, "--json")
        truths = [made.digests(), *(dict(view.digests) for view in made.witness.shown[shown:])]
        changed = {name: disks for name, disks in images(made).items() if before.get(name) != disks}
        for name, disks in changed.items():
            assert disks in truths, f"{verb}: WRONG IMAGE {name}"
        if code:
            return Refusal(code, error)
        assert truths[0] in changed.values(), f"{verb}: no image of what the source is now: {sorted(changed)}"
        assert not made.snapshots()
        return None

    def await_hold(self, jobs: People, seconds: float = PATIENCE) -> None:
        """A run that has begun meets an instance that knows more."""
        code, error = self.say("job", "start", JOB, "--json")
        assert code == 0, error
        deadline = time.monotonic() + seconds
        while not jobs.epoch()["restored"]:
            assert time.monotonic() < deadline, "nothing is held"
            time.sleep(0.2)

    def confirm(self) -> None:
        """What the refusal of a restored control plane says."""
        state = ("--state", str(self.out / "control"), "--database", self.database)
        code, error = self.say("control", "confirm", *state, "--keep-credentials", "--json")
        assert code == 0, error

    def say(self, *words: str) -> tuple[int, Mapping[str, Any]]:
        settings = self._where | self._access
        before = dict(os.environ)
        os.environ.update(settings)
        try:
            return call(list(words))
        finally:
            for name in settings:
                os.environ.pop(name)
            os.environ.update({name: before[name] for name in settings if name in before})

    def close(self) -> None:
        self._admin.dispose()


def _kept(moment: Moment) -> str:
    return "kept_" + moment.replace(" ", "_")
