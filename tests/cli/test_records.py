"""What a word means: an object that is being deleted has its name only while no other has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from connector.cli.records import find_job
from connector.clients.smc import Json, SmcClient
from connector.errors import NotFound


@dataclass
class Plane:
    """A control plane with one source and these jobs."""

    jobs: list[Json]
    last_job: str = ""

    def call(self, action: str, **filters: Any) -> Json:
        source = {"SourceId": "s-1", "Name": "web-01", "JobId": self.last_job}
        plural, singular, key, records = {
            "DescribeReplicationJobs": ("ReplicationJobs", "ReplicationJob", "JobId", self.jobs),
            "DescribeSourceServers": ("SourceServers", "SourceServer", "SourceId", [source]),
        }[action]
        hits = [
            row
            for row in records
            if row["Name"] == filters.get("Name", row["Name"]) and row[key] in filters.get(key, [row[key]])
        ]
        return {plural: {singular: hits}, "TotalCount": len(hits)}

    @property
    def client(self) -> SmcClient:
        return cast(SmcClient, self)


def job(key: str, name: str, status: str = "Ready") -> Json:
    return {"JobId": key, "Name": name, "Status": status}


@pytest.mark.parametrize(
    ("word", "jobs", "last", "found"),
    [
        ("web-01", [job("j-1", "web-01", "Deleting"), job("j-2", "second")], "j-2", "j-2"),
        ("web-01", [job("j-1", "web-01", "Deleting"), job("j-2", "web-01")], "j-2", "j-2"),
        ("web-01", [job("j-1", "web-01", "Deleting")], "", "j-1"),
        ("web-01", [job("j-1", "web-01"), job("j-2", "second")], "j-2", "j-1"),
        ("j-1", [job("j-1", "web-01", "Deleting"), job("j-2", "second")], "j-2", "j-1"),
        ("web-01", [job("j-2", "second")], "j-2", "j-2"),
    ],
)
def test_a_job_is_found_by_what_still_has_the_name(
    word: str, jobs: list[Json], last: str, found: str
) -> None:
    assert find_job(Plane(jobs, last).client, word)["JobId"] == found


def test_a_name_of_nothing_is_an_error() -> None:
    with pytest.raises(NotFound, match="no such job"):
        find_job(Plane([]).client, "web-01")
