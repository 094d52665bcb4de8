"""Facts about the computer: versions, memory, free space, the clock, units and their logs. Programs have bounds."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import connector
from connector import environment, readable

_PATIENCE: Final = 20.0  # seconds for a program
_LARGEST: Final = 8 << 20  # bytes of its output


def versions() -> dict[str, Any]:
    """Our version, Python's, and those of all libraries."""
    return {
        "connector": connector.__version__,
        "build": _build(),
        "python": sys.version,
        "executable": sys.executable,
        "libraries": sorted(
            f"{found.metadata['Name']} {found.version}" for found in importlib.metadata.distributions()
        ),
    }


def computer() -> dict[str, Any]:
    """Kernel, system, processors, memory, load."""
    return {
        "name": platform.node(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": _pairs(Path("/etc/os-release")),
        "processors": os.cpu_count(),
        "memory": _pairs(Path("/proc/meminfo"), ":"),
        "load": Path("/proc/loadavg").read_text().split(),
        "user": os.geteuid(),
        "files": Path("/proc/sys/fs/file-nr").read_text().split(),
        "environment": {
            name: value
            for name, value in environment.without_secrets().items()
            if name.startswith("CONNECTOR_") or name.lower().endswith("_proxy")
        },
    }


def clock() -> dict[str, Any]:
    """The time, and whether something keeps it right."""
    told = asked("timedatectl", "show") if shutil.which("timedatectl") else ""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "zone": time.tzname[0],
        "synchronisation": told.splitlines() or "unknown: there is no timedatectl",
        "uptime": Path("/proc/uptime").read_text().split()[0],
    }


def space(directories: Iterable[Path]) -> list[dict[str, Any]]:
    """Free bytes and files of the file systems of these directories."""
    return [_space(place) for place in dict.fromkeys(directories)]


def unit(name: str) -> str:
    """What the service manager says of a unit."""
    return asked("systemctl", "show", "--no-pager", name)


def journal(name: str, lines: int) -> str:
    """The newest lines of a unit's log."""
    told = asked("journalctl", "--no-pager", "--output=json", f"--lines={lines}", f"--unit={name}")
    return "".join(f"{_entry(line)}\n" for line in told.splitlines())


def tail(file: Path, lines: int, limit: int) -> str:
    """The newest lines of a log file. Raises OSError."""
    with open(readable.opened(file), "rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - limit))
        content = log.read(limit)
    text = content.decode("utf-8", "replace")
    if size > limit:
        text = text.partition("\n")[2]
    return "\n".join(text.split("\n")[-lines - 1 :])


def asked(*words: str, patience: float = _PATIENCE, variables: Mapping[str, str] | None = None) -> str:
    """What a program prints, with its complaints and its end if it failed. Raises OSError, TimeoutExpired."""
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patience,
        check=False,
        env=environment.without_secrets() | {"LC_ALL": "C.UTF-8", **(variables or {})},
    )
    text = done.stdout[-_LARGEST:].decode("utf-8", "replace")
    if done.returncode:
        text += f"\n[exit code {done.returncode}] {done.stderr[-10000:].decode('utf-8', 'replace')}\n"
    return text


def _entry(line: str) -> str:
    """An entry of the journal as a line of a log, with the ids of our own fields. What is none stays as it is."""
    try:
        entry = json.loads(line)
        seconds = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return line
    message = entry.get("MESSAGE") or ""
    if isinstance(message, list):  # so the journal gives what is not printable
        message = bytes(octet & 255 for octet in message if isinstance(octet, int)).decode("utf-8", "replace")
    when = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    known = [f"{name[10:].lower()}={entry[name]}" for name in sorted(entry) if name.startswith("CONNECTOR_")]
    who = entry.get("LOGGER") or entry.get("SYSLOG_IDENTIFIER") or ""
    return f"{when} <{entry.get('PRIORITY', '')}> {who}: {message}" + (
        f" [{' '.join(known)}]" if known else ""
    )


def _build() -> str:
    """Where the product was installed from, by the package's own record."""
    try:
        found = importlib.metadata.distribution("agentless-connector")
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"
    origin = found.read_text("direct_url.json") or ""
    return " ".join(filter(None, (found.version, found.read_text("INSTALLER") or "", origin))).strip()


def _space(place: Path) -> dict[str, Any]:
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    facts = os.statvfs(there)
    return {
        "directory": str(place),
        "exists": place.exists(),
        "total": facts.f_blocks * facts.f_frsize,
        "free": facts.f_bavail * facts.f_frsize,
        "free_files": facts.f_favail,
        "read_only": bool(facts.f_flag & os.ST_RDONLY),
    }


def _pairs(file: Path, separator: str = "=") -> dict[str, str]:
    lines = (line.partition(separator) for line in file.read_text().splitlines() if separator in line)
    return {name.strip(): value.strip().strip('"') for name, _, value in lines}
