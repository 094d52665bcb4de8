"""Drills of the local provider: a child process converts a copy of an image and starts it. The image itself is only read.

All that a drill writes is in one directory, which goes with it, or with the next start of the provider when both were killed.
Only what it keeps is moved beside the image.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any, Final

from connector import child, private
from connector.cloud import conversion_lines, kept_files, machine_files
from connector.cloud.provider import DRILL_FILES, DrillOutcome, DrillRequest
from connector.errors import BadInput, NotFound, TargetFailed
from connector.files import move, replace

KEPT: Final = "drill"  # the directory below an image's
SUMMARY: Final = "drill.json"  # there: how it ended, and the digests of the files
_SUMMED: Final = ("boots", "outcome", "reason", "seconds", "kernel", "host", "accelerator", "failed_units")
LONGEST: Final = (
    8 * 3600.0
)  # seconds for a whole drill: an emulated conversion, and two starts of the longest timeout
_START: Final = 60.0  # seconds until the child must have looked for its tools
_STOP: Final = 5.0
_PLACES: Final = {"console": "console.log", "screen": "screen.png"}  # fields of a report, and their files
_BOOT: Final = {"boots": bool, "outcome": str, "seconds": int | float, "accelerator": str}


class LocalDrills:
    """Drills of the images below `root`, one at a time. `module`: the program that converts and starts."""

    def __init__(self, root: Path, module: str) -> None:
        self._images = root / "images"
        self._home = root / "drills"
        self._module = module
        self._longest = LONGEST
        shutil.rmtree(self._home, ignore_errors=True)  # of a process that was killed

    @property
    def converts(self) -> bool:
        return True

    def run(self, request: DrillRequest, halt: Event, say: Callable[[str], None]) -> DrillOutcome:
        directory = self._image(request.location)
        if machine_files.read(directory) is None:
            raise BadInput(f"has no {machine_files.NAME}", on=str(directory))
        shutil.rmtree(self._home, ignore_errors=True)
        private.directory(self._home)
        scratch = self._home / request.id
        try:
            scratch.mkdir(mode=0o700)
            report = self._report(directory, request, scratch, halt, say)
            if (boot := report.get("boot")) is None:
                return DrillOutcome(report, {})
            kept = _keep(scratch / KEPT, directory / KEPT, boot)
            places = {
                key: str(directory / KEPT / name) if name in kept else None for key, name in _PLACES.items()
            }
            return DrillOutcome({**report, "boot": boot | places}, kept)
        except OSError as error:
            raise TargetFailed(
                f"cannot use this directory: {error.strerror}",
                on=str(error.filename or directory),
                remedy="check space and permissions, then repeat the drill",
            ) from error
        finally:
            shutil.rmtree(self._home, ignore_errors=True)

    def file(self, location: str, name: str) -> bytes | None:
        return kept_files.read(self._image(location) / KEPT / name) if name in DRILL_FILES else None

    def _image(self, location: str) -> Path:
        directory = Path(location)
        if directory.parent != self._images or not directory.is_dir():
            raise NotFound("the image is not here any more", on=directory.name, remedy="run the job again")
        return directory

    def _report(
        self,
        directory: Path,
        request: DrillRequest,
        scratch: Path,
        halt: Event,
        say: Callable[[str], None],
    ) -> Mapping[str, Any]:
        order = {
            "directory": str(directory),
            "scratch": str(scratch),
            "keep": str(scratch / KEPT),
            "network": request.network,
            "plan_only": request.plan_only,
            "new_macs": request.new_macs,
            "timeout": request.timeout,
            "marker": request.marker,
        }
        name = f"drill of {directory.name}"
        with child.start(self._module, name=name, configuration={"drill": order}, timeout=_START) as process:
            try:
                return _checked(
                    conversion_lines.result(process, self._longest, halt, say), name, request.plan_only
                )
            finally:
                process.stop(_STOP)


def _checked(report: object, name: str, plan_only: bool) -> Mapping[str, Any]:
    """The report, if it has the form of one."""
    if not isinstance(report, dict) or not _is_sound(report, plan_only):
        raise conversion_lines.broken("the program that converts and starts answered what is no report", name)
    return conversion_lines.shortened(report)


def _is_sound(report: Mapping[str, Any], plan_only: bool) -> bool:
    """Whether people can be shown it."""
    boot = report.get("boot")
    if not conversion_lines.is_conversion(report.get("conversion")):
        return False
    if plan_only:
        return boot is None
    return isinstance(boot, dict) and all(isinstance(boot.get(key), kind) for key, kind in _BOOT.items())


def _keep(made: Path, place: Path, boot: Mapping[str, Any]) -> dict[str, dict[str, object]]:
    """Move what a start kept to `place`, instead of what the drill before kept; answer the digests.

    A summary has the outcome and the digests: it stays with the image, wherever that is moved.
    """
    if not made.is_dir():
        return {}
    for other in made.iterdir():
        if other.name in DRILL_FILES and not other.is_symlink():
            other.chmod(0o600)
        else:
            other.unlink()
    contents = {name: kept_files.read(made / name) for name in DRILL_FILES}
    kept = kept_files.facts({name: content for name, content in contents.items() if content is not None})
    summary = {name: boot.get(name) for name in _SUMMED} | {"version": 1, "files": kept}
    summary["ended"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    replace(made / SUMMARY, (json.dumps(conversion_lines.storable(summary), indent=2) + "\n").encode())
    former = place.with_name(f".{place.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    if place.exists():
        move(place, former)
    move(made, place)
    shutil.rmtree(former, ignore_errors=True)
    return kept
