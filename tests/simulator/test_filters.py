"""Waiting for updates: what changed, once, and nothing missed."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyVim.connect import Disconnect
from pyVmomi import vim, vmodl

from simulator.estate.estate import Estate
from simulator.vcenter import Server, serve
from tests.simulator.conftest import (
    ACCOUNTS,
    PC,
    all_machines,
    connect,
    eventually,
    finished,
    machine,
    sweep_spec,
)
from tests.waiting import PATIENCE


def wait(collector: Any, version: str, seconds: int = 5, most: int | None = None) -> Any:
    return collector.WaitForUpdatesEx(version, PC.WaitOptions(maxWaitSeconds=seconds, maxObjectUpdates=most))


def changes(update: Any) -> dict[tuple[str, str], Any]:
    """(moref, path) -> value of everything in an update set."""
    return {
        (entry.obj._moId, change.name): change.val
        for filter_update in update.filterSet
        for entry in filter_update.objectSet
        for change in entry.changeSet
    }


@pytest.fixture
def watched(client: Any) -> Iterator[tuple[Any, str]]:
    """A collector of its own that watches every machine, and the version after the first answer."""
    collector = client.content.propertyCollector.CreatePropertyCollector()
    paths = ["name", "runtime.powerState", "snapshot", "config.changeTrackingEnabled"]
    collector.CreateFilter(sweep_spec(all_machines(client), vim.VirtualMachine, paths), False)
    first = wait(collector, "")
    assert {entry.kind for entry in first.filterSet[0].objectSet} == {"enter"}
    assert len(first.filterSet[0].objectSet) == 3
    yield collector, first.version
    collector.DestroyPropertyCollector()


def test_power_and_snapshot_changes_arrive(client: Any, watched: tuple[Any, str]) -> None:
    collector, version = watched
    vm = machine(client)
    assert wait(collector, version, seconds=0) is None
    finished(vm.PowerOffVM_Task())
    seen: dict[tuple[str, str], Any] = {}
    update = wait(collector, version)
    seen |= changes(update)
    assert seen[(vm._moId, "runtime.powerState")] == "poweredOff"
    assert {moref for moref, _ in seen} == {vm._moId}, "the others did not change"
    snapshot = finished(vm.CreateSnapshot_Task("one", "text", False, False))
    update = wait(collector, update.version)
    tree = changes(update)[(vm._moId, "snapshot")]
    assert tree.currentSnapshot == snapshot
    assert tree.rootSnapshotList[0].name == "one"
    finished(snapshot.RemoveSnapshot_Task(False))
    gone = [
        change.op
        for filter_update in wait(collector, update.version).filterSet
        for entry in filter_update.objectSet
        for change in entry.changeSet
        if change.name == "snapshot"
    ]
    assert gone == ["remove"]


def test_references_and_arrays_of_them_are_watched(client: Any) -> None:
    collector = client.content.propertyCollector.CreatePropertyCollector()
    paths = ["runtime.host", "network", "parent"]
    collector.CreateFilter(sweep_spec(all_machines(client), vim.VirtualMachine, paths), False)
    told = changes(wait(collector, ""))
    vm = machine(client)
    assert told[vm._moId, "runtime.host"]._moId.startswith("host-")
    assert told[vm._moId, "parent"]._moId.startswith("group-")
    collector.DestroyPropertyCollector()


def test_a_waiting_call_wakes_at_the_change(server: Server, client: Any, watched: tuple[Any, str]) -> None:
    collector, version = watched
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait, collector, version, 600)
        began = time.monotonic()
        server.center.estate.power.off("vm-101")
        update = waiting.result(timeout=PATIENCE)
    assert changes(update)[("vm-101", "runtime.powerState")] == "poweredOff"
    assert time.monotonic() - began < PATIENCE
    assert client.CurrentTime() is not None


def test_a_lost_answer_is_given_again_and_an_unknown_version_refused(
    watched: tuple[Any, str], estate: Estate
) -> None:
    collector, version = watched
    estate.power.off("vm-101")
    first = wait(collector, version)
    again = wait(collector, version)
    assert again.version == first.version
    assert changes(again) == changes(first)
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        wait(collector, "4711")


def test_answers_are_truncated_when_asked(client: Any) -> None:
    collector = client.content.propertyCollector.CreatePropertyCollector()
    collector.CreateFilter(sweep_spec(all_machines(client), vim.VirtualMachine, ["name"]), False)
    version, seen, truncated = "", [], []
    for _ in range(3):
        update = wait(collector, version, most=1)
        version = update.version
        seen += [entry.obj._moId for entry in update.filterSet[0].objectSet]
        truncated.append(bool(update.truncated))
    assert len(set(seen)) == len(seen) == 3
    assert truncated == [True, True, False]
    collector.DestroyPropertyCollector()


def test_cancel_wakes_the_waiter(watched: tuple[Any, str]) -> None:
    collector, version = watched
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait, collector, version, 30)
        assert eventually(lambda: _cancel(collector) or waiting.done())
        with pytest.raises(vmodl.fault.RequestCanceled):
            waiting.result(timeout=PATIENCE)


def _cancel(collector: Any) -> bool:
    collector.CancelWaitForUpdates()
    return False


def test_the_end_of_a_session_ends_its_waiting_calls(server: Server, client: Any) -> None:
    other = connect(server)
    key = other.content.sessionManager.currentSession.key
    collector = other.content.propertyCollector
    collector.CreateFilter(sweep_spec(all_machines(other), vim.VirtualMachine, ["name"]), False)
    version = wait(collector, "").version
    outcome: list[BaseException] = []

    def waiting() -> None:
        try:
            wait(collector, version, 30)
        except vmodl.MethodFault as fault:
            outcome.append(fault)

    thread = threading.Thread(target=waiting)
    thread.start()
    assert eventually(lambda: any(s.running for s in server.center.sessions.all() if s.key == key))
    client.content.sessionManager.TerminateSession([key])
    thread.join(PATIENCE)
    assert isinstance(outcome[0], vim.fault.NotAuthenticated)


def test_filters_of_the_default_collector_belong_to_their_session(server: Server, client: Any) -> None:
    other = connect(server)
    own = client.content.propertyCollector.CreateFilter(
        sweep_spec(all_machines(client), vim.VirtualMachine, ["name"]), False
    )
    assert other.content.propertyCollector.CheckForUpdates("") is None
    assert client.content.propertyCollector.CheckForUpdates("") is not None
    own.DestroyPropertyFilter()
    assert client.content.propertyCollector.CheckForUpdates("") is None
    Disconnect(other)


def test_a_filter_on_a_wrong_path_is_refused_at_once(client: Any) -> None:
    with pytest.raises(vmodl.query.InvalidProperty):
        client.content.propertyCollector.CreateFilter(
            sweep_spec(all_machines(client), vim.VirtualMachine, ["no.such"]), False
        )


def test_list_views_can_be_changed_while_watched(client: Any) -> None:
    first, second = machine(client), machine(client, "idle-00002")
    view = client.content.viewManager.CreateListView([first])
    collector = client.content.propertyCollector.CreatePropertyCollector()
    spec = sweep_spec(view, vim.VirtualMachine, ["name"])
    spec.objectSet[0].selectSet[0].type = vim.view.ListView
    collector.CreateFilter(spec, False)
    version = wait(collector, "").version
    assert view.ModifyListView([second, vim.VirtualMachine("vm-9", client._stub)], [first])[0]._moId == "vm-9"
    update = wait(collector, version)
    kinds = {entry.obj._moId: entry.kind for entry in update.filterSet[0].objectSet}
    assert kinds == {first._moId: "leave", second._moId: "enter"}
    collector.DestroyPropertyCollector()
    view.DestroyView()
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = view.view


def test_walking_in_circles_ends(client: Any) -> None:
    """Parents and children in one selection, each naming the other."""
    both = [PC.SelectionSpec(name="up"), PC.SelectionSpec(name="down")]
    up = PC.TraversalSpec(name="up", type=vim.ManagedEntity, path="parent", skip=False, selectSet=both)
    down = PC.TraversalSpec(name="down", type=vim.Folder, path="childEntity", skip=False, selectSet=both)
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=machine(client), selectSet=[up, down])],
        propSet=[PC.PropertySpec(type=vim.ManagedEntity, pathSet=["name"])],
    )
    found = client.content.propertyCollector.RetrieveContents([spec])
    assert sorted(entry.propSet[0].val for entry in found) == [
        *("DC0", "Datacenters", "idle-00001", "idle-00002", "idle-00003", "vm")
    ]


def test_the_server_stops_although_somebody_waits(estate: Estate) -> None:
    outcome: list[BaseException] = []

    def waiting(collector: Any, version: str) -> None:
        try:
            wait(collector, version, 600)
        except (OSError, http.client.HTTPException, vmodl.MethodFault) as fault:
            outcome.append(fault)

    with serve(estate, accounts=ACCOUNTS) as server:
        instance = connect(server)
        collector = instance.content.propertyCollector
        collector.CreateFilter(sweep_spec(all_machines(instance), vim.VirtualMachine, ["name"]), False)
        thread = threading.Thread(target=waiting, args=(collector, wait(collector, "").version))
        thread.start()
        assert eventually(lambda: any(session.running for session in server.center.sessions.all()))
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE
    thread.join(PATIENCE)
    assert len(outcome) == 1
