"""A look into disks writes its snapshot down before it is taken: a file of this user, locked while the look is alive.

What carries this user's token and is not locked was left by a look that was killed: the next look gives it back, and so
does `connector doctor --repair`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from connector.appliance.cleanup.repair import LeftoverFinding, RegisteredResource, unlock
from connector.errors import BadInput, one_line
from connector.sources.factory import ReaderSettings, reader
from connector.vcenter.client import VCenter
from connector.vcenter.naming import Ticket

_LOOK: Final = "look-"


def owner() -> str:
    """Whose snapshots of looks these are: this user's on this host."""
    return f"check-{hashlib.sha256(f'{os.uname().nodename} {os.getuid()}'.encode()).hexdigest()[:12]}"


def directory() -> Path:
    """Where this user's looks are written down."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "connector" / "looks"


class FileLedger:
    """The ledger of looks: what is made is on this user's disk first, and people are told."""

    def planned(self, machine: str, token: str, kind: str = "snapshot") -> None:
        """The record of `alive` gets its content."""
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


class NoMemory:
    """Of looks no control plane knows: `repair.Memory` of nothing."""

    def remembered(self) -> Sequence[RegisteredResource]:
        return ()

    def reading(self) -> frozenset[str]:
        return frozenset()

    def removed(self, token: str) -> None:
        """`FileLedger` knows."""

    def resists(self, token: str, trouble: str) -> None:
        """`FileLedger` knows."""


@contextmanager
def alive() -> Iterator[str]:
    """The id of a new look, which nobody takes for a dead one until the block ends. Raises BadInput without a place."""
    pass_id = _LOOK + secrets.token_hex(6)
    file = directory() / pass_id
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as refused:
        raise BadInput(
            f"a snapshot cannot be written down there ({refused.strerror}), so none is taken",
            on=str(file.parent),
            remedy="set XDG_STATE_HOME to a directory of yours",
        ) from refused
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield pass_id
    finally:
        if not os.fstat(held).st_size:
            file.unlink(missing_ok=True)
        os.close(held)


def working(owner_: str) -> frozenset[str]:
    """Tokens of the looks of this user that are alive."""
    return frozenset(
        Ticket(owner_, file.name).token for file in directory().glob(f"{_LOOK}*") if _locked(file)
    )


def findings(vcenter: VCenter, vddk: Path | None) -> tuple[LeftoverFinding, ...]:
    """What looks of this vCenter's owner left when they were killed, and how it is mended."""
    standing = vcenter.leftovers()
    busy = working(vcenter.owner)  # read after the snapshots: a look is locked before its snapshot stands
    found = ((one.machine, one.node.description.strip()) for one in standing)
    return tuple(_finding(vcenter, vddk, machine, token) for machine, token in found if token not in busy)


def _finding(vcenter: VCenter, vddk: Path | None, machine: str, token: str) -> LeftoverFinding:
    def mend() -> None:
        vcenter.dismiss(machine, token)
        if vddk is not None and vcenter.locked(machine):
            unlock(vcenter, vcenter.find(machine), reader(ReaderSettings(vddk)))

    what = f"snapshot {token} of a look that was killed"
    return LeftoverFinding("snapshot", machine, what, "remove it and consolidate", machine, token, mend)


def _file(token: str) -> Path:
    return directory() / token.rsplit(":", 1)[-1]


def _locked(file: Path) -> bool:
    try:
        with file.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # it went meanwhile, and its snapshot before it
    return False
