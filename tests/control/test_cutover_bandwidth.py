"""The limit of a job's transfer does not lengthen the downtime: while the source is shut down another one holds."""

from __future__ import annotations

from connector.control.domain import definition
from connector.control.http import views
from tests.control.house import House

LIMITED = {"ReplicationParameters": '{"bandwidth_limit":40,"compress_level":3}'}


def test_a_final_pass_has_a_limit_of_its_own_and_none_unless_it_was_asked_for() -> None:
    asked = LIMITED | {"CutoverBandwidthLimit": 500}
    assert definition.replication_of(LIMITED, final=False).bandwidth_limit == 40
    assert definition.replication_of(LIMITED, final=True).bandwidth_limit == 0
    assert definition.replication_of(asked, final=True).bandwidth_limit == 500
    assert definition.replication_of(asked, final=True).compress_level == 3


def test_it_can_be_changed_while_the_final_pass_is_under_way(house: House) -> None:
    job = house.incremental(definition=LIMITED)
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    taken = house.take()
    assert taken is not None and taken.final
    row, source = house.get(job), house.store.sources.of(house.get(job))
    order = views.order(row, source, taken, None, [])
    assert order["replication"]["bandwidth_limit"] == 0
    house.service.modify(job, {"CutoverBandwidthLimit": 200})
    assert house.service.replication(house.appliance, {taken.id})[taken.id]["bandwidth_limit"] == 200
