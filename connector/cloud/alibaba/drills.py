"""Drills of images on ECS: an isolated instance is made of the image, watched and released. Nothing is converted for a drill.

If a converted image was made of the image, that one is started: it is the one that is handed over.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Final

from connector.cloud import kept_files
from connector.cloud.alibaba.api import Api
from connector.cloud.alibaba.conversion import CloudConversions
from connector.cloud.alibaba.images import CloudImages
from connector.cloud.alibaba.isolated_start import IsolatedStarts, StartOrder, StartReport
from connector.cloud.provider import DRILL_FILES, DRILL_PREFIX, DrillOutcome, DrillRequest
from connector.errors import ConnectorError, NotFound

_LOG: Final = logging.getLogger(__name__)
_ID: Final = re.compile(r"m-[A-Za-z0-9]{1,60}")
_CONSOLE, _SCREEN = "console.log", "screen.jpg"
_AS_IT_IS: Final = "it is started as it is, because no converted image of it exists"


def drill_token(owner: str) -> str:
    """The owner of what a drill of this owner's image makes."""
    return f"{DRILL_PREFIX}{owner}"


class CloudDrills:
    """One drill at a time. What they keep is below `directory`, on this control plane only."""

    def __init__(
        self, api: Api, starts: IsolatedStarts, conversions: CloudConversions, directory: Path
    ) -> None:
        self._images = CloudImages(api)
        self._starts = starts
        self._conversions = conversions
        self._directory = directory
        self._locks: dict[str, threading.Lock] = {}  # by job: held by its drill or removal under way
        self._guard = threading.Lock()  # guards the dictionary of locks

    @property
    def converts(self) -> bool:
        return False

    def run(self, request: DrillRequest, halt: Event, say: Callable[[str], None]) -> DrillOutcome:
        if request.plan_only:
            return self._planned(request, halt, say)
        row = self._images.row(request.converted or request.location)
        if row is None:
            raise NotFound("the image is not there any more", on=request.location, remedy="run the job again")
        order = StartOrder(
            owner=drill_token(request.token),
            job_id=request.job_id,
            image=str(row["ImageId"]),
            architecture=str(row.get("Architecture") or "x86_64"),
            timeout=request.timeout,
            marker=re.compile(request.marker) if request.marker else None,
        )
        with self._exclusively(request.token):
            self._starts.remove(order.owner)  # of a drill that was killed
            try:
                started = self._starts.run(order, halt, say)
            finally:
                self._try_to_remove(request.token)
        return self._outcome(request, started)

    def _planned(self, request: DrillRequest, halt: Event, say: Callable[[str], None]) -> DrillOutcome:
        """The plan of the image's conversion, made on an instance with copies of its disks, which goes afterwards."""
        order = request.image
        image = self._images.stored(request.location, order) if order is not None else None
        if order is None or image is None:
            raise NotFound("the image is not there any more", on=request.location, remedy="run the job again")
        owner = drill_token(request.token)
        say("reading copies of its disks on an instance")
        with self._exclusively(request.token):
            self._conversions.remove(owner)  # of a plan that was killed
            try:
                wanted = replace(order, token=owner, conversion=request.network)
                report = self._conversions.plan(wanted, image, request.placement, halt)
            finally:
                self._try_to_remove(request.token)
        return DrillOutcome({**report, "conversion_seconds": 0.0, "boot": None}, {})

    def file(self, location: str, name: str) -> bytes | None:
        return kept_files.read(self._home(location) / name) if name in DRILL_FILES else None

    def forget(self, image: str) -> None:
        """Remove what drills of an image have shown."""
        shutil.rmtree(self._home(image), ignore_errors=True)

    def remove(self, token: str) -> None:
        """Remove what a drill of this job has left; its drill under way is waited for. Raises TargetFailed."""
        with self._exclusively(token):
            self._remove(token)

    def _exclusively(self, token: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(token, threading.Lock())

    def _remove(self, token: str) -> None:
        self._starts.remove(drill_token(token))
        self._conversions.remove(drill_token(token))

    def _try_to_remove(self, token: str) -> None:
        try:
            self._remove(token)
        except ConnectorError as failed:  # it stays recorded, and `remove` is called again
            _LOG.warning("what a drill made could not be removed: %s", failed)

    def _outcome(self, request: DrillRequest, started: StartReport) -> DrillOutcome:
        report: dict[str, Any] = {
            "conversion": None,
            "refusal": "" if request.converted else _AS_IT_IS,
            "conversion_seconds": 0.0,
            "boot": started.boot,
        }
        return DrillOutcome(report, self.keep(request.location, started))

    def keep(self, location: str, started: StartReport) -> dict[str, dict[str, object]]:
        """Keep what a start of the image showed; answer the digests."""
        contents = {_CONSOLE: started.console, _SCREEN: started.screen}
        return kept_files.write(self._home(location), contents)

    def _home(self, location: str) -> Path:
        if not _ID.fullmatch(location):
            raise NotFound("is no id of an image", on=location[:80], remedy="run the job again")
        return self._directory / location
