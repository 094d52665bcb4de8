"""Every field that the current SDK can send is known, and every field that it can receive is sent."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pytest
from alibabacloud_smc20190601 import client as sdk
from alibabacloud_smc20190601 import models
from alibabacloud_tea_openapi.utils import Utils

from connector.control.domain.access import Role
from connector.control.smc import api
from connector.control.smc.parameters import TOLERATED
from tests.control.conftest import machine
from tests.smc.conftest import REGION, Cloud, fresh
from tests.smc.test_door import _leaves
from tests.smc.test_sdk_jobs import create, reach, start
from tests.specification.samples import OURS


class Nothing:
    """Stands in for the service: tables of operations look at nothing."""

    def __getattr__(self, _name: str) -> Any:
        return Nothing()


OPERATIONS = {operation.name: operation for operation in api.operations(typing.cast(Any, Nothing()))}
CALLS = sorted(
    name.removesuffix("_with_options")
    for name, _ in inspect.getmembers(sdk.Client, inspect.isfunction)
    if name.endswith("_with_options")
)


def filled(model: type) -> Any:
    """An instance with every field set, each list with one item."""
    values = {}
    for name, parameter in list(inspect.signature(model.__init__).parameters.items())[1:]:
        kind = parameter.annotation
        item = typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind
        value = filled(item) if hasattr(item, "to_map") else ("x" if item is str else 1)
        values[name] = [value] if typing.get_origin(kind) is list else value
    return model(**values)


def pascal(name: str) -> str:
    return "".join(part.title() for part in name.split("_"))


def test_there_are_24_operations_beside_ours_and_the_sdk_has_the_same() -> None:
    theirs = {name for name, operation in OPERATIONS.items() if not operation.extension}
    assert len(theirs) == 24
    assert {pascal(call) for call in CALLS} == theirs


#: Operations of the service that have parameters of ours.
OWN_FIELDS = ("create_replication_job", "modify_replication_job_attribute")


@pytest.mark.parametrize("call", CALLS)
def test_every_field_of_a_request_is_in_the_table(call: str) -> None:
    request = filled(getattr(models, f"{pascal(call)}Request"))
    sent = set(Utils.query(request.to_map()))
    known = set(_leaves(OPERATIONS[pascal(call)].parameters))
    assert sent - known - TOLERATED == set()
    assert known - sent == ({field.name for field in OURS} if call in OWN_FIELDS else set())


def covers(actual: Any, wanted: Any, path: str = "") -> list[str]:
    """The fields of `wanted` that `actual` lacks, and those whose type differs."""
    if isinstance(wanted, dict):
        if not isinstance(actual, dict):
            return [f"{path} is no object"]
        gone = [f"{path}.{name}" for name in wanted if name not in actual]
        return gone + [
            line
            for name in wanted
            if name in actual
            for line in covers(actual[name], wanted[name], f"{path}.{name}")
        ]
    if isinstance(wanted, list):
        if not isinstance(actual, list) or not actual:
            return [f"{path} is no list, or empty"]
        return covers(actual[0], wanted[0], f"{path}.0")
    numbers = (int, float) if isinstance(wanted, int) else (str,)
    return [] if isinstance(actual, numbers) else [f"{path} has another type"]


@pytest.fixture(scope="module")
def answers(cloud: Cloud) -> dict[str, Any]:
    """What each listing answers for things that have everything."""
    client, name = cloud.client(Role.ADMIN), fresh("full")
    robot, ids = cloud.sources(machine("vm-1", name, 2))
    source = ids[name]
    part = {"device": "0_0", "size_bytes": 1, "block": True}
    path_part = {"path": "/", "size_bytes": 1, "block": True}
    M = models
    layout = M.CreateReplicationJobRequestDisks(
        system=M.CreateReplicationJobRequestDisksSystem(
            size=40, lvm=False, part=[M.CreateReplicationJobRequestDisksSystemPart(**path_part)]
        ),
        data=[
            M.CreateReplicationJobRequestDisksData(
                disk_id="1",
                size=40,
                lvm=False,
                part=[M.CreateReplicationJobRequestDisksDataPart(**path_part)],
            )
        ],
    )
    with robot:
        job = create(
            client,
            source,
            run_once=False,
            frequency=1,
            max_number_of_image_to_keep=1,
            system_disk_size=40,
            system_disk_part=[M.CreateReplicationJobRequestSystemDiskPart(**part)],
            data_disk=[
                M.CreateReplicationJobRequestDataDisk(
                    index=1, size=40, part=[M.CreateReplicationJobRequestDataDiskPart(**part)]
                )
            ],
            disks=layout,
            tag=[M.CreateReplicationJobRequestTag(key="k", value="v")],
        )
        start(client, job)
        reach(client, job, "Waiting")
    cloud.raw("TagResources", {"ResourceType": "sourceserver", "ResourceId.1": source, "Tag.1.Key": "k"})
    group = cloud.raw("CreateWorkgroup", {"Name": name, "Tag.1.Key": "k", "Tag.1.Value": "v"}).json()
    other = cloud.source()
    members = {"WorkgroupId": group["WorkgroupId"], "SourceId.1": source, "SourceId.2": other}
    assert cloud.raw("AssociateSourceServers", members).status_code == 200
    cloud.raw("CreateAccessToken", {"Name": name})
    wanted = {
        "DescribeSourceServers": {"SourceId.1": source},
        "DescribeReplicationJobs": {"JobId.1": job, "RegionId": REGION},
        "DescribeWorkgroups": {"WorkgroupId.1": group["WorkgroupId"]},
        "ListAccessTokens": {"Name": name},
        "ListTagResources": {"ResourceType": "sourceserver", "ResourceId.1": source},
    }
    return {action: cloud.raw(action, parameters).json() for action, parameters in wanted.items()}


#: A job's system disk has no id of its own.
ABSENT = {".ReplicationJobs.ReplicationJob.0.Disks.System.DiskId"}


@pytest.mark.parametrize(
    "action",
    [
        "DescribeSourceServers",
        "DescribeReplicationJobs",
        "DescribeWorkgroups",
        "ListAccessTokens",
        "ListTagResources",
    ],
)
def test_every_field_of_a_response_is_there_with_its_type(answers: dict[str, Any], action: str) -> None:
    wanted = filled(getattr(models, f"{action}ResponseBody")).to_map()
    assert set(covers(answers[action], wanted)) - ABSENT == set()
    assert (
        type(answers["DescribeReplicationJobs"]["ReplicationJobs"]["ReplicationJob"][0]["Progress"]) is float
    )
