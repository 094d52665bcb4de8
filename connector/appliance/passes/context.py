"""All passes of an appliance share one context: vCenter, ledger, settings, machine locks."""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.cleanup.machine_lock import MachineLocks
from connector.appliance.inventory import KnownTarget
from connector.appliance.passes.evidence import EvidenceWriter
from connector.appliance.snapshot_care.governor import Thresholds
from connector.settings import TransferSettings
from connector.sources.factory import Readers
from connector.transfer.flow import Throttle
from connector.vcenter.client import VCenter


@dataclass(frozen=True, slots=True)
class PassContext:
    """Shared by all passes. Thread-safe."""

    vcenter: VCenter
    ledger: ControlLedger
    readers: Readers
    transfer: TransferSettings
    link: Throttle | None = None  # the rate limit that all passes of this appliance share
    evidence_writer: EvidenceWriter | None = None  # without one, passes leave no evidence
    governor: Thresholds = field(default_factory=Thresholds)
    backup_wait: float = 3600.0
    locks: MachineLocks = field(default_factory=MachineLocks)
    target: KnownTarget = field(default_factory=KnownTarget)
