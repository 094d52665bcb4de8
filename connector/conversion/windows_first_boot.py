"""Plans what a converted Windows runs once, at its first start, as the system: PowerShell, started by a service that then goes.

The service's program ends at once, so Windows logs that the service did not answer. What it has started goes on. The service is
deleted when everything has succeeded; after a failure it runs at the next start too. `first-boot.log` beside it has the output.
Nobody has seen a real Windows run it: docs/booting.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connector.conversion.registry import RegistryValue, dword, expand_sz, sz

SERVICE: Final = "ConnectorFirstBoot"
FOLDER: Final = "Connector"  # below the directory of Windows
_START: Final = "first-boot.cmd"
_OWN_PROCESS, _AUTOMATIC, _IGNORED = 0x10, 2, 0
_POWERSHELL: Final = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File"
_COMMAND: Final = "%SystemRoot%\\System32\\cmd.exe"


@dataclass(frozen=True, slots=True)
class FirstBootPart:
    """One script. `name`: of its file, which ends in .ps1."""

    name: str
    script: bytes


def files(parts: tuple[FirstBootPart, ...]) -> Mapping[str, bytes]:
    """The files in `FOLDER`, by name: each script, and what runs them in their order."""
    lines = ["@echo off", 'cd /d "%~dp0"']
    for part in parts:
        lines.append(f"{_POWERSHELL} {part.name} >> first-boot.log 2>&1")
        lines.append("if errorlevel 1 exit /b 1")
    lines.append(f"sc.exe delete {SERVICE} >> first-boot.log 2>&1")
    start = "".join(f"{line}\r\n" for line in lines).encode()
    return {part.name: part.script for part in parts} | {_START: start}


def service() -> Mapping[str, RegistryValue]:
    """The values of the service's key."""
    program = f'{_COMMAND} /c start "" /b {_COMMAND} /c "%SystemRoot%\\{FOLDER}\\{_START}"'
    return {
        "Type": dword(_OWN_PROCESS),
        "Start": dword(_AUTOMATIC),
        "ErrorControl": dword(_IGNORED),
        "ImagePath": expand_sz(program),
        "ObjectName": sz("LocalSystem"),
        "DisplayName": sz("First start after a migration"),
    }
