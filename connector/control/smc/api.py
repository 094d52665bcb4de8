"""The public API put together: its 24 operations, and extensions of ours, at one desk, behind one gate and one door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.control.keys import Keys
from connector.control.service import Service
from connector.control.smc.applications import ApplicationOperations
from connector.control.smc.authority import AuthorityOperations
from connector.control.smc.desk import Desk
from connector.control.smc.door import Door
from connector.control.smc.extensions import ExtensionOperations
from connector.control.smc.gate import Gate
from connector.control.smc.jobs import JobOperations
from connector.control.smc.operations import Operation
from connector.control.smc.sources import SourceOperations
from connector.control.smc.state import StateOperations
from connector.control.smc.tags import TagOperations
from connector.control.smc.tokens import TokenOperations
from connector.control.smc.workgroups import WorkgroupOperations


def operations(service: Service) -> tuple[Operation, ...]:
    """All operations, in the order of the documentation."""
    return (
        *SourceOperations(service).table(),
        *JobOperations(service).table(),
        *TokenOperations(service).table(),
        *WorkgroupOperations(service.store).table(),
        *TagOperations(service.store).table(),
        *ExtensionOperations(service).table(),
        *ApplicationOperations(service).table(),
        *AuthorityOperations(service).table(),
        *StateOperations(service).table(),
    )


def desk(service: Service) -> Desk:
    """All operations over this service; every change is in its audit log."""

    def audit(who: str, origin: str, action: str, subject: str, values: Mapping[str, Any]) -> None:
        service.store.audit.add(who, origin, action, subject[:400], dict(values))

    return Desk(operations(service), audit, service.store.scope)


def door(open_desk: Desk, keys: Keys) -> Door:
    """The public API over these operations."""
    return Door(open_desk, Gate(keys))
