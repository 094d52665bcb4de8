"""Plans a script of the user that runs once in a converted Linux, at its first start, as root. For Windows: windows_first_boot.

A unit of systemd runs it. When the script has succeeded it never runs again; after a failure it runs at the next start too. No
link has to be made: a drop-in of multi-user.target wants the unit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connector import readable
from connector.conversion.changes import ChangePlan, FileChange
from connector.errors import BadInput, Ineligible
from connector.offline.window import Files, Missing

_LARGEST: Final = 256 << 10  # bytes of a script
_SCRIPT: Final = "/usr/local/lib/connector/first-boot"
_UNIT: Final = "/etc/systemd/system/connector-first-boot.service"
_DROP_IN: Final = "/etc/systemd/system/multi-user.target.d/connector-first-boot.conf"
_DONE: Final = "/var/lib/connector-first-boot.done"
_SYSTEMD: Final = ("/lib/systemd", "/usr/lib/systemd")
_WHY: Final = "the script of --first-boot runs once, at the first start"


def read(path: Path) -> bytes:
    """A script of this computer; with a name that ends in .ps1 for a Windows. Raises BadInput for what no system could run."""
    with open(readable.opened(path), "rb") as file:
        script = file.read(_LARGEST + 1)
    if len(script) > _LARGEST:
        raise BadInput(
            f"has more than {_LARGEST >> 10} KiB", on=str(path), remedy="fetch what it needs from the script"
        )
    if path.suffix.lower() == ".ps1":
        if not is_powershell(script):
            raise BadInput("begins with #!, which PowerShell does not know", on=str(path), remedy="rename it")
        return script
    if not _interpreter(script).startswith("/"):
        raise BadInput(
            "does not begin with #! and the path of its interpreter",
            on=str(path),
            remedy="write it into the first line, such as #!/bin/sh; the name of a script for Windows ends in .ps1",
        )
    return script


def is_powershell(script: bytes) -> bool:
    """Whether a script is for a Windows: one for a Linux begins with #!."""
    return not script.startswith(b"#!")


def _interpreter(script: bytes) -> str:
    """The interpreter with its argument; "" when the script names none."""
    line = script.split(b"\n", 1)[0].decode("utf-8", "replace")
    return line[2:].strip() if line.startswith("#!") and line.isprintable() else ""


def plan(script: bytes, files: Files, name: str) -> ChangePlan:
    """The files that run `script` once. Raises Ineligible for a Linux without systemd."""
    if not any("systemd" in _names(files, directory) for directory in _SYSTEMD):
        raise Ineligible(
            "it has no systemd, which runs the script of --first-boot",
            on=name,
            remedy="convert it without --first-boot, and run the script by hand after the first start",
        )
    contents = ((_SCRIPT, script, 0o700), (_UNIT, _unit(script), 0o644), (_DROP_IN, _drop_in(), 0o644))
    changes = [
        FileChange(path, before, after, _WHY, mode)
        for path, after, mode in contents
        if (before := _content(files, path)) != after
    ]
    return ChangePlan(tuple(changes))


def _unit(script: bytes) -> bytes:
    command = _interpreter(script).replace("%", "%%").replace("$", "$$")
    lines = (
        "[Unit]",
        "Description=First start after a migration",
        "After=network.target local-fs.target",
        f"ConditionPathExists=!{_DONE}",
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecStart={command} {_SCRIPT}",
        f"ExecStartPost=/bin/touch {_DONE}",
        "StandardOutput=journal+console",
        "StandardError=journal+console",
        "TimeoutStartSec=infinity",
    )
    return ("\n".join(lines) + "\n").encode()


def _drop_in() -> bytes:
    return f"[Unit]\nWants={_UNIT.rpartition('/')[2]}\n".encode()


def _content(files: Files, path: str) -> bytes | None:
    try:
        return files.read(path, _LARGEST + 1)
    except Missing:
        return None


def _names(files: Files, directory: str) -> list[str]:
    try:
        return files.names(directory)
    except Missing:
        return []
