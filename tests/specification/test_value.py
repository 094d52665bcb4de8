"""Kinds of value: what they take, and what they say of what they do not take."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.specification.value import Fraction, Moment, WrongValue

SHARES = [("0.1%", 0.001), ("100%", 1.0), ("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("5%", 0.05)]


@pytest.mark.parametrize(("text", "value"), SHARES)
def test_a_share_is_a_percentage_or_a_part_of_one(text: str, value: float) -> None:
    kind = Fraction()
    assert kind.read("Audit", text) == pytest.approx(value)
    assert kind.read("Audit", kind.shown(kind.read("Audit", text))) == pytest.approx(value)


@given(st.decimals(0, 1, places=9))
def test_what_is_shown_of_a_share_reads_as_the_same_share(part: Decimal) -> None:
    kind = Fraction()
    value = kind.read("Audit", f"{part:f}")
    assert kind.read("Audit", kind.shown(value)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("text", ["", "2", "101%", "-1%", "0,1%", "nan", "inf", "1e-3", "half", "%", "1%%"])
def test_what_is_no_share_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(WrongValue, match=r"0\.1%, 100%, or a number from 0 to 1"):
        Fraction().read("Audit", text)


def test_a_moment_is_shown_as_it_is_read() -> None:
    kind = Moment()
    assert kind.shown(kind.read("ValidTime", "2026-12-05T22:00:00Z")) == "2026-12-05T22:00:00Z"
    assert kind.shown(1e12) == ""
