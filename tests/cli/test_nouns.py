"""Every noun and verb against a real control plane, as tables and as JSON."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import click
import pytest

from connector.cli.main import connector as root
from connector.clients.agents import enrol
from connector.control.domain.access import Role
from connector.model import Finding, Severity
from tests.cli.conftest import Connector
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh
from tests.waiting import eventually


def test_a_source_is_listed_shown_changed_and_forgotten(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name, 3))
    finding = Finding("S9", Severity.WARN, name, "a [red]snapshot[/] exists", "remove it")
    cloud.plane.client(robot.membership).put_sources([machine("vm-1", name, 3)], {"vm-1": [finding]})
    (row,) = connector("source", "list", "--name", name, "--json").lines
    assert (row["SourceId"], row["State"]) == (ids[name], "Available")
    table = connector("source", "list", "--state", "Available", "--name", name).out
    assert table.split()[:2] == ["name", "id"]
    assert ids[name] in table
    assert "30 GiB" in table
    assert "at the target" in connector("source", "show", name).out
    shown = connector("source", "show", name).out
    assert "a [red]snapshot[/] exists" in shown
    assert "Hard disk 3" in shown
    document = connector("source", "show", ids[name], "--json").json
    assert document["Details"]["Findings"]["Finding"][0]["Remedy"] == "remove it"
    connector("source", "tag", name, "owner=shop", "wave=1")
    (row,) = connector(
        "source", "list", "--tag", "owner=shop", "--tag", "wave", "--name", name, "--json"
    ).lines
    connector("source", "untag", name, "wave")
    assert connector("source", "list", "--name", name, "--tag", "wave", "--json").out == ""
    connector("source", "untag", name, "--all")
    connector("source", "modify", name, "--name", f"{name}-new", "--description", "frontend")
    assert connector("source", "show", f"{name}-new", "--json").json["Description"] == "frontend"
    assert connector("source", "delete", ids[name], "--json").json == {"SourceId": ids[name]}
    eventually(lambda: connector("source", "show", ids[name], code=None).code == 3, "the source is gone")


def test_lists_show_names_where_the_api_means_records_by_their_ids(
    cloud: Cloud, connector: Connector
) -> None:
    name, group = fresh("vm"), fresh("wg")
    _, ids = cloud.sources(machine("vm-1", name, 1))
    connector("group", "create", group)
    connector("group", "associate", group, name)
    job = f"{name}-job"
    connector("job", "create", name, "--name", job)
    (row,) = connector("job", "list", "--name", job, "--json").lines
    assert (row["SourceName"], row["WorkgroupName"], row["SourceId"]) == (name, group, ids[name])
    (row,) = connector("source", "list", "--name", name, "--json").lines
    assert (row["JobName"], row["WorkgroupName"]) == (job, group)
    assert ids[name] not in connector("job", "list", "--name", job).out
    listed = connector("source", "list", "--name", name).out
    assert f" {job} " in listed and f" {group} " in listed
    assert f"{name} {ids[name]}" in connector("job", "show", job).out
    appliances = connector("appliance", "list", "--json").lines
    assert {row["AccessTokenName"] == "" for row in appliances if not row["AccessTokenId"]} <= {True}


def test_r13_how_long_it_may_take_is_told_for_all_and_each(cloud: Cloud, connector: Connector) -> None:
    first, second = fresh("vm"), fresh("vm")
    cloud.sources(machine("vm-1", first, 1), machine("vm-2", second, 1))
    said = connector("source", "estimate", first, second, "--mbit", "100").out
    assert "100 Mbit/s" in said
    assert "29 min" in said.split("each alone")[0]  # 20 GiB
    assert "15 min" in said.split("each alone")[1]
    answer = connector("source", "estimate", first, "--mbit", "100", "--json").json
    assert answer["SourceServers"]["SourceServer"][0]["Name"] == first
    assert "migrate a small machine first" in connector("source", "estimate", first, code=None).err


def test_all_pages_are_listed(cloud: Cloud, connector: Connector) -> None:
    names = {fresh("vm") for _ in range(120)}
    group = fresh("wave")
    _, ids = cloud.sources(*(machine(f"vm-{n}", name) for n, name in enumerate(sorted(names))))
    listed = [row["SourceId"] for row in connector("source", "list", "--json").lines]
    assert len(listed) == len(set(listed))
    assert set(listed) >= set(ids.values())
    connector("group", "create", group)
    some = sorted(ids)[:50]
    connector("group", "associate", group, *some)
    found = {row["Name"] for row in connector("source", "list", "--group", group, "--json").lines}
    assert found == set(some)


def test_an_incremental_job_from_its_creation_to_its_deletion(
    cloud: Cloud, connector: Connector, tmp_path: Path
) -> None:
    name = fresh("vm")
    robot, _ = cloud.sources(machine("vm-1", name))
    with robot:
        made = connector("job", "create", name, "--name", name, "--every", "12", "--keep", "2", "--json").json
        key = made["JobId"]
        connector("job", "modify", name, "--every", "24", "--description", "web shop")
        connector("job", "tag", name, "wave=1")
        (row,) = connector("job", "list", "--source", name, "--tag", "wave=1", "--json").lines
        assert (row["JobId"], row["Frequency"], row["RunOnce"]) == (key, 24, False)
        assert row["Description"] == "web shop"
        said = connector("job", "start", name, "--watch", "--json").lines
        assert said[0]["Operation"] == "StartReplicationJob"
        assert said[-1] == {
            "event": "result",
            "machine": name,
            "job": key,
            "status": "Waiting",
            "run": 1,
            "error": "",
        }
        connector("job", "stop", key)
        connector("job", "start", key, "--watch")
        document = connector("job", "show", name, "--json").json
        assert document["Details"]["RunNumber"] == 2
        assert len(document["Passes"]["Pass"]) == 2
        assert {row["Kind"] for row in document["Resources"]["Resource"]} == {
            "instance",
            "disk",
            "image",
        }
        drilled = connector("job", "drill", name, code=None)  # the image of a plane of tests holds no disk
        assert f"{name}_CYCLE_2.qcow2: no copy could be made" in drilled.err
        text = connector("job", "show", name).out
        assert "every 24 h, 2 images kept" in text
        assert f"{name}_CYCLE_1" in text
        assert "connector job cutover" in text
        assert "give --sync or --no-sync" in connector("job", "cutover", name, code=2).err
        connector("job", "cutover", name, "--sync", "--watch")
        assert [order["final"] for order in robot.orders] == [False, False, True]
    assert "Cutover" in connector("job", "show", name).out.split("\nruns\n")[1].split("\npasses\n")[0]
    log = connector("job", "logs", name).out
    assert "Waiting -> Running/Preparing" in log
    assert connector("job", "logs", name, "--lines", "1", "--json").json["Text"].endswith("-> Finished")
    saved = tmp_path / "log.jsonl"
    connector("job", "logs", name, "--output", str(saved), "--json")
    entries = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [str(entry["Text"]) in log for entry in entries] == [True] * len(log.splitlines())
    assert "such a file" in connector("job", "logs", name, "--output", str(saved), code=2).err
    connector("job", "logs", name, "--output", str(tmp_path / "log.txt"))
    assert (tmp_path / "log.txt").read_text() == log
    assert connector("job", "list", "--name", name, "--status", "Finished", "--json").json["JobId"] == key
    connector("job", "untag", name, "wave")
    assert connector("job", "delete", name, "--json").json["Operation"] == "DeleteReplicationJob"
    eventually(lambda: connector("job", "show", key, code=None).code == 3, "the job is gone")


def test_several_jobs_are_each_tried_and_the_first_failure_counts(cloud: Cloud, connector: Connector) -> None:
    names = [fresh("vm") for _ in range(3)]
    robot, _ = cloud.sources(*(machine(f"vm-{n}", name) for n, name in enumerate(names)))
    with robot:
        for name in names:
            connector("job", "create", name, "--name", name)
        connector("job", "start", names[1], "--watch")
        done = connector("job", "start", *names, code=11)
        assert [line.split(":")[0] for line in done.out.splitlines()] == [names[0], names[2]]
        assert done.err.count("ReplicationJob.InvalidStatus") == 1
        connector("job", "watch", *names)
        assert connector("job", "start", names[0], "nobody", code=3).out == ""
        cloud.plane.jobs.create(names[1], names[1] + "-again")
        done = connector("job", "create", *names, "--start", "--watch", "--json", code=11)
        assert [line["JobId"] for line in done.lines[:-1]].count(done.lines[0]["JobId"]) == 2
        assert (len(done.lines), done.lines[-1]["on"]) == (5, names[1])


def test_a_job_with_everything_that_a_person_may_say(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    cloud.sources(machine("vm-1", name, 2))
    words = ["--image-name", f"{name}-image", "--bandwidth", "100", "--license", "BYOL", "--tag", "a=b"]
    words += ["--system-disk-size", "40", "--data-disk", "1=50", "--region", "cn-hangzhou"]
    words += ["--vswitch", "vsw-1", "--instance-type", "ecs.small", "--set", "InstanceRamRole=role"]
    connector("job", "create", name, "--name", name, *words)
    row = connector("job", "show", name, "--json").json
    assert (row["ImageName"], row["LicenseType"], row["RegionId"]) == (f"{name}-image", "BYOL", "cn-hangzhou")
    assert row["ReplicationParameters"] == '{"bandwidth_limit":100}'
    assert (row["NetMode"], row["VSwitchId"], row["InstanceRamRole"]) == (2, "vsw-1", "role")
    assert row["SystemDiskSize"] == 40
    assert row["DataDisks"]["DataDisk"][0]["Size"] == 50


def test_a_wave_starts_pauses_and_ends_as_one(cloud: Cloud, connector: Connector) -> None:
    group, names = fresh("wave"), [fresh("vm") for _ in range(3)]
    robot, _ = cloud.sources(*(machine(f"vm-{n}", name) for n, name in enumerate(names)))
    connector("group", "create", group, "--description", "Saturday", "--tag", "night=1")
    connector("group", "associate", group, *names)
    assert "no source of the workgroup has a job" in connector("group", "start", group, code=11).err
    for name in names[:2]:
        connector("job", "create", name, "--name", name, "--every", "24", "--keep", "1")
    with robot:
        connector("group", "start", group, "--watch")
        assert connector("group", "list", "--tag", "night", "--json").json["Status"] == "InProgress"
        connector("job", "stop", names[0])
        left = connector("group", "stop", group)
        assert f"{names[0]}: not changed, it is Stopped" in left.err
        assert left.out == f"{names[1]}: asked to stop\n"
        connector("group", "start", group, "--watch", "--json")
        connector("group", "cutover", group, "--no-sync", "--watch")
    document = connector("group", "show", group, "--json").json
    jobs = {row["Name"]: row["Job"] for row in document["SourceServers"]["SourceServer"]}
    assert jobs[names[0]]["Status"] == "Finished"
    assert jobs[names[2]] == {}
    assert names[2] in connector("group", "show", group).out
    assert connector("group", "cutover", group, "--sync", code=11).err.count("not changed") == 2
    assert "Workgroup.NotEmpty" in connector("group", "delete", group, code=11).err
    connector("group", "disassociate", group, *names)
    connector("group", "modify", group, "--name", f"{group}-x")
    connector("group", "delete", f"{group}-x")


def test_an_activation_code_in_a_file_lets_an_appliance_in(
    cloud: Cloud, connector: Connector, tmp_path: Path
) -> None:
    name, file = fresh("site"), tmp_path / "code"
    said = connector("token", "create", name, "--count", "7", "--days", "3", "--code-file", str(file))
    code = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert code not in said.out + said.err
    plane = cloud.plane
    member = enrol(plane.url, plane.thumbprint, code, name=name, vcenter=f"https://{name}", version="1")
    (row,) = connector("appliance", "list", "--name", name, "--json").lines
    assert (row["ApplianceId"], row["State"], row["Online"]) == (member.appliance_id, "waiting", False)
    assert connector("appliance", "approve", name, "--json").json["State"] == "approved"
    (row,) = connector("appliance", "list", "--name", name, "--json").lines
    assert (row["State"], row["Online"]) == ("approved", True)
    assert "gets a new secret" in connector("appliance", "rotate", name).out
    assert connector("appliance", "revoke", name, "--json").json["State"] == "revoked"
    assert "give --vcenter as well" in connector("token", "create", name, "--joins", code=2).err
    assert row["AccessTokenId"] in said.out
    assert name in connector("appliance", "show", member.appliance_id).out
    assert "0 of 7" in connector("token", "show", name).out
    assert "File exists" in connector("token", "create", name, "--code-file", str(file), code=2).err
    vain = tmp_path / "vain"
    connector("token", "create", "1", "--code-file", str(vain), code=2)
    assert not vain.exists()
    connector("token", "disable", name)
    assert connector("token", "list", "--name", name, "--json").json["Status"] == "unactivated"
    connector("token", "delete", name)
    printed = connector("token", "create", name, "--json").json
    assert printed["AccessTokenCode"]
    assert "not shown again" in connector("token", "create", fresh("site")).err


def test_a_name_that_several_have_is_refused_with_their_ids(cloud: Cloud, connector: Connector) -> None:
    name = fresh("site")
    ids = [connector("token", "create", name, "--json").json["AccessTokenId"] for _ in range(2)]
    refused = connector("token", "show", name, code=3).err
    assert all(key in refused for key in ids)
    assert connector("token", "show", ids[0], "--json").json["AccessTokenId"] == ids[0]


def test_a_name_is_free_while_its_former_owner_is_being_removed(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    cloud.sources(machine("vm-1", name))
    first = connector("job", "create", name, "--name", name, "--json").json["JobId"]
    connector("job", "delete", name)
    second = connector("job", "create", name, "--name", name, "--json").json["JobId"]
    assert first != second
    assert connector("job", "show", name, "--json").json["JobId"] == second


def test_the_name_of_a_source_stands_for_its_last_job(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    cloud.sources(machine("vm-1", name))
    assert "no such job" in connector("job", "show", name, code=3).err
    key = connector("job", "create", name, "--json").json["JobId"]
    document = connector("job", "show", name, "--json").json
    assert document["JobId"] == key
    assert document["Name"].startswith(f"{name}_")
    connector("job", "tag", name, "a=b")
    connector("job", "modify", name, "--name", f"{name}-job")
    assert connector("job", "show", f"{name}-job", "--json").json["Tags"]["Tag"] == [
        {"Key": "a", "Value": "b"}
    ]


def test_who_may_only_look_is_told_so(
    cloud: Cloud, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = cloud.keys[Role.READER]
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_ID", key)
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_SECRET", secret)
    connector("source", "list")
    refused = connector("group", "create", fresh("wave"), code=4).err
    assert "read-only" in refused
    assert "use a key with a higher role" in refused
    assert len(refused.splitlines()) == 1


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    children = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return [found for name, child in children.items() if child for found in commands(child, (*path, name))]


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in commands(root)
        if p[0] in ("source", "job", "group", "token", "appliance")
        and p not in (("appliance", "run"), ("appliance", "first-boot"))
    ],
)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], run: Connector) -> None:
    said = run(*path, "--help").out
    assert f"connector {' '.join(path)}" in said.partition("Usage:")[2].partition("\n")[2]
    assert "--json" in said
    assert "$CONNECTOR_ACCESS_KEY_SECRET" in said


def test_an_application_is_cut_over_and_taken_back_as_one(cloud: Cloud, connector: Connector) -> None:
    web, db, shop = fresh("vm"), fresh("vm"), fresh("shop")
    robot, _ = cloud.sources(machine("vm-1", web), machine("vm-2", db))
    with robot:
        for name in (web, db):
            connector("job", "create", name, "--name", name, "--every", "12", "--keep", "2", "--start")
            connector("job", "watch", name)
        assert "jobs have a rank" in connector("application", "set", shop, f"{web}=1", db, code=2).err
        assert "no such job" in connector("application", "set", shop, web, "nobody", code=3).err
        connector("application", "set", shop, web, db)
        listed = [row for row in connector("application", "list", "--json").lines if row["Name"] == shop]
        told = [(m["Name"], m["Rank"], m["StartPlace"]) for m in listed[0]["Members"]["Member"]]
        assert told == [(web, 1, 2), (db, 2, 1)]
        assert "Waiting" in connector("application", "show", shop).out
        assert "as a whole" in connector("job", "cutover", web, "--sync", code=11).err
        connector("application", "start", shop, "--watch")
        robot.broken.add(("vm-2", "final"))
        failed = connector("application", "cutover", shop, "--watch", code=None)
        assert failed.code in (
            7,
            11,
        )  # the reader's failure, or that all were taken back when that was quicker
        assert "a bad sector" in failed.err
        shown = connector("application", "show", shop).out
        assert "Stopped" in shown and "InError" not in shown
        assert f"{db} failed (a bad sector)" in " ".join(shown.split())
        robot.broken.clear()
        for name in (web, db):
            connector("job", "start", name)
            connector("job", "watch", name)
        robot.orders.clear()
        connector("application", "cutover", shop, "--watch")
        assert [order["task"] for order in robot.orders] == ["shutdown"] * 2 + ["final"] * 2
        assert "as a whole" in connector("job", "rollback", web, code=11).err
        connector("application", "rollback", shop, "--keep-cbt")
        connector("job", "watch", web, db)
        assert [order["moref"] for order in robot.orders[-2:]] == ["vm-2", "vm-1"]
        assert (
            connector("application", "delete", shop, "--json").json["Operation"] == "SetMigrationApplication"
        )
        assert "no such application" in connector("application", "show", shop, code=3).err


def test_a_source_is_powered_on_again_after_its_cutover(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    robot, _ = cloud.sources(machine("vm-1", name))
    with robot:
        connector("job", "create", name, "--name", name, "--every", "12", "--keep", "2", "--start")
        connector("job", "watch", name)
        connector("job", "cutover", name, "--sync", "--watch")
        connector("job", "rollback", name, "--watch")
    assert robot.orders[-1]["task"] == "power-on"
    (row,) = connector("job", "list", "--name", name, "--json").lines
    assert row["Status"] == "Stopped"
