"""One whole installation for many cells: vCenter, control plane, appliance, each started again by a supervisor when it dies."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from connector import child
from connector.child import Child
from connector.control.domain.entities import Pass
from connector.control.store import Store
from connector.errors import ConnectorError
from tests.faults.relay import Relay
from tests.integration.house import MIB, USER, House, Shape, house
from tests.integration.witness import digest
from tests.people import People, owner
from tests.processes import children, command_line, lives, present
from tests.waiting import PATIENCE

WINDOW = 4 * MIB  # bytes in flight per disk
GRACE = 4.0  # seconds after which a silent appliance has lost its pass
DISKS = ((20 * MIB, 16 * MIB), (2 * MIB + 512, MIB))
MACHINE, BYSTANDER = "web-01", "db-01"
ROLES = {"instance": "connector.instance", "worker": "vddk.worker_child"}
DONE = ("Finished", "Waiting")
READER = os.environ.get("FAULTS_READER", "auto")
RESTING = (*DONE, "InError", "Stopped")


@dataclass(slots=True)
class Works:
    """`restarts` counts what the supervisor had to start again."""

    house: House
    root: Path
    relay: Relay
    small: dict[str, Path]  # file systems that can be filled, by whose they are
    restarts: int = 0
    _children: dict[str, Child] = field(default_factory=dict)
    _starting: threading.RLock = field(default_factory=threading.RLock)
    _end: threading.Event = field(default_factory=threading.Event)
    _port: int = 0
    _ready: dict[str, str] = field(default_factory=dict)
    jobs: People = field(init=False)

    # ------------------------------------------------------------------ processes

    def start(self) -> None:
        self._port = _free_port()
        self._start("control")
        self.jobs = owner(self._ready)
        self._start("appliance")
        threading.Thread(target=self._supervise, daemon=True).start()

    def stop(self) -> None:
        self._end.set()
        with self._starting:
            for name in ("appliance", "control"):
                if name in self._children:
                    self._children[name].stop()
        self.jobs.close()

    def processes(self, role: str) -> list[psutil.Process]:
        """The living processes of this role."""
        if role in self._children:
            return present(self._children[role].pid)
        parent = {"instance": "control", "worker": "appliance"}[role]
        below = children(self._children[parent].pid)
        return [one for one in below if ROLES[role] in command_line(one) and lives(one)]

    def kill(self, role: str) -> None:
        for one in self.processes(role):
            with suppress(psutil.Error):
                one.kill()

    def freeze(self, role: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        for one in self.processes(role):
            with suppress(psutil.Error):
                one.suspend()
                threading.Timer(seconds, _resume, [one]).start()

    def stutter(self, role: str, seconds: float) -> None:
        """Half of the time it does not run."""
        until = time.monotonic() + seconds

        def pulse(one: psutil.Process) -> None:
            with suppress(psutil.Error):
                while time.monotonic() < until:
                    one.suspend()
                    time.sleep(0.05)
                    one.resume()
                    time.sleep(0.05)

        for one in self.processes(role):
            threading.Thread(target=pulse, args=[one], daemon=True).start()

    def _start(self, name: str) -> None:
        with self._starting:
            module, arguments, configuration = getattr(self, f"_{name}")()
            self._children[name] = child.start(
                module,
                arguments,
                name=name,
                configuration=configuration,
                log=self.root / f"{name}.log",
                timeout=PATIENCE,
            )
            if name == "control":
                self._ready = {key: str(value) for key, value in self._children[name].ready.items()}

    def _supervise(self) -> None:
        """What an operator's service manager does: whatever ends is started again."""
        while not self._end.wait(0.1):
            for name in ("control", "appliance"):
                with self._starting:
                    if self._end.is_set() or self._children[name].exit_code() is None:
                        continue
                    self._children[name].stop()
                    self.restarts += 1
                    with suppress(ConnectorError):  # it is tried again
                        self._start(name)

    def _control(self) -> tuple[str, list[str], None]:
        told = {
            "images": str(self.small["target"]),
            "state": str(self.small["control"] / "state"),
            "relay": self.relay.host,
            "target": str(self.root / "target"),
            "port": self._port,
            "grace": GRACE,
        }
        return "tests.faults.control", [json.dumps(told)], None

    def _appliance(self) -> tuple[str, list[str], dict[str, object]]:
        control = {key: self._ready[key] for key in ("url", "thumbprint", "activation_code_file")}
        configuration: dict[str, object] = {
            "name": "faults",
            "vcenter": {
                "url": self.house.server.url,
                "user": USER,
                "password": self.house.password,
                "thumbprint": self.house.server.thumbprint,
            },
            "control": control,
            "vddk": str(self.house.vddk),
            "state": str(self.root / "appliance"),
            "transfer": {"in_flight": WINDOW, "compression": "none"},
        }
        return "connector.appliance", ["--exit-with-stdin"], configuration

    # ------------------------------------------------------------------ jobs

    def begin(self, name: str, *, run_once: bool = True, reader: str = READER) -> str:
        """A job for the machine, in Ready."""
        source = next(found for found in self.jobs.sources() if found["name"] == MACHINE)
        made = self.jobs.create(
            source["id"], name, run_once=run_once, image_name=name, image_format="raw", reader=reader
        )
        return str(made["id"])

    def again(self, job: str) -> dict[str, Any]:
        """Start it until it does not fail any more: what was broken has been mended, but perhaps not noticed yet."""
        for _ in range(3):
            _patiently(lambda: self.jobs.start(job) or {}, 30.0)
            found = self.rest(job)
            if found["status"] in DONE:
                break
        return found

    def end(self, job: str) -> None:
        """The job is deleted, and nothing intermediate is left."""
        self.jobs.delete(job)
        deadline = time.monotonic() + PATIENCE
        while list(self.small["target"].glob("instances/*")):
            assert time.monotonic() < deadline, "the instance is still there"
            time.sleep(0.05)
        self.drop_images()

    def drop_images(self) -> None:
        """Make room: somebody has used them."""
        for image in self.images():
            shutil.rmtree(self.small["target"] / "images" / image)

    def no_snapshot(self, seconds: float = PATIENCE) -> None:
        """No snapshot of ours is left, at the latest once appliances have cleaned up."""
        deadline = time.monotonic() + seconds
        while any(MACHINE in vm.name and vm.snapshots for vm in self.house.estate.inventory.vms.values()):
            assert time.monotonic() < deadline, self.house.snapshots()
            time.sleep(0.05)

    def images(self) -> set[str]:
        folder = self.small["target"] / "images"
        return {path.name for path in folder.iterdir() if path.is_dir()}

    # ------------------------------------------------------------------ what can be seen

    def job(self, job: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The job as the control plane shows it, once it answers again."""
        return _patiently(lambda: self.jobs.job(job), seconds)

    def readings(self, job: str) -> list[Pass]:
        """Its passes as they are written down, with what each appliance reported of its disks last."""
        store = Store(f"sqlite:///{self.small['control'] / 'state' / 'control.sqlite'}")
        found = store.passes.of(job)
        store.close()
        return found

    def rest(self, job: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The job, once it moves no more."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = _patiently(lambda: self.jobs.status(job), 60.0)
            if found["status"] in RESTING:
                return self.job(job)
            time.sleep(0.1)
        raise AssertionError(f"never rests: {self.job(job)}")

    def image(self, name: str) -> dict[int, str]:
        folder = self.small["target"] / "images" / name
        return {int(file.stem): digest(file.read_bytes()) for file in folder.glob("*.raw")}

    def disk_files(self) -> list[Path]:
        return sorted(self.small["target"].glob("instances/*/data/disks/*/disk.raw"))

    def log(self) -> str:
        """The end of what the processes said."""
        return "\n".join((self.root / f"{name}.log").read_text()[-3000:] for name in ("control", "appliance"))

    def foreign(self) -> dict[str, Any]:
        """What of vCenter is not ours to change."""
        return {
            vm.name: (vm.name, vm.power_state, [(s.moref, s.name, s.description) for s in vm.snapshots])
            for vm in self.house.estate.inventory.vms.values()
            if vm.name != MACHINE
        }


@contextmanager
def works(
    root: Path, number: int, disks: tuple[tuple[int, int], ...] = DISKS, *, scratch: bool = False
) -> Iterator[Works]:
    """A whole installation below `root`; `number` tells those of several test processes apart.

    `disks` are (capacity, bytes of data) of the machine; `scratch`: a `Workload` may write anywhere on them.
    """
    shapes = (Shape(MACHINE, disks, scratch=scratch), Shape(BYSTANDER, ((MIB, MIB // 2),)))
    with ExitStack() as stack:
        made = stack.enter_context(house(root, shapes))
        bystander = made.machine(BYSTANDER)
        made.estate.snapshots.create(
            bystander.moref, "before-upgrade", "connector: not ours, a backup of the night"
        )
        target = root / "target"
        relay = Relay(f"127.55.{number % 250}.{1 + os.getpid() % 250}", lambda: target.read_text())
        stack.callback(relay.close)
        small = {
            "target": stack.enter_context(_small(root / "images", 160)),
            "control": stack.enter_context(_small(root / "control", 48)),
        }
        whole = Works(made, root, relay, small)
        stack.callback(whole.stop)
        whole.start()
        yield whole


@contextmanager
def _small(place: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of its own, so that filling it hurts nobody else; a plain directory where mounting is not allowed."""
    place.mkdir()
    order = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(order, capture_output=True, check=False).returncode == 0
    try:
        yield place
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def can_fill(place: Path) -> bool:
    return os.path.ismount(place)


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """No byte is free there until the block ends."""
    ballast = place / ".ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _patiently(ask: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except ConnectorError as failed:
            if not failed.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _resume(one: psutil.Process) -> None:
    with suppress(psutil.Error):
        one.resume()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
