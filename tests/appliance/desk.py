"""An appliance's passes without its processes: the real vCenter room, VDDK worker and instance; only the orders are ours."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.passes.context import PassContext
from connector.appliance.passes.dispatch import carry
from connector.appliance.passes.evidence import EvidenceWriter
from connector.appliance.passes.order import Order, OrderResource, PassControl
from connector.appliance.progress import PassProgress
from connector.appliance.snapshot_care.governor import Thresholds
from connector.cancellation import Cancellation
from connector.settings import TransferSettings
from connector.sources.factory import ReaderSettings, readers
from connector.transfer.evidence import Signer
from connector.vcenter.client import VCenter
from simulator.estate.estate import Estate
from simulator.vixdisklib import install
from tests.appliance.context import ends
from tests.transfer.conftest import Instance, Job
from tests.vcenter.imaginary import MIB, World, world

OWNER = "c0123456789abcdef"
KEYS = (2000, 2001)  # of the two disks of each machine, 4 and 8 MiB


@dataclass
class Record:
    """A control plane's memory of what was made in vCenter: token -> (pass, kind, moref, removed, trouble)."""

    resources: dict[str, tuple[str, str, str | None, bool, str]] = field(default_factory=dict)
    shutdowns: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record(
        self,
        pass_id: str,
        token: str,
        kind: str,
        moref: str | None,
        *,
        removed: bool = False,
        trouble: str = "",
    ) -> None:
        with self.lock:
            before = self.resources.get(token, (pass_id, kind, None, False, ""))
            gone = removed or before[3]
            self.resources[token] = (
                pass_id,
                kind,
                moref or before[2],
                gone,
                "" if gone else trouble or before[4],
            )

    def shutting_down(self, pass_id: str) -> None:
        with self.lock:
            self.shutdowns.append(pass_id)

    def objects(self) -> tuple[OrderResource, ...]:
        with self.lock:
            return tuple(
                OrderResource(token, kind, moref, removed)
                for token, (_, kind, moref, removed, _trouble) in self.resources.items()
            )


@dataclass
class Board(PassProgress):
    """Remembers every phase, and lets a test act when one begins or when bytes are durable."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[str] = []
        self.acts: list[tuple[Callable[[str, int], bool], Callable[[], None]]] = []
        self._acting = threading.Lock()

    def when(self, wanted: Callable[[str, int], bool], act: Callable[[], None]) -> None:
        """Run `act` once, on the pass's own thread, as soon as `wanted(phase, durable bytes)`."""
        self.acts.append((wanted, act))

    def enter(self, phase: str) -> None:
        super().enter(phase)
        self.phases.append(phase)
        self._act()

    def update(self, key: int, **changes: object) -> None:
        super().update(key, **changes)
        self._act()

    def _act(self) -> None:
        phase, disks = self.read()
        durable = sum(int(str(disk["done"])) for disk in disks)
        with self._acting:
            due = [entry for entry in self.acts if entry[0](phase, durable)]
            self.acts = [entry for entry in self.acts if entry not in due]
        for _, act in due:
            act()


def copied(share: float) -> Callable[[str, int], bool]:
    """Once so much of 12 MiB is durable."""
    return lambda _, durable: durable >= share * 12 * MIB


@dataclass
class Bench:
    """One vCenter with written disks, one instance, and a place to carry out orders."""

    world: World
    instance: Instance
    job: Job
    vddk: Path
    vcenter: VCenter
    record: Record
    workbench: PassContext
    evidence: dict[str, bytes]
    handed_out: list[str] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(5))

    @property
    def estate(self) -> Estate:
        return self.world.estate

    @property
    def vm(self) -> str:
        return self.world.vm

    def order(self, number: int, **changes: Any) -> Order:
        """An order about the first machine; `attempts` are those of the same pass."""
        made = Order(
            pass_id=f"p-{number}",
            job_id="j",
            moref=self.vm,
            instance_uuid=self.estate.inventory.vm(self.vm).instance_uuid,
            name="web-01",
            final=False,
            instance=self.instance.address,
            credential=self.job.appliance,
            objects=self.record.objects(),
            attempts=(),
            shutdown_deadline=20.0,
            allow_power_off=False,
            lineage=ends(self.evidence, self.handed_out),
        )
        made = replace(made, **changes)
        self.handed_out.append(made.pass_id)
        return made

    def carry(
        self, order: Order, board: Board | None = None, stop: Cancellation | None = None
    ) -> dict[str, Any]:
        pass_control = PassControl(order.replication)
        pass_control.stop = stop or pass_control.stop
        return dict(carry(self.workbench, order, board or Board(), pass_control))

    def governed(self, **thresholds: Any) -> None:
        """From now on these thresholds hold."""
        self.workbench = replace(self.workbench, governor=Thresholds.model_validate(thresholds))

    def reader(self, **switches: object) -> None:
        """Replace the VDDK's configuration; workers that start from now on follow it."""
        install(self.vddk, self.estate.export.root, **switches)

    def write(self, count: int = 6, size: int = 65536) -> None:
        """The guest writes at random places of every disk."""
        for disk in self.estate.inventory.vm(self.vm).disks:
            for _ in range(count):
                at = self._random.randrange((disk.capacity - size) // 512) * 512
                self.estate.power.write(self.vm, disk.key, at, self._random.randbytes(size))

    def equal(self) -> bool:
        """Whether the instance's disks are the machine's, now."""
        disks = self.estate.inventory.vm(self.vm).disks
        return all(
            self.estate.storage.disk(disk.storage).read(0, disk.capacity)
            == self.instance.disk(str(disk.key)).read_bytes()
            for disk in disks
        )


@contextmanager
def context(root: Path, instance: Instance, job: Job, **place: Any) -> Iterator[Bench]:
    """The first machine's disks are full of data; `place` goes to `world`."""
    with world(**place) as made:
        source = random.Random(3)
        for disk in made.estate.inventory.vm(made.vm).disks:
            made.estate.storage.disk(disk.storage).write(0, source.randbytes(disk.capacity))
        vddk = root / "vddk"
        install(vddk, made.estate.export.root)
        record = Record()
        ledger = ControlLedger(record)
        with VCenter(made.settings(), owner=OWNER, ledger=ledger) as vcenter:
            settings = TransferSettings(depth=4, in_flight=2 * MIB, compression="none")
            kept: dict[str, bytes] = {}
            evidence_writer = EvidenceWriter(
                Signer.load(root / "key.pem"), {"vddk": "8.0.3"}, kept.__setitem__
            )
            workbench = PassContext(
                vcenter, ledger, readers(ReaderSettings(vddk)), settings, None, evidence_writer
            )
            yield Bench(made, instance, job, vddk, vcenter, record, workbench, kept)
