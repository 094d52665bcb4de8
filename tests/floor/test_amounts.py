"""Amounts read the same everywhere."""

from __future__ import annotations

import pytest

from connector import amounts


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (100_000_000, "95.4 MiB"),
        (16 << 30, "16 GiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_sizes_are_binary(count: int, shown: str) -> None:
    assert amounts.size(count) == shown


def test_one_is_singular() -> None:
    assert amounts.plural(1, "disk") == "1 disk"
    assert amounts.plural(0, "disk") == "0 disks"
    assert amounts.plural(1200, "entry", "entries") == "1,200 entries"


def test_rates_are_binary_and_lines_are_decimal() -> None:
    assert amounts.rate(100 << 20) == "100 MiB/s"
    assert amounts.line(25_000_000) == "200 Mbit/s"


def test_nothing_moves_backwards() -> None:
    assert amounts.rate(-5.0) == "0 bytes/s"
