"""Which readers an appliance has, which of them a job gets, and what it is told about one that it cannot have."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.errors import BadInput, ConnectorError
from connector.sources.factory import ORDER, Readers, ReaderSettings, readers


def _names(made: Readers, choice: str = "auto") -> list[str]:
    return [reader.name for reader in made.chosen(choice)]


def test_auto_takes_what_there_is_in_the_order_of_the_table(tmp_path: Path) -> None:
    assert _names(readers(ReaderSettings())) == ["nfc", "https"]
    assert _names(readers(ReaderSettings(tmp_path))) == list(ORDER)


def test_a_job_that_chooses_goes_before_the_appliance_and_the_appliance_before_the_table(
    tmp_path: Path,
) -> None:
    made = readers(ReaderSettings(tmp_path, preferred="https"))
    assert (_names(made), _names(made, "nfc"), _names(made, "vddk")) == (["https"], ["nfc"], ["vddk"])


def test_what_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(BadInput, match="this appliance has no reader vddk; it has nfc, https"):
        readers(ReaderSettings(preferred="vddk"))
    with pytest.raises(BadInput, match=r"web-01: this appliance has no reader vddk"):
        readers(ReaderSettings()).chosen("vddk", "web-01")


def test_a_preferred_reader_that_does_not_work_ends_the_start_and_another_one_only_its_own_jobs(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConnectorError, match="libvixDiskLib"):
        readers(ReaderSettings(tmp_path)).check("8.0.3")
    made = readers(ReaderSettings(tmp_path, preferred="nfc"))
    assert set(made.check("8.0.3")) == {"nfc", "https"}
    assert _names(made) == ["nfc"]
    with pytest.raises(
        BadInput, match=r"web-01: the reader vddk does not work at this appliance: .*libvixDiskLib"
    ):
        made.chosen("vddk", "web-01")
