"""An export of the audit log is a file of JSON Lines: one line of the log on each, as `domain/audit_log.py` writes it.

An export begins at line 1, so a later one begins with all of an earlier one. To verify one needs no database.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from connector import files, readable
from connector.control.domain.audit_log import LONGEST, AuditEntry, Chain, ChainHead, read
from connector.errors import AuditLogDamaged, BadInput, ControlFailed


def write(entries: Iterable[AuditEntry], name: str, target: Path) -> ChainHead:
    """Write the log to a new file that only its owner may read; answer its head. All of the file appears, or none.

    A damaged log is written as it is, and then told with `AuditLogDamaged`. `name`: of the log, in this failure.
    """
    if target.exists():
        raise BadInput("this file exists", on=str(target), remedy="choose another name for the export")
    chain, damage = Chain(name), None
    try:
        with tempfile.TemporaryDirectory(prefix=".audit-", dir=target.absolute().parent) as folder:
            draft = Path(folder) / "draft"
            with files.new(draft) as out:
                for entry in entries:
                    out.write(entry.line())
                    damage = damage or _damage(chain, entry)
            os.link(draft, target)  # it fails if the file has appeared meanwhile
            files.sync(target.absolute().parent)
    except OSError as failed:
        raise ControlFailed(
            f"cannot be written: {failed.strerror}", on=str(target), remedy="choose a place with enough room"
        ) from failed
    if damage is not None:
        raise damage
    return chain.head


def _damage(chain: Chain, entry: AuditEntry) -> AuditLogDamaged | None:
    try:
        chain.check(entry)
    except AuditLogDamaged as damage:
        return damage
    return None


def entries(path: Path) -> Iterator[AuditEntry]:
    """The lines of an export, one at a time. Raises `AuditLogDamaged`, `BadInput`."""
    try:
        with open(readable.opened(path), "rb") as file:
            number = 0
            while line := file.readline(LONGEST):
                number += 1
                yield read(line, number, str(path))
    except OSError as failed:
        raise BadInput(f"cannot be read: {failed.strerror}", on=str(path)) from None
