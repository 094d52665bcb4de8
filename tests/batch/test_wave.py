"""Plan, apply, apply again, edit, lose machines on the way: against the real operations of the control plane."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.batch import quantities, resolve
from connector.batch.apply import Applied, Apply
from connector.batch.plan import JobChange, WavePlan, plan
from connector.batch.problems import ManifestRefused
from connector.errors import Conflict, ConnectorError, ControlFailed
from tests.batch.conftest import HEAD, Estate, wave

INCREMENTAL = HEAD + "  incremental: {every: 6h, keep: 3}\n"


def applied(estate: Estate, text: str) -> Applied:
    return carried(estate, estate.plan(wave(text)))


def carried(estate: Estate, found: WavePlan) -> Applied:
    return Apply(estate.plane, found, clock=estate.house.clock, pause=estate.house.later).run()


def lines(found: WavePlan) -> list[str]:
    return [problem.line("wave.yaml") for problem in found.problems]


def job_of(estate: Estate, machine: str) -> Any:
    names = {source.id: source.name for source in estate.plane.sources()}
    (job,) = [job for job in estate.plane.jobs("w1") if names[job.source] == machine]
    return job


def test_applying_again_changes_nothing(estate: Estate) -> None:
    estate.has("web-01", "web-02", "db-01")
    text = HEAD + "machines:\n  - selector: name:web-*\n  - name: db-01\n"
    first = estate.plan(wave(text))
    assert [step.change for step in first.steps] == [JobChange.CREATE] * 3
    assert not first.problems
    assert len(carried(estate, first).created) == 3
    estate.desk.changing()
    again = estate.plan(wave(text))
    assert again.empty
    assert carried(estate, again) == Applied()
    assert estate.desk.changing() == []


def test_jobs_carry_what_the_manifest_chose(estate: Estate) -> None:
    estate.has("web.01", networks=("VM Network",))
    labelled = HEAD.replace("  name: w1", "  name: w1\n  labels: {owner: me}")
    text = (
        labelled
        + """  incremental: {every: 6h, keep: 3}
  bandwidth: 1Gbit/s
  replication: {compression: 5, checksum: true}
  validFor: 60d
networks:
  - {source: "vm*", vswitch: vsw-1, vpc: vpc-1}
groups: [{name: g}]
machines:
  - name: web.01
    group: g
    target: {imageName: "{wave}-{group}-{machine}", instanceType: ecs.g6}
    disks: {sizes: [{disk: "Hard disk 2", size: 200GiB}, {disk: 2000, size: 50GiB}]}
    labels: {tier: web}
"""
    )
    assert applied(estate, text).failures == ()
    job = job_of(estate, "web.01")
    assert job.name == "w1-web-01"
    assert job.tags == {"wave": "w1", "wave-group": "g", "owner": "me", "tier": "web"}
    wanted = {
        "ImageName": "w1-g-web-01", "RunOnce": False, "Frequency": 6, "MaxNumberOfImageToKeep": 3, "NetMode": 2,
        "VSwitchId": "vsw-1", "VpcId": "vpc-1", "InstanceType": "ecs.g6", "SystemDiskSize": 50,
        "DataDisk": [{"Index": 1, "Size": 200}],
    }  # fmt: skip
    assert {name: job.asked[name] for name in wanted} == wanted
    assert job.asked["ReplicationParameters"] == '{"bandwidth_limit":1000,"checksum":1,"compress_level":5}'
    assert estate.plan(wave(text)).empty


def test_an_edit_changes_only_what_differs(estate: Estate) -> None:
    estate.has("web-01", "web-02", "db-01")
    text = INCREMENTAL + "groups: [{name: g}]\nmachines:\n  - name: web-01\n  - name: web-02\n"
    applied(estate, text)
    edited = text.replace(
        "- name: web-02", "- name: web-02\n    incremental: {every: 12h, keep: 3}\n    group: g"
    )
    found = estate.plan(wave(edited + "  - name: db-01\n"))
    assert [(step.machine, step.change) for step in found.steps] == [
        ("web-01", JobChange.LEFT),
        ("web-02", JobChange.CHANGE),
        ("db-01", JobChange.CREATE),
    ]
    assert [str(d) for d in found.steps[1].differences][1:] == [
        "Frequency: 6 -> 12",
        "tag wave-group: (default) -> g",
    ]
    estate.desk.changing()
    done = carried(estate, found)
    assert (len(done.created), len(done.changed)) == (1, 1)
    assert sorted(estate.desk.changing()) == [
        "CreateReplicationJob",
        "ModifyReplicationJobAttribute",
        "TagResources",
    ]
    modified = [given for action, given in estate.desk.asked if action == "ModifyReplicationJobAttribute"]
    assert not modified  # nothing since
    assert estate.plan(wave(edited + "  - name: db-01\n")).empty


def test_going_back_to_the_default_is_a_change_too(estate: Estate) -> None:
    estate.has("web-01")
    more = "    target: {instanceType: ecs.g6}\n    bandwidth: 100Mbit/s\n"
    more += "    disks: {sizes: [{disk: 'Hard disk *', size: 99GiB}]}\n"
    text = HEAD + "machines:\n  - name: web-01\n"
    applied(estate, text + more)
    found = estate.plan(wave(text))
    assert {d.what for d in found.steps[0].differences} == {
        "InstanceType", "ReplicationParameters", "SystemDiskSize", "DataDisk",
    }  # fmt: skip
    assert carried(estate, found).failures == ()
    assert estate.plan(wave(text)).empty


@pytest.mark.parametrize(
    ("label", "pattern", "fits"),
    [
        ("Festplatte 2", "Hard disk 2", True),
        ("Hard disk 2", "festplatte 2", True),
        ("\u786c\u76d8 2", "Hard disk 2", True),
        ("\u30cf\u30fc\u30c9 \u30c7\u30a3\u30b9\u30af 2", "\u786c\u76d82", True),
        ("Disque dur\u00a012", "Hard disk [1-9]?", True),
        ("Festplatte 12", "Hard disk *", True),
        ("Festplatte 12", "Hard disk 2", False),
        ("Festplatte 2", "Festplatte", False),
        ("data", "Hard disk 2", False),
        ("data", "DATA", True),
    ],
)
def test_labels_of_disks_in_the_language_of_a_vcenter(label: str, pattern: str, fits: bool) -> None:
    assert resolve.labelled(label, pattern) is fits


@pytest.mark.parametrize(
    "choice", ["exclude: [{0}]", "include: [2000, {0}]", "sizes: [{{disk: {0}, size: 90GiB}}]"]
)
def test_a_disk_that_no_machine_of_the_wave_has_is_said(estate: Estate, choice: str) -> None:
    estate.has("web-01", disks=2)
    estate.has("web-02", disks=3)
    machines = "machines:\n  - selector: name:web-*\n"
    for word, said in (("Hard disk 3", False), ("Hard disk 7", True), ("2009", True)):
        text = HEAD + "  disks: {" + choice.format(word) + "}\n" + machines
        told = [
            line for line in lines(estate.plan(wave(text))) if "no machine of the wave has a disk" in line
        ]
        assert bool(told) is said and all("defaults.disks" in line and "Hard disk 3" in line for line in told)


def test_disks_stay_behind_where_they_are_told_to(estate: Estate) -> None:
    estate.has("web-01", disks=3)
    text = HEAD + "machines:\n  - name: web-01\n"
    assert applied(estate, text + "    disks: {exclude: ['hard disk 2']}\n").failures == ()
    assert job_of(estate, "web-01").asked["LeftOutDisks"] == [2001]
    found = estate.plan(wave(text + "    disks: {include: [2000]}\n"))
    assert [str(d) for d in found.steps[0].differences] == ["LeftOutDisks: [2001] -> [2001, 2002]"]
    assert carried(estate, found).failures == ()
    assert estate.plan(wave(text + "    disks: {include: [2000]}\n")).empty
    estate.plane.start(job_of(estate, "web-01").id)
    for _ in range(3):
        estate.house.turn()
    order = estate.house.service.order(estate.appliance)
    assert order is not None
    assert order[0].left_out == (2001, 2002)
    (problem,) = estate.plan(wave(text)).problems
    assert "cannot be changed while the job is Running" in problem.what


def test_a_machine_taken_out_is_not_touched(estate: Estate) -> None:
    estate.has("web-01", "web-02")
    applied(estate, HEAD + "machines:\n  - selector: name:web-*\n")
    found = estate.plan(wave(HEAD + "machines:\n  - name: web-01\n"))
    assert [(step.machine, step.change) for step in found.steps] == [
        ("web-01", JobChange.LEFT),
        ("web-02", JobChange.UNTOUCHED),
    ]
    assert found.empty
    assert "job delete" in found.steps[1].note


def test_a_job_of_another_wave_is_never_planned_for(estate: Estate) -> None:
    estate.has("web-01")
    text = HEAD + "machines:\n  - name: web-01\n"
    applied(estate, text)
    other = wave(text.replace("name: w1", "name: w2"))
    with pytest.raises(ControlFailed, match="of wave w1 among the jobs of w2"):
        plan(other, resolve.resolve(other, []), [], estate.plane.jobs("w1"), estate.house.clock())


def test_what_cannot_be_changed_any_more_is_said_before_anything_is_changed(estate: Estate) -> None:
    estate.has("web-01", "web-02")
    text = HEAD + "machines:\n  - name: web-01\n  - name: web-02\n"
    applied(estate, text)
    edited = text.replace("- name: web-01", "- name: web-01\n    incremental: {every: 6h, keep: 2}")
    found = estate.plan(wave(edited.replace("cn-hangzhou", "cn-beijing")))
    said = lines(found)
    assert said[0].startswith(
        "wave.yaml:6:20: target.region: web-01: target.region: cn-hangzhou -> cn-beijing cannot be changed"
    )
    assert any(
        line.startswith("wave.yaml:9:18: incremental: web-01: RunOnce: true -> false") for line in said
    )
    estate.desk.changing()
    with pytest.raises(ManifestRefused):
        carried(estate, found)
    assert estate.desk.changing() == []


BAD = {
    "  - name: web-1\n": ("wave.yaml:8:11: machines[0]: no machine is called 'web-1'", "did you mean web-01"),
    "  - moref: vm-99\n": ("wave.yaml:8:12: machines[0]: no machine is called 'vm-99'", "did you mean"),
    "  - name: twin\n": ("wave.yaml:8:11: machines[0]: 2 machines are called 'twin'", "by moref"),
    "  - selector: name:no-*\n": ("wave.yaml:8:15: machines[0]: the selector 'name:no-*' matches no", "vm list"),
    "  - selector: cluster:c1\n": ("wave.yaml:8:15: machines[0]: the selector 'cluster:c1'", "tells no cluster"),
    "  - selector: name:web-*\n  - selector: name:*-01\n": (
        "wave.yaml:9:5: machines[1]: web-01 is chosen here and in line 8", "!name"),
    "  - name: web-01\n  - moref: vm-1\n": ("wave.yaml:9:5: machines[1]: web-01 is chosen here and in line 8", "leave it out"),
    "  - name: web-01\n    disks: {sizes: [{disk: Floppy, size: 20GiB}]}\n": (
        "wave.yaml:9:21: web-01 has no disk 'Floppy'", "Hard disk 1, Hard disk 2"),
    "  - name: web-01\n    disks: {sizes: [{disk: 2000, size: 5GiB}]}\n": (
        "wave.yaml:9:21: machines[0]: web-01: Hard disk 1 has 10 GiB", "cannot become smaller"),
    "  - name: web-01\n    disks: {exclude: ['Hard disk 1']}\n": (
        "wave.yaml:9:12: machines[0].disks: web-01: the system disk (Hard disk 1) cannot", "include it"),
    "  - name: web-01\n    disks: {include: ['Hard disk 1', 'Hard disk 9']}\n": (
        "wave.yaml:9:38: web-01 has no disk 'Hard disk 9'", "its disks are"),
    "  - name: web-01\n    target: {network: {mode: vpc}}\n": ("wave.yaml:8:5: machines[0]: web-01 has no vswitch", "networks"),
}  # fmt: skip


@pytest.mark.parametrize("entries", BAD)
def test_what_no_machine_answers_to_is_a_problem_with_its_line(estate: Estate, entries: str) -> None:
    estate.has("web-01", "web-02", "twin", "twin")
    found = estate.plan(wave(HEAD + "machines:\n" + entries))
    what, remedy = BAD[entries]
    said = lines(found)
    assert any(line.startswith(what) and remedy in line for line in said), said
    estate.desk.changing()
    with pytest.raises(ManifestRefused):
        carried(estate, found)
    assert estate.desk.changing() == []


def test_one_of_two_machines_of_one_name_is_named_by_moref(estate: Estate) -> None:
    estate.has("twin", "twin")
    assert (
        len(applied(estate, HEAD + f"machines:\n  - {{moref: vm-2, vcenter: '{estate.vcenter}'}}\n").created)
        == 1
    )
    assert len(applied(estate, HEAD + "machines:\n  - moref: vm-2\n  - moref: vm-1\n").created) == 1
    names = {job.name for job in estate.plane.jobs("w1")}
    assert names == {"w1-twin", "w1-twin-vm-1"}


def test_an_entry_takes_its_machine_from_the_selectors(estate: Estate) -> None:
    estate.has("web-01", "web-02")
    text = HEAD + "machines:\n  - selector: name:web-*\n  - name: web-02\n    bandwidth: 10Mbit/s\n"
    applied(estate, text)
    assert "10" in job_of(estate, "web-02").asked["ReplicationParameters"]
    assert job_of(estate, "web-01").asked["ReplicationParameters"] == ""


def test_selectors_look_at_where_machines_stand(estate: Estate) -> None:
    estate.has("web-01", networks=("vlan-7",))
    estate.has("db-01")
    for text in ("folder:/DC0/vm/prod network:vlan-*", "power:on name:web-*", "guest:debian* !name:db-*"):
        found = estate.plan(wave(HEAD + f"machines:\n  - selector: '{text}'\n"))
        assert [step.machine for step in found.steps] == ["web-01"], text


def test_a_machine_that_vanished_between_plan_and_apply_undoes_all_of_it(estate: Estate) -> None:
    estate.has("web-01", "web-02", "db-01")
    text = HEAD + "machines:\n  - selector: name:web-*\n  - name: db-01\n"
    found = estate.plan(wave(text))
    estate.loses("db-01")
    done = carried(estate, found)
    (problem,) = done.failures
    said = "db-01 (no longer in vCenter's inventory): no job can be made or started for it while it is Unavailable"
    assert problem.line("wave.yaml").startswith(f"wave.yaml:9:5: machines[1]: {said}")
    assert problem.remedy
    settle(estate)
    assert estate.plane.jobs("w1") == []
    again = estate.plan(wave(text))
    assert any("db-01 is no longer in vCenter" in line and "take it out" in line for line in lines(again))
    assert len(applied(estate, HEAD + "machines:\n  - selector: name:web-*\n").created) == 2


def test_a_failure_in_the_middle_puts_changes_back(estate: Estate) -> None:
    estate.has(*(f"web-{n:02}" for n in range(6)))
    text = INCREMENTAL + "machines:\n  - selector: name:web-*\n"
    applied(estate, text)
    failing = {"left": 4}

    def refuse(action: str, given: dict[str, Any]) -> ConnectorError | None:
        if action == "ModifyReplicationJobAttribute" and given.get("Frequency") == 12:
            failing["left"] -= 1
            return ControlFailed("no answer", on="plane") if failing["left"] == 0 else None
        return None

    estate.desk.refuse = refuse
    done = applied(estate, text.replace("6h", "12h"))
    assert done.failures[0].what.endswith("no answer")
    assert {job.asked["Frequency"] for job in estate.plane.jobs("w1")} == {6}
    estate.desk.refuse = lambda _action, _given: None
    assert len(applied(estate, text.replace("6h", "12h")).changed) == 6


def test_what_cannot_be_undone_is_said_and_applying_again_goes_on(estate: Estate) -> None:
    estate.has("web-01", "web-02", "db-01")
    text = HEAD + "machines:\n  - selector: name:web-*\n  - name: db-01\n"
    found = estate.plan(wave(text))
    gone = estate.machines[-1]
    estate.loses("db-01")
    estate.desk.refuse = lambda action, _: (
        ControlFailed("no answer") if action == "DeleteReplicationJob" else None
    )
    done = carried(estate, found)
    standing = len(estate.plane.jobs("w1"))
    assert standing > 0
    assert (len(done.left), done.undone) == (standing, 0)
    assert all(
        "could not be undone" in problem.what and "apply again" in problem.remedy for problem in done.left
    )
    estate.desk.refuse = lambda _action, _given: None
    estate.machines.append(gone)
    estate.seen()
    assert len(applied(estate, text).created) == 3 - standing
    assert estate.plan(wave(text)).empty


def test_a_killed_apply_goes_on_with_the_same_jobs(estate: Estate) -> None:
    estate.has(*(f"web-{n:02}" for n in range(5)))
    text = HEAD + "machines:\n  - selector: name:web-*\n"
    found = estate.plan(wave(text))
    for call in [step.calls[0] for step in found.steps[:3]]:  # what a killed apply had done
        estate.plane.create(call.parameters)
    before = {job.id for job in estate.plane.jobs("w1")}
    assert len(carried(estate, found).created) == 5  # an old plan: the same tokens answer the same jobs
    assert before < {job.id for job in estate.plane.jobs("w1")}
    assert len(estate.plane.jobs("w1")) == 5
    assert estate.plan(wave(text)).empty


def test_a_job_that_was_deleted_is_created_anew(estate: Estate) -> None:
    estate.has("web-01")
    text = HEAD + "machines:\n  - name: web-01\n"
    for _ in range(3):
        (job,) = applied(estate, text).created
        assert job_of(estate, "web-01").id == job
        estate.plane.delete(job)
        settle(estate)


def test_a_start_that_is_due_begins_and_one_that_is_not_is_scheduled(estate: Estate) -> None:
    estate.has("web-01", "web-02")
    clock = estate.house.clock
    soon = quantities.written(clock() + 3600)
    text = HEAD + f"schedule: {{start: {soon}}}\nmachines:\n  - name: web-01\n"
    assert applied(estate, text).started == ()
    assert job_of(estate, "web-01").asked["ScheduledStartTime"] == soon
    assert estate.plan(wave(text)).empty
    clock.advance(7200)
    found = estate.plan(wave(text + "  - name: web-02\n"))
    assert [step.change for step in found.steps] == [JobChange.LEFT, JobChange.CREATE]
    assert "has passed" in found.warnings[0].what
    assert carried(estate, found).started == (job_of(estate, "web-02").id,)
    assert job_of(estate, "web-02").status == "Running"


def test_a_start_that_comes_between_plan_and_creation_begins(estate: Estate) -> None:
    """A hook may run for minutes in between; the job would wait for a start that nobody asks for."""
    estate.has("web-01")
    clock = estate.house.clock
    text = HEAD + f"schedule: {{start: {quantities.written(clock() + 60)}}}\nmachines:\n  - name: web-01\n"
    planned = estate.plan(wave(text))
    clock.advance(120)
    assert carried(estate, planned).started == (job_of(estate, "web-01").id,)
    assert job_of(estate, "web-01").status == "Running"


def test_what_cannot_begin_at_once_is_scheduled(estate: Estate) -> None:
    estate.has("web-01")
    text = HEAD + "schedule: {start: now}\nmachines:\n  - name: web-01\n"
    estate.desk.refuse = lambda action, _: (
        Conflict("the limit of running jobs is reached: 50") if action == "StartReplicationJob" else None
    )
    done = applied(estate, text)
    assert not done.failures
    assert "begins later" in done.warnings[0].what
    assert job_of(estate, "web-01").asked["ScheduledStartTime"]
    assert estate.plan(wave(text)).empty


def test_what_could_not_be_started_is_started_by_applying_again(estate: Estate) -> None:
    estate.has("web-01", "web-02")
    text = HEAD + "schedule: {start: now}\nmachines:\n  - selector: name:web-*\n"
    lost = [ControlFailed("no answer")]
    estate.desk.refuse = lambda action, _: lost.pop() if action == "StartReplicationJob" and lost else None
    done = applied(estate, text)
    assert (len(done.created), len(done.started), len(done.failures)) == (2, 1, 1)
    assert "apply again to start it" in done.failures[0].remedy
    again = applied(estate, text)
    assert (len(again.created), len(again.started)) == (0, 1)
    assert {job.status for job in estate.plane.jobs("w1")} == {"Running"}


def test_bandwidth_can_be_changed_while_a_machine_is_read(estate: Estate) -> None:
    estate.has("web-01")
    text = HEAD + "machines:\n  - name: web-01\n"
    applied(estate, text)
    estate.plane.start(job_of(estate, "web-01").id)
    while job_of(estate, "web-01").state != "Running/Syncing":
        estate.house.turn()
    found = estate.plan(wave(text + "    bandwidth: 10Mbit/s\n"))
    assert found.problems == ()
    assert carried(estate, found).failures == ()
    assert estate.plan(wave(text + "    bandwidth: 10Mbit/s\n")).empty


def test_a_machine_with_another_unfinished_job_is_a_problem(estate: Estate) -> None:
    estate.has("web-01")
    estate.plane.create({"RegionId": "r", "SourceId": estate.plane.sources()[0].id, "Name": "by-hand"})
    (line,) = lines(estate.plan(wave(HEAD + "machines:\n  - name: web-01\n")))
    assert line.startswith(
        "wave.yaml:8:5: machines[0]: web-01 has an unfinished job that is not of this wave (j-"
    )


def test_the_estimate_says_what_it_rests_on(estate: Estate) -> None:
    estate.has("web-01", "web-02")
    more = (
        "assumptions: {used: 0.5, perMachine: 800Mbit/s, link: 800Mbit/s, instanceHour: 0.1, currency: EUR}\n"
    )
    found = estate.plan(wave(INCREMENTAL + more + "machines:\n  - selector: name:web-*\n")).estimate
    assert (found.machines, found.disks, found.capacity, found.first_run) == (2, 4, 40 << 30, 20 << 30)
    assert found.seconds == pytest.approx((20 << 30) / 1e8 + 120)
    assert found.cost > 0
    assert found.assumptions == (
        "50% of each disk is read in the first run",
        "3.0% of that changes in a day",
        "800Mbit/s for one machine, 800Mbit/s for all, 2 at a time",
        "120 s of each run are not copying: instance, snapshot, image",
        "the time in which somebody looks at the images is not counted (`connector source estimate` counts it)",
        "everything stands as long as the first runs take",
        "prices of the manifest, in EUR",
    )
    assert found.snapshots == 4  # a first run and a last one for each


def test_only_what_counted_is_said_to_be_assumed(estate: Estate) -> None:
    estate.has("web-01")
    more = "assumptions: {perMachine: 2Gbit/s, link: 1Gbit/s}\n"
    text = HEAD + more + "machines:\n  - {name: web-01, bandwidth: 100Mbit/s}\n"
    said = estate.plan(wave(text)).estimate.assumptions
    assert said[1:] == (
        "1Gbit/s for one machine, 1Gbit/s for all, 1 at a time",
        "1 of 1 by their own bandwidth limit",
        "120 s of each run are not copying: instance, snapshot, image",
        "the time in which somebody looks at the images is not counted (`connector source estimate` counts it)",
        "no prices are given, so no cost",
    )


def settle(estate: Estate) -> None:
    """The runner has removed what is Deleting."""
    for _ in range(3):
        estate.house.turn()


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "bandwidth": st.sampled_from(["10Mbit/s", "1Gbit/s"]),
        "validFor": st.sampled_from(["7d", "90d"]),
        "replication": st.fixed_dictionaries({}, optional={"compression": st.integers(0, 10), "checksum": st.booleans()}),
        "target": st.fixed_dictionaries({}, optional={"instanceType": st.just("ecs.g6"), "imageName": st.just("{moref}-x")}),
        "disks": st.fixed_dictionaries(
            {},
            optional={
                "sizes": st.just([{"disk": "Hard disk *", "size": "64GiB"}]),
                "exclude": st.sampled_from([[2001], ["*2"]]),
                "include": st.just([2000]),
            },
        ),
        "labels": st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=2),
        "group": st.sampled_from(["g1", "g2"]),
    },
)  # fmt: skip
NUMBER = iter(range(1, 1_000_000))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(CHOICES, min_size=1, max_size=4),
    second=st.lists(CHOICES, min_size=1, max_size=4),
    data=st.data(),
)
def test_after_apply_the_plan_is_empty(
    estate: Estate, first: list[dict[str, Any]], second: list[dict[str, Any]], data: st.DataObject
) -> None:
    number = next(NUMBER)
    names = [f"m{number}-{n}" for n in range(4)]
    estate.has(*names)
    rhythm = data.draw(st.sampled_from([None, {"every": "6h", "keep": 2}, {"every": "168h", "keep": 10}]))
    for round_, choices in enumerate((first, second)):
        keep = None if rhythm is None else rhythm | {"keep": 1 + round_}
        text = manifest(f"p{number}", keep, dict(zip(names, choices, strict=False)))
        found = estate.plan(text)
        assert not found.problems
        carried(estate, found)
        assert estate.plan(text).empty


def manifest(name: str, rhythm: dict[str, Any] | None, machines: dict[str, dict[str, Any]]) -> Any:
    import yaml

    body = {
        "apiVersion": "connector/v1",
        "kind": "MigrationWave",
        "metadata": {"name": name},
        "defaults": {"target": {"region": "cn-hangzhou"}, "incremental": rhythm},
        "groups": [{"name": "g1"}, {"name": "g2", "after": ["g1"]}],
        "machines": [{"name": machine} | chosen for machine, chosen in machines.items()],
    }
    return wave(yaml.safe_dump(body))


@pytest.mark.parametrize("spelt", ["url", "sdk", "host", "uuid"])
def test_a_vcenter_is_named_by_url_host_or_instance_uuid(estate: Estate, spelt: str) -> None:
    estate.has("web-01")
    spellings = {"url": estate.url, "sdk": f"{estate.url}/sdk", "host": estate.url[8:].upper()}
    vcenter = spellings.get(spelt, estate.vcenter.upper())
    planned = estate.plan(wave(HEAD + f"machines:\n  - {{moref: vm-1, vcenter: '{vcenter}'}}\n"))
    assert lines(planned) == []
    assert [step.machine for step in planned.steps] == ["web-01"]


def test_a_vcenter_that_is_not_known_is_said_with_those_that_are(estate: Estate) -> None:
    estate.has("web-01")
    (problem,) = lines(estate.plan(wave(HEAD + "machines:\n  - {name: web-01, vcenter: vc.example}\n")))
    assert "machines[0]: no vCenter is known as 'vc.example'; known are" in problem
    assert estate.url in problem and estate.vcenter in problem


def test_machines_of_one_name_in_two_vcenters(estate: Estate) -> None:
    estate.has("db", "web")
    applied(estate, HEAD + "machines: [{name: db}, {name: web}]\n")
    other = Estate(estate.house)
    other.has("db", "web")
    sources = estate.plane.sources()
    text = wave(HEAD + "machines: [{name: db}, {name: web}]\n")
    planned = plan(
        text, resolve.resolve(text, sources), sources, estate.plane.jobs("w1"), estate.house.clock()
    )
    problem = lines(planned)[0]
    assert f"of {estate.url}" in problem and f"of {other.url}" in problem
    assert "add `vcenter`" in problem
    assert {step.change for step in planned.steps} == {JobChange.UNTOUCHED}
    for step in planned.steps:
        assert "delete" not in step.note and "no entry names it yet" in step.note
