"""What of an appliance's report becomes the hardware beside an image."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.control.domain.hardware import SourceHardware, hardware

USUAL = SourceHardware("bios", False, 1, 1 << 30, ())
NIC = {"mac": "00:50:56:01:02:03", "network": "VM Network"}


def test_what_is_reported_is_used() -> None:
    facts = {
        "firmware": "efi",
        "cpus": 4,
        "memory": 8 << 30,
        "traits": {"secure_boot": True, "nics": [NIC, {"mac": "00:50:56:AB:02:04"}]},
    }
    cards = (("00:50:56:01:02:03", "VM Network"), ("00:50:56:ab:02:04", ""))
    assert hardware(facts) == SourceHardware("efi", True, 4, 8 << 30, cards)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"firmware": "none", "cpus": 0, "memory": -1, "traits": None},
        {"cpus": True, "memory": "8", "traits": {"nics": "x", "secure_boot": "yes"}},
        {"traits": {"nics": [1, {}, {"mac": "x"}, {"mac": "00:50:56:01:02:03:04"}, None]}},
    ],
)
def test_what_is_missing_or_odd_gets_a_usual_value(facts: dict[str, Any]) -> None:
    assert hardware(facts) == USUAL


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(st.dictionaries(st.sampled_from(["firmware", "cpus", "memory", "traits"]), JSON))
def test_any_report_is_read(facts: dict[str, Any]) -> None:
    assert len(hardware(facts).cards) <= 32
