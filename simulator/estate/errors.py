"""Faults of the estate, named as vSphere names them, so that a SOAP server can pass them on.

EstateFault
  NotFound            the object or disk does not exist
  InvalidArgument     a value is wrong; `argument` names the property
  InvalidState        the operation does not fit the machine's state
  InvalidPowerState   ... its power state
  TaskInProgress      another operation is running on the machine
  ToolsUnavailable    the guest's tools do not run
  FileFault           a file cannot be used; `file` names it
  NoDiskSpace         the datastore is full; `datastore` names it
  SnapshotFault       a snapshot cannot be made
  NotSupported        never possible for this object
"""


class EstateFault(Exception):
    """One vSphere fault; `name` is its type name and `details` its properties."""

    name = "SystemError"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details


class NotFound(EstateFault):
    name = "ManagedObjectNotFound"


class InvalidArgument(EstateFault):
    """`details["invalidProperty"]` names the argument."""

    name = "InvalidArgument"

    def __init__(self, argument: str, message: str = "") -> None:
        super().__init__(
            message or f"A specified parameter was not correct: {argument}", invalidProperty=argument
        )


class InvalidState(EstateFault):
    name = "InvalidState"


class InvalidPowerState(InvalidState):
    name = "InvalidPowerState"


class TaskInProgress(EstateFault):
    name = "TaskInProgress"


class ToolsUnavailable(EstateFault):
    name = "ToolsUnavailable"


class FileFault(EstateFault):
    """`details["file"]` names the file."""

    name = "FileFault"

    def __init__(self, file: str, message: str = "") -> None:
        super().__init__(message or f"Error caused by file {file}", file=file)


class NoDiskSpace(EstateFault):
    """`details["file"]` and `details["datastore"]` say where."""

    name = "NoDiskSpace"


class SnapshotFault(EstateFault):
    name = "SnapshotFault"


class NotSupported(EstateFault):
    name = "NotSupported"
