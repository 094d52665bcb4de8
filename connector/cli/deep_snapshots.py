"""A deep check records its snapshot before it takes it: in a file of this user that is locked while the check is alive.
So does each command that reads a machine's disk once (`doctor --read`, `record --nfc`).

A snapshot with our token and a record that nobody locks was left by a killed check. The next deep check of that machine removes
it, and so does `connector doctor --repair`. Ours is what was taken with this state directory on this machine. A clone may have a
copy of both: without a record here, a snapshot is left alone until it is old.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final

import click

from connector import files
from connector.appliance.cleanup.repair import InterruptedCutover, LeftoverFinding, RegisteredResource, unlock
from connector.errors import BadInput, Conflict, one_line
from connector.model import Machine, MachineDisk
from connector.sources.factory import ReaderSettings, readers
from connector.vcenter.client import Leftover, Snapshot, VCenter
from connector.vcenter.disk_order import as_in

_PREFIX: Final = "look-"
_OWNER: Final = "looks-owner"
_MACHINE: Final = Path("/etc/machine-id")
_OLD: Final = 24 * 3600.0  # seconds; a check takes minutes, and by then nobody reads the snapshot of any


def owner(*, new: bool = True, machine: Path = _MACHINE) -> str:
    """The owner in the names of these snapshots: this state directory on this machine; `new`: make the directory's id.

    Without an id nothing was ever recorded here, so the answer is an owner that has nothing.
    """
    place = directory().parent / _OWNER
    try:
        if new and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.make_once(place, secrets.token_hex(16).encode())
        kept = place.read_bytes()
    except OSError:
        kept = secrets.token_bytes(16)
    with suppress(OSError):  # containers have none
        kept += machine.read_bytes()
    return f"check-{hashlib.sha256(kept).hexdigest()[:16]}"


def directory() -> Path:
    """The directory with the records of the deep checks that this user started here."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "connector" / "looks"


class FileLedger:
    """The ledger of deep checks. A snapshot is recorded on disk before it is taken, and printed."""

    def planned(self, machine: str, token: str, kind: str = "snapshot") -> None:
        """Write the machine and the token into the record of `alive`."""
        with _file(token).open("r+", encoding="utf-8") as out:
            out.write(f"{machine} {kind} {token}\n")
            out.flush()
            os.fsync(out.fileno())

    def created(self, machine: str, token: str, snapshot: str) -> None:
        click.echo(one_line(f"{machine}: snapshot {snapshot} taken ({token})"), err=True)

    def removed(self, machine: str, token: str, kind: str = "snapshot") -> None:  # noqa: ARG002 - the protocol's
        _file(token).unlink(missing_ok=True)

    def left(self, machine: str, token: str, why: str) -> None:
        click.echo(
            one_line(f"{machine}: its snapshot {token} is still there: {why}; run this again"), err=True
        )


class EmptyRegister:
    """A `ResourceRegister` without entries: no control plane knows about deep checks."""

    def remembered(self) -> Sequence[RegisteredResource]:
        return ()

    def running_machines(self) -> frozenset[str]:
        return frozenset()

    def interrupted(self) -> Sequence[InterruptedCutover]:
        return ()

    def removed(self, token: str) -> None:
        """`FileLedger` knows."""

    def resists(self, token: str, trouble: str) -> None:
        """`FileLedger` knows."""


@contextmanager
def alive() -> Iterator[str]:
    """The id of a new deep check; its record is locked until the block ends. Raises BadInput if it cannot be recorded."""
    pass_id = _PREFIX + secrets.token_hex(6)
    file = directory() / pass_id
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as refused:
        raise BadInput(
            f"the snapshot cannot be recorded there ({refused.strerror}), so none is taken",
            on=str(file.parent),
            remedy="set XDG_STATE_HOME to a directory that you may write",
        ) from refused
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield pass_id
    finally:
        if not os.fstat(descriptor).st_size:
            file.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def held(vcenter: VCenter, machine: Machine) -> Iterator[Snapshot]:
    """A snapshot of ours, until the block ends. Raises Conflict while somebody else works on the machine."""
    for leftover in dead(vcenter, machine.moref):
        vcenter.dismiss(leftover.machine, leftover.node.description.strip())
    if why := vcenter.occupied(machine.moref):
        raise Conflict(why, on=machine.name, remedy="wait until it has ended")
    with alive() as pass_id, vcenter.snapshot(machine.moref, pass_id, stop=Event()) as snapshot:
        yield snapshot


def first_disk(snapshot: Snapshot, machine: Machine) -> MachineDisk:
    """The first disk in the machine's order that a snapshot holds. Raises Conflict when there is none."""
    if not snapshot.disks:
        raise Conflict("its snapshot holds no disk", on=machine.name, remedy="name another machine")
    return as_in(snapshot.disks, machine.disks)[0]


def findings(vcenter: VCenter, vddk: Path | None) -> tuple[LeftoverFinding, ...]:
    """Findings about snapshots that killed deep checks of this user left, with their repair."""
    return tuple(
        _finding(vcenter, vddk, leftover.machine, leftover.node.description.strip())
        for leftover in dead(vcenter)
    )


def dead(vcenter: VCenter, machine: str | None = None) -> tuple[Leftover, ...]:
    """Snapshots of our deep checks that are alive no more, on one machine or on all."""
    left = vcenter.leftovers(machine)  # before the records: a record is locked before its snapshot exists
    known = [(leftover, _locked(_file(leftover.node.description.strip()))) for leftover in left]
    present = vcenter.now() if any(locked is None for _, locked in known) else 0.0
    return tuple(
        leftover
        for leftover, locked in known
        if locked is False or (locked is None and present - leftover.node.created > _OLD)
    )


def _finding(vcenter: VCenter, vddk: Path | None, machine: str, token: str) -> LeftoverFinding:
    def mend() -> None:
        vcenter.dismiss(machine, token)
        unlocking = readers(ReaderSettings(vddk)).unlocking
        if unlocking is not None and vcenter.locked(machine):
            unlock(vcenter, vcenter.find(machine), unlocking)

    description = f"snapshot {token} of a deep check that was killed"
    return LeftoverFinding(
        "snapshot", machine, description, "remove it and consolidate", machine, token, mend
    )


def _file(token: str) -> Path:
    return directory() / token.rsplit(":", 1)[-1]


def _locked(file: Path) -> bool | None:
    """Whether the check with this record is alive; None if there is no record here."""
    try:
        with file.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None  # its check removed the snapshot meanwhile, or it was never one of this directory
    return False
