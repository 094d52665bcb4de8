"""The public API has 24 operations of the service and extensions of ours, behind one dispatcher, authenticator and endpoint."""

from __future__ import annotations

from connector.control.service.jobs import JobService
from connector.control.smc.applications import ApplicationOperations
from connector.control.smc.authenticator import Authenticator
from connector.control.smc.control_plane import ControlPlaneOperations
from connector.control.smc.dispatcher import OperationDispatcher
from connector.control.smc.drills import DrillOperations
from connector.control.smc.endpoint import ApiEndpoint
from connector.control.smc.enrolment import AuthorityOperations, TokenOperations
from connector.control.smc.extensions import ExtensionOperations
from connector.control.smc.former_disks import FormerDiskOperations
from connector.control.smc.jobs import JobOperations
from connector.control.smc.operations import Operation
from connector.control.smc.sources import SourceOperations
from connector.control.smc.tags import TagOperations
from connector.control.smc.workgroups import WorkgroupOperations
from connector.control.state.access_keys import AccessKeys


def operations(service: JobService) -> tuple[Operation, ...]:
    """All operations, in the order of the documentation."""
    return (
        *SourceOperations(service).table(),
        *JobOperations(service).table(),
        *TokenOperations(service).table(),
        *WorkgroupOperations(service.store).table(),
        *TagOperations(service.store).table(),
        *ExtensionOperations(service).table(),
        *DrillOperations(service).table(),
        *FormerDiskOperations(service).table(),
        *ApplicationOperations(service).table(),
        *AuthorityOperations(service).table(),
        *ControlPlaneOperations(service).table(),
    )


def dispatcher(service: JobService) -> OperationDispatcher:
    """The dispatcher of all operations over this service. Every change is in its audit log."""
    return OperationDispatcher(operations(service), service.store.audit, service.store.scope)


def endpoint(dispatcher: OperationDispatcher, keys: AccessKeys) -> ApiEndpoint:
    """The public API over these operations."""
    return ApiEndpoint(dispatcher, Authenticator(keys))
