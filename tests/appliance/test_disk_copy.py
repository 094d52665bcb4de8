"""A disk that an earlier attempt has delivered needs nothing of vCenter any more: only its proof."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from connector.appliance.passes.disk import DiskCopy
from connector.appliance.passes.order import order_from_json
from connector.appliance.progress import DiskProgress, PassProgress
from connector.appliance.snapshot_care.governor import Thresholds
from connector.appliance.snapshot_care.guard import Guard
from connector.errors import ReaderFailed
from connector.model import MachineDisk
from connector.settings import TransferSettings
from connector.sources.factory import ReaderSettings, readers
from connector.transfer.disk_pass import copy_disk
from connector.transfer.flow import Flow
from connector.transfer.source import FileSource
from connector.vcenter.client import Snapshot
from tests.appliance.test_agent import order
from tests.instance.test_pass import damage
from tests.instance.test_pass import order as disk_pass
from tests.transfer.conftest import Instance


class Nothing:
    """A workbench whose vCenter cannot be read from any more."""

    transfer = TransferSettings()
    readers = readers(ReaderSettings())

    @property
    def vcenter(self) -> Nothing:
        return self

    def disk_access(self, *_: object) -> None:
        raise ReaderFailed("nobody reads here")


def carry(instance: Instance, disk: Path, flow: Flow) -> dict[str, Any]:
    size = disk.stat().st_size
    seen = MachineDisk(
        2000, "Hard disk 1", size, "[ds] a.vmdk", "ds", "FlatVer2", "persistent", change_id="id/1"
    )
    board = PassProgress()
    board.add(DiskProgress(2000, "Hard disk 1", size))
    snapshot = Snapshot("vm-1", "snapshot-1", "snapshot-1", (seen,))
    job = order_from_json(order(1))
    return DiskCopy(
        cast(Any, Nothing()),
        instance.endpoint,
        job,
        snapshot,
        seen,
        "pass-1",
        board,
        flow,
        threading.Event(),
        Guard(cast(Any, None), Thresholds(), board, running=False, disks=0),
    ).run()


def test_the_checksum_of_a_job_decides_whether_an_earlier_proof_counts(
    instance: Instance, disk: Path
) -> None:
    copy_disk(FileSource(disk), instance.endpoint, disk_pass(disk), prove=True)
    replication_of = [False]
    flow = Flow(reread=lambda: replication_of[0])
    first = carry(instance, disk, flow)
    damage(instance.disk("2000"))
    assert carry(instance, disk, flow)["digest"] == first["digest"] != ""
    replication_of[0] = True
    with pytest.raises(ReaderFailed, match="nobody reads here"):  # it wants to read again what is wrong
        carry(instance, disk, flow)
    assert instance.endpoint.disk("2000")["spoiled"]
