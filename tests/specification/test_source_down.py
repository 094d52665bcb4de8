"""The words for a source that is down: what is known, and nothing that is not."""

from __future__ import annotations

import pytest

from connector.specification import source_down


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.1, "a minute"), (59.9, "a minute"), (60, "1 min"), (61, "2 min"), (3599, "60 min"), (3600, "1 h 00 min"),
     (7261, "2 h 02 min")],
)  # fmt: skip
def test_durations_are_rounded_up(seconds: float, said: str) -> None:
    assert source_down.about(seconds) == said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, ""),
        ({"SourceDown": False, "DownSinceTime": "2026-01-01T00:00:00Z"}, ""),
        (
            {"SourceDown": True, "DownSinceTime": "2026-01-01T00:00:00Z", "BackInSeconds": 200, "Status": "Running"},
            "SOURCE IS DOWN since 2026-01-01 00:00:00 UTC, back in about 4 min",
        ),
        (
            {"SourceDown": True, "DownSinceTime": "2026-01-01T00:00:00Z", "BackInSeconds": 0, "Status": "Running"},
            "SOURCE IS DOWN since 2026-01-01 00:00:00 UTC, longer than predicted",
        ),
        (
            {"SourceDown": True, "DownSinceTime": "2026-01-01T00:00:00Z", "Status": "Running"},
            "SOURCE IS DOWN since 2026-01-01 00:00:00 UTC; how long the rest takes is not known",
        ),
        (
            {"SourceDown": True, "DownSinceTime": "2026-01-01T00:00:00Z", "BackInSeconds": 9, "Status": "Stopped"},
            "SOURCE IS DOWN since 2026-01-01 00:00:00 UTC, and nothing is under way that brings it back",
        ),
    ],
)  # fmt: skip
def test_a_job_as_the_api_shows_it(row: dict[str, object], said: str) -> None:
    assert source_down.of_row(row) == said
