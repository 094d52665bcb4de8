"""A child process converts an image of the local provider and starts a copy: no code of ours reads a guest here.

The image itself is not changed. The converted copy is in a directory below it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connector import amounts, child
from connector.clients.endpoint import objects
from connector.cloud.machine_files import CONVERTED
from connector.errors import ConnectorError

log = logging.getLogger(__name__)

MODULE: Final = "connector.conversion"
LONGEST: Final = 4 * 3600.0  # seconds for a conversion and a start, emulated, with a copy of large disks
_PROBE: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class ConversionResult:
    """`location`: the converted copy; empty when there is none. `notes`: sentences for people."""

    location: str
    notes: tuple[str, ...]
    report: Mapping[str, Any]


def trouble(module: str = MODULE) -> str:
    """Why no image can be converted on this computer; empty when it can."""
    try:
        with child.start(module, name="conversion", configuration={}, timeout=_PROBE):
            return ""
    except ConnectorError as failed:
        return str(failed)


def convert(directory: Path, network: str, *, boot_check: bool, module: str = MODULE) -> ConversionResult:
    """Convert the image in a directory. Repeating it continues after what was finished.

    `network`: "dhcp", "keep", or "none" to convert nothing; `boot_check`: start a copy of the result. What fails here is no error
    but a note that says why: the image is whole, and at a cutover its source is down.
    """
    request = {"directory": str(directory), "network": network, "boot_check": boot_check}
    try:
        with child.start(
            module, name=f"conversion of {directory.name}", configuration=request, timeout=LONGEST
        ) as process:
            return result(directory, process.ready)
    except ConnectorError as failed:
        log.warning("%s was not converted: %s", directory.name, failed)
        return result(directory, {"refusal" if network != "none" else "boot_refusal": str(failed)})


def result(directory: Path, answer: Mapping[str, Any]) -> ConversionResult:
    """What a child answered, for the details of an image."""
    location = directory / CONVERTED
    converted = str(location) if answer.get("conversion") and location.is_dir() else ""
    return ConversionResult(converted, notes(answer, converted), answer)


def notes(answer: Mapping[str, Any], converted: str) -> tuple[str, ...]:
    """Sentences for people about a conversion and a start. `converted`: where the copy is; empty if there is none."""
    conversion: Mapping[str, Any] = answer.get("conversion") or {}
    sentences = []
    if refusal := str(answer.get("refusal") or ""):
        sentences.append(f"not converted: {refusal}")
    elif converted:
        count = len(objects(conversion, "changes", converted))
        sentences.append(f"converted copy with {amounts.plural(count, 'change')}: {converted}")
    elif conversion:
        sentences.append("nothing had to be converted")
    if refusal := str(answer.get("boot_refusal") or ""):
        sentences.append(f"no copy was started: {refusal}")
    if boot := answer.get("boot"):
        unknown = "does not say whether it boots"
        verb = "boots" if boot["boots"] else "DOES NOT BOOT" if boot.get("known", True) else unknown
        reason = f" ({boot['reason']})" if boot["reason"] else ""
        sentences.append(f"a copy {verb}: {boot['outcome']}{reason} after {boot['seconds']:.0f} s")
    return tuple(sentences)
