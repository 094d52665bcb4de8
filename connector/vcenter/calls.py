"""The connector calls vCenter only by the names in this table. A call that is not in it does not leave the process.

That is how "no guest operation is ever called" holds: guest managers have no row here.
"""

from __future__ import annotations

from enum import Enum


class Care(Enum):
    """What the transport may do by itself when a call fails because the session or the connection is gone."""

    OPEN = "works without a session; never answered by logging in"
    READ = "asking twice is harmless: repeated after a new login and after a broken connection"
    ACT = "changes something: repeated after a new login (it was refused), never after a broken connection"
    BOUND = "refers to an object that dies with its session: log in, then tell the caller to start over"


CALLS: dict[str, Care] = {
    "RetrieveServiceContent": Care.OPEN,
    "Login": Care.OPEN,
    "Logout": Care.OPEN,
    "CurrentTime": Care.READ,
    "CreateContainerView": Care.READ,
    "DestroyView": Care.BOUND,
    "RetrievePropertiesEx": Care.READ,
    "ContinueRetrievePropertiesEx": Care.BOUND,
    "CancelRetrievePropertiesEx": Care.BOUND,
    "CreatePropertyCollector": Care.READ,
    "CreateFilter": Care.BOUND,
    "WaitForUpdatesEx": Care.BOUND,
    "CancelWaitForUpdates": Care.BOUND,
    "DestroyPropertyCollector": Care.BOUND,
    "HasPrivilegeOnEntities": Care.READ,
    "QueryChangedDiskAreas": Care.READ,
    "RetrieveInternalContent": Care.READ,
    "NfcGetVmFiles": Care.READ,
    "AcquireGenericServiceTicket": Care.READ,
    "RefreshDatastore": Care.READ,
    "RefreshStorageInfo": Care.READ,
    "ReconfigVM_Task": Care.ACT,
    "CreateSnapshot_Task": Care.ACT,
    "RemoveSnapshot_Task": Care.ACT,
    "ConsolidateVMDisks_Task": Care.ACT,
    "PowerOnVM_Task": Care.ACT,
    "PowerOffVM_Task": Care.ACT,
    "ShutdownGuest": Care.ACT,
    "CancelTask": Care.ACT,
}
