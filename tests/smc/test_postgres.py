"""The same on PostgreSQL: what differs there is text with NUL, integers, locks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alibabacloud_smc20190601.client import Client

from connector.control.domain.access import Role
from tests.control import postgres
from tests.control.conftest import Plane
from tests.smc.conftest import Cloud
from tests.smc.test_door import test_a_replayed_request_is_refused as test_replay
from tests.smc.test_door import test_fuzz_no_parameter_makes_it_stumble as test_fuzz
from tests.smc.test_door import test_the_last_page_that_can_be_asked_for_is_empty as test_last_page
from tests.smc.test_extensions import test_a_log_is_read_in_pieces_and_every_entry_comes_once as test_log
from tests.smc.test_extensions import test_progress_from_ready_through_reading_to_the_end as test_progress
from tests.smc.test_extensions import (
    test_r1_what_costs_is_listed_and_gone_when_the_job_is_over as test_resources,
)
from tests.smc.test_old_sdk import test_every_operation_through_the_old_sdk as test_every_operation
from tests.smc.test_sdk_jobs import test_two_creates_race_for_one_source_and_one_wins as test_race
from tests.smc.test_sdk_jobs import test_x5_many_creates_with_one_token_at_once_make_one_job as test_token
from tests.smc.test_sdk_rest import test_lists_of_tags_go_on_with_the_next_token as test_tags
from tests.smc.test_sdk_rest import test_pages_of_sources as test_pages

__all__ = [
    "test_every_operation",
    "test_fuzz",
    "test_last_page",
    "test_log",
    "test_pages",
    "test_progress",
    "test_race",
    "test_replay",
    "test_resources",
    "test_tags",
    "test_token",
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("needs the package postgresql")
    root: Path = tmp_path_factory.mktemp("cloud-pg")
    (root / "gates").mkdir()
    with pytest.MonkeyPatch.context() as patch, postgres.cluster(programs) as url:
        patch.setenv("FAKE_GATES", str(root / "gates"))
        plane = Plane(root, database=url)
        yield Cloud(plane, url)
        plane.kill()


@pytest.fixture
def client(cloud: Cloud) -> Client:
    return cloud.client(Role.ADMIN)
