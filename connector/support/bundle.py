"""Collects everything for a supporter, role by role. Each part is independent of the others; none asks a peer unless told to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from connector.support import (
    appliance_records,
    configuration,
    instance_records,
    known_secrets,
    scrape,
    system,
)
from connector.support.control_records import TABLES, ControlRecords
from connector.support.installation import Installation
from connector.support.names import NameReplacement
from connector.support.parts import PART_LIMIT, PartCollector
from connector.support.secret_removal import SecretRemoval

#: Lines of a log, if nobody says otherwise.
LINES: Final = 20_000


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """`lines` of each log; `logs`: further log files; `metrics`: further listeners; `deep_checks`: where their records are."""

    lines: int = LINES
    anonymous: bool = False
    doctor: bool = False
    logs: tuple[Path, ...] = ()
    metrics: tuple[str, ...] = ()
    deep_checks: Path | None = None


def collect(installation: Installation, options: BundleOptions) -> PartCollector:
    """All parts. It raises nothing: what cannot be read is listed with the reason."""
    secrets = SecretRemoval()
    search = known_secrets.SecretSearch(installation)
    for secret in search.found():
        secrets.know(secret)
    parts = PartCollector(secrets, _names(installation) if options.anonymous else None)
    for file, why in search.unreadable.items():
        parts.failed("secrets", str(file), f"its secrets are not known, so they are not looked for: {why}")
    _computer(parts, installation)
    _logs(parts, installation, options)
    if installation.appliance is not None or installation.appliance_state is not None:
        _appliance(parts, installation, options)
    if installation.control is not None or installation.control_state is not None or installation.database:
        _control(parts, installation)
    for number, directory in enumerate(installation.instances):
        name = f"instance/{number}/" if len(installation.instances) > 1 else "instance/"
        parts.json(f"{name}disks.json", str(directory), partial(instance_records.disks, directory))
    for number, listen in enumerate(dict.fromkeys((*installation.metrics, *options.metrics))):
        parts.text(f"metrics/{number}.txt", listen, partial(scrape.page, listen))
    return parts


def _names(installation: Installation) -> NameReplacement:
    names = NameReplacement(known_secrets.known_names(installation))
    state, database = installation.control_state, installation.control_database
    if state is not None or database:
        names.know(ControlRecords(state, database).names())
    return names


def _computer(parts: PartCollector, installation: Installation) -> None:
    parts.json("system/versions.json", "this program", system.versions, has_names=False)
    parts.json("system/computer.json", "/proc, /etc/os-release", system.computer)
    parts.json("system/clock.json", "timedatectl", system.clock)
    parts.json("system/space.json", "statvfs", lambda: system.space(installation.directories()))


def _logs(parts: PartCollector, installation: Installation, options: BundleOptions) -> None:
    for unit in installation.units:
        parts.text(f"logs/{unit}.status.txt", f"systemctl show {unit}", partial(system.unit, unit))
        parts.text(
            f"logs/{unit}.log", f"journalctl --unit={unit}", partial(system.journal, unit, options.lines)
        )
    for number, file in enumerate((*installation.log_files(), *options.logs)):
        # the name of a file may be a name of somebody's
        parts.text(f"logs/{number}.log", str(file), partial(system.tail, file, options.lines, PART_LIMIT))


def _appliance(parts: PartCollector, installation: Installation, options: BundleOptions) -> None:
    file, state = installation.appliance, installation.appliance_state
    if file is not None:
        parts.text("appliance/configuration.yaml", str(file), partial(configuration.appliance, file))
        if options.doctor:
            how = f"connector doctor --config {file}"
            parts.text("appliance/doctor.txt", how, partial(appliance_records.doctor, file))
    if state is None:
        parts.failed("appliance/membership.json", str(file), "the configuration names no state directory")
        return
    parts.json("appliance/membership.json", str(state), partial(appliance_records.membership, state))
    parts.json("appliance/files.json", str(state), partial(appliance_records.files, state))
    if (checks := options.deep_checks) is not None:
        parts.json("appliance/deep-checks.json", str(checks), partial(appliance_records.deep_checks, checks))


def _control(parts: PartCollector, installation: Installation) -> None:
    file, state = installation.control, installation.control_state
    if file is not None:
        parts.text("control/configuration.yaml", str(file), partial(configuration.control, file))
    if state is not None:
        parts.json("control/files.json", str(state), partial(appliance_records.files, state))
    records = ControlRecords(state, installation.control_database)
    where = "the database" if installation.control_database else str(state)
    parts.json("control/errors.json", where, records.errors)
    for table in _in_order(TABLES):
        parts.json(f"control/{table}.json", where, partial(records.rows, table))


def _in_order(tables: Iterable[str]) -> list[str]:
    """The largest ones last, so that a full bundle loses them and not the jobs."""
    last = ("events", "audit", "source_disks")
    return [*(name for name in tables if name not in last), *last]
