"""Privileges: asked, missing, taken away; and misbehaviour by rule."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Any

import pytest
from pyVim.connect import Disconnect
from pyVmomi import vim, vmodl

from simulator.estate.estate import Estate
from simulator.faults import Rule
from simulator.vcenter import Server
from tests.simulator.conftest import PC, USER, all_machines, connect, finished, machine, sweep_spec
from tests.waiting import PATIENCE

CREATE = "VirtualMachine.State.CreateSnapshot"


def granted(instance: Any, target: Any, *names: str) -> list[bool]:
    content = instance.content
    key = content.sessionManager.currentSession.key
    answer = content.authorizationManager.HasPrivilegeOnEntities([target], key, list(names))
    return [entry.isGranted for entry in answer[0].privAvailability]


def test_an_administrator_has_every_privilege_that_exists(client: Any) -> None:
    vm = machine(client)
    assert granted(client, vm, CREATE, "Datastore.Browse", "No.Such.Privilege") == [True, True, False]
    listed = {entry.privId for entry in client.content.authorizationManager.privilegeList}
    assert {CREATE, "VirtualMachine.Provisioning.DiskRandomRead", "Sessions.ValidateSession"} <= listed


def test_a_denied_privilege_is_named_by_the_fault(server: Server, client: Any) -> None:
    vm = machine(client)
    server.center.authority.deny(CREATE)
    assert granted(client, vm, CREATE) == [False]
    with pytest.raises(vim.fault.NoPermission) as caught:
        vm.CreateSnapshot_Task("one", "", False, False)
    assert (caught.value.privilegeId, caught.value.object) == (CREATE, vm)
    server.center.authority.allow(CREATE)
    assert finished(vm.CreateSnapshot_Task("one", "", False, False)) is not None


def test_a_denial_can_concern_one_machine_and_one_field(server: Server, client: Any) -> None:
    first, second = machine(client), machine(client, "idle-00002")
    server.center.authority.deny("VirtualMachine.Config.ChangeTracking", first._moId)
    spec = vim.vm.ConfigSpec(changeTrackingEnabled=True)
    with pytest.raises(vim.fault.NoPermission) as caught:
        first.ReconfigVM_Task(spec)
    assert caught.value.privilegeId == "VirtualMachine.Config.ChangeTracking"
    finished(first.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="this one needs another privilege")))
    finished(second.ReconfigVM_Task(spec))


def test_a_snapshot_is_ruled_by_its_machine(server: Server, client: Any) -> None:
    vm = machine(client)
    snapshot = finished(vm.CreateSnapshot_Task("one", "", False, False))
    server.center.authority.deny("VirtualMachine.State.RemoveSnapshot", vm._moId)
    with pytest.raises(vim.fault.NoPermission):
        snapshot.RemoveSnapshot_Task(False)


def test_what_may_not_be_read_is_missing_not_fatal(server: Server, client: Any) -> None:
    server.center.authority.deny("System.Read", "vm-102")
    spec = sweep_spec(all_machines(client), vim.VirtualMachine, ["name", "runtime.powerState"])
    answer = client.content.propertyCollector.RetrievePropertiesEx([spec], PC.RetrieveOptions())
    missing = {entry.obj._moId: list(entry.missingSet) for entry in answer.objects}
    assert [len(entries) for entries in missing.values()] == [0, 2, 0]
    assert isinstance(missing["vm-102"][0].fault, vim.fault.NoPermission)


def test_roles_and_permissions_decide_by_the_nearest_entity(server: Server, client: Any) -> None:
    manager, vm = client.content.authorizationManager, machine(client)
    viewer = "viewer@vsphere.local"
    manager.RemoveEntityPermission(client.content.rootFolder, viewer, False)
    role = manager.AddAuthorizationRole("mover", [CREATE, "VirtualMachine.State.RemoveSnapshot"])
    given = vim.AuthorizationManager.Permission(principal=viewer, group=False, roleId=role, propagate=True)
    manager.SetEntityPermissions(vm.parent, [given])
    other = connect(server, viewer, "look-only")
    own = machine(other) if granted(client, vm, CREATE) else None
    assert own is not None
    assert granted(other, own, CREATE, "VirtualMachine.Interact.PowerOff") == [True, False]
    with pytest.raises(vim.fault.NoPermission):
        own.PowerOffVM_Task()
    finished(own.CreateSnapshot_Task("one", "", False, False))
    with pytest.raises(vim.fault.NoPermission):
        _ = own.runtime.host.name
    manager.SetEntityPermissions(
        vm, [vim.AuthorizationManager.Permission(principal=viewer, group=False, roleId=-5, propagate=True)]
    )
    assert granted(other, own, CREATE) == [False]
    inherited = manager.RetrieveEntityPermissions(vm, True)
    assert {(entry.principal, entry.roleId) for entry in inherited} == {
        (viewer, -5),
        (viewer, role),
        (USER, -1),
    }
    with pytest.raises(vmodl.fault.InvalidArgument):
        manager.AddAuthorizationRole("wrong", ["No.Such.Privilege"])
    Disconnect(other)


def test_a_rule_makes_a_call_fail_by_name_and_only_as_often(client: Any, estate: Estate) -> None:
    vm = machine(client)
    fault = Rule(
        "CreateSnapshot_Task", "fault", object=vm._moId, skip=1, fault="TaskInProgress", message="busy"
    )
    estate.faults.add(fault)
    finished(vm.CreateSnapshot_Task("one", "", False, False))
    with pytest.raises(vim.fault.TaskInProgress) as caught:
        vm.CreateSnapshot_Task("two", "", False, False)
    assert caught.value.msg == "busy"
    finished(vm.CreateSnapshot_Task("three", "", False, False))


def test_a_rule_can_fail_the_task_instead_of_the_call(client: Any, estate: Estate) -> None:
    vm = machine(client)
    details = {"file": "[datastore-1] x.vmdk"}
    estate.faults.add(Rule("task:RemoveAllSnapshots_Task", "fault", fault="FileLocked", details=details))
    task = vm.RemoveAllSnapshots_Task()
    with pytest.raises(vim.fault.FileLocked) as caught:
        finished(task)
    assert caught.value.file == "[datastore-1] x.vmdk"
    finished(vm.RemoveAllSnapshots_Task())


def test_rules_of_the_estate_reach_the_client_typed(client: Any, estate: Estate) -> None:
    vm = machine(client)
    estate.faults.add(
        Rule("estate.freeze", "fault", fault="NoDiskSpace", details={"datastore": "datastore-1"})
    )
    with pytest.raises(vim.fault.NoDiskSpace) as caught:
        finished(vm.CreateSnapshot_Task("one", "", False, False))
    assert caught.value.datastore == "datastore-1"


@pytest.mark.parametrize("length", [0, 40])
def test_a_cut_loses_the_answer_but_not_the_work(client: Any, estate: Estate, length: int) -> None:
    vm = machine(client)
    estate.faults.add(Rule("CreateSnapshot_Task", "cut", bytes=length))
    with pytest.raises((OSError, http.client.HTTPException, Exception)) as caught:
        vm.CreateSnapshot_Task("one", "", False, False)
    assert not isinstance(caught.value, vmodl.MethodFault)
    deadline = time.monotonic() + PATIENCE
    while not estate.inventory.vm(vm._moId).snapshots and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [shot.name for shot in vm.snapshot.rootSnapshotList] == ["one"]


def test_a_rule_can_answer_html(client: Any, estate: Estate) -> None:
    estate.faults.add(Rule("CurrentTime", "answer"))
    with pytest.raises(http.client.HTTPException, match="503"):
        client.CurrentTime()
    estate.faults.add(Rule("CurrentTime", "answer", answer={"status": 200, "body": "<html><p>proxy</html>"}))
    with pytest.raises(Exception, match="mismatched tag"):
        client.CurrentTime()
    assert client.CurrentTime() is not None


def test_a_delay_delays_only_its_call(client: Any, server: Server, estate: Estate) -> None:
    estate.faults.add(Rule("CurrentTime", "delay", seconds=0.4))
    other = connect(server)
    took: list[float] = []

    def slow() -> None:
        began = time.monotonic()
        client.CurrentTime()
        took.append(time.monotonic() - began)

    thread = threading.Thread(target=slow)
    thread.start()
    assert machine(other).name == "idle-00001"
    thread.join(PATIENCE)
    assert took[0] >= 0.4
    Disconnect(other)
