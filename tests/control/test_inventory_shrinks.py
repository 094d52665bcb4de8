"""What an appliance says of its vCenter is taken as it comes, and what it makes disappear is said."""

from __future__ import annotations

from tests.control.house import House


def test_an_inventory_never_shrinks_in_silence(house: House) -> None:
    ids = house.register("a", "b", "c")
    house.register("a")
    house.register()
    house.register()
    assert {house.store.sources.get(found).state for found in ids} == {"Unavailable"}
    lines = [e for e in house.store.audit.page(1, 50).rows if e.action == "inventory shrank"]
    assert {entry.who for entry in lines} == {house.appliance.id}
    assert [(entry.details["gone"], entry.details["left"]) for entry in reversed(lines)] == [(2, 1), (1, 0)]
    assert lines[0].details["names"] == ["a"]
    house.register("a", "b", "c")
    assert {house.store.sources.get(found).state for found in ids} == {"Available"}


def test_one_vcenter_says_nothing_of_another(house: House) -> None:
    (mine,) = house.register("a")
    other = house.enrol("other", "50-elsewhere")
    house.register(by=other)
    assert house.store.sources.get(mine).state == "Available"
