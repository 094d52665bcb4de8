"""One table makes every way in to a job: what holds for one field holds for all, and is tried for all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from connector.batch.plan import plan
from connector.batch.problems import ManifestRefused
from connector.batch.resolve import resolve
from connector.cli.job_parameters import OF_MIGRATIONS
from connector.cli.main import connector as root
from connector.cli.migration import MigrationRequest
from connector.control.domain import jobs as machine
from connector.control.domain.access import Role
from connector.control.domain.refusals import OutOfRange, StateRefusal
from connector.control.store import JobFilter, NewJob
from connector.specification.fields import BY_NAME, JOB_FIELDS, JobField
from connector.specification.value import Flag, ListOf, Moment
from tests.batch.conftest import HEAD, Estate, estate, wave
from tests.batch.test_wave import carried
from tests.cli.conftest import Connector, bare_environment, connector, run
from tests.console.conftest import Console, console, make_console
from tests.control.conftest import quick_folder
from tests.smc.conftest import REGION, Cloud, cloud
from tests.specification.samples import OURS, echoed, in_manifest, valid, words, wrong
from tools.docs.job_fields import document

__all__ = [
    "bare_environment",
    "cloud",
    "connector",
    "console",
    "estate",
    "make_console",
    "quick_folder",
    "run",
]

PAGE = Path(__file__).parents[2] / "docs" / "job-fields.md"
ids = [field.name for field in OURS]
#: A job for which every field has a meaning.
INCREMENTAL = {"RunOnce": "false", "Frequency": "6", "MaxNumberOfImageToKeep": "3"}


@pytest.mark.generated
def test_the_page_is_current() -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(document())
    assert PAGE.read_text() == document()


def test_names_options_keys_and_labels_mean_one_field_each() -> None:
    for names in (
        [field.name for field in JOB_FIELDS],
        [field.option for field in JOB_FIELDS if field.option],
        [field.label for field in JOB_FIELDS if field.label],
        [field.key for field in OURS],
    ):
        assert len(names) == len(set(names))


def test_every_place_where_a_field_may_be_changed_is_a_state_of_a_job() -> None:
    known = {str(state) for state in machine.STATES} | {str(state.status) for state in machine.STATES}
    assert {place for field in JOB_FIELDS for place in field.changes} <= known


def job(cloud: Cloud, job_id: str) -> dict[str, Any]:
    page = cloud.by_sdk("DescribeReplicationJobs", {"JobId.1": job_id})
    return dict(page["ReplicationJobs"]["ReplicationJob"][0])


def test_the_sdk_creates_changes_and_reads_every_field(cloud: Cloud) -> None:
    first, second = ({field.name: valid(field)[n] for field in OURS} for n in (0, 1))
    about = {"RegionId": REGION, "SourceId": cloud.source()} | INCREMENTAL
    made = cloud.by_sdk("CreateReplicationJob", about | first)["JobId"]
    shown = job(cloud, made)
    assert {field.name: shown[field.name] for field in OURS} == {
        field.name: echoed(field, first[field.name]) for field in OURS
    }
    changed = {name: text for name, text in second.items() if BY_NAME[name].changes}
    cloud.by_sdk("ModifyReplicationJobAttribute", {"JobId": made} | changed)
    shown = job(cloud, made)
    assert {name: shown[name] for name in changed} == {
        name: echoed(BY_NAME[name], text) for name, text in changed.items()
    }


def test_what_was_not_said_is_the_default_and_is_echoed(cloud: Cloud) -> None:
    made = cloud.by_sdk("CreateReplicationJob", {"RegionId": REGION, "SourceId": cloud.source()})["JobId"]
    shown = job(cloud, made)
    assert {field.name: shown[field.name] for field in OURS} == {field.name: field.default for field in OURS}


@pytest.mark.parametrize("field", OURS, ids=ids)
def test_a_wrong_value_names_the_parameter(cloud: Cloud, field: JobField) -> None:
    refused = cloud.raw(
        "CreateReplicationJob", {"RegionId": REGION, "SourceId": "s-1", field.name: wrong(field)}
    )
    assert (refused.status_code, refused.json()["Code"]) == (400, f"InvalidParameter.{field.name}")


def test_the_command_line_creates_changes_and_shows_every_field(cloud: Cloud, connector: Connector) -> None:
    source = cloud.source()
    first = [word for field in OURS for word in words(field, valid(field)[0])]
    rhythm = ("--every", "6", "--keep", "3")
    made = connector("job", "create", source, "--region", REGION, *rhythm, *first, "--json").json["JobId"]
    shown = connector("job", "show", made, "--json").json
    assert {field.name: shown[field.name] for field in OURS} == {
        field.name: echoed(field, valid(field)[0]) for field in OURS
    }
    changeable = [field for field in OURS if field.changes]
    second = [word for field in changeable for word in words(field, valid(field)[1])]
    connector("job", "modify", made, *second)
    shown = connector("job", "show", made, "--json").json
    assert {field.name: shown[field.name] for field in changeable} == {
        field.name: echoed(field, valid(field)[1]) for field in changeable
    }


def _one_value(field: JobField) -> bool:
    """Lists are read by the command itself, flags cannot be wrong, the region may be any word."""
    return (
        bool(field.option) and not isinstance(field.kind, ListOf | Moment | Flag) and field.name != "RegionId"
    )


WRONG = [
    (command, field)
    for field in JOB_FIELDS
    if _one_value(field)
    for command in (("create", "modify") if field.changes else ("create",))
]


@pytest.mark.parametrize(("command", "field"), WRONG, ids=lambda part: getattr(part, "name", part))
def test_a_wrong_value_names_the_option_before_anybody_is_asked(command: str, field: JobField) -> None:
    answer = CliRunner().invoke(root, ["job", command, "x", f"{field.option}={wrong(field)}"])
    assert answer.exit_code == 2
    assert field.option in answer.output


def test_what_the_control_plane_refuses_names_the_option(cloud: Cloud, connector: Connector) -> None:
    made = connector("job", "create", cloud.source(), "--region", REGION, "--json").json["JobId"]
    refused = connector("job", "modify", made, "--on-demand", code=2).err
    assert "--on-demand: false for a job that runs once" in refused
    cloud.by_sdk("StartReplicationJob", {"JobId": made})
    refused = connector("job", "modify", made, "--image-name", "other", code=11).err
    assert "--image-name cannot be changed while" in refused
    assert "it can be changed in Ready" in refused


def test_a_part_of_a_parameter_that_is_changed_leaves_the_others(cloud: Cloud, connector: Connector) -> None:
    said = ("--compression", "3", "--bandwidth", "100")
    made = connector("job", "create", cloud.source(), "--region", REGION, *said, "--json").json["JobId"]
    connector("job", "modify", made, "--bandwidth", "50")
    parts = json.loads(connector("job", "show", made, "--json").json["ReplicationParameters"])
    assert parts == {"bandwidth_limit": 50, "compress_level": 3}


@pytest.mark.parametrize(
    "needy", [field for field in JOB_FIELDS if field.needs], ids=lambda field: field.name
)
def test_a_field_that_the_provider_cannot_have_is_refused_by_its_name(
    console: Console, needy: JobField
) -> None:
    house = console.house
    (source,) = house.register("web-01")
    house.cloud.features = ()
    value = next(value for value in valid(needy) if value != needy.default)
    wanted: dict[str, Any] = {needy.column: value} if needy.column else {"definition": {needy.name: value}}
    with pytest.raises(OutOfRange, match=f"no {needy.needs}") as refused:
        house.service.create(NewJob(source, "web", **wanted))
    assert refused.value.parameter == needy.name
    made = house.service.create(NewJob(source, "web")).id
    with pytest.raises(OutOfRange, match=f"no {needy.needs}"):
        house.service.modify(made, {needy.column or needy.name: value})


def test_runs_on_demand_and_a_rhythm_do_not_contradict(cloud: Cloud) -> None:
    about = {"RegionId": REGION, "SourceId": cloud.source()}
    refused = cloud.raw("CreateReplicationJob", about | {"OnDemand": "true"}).json()
    assert (refused["Code"], "incremental" in refused["Message"]) == ("InvalidParameter.OnDemand", True)
    made = cloud.by_sdk("CreateReplicationJob", about | {"RunOnce": "false", "OnDemand": "true"})["JobId"]
    off = {"JobId": made, "OnDemand": "false"}
    refused = cloud.raw("ModifyReplicationJobAttribute", off).json()
    assert refused["Code"] == "MissingParameter.Frequency"
    rhythm = {"Frequency": "6", "MaxNumberOfImageToKeep": "3"}
    cloud.by_sdk("ModifyReplicationJobAttribute", off | rhythm)
    shown = job(cloud, made)
    assert (shown["OnDemand"], shown["Frequency"]) == (False, 6)


def test_a_migration_says_every_field_that_may_be_said_before_each_run() -> None:
    shown = CliRunner().invoke(root, ["migrate", "--help"]).output
    for field in OF_MIGRATIONS:
        assert field.option in shown
        for text in valid(field):
            wish = MigrationRequest(
                fields={field.name: text == "true" if isinstance(field.kind, Flag) else text}
            )
            assert wish.parameters()[field.name] == echoed(field, text)
    assert {"ShutdownDeadline", "AllowPowerOff", "Quiesce", "Audit", "AcceptRemovedDisks"} <= {
        field.name for field in OF_MIGRATIONS
    }


def test_the_manifest_creates_and_changes_every_field(estate: Estate) -> None:
    estate.has("web-01")
    for n in (0, 1):
        lines = [f"    {field.key}: {in_manifest(field, valid(field)[n])}\n" for field in OURS]
        text = f"{HEAD}machines:\n  - name: web-01\n    incremental: {{every: 6h, keep: 3}}\n{''.join(lines)}"
        planned = estate.plan(wave(text))
        assert not planned.problems
        assert not carried(estate, planned).failures
        (row,) = estate.plane.jobs("w1")
        assert {field.name: row.asked[field.name] for field in OURS} == {
            field.name: echoed(field, valid(field)[n]) for field in OURS
        }
        assert estate.plan(wave(text)).empty


@pytest.mark.parametrize("field", OURS, ids=ids)
def test_a_wrong_value_names_the_key(field: JobField) -> None:
    text = f"{HEAD}machines:\n  - name: web-01\n    {field.key}: {in_manifest(field, wrong(field))}\n"
    with pytest.raises(ManifestRefused) as refused:
        wave(text)
    assert field.key in str(refused.value)


def test_the_console_creates_and_changes_every_field(console: Console) -> None:
    (source,) = console.house.register("web-01")
    visitor = console.visitor(Role.OPERATOR)
    visitor.get(f"/console/new-job?source={source}")
    first, second = ({field.name: valid(field)[n] for field in OURS if field.label} for n in (0, 1))
    visitor.post("/console/new-job", {"SourceId": source, "RegionId": REGION} | INCREMENTAL | first)
    (made,) = console.store.jobs.page(JobFilter(), 1, 9).rows
    assert _values(made) == first
    page = visitor.get(f"/console/jobs/{made.id}")
    assert all(f'name="{field.name}"' in page.text for field in OURS if field.label)
    visitor.post(f"/console/jobs/{made.id}/modify", {"Name": made.name} | second)
    assert _values(console.store.jobs.get(made.id)) == second


def _values(row: Any) -> dict[str, str]:
    from connector.control.console.form_fields import FIELDS, _written
    from connector.control.smc.shapes import echoed as shown

    return {field.name: _written(shown(row, field)) for field in FIELDS}


#: Where a job can be brought without a cloud, and how.
STATES: dict[str, Callable[[Any, str], None]] = {
    "Ready": lambda house, job: None,
    "Running/Syncing": lambda house, job: (house.service.start(job), house.turn()),  # type: ignore[dict-item]
    "Waiting": lambda house, job: (house.service.start(job), house.run(job)),  # type: ignore[dict-item]
}


#: Fields that are set alone, each with a value that a job of the service can have.
SINGLE = {
    "Name": "renamed",
    "ImageName": "renamed",
    "Description": "other",
    "Frequency": "24",
    "MaxNumberOfImageToKeep": "2",
    "NetMode": "0",
    "InstanceRamRole": "role",
    "ReplicationParameters": '{"bandwidth_limit": 1}',
    "LicenseType": "BYOL",
} | {field.name: valid(field)[0] for field in OURS}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", SINGLE)
def test_a_field_changes_exactly_where_the_table_says(console: Console, state: str, name: str) -> None:
    house, field = console.house, BY_NAME[name]
    made = house.incremental()
    STATES[state](house, made)
    assert str(house.get(made).state) == state
    changes = {field.column or name: field.kind.read(name, SINGLE[name])}  # type: ignore[union-attr]
    if state in field.changes or state.partition("/")[0] in field.changes:
        house.service.modify(made, changes)
        return
    with pytest.raises(StateRefusal, match=f"{name} cannot be changed while {state}") as refused:
        house.service.modify(made, changes)
    assert all(place in refused.value.remedy for place in field.changes)


def test_a_wave_takes_a_field_that_the_control_plane_does_not_know_for_its_default(estate: Estate) -> None:
    estate.has("web-01")
    text = f"{HEAD}machines:\n  - name: web-01\n"
    planned = estate.plan(wave(text))
    (created,) = [call for step in planned.steps for call in step.calls]
    assert not set(created.parameters) & set(ids), "an older control plane would refuse it"
    carried(estate, planned)
    jobs = [
        replace(row, asked={name: value for name, value in row.asked.items() if name not in ids})
        for row in estate.plane.jobs("w1")
    ]
    sources = [row for row in estate.plane.sources() if row.vcenter == estate.vcenter]
    read = wave(text)
    assert plan(read, resolve(read, sources), sources, jobs, estate.house.clock()).empty
