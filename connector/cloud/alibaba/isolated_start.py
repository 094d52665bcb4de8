"""Starts an instance of an image that nothing reaches and that reaches nothing, and watches its console.

The cloud answers the end of the console each time, so each answer is read anew. All that a start makes has the start's owner, and
goes with `remove`.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any, Final

from connector.cloud.alibaba.api import Api, Json
from connector.cloud.alibaba.instances import CloudInstances, own
from connector.cloud.alibaba.launch import LaunchOrder
from connector.cloud.console import BootOutcome, Console
from connector.cloud.provider import Placement
from connector.errors import Interrupted, TargetFailed

NAME: Final = "connector-drill"
TIMEOUT: Final = 600.0  # seconds until a machine that shows nothing counts as silent, if nothing else is said
_OFF: Final = ("Stopping", "Stopped")
_SECOND_LOOK: Final = 2  # answers after the first sign of an outcome: a reason comes later than a failure
_LARGEST: Final = 16 << 20  # bytes of a console or a picture that are kept


@dataclass(frozen=True, slots=True)
class StartOrder:
    """The start of an image by its id. `owner` names everything that is made; `timeout`: seconds until it counts as silent.

    `marker`: what is awaited on the console instead of a login prompt.
    """

    owner: str
    job_id: str
    image: str
    architecture: str = "x86_64"
    timeout: float = 600.0
    marker: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class StartReport:
    """How a start ended, as `DrillOutcome` has it under `boot`, and what the console and the screen showed."""

    boot: dict[str, Any]
    console: bytes
    screen: bytes


class IsolatedStarts:
    """Thread-safe; only one thread at a time acts for one owner."""

    def __init__(self, api: Api, instances: CloudInstances) -> None:
        self._api = api
        self._settings = api.settings
        self._instances = instances
        self.timeout = TIMEOUT

    def run(self, order: StartOrder, halt: Event, say: Callable[[str], None]) -> StartReport:
        """Start it and watch. What it made is there until `remove`. Raises Interrupted after `halt`, TargetFailed."""
        say("starting an instance of the image")
        launch = LaunchOrder(
            order.owner,
            order.job_id,
            order.image,
            placement=Placement(architecture=order.architecture),
            name=NAME,
            description=f"a drill of job {order.job_id}; released by itself",
            isolated=True,
        )
        self._instances.launch(launch, own(order.owner, order.job_id))
        row = self._api.until(lambda: self._started(order, halt), "running", on=order.image)
        began = time.monotonic()
        console, output, is_off = self._watched(order, str(row["InstanceId"]), halt, say)
        seconds = time.monotonic() - began
        screen = b"" if is_off else self._screen(str(row["InstanceId"]))
        outcome = console.outcome or (BootOutcome.OFF if is_off else console.last_word)
        return StartReport(_boot(outcome, seconds, console, row), output, screen)

    def remove(self, owner: str) -> None:
        """Release what a start made. Harmless if it is gone."""
        self._instances.remove(owner)

    def _started(self, order: StartOrder, halt: Event) -> Json | None:
        _raise_if_halted(order, halt)
        row = self._instances.row(order.owner)
        return row if row is not None and row.get("Status") == "Running" else None

    def _watched(
        self, order: StartOrder, instance: str, halt: Event, say: Callable[[str], None]
    ) -> tuple[Console, bytes, bool]:
        """The console with the last outcome that was seen, its bytes, and whether the machine has switched itself off.

        Twice off, or not there, is off: a list may be late. An answer without text says nothing.
        """
        began, looks_left, looks_off = time.monotonic(), _SECOND_LOOK, 0
        best, output = Console(order.marker), b""
        while True:
            _raise_if_halted(order, halt)
            if (newer := self._output(instance)) and newer != output:
                output = newer
                say(f"{len(output)} bytes on its console after {time.monotonic() - began:.0f} s")
                console = Console(order.marker)
                console.feed(output)
                best = console if console.outcome is not None or best.outcome is None else best
            row = self._instances.row(order.owner)
            looks_off = looks_off + 1 if row is None or row.get("Status") in _OFF else 0
            if best.outcome is not None:
                looks_left -= 1
            has_ended = best.outcome is not None and (best.outcome.boots or looks_left < 0)
            if has_ended or looks_off > 1 or time.monotonic() - began > order.timeout:
                return best, output, looks_off > 1
            self._api.pause()

    def _output(self, instance: str) -> bytes:
        parameters = {"RegionId": self._settings.region, "InstanceId": instance}
        try:
            answer = self._api.ecs("GetInstanceConsoleOutput", parameters, on=instance)
        except TargetFailed as refused:
            if refused.retryable:
                return b""  # the next look asks again
            raise
        return _decoded(answer.get("ConsoleOutput"))

    def _screen(self, instance: str) -> bytes:
        """A picture of the screen; empty when there is none."""
        parameters = {"RegionId": self._settings.region, "InstanceId": instance, "WakeUp": True}
        try:
            return _decoded(self._api.ecs("GetInstanceScreenshot", parameters, on=instance).get("Screenshot"))
        except TargetFailed:
            return b""


def _raise_if_halted(order: StartOrder, halt: Event) -> None:
    if halt.is_set():
        raise Interrupted("it was stopped", on=order.image, remedy="repeat it")


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text or ""))[-_LARGEST:]
    except binascii.Error:
        return b""


def _boot(outcome: BootOutcome, seconds: float, console: Console, row: Json) -> dict[str, Any]:
    silent = (
        "its serial console shows nothing that says how the start ended: look at the picture of its screen"
    )
    network = (row.get("VpcAttributes") or {}).get("PrivateIpAddress") or {}
    return {
        "boots": outcome.boots,
        "known": outcome is not BootOutcome.SILENT,
        "outcome": str(outcome),
        "seconds": round(seconds, 1),
        "accelerator": str(row.get("InstanceType") or "ecs"),
        "secure_boot": False,
        "kernel": console.kernel,
        "host": console.host,
        "address": str(next(iter(network.get("IpAddress") or []), "")),
        "reason": console.reason or (silent if outcome is BootOutcome.SILENT else ""),
        "failed_units": list(console.failed),
        "console": None,
        "screen": None,
    }
