"""Invariant 11: no guest operation is ever called."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import connector.vcenter
from connector.errors import NotPermitted
from connector.vcenter.calls import CALLS
from connector.vcenter.session import Session
from connector.vcenter.vmomi import support, vim

ROOM = Path(connector.vcenter.__file__).parent


def test_no_allowed_call_belongs_to_a_guest_manager() -> None:
    guest = [name for name in support.ListManagedTypes() if name.startswith("vim.vm.guest.")]
    assert guest
    methods = {
        getattr(method, "info", method).wsdlName
        for name in guest
        for method in support.GetVmodlType(name)._methodInfo.values()
    }
    assert "StartProgramInGuest" in methods
    assert not methods & set(CALLS)


def test_the_source_never_mentions_guest_operations() -> None:
    for path in ROOM.glob("*.py"):
        names = {
            node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
        }
        assert not {name for name in names if "guestOperations" in name or name.endswith("InGuest")}, (
            path.name
        )


def test_a_call_outside_the_table_does_not_leave_the_process(session: Session) -> None:
    sent: list[object] = []
    session._stub._care = type("Noting", (), {"attended": staticmethod(lambda *_: sent.append(1))})()
    machine = session.managed(vim.VirtualMachine, "vm-1")
    with pytest.raises(NotPermitted, match="Destroy_Task"):
        machine.Destroy_Task()
    assert sent == []


def test_the_pure_modules_load_without_pyvmomi() -> None:
    import subprocess
    import sys

    pure = "import sys, connector.vcenter.{0}; sys.exit('pyVmomi' in sys.modules)"
    for module in ("eligibility", "changes", "naming", "endpoint", "calls"):
        assert subprocess.run([sys.executable, "-c", pure.format(module)]).returncode == 0, module
