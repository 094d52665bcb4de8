"""The program itself: an appliance that knows more than a database that was put back, and what everybody is told then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.clients.agents import ControlClient, enrol
from connector.epoch import EpochMemory
from connector.errors import StateRestored
from tests.control.conftest import VCENTER, Plane, machine, taken
from tests.waiting import eventually


def test_an_appliance_that_knows_more_has_everything_held_until_it_is_confirmed(
    make_plane: Callable[..., Plane], tmp_path: Path
) -> None:
    plane = make_plane()
    memory = EpochMemory(tmp_path / "appliance-epoch")
    code = Path(plane.ready["activation_code_file"]).read_text().strip()
    about = {"name": "a", "vcenter": VCENTER, "version": "1"}
    member = enrol(plane.url, plane.thumbprint, code, memory=memory, **about)
    state, kept = tmp_path / "state", tmp_path / "kept"
    plane.kill()
    shutil.copytree(state, kept)
    plane.start()
    client = ControlClient(plane.url, plane.thumbprint, member, memory)
    client.put_sources([machine()], {})
    plane.jobs.create("web-01", "forgotten")
    before = memory.mark
    eventually(lambda: client.heartbeat([]) and memory.mark != before, "the appliance is told how far it is")
    plane.kill()
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    plane.start()

    client = ControlClient(plane.url, plane.thumbprint, member, memory)
    assert plane.jobs.epoch()["restored"] == ""
    client.heartbeat([])
    assert "a-" in plane.jobs.epoch()["restored"]
    client.put_sources([machine()], {})
    with pytest.raises(StateRestored, match="connector control confirm"):
        plane.jobs.create("web-01", "new")
    with pytest.raises(StateRestored):
        enrol(plane.url, plane.thumbprint, code, **about)
    assert client.take(0.0) is None
    plane.restart()
    assert plane.jobs.epoch()["restored"]
    plane.jobs.confirm_restore(keep_credentials=True)
    client = ControlClient(plane.url, plane.thumbprint, member, memory)
    plane.jobs.create("web-01", "new")
    plane.jobs.start("new")
    taken(client)
    known = memory.mark
    assert known is not None
    assert known.number == 2
