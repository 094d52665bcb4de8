"""Commands on jobs whose sources are down: all of them say so, and what makes it worse is asked first."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.cli.conftest import Connector, Speaker
from tests.waiting import PATIENCE

DOWN = {
    "JobId": "j-1", "Name": "web", "Status": "Running", "BusinessStatus": "Syncing", "CutOver": True, "SourceDown": True,
    "DownSinceTime": "2026-01-01T00:00:00Z", "BackInSeconds": 200,
}  # fmt: skip
SENTENCE = "web: SOURCE IS DOWN since 2026-01-01 00:00:00 UTC, back in about 4 min"


def listed(row: Mapping[str, object]) -> dict[str, object]:
    return {"TotalCount": 1, "ReplicationJobs": {"ReplicationJob": [dict(row)]}}


def asked(speaker: Speaker) -> list[str]:
    return [str(request["x-acs-action"]) for request in speaker.asked]


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_list_says_it_beside_the_table_and_beside_json(
    speaker: Speaker, run: Connector, flags: tuple[str, ...]
) -> None:
    speaker.say(200, listed(DOWN))
    said = run("job", "list", *flags)
    assert SENTENCE in said.err
    assert "SOURCE IS DOWN" in said.out if not flags else json.loads(said.out)["SourceDown"]


@pytest.mark.parametrize(
    ("command", "action"), [("stop", "StopReplicationJob"), ("delete", "DeleteReplicationJob")]
)
def test_what_leaves_a_source_down_needs_a_yes(
    speaker: Speaker, run: Connector, command: str, action: str
) -> None:
    speaker.say(200, listed(DOWN))
    refused = run("job", command, "web", code=2)
    assert "SOURCE IS DOWN" in refused.err and "give --yes" in refused.err
    assert action not in asked(speaker)
    done = run("job", command, "web", "--yes")
    assert action in asked(speaker)
    if command == "stop":
        assert "connector job start web --watch" in done.err
        assert "connector job rollback web --watch" in done.err


def belonging(row: Mapping[str, object]) -> dict[str, object]:
    """An answer that has the job, its source and the source's workgroup."""
    source = {"SourceId": "s-1", "Name": "web-01", "JobId": row["JobId"], "WorkgroupId": "g-1"}
    group = {"WorkgroupId": "g-1", "Name": "shop"}
    return listed(row) | {"SourceServers": {"SourceServer": [source]}, "Workgroups": {"Workgroup": [group]}}


def test_a_workgroup_is_asked_for_before_its_cutovers_are_stopped(speaker: Speaker, run: Connector) -> None:
    speaker.say(200, belonging(DOWN))
    refused = run("group", "stop", "shop", code=2)
    assert "SOURCE IS DOWN" in refused.err and "give --yes" in refused.err
    assert "StopReplicationJob" not in asked(speaker)
    run("group", "stop", "shop", "--yes")
    assert "StopReplicationJob" in asked(speaker)


def test_a_source_is_not_deleted_with_a_finished_cutover_unasked(speaker: Speaker, run: Connector) -> None:
    speaker.say(200, belonging(DOWN | {"SourceDown": False, "Status": "Finished", "BusinessStatus": ""}))
    refused = run("source", "delete", "web-01", "--force", code=2).err
    assert "cannot be rolled back after a deletion" in refused
    assert "DeleteSourceServer" not in asked(speaker)
    run("source", "delete", "web-01", "--force", "--yes")
    assert "DeleteSourceServer" in asked(speaker)


def test_without_a_terminal_a_job_whose_source_is_up_is_deleted_as_ever(
    speaker: Speaker, run: Connector
) -> None:
    speaker.say(200, listed(DOWN | {"SourceDown": False, "DownSinceTime": "", "Status": "Waiting"}))
    run("job", "delete", "web")
    assert "DeleteReplicationJob" in asked(speaker)


def test_a_finished_cutover_is_deleted_only_with_a_yes_because_its_rollback_is_lost(
    speaker: Speaker, run: Connector
) -> None:
    speaker.say(200, listed(DOWN | {"SourceDown": False, "Status": "Finished", "BusinessStatus": ""}))
    refused = run("job", "delete", "web", code=2).err
    assert "cannot be rolled back after a deletion" in refused and "--yes" in refused
    assert "DeleteReplicationJob" not in asked(speaker)
    run("job", "delete", "web", "--yes")
    assert "DeleteReplicationJob" in asked(speaker)


@pytest.mark.parametrize(("answer", "deleted"), [(b"n\n", False), (b"y\n", True), (b"\x04", False)])
def test_on_a_terminal_a_deletion_is_asked_first(
    speaker: Speaker, run: Connector, answer: bytes, deleted: bool
) -> None:
    assert run
    speaker.say(200, listed(DOWN | {"SourceDown": False, "DownSinceTime": "", "Status": "Waiting"}))
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "connector.cli.main", "job", "delete", "web"]
    done = subprocess.run(
        command, stdin=theirs, capture_output=True, text=True, timeout=PATIENCE, env=dict(os.environ)
    )
    os.close(ours)
    os.close(theirs)
    assert "Images stay. Delete web and the transferred data?" in done.stderr
    assert ("DeleteReplicationJob" in asked(speaker)) is deleted, done.stderr
    assert done.returncode == (0 if deleted else 130)
    assert ("stopped at the question; nothing was begun" in done.stderr) is not deleted


@pytest.mark.parametrize("since", ["2026-01-01T00:00:00Z", ""])
def test_a_rollback_that_is_watched_ends_with_the_power_where_the_cutover_had_shut_down(
    speaker: Speaker, run: Connector, since: str
) -> None:
    before = DOWN | {"Status": "InError", "DownSinceTime": since, "SourceDown": bool(since)}
    after = DOWN | {"Status": "Stopped", "BusinessStatus": "", "CutOver": False, "SourceDown": False}
    after |= {"SourceName": "web-01"}
    for row in (before, before, after | {"DownSinceTime": ""}):
        speaker.say(200, listed(row))
    done = run("job", "rollback", "web", "--watch")
    assert (done.out.splitlines()[-1] == "web-01 is powered on") is bool(since)


@pytest.mark.parametrize(
    ("cut_over", "said"), [(True, "web: the cutover is resumed"), (False, "web: started")]
)
def test_a_start_says_when_it_resumes_a_cutover(
    speaker: Speaker, run: Connector, cut_over: bool, said: str
) -> None:
    speaker.say(200, listed(DOWN | {"CutOver": cut_over, "SourceDown": False, "Status": "Stopped"}))
    assert said in run("job", "start", "web").out


def test_a_mistyped_command_is_answered_with_what_was_meant(run: Connector) -> None:
    assert "Did you mean 'migrate'?" in run("mgirate", code=2).err
    assert "Did you mean 'rollback'?" in run("job", "rolback", code=2).err
    assert "Did you mean" not in run("zzzzzz", code=2).err


def test_a_phase_is_said_before_that_the_source_is_down(speaker: Speaker, run: Connector) -> None:
    end = DOWN | {"Status": "Finished", "BusinessStatus": "", "SourceDown": False}
    for row in (DOWN, DOWN | {"Phase": "shutting the machine down"}, end):
        speaker.say(200, listed(row))
    lines = run("job", "watch", "web").err.splitlines()
    assert lines[0] == "web: shutting the machine down"
    assert lines[1].startswith("web: SOURCE IS DOWN since")


def test_who_watches_a_stop_reads_the_ways_on_once(speaker: Speaker, run: Connector) -> None:
    end = DOWN | {"Status": "Stopped", "BusinessStatus": ""}
    for row in (DOWN, DOWN, end):
        speaker.say(200, listed(row))
    done = run("job", "stop", "web", "--yes", "--watch")
    assert done.err.count("connector job rollback web --watch") == 1


def test_the_bars_are_full_when_the_pass_has_ended(speaker: Speaker, run: Connector) -> None:
    disk = {
        "Index": 0,
        "Label": "Hard disk 1",
        "SizeBytes": 100,
        "WantedBytes": 100,
        "ReadBytes": 0,
        "ZeroBytes": 0,
    }
    disk |= {"WireBytes": 0, "BytesPerSecond": 0, "Bottleneck": "", "State": ""}
    end = DOWN | {"Status": "Finished", "BusinessStatus": "", "SourceDown": False}
    for row, amount in ((DOWN, 0), (DOWN, 40), (end, 100)):
        speaker.say(200, listed(row | {"Disks": {"Disk": [disk | {"DoneBytes": amount}]}}))
    events = run("job", "watch", "web", "--json").lines
    assert [event["done"] for event in events if event["event"] == "disk"] == [40, 100]
