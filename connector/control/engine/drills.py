"""The active runner does the drills that people ask for, one at a time, in a thread and, on this computer, a child process.

A row that says Running while this process runs another drill, or none, was left by a process that was killed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from connector.cloud.provider import DrillRequest, Drills, ImageRequest, Placement
from connector.control.domain.drills import Drill, DrillState
from connector.control.domain.jobs import JobStatus
from connector.control.store import Store
from connector.control.store.database import new_id
from connector.control.store.provider_ledger import instance_token
from connector.errors import ConnectorError, ControlFailed, Interrupted, TargetFailed

_LOG: Final = logging.getLogger(__name__)
_PATIENCE: Final = 15.0  # seconds in which a drill that is stopped has ended
_NOT_CONVERTED: Final = (
    "the job does not convert its images: set Conversion to dhcp or keep before the cutover,"
    " or convert its last image afterwards"
)
_GONE: Final = (JobStatus.DELETING, JobStatus.DELETED)


#: How the image of a drill was made, and where the job's instance may run.
DrillOrder = Callable[[Drill], tuple[ImageRequest, Placement]]


class DrillMonitor:
    """Carries drills out. Only the active runner looks; `close` may be called by any thread."""

    def __init__(self, store: Store, drills: Drills | None, order: DrillOrder) -> None:
        """`order` answers how the image of a drill was made."""
        self._store = store
        self._order = order
        self._drills = drills
        self._lock = threading.Lock()  # guards what follows
        self._current = ""  # id of the drill that runs here
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def look(self) -> None:
        """Begin the drill that has waited longest, if none runs; stop the one that shall not run any more."""
        with self._lock:
            current = self._current
        for drill in self._store.drills.open():
            is_unwanted = drill.stop or self._store.jobs.get(drill.job_id).status in _GONE
            if drill.state is DrillState.RUNNING and drill.id != current:
                self._store.drills.end(drill.id, DrillState.INTERRUPTED, error=_interrupted(drill).to_json())
            elif drill.state is DrillState.RUNNING and is_unwanted:
                self._halt.set()
            elif drill.state is DrillState.WAITING and is_unwanted:
                self._store.drills.end(drill.id, DrillState.STOPPED)
            elif drill.state is DrillState.WAITING and not current:
                current = self._begin(drill)

    def close(self) -> None:
        """Stop the drill under way, and wait until nothing of it runs. Later looks begin nothing."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._halt.set()
        if thread is not None:
            thread.join(_PATIENCE)

    def _begin(self, drill: Drill) -> str:
        """The id of the drill that runs now; empty if it does not run."""
        with self._lock:
            if self._closed or not self._store.drills.begin(drill.id):
                return ""
            self._halt.clear()
            self._current = drill.id
            self._thread = threading.Thread(
                target=self._do, args=(drill,), name=f"drill {drill.id}", daemon=True
            )
            self._thread.start()
        return drill.id

    def _do(self, drill: Drill) -> None:
        try:
            self._carry_out(drill)
        except (
            ConnectorError
        ) as failed:  # the database: the next look finds the row and says that it was interrupted
            _LOG.warning("the end of drill %s could not be recorded: %s", drill.id, failed)
        finally:
            with self._lock:
                self._current = ""

    def _carry_out(self, drill: Drill) -> None:
        end = self._store.drills.end
        try:
            if self._drills is None:
                raise TargetFailed("this target offers no drills", on=drill.image_name, remedy="see its page")
            details = self._details(drill)
            request = _request(drill, str(details.get("converted") or ""))
            if drill.plan_only and not self._drills.converts:
                image, placement = self._order(drill)
                request = replace(request, image=image, placement=placement)
            outcome = self._drills.run(request, self._halt, lambda line: self._tell(drill, line))
        except Interrupted:
            was_stopped = self._store.drills.get(drill.job_id, drill.id).stop or not self._closed
            state = DrillState.STOPPED if was_stopped else DrillState.INTERRUPTED
            end(drill.id, state, error=None if was_stopped else _interrupted(drill).to_json())
        except ConnectorError as failed:
            end(drill.id, DrillState.FAILED, error=failed.to_json())
        except Exception:  # noqa: BLE001 - outermost handler of a thread
            _LOG.exception("drill %s stumbled", drill.id)
            defect = ConnectorError(
                "a defect of the connector ended it", remedy="report it with the control plane's log"
            )
            end(drill.id, DrillState.FAILED, error=defect.to_json())
        else:
            boot = outcome.report.get("boot") or {}
            report = dict(outcome.report)
            if request.converted and report.get("conversion") is None and not report.get("refusal"):
                report["conversion"] = (details.get("conversion") or {}).get("conversion")
            end(
                drill.id,
                DrillState.DONE,
                boots=boot.get("boots"),
                report={**report, "note": self._note(drill, report)},
                kept={name: dict(facts) for name, facts in outcome.kept.items()},
            )

    def _details(self, drill: Drill) -> Mapping[str, Any]:
        """What is known of the image; nothing if it was removed."""
        images = self._store.resources.images(drill.job_id)
        return next((image.details for image in images if image.id == drill.image_id), {})

    def _note(self, drill: Drill, report: Mapping[str, Any]) -> str:
        """What the result does not say of the cutover itself."""
        converts = self._store.jobs.get(drill.job_id).definition.get("Conversion", "none") != "none"
        conversion = report.get("conversion") or {}
        return _NOT_CONVERTED if conversion.get("changes") and not converts else ""

    def _tell(self, drill: Drill, line: str) -> None:
        with suppress(ConnectorError):  # a line is lost, the drill goes on
            self._store.drills.tell(drill.id, line)


def new_drill_id() -> str:
    return new_id("d")


def _request(drill: Drill, converted: str) -> DrillRequest:
    return DrillRequest(
        id=drill.id,
        location=drill.location,
        token=instance_token(drill.job_id),
        job_id=drill.job_id,
        network=drill.network,
        converted=converted,
        plan_only=drill.plan_only,
        new_macs=drill.new_macs,
        timeout=drill.timeout,
        marker=drill.marker,
    )


def _interrupted(drill: Drill) -> ControlFailed:
    return ControlFailed("the control plane ended while it ran", on=drill.image_name, remedy="repeat it")
