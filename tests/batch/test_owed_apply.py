"""No after-apply hook is lost: wherever a `batch apply` is killed, and whatever could not be started, a repeated one runs it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from connector.batch.apply import Applied
from connector.batch.hooks import HookRunner
from connector.cli.batch import carry_out_plan
from connector.errors import ConnectorError, ControlFailed
from tests.batch.conftest import HEAD, Estate, wave
from tests.batch.test_cutover import hook

MACHINES = "machines:\n  - name: web-01\n  - name: web-02\n"
MANUAL = HEAD + "schedule: {start: manual}\n" + MACHINES


class Killed(BaseException):
    """The process is gone: it undoes nothing."""


class Applying:
    """Applies a manifest whose after-apply hook notes its machines."""

    def __init__(self, estate: Estate, place: Path) -> None:
        self.estate, self.place = estate, place
        self._hook = hook("after-apply", ["sh", "-c", f"cat >> {place}/ran; echo >> {place}/ran"])

    def apply(self, text: str) -> Applied:
        manifest = wave(text + self._hook)
        hooks = HookRunner(manifest, print)
        return carry_out_plan(self.estate.plane, self.estate.plan(manifest), hooks, as_json=True)

    @property
    def ran(self) -> list[list[str]]:
        file = self.place / "ran"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line)["machines"] for line in lines if line]

    def killed_at(self, call: int, text: str) -> bool:
        """Whether an apply made so many changing calls; it is killed before that one is sent."""
        lock, made, dead = threading.Lock(), 0, False

        def refuse(action: str, _given: dict[str, Any]) -> ConnectorError | None:
            nonlocal made, dead
            with lock:
                made += not action.startswith(("Describe", "List"))
                dead = dead or made == call
            if dead:
                raise Killed
            return None

        self.estate.desk.refuse = refuse
        try:
            self.apply(text)
        except Killed:
            return True
        finally:
            self.estate.desk.refuse = lambda _action, _given: None
        return False


@pytest.fixture
def applying(estate: Estate, tmp_path: Path) -> Applying:
    estate.has("web-01", "web-02")
    return Applying(estate, tmp_path)


def machines_of(ran: list[list[str]]) -> set[str]:
    return {machine for machines in ran for machine in machines}


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_hook_is_not_lost_wherever_an_apply_that_creates_is_killed(applying: Applying, call: int) -> None:
    """Two jobs are created, and the third changing call is about the hook."""
    assert applying.killed_at(call, MANUAL)
    applying.apply(MANUAL)
    assert machines_of(applying.ran) == {"web-01", "web-02"}
    before = len(applying.ran)
    applying.apply(MANUAL)
    assert len(applying.ran) == before  # nothing is owed any more


@pytest.mark.parametrize("call", [1, 3, 5])
def test_a_hook_is_not_lost_wherever_an_apply_that_changes_is_killed(applying: Applying, call: int) -> None:
    applying.apply(MANUAL)
    (applying.place / "ran").unlink()
    changed = MANUAL.replace("  name: w1", "  name: w1\n  labels: {owner: me}")
    assert applying.killed_at(call, changed)
    applying.apply(changed)
    assert machines_of(applying.ran) == {"web-01", "web-02"}


def test_a_start_that_fails_loses_no_hook(applying: Applying) -> None:
    lost = [ControlFailed("no answer")]
    applying.estate.desk.refuse = lambda action, _: (
        lost.pop() if action == "StartReplicationJob" and lost else None
    )
    text = HEAD + "schedule: {start: now}\n" + MACHINES
    assert len(applying.apply(text).failures) == 1
    assert applying.ran == []
    assert len(applying.apply(text).started) == 1
    (machines,) = applying.ran
    assert sorted(machines) == ["web-01", "web-02"]


def test_a_failed_apply_owes_no_hook(applying: Applying) -> None:
    applying.apply(MANUAL)
    tags = [job.tags for job in applying.estate.plane.jobs("w1")]
    failing = [ControlFailed("no answer")]
    applying.estate.desk.refuse = lambda action, _: (
        failing.pop() if action == "ModifyReplicationJobAttribute" and failing else None
    )
    done = applying.apply(MANUAL.replace("schedule:", "  bandwidth: 10Mbit/s\nschedule:"))
    assert done.failures and not done.left
    assert [job.tags for job in applying.estate.plane.jobs("w1")] == tags
