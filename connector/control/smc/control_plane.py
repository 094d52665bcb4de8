"""The operations on the control plane's own state show how far it is, and confirm a restore."""

from __future__ import annotations

from typing import Final

from connector import __version__
from connector.control.domain.access import Role
from connector.control.service.jobs import JobService
from connector.control.smc.catalogue import Denied
from connector.control.smc.operations import Answer, Caller, Field, Operation
from connector.control.smc.parameters import Values
from connector.control.smc.shapes import moment
from connector.control.state.epoch import confirm
from connector.control.store.write_count import WritePosition
from connector.specification.value import Flag, Parameter

_CONFIRM: Final = (
    Parameter(
        "KeepCredentials",
        Flag(),
        meaning="true: nothing was revoked since the backup, so nothing needs approval again; default false",
    ),
)
_ANSWER: Final = (
    Field("Version", "string", "of the control plane"),
    Field("Epoch", "string", "a new epoch begins with each confirmed restore"),
    Field("EpochNumber", "integer", "of the epoch, from 1"),
    Field("EpochTime", "string", "when it began"),
    Field("Writes", "integer", "number of writes that had consequences"),
    Field("Restored", "string", "how the restore was noticed; nothing begins until it is confirmed; empty: not restored"),
    Field("RestoredTime", "string", "when it was noticed; empty: it was not"),
)  # fmt: skip


class ControlPlaneOperations:
    """What `connector control status` and `connector control confirm` do, for callers on other machines."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation(
                "DescribeControlPlane",
                (),
                Role.READER,
                self._describe,
                "how far the control plane's state is, and whether it was restored and waits for a confirmation",
                answers=_ANSWER,
            ),
            Operation(
                "ConfirmRestore",
                _CONFIRM,
                Role.ADMIN,
                self._confirm,
                "confirm a restore of the control plane's state, so that work goes on; only with the owner's key",
                "Epoch",
                answers=_ANSWER,
            ),
        )

    def _describe(self, _caller: Caller, _values: Values) -> Answer:
        return _shown(self._store.epochs.current())

    def _confirm(self, caller: Caller, values: Values) -> Answer:
        if (
            not caller.key.of_directory
        ):  # a key that was revoked since the backup is valid in the restored database
            raise Denied(
                "Forbidden.Unauthorized",
                f"The access key {caller.key.id} is from the restored database.",
                "use the owner's key of the state directory, or: connector control confirm --state DIR",
            )
        position = confirm(self._store, keep_credentials=values.get("KeepCredentials", False))
        self._service.poke()
        return _shown(position)


def _shown(point: WritePosition) -> Answer:
    return {
        "Version": __version__,
        "Epoch": point.epoch,
        "EpochNumber": point.number,
        "EpochTime": moment(point.began),
        "Writes": point.sequence,
        "Restored": point.restored,
        "RestoredTime": moment(point.restored_at) if point.restored else "",
    }
