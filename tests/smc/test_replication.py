"""`ReplicationParameters` from the public API to the appliance that carries them out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alibabacloud_smc20190601 import models
from alibabacloud_smc20190601.client import Client

from connector.appliance.passes.order import order_from_json
from connector.control.domain.access import Role
from connector.model import Replication
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh
from tests.smc.test_sdk_jobs import code, create, job_of, reach, start
from tests.waiting import eventually


@pytest.fixture
def client(cloud: Cloud) -> Client:
    return cloud.client(Role.OPERATOR)


def change(job: str, **keys: Any) -> models.ModifyReplicationJobAttributeRequest:
    return models.ModifyReplicationJobAttributeRequest(job_id=job, replication_parameters=json.dumps(keys))


def test_they_travel_with_the_order_and_change_while_the_pass_is_under_way(
    cloud: Cloud, client: Client
) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    asked = json.dumps({"bandwidth_limit": 100, "compress_level": 3, "checksum": 1})
    job = create(client, ids[name], replication_parameters=asked)
    client.modify_replication_job_attribute(change(job, bandwidth_limit=40, checksum=1))
    start(client, job)
    appliance = cloud.plane.client(robot.membership)
    order = eventually(lambda: appliance.take(1.0), "the pass is offered")
    assert order_from_json(order).replication == Replication(40, None, True)
    client.modify_replication_job_attribute(change(job, bandwidth_limit=5, compress_level=0))
    heard = appliance.heartbeat([order["pass_id"]])
    assert (heard.stop, heard.replication) == ((), {order["pass_id"]: Replication(5, 0, False)})
    assert json.loads(job_of(client, job).replication_parameters)["bandwidth_limit"] == 5
    other = models.ModifyReplicationJobAttributeRequest(
        job_id=job, replication_parameters="{}", image_name=fresh("image")
    )
    assert code(client, "modify_replication_job_attribute", other) == "ReplicationJob.InvalidStatus"
    assert appliance.heartbeat([order["pass_id"]]) == heard
    cloud.plane.done(robot.membership, order)
    reach(client, job, "Finished")
    refused = code(client, "modify_replication_job_attribute", change(job, bandwidth_limit=1))
    assert refused == "ReplicationJob.InvalidStatus"


def test_an_appliance_hears_of_its_own_passes_only(cloud: Cloud, client: Client) -> None:
    orders = []
    for _ in range(2):
        name = fresh("vm")
        robot, ids = cloud.sources(machine("vm-1", name))
        job = create(client, ids[name], replication_parameters='{"bandwidth_limit": 7}')
        start(client, job)
        appliance = cloud.plane.client(robot.membership)
        orders.append((appliance, eventually(lambda: appliance.take(1.0), "it is offered")["pass_id"]))  # noqa: B023
    (_, foreign), (appliance, mine) = orders
    heard = appliance.heartbeat([foreign, mine])
    assert (heard.stop, list(heard.replication)) == ((foreign,), [mine])


@pytest.mark.parametrize(
    "keys",
    [
        {"bandwidth_limit": -1},
        {"compress_level": 11},
        {"checksum": 2},
        {"speed": 1},
    ],
)
def test_values_outside_their_range_are_refused(cloud: Cloud, client: Client, keys: dict[str, int]) -> None:
    job = create(client, cloud.source())
    refused = code(client, "modify_replication_job_attribute", change(job, **keys))
    assert refused == "InvalidParameter.ReplicationParameters"
