"""Waves against the real operations of the public API on a real store, without processes and sockets."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from connector.batch.earlier import finished_elsewhere
from connector.batch.parse import Wave, parse
from connector.batch.plan import WavePlan, plan
from connector.batch.resolve import resolve
from connector.batch.smc_plane import SmcPlane
from connector.clients.refusal import refused
from connector.clients.smc import _flat
from connector.control.domain.access import AccessKey, Role
from connector.control.smc import api
from connector.control.smc.catalogue import Denied, translated
from connector.control.smc.operations import Caller
from connector.control.smc.parameters import parse as parsed
from connector.errors import ConnectorError
from connector.model import Machine
from tests.control import fresh
from tests.control.conftest import machine, quick_folder
from tests.control.house import House

__all__ = ["quick_folder"]


class Desk:
    """Calls the operations as the door does: strict parameters in, a code for every refusal."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuse: Callable[[str, dict[str, Any]], ConnectorError | None] = lambda _action, _given: None
        self._caller = Caller(AccessKey("AK", "", Role.ADMIN, "test", 0.0, False), "test")

    def call(self, action: str, /, **parameters: Any) -> dict[str, Any]:
        self.asked.append((action, parameters))
        if (failure := self.refuse(action, parameters)) is not None:
            raise failure
        operation = next(o for o in api.operations(self.house.service) if o.name == action)
        try:
            return operation.work(self._caller, parsed(operation.parameters, dict(_flat(parameters))))
        except ConnectorError as failed:
            denied = translated(failed)
        except Denied as found:
            denied = found
        body = {"Code": denied.code, "Message": denied.message, "Recommend": denied.remedy}
        raise refused(action, denied.status, body, "", on="control plane") from None

    def close(self) -> None:
        pass

    def changing(self) -> list[str]:
        """The calls that change something, since the last time this was asked."""
        found = [action for action, _ in self.asked if not action.startswith(("Describe", "List"))]
        self.asked.clear()
        return found


class Estate:
    """A vCenter with machines, a control plane that knows them, and a wave's view of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.desk = Desk(house)
        self.plane = SmcPlane(lambda: self.desk)
        self.numbers = itertools.count(1)
        self.machines: list[Machine] = []
        self.vcenter = str(uuid.uuid4())
        self.url = f"https://{uuid.uuid4().hex[:12]}.example:8990"
        self.appliance = house.enrol(f"of-{self.vcenter[:8]}", self.vcenter)

    def has(self, *names: str, disks: int = 2, **facts: Any) -> None:
        """More machines; a name may come twice."""
        for name in names:
            moref = f"vm-{next(self.numbers)}"
            found = replace(machine(moref, name, disks), path=f"/DC0/vm/prod/{name}")
            self.machines.append(replace(found, **facts))
        self.seen()

    def loses(self, name: str) -> None:
        """Removed from vCenter, and an appliance has noticed."""
        self.machines = [found for found in self.machines if found.name != name]
        self.seen()

    def seen(self) -> None:
        bodies = [asdict(found) | {"findings": [], "vcenter_url": self.url} for found in self.machines]
        self.house.store.sources.put(self.vcenter, bodies, self.appliance)

    def plan(self, wave: Wave, now: float | None = None) -> WavePlan:
        mine = [source for source in self.plane.sources() if source.vcenter == self.vcenter]
        resolved, jobs = resolve(wave, mine), self.plane.jobs(wave.name)
        elsewhere = finished_elsewhere(self.plane, resolved.placements, jobs)
        return plan(wave, resolved, mine, jobs, self.house.clock() if now is None else now, elsewhere)


@pytest.fixture
def estate(quick_folder: Path) -> Iterator[Estate]:
    house = House(fresh.sqlite(quick_folder / "control.sqlite"), quick_folder)
    house.cloud.types |= {"ecs.g6", "ecs.g6.large"}
    found = Estate(house)
    with found.plane:
        yield found
    house.store.close()


def wave(text: str, file: str = "wave.yaml") -> Wave:
    return parse(text.encode(), file)


HEAD = """apiVersion: connector/v1
kind: MigrationWave
metadata:
  name: w1
defaults:
  target: {region: cn-hangzhou}
"""
