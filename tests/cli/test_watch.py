"""Watching: what is shown while data flows, how it ends, and what it survives."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import termios
from typing import Any

import pytest

from connector.control.domain.refusals import InstanceChangedByOthers
from connector.errors import ControlFailed, ReaderFailed, catalogue
from connector.outages import Silence
from tests.cli.conftest import Connector, Speaker, process
from tests.smc.conftest import Cloud
from tests.smc.test_extensions import READING, Reader
from tests.waiting import PATIENCE, eventually

JOBS = {"TotalCount": 1, "ReplicationJobs": {"ReplicationJob": [{"JobId": "j-1", "Name": "web"}]}}


def progress(status: str, **more: Any) -> dict[str, Any]:
    return {"ReplicationJobs": {"ReplicationJob": [{"JobId": "j-1", "Status": status, **more}]}}


def heard(terminal: int, wanted: str, so_far: str = "") -> str:
    """What the terminal showed up to `wanted`."""
    while wanted not in so_far:
        try:
            so_far += os.read(terminal, 4096).decode()
        except OSError:
            raise AssertionError(f"the command ended without {wanted!r}: {so_far}") from None
    return so_far


def test_a_terminal_sees_a_bar_per_disk_until_the_job_is_finished(cloud: Cloud) -> None:
    reader = Reader(cloud)
    pass_id = reader.take()
    reader.client.progress(pass_id, "reading", [READING])
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    watch = process(cloud, "job", "watch", reader.name, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = heard(terminal, "limited by the network")
    assert "Hard disk 2" in shown
    assert "25 %" in shown
    assert "0:00:33 left" in shown
    reader.done()
    shown = heard(terminal, "Finished", shown)
    assert watch.wait(PATIENCE) == 0
    os.close(terminal)


def test_a_program_gets_events_and_a_result(cloud: Cloud, connector: Connector) -> None:
    reader = Reader(cloud)
    pass_id = reader.take()
    reader.client.progress(pass_id, "reading", [READING])
    watch = process(cloud, "job", "watch", reader.job, "--json", stdout=subprocess.PIPE)
    assert watch.stdout is not None
    phase, disk = (json.loads(watch.stdout.readline()) for _ in range(2))
    assert (phase["event"], phase["machine"], phase["phase"]) == ("phase", reader.name, "reading")
    assert (disk["event"], disk["key"], disk["done"], disk["rate"]) == ("disk", 1, READING["done"], 10**8)
    failed = ReaderFailed("VDDK is missing", remedy="install it")
    reader.client.finish(pass_id, "failed", failed, {})
    *_, result, error = [json.loads(line) for line in watch.communicate(timeout=PATIENCE)[0].splitlines()]
    assert (result["event"], result["status"]) == ("result", "InError")
    assert result["error"] == "VDDK is missing; install it"
    assert (error["error"], watch.returncode) == ("ReaderFailed", ReaderFailed.exit_code)
    said = connector("job", "watch", reader.job, code=ReaderFailed.exit_code).err
    assert f"see connector job logs {reader.name}" in said.splitlines()[-1]


CODES = {name: kind.exit_code for name, kind in catalogue().items()}
CODES |= {kind.code: kind.exit_code for kind in InstanceChangedByOthers.__subclasses__()}


@pytest.mark.parametrize("shown", CODES)
def test_a_failed_job_ends_the_watching_with_the_exit_code_of_its_failure(
    speaker: Speaker, run: Connector, shown: str
) -> None:
    speaker.say(200, JOBS)
    speaker.say(200, progress("InError", ErrorCode=shown, ErrorMessage="it broke"))
    assert "web: it broke" in run("job", "watch", "j-1", code=CODES[shown]).err


def test_an_interrupt_ends_the_watching_and_not_the_job(cloud: Cloud) -> None:
    reader = Reader(cloud)
    reader.take()
    watch = process(cloud, "job", "watch", reader.name, stderr=subprocess.PIPE)
    assert watch.stderr is not None
    assert watch.stderr.readline().startswith(f"{reader.name}: ")
    watch.send_signal(signal.SIGINT)
    _, said = watch.communicate(timeout=PATIENCE)
    assert watch.returncode == 130
    assert "the jobs go on" in said
    assert reader.progress()["Status"] == "Running"
    reader.done()


def test_a_log_is_followed_to_the_end_of_the_run(cloud: Cloud) -> None:
    reader = Reader(cloud)
    reader.take()
    follow = process(cloud, "job", "logs", reader.name, "--follow", "--lines", "2", stdout=subprocess.PIPE)
    assert follow.stdout is not None
    first = follow.stdout.readline()
    assert "offered" in first or "begun" in first
    reader.done()
    rest, _ = follow.communicate(timeout=PATIENCE)
    lines = [first, *rest.splitlines()]
    assert lines[-1].endswith("-> Finished")
    assert len(lines) == len(set(lines))
    assert follow.returncode == 0


def test_silence_is_borne_and_told_once(speaker: Speaker, run: Connector) -> None:
    speaker.say(200, JOBS)
    for _ in range(12):  # more than one look repeats by itself, however quick the machine is
        speaker.say(0, "")
    speaker.say(200, progress("Running", BusinessStatus="Syncing", WaitingFor="waits: no appliance"))
    speaker.say(200, progress("Finished"))
    said = run("job", "watch", "j-1").err
    assert said.count("still trying") == 1
    assert said.count("the control plane answers again after ") == 1
    assert "web: waits: no appliance" in said
    assert said.endswith("web: Finished\n")


def test_silence_has_an_end() -> None:
    now, said, silent = [0.0], [], ControlFailed("no answer")
    patience = Silence(said.append, clock=lambda: now[0])
    for now[0] in (1.0, 50.0, 60.0):
        patience.bear(silent)
    patience.heard()
    for now[0] in (100.0, 160.0):
        patience.bear(silent)
    now[0] = 161.0
    with pytest.raises(ControlFailed):
        patience.bear(silent)
    assert len(said) == 3
    assert said[1] == "the control plane answers again after 59 s"
    with pytest.raises(ControlFailed):
        Silence(said.append).bear(ControlFailed("a page", retryable=False))


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (progress("Stopped"), 0, "Stopped"),
        (progress("Expired"), 11, "its valid time has passed"),
        ({"ReplicationJobs": {}}, 3, "the job is gone"),
        (progress("InError", ErrorCode="Unheard.Of", ErrorMessage="no room; make some"), 9, "no room"),
        (progress("InError", ErrorCode="TargetFull", ErrorMessage="full"), 9, "full"),
    ],
    ids=["stopped", "expired", "gone", "of its cloud", "full"],
)
def test_how_a_job_rests_decides_the_exit_code(
    speaker: Speaker, run: Connector, answer: dict[str, Any], code: int, says: str
) -> None:
    speaker.say(200, JOBS)
    speaker.say(200, answer)
    assert says in run("job", "watch", "j-1", code=code).err


def test_entries_that_appear_late_are_not_missed(speaker: Speaker, run: Connector) -> None:
    def log(status: str, *ids: int) -> dict[str, Any]:
        entries = [{"EntryId": n, "Time": "t", "Kind": "k", "Text": f"entry {n}"} for n in ids]
        return {"JobId": "j-1", "Status": status, "LogEntries": {"LogEntry": entries}}

    speaker.say(200, JOBS)
    speaker.say(200, log("Running", 1, 3))
    speaker.say(200, log("Running", 1, 2, 3, 4))
    speaker.say(200, log("Finished", 1, 2, 3, 4))
    said = run("job", "logs", "j-1", "--follow").out
    assert [line.split()[-1] for line in said.splitlines()] == ["1", "3", "2", "4"]
    eventually(lambda: len(speaker.asked) == 4, "it asked until nothing came")
