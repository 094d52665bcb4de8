"""Passes as an appliance carries them out, without a control plane: a real vCenter session, VDDK workers, an instance.

The vCenter is simulated in this process, so a test reaches the true bytes; everything in between is real.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.passes.context import PassContext
from connector.appliance.passes.dispatch import carry
from connector.appliance.passes.evidence import EvidenceWriter
from connector.appliance.passes.order import Order, OrderResource, PassControl
from connector.appliance.progress import PassProgress
from connector.cancellation import Cancellation
from connector.settings import TransferSettings, VCenterSettings
from connector.sources.factory import ReaderSettings, readers
from connector.transfer import evidence
from connector.transfer.evidence import Signer
from connector.transfer.lineage import Lineage
from connector.vcenter.client import VCenter
from tests.integration.house import USER, House, Shape, house
from tests.integration.witness import digest
from tests.transfer.conftest import Instance, Job

MIB = 1 << 20
CELL = 1 << 16
DISKS = ((8 * MIB, 4 * MIB), (2 * MIB + 1536, MIB))


class Recorder:
    """The control plane's memory of what was made in vCenter."""

    def __init__(self) -> None:
        self.objects: dict[str, OrderResource] = {}

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
        self.objects[token] = OrderResource(token, kind, moref, removed)

    def shutting_down(self, pass_id: str) -> None:
        """What a cutover says first."""


@dataclass
class Bench:
    """One machine, web-01, and its target. `evidence` has the manifests of its passes, `result` is that of the last."""

    house: House
    instance: Instance
    job: Job
    work: PassContext
    recorder: Recorder
    evidence: dict[str, bytes]
    result: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    handed_out: list[str] = field(default_factory=list)

    def order(self, **changes: Any) -> Order:
        """The next order of this machine's job."""
        self.number += 1
        vm = self.house.machine()
        made = Order(
            pass_id=f"p-{self.number}",
            job_id="j-1",
            moref=vm.moref,
            instance_uuid=vm.instance_uuid,
            name=vm.name,
            final=False,
            instance=self.instance.address,
            credential=self.job.appliance,
            objects=tuple(self.recorder.objects.values()),
            shutdown_deadline=20.0,
            allow_power_off=True,
            lineage=ends(self.evidence, self.handed_out),
        )
        made = replace(made, **changes)
        self.handed_out.append(made.pass_id)
        return made

    def run(
        self,
        order: Order | None = None,
        stop: Cancellation | None = None,
        board: PassProgress | None = None,
    ) -> dict[int, dict[str, Any]]:
        """Carry out a pass; the rows of its disks by key."""
        made = order or self.order()
        pass_control = PassControl()
        pass_control.stop = stop or pass_control.stop
        self.result = dict(carry(self.work, made, board or PassProgress(), pass_control))
        return {row["key"]: row for row in self.result["disks"]}

    def target(self, key: int) -> Path:
        return self.instance.disk(str(key))

    def equal(self, truth: Mapping[int, bytes] | None = None) -> None:
        """Every target disk is its source, byte for byte, and no snapshot of ours is left."""
        content = truth or self.house.content()
        assert {key: digest(self.target(key).read_bytes()) for key in content} == {
            key: digest(data) for key, data in content.items()
        }
        assert not self.house.snapshots()

    def flip(self, key: int, at: int, *, name: str = "disk.raw") -> None:
        """One bit of the target (or of the file of that name beside it) rots."""
        path = self.target(key).with_name(name)
        with path.open("r+b") as file:
            file.seek(at)
            (was,) = file.read(1)
            file.seek(at)
            file.write(bytes([was ^ 1]))

    def settings(self, **changes: Any) -> None:
        """Change how passes move bytes."""
        self.work = replace(self.work, transfer=self.work.transfer.model_copy(update=changes))


def ends(kept: Mapping[str, bytes], handed_out: Sequence[str]) -> Lineage:
    """What a control plane with this evidence says of a job that got passes of these ids."""
    if not kept:
        return Lineage(readings=frozenset(handed_out))
    newest = next(reversed(kept))
    since = handed_out[handed_out.index(newest) + 1 :] if newest in handed_out else handed_out
    return Lineage(
        evidence.heads(evidence.read(kept[newest])),
        {"id": newest, "digest": evidence.digest(kept[newest])},
        frozenset(since),
    )


@contextmanager
def context(
    home: Path, job: Job, *shapes: Shape, transfer: TransferSettings | None = None
) -> Iterator[Bench]:
    """web-01 with CBT on and running, and an empty instance."""
    with ExitStack() as stack:
        made = stack.enter_context(house(home, shapes or (Shape("web-01", DISKS, on=False),)))
        vm = made.machine()
        made.estate.hardware.set_change_tracking(vm.moref, True)
        if not is_on(made):
            made.estate.power.on(vm.moref)
        recorder = Recorder()
        ledger = ControlLedger(recorder)
        access = VCenterSettings(
            url=made.server.url,
            user=USER,
            password=SecretStr(made.password),
            thumbprint=made.server.thumbprint_sha256,
        )
        vcenter = stack.enter_context(VCenter(access, owner="c0123456789abcdef", ledger=ledger))
        instance = Instance(home / "instance", job)
        stack.callback(instance.stop)
        kept: dict[str, bytes] = {}
        evidence_writer = EvidenceWriter(Signer.load(home / "key.pem"), {"vddk": "8.0.3"}, kept.__setitem__)
        work = PassContext(
            vcenter,
            ledger,
            readers(ReaderSettings(made.vddk)),
            transfer or TransferSettings(),
            None,
            evidence_writer,
        )
        yield Bench(made, instance, job, work, recorder, kept)


def is_on(made: House) -> bool:
    return made.machine().power_state == "poweredOn"
