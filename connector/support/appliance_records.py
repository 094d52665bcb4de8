"""An appliance's own records: at which control plane and vCenter it is enrolled, its files, the snapshots of deep checks."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connector import readable
from connector.appliance.membership import MEMBERSHIP, kept_membership
from connector.epoch import EpochMemory
from connector.support.system import asked

_FILES: Final = 1000
_PATIENCE: Final = 300.0  # seconds for `connector doctor`, which logs in to vCenter and reads its machines
_RECORD: Final = 4096  # bytes of a record of a deep check


def membership(state: Path) -> dict[str, Any]:
    """Where the appliance is enrolled, without its secret. Raises BadInput for a damaged file, OSError for what is none."""
    for name in (MEMBERSHIP, "evidence-key.pub", "epoch"):
        if (state / name).exists():
            readable.require(state / name)
    kept = kept_membership(state)
    public, mark = state / "evidence-key.pub", EpochMemory(state / "epoch").mark
    return {
        "enrolled": kept is not None,
        "appliance": kept.membership.appliance_id if kept else None,
        "control_plane": kept.control if kept else None,
        "vcenter": kept.vcenter if kept else None,
        "evidence_key_sha256": hashlib.sha256(public.read_bytes()).hexdigest() if public.exists() else None,
        "epoch": None if mark is None else {"number": mark.number, "sequence": mark.sequence},
    }


def files(place: Path) -> list[dict[str, Any]]:
    """Names, sizes and modes of the files in a directory; nothing of what is in them. Raises OSError."""
    place.stat()
    return [_file(place, file) for file in sorted(place.rglob("*"))[:_FILES]]


def deep_checks(directory: Path) -> dict[str, Any]:
    """The records of snapshots that deep checks took. Raises OSError."""
    if not directory.exists():
        return {"directory": str(directory), "records": []}
    return {"directory": str(directory), "records": list(_records(directory))}


def doctor(configuration: Path) -> str:
    """What `connector doctor` finds: the appliance, and the tracked resources that were left in vCenter."""
    return asked(
        *(sys.executable, "-m", "connector.cli.main", "doctor", "--config", str(configuration), "--json"),
        patience=_PATIENCE,
    )


def _records(directory: Path) -> Iterator[dict[str, str]]:
    for file in sorted(directory.iterdir())[:_FILES]:
        try:
            with open(readable.opened(file), "rb") as record:
                yield {"file": file.name, "record": record.read(_RECORD).decode("utf-8", "replace")}
        except OSError as failed:
            yield {"file": file.name, "trouble": failed.strerror or str(failed)}


def _file(place: Path, file: Path) -> dict[str, Any]:
    facts = file.lstat()
    return {
        "name": str(file.relative_to(place)),
        "size": facts.st_size,
        "mode": f"{facts.st_mode & 0o7777:04o}",
        "owner": facts.st_uid,
        "changed": datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(),
    }
