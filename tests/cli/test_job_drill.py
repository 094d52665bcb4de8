"""`connector job drill`: which image it takes. The drill itself is that of `connector machine`."""

from __future__ import annotations

from tests.cli.conftest import Connector
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh


def test_a_job_without_an_image_has_nothing_to_try(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    _, ids = cloud.sources(machine("vm-1", name, 1))
    cloud.plane.jobs.create(ids[name], name)
    ended = connector("job", "drill", name, code=3)
    assert "has no image yet; let its first run finish" in ended.err
