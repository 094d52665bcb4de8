"""Reads the control plane's register of tracked resources in one vCenter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

from connector.appliance.cleanup.repair import InterruptedCutover, RegisteredResource
from connector.errors import ControlFailed


class RegisterClient(Protocol):
    def remembered(self) -> dict[str, Any]: ...

    def removed(self, token: str) -> None: ...

    def resists(self, token: str, trouble: str) -> None: ...

    def close(self) -> None: ...


class ControlRegister:
    """See `repair.ResourceRegister`. It makes a connection for each call."""

    def __init__(self, connect: Callable[[], RegisterClient]) -> None:
        self._connect = connect

    def remembered(self) -> Sequence[RegisteredResource]:
        with closing(self._connect()) as control:
            return read(control.remembered())

    def running_machines(self) -> frozenset[str]:
        with closing(self._connect()) as control:
            return frozenset(str(moref) for moref in control.remembered()["reading"])

    def interrupted(self) -> Sequence[InterruptedCutover]:
        with closing(self._connect()) as control:
            return read_interrupted(control.remembered())

    def removed(self, token: str) -> None:
        with closing(self._connect()) as control:
            control.removed(token)

    def resists(self, token: str, trouble: str) -> None:
        with closing(self._connect()) as control:
            control.resists(token, trouble)


def read(answer: Mapping[str, Any]) -> tuple[RegisteredResource, ...]:
    """The resources in an answer. Raises ControlFailed when a field is missing."""
    try:
        return tuple(
            RegisteredResource(
                str(resource["token"]),
                str(resource["kind"]),
                str(resource["machine"]),
                str(resource["instance_uuid"]),
                str(resource["name"]),
                bool(resource["busy"]),
                bool(resource["over"]),
            )
            for resource in answer["things"]
        )
    except (KeyError, TypeError) as broken:
        raise _unreadable(broken) from None


def read_interrupted(answer: Mapping[str, Any]) -> tuple[InterruptedCutover, ...]:
    """The same for cutovers that nothing carries on; an older control plane does not tell them."""
    try:
        return tuple(
            InterruptedCutover(
                str(cutover["machine"]),
                str(cutover["instance_uuid"]),
                str(cutover["name"]),
                float(cutover["since"]),
                f"connector job start {cutover['job']} --watch" if cutover["resumable"] else "",
                f"connector job rollback {cutover['job']} --watch",
            )
            for cutover in answer.get("down", ())
            if not cutover["busy"]
        )
    except (KeyError, TypeError, ValueError) as broken:
        raise _unreadable(broken) from None


def _unreadable(broken: Exception) -> ControlFailed:
    return ControlFailed(
        f"its list of tracked resources cannot be read: {broken!r}",
        on="control plane",
        remedy="use an appliance and a control plane of the same version",
    )
