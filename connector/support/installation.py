"""What of the product is on this computer: configurations, state directories, units. Finding it opens no file of ours."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from connector import readable

CONFIGURATION: Final = Path("/etc/connector")
APPLIANCE: Final = "appliance.yaml"
CONTROL: Final = "control-plane.yaml"
INSTANCE: Final = Path("/var/lib/connector-instance")
_LARGEST: Final = 1 << 20  # bytes of a configuration


@dataclass(frozen=True, slots=True)
class Installation:
    """The roles that this computer has. A missing one is None, or empty.

    `directory`: what `connector migrate --to` keeps; all three roles are in it.
    """

    appliance: Path | None = None  # its configuration
    control: Path | None = None  # the same of the control plane
    instance: Path | None = None  # its directory
    directory: Path | None = None
    state: Path | None = None  # of a control plane without a configuration
    database: str = ""

    @classmethod
    def found(cls) -> Installation:
        """What the package has set up here."""
        appliance, control = CONFIGURATION / APPLIANCE, CONFIGURATION / CONTROL
        return cls(
            appliance if appliance.exists() else None,
            control if control.exists() else None,
            INSTANCE if (INSTANCE / "disks").exists() else None,
        )

    @property
    def units(self) -> tuple[str, ...]:
        """The units of the roles that are services."""
        named = {"appliance": self.appliance, "control": self.control, "instance": self.instance}
        return tuple(f"connector-{role}.service" for role, place in named.items() if place is not None)

    @property
    def configurations(self) -> tuple[Path, ...]:
        """The files with settings."""
        return tuple(file for file in (self.appliance, self.control) if file is not None)

    @property
    def appliance_state(self) -> Path | None:
        """The appliance's own files, as far as its configuration can be read."""
        if self.directory is not None:
            return self.directory / ".connector" / "appliance"
        return _path(field(self.appliance, "state"))

    @property
    def control_state(self) -> Path | None:
        """The same of the control plane."""
        if self.directory is not None:
            return self.directory / ".connector" / "control"
        return self.state or _path(field(self.control, "state"))

    @property
    def control_database(self) -> str:
        """The database that is named; empty: the file in the state directory."""
        return self.database or str(field(self.control, "database") or "")

    @property
    def instances(self) -> tuple[Path, ...]:
        """The directories of instances."""
        below = self.directory / "instances" if self.directory is not None else None
        inside = sorted(below.iterdir())[:200] if below is not None and below.is_dir() else []
        return (*([self.instance] if self.instance else []), *inside)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Where metrics are served."""
        sections = (field(file, "metrics") for file in self.configurations)
        return tuple(
            str(section["listen"])
            for section in sections
            if isinstance(section, dict) and "listen" in section
        )

    def log_files(self) -> Iterator[Path]:
        """Logs that are files."""
        if self.directory is not None:
            yield from sorted((self.directory / ".connector").glob("*.log"))

    def directories(self) -> Iterator[Path]:
        """The directories whose free space matters."""
        places = (self.appliance_state, self.control_state, self.directory, *self.instances[:5])
        yield from (place for place in places if place is not None)
        yield from (CONFIGURATION, Path("/var/lib/connector"), Path("/var/log"), Path(tempfile.gettempdir()))


def field(file: Path | None, name: str) -> Any:
    """One field of a configuration; None if the file cannot be read or has no such field. Of broken YAML, a field of one line."""
    if file is None:
        return None
    try:
        text = readable.text(file, _LARGEST)
    except (OSError, ValueError):
        return None
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):  # its line may be in order all the same
        line = re.search(rf"^{name}:[ \t]+[\"']?([^\"'#\n]+?)[\"']?[ \t]*(?:#.*)?$", text, re.MULTILINE)
        return line[1] if line else None
    return document.get(name) if isinstance(document, dict) else None


def _path(value: Any) -> Path | None:
    return Path(value) if isinstance(value, str) and value else None
