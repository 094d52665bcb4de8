"""Drills of a control plane without processes: what each finds is what the test says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from threading import Event
from typing import Any

from connector.cloud.provider import DrillOutcome, DrillRequest
from connector.control.domain.drills import Drill
from connector.control.engine.drills import DrillMonitor
from connector.control.service.drills import DrillOptions, DrillService
from connector.errors import Interrupted
from tests.control.fake_conversion import BOOT, CONVERSION
from tests.control.house import House
from tests.waiting import eventually


class Pretended:
    """Drills in memory. `fails`: what each raises; while `held` is not set one goes on running. `boot`: what a start finds."""

    def __init__(self) -> None:
        self.held = Event()
        self.held.set()
        self.fails: Exception | None = None
        self.boot: dict[str, Any] = dict(BOOT)
        self.contents: dict[str, bytes] = {}
        self.converts = True
        self.conversion: dict[str, Any] | None = CONVERSION
        self.requests: list[DrillRequest] = []

    def run(self, request: DrillRequest, halt: Event, say: Callable[[str], None]) -> DrillOutcome:
        self.requests.append(request)
        say("starting the copy")
        while not self.held.wait(0.02):
            if halt.is_set():
                raise Interrupted("it was stopped", on=request.id, remedy="repeat it")
        if self.fails is not None:
            raise self.fails
        boot = None if request.plan_only else self.boot
        report = {"conversion": self.conversion, "refusal": "", "conversion_seconds": 12.5, "boot": boot}
        return DrillOutcome(
            report, {} if request.plan_only else {n: _kept(c) for n, c in self.contents.items()}
        )

    def file(self, location: str, name: str) -> bytes | None:
        return self.contents.get(name)


def _kept(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


class Rehearsal:
    """A control plane without processes, and its drills."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.pretended = house.cloud.drills = Pretended()
        self.monitor = DrillMonitor(house.store, house.cloud.drills, house.steps.images.drill_order)
        self.service = DrillService(house.service)

    def job(self, name: str = "web") -> str:
        job = self.house.incremental(name)
        self.house.service.start(job)
        self.house.run(job)
        return job

    def ask(self, job: str, **options: Any) -> Drill:
        self.house.clock.advance(1.0)
        return self.service.start(job, DrillOptions(**options), "AK1")

    def done(self, job: str) -> Drill:
        def look() -> Drill | None:
            self.monitor.look()
            drill = self.house.store.drills.of([job])[0]
            return None if drill.state.is_open else drill

        return eventually(look, "the drill has ended")
