"""A drill starts a copy of an image, or only plans its conversion. Its outcome is kept, whether or not the machine boots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connector.control.domain.entities import Json


class DrillState(StrEnum):
    """How far a drill is. `DONE`: it has a report, whether or not the machine boots."""

    WAITING = "Waiting"
    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    STOPPED = "Stopped"
    INTERRUPTED = "Interrupted"

    @property
    def is_open(self) -> bool:
        return self in (DrillState.WAITING, DrillState.RUNNING)


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill of one image, or only the plan of its conversion. `asked_by`: the access key. `phase`: its newest line.

    `timeout`, `marker`, `network`, `new_macs`, `report` and `kept`: as in `DrillRequest` and `DrillOutcome`. `boots`: None
    unless a copy was started.
    """

    id: str
    job_id: str
    image_id: str
    image_name: str
    location: str
    run_number: int
    plan_only: bool
    network: str
    new_macs: bool
    timeout: float
    marker: str
    asked: float
    asked_by: str
    state: DrillState = DrillState.WAITING
    stop: bool = False
    started: float | None = None
    ended: float | None = None
    phase: str = ""
    boots: bool | None = None
    report: Json | None = None
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: Json | None = None
