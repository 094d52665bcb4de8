"""The extensions answer what their tables promise, whatever appliances report."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from connector.control.domain.access import Role
from connector.control.smc.operations import Field
from connector.errors import ReaderFailed
from connector.model import Finding, Severity
from connector.transfer import evidence
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh
from tests.smc.test_fields import OPERATIONS
from tests.waiting import eventually

GIB = 1 << 30
TYPES = {"string": str, "integer": int, "float": float, "boolean": bool}
READING = {
    "key": 2001,
    "label": "Hard disk 2",
    "capacity": 10 * GIB,
    "wanted": 4 * GIB,
    "done": GIB,
    "read": GIB,
    "zero": 5,
    "wire": GIB // 2,
    "rate": 1e8,
    "bottleneck": "network",
    "reader": "vddk, nfc",
    "state": "reading",
}


def ask(cloud: Cloud, action: str, role: Role = Role.READER, **parameters: Any) -> Any:
    """A checked answer: every field of the table with its type, and no other."""
    answer = cloud.raw(action, {name.replace("__", "."): str(v) for name, v in parameters.items()}, role)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    check(OPERATIONS[action].answers, {k: v for k, v in body.items() if k != "RequestId"}, action)
    return body


def check(fields: tuple[Field, ...], found: dict[str, Any], path: str) -> None:
    assert set(found) == {field.name for field in fields}, path
    for field in fields:
        value = found[field.name]
        if not field.item:
            assert type(value) is TYPES[field.kind], f"{path}.{field.name}"
            continue
        assert set(value) == {field.item}
        for item in value[field.item]:
            if field.fields:
                check(field.fields, item, f"{path}.{field.name}")
            else:
                assert type(item) is str


class Reader:
    """An appliance of one source whose every word the test says."""

    def __init__(self, cloud: Cloud, **options: Any) -> None:
        self.cloud, self.name = cloud, fresh("vm")
        self.robot, ids = cloud.sources(machine("vm-1", self.name, 2))
        self.client = cloud.plane.client(self.robot.membership)
        self.source = ids[self.name]
        self.job = cloud.plane.jobs.create(self.source, self.name, **options)["id"]

    def take(self) -> str:
        self.cloud.plane.jobs.start(self.job)
        return self.next()

    def next(self) -> str:
        """The pass that is offered next."""
        self.order = eventually(lambda: self.client.take(1.0), "the pass is offered")
        return str(self.order["pass_id"])

    def done(self, result: dict[str, Any] | None = None) -> None:
        """The pass that was taken last is reported, with proof."""
        self.cloud.plane.done(self.robot.membership, self.order, result)

    def progress(self) -> Any:
        (row,) = ask(self.cloud, "DescribeReplicationJobProgress", JobId__1=self.job)["ReplicationJobs"][
            "ReplicationJob"
        ]
        return row


def test_progress_from_ready_through_reading_to_the_end(cloud: Cloud) -> None:
    reader = Reader(cloud)
    row = reader.progress()
    assert (row["Status"], row["RunNumber"], row["PassId"], row["Disks"]["Disk"]) == ("Ready", 0, "", [])
    assert row["AllowedOperations"]["AllowedOperation"] == ["StartReplicationJob", "DeleteReplicationJob"]
    pass_id = reader.take()
    reader.client.progress(pass_id, "reading", [READING])
    row = reader.progress()
    assert (row["Status"], row["BusinessStatus"], row["Phase"]) == ("Running", "Syncing", "reading")
    assert (row["SourceName"], bool(row["ApplianceName"])) == (reader.name, True)
    assert (row["PassId"], row["RunNumber"], row["RunType"], row["Progress"]) == (pass_id, 1, "Manual", 25.0)
    (disk,) = row["Disks"]["Disk"]
    assert (disk["Index"], disk["Label"], disk["SizeBytes"]) == (1, "Hard disk 2", 10 * GIB)
    assert (disk["BytesPerSecond"], disk["Bottleneck"]) == (10**8, "network")
    assert disk["Readers"] == "vddk, nfc"
    assert disk["RemainingSeconds"] == row["RemainingSeconds"] == 33  # 3 GiB at 100 MB/s
    assert row["AllowedOperations"]["AllowedOperation"] == ["StopReplicationJob"]
    assert (disk["DiskKey"], row["RunEndTime"], row["RunOutcome"], row["ErrorKind"]) == (2001, "", "", "")
    begun = datetime.fromisoformat(row["RunStartTime"]).timestamp()
    assert 0 < time.time() - begun < 60
    reader.done()
    row = eventually(lambda: (r := reader.progress())["Status"] == "Finished" and r, "the job finishes")
    assert (row["Progress"], row["BytesPerSecond"], row["Disks"]["Disk"][0]["BytesPerSecond"]) == (
        100.0,
        0,
        0,
    )
    assert row["RunOutcome"] == "done"
    assert begun < datetime.fromisoformat(row["RunEndTime"]).timestamp() <= time.time()


def test_progress_is_in_the_order_asked_for_and_leaves_out_what_is_not_there(cloud: Cloud) -> None:
    one, two = Reader(cloud), Reader(cloud)
    body = ask(
        cloud,
        "DescribeReplicationJobProgress",
        JobId__1=two.job,
        JobId__2="j-nobody",
        JobId__3=one.job,
        JobId__4=two.job,
    )
    found = [row["JobId"] for row in body["ReplicationJobs"]["ReplicationJob"]]
    assert found == [two.job, one.job]
    assert cloud.raw("DescribeReplicationJobProgress", {}).json()["Code"] == "MissingParameter.JobId"


def test_what_failed_is_said_with_its_remedy(cloud: Cloud) -> None:
    reader = Reader(cloud)
    failed = ReaderFailed("VDDK is missing", remedy="install it")
    reader.client.finish(reader.take(), "failed", failed, {})
    row = eventually(lambda: (r := reader.progress())["Status"] == "InError" and r, "the job fails")
    assert (row["ErrorCode"], row["ErrorMessage"]) == ("ReaderFailed", "VDDK is missing; install it")
    shown = (row["ErrorKind"], row["ErrorReason"], row["ErrorRemedy"], row["ErrorRetryable"])
    assert shown == ("ReaderFailed", "VDDK is missing", "install it", failed.retryable)


def test_a_log_is_read_in_pieces_and_every_entry_comes_once(cloud: Cloud) -> None:
    reader = Reader(cloud)
    with reader.robot:
        cloud.plane.jobs.start(reader.job)
        eventually(lambda: reader.progress()["Status"] == "Finished", "the job finishes")
    whole = ask(cloud, "DescribeReplicationJobLog", JobId=reader.job)
    entries = whole["LogEntries"]["LogEntry"]
    assert whole["TotalCount"] == len(entries) > 6
    assert [e["EntryId"] for e in entries] == sorted({e["EntryId"] for e in entries})
    assert entries[0]["Kind"] == "created"
    assert entries[-1]["Text"].endswith("-> Finished")
    pieces: list[Any] = []
    while piece := ask(
        cloud,
        "DescribeReplicationJobLog",
        JobId=reader.job,
        AfterEntryId=pieces[-1]["EntryId"] if pieces else 0,
        MaxResults=4,
    )["LogEntries"]["LogEntry"]:
        assert len(piece) <= 4
        pieces += piece
    assert pieces == entries
    beyond = ask(cloud, "DescribeReplicationJobLog", JobId=reader.job, AfterEntryId=(1 << 31) - 1)
    assert beyond["LogEntries"]["LogEntry"] == []
    newest = ask(cloud, "DescribeReplicationJobLog", JobId=reader.job, MaxResults=2)
    assert newest["LogEntries"]["LogEntry"] == entries[-2:]


def test_passes_show_what_was_proved_and_how_long_the_source_was_down(cloud: Cloud) -> None:
    reader = Reader(cloud, run_once=False)
    disk = {"label": "Hard disk 1", "kind": "delta", "capacity": 10 * GIB, "planned": 3, "read": 3, "zero": 0}
    disk |= {"wire": 2, "seconds": 1.5, "digest": "ab" * 32, "note": "why", "key": 2000}
    toll = {"create": 0.5, "remove": None, "left": "a file is locked"}
    paces = [{"at": 1.0, "pace": "slower", "reason": "NFC memory"}]
    reader.take()
    reader.done()
    cloud.plane.reach(reader.job, "Waiting")
    cloud.plane.jobs.cutover(reader.job)
    pass_id = reader.next()
    reader.client.shutting_down(pass_id)
    time.sleep(0.2)
    reader.done({"disks": [disk], "toll": toll, "governor": paces})
    eventually(lambda: reader.progress()["Status"] == "Finished", "the job finishes")
    body = ask(cloud, "DescribeReplicationJobPasses", JobId=reader.job)
    row, before = body["Passes"]["Pass"]
    assert (body["TotalCount"], row["State"], row["Outcome"], row["RunNumber"]) == (2, "Finished", "done", 2)
    assert (row["Final"], before["Final"], before["DowntimeSeconds"]) == (True, False, -1.0)
    assert 0.2 < row["DowntimeSeconds"] < 60
    snapshot = (row["SnapshotCreateSeconds"], row["SnapshotRemoveSeconds"], row["SnapshotLeft"])
    assert snapshot == (0.5, -1.0, "a file is locked")
    pace = {"Time": "1970-01-01T00:00:01Z", "Pace": "slower", "Reason": "NFC memory"}
    assert row["PaceChanges"]["PaceChange"] == [pace]
    assert (row["Task"], before["Task"], before["SnapshotCreateSeconds"]) == ("final", "read", -1.0)
    assert body["ForecastSeconds"] == -1.0
    (shown,) = row["Disks"]["Disk"]
    assert shown["DiskKey"] == 2000
    assert (shown["Kind"], shown["WireBytes"], shown["Seconds"], shown["Digest"]) == (
        "delta",
        2,
        1.5,
        "ab" * 32,
    )


@pytest.mark.parametrize(
    "result",
    [
        {"disks": [{"read": "x", "seconds": None, "capacity": 1e300, "label": ["a"]}, 5, None]},
        {"disks": "none"},
        {"disks": [{"planned": True, "wire": -1.5, "digest": {}}]},
        {"disks": [{"key": "x"}], "toll": [1], "governor": {"a": 1}},
        {"toll": {"create": "x", "left": ["y"]}, "governor": [5, {"at": "x", "pace": None}]},
    ],
)
def test_a_report_that_makes_no_sense_is_still_shown(cloud: Cloud, result: dict[str, Any]) -> None:
    reader = Reader(cloud)
    reader.take()
    reader.done(result)
    (row,) = ask(cloud, "DescribeReplicationJobPasses", JobId=reader.job)["Passes"]["Pass"]
    assert row["DowntimeSeconds"] == -1.0


def test_r1_what_costs_is_listed_and_gone_when_the_job_is_over(cloud: Cloud) -> None:
    reader = Reader(cloud)
    pass_id = reader.take()
    reader.client.record(pass_id, f"snapshot-{pass_id}", "snapshot", "snapshot-7")
    body = ask(cloud, "DescribeReplicationJobResources", JobId=reader.job, Released="false")
    found = {row["Kind"]: row for row in body["Resources"]["Resource"]}
    assert set(found) == {"instance", "disk", "snapshot"}
    assert (found["instance"]["Billable"], found["snapshot"]["Billable"]) == (False, False)  # it is local
    assert (found["snapshot"]["ResourceId"], found["snapshot"]["PassId"]) == ("snapshot-7", pass_id)
    reader.client.record(pass_id, f"snapshot-{pass_id}", "snapshot", None, removed=True)
    reader.done()
    eventually(lambda: reader.progress()["Status"] == "Finished", "the job finishes")
    body = ask(cloud, "DescribeReplicationJobResources", JobId=reader.job, Released="false")
    (left,) = body["Resources"]["Resource"]
    assert (left["Kind"], left["Name"], left["Format"], left["Ready"]) == (
        "image",
        reader.name,
        "qcow2",
        True,
    )
    assert left["CompletedTime"] and left["ImageId"]
    assert json.loads(left["Details"]).get("location", "") == left["Location"]
    body = ask(cloud, "DescribeReplicationJobResources", JobId=reader.job, PageSize=2, PageNumber=2)
    assert (body["TotalCount"], len(body["Resources"]["Resource"])) == (5, 2)  # of two disks


def test_findings_say_whether_a_job_is_possible(cloud: Cloud) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    found = Finding("D1", Severity.WARM_BLOCK, name, "an independent disk", "power it off")
    cloud.plane.client(robot.membership).put_sources([machine("vm-1", name)], {"vm-1": [found]})
    body = ask(cloud, "DescribeSourceServerFindings", SourceId__1=ids[name])
    (row,) = body["SourceServers"]["SourceServer"]
    assert (row["Eligible"], row["MachineId"], row["PowerState"]) == (False, "vm-1", "poweredOn")
    assert row["InstanceUuid"] == "uuid-vm-1"
    body = ask(cloud, "DescribeSourceServerFindings", MachineId__1="vm-1", PageSize=50)
    assert ids[name] in [row["SourceId"] for row in body["SourceServers"]["SourceServer"]]
    body = ask(cloud, "DescribeSourceServerFindings", MachineId__1="vm-none", SourceId__1=ids[name])
    assert body["TotalCount"] == 0
    shown = {name.lower(): value for name, value in row["Findings"]["Finding"][0].items()}
    assert shown.items() <= dataclasses.asdict(found).items()
    assert set(shown) == {"check", "severity", "subject", "message", "remedy"}
    refused = cloud.raw("CreateReplicationJob", {"SourceId": ids[name], "RegionId": "r"})
    assert refused.json()["Code"] == "SourceServer.Ineligible"


def test_appliances_by_name_vcenter_and_life(cloud: Cloud) -> None:
    name = fresh("site")
    membership = cloud.plane.enrol(name, f"https://{name}:443")
    cloud.plane.client(membership).heartbeat([])

    def found(**filters: Any) -> list[str]:
        body = ask(cloud, "DescribeMigrationAppliances", **filters)
        return [row["ApplianceId"] for row in body["Appliances"]["Appliance"]]

    assert found(Name=name) == found(VCenter=f"https://{name}:443") == [membership.appliance_id]
    assert found(ApplianceId__1=membership.appliance_id, Online="true") == [membership.appliance_id]
    assert found(Name=name, Online="false") == found(Name=name[:-1]) == []
    assert len(found(PageSize=1)) == 1


@pytest.mark.parametrize(
    "action",
    ["DescribeReplicationJobLog", "DescribeReplicationJobPasses", "DescribeReplicationJobResources"],
)
def test_a_name_is_no_id(cloud: Cloud, action: str) -> None:
    reader = Reader(cloud)
    for word in (reader.name, "j-nobody"):
        assert cloud.raw(action, {"JobId": word}).json()["Code"] == "ReplicationJob.NotFound"


def test_a_name_that_several_have_is_no_id_either(cloud: Cloud) -> None:
    name = fresh("vm")
    for _ in range(2):
        cloud.sources(machine("vm-1", name))
    answer = cloud.raw("CreateReplicationJob", {"SourceId": name, "RegionId": "r"})
    assert (answer.status_code, answer.json()["Code"]) == (404, "SourceServer.NotFound")


def test_the_current_sdk_calls_an_extension_by_its_name(cloud: Cloud) -> None:
    reader = Reader(cloud)
    answer = cloud.by_sdk("DescribeReplicationJobLog", {"JobId": reader.job}, Role.READER)
    assert answer["LogEntries"]["LogEntry"][0]["Kind"] == "created"


def test_r13_a_period_is_estimated_together_and_for_each_source(cloud: Cloud) -> None:
    one, two = cloud.source(1), cloud.source(2)
    refused = cloud.raw("EstimateMigration", {"SourceId.1": one})
    assert (refused.status_code, refused.json()["Code"]) == (400, "InvalidParameter.BandwidthLimit")
    body = ask(
        cloud, "EstimateMigration", SourceId__1=two, SourceId__2=one, SourceId__3=two, BandwidthLimit=80
    )
    shares = body["SourceServers"]["SourceServer"]
    assert [(row["SourceId"], row["Bytes"], row["BytesMeasured"]) for row in shares] == [
        (two, 20 * GIB, False),
        (one, 10 * GIB, False),
    ]
    assert body["TransferSeconds"] == round(30 * GIB / 1e7, 1)
    assert (body["BytesPerSecond"], body["RateMeasured"]) == (10**7, False)
    assert body["TotalSeconds"] >= max(row["TotalSeconds"] for row in shares)
    unknown = cloud.raw("EstimateMigration", {"SourceId.1": "s-nobody", "BandwidthLimit": "1"})
    assert unknown.json()["Code"] == "SourceServer.NotFound"


def test_r14_a_test_migration_measures_the_line(cloud: Cloud) -> None:
    reader = Reader(cloud)
    reader.take()
    disk = {"key": 2000, "label": "a", "planned": 3 * GIB, "seconds": 30.0}
    reader.done({"disks": [disk]})
    eventually(lambda: reader.progress()["Status"] == "Finished", "the job finishes")
    body = ask(cloud, "EstimateMigration", SourceId__1=reader.source)
    assert (body["BytesPerSecond"], body["RateMeasured"]) == (GIB // 10, True)
    (share,) = body["SourceServers"]["SourceServer"]
    assert (share["Bytes"], share["BytesMeasured"], share["TransferSeconds"]) == (3 * GIB, True, 30.0)


def test_r29_a_licence_that_needs_a_thought_is_a_finding(cloud: Cloud) -> None:
    name = fresh("vm")
    old = dataclasses.replace(machine("vm-1", name), guest_id="windows7Server64Guest")
    source = cloud.sources(old)[1][name]
    body = ask(cloud, "DescribeSourceServerFindings", SourceId__1=source)
    (row,) = body["SourceServers"]["SourceServer"]
    (finding,) = row["Findings"]["Finding"]
    assert "2008 R2 is not supported by Microsoft" in finding["Message"]
    assert row["Eligible"] is True


def test_evidence_is_listed_and_exported_byte_for_byte(cloud: Cloud, tmp_path: Path) -> None:
    reader = Reader(cloud)
    assert ask(cloud, "DescribeReplicationJobEvidence", JobId=reader.job)["Evidences"] == {"Evidence": []}
    pass_id = reader.take()
    member, plane = reader.robot.membership, cloud.plane
    signer, manifest = (
        plane.members[member.appliance_id][1],
        plane.evidence(member, reader.order, note="größer"),
    )
    plane.show(reader.order)
    reader.client.evidence(pass_id, manifest)
    reader.client.finish(pass_id, "done", None, {})
    (row,) = ask(cloud, "DescribeReplicationJobEvidence", JobId=reader.job)["Evidences"]["Evidence"]
    assert (row["PassId"], row["RunNumber"], row["Size"]) == (pass_id, 1, len(manifest))
    assert row["Fingerprint"] == evidence.fingerprint(signer.public)
    assert row["PublicKey"] == signer.public_pem
    body = ask(cloud, "ExportReplicationJobEvidence", JobId=reader.job, PassId=pass_id)
    assert body["Manifest"].encode() == manifest
    other = Reader(cloud)
    refused = cloud.raw("ExportReplicationJobEvidence", {"JobId": other.job, "PassId": pass_id})
    assert (refused.status_code, refused.json()["Code"]) == (400, "InvalidParameter.PassId")
