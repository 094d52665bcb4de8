"""The estate as files for the VDDK stand-in: an index of layers for each view, live sessions, credentials, hosts.

Every file is replaced by rename; the reader opens the files again for each connection.
"""

import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from simulator.estate.disk import Disk
from simulator.estate.inventory import VirtualDisk, VirtualMachine
from simulator.estate.store import replace_file

CURRENT = "current"
ADAPTERS = {"pvscsi": "lsilogic", "lsisas": "lsilogic"}
HOST_STATES = frozenset({"ok", "maintenance", "refused", "unresolved"})


class Export:
    """Writes one export directory. Any thread; one machine is written by one thread at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root / "sessions", ignore_errors=True)
        (root / "sessions").mkdir()

    def write_machine(self, look: Callable[[], VirtualMachine], storage: Callable[[str], Disk]) -> None:
        """Bring a machine's views up to date. `look` is called under the lock, so the last call writes the
        truth.
        """
        with self._lock:
            vm = look()
            home = self.root / vm.moref
            if not vm.disks and not vm.snapshots and not home.exists():
                return
            views = {snapshot.moref: snapshot.disks for snapshot in vm.snapshots} | {CURRENT: vm.disks}
            for view, disks in views.items():
                (home / view).mkdir(parents=True, exist_ok=True)
                replace_file(home / view / "disks", _index(vm, view, disks, storage))
            (self.root / "power").mkdir(exist_ok=True)  # a running machine's live disks are locked
            replace_file(self.root / "power" / vm.moref, f"{vm.power_state}\n")
            for path in home.iterdir():
                if path.name not in views and path.is_dir():
                    shutil.rmtree(path)

    def remove_machine(self, moref: str) -> None:
        with self._lock:
            shutil.rmtree(self.root / moref, ignore_errors=True)
            (self.root / "power" / moref).unlink(missing_ok=True)

    def access(self, thumbprint: str, users: Iterable[tuple[str, str]]) -> None:
        """Export the SHA-1 thumbprint of the server's certificate, and the (user, password) pairs that may connect."""
        lines = [f"thumbprint={thumbprint}"]
        lines += [f"user={user}\npassword={password}" for user, password in users]
        replace_file(self.root / "access", "\n".join(lines) + "\n", mode=0o600)

    def open_session(self, cookie: str) -> None:
        """A vCenter session began; `cookie` is the session cookie's value without quotes."""
        self._session(cookie).touch(mode=0o600)

    def close_session(self, cookie: str) -> None:
        self._session(cookie).unlink(missing_ok=True)

    def hosts(self, states: Mapping[str, str]) -> None:
        """State of the host under each machine (by moref), where it is not "ok"."""
        wrong = sorted(set(states.values()) - HOST_STATES)
        if wrong:
            raise ValueError(f"host states {wrong} are none of {sorted(HOST_STATES)}")
        replace_file(self.root / "hosts", "".join(f"{vm}\t{state}\n" for vm, state in sorted(states.items())))

    def placement(self, vm: str, host: str) -> None:
        """The machine runs there now; readers that opened its disks elsewhere meet a host that has let go of it."""
        (self.root / "placement").mkdir(exist_ok=True)
        replace_file(self.root / "placement" / vm, host + "\n")

    def prepared(self, vm: str) -> bool:
        """Whether somebody called PrepareForAccess for the machine and has not ended it."""
        folder = self.root / "prepared"
        return folder.is_dir() and any(folder.glob(f"{vm}@*"))

    def _session(self, cookie: str) -> Path:
        if not cookie or "/" in cookie or cookie.startswith("."):
            raise ValueError("a session cookie must be usable as a file name")
        return self.root / "sessions" / cookie


def _index(
    vm: VirtualMachine, view: str, disks: Iterable[VirtualDisk], storage: Callable[[str], Disk]
) -> str:
    kinds = {controller.key: controller.kind for controller in vm.controllers}
    lines = []
    for disk in disks:
        if not disk.storage:
            continue
        kind = kinds.get(disk.controller, "lsilogic")
        chain = storage(disk.storage).chain
        point = view if view in chain.points else None
        head = (disk.path, str(disk.capacity), ADAPTERS.get(kind, kind), disk.uuid, disk.mode)
        lines.append("\t".join((*head, *(str(path) for path in chain.files(point)))) + "\n")
    return "".join(lines)
