"""Stands inside the simulated vCenter: sees every call before it acts, and keeps what each snapshot showed before it went."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from blake3 import blake3

from simulator.faults import Faults, Rule

if TYPE_CHECKING:
    from simulator.estate.estate import Estate

OURS = "connector:"
STUN = ":cbt-"


@dataclass(frozen=True, slots=True)
class Shown:
    """A snapshot of ours at its removal: BLAKE3 of each disk, by device key."""

    machine: str
    token: str
    digests: Mapping[int, str]


@dataclass(slots=True)
class _Hook:
    call: str
    skip: int
    do: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)


class Witness(Faults):
    """Fault rules that also watch. `calls` has (call, object) in order; `shown` the snapshots of passes, oldest first."""

    def __init__(self) -> None:
        self._watch = threading.Lock()
        self._hooks: list[_Hook] = []
        self.estate: Estate | None = None
        self.calls: list[tuple[str, str]] = []
        self.shown: list[Shown] = []
        super().__init__()

    def when(self, call: str, do: Callable[[], None], *, skip: int = 0) -> threading.Event:
        """Run `do` once, before the next matching call acts; the event is set when it has run."""
        hook = _Hook(call, skip, do)
        with self._watch:
            self._hooks.append(hook)
        return hook.done

    def forget(self) -> None:
        """What `when` asked for and has not happened is asked for no more."""
        with self._watch:
            self._hooks.clear()

    def consult(self, call: str, target: str = "") -> Rule | None:
        with self._watch:
            self.calls.append((call, target))
            due = next((hook for hook in self._hooks if fnmatchcase(call, hook.call)), None)
            if due is not None and due.skip:
                due.skip -= 1
                due = None
            if due is not None:
                self._hooks.remove(due)
        if call == "RemoveSnapshot_Task":
            self._look(target)
        if due is not None:
            due.do()
            due.done.set()
        return super().consult(call, target)

    def count(self, call: str) -> int:
        with self._watch:
            return sum(1 for seen, _ in self.calls if seen == call)

    def _look(self, snapshot: str) -> None:
        estate = self.estate
        if estate is None:
            return
        for vm in estate.inventory.vms.values():
            for shot in vm.snapshots:
                if (
                    shot.moref == snapshot
                    and shot.description.startswith(OURS)
                    and STUN not in shot.description
                ):
                    digests = {
                        disk.key: digest(estate.storage.disk(disk.storage).read(0, disk.capacity, snapshot))
                        for disk in shot.disks
                    }
                    with self._watch:
                        self.shown.append(Shown(vm.name, shot.description, digests))


def digest(data: bytes) -> str:
    return str(blake3(data).hexdigest())
