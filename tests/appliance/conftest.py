"""Real parts for passes: an instance as a child process, an imaginary vCenter, the stand-in VDDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.desk import Bench, context
from tests.transfer.conftest import Instance, Job, disk, instance, job, start

__all__ = ["disk", "instance", "job", "start"]


@pytest.fixture
def desk(tmp_path: Path, instance: Instance, job: Job) -> Iterator[Bench]:
    with context(tmp_path, instance, job) as made:
        yield made
