"""A snapshot is recorded at the control plane before it is taken, so that it can be found after a crash.

Without the control plane nothing is created in vCenter: when the record fails, the pass ends.
"""

from __future__ import annotations

import threading
from typing import Protocol

from connector.errors import Conflict, NotFound
from connector.patience import Patience
from connector.vcenter.client import SNAPSHOT


class Recorder(Protocol):
    def record(
        self,
        pass_id: str,
        token: str,
        kind: str,
        moref: str | None,
        *,
        removed: bool = False,
        trouble: str = "",
    ) -> None: ...

    def shutting_down(self, pass_id: str) -> None: ...


class ControlLedger:
    """The `SnapshotLedger` of an appliance. Thread-safe; calls go through one connection, one at a time."""

    def __init__(self, recorder: Recorder, patience: Patience | None = None) -> None:
        self._recorder = recorder
        self._patience = patience or Patience(0.0)
        self._lock = threading.Lock()
        self._passes: dict[str, str] = {}  # machine -> the pass that works on it

    def attach(self, machine: str, pass_id: str) -> None:
        """Record what happens on `machine` under `pass_id` from now on."""
        with self._lock:
            self._passes[machine] = pass_id

    def planned(self, machine: str, token: str, kind: str = SNAPSHOT) -> None:
        self._record(machine, token, None, kind=kind)

    def created(self, machine: str, token: str, snapshot: str) -> None:
        self._record(machine, token, snapshot)

    def going_down(self, machine: str) -> None:
        """Record that the pass will shut the machine down; durable when this returns. Raises the control plane's refusal."""

        def tell() -> None:
            with self._lock:
                self._recorder.shutting_down(self._passes[machine])

        self._patience.outlast(tell)

    def removed(self, machine: str, token: str, kind: str = SNAPSHOT) -> None:
        """Record a removal. A refused record is ignored: the snapshot is gone even if the pass is no longer ours."""
        try:
            self._record(machine, token, None, kind=kind, removed=True)
        except (KeyError, NotFound, Conflict):  # a repair has no pass, and uses its own register
            return

    def left(self, machine: str, token: str, why: str) -> None:
        """Record a failed removal. A refused record is ignored here too."""
        try:
            self._record(machine, token, None, trouble=why)
        except (KeyError, NotFound, Conflict):
            return

    def _record(
        self,
        machine: str,
        token: str,
        moref: str | None,
        *,
        kind: str = SNAPSHOT,
        removed: bool = False,
        trouble: str = "",
    ) -> None:
        def record() -> None:
            with self._lock:
                pass_id = self._passes[machine]
                self._recorder.record(pass_id, token, kind, moref, removed=removed, trouble=trouble)

        self._patience.outlast(record)
