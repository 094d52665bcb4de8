"""The calendar of an appliance: which limit holds when, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.appliance.bandwidth import DAYS, BandwidthWindow, Calendar
from connector.appliance.configuration import ApplianceConfiguration, parse
from connector.errors import BadInput

OFFICE = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00", "mbit": 50}
NIGHT = {"days": ["fri"], "from": "22:00", "to": "06:00", "mbit": 8}
MBIT = 1e6 / 8

BASE: dict[str, Any] = {
    "vcenter": {"url": "https://vc", "password": "x", "thumbprint": "AA"},
    "control": {"url": "https://c", "thumbprint": "00"},
    "vddk": "/vddk",
    "state": "/state",
}


def limit(moment: datetime, *windows: dict[str, Any]) -> float:
    found = [BandwidthWindow.model_validate(window) for window in windows]
    return Calendar(found, moment.tzinfo or UTC, moment.timestamp).rate() / MBIT


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """The 2nd of November 2026 is a Monday."""
    return datetime(2026, 11, 2 + day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "mbit"),
    [
        (at(0, 7, 59), 0),
        (at(0, 8), 50),
        (at(4, 17, 59), 50),
        (at(0, 18), 0),
        (at(5, 12), 0),
        (at(4, 21, 59), 0),
        (at(4, 22), 8),
        (at(5, 5, 59), 8),
        (at(5, 6), 0),
        (at(4, 5), 0),
    ],
)
def test_a_window_holds_on_its_days_between_its_times(moment: datetime, mbit: float) -> None:
    assert limit(moment, OFFICE, NIGHT) == mbit


def test_where_windows_overlap_the_smallest_counts() -> None:
    assert limit(at(2, 9), OFFICE, {"mbit": 200}) == 50
    assert limit(at(2, 19), OFFICE, {"mbit": 200}) == 200
    assert limit(at(6, 23, 59), {"from": "00:00", "to": "24:00", "mbit": 0.5}) == 0.5


@settings(max_examples=20)
@given(st.sampled_from(DAYS), st.integers(0, 1439), st.integers(0, 1440))
def test_a_window_of_one_day_holds_once_a_week_for_its_length(day: str, start: int, end: int) -> None:
    window = BandwidthWindow.model_validate(
        {
            "days": [day],
            "from": f"{start // 60:02}:{start % 60:02}",
            "to": f"{end // 60:02}:{end % 60:02}",
            "mbit": 1,
        }
    )
    week = [window.holds(at(minute // 1440, minute % 1440 // 60, minute % 60)) for minute in range(7 * 1440)]
    assert sum(week) == (end - start if end > start else end - start + 1440)


def test_the_calendar_is_read_in_its_time_zone() -> None:
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        pytest.skip("needs the package tzdata")
    read = parse(BASE | {"bandwidth": [OFFICE], "timezone": "Europe/Berlin"}, "test")
    summer = datetime(2026, 7, 6, 6, 30, tzinfo=UTC)
    calendar = Calendar(read.bandwidth, ZoneInfo(read.timezone), summer.timestamp)
    assert calendar.rate() == 50 * MBIT
    winter = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)
    assert Calendar(read.bandwidth, ZoneInfo(read.timezone), winter.timestamp).rate() == 0


def test_without_a_calendar_nothing_is_shared() -> None:
    assert ApplianceConfiguration.model_validate(BASE).link() is None
    link = parse(BASE | {"bandwidth": [{"mbit": 1}]}, "test").link()
    assert link is not None
    assert link.portion(1 << 20) < 1 << 20


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mbit": 0}, "greater than 0"),
        ({"mbit": "inf"}, "finite"),
        ({"days": ["monday"]}, "bandwidth.0.days.0"),
        ({"days": []}, "bandwidth.0.days"),
        ({"from": "8 o'clock"}, "HH:MM"),
        ({"to": "24:01"}, "24:00"),
        ({"to": 24}, "HH:MM"),
        ({"until": "18:00"}, "bandwidth.0.until"),
    ],
)
def test_a_wrong_window_is_refused_and_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        parse(BASE | {"bandwidth": [OFFICE | change]}, "test")


def test_times_that_yaml_reads_as_numbers_are_meant() -> None:
    assert limit(at(0, 8), OFFICE | {"from": 480, "to": 1080}) == 50


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(BadInput, match=r"timezone.*tzdata"):
        parse(BASE | {"timezone": "Mars/Olympus"}, "test")
