"""What every pass of an appliance uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from connector.appliance.attest import Notary
from connector.appliance.claims import Claims
from connector.appliance.governor import Thresholds
from connector.appliance.ledger import ControlLedger
from connector.settings import TransferSettings
from connector.transfer.flow import Throttle
from connector.vcenter.client import VCenter


@dataclass(frozen=True, slots=True)
class Workbench:
    """Shared by all passes. Thread-safe."""

    vcenter: VCenter
    ledger: ControlLedger
    vddk: Path
    transports: str
    transfer: TransferSettings
    line: Throttle | None = None  # what all passes of this appliance share
    notary: Notary | None = None  # without one, passes leave no evidence
    governor: Thresholds = field(default_factory=Thresholds)
    backup_wait: float = 3600.0
    claims: Claims = field(default_factory=Claims)
