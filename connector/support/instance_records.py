"""An instance's disks, by the headers of their journals: keys, capacities, kinds of records. No byte of a guest is read."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from connector import readable
from connector.errors import ConnectorError
from connector.instance.journal import JournalReader, read_header
from connector.instance.records import Record, take_records

_DISKS: Final = 500
_JOURNAL: Final = 16 << 20  # bytes of a journal that are read
_ABOUT: Final = 4096


def disks(directory: Path) -> list[dict[str, Any]]:
    """One record for each disk. Raises OSError if the directory cannot be read."""
    return [_disk(home) for home in sorted((directory / "disks").iterdir())[:_DISKS]]


def _disk(home: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"disk": home.name}
    try:
        told["files"] = {file.name: _sizes(file) for file in sorted(home.iterdir())[:20]}
        told["journal"] = _journal(home / "journal")
        told["about"] = json.loads(readable.content(home / "disk.json", _ABOUT))
    except (ConnectorError, OSError, ValueError) as failed:
        told["trouble"] = str(failed)
    return told


def _sizes(file: Path) -> dict[str, int]:
    facts = file.lstat()
    return {"size": facts.st_size, "stored": facts.st_blocks * 512}


def _journal(file: Path) -> dict[str, Any]:
    """The header, and how many records of each kind follow. Ranges are counted and not told."""
    with open(readable.opened(file), "rb") as journal:
        data = journal.read(_JOURNAL)
    head = read_header(data, str(file))
    if head is None:
        return {"header": "torn"}
    kinds: Counter[str] = Counter()

    def count(record: Record) -> None:
        kinds[type(record).__name__] += 1

    end = take_records(data, head.end, *JournalReader(count))
    return {
        "key": head.key,
        "capacity": head.capacity,
        "version": head.version,
        "records": dict(kinds),
        "valid_until": end,
        "size": file.stat().st_size,
    }
