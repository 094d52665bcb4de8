from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector import child
from connector.clients.agents import ControlClient, enrol
from connector.control.store import Quotas
from connector.errors import ConnectorError, NotFound, ReaderFailed
from connector.model import Firmware, Machine, MachineDisk, PowerState
from connector.transfer.evidence import Signer
from tests.control import fresh, postgres
from tests.control.honest import manifest, new_signer, put_shown
from tests.people import owner
from tests.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from tests.control.house import House

VCENTER = "https://vc.example:443"
QUIET = 900.0  # seconds that an appliance of a test may be silent: a busy machine makes it so
DISK = {"key": 2000, "label": "Hard disk 1", "capacity": 8, "wanted": 8, "done": 8}


def machine(moref: str = "vm-1", name: str = "web-01", disks: int = 2) -> Machine:
    """A machine as an appliance would report it."""
    return Machine(
        moref=moref,
        name=name,
        instance_uuid=f"uuid-{moref}",
        bios_uuid=f"bios-{moref}",
        power=PowerState.ON,
        firmware=Firmware.EFI,
        guest_id="debian12_64Guest",
        guest_name="Debian 12",
        cpus=2,
        memory=2 << 30,
        hardware="vmx-19",
        host="host-1",
        path=f"/DC0/vm/{name}",
        disks=tuple(
            MachineDisk(
                2000 + n,
                f"Hard disk {n + 1}",
                10 << 30,
                f"[ds] {name}/{n}.vmdk",
                "ds",
                "FlatVer2",
                "persistent",
            )
            for n in range(disks)
        ),
    )


class Plane:
    """A control plane as a child process that can be killed and started again on the same state."""

    def __init__(
        self,
        root: Path,
        database: str = "",
        grace: float = QUIET,
        bounds: dict[str, float] | None = None,
        metrics: str = "",
        notifications: dict[str, Any] | None = None,
    ) -> None:
        self.notifications = notifications or {}
        self.root = root
        self.gates = Path(os.environ["FAKE_GATES"])
        self.database = database
        self.grace = grace
        self.bounds = bounds or {}
        self.metrics = metrics
        self.log = root / "plane.log"
        self.members: dict[str, tuple[str, Signer]] = {}  # vCenter and key, by id
        if not database and not (root / "state").exists():
            (root / "state").mkdir(mode=0o700)
            fresh.sqlite(root / "state" / "control.sqlite")
        self.start()

    def start(self) -> None:
        arguments = [str(self.root), str(self.grace), self.database, json.dumps(self.bounds), self.metrics]
        arguments.append(json.dumps(self.notifications))
        self.child = child.start(
            "tests.control.fake_plane", arguments, name="plane", log=self.log, timeout=PATIENCE
        )
        self.ready = {key: str(value) for key, value in self.child.ready.items()}
        self.url, self.thumbprint = self.ready["url"], self.ready["thumbprint"]
        self.jobs = owner(self.ready)

    def kill(self) -> None:
        if self.child.exit_code() is None:
            os.kill(self.child.pid, signal.SIGKILL)
        self.child.stop()

    def restart(self) -> None:
        self.kill()
        self.start()

    def enrol(self, name: str = "appliance-1", vcenter: str = VCENTER, code: str = "") -> Any:
        code = code or Path(self.ready["activation_code_file"]).read_text().strip()
        signer = new_signer()
        member = enrol(
            self.url,
            self.thumbprint,
            code,
            name=name,
            vcenter=vcenter,
            version="1",
            evidence_key=signer.public_pem,
        )
        self.members[member.appliance_id] = (vcenter, signer)
        return member

    def keys(self, order: dict[str, Any]) -> list[int]:
        """Of the disks that an order is about."""
        with closing(owner(self.ready)) as jobs:
            disks = jobs.source(order["source_id"])["disks"]
        return [disk["key"] for disk in disks if disk["key"] not in order["left_out"]]

    def evidence(self, membership: Any, order: dict[str, Any], **changes: Any) -> bytes:
        """What this appliance signs when it has carried out the order."""
        vcenter, signer = self.members[membership.appliance_id]
        return manifest(signer, order, vcenter, self.keys(order), **changes)

    def show(self, order: dict[str, Any], reading: str = "") -> None:
        """All bytes of this reading are at the instance."""
        put_shown(order, self.keys(order), reading)

    def done(self, membership: Any, order: dict[str, Any], result: dict[str, Any] | None = None) -> None:
        """An honest appliance reports: what it calls done it has sent, and signs."""
        client = self.client(membership)
        if order["credential"] is not None:
            self.show(order)
            client.evidence(order["pass_id"], self.evidence(membership, order))
        client.finish(order["pass_id"], "done", None, result or {})

    def client(self, membership: Any) -> ControlClient:
        return ControlClient(self.url, self.thumbprint, membership)

    def hold(self, gate: str) -> None:
        (self.gates / f"hold-{gate}").touch()

    def at(self, gate: str) -> None:
        eventually((self.gates / f"at-{gate}").exists, f"the step reaches {gate}")

    def let_go(self, gate: str) -> None:
        (self.gates / f"hold-{gate}").unlink()
        (self.gates / f"at-{gate}").unlink(missing_ok=True)

    def status(self, job: str) -> str:
        found = self.jobs.status(job)
        return "/".join(filter(None, (found["status"], found["business_status"])))

    def reach(self, job: str, status: str, seconds: float = PATIENCE) -> Any:
        eventually(lambda: self.status(job) == status, f"{job} is {status}; log: {self.log}", seconds)
        return self.jobs.job(job)

    def gone(self, job: str) -> None:
        """The job is deleted, and nothing knows it any more."""

        def look() -> bool:
            try:
                return not self.jobs.status(job)
            except NotFound:
                return True

        eventually(look, f"{job} is gone; log: {self.log}")


class Robot:
    """An appliance that takes whatever comes and reports it as done, across restarts."""

    def __init__(self, plane: Plane, membership: Any = None) -> None:
        self.plane = plane
        self.membership = membership or plane.enrol()
        self.orders: list[dict[str, Any]] = []
        self.held: set[str] = set()
        self.broken: set[tuple[str, str]] = set()  # (moref, task) whose passes fail
        self.pause = threading.Event()  # while set, a taken pass is not finished
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._loop)

    def register(self, *machines: Machine) -> dict[str, str]:
        return self.plane.client(self.membership).put_sources(machines or [machine()], {})

    def __enter__(self) -> Robot:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()

    def _loop(self) -> None:
        while not self.end.is_set():
            try:
                client = self.plane.client(self.membership)
                if order := client.take(0.0, power_tasks=True) or client.take(0.2):
                    self.orders.append(order)
                    self._carry_out(order)
            except ConnectorError:
                self.end.wait(0.05)

    def _carry_out(self, order: dict[str, Any]) -> None:
        pass_id, stopped = order["pass_id"], False
        self.held.add(pass_id)
        while self.pause.is_set() and not stopped and not self.end.is_set():
            with suppress(ConnectorError):
                stopped = pass_id in self.plane.client(self.membership).heartbeat([pass_id]).stop
            time.sleep(0.03)
        while not self.end.is_set():
            try:
                client = self.plane.client(self.membership)
                client.progress(pass_id, "reading", [DISK])
                if (order["moref"], order["task"]) in self.broken:
                    client.finish(pass_id, "failed", ReaderFailed("a bad sector"), {})
                    return
                if stopped:
                    client.finish(pass_id, "stopped", None, {"downtime": 1.5})
                else:
                    self.plane.done(self.membership, order, {"downtime": 1.5})
                return
            except ConnectorError as failed:
                if not failed.retryable:
                    return
                time.sleep(0.05)
            except OSError:  # the instance is being started again
                time.sleep(0.05)


@pytest.fixture
def make_house(quick_folder: Path) -> Iterator[Callable[[Quotas], House]]:
    """Control planes without processes, on SQLite."""
    from tests.control.house import House

    made: list[House] = []

    def make(limits: Quotas) -> House:
        made.append(House(fresh.sqlite(quick_folder / f"{len(made) or 'x'}.sqlite"), quick_folder, limits))
        return made[-1]

    yield make
    for house in made:
        house.store.close()


@pytest.fixture
def house(make_house: Callable[[Quotas], House]) -> House:
    return make_house(Quotas())


@pytest.fixture
def gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "gates"
    folder.mkdir()
    monkeypatch.setenv("FAKE_GATES", str(folder))
    return folder


@pytest.fixture
def make_plane(tmp_path: Path, gates: Path) -> Iterator[Callable[..., Plane]]:
    planes: list[Plane] = []

    def make(**options: Any) -> Plane:
        planes.append(Plane(tmp_path, **options))
        return planes[-1]

    yield make
    for gate in gates.glob("hold-*"):
        gate.unlink()
    for plane in planes:
        plane.kill()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("needs the package postgresql")
    with postgres.cluster(programs) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of its own for one test, without a table."""
    made = fresh.empty_postgres(postgres_server)
    yield made
    fresh.drop(made)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[str]:
    """A database of its own for one test, of the newest version."""
    if request.param == "sqlite":
        made = fresh.sqlite(quick_folder / "control.sqlite")
    else:
        made = fresh.postgres(request.getfixturevalue("postgres_server"))
    yield made
    fresh.drop(made)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[str]:
    """The same, without a table."""
    if request.param == "sqlite":
        made = f"sqlite:///{quick_folder / 'control.sqlite'}"
    else:
        made = fresh.empty_postgres(request.getfixturevalue("postgres_server"))
    yield made
    fresh.drop(made)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the machine has such a place: a database there costs no waiting for a disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="control-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One for a whole module: each test has a vCenter and names of its own."""
    root = tmp_path_factory.mktemp("plane")
    (root / "gates").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_GATES", str(root / "gates"))
        made = Plane(root)
        yield made
        made.kill()


@pytest.fixture
def plane(make_plane: Callable[..., Plane]) -> Plane:
    return make_plane()


def taken(client: ControlClient) -> dict[str, Any]:
    """The next order of an appliance, whenever it is offered."""
    return eventually(lambda: client.take(1.0), "a pass is offered")
